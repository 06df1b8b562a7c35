//! A client that says what a test tells it to, right or wrong, and a user who notices when the
//! connections of others disturb the own one.
//!
//! Owns packets of a client on the transport of `ssh-proto`. Messages by their fields are `misbehave`'s;
//! what the answers have to be is left to the tests.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests are tests too, and not every test needs all of them"
)]

use std::future::Future;
use std::net::SocketAddr;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use devcell::keys::KeyKind;
use devcell::rig::{LogLevel, Login};
use devcell::{Cell, CellOptions};
pub use misbehave::packet::clear as clear_packet;
pub use misbehave::payload::*;
use serde_json::json;
use ssh_proto::algorithm::Algorithms;
use ssh_proto::auth::{ClientAuth, Credential, Progress};
use ssh_proto::crypto::random::SystemRandom;
use ssh_proto::key::PrivateKey;
use ssh_proto::transport::{Config, Event, Role, Transport};
use ssh_proto::wire::Reader;
use ssh_proto::{Error, Secret, msg};
use ssh_tokio::Wire;
use ssh_tokio::wire::now;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub mod impostor;
pub mod metrics;

/// No step of a test takes so long unless something hangs.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Fails the test if `step` hangs.
pub async fn within<T>(what: &str, step: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, step).await {
        Ok(done) => done,
        Err(_) => panic!("hangs: {what}"),
    }
}

/// A cell whose programs log all they ever log and whose proxy can be scraped, with small keys.
pub fn options() -> CellOptions {
    CellOptions {
        proxy_key: KeyKind::Ed25519,
        instance_key: KeyKind::Ed25519,
        proxy_log_level: LogLevel::Debug,
        daemon_log_level: LogLevel::Debug,
        proxy_config: json!({
            "communication_timeout": "1s", "login_timeout": "5s", "metrics_address": "127.0.0.1:0",
        }),
        ..CellOptions::default()
    }
}

/// The one key of the app: the daemons' host key, and what opens them.
pub fn instance_key(cell: &Cell) -> PrivateKey {
    PrivateKey::from_pem(cell.instance_key().private_pem()).unwrap()
}

/// A place to log in to.
#[derive(Clone)]
pub struct Door {
    pub name: &'static str,
    pub address: SocketAddr,
    pub user: String,
    pub password: Option<String>,
    pub key: Option<String>,
}

/// The proxy, with the first instance behind it.
pub fn proxy_door(cell: &Cell) -> Door {
    let login = &cell.logins()[0];
    Door {
        name: "proxy",
        address: cell.proxy_address(),
        user: login.user.clone(),
        password: Some(login.password.clone()),
        key: None,
    }
}

/// The proxy, for whoever has `login`.
pub fn door_of(cell: &Cell, login: &Login) -> Door {
    Door {
        user: login.user.clone(),
        password: Some(login.password.clone()),
        ..proxy_door(cell)
    }
}

/// The daemon of the first instance.
pub fn daemon_door(cell: &Cell) -> Door {
    Door {
        name: "daemon",
        address: cell.daemon_address(0).unwrap(),
        user: "vcap".to_owned(),
        password: None,
        key: Some(cell.instance_key().private_pem().to_owned()),
    }
}

/// Both programs.
pub fn doors(cell: &Cell) -> [Door; 2] {
    [proxy_door(cell), daemon_door(cell)]
}

/// How a command ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Finished {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub status: Option<u32>,
}

/// The client's end of a connection, at the level of packets.
pub struct Raw {
    wire: Wire<TcpStream>,
    /// Where the other end sees it come from.
    pub local: SocketAddr,
    /// The texts of all banners so far.
    pub banners: Vec<String>,
}

