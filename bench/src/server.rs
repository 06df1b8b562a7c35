//! The servers that are compared, each started with keys of one kind and nothing else to do.

use std::env::var_os;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use devcell::keys::KeyKind;
use devcell::rig::{InstanceTls, LogLevel};
use devcell::{Cell, CellOptions, rig};
use interop::openssh::{Key, OpenSsh};
use interop::sshd::Sshd;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Auth, Way};

/// What is measured. A proxy is always measured with a daemon behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// OpenSSH's server.
    OpenSsh,
    /// Our daemon.
    Daemon,
    /// Our proxy before our daemon.
    Proxy,
    /// The same with TLS between the two.
    ProxyTls,
    /// The same with all that an operator can switch on.
    ProxyPolicy,
    /// The daemon of the Go pair.
    GoDaemon,
    /// The Go pair.
    GoProxy,
}

impl Subject {
    /// In the order of columns.
    pub(crate) const ALL: [Self; 7] = [
        Self::OpenSsh,
        Self::Daemon,
        Self::Proxy,
        Self::ProxyTls,
        Self::ProxyPolicy,
        Self::GoDaemon,
        Self::GoProxy,
    ];

    /// What its column is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OpenSsh => "OpenSSH sshd",
            Self::Daemon => "diego-sshd",
            Self::Proxy => "ssh-proxy",
            Self::ProxyTls => "ssh-proxy, TLS",
            Self::ProxyPolicy => "ssh-proxy, policy and audit",
            Self::GoDaemon => "Go diego-sshd",
            Self::GoProxy => "Go ssh-proxy",
        }
    }
}

/// The programs under test.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    pub(crate) ours: rig::Binaries,
    go_daemon: Option<PathBuf>,
    go_proxy: Option<PathBuf>,
}

impl Binaries {
    /// Ours are where the command line says, the Go pair where `GO_SSHD` and `GO_SSH_PROXY` say.
    pub(crate) fn find(arguments: &ArgMatches) -> Self {
        let dir: &PathBuf = arguments.get_one("bin-dir").expect("it is required");
        // The programs are started in directories of their own.
        let dir = dir
            .canonicalize()
            .unwrap_or_else(|error| panic!("{dir:?}: {error}"));
        let ours = rig::Binaries::in_any_of(&[dir]);
        Self {
            ours: ours.unwrap_or_else(|error| panic!("{error}")),
            go_daemon: var_os("GO_SSHD").map(PathBuf::from),
            go_proxy: var_os("GO_SSH_PROXY").map(PathBuf::from),
        }
    }

    /// Those of `subjects` whose programs are here.
    pub(crate) fn present(&self, subjects: &[Subject]) -> Vec<Subject> {
        let here = |subject: &Subject| match subject {
            Subject::GoDaemon => self.go_daemon.is_some(),
            Subject::GoProxy => self.go_daemon.is_some() && self.go_proxy.is_some(),
            _ => true,
        };
        subjects.iter().copied().filter(here).collect()
    }
}

impl Binaries {
    /// The files whose size is told.
    pub(crate) fn programs(&self) -> Vec<(Subject, PathBuf)> {
        let ours = &self.ours;
        let mut programs = vec![
            (Subject::OpenSsh, PathBuf::from("/usr/sbin/sshd")),
            (Subject::Daemon, ours.diego_sshd.clone()),
            (Subject::Proxy, ours.ssh_proxy.clone()),
        ];
        let go = [
            (Subject::GoDaemon, &self.go_daemon),
            (Subject::GoProxy, &self.go_proxy),
        ];
        let here = |(subject, path): (_, &Option<PathBuf>)| Some((subject, path.clone()?));
        programs.extend(go.into_iter().filter_map(here));
        programs
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) subject: Subject,
    pub(crate) way: Way,
    /// The process that listens.
    pub(crate) listener: u32,
    /// The daemon behind a proxy.
    pub(crate) daemon: Option<u32>,
    _keeps: Keeps,
    _files: TempDir,
}

#[expect(dead_code, reason = "they end when they are dropped")]
enum Keeps {
    Cell(Box<Cell>),
    Sshd(Box<Sshd>),
}

