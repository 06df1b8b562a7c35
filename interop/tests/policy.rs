//! What an operator may take from users: refused on the way, in its place, and with all else as before.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;

use devcell::Cell;
use interop::process::{self, Output};
use packets::*;
use serde_json::{Value, json};
use ssh_proto::msg;
use ssh_proto::wire::{Put, Reader};
use tokio::net::TcpListener;
use tokio::process::Command;

async fn cell(policy: Value) -> Cell {
    let mut options = options();
    options.proxy_config = json!({"policy": policy});
    Cell::start(options).await.unwrap()
}

/// A real client's program for the first instance; `port` is its option for the port.
fn client(cell: &Cell, program: &str, port: &str) -> Command {
    let mut command = Command::new("sshpass");
    command.env("SSHPASS", &cell.logins()[0].password);
    command.args(["-e", program, "-F", "none"]);
    command.args([port, &cell.proxy_address().port().to_string()]);
    let known_hosts = format!("UserKnownHostsFile={}", cell.known_hosts().display());
    command.args(["-o", &known_hosts, "-o", "GlobalKnownHostsFile=none"]);
    command.args(["-o", &format!("User={}", cell.logins()[0].user)]);
    command
}

async fn ssh(cell: &Cell, arguments: &[&str]) -> Output {
    let mut command = client(cell, "ssh", "-p");
    command.args(arguments);
    process::run(command, b"").await
}

fn direct_tcpip(number: u32, host: &str, port: u16) -> Vec<u8> {
    let mut payload = open("direct-tcpip", number, 1 << 20, 1 << 15);
    payload.put_string(host.as_bytes());
    payload.put_u32(port.into());
    payload.put_string(b"192.0.2.1");
    payload.put_u32(1);
    payload
}

fn global(name: &str, fields: &[&[u8]], port: Option<u32>) -> Vec<u8> {
    let mut payload = string_message(msg::GLOBAL_REQUEST, name);
    payload.put_bool(true);
    for field in fields {
        payload.put_string(field);
    }
    if let Some(port) = port {
        payload.put_u32(port);
    }
    payload
}

/// The reason of the refusal of a channel; anything else fails the test.
async fn refusal(raw: &mut Raw, number: u32) -> (u32, String) {
    let packet = raw.packet().await.unwrap();
    assert_eq!(
        (packet[0], u32_at(&packet, 1)),
        (msg::CHANNEL_OPEN_FAILURE, number)
    );
    let text = Reader::new(&packet[9..]).string().unwrap();
    (
        u32_at(&packet, 5),
        String::from_utf8(text.to_vec()).unwrap(),
    )
}

const PROHIBITED: u32 = 1;

