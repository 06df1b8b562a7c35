//! Much data one way, by OpenSSH's client, and by ours where the size of packets matters.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use devcell::keys::KeyKind;
use ssh_tokio::session::Pipes;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader, ReadBuf};
use tokio::sync::oneshot;

use super::{Effort, servers};
use crate::client::{exec, open_session};
use crate::process::cpu_time;
use crate::report::{Row, Unit};
use crate::server::{Binaries, Server, Subject};

const BYTES: u64 = 2_000_000_000;
const BYTES_IN_SMALL_PACKETS: u64 = 300_000_000;
const SMALL: usize = 1024;

const SUBJECTS: [Subject; 7] = [
    Subject::OpenSsh,
    Subject::Daemon,
    Subject::Proxy,
    Subject::ProxyTls,
    Subject::ProxyPolicy,
    Subject::GoDaemon,
    Subject::GoProxy,
];

const CIPHERS: [(&str, &str); 3] = [
    ("aes128-gcm", "aes128-gcm@openssh.com"),
    ("aes256-ctr", "aes256-ctr"),
    ("chacha20", "chacha20-poly1305@openssh.com"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Down,
    Up,
}

/// What one transfer took.
struct Cost {
    cpu: Duration,
    wall: Duration,
    bytes: u64,
}

impl Cost {
    fn cpu_per_gb(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e9 / self.bytes as f64
    }

    fn mb_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.wall.as_secs_f64()
    }
}

pub(super) async fn measure(binaries: &Binaries, effort: &Effort) -> Vec<Row> {
    let servers = servers(binaries, &SUBJECTS, KeyKind::Ed25519).await;
    let bytes = effort.bytes(BYTES);
    let mut rows = Vec::new();
    for (name, cipher) in CIPHERS {
        for direction in [Direction::Down, Direction::Up] {
            let what = format!("{name}, {}", direction.name());
            let mut cpu = Row::new(format!("CPU of {what}"), Unit::CpuSecondsPerGb);
            let mut rate = Row::new(format!("rate of {what}"), Unit::MegabytesPerSecond);
            for _ in 0..effort.rounds {
                for server in &servers {
                    let cost = transfer(server, cipher, direction, bytes).await;
                    cpu.push(server.subject, cost.cpu_per_gb());
                    rate.push(server.subject, cost.mb_per_second());
                }
            }
            rows.extend([cpu, rate]);
        }
    }
    rows.extend(small_packets(&servers, effort).await);
    rows
}

/// 1 KiB at a time: what a program writes, and what a client packs.
async fn small_packets(servers: &[Server], effort: &Effort) -> [Row; 2] {
    let bytes = effort.bytes(BYTES_IN_SMALL_PACKETS);
    let mut down = Row::new("CPU at writes of 1 KiB, down", Unit::CpuSecondsPerGb);
    let mut up = Row::new("CPU at packets of 1 KiB, up", Unit::CpuSecondsPerGb);
    for _ in 0..effort.rounds {
        for server in servers {
            let count = bytes / SMALL as u64;
            let source = format!("dd if=/dev/zero bs={SMALL} count={count} status=none");
            let bytes = count * SMALL as u64;
            let cost = download(server, CIPHERS[0].1, &source, bytes).await;
            down.push(server.subject, cost.cpu_per_gb());
            let cost = upload_in_small_packets(server, bytes).await;
            up.push(server.subject, cost.cpu_per_gb());
        }
    }
    [down, up]
}

impl Server {
    /// The process that carries a session: OpenSSH has one for each, which is the shell's parent.
    fn carrier(&self, parent_of_shell: u32) -> u32 {
        match self.subject {
            Subject::OpenSsh => parent_of_shell,
            _ => self.listener,
        }
    }
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
        }
    }
}

async fn transfer(server: &Server, cipher: &str, direction: Direction, bytes: u64) -> Cost {
    match direction {
        Direction::Down => {
            let source = format!("head -c {bytes} /dev/zero");
            download(server, cipher, &source, bytes).await
        }
        Direction::Up => upload(server, cipher, bytes).await,
    }
}

