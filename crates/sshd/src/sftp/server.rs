//! The server itself: requests in, replies out, and the files in between.
//!
//! Owns the requests of draft-ietf-secsh-filexfer-02; those of OpenSSH's PROTOCOL file are in
//! `extensions.rs`. Everything here blocks for as long as the file system does, and knows nothing
//! of streams.

use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, Stat, fstat, link, lstat, mkdir, open, readlink,
    renameat_with, rmdir, stat, statat, symlink, unlink,
};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};
use ssh_proto::wire::Reader;

use super::attributes::{self, Attributes, is_regular, open_flags};
use super::handles::{Directory, Handle, Handles};
use super::packet::{Code, NO_ID, Replies, Reply, Status, reply, request};
use super::{
    Context, LONGEST_READ, MOST_ENTRIES, MOST_ENTRY_BYTES, VERSION, extensions, longname, paths,
};
use crate::accounts::{Accounts, Sources};

/// Users, groups and the home of this session.
pub(super) struct People {
    home: OsString,
    sources: Sources,
    /// Read when names are first needed, and kept.
    accounts: Option<Accounts>,
}

impl People {
    /// All names.
    pub(super) fn accounts(&mut self) -> &Accounts {
        self.accounts
            .get_or_insert_with(|| Accounts::read(&self.sources))
    }

    /// All names, and the home of the session's own user.
    pub(super) fn accounts_and_home(&mut self) -> (&Accounts, &[u8]) {
        let accounts = self
            .accounts
            .get_or_insert_with(|| Accounts::read(&self.sources));
        (accounts, accounts.own_home(&self.home))
    }
}

/// What a handler returns; a success without a reply of its own is answered with SSH_FX_OK.
pub(super) type Outcome = Result<(), Status>;

/// One session's server.
pub struct Server {
    greeted: bool,
    pub(super) handles: Handles,
    pub(super) people: People,
    stopped: Arc<AtomicBool>,
}

impl Server {
    /// A server that has not seen INIT yet.
    pub fn new(context: Context) -> Self {
        Self {
            greeted: false,
            handles: Handles::default(),
            people: People {
                home: context.home,
                sources: context.accounts,
                accounts: None,
            },
            stopped: Arc::default(),
        }
    }

    /// Answers one packet, given without its length field. There is always exactly one reply.
    pub fn handle(&mut self, packet: &[u8], replies: &mut Replies) {
        let mut fields = Reader::new(packet);
        let kind = fields.u8();
        let mut reply = replies.begin(fields.clone().u32().unwrap_or(NO_ID));
        let outcome = match kind {
            Ok(request::INIT) => self.init(&mut fields, &mut reply),
            Ok(kind) => self.request(kind, &mut fields, &mut reply),
            Err(malformed) => Err(malformed.into()),
        };
        if let Err(status) = outcome {
            reply.status(&status);
        }
        reply.end();
    }

    /// Whether a packet may take long, so that replies before it are better sent first.
    pub(super) fn may_take_long(packet: &[u8]) -> bool {
        // Of the extensions some do (copy-data, fsync), and none is frequent.
        packet.first() == Some(&request::EXTENDED)
    }

