//! The SFTP server on streams: batches, order, bounds and ends.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers of tests are tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ssh_proto::wire::{Put as _, Reader};
use sshd::sftp::{Breach, Context, Ended, LONGEST_PACKET, LONGEST_READ, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const INIT: u8 = 1;
const OPEN: u8 = 3;
const READ: u8 = 5;
const WRITE: u8 = 6;
const STAT: u8 = 17;
const EXTENDED: u8 = 200;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;

/// What the daemon's pipes hold, roughly.
const PIPE: usize = 64 * 1024;

/// Virtual time that passes only when nothing else can happen.
const UNTIL_QUIET: Duration = Duration::from_millis(1);

struct Client {
    to_server: DuplexStream,
    from_server: DuplexStream,
    server: JoinHandle<Ended>,
}

impl Client {
    fn new() -> Self {
        let (to_server, input) = duplex(PIPE);
        let (output, from_server) = duplex(PIPE);
        let server = tokio::spawn(serve(input, output, Context::default()));
        Self {
            to_server,
            from_server,
            server,
        }
    }

    /// With INIT and its answer behind it.
    async fn greeted() -> Self {
        let mut client = Self::new();
        client.send(&packet(INIT, 3, &[])).await;
        assert_eq!(client.receive().await[0], 2);
        client
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.to_server.write_all(bytes).await.unwrap();
    }

    async fn receive(&mut self) -> Vec<u8> {
        receive(&mut self.from_server).await
    }

    async fn open(&mut self, path: &Path, pflags: u32) -> Vec<u8> {
        let mut fields = Vec::new();
        fields.put_string(path.as_os_str().as_encoded_bytes());
        fields.put_u32(pflags);
        fields.put_u32(0);
        self.send(&packet(OPEN, 0, &fields)).await;
        let reply = self.receive().await;
        let mut fields = Reader::new(&reply);
        assert_eq!(fields.u8(), Ok(HANDLE));
        fields.u32().unwrap();
        fields.string().unwrap().to_vec()
    }

    /// Ends the input; the replies that are left, and the end.
    async fn finish(self) -> (Vec<u8>, Ended) {
        drop(self.to_server);
        let mut rest = Vec::new();
        let mut from_server = self.from_server;
        from_server.read_to_end(&mut rest).await.unwrap();
        (rest, self.server.await.unwrap())
    }
}

async fn receive(from: &mut DuplexStream) -> Vec<u8> {
    let length = from.read_u32().await.unwrap();
    let mut packet = vec![0; usize::try_from(length).unwrap()];
    from.read_exact(&mut packet).await.unwrap();
    packet
}

fn packet(kind: u8, id: u32, fields: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.put_u32(u32::try_from(fields.len() + 5).unwrap());
    packet.put_u8(kind);
    packet.put_u32(id);
    packet.extend_from_slice(fields);
    packet
}

fn read(id: u32, handle: &[u8], offset: u64, length: usize) -> Vec<u8> {
    let mut fields = Vec::new();
    fields.put_string(handle);
    fields.put_u64(offset);
    fields.put_u32(u32::try_from(length).unwrap());
    packet(READ, id, &fields)
}

fn write(id: u32, handle: &[u8], offset: u64, data: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    fields.put_string(handle);
    fields.put_u64(offset);
    fields.put_string(data);
    packet(WRITE, id, &fields)
}

fn id(packet: &[u8]) -> u32 {
    Reader::new(&packet[1..]).u32().unwrap()
}

fn file(directory: &tempfile::TempDir, content: &[u8]) -> PathBuf {
    let path = directory.path().join("file");
    fs::write(&path, content).unwrap();
    path
}

#[tokio::test]
async fn a_thousand_requests_at_once_are_answered_in_their_order() {
    let client = Client::greeted().await;
    let mut fields = Vec::new();
    fields.put_string(b"/");
    let all: Vec<u8> = (0..1000)
        .flat_map(|id| packet(if id % 3 == 0 { EXTENDED } else { STAT }, id, &fields))
        .collect();
    let Client {
        mut to_server,
        mut from_server,
        server,
    } = client;
    let sent = tokio::spawn(async move {
        to_server.write_all(&all).await.unwrap();
    });
    for expected in 0..1000 {
        assert_eq!(id(&receive(&mut from_server).await), expected);
    }
    sent.await.unwrap();
    assert!(matches!(server.await.unwrap(), Ended::Done));
}

#[tokio::test]
async fn files_go_up_and_come_down_through_small_pipes() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, b"");
    let mut client = Client::greeted().await;
    let handle = client.open(&path, 0x3).await;
    let content: Vec<u8> = (0..1_500_000_u32).flat_map(u32::to_le_bytes).collect();
    let chunks = content.chunks(LONGEST_READ).enumerate();
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for (number, chunk) in chunks {
        let offset = u64::try_from(number * LONGEST_READ).unwrap();
        up.extend(write(0, &handle, offset, chunk));
        down.extend(read(0, &handle, offset, LONGEST_READ));
    }
    up.extend(down);
    let Client {
        mut to_server,
        mut from_server,
        server,
    } = client;
    let sent = tokio::spawn(async move {
        to_server.write_all(&up).await.unwrap();
    });
    let count = content.len().div_ceil(LONGEST_READ);
    for _ in 0..count {
        assert_eq!(receive(&mut from_server).await[0], STATUS);
    }
    let mut back = Vec::new();
    for _ in 0..count {
        let reply = receive(&mut from_server).await;
        assert_eq!(reply[0], DATA);
        back.extend_from_slice(Reader::new(&reply[5..]).string().unwrap());
    }
    assert!(back == content && fs::read(&path).unwrap() == content);
    sent.await.unwrap();
    assert_eq!(server.await.unwrap().exit_status(), 0);
}

