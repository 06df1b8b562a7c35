//! The header of the PROXY protocol, versions 1 and 2, in which a balancer tells whom it forwards
//! (HAProxy's `proxy-protocol.txt`).
//!
//! Not a byte behind the header is taken from the stream. Which peers are balancers is the owner's to
//! know, and so is how long they may take.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ssh_proto::wire::{Malformed, Reader};
use thiserror::Error;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// What version 2 begins with (section 2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// What both versions have at least: the signature of version 2 and a byte, or `PROXY UNKNOWN`.
const START: usize = 13;

/// The longest header of version 1, its line end included (section 2.1).
const LONGEST_V1: usize = 107;

/// What follows the first 16 bytes of version 2 in the longest header that is read: two IPv6 addresses,
/// and the extensions of the large balancers several times over.
const LONGEST_V2: usize = 2048;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This user's.
    User(SocketAddr),
    /// The balancer's own, such as a health check, or one of which it does not know more.
    Balancer,
}

/// No header, or none that can be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HeaderError {
    /// Nothing came: a probe.
    #[error("closed without a word")]
    Closed,
    /// The stream ended or failed within the header.
    #[error("connection lost within the PROXY protocol header: {0}")]
    Lost(String),
    /// Something else came. Does the balancer send the header?
    #[error("no PROXY protocol header")]
    Missing,
    /// The header breaks a rule.
    #[error("bad PROXY protocol header: {0}")]
    Bad(&'static str),
}

const MALFORMED: HeaderError = HeaderError::Bad("cut short");

impl From<Malformed> for HeaderError {
    fn from(_: Malformed) -> Self {
        MALFORMED
    }
}

/// Reads the header from the start of `stream`.
pub async fn read(stream: &mut TcpStream) -> Result<Origin, HeaderError> {
    let mut start = [0; START];
    let (first, rest) = start.split_at_mut(1);
    if !matches!(stream.read(first).await, Ok(1)) {
        return Err(HeaderError::Closed);
    }
    read_exact(stream, rest).await?;
    match start.split_last() {
        Some((version, signature)) if *signature == SIGNATURE => read_v2(stream, *version).await,
        _ if start.starts_with(b"PROXY ") => read_v1(stream, start).await,
        _ => Err(HeaderError::Missing),
    }
}

async fn read_exact(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<(), HeaderError> {
    let read = stream.read_exact(buffer).await;
    read.map_err(|error| HeaderError::Lost(error.to_string()))?;
    Ok(())
}

/// Reads the rest of a line. How long it is shows only at its end, so it is looked at before it is
/// taken.
async fn read_v1(stream: &mut TcpStream, start: [u8; START]) -> Result<Origin, HeaderError> {
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        let mut seen = [0; LONGEST_V1];
        let room = LONGEST_V1.saturating_sub(line.len());
        let seen = seen.get_mut(..room).unwrap_or_default();
        if seen.is_empty() {
            return Err(HeaderError::Bad("the line is too long"));
        }
        let peeked = stream.peek(seen).await;
        let count = peeked.map_err(|error| HeaderError::Lost(error.to_string()))?;
        let seen = seen.get(..count).unwrap_or_default();
        let end = seen.iter().position(|byte| *byte == b'\n');
        let mut part = vec![0; end.map_or(count, |end| end + 1).max(1)];
        read_exact(stream, &mut part).await?;
        line.extend_from_slice(&part);
        if end.is_some() && !line.ends_with(b"\r\n") {
            return Err(HeaderError::Bad("a line end without a carriage return"));
        }
    }
    line.truncate(line.len().saturating_sub(2));
    parse_v1(&line)
}

/// Section 2.1: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 2222`.
fn parse_v1(line: &[u8]) -> Result<Origin, HeaderError> {
    let line = std::str::from_utf8(line).map_err(|_| HeaderError::Bad("not ASCII"))?;
    let mut words = line.split(' ').skip(1);
    let mut word = || words.next().ok_or(MALFORMED);
    let is_right: fn(IpAddr) -> bool = match word()? {
        // Whatever follows is to be ignored.
        "UNKNOWN" => return Ok(Origin::Balancer),
        "TCP4" => |ip| ip.is_ipv4(),
        "TCP6" => |ip| ip.is_ipv6(),
        _ => return Err(HeaderError::Bad("unknown protocol")),
    };
    let address = |text: &str| {
        let ip = text.parse().ok().filter(|ip| is_right(*ip));
        ip.ok_or(HeaderError::Bad("not an address of its protocol"))
    };
    let port = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let port = digits.then(|| text.parse::<u16>().ok()).flatten();
        port.ok_or(HeaderError::Bad("not a port"))
    };
    let (source, _destination) = (address(word()?)?, address(word()?)?);
    let (source_port, _destination_port) = (port(word()?)?, port(word()?)?);
    if words.next().is_some() {
        return Err(HeaderError::Bad("something behind the ports"));
    }
    Ok(user(source, source_port))
}

