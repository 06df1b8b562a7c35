//! The table of faults, for the loggregator agent: whatever becomes of it under a running proxy, users
//! get in and out as if it were there, and envelopes arrive again when the trouble is over.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;

use std::time::Duration;

use devcell::Cell;
use devcell::certs::{Authority, Identity, Request, Validity};
use devcell::fault::Fault;
use devcell::loggregator::{Agent, SERVER_NAME};
use packets::*;

/// Logins in each trouble: more envelopes than one batch takes.
const USERS: usize = 30;

const GIB: u64 = 1 << 30;

/// What is wrong with the agent.
enum Trouble {
    /// Nobody listens on its port.
    Down,
    /// It does this to connections and calls.
    Fault(Fault),
    /// It has another certificate.
    Shows(fn(&Authority) -> Identity),
}

fn agent(cell: &Cell) -> &Agent {
    cell.agent().unwrap()
}

fn good(authority: &Authority) -> Identity {
    authority.issue(&Request::server(&[SERVER_NAME])).unwrap()
}

fn expired(authority: &Authority) -> Identity {
    let request = Request::server(&[SERVER_NAME]).valid(Validity::Expired);
    authority.issue(&request).unwrap()
}

fn of_another_host(authority: &Authority) -> Identity {
    authority.issue(&Request::server(&["localhost"])).unwrap()
}

fn of_another_authority(_: &Authority) -> Identity {
    good(&Authority::new("another CA").unwrap())
}

/// Somebody who gets in and out.
async fn visit(door: &Door) {
    let mut raw = Raw::login(door).await.unwrap();
    assert_eq!(raw.run(0, "echo in").await.unwrap().stdout, b"in\n");
}

/// The agent goes away and comes back as something else, or not at all.
async fn begin(cell: &Cell, trouble: Trouble) {
    agent(cell).stop().await;
    match trouble {
        Trouble::Down => return,
        Trouble::Fault(fault) => agent(cell).set_fault(fault),
        Trouble::Shows(identity) => show(cell, identity),
    }
    agent(cell).start_again().await.unwrap();
}

fn show(cell: &Cell, identity: fn(&Authority) -> Identity) {
    let authority = cell.authority();
    let identity = identity(authority);
    agent(cell).set_identity(&identity, authority).unwrap();
}

async fn end(cell: &Cell) {
    agent(cell).stop().await;
    agent(cell).set_fault(Fault::None);
    show(cell, good);
    agent(cell).start_again().await.unwrap();
}

/// One row of the table.
async fn meets(trouble: Trouble) {
    let cell = Cell::start(options()).await.unwrap();
    let door = proxy_door(&cell);
    let mut bystander = Bystander::enter(&door).await;
    agent(&cell).wait_for_streams(1).await.unwrap();
    begin(&cell, trouble).await;
    let lost = cell.proxy().wait_for_log("loggregator-agent-lost").await;
    lost.unwrap();
    for _ in 0..USERS {
        visit(&door).await;
    }
    bystander.all_is_well().await;

    end(&cell).await;
    let mut late = Raw::login(&door).await.unwrap();
    let line = format!("Successful remote access by {}", late.local);
    let told = agent(&cell).wait_for(|envelope| envelope.line().as_deref() == Some(&line));
    assert!(told.await.is_some(), "{}", cell.proxy().log());
    assert_eq!(late.run(0, "echo in").await.unwrap().stdout, b"in\n");
    bystander.all_is_well().await;
    cell.stop().await;
}

/// The name of each test and the trouble.
macro_rules! rows {
    ($($name:ident: $trouble:expr,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                meets($trouble).await;
            }
        )*
    };
}

rows! {
    down: Trouble::Down,
    closes: Trouble::Fault(Fault::CloseAfterAccept),
    resets: Trouble::Fault(Fault::Reset),
    closes_after_the_request: Trouble::Fault(Fault::CloseAfterRequest),
    hangs_before_tls: Trouble::Fault(Fault::HangBeforeTls),
    hangs: Trouble::Fault(Fault::Hang),
    slow_but_in_time: Trouble::Fault(Fault::Slow(Duration::from_millis(100))),
    too_slow: Trouble::Fault(Fault::Slow(Duration::from_secs(60))),
    drips: Trouble::Fault(Fault::Drip(Duration::from_millis(50))),
    answers_500: Trouble::Fault(Fault::Status(500)),
    answers_503: Trouble::Fault(Fault::Status(503)),
    garbage: Trouble::Fault(Fault::Garbage),
    half_a_body: Trouble::Fault(Fault::Truncated),
    a_gibibyte: Trouble::Fault(Fault::HugeBody(GIB)),
    something_else_got_the_port: Trouble::Fault(Fault::NotProtobuf),
    nothing_in_it: Trouble::Fault(Fault::EmptyOk),
    certificate_of_another_authority: Trouble::Shows(of_another_authority),
    certificate_of_another_host: Trouble::Shows(of_another_host),
    expired_certificate: Trouble::Shows(expired),
}