    /// A flag that, once set, ends what runs in [`Self::handle`] for long.
    pub(super) fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stopped)
    }

    /// Whether nobody waits for replies any more.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Whether there are files to be closed when the session ends.
    pub(super) fn has_open_handles(&self) -> bool {
        !self.handles.is_empty()
    }

    /// Section 4. Whatever version the client names, there is one that we speak, as OpenSSH says.
    fn init(&mut self, fields: &mut Reader<'_>, reply: &mut Reply<'_>) -> Outcome {
        fields.u32()?;
        if self.greeted {
            return Err(Status::new(Code::BadMessage, "INIT came before"));
        }
        self.greeted = true;
        reply.packet_without_id(reply::VERSION);
        reply.put_u32(VERSION);
        extensions::announce(reply);
        Ok(())
    }

    /// Bytes behind the last field of a request mean nothing, as in OpenSSH.
    fn request(&mut self, kind: u8, fields: &mut Reader<'_>, reply: &mut Reply<'_>) -> Outcome {
        // The id, which the reply has already.
        fields.u32()?;
        if !self.greeted {
            return Err(Status::new(Code::BadMessage, "INIT has to come first"));
        }
        match kind {
            request::OPEN => self.open(fields, reply),
            request::CLOSE => self.close(fields),
            request::READ => self.read(fields, reply),
            request::WRITE => self.write(fields),
            request::LSTAT => attributes_reply(reply, &lstat(fields.string()?)?),
            request::FSTAT => {
                let stat = fstat(self.handles.either(fields.string()?)?)?;
                attributes_reply(reply, &stat)
            }
            request::SETSTAT => {
                let path = fields.string()?;
                Attributes::read(fields)?.set(path)
            }
            request::FSETSTAT => {
                let handle = self.handles.either(fields.string()?);
                Attributes::read(fields)?.set_on(handle?)
            }
            request::OPENDIR => self.opendir(fields, reply),
            request::READDIR => self.readdir(fields, reply),
            request::REMOVE => Ok(unlink(fields.string()?)?),
            request::MKDIR => {
                let path = fields.string()?;
                Ok(mkdir(path, Attributes::read(fields)?.mode_or(0o777))?)
            }
            request::RMDIR => Ok(rmdir(fields.string()?)?),
            request::REALPATH => {
                let path = paths::canonical(fields.string()?)?;
                name_reply(reply, &path)
            }
            request::STAT => attributes_reply(reply, &stat(fields.string()?)?),
            request::RENAME => Ok(rename(fields.string()?, fields.string()?)?),
            request::READLINK => {
                let target = readlink(fields.string()?, Vec::new())?;
                name_reply(reply, target.as_bytes())
            }
            // The order of the two is OpenSSH's (PROTOCOL section 4.1).
            request::SYMLINK => Ok(symlink(fields.string()?, fields.string()?)?),
            request::EXTENDED => extensions::request(self, fields, reply),
            _ => Err(Status::new(Code::OpUnsupported, "Unknown request")),
        }
    }

    /// Section 6.3
    fn open(&mut self, fields: &mut Reader<'_>, reply: &mut Reply<'_>) -> Outcome {
        let path = fields.string()?;
        let flags = open_flags(fields.u32()?);
        let mode = Attributes::read(fields)?.mode_or(0o666);
        self.handles.check_room()?;
        let fd = retry_on_intr(|| open(path, flags, mode))?;
        handle_reply(reply, &self.handles.insert(Handle::File(fd))?)
    }

    fn close(&mut self, fields: &mut Reader<'_>) -> Outcome {
        Ok(self.handles.remove(fields.string()?)?.close()?)
    }

    /// Section 6.4; the data goes straight into the reply.
    fn read(&mut self, fields: &mut Reader<'_>, reply: &mut Reply<'_>) -> Outcome {
        let (handle, offset, length) = (fields.string()?, fields.u64()?, fields.u32()?);
        let fd = self.handles.file(handle)?;
        let most = LONGEST_READ.min(usize::try_from(length).unwrap_or(LONGEST_READ));
        reply.packet(reply::DATA);
        let count =
            reply.put_string_with(most, |room| retry_on_intr(|| pread(fd, &mut *room, offset)))?;
        match count {
            // Nothing asked for is nothing read, which is odd, but not the end.
            0 if most > 0 => Err(Status::eof()),
            _ => Ok(()),
        }
    }

    /// Section 6.4; the data comes straight from the request.
    fn write(&mut self, fields: &mut Reader<'_>) -> Outcome {
        let (handle, offset, data) = (fields.string()?, fields.u64()?, fields.string()?);
        write_all(self.handles.file(handle)?, data, offset)
    }

    /// Section 6.7
    fn opendir(&mut self, fields: &mut Reader<'_>, reply: &mut Reply<'_>) -> Outcome {
        let path = fields.string()?;
        self.handles.check_room()?;
        let flags = OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let directory = Directory::new(retry_on_intr(|| open(path, flags, Mode::empty()))?)?;
        handle_reply(reply, &self.handles.insert(Handle::Directory(directory))?)
    }

    /// Section 6.7; an entry that has vanished meanwhile is left out.
    fn readdir(&mut self, fields: &mut Reader<'_>, reply: &mut Reply<'_>) -> Outcome {
        let name = fields.string()?;
        let directory = self.handles.directory(name)?;
        let accounts = self.people.accounts();
        let now = seconds_since_1970();
        let mut line = Vec::new();
        reply.packet(reply::NAME);
        let at = reply.reserve_u32();
        let mut count = 0;
        while count < MOST_ENTRIES && reply.len() < MOST_ENTRY_BYTES {
            let entry = match directory.next() {
                Some(Ok(entry)) => entry,
                // Told with the next request, behind what was found.
                Some(Err(errno)) if count > 0 => {
                    directory.hold(Err(errno));
                    break;
                }
                Some(Err(errno)) => return Err(errno.into()),
                None => break,
            };
            let name = entry.file_name();
            let stat = match statat(directory.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => stat.ok(),
            };
            let name = name.to_bytes();
            match &stat {
                Some(stat) => longname::write(&mut line, name, stat, accounts, now),
                None => longname::write_unknown(&mut line, name),
            }
            put_entry(reply, name, &line, stat.as_ref());
            count += 1;
        }
        reply.set_u32(at, count);
        match count {
            0 => Err(Status::eof()),
            _ => Ok(()),
        }
    }
}

