//! SSH_FXP_EXTENDED: the requests of OpenSSH's PROTOCOL file, section 4.
//!
//! Owns their names, versions and handlers in one table. All are announced, and what is not in the
//! table is not supported.

use std::os::fd::BorrowedFd;

use rustix::fs::{StatVfs, StatVfsMountFlags, copy_file_range, fstat, fstatvfs, fsync, link};
use rustix::fs::{rename, statvfs};
use rustix::io::{Errno, pread, retry_on_intr};
use rustix::process::{Resource, getrlimit};
use ssh_proto::wire::Reader;

use super::attributes::Attributes;
use super::packet::{Code, Reply, Status, reply};
use super::server::{Outcome, Server, name_reply, write_all};
use super::{LONGEST_PACKET, LONGEST_READ, LONGEST_WRITE, MOST_HANDLES, paths};

/// What the kernel copies at a time, after which the session may have ended.
const COPY_AT_ONCE: u64 = 8 * 1024 * 1024;

/// What is copied at a time where the kernel cannot do it alone: as much as a READ.
const COPY_BUFFER: usize = LONGEST_READ;

struct Extension {
    name: &'static str,
    version: &'static str,
    handler: fn(&mut Server, &mut Reader<'_>, &mut Reply<'_>) -> Outcome,
}

const EXTENSIONS: [Extension; 11] = [
    Extension {
        name: "posix-rename@openssh.com",
        version: "1",
        handler: |_, fields, _| Ok(rename(fields.string()?, fields.string()?)?),
    },
    Extension {
        name: "statvfs@openssh.com",
        version: "2",
        handler: |_, fields, reply| file_system(reply, &statvfs(fields.string()?)?),
    },
    Extension {
        name: "fstatvfs@openssh.com",
        version: "2",
        handler: |server, fields, reply| {
            let handle = server.handles.either(fields.string()?)?;
            file_system(reply, &fstatvfs(handle)?)
        },
    },
    Extension {
        name: "hardlink@openssh.com",
        version: "1",
        handler: |_, fields, _| Ok(link(fields.string()?, fields.string()?)?),
    },
    Extension {
        name: "fsync@openssh.com",
        version: "1",
        handler: |server, fields, _| {
            let handle = server.handles.either(fields.string()?)?;
            Ok(retry_on_intr(|| fsync(handle))?)
        },
    },
    Extension {
        name: "lsetstat@openssh.com",
        version: "1",
        handler: |_, fields, _| {
            let path = fields.string()?;
            Attributes::read(fields)?.set_on_link(path)
        },
    },
    Extension {
        name: "limits@openssh.com",
        version: "1",
        handler: |_, _, reply| limits(reply),
    },
    Extension {
        name: "expand-path@openssh.com",
        version: "1",
        handler: expand_path,
    },
    Extension {
        name: "copy-data",
        version: "1",
        handler: |server, fields, _| copy_data(server, fields),
    },
    Extension {
        name: "home-directory",
        version: "1",
        handler: home_directory,
    },
    Extension {
        name: "users-groups-by-id@openssh.com",
        version: "1",
        handler: users_groups_by_id,
    },
];

/// Section 4.2: what VERSION says of extensions.
pub(super) fn announce(reply: &mut Reply<'_>) {
    for extension in EXTENSIONS {
        reply.put_string(extension.name.as_bytes());
        reply.put_string(extension.version.as_bytes());
    }
}

/// Serves an extended request, from its name on.
pub(super) fn request(
    server: &mut Server,
    fields: &mut Reader<'_>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let name = fields.string()?;
    let found = EXTENSIONS.iter().find(|e| e.name.as_bytes() == name);
    match found {
        Some(extension) => (extension.handler)(server, fields, reply),
        None => Err(Status::new(Code::OpUnsupported, "Unknown extension")),
    }
}

/// Section 4.4
fn file_system(reply: &mut Reply<'_>, of: &StatVfs) -> Outcome {
    // SSH_FXE_STATVFS_ST_RDONLY and SSH_FXE_STATVFS_ST_NOSUID
    let flags = [
        (StatVfsMountFlags::RDONLY, 1),
        (StatVfsMountFlags::NOSUID, 2),
    ];
    let set = flags.iter().filter(|(flag, _)| of.f_flag.contains(*flag));
    reply.packet(reply::EXTENDED_REPLY);
    for value in [
        of.f_bsize,
        of.f_frsize,
        of.f_blocks,
        of.f_bfree,
        of.f_bavail,
        of.f_files,
        of.f_ffree,
        of.f_favail,
        of.f_fsid,
        set.map(|(_, bit)| bit).sum(),
        of.f_namemax,
    ] {
        reply.put_u64(value);
    }
    Ok(())
}

/// Section 4.8. Descriptors are shared by the whole daemon, so that the number of handles is an
/// upper bound.
fn limits(reply: &mut Reply<'_>) -> Outcome {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    reply.packet(reply::EXTENDED_REPLY);
    for limit in [LONGEST_PACKET, LONGEST_READ, LONGEST_WRITE] {
        reply.put_u64(u64::try_from(limit).unwrap_or(u64::MAX));
    }
    let handles = u64::try_from(MOST_HANDLES).unwrap_or(u64::MAX);
    reply.put_u64(handles.min(descriptors));
    Ok(())
}

