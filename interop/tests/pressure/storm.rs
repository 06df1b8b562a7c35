//! Many connections a second, none of which wants anything, from all over 127.0.0.0/8.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::packets::Raw;

/// They come in so many portions a second.
const PORTIONS: usize = 50;

/// Those under way at a time: no more than this process may have descriptors. What is over that comes
/// later.
const AT_A_TIME: usize = 500;

/// What each connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gust {
    /// It is closed at once.
    Close,
    /// It is reset at once.
    Reset,
    /// It exchanges keys and is closed.
    Keys,
}

impl Gust {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Close, Self::Reset, Self::Keys];

    async fn blow(self, source: Ipv4Addr, to: SocketAddr) -> io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        let stream = socket.connect(to).await?;
        match self {
            Self::Close => {}
            Self::Reset => reset(&stream),
            Self::Keys => Raw::on(stream).has_keys().await,
        }
        Ok(())
    }
}

/// Makes the close that follows a reset.
fn reset(stream: &TcpStream) {
    sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}

/// A storm.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    pub gust: Gust,
    pub a_second: usize,
    pub connections: usize,
}

impl Storm {
    /// Makes all connections, not faster than it should; gives how many came about.
    pub async fn blow(self, to: SocketAddr) -> usize {
        let mut tasks = JoinSet::new();
        let mut pace = interval(Duration::from_secs(1) / PORTIONS as u32);
        let (mut begun, mut done) = (0, 0);
        while begun < self.connections {
            pace.tick().await;
            for _ in 0..self.a_second / PORTIONS {
                tasks.spawn(self.gust.blow(source(begun), to));
                begun += 1;
                while tasks.len() >= AT_A_TIME {
                    done += usize::from(tasks.join_next().await.unwrap().unwrap().is_ok());
                }
            }
        }
        let rest = tasks.join_all().await;
        done + rest.iter().filter(|blown| blown.is_ok()).count()
    }
}

/// An address of this machine that others have as often, and never the users'.
fn source(number: usize) -> Ipv4Addr {
    let [.., high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low.max(1))
}
