//! Encoded terminal modes (RFC 4254 section 8): the list inside of a `pty-req`.
//!
//! Reading and writing only; what an opcode means for a tty is the application's.

use crate::wire::{Put, Reader};

/// TTY_OP_END
const END: u8 = 0;

/// The first opcode whose argument has no known form: the list ends before it.
const UNDEFINED: u8 = 160;

/// The modes in an encoded list, in its order, as opcode and argument (RFC 4254 section 8).
///
/// Lenient, as all servers are: it stops at TTY_OP_END, at an opcode from 160 on, and where the
/// list is cut short. What stood before counts.
#[derive(Debug, Clone)]
pub struct Modes<'a> {
    reader: Reader<'a>,
}

impl<'a> Modes<'a> {
    /// The modes of `PtyReq::modes`.
    pub fn new(encoded: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(encoded),
        }
    }

    fn read(&mut self) -> Option<(u8, u32)> {
        let opcode = self.reader.u8().ok()?;
        if opcode == END || opcode >= UNDEFINED {
            return None;
        }
        Some((opcode, self.reader.u32().ok()?))
    }
}

impl Iterator for Modes<'_> {
    type Item = (u8, u32);

    fn next(&mut self) -> Option<(u8, u32)> {
        let mode = self.read();
        if mode.is_none() {
            self.reader = Reader::new(&[]);
        }
        mode
    }
}

/// Encodes modes as a list that ends with TTY_OP_END (RFC 4254 section 8).
pub fn encode_modes(modes: impl IntoIterator<Item = (u8, u32)>) -> Vec<u8> {
    let mut list = Vec::new();
    for (opcode, argument) in modes {
        list.put_u8(opcode);
        list.put_u32(argument);
    }
    list.put_u8(END);
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(encoded: &[u8]) -> Vec<(u8, u32)> {
        Modes::new(encoded).collect()
    }

    #[test]
    fn modes_come_back_as_they_were_encoded() {
        let modes = [(1, 3), (53, 1), (159, u32::MAX), (53, 0)];
        assert_eq!(read(&encode_modes(modes)), modes);
        assert_eq!(encode_modes([]), [0]);
    }

    #[test]
    fn the_list_ends_at_0_at_160_and_where_it_is_cut() {
        let mut encoded = encode_modes([(1, 3), (2, 4)]);
        encoded.extend(encode_modes([(3, 5)]));
        assert_eq!(read(&encoded), [(1, 3), (2, 4)]);
        encoded[5] = 160;
        assert_eq!(read(&encoded), [(1, 3)]);
        for cut in 0..5 {
            assert_eq!(read(&encoded[..cut]), []);
        }
        assert_eq!(read(&encoded[..5]), [(1, 3)]);
    }

    #[test]
    fn an_ended_list_stays_ended() {
        let mut modes = Modes::new(&[0, 1, 0, 0, 0, 9]);
        assert_eq!(modes.next(), None);
        assert_eq!(modes.next(), None);
    }

    #[test]
    fn thousands_of_modes_are_only_a_long_list() {
        let many = encode_modes((0..50_000).map(|n| (1 + (n % 159) as u8, n)));
        assert_eq!(Modes::new(&many).count(), 50_000);
    }
}
