//! The installed `ssh` as a user of the cell runs it: the proxy's host key known, the password given
//! by a program, nothing read from this machine's own configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use devcell::{Cell, CellOptions};
use interop::process::{self, Output};
use tokio::process::Command;

/// Far more than anything here takes: what is not done by then hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What has the password; the cell's directory keeps it from others.
const ASKPASS: &str = "askpass";

/// A cell as it is.
pub async fn cell() -> Cell {
    cell_with(CellOptions::default()).await
}

/// A cell of a special make.
pub async fn cell_with(options: CellOptions) -> Cell {
    let cell = Cell::start(options).await;
    let cell = cell.unwrap_or_else(|error| panic!("no cell: {error}"));
    let path = cell.dir().join(ASKPASS);
    let script = format!("#!/bin/sh\necho {}\n", cell.logins()[0].password);
    fs::write(&path, script).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("its permissions");
    cell
}

/// `ssh` to an instance that gets its password without a terminal. The caller adds options, which
/// `ssh` takes behind the host too, and the command.
pub fn ssh(cell: &Cell, index: usize) -> Command {
    let mut command = Command::new("ssh");
    complete(&mut command, cell, index);
    command
        .env("SSH_ASKPASS", cell.dir().join(ASKPASS))
        .env("SSH_ASKPASS_REQUIRE", "force");
    command
}

/// The same where the password is asked for on the terminal.
pub fn ssh_asking(program: &mut Command, cell: &Cell, index: usize) {
    program.arg("ssh");
    complete(program, cell, index);
}

fn complete(command: &mut Command, cell: &Cell, index: usize) {
    let known_hosts = format!("UserKnownHostsFile={}", cell.known_hosts().display());
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env("LC_ALL", "C")
        .args(["-F", "none", "-p", &cell.proxy_address().port().to_string()])
        .args(["-o", &known_hosts, "-o", "GlobalKnownHostsFile=none"])
        .args(["-o", "StrictHostKeyChecking=yes"])
        .args(["-o", "NumberOfPasswordPrompts=1"])
        .args(["-l", &cell.logins()[index].user, "127.0.0.1"]);
}

/// Runs a command in instance 0 without input.
pub async fn run(cell: &Cell, command: &str) -> Output {
    run_with_input(cell, command, b"").await
}

/// Runs a command in instance 0.
pub async fn run_with_input(cell: &Cell, command: &str, input: &[u8]) -> Output {
    let mut ssh = ssh(cell, 0);
    ssh.arg(command);
    process::run(ssh, input).await
}

/// What a program printed, which has to be text.
pub fn text(output: &Output) -> &str {
    str::from_utf8(&output.stdout).expect("UTF-8")
}

/// A connection that others share, held by an `ssh` in the foreground.
pub struct Master {
    process: process::Process,
    /// Its control socket.
    pub socket: PathBuf,
}

impl Master {
    /// Connects and waits until sessions can be had; `options` as on a command line.
    pub async fn start(cell: &Cell, index: usize, name: &str, options: &[&str]) -> Self {
        let mut command = ssh(cell, index);
        command.args(options);
        Self::of(command, cell.dir().join(name)).await
    }

    /// The same of an `ssh` to any server.
    pub async fn of(mut ssh: Command, socket: PathBuf) -> Self {
        ssh.args(["-M", "-N", "-S"]).arg(&socket);
        let process = process::Process::start(ssh);
        let up = || Path::exists(&socket);
        until("the control socket is there", up).await;
        Self { process, socket }
    }

    /// `ssh` over this connection; the caller adds options and the command. No password is there to
    /// be given, so it cannot fall back to a connection of its own.
    pub fn ssh(&self) -> Command {
        let mut command = Command::new("ssh");
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .args(["-F", "none", "-o", "BatchMode=yes", "-S"])
            .arg(&self.socket)
            .arg("127.0.0.1");
        command
    }

    /// Asks it to go, and waits until it has.
    pub async fn stop(self) {
        let mut command = self.ssh();
        command.args(["-O", "exit"]);
        let asked = process::run(command, b"").await;
        assert!(asked.status.success(), "{}", asked.stderr);
        // Its status says nothing: without a session of its own there is none to take it from.
        self.process.finish().await;
    }
}

/// Waits until a condition holds that nothing announces.
///
/// # Panics
/// It does not hold in time.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("in vain: {what}"));
}

/// Waits until somebody takes connections at a Unix socket, by one that ends at once. Its file is there a
/// moment before.
///
/// # Panics
/// Nobody does in time.
pub async fn listens(socket: &Path) {
    let what = format!("connections to {}", socket.display());
    until(&what, || UnixStream::connect(socket).is_ok()).await;
}

/// Whether there is such a process and it is not dead. Dead ones may wait here for their end, as
/// [`process`] makes orphans ours.
pub fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    // "pid (name) state ...", where a name may contain anything.
    stat.is_ok_and(|stat| {
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
        state != Some(b'Z')
    })
}
