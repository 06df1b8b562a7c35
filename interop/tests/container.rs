//! The daemon as one small file in places where there is little else: an empty root without `/proc`,
//! no processes or descriptors left, no terminals, no name for its user, nobody else to be the first
//! process.
//!
//! All of it is about `dist/diego-sshd`, the static program, beside the proxy of this build.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;
mod rooms;
mod support;

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;

use devcell::{Cell, CellOptions};
use interop::process::{self, Output, Process};
use packets::*;
use rooms::{Room, VCAP, as_nobody_known, children, is_root, resident_kb, with_roots_rights};
use rustix::process::{Pid, Signal, kill_process};
use ssh_proto::msg;
use ssh_proto::wire::{Put, Reader};
use support::network::{Peer, Stream};
use support::target::{HOST, Target, remote, succeeds};
use support::user::{listens, until};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::Command;

/// The file.
const MOST_BYTES: u64 = 6_000_000;

/// In memory before the first connection.
const MOST_RESIDENT_KB: u64 = 5 * 1024;

/// Of the connections of one test, far more than a limit of 64 descriptors or 4 processes allows.
const MANY: u32 = 64;

/// A cell of one instance whose daemon is started by this command.
fn started_by(command: Vec<OsString>) -> CellOptions {
    CellOptions {
        instances: 1,
        daemon_command: command,
        ..options()
    }
}

async fn cell_of(options: CellOptions) -> Cell {
    let cell = Cell::start(options).await;
    cell.unwrap_or_else(|error| panic!("no cell: {error}"))
}

/// The limits of descriptors of a process, soft and hard.
fn descriptor_limits(pid: u32) -> Vec<String> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let mut lines = limits.lines();
    let line = lines.find_map(|line| line.strip_prefix("Max open files"));
    let words = line.unwrap().split_whitespace();
    words.take(2).map(str::to_owned).collect()
}

/// The process that the cell started.
fn pid(cell: &Cell) -> u32 {
    cell.daemon(0).and_then(|it| it.pid()).expect("a daemon")
}

