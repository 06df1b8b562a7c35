//! One daemon and the way to it, as clients of all makes have to be told it.
//!
//! Owns the two doors that every operation of a user has to pass: the daemon itself, entered with a
//! key, and the proxy before it, entered with a password. [`both!`] makes one test of each. What the
//! operations are, and options of programs that are not OpenSSH's, is left to the tests.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use devcell::keys::{KeyKind, SshKey};
use devcell::{Cell, CellOptions};
use interop::process::{self, Output};
use tokio::process::Command;

/// The host in the commands of clients.
pub const HOST: &str = "127.0.0.1";

/// What tells OpenSSH's clients the password.
const ASKPASS: &str = "askpass";

/// A daemon, and how a client gets in. All of it ends with this.
pub struct Target {
    /// Where the client connects to.
    pub port: u16,
    /// The name to log in with. The proxy's has `:` and `/` in it.
    pub user: String,
    /// How the user proves who that is.
    pub auth: Auth,
    /// A file with the host key, which clients have to check.
    pub known_hosts: PathBuf,
    /// An empty directory for the client's files; also what it takes for its home.
    pub dir: PathBuf,
    host_key: SshKey,
    home: PathBuf,
    cell: Cell,
}

/// How a user gets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// With the private key in this file, in OpenSSH's format and without a passphrase.
    Key(PathBuf),
    /// With this password.
    Password(String),
}

impl Target {
    /// A daemon that nothing stands before. Its key and its user's are Ed25519.
    pub async fn direct() -> Self {
        let options = CellOptions {
            instance_key: KeyKind::Ed25519,
            ..CellOptions::default()
        };
        Self::direct_with(options).await
    }

    /// A daemon that nothing stands before, in a cell of a special make.
    pub async fn direct_with(options: CellOptions) -> Self {
        let cell = start(options).await;
        let address = cell.daemon_address(0).expect("an instance");
        // As in Cloud Foundry, the instance's key is its host key and its user's.
        let key = cell.instance_key().clone();
        let identity = cell.dir().join("identity");
        write(&identity, key.private_pem(), 0o600);
        Self::new(cell, address, "vcap".to_owned(), Auth::Key(identity), key)
    }

    /// A daemon behind the proxy. The proxy logs in there with a key of RSA, but its own is Ed25519:
    /// libssh2 before 1.11 takes RSA host keys with SHA-1 alone, which we do not sign with.
    pub async fn proxied() -> Self {
        let options = CellOptions {
            proxy_key: KeyKind::Ed25519,
            ..CellOptions::default()
        };
        Self::proxied_with(options).await
    }

    /// A daemon behind the proxy in a cell of a special make.
    pub async fn proxied_with(options: CellOptions) -> Self {
        let cell = start(options).await;
        let login = cell.logins()[0].clone();
        let (address, key) = (cell.proxy_address(), cell.host_key().clone());
        Self::new(
            cell,
            address,
            login.user,
            Auth::Password(login.password),
            key,
        )
    }

    fn new(cell: Cell, address: SocketAddr, user: String, auth: Auth, host_key: SshKey) -> Self {
        assert_eq!(address.ip(), Ipv4Addr::LOCALHOST);
        let port = address.port();
        let known_hosts = cell.dir().join("known_hosts_of_client");
        let line = format!("[{HOST}]:{port} {}\n", host_key.authorized_line());
        write(&known_hosts, &line, 0o600);
        let dir = cell.dir().join("client");
        fs::create_dir(&dir).expect("a directory");
        if let Auth::Password(password) = &auth {
            let script = format!("#!/bin/sh\necho {password}\n");
            write(&cell.dir().join(ASKPASS), &script, 0o700);
        }
        Self {
            port,
            user,
            auth,
            known_hosts,
            dir,
            host_key,
            home: cell.dir().join("instance-0"),
            cell,
        }
    }

    /// Where the daemon's relative paths start, on this machine's disk; it has a `tmp` in it.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The cell of the daemon, for its logs.
    pub fn cell(&self) -> &Cell {
        &self.cell
    }

    /// The host key, for clients that are told a fingerprint.
    pub fn host_key(&self) -> &SshKey {
        &self.host_key
    }

    /// The file of the private key, if that is how the user gets in.
    pub fn key(&self) -> Option<&Path> {
        match &self.auth {
            Auth::Key(path) => Some(path),
            Auth::Password(_) => None,
        }
    }

