//! Connections through the daemon: `ssh -L`, `-R`, `-D`, `-W`, the user's agent, and many things on
//! one connection.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use interop::openssh::Key;
use interop::probe;
use interop::process::{self, Output, Process};
use support::files;
use support::network::{Peer, Port, Stream};
use support::target::{HOST, Target, both, remote, succeeds};
use support::user::{Master, listens, until};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

/// A connection of `ssh` that others share, and that forwards what it is asked to.
async fn master(target: &Target) -> Master {
    Master::of(target.ssh(), target.dir.join("master")).await
}

/// Asks the connection for something, as `ssh -O` does.
async fn ask(master: &Master, what: &str, arguments: &[&str]) -> Output {
    let mut ssh = master.ssh();
    ssh.args(["-O", what]).args(arguments);
    process::run(ssh, b"").await
}

/// Listens for the user on a socket, from which connections go to `to` behind the daemon.
async fn forward_socket(target: &Target, master: &Master, name: &str, to: &str) -> PathBuf {
    let socket = target.dir.join(name);
    let spec = format!("{}:{to}", socket.display());
    succeeds(ask(master, "forward", &["-L", &spec]).await);
    socket
}

/// Listens behind the daemon at any port of an address; the port.
async fn forward_back(master: &Master, bind: &str, to: SocketAddr) -> u16 {
    let spec = format!("{bind}0:{to}");
    let port = succeeds(ask(master, "forward", &["-R", &spec]).await);
    port.trim()
        .parse()
        .unwrap_or_else(|_| panic!("no port: {port:?}"))
}

async fn refused(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_err()
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await;
    stream.unwrap_or_else(|error| panic!("{address}: {error}"))
}

