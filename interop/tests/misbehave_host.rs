//! Rows of `misbehave` for servers, against the proxy: an instance that breaks the rules, the user who
//! wants to enter it, and another user who must not notice. What each row is, what has to come of it and
//! what the user sees, is told there; here is the cell, and what failed is shown together.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use devcell::bbs::messages::NetInfo;
use devcell::{Cell, CellOptions};
use misbehave::case::{Answer, Program, Stage};
use misbehave::cases::host;
use misbehave::client::{CredentialSecret, Credentials};
use misbehave::end::{BY_APPLICATION, End};
use misbehave::host::{HostCase, Sees};
use misbehave::kex::Offer;
use misbehave::payload::{global_request, name};
use misbehave::peer::Peer;
use misbehave::report::{Row, table};
use misbehave::run::{Outcome, Target, Verdict, meet};
use packets::{Bystander, PATIENCE, options, proxy_door};

/// An instance's daemon, for the proxy; who is logged in there sees it when all is over.
const MARKER: &str = "marker@misbehave";

/// The proxy's own words, and 400 characters of the instance's.
const MOST_TOLD: usize = 500;

/// Everything that a row needs, without the cell.
struct Scene {
    /// Where the instance's daemon should be.
    listener: TcpListener,
    /// The key that is pinned for it.
    host_key: String,
    /// The proxy, for the user of the instance.
    user: Target,
    /// The proxy, for users of another instance.
    others: Target,
}

impl Scene {
    /// Takes the place of the second instance's daemon.
    fn set(cell: &Cell) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        cell.bbs()
            .update(|state| state.actual[1].net_info = Some(NetInfo::plain(2222, port)));
        Self {
            listener,
            host_key: cell.instance_key().private_pem().to_owned(),
            user: target(cell.proxy_address(), &cell.logins()[1]),
            others: target(cell.proxy_address(), &cell.logins()[0]),
        }
    }

    /// Plays one row: how it differs from what had to be, if it does.
    fn play(&self, row: &HostCase) -> Option<Row> {
        let (mut outcome, seen) = thread::scope(|scope| {
            let user = scope.spawn(|| visit(&self.user, row.case.stage));
            (self.host(row), user.join().unwrap())
        });
        outcome.next = self.others.serves(Stage::Session).err();
        let mut result = Row::new(&row.case, Program::Proxy, &outcome);
        if seen.is(&row.sees) && outcome.verdict(&row.case, Program::Proxy) == Verdict::Met {
            return None;
        }
        result.expected += &format!("; user: {}", row.sees);
        result.got += &format!("; user: {seen}");
        Some(result)
    }

    fn host(&self, row: &HostCase) -> Outcome {
        let key = ssh_proto::key::PrivateKey::from_pem(&self.host_key).unwrap();
        let (stream, _) = self.listener.accept().unwrap();
        let offer = row.case.offer.clone();
        let mut peer = Peer::server(stream, offer, PATIENCE, key).unwrap();
        let outcome = meet(&mut peer, &row.case, Program::Proxy);
        if outcome.end == End::Alive && peer.say(&global_request(MARKER, false)).is_ok() {
            // Up to the user's end.
            peer.end();
        }
        outcome
    }
}

fn target(address: SocketAddr, login: &devcell::rig::Login) -> Target {
    Target {
        address,
        credentials: Some(Credentials {
            user: login.user.clone(),
            secret: CredentialSecret::Password(login.password.clone()),
        }),
        program: Program::Proxy,
        patience: PATIENCE,
    }
}

/// What a user got.
struct Seen {
    logged_in: bool,
    heard: Vec<Vec<u8>>,
    /// What stood in the DISCONNECT.
    words: Vec<u8>,
    /// Alive if the marker came.
    end: End,
}

