//! Payloads that wait for the end of a key exchange: after its KEXINIT a side may send nothing else
//! until its NEWKEYS (RFC 4253 section 7.1).

use super::buffer::Buffer;
use super::packet::check_payload;
use crate::error::Error;

/// Payloads in their order, each behind its length.
#[derive(Default)]
pub(super) struct Hold {
    queue: Buffer,
}

impl Hold {
    /// Bytes held.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Holds one payload, given in parts.
    pub(super) fn push(&mut self, parts: &[&[u8]]) -> Result<(), Error> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        check_payload(length)?;
        let length = u32::try_from(length).map_err(|_| Error::Bug("hold length"))?;
        self.queue.append(&length.to_be_bytes());
        for part in parts {
            self.queue.append(part);
        }
        Ok(())
    }

    /// Holds one payload as [`super::Transport::send_with`] makes it.
    pub(super) fn push_with<R>(
        &mut self,
        head: &[u8],
        room: usize,
        fill: impl FnOnce(&mut [u8]) -> (usize, R),
    ) -> Result<R, Error> {
        check_payload(head.len() + 4 + room)?;
        let space = self.queue.spare(4 + head.len() + 4 + room);
        let (length, payload) = space
            .split_first_chunk_mut::<4>()
            .ok_or(Error::Bug("hold room"))?;
        let (filled, result) = super::fill_string(payload, head, room, fill)?;
        if filled > 0 {
            let total = head.len() + 4 + filled;
            *length = u32::try_from(total)
                .map_err(|_| Error::Bug("hold length"))?
                .to_be_bytes();
            self.queue.add(4 + total);
        }
        Ok(result)
    }

    /// Hands every payload to `send` in its order, and the memory back.
    pub(super) fn release(
        &mut self,
        mut send: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        while let Some((length, rest)) = self.queue.filled().split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            send(rest.get(..length).ok_or(Error::Bug("held payload"))?)?;
            self.queue.consume(4 + length);
        }
        self.queue.release();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_leave_in_their_order_and_unchanged() {
        let mut hold = Hold::default();
        hold.push(&[b"one", b"two"]).unwrap();
        hold.push_with(b"head", 10, |room| {
            room[..4].copy_from_slice(b"data");
            (4, ())
        })
        .unwrap();
        hold.push_with(b"head", 10, |_| (0, ())).unwrap();
        hold.push(&[b"last"]).unwrap();
        let mut left = Vec::new();
        hold.release(|payload| {
            left.push(payload.to_vec());
            Ok(())
        })
        .unwrap();
        assert_eq!(left, [&b"onetwo"[..], b"head\0\0\0\x04data", b"last"]);
        assert_eq!(hold.len(), 0);
    }
}
