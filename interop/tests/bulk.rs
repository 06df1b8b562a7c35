//! Much data both ways at the same time, through the proxy and a daemon, under a client that wants
//! new keys for every MiB: all arrives as it was sent.
//!
//! A GiB each way is for `scripts/soak`; otherwise it is a tenth.

mod support;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::rand;
use devcell::Cell;
use support::tenth;
use support::user::{cell, ssh};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Bytes each way.
const BYTES: u64 = 1 << 30;

/// Ten times what the long form takes on two busy cores.
const PATIENCE: Duration = Duration::from_secs(600);

/// The client begins a key exchange after so many bytes one way.
const REKEY_BYTES: u64 = 1 << 20;

/// What went through a session.
struct Transfer {
    sent: String,
    received: String,
    received_bytes: u64,
    /// Words of the command on standard error, which has what the other end saw.
    seen_there: Vec<String>,
    rekeys: u64,
}

/// The command sends back what it gets: nothing can come before it went, and since no more than the
/// windows is on its way, both ways are busy all the time.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_echoed_comes_back_whole() {
    let cell = cell().await;
    let bytes = tenth(BYTES);
    let transfer = transfer(&cell, "tee >(sha256sum >&2)", bytes).await;
    assert_eq!(transfer.received_bytes, bytes);
    assert_eq!(transfer.seen_there, [transfer.sent.as_str(), "-"]);
    assert_eq!(transfer.received, transfer.sent);
    transfer.check_rekeys(bytes);
}

/// Each side sends as fast as it can, whatever the other one does.
#[tokio::test(flavor = "multi_thread")]
async fn two_streams_pass_each_other() {
    let cell = cell().await;
    let bytes = tenth(BYTES);
    let command = format!(
        "exec 3<&0; sha256sum <&3 >up & \
         head -c {bytes} /dev/urandom | tee >(sha256sum >down); \
         wait; until [ -s down ]; do sleep 0.01; done; cat up down >&2"
    );
    let transfer = transfer(&cell, &command, bytes).await;
    assert_eq!(transfer.received_bytes, bytes);
    let expected = [transfer.sent.as_str(), "-", &transfer.received, "-"];
    assert_eq!(transfer.seen_there, expected);
    transfer.check_rekeys(bytes);
}

impl Transfer {
    fn check_rekeys(&self, bytes: u64) {
        let (rekeys, due) = (self.rekeys, bytes / REKEY_BYTES);
        // Both ways count for themselves and share an exchange; what is on its way is not counted.
        assert!(rekeys >= due / 2, "{rekeys} key exchanges, {due} were due");
    }
}

/// Sends `bytes` of random data to `command` and reads all that it prints.
async fn transfer(cell: &Cell, command: &str, bytes: u64) -> Transfer {
    let log = cell.dir().join("ssh.log");
    let mut ssh = ssh(cell, 0);
    ssh.args(["-v", "-E"]).arg(&log);
    ssh.args(["-o", &format!("RekeyLimit={REKEY_BYTES}")]);
    ssh.arg(command).kill_on_drop(true);
    ssh.stdin(Stdio::piped());
    ssh.stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut ssh = ssh.spawn().expect("ssh of Debian's openssh-client");
    let (stdin, stdout) = (ssh.stdin.take(), ssh.stdout.take());
    let (stdin, stdout) = (stdin.expect("a pipe"), stdout.expect("a pipe"));
    let mut stderr = ssh.stderr.take().expect("a pipe");
    let mut words = String::new();
    let all = async {
        tokio::join!(
            tokio::spawn(send(stdin, bytes)),
            tokio::spawn(receive(stdout)),
            stderr.read_to_string(&mut words),
            ssh.wait(),
        )
    };
    let all = timeout(PATIENCE, all).await.expect("an end");
    let (sent, received, errors, status) = all;
    errors.expect("text");
    assert!(status.expect("a status").success(), "{words}");
    let (received, received_bytes) = received.expect("no panic");
    let log = fs::read_to_string(log).expect("the client's log");
    let exchanges = log.matches("SSH2_MSG_NEWKEYS received").count();
    let rekeys = u64::try_from(exchanges).expect("a number") - 1;
    let (mib, seconds) = (bytes >> 20, start.elapsed().as_secs_f32());
    println!("{mib} MiB each way, {rekeys} new keys, in {seconds:.1} s: {command}");
    Transfer {
        sent: sent.expect("no panic"),
        received,
        received_bytes,
        seen_there: words.split_whitespace().map(str::to_owned).collect(),
        rekeys,
    }
}

/// Gives random data away, then the end; their checksum.
async fn send(mut stdin: impl AsyncWriteExt + Unpin, bytes: u64) -> String {
    let mut checksum = Context::new(&SHA256);
    let mut buffer = vec![0; 256 * 1024];
    let mut left = bytes;
    while left > 0 {
        let count = left.min(buffer.len() as u64);
        let block = &mut buffer[..usize::try_from(count).expect("a length")];
        rand::fill(block).expect("random data");
        checksum.update(block);
        stdin.write_all(block).await.expect("input is taken");
        left -= count;
    }
    hex(checksum)
}

/// Takes data to their end; their checksum and length.
async fn receive(mut stdout: impl AsyncRead + Unpin) -> (String, u64) {
    let mut checksum = Context::new(&SHA256);
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = 0;
    loop {
        let count = stdout.read(&mut buffer).await.expect("output");
        if count == 0 {
            return (hex(checksum), bytes);
        }
        checksum.update(&buffer[..count]);
        bytes += count as u64;
    }
}

fn hex(checksum: Context) -> String {
    let digest = checksum.finish();
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
