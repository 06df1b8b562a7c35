//! The bytes of one direction between the stream and the packets: filled at the end, consumed at the
//! front, all of it initialised once so that reading into it costs no clearing. Memory follows what has
//! come: what a peer only announces takes none, and what was needed once is given back.

use std::ops::Range;

use super::memory::Memory;

/// The first size of a buffer: enough for an identification and a KEXINIT.
pub(super) const FIRST_SIZE: usize = 4 * 1024;

/// Up to here a buffer that keeps being filled to the brim grows: large batches under load are what
/// makes a relay cheap, since kernel calls cost more than ciphers.
pub(super) const LARGEST_READ: usize = 256 * 1024;

/// A buffer up to this size is given back whenever it is empty and nothing is there to be read. To get
/// and clear another one costs less than the kernel call that fills it. For a larger one that is no longer
/// so: a busy stream keeps it between two batches, and a silent one gives it back a little later.
const CHEAP: usize = 16 * 1024;

/// What one packet needs beyond the usual size is taken in pieces of this size: pages.
const PIECE: usize = 4 * 1024;

/// A queue of bytes in one piece of memory.
pub(super) struct Buffer {
    bytes: Memory,
    start: usize,
    end: usize,
    /// The last addition took all the room.
    brimful: bool,
    /// What was added since somebody last looked whether all of it is needed.
    added: usize,
    /// The size that it had, and may need again.
    last_size: usize,
    /// How large it may become because reads fill it.
    largest_read: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self {
            bytes: Memory::default(),
            start: 0,
            end: 0,
            brimful: false,
            added: 0,
            last_size: 0,
            largest_read: FIRST_SIZE,
        }
    }
}

impl Buffer {
    /// From now on reads that fill it let it grow.
    pub(super) fn read_much(&mut self) {
        self.largest_read = LARGEST_READ;
    }

    /// Bytes that wait to be consumed.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// True when nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// True when it has no memory, and will begin with its first size again.
    pub(super) fn is_at_rest(&self) -> bool {
        self.bytes.is_empty() && self.last_size <= FIRST_SIZE
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
            self.compact();
            let needed = self.end.saturating_add(least);
            if self.bytes.len() < needed {
                self.bytes
                    .grow(needed.next_power_of_two().max(self.last_size));
            }
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Room for the next read of the stream, never empty: at least half of the buffer, and twice as much
    /// after a read that filled it. `wanted` is the length of the packet at the front, if it is known.
    pub(super) fn spare_for_read(&mut self, wanted: usize) -> &mut [u8] {
        let (size, waiting) = (self.bytes.len(), self.len());
        let brimful = std::mem::take(&mut self.brimful);
        if size == 0 {
            self.bytes.grow(self.last_size.max(FIRST_SIZE));
        } else if brimful && size < self.largest_read {
            self.bytes.grow(2 * size);
        } else if waiting == size {
            let whole = wanted.max(size + 1).next_multiple_of(PIECE);
            self.bytes.grow(whole.min(2 * size));
        }
        let size = self.bytes.len();
        if self.end > size / 2 {
            self.compact();
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// The first `count` bytes of the room are now filled.
    pub(super) fn add(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.bytes.len());
        self.brimful = self.end == self.bytes.len();
        self.added = self.added.saturating_add(count);
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
            self.bytes = Memory::default();
            self.last_size = 0;
        }
    }

    /// Nothing comes for now: a small buffer that is empty gives its memory back. True if it is a large
    /// one, which [`Self::give_back`] is for.
    pub(super) fn rest(&mut self) -> bool {
        let size = self.bytes.len();
        if size > CHEAP {
            return true;
        }
        if size > 0 && self.is_empty() {
            let added = std::mem::take(&mut self.added);
            self.release();
            self.last_size = if added <= size / 4 { size / 2 } else { size };
        }
        false
    }

    /// Time has passed: memory that was not filled once since then is given back, if it is empty.
    pub(super) fn give_back(&mut self) {
        let size = self.bytes.len();
        let added = std::mem::take(&mut self.added);
        if added < size && self.is_empty() {
            self.release();
            self.last_size = size / 2;
        }
    }

    /// Moves what waits to the front.
    fn compact(&mut self) {
        if self.start == 0 {
            return;
        }
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
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
        buffer.read_much();
        assert_eq!(buffer.spare_for_read(0).len(), FIRST_SIZE);
        buffer.add(10);
        buffer.consume(10);
        assert_eq!(buffer.spare_for_read(0).len(), FIRST_SIZE);
        for _ in 0..20 {
            let spare = buffer.spare_for_read(0).len();
            buffer.add(spare);
            buffer.consume(spare);
        }
        assert_eq!(buffer.spare_for_read(0).len(), LARGEST_READ);
    }

    #[test]
    fn a_rest_at_the_end_moves_to_the_front_for_the_next_read() {
        let mut buffer = Buffer::default();
        buffer.spare_for_read(0);
        buffer.add(FIRST_SIZE - 1);
        buffer.consume(FIRST_SIZE - 11);
        assert_eq!(buffer.spare_for_read(0).len(), FIRST_SIZE - 10);
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
        assert_eq!(buffer.bytes.len(), 0);
    }

    #[test]
    fn memory_follows_what_has_come_of_a_packet_and_not_what_was_announced() {
        let mut buffer = Buffer::default();
        let packet = 35_000;
        while buffer.len() < packet {
            let spare = buffer.spare_for_read(packet).len();
            assert!(spare > 0);
            assert!(buffer.bytes.len() <= (2 * buffer.len()).max(FIRST_SIZE));
            buffer.add(spare);
        }
        assert_eq!(buffer.bytes.len(), packet.next_multiple_of(PIECE));
    }

    #[test]
    fn at_rest_the_first_size_comes_next() {
        let mut buffer = Buffer::default();
        assert!(buffer.is_at_rest());
        assert_eq!(buffer.spare_for_read(0).len(), FIRST_SIZE);
        assert!(!buffer.is_at_rest());
        buffer.rest();
        assert!(buffer.is_at_rest());
        buffer.append(&[1; CHEAP]);
        buffer.consume(CHEAP);
        buffer.rest();
        assert!(!buffer.is_at_rest(), "it has a size that it may need again");
        assert_eq!(buffer.spare_for_read(0).len(), CHEAP);
    }

    #[test]
    fn a_rest_takes_what_was_not_needed() {
        let mut buffer = Buffer::default();
        buffer.read_much();
        buffer.append(&[1; CHEAP]);
        buffer.rest();
        assert_eq!(buffer.len(), CHEAP, "what waits stays");
        buffer.consume(CHEAP);
        buffer.rest();
        assert_eq!(buffer.bytes.len(), 0);

        let large = 8 * CHEAP;
        buffer.append(&vec![1; large]);
        buffer.consume(large);
        assert!(buffer.rest());
        buffer.give_back();
        assert_eq!(buffer.bytes.len(), large, "it was needed");
        buffer.append(&[1]);
        buffer.give_back();
        assert_eq!(buffer.bytes.len(), large, "something is in it");
        buffer.consume(1);
        buffer.give_back();
        assert_eq!(buffer.bytes.len(), 0, "it was not needed");
        assert_eq!(buffer.spare_for_read(0).len(), large / 2);
    }
}