#[tokio::test(flavor = "multi_thread")]
async fn files_can_be_all_that_is_allowed() {
    let cell = cell(json!({
        "shell": false, "exec": false, "local_forwarding": false, "remote_forwarding": false,
        "streamlocal_forwarding": false, "agent_forwarding": false, "x11_forwarding": false,
    }))
    .await;
    let marker = cell.dir().join("marker");
    let touch = format!("touch {}", marker.display());
    for command in [
        &touch,
        &format!("/usr/bin/env {touch}"),
        &format!("scp-x; {touch}"),
        &format!("scp;{touch}"),
        &format!("rsync --server; {touch}"),
        "/usr/lib/openssh/sftp-server",
    ] {
        let output = ssh(&cell, &["127.0.0.1", command]).await;
        assert_eq!(output.status.code(), Some(255), "{command}");
        let told = "exec request failed on channel 0";
        assert!(output.stderr.contains(told), "{}", output.stderr);
    }
    // This is scp's, and no shell sees it.
    ssh(&cell, &["127.0.0.1", &format!("scp -t x; {touch}")]).await;
    assert!(!marker.exists());
    let shell = ssh(&cell, &["-T", "127.0.0.1"]).await;
    assert!(shell.stderr.contains("shell request failed on channel 0"));

    let there = cell.dir().join("there");
    for (program, options) in [("scp", &["-O"][..]), ("scp", &["-s"])] {
        let source = cell.dir().join("source");
        std::fs::write(&source, program.as_bytes()).unwrap();
        let mut copy = client(&cell, program, "-P");
        copy.args(options).arg(&source);
        copy.arg(format!("127.0.0.1:{}", there.display()));
        let output = process::run(copy, b"").await;
        assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
        assert_eq!(std::fs::read(&there).unwrap(), program.as_bytes());
        std::fs::remove_file(&there).unwrap();
    }
    let log = cell
        .proxy()
        .wait_for_log("refused-by-policy")
        .await
        .unwrap();
    assert!(log.contains(r#""capability":"exec""#), "{log}");
    assert!(!log.contains("touch"), "{log}");
    cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_forwarding_is_refused_alone_and_the_session_goes_on() {
    let cell = cell(json!({
        "files": false, "remote_forwarding": false, "streamlocal_forwarding": false,
        "agent_forwarding": false, "local_forwarding": false,
    }))
    .await;
    let door = proxy_door(&cell);
    let mut raw = Raw::login(&door).await.unwrap();
    let allow = "the platform does not allow it";

    raw.send(&direct_tcpip(1, "127.0.0.1", 1));
    assert_eq!(refusal(&mut raw, 1).await, (PROHIBITED, allow.to_owned()));
    let mut socket = open("direct-streamlocal@openssh.com", 2, 1 << 20, 1 << 15);
    socket.put_string(b"/run/x");
    socket.put_string(b"");
    socket.put_u32(0);
    raw.send(&socket);
    assert_eq!(refusal(&mut raw, 2).await.0, PROHIBITED);

    // Replies keep the order of their requests: the daemon refuses the second, we the others.
    raw.send(&global("tcpip-forward", &[b"127.0.0.1"], Some(0)));
    raw.send(&global("unknown@example.com", &[], None));
    raw.send(&global("streamlocal-forward@openssh.com", &[b"/x"], None));
    for _ in 0..3 {
        assert_eq!(raw.packet().await.unwrap(), [msg::REQUEST_FAILURE]);
    }

    let peer = raw.open_session(3, 1 << 20).await.unwrap();
    raw.send(&request(peer, "env", true, &[b"A", b"1"]));
    raw.send(&request(peer, "auth-agent-req@openssh.com", true, &[]));
    raw.send(&request(peer, "env", true, &[b"B", b"2"]));
    raw.send(&request(peer, "subsystem", true, &[b"sftp"]));
    raw.send(&exec(peer, "echo $A$B"));
    let mut replies = Vec::new();
    while replies.len() < 5 {
        let packet = raw.packet().await.unwrap();
        if matches!(packet[0], msg::CHANNEL_SUCCESS | msg::CHANNEL_FAILURE) {
            replies.push(packet[0] == msg::CHANNEL_SUCCESS);
        }
    }
    assert_eq!(replies, [true, false, true, false, true]);
    let finished = raw.finish(3, peer).await.unwrap();
    assert_eq!(
        (finished.stdout, finished.status),
        (b"12\n".to_vec(), Some(0))
    );
    cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_lead_only_to_the_targets_of_the_list() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = target.local_addr().unwrap().port();
    let closed = other.local_addr().unwrap().port();
    let cell =
        cell(json!({"forward_targets": [format!("127.0.0.0/8:{port}"), "localhost:*"]})).await;
    let mut raw = Raw::login(&proxy_door(&cell)).await.unwrap();
    for (number, (host, port)) in (1..).zip([
        ("127.0.0.1", closed),
        ("0.0.0.0", port),
        ("127.1", port),
        ("[::1]", port),
        ("169.254.169.254", port),
        ("localhost.example.com", port),
    ]) {
        raw.send(&direct_tcpip(number, host, port));
        assert_eq!(refusal(&mut raw, number).await.0, PROHIBITED, "{host}");
    }
    for (number, host) in (10..).zip(["127.0.0.1", "localhost"]) {
        raw.send(&direct_tcpip(number, host, port));
        let answer = raw.wait_for(msg::CHANNEL_OPEN_CONFIRMATION).await.unwrap();
        assert_eq!(recipient(&answer), number, "{host}");
        target.accept().await.unwrap();
    }
    // What the user of a real client reads.
    let output = ssh(&cell, &["-W", &format!("127.0.0.1:{closed}"), "127.0.0.1"]).await;
    let told = "administratively prohibited: the platform does not allow it";
    assert!(output.stderr.contains(told), "{}", output.stderr);
    let line = cell
        .proxy()
        .wait_for_log("refused-by-policy")
        .await
        .unwrap();
    assert!(line.contains(r#""capability":"forward_targets""#), "{line}");
    cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_refused_without_end_are_told_once_and_bounded() {
    let cell = cell(json!({"remote_forwarding": false})).await;
    let door = proxy_door(&cell);
    let mut bystander = Bystander::enter(&proxy_door(&cell)).await;
    let mut raw = Raw::login(&door).await.unwrap();
    for _ in 0..500 {
        raw.send(&global("tcpip-forward", &[b"127.0.0.1"], Some(0)));
    }
    for _ in 0..500 {
        assert_eq!(raw.packet().await.unwrap(), [msg::REQUEST_FAILURE]);
    }
    bystander.is_undisturbed().await;
    cell.proxy().stop().await;
    let lines = cell.proxy().log().matches("refused-by-policy").count();
    assert_eq!(lines, 1);
    cell.stop().await;
}