/// Virtual time stands still while anything runs, threads included: when it passes, all has come to
/// a stop.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_stops_the_server() {
    const ASKED: u32 = 4000;
    let directory = tempfile::tempdir().unwrap();
    let large = file(&directory, &vec![b'x'; LONGEST_READ]);
    let log = directory.path().join("log");
    let mut client = Client::greeted().await;
    let source = client.open(&large, 0x1).await;
    let count = client.open(&log, 0xe).await;
    // Each read leaves a mark.
    let pair = |id| {
        let read = read(id, &source, 0, LONGEST_READ);
        [read, write(id, &count, 0, b".")].concat()
    };
    let all: Vec<u8> = (0..ASKED).flat_map(pair).collect();
    let mut sent = 0;
    while sent < all.len() {
        match timeout(UNTIL_QUIET, client.to_server.write(&all[sent..])).await {
            Ok(count) => sent += count.unwrap(),
            Err(_) => break,
        }
    }
    // The last pieces may still be on their way from the pipe to the worker.
    timeout(UNTIL_QUIET, std::future::pending::<()>())
        .await
        .unwrap_err();
    let done = fs::read(&log).unwrap().len();
    // Two batches, each up to 256 KiB and the reply that goes beyond.
    assert!(done <= 6, "{done} reads were done for nobody");
    // It goes on where it stopped.
    let Client {
        mut to_server,
        mut from_server,
        server,
    } = client;
    let rest = tokio::spawn(async move {
        to_server.write_all(&all[sent..]).await.unwrap();
    });
    for expected in 0..ASKED {
        let data = receive(&mut from_server).await;
        assert_eq!((data[0], id(&data)), (DATA, expected));
        assert_eq!(id(&receive(&mut from_server).await), expected);
    }
    rest.await.unwrap();
    assert!(matches!(server.await.unwrap(), Ended::Done));
    assert_eq!(
        fs::read(&log).unwrap().len(),
        usize::try_from(ASKED).unwrap()
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_sends_is_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, b"");
    let mut client = Client::greeted().await;
    let handle = client.open(&path, 0x6).await;
    // Many small requests: their replies are larger than they are.
    let one = write(0, &handle, 0, b"");
    let all = one.repeat(200_000);
    let mut sent = 0;
    while let Ok(count) = timeout(UNTIL_QUIET, client.to_server.write(&all[sent..])).await {
        sent += count.unwrap();
        assert!(sent < all.len(), "all was taken");
    }
    let bound = 4 * (LONGEST_PACKET + 4) + 2 * LONGEST_PACKET + 4 * PIPE;
    assert!(sent <= bound, "{sent} bytes were taken");
    drop(client.from_server);
    assert!(matches!(client.server.await.unwrap(), Ended::Stream(_)));
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_goes_on_after_its_buffers_were_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, b"");
    let mut client = Client::greeted().await;
    let handle = client.open(&path, 0x3).await;
    for round in 0..3 {
        let data = vec![b'a' + round; LONGEST_READ];
        let request = write(1, &handle, 0, &data);
        // The pause comes in the middle of a packet too.
        client.send(&request[..100_000]).await;
        tokio::time::advance(Duration::from_secs(10)).await;
        client.send(&request[100_000..]).await;
        assert_eq!(client.receive().await[0], STATUS);
        tokio::time::advance(Duration::from_secs(10)).await;
        client.send(&read(2, &handle, 0, LONGEST_READ)).await;
        let reply = client.receive().await;
        assert!(Reader::new(&reply[5..]).string().unwrap() == data);
    }
    assert!(matches!(client.finish().await.1, Ended::Done));
}