/// Writes all of `data` at `offset`, or at the end of a file opened to append; less is an error.
pub(super) fn write_all(fd: BorrowedFd<'_>, mut data: &[u8], mut offset: u64) -> Outcome {
    while !data.is_empty() {
        let count = retry_on_intr(|| pwrite(fd, data, offset))?;
        data = data.get(count..).unwrap_or_default();
        offset = u64::try_from(count)
            .ok()
            .and_then(|count| offset.checked_add(count))
            .ok_or(Errno::FBIG)?;
        if count == 0 {
            return Err(Status::failure("The file takes no more data"));
        }
    }
    Ok(())
}

/// Section 6.5: a rename that overwrites nothing.
fn rename(old: &[u8], new: &[u8]) -> Result<(), Errno> {
    use rustix::fs::CWD;
    match renameat_with(CWD, old, CWD, new, RenameFlags::NOREPLACE) {
        // This kernel or this file system cannot, or something else is wrong that shows again below.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => rename_in_two_steps(old, new),
        outcome => outcome,
    }
}

/// Without help of the kernel: a link is never made over something. What cannot be linked is looked
/// at before, which leaves a moment for others; so does OpenSSH.
pub(super) fn rename_in_two_steps(old: &[u8], new: &[u8]) -> Result<(), Errno> {
    if is_regular(&lstat(old)?) {
        match link(old, new) {
            Ok(()) => {
                return unlink(old).inspect_err(|_| {
                    // Better one name, as before, than two.
                    _ = unlink(new);
                });
            }
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::XDEV | Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    match lstat(new) {
        Ok(_) => Err(Errno::EXIST),
        Err(Errno::NOENT) => rustix::fs::rename(old, new),
        Err(errno) => Err(errno),
    }
}

fn seconds_since_1970() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

fn attributes_reply(reply: &mut Reply<'_>, stat: &Stat) -> Outcome {
    reply.packet(reply::ATTRS);
    attributes::put(reply, stat);
    Ok(())
}

fn handle_reply(reply: &mut Reply<'_>, name: &[u8]) -> Outcome {
    reply.packet(reply::HANDLE);
    reply.put_string(name);
    Ok(())
}

/// NAME with one path and no attributes.
pub(super) fn name_reply(reply: &mut Reply<'_>, path: &[u8]) -> Outcome {
    reply.packet(reply::NAME);
    reply.put_u32(1);
    put_entry(reply, path, path, None);
    Ok(())
}

fn put_entry(reply: &mut Reply<'_>, name: &[u8], line: &[u8], stat: Option<&Stat>) {
    reply.put_string(name);
    reply.put_string(line);
    match stat {
        Some(stat) => attributes::put(reply, stat),
        None => attributes::put_none(reply),
    }
}
