//! The two clients that drive all servers alike: OpenSSH's, and where single packets have to be
//! timed or thousands of connections held, our own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use interop::openssh::OpenSsh;
use ssh_proto::Secret;
use ssh_proto::algorithm::Algorithms;
use ssh_proto::auth::Credential;
use ssh_proto::connection::Event as Message;
use ssh_proto::connection::request::{Exec, SESSION};
use ssh_proto::connection::{ChannelId, Limits};
use ssh_proto::key::PrivateKey;
use ssh_tokio::session::{Event, Session};
use tokio::net::TcpStream;
use tokio::process::Command;

/// Whom to log in as, and where.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) address: SocketAddr,
    pub(crate) user: String,
    pub(crate) auth: Auth,
}

/// What opens the door.
#[derive(Clone, Debug)]
pub(crate) enum Auth {
    /// A private key, and the file that it is in.
    Key(String, PathBuf),
    /// A password, and a script that prints it.
    Password(String, PathBuf),
}

impl Way {
    /// One of OpenSSH's clients, without the user and host. The port is given by an option, which all
    /// of them take.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = OpenSsh::Installed.program(name);
        command.args(["-F", "none"]);
        let port = format!("Port={}", self.address.port());
        for option in [
            port.as_str(),
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "GlobalKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "IdentitiesOnly=yes",
            "NumberOfPasswordPrompts=1",
        ] {
            command.args(["-o", option]);
        }
        match &self.auth {
            Auth::Key(_, file) => {
                command.args(["-o", &format!("IdentityFile={}", file.display())]);
            }
            Auth::Password(_, script) => {
                command.args(["-o", "PreferredAuthentications=password"]);
                command.env("SSH_ASKPASS", script);
                command.env("SSH_ASKPASS_REQUIRE", "force");
            }
        }
        // User names of the proxy have ':' in them, which scp takes for its own.
        command.args(["-o", &format!("User={}", self.user)]);
        command.kill_on_drop(true);
        command.stdin(Stdio::null());
        command
    }

    /// `ssh` with this cipher, if any, and command.
    pub(crate) fn ssh(&self, cipher: Option<&str>, remote: &str) -> Command {
        let mut command = self.program("ssh");
        if let Some(cipher) = cipher {
            command.args(["-c", cipher, "-o", "MACs=hmac-sha2-256-etm@openssh.com"]);
        }
        command.args([&self.address.ip().to_string(), remote]);
        command
    }

    /// Logs in with our own client.
    ///
    /// # Panics
    /// The server does not let us in.
    pub(crate) async fn connect(&self) -> Session<TcpStream> {
        let credential = match &self.auth {
            Auth::Key(pem, _) => Credential::Key(PrivateKey::from_pem(pem).expect("a key")),
            Auth::Password(password, _) => Credential::Password(Secret::new(password.clone())),
        };
        let config = interop::client::config(Algorithms::default());
        let stream = TcpStream::connect(self.address).await.expect("a server");
        ssh_tokio::serve::tune(&stream);
        let user = self.user.clone();
        let wire = ssh_tokio::connect(stream, config.into(), user, vec![credential], |_| Ok(()));
        Session::new(wire.await.expect("a login"), Limits::default())
    }
}

/// Opens a session channel.
///
/// # Panics
/// The server opens none.
pub(crate) async fn open_session(session: &mut Session<TcpStream>) -> ChannelId {
    let (window, max_packet) = (Limits::WINDOW, Limits::MAX_PACKET);
    let opened = session.connection().open(SESSION, window, max_packet, b"");
    let opened = opened.expect("a channel");
    loop {
        match session.next().await.expect("a connection") {
            Event::Connection(Message::OpenConfirmed { channel, .. }) => {
                assert_eq!(channel, opened);
                return channel;
            }
            Event::Connection(Message::GlobalRequest { .. }) => {
                session.connection().global_reply(false, b"");
            }
            Event::Connection(Message::OpenFailed { text, .. }) => panic!("no session: {text}"),
            _ => {}
        }
    }
}

/// Has a command run on a channel.
///
/// # Panics
/// The server refuses.
pub(crate) async fn exec(session: &mut Session<TcpStream>, channel: ChannelId, command: &str) {
    let command = command.as_bytes();
    ask(session, channel, Exec::NAME, &Exec { command }.encode()).await;
}

/// Sends a request on a channel that has to be granted.
///
/// # Panics
/// The server refuses.
pub(crate) async fn ask(
    session: &mut Session<TcpStream>,
    channel: ChannelId,
    name: &str,
    payload: &[u8],
) {
    let sent = session.connection().request(channel, name, true, payload);
    sent.expect("room for a request");
    loop {
        match session.next().await.expect("a connection") {
            Event::Connection(Message::Reply { success, .. }) => {
                assert!(success, "{name} is refused");
                return;
            }
            Event::Connection(Message::GlobalRequest { .. }) => {
                session.connection().global_reply(false, b"");
            }
            _ => {}
        }
    }
}

/// Runs a program to its good end.
///
/// # Panics
/// It fails.
pub(crate) async fn succeed(mut command: Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output().await.expect("OpenSSH's client");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    output
}