#[tokio::test]
async fn what_came_before_the_end_is_answered() {
    let mut client = Client::greeted().await;
    let mut fields = Vec::new();
    fields.put_string(b"/");
    for id in 0..10 {
        client.send(&packet(STAT, id, &fields)).await;
    }
    let (replies, ended) = client.finish().await;
    assert!(matches!(ended, Ended::Done));
    assert_eq!(ended.exit_status(), 0);
    assert_eq!(replies.len(), 10 * (4 + 1 + 4 + 4 + 8 + 4 * 5));
}

#[tokio::test]
async fn a_session_without_a_word_is_done() {
    let (replies, ended) = Client::new().finish().await;
    assert!(replies.is_empty() && matches!(ended, Ended::Done));
}

#[tokio::test]
async fn lengths_that_cannot_be_end_the_session() {
    let mut fields = Vec::new();
    fields.put_string(b"/");
    for length in [0, u32::try_from(LONGEST_PACKET).unwrap() + 1, u32::MAX] {
        let mut client = Client::greeted().await;
        let mut bytes = packet(STAT, 9, &fields);
        bytes.put_u32(length);
        client.send(&bytes).await;
        // What came before is answered, and the end is not waited for.
        assert_eq!(id(&client.receive().await), 9);
        let ended = client.server.await.unwrap();
        assert!(matches!(ended, Ended::Breach(Breach::Length(l)) if l == length));
        assert_ne!(ended.exit_status(), 0);
    }
}

#[tokio::test]
async fn a_packet_may_be_as_long_as_announced() {
    let mut client = Client::greeted().await;
    let bytes = packet(0xff, 5, &vec![0; LONGEST_PACKET - 5]);
    client.send(&bytes).await;
    assert_eq!(id(&client.receive().await), 5);
    assert!(matches!(client.finish().await.1, Ended::Done));
}

#[tokio::test]
async fn a_packet_that_the_end_cuts_short_is_a_breach() {
    let stat = packet(STAT, 1, b"\0\0\0\x01/");
    for end in 1..stat.len() {
        let mut client = Client::greeted().await;
        client.send(&stat[..end]).await;
        let (replies, ended) = client.finish().await;
        assert!(replies.is_empty());
        assert!(matches!(ended, Ended::Breach(Breach::Truncated)));
    }
}

#[tokio::test]
async fn packets_may_arrive_byte_by_byte() {
    let mut client = Client::new();
    let all = [packet(INIT, 3, &[]), packet(STAT, 1, b"\0\0\0\x01/")].concat();
    for byte in all {
        client.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.receive().await[0], 2);
    assert_eq!(id(&client.receive().await), 1);
    assert!(matches!(client.finish().await.1, Ended::Done));
}

#[tokio::test]
async fn a_copy_without_end_ends_with_its_session() {
    let mut client = Client::greeted().await;
    let zero = client.open(Path::new("/dev/zero"), 0x1).await;
    let null = client.open(Path::new("/dev/null"), 0x2).await;
    let mut fields = Vec::new();
    fields.put_string(b"copy-data");
    fields.put_string(&zero);
    fields.put_u64(0);
    fields.put_u64(0);
    fields.put_string(&null);
    fields.put_u64(0);
    // The reply to what comes before shows that the copy is next.
    client.send(&packet(STAT, 1, b"\0\0\0\x01/")).await;
    client.send(&packet(EXTENDED, 2, &fields)).await;
    assert_eq!(id(&client.receive().await), 1);
    client.server.abort();
    assert!(client.server.await.unwrap_err().is_cancelled());
    // The end of this test's runtime waits for the worker.
}