impl Server {
    /// Starts a server whose keys, and whose user's key, are of `kind`.
    pub(crate) async fn start(binaries: &Binaries, subject: Subject, kind: KeyKind) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        match subject {
            Subject::OpenSsh => Self::openssh(files, kind).await,
            Subject::Daemon => Self::daemon(files, subject, options(binaries, kind)).await,
            Subject::GoDaemon => {
                let mut options = options(binaries, kind);
                options.binaries = Some(binaries.with_go(false));
                Self::daemon(files, subject, options).await
            }
            Subject::Proxy => Self::proxy(files, subject, options(binaries, kind)).await,
            Subject::ProxyTls => {
                let mut options = options(binaries, kind);
                options.instance_tls = Some(InstanceTls::default());
                Self::proxy(files, subject, options).await
            }
            Subject::ProxyPolicy => {
                let mut options = options(binaries, kind);
                options.proxy_config = policy_and_audit(files.path());
                Self::proxy(files, subject, options).await
            }
            Subject::GoProxy => {
                let mut options = options(binaries, kind);
                options.binaries = Some(binaries.with_go(true));
                Self::proxy(files, subject, options).await
            }
        }
    }

    async fn openssh(files: TempDir, kind: KeyKind) -> Self {
        let arguments: &[&str] = match kind {
            KeyKind::Ed25519 => &["-t", "ed25519"],
            KeyKind::Rsa2048 => &["-t", "rsa", "-b", "2048"],
        };
        let key = Key::generate(arguments).await;
        let keys = std::slice::from_ref(&key);
        // Started like ours, and without limits that ours does not have.
        let options = [
            "LogLevel INFO",
            "MaxStartups 5000",
            "Subsystem sftp internal-sftp",
            // A bash that finds itself the first shell of a login by SSH reads ~/.bashrc, whatever that
            // does here. Ours sets no such sign.
            "SetEnv SHLVL=1",
        ];
        let sshd = Sshd::start(OpenSsh::Installed, keys, keys, &options).await;
        Self {
            subject: Subject::OpenSsh,
            listener: sshd.pid(),
            daemon: None,
            way: Way {
                address: sshd.address,
                user: sshd.user.clone(),
                auth: key_file(&files, key.pem),
            },
            _keeps: Keeps::Sshd(Box::new(sshd)),
            _files: files,
        }
    }

    async fn daemon(files: TempDir, subject: Subject, options: CellOptions) -> Self {
        let cell = start(options).await;
        let way = Way {
            address: cell.daemon_address(0).expect("an instance"),
            user: "vcap".to_owned(),
            auth: key_file(&files, cell.instance_key().private_pem().to_owned()),
        };
        Self {
            subject,
            listener: pid(cell.daemon(0)),
            daemon: None,
            way,
            _keeps: Keeps::Cell(Box::new(cell)),
            _files: files,
        }
    }

    async fn proxy(files: TempDir, subject: Subject, options: CellOptions) -> Self {
        let cell = start(options).await;
        let login = cell.logins()[0].clone();
        let script = format!("#!/bin/sh\necho {}\n", login.password);
        let script = write(files.path(), "askpass", &script, 0o700);
        Self {
            subject,
            listener: pid(Some(cell.proxy())),
            daemon: Some(pid(cell.daemon(0))),
            way: Way {
                address: cell.proxy_address(),
                user: login.user,
                auth: Auth::Password(login.password, script),
            },
            _keeps: Keeps::Cell(Box::new(cell)),
            _files: files,
        }
    }
}

impl Binaries {
    fn with_go(&self, proxy: bool) -> rig::Binaries {
        let go = |path: &Option<PathBuf>| path.clone().expect("only those that are here");
        rig::Binaries {
            diego_sshd: go(&self.go_daemon),
            ssh_proxy: if proxy {
                go(&self.go_proxy)
            } else {
                self.ours.ssh_proxy.clone()
            },
        }
    }
}

/// What all servers offer: the client chooses.
const CIPHERS: &str = "aes128-gcm@openssh.com,aes256-ctr,chacha20-poly1305@openssh.com";

/// A cell that thousands may enter, with logs as in production.
fn options(binaries: &Binaries, kind: KeyKind) -> CellOptions {
    CellOptions {
        instances: 1,
        binaries: Some(binaries.ours.clone()),
        proxy_key: kind,
        instance_key: kind,
        daemon_log_level: LogLevel::Fatal,
        daemon_flags: vec![
            "-maxConnections=20000".to_owned(),
            "-maxLogins=1000".to_owned(),
            format!("-allowedCiphers={CIPHERS}"),
        ],
        proxy_config: json!({"allowed_ciphers": CIPHERS}),
        ..CellOptions::default()
    }
}

/// One capability taken away, both limits in time, metrics and the whole audit: every packet is judged and
/// timed, and everything is recorded.
fn policy_and_audit(dir: &Path) -> Value {
    json!({
        "allowed_ciphers": CIPHERS,
        "metrics_address": "127.0.0.1:0",
        "audit_file": dir.join("audit.log"),
        "audit_log": true,
        "audit_details": true,
        "policy": {"x11_forwarding": false},
        "inactivity_timeout": "1h",
        "max_connection_duration": "12h",
    })
}

async fn start(options: CellOptions) -> Cell {
    let cell = Cell::start(options).await;
    cell.unwrap_or_else(|error| panic!("no cell: {error}"))
}

fn pid(process: Option<&rig::Process>) -> u32 {
    process.and_then(rig::Process::pid).expect("it runs")
}

fn key_file(files: &TempDir, pem: String) -> Auth {
    let path = write(files.path(), "identity", &pem, 0o600);
    Auth::Key(pem, path)
}

fn write(dir: &Path, name: &str, content: &str, mode: u32) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, content).expect("a file");
    fs::set_permissions(&path, Permissions::from_mode(mode)).expect("its permissions");
    path
}