/// Section 4.9
fn expand_path(server: &mut Server, fields: &mut Reader<'_>, reply: &mut Reply<'_>) -> Outcome {
    let path = fields.string()?;
    let (accounts, home) = server.people.accounts_and_home();
    let expanded = paths::expand(path, home, accounts)?;
    name_reply(reply, &paths::canonical(&expanded)?)
}

/// Section 4.11
fn home_directory(server: &mut Server, fields: &mut Reader<'_>, reply: &mut Reply<'_>) -> Outcome {
    let user = fields.string()?;
    let (accounts, home) = server.people.accounts_and_home();
    let home = match user {
        [] => Some(home),
        user => accounts.home_of_name(user),
    };
    // The code is OpenSSH's, which has another one for expand-path.
    name_reply(reply, home.ok_or(Status::failure(paths::NO_SUCH_USER))?)
}

/// Section 4.12: an id without a name has the empty one.
fn users_groups_by_id(
    server: &mut Server,
    fields: &mut Reader<'_>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let (uids, gids) = (fields.string()?, fields.string()?);
    let accounts = server.people.accounts();
    reply.packet(reply::EXTENDED_REPLY);
    names(reply, uids, |uid| accounts.user_name(uid))?;
    names(reply, gids, |gid| accounts.group_name(gid))
}

fn names<'a>(reply: &mut Reply<'_>, ids: &[u8], name: impl Fn(u32) -> Option<&'a [u8]>) -> Outcome {
    let mut ids = Reader::new(ids);
    let (at, start) = (reply.reserve_u32(), reply.len());
    while !ids.is_empty() {
        reply.put_string(name(ids.u32()?).unwrap_or_default());
        if reply.len() > LONGEST_PACKET {
            return Err(Status::failure("Too many ids for one reply"));
        }
    }
    reply.set_u32(at, reply.len() - start);
    Ok(())
}

/// Section 4.10
fn copy_data(server: &Server, fields: &mut Reader<'_>) -> Outcome {
    let (source, from, length) = (fields.string()?, fields.u64()?, fields.u64()?);
    let (target, to) = (fields.string()?, fields.u64()?);
    let (source, target) = (server.handles.file(source)?, server.handles.file(target)?);
    let (one, other) = (fstat(source)?, fstat(target)?);
    if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) {
        return Err(Status::failure("Cannot copy from a file to itself"));
    }
    let mut copy = Copy {
        source,
        target,
        from,
        to,
        left: if length == 0 { u64::MAX } else { length },
        by_kernel: true,
        buffer: Vec::new(),
    };
    while copy.left > 0 {
        if server.is_stopped() {
            return Err(Status::failure("The session has ended"));
        }
        match copy.next()? {
            0 if length == 0 => return Ok(()),
            0 => return Err(Status::eof()),
            count => copy.advance(count)?,
        }
    }
    Ok(())
}

/// A copy that is under way.
struct Copy<'h> {
    source: BorrowedFd<'h>,
    target: BorrowedFd<'h>,
    from: u64,
    to: u64,
    left: u64,
    by_kernel: bool,
    buffer: Vec<u8>,
}

impl Copy<'_> {
    /// Copies some more; nothing at the end of the source.
    fn next(&mut self) -> Result<u64, Status> {
        if self.by_kernel {
            match self.next_by_kernel() {
                Ok(count) if count > 0 => return Ok(u64::try_from(count).unwrap_or(u64::MAX)),
                // Files of /proc and the like look empty to it.
                Ok(_) => {}
                // Two file systems, a file opened to append, a device: by hand, that can be done, or
                // the reason shows.
                Err(
                    Errno::XDEV
                    | Errno::BADF
                    | Errno::INVAL
                    | Errno::NOSYS
                    | Errno::OPNOTSUPP
                    | Errno::PERM
                    | Errno::OVERFLOW,
                ) => {}
                Err(errno) => return Err(errno.into()),
            }
            self.by_kernel = false;
            self.buffer = vec![0; COPY_BUFFER];
        }
        self.next_by_hand()
    }

    fn next_by_kernel(&self) -> Result<usize, Errno> {
        let most = usize::try_from(self.left.min(COPY_AT_ONCE)).unwrap_or(COPY_BUFFER);
        retry_on_intr(|| {
            let (mut from, mut to) = (self.from, self.to);
            copy_file_range(
                self.source,
                Some(&mut from),
                self.target,
                Some(&mut to),
                most,
            )
        })
    }

    fn next_by_hand(&mut self) -> Result<u64, Status> {
        let most = usize::try_from(self.left).map_or(COPY_BUFFER, |left| left.min(COPY_BUFFER));
        let room = self.buffer.get_mut(..most).unwrap_or_default();
        let count = retry_on_intr(|| pread(self.source, &mut *room, self.from))?;
        write_all(self.target, room.get(..count).unwrap_or_default(), self.to)?;
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }

    fn advance(&mut self, count: u64) -> Result<(), Status> {
        self.left = self.left.saturating_sub(count);
        self.from = self.from.checked_add(count).ok_or(Errno::INVAL)?;
        self.to = self.to.checked_add(count).ok_or(Errno::INVAL)?;
        Ok(())
    }
}
