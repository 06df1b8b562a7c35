//! Requests of a client that need no process: what they lead to.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod support;

use ssh_proto::connection::request::{AUTH_AGENT, NO_MORE_SESSIONS};
use support::{Client, Running, open_server};

#[tokio::test]
async fn a_client_that_gives_up_sessions_gets_no_more_and_keeps_what_it_has() {
    let daemon = Running::start(open_server()).await;
    let mut client = Client::log_in(daemon.address).await.unwrap();
    let open = client.open_session().await.unwrap();
    let connection = client.session.connection();
    connection
        .global_request(NO_MORE_SESSIONS, false, b"")
        .unwrap();
    let refused = client.open_session().await.unwrap_err();
    assert!(refused.contains("no more sessions"), "{refused}");
    assert!(client.exec(open, b"exit 7").await);
    assert_eq!(client.finish(open).await, Some(7));
    let mut other = Client::log_in(daemon.address).await.unwrap();
    assert!(other.open_session().await.is_ok());
}

#[tokio::test]
async fn a_malformed_request_to_give_up_sessions_has_no_effect() {
    let daemon = Running::start(open_server()).await;
    let mut client = Client::log_in(daemon.address).await.unwrap();
    let connection = client.session.connection();
    connection
        .global_request(NO_MORE_SESSIONS, false, b"x")
        .unwrap();
    assert!(client.open_session().await.is_ok());
}

#[tokio::test]
async fn a_malformed_request_for_an_agent_is_refused() {
    let daemon = Running::start(open_server()).await;
    let mut client = Client::log_in(daemon.address).await.unwrap();
    let session = client.open_session().await.unwrap();
    assert!(!client.ask(session, AUTH_AGENT, b"x").await);
    assert!(client.ask(session, AUTH_AGENT, b"").await);
}
