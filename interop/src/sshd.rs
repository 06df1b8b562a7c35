//! An OpenSSH server with a configuration, keys and a port of its own. It lets in the user that runs
//! the tests, by key.
//!
//! It needs no root: then it can log in nobody but its own user, which is all that is asked of it. As
//! root it wants its folder for privilege separation, which is made here.

use std::net::{SocketAddr, TcpListener};

use crate::openssh::{Files, Key, OpenSsh, is_root, user};
use crate::process::{Log, Process};

/// Another process may take the port between our looking for one and the server's binding it.
const ATTEMPTS: usize = 5;

/// A running server. It ends with this, together with its sessions.
pub struct Sshd {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whom it lets in.
    pub user: String,
    process: Process,
    _files: Files,
}

impl Sshd {
    /// Starts the server of `release`, and waits until it listens. `options` come before ours, and the
    /// first one counts.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start(
        release: OpenSsh,
        host_keys: &[Key],
        authorized: &[Key],
        options: &[impl AsRef<str>],
    ) -> Self {
        let user = match release {
            OpenSsh::Installed => user().await,
            OpenSsh::Ten => "root".to_owned(),
        };
        if is_root() {
            std::fs::create_dir_all("/run/sshd").expect("/run/sshd");
        }
        let files = Files::new(release);
        let fixed = write_config(&files, host_keys, authorized, options);
        for _ in 0..ATTEMPTS {
            let address = free_port();
            let config = files.write("config", format!("{fixed}ListenAddress {address}\n"));
            let mut command = release.program("/usr/sbin/sshd");
            command.args(["-D", "-e", "-f", &config]);
            let process = Process::start(command);
            if process.stderr.has("Server listening on").await {
                return Self {
                    address,
                    user,
                    process,
                    _files: files,
                };
            }
            let said = process.stderr.text();
            assert!(said.contains("Address already in use"), "sshd: {said}");
        }
        panic!("no port for sshd");
    }

    /// The process that listens.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it says.
    pub fn log(&self) -> &Log {
        &self.process.stderr
    }

    /// Kills it and its sessions, as dropping it does.
    pub fn kill(self) {}
}

fn write_config(
    files: &Files,
    host_keys: &[Key],
    authorized: &[Key],
    options: &[impl AsRef<str>],
) -> String {
    let mut lines: Vec<String> = options.iter().map(|it| it.as_ref().to_owned()).collect();
    for (index, key) in host_keys.iter().enumerate() {
        let path = files.write(&format!("host_key_{index}"), &key.pem);
        lines.push(format!("HostKey {path}"));
    }
    let keys: Vec<&str> = authorized.iter().map(|key| key.line.as_str()).collect();
    let path = files.write("authorized_keys", keys.join("\n") + "\n");
    lines.push(format!("AuthorizedKeysFile {path}"));
    let fixed = [
        "LogLevel DEBUG3",
        "MaxStartups 100",
        "PasswordAuthentication no",
        "PermitRootLogin yes",
        "PidFile none",
        "StrictModes no",
        "UsePAM no",
    ];
    lines.extend(fixed.map(str::to_owned));
    lines.join("\n") + "\n"
}

/// A port that is free now.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}
