//! The rows of `misbehave` against both programs. What each row is, and what has to come of it, is told
//! there; here are the programs, and what failed is shown together.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests are tests too"
)]

mod packets;

use std::fs;
use std::time::SystemTime;

use devcell::Cell;
use misbehave::case::{Case, Program, Stage};
use misbehave::client::Credentials;
use misbehave::report::{Row, table};
use misbehave::run::Target;
use misbehave::{cases, client};
use packets::{Bystander, Door, PATIENCE, daemon_door, options, proxy_door};
use serde_json::json;
use ssh_proto::algorithm::{Cipher, Kex, Mac};

/// Every algorithm that the programs know is allowed: rows are about all of them.
async fn start() -> Cell {
    let kex = Kex::ALL.iter().map(|it| it.name()).collect::<Vec<_>>();
    let ciphers = Cipher::ALL.iter().map(|it| it.name()).collect::<Vec<_>>();
    let macs = Mac::ALL.iter().map(|it| it.name()).collect::<Vec<_>>();
    let [kex, ciphers, macs] = [kex, ciphers, macs].map(|names| names.join(","));
    let options = devcell::CellOptions {
        instances: 1,
        daemon_flags: vec![
            format!("-allowedCiphers={ciphers}"),
            format!("-allowedMACs={macs}"),
            format!("-allowedKeyExchanges={kex}"),
        ],
        proxy_config: json!({
            "allowed_ciphers": ciphers,
            "allowed_macs": macs,
            "allowed_key_exchanges": kex,
        }),
        ..options()
    };
    Cell::start(options).await.unwrap()
}

fn target(door: &Door, program: Program) -> Target {
    let secret = match (&door.password, &door.key) {
        (Some(password), _) => client::CredentialSecret::Password(password.clone()),
        (None, key) => client::CredentialSecret::Key(key.clone().unwrap()),
    };
    Target {
        address: door.address,
        credentials: Some(Credentials {
            user: door.user.clone(),
            secret,
        }),
        program,
        patience: PATIENCE,
    }
}

/// What rows of scp would write if their names or lines were taken.
const OUTSIDE: [&str; 3] = ["/misbehave", "/tmp/misbehave", "/tmp/misbehave.tmp"];

/// When each of [`OUTSIDE`] was last written, if it is there at all: a file that another server
/// left behind is not ours, and stays as it is.
fn outside() -> [Option<SystemTime>; 3] {
    OUTSIDE.map(|path| Some(fs::symlink_metadata(path).ok()?.modified().unwrap()))
}

/// Runs the rows of `group`, and shows all that differ.
async fn check(group: &'static str, program: Program) {
    let cell = start().await;
    let door = match program {
        Program::Proxy => proxy_door(&cell),
        Program::Daemon | Program::Any => daemon_door(&cell),
    };
    let target = target(&door, program);
    let mut bystander = Bystander::enter(&door).await;
    let before = outside();
    let run = move || {
        let rows: Vec<Case> = (cases::all().into_iter())
            .filter(|case| case.group() == group)
            .collect();
        let total = rows.len();
        let results = (rows.iter()).map(|case| Row::new(case, program, &target.run(case)));
        let differ: Vec<Row> = results.filter(|row| !row.is_met()).collect();
        (total, differ, target.serves(Stage::Session))
    };
    let (total, differ, next) = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(total > 0, "there is no group {group}");
    assert!(
        differ.is_empty(),
        "{} of {total} differ:\n{}",
        differ.len(),
        table(&differ)
    );
    assert_eq!(next, Ok(()), "the next user");
    assert_eq!(outside(), before, "{OUTSIDE:?} stay as they were");
    bystander.all_is_well().await;
    cell.stop().await;
}

macro_rules! groups {
    ($($group:ident)*) => {
        const GROUPS: &[&str] = &[$(stringify!($group),)*];
        $(mod $group {
            #[tokio::test]
            async fn proxy() {
                super::check(stringify!($group), super::Program::Proxy).await;
            }

            #[tokio::test]
            async fn daemon() {
                super::check(stringify!($group), super::Program::Daemon).await;
            }
        })*
    };
}

groups! {
    ident packet kexinit kex newkeys strict extinfo message service rekey auth publickey open channel window request pty env signal listen incoming direct sftp scp
}

#[test]
fn every_group_is_tested() {
    assert_eq!(cases::groups(&cases::all()), GROUPS);
}
