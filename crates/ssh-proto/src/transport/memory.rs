//! The memory of one buffer. A large one is mapped for itself: an allocator would keep it among its free
//! pieces, so that a process would never again be as small as before its busiest hour.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// From here on memory is mapped. Less is never worth the page faults, and nobody gets here who is not
/// authenticated.
const MAPPED: usize = 64 * 1024;

/// Bytes that are all initialised.
pub(super) enum Memory {
    Heap(Vec<u8>),
    Mapped(MmapMut),
}

impl Default for Memory {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

impl Memory {
    /// Makes it `size` bytes long, which is more than it has; what is new is 0.
    pub(super) fn grow(&mut self, size: usize) {
        // Where nothing more can be mapped, the heap may still have it.
        if size >= MAPPED
            && let Ok(mut mapped) = MmapMut::map_anon(size)
        {
            for (to, from) in mapped.iter_mut().zip(self.iter()) {
                *to = *from;
            }
            *self = Self::Mapped(mapped);
            return;
        }
        let mut bytes = match std::mem::take(self) {
            Self::Heap(bytes) => bytes,
            Self::Mapped(mapped) => mapped.to_vec(),
        };
        bytes.reserve_exact(size.saturating_sub(bytes.len()));
        bytes.resize(size, 0);
        *self = Self::Heap(bytes);
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(mapped) => mapped,
        }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(mapped) => mapped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_it_stays_while_it_grows() {
        let mut memory = Memory::default();
        let mut size = 1024;
        memory.grow(size);
        memory[..4].copy_from_slice(b"mark");
        while size < 8 * MAPPED {
            size *= 2;
            memory.grow(size);
            assert_eq!(memory.len(), size);
            assert_eq!(&memory[..4], b"mark");
            assert!(memory[4..].iter().all(|byte| *byte == 0));
            assert_eq!(matches!(memory, Memory::Mapped(_)), size >= MAPPED);
        }
    }
}
