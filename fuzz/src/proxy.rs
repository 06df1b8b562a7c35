//! Targets of the proxy: what users, balancers, operators, services of the platform and containers can
//! give it.

mod answers;
mod relay;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use ssh_proxy::auth::user::UserName;
use ssh_proxy::config::File;
use ssh_proxy::edge::proxy_protocol::{self, HeaderError, Origin};
use ssh_proxy::settings::{self, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub use answers::{platform_answers, target_names};
pub use relay::relay;

use crate::input::{Input, Pieces};
use crate::place::Place;
use crate::runtime::runtime;

/// The longest header of the PROXY protocol that is read.
const LONGEST_HEADER: usize = 16 + 2048;

/// A configuration file: settings, or problems of one line each that begin with a key and show no
/// value of a secret.
pub fn proxy_config(data: &[u8]) {
    // Paths in it lead nowhere: there are no files here.
    let _place = Place::enter();
    let data: Vec<u8> = data
        .iter()
        .map(|byte| if *byte == b'/' { b'_' } else { *byte })
        .collect();
    let file = match File::parse(&data) {
        Ok(file) => file,
        Err(problems) => {
            assert!(!problems.is_empty());
            return problems.iter().for_each(|problem| check_problem(problem));
        }
    };
    if let Err(problems) = settings::logging(&file) {
        assert!(!problems.is_empty());
    }
    match Settings::new(file) {
        // There is no certificate for it.
        Ok(_) => panic!("settings without files"),
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                let in_key =
                    |byte: u8| byte.is_ascii_lowercase() || b"_.0123456789".contains(&byte);
                assert!(!problem.key.is_empty() && problem.key.bytes().all(in_key));
                assert!(!problem.error.is_empty());
            }
        }
    }
}

fn check_problem(problem: &str) {
    assert!(!problem.contains(char::is_control), "{problem:?}");
    if problem.starts_with("ends early (") || problem.starts_with("is not ") {
        return;
    }
    let (key, what) = problem.split_once(": ").expect("a key");
    let known = key
        .chars()
        .next()
        .is_some_and(|first| first.is_ascii_lowercase());
    assert!(known && !what.is_empty(), "{problem:?}");
}

/// A user name: a realm, a guid and an index that are written out as it was, or nothing.
pub(crate) fn user_name(name: &str) -> Option<(String, i32)> {
    let (realm, guid, index) = match UserName::parse(name)? {
        UserName::Diego { guid, index } => ("diego", guid, index),
        UserName::Cf { guid, index } => ("cf", guid, index),
    };
    assert!(index >= 0);
    let digits = name
        .strip_prefix(&format!("{realm}:{guid}/"))
        .expect("the parts in order");
    assert_eq!(
        digits.trim_start_matches('0'),
        index.to_string().trim_start_matches('0')
    );
    // It becomes a part of paths.
    assert!(
        guid.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    );
    Some((guid, index))
}

/// A header of the PROXY protocol, in pieces: what is read is what a plain reading of its document
/// finds, and not a byte behind it is taken.
pub fn proxy_protocol(data: &[u8]) {
    let mut input = Input::new(data);
    let pieces = Pieces::new(&mut input);
    let stream = input.rest();
    let (origin, left) = runtime().block_on(read(stream, pieces));
    match reference(stream) {
        Reading::Found(expected, length) => {
            assert_eq!(origin, Ok(expected));
            assert_eq!(left, &stream[length..]);
        }
        Reading::Never => assert!(origin.is_err()),
    }
    if stream.is_empty() {
        assert_eq!(origin, Err(HeaderError::Closed));
    }
    if let Ok(Origin::User(address)) = origin {
        assert_eq!(address.ip(), address.ip().to_canonical());
        assert!(stream.len() - left.len() <= LONGEST_HEADER);
    }
}

/// What is read of a stream that ends, and what is left.
async fn read(stream: &[u8], mut pieces: Pieces) -> (Result<Origin, HeaderError>, Vec<u8>) {
    let (near, far) = UnixStream::pair().expect("a pair of sockets");
    // To the kernel one stream is as good as another.
    let far = std::net::TcpStream::from(OwnedFd::from(far));
    far.set_nonblocking(true).expect("a socket");
    let mut far = TcpStream::from_std(far).expect("a socket");
    near.set_nonblocking(true).expect("a socket");
    let mut near = tokio::net::UnixStream::from_std(near).expect("a socket");
    let write = async {
        let mut rest = stream;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(pieces.next_length().min(rest.len()));
            rest = after;
            // The reader may have hung up.
            _ = near.write_all(piece).await;
            tokio::task::yield_now().await;
        }
        _ = near.shutdown().await;
    };
    let (origin, ()) = tokio::join!(proxy_protocol::read(&mut far), write);
    let mut left = Vec::new();
    far.read_to_end(&mut left).await.expect("the rest");
    (origin, left)
}

/// What a header says, and how long it is.
enum Reading {
    Found(Origin, usize),
    Never,
}

/// HAProxy's proxy-protocol.txt, read at leisure.
fn reference(stream: &[u8]) -> Reading {
    let found = if stream.starts_with(b"PROXY ") {
        reference_v1(stream)
    } else {
        reference_v2(stream)
    };
    found.map_or(Reading::Never, |(origin, length)| {
        Reading::Found(origin, length)
    })
}

/// Section 2.1
fn reference_v1(stream: &[u8]) -> Option<(Origin, usize)> {
    let end = stream.iter().take(107).position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(stream[..end].strip_suffix(b"\r")?).ok()?;
    let words: Vec<&str> = line.split(' ').collect();
    let origin = match *words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Origin::Balancer,
        ["PROXY", "TCP4", source, destination, port, to] => {
            destination.parse::<Ipv4Addr>().ok()?;
            user(source.parse::<Ipv4Addr>().ok()?.into(), port, to)?
        }
        ["PROXY", "TCP6", source, destination, port, to] => {
            destination.parse::<Ipv6Addr>().ok()?;
            user(source.parse::<Ipv6Addr>().ok()?.into(), port, to)?
        }
        _ => return None,
    };
    Some((origin, end + 1))
}

fn user(source: IpAddr, port: &str, to: &str) -> Option<Origin> {
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten()
    };
    number(to)?;
    Some(Origin::User(SocketAddr::new(
        source.to_canonical(),
        number(port)?,
    )))
}

/// Section 2.2
fn reference_v2(stream: &[u8]) -> Option<(Origin, usize)> {
    let rest = stream.strip_prefix(b"\r\n\r\n\0\r\nQUIT\n")?;
    let (&[version, family, high, low], rest) = rest.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let addresses = rest.get(..length).filter(|_| length <= 2048)?;
    let origin = match (version, family) {
        (0x20, _) | (0x21, 0) => Origin::Balancer,
        (0x21, 0x11) => {
            let source: [u8; 4] = addresses.get(..12)?[..4].try_into().ok()?;
            at(source.into(), &addresses[8..10])
        }
        (0x21, 0x21) => {
            let source: [u8; 16] = addresses.get(..36)?[..16].try_into().ok()?;
            at(source.into(), &addresses[32..34])
        }
        _ => return None,
    };
    Some((origin, 16 + length))
}

fn at(source: IpAddr, port: &[u8]) -> Origin {
    let port = u16::from_be_bytes([port[0], port[1]]);
    Origin::User(SocketAddr::new(source.to_canonical(), port))
}
