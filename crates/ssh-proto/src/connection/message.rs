//! The messages of RFC 4254 as they stand in a packet: reading all of them, and the heads of those
//! that are sent.
//!
//! Form only; whether a message is allowed where it comes is decided in `receive`.

use super::Stream;
use crate::error::Error;
use crate::msg;
use crate::wire::{Malformed, Reader};

/// A message, borrowing from its packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// Section 4.
    GlobalRequest {
        name: &'a [u8],
        want_reply: bool,
        payload: &'a [u8],
    },
    /// Section 4.
    RequestSuccess { payload: &'a [u8] },
    /// Section 4.
    RequestFailure,
    /// Section 5.1.
    Open {
        kind: &'a [u8],
        end: End,
        payload: &'a [u8],
    },
    /// Section 5.1.
    OpenConfirmation {
        channel: u32,
        end: End,
        payload: &'a [u8],
    },
    /// Section 5.1.
    OpenFailure {
        channel: u32,
        reason: u32,
        text: &'a [u8],
    },
    /// Section 5.2.
    WindowAdjust { channel: u32, bytes: u32 },
    /// Section 5.2; the data are the end of the packet.
    Data {
        channel: u32,
        stream: Stream,
        length: usize,
    },
    /// Section 5.3.
    Eof { channel: u32 },
    /// Section 5.3.
    Close { channel: u32 },
    /// Section 5.4.
    Request {
        channel: u32,
        name: &'a [u8],
        want_reply: bool,
        payload: &'a [u8],
    },
    /// Section 5.4: SUCCESS or FAILURE.
    Reply { channel: u32, success: bool },
}

/// The sender's end of a channel, as OPEN and OPEN_CONFIRMATION tell it (section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) number: u32,
    pub(super) window: u32,
    pub(super) max_packet: u32,
}

impl End {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            number: reader.u32()?,
            window: reader.u32()?,
            max_packet: reader.u32()?,
        })
    }

    /// The three fields as they stand in the packet.
    pub(super) fn encode(self) -> [u8; 12] {
        let mut fields = [0; 12];
        let numbers = [self.number, self.window, self.max_packet];
        let bytes = numbers.into_iter().flat_map(u32::to_be_bytes);
        fields
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = from);
        fields
    }
}

impl<'a> Message<'a> {
    /// Reads a payload, its message number first. None when the number is not one of RFC 4254.
    pub(super) fn parse(packet: &'a [u8]) -> Result<Option<Self>, Error> {
        let mut reader = Reader::new(packet);
        let number = reader.u8()?;
        let Some(name) = name(number) else {
            return Ok(None);
        };
        Self::fields(number, reader).map_err(|Malformed| Error::Misbehaved(name))
    }

    fn fields(number: u8, mut reader: Reader<'a>) -> Result<Option<Self>, Malformed> {
        let r = &mut reader;
        let message = match number {
            msg::GLOBAL_REQUEST => Self::GlobalRequest {
                name: r.string()?,
                want_reply: r.bool()?,
                payload: take_rest(r)?,
            },
            msg::REQUEST_SUCCESS => Self::RequestSuccess {
                payload: take_rest(r)?,
            },
            msg::REQUEST_FAILURE => Self::RequestFailure,
            msg::CHANNEL_OPEN => Self::Open {
                kind: r.string()?,
                end: End::read(r)?,
                payload: take_rest(r)?,
            },
            msg::CHANNEL_OPEN_CONFIRMATION => Self::OpenConfirmation {
                channel: r.u32()?,
                end: End::read(r)?,
                payload: take_rest(r)?,
            },
            msg::CHANNEL_OPEN_FAILURE => Self::open_failure(r)?,
            msg::CHANNEL_WINDOW_ADJUST => Self::WindowAdjust {
                channel: r.u32()?,
                bytes: r.u32()?,
            },
            msg::CHANNEL_DATA => Self::Data {
                channel: r.u32()?,
                stream: Stream::Data,
                length: r.string()?.len(),
            },
            msg::CHANNEL_EXTENDED_DATA => Self::Data {
                channel: r.u32()?,
                stream: Stream::Extended(r.u32()?),
                length: r.string()?.len(),
            },
            msg::CHANNEL_EOF => Self::Eof { channel: r.u32()? },
            msg::CHANNEL_CLOSE => Self::Close { channel: r.u32()? },
            msg::CHANNEL_REQUEST => Self::Request {
                channel: r.u32()?,
                name: r.string()?,
                want_reply: r.bool()?,
                payload: take_rest(r)?,
            },
            msg::CHANNEL_SUCCESS | msg::CHANNEL_FAILURE => Self::Reply {
                channel: r.u32()?,
                success: number == msg::CHANNEL_SUCCESS,
            },
            _ => return Ok(None),
        };
        reader.finish()?;
        Ok(Some(message))
    }

    fn open_failure(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (channel, reason, text) = (reader.u32()?, reader.u32()?, reader.string()?);
        let _language = reader.string()?;
        Ok(Self::OpenFailure {
            channel,
            reason,
            text,
        })
    }
}

fn take_rest<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    reader.bytes(reader.rest().len())
}

