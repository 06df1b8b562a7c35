//! Peers that send without reading, and peers that are sent to and do not read.

use std::io::ErrorKind;
use std::time::Duration;

use ssh_proto::msg;
use ssh_proto::transport::Transport;
use ssh_proto::wire::Put;
use ssh_tokio::Wire;
use ssh_tokio::wire::now;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

use super::gauge::Gauge;
use crate::packets::{open, plain, request, string_message, window_adjust};

/// A program that takes nothing for so long has stopped reading, or is so slow that what it took has to
/// do.
const STUCK: Duration = Duration::from_millis(300);

/// Twice what a key exchange may take.
const LONGEST_KEX: Duration = Duration::from_secs(120);

/// How often programs are looked at that may have something to do.
const PACE: Duration = Duration::from_millis(100);

/// So much is sealed at a time.
const BATCH: usize = 64 * 1024;

/// One message that is sent again and again, given the server's number of an open channel.
pub type Flood = fn(u32) -> Vec<u8>;

/// Floods of messages that are allowed at any time after login.
pub const FLOODS: &[(&str, Flood)] = &[
    ("IGNORE", |_| with_string(msg::IGNORE, 32 * 1024)),
    ("empty IGNORE", |_| with_string(msg::IGNORE, 0)),
    ("DEBUG", |_| {
        let mut payload = vec![msg::DEBUG, 1];
        payload.put_string(&[b'x'; 1024]);
        payload.put_string(b"");
        payload
    }),
    ("PING", |_| with_string(msg::PING, 32 * 1024)),
    ("empty PING", |_| with_string(msg::PING, 0)),
    ("unknown numbers", |_| vec![200]),
    ("global requests", |_| {
        let mut payload = string_message(msg::GLOBAL_REQUEST, "flood@example.com");
        payload.put_bool(true);
        payload
    }),
    ("long global requests", |_| {
        let mut payload = string_message(msg::GLOBAL_REQUEST, "flood@example.com");
        payload.put_bool(true);
        payload.put_string(&[0; 16 * 1024]);
        payload
    }),
    ("opens of unknown types", |_| {
        open("flood@example.com", 7, 1 << 20, 1 << 15)
    }),
    ("opens of sessions", |_| {
        open("session", 7, 1 << 20, 1 << 15)
    }),
    ("channel requests", |peer| {
        request(peer, "flood@example.com", true, &[])
    }),
    ("windows of nothing", |peer| window_adjust(peer, 0)),
    ("windows of one byte", |peer| window_adjust(peer, 1)),
    ("late EXT_INFO", |_| vec![msg::EXT_INFO, 0, 0, 0, 0]),
    ("replies to nothing", |peer| {
        plain(msg::CHANNEL_SUCCESS, peer)
    }),
];

fn with_string(number: u8, length: usize) -> Vec<u8> {
    let mut payload = vec![number];
    payload.put_string(&vec![0; length]);
    payload
}

/// How far a flood came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// All of it was taken.
    All,
    /// The other end has stopped reading.
    Stuck,
    /// The connection was ended.
    Cut,
}

/// A connection whose owner never reads, and the bytes that it sent.
pub struct Deaf {
    stream: TcpStream,
    transport: Transport,
    pub sent: usize,
}

impl Deaf {
    /// From now on nothing is read.
    pub fn on(wire: Wire<TcpStream>) -> Self {
        let (stream, transport) = wire.into_parts();
        Self {
            stream,
            transport,
            sent: 0,
        }
    }

    /// Starts a key exchange, to which nothing more is ever said.
    pub async fn starts_keying(mut self) -> Self {
        self.transport.start_rekey(now());
        assert_eq!(self.write().await, Taken::All);
        self
    }

    /// Sends `payload` again and again, so many bytes of it.
    pub async fn floods(&mut self, payload: &[u8], bytes: usize) -> Taken {
        while self.sent < bytes {
            while self.transport.output().len() < BATCH {
                self.transport.send(&[payload]);
            }
            match self.write().await {
                Taken::All => {}
                taken => return taken,
            }
        }
        Taken::All
    }

    /// Reads what comes and understands none of it, until nothing comes for a while.
    pub async fn hears(&mut self) -> usize {
        let mut heard = 0;
        let mut noise = vec![0; BATCH];
        while let Ok(Ok(count @ 1..)) = timeout(STUCK, self.stream.read(&mut noise)).await {
            heard += count;
        }
        heard
    }

    /// Waits until the other end closes.
    pub async fn is_ended(&mut self) {
        let mut noise = vec![0; BATCH];
        let end = async { while let Ok(1..) = self.stream.read(&mut noise).await {} };
        let ended = timeout(LONGEST_KEX, end).await;
        ended.expect("a connection that goes on without new keys");
    }

    async fn write(&mut self) -> Taken {
        while !self.transport.output().is_empty() {
            let Ok(ready) = timeout(STUCK, self.stream.writable()).await else {
                return Taken::Stuck;
            };
            ready.unwrap();
            match self.stream.try_write(self.transport.output()) {
                Ok(count) => {
                    self.transport.sent(count);
                    self.sent += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Taken::Cut,
            }
        }
        Taken::All
    }
}

/// Waits until none of `programs` does anything more.
pub async fn all_rest(programs: &[Gauge]) {
    let mut pace = interval(PACE);
    let (mut before, mut still) = (0, 0);
    while still < 3 {
        pace.tick().await;
        let now = programs.iter().map(|gauge| gauge.ticks()).sum();
        still = if now == before { still + 1 } else { 0 };
        before = now;
    }
}