#[test]
fn the_file_is_small() {
    let bytes = fs::metadata(rooms::static_daemon()).unwrap().len();
    assert!(bytes <= MOST_BYTES, "{bytes} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_an_empty_root_it_starts_small_and_its_keys_are_hidden() {
    let room = Room::new(VCAP);
    let cell = cell_of(started_by(room.entered())).await;
    let daemon = pid(&cell);
    let resident = resident_kb(daemon);
    println!("{resident} kB at start");
    assert!(resident <= MOST_RESIDENT_KB, "{resident} kB");

    let proc = |file| fs::read(format!("/proc/{daemon}/{file}")).unwrap();
    let command_line = String::from_utf8(proc("cmdline")).unwrap();
    assert!(command_line.contains("-inheritDaemonEnv"), "{command_line}");
    let private = cell.instance_key().private_pem();
    let public = cell.instance_key().authorized_line();
    let secrets = private.lines().chain(public.split(' ').skip(1));
    let secrets: Vec<&str> = secrets.filter(|secret| secret.len() > 40).collect();
    assert!(secrets.len() >= 3);
    for file in ["cmdline", "environ"] {
        let text = proc(file);
        for secret in &secrets {
            let seen = text.windows(secret.len()).any(|it| it == secret.as_bytes());
            assert!(!seen, "{secret} in {file}");
        }
    }
    cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_an_empty_root_there_is_no_shell_and_that_is_told() {
    let room = Room::new(VCAP);
    let cell = cell_of(started_by(room.entered())).await;
    for door in doors(&cell) {
        let mut raw = Raw::login(&door).await.unwrap();
        for (number, program) in [(0, "exec"), (1, "shell")] {
            let peer = raw.open_session(number, 1 << 20).await.unwrap();
            raw.send(&match program {
                "exec" => exec(peer, "echo in"),
                _ => request(peer, "shell", true, &[]),
            });
            let finished = raw.finish(number, peer).await.unwrap();
            let told = String::from_utf8_lossy(&finished.stderr).into_owned();
            assert!(told.contains("no shell found"), "{program}: {told:?}");
            assert_eq!((finished.stdout.len(), finished.status), (0, Some(255)));
        }
    }
    cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_an_empty_root_files_are_copied_and_connections_forwarded() {
    let room = Room::new(VCAP);
    let options = started_by(room.entered());
    all_but_commands(&room, Target::direct_with(options.clone()).await).await;
    let room = Room::new(VCAP);
    let options = started_by(room.entered());
    all_but_commands(&room, Target::proxied_with(options).await).await;
}

/// What OpenSSH's tools do that needs nothing of the container.
async fn all_but_commands(room: &Room, target: Target) {
    let content: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(target.dir.join("file"), &content).unwrap();
    let is_there = |name: &str| {
        let same = fs::read(room.path().join(name)).unwrap() == content;
        assert!(same, "{name} differs");
    };
    let is_back = |name: &str| {
        let same = fs::read(target.dir.join(name)).unwrap() == content;
        assert!(same, "{name} differs");
    };

    let script = b"put file by-sftp\nls -l /\nget by-sftp back-by-sftp\n";
    let listed = succeeds(process::run(target.sftp(), script).await);
    assert!(listed.contains("diego-sshd"), "{listed}");
    is_there("by-sftp");
    is_back("back-by-sftp");

    for protocol in ["-O", "-s"] {
        for (from, to) in [
            ("file", remote("by-scp")),
            (&remote("by-scp"), "back".into()),
        ] {
            let mut scp = target.scp();
            scp.args([protocol, from, &to]);
            succeeds(process::run(scp, b"").await);
        }
        is_there("by-scp");
        is_back("back");
        fs::remove_file(room.path().join("by-scp")).unwrap();
    }

    let echo = Peer::echoes().await;
    let port = echo.address.port();
    for host in [HOST, "localhost"] {
        let to = format!("{host}:{port}");
        let mut ssh = target.ssh();
        ssh.args(["-W", &to]);
        let output = process::run(ssh, &content).await;
        assert!(output.status.success(), "{to}: {}", output.stderr);
        assert!(output.stdout == content, "{to}: {}", output.stdout.len());

        let socket = target.dir.join(host);
        let mut ssh = target.ssh();
        ssh.args(["-N", "-L", &format!("{}:{to}", socket.display())]);
        let forwarding = Process::start(ssh);
        listens(&socket).await;
        let user = UnixStream::connect(&socket).await.unwrap();
        Stream::of(user).echoed(&content).await;
        forwarding.kill();
    }
}

/// Programs that run up to the end of their input, as many as there can be.
struct Crowd {
    raw: Raw,
    /// The server's channel numbers by ours.
    running: Vec<(u32, u32)>,
    next: u32,
}

impl Crowd {
    async fn enter(door: &Door) -> Self {
        Self {
            raw: Raw::login(door).await.unwrap(),
            running: Vec::new(),
            next: 0,
        }
    }

    /// Starts one more; what the user is told if that cannot be.
    async fn start(&mut self) -> Result<(), String> {
        let number = self.next;
        self.next += 1;
        let peer = self.raw.open_session(number, 1 << 20).await.unwrap();
        self.raw.send(&exec(peer, "echo up; exec cat"));
        loop {
            let packet = self.raw.packet().await.unwrap();
            if recipient(&packet) != number {
                continue;
            }
            match packet[0] {
                msg::CHANNEL_DATA => {
                    self.running.push((number, peer));
                    return Ok(());
                }
                msg::CHANNEL_EXTENDED_DATA => {
                    let told = Reader::new(&packet[9..]).string().unwrap();
                    let told = String::from_utf8_lossy(told).into_owned();
                    let finished = self.raw.finish(number, peer).await.unwrap();
                    assert_eq!(finished.status, Some(255), "{told}");
                    return Err(told);
                }
                _ => {}
            }
        }
    }

    /// Starts them until that cannot be; what the last user is told.
    async fn fill(&mut self) -> String {
        for _ in 0..MANY {
            if let Err(told) = self.start().await {
                return told;
            }
        }
        panic!("{MANY} programs run in spite of the limit");
    }

    /// Ends one, completely.
    async fn end_one(&mut self) {
        let (number, peer) = self.running.pop().expect("one that runs");
        self.raw.send(&plain(msg::CHANNEL_EOF, peer));
        let finished = self.raw.finish(number, peer).await.unwrap();
        assert_eq!(finished.status, Some(0));
    }

    /// The others say back what they are told.
    async fn goes_on(&mut self) {
        for (number, peer) in self.running.clone() {
            self.raw.send(&data(peer, b"still here\n"));
            let mut echo = Vec::new();
            while echo != b"still here\n" {
                let packet = self.raw.wait_for(msg::CHANNEL_DATA).await.unwrap();
                assert_eq!(recipient(&packet), number);
                echo.extend_from_slice(Reader::new(&packet[5..]).string().unwrap());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_processes_to_start_the_user_is_told_and_others_go_on() {
    let room = Room::new(VCAP);
    // The daemon, its thread for files, and two more.
    let (_, mut command) = as_nobody_known(with_roots_rights(&[]));
    command.extend(["prlimit".into(), "--nproc=4".into(), room.program()]);
    let cell = cell_of(started_by(command)).await;
    for door in doors(&cell) {
        let mut crowd = Crowd::enter(&door).await;
        let told = crowd.fill().await;
        assert!(told.contains("cannot start a process"), "{told}");
        assert_eq!(crowd.running.len(), 2, "{}", door.name);
        crowd.goes_on().await;
        // There is neither a process nor a thread for anybody.
        let mut other = Raw::login(&door).await.unwrap();
        let peer = other.open_session(0, 1 << 20).await.unwrap();
        other.send(&request(peer, "shell", true, &[]));
        let finished = other.finish(0, peer).await.unwrap();
        assert_eq!(finished.status, Some(255));
        crowd.goes_on().await;
        // Files need none.
        let peer = other.open_session(2, 1 << 20).await.unwrap();
        other.send(&request(peer, "subsystem", true, &[b"sftp"]));
        let mut list = Vec::new();
        // draft-ietf-secsh-filexfer-02: INIT with a version, and LSTAT.
        list.put_string(&[1, 0, 0, 0, 3]);
        list.put_string(&[7, 0, 0, 0, 1, 0, 0, 0, 1, b'/']);
        other.send(&data(peer, &list));
        let mut replies = Vec::new();
        // Attributes come last.
        while !matches!(second(&replies), Some([105, ..])) {
            let packet = other.wait_for(msg::CHANNEL_DATA).await.unwrap();
            replies.extend_from_slice(Reader::new(&packet[5..]).string().unwrap());
        }
        other.send(&plain(msg::CHANNEL_EOF, peer));
        other.finish(2, peer).await.unwrap();
        crowd.end_one().await;
        crowd.start().await.unwrap();
        crowd.end_one().await;
        let finished = other.run(1, "echo in").await.unwrap();
        assert_eq!(finished.stdout, b"in\n");
        crowd.end_one().await;
    }
    cell.stop().await;
}

/// The second of several packets of sftp, if it is there.
fn second(packets: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(packets);
    reader.string().ok()?;
    reader.string().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_the_user_is_told_and_others_go_on() {
    let room = Room::new(VCAP);
    let command = ["prlimit".into(), "--nofile=64".into(), room.program()];
    let cell = cell_of(started_by(command.to_vec())).await;
    for door in doors(&cell) {
        let mut crowd = Crowd::enter(&door).await;
        let told = crowd.fill().await;
        assert!(told.contains("cannot start a process"), "{told}");
        assert!(crowd.running.len() > 3);
        crowd.goes_on().await;
        crowd.end_one().await;
        crowd.start().await.unwrap();
        while !crowd.running.is_empty() {
            crowd.end_one().await;
        }

        // Strangers who hold all descriptors there are.
        crowd.start().await.unwrap();
        let address = daemon_door(&cell).address;
        let mut strangers = Vec::new();
        for _ in 0..MANY {
            strangers.push(TcpStream::connect(address).await.unwrap());
        }
        // It may have inherited one with a higher number.
        let most = || rooms::descriptors(pid(&cell)) >= 64;
        until("all descriptors are in use", most).await;
        crowd.goes_on().await;
        drop(strangers);
        crowd.end_one().await;
        Bystander::enter(&door).await.all_is_well().await;
    }
    cell.stop().await;
}

/// Whatever launches the daemon may itself have been launched by something careless.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_launcher_blocks_ignores_or_limits_is_not_handed_on() {
    let room = Room::new(VCAP);
    let mut command: Vec<OsString> = [
        "env",
        "--block-signal=INT,TERM",
        "--ignore-signal=CHLD,QUIT",
        "prlimit",
        "--nofile=64:1000",
    ]
    .map(OsString::from)
    .into();
    command.push(room.program());
    let cell = cell_of(started_by(command)).await;
    assert_eq!(descriptor_limits(pid(&cell)), ["1000", "1000"]);
    for door in doors(&cell) {
        let mut raw = Raw::login(&door).await.unwrap();
        let look = "grep -E '^Sig(Blk|Ign)' /proc/self/status; ulimit -Sn; ulimit -Hn; exit 7";
        let finished = raw.run(0, look).await.unwrap();
        let expected = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n64\n1000\n";
        assert_eq!(String::from_utf8(finished.stdout).unwrap(), expected);
        assert_eq!(finished.status, Some(7));
    }
    // By SIGTERM, which it would not see.
    cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_terminals_everything_else_works() {
    let room = Room::new(VCAP);
    // Neither /dev/pts nor /dev/ptmx, nor anything else.
    let mut command = with_roots_rights(&["--mount"]);
    let script = r#"mount -t tmpfs none /dev && exec "$0" "$@""#;
    command.extend(["sh", "-c", script].map(OsString::from));
    command.push(room.program());
    let cell = cell_of(started_by(command)).await;
    for door in doors(&cell) {
        let mut raw = Raw::login(&door).await.unwrap();
        let peer = raw.open_session(0, 1 << 20).await.unwrap();
        raw.send(&terminal(peer));
        assert_eq!(raw.packet().await.unwrap()[0], msg::CHANNEL_FAILURE);
        raw.send(&exec(peer, "echo out; echo err >&2; exit 3"));
        let finished = raw.finish(0, peer).await.unwrap();
        assert_eq!(finished.stdout, b"out\n");
        assert_eq!(
            (finished.stderr, finished.status),
            (b"err\n".to_vec(), Some(3))
        );
        Bystander::enter(&door).await.all_is_well().await;
    }

    // From when there are some, they can be had.
    let target = pid(&cell).to_string();
    let mut enter = Command::new("nsenter");
    enter.args(["--target", &target, "--mount"]);
    if !is_root() {
        enter.args(["--user", "--preserve-credentials"]);
    }
    enter.args(["umount", "/dev"]);
    succeeds(process::run(enter, b"").await);
    for door in doors(&cell) {
        let mut raw = Raw::login(&door).await.unwrap();
        let peer = raw.open_session(0, 1 << 20).await.unwrap();
        raw.send(&terminal(peer));
        assert_eq!(raw.packet().await.unwrap()[0], msg::CHANNEL_SUCCESS);
        raw.send(&exec(peer, "tty"));
        let finished = raw.finish(0, peer).await.unwrap();
        assert!(finished.stdout.starts_with(b"/dev/"), "{finished:?}");
        assert_eq!(finished.status, Some(0));
    }
    cell.stop().await;
}

/// A pty-req without modes.
fn terminal(channel: u32) -> Vec<u8> {
    let mut payload = request(channel, "pty-req", true, &[b"xterm"]);
    for number in [80, 24, 0, 0, 0] {
        payload.put_u32(number);
    }
    payload
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_a_name_and_a_home_is_served() {
    let (user, mut command) = as_nobody_known(with_roots_rights(&[]));
    let room = Room::new(user);
    command.push(room.program());
    let options = CellOptions {
        daemon_env_without: ["HOME", "USER", "TMPDIR"].map(str::to_owned).to_vec(),
        ..started_by(command)
    };
    let target = Target::direct_with(options).await;
    let told = target.sh("id -u; echo \"home=$HOME user=$USER\"").await;
    assert_eq!(told, format!("{user}\nhome= user=\n"));
    // Files are its own, by number where there is no name.
    fs::write(target.dir.join("file"), "content").unwrap();
    let room = room.path().display();
    let script = format!("put file {room}/there\nls -l {room}/there\n");
    let listed = succeeds(process::run(target.sftp(), script.as_bytes()).await);
    let owner = listed
        .lines()
        .last()
        .and_then(|line| line.split_whitespace().nth(2));
    let name = if is_root() {
        user.to_string()
    } else {
        "root".to_owned()
    };
    assert_eq!(owner, Some(name.as_str()), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_the_first_process_it_reaps_orphans_and_ends_when_asked() {
    let room = Room::new(VCAP);
    let mut command = with_roots_rights(&["--pid", "--fork", "--mount-proc", "--kill-child"]);
    command.push(room.program());
    let cell = cell_of(started_by(command)).await;
    let first = children(pid(&cell))[0];
    let daemon = children(first);
    assert_eq!(daemon.len(), 1);

    let mut raw = Raw::login(&daemon_door(&cell)).await.unwrap();
    for number in 0..20 {
        let orphans = "for i in 1 2 3; do (sleep 0.1 >/dev/null 2>&1 &); done; echo left";
        let finished = raw.run(number, orphans).await.unwrap();
        assert_eq!(finished.stdout, b"left\n");
    }
    // They become children of the first process and are gone when they have ended.
    until("the orphans are gone", || children(first) == daemon).await;
    assert!(children(daemon[0]).is_empty());

    let first = Pid::from_raw(first.try_into().unwrap()).unwrap();
    kill_process(first, Signal::TERM).unwrap();
    let status = cell.daemon(0).unwrap().exited().await;
    assert_eq!(status.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_process_ends_as_the_daemon_does() {
    let room = Room::new(VCAP);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("-address={}", taken.local_addr().unwrap());
    let run = async |flags: &[&str]| -> Output {
        let namespaces = with_roots_rights(&["--pid", "--fork"]);
        let mut command = Command::new(&namespaces[0]);
        command.args(&namespaces[1..]).arg(room.program());
        command.args(flags);
        process::run(command, b"").await
    };
    let output = run(&["-allowUnauthenticatedClients", &address]).await;
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    let output = run(&["-nope"]).await;
    assert_eq!(output.status.code(), Some(2), "{}", output.stderr);
}
