//! How targets read their input: from the front, and without an end. Where the bytes are out, there
//! come zeros and empty strings, so that every input is a whole one and cutting it changes little.

use arbitrary::Unstructured;

/// An input that is read bit by bit.
pub struct Input<'a>(Unstructured<'a>);

impl<'a> Input<'a> {
    /// All of `data` is still to be read.
    pub fn new(data: &'a [u8]) -> Self {
        Self(Unstructured::new(data))
    }

    /// True when everything was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// One bit, which takes a byte.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Four bytes.
    pub fn number(&mut self) -> u32 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// A number below `limit`, out of one byte.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit.max(1)
    }

    /// One of `choices`, out of one byte.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Bytes behind a length of two bytes, little-endian; as many as there are.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length: u16 = self.0.arbitrary().unwrap_or_default();
        let length = usize::from(length).min(self.0.len());
        self.0.bytes(length).unwrap_or_default()
    }

    /// Bytes behind a length of one byte; as many as there are.
    pub fn short(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        self.0.bytes(length).unwrap_or_default()
    }

    /// Everything that was not read yet.
    pub fn rest(self) -> &'a [u8] {
        self.0.take_rest()
    }
}

/// Lengths of the pieces in which bytes arrive, without an end: all of one byte, all at once, or
/// anything in between.
pub struct Pieces {
    state: u32,
    whole: bool,
}

impl Pieces {
    /// As one byte of the input says.
    pub fn new(input: &mut Input<'_>) -> Self {
        let seed = input.byte();
        Self {
            state: u32::from(seed),
            whole: seed == 0,
        }
    }

    /// The length of the next piece, at least 1.
    pub fn next_length(&mut self) -> usize {
        if self.whole {
            return usize::MAX;
        }
        // The generator of Numerical Recipes; its high bits are good enough to cut with.
        self.state = self
            .state
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        let longest = [1, 16, 600][(self.state >> 30) as usize % 3];
        1 + (self.state >> 8) as usize % longest
    }

    /// Hands `bytes` to `take` in pieces, until it says that it wants no more.
    pub fn cut(&mut self, mut bytes: &[u8], mut take: impl FnMut(&[u8]) -> bool) {
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(self.next_length().min(bytes.len()));
            if !take(piece) {
                return;
            }
            bytes = rest;
        }
    }
}
