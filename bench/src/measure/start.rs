//! How soon a program serves, and what it weighs.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use devcell::keys::KeyKind;

use super::Effort;
use crate::process::resident;
use crate::report::{Row, Unit};
use crate::server::{Binaries, Server, Subject};

const STARTS: u32 = 10;

/// No program here takes so long.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn measure(binaries: &Binaries, effort: &Effort) -> Vec<Row> {
    let mut size = Row::new("size of the file", Unit::Kilobytes);
    let mut memory = Row::new("memory at start", Unit::Kilobytes);
    let mut time = Row::new("from start to listening", Unit::Milliseconds);
    for (subject, program) in binaries.programs() {
        size.push(subject, kilobytes(&program));
    }
    for subject in binaries.present(&[Subject::OpenSsh, Subject::Daemon, Subject::Proxy]) {
        for _ in 0..effort.rounds {
            let server = Server::start(binaries, subject, KeyKind::Rsa2048).await;
            memory.push(subject, resident(server.listener) as f64);
        }
    }
    for _ in 0..effort.of(STARTS) {
        time.push(Subject::Daemon, start_daemon(&binaries.ours.diego_sshd));
    }
    vec![size, memory, time]
}

fn kilobytes(program: &Path) -> f64 {
    let metadata = fs::metadata(program);
    let metadata = metadata.unwrap_or_else(|error| panic!("{program:?}: {error}"));
    metadata.len() as f64 / 1000.0
}

/// Milliseconds from the start of the program to the first connection that it takes.
fn start_daemon(program: &Path) -> f64 {
    let address = free_port();
    let start = Instant::now();
    let mut command = Command::new(program);
    command.env_clear().args([
        &format!("-address={address}"),
        "-allowUnauthenticatedClients",
        "-logLevel=fatal",
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().expect("the daemon");
    let listens = wait_for(address, start);
    end(&mut child);
    listens.as_secs_f64() * 1000.0
}

fn wait_for(address: SocketAddr, start: Instant) -> Duration {
    while TcpStream::connect(address).is_err() {
        assert!(start.elapsed() < PATIENCE, "nobody listens on {address}");
        std::thread::sleep(Duration::from_micros(50));
    }
    start.elapsed()
}

fn end(child: &mut Child) {
    child.kill().expect("the daemon runs");
    child.wait().expect("the daemon is ours");
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}
