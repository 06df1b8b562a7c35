//! Protection of packets in one direction: cipher and MAC together, in place, without allocation.
//!
//! The packet of RFC 4253 section 6 lies in one slice: `packet_length | padding_length | payload |
//! padding | tag`. What to pad to and how long a packet may be is `transport`'s business; here a
//! length that does not fit the cipher is an error and nothing more.

use aws_lc_rs::aead::chacha20_poly1305_openssh::{OpeningKey, SealingKey};

use crate::algorithm::{Cipher, Mac};
use crate::error::Error;

use super::ctr::{self, Ctr};
use super::gcm::{self, Gcm};
use super::mac::Hmac;

/// Bytes of `packet_length`.
const LENGTH: usize = 4;
/// Bytes of the tag of chacha20-poly1305@openssh.com.
const POLY1305_TAG: usize = 16;
/// The least block size of RFC 4253 section 6, used where the cipher has none.
const LEAST_BLOCK: usize = 8;

const BAD_SLICE: Error = Error::Bug("packet slice of the wrong size");

/// The cipher of one direction; `C` is the chacha20-poly1305 key, which aws-lc has in two types.
///
/// Keys are boxed so that a connection that uses the small ones does not pay for the large ones.
enum Protection<C> {
    Clear,
    Gcm(Gcm),
    ChaCha(Box<C>),
    Ctr(Box<CtrHmac>),
}

struct CtrHmac {
    ctr: Ctr,
    mac: Hmac,
}

impl<C> Protection<C> {
    fn new(
        cipher: Cipher,
        mac: Option<Mac>,
        key: &[u8],
        iv: &[u8],
        mac_key: &[u8],
        chacha: fn(&[u8; 64]) -> C,
    ) -> Result<Self, Error> {
        Ok(match cipher {
            Cipher::Aes128Gcm | Cipher::Aes256Gcm => Self::Gcm(Gcm::new(cipher, key, iv)?),
            Cipher::ChaCha20Poly1305 => {
                let key = key
                    .try_into()
                    .map_err(|_| Error::Bug("chacha20-poly1305 key of the wrong length"))?;
                Self::ChaCha(Box::new(chacha(key)))
            }
            Cipher::Aes128Ctr | Cipher::Aes192Ctr | Cipher::Aes256Ctr => {
                let mac = mac.ok_or(Error::Bug("a cipher in counter mode without a MAC"))?;
                Self::Ctr(Box::new(CtrHmac {
                    ctr: Ctr::new(cipher, key, iv)?,
                    mac: Hmac::new(mac, mac_key)?,
                }))
            }
        })
    }

    #[inline]
    fn block_size(&self) -> usize {
        match self {
            Self::Clear | Self::ChaCha(_) => LEAST_BLOCK,
            Self::Gcm(_) | Self::Ctr(_) => ctr::BLOCK,
        }
    }

    #[inline]
    fn tag_length(&self) -> usize {
        match self {
            Self::Clear => 0,
            Self::Gcm(_) => gcm::TAG,
            Self::ChaCha(_) => POLY1305_TAG,
            Self::Ctr(this) => this.mac.length(),
        }
    }

    #[inline]
    fn length_is_padded(&self) -> bool {
        match self {
            Self::Clear => true,
            Self::Gcm(_) | Self::ChaCha(_) => false,
            Self::Ctr(this) => !this.mac.is_etm(),
        }
    }
}

/// Takes the first four bytes off a packet.
#[inline]
fn split_length(packet: &mut [u8]) -> Result<([u8; LENGTH], &mut [u8]), Error> {
    let (length, rest) = packet.split_first_chunk_mut().ok_or(BAD_SLICE)?;
    Ok((*length, rest))
}

/// Takes the tag of `length` bytes off the end of a packet that has `packet_length` before it.
#[inline]
fn split_tag(packet: &mut [u8], length: usize) -> Result<(&mut [u8], &mut [u8]), Error> {
    let at = packet.len().checked_sub(length).ok_or(BAD_SLICE)?;
    if at < LENGTH {
        return Err(BAD_SLICE);
    }
    packet.split_at_mut_checked(at).ok_or(BAD_SLICE)
}

impl CtrHmac {
    #[inline]
    fn seal(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), Error> {
        let (body, code) = split_tag(packet, self.mac.length())?;
        if self.mac.is_etm() {
            self.ctr.apply(body.get_mut(LENGTH..).ok_or(BAD_SLICE)?)?;
            self.mac.sign(sequence, body, code);
        } else {
            self.mac.sign(sequence, body, code);
            self.ctr.apply(body)?;
        }
        Ok(())
    }

    /// The code is checked before anything is decrypted where its construction allows that.
    #[inline]
    fn open(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), Error> {
        let (body, code) = split_tag(packet, self.mac.length())?;
        if self.mac.is_etm() {
            self.mac.verify(sequence, body, code)?;
            self.ctr.apply(body.get_mut(LENGTH..).ok_or(BAD_SLICE)?)
        } else {
            // `open_length` has already decrypted the first block.
            self.ctr
                .apply(body.get_mut(ctr::BLOCK..).ok_or(BAD_SLICE)?)?;
            self.mac.verify(sequence, body, code)
        }
    }
}

/// Protects outgoing packets.
pub struct Sealer(Protection<SealingKey>);

impl Sealer {
    /// What holds before the first SSH_MSG_NEWKEYS: no protection.
    pub fn clear() -> Self {
        Self(Protection::Clear)
    }