impl Raw {
    /// Connects and says nothing but its identification and KEXINIT.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).await.unwrap())
    }

    /// The same on a connection that there is.
    pub fn on(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        let config = Arc::new(Config::client("SSH-2.0-raw", Algorithms::default()));
        let transport = Transport::new(Role::Client, config, Box::new(SystemRandom), now());
        Self {
            local: stream.local_addr().unwrap(),
            wire: Wire::new(stream, transport),
            banners: Vec::new(),
        }
    }

    /// Connects and exchanges keys; whatever the host's key is, it is taken.
    pub async fn keyed(address: SocketAddr) -> Self {
        let mut raw = Self::connect(address).await;
        raw.exchange_keys().await;
        raw
    }

    async fn exchange_keys(&mut self) {
        let event = within("key exchange", self.wire.next()).await.unwrap();
        assert_eq!(event, Event::HostKey);
        self.wire.transport_mut().accept_host_key().unwrap();
    }

    /// Exchanges keys, unless the other end does not want to.
    pub async fn has_keys(mut self) {
        if within("key exchange", self.wire.next()).await.is_ok() {
            let _ = self.wire.transport_mut().accept_host_key();
            let _ = self.wire.flush().await;
        }
    }

    /// Connects up to the point where authentication may begin.
    pub async fn served(address: SocketAddr) -> Self {
        let mut raw = Self::connect(address).await;
        raw.begin().await;
        raw
    }

    /// Goes on from a connection to the point where authentication may begin.
    pub async fn begin(&mut self) {
        self.exchange_keys().await;
        self.send(&string_message(msg::SERVICE_REQUEST, "ssh-userauth"));
        let answer = self.packet().await.unwrap();
        assert_eq!(answer[0], msg::SERVICE_ACCEPT);
    }

    /// Logs in through `door`, as a good client does.
    pub async fn login(door: &Door) -> Result<Self, Error> {
        Self::connect(door.address).await.enter(door).await
    }

    /// Logs in as one does through `door`, whatever the connection leads through.
    pub async fn enter(mut self, door: &Door) -> Result<Self, Error> {
        let raw = &mut self;
        assert_eq!(
            within("key exchange", raw.wire.next()).await?,
            Event::HostKey
        );
        let transport = raw.wire.transport_mut();
        let accepted = transport.accept_host_key()?;
        let password = door.password.clone().map(Secret::new);
        let key = door
            .key
            .as_ref()
            .map(|pem| PrivateKey::from_pem(pem).unwrap());
        let credentials = [password.map(Credential::Password), key.map(Credential::Key)];
        let credentials = credentials.into_iter().flatten();
        let mut auth = ClientAuth::start(accepted, transport, door.user.clone(), credentials);
        loop {
            within("login", raw.wire.next()).await?;
            if auth.handle(raw.wire.transport_mut())? == Progress::Success {
                return Ok(self);
            }
        }
    }

    /// Tries one password: true if it opened, false if another may be tried.
    pub async fn try_password(&mut self, user: &str, password: &str) -> Result<bool, Error> {
        self.send(&password_request(user, password));
        loop {
            let answer = self.packet().await?;
            match answer[0] {
                msg::USERAUTH_BANNER => {
                    let text = Reader::new(&answer[1..]).string().unwrap();
                    self.banners.push(String::from_utf8(text.to_vec()).unwrap());
                }
                msg::USERAUTH_FAILURE => {
                    let mut reader = Reader::new(&answer[1..]);
                    assert_eq!(reader.string().unwrap(), b"password");
                    assert!(!reader.bool().unwrap());
                    return Ok(false);
                }
                msg::USERAUTH_SUCCESS => {
                    self.wire.transport_mut().set_authenticated();
                    return Ok(true);
                }
                other => panic!("message {other} during authentication"),
            }
        }
    }

    /// Sends a payload, whatever it is.
    pub fn send(&mut self, payload: &[u8]) {
        self.wire.transport_mut().send(&[payload]);
    }

    /// Asks for new keys.
    pub fn start_rekey(&mut self) {
        self.wire.transport_mut().start_rekey(now());
    }

    /// Writes what was sent.
    pub async fn flush(&mut self) -> Result<(), Error> {
        within("writing", self.wire.flush()).await
    }

    /// The next packet that is not of the transport.
    pub async fn packet(&mut self) -> Result<Vec<u8>, Error> {
        let event = within("waiting for a packet", self.wire.next()).await?;
        assert_eq!(event, Event::Packet);
        Ok(self.wire.transport().packet().to_vec())
    }

    /// Waits for a packet with this number; others are skipped.
    pub async fn wait_for(&mut self, number: u8) -> Result<Vec<u8>, Error> {
        loop {
            let packet = self.packet().await?;
            if packet[0] == number {
                return Ok(packet);
            }
        }
    }

    /// Seals a payload and keeps it back: its packet, and the stream once more to write it to.
    pub fn held_back(self, payload: &[u8]) -> (Self, TcpStream, Vec<u8>) {
        let (stream, mut transport) = self.wire.into_parts();
        let from = transport.output().len();
        transport.send(&[payload]);
        let packet = transport.output()[from..].to_vec();
        assert_eq!(from, 0, "something else is to be written first");
        transport.sent(packet.len());
        let (stream, other) = twice(stream);
        let wire = Wire::new(stream, transport);
        (Self { wire, ..self }, other, packet)
    }

    /// Waits for the end: the reason code and the text of the server's DISCONNECT, behind which it
    /// has to close the connection.
    pub async fn disconnect(self) -> (u32, String) {
        within("waiting for the end", self.disconnect_whenever()).await
    }

    /// The same for however long it takes.
    pub async fn disconnect_whenever(mut self) -> (u32, String) {
        loop {
            match self.wire.next().await {
                Ok(_) => {}
                Err(Error::Disconnected {
                    reason,
                    description,
                }) => {
                    let (mut stream, _) = self.wire.into_parts();
                    let mut rest = Vec::new();
                    // A reset is an end too.
                    let _ = stream.read_to_end(&mut rest).await;
                    return (reason, description);
                }
                Err(error) => panic!("ended without a DISCONNECT: {error}"),
            }
        }
    }

    /// The wire underneath.
    pub fn into_wire(self) -> Wire<TcpStream> {
        self.wire
    }

    /// Opens a session channel with our `number`; gives the server's.
    pub async fn open_session(&mut self, number: u32, window: u32) -> Result<u32, Error> {
        self.send(&open("session", number, window, 32 * 1024));
        loop {
            let packet = self.packet().await?;
            if recipient(&packet) != number {
                continue;
            }
            assert_eq!(packet[0], msg::CHANNEL_OPEN_CONFIRMATION, "{packet:?}");
            return Ok(u32_at(&packet, 5));
        }
    }

    /// Runs `command` in a new channel with our `number`, whatever else happens on the connection.
    pub async fn run(&mut self, number: u32, command: &str) -> Result<Finished, Error> {
        let peer = self.open_session(number, 1 << 20).await?;
        self.send(&exec(peer, command));
        self.finish(number, peer).await
    }

    /// Collects what comes on a channel until it is closed.
    pub async fn finish(&mut self, number: u32, peer: u32) -> Result<Finished, Error> {
        let mut finished = Finished {
            stdout: Vec::new(),
            stderr: Vec::new(),
            status: None,
        };
        loop {
            let packet = self.packet().await?;
            if recipient(&packet) != number {
                continue;
            }
            let mut reader = Reader::new(&packet[5..]);
            match packet[0] {
                msg::CHANNEL_DATA => {
                    let data = reader.string().unwrap();
                    finished.stdout.extend_from_slice(data);
                    self.send(&window_adjust(peer, data.len() as u32));
                }
                msg::CHANNEL_EXTENDED_DATA => {
                    assert_eq!(reader.u32().unwrap(), msg::EXTENDED_DATA_STDERR);
                    let data = reader.string().unwrap();
                    finished.stderr.extend_from_slice(data);
                    self.send(&window_adjust(peer, data.len() as u32));
                }
                msg::CHANNEL_REQUEST => {
                    let (name, _) = (reader.string().unwrap(), reader.bool().unwrap());
                    if name == b"exit-status" {
                        finished.status = Some(reader.u32().unwrap());
                    }
                }
                msg::CHANNEL_CLOSE => {
                    self.send(&plain(msg::CHANNEL_CLOSE, peer));
                    self.flush().await?;
                    return Ok(finished);
                }
                msg::CHANNEL_FAILURE => panic!("a request was refused"),
                _ => {}
            }
        }
    }
}