    /// The password, if that is how the user gets in.
    pub fn password(&self) -> Option<&str> {
        match &self.auth {
            Auth::Key(_) => None,
            Auth::Password(password) => Some(password),
        }
    }

    /// Any program of a client, started in [`dir`](Self::dir), which is its home too: it finds no
    /// configuration of this machine's user. Where it runs OpenSSH's `ssh` in turn, that has the
    /// password already.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        // The search path is ours: scripts/test has looked there for the program.
        let path = std::env::var_os("PATH").expect("a search path");
        command
            .env_clear()
            .env("PATH", path)
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", &self.dir)
            .current_dir(&self.dir);
        if self.password().is_some() {
            command
                .env("SSH_ASKPASS", self.cell.dir().join(ASKPASS))
                .env("SSH_ASKPASS_REQUIRE", "force");
        }
        command
    }

    /// The options of OpenSSH's programs: port, user, host key, and how to get in. There is no space
    /// in any of them.
    pub fn options(&self) -> Vec<String> {
        let mut options = vec![
            format!("Port={}", self.port),
            format!("User={}", self.user),
            format!("UserKnownHostsFile={}", self.known_hosts.display()),
            "GlobalKnownHostsFile=none".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            "NumberOfPasswordPrompts=1".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            // sftp -b says yes, which would be no password for anybody; the first one counts.
            "BatchMode=no".to_owned(),
        ];
        options.push(match &self.auth {
            Auth::Key(path) => format!("IdentityFile={}", path.display()),
            Auth::Password(_) => "IdentityFile=none".to_owned(),
        });
        let options = options.into_iter().map(|option| format!("-o{option}"));
        ["-F".to_owned(), "none".to_owned()]
            .into_iter()
            .chain(options)
            .collect()
    }

    /// `ssh` and its options in one word, as programs take it that run it by a shell or something
    /// similar: `rsync -e`, `GIT_SSH_COMMAND`, `sshfs -o ssh_command`.
    pub fn ssh_command(&self) -> String {
        format!("ssh {}", self.options().join(" "))
    }

    /// `ssh` to the daemon. The caller adds options, which `ssh` takes behind the host too, and the
    /// command.
    pub fn ssh(&self) -> Command {
        let mut command = self.openssh("ssh");
        command.arg(HOST);
        command
    }

    /// `scp`. The caller adds options and files, those of the daemon by [`remote`].
    pub fn scp(&self) -> Command {
        self.openssh("scp")
    }

    /// `sftp` that reads its commands from standard input and ends at the first that fails.
    pub fn sftp(&self) -> Command {
        let mut command = self.openssh("sftp");
        command.args(["-b", "-", HOST]);
        command
    }

    /// One of OpenSSH's programs with our options; the caller adds the rest, [`HOST`] included.
    pub fn openssh(&self, name: &str) -> Command {
        let mut command = self.program(name);
        command.args(self.options());
        command
    }

    /// Runs a command in the container, which has to succeed; what it printed.
    pub async fn sh(&self, script: &str) -> String {
        let mut ssh = self.ssh();
        ssh.arg(script);
        succeeds(process::run(ssh, b"").await)
    }
}

/// A file of the daemon in the words of `scp` and its like.
pub fn remote(path: &str) -> String {
    format!("{HOST}:{path}")
}

/// What a program printed that has to succeed.
pub fn succeeds(output: Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let (status, stderr) = (output.status, &output.stderr);
    assert!(status.success(), "{status}: {stderr}\n{stdout}");
    stdout
}

async fn start(options: CellOptions) -> Cell {
    let cell = Cell::start(options).await;
    cell.unwrap_or_else(|error| panic!("no cell: {error}"))
}

fn write(path: &Path, content: &str, mode: u32) {
    fs::write(path, content).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its permissions");
}

/// Makes of each operation two tests of its name, one for each door: `direct::name` and
/// `proxied::name`. The file has to have `mod support`.
macro_rules! both {
    ($($(#[$meta:meta])* async fn $name:ident($target:ident: Target) $body:block)+) => {
        $($(#[$meta])* async fn $name($target: $crate::support::target::Target) $body)+

        mod direct {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::support::target::Target::direct().await).await;
            })+
        }

        mod proxied {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::support::target::Target::proxied().await).await;
            })+
        }
    };
}
pub(crate) use both;
