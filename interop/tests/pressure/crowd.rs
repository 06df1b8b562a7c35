//! Connections that stop at some point of their login, and how they end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ssh_proto::algorithm::Algorithms;
use ssh_proto::crypto::random::SystemRandom;
use ssh_proto::msg;
use ssh_proto::transport::{Config, Role, Transport};
use ssh_proto::wire::Put;
use ssh_tokio::wire::now;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::packets::{Raw, packets_in_the_clear, read_disconnect};

/// Connections that are on their way at a time: under load, a login has its time too.
const AT_A_TIME: usize = 16;

/// Where a connection stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has said nothing.
    Silent,
    /// Its identification is sent.
    Identified,
    /// Inside its KEXINIT.
    InKexInit,
    /// Its KEXINIT is sent.
    KexInit,
    /// One byte before the end of the longest packet there may be without keys.
    InLongestClear,
    /// Both sides have keys.
    Keyed,
    /// The service is accepted.
    Served,
    /// A long packet under keys is announced, and no more.
    InPacket,
    /// One byte before the end of a long packet under keys.
    InLongPacket,
}

impl Stage {
    /// All of them, in their order.
    pub const ALL: [Self; 9] = [
        Self::Silent,
        Self::Identified,
        Self::InKexInit,
        Self::KexInit,
        Self::InLongestClear,
        Self::Keyed,
        Self::Served,
        Self::InPacket,
        Self::InLongPacket,
    ];

    /// Whether keys were exchanged.
    pub fn has_keys(self) -> bool {
        matches!(
            self,
            Self::Keyed | Self::Served | Self::InPacket | Self::InLongPacket
        )
    }
}

/// What a client says first: its identification, and its KEXINIT behind it.
pub fn opening() -> (Vec<u8>, Vec<u8>) {
    let config = Arc::new(Config::client("SSH-2.0-raw", Algorithms::default()));
    let transport = Transport::new(Role::Client, config, Box::new(SystemRandom), now());
    let output = transport.output();
    let end = output.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    (output[..end].to_vec(), output[end..].to_vec())
}

/// The payload of a long IGNORE that comes to just the longest packet before keys.
pub fn long_ignore() -> Vec<u8> {
    let mut payload = vec![msg::IGNORE];
    payload.put_string(&vec![0; 32 * 1024 - 5]);
    payload
}

/// The longest packet that is allowed without keys: packet_length, padding_length, an IGNORE.
pub fn longest_clear() -> Vec<u8> {
    let length: usize = 34_996;
    let mut packet = Vec::new();
    packet.put_u32(length as u32);
    packet.push(8);
    packet.push(msg::IGNORE);
    packet.put_u32((length - 1 - 1 - 4 - 8) as u32);
    packet.resize(4 + length, 0);
    packet
}

/// A connection that has stopped.
pub enum Held {
    /// Without keys.
    Clear(TcpStream),
    /// With keys.
    Keyed(Box<Raw>),
}

impl Held {
    /// Connects and goes as far as `stage`.
    pub async fn at(stage: Stage, address: SocketAddr) -> Self {
        if stage.has_keys() {
            return Self::Keyed(Box::new(keyed(stage, address).await));
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (identification, kexinit) = opening();
        let said = match stage {
            Stage::Silent => Vec::new(),
            Stage::Identified => identification,
            Stage::InKexInit => [&identification, &kexinit[..kexinit.len() / 2]].concat(),
            Stage::KexInit => [identification, kexinit].concat(),
            _ => {
                let mut packet = longest_clear();
                packet.pop();
                [identification, packet].concat()
            }
        };
        // Who is turned away meanwhile notices when it reads.
        let _ = stream.write_all(&said).await;
        Self::Clear(stream)
    }

    /// Waits for the DISCONNECT, behind which there has to be the end: its code and its text.
    pub async fn disconnect(self, patience: Duration) -> (u32, String) {
        let end = async {
            match self {
                Self::Keyed(raw) => raw.disconnect_whenever().await,
                Self::Clear(mut stream) => {
                    let mut said = Vec::new();
                    stream.read_to_end(&mut said).await.unwrap();
                    read_disconnect(packets_in_the_clear(&said).last().unwrap())
                }
            }
        };
        let ended = tokio::time::timeout(patience, end).await;
        ended.expect("a connection that is not cut")
    }
}

async fn keyed(stage: Stage, address: SocketAddr) -> Raw {
    if stage == Stage::Keyed {
        let mut raw = Raw::keyed(address).await;
        raw.flush().await.unwrap();
        return raw;
    }
    let raw = Raw::served(address).await;
    let (raw, mut stream, packet) = match stage {
        Stage::Served => return raw,
        _ => raw.held_back(&long_ignore()),
    };
    let part = match stage {
        Stage::InPacket => 64,
        _ => packet.len() - 1,
    };
    stream.write_all(&packet[..part]).await.unwrap();
    raw
}

/// Many connections that have stopped.
pub struct Crowd {
    pub held: Vec<Held>,
}

impl Crowd {
    /// So many connections at each of `stages`.
    pub async fn gather(address: SocketAddr, stages: &[Stage], of_each: usize) -> Self {
        let room = Arc::new(Semaphore::new(AT_A_TIME));
        let mut tasks = JoinSet::new();
        for stage in stages.iter().copied() {
            for _ in 0..of_each {
                let room = Arc::clone(&room);
                tasks.spawn(async move {
                    let _room = room.acquire().await.unwrap();
                    Held::at(stage, address).await
                });
            }
        }
        Self {
            held: tasks.join_all().await,
        }
    }

    /// Waits until all are cut, and checks that each is told one of these; gives how many there were.
    pub async fn sees_the_end(self, patience: Duration, expected: &[(u32, &str)]) -> usize {
        let mut tasks = JoinSet::new();
        for held in self.held {
            tasks.spawn(held.disconnect(patience));
        }
        let mut cut = 0;
        while let Some(told) = tasks.join_next().await {
            let (reason, text) = told.unwrap();
            let told = (reason, text.as_str());
            assert!(expected.contains(&told), "{told:?}");
            cut += 1;
        }
        cut
    }
}