/// Logs in, opens a session if the row needs one, and reads up to the marker or the end.
fn visit(proxy: &Target, stage: Stage) -> Seen {
    let stream = TcpStream::connect(proxy.address).unwrap();
    // What the proxy tells of itself is no matter here.
    let offer = Offer {
        ext_info: false,
        ..Offer::default()
    };
    let mut peer = Peer::client(stream, offer, PATIENCE).unwrap();
    peer.credentials.clone_from(&proxy.credentials);
    let stage = match stage {
        Stage::Session => Stage::Session,
        _ => Stage::Authenticated,
    };
    let marker = global_request(MARKER, false);
    let result = match peer.climb(stage) {
        Ok(()) => peer.wait_until(|payload| payload == marker),
        Err(end) => Err(end),
    };
    Seen {
        logged_in: peer.authenticated,
        heard: peer.heard().to_vec(),
        words: peer.last_words().to_vec(),
        end: result.err().unwrap_or(End::Alive),
    }
}

impl Seen {
    fn is(&self, wanted: &Sees) -> bool {
        match wanted {
            Sees::Refused(what) => !self.logged_in && self.is_told(what),
            Sees::Lost(what) => self.logged_in && self.is_told(what),
            Sees::Served(answers) => {
                let all = self.heard.len() == answers.len();
                let mut pairs = answers.iter().zip(&self.heard);
                let right = |(answer, payload): (&Answer, &Vec<u8>)| answer.is(payload);
                self.logged_in && self.end == End::Alive && all && pairs.all(right)
            }
        }
    }

    /// Whether a DISCONNECT with this text was the end, and one that steers no terminal.
    fn is_told(&self, what: &str) -> bool {
        let End::Cut { reason, .. } = &self.end else {
            return false;
        };
        let text = String::from_utf8_lossy(&self.words);
        let clean = |c: char| c.is_ascii_graphic() || c == ' ' || c == char::REPLACEMENT_CHARACTER;
        let short = text.chars().count() <= MOST_TOLD;
        *reason == BY_APPLICATION && text.contains(what) && short && text.chars().all(clean)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = if self.logged_in { "in" } else { "not in" };
        let heard: Vec<String> = (self.heard.iter())
            .map(|payload| name(payload.first().copied().unwrap_or_default()))
            .collect();
        write!(f, "{login}, {:?}, {}", self.end, heard.join(", "))
    }
}

/// Plays the rows of `group`, and shows all that differ.
async fn check(group: &'static str) {
    let options = CellOptions {
        instances: 2,
        ..options()
    };
    let cell = Cell::start(options).await.unwrap();
    let mut bystander = Bystander::enter(&proxy_door(&cell)).await;
    let scene = Scene::set(&cell);
    let play = move || {
        let rows: Vec<HostCase> = (host::all().into_iter())
            .filter(|row| row.case.group() == group)
            .collect();
        let differ: Vec<Row> = rows.iter().filter_map(|row| scene.play(row)).collect();
        (rows.len(), differ)
    };
    let (total, differ) = tokio::task::spawn_blocking(play).await.unwrap();
    assert!(total > 0, "there is no group {group}");
    assert!(
        differ.is_empty(),
        "{} of {total} differ:\n{}",
        differ.len(),
        table(&differ)
    );
    bystander.all_is_well().await;
    cell.stop().await;
}

macro_rules! groups {
    ($($group:ident)*) => {
        const GROUPS: &[&str] = &[$(stringify!($group),)*];
        $(#[tokio::test]
        async fn $group() {
            check(stringify!($group)).await;
        })*
    };
}

groups! {
    hostident hostsilence hostkexinit hostkex hostorder hostauth hostrelay
}

#[test]
fn every_group_is_tested() {
    assert_eq!(host::groups(&host::all()), GROUPS);
}

/// Operators learn which rule it was; users only that the instance is lost.
#[tokio::test]
async fn a_rule_that_an_instance_broke_is_in_the_log() {
    let options = CellOptions {
        instances: 2,
        ..options()
    };
    let cell = Cell::start(options).await.unwrap();
    let scene = Scene::set(&cell);
    let mark = cell.proxy().mark();
    let play = move || {
        let mut rows = host::all();
        rows.retain(|row| row.case.id == "hostrelay-unasked-eof");
        rows.iter().map(|row| scene.play(row).is_none()).collect()
    };
    let met: Vec<bool> = tokio::task::spawn_blocking(play).await.unwrap();
    assert_eq!(met, [true]);
    let line = cell
        .proxy()
        .wait_for_log_after(mark, "protocol error")
        .await
        .unwrap();
    assert!(line.contains("relay-ended"), "{line}");
    cell.stop().await;
}