    /// Takes the keys of RFC 4253 section 7.2 into use. A cipher that authenticates ignores `mac`.
    ///
    /// Keys of a length that does not fit are [`Error::Bug`].
    pub fn new(
        cipher: Cipher,
        mac: Option<Mac>,
        key: &[u8],
        iv: &[u8],
        mac_key: &[u8],
    ) -> Result<Self, Error> {
        Protection::new(cipher, mac, key, iv, mac_key, SealingKey::new).map(Self)
    }

    /// The number of which the padded part of a packet is a multiple (RFC 4253 section 6).
    #[inline]
    pub fn block_size(&self) -> usize {
        self.0.block_size()
    }

    /// Bytes behind the padding: the MAC or the tag.
    #[inline]
    pub fn tag_length(&self) -> usize {
        self.0.tag_length()
    }

    /// True where `packet_length` itself counts into the multiple of the block size (RFC 4253
    /// section 6); false where it is sent apart (RFC 5647 section 7.2, OpenSSH PROTOCOL 1.5).
    #[inline]
    pub fn length_is_padded(&self) -> bool {
        self.0.length_is_padded()
    }

    /// Encrypts and authenticates `packet` in place; its last [`Self::tag_length`] bytes are room for
    /// the tag.
    #[inline]
    pub fn seal(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), Error> {
        match &mut self.0 {
            Protection::Clear => Ok(()),
            Protection::Gcm(gcm) => {
                let (length, rest) = split_length(packet)?;
                let (text, tag) = rest.split_last_chunk_mut().ok_or(BAD_SLICE)?;
                gcm.seal(length, text, tag)
            }
            Protection::ChaCha(key) => {
                let (body, tag) = packet.split_last_chunk_mut().ok_or(BAD_SLICE)?;
                if body.len() < LENGTH {
                    return Err(BAD_SLICE);
                }
                key.seal_in_place(sequence, body, tag);
                Ok(())
            }
            Protection::Ctr(this) => this.seal(sequence, packet),
        }
    }
}

/// Takes the protection off incoming packets.
pub struct Opener(Protection<OpeningKey>);

impl Opener {
    /// What holds before the first SSH_MSG_NEWKEYS: no protection.
    pub fn clear() -> Self {
        Self(Protection::Clear)
    }

    /// Takes the keys of RFC 4253 section 7.2 into use. A cipher that authenticates ignores `mac`.
    ///
    /// Keys of a length that does not fit are [`Error::Bug`].
    pub fn new(
        cipher: Cipher,
        mac: Option<Mac>,
        key: &[u8],
        iv: &[u8],
        mac_key: &[u8],
    ) -> Result<Self, Error> {
        Protection::new(cipher, mac, key, iv, mac_key, OpeningKey::new).map(Self)
    }

    /// The number of which the padded part of a packet is a multiple (RFC 4253 section 6).
    #[inline]
    pub fn block_size(&self) -> usize {
        self.0.block_size()
    }

    /// Bytes behind the padding: the MAC or the tag.
    #[inline]
    pub fn tag_length(&self) -> usize {
        self.0.tag_length()
    }

    /// True where `packet_length` itself counts into the multiple of the block size (RFC 4253
    /// section 6); false where it is sent apart (RFC 5647 section 7.2, OpenSSH PROTOCOL 1.5).
    #[inline]
    pub fn length_is_padded(&self) -> bool {
        self.0.length_is_padded()
    }

    /// Bytes of a packet that are needed before its length can be known.
    #[inline]
    pub fn head_length(&self) -> usize {
        match &self.0 {
            Protection::Ctr(this) if !this.mac.is_etm() => ctr::BLOCK,
            _ => LENGTH,
        }
    }

    /// Reads `packet_length` from the first [`Self::head_length`] bytes: once for each packet, before
    /// [`Self::open`]. In counter mode without ETM it decrypts them in place, else they stay as they
    /// are. The length is the peer's word only: nothing has been authenticated yet.
    #[inline]
    pub fn open_length(&mut self, sequence: u32, head: &mut [u8]) -> Result<u32, Error> {
        if head.len() != self.head_length() {
            return Err(BAD_SLICE);
        }
        let mut length = *head.first_chunk().ok_or(BAD_SLICE)?;
        match &mut self.0 {
            Protection::Clear | Protection::Gcm(_) => {}
            Protection::ChaCha(key) => length = key.decrypt_packet_length(sequence, length),
            Protection::Ctr(this) if this.mac.is_etm() => {}
            Protection::Ctr(this) => {
                this.ctr.apply(head)?;
                length = *head.first_chunk().ok_or(BAD_SLICE)?;
            }
        }
        Ok(u32::from_be_bytes(length))
    }

    /// Checks and decrypts `packet` in place: `packet_length`, as many bytes as that says, and the tag.
    ///
    /// Afterwards everything between the first four bytes and the tag is plain text; the first four
    /// bytes are of no use any more. After an error the content is of no use and the stream is dead.
    #[inline]
    pub fn open(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), Error> {
        match &mut self.0 {
            Protection::Clear => Ok(()),
            Protection::Gcm(gcm) => {
                let (length, text) = split_length(packet)?;
                gcm.open(length, text)
            }
            Protection::ChaCha(key) => {
                let (body, tag) = packet.split_last_chunk_mut().ok_or(BAD_SLICE)?;
                if body.len() < LENGTH {
                    return Err(BAD_SLICE);
                }
                key.open_in_place(sequence, body, tag)
                    .map(|_| ())
                    .map_err(|_| Error::Integrity)
            }
            Protection::Ctr(this) => this.open(sequence, packet),
        }
    }
}

#[cfg(test)]
mod tests;
