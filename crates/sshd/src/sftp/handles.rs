//! What a client has open (draft-ietf-secsh-filexfer-02 section 6.2).
//!
//! Owns the strings by which a client names its files and directories. Each is of use once: after
//! CLOSE it is nobody's, also when the slot is taken again, so that a request that comes late cannot
//! reach another file.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, DirEntry};
use rustix::io::Errno;

use super::MOST_HANDLES;
use super::packet::Status;
use crate::sys;

/// The slot's number and how many others it was used for before.
const NAME_BYTES: usize = 8;

/// An open file or directory.
pub(super) enum Handle {
    File(OwnedFd),
    Directory(Directory),
}

impl Handle {
    fn fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        match self {
            Self::File(fd) => Ok(fd.as_fd()),
            Self::Directory(directory) => directory.fd(),
        }
    }

    /// Closes it and tells what came of that.
    pub(super) fn close(self) -> io::Result<()> {
        match self {
            Self::File(fd) => sys::close::close(fd),
            // Nothing was written that could be lost.
            Self::Directory(_) => Ok(()),
        }
    }
}

/// A directory that is being read.
pub(super) struct Directory {
    entries: Dir,
    /// Read already, and kept for the next reply.
    held: Option<Result<DirEntry, Errno>>,
}

impl Directory {
    pub(super) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        Ok(Self {
            entries: Dir::new(fd)?,
            held: None,
        })
    }

    pub(super) fn fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.entries.fd()
    }

    /// The next entry; `None` at the end.
    pub(super) fn next(&mut self) -> Option<Result<DirEntry, Errno>> {
        self.held.take().or_else(|| self.entries.read())
    }

    /// Keeps what came of [`Self::next`] for the next call of it.
    pub(super) fn hold(&mut self, entry: Result<DirEntry, Errno>) {
        self.held = Some(entry);
    }
}

#[derive(Default)]
struct Slot {
    generation: u32,
    handle: Option<Handle>,
}

/// All that a session has open, at most [`MOST_HANDLES`].
#[derive(Default)]
pub(super) struct Handles {
    slots: Vec<Slot>,
    vacant: Vec<usize>,
}

impl Handles {
    /// Fails if there is no room for another: to be asked before a file is created.
    pub(super) fn check_room(&self) -> Result<(), Status> {
        match self.slots.len() - self.vacant.len() < MOST_HANDLES {
            true => Ok(()),
            false => Err(Status::failure("Too many open handles")),
        }
    }

    /// True if nothing is open.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.len() == self.vacant.len()
    }

    /// Takes in `handle`; the string that the client gets for it.
    pub(super) fn insert(&mut self, handle: Handle) -> Result<[u8; NAME_BYTES], Status> {
        self.check_room()?;
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        let slot = self.slots.get_mut(number).ok_or_else(unknown)?;
        slot.handle = Some(handle);
        let number = u64::try_from(number).map_err(|_| unknown())?;
        Ok(((number << 32) | u64::from(slot.generation)).to_be_bytes())
    }

    /// Takes out what `name` stands for.
    pub(super) fn remove(&mut self, name: &[u8]) -> Result<Handle, Status> {
        let (number, generation) = parse(name)?;
        let slot = self.slots.get_mut(number).ok_or_else(unknown)?;
        if slot.generation != generation {
            return Err(unknown());
        }
        let handle = slot.handle.take().ok_or_else(unknown)?;
        slot.generation = slot.generation.wrapping_add(1);
        self.vacant.push(number);
        Ok(handle)
    }

    /// The descriptor of a file.
    pub(super) fn file(&self, name: &[u8]) -> Result<BorrowedFd<'_>, Status> {
        match self.get(name)? {
            Handle::File(fd) => Ok(fd.as_fd()),
            Handle::Directory(_) => Err(Status::failure("The handle is a directory's")),
        }
    }

    /// The descriptor of a file or a directory.
    pub(super) fn either(&self, name: &[u8]) -> Result<BorrowedFd<'_>, Status> {
        Ok(self.get(name)?.fd()?)
    }

    /// A directory.
    pub(super) fn directory(&mut self, name: &[u8]) -> Result<&mut Directory, Status> {
        let (number, generation) = parse(name)?;
        match self.slots.get_mut(number) {
            Some(Slot {
                generation: current,
                handle: Some(handle),
            }) if *current == generation => match handle {
                Handle::Directory(directory) => Ok(directory),
                Handle::File(_) => Err(Status::failure("The handle is a file's")),
            },
            _ => Err(unknown()),
        }
    }

    fn get(&self, name: &[u8]) -> Result<&Handle, Status> {
        let (number, generation) = parse(name)?;
        self.slots
            .get(number)
            .filter(|slot| slot.generation == generation)
            .and_then(|slot| slot.handle.as_ref())
            .ok_or_else(unknown)
    }
}

fn parse(name: &[u8]) -> Result<(usize, u32), Status> {
    let (number, rest) = name.split_first_chunk().ok_or_else(unknown)?;
    let generation = <[u8; 4]>::try_from(rest).map_err(|_| unknown())?;
    let number = usize::try_from(u32::from_be_bytes(*number)).map_err(|_| unknown())?;
    Ok((number, u32::from_be_bytes(generation)))
}

fn unknown() -> Status {
    Status::failure("No such handle")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Handle {
        Handle::File(std::fs::File::open("/").unwrap().into())
    }

    #[test]
    fn a_closed_handle_is_nobodys_even_when_its_slot_is_taken_again() {
        let mut handles = Handles::default();
        let first = handles.insert(file()).unwrap();
        let second = handles.insert(file()).unwrap();
        assert_ne!(first, second);
        handles.remove(&first).unwrap().close().unwrap();
        assert!(handles.remove(&first).is_err());
        let third = handles.insert(file()).unwrap();
        assert_ne!(first, third);
        assert_eq!(first[..4], third[..4]);
        assert!(handles.file(&first).is_err() && handles.either(&first).is_err());
        assert!(handles.file(&second).is_ok() && handles.file(&third).is_ok());
    }

    #[test]
    fn kinds_are_kept_apart() {
        let mut handles = Handles::default();
        let directory = Directory::new(std::fs::File::open("/").unwrap().into()).unwrap();
        let directory = handles.insert(Handle::Directory(directory)).unwrap();
        let file = handles.insert(file()).unwrap();
        assert!(handles.file(&directory).is_err() && handles.directory(&directory).is_ok());
        assert!(handles.file(&file).is_ok() && handles.directory(&file).is_err());
        assert!(handles.either(&directory).is_ok() && handles.either(&file).is_ok());
    }

    #[test]
    fn strings_that_are_no_handles() {
        let mut handles = Handles::default();
        handles.insert(file()).unwrap();
        for name in [&b""[..], &[0; 4], &[0; 7], &[0; 9], &[0xff; 8], &[0; 300]] {
            assert!(handles.file(name).is_err());
            assert!(handles.directory(name).is_err());
            assert!(handles.remove(name).is_err());
        }
        assert!(handles.file(&[0; 8]).is_ok());
    }
}
