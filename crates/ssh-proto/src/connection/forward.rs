//! The payloads of forwarding: channel types and global requests for TCP (RFC 4254 section 7) and for
//! Unix sockets (OpenSSH PROTOCOL section 2.4).
//!
//! Form only: whether and where to connect or listen is the application's. A port that we would
//! connect to or listen on is a `u16`, so a number beyond is malformed; the port of an originator is
//! no more than a remark and stays as it was sent.

use super::request::{only_string, string};
use crate::wire::{Malformed, Put, Reader};

fn port(reader: &mut Reader<'_>) -> Result<u16, Malformed> {
    u16::try_from(reader.u32()?).map_err(|_| Malformed)
}

/// The fields that `direct-tcpip` and `forwarded-tcpip` both have (section 7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcpip<'a> {
    /// `direct-tcpip`: the host to connect to. `forwarded-tcpip`: the address that was connected to,
    /// as the request to listen had it.
    pub host: &'a [u8],
    /// The port to connect to, or that was connected to.
    pub port: u16,
    /// The address that the connection comes from.
    pub originator: &'a [u8],
    /// The port that the connection comes from.
    pub originator_port: u32,
}

impl<'a> Tcpip<'a> {
    /// The channel type by which a client reaches out from the server (section 7.2).
    pub const DIRECT: &'static str = "direct-tcpip";

    /// The channel type by which a server hands on what came to a listener (section 7.2).
    pub const FORWARDED: &'static str = "forwarded-tcpip";

    /// Reads the payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let fields = Self {
            host: reader.string()?,
            port: port(&mut reader)?,
            originator: reader.string()?,
            originator_port: reader.u32()?,
        };
        reader.finish().map(|()| fields)
    }

    /// Writes the payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_string(self.host);
        out.put_u32(self.port.into());
        out.put_string(self.originator);
        out.put_u32(self.originator_port);
        out
    }
}

/// What a global request asks to listen on, or to stop listening on (section 7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpipForward<'a> {
    /// The address; empty and some names stand for all or for loopback addresses.
    pub address: &'a [u8],
    /// The port; 0 leaves the choice to the server, who tells it by [`BoundPort`].
    pub port: u16,
}

impl<'a> TcpipForward<'a> {
    /// The global request to listen (section 7.1).
    pub const NAME: &'static str = "tcpip-forward";

    /// The global request to stop (section 7.1).
    pub const CANCEL: &'static str = "cancel-tcpip-forward";

    /// Reads the payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let fields = Self {
            address: reader.string()?,
            port: port(&mut reader)?,
        };
        reader.finish().map(|()| fields)
    }

    /// Writes the payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_string(self.address);
        out.put_u32(self.port.into());
        out
    }
}

/// The success of a [`TcpipForward`] for port 0 (section 7.1). For other ports it has no payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundPort {
    /// The port that was chosen.
    pub port: u16,
}

impl BoundPort {
    /// Reads the payload.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let port = port(&mut reader)?;
        reader.finish().map(|()| Self { port })
    }

    /// Writes the payload.
    pub fn encode(&self) -> Vec<u8> {
        u32::from(self.port).to_be_bytes().to_vec()
    }
}

/// `direct-streamlocal@openssh.com`: a client reaches out to a Unix socket (OpenSSH PROTOCOL section
/// 2.4). Two reserved fields follow the path; what they hold is nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectStreamlocal<'a> {
    /// The socket.
    pub path: &'a [u8],
}

impl<'a> DirectStreamlocal<'a> {
    /// The channel type.
    pub const NAME: &'static str = "direct-streamlocal@openssh.com";

    /// Reads the payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let path = reader.string()?;
        reader.string()?;
        reader.u32()?;
        reader.finish().map(|()| Self { path })
    }

    /// Writes the payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = string(self.path);
        out.put_string(b"");
        out.put_u32(0);
        out
    }
}

