//! Services that are gone from one moment to the next under a hundred sessions: whoever depended on one
//! is told so, the others do not notice, and new users get in again when it is back.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;

use devcell::{Cell, CellOptions};
use packets::*;
use tokio::task::JoinSet;

/// So many of them for each of the two instances; every other one came in with a code.
const SESSIONS_EACH: usize = 50;

/// What those are told whose instance is gone; DISCONNECT has the reason code 11 (RFC 4253, 11.1).
const LOST: (u32, &str) = (11, "the connection to the app instance was lost");

const CODE_UNAVAILABLE: &str = "a service of the platform does not answer; try again later with a new \
                                code (`cf ssh-code`) [platform_unavailable]";
const UNAVAILABLE: &str =
    "a service of the platform does not answer; try again later [platform_unavailable]";
const UNREACHABLE: &str = "the app instance cannot be reached; try again [instance_unreachable]";

async fn cell() -> Cell {
    let options = CellOptions {
        cf_auth: true,
        ..options()
    };
    Cell::start(options).await.unwrap()
}

/// A user with a program that says everything back.
struct Session {
    raw: Raw,
    peer: u32,
}

impl Session {
    async fn enter(door: Door) -> Self {
        let mut raw = Raw::login(&door).await.unwrap();
        let peer = raw.open_session(0, u32::MAX).await.unwrap();
        raw.send(&exec(peer, "exec cat"));
        let mut session = Self { raw, peer };
        session.goes_on("first").await;
        session
    }

    /// Says something that must come back.
    async fn goes_on(&mut self, text: &str) {
        self.raw.send(&data(self.peer, text.as_bytes()));
        let mut echo = Vec::new();
        while echo.len() < text.len() {
            let packet = self.raw.wait_for(ssh_proto::msg::CHANNEL_DATA).await;
            echo.extend_from_slice(&packet.unwrap()[9..]);
        }
        assert_eq!(echo, text.as_bytes());
    }
}

/// All the sessions of one instance.
async fn fill(cell: &Cell, index: usize) -> Vec<Session> {
    let mut entering = JoinSet::new();
    for number in 0..SESSIONS_EACH {
        let login = match number % 2 {
            0 => cell.logins()[index].clone(),
            _ => cell.cf_login(index).unwrap(),
        };
        entering.spawn(Session::enter(door_of(cell, &login)));
    }
    entering.join_all().await
}

async fn all_go_on(sessions: &mut [Session], text: &str) {
    for session in sessions {
        session.goes_on(text).await;
    }
}

/// New users of an instance, with a password and with a code.
async fn enter_both(cell: &Cell, index: usize) -> [Result<(), String>; 2] {
    let code = cell.cf_login(index).unwrap();
    [
        enter(cell, &cell.logins()[index]).await,
        enter(cell, &code).await,
    ]
}

fn told(text: &str) -> Result<(), String> {
    Err(text.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_killed_daemon_are_told_and_the_others_go_on() {
    let cell = cell().await;
    let lost = fill(&cell, 0).await;
    let mut others = fill(&cell, 1).await;
    cell.daemon(0).unwrap().kill();
    let mut ends = JoinSet::new();
    for session in lost {
        ends.spawn(session.raw.disconnect());
    }
    for (reason, text) in ends.join_all().await {
        assert_eq!((reason, text.as_str()), LOST);
    }
    all_go_on(&mut others, "while it is away").await;
    let refused = told(UNREACHABLE);
    assert_eq!(enter_both(&cell, 0).await, [refused.clone(), refused]);
    assert_eq!(enter_both(&cell, 1).await, [Ok(()), Ok(())]);

    cell.daemon(0).unwrap().restart().await.unwrap();
    assert_eq!(enter_both(&cell, 0).await, [Ok(()), Ok(())]);
    all_go_on(&mut others, "when it is back").await;
    cell.stop().await;
}

/// They are asked at logins, and never again.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_outlive_bbs_uaa_and_cloud_controller() {
    let cell = cell().await;
    let mut sessions = fill(&cell, 0).await;
    sessions.extend(fill(&cell, 1).await);

    cell.uaa().stop().await;
    all_go_on(&mut sessions, "without UAA").await;
    let no_code = told(CODE_UNAVAILABLE);
    assert_eq!(enter_both(&cell, 0).await, [Ok(()), no_code.clone()]);
    cell.uaa().start_again().await.unwrap();
    assert_eq!(enter_both(&cell, 0).await, [Ok(()), Ok(())]);

    cell.cloud_controller().stop().await;
    all_go_on(&mut sessions, "without Cloud Controller").await;
    assert_eq!(enter_both(&cell, 0).await, [Ok(()), no_code.clone()]);
    cell.cloud_controller().start_again().await.unwrap();
    assert_eq!(enter_both(&cell, 0).await, [Ok(()), Ok(())]);

    cell.bbs().stop().await;
    all_go_on(&mut sessions, "without BBS").await;
    let nobody = told(UNAVAILABLE);
    assert_eq!(enter_both(&cell, 0).await, [nobody.clone(), nobody.clone()]);

    cell.uaa().stop().await;
    cell.cloud_controller().stop().await;
    all_go_on(&mut sessions, "without all three").await;
    assert_eq!(enter_both(&cell, 1).await, [nobody, no_code]);
    cell.bbs().start_again().await.unwrap();
    cell.uaa().start_again().await.unwrap();
    cell.cloud_controller().start_again().await.unwrap();
    assert_eq!(enter_both(&cell, 1).await, [Ok(()), Ok(())]);
    all_go_on(&mut sessions, "when all are back").await;
    cell.stop().await;
}
