//! Packets: their types, the replies that are made of them, and statuses.
//!
//! Owns the numbers of draft-ietf-secsh-filexfer-02 and the buffer that replies are composed in.
//! What is in a request is read by those who serve it, with `ssh_proto::wire`.

use std::borrow::Cow;
use std::io;

use rustix::io::Errno;
use ssh_proto::wire::Malformed;

/// Section 3: the types of requests.
pub(super) mod request {
    pub(crate) const INIT: u8 = 1;
    pub(crate) const OPEN: u8 = 3;
    pub(crate) const CLOSE: u8 = 4;
    pub(crate) const READ: u8 = 5;
    pub(crate) const WRITE: u8 = 6;
    pub(crate) const LSTAT: u8 = 7;
    pub(crate) const FSTAT: u8 = 8;
    pub(crate) const SETSTAT: u8 = 9;
    pub(crate) const FSETSTAT: u8 = 10;
    pub(crate) const OPENDIR: u8 = 11;
    pub(crate) const READDIR: u8 = 12;
    pub(crate) const REMOVE: u8 = 13;
    pub(crate) const MKDIR: u8 = 14;
    pub(crate) const RMDIR: u8 = 15;
    pub(crate) const REALPATH: u8 = 16;
    pub(crate) const STAT: u8 = 17;
    pub(crate) const RENAME: u8 = 18;
    pub(crate) const READLINK: u8 = 19;
    pub(crate) const SYMLINK: u8 = 20;
    pub(crate) const EXTENDED: u8 = 200;
}

/// Section 3: the types of replies.
pub(super) mod reply {
    pub(crate) const VERSION: u8 = 2;
    pub(crate) const STATUS: u8 = 101;
    pub(crate) const HANDLE: u8 = 102;
    pub(crate) const DATA: u8 = 103;
    pub(crate) const NAME: u8 = 104;
    pub(crate) const ATTRS: u8 = 105;
    pub(crate) const EXTENDED_REPLY: u8 = 201;
}

/// The id in the reply to a packet that is too short to have one: clients count up from 0 or 1, so
/// that this is nobody's.
pub(super) const NO_ID: u32 = u32::MAX;

/// Section 7: the codes of SSH_FXP_STATUS that a server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    /// SSH_FX_OK
    Ok = 0,
    /// SSH_FX_EOF
    Eof = 1,
    /// SSH_FX_NO_SUCH_FILE
    NoSuchFile = 2,
    /// SSH_FX_PERMISSION_DENIED
    PermissionDenied = 3,
    /// SSH_FX_FAILURE
    Failure = 4,
    /// SSH_FX_BAD_MESSAGE
    BadMessage = 5,
    /// SSH_FX_OP_UNSUPPORTED
    OpUnsupported = 8,
}

/// Why a request is not answered with what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What a client's program goes by.
    pub code: Code,
    /// What its user reads.
    pub text: Cow<'static, str>,
}

impl Status {
    pub(super) fn new(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    pub(super) fn failure(text: &'static str) -> Self {
        Self::new(Code::Failure, text)
    }

    pub(super) fn eof() -> Self {
        Self::new(Code::Eof, "End of file")
    }
}

impl From<Malformed> for Status {
    fn from(Malformed: Malformed) -> Self {
        Self::new(Code::BadMessage, "Malformed request")
    }
}

impl From<Errno> for Status {
    /// The codes are those of OpenSSH; the text is the kernel's reason, which version 3 of the
    /// protocol has too few codes for.
    fn from(errno: Errno) -> Self {
        let code = match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::BADF | Errno::LOOP => Code::NoSuchFile,
            Errno::PERM | Errno::ACCESS | Errno::FAULT => Code::PermissionDenied,
            Errno::NAMETOOLONG | Errno::INVAL => Code::BadMessage,
            Errno::NOSYS => Code::OpUnsupported,
            _ => Code::Failure,
        };
        Self::new(code, reason(errno))
    }
}

impl From<io::Error> for Status {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => errno.into(),
            None => Self::new(Code::Failure, error.to_string()),
        }
    }
}

/// The C library's text, without the number that std puts behind it.
fn reason(errno: Errno) -> String {
    let mut text = io::Error::from(errno).to_string();
    if let Some(at) = text.find(" (os error") {
        text.truncate(at);
    }
    text
}

/// Replies, one behind the other, as they go to the client.
///
/// What was once allocated stays initialised, so that data is read into it without zeroing it first.
#[derive(Debug, Default)]
pub struct Replies {
    bytes: Vec<u8>,
    filled: usize,
}

impl Replies {
    /// The bytes to send.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }

    /// How many bytes there are to send.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// True if there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Bytes of memory that this takes.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets all replies and keeps the memory.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Begins a reply; it counts once it is ended with [`Reply::end`].
    pub(super) fn begin(&mut self, id: u32) -> Reply<'_> {
        let start = self.filled;
        Reply {
            replies: self,
            id,
            start,
        }
    }

    /// The next `count` bytes, which are sent once `filled` says so.
    fn room(&mut self, count: usize) -> &mut [u8] {
        let end = self.filled + count;
        if self.bytes.len() < end {
            // Not twice what is needed, as a vector would: two long replies make a power of two.
            let size = end.next_power_of_two();
            self.bytes.reserve_exact(size - self.bytes.len());
            self.bytes.resize(size, 0);
        }
        self.bytes.get_mut(self.filled..end).unwrap_or_default()
    }

    fn put(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    fn put_length(&mut self, at: usize, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(field) = self.bytes.get_mut(at..at + length.len()) {
            field.copy_from_slice(&length);
        }
    }
}