async fn read_v2(stream: &mut TcpStream, version: u8) -> Result<Origin, HeaderError> {
    let mut head = [0; 3];
    read_exact(stream, &mut head).await?;
    let [family, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_V2 {
        return Err(HeaderError::Bad("too long"));
    }
    let mut rest = vec![0; length];
    read_exact(stream, &mut rest).await?;
    parse_v2(version, family, &rest)
}

/// Section 2.2. `rest` is what the length counts: addresses, and extensions that are of no use here.
fn parse_v2(version: u8, family: u8, rest: &[u8]) -> Result<Origin, HeaderError> {
    match version {
        // LOCAL: the rest is to be ignored.
        0x20 => return Ok(Origin::Balancer),
        0x21 => {}
        _ => return Err(HeaderError::Bad("unknown version or command")),
    }
    let mut reader = Reader::new(rest);
    let source: IpAddr = match family {
        // UNSPEC
        0x00 => return Ok(Origin::Balancer),
        0x11 => {
            let source = Ipv4Addr::from(reader.array::<4>()?);
            reader.array::<4>()?;
            source.into()
        }
        0x21 => {
            let source = Ipv6Addr::from(reader.array::<16>()?);
            reader.array::<16>()?;
            source.into()
        }
        0x31 | 0x32 => return Err(HeaderError::Bad("Unix sockets have no users here")),
        _ => return Err(HeaderError::Bad("not TCP over IP")),
    };
    let port = u16::from_be_bytes(reader.array()?);
    let _destination_port = reader.array::<2>()?;
    Ok(user(source, port))
}

fn user(ip: IpAddr, port: u16) -> Origin {
    Origin::User(SocketAddr::new(ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;
    use crate::sample::{Law, Sample, report, sweep};

    const LONGEST: &str = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                           ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 65535 65534";

    fn origin(text: &str) -> Origin {
        Origin::User(text.parse().unwrap())
    }

    fn v2(version: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend_from_slice(&[version, family]);
        header.extend_from_slice(&u16::try_from(rest.len()).unwrap().to_be_bytes());
        header.extend_from_slice(rest);
        header
    }

    fn ipv4() -> Vec<u8> {
        vec![192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 8, 0xae]
    }

    /// What comes of `bytes`, sent in pieces, and what is left in the stream behind the header.
    async fn read_from(bytes: &[u8], piece: usize) -> (Result<Origin, HeaderError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        client.set_nodelay(true).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let send = async {
            for piece in bytes.chunks(piece) {
                client.write_all(piece).await.unwrap();
                client.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
            client.shutdown().await.unwrap();
        };
        let (result, ()) = tokio::join!(read(&mut stream), send);
        let mut left = Vec::new();
        stream.read_to_end(&mut left).await.unwrap();
        (result, left)
    }

    #[tokio::test]
    async fn headers_are_read_to_their_last_byte_and_no_further() {
        let mut ipv6 = vec![0x20, 0x01, 0x0d, 0xb8];
        ipv6.extend_from_slice(&[0; 27]);
        ipv6.extend_from_slice(&[1, 0xdc, 4, 8, 0xae]);
        // An IPv4 address in IPv6 form.
        let mut mapped = vec![0; 10];
        mapped.extend_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
        mapped.extend_from_slice(&[0; 16]);
        mapped.extend_from_slice(&[0xdc, 4, 8, 0xae]);
        let mut extended = ipv4();
        extended.extend_from_slice(&[0x04, 0x00, 0x02, 0xab, 0xcd]);
        let longest = origin("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
        let cases = [
            (
                b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 2222\r\n".to_vec(),
                origin("192.0.2.1:56324"),
            ),
            (
                b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n".to_vec(),
                origin("[2001:db8::1]:1"),
            ),
            (
                b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n".to_vec(),
                origin("192.0.2.1:1"),
            ),
            (format!("{LONGEST}\r\n").into_bytes(), longest),
            (b"PROXY UNKNOWN\r\n".to_vec(), Origin::Balancer),
            (
                b"PROXY UNKNOWN ffff::1 whatever\r\n".to_vec(),
                Origin::Balancer,
            ),
            (v2(0x21, 0x11, &ipv4()), origin("192.0.2.1:56324")),
            (v2(0x21, 0x11, &extended), origin("192.0.2.1:56324")),
            (v2(0x21, 0x21, &ipv6), origin("[2001:db8::]:56324")),
            (v2(0x21, 0x21, &mapped), origin("192.0.2.1:56324")),
            (v2(0x20, 0x00, b""), Origin::Balancer),
            (v2(0x20, 0x11, &ipv4()), Origin::Balancer),
            (v2(0x21, 0x00, b"anything"), Origin::Balancer),
            (v2(0x21, 0x00, &[0; LONGEST_V2]), Origin::Balancer),
        ];
        for (header, origin) in cases {
            let behind = b"SSH-2.0-client\r\n\0\0";
            let bytes = [&header[..], behind].concat();
            for piece in [bytes.len(), 1, 7] {
                let (result, left) = read_from(&bytes, piece).await;
                assert_eq!(result, Ok(origin), "{header:?}");
                assert_eq!(left, behind);
            }
        }
    }

    #[tokio::test]
    async fn other_things_are_refused() {
        let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
        let cases = [
            (b"".to_vec(), HeaderError::Closed),
            (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), HeaderError::Missing),
            (b"GET / HTTP/1.0\r\n\r\n".to_vec(), HeaderError::Missing),
            (
                b"proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n".to_vec(),
                HeaderError::Missing,
            ),
            (long, HeaderError::Bad("the line is too long")),
            (
                b"PROXY UNKNOWN\n".to_vec(),
                HeaderError::Bad("a line end without a carriage return"),
            ),
            (
                v2(0x22, 0x11, &ipv4()),
                HeaderError::Bad("unknown version or command"),
            ),
            (
                v2(0x11, 0x11, &ipv4()),
                HeaderError::Bad("unknown version or command"),
            ),
            (v2(0x21, 0x12, &ipv4()), HeaderError::Bad("not TCP over IP")),
            (
                v2(0x21, 0x31, &[0; 216]),
                HeaderError::Bad("Unix sockets have no users here"),
            ),
            (v2(0x21, 0x11, &ipv4()[..11]), MALFORMED),
            (v2(0x21, 0x21, &ipv4()), MALFORMED),
            (
                v2(0x21, 0x00, &[0; LONGEST_V2 + 1]),
                HeaderError::Bad("too long"),
            ),
        ];
        for (bytes, error) in cases {
            assert_eq!(read_from(&bytes, 5).await.0, Err(error), "{bytes:?}");
        }
        for cut in [
            &b"PROXY"[..],
            b"PROXY TCP4 192.0.2.1",
            &v2(0x21, 0x11, &ipv4())[..20],
        ] {
            let (result, _) = read_from(cut, 64).await;
            assert!(matches!(result, Err(HeaderError::Lost(_))), "{result:?}");
        }
    }

    #[test]
    fn lines_of_version_1_are_exact() {
        for line in [
            "PROXY ",
            "PROXY TCP4",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 ",
            "PROXY TCP4  192.0.2.1 192.0.2.2 1 2",
            "PROXY TCP4 192.0.2.256 192.0.2.2 1 2",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2",
            "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 ",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 2",
        ] {
            let result = parse_v1(line.as_bytes());
            assert!(matches!(result, Err(HeaderError::Bad(_))), "{line}");
        }
    }

    /// A header that is cut anywhere is none, a byte more belongs to what is behind it, and the length of
    /// version 2 is believed up to the longest header.
    #[test]
    fn cut_and_lengthened_headers_and_wrong_lengths() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let whole = v2(0x21, 0x11, &ipv4());
        let mut samples = Vec::new();
        for (name, header) in [
            ("version 1", format!("{LONGEST}\r\n").into_bytes()),
            ("version 2", whole.clone()),
            ("local", v2(0x20, 0x00, b"")),
        ] {
            let law = Law::OpenFrom(header.len());
            samples.push(Sample::new(name, "*", header).under(law));
        }
        let mut cases = sweep(
            &samples,
            |_| (),
            |(), bytes| {
                let (origin, _) = runtime.block_on(read_from(bytes, 4096));
                origin.into()
            },
        );
        for length in [0_u16, 11, 13, 0x8000, u16::MAX] {
            let mut header = whole.clone();
            header[14..16].copy_from_slice(&length.to_be_bytes());
            let (origin, _) = runtime.block_on(read_from(&header, 4096));
            assert!(origin.is_err(), "{length}");
            cases += 1;
        }
        report(cases, 150);
    }
}
