//! Clients that are gone from one moment to the next, wherever they were: in the key exchange, in the
//! middle of a file, with shells, forwarded connections and listeners. They must leave nothing behind.
//!
//! The full number is for `scripts/soak`; otherwise it is a tenth.

mod packets;
mod rooms;
mod support;

use std::any::Any;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use devcell::keys::KeyKind;
use devcell::rig::Binaries;
use devcell::{Cell, CellOptions};
use packets::*;
use ssh_proto::wire::{Put, Reader};
use ssh_proto::{Error, msg};
use support::tenth;
use support::user::until;
use tokio::io::copy;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

/// Killed sessions in the long form.
const SESSIONS: u32 = 10_000;

/// Those after which memory is looked at first: by then caches are as full as they get.
const WARM_UP: u32 = 100;

/// So many at a time.
const AT_A_TIME: u32 = 8;

/// What a key exchange and a login take on the wire, about.
const LOGIN_BYTES: u32 = 8 * 1024;

/// Beyond the login, connections are cut within so many powers of two bytes.
const MOST_BITS: u32 = 19;

/// A file of this size is fetched and another one written.
const FILE_BYTES: u32 = 1 << 20;

/// A variable that the daemon's processes have, and no others.
const MARK: &str = "KILLED_SESSIONS_OF";

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_killed_leave_nothing_behind() {
    let seed = seed();
    println!("SEED={seed} repeats these sessions");
    let place = Arc::new(Place::new().await);
    let before = place.traces();
    kill_all(&place, seed, 0..WARM_UP).await;
    place.is_as(&before).await;
    let warm = place.resident_kb();

    let start = Instant::now();
    let end = tenth(SESSIONS);
    kill_all(&place, seed, WARM_UP..end).await;
    place.is_as(&before).await;
    let seconds = start.elapsed().as_secs_f32();
    let then = place.resident_kb();
    println!("{end} sessions killed in {seconds:.1} s; resident kB: {warm:?}, then {then:?}");
    for (warm, then) in warm.into_iter().zip(then) {
        assert!(then <= warm + warm / 10, "from {warm} kB to {then} kB");
    }
    for door in doors(&place.cell) {
        Bystander::enter(&door).await.all_is_well().await;
    }
}

/// As given by `SEED`, or another one each time.
fn seed() -> u64 {
    let given = std::env::var("SEED").ok();
    let given = given.map(|seed| seed.parse().expect("SEED is a number"));
    given.unwrap_or_else(|| u64::from(std::process::id()) << 32 | u64::from(now().subsec_nanos()))
}

fn now() -> std::time::Duration {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    since.expect("a clock")
}

/// Random numbers that can be had again (splitmix64).
struct Random(u64);

impl Random {
    /// Those of one session.
    fn of(seed: u64, session: u32) -> Self {
        Self(seed ^ u64::from(session).wrapping_mul(0xd134_2543_de82_ef95))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end)).expect("less than a u32")
    }

    fn chance(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }
}

/// Where sessions are killed.
struct Place {
    cell: Cell,
    /// Says everything back.
    echo: SocketAddr,
    mark: String,
}

/// What a session could leave behind, in one program.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    /// Of the daemon; dead ones too.
    children: Vec<u32>,
    /// Processes that sessions have started, wherever they belong now.
    started: Vec<String>,
    daemons_descriptors: usize,
    terminals: usize,
    /// Sockets of agents and listeners.
    sockets: Vec<PathBuf>,
}

