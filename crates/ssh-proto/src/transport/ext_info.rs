//! SSH_MSG_EXT_INFO (RFC 8308): what a side can do beyond the negotiated algorithms.

use crate::algorithm::Signature;
use crate::error::Error;
use crate::msg;
use crate::wire::{Put, Reader};

const SERVER_SIG_ALGS: &str = "server-sig-algs";
const PING: &str = "ping@openssh.com";

/// More extensions than anyone sends.
const MOST_EXTENSIONS: u32 = 64;

/// What the peer told about itself.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Extensions {
    /// `server-sig-algs`: signatures that the server takes from users, those that we know.
    pub signatures: Option<Vec<Signature>>,
    /// `ping@openssh.com`: the peer answers SSH2_MSG_PING.
    pub ping: bool,
}

/// Our EXT_INFO, as a server.
pub(super) fn encode(signatures: &[Signature]) -> Vec<u8> {
    let mut out = vec![msg::EXT_INFO];
    out.put_u32(2);
    out.put_string(SERVER_SIG_ALGS.as_bytes());
    out.put_name_list(signatures.iter().map(|name| name.name()));
    out.put_string(PING.as_bytes());
    out.put_string(b"0");
    out
}

/// A peer's EXT_INFO. Extensions that we do not know are passed over.
pub(super) fn parse(payload: &[u8]) -> Result<Extensions, Error> {
    let mut reader = Reader::new(payload);
    reader.u8()?;
    let count = reader.u32()?;
    if count > MOST_EXTENSIONS {
        return Err(Error::Misbehaved("too many extensions"));
    }
    let mut extensions = Extensions::default();
    for _ in 0..count {
        let name = reader.string()?;
        let value = reader.string()?;
        if name == SERVER_SIG_ALGS.as_bytes() {
            let names = value.split(|byte| *byte == b',');
            let known = names.filter_map(|name| std::str::from_utf8(name).ok());
            extensions.signatures = Some(known.filter_map(Signature::from_name).collect());
        } else if name == PING.as_bytes() {
            extensions.ping = true;
        }
    }
    reader.finish()?;
    Ok(extensions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_write_can_be_read() {
        let signatures = vec![Signature::Ed25519, Signature::RsaSha256];
        assert_eq!(
            parse(&encode(&signatures)),
            Ok(Extensions {
                signatures: Some(signatures),
                ping: true
            })
        );
    }

    #[test]
    fn a_count_beyond_reason_is_cut_at_once() {
        assert!(parse(&[msg::EXT_INFO, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(parse(&[msg::EXT_INFO, 0, 0, 0, 1]).is_err());
        assert!(parse(&[&encode(&[])[..], &[0]].concat()).is_err());
    }
}