/// A user in the middle of something, who must not notice what others do.
pub struct Bystander {
    raw: Raw,
    peer: u32,
    door: Door,
    said: u32,
}

impl Bystander {
    /// Logs in and starts `cat`.
    pub async fn enter(door: &Door) -> Self {
        let mut raw = Raw::login(door).await.unwrap();
        let peer = raw.open_session(0, u32::MAX).await.unwrap();
        raw.send(&exec(peer, "exec cat"));
        Self {
            raw,
            peer,
            door: door.clone(),
            said: 0,
        }
    }

    /// Says something that must come back.
    pub async fn is_undisturbed(&mut self) {
        self.said += 1;
        let text = format!("still here {}\n", self.said);
        self.raw.send(&data(self.peer, text.as_bytes()));
        let mut echo = Vec::new();
        while echo.len() < text.len() {
            let packet = self.raw.wait_for(msg::CHANNEL_DATA).await.unwrap();
            echo.extend_from_slice(Reader::new(&packet[5..]).string().unwrap());
        }
        assert_eq!(echo, text.as_bytes());
    }

    /// The own session is well, and new users get in.
    pub async fn all_is_well(&mut self) {
        self.is_undisturbed().await;
        let mut next = Raw::login(&self.door).await.unwrap();
        let finished = next.run(0, "echo in").await.unwrap();
        assert_eq!(finished.stdout, b"in\n");
        assert_eq!(finished.status, Some(0));
    }
}

