//! More than one proxy, and a TCP balancer before them.
//!
//! Owns starting further proxies with the configuration of a cell's own one, and a balancer that asks
//! for health before each connection. Whose sessions survive what is left to the tests.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too, and not every test needs all of them"
)]

use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use devcell::Cell;
use devcell::rig::Binaries;
use interop::process::Process;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;

/// Writes the configuration of the cell's proxy anew, with `changes` on top.
pub fn configuration(cell: &Cell, name: &str, changes: &Value) -> PathBuf {
    let text = fs::read_to_string(cell.proxy_config()).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    let keys = config.as_object_mut().unwrap();
    keys.extend(changes.as_object().unwrap().clone());
    let path = cell.dir().join(name);
    fs::write(&path, config.to_string()).unwrap();
    path
}

/// Starts a proxy with a configuration, and waits until it serves.
pub async fn start(config: &Path) -> Process {
    let mut command = Command::new(Binaries::find().unwrap().ssh_proxy);
    command.arg(format!("-config={}", config.display()));
    let process = Process::start(command);
    assert!(process.stdout.has("ssh-proxy.started").await);
    process
}

/// Starts a proxy that inherits its listeners, as a supervisor would start it, and waits until it serves.
pub async fn inheriting(config: &Path, ssh: &TcpListener, health: &TcpListener) -> Process {
    // Descriptors that a test may give to its children have numbers below 3: the shell moves them.
    const SCRIPT: &str = r#"
        exec 3<&0 4<&2 </dev/null 2>/dev/null
        LISTEN_PID=$$ LISTEN_FDS=2 exec "$0" "$@""#;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SCRIPT]);
    command.arg(Binaries::find().unwrap().ssh_proxy);
    command.arg(format!("-config={}", config.display()));
    let process = Process::start_on(command, descriptor(ssh), descriptor(health));
    assert!(process.stdout.has("ssh-proxy.started").await);
    process
}

fn descriptor(listener: &TcpListener) -> Stdio {
    use std::os::fd::AsFd;
    let copy: OwnedFd = listener.as_fd().try_clone_to_owned().unwrap();
    copy.into()
}

/// A listener on a port that the system picks, for others to inherit.
pub async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The status line of the health server at `address`, or `None` if nobody answers.
pub async fn health(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.lines().next().map(str::to_owned)
}

/// Where a proxy serves.
#[derive(Debug, Clone, Copy)]
pub struct Backend {
    /// For clients.
    pub ssh: SocketAddr,
    /// For the balancer.
    pub health: SocketAddr,
}

/// A TCP balancer. It ends with this.
pub struct Balancer {
    /// Where it serves.
    pub address: SocketAddr,
    _task: JoinSet<()>,
}

impl Balancer {
    /// Sends each connection to the next of `backends` that is in good health.
    pub async fn before(backends: Vec<Backend>) -> Self {
        let (listener, address) = listener().await;
        let mut task = JoinSet::new();
        task.spawn(async move {
            let backends = Arc::new(backends);
            let mut connections = JoinSet::new();
            let mut turn = 0;
            loop {
                let (client, _) = listener.accept().await.unwrap();
                turn += 1;
                connections.spawn(forward(client, Arc::clone(&backends), turn));
            }
        });
        Self {
            address,
            _task: task,
        }
    }
}

async fn forward(mut client: TcpStream, backends: Arc<Vec<Backend>>, turn: usize) {
    for index in 0..backends.len() {
        let backend = backends[(turn + index) % backends.len()];
        let status = health(backend.health).await;
        if status.is_none_or(|status| !status.contains(" 200 ")) {
            continue;
        }
        if let Ok(mut server) = TcpStream::connect(backend.ssh).await {
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            // Whatever ends one leg ends the other, and its client notices.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
    panic!("no proxy is in good health");
}

/// Keys for a proxy that drains.
pub fn draining(delay: &str, timeout: &str) -> Value {
    json!({"drain_delay": delay, "drain_timeout": timeout})
}