/// One reply that is being made.
pub(super) struct Reply<'r> {
    replies: &'r mut Replies,
    id: u32,
    start: usize,
}

/// The length in front of a packet or a string.
const LENGTH_BYTES: usize = size_of::<u32>();

impl Reply<'_> {
    /// Begins a packet of this type.
    pub(super) fn packet(&mut self, kind: u8) {
        let id = self.id;
        self.packet_without_id(kind);
        self.put_u32(id);
    }

    /// Begins a VERSION, which answers no id.
    pub(super) fn packet_without_id(&mut self, kind: u8) {
        self.replies.filled = self.start;
        self.replies.put(&[0; LENGTH_BYTES]);
        self.replies.put(&[kind]);
    }

    /// A STATUS, in place of what was begun.
    pub(super) fn status(&mut self, status: &Status) {
        self.packet(reply::STATUS);
        self.put_u32(status.code as u32);
        self.put_string(status.text.as_bytes());
        // The language of the text is not told, as by OpenSSH.
        self.put_string(b"");
    }

    /// Ends the reply; one that says nothing says that all is well.
    pub(super) fn end(mut self) {
        if self.len() == 0 {
            self.status(&Status::new(Code::Ok, "Success"));
        }
        let length = self.len().saturating_sub(LENGTH_BYTES);
        self.replies.put_length(self.start, length);
    }

    /// Bytes so far, the packet's length field included.
    pub(super) fn len(&self) -> usize {
        self.replies.filled - self.start
    }

    /// `uint32`
    pub(super) fn put_u32(&mut self, value: u32) {
        self.replies.put(&value.to_be_bytes());
    }

    /// `uint64`
    pub(super) fn put_u64(&mut self, value: u64) {
        self.replies.put(&value.to_be_bytes());
    }

    /// `string`
    pub(super) fn put_string(&mut self, value: &[u8]) {
        self.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.replies.put(value);
    }

    /// A `string` of at most `most` bytes that `fill` writes in place; it says how many.
    pub(super) fn put_string_with<E>(
        &mut self,
        most: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let at = self.replies.filled;
        self.put_u32(0);
        let count = fill(self.replies.room(most))?.min(most);
        self.replies.filled += count;
        self.replies.put_length(at, count);
        Ok(count)
    }

    /// Leaves a `uint32` open for [`Self::set_u32`].
    pub(super) fn reserve_u32(&mut self) -> usize {
        let at = self.replies.filled;
        self.put_u32(0);
        at
    }

    /// Fills in what was left open at `at`.
    pub(super) fn set_u32(&mut self, at: usize, value: usize) {
        self.replies.put_length(at, value);
    }
}

/// The packet at the front of `bytes`, without its length, if it is all there.
pub(super) fn first_packet(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
    rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// The length that the packet at the front of `bytes` claims, if that much is there.
pub(super) fn claimed_length(bytes: &[u8]) -> Option<u32> {
    bytes
        .first_chunk::<LENGTH_BYTES>()
        .map(|length| u32::from_be_bytes(*length))
}

/// What a packet of `length` bytes takes with its length in front.
pub(super) fn framed(length: usize) -> usize {
    LENGTH_BYTES + length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_that_says_nothing_is_ok() {
        let mut replies = Replies::default();
        replies.begin(7).end();
        let expected = b"\0\0\0\x18\x65\0\0\0\x07\0\0\0\0\0\0\0\x07Success\0\0\0\0";
        assert_eq!(replies.as_bytes(), expected);
        assert_eq!(first_packet(expected), Some(&expected[4..]));
        assert_eq!(first_packet(&expected[..20]), None);
    }

    #[test]
    fn a_status_takes_the_place_of_what_was_begun() {
        let mut replies = Replies::default();
        replies.begin(1).end();
        let first = replies.len();
        let mut reply = replies.begin(2);
        reply.packet(reply::DATA);
        reply.put_string(&[0xaa; 100]);
        reply.status(&Status::eof());
        reply.end();
        let second = first_packet(&replies.as_bytes()[first..]).unwrap();
        assert_eq!(
            second,
            b"\x65\0\0\0\x02\0\0\0\x01\0\0\0\x0bEnd of file\0\0\0\0"
        );
        assert_eq!(replies.len(), first + framed(second.len()));
    }

    #[test]
    fn statuses_carry_the_reason() {
        for (errno, code, text) in [
            (Errno::NOSPC, Code::Failure, "No space left on device"),
            (Errno::ROFS, Code::Failure, "Read-only file system"),
            (Errno::MFILE, Code::Failure, "Too many open files"),
            (Errno::NOENT, Code::NoSuchFile, "No such file or directory"),
            (Errno::NOTDIR, Code::NoSuchFile, "Not a directory"),
            (Errno::ACCESS, Code::PermissionDenied, "Permission denied"),
            (Errno::NAMETOOLONG, Code::BadMessage, "File name too long"),
            (
                Errno::NOSYS,
                Code::OpUnsupported,
                "Function not implemented",
            ),
        ] {
            assert_eq!(Status::from(errno), Status::new(code, text));
        }
    }
}