impl Place {
    async fn new() -> Self {
        let mark = std::process::id().to_string();
        let found = Binaries::find().expect("the programs");
        let cell = Cell::start(CellOptions {
            instances: 1,
            proxy_key: KeyKind::Ed25519,
            instance_key: KeyKind::Ed25519,
            daemon_command: with_own_terminals(found.diego_sshd),
            daemon_env: vec![(MARK.to_owned(), mark.clone())],
            ..CellOptions::default()
        });
        let cell = cell
            .await
            .unwrap_or_else(|error| panic!("no cell: {error}"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let echo = listener.local_addr().expect("its address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    // Whoever is gone needs no echo.
                    let _ = copy(&mut reader, &mut writer).await;
                });
            }
        });
        let place = Self { cell, echo, mark };
        let file = vec![b'f'; FILE_BYTES as usize];
        fs::write(place.home().join("file"), file).expect("a file");
        place
    }

    fn home(&self) -> PathBuf {
        self.cell.dir().join("instance-0")
    }

    fn daemon(&self) -> u32 {
        self.cell
            .daemon(0)
            .and_then(|it| it.pid())
            .expect("a daemon")
    }

    fn proxy(&self) -> u32 {
        self.cell.proxy().pid().expect("a proxy")
    }

    fn resident_kb(&self) -> [u64; 2] {
        [self.daemon(), self.proxy()].map(rooms::resident_kb)
    }

    fn traces(&self) -> Traces {
        let daemon = self.daemon();
        let mark = format!("{MARK}={}", self.mark);
        let started = |pid: u32| {
            let read = |file| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let environment = read("environ");
            let mut variables = environment.split(|byte| *byte == 0);
            let ours = variables.any(|variable| variable == mark.as_bytes());
            ours.then(|| format!("{pid} {}", String::from_utf8_lossy(&read("cmdline"))))
        };
        let terminals = fs::read_dir(format!("/proc/{daemon}/root/dev/pts"));
        let sockets = fs::read_dir(self.home().join("tmp")).expect("TMPDIR");
        Traces {
            children: rooms::children(daemon),
            started: rooms::processes().filter_map(started).collect(),
            daemons_descriptors: rooms::descriptors(daemon),
            terminals: terminals.expect("its terminals").count(),
            sockets: sockets
                .map(|entry| entry.expect("an entry").path())
                .collect(),
        }
    }

    /// Waits until there is nothing that there was not before.
    async fn is_as(&self, before: &Traces) {
        let wait = until("everything is cleared away", || self.traces() == *before);
        if tokio::time::timeout(PATIENCE / 2, wait).await.is_err() {
            panic!("left behind: {:?}; before: {before:?}", self.traces());
        }
    }
}

/// The daemon where nobody else has terminals, so that they can be counted.
fn with_own_terminals(program: PathBuf) -> Vec<OsString> {
    const SCRIPT: &str = "mount -t devpts -o newinstance,ptmxmode=666 devpts /dev/pts &&
        mount --bind /dev/pts/ptmx /dev/ptmx && exec \"$0\" \"$@\"";
    let mut words = rooms::with_roots_rights(&["--mount"]);
    words.extend(["sh", "-c", SCRIPT].map(OsString::from));
    words.push(program.into());
    words
}

/// Starts the sessions of these numbers, some at a time, each of which is killed.
async fn kill_all(place: &Arc<Place>, seed: u64, numbers: std::ops::Range<u32>) {
    let next = Arc::new(AtomicU32::new(numbers.start));
    let mut tasks = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let (place, next) = (Arc::clone(place), Arc::clone(&next));
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    break;
                }
                live_and_die(&place, number, Random::of(seed, number)).await;
            }
        });
    }
    tasks.join_all().await;
}

/// One session, from its first byte to its sudden end.
async fn live_and_die(place: &Place, number: u32, mut random: Random) {
    let mut door = match random.chance() {
        true => proxy_door(&place.cell),
        false => daemon_door(&place.cell),
    };
    let wire = CutWire::new(door.address, &mut random).await;
    door.address = wire.address;
    let lived = async {
        let raw = Raw::login(&door).await?;
        let mut life = Life::new(raw, place, number, random);
        life.live().await?;
        Ok(life)
    };
    let lived = lived.await;
    // A wire that has held so long is cut now, with whatever goes on at its end.
    wire.cut().await;
    match lived {
        Ok(_) | Err(Error::Lost(_)) => {}
        Err(error) => panic!("session {number}: {error}"),
    }
}

