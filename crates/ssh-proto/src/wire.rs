//! The data types of RFC 4251 section 5: reading them from a packet and writing them into one.
//!
//! Reading borrows from the packet and never panics: a field that does not fit is [`Malformed`].

use std::fmt;

/// A field that is cut short or does not have the form that its type asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed field")
    }
}

impl std::error::Error for Malformed {}

/// Reads fields from the front of a byte slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Exactly `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(Malformed)?;
        self.rest = rest;
        Ok(head)
    }

    /// Exactly `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*head)
    }

    /// `byte`
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// `boolean`: every value but 0 is true.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        self.u8().map(|byte| byte != 0)
    }

    /// `uint32`
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// `uint64`
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// `string`: arbitrary bytes behind their length.
    pub fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32()?;
        self.bytes(usize::try_from(length).map_err(|_| Malformed)?)
    }

    /// `string` that must be UTF-8.
    pub fn utf8(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.string()?).map_err(|_| Malformed)
    }

    /// `mpint` of a number that is not negative, as big-endian bytes without leading zeros.
    ///
    /// Superfluous leading zeros are refused, as RFC 4251 section 5 says they must not be there.
    pub fn mpint(&mut self) -> Result<&'a [u8], Malformed> {
        let bytes = self.string()?;
        match bytes {
            [] => Ok(bytes),
            [0, rest @ ..] if rest.first().is_some_and(|byte| byte & 0x80 != 0) => Ok(rest),
            [0, ..] => Err(Malformed),
            [first, ..] if first & 0x80 != 0 => Err(Malformed),
            _ => Ok(bytes),
        }
    }

    /// `name-list`: names of printable US-ASCII, separated by commas.
    pub fn name_list(&mut self) -> Result<NameList<'a>, Malformed> {
        let list = self.utf8()?;
        if list.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(NameList(list))
        } else {
            Err(Malformed)
        }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// True when everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Ends the reading: bytes behind the last field are an error.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

/// A `name-list`, still as it came over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameList<'a>(&'a str);

impl<'a> NameList<'a> {
    /// The names in their order; an empty list has none.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        self.0.split(',').filter(|name| !name.is_empty())
    }

    /// True when `name` is in the list.
    pub fn contains(self, name: &str) -> bool {
        self.iter().any(|candidate| candidate == name)
    }

    /// The first name: the one that the sender would like best.
    pub fn first(self) -> Option<&'a str> {
        self.iter().next()
    }

    /// The list as text, names separated by commas.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

/// Appends fields to a packet that is being made.
pub trait Put {
    /// `byte`
    fn put_u8(&mut self, value: u8);
    /// `uint32`
    fn put_u32(&mut self, value: u32);
    /// `uint64`
    fn put_u64(&mut self, value: u64);
    /// `boolean`
    fn put_bool(&mut self, value: bool);
    /// `string`
    ///
    /// What is longer than `u32::MAX` is cut there; no packet of ours comes near it.
    fn put_string(&mut self, value: &[u8]);
    /// `mpint` of a number that is not negative, from big-endian bytes with or without leading zeros.
    fn put_mpint(&mut self, value: &[u8]);
    /// `name-list`
    fn put_name_list<'n>(&mut self, names: impl IntoIterator<Item = &'n str>);
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_bool(&mut self, value: bool) {
        self.push(u8::from(value));
    }

    fn put_string(&mut self, value: &[u8]) {
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.put_u32(length);
        self.extend_from_slice(value.get(..length as usize).unwrap_or(value));
    }

    fn put_mpint(&mut self, value: &[u8]) {
        let start = value
            .iter()
            .position(|byte| *byte != 0)
            .unwrap_or(value.len());
        let digits = value.get(start..).unwrap_or_default();
        let sign = usize::from(digits.first().is_some_and(|byte| byte & 0x80 != 0));
        self.put_u32(u32::try_from(digits.len() + sign).unwrap_or(u32::MAX));
        if sign == 1 {
            self.push(0);
        }
        self.extend_from_slice(digits);
    }

    fn put_name_list<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) {
        let list = names.into_iter().collect::<Vec<_>>().join(",");
        self.put_string(list.as_bytes());
    }
}

/// At most `limit` bytes of a peer's text, fit for a log or a terminal: no control or formatting
/// characters, bytes that are not UTF-8 replaced.
pub fn printable(text: &[u8], limit: usize) -> String {
    let head = text.get(..limit).unwrap_or(text);
    String::from_utf8_lossy(head)
        .chars()
        .map(|c| {
            if c.is_control() || is_invisible(c) {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// Characters that change how the text around them is shown (Unicode bidi and zero-width controls).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 4251 section 5.
    #[test]
    fn mpints_of_the_rfc() {
        let examples: [(&[u8], &[u8]); 3] = [
            (&[], &[0, 0, 0, 0]),
            (
                &[0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7],
                &[0, 0, 0, 8, 0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7],
            ),
            (&[0x80], &[0, 0, 0, 2, 0, 0x80]),
        ];
        for (number, encoded) in examples {
            let mut out = Vec::new();
            out.put_mpint(number);
            assert_eq!(out, encoded);
            assert_eq!(Reader::new(encoded).mpint(), Ok(number));
        }
        let mut padded = Vec::new();
        padded.put_mpint(&[0, 0, 0x7f]);
        assert_eq!(padded, [0, 0, 0, 1, 0x7f]);
    }

    #[test]
    fn negative_and_padded_mpints_are_malformed() {
        for encoded in [
            &[0, 0, 0, 1, 0x80][..],
            &[0, 0, 0, 2, 0, 0x7f],
            &[0, 0, 0, 1, 0],
        ] {
            assert_eq!(Reader::new(encoded).mpint(), Err(Malformed));
        }
    }

    #[test]
    fn lengths_beyond_the_packet_are_malformed() {
        for encoded in [&[0, 0, 0, 2, b'a'][..], &[0xff; 8], &[0, 0, 0], &[]] {
            assert_eq!(Reader::new(encoded).string(), Err(Malformed));
        }
    }

    #[test]
    fn name_lists() {
        let mut out = Vec::new();
        out.put_name_list(["zlib", "none"]);
        assert_eq!(out, b"\0\0\0\x09zlib,none");
        let list = Reader::new(&out).name_list().unwrap();
        assert_eq!(list.iter().collect::<Vec<_>>(), ["zlib", "none"]);
        assert_eq!(list.first(), Some("zlib"));
        assert!(list.contains("none") && !list.contains("non"));
        assert_eq!(
            Reader::new(&[0, 0, 0, 0])
                .name_list()
                .unwrap()
                .iter()
                .count(),
            0
        );
        assert_eq!(Reader::new(b"\0\0\0\x03a b").name_list(), Err(Malformed));
    }

    #[test]
    fn printable_text_has_no_control_characters_and_a_limit() {
        assert_eq!(
            printable(b"a\x1b[31m\r\nb", 100),
            "a\u{fffd}[31m\u{fffd}\u{fffd}b"
        );
        for invisible in ["\u{202e}", "\u{61c}", "\u{feff}"] {
            let text = format!("x{invisible}y");
            assert_eq!(printable(text.as_bytes(), 100), "x\u{fffd}y");
        }
        assert_eq!(printable(b"abcdef", 3), "abc");
    }
}
