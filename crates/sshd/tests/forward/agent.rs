//! The socket that stands for the user's agent.

use std::fs;
use std::future::pending;
use std::os::unix::fs::PermissionsExt as _;

use sshd::forward::Agent;
use tokio::net::UnixStream;

use crate::rig::{Rig, assert_joined};

#[tokio::test]
async fn an_agent_is_one_socket_in_a_private_directory() {
    let mut rig = Rig::new();
    let path = rig.forwards.agent().unwrap().to_owned();
    assert_eq!(rig.forwards.agent().unwrap(), path);
    let directory = fs::metadata(path.parent().unwrap()).unwrap();
    assert_eq!(directory.permissions().mode() & 0o7777, 0o700);
    let socket = fs::metadata(&path).unwrap();
    assert_eq!(socket.permissions().mode() & 0o7777, 0o600);

    let client = UnixStream::connect(&path).await.unwrap();
    let incoming = rig.incoming().await;
    assert_eq!(incoming.kind, "auth-agent@openssh.com");
    assert!(incoming.payload.is_empty());
    assert_joined(incoming.stream, client).await;
}

#[tokio::test]
async fn an_agents_socket_goes_with_its_task() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::open_in(dir.path()).unwrap();
    assert!(agent.path().starts_with(dir.path()));
    let task = tokio::spawn(async move {
        let _agent = agent;
        pending::<()>().await;
    });
    // Aborted once it runs and before: both drop what it owns.
    tokio::task::yield_now().await;
    task.abort();
    task.await.unwrap_err();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_agent_without_a_place_fails_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    Agent::open_in(&file).unwrap_err();
    Agent::open_in(&dir.path().join("missing")).unwrap_err();
    // The socket's path would be too long, which is found out after its directory was made.
    let deep = dir.path().join("x".repeat(100));
    fs::create_dir(&deep).unwrap();
    Agent::open_in(&deep).unwrap_err();
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
}