/// A wire between a client and a server that is cut, at the latest when somebody does it.
struct CutWire {
    /// What the client takes for the server.
    address: SocketAddr,
    cut: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl CutWire {
    /// Will be cut when so many bytes have passed, in the middle of any packet.
    async fn new(server: SocketAddr, random: &mut Random) -> Self {
        let bytes = match random.below(4) {
            0 => random.below(LOGIN_BYTES),
            _ => {
                let bits = random.below(MOST_BITS);
                LOGIN_BYTES + random.below(1 << bits)
            }
        };
        let reset = random.chance();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (cut, wait) = oneshot::channel();
        let ended = tokio::spawn(async move {
            let (client, _) = listener.accept().await.expect("our client");
            let server = TcpStream::connect(server).await.expect("a server");
            pass(client, &server, bytes, wait).await;
            if reset {
                server.set_zero_linger().expect("a reset");
            }
        });
        Self {
            address,
            cut,
            ended,
        }
    }

    async fn cut(self) {
        // It may be cut already.
        let _ = self.cut.send(());
        within("a cut", self.ended).await.expect("a cut");
    }
}

/// Passes bytes on, both ways, until there were enough, an end is gone, or somebody says so.
async fn pass(client: TcpStream, server: &TcpStream, bytes: u32, mut cut: oneshot::Receiver<()>) {
    let mut left = bytes as usize;
    let mut buffer = vec![0; 16 * 1024];
    while left > 0 {
        let ready = tokio::select! {
            _ = &mut cut => return,
            _ = client.readable() => [&client, server],
            _ = server.readable() => [server, &client],
        };
        let [from, to] = ready;
        let room = buffer.len().min(left);
        match from.try_read(&mut buffer[..room]) {
            Ok(0) => return,
            Ok(count) => {
                let written = write_all(to, &buffer[..count]);
                tokio::select! {
                    _ = &mut cut => return,
                    written = written => if written.is_err() { return },
                }
                left -= count;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What a client does until it is killed, in an order of its own.
struct Life<'a> {
    raw: Raw,
    place: &'a Place,
    /// Of the session, for names.
    number: u32,
    random: Random,
    channels: u32,
    listeners: u32,
    /// Those who came through forwarded listeners, who stay to the end.
    guests: Vec<Box<dyn Any + Send>>,
}

impl<'a> Life<'a> {
    fn new(raw: Raw, place: &'a Place, number: u32, random: Random) -> Self {
        Self {
            raw,
            place,
            number,
            random,
            channels: 0,
            listeners: 0,
            guests: Vec::new(),
        }
    }

    async fn live(&mut self) -> Result<(), Error> {
        for _ in 0..=self.random.below(4) {
            match self.random.below(11) {
                0 => self.terminal().await?,
                1 => self.output("exec yes").await?,
                2 => self.output("exec yes >&2").await?,
                3 => self.input("exec cat >/dev/null").await?,
                4 => self.short_command().await?,
                5 => self.sftp().await?,
                6 => self.scp_to().await?,
                7 => self.output("scp -f file").await?,
                8 => self.forward().await?,
                9 => self.listen().await?,
                _ => self.agent().await?,
            }
        }
        self.answer().await
    }

    /// Opens a channel, and gives the server's number.
    async fn open(&mut self, kind: &str, fields: &[u8]) -> Result<u32, Error> {
        let number = self.channels;
        self.channels += 1;
        let window = 1 << (10 + self.random.below(11));
        let mut payload = open(kind, number, window, 32 * 1024);
        payload.extend_from_slice(fields);
        self.raw.send(&payload);
        loop {
            let packet = self.raw.packet().await?;
            if recipient(&packet) == number {
                assert_eq!(packet[0], msg::CHANNEL_OPEN_CONFIRMATION, "{packet:?}");
                return Ok(u32_at(&packet, 5));
            }
        }
    }

    /// Asks for something that has to be granted.
    async fn ask(&mut self, channel: u32, name: &str, fields: &[&[u8]]) -> Result<(), Error> {
        self.raw.send(&request(channel, name, true, fields));
        self.granted(name).await
    }

    async fn granted(&mut self, what: &str) -> Result<(), Error> {
        loop {
            match self.raw.packet().await?[0] {
                msg::CHANNEL_SUCCESS => return Ok(()),
                msg::CHANNEL_FAILURE => panic!("{what} was refused"),
                _ => {}
            }
        }
    }

    /// Waits until all that was sent before has been dealt with.
    async fn answer(&mut self) -> Result<(), Error> {
        let mut last = string_message(msg::GLOBAL_REQUEST, "last@example.com");
        last.put_bool(true);
        self.raw.send(&last);
        self.raw.wait_for(msg::REQUEST_FAILURE).await.map(drop)
    }

    /// A terminal with a shell that waits, or with a program. Not both: a shell that is hung up at the
    /// moment when it starts a program may forget it, under any server.
    async fn terminal(&mut self) -> Result<(), Error> {
        let channel = self.open("session", &[]).await?;
        let mut terminal = request(channel, "pty-req", true, &[b"xterm"]);
        for number in [80, 24, 0, 0, 0] {
            terminal.put_u32(number);
        }
        self.raw.send(&terminal);
        self.granted("pty-req").await?;
        if self.random.chance() {
            return self.ask(channel, "exec", &[b"exec sleep 1000"]).await;
        }
        self.ask(channel, "shell", &[]).await?;
        self.raw.send(&data(channel, b"read line\n"));
        self.raw.wait_for(msg::CHANNEL_DATA).await.map(drop)
    }

    /// More than the client takes.
    async fn output(&mut self, command: &str) -> Result<(), Error> {
        let channel = self.open("session", &[]).await?;
        self.ask(channel, "exec", &[command.as_bytes()]).await?;
        self.raw.send(&data(channel, &[0; 2]));
        self.answer().await
    }

    /// Less than the command waits for.
    async fn input(&mut self, command: &str) -> Result<(), Error> {
        let channel = self.open("session", &[]).await?;
        self.ask(channel, "exec", &[command.as_bytes()]).await?;
        self.send_some(channel).await
    }

    /// A command that ends by itself.
    async fn short_command(&mut self) -> Result<(), Error> {
        let number = self.channels;
        self.channels += 1;
        let finished = self.raw.run(number, "echo done; exit 3").await?;
        assert_eq!(finished.stdout, b"done\n");
        Ok(())
    }

    /// A file that is written, not to its end.
    async fn sftp(&mut self) -> Result<(), Error> {
        let channel = self.open("session", &[]).await?;
        self.ask(channel, "subsystem", &[b"sftp"]).await?;
        let mut packets = Vec::new();
        // draft-ietf-secsh-filexfer-02: INIT with a version, OPEN, and WRITE of the first handle.
        packets.put_string(&[1, 0, 0, 0, 3]);
        let name = format!("sftp-{}", self.number);
        let mut open = vec![3, 0, 0, 0, 1];
        open.put_string(name.as_bytes());
        // To write and to create, without attributes.
        open.put_u32(0x02 | 0x08);
        open.put_u32(0);
        packets.put_string(&open);
        self.raw.send(&data(channel, &packets));
        let mut replies = Vec::new();
        let handle = loop {
            let packet = self.raw.wait_for(msg::CHANNEL_DATA).await?;
            if u32_at(&packet, 1) != self.channels - 1 {
                continue;
            }
            replies.extend_from_slice(Reader::new(&packet[5..]).string()?);
            let mut reader = Reader::new(&replies);
            // The version, then the handle.
            if let (Ok(_), Ok(opened)) = (reader.string(), reader.string()) {
                assert_eq!(opened[0], 102, "no handle: {opened:?}");
                break Reader::new(&opened[5..]).string()?.to_vec();
            }
        };
        for block in 0..self.random.below(8) {
            let mut write = vec![6, 0, 0, 0, 2];
            write.put_string(&handle);
            write.put_u32(0);
            write.put_u32(block * 8192);
            write.put_string(&[b'x'; 8192]);
            let mut packet = Vec::new();
            packet.put_string(&write);
            // Not always all of it.
            let length = packet.len() - self.random.below(2) as usize * 1000;
            self.raw.send(&data(channel, &packet[..length]));
            self.raw.flush().await?;
        }
        Ok(())
    }

    async fn scp_to(&mut self) -> Result<(), Error> {
        let channel = self.open("session", &[]).await?;
        let command = format!("scp -t scp-{}", self.number);
        self.ask(channel, "exec", &[command.as_bytes()]).await?;
        let header = format!("C0644 {FILE_BYTES} file\n");
        self.raw.send(&data(channel, header.as_bytes()));
        self.send_some(channel).await
    }

    /// A connection out of the container.
    async fn forward(&mut self) -> Result<(), Error> {
        let mut fields = Vec::new();
        let host = ["127.0.0.1", "localhost"][self.random.below(2) as usize];
        fields.put_string(host.as_bytes());
        fields.put_u32(self.place.echo.port().into());
        fields.put_string(b"127.0.0.1");
        fields.put_u32(1);
        let channel = self.open("direct-tcpip", &fields).await?;
        self.send_some(channel).await
    }

    /// Listeners in the container, one of them with a guest.
    async fn listen(&mut self) -> Result<(), Error> {
        let mut tcp = string_message(msg::GLOBAL_REQUEST, "tcpip-forward");
        tcp.put_bool(true);
        tcp.put_string(b"127.0.0.1");
        tcp.put_u32(0);
        self.raw.send(&tcp);
        let answer = self.listens("tcpip-forward").await?;
        let port = u16::try_from(u32_at(&answer, 1)).expect("a port");

        self.listeners += 1;
        let name = format!("listener-{}-{}", self.number, self.listeners);
        let path = self.place.home().join("tmp").join(name);
        let mut unix = string_message(msg::GLOBAL_REQUEST, "streamlocal-forward@openssh.com");
        unix.put_bool(true);
        unix.put_string(path.as_os_str().as_bytes());
        self.raw.send(&unix);
        self.listens("streamlocal-forward").await?;
        if self.random.chance() {
            self.guest(TcpStream::connect(("127.0.0.1", port)).await);
            self.guest(UnixStream::connect(path).await);
            self.raw.wait_for(msg::CHANNEL_OPEN).await?;
        }
        Ok(())
    }

    /// The answer to a request for a listener, which has to be granted.
    async fn listens(&mut self, what: &str) -> Result<Vec<u8>, Error> {
        loop {
            let packet = self.raw.packet().await?;
            match packet[0] {
                msg::REQUEST_SUCCESS => return Ok(packet),
                msg::REQUEST_FAILURE => panic!("{what} was refused"),
                _ => {}
            }
        }
    }

    /// The user's agent, which something in the container asks.
    async fn agent(&mut self) -> Result<(), Error> {
        let channel = self.open("session", &[]).await?;
        self.ask(channel, "auth-agent-req@openssh.com", &[]).await?;
        let command = b"printf %s \"$SSH_AUTH_SOCK\"; exec cat";
        self.ask(channel, "exec", &[command]).await?;
        let path = loop {
            let packet = self.raw.wait_for(msg::CHANNEL_DATA).await?;
            if u32_at(&packet, 1) == self.channels - 1 {
                let path = Reader::new(&packet[5..]).string()?;
                break PathBuf::from(OsStr::from_bytes(path));
            }
        };
        if self.random.chance() {
            self.guest(UnixStream::connect(path).await);
            self.raw.wait_for(msg::CHANNEL_OPEN).await?;
        }
        Ok(())
    }

    /// Keeps who has come in. The listener may have gone with a connection that was cut meanwhile.
    fn guest<S: Any + Send>(&mut self, came: std::io::Result<S>) {
        self.guests
            .extend(came.ok().map(|guest| Box::new(guest) as _));
    }

    /// As much as fits a window of whomever, in pieces of whatever size.
    async fn send_some(&mut self, channel: u32) -> Result<(), Error> {
        for _ in 0..self.random.below(8) {
            let length = self.random.below(16 * 1024) as usize;
            self.raw.send(&data(channel, &vec![b'd'; length]));
            self.raw.flush().await?;
        }
        Ok(())
    }
}
