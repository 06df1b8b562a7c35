//! Mixed fleets, which every rolling deploy has for a while: our proxy before a daemon in Go, also one
//! with an old key of 1,024 bits, a proxy in Go before our daemon, and daemons with lists of their own.
//!
//! `GO_SSHD` and `GO_SSH_PROXY` name the Go binaries. Where they are not set, programs of
//! `interop/clients` on the same library stand for them. The client is OpenSSH's.

mod support;

use std::env::var_os;
use std::path::PathBuf;

use devcell::CellOptions;
use devcell::keys::KeyKind;
use devcell::rig::Binaries;
use interop::openssh::Key;
use interop::probe;
use interop::process::{self, Process};
use serde_json::json;
use support::languages::prepared;
use support::network::{Peer, Stream};
use support::target::{HOST, Target};
use support::terminal::{OnTerminal, Terminal};
use support::user::listens;
use tokio::net::UnixStream;
use tokio::process::Command;

/// Data for several windows, both ways; a program in Go exchanges keys a few times meanwhile.
const DATA: usize = 8 * 1024 * 1024;

/// A proxy and a daemon of different makes, and the way in.
struct Fleet {
    target: Target,
    /// What stands for the proxy in Go, before the daemon of the same cell.
    _proxy: Option<Process>,
}

/// A cell as it is, with one instance. Its key is of RSA, as Cloud Controller makes them.
fn options() -> CellOptions {
    CellOptions {
        instances: 1,
        proxy_key: KeyKind::Ed25519,
        ..CellOptions::default()
    }
}

/// The programs of a cell, some of them replaced.
fn binaries(proxy: Option<PathBuf>, daemon: Option<PathBuf>) -> Binaries {
    let ours = Binaries::find().expect("our programs");
    Binaries {
        ssh_proxy: proxy.unwrap_or(ours.ssh_proxy),
        diego_sshd: daemon.unwrap_or(ours.diego_sshd),
    }
}

fn go_daemon() -> Binaries {
    let daemon = var_os("GO_SSHD").map_or_else(|| prepared("go-daemon"), PathBuf::from);
    binaries(None, Some(daemon))
}

impl Fleet {
    async fn our_proxy_and_go_daemon() -> Self {
        Self::with_go_daemon(options()).await
    }

    /// As Cloud Controller desired apps years ago, and their routes are as old.
    async fn our_proxy_and_old_go_daemon() -> Self {
        let key = Key::generate(&["-t", "rsa", "-b", "1024", "-m", "PEM"]).await;
        let route = json!({
            "private_key": key.pem,
            "host_fingerprint": key.public().fingerprint_md5(),
            "host_256_fingerprint": null,
        });
        let flags = vec![
            format!("-hostKey={}", key.pem),
            format!("-authorizedKey={}", key.line),
        ];
        Self::with_go_daemon(CellOptions {
            route,
            daemon_flags: flags,
            ..options()
        })
        .await
    }

    async fn with_go_daemon(options: CellOptions) -> Self {
        let options = CellOptions {
            binaries: Some(go_daemon()),
            ..options
        };
        Self {
            target: Target::proxied_with(options).await,
            _proxy: None,
        }
    }

    async fn go_proxy_and_our_daemon() -> Self {
        let Some(proxy) = var_os("GO_SSH_PROXY") else {
            return Self::with_go_proxys_double().await;
        };
        let options = CellOptions {
            binaries: Some(binaries(Some(proxy.into()), None)),
            ..options()
        };
        Self {
            target: Target::proxied_with(options).await,
            _proxy: None,
        }
    }