both! {
    async fn a_port_is_reached_and_each_direction_ends_alone(target: Target) {
        let master = master(&target).await;
        let data = probe::data(3_000_000);

        // The user ends first: all of the answer still comes.
        let counts = Peer::reads_then_answers().await;
        let socket = forward_socket(&target, &master, "counts", &counts.address.to_string()).await;
        let mut user = Stream::of(UnixStream::connect(socket).await.unwrap());
        user.write(&data).await;
        user.end().await;
        assert_eq!(user.rest().await, b"3000000 bytes");

        // The server ends first: it still gets everything.
        let greets = Peer::greets_then_reads().await;
        let socket = forward_socket(&target, &master, "greets", &greets.address.to_string()).await;
        let mut user = Stream::of(UnixStream::connect(socket).await.unwrap());
        assert_eq!(user.rest().await, b"hello");
        user.write(&data).await;
        user.end().await;
        assert_eq!(greets.received().await, data.len());
        master.stop().await;
    }

    async fn a_port_of_the_user_is_forwarded(target: Target) {
        let echo = Peer::echoes().await;
        let master = master(&target).await;
        let port = Port::reserved();
        let address = port.address;
        let spec = format!("{address}:localhost:{}", echo.address.port());
        succeeds(ask(&master, "forward", &["-L", &spec]).await);
        Stream::of(connect(address).await).echoed(b"through a port").await;
        succeeds(ask(&master, "cancel", &["-L", &spec]).await);
        assert!(refused(address).await);
        master.stop().await;
    }

    async fn a_socket_is_reached(target: Target) {
        let path = target.home().join("socket");
        let _echo = Peer::echoes_at(&path).await;
        let master = master(&target).await;
        let socket = forward_socket(&target, &master, "to", path.to_str().unwrap()).await;
        let user = Stream::of(UnixStream::connect(socket).await.unwrap());
        user.echoed(&probe::data(500_000)).await;
        master.stop().await;
    }

    async fn fifty_connections_at_once_keep_apart(target: Target) {
        let echo = Peer::echoes().await;
        let master = master(&target).await;
        let socket = forward_socket(&target, &master, "to", &echo.address.to_string()).await;
        let mut users = JoinSet::new();
        for number in 0..50u8 {
            let socket = socket.clone();
            users.spawn(async move {
                let mut data = probe::data(1024 * 1024);
                data.iter_mut().for_each(|byte| *byte ^= number);
                let user = Stream::of(UnixStream::connect(socket).await.unwrap());
                user.echoed(&data).await;
            });
        }
        // A test fails where one of its tasks does.
        users.join_all().await;
        master.stop().await;
    }

    async fn standard_streams_are_a_connection(target: Target) {
        let counts = Peer::reads_then_answers().await;
        let mut ssh = target.ssh();
        ssh.args(["-W", &format!("localhost:{}", counts.address.port())]);
        let output = process::run(ssh, &probe::data(1_000_000)).await;
        assert_eq!(succeeds(output), "1000000 bytes");
    }

    async fn a_port_where_nobody_listens_is_told(target: Target) {
        let port = Port::reserved();
        let nobody = port.address.to_string();
        let mut ssh = target.ssh();
        ssh.args(["-W", &nobody]);
        let output = process::run(ssh, b"").await;
        assert_eq!(output.status.code(), Some(255));
        let told = output.stderr;
        assert!(told.contains("open failed: connect failed: "), "{told}");
        // It concerns this one alone.
        let master = master(&target).await;
        let missing = target.home().join("missing");
        for (name, to) in [("nobody", nobody.as_str()), ("missing", missing.to_str().unwrap())] {
            let socket = forward_socket(&target, &master, name, to).await;
            let mut user = Stream::of(UnixStream::connect(socket).await.unwrap());
            assert_eq!(user.rest().await, b"");
        }
        let echo = Peer::echoes().await;
        let socket = forward_socket(&target, &master, "echo", &echo.address.to_string()).await;
        let user = Stream::of(UnixStream::connect(socket).await.unwrap());
        user.echoed(b"still here").await;
        master.stop().await;
    }

    async fn ports_behind_the_daemon_lead_to_the_user(target: Target) {
        let echo = Peer::echoes().await;
        let master = master(&target).await;
        for (bind, there) in [
            ("", "127.0.0.1"),
            ("localhost:", "127.0.0.1"),
            ("127.0.0.1:", "127.0.0.1"),
            ("*:", "127.0.0.1"),
            ("0.0.0.0:", "127.0.0.1"),
            (":", "127.0.0.1"),
            ("*:", "[::1]"),
            ("[::1]:", "[::1]"),
        ] {
            let port = forward_back(&master, bind, echo.address).await;
            let address: SocketAddr = format!("{there}:{port}").parse().unwrap();
            let there = Stream::of(connect(address).await);
            there.echoed(&probe::data(300_000)).await;
        }
        master.stop().await;
    }

    async fn directions_from_behind_the_daemon_end_alone(target: Target) {
        let master = master(&target).await;
        let counts = Peer::reads_then_answers().await;
        let port = forward_back(&master, "", counts.address).await;
        let mut there = Stream::of(connect(([127, 0, 0, 1], port).into()).await);
        there.write(&probe::data(2_000_000)).await;
        there.end().await;
        assert_eq!(there.rest().await, b"2000000 bytes");
        let greets = Peer::greets_then_reads().await;
        let port = forward_back(&master, "", greets.address).await;
        let mut there = Stream::of(connect(([127, 0, 0, 1], port).into()).await);
        assert_eq!(there.rest().await, b"hello");
        there.write(b"after the end").await;
        there.end().await;
        assert_eq!(greets.received().await, "after the end".len());
        master.stop().await;
    }

    async fn a_port_behind_the_daemon_can_be_given_back(target: Target) {
        let echo = Peer::echoes().await;
        let master = master(&target).await;
        let port = Port::reserved();
        let address = port.address;
        let spec = format!("{address}:{}", echo.address);
        for _ in 0..2 {
            succeeds(ask(&master, "forward", &["-R", &spec]).await);
            let mut open = Stream::of(connect(address).await);
            open.exchanges(b"it is open").await;
            succeeds(ask(&master, "cancel", &["-R", &spec]).await);
            // The client does not wait for an answer; this session comes behind it.
            succeeds(process::run(session(&master, "true"), b"").await);
            assert!(refused(address).await);
            // Connections that were there stay.
            open.echoed(b"from before").await;
        }
        master.stop().await;
    }

    async fn ports_behind_the_daemon_go_with_the_connection(target: Target) {
        let echo = Peer::echoes().await;
        let master = master(&target).await;
        let port = forward_back(&master, "", echo.address).await;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        connect(address).await;
        master.stop().await;
        until("the port is closed", || std::net::TcpStream::connect(address).is_err()).await;
    }

    async fn a_port_that_is_taken_is_told(target: Target) {
        let taken = Peer::echoes().await;
        let spec = format!("{}:{HOST}:1", taken.address);
        let mut ssh = target.ssh();
        ssh.args(["-N", "-o", "ExitOnForwardFailure=yes", "-R", &spec]);
        let output = process::run(ssh, b"").await;
        assert_eq!(output.status.code(), Some(255));
        let told = "remote port forwarding failed for listen port";
        assert!(output.stderr.contains(told), "{}", output.stderr);
    }

    async fn a_socket_behind_the_daemon_leads_to_the_user(target: Target) {
        let echo = Peer::echoes().await;
        let master = master(&target).await;
        let path = target.home().join("socket");
        let spec = format!("{}:{}", path.display(), echo.address);
        succeeds(ask(&master, "forward", &["-R", &spec]).await);
        let there = Stream::of(UnixStream::connect(&path).await.unwrap());
        there.echoed(&probe::data(300_000)).await;
        succeeds(ask(&master, "cancel", &["-R", &spec]).await);
        succeeds(process::run(session(&master, "true"), b"").await);
        assert!(UnixStream::connect(&path).await.is_err());
        master.stop().await;
    }

    async fn any_host_is_reached_by_socks(target: Target) {
        let server = Peer::serves_http("through SOCKS").await;
        let master = master(&target).await;
        let (port, nobody) = (Port::reserved(), Port::reserved());
        let spec = port.address.to_string();
        succeeds(ask(&master, "forward", &["-D", &spec]).await);
        let by_name = format!("http://localhost:{}/", server.address.port());
        let by_address = format!("http://{}/", server.address);
        for (version, url) in [
            ("--socks5-hostname", &by_name),
            ("--socks5", &by_address),
            ("--socks4a", &by_name),
            ("--socks4", &by_address),
        ] {
            let mut curl = target.program("curl");
            curl.args(["--silent", "--show-error", version, &spec, url]);
            let output = process::run(curl, b"").await;
            assert_eq!(succeeds(output), "through SOCKS", "{version}");
        }
        let mut curl = target.program("curl");
        curl.args(["--silent", "--socks5-hostname", &spec, &format!("http://{}/", nobody.address)]);
        assert!(!process::run(curl, b"").await.status.success());
        master.stop().await;
    }

    async fn the_agent_comes_along(target: Target) {
        let agent = Agent::start(&target).await;
        let mut ssh = target.ssh();
        ssh.env("SSH_AUTH_SOCK", &agent.socket);
        let modes = "stat -c %a \"$SSH_AUTH_SOCK\" \"$(dirname \"$SSH_AUTH_SOCK\")\"";
        ssh.args(["-A", &format!("ssh-add -L; echo \"at $SSH_AUTH_SOCK\"; {modes}")]);
        let said = succeeds(process::run(ssh, b"").await);
        assert!(said.starts_with(&agent.key.line), "{said}");
        let (_, at) = said.split_once("at ").expect("a socket");
        let (socket, modes) = at.split_once('\n').expect("its mode");
        // Nobody else may ask for signatures: it is closed to them, or its directory is.
        assert!(modes.lines().any(|mode| mode.ends_with("00")), "{modes}");
        assert_ne!(Path::new(socket), agent.socket);
        until("the socket is gone", || !Path::new(socket).exists()).await;
        // Who did not ask for it has none.
        let without = target.sh("echo \"<$SSH_AUTH_SOCK>\"").await;
        assert_eq!(without, "<>\n");
    }

    async fn the_agent_signs_for_sessions(target: Target) {
        let agent = Agent::start(&target).await;
        let public = target.home().join("key.pub");
        fs::write(&public, &agent.key.line).unwrap();
        fs::write(target.home().join("text"), "signed").unwrap();
        let mut ssh = target.ssh();
        ssh.env("SSH_AUTH_SOCK", &agent.socket);
        ssh.args(["-A", "ssh-keygen -q -Y sign -n file -f key.pub text && cat text.sig"]);
        let said = succeeds(process::run(ssh, b"").await);
        assert!(said.starts_with("-----BEGIN SSH SIGNATURE-----"), "{said}");
    }

    async fn everything_shares_one_connection(target: Target) {
        let echo = Peer::echoes().await;
        let master = master(&target).await;
        files::file(&target.dir.join("file"), 2_000_000);
        let path = format!("-oControlPath={}", master.socket.display());
        let own = |name: &str| {
            let mut command = target.program(name);
            // No way to connect on its own.
            command.args(["-F", "none", "-oBatchMode=yes", &path]);
            command
        };
        let mut up = own("scp");
        up.args(["-O", "file", &remote("by-scp")]);
        let mut down = own("scp");
        let source = target.home().join("tmp");
        files::file(&source.join("source"), 1_500_000);
        down.args(["-s", &remote("tmp/source"), "down"]);
        let mut sftp = own("sftp");
        sftp.args(["-b", "-", HOST]);
        let port = forward_back(&master, "", echo.address).await;
        let data = probe::data(1_000_000);
        let (up, down, sftp, command, ()) = tokio::join!(
            process::run(up, b""),
            process::run(down, b""),
            process::run(sftp, b"put file by-sftp\nls -l"),
            process::run(session(&master, "cat"), &data),
            async {
                let there = Stream::of(connect(([127, 0, 0, 1], port).into()).await);
                there.echoed(&data).await;
            },
        );
        for output in [up, down, sftp] {
            succeeds(output);
        }
        assert!(command.stdout == data);
        for copy in ["by-scp", "by-sftp"] {
            files::assert_same(&target.dir.join("file"), &target.home().join(copy));
        }
        files::assert_same(&source.join("source"), &target.dir.join("down"));
        master.stop().await;
    }
}

/// A command over a connection that is there.
fn session(master: &Master, command: &str) -> tokio::process::Command {
    let mut ssh = master.ssh();
    ssh.arg(command);
    ssh
}

/// An agent with one key.
struct Agent {
    socket: PathBuf,
    key: Key,
    _process: Process,
}

impl Agent {
    async fn start(target: &Target) -> Self {
        let socket = target.dir.join("agent");
        let mut agent = target.program("ssh-agent");
        agent.arg("-D").arg("-a").arg(&socket);
        let process = Process::start(agent);
        listens(&socket).await;
        let key = Key::generate(&["-t", "ed25519"]).await;
        let mut add = target.program("ssh-add");
        add.env("SSH_AUTH_SOCK", &socket).args(["-q", "-"]);
        succeeds(process::run(add, key.pem.as_bytes()).await);
        Self {
            socket,
            key,
            _process: process,
        }
    }
}
