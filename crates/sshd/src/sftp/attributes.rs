//! File attributes (draft-ietf-secsh-filexfer-02 section 5) and the flags of OPEN (section 6.3).
//!
//! Owns both encodings and what they mean to the kernel. Which file they are of is the server's.

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chmod, chownat, fchmod,
    fchown, fstat, ftruncate, futimens, open, utimensat,
};
use rustix::io::Errno;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use ssh_proto::wire::{Malformed, Reader};

use super::packet::{Code, Reply, Status};

const SIZE: u32 = 0x1;
const UIDGID: u32 = 0x2;
const PERMISSIONS: u32 = 0x4;
const ACMODTIME: u32 = 0x8;
const EXTENDED: u32 = 0x8000_0000;

/// The bits of a mode that a client may choose; the others are the type of the file.
const MODE_BITS: u32 = 0o7777;

/// An id that means "as it is" to chown(2).
const UNCHANGED: u32 = u32::MAX;

/// What every file is opened with: neither a FIFO nor a terminal may hold a thread.
const ALWAYS: OFlags = OFlags::NONBLOCK
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// ATTRS of a request, each part only if it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Attributes {
    size: Option<u64>,
    owner: Option<(u32, u32)>,
    permissions: Option<u32>,
    times: Option<(u32, u32)>,
}

impl Attributes {
    /// Reads ATTRS. Unknown flags and the extended pairs, of which none are defined, mean nothing.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let flags = reader.u32()?;
        let has = |flag| flags & flag != 0;
        let mut attributes = Self::default();
        if has(SIZE) {
            attributes.size = Some(reader.u64()?);
        }
        if has(UIDGID) {
            attributes.owner = Some((reader.u32()?, reader.u32()?));
        }
        if has(PERMISSIONS) {
            attributes.permissions = Some(reader.u32()?);
        }
        if has(ACMODTIME) {
            attributes.times = Some((reader.u32()?, reader.u32()?));
        }
        if has(EXTENDED) {
            // The count may lie; the packet's end is what ends this.
            for _ in 0..reader.u32()? {
                reader.string()?;
                reader.string()?;
            }
        }
        Ok(attributes)
    }

    /// The mode of a file to create; the umask still applies to it.
    pub(super) fn mode_or(&self, default: u32) -> Mode {
        mode(self.permissions.unwrap_or(default))
    }

    /// Sets them on the file at `path`, following a symlink.
    pub(super) fn set(&self, path: &[u8]) -> Result<(), Status> {
        self.each(
            |size| {
                Ok(ftruncate(
                    open(path, OFlags::WRONLY | ALWAYS, Mode::empty())?,
                    size,
                )?)
            },
            |uid, gid| Ok(chownat(CWD, path, uid, gid, AtFlags::empty())?),
            |mode| Ok(chmod(path, mode)?),
            |times| Ok(utimensat(CWD, path, times, AtFlags::empty())?),
        )
    }

    /// Sets them on what is at `path`, be it a symlink (lsetstat@openssh.com).
    pub(super) fn set_on_link(&self, path: &[u8]) -> Result<(), Status> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        if self.size.is_some() {
            return Err(Status::new(
                Code::BadMessage,
                "A symlink has no size to set",
            ));
        }
        self.each(
            |_| Ok(()),
            |uid, gid| Ok(chownat(CWD, path, uid, gid, nofollow)?),
            |mode| Ok(chmod_nofollow(path, mode)?),
            |times| Ok(utimensat(CWD, path, times, nofollow)?),
        )
    }

    /// Sets them on an open file.
    pub(super) fn set_on(&self, fd: BorrowedFd<'_>) -> Result<(), Status> {
        self.each(
            |size| Ok(ftruncate(fd, size)?),
            |uid, gid| Ok(fchown(fd, uid, gid)?),
            |mode| Ok(fchmod(fd, mode)?),
            |times| Ok(futimens(fd, times)?),
        )
    }

    /// Tries all parts that were sent, as OpenSSH does, and tells the first failure.
    ///
    /// The owner goes before the mode, since a change of owner clears the set-id bits.
    fn each(
        &self,
        size: impl FnOnce(u64) -> Result<(), Status>,
        owner: impl FnOnce(Option<Uid>, Option<Gid>) -> Result<(), Status>,
        permissions: impl FnOnce(Mode) -> Result<(), Status>,
        times: impl FnOnce(&Timestamps) -> Result<(), Status>,
    ) -> Result<(), Status> {
        let sized = self.size.map_or(Ok(()), size);
        let owned = self.owner.map_or(Ok(()), |(uid, gid)| {
            let uid = (uid != UNCHANGED).then(|| Uid::from_raw(uid));
            let gid = (gid != UNCHANGED).then(|| Gid::from_raw(gid));
            owner(uid, gid)
        });
        let permitted = self
            .permissions
            .map_or(Ok(()), |bits| permissions(mode(bits)));
        let timed = self.times.map_or(Ok(()), |(access, modification)| {
            times(&Timestamps {
                last_access: seconds(access),
                last_modification: seconds(modification),
            })
        });
        sized.and(owned).and(permitted).and(timed)
    }
}

