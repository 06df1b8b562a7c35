//! Small files of a root file system that may be anybody's.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};

/// Bytes of a file that are read: some 15,000 users, or names of hosts.
const MOST_BYTES: u64 = 1024 * 1024;

/// The first MiB of a regular file of `/etc`. Whatever else stands in its place reads as empty, for whoever
/// owns the container: a FIFO must not hold a thread, nor a device fill the memory.
///
/// # Errors
/// It cannot be opened or read.
pub fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    if file.metadata()?.is_file() {
        file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    #[test]
    fn what_is_no_file_is_empty() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        for path in [fifo.as_path(), directory.path(), Path::new("/dev/zero")] {
            assert_eq!(contents(path).unwrap(), b"", "{}", path.display());
        }
        assert!(contents(&directory.path().join("nothing")).is_err());
    }

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwd");
        let most = usize::try_from(MOST_BYTES).unwrap();
        std::fs::write(&path, vec![b'x'; most + 1]).unwrap();
        assert_eq!(contents(&path).unwrap().len(), most);
    }
}
