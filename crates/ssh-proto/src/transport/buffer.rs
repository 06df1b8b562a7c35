//! The bytes of one direction between the stream and the packets: filled at the end, consumed at the
//! front, all of it initialised once so that reading into it costs no clearing.

use std::ops::Range;

/// The first size of a buffer: enough for an identification and a KEXINIT.
const FIRST_SIZE: usize = 4 * 1024;

/// Up to here a buffer that keeps being filled to the brim grows: large batches under load are what
/// makes a relay cheap, since kernel calls cost more than ciphers.
const LARGEST_READ: usize = 256 * 1024;

/// A queue of bytes in one piece of memory.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The last addition took all the room.
    brimful: bool,
}

impl Buffer {
    /// Bytes that wait to be consumed.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// True when nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// What waits, oldest first.
    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// What waits, to be changed in place.
    pub(super) fn filled_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// A part of [`Self::filled`].
    pub(super) fn part(&self, range: Range<usize>) -> &[u8] {
        self.filled().get(range).unwrap_or_default()
    }

    /// Takes `count` bytes off the front.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Room behind what waits, at least `least` bytes of it.
    pub(super) fn spare(&mut self, least: usize) -> &mut [u8] {
        if self.bytes.len() - self.end < least {
            self.make_room(least);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Room for the next read of the stream: at least half of the buffer, and twice as much after a
    /// read that filled it.
    pub(super) fn spare_for_read(&mut self) -> &mut [u8] {
        let size = match self.bytes.len() {
            0 => FIRST_SIZE,
            size if self.brimful && size < LARGEST_READ => 2 * size,
            size => size,
        };
        self.brimful = false;
        let waiting = self.len();
        if size > self.bytes.len() {
            self.make_room(size - waiting);
        }
        self.spare(if waiting <= size / 2 { size / 2 } else { 1 })
    }

    /// The first `count` bytes of the room are now filled.
    pub(super) fn add(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.bytes.len());
        self.brimful = self.end == self.bytes.len();
    }

    /// Appends a copy of `bytes`.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        for (to, from) in self.spare(bytes.len()).iter_mut().zip(bytes) {
            *to = *from;
        }
        self.add(bytes.len());
    }

    /// Gives the memory back if nothing is kept in it.
    pub(super) fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    fn make_room(&mut self, least: usize) {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let needed = self.end.saturating_add(least);
        if self.bytes.len() < needed {
            self.bytes.resize(needed.next_power_of_two(), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order() {
        let mut buffer = Buffer::default();
        for round in 0u8..200 {
            buffer.append(&[round; 100]);
            if round % 3 == 0 {
                buffer.consume(40);
            }
        }
        assert_eq!(buffer.len(), 200 * 100 - 67 * 40);
        assert_eq!(buffer.filled().first(), Some(&26));
        assert_eq!(buffer.filled().last(), Some(&199));
    }

    #[test]
    fn grows_only_while_reads_fill_it() {
        let mut buffer = Buffer::default();
        assert_eq!(buffer.spare_for_read().len(), FIRST_SIZE);
        buffer.add(10);
        buffer.consume(10);
        assert_eq!(buffer.spare_for_read().len(), FIRST_SIZE);
        for _ in 0..20 {
            let spare = buffer.spare_for_read().len();
            buffer.add(spare);
            buffer.consume(spare);
        }
        assert_eq!(buffer.spare_for_read().len(), LARGEST_READ);
    }

    #[test]
    fn a_rest_at_the_end_moves_to_the_front_for_the_next_read() {
        let mut buffer = Buffer::default();
        buffer.spare_for_read();
        buffer.add(FIRST_SIZE - 1);
        buffer.consume(FIRST_SIZE - 11);
        assert_eq!(buffer.spare_for_read().len(), FIRST_SIZE - 10);
        assert_eq!(buffer.len(), 10);
    }

    #[test]
    fn memory_is_given_back_only_when_empty() {
        let mut buffer = Buffer::default();
        buffer.append(b"x");
        buffer.release();
        assert_eq!(buffer.filled(), b"x");
        buffer.consume(1);
        buffer.release();
        assert_eq!(buffer.bytes.capacity(), 0);
    }
}