/// A login that differs from a good one in its user.
pub fn as_user(login: &Login, user: &str) -> Login {
    Login {
        user: user.to_owned(),
        password: login.password.clone(),
    }
}

/// The channel that a packet is about; none but channel packets can be.
pub fn recipient(packet: &[u8]) -> u32 {
    let about_channel =
        (msg::CHANNEL_OPEN_CONFIRMATION..=msg::CHANNEL_FAILURE).contains(&packet[0]);
    if about_channel {
        u32_at(packet, 1)
    } else {
        u32::MAX
    }
}

/// Two ends of one stream in this process.
pub fn twice(stream: TcpStream) -> (TcpStream, TcpStream) {
    let stream = stream.into_std().unwrap();
    let other = stream.try_clone().unwrap();
    let again = |stream| TcpStream::from_std(stream).unwrap();
    (again(stream), again(other))
}

// In the clear.

/// Sends `bytes` to a fresh connection and gives the packets that came before it was closed.
pub async fn say_in_the_clear(address: SocketAddr, bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    within("being cut", stream.read_to_end(&mut answer))
        .await
        .expect("the last words must not be lost to a reset");
    packets_in_the_clear(&answer)
}

/// Takes an identification line and packets without encryption apart.
pub fn packets_in_the_clear(answer: &[u8]) -> Vec<Vec<u8>> {
    let end = answer.iter().position(|byte| *byte == b'\n').unwrap();
    assert!(answer.starts_with(b"SSH-2.0-"));
    let mut rest = &answer[end + 1..];
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let length = u32_at(rest, 0) as usize;
        let padding = usize::from(rest[4]);
        packets.push(rest[5..4 + length - padding].to_vec());
        rest = &rest[4 + length..];
    }
    packets
}

/// The reason code and text of a DISCONNECT.
pub fn read_disconnect(packet: &[u8]) -> (u32, String) {
    assert_eq!(packet[0], msg::DISCONNECT);
    let text = Reader::new(&packet[5..]).string().unwrap();
    (u32_at(packet, 1), String::from_utf8(text.to_vec()).unwrap())
}

/// Logs in at the proxy as `login` and runs a command; `Err` has what the proxy said at the end.
pub async fn enter(cell: &Cell, login: &Login) -> Result<(), String> {
    let mut raw = Raw::served(cell.proxy_address()).await;
    match raw.try_password(&login.user, &login.password).await {
        Ok(true) => {
            let finished = raw.run(0, "echo in").await.unwrap();
            assert_eq!(finished.stdout, b"in\n");
            Ok(())
        }
        Ok(false) => Err(raw.banners.concat()),
        Err(Error::Disconnected { description, .. }) => Err(description),
        Err(error) => panic!("{error}"),
    }
}

/// Runs a command through the proxy by OpenSSH's client with a password.
pub async fn ssh(cell: &Cell, login: &Login, command: &str) -> Output {
    let port = cell.proxy_address().port().to_string();
    let known_hosts = format!("UserKnownHostsFile={}", cell.known_hosts().display());
    let child = tokio::process::Command::new("sshpass")
        .args(["-e", "ssh", "-F", "none", "-p", &port])
        .env("SSHPASS", &login.password)
        .args(["-o", &known_hosts, "-o", "NumberOfPasswordPrompts=1"])
        .args(["-o", "PreferredAuthentications=password", "-l", &login.user])
        .args(["127.0.0.1", command])
        .kill_on_drop(true)
        .output();
    within("OpenSSH", child).await.unwrap()
}