/// `forwarded-streamlocal@openssh.com`: a server hands on what came to a Unix socket (OpenSSH PROTOCOL
/// section 2.4). One reserved field follows the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardedStreamlocal<'a> {
    /// The socket, as the request to listen had it.
    pub path: &'a [u8],
}

impl<'a> ForwardedStreamlocal<'a> {
    /// The channel type.
    pub const NAME: &'static str = "forwarded-streamlocal@openssh.com";

    /// Reads the payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let path = reader.string()?;
        reader.string()?;
        reader.finish().map(|()| Self { path })
    }

    /// Writes the payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = string(self.path);
        out.put_string(b"");
        out
    }
}

/// The Unix socket that a global request asks to listen on, or to stop listening on (OpenSSH PROTOCOL
/// section 2.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamlocalForward<'a> {
    /// The socket.
    pub path: &'a [u8],
}

impl<'a> StreamlocalForward<'a> {
    /// The global request to listen.
    pub const NAME: &'static str = "streamlocal-forward@openssh.com";

    /// The global request to stop.
    pub const CANCEL: &'static str = "cancel-streamlocal-forward@openssh.com";

    /// Reads the payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        only_string(payload).map(|path| Self { path })
    }

    /// Writes the payload.
    pub fn encode(&self) -> Vec<u8> {
        string(self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCPIP: Tcpip<'_> = Tcpip {
        host: b"::1",
        port: 8080,
        originator: b"10.0.0.1",
        originator_port: u32::MAX,
    };

    #[test]
    fn payloads_come_back_as_they_were_written() {
        assert_eq!(Tcpip::parse(&TCPIP.encode()), Ok(TCPIP));
        let listen = TcpipForward {
            address: b"",
            port: 0,
        };
        assert_eq!(TcpipForward::parse(&listen.encode()), Ok(listen));
        let bound = BoundPort { port: u16::MAX };
        assert_eq!(BoundPort::parse(&bound.encode()), Ok(bound));
        let path = b"/tmp/\xffs";
        let direct = DirectStreamlocal { path };
        assert_eq!(DirectStreamlocal::parse(&direct.encode()), Ok(direct));
        let forwarded = ForwardedStreamlocal { path };
        assert_eq!(
            ForwardedStreamlocal::parse(&forwarded.encode()),
            Ok(forwarded)
        );
        let listen = StreamlocalForward { path };
        assert_eq!(StreamlocalForward::parse(&listen.encode()), Ok(listen));
    }

    #[test]
    fn a_payload_cut_short_or_too_long_is_malformed() {
        fn check<T>(parse: impl Fn(&[u8]) -> Result<T, Malformed>, mut payload: Vec<u8>) {
            for cut in 0..payload.len() {
                assert!(parse(&payload[..cut]).is_err());
            }
            payload.push(0);
            assert!(parse(&payload).is_err());
        }
        let path = b"/s";
        check(|it| Tcpip::parse(it).map(drop), TCPIP.encode());
        let listen = TcpipForward {
            address: b"a",
            port: 1,
        };
        check(|it| TcpipForward::parse(it).map(drop), listen.encode());
        check(BoundPort::parse, BoundPort { port: 1 }.encode());
        let direct = DirectStreamlocal { path }.encode();
        check(|it| DirectStreamlocal::parse(it).map(drop), direct);
        let forwarded = ForwardedStreamlocal { path }.encode();
        check(|it| ForwardedStreamlocal::parse(it).map(drop), forwarded);
        let listen = StreamlocalForward { path }.encode();
        check(|it| StreamlocalForward::parse(it).map(drop), listen);
    }

    #[test]
    fn a_port_beyond_65535_is_malformed_but_not_that_of_an_originator() {
        assert!(BoundPort::parse(&65_536u32.to_be_bytes()).is_err());
        assert_eq!(
            Tcpip::parse(&TCPIP.encode()).unwrap().originator_port,
            u32::MAX
        );
        let mut payload = string(b"host");
        payload.put_u32(65_536 + 22);
        assert_eq!(TcpipForward::parse(&payload), Err(Malformed));
    }
}
