//! Who may begin a login: balancers and the users behind them, probes, bounds and penalties; and peers
//! that are gone without a word.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use devcell::rig::LogLevel;
use devcell::{Cell, CellOptions};
use interop::process;
use packets::*;
use rustix::net::sockopt;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;

async fn cell(mut config: Value) -> Cell {
    config["metrics_address"] = "127.0.0.1:0".into();
    let options = CellOptions {
        proxy_log_level: LogLevel::Info,
        proxy_config: config,
        ..options()
    };
    Cell::start(options).await.unwrap()
}

/// A connection from another address of this machine.
async fn from(source: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// All packets that come before the end, in clear.
async fn heard(mut stream: TcpStream) -> Vec<Vec<u8>> {
    let mut answer = Vec::new();
    within("being turned away", stream.read_to_end(&mut answer))
        .await
        .unwrap();
    packets_in_the_clear(&answer)
}

/// The reason and the text of the DISCONNECT that comes without a key exchange.
async fn turned_away(stream: TcpStream) -> (u32, String) {
    read_disconnect(heard(stream).await.last().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_address_comes_from_the_balancer() {
    let cell = cell(json!({"proxy_protocol_sources": ["127.0.0.2/31"]})).await;
    let door = proxy_door(&cell);
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\x7f\0\0\x01\x12\x34\x08\xae";
    for (header, user) in [
        (
            &b"PROXY TCP4 198.51.100.9 127.0.0.1 4711 2222\r\n"[..],
            "198.51.100.9:4711",
        ),
        (v2, "203.0.113.7:4660"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.2:"),
    ] {
        let mark = cell.proxy().mark();
        let mut stream = from(ELSEWHERE, door.address).await;
        stream.write_all(header).await.unwrap();
        let mut raw = Raw::on(stream).enter(&door).await.unwrap();
        assert_eq!(raw.run(0, "echo in").await.unwrap().stdout, b"in\n");
        let line = cell.proxy().wait_for_log_after(mark, "relay-started").await;
        let address = format!(r#""remote_address":"{user}"#);
        assert!(line.as_ref().unwrap().contains(&address), "{line:?}");
    }

    // From a balancer without a header: nobody. From anybody else with one: garbage.
    let mark = cell.proxy().mark();
    let mut bare = from(ELSEWHERE, door.address).await;
    bare.write_all(b"SSH-2.0-client\r\n").await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = within("the end", bare.read_to_end(&mut answer)).await;
    assert!(answer.is_empty());
    let line = cell
        .proxy()
        .wait_for_log_after(mark, "proxy-protocol-failed")
        .await;
    assert!(line.unwrap().contains("no PROXY protocol header"));
    let mut forged = from(HERE, door.address).await;
    forged
        .write_all(b"PROXY TCP4 192.0.2.66 127.0.0.1 4711 2222\r\n")
        .await
        .unwrap();
    let (reason, text) = turned_away(forged).await;
    assert_eq!(reason, 8, "{text}");

    Bystander::enter(&door).await.all_is_well().await;
    assert!(!cell.proxy().log().contains("192.0.2.66"));
    cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_leave_no_line_in_the_log() {
    for config in [
        json!({}),
        json!({"source_is_user": true}),
        json!({"proxy_protocol_sources": ["127.0.0.0/8"]}),
    ] {
        let behind = config.get("proxy_protocol_sources").is_some();
        let cell = cell(config).await;
        let before = cell.proxy().log().lines().count();
        for _ in 0..20 {
            drop(from(HERE, cell.proxy_address()).await);
            let mut reads = from(HERE, cell.proxy_address()).await;
            if behind {
                reads.write_all(b"PROXY UNKNOWN\r\n").await.unwrap();
            }
            reads.read_u8().await.unwrap();
            drop(reads);
            let resets = from(HERE, cell.proxy_address()).await;
            sockopt::set_socket_linger(&resets, Some(Duration::ZERO)).unwrap();
            drop(resets);
        }
        // Whoever comes later is served later: all of them have been by then.
        let door = proxy_door(&cell);
        let mut user = from(HERE, door.address).await;
        if behind {
            user.write_all(b"PROXY UNKNOWN\r\n").await.unwrap();
        }
        let mut raw = Raw::on(user).enter(&door).await.unwrap();
        assert_eq!(raw.run(0, "echo in").await.unwrap().stdout, b"in\n");
        let log = cell.proxy().log();
        let strangers: Vec<&str> = (log.lines().skip(before))
            .filter(|line| !line.contains("authentication-attempted"))
            .filter(|line| !line.contains("relay-started"))
            .collect();
        assert!(strangers.is_empty(), "{strangers:#?}");
        cell.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_bound_of_logins_openssh_says_why() {
    let cell = cell(json!({"max_unauthenticated_connections": 2, "login_timeout": "30s"})).await;
    let door = proxy_door(&cell);
    let mut bystander = Bystander::enter(&door).await;
    let first = Raw::keyed(door.address).await;
    let second = Raw::keyed(door.address).await;
    let text = "too many users are logging in; try again in a minute [too_many_logins]";
    let stream = from(HERE, door.address).await;
    assert_eq!(turned_away(stream).await, (12, text.to_owned()));
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-p", &door.address.port().to_string()]);
    ssh.args(["-o", "UserKnownHostsFile=none", "-o", "BatchMode=yes"]);
    ssh.args([&cell.proxy_address().ip().to_string(), "true"]);
    let output = process::run(ssh, b"").await;
    assert!(output.stderr.contains(text), "{}", output.stderr);
    assert_eq!(metrics::refusals(&cell, "too_many_logins").await, 2.0);
    bystander.is_undisturbed().await;

    // Who is in does not count, and who leaves makes room.
    drop(first);
    within("room for the next", async {
        while Raw::login(&door).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(second);
    cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_source_has_its_share_of_logins_and_no_more() {
    let bound = "max_unauthenticated_connections_per_source";
    let cell = cell(json!({"source_is_user": true, bound: 1, "login_timeout": "30s"})).await;
    let door = proxy_door(&cell);
    let mut first = Raw::on(from(ELSEWHERE, door.address).await);
    first.begin().await;
    let (reason, text) = turned_away(from(ELSEWHERE, door.address).await).await;
    assert_eq!(reason, 12);
    assert!(text.ends_with("[too_many_from_source]"), "{text}");
    assert_eq!(metrics::refusals(&cell, "too_many_from_source").await, 1.0);
    let line = cell.proxy().wait_for_log("turned-away").await.unwrap();
    assert!(line.contains(r#""code":"too_many_from_source""#), "{line}");
    Bystander::enter(&door).await.all_is_well().await;
    cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_waits_and_nobody_else_does() {
    let cell = cell(json!({"source_is_user": true, "penalty_exempt_sources": ["127.0.0.3"]})).await;
    let door = proxy_door(&cell);
    let login = &cell.logins()[0];
    let guess = async |source: Ipv4Addr| {
        let mut raw = Raw::on(from(source, door.address).await);
        raw.begin().await;
        for _ in 0..4 {
            assert_eq!(raw.try_password(&login.user, "wrong").await, Ok(false));
        }
        raw
    };
    let mut guesser = guess(ELSEWHERE).await;
    let (reason, text) = turned_away(from(ELSEWHERE, door.address).await).await;
    assert_eq!(reason, 12);
    assert!(text.ends_with("[penalised_source]"), "{text}");
    assert_eq!(metrics::refusals(&cell, "penalised_source").await, 1.0);
    // The connection that there is may go on, and so may everyone else.
    let opened = guesser.try_password(&login.user, &login.password).await;
    assert_eq!(opened, Ok(true));
    Bystander::enter(&door).await.all_is_well().await;

    let exempt = Ipv4Addr::new(127, 0, 0, 3);
    guess(exempt).await;
    let stream = from(exempt, door.address).await;
    Raw::on(stream).enter(&door).await.unwrap();
    cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_balancer_is_not_punished_for_its_users() {
    let cell = cell(json!({})).await;
    let login = &cell.logins()[0];
    for _ in 0..3 {
        let mut raw = Raw::served(cell.proxy_address()).await;
        for _ in 0..5 {
            assert_eq!(raw.try_password(&login.user, "wrong").await, Ok(false));
        }
    }
    Bystander::enter(&proxy_door(&cell))
        .await
        .all_is_well()
        .await;
    cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_does_not_come_ends_with_the_login_deadline() {
    let config = json!({"proxy_protocol_sources": ["127.0.0.0/8"], "login_timeout": "1s"});
    let cell = cell(config).await;
    for begun in [&b""[..], b"PROXY TCP4 192.0", b"\r\n\r\n\0\r\nQUIT\n\x21"] {
        let mut stream = from(HERE, cell.proxy_address()).await;
        stream.write_all(begun).await.unwrap();
        let mut answer = Vec::new();
        let _ = within("the deadline", stream.read_to_end(&mut answer)).await;
        assert!(answer.is_empty());
    }
    cell.stop().await;
}

/// The TCP connections of a process: what our copies of its descriptors tell.
fn connections(pid: u32) -> Vec<TcpLeg> {
    let pid_file = pidfd_open(
        Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
        PidfdFlags::empty(),
    )
    .unwrap();
    let mut legs = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let Ok(socket) = pidfd_getfd(&pid_file, number, PidfdGetfdFlags::empty()) else {
            continue;
        };
        let (Ok(near), Ok(Some(far))) = (
            rustix::net::getsockname(&socket),
            rustix::net::getpeername(&socket),
        ) else {
            continue;
        };
        if let (Ok(near), Ok(far)) = (near.try_into(), far.try_into()) {
            legs.push(TcpLeg {
                near,
                far,
                keepalive: sockopt::socket_keepalive(&socket).unwrap(),
                unanswered: sockopt::tcp_keepidle(&socket).unwrap()
                    + sockopt::tcp_keepintvl(&socket).unwrap()
                        * sockopt::tcp_keepcnt(&socket).unwrap(),
                unacknowledged: sockopt::tcp_user_timeout(&socket).unwrap(),
            });
        }
    }
    legs
}

#[derive(Debug)]
struct TcpLeg {
    near: SocketAddr,
    far: SocketAddr,
    keepalive: bool,
    /// How long a silent peer may not answer probes.
    unanswered: Duration,
    /// How long data may stay unacknowledged, in milliseconds.
    unacknowledged: u32,
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_are_gone_are_noticed_within_two_minutes_on_both_legs() {
    let cell = cell(json!({})).await;
    let _session = Bystander::enter(&proxy_door(&cell)).await;
    let legs = connections(cell.proxy().pid().unwrap());
    let of = |is: &dyn Fn(&TcpLeg) -> bool| legs.iter().filter(|leg| is(leg)).count();
    let daemon = cell.daemon_address(0).unwrap();
    let is_ours = |leg: &TcpLeg| leg.near == cell.proxy_address() || leg.far == daemon;
    assert_eq!(of(&|leg| leg.near == cell.proxy_address()), 1, "{legs:?}");
    assert_eq!(of(&|leg| leg.far == daemon), 1, "{legs:?}");
    for leg in legs.iter().filter(|leg| is_ours(leg)) {
        assert!(leg.keepalive, "{leg:?}");
        assert!(leg.unanswered <= Duration::from_secs(120), "{leg:?}");
        assert_eq!(leg.unacknowledged, 120_000, "{leg:?}");
    }
    cell.stop().await;
}