/// A session of OpenSSH's client, in which a shell waits for a line before it begins and before it
/// ends: what the login and the end cost is not counted.
async fn download(server: &Server, cipher: &str, source: &str, bytes: u64) -> Cost {
    let remote = format!("exec 2>&1; echo $PPID; read go; {source}; read stop");
    let mut ssh = server.way.ssh(Some(cipher), &remote);
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut ssh = ssh.spawn().expect("ssh");
    let mut stdin = ssh.stdin.take().expect("a pipe");
    let mut stdout = BufReader::with_capacity(256 * 1024, ssh.stdout.take().expect("a pipe"));
    let carrier = server.carrier(read_number(&mut stdout).await);
    let (cpu, wall) = (cpu_time(carrier), Instant::now());
    stdin.write_all(b"go\n").await.expect("a session");
    let mut left = bytes;
    while left > 0 {
        let count = stdout.fill_buf().await.expect("data").len();
        assert!(count > 0, "the session ended early");
        let used = count.min(usize::try_from(left).unwrap_or(count));
        stdout.consume(used);
        left -= used as u64;
    }
    let cost = Cost {
        cpu: cpu_time(carrier) - cpu,
        wall: wall.elapsed(),
        bytes,
    };
    stdin.write_all(b"stop\n").await.expect("a session");
    assert!(ssh.wait().await.expect("an end").success());
    cost
}

async fn upload(server: &Server, cipher: &str, bytes: u64) -> Cost {
    let remote = format!("echo $PPID; head -c {bytes} >/dev/null; echo 0; read stop");
    let mut ssh = server.way.ssh(Some(cipher), &remote);
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut ssh = ssh.spawn().expect("ssh");
    let mut stdin = ssh.stdin.take().expect("a pipe");
    let mut stdout = BufReader::new(ssh.stdout.take().expect("a pipe"));
    let carrier = server.carrier(read_number(&mut stdout).await);
    let (cpu, wall) = (cpu_time(carrier), Instant::now());
    let zeros = vec![0; 256 * 1024];
    let mut left = bytes;
    while left > 0 {
        let count = zeros
            .len()
            .min(usize::try_from(left).unwrap_or(zeros.len()));
        stdin.write_all(&zeros[..count]).await.expect("a session");
        left -= count as u64;
    }
    read_number(&mut stdout).await;
    let cost = Cost {
        cpu: cpu_time(carrier) - cpu,
        wall: wall.elapsed(),
        bytes,
    };
    stdin.write_all(b"stop\n").await.expect("a session");
    assert!(ssh.wait().await.expect("an end").success());
    cost
}

/// Our client sends packets of exactly 1 KiB, as fast as the window lets it.
async fn upload_in_small_packets(server: &Server, bytes: u64) -> Cost {
    let mut session = server.way.connect().await;
    let channel = open_session(&mut session).await;
    let command = format!("echo $PPID; head -c {bytes} >/dev/null; echo 0; read stop");
    exec(&mut session, channel, &command).await;
    let (begin, begun) = oneshot::channel();
    let (sink, stdout) = tokio::io::duplex(SMALL);
    session.join(
        channel,
        Pipes {
            sink: Some(Box::new(sink)),
            source: Some(Box::new(SmallReads { begun, left: bytes })),
            errors: None,
        },
    );
    let measured = async {
        let mut stdout = BufReader::new(stdout);
        let carrier = server.carrier(read_number(&mut stdout).await);
        let (cpu, wall) = (cpu_time(carrier), Instant::now());
        begin.send(()).expect("a session");
        read_number(&mut stdout).await;
        Cost {
            cpu: cpu_time(carrier) - cpu,
            wall: wall.elapsed(),
            bytes,
        }
    };
    let driven = async {
        // Without the end of input, the shell stays until the connection goes.
        while session.next().await.is_ok() {}
    };
    tokio::select! {
        cost = measured => cost,
        () = driven => panic!("the session ended early"),
    }
}

/// Zeros, 1 KiB at each read: a session makes one packet of each read.
struct SmallReads {
    begun: oneshot::Receiver<()>,
    left: u64,
}

impl AsyncRead for SmallReads {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.begun.is_terminated() {
            let begun = ready!(Pin::new(&mut self.begun).poll(cx));
            begun.expect("someone measures");
        }
        if self.left == 0 {
            return Poll::Pending;
        }
        let count = SMALL.min(buffer.remaining());
        buffer.put_slice(&[0; SMALL][..count]);
        self.left = self.left.saturating_sub(count as u64);
        Poll::Ready(Ok(()))
    }
}

async fn read_number(stdout: &mut (impl AsyncBufReadExt + Unpin)) -> u32 {
    let mut line = String::new();
    stdout.read_line(&mut line).await.expect("a line");
    line.trim().parse().expect("a number")
}
