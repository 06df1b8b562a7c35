//! How soon a program serves, and what it weighs.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use devcell::keys::KeyKind;
use serde_json::Value;

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
    let beside = Server::start(binaries, Subject::Proxy, KeyKind::Rsa2048).await;
    for _ in 0..effort.of(STARTS) {
        time.push(Subject::Daemon, start_daemon(&binaries.ours.diego_sshd));
        time.push(
            Subject::Proxy,
            start_proxy(&binaries.ours.ssh_proxy, beside.listener),
        );
    }
    vec![size, memory, time]
}

fn kilobytes(program: &Path) -> f64 {
    let metadata = fs::metadata(program);
    let metadata = metadata.unwrap_or_else(|error| panic!("{program:?}: {error}"));
    metadata.len() as f64 / 1000.0
}

fn start_daemon(program: &Path) -> f64 {
    let address = free_port();
    let mut command = Command::new(program);
    command.env_clear().args([
        &format!("-address={address}"),
        "-allowUnauthenticatedClients",
        "-logLevel=fatal",
    ]);
    time_to_listen(command, address)
}

/// Starts a proxy like the running one `beside` it, on ports of its own.
fn start_proxy(program: &Path, beside: u32) -> f64 {
    let address = free_port();
    let mut config = config_of(beside);
    config["address"] = address.to_string().into();
    config["health_check_address"] = free_port().to_string().into();
    config["debug_address"] = "".into();
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), config.to_string()).expect("a file");
    let mut command = Command::new(program);
    command.arg(format!("-config={}", file.path().display()));
    time_to_listen(command, address)
}

/// What a running proxy was told.
fn config_of(pid: u32) -> Value {
    let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("it runs");
    let path = words
        .split('\0')
        .find_map(|word| word.strip_prefix("-config="));
    let config = fs::read(path.expect("it was told by a file")).expect("its file");
    serde_json::from_slice(&config).expect("its file is JSON")
}

/// Milliseconds from the start of a program to the first connection that it takes.
fn time_to_listen(mut command: Command, address: SocketAddr) -> f64 {
    let start = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().expect("the program");
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
    child.kill().expect("it runs");
    child.wait().expect("it is ours");
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}
