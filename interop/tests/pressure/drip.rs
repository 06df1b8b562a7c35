//! Peers that send a byte now and then: never silent for long, and never done.

use std::net::SocketAddr;
use std::time::Duration;

use ssh_proto::msg;
use ssh_proto::wire::Put;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::interval;

use super::crowd::{Held, long_ignore, longest_clear, opening};
use crate::packets::{Raw, clear_packet, twice};

/// Far below all that a server could take for silence; and what drips lasts longer than any deadline.
const PACE: Duration = Duration::from_millis(250);

/// Where a peer drips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In its identification.
    Identification,
    /// In its KEXINIT.
    KexInit,
    /// In a long packet before keys.
    ClearPacket,
    /// Between KEXINIT and NEWKEYS, in the message with its public value.
    KeyExchange,
    /// In a packet of authentication.
    Authentication,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Identification,
        Self::KexInit,
        Self::ClearPacket,
        Self::KeyExchange,
        Self::Authentication,
    ];
}

/// A connection on which a byte comes now and then, to no end.
pub struct Drip {
    held: Held,
    task: JoinHandle<()>,
}

impl Drip {
    /// Connects, goes as far as `place`, and drips there.
    pub async fn at(place: Place, address: SocketAddr) -> Self {
        if place == Place::Authentication {
            let raw = Raw::served(address).await;
            let (raw, stream, packet) = raw.held_back(&long_ignore());
            return Self {
                task: tokio::spawn(drip(stream, packet)),
                held: Held::Keyed(Box::new(raw)),
            };
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (identification, kexinit) = opening();
        let public_value = || {
            let mut payload = vec![msg::KEX_ECDH_INIT];
            payload.put_string(&[9; 1216]);
            clear_packet(&payload)
        };
        let (at_once, slowly) = match place {
            Place::Identification => (Vec::new(), [b"SSH-2.0-".as_slice(), &[b'a'; 240]].concat()),
            Place::KexInit => (identification, kexinit),
            Place::ClearPacket => (identification, longest_clear()),
            _ => ([identification, kexinit].concat(), public_value()),
        };
        stream.write_all(&at_once).await.unwrap();
        let (stream, other) = twice(stream);
        Self {
            task: tokio::spawn(drip(other, slowly)),
            held: Held::Clear(stream),
        }
    }

    /// Waits for the DISCONNECT: its code and its text.
    pub async fn disconnect(self, patience: Duration) -> (u32, String) {
        let told = self.held.disconnect(patience).await;
        assert!(self.task.await.is_ok());
        told
    }
}

/// Writes a byte now and then until nobody takes it.
async fn drip(mut stream: TcpStream, bytes: Vec<u8>) {
    let mut pace = interval(PACE);
    for byte in bytes {
        pace.tick().await;
        if stream.write_all(&[byte]).await.is_err() {
            return;
        }
    }
}