/// The numbers that are ours, and what is said of a packet that does not have their form.
fn name(number: u8) -> Option<&'static str> {
    Some(match number {
        msg::GLOBAL_REQUEST => "malformed GLOBAL_REQUEST",
        msg::REQUEST_SUCCESS => "malformed REQUEST_SUCCESS",
        msg::REQUEST_FAILURE => "malformed REQUEST_FAILURE",
        msg::CHANNEL_OPEN => "malformed CHANNEL_OPEN",
        msg::CHANNEL_OPEN_CONFIRMATION => "malformed CHANNEL_OPEN_CONFIRMATION",
        msg::CHANNEL_OPEN_FAILURE => "malformed CHANNEL_OPEN_FAILURE",
        msg::CHANNEL_WINDOW_ADJUST => "malformed CHANNEL_WINDOW_ADJUST",
        msg::CHANNEL_DATA => "malformed CHANNEL_DATA",
        msg::CHANNEL_EXTENDED_DATA => "malformed CHANNEL_EXTENDED_DATA",
        msg::CHANNEL_EOF => "malformed CHANNEL_EOF",
        msg::CHANNEL_CLOSE => "malformed CHANNEL_CLOSE",
        msg::CHANNEL_REQUEST => "malformed CHANNEL_REQUEST",
        msg::CHANNEL_SUCCESS => "malformed CHANNEL_SUCCESS",
        msg::CHANNEL_FAILURE => "malformed CHANNEL_FAILURE",
        _ => return None,
    })
}

/// The length field of a string.
pub(super) fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// Message number and recipient channel.
pub(super) fn head(number: u8, peer: u32) -> [u8; 5] {
    let [a, b, c, d] = peer.to_be_bytes();
    [number, a, b, c, d]
}

/// Everything of a data message before its string.
#[derive(Debug)]
pub(super) struct DataHead {
    bytes: [u8; 9],
    length: usize,
}

impl DataHead {
    /// CHANNEL_DATA or CHANNEL_EXTENDED_DATA for `peer`.
    pub(super) fn new(peer: u32, stream: Stream) -> Self {
        let (number, code, length) = match stream {
            Stream::Data => (msg::CHANNEL_DATA, 0, 5),
            Stream::Extended(code) => (msg::CHANNEL_EXTENDED_DATA, code, 9),
        };
        let [n, a, b, c, d] = head(number, peer);
        let [e, f, g, h] = code.to_be_bytes();
        let bytes = [n, a, b, c, d, e, f, g, h];
        Self { bytes, length }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Put;

    /// One packet of each fixed-format message; `kind` and the like are one byte long.
    fn fixed() -> Vec<Vec<u8>> {
        let mut failure = head(msg::CHANNEL_OPEN_FAILURE, 1).to_vec();
        failure.put_u32(2);
        failure.put_string(b"no");
        failure.put_string(b"");
        let mut data = DataHead::new(1, Stream::Data).as_bytes().to_vec();
        data.put_string(b"x");
        let mut extended = DataHead::new(1, Stream::Extended(1)).as_bytes().to_vec();
        extended.put_string(b"x");
        let mut adjust = head(msg::CHANNEL_WINDOW_ADJUST, 1).to_vec();
        adjust.put_u32(9);
        let plain = [96, 97, 99, 100].map(|number| head(number, 1).to_vec());
        let mut all = vec![vec![msg::REQUEST_FAILURE], failure, data, extended, adjust];
        all.extend(plain);
        all
    }

    /// One packet of each message that ends with fields of its type, and where those begin.
    fn open_ended() -> Vec<Vec<u8>> {
        let end = End {
            number: 1,
            window: 2,
            max_packet: 3,
        };
        let mut global = vec![msg::GLOBAL_REQUEST];
        global.put_string(b"g");
        global.put_bool(true);
        let mut open = vec![msg::CHANNEL_OPEN];
        open.put_string(b"k");
        open.extend(end.encode());
        let mut confirmation = head(msg::CHANNEL_OPEN_CONFIRMATION, 7).to_vec();
        confirmation.extend(end.encode());
        let mut request = head(msg::CHANNEL_REQUEST, 7).to_vec();
        request.put_string(b"r");
        request.put_bool(false);
        vec![
            global,
            vec![msg::REQUEST_SUCCESS],
            open,
            confirmation,
            request,
        ]
    }

    fn malformed(packet: &[u8]) -> bool {
        matches!(Message::parse(packet), Err(Error::Misbehaved(text)) if text.starts_with("malformed "))
    }

    #[test]
    fn every_message_cut_at_every_byte_is_malformed_and_names_itself() {
        for whole in fixed().into_iter().chain(open_ended()) {
            assert!(matches!(Message::parse(&whole), Ok(Some(_))), "{whole:?}");
            for cut in 1..whole.len() {
                assert!(malformed(&whole[..cut]), "{:?}", &whole[..cut]);
            }
        }
        assert_eq!(
            Message::parse(&[msg::CHANNEL_EOF]),
            Err(Error::Misbehaved("malformed CHANNEL_EOF"))
        );
    }

    #[test]
    fn bytes_behind_a_fixed_format_are_malformed() {
        for mut packet in fixed() {
            packet.push(0);
            assert!(malformed(&packet), "{packet:?}");
        }
    }

    #[test]
    fn bytes_behind_an_open_format_are_its_payload() {
        for mut packet in open_ended() {
            packet.extend(b"more");
            let payload = match Message::parse(&packet).unwrap().unwrap() {
                Message::GlobalRequest { payload, .. }
                | Message::RequestSuccess { payload }
                | Message::Open { payload, .. }
                | Message::OpenConfirmation { payload, .. }
                | Message::Request { payload, .. } => payload,
                other => panic!("{other:?}"),
            };
            assert_eq!(payload, b"more");
        }
    }

    #[test]
    fn exactly_the_numbers_of_rfc_4254_are_ours() {
        for number in 0..=255 {
            let ours = matches!(number, 80..=82 | 90..=100);
            assert_eq!(Message::parse(&[number]) != Ok(None), ours, "{number}");
        }
        assert!(Message::parse(&[]).is_err());
    }
}