/// chmod of anything but a symlink, which has no mode on Linux; `fchmodat` could not do this before
/// Linux 6.6.
fn chmod_nofollow(path: &[u8], mode: Mode) -> Result<(), Errno> {
    let here = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = open(path, here | OFlags::PATH, Mode::empty())?;
    if is_symlink(&fstat(&found)?) {
        return Err(Errno::OPNOTSUPP);
    }
    match chmod(format!("/proc/self/fd/{}", found.as_raw_fd()), mode) {
        // No /proc here: what can be opened can still be changed.
        Err(Errno::NOENT) => fchmod(open(path, here | ALWAYS, Mode::empty())?, mode),
        outcome => outcome,
    }
}

/// Whether `stat` is a symlink's.
pub(super) fn is_symlink(stat: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink()
}

/// Whether `stat` is a regular file's.
pub(super) fn is_regular(stat: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file()
}

fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits & MODE_BITS)
}

fn seconds(count: u32) -> Timespec {
    Timespec {
        tv_sec: count.into(),
        tv_nsec: 0,
    }
}

/// Writes the ATTRS of a file.
pub(super) fn put(reply: &mut Reply<'_>, stat: &Stat) {
    reply.put_u32(SIZE | UIDGID | PERMISSIONS | ACMODTIME);
    reply.put_u64(u64::try_from(stat.st_size).unwrap_or(0));
    reply.put_u32(stat.st_uid);
    reply.put_u32(stat.st_gid);
    reply.put_u32(stat.st_mode);
    reply.put_u32(clamped(stat.st_atime));
    reply.put_u32(clamped(stat.st_mtime));
}

/// Writes ATTRS that say nothing.
pub(super) fn put_none(reply: &mut Reply<'_>) {
    reply.put_u32(0);
}

/// Version 3 knows times from 1970 to 2106 only.
fn clamped(time: i64) -> u32 {
    u32::try_from(time.max(0)).unwrap_or(u32::MAX)
}

/// What open(2) is told for the `pflags` of OPEN; neither reading nor writing is reading, as in
/// OpenSSH.
pub(super) fn open_flags(pflags: u32) -> OFlags {
    let has = |flag: u32| pflags & flag != 0;
    let mut flags = ALWAYS
        | match (has(0x1), has(0x2)) {
            (_, false) => OFlags::RDONLY,
            (false, true) => OFlags::WRONLY,
            (true, true) => OFlags::RDWR,
        };
    for (portable, flag) in [
        (0x4, OFlags::APPEND),
        (0x8, OFlags::CREATE),
        (0x10, OFlags::TRUNC),
        (0x20, OFlags::EXCL),
    ] {
        flags.set(flag, has(portable));
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_in_the_order_of_their_flags() {
        let bytes = b"\x80\0\0\x0f\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\x01\xa4\
            \0\0\0\x05\0\0\0\x06\0\0\0\x01\0\0\0\x01n\0\0\0\x01v";
        let mut reader = Reader::new(bytes);
        let attributes = Attributes::read(&mut reader).unwrap();
        assert!(reader.is_empty());
        let expected = Attributes {
            size: Some((1 << 32) | 2),
            owner: Some((3, 4)),
            permissions: Some(0o644),
            times: Some((5, 6)),
        };
        assert_eq!(attributes, expected);
        for end in 0..bytes.len() {
            assert!(Attributes::read(&mut Reader::new(&bytes[..end])).is_err());
        }
        // A count that lies ends with the packet.
        assert!(Attributes::read(&mut Reader::new(b"\x80\0\0\0\xff\xff\xff\xff\0\0\0\0")).is_err());
    }

    #[test]
    fn flags_of_open() {
        let base = ALWAYS;
        for (pflags, flags) in [
            (0x0, base | OFlags::RDONLY),
            (0x1, base | OFlags::RDONLY),
            (0x2, base | OFlags::WRONLY),
            (0x3, base | OFlags::RDWR),
            (0x1a, base | OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC),
            (0x2a, base | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL),
            (0x6, base | OFlags::WRONLY | OFlags::APPEND),
            (0xffff_ffc1, base | OFlags::RDONLY),
        ] {
            assert_eq!(open_flags(pflags), flags, "{pflags:x}");
        }
    }

    #[test]
    fn times_outside_of_version_3_are_clamped() {
        for (time, told) in [
            (-1, 0),
            (0, 0),
            (1 << 31, 1 << 31),
            (1 << 32, u32::MAX),
            (i64::MAX, u32::MAX),
            (i64::MIN, 0),
        ] {
            assert_eq!(clamped(time), told);
        }
    }
}
