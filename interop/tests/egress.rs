//! Where the proxy connects to: the platform and the containers, and nowhere else, whatever its users
//! forward. Seen by the kernel's eyes (`strace`).

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use devcell::Cell;
use interop::process::{self, Process};
use support::user::{cell, ssh, until};
use tokio::net::TcpListener;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_connects_to_the_platform_and_to_containers_alone() {
    let cell = cell().await;
    let log = cell.dir().join("connects");
    let tracer = trace(&cell, &log).await;

    // A place that the user names, which is for the daemon to dial.
    let target = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let named = target.local_addr().expect("an address");
    let reached = tokio::spawn(async move { target.accept().await.map(drop) });
    let mut forward = ssh(&cell, 0);
    forward.args(["-W", &named.to_string()]);
    process::run(forward, b"").await;
    reached.await.expect("no panic").expect("a connection");
    let mut command = ssh(&cell, 1);
    command.arg("true");
    let output = process::run(command, b"").await;
    assert!(output.status.success(), "{}", output.stderr);

    let (daemons, platform) = places(&cell);
    let said = || connects(&log).is_superset(&daemons);
    until("strace has told of both daemons", said).await;
    tracer.kill();
    let seen = connects(&log);
    let elsewhere: Vec<_> = seen
        .iter()
        .filter(|address| !daemons.contains(address) && !platform.contains(&address.port()))
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    assert!(!seen.contains(&named));
    cell.stop().await;
}

/// Follows the proxy, and comes back when it does.
async fn trace(cell: &Cell, log: &Path) -> Process {
    let pid = cell.proxy().pid().expect("it runs").to_string();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", "trace=connect", "-p", &pid, "-o"]);
    let strace = Process::start({
        strace.arg(log);
        strace
    });
    assert!(
        strace.stderr.has("attached").await,
        "{}",
        strace.stderr.text()
    );
    strace
}

/// Where the daemons are, and the ports of BBS and the agent of loggregator.
fn places(cell: &Cell) -> (BTreeSet<SocketAddr>, BTreeSet<u16>) {
    let daemons = [0, 1].map(|index| cell.daemon_address(index).expect("an instance"));
    let url = cell.bbs().url();
    let (_, port) = url.trim_end_matches('/').rsplit_once(':').expect("a port");
    let bbs = port.parse().expect("a port");
    let agent = cell.agent().expect("an agent").port();
    (daemons.into(), [bbs, agent].into())
}

/// All addresses in calls of `connect` so far.
fn connects(log: &Path) -> BTreeSet<SocketAddr> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let addresses = text.lines().filter(|line| line.contains("connect("));
    addresses.map(address).collect()
}

/// Of a line such as `7 connect(9, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("::")}, 16)`.
fn address(line: &str) -> SocketAddr {
    let between = |before: &str, after: &str| {
        let (_, rest) = line.split_once(before)?;
        Some(rest.split_once(after)?.0)
    };
    let port = between("port=htons(", ")");
    let host = between("inet_addr(\"", "\"").or_else(|| between("inet_pton(AF_INET6, \"", "\""));
    let (Some(host), Some(port)) = (host, port) else {
        panic!("no address that the proxy should connect to: {line}");
    };
    let host = host.parse().expect("an address");
    SocketAddr::new(host, port.parse().expect("a port"))
}