    /// In a whole cell, whose own proxy is not asked.
    async fn with_go_proxys_double() -> Self {
        let mut target = Target::proxied_with(options()).await;
        let (cell, host_key) = (target.cell(), target.host_key());
        let write = |name: &str, text: &str| {
            let path = cell.dir().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let daemon = cell.daemon_address(0).expect("an instance");
        let mut command = Command::new(prepared("go-proxy"));
        command
            .arg("-hostKey")
            .arg(write("go-proxy.key", host_key.private_pem()))
            .arg("-daemonKey")
            .arg(write("instance.key", cell.instance_key().private_pem()))
            .args(["-fingerprint", &cell.instance_key().fingerprint_sha256()])
            .args(["-daemon", &daemon.to_string(), "-user", &target.user])
            .env("GO_PROXY_PASSWORD", target.password().expect("a password"));
        let proxy = Process::start(command);
        let says = proxy.stdout.has("\n").await;
        assert!(says, "{}", proxy.stderr.text());
        let said = proxy.stdout.text();
        let port = said.trim().rsplit_once(':').expect("an address").1;
        let port = port.parse().expect("a port");
        let line = format!("[{HOST}]:{port} {}\n", host_key.authorized_line());
        target.known_hosts = write("known_hosts_of_go_proxy", &line);
        target.port = port;
        Self {
            target,
            _proxy: Some(proxy),
        }
    }

    /// A shell on a terminal of this size, at its first prompt.
    async fn shell(&self, rows: u16, columns: u16) -> OnTerminal {
        let mut shell = Terminal::new(rows, columns).start(|program| {
            let client = self.target.ssh();
            let client = client.as_std();
            program.arg(client.get_program()).args(client.get_args());
            program.arg("-tt");
            program.env_clear().env("TERM", "xterm-256color");
            let set = |(name, value): (_, Option<_>)| Some((name, value?));
            program.envs(client.get_envs().filter_map(set));
        });
        shell.types("PS1=; echo now-''type\n");
        shell.sees("now-type\r\n").await;
        shell
    }
}

/// Makes of each operation a test for each fleet.
macro_rules! all_fleets {
    ($($(#[$meta:meta])* async fn $name:ident($fleet:ident: Fleet) $body:block)+) => {
        $($(#[$meta])* async fn $name($fleet: Fleet) $body)+
        all_fleets!(@module our_proxy_and_go_daemon: $($name)+);
        all_fleets!(@module our_proxy_and_old_go_daemon: $($name)+);
        all_fleets!(@module go_proxy_and_our_daemon: $($name)+);
    };
    (@module $fleet:ident: $($name:ident)+) => {
        mod $fleet {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Fleet::$fleet().await).await;
            })+
        }
    };
}

all_fleets! {
    async fn streams_and_status_pass_through(fleet: Fleet) {
        let mut command = fleet.target.ssh();
        command.arg("cat; echo err >&2; exit 7");
        let input = probe::data(DATA);
        let output = process::run(command, &input).await;
        assert_eq!(output.stderr, "err\n");
        assert_eq!(output.status.code(), Some(7));
        assert!(output.stdout == input, "{} bytes", output.stdout.len());
    }

    async fn a_signal_is_no_status(fleet: Fleet) {
        let mut command = fleet.target.ssh();
        command.args(["-v", "kill -TERM $$"]);
        let output = process::run(command, b"").await;
        assert_eq!(output.status.code(), Some(255), "{}", output.stderr);
        assert!(output.stderr.contains("rtype exit-signal"), "{}", output.stderr);
    }

    async fn keys_are_exchanged_again_during_transfers(fleet: Fleet) {
        let mut command = fleet.target.ssh();
        command.args(["-v", "-oRekeyLimit=256K", "cat"]);
        let input = probe::data(DATA);
        let output = process::run(command, &input).await;
        assert!(output.status.success(), "{}", output.stderr);
        assert!(output.stdout == input, "{} bytes", output.stdout.len());
        let exchanges = output.stderr.matches("SSH2_MSG_NEWKEYS received").count();
        assert!(exchanges > 8, "{exchanges}");
    }

    async fn a_shell_knows_the_size_of_its_terminal(fleet: Fleet) {
        let shell = fleet.shell(31, 107).await;
        shell.knows_its_size(31, 107).await;
    }

    async fn connections_are_forwarded(fleet: Fleet) {
        let peer = Peer::echoes().await;
        let socket = fleet.target.dir.join("forward");
        let forward = format!("{}:127.0.0.1:{}", socket.display(), peer.address.port());
        let mut command = fleet.target.ssh();
        command.args(["-N", "-oExitOnForwardFailure=yes", "-L", &forward]);
        let _client = Process::start(command);
        listens(&socket).await;
        let connect = async || Stream::of(UnixStream::connect(&socket).await.expect("the client"));
        let mut held = connect().await;
        held.exchanges(b"first").await;
        for length in [0, 1, DATA] {
            connect().await.echoed(&probe::data(length)).await;
        }
        held.exchanges(b"still there").await;
        held.echoed(b"and no more").await;
    }

    /// The CLI ends its session where nobody answers.
    async fn the_keepalive_of_the_cf_cli_is_answered(fleet: Fleet) {
        let target = &fleet.target;
        let program = prepared("cf-ssh");
        let mut command = target.program(program.to_str().expect("UTF-8"));
        command
            .args(["-address", &format!("{HOST}:{}", target.port)])
            .args(["-user", &target.user])
            .args(["-fingerprint", &target.host_key().fingerprint_sha256()])
            .arg("echo in")
            .env("CF_SSH_CODE", target.password().expect("a password"));
        let output = process::run(command, b"").await;
        assert!(output.status.success(), "{}", output.stderr);
        assert_eq!(output.stdout, b"in\n");
    }
}

/// Cloud Controller hands its operator's lists to the daemons, and never to the proxy.
#[tokio::test(flavor = "multi_thread")]
async fn daemons_with_any_lists_are_entered() {
    let lists = [
        [
            "-allowedKeyExchanges=ecdh-sha2-nistp521",
            "-allowedCiphers=",
        ],
        [
            "-allowedKeyExchanges=curve25519-sha256",
            "-allowedCiphers=aes256-gcm@openssh.com",
        ],
        ["-allowedCiphers=aes192-ctr", "-allowedMACs=hmac-sha2-512"],
        [
            "-allowedCiphers=chacha20-poly1305@openssh.com",
            "-allowedMACs=",
        ],
    ];
    for flags in lists {
        let target = Target::proxied_with(CellOptions {
            daemon_flags: flags.map(str::to_owned).into(),
            ..options()
        })
        .await;
        let mut command = target.ssh();
        command.arg("echo in");
        let output = process::run(command, b"").await;
        assert_eq!(output.stdout, b"in\n", "{flags:?}: {}", output.stderr);
    }
}
