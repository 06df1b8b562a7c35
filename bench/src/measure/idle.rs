//! Memory of sessions that are open and silent.

use devcell::keys::KeyKind;

use super::Effort;
use crate::client::open_session;
use crate::process::{memory, memory_with_children};
use crate::report::{Row, Unit};
use crate::server::{Binaries, Server, Subject};

/// OpenSSH has a process for each: 200 are enough to see what one takes.
const FEW: u32 = 200;
const MANY: u32 = 2000;

const SUBJECTS: [Subject; 5] = [
    Subject::OpenSsh,
    Subject::Daemon,
    Subject::Proxy,
    Subject::GoDaemon,
    Subject::GoProxy,
];

pub(super) async fn measure(binaries: &Binaries, effort: &Effort) -> Vec<Row> {
    let mut rows = Vec::new();
    for held in [FEW, MANY].map(|count| effort.of(count)) {
        let mut row = Row::new(format!("memory of one of {held}"), Unit::Kilobytes);
        let mut behind = Row::new(
            format!("memory of one of {held} in the daemon behind the proxy"),
            Unit::Kilobytes,
        );
        for _ in 0..effort.rounds {
            for subject in binaries.present(&SUBJECTS) {
                if subject == Subject::OpenSsh && held > FEW {
                    continue;
                }
                // A fresh one each time: what was given back once costs nothing the next time.
                let server = Server::start(binaries, subject, KeyKind::Ed25519).await;
                let (own, daemon) = hold(&server, held).await;
                row.push(subject, own);
                if let Some(daemon) = daemon {
                    behind.push(subject, daemon);
                }
            }
        }
        rows.extend([row, behind]);
    }
    rows
}

/// What one of `count` sessions takes: in the server, and in the daemon if there is one behind it.
async fn hold(server: &Server, count: u32) -> (f64, Option<f64>) {
    // The first session has costs that the others share.
    let mut sessions = vec![enter(server).await];
    let before = (memory_of(server), server.daemon.map(memory));
    for _ in 0..count {
        sessions.push(enter(server).await);
    }
    let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / f64::from(count);
    let own = each(memory_of(server), before.0);
    let daemon = server.daemon.zip(before.1);
    (own, daemon.map(|(pid, before)| each(memory(pid), before)))
}

async fn enter(server: &Server) -> ssh_tokio::session::Session<tokio::net::TcpStream> {
    let mut session = server.way.connect().await;
    open_session(&mut session).await;
    session
}

fn memory_of(server: &Server) -> u64 {
    match server.subject {
        Subject::OpenSsh => memory_with_children(server.listener),
        _ => memory(server.listener),
    }
}
