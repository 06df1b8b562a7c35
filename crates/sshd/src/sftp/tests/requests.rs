//! The requests of draft-ietf-secsh-filexfer-02.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

const READ: u32 = 0x1;
const WRITE: u32 = 0x2;
const APPEND: u32 = 0x4;
const CREATE: u32 = 0x8;
const TRUNCATE: u32 = 0x10;
const EXCLUSIVE: u32 = 0x20;

const NO_SUCH_HANDLE: &str = "No such handle";

#[test]
fn version_3_and_all_extensions_are_announced() {
    let mut client = Client::new();
    client.server = Server::new(Context::default());
    let version = client.raw(b"\x01\0\0\0\x06\0\0\0\x01x\0\0\0\x01y");
    let mut fields = Reader::new(&version);
    assert_eq!((fields.u8(), fields.u32()), (Ok(reply::VERSION), Ok(3)));
    let mut announced = BTreeSet::new();
    while !fields.is_empty() {
        announced.insert((fields.utf8().unwrap(), fields.utf8().unwrap()));
    }
    let expected = [
        ("copy-data", "1"),
        ("expand-path@openssh.com", "1"),
        ("fstatvfs@openssh.com", "2"),
        ("fsync@openssh.com", "1"),
        ("hardlink@openssh.com", "1"),
        ("home-directory", "1"),
        ("limits@openssh.com", "1"),
        ("lsetstat@openssh.com", "1"),
        ("posix-rename@openssh.com", "1"),
        ("statvfs@openssh.com", "2"),
        ("users-groups-by-id@openssh.com", "1"),
    ];
    assert_eq!(announced, BTreeSet::from(expected));
}

#[test]
fn a_file_is_written_and_read_back() {
    let mut client = Client::new();
    let file = client.open("new", READ | WRITE | CREATE);
    assert_eq!(client.write(&file, 0, b"hello"), ok());
    assert_eq!(client.write(&file, 5, b" world"), ok());
    assert_eq!(client.write(&file, 3, b""), ok());
    assert_eq!(
        client.read(&file, 0, 100),
        Answer::Data(b"hello world".into())
    );
    assert_eq!(client.read(&file, 6, 2), Answer::Data(b"wo".into()));
    assert_eq!(client.read(&file, 11, 1), status(Code::Eof, "End of file"));
    assert_eq!(client.read(&file, 0, 0), Answer::Data(Vec::new()));
    client.close(&file);
    let gone = status(Code::Failure, NO_SUCH_HANDLE);
    assert_eq!(client.read(&file, 0, 1), gone);
    assert_eq!(client.write(&file, 0, b"x"), gone);
    assert_eq!(client.ask(request::CLOSE, &[text(&file)]), gone);
    assert_eq!(fs::read(client.path("new")).unwrap(), b"hello world");
}

#[test]
fn a_read_gets_no_more_than_fits_a_packet() {
    let mut client = Client::new();
    fs::write(client.path("large"), vec![b'x'; 2 * LONGEST_PACKET]).unwrap();
    let file = client.open("large", READ);
    assert_eq!(
        client.read(&file, 1, u32::MAX),
        Answer::Data(vec![b'x'; LONGEST_READ])
    );
}

#[test]
fn files_beyond_4_gib() {
    const FAR: u64 = 5 << 30;
    let mut client = Client::new();
    let file = client.open("sparse", READ | WRITE | CREATE);
    assert_eq!(client.write(&file, FAR, b"far"), ok());
    assert_eq!(client.read(&file, FAR, 10), Answer::Data(b"far".into()));
    let stat = client.ask(request::FSTAT, &[text(&file)]);
    assert_eq!(attributes(stat).size, FAR + 3);
    for offset in [u64::MAX, 1 << 63] {
        let invalid = status(Code::BadMessage, "Invalid argument");
        assert_eq!(client.read(&file, offset, 1), invalid);
        assert_eq!(client.write(&file, offset, b"x"), invalid);
    }
}

#[test]
fn flags_of_open() {
    let mut client = Client::new();
    fs::write(client.path("old"), "old content").unwrap();
    let old = client.at("old");
    let fields = [
        text(&old),
        Number(WRITE | CREATE | EXCLUSIVE),
        Raw(&NO_ATTRIBUTES),
    ];
    assert_eq!(
        client.ask(request::OPEN, &fields),
        status(Code::Failure, "File exists")
    );
    let file = client.open("old", WRITE | APPEND);
    // The offset counts for nothing.
    assert_eq!(client.write(&file, 0, b"!"), ok());
    assert_eq!(fs::read(client.path("old")).unwrap(), b"old content!");
    assert_eq!(
        client.read(&file, 0, 1),
        status(Code::NoSuchFile, "Bad file descriptor")
    );
    client.open("old", WRITE | CREATE | TRUNCATE);
    assert_eq!(fs::read(client.path("old")).unwrap(), b"");
    let missing = client.at("missing/file");
    let fields = [text(&missing), Number(READ), Raw(&NO_ATTRIBUTES)];
    assert_eq!(
        client.ask(request::OPEN, &fields),
        status(Code::NoSuchFile, "No such file or directory")
    );
}

#[test]
fn modes_of_new_files_and_directories() {
    let mut client = Client::new();
    let mode = b"\0\0\0\x04\0\0\x81\xc0"; // A regular file, 0700
    let file = client.at("file");
    let fields = [text(&file), Number(WRITE | CREATE), Raw(mode)];
    handle(client.ask(request::OPEN, &fields));
    let directory = client.at("directory");
    let fields = [text(&directory), Raw(mode)];
    assert_eq!(client.ask(request::MKDIR, &fields), ok());
    for name in ["file", "directory"] {
        let mode = client.path(name).metadata().unwrap().mode();
        assert_eq!(mode & 0o7777, 0o700);
    }
    assert_eq!(
        client.ask(request::MKDIR, &fields),
        status(Code::Failure, "File exists")
    );
}

#[test]
fn neither_a_fifo_nor_a_full_device_holds_the_server() {
    let mut client = Client::new();
    let fifo = client.path("fifo");
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let reader = client.open("fifo", READ);
    let illegal = status(Code::Failure, "Illegal seek");
    assert_eq!(client.read(&reader, 0, 1), illegal);
    let writer = client.open("fifo", WRITE);
    assert_eq!(client.write(&writer, 0, b"x"), illegal);
    let fields = [text("/dev/full"), Number(WRITE), Raw(&NO_ATTRIBUTES)];
    let full = handle(client.ask(request::OPEN, &fields));
    assert_eq!(
        client.write(&full, 0, b"x"),
        status(Code::Failure, "No space left on device")
    );
    // The session goes on.
    client.close(&full);
}

#[test]
fn handles_are_bounded() {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum;
    setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();
    let mut client = Client::new();
    let null = [text("/dev/null"), Number(READ), Raw(&NO_ATTRIBUTES)];
    let handles: Vec<_> = (0..MOST_HANDLES)
        .map(|_| handle(client.ask(request::OPEN, &null)))
        .collect();
    let full = status(Code::Failure, "Too many open handles");
    assert_eq!(client.ask(request::OPEN, &null), full);
    assert_eq!(client.ask(request::OPENDIR, &[text("/")]), full);
    // What cannot be opened is not created either.
    let new = client.at("new");
    let fields = [text(&new), Number(WRITE | CREATE), Raw(&NO_ATTRIBUTES)];
    assert_eq!(client.ask(request::OPEN, &fields), full);
    assert!(!client.path("new").exists());
    client.close(&handles[500]);
    handle(client.ask(request::OPEN, &null));
    assert_eq!(client.ask(request::OPEN, &null), full);
}

#[test]
fn attributes_are_shown() {
    let mut client = Client::new();
    fs::write(client.path("file"), "12345").unwrap();
    symlink("file", client.path("link")).unwrap();
    let (file, link) = (client.at("file"), client.at("link"));
    let real = client.path("file").metadata().unwrap();
    let expected = Shown {
        size: 5,
        uid: real.uid(),
        gid: real.gid(),
        mode: real.mode(),
        times: (
            u32::try_from(real.atime()).unwrap(),
            u32::try_from(real.mtime()).unwrap(),
        ),
    };
    for path in [&file, &link] {
        let answer = client.ask(request::STAT, &[text(path)]);
        assert_eq!(attributes(answer), expected);
    }
    let shown = attributes(client.ask(request::LSTAT, &[text(&link)]));
    assert_eq!(shown.mode & 0o170_000, 0o120_000);
    let handle = client.open("file", READ);
    let answer = client.ask(request::FSTAT, &[text(&handle)]);
    assert_eq!(attributes(answer), expected);
    let missing = client.at("missing");
    for kind in [request::STAT, request::LSTAT] {
        assert_eq!(
            client.ask(kind, &[text(&missing)]),
            status(Code::NoSuchFile, "No such file or directory")
        );
    }
    assert_eq!(
        client.ask(request::FSTAT, &[text("?")]),
        status(Code::Failure, NO_SUCH_HANDLE)
    );
}

#[test]
fn attributes_are_set() {
    let mut client = Client::new();
    for name in ["one", "other"] {
        fs::write(client.path(name), "12345").unwrap();
    }
    let own = fs::metadata(client.path("one")).unwrap();
    let mut all = Vec::new();
    all.put_u32(0xf);
    all.put_u64(3);
    all.put_u32(own.uid());
    all.put_u32(u32::MAX); // The group stays.
    all.put_u32(0o177_640);
    all.put_u32(1_000_000_000);
    all.put_u32(3_000_000_000);
    let one = client.at("one");
    assert_eq!(client.ask(request::SETSTAT, &[text(&one), Raw(&all)]), ok());
    let handle = client.open("other", WRITE);
    let fields = [text(&handle), Raw(&all)];
    assert_eq!(client.ask(request::FSETSTAT, &fields), ok());
    for name in ["one", "other"] {
        let now = fs::metadata(client.path(name)).unwrap();
        assert_eq!((now.size(), now.mode() & 0o7777), (3, 0o7640));
        assert_eq!((now.uid(), now.gid()), (own.uid(), own.gid()));
        assert_eq!((now.atime(), now.mtime()), (1_000_000_000, 3_000_000_000));
    }
    let missing = client.at("missing");
    let absent = status(Code::NoSuchFile, "No such file or directory");
    let fields = [text(&missing), Raw(&all)];
    assert_eq!(client.ask(request::SETSTAT, &fields), absent);
    let unknown = status(Code::Failure, NO_SUCH_HANDLE);
    let fields = [text("?"), Raw(&all)];
    assert_eq!(client.ask(request::FSETSTAT, &fields), unknown);
    // Nothing to set is fine.
    let fields = [text(&one), Raw(&NO_ATTRIBUTES)];
    assert_eq!(client.ask(request::SETSTAT, &fields), ok());
}

#[test]
fn one_part_that_cannot_be_set_does_not_keep_the_others_from_it() {
    let mut client = Client::new();
    let mut attributes = Vec::new();
    attributes.put_u32(0x5);
    attributes.put_u64(1);
    attributes.put_u32(0o711);
    let path = client.at("");
    let fields = [text(&path), Raw(&attributes)];
    assert_eq!(
        client.ask(request::SETSTAT, &fields),
        status(Code::Failure, "Is a directory")
    );
    assert_eq!(fs::metadata(client.path("")).unwrap().mode() & 0o777, 0o711);
}

#[test]
fn a_directory_is_listed_like_ls() {
    let mut client = Client::new();
    let odd: &[u8] = b"a\n\"b\xff'";
    fs::write(client.path("").join(OsStr::from_bytes(odd)), "123").unwrap();
    symlink("nowhere", client.path("dangling")).unwrap();
    let directory = client.at("");
    let handle = handle(client.ask(request::OPENDIR, &[text(&directory)]));
    let entries = names(client.ask(request::READDIR, &[text(&handle)]));
    let found: BTreeSet<_> = entries.iter().map(|e| e.name.as_slice()).collect();
    assert_eq!(found, BTreeSet::from([&b"."[..], b"..", b"dangling", odd]));
    let own = fs::metadata(client.path("")).unwrap();
    let entry = entries.iter().find(|entry| entry.name == odd).unwrap();
    let shown = entry.attributes.as_ref().unwrap();
    assert_eq!((shown.size, shown.uid), (3, own.uid()));
    assert!(entry.line.ends_with(&[b" ", odd].concat()));
    if own.uid() == 0 && own.gid() == 0 {
        // The accounts of these tests.
        let line = String::from_utf8_lossy(&entry.line).into_owned();
        assert!(line.contains(" 1 somebody everybody        3 "), "{line}");
    }
    assert_eq!(
        client.ask(request::READDIR, &[text(&handle)]),
        status(Code::Eof, "End of file")
    );
    client.close(&handle);
    assert_eq!(
        client.ask(request::READDIR, &[text(&handle)]),
        status(Code::Failure, NO_SUCH_HANDLE)
    );
}

#[test]
fn a_large_directory_comes_in_bounded_replies() {
    let mut client = Client::new();
    let name = |number: usize| format!("{number:0>250}");
    for number in 0..600 {
        fs::write(client.path(&name(number)), "").unwrap();
    }
    let directory = client.at("");
    let handle = handle(client.ask(request::OPENDIR, &[text(&directory)]));
    let mut found = BTreeSet::new();
    loop {
        match client.ask(request::READDIR, &[text(&handle)]) {
            Answer::Names(entries) => {
                assert!(entries.len() <= MOST_ENTRIES);
                let bytes: usize = entries.iter().map(|e| e.name.len() + e.line.len()).sum();
                assert!(bytes <= 34_000);
                found.extend(entries.into_iter().map(|entry| entry.name));
            }
            end => {
                assert_eq!(end, status(Code::Eof, "End of file"));
                break;
            }
        }
    }
    assert_eq!(found.len(), 600 + 2);
}

#[test]
fn directories_and_files_are_told_apart() {
    let mut client = Client::new();
    fs::write(client.path("file"), "").unwrap();
    let (file, directory, missing) = (client.at("file"), client.at(""), client.at("missing"));
    assert_eq!(
        client.ask(request::OPENDIR, &[text(&file)]),
        status(Code::NoSuchFile, "Not a directory")
    );
    assert_eq!(
        client.ask(request::OPENDIR, &[text(&missing)]),
        status(Code::NoSuchFile, "No such file or directory")
    );
    let file = client.open("file", READ);
    assert_eq!(
        client.ask(request::READDIR, &[text(&file)]),
        status(Code::Failure, "The handle is a file's")
    );
    let directory = handle(client.ask(request::OPENDIR, &[text(&directory)]));
    assert_eq!(
        client.read(&directory, 0, 1),
        status(Code::Failure, "The handle is a directory's")
    );
    attributes(client.ask(request::FSTAT, &[text(&directory)]));
}

#[test]
fn files_and_directories_are_removed() {
    let mut client = Client::new();
    fs::write(client.path("file"), "").unwrap();
    fs::create_dir(client.path("directory")).unwrap();
    fs::write(client.path("directory/file"), "").unwrap();
    let (file, directory) = (client.at("file"), client.at("directory"));
    let inner = client.at("directory/file");
    let cases: [(u8, &[u8], Answer); 6] = [
        (
            request::REMOVE,
            &directory,
            status(Code::Failure, "Is a directory"),
        ),
        (
            request::RMDIR,
            &file,
            status(Code::NoSuchFile, "Not a directory"),
        ),
        (
            request::RMDIR,
            &directory,
            status(Code::Failure, "Directory not empty"),
        ),
        (request::REMOVE, &file, ok()),
        (request::REMOVE, &inner, ok()),
        (request::RMDIR, &directory, ok()),
    ];
    for (kind, path, expected) in cases {
        assert_eq!(client.ask(kind, &[text(path)]), expected);
    }
    assert!(!client.path("file").exists() && !client.path("directory").exists());
    assert_eq!(
        client.ask(request::REMOVE, &[text(&file)]),
        status(Code::NoSuchFile, "No such file or directory")
    );
}

#[test]
fn a_rename_overwrites_nothing() {
    let mut client = Client::new();
    for name in ["one", "other"] {
        fs::write(client.path(name), name).unwrap();
        fs::create_dir(client.path(&format!("{name}-directory"))).unwrap();
    }
    symlink("nowhere", client.path("link")).unwrap();
    let exists = || status(Code::Failure, "File exists");
    for (old, new, expected) in [
        ("one", "other", exists()),
        ("one", "link", exists()),
        ("one", "one", exists()),
        ("one-directory", "other-directory", exists()),
        ("one", "new", ok()),
        ("one-directory", "new-directory", ok()),
        ("link", "new-link", ok()),
        (
            "one",
            "newer",
            status(Code::NoSuchFile, "No such file or directory"),
        ),
    ] {
        let (old, new) = (client.at(old), client.at(new));
        let answer = client.ask(request::RENAME, &[text(&old), text(&new)]);
        assert_eq!(answer, expected);
    }
    assert_eq!(fs::read(client.path("other")).unwrap(), b"other");
    assert_eq!(fs::read(client.path("new")).unwrap(), b"one");
    assert!(client.path("new-directory").is_dir());
    assert!(client.path("new-link").is_symlink());
}

#[test]
fn a_rename_overwrites_nothing_without_the_kernels_help_either() {
    let client = Client::new();
    for name in ["one", "other"] {
        fs::write(client.path(name), name).unwrap();
        fs::create_dir(client.path(&format!("{name}-directory"))).unwrap();
    }
    symlink("nowhere", client.path("link")).unwrap();
    let rename = |old: &str, new: &str| {
        super::super::server::rename_in_two_steps(&client.at(old), &client.at(new))
    };
    use rustix::io::Errno;
    assert_eq!(rename("one", "other"), Err(Errno::EXIST));
    assert_eq!(rename("one", "link"), Err(Errno::EXIST));
    assert_eq!(
        rename("one-directory", "other-directory"),
        Err(Errno::EXIST)
    );
    assert_eq!(rename("link", "one"), Err(Errno::EXIST));
    assert_eq!(rename("missing", "new"), Err(Errno::NOENT));
    assert_eq!(rename("one", "new"), Ok(()));
    assert_eq!(rename("one-directory", "new-directory"), Ok(()));
    assert_eq!(rename("link", "new-link"), Ok(()));
    assert_eq!(fs::read(client.path("new")).unwrap(), b"one");
    assert!(!client.path("one").exists() && client.path("new-directory").is_dir());
}

#[test]
fn the_target_of_a_symlink_comes_first() {
    let mut client = Client::new();
    let link = client.at("link");
    let fields = [text(b"some/\xfftarget"), text(&link)];
    assert_eq!(client.ask(request::SYMLINK, &fields), ok());
    assert_eq!(
        client.ask(request::READLINK, &[text(&link)]),
        path(b"some/\xfftarget")
    );
    assert_eq!(
        client.ask(request::SYMLINK, &fields),
        status(Code::Failure, "File exists")
    );
    let directory = client.at("");
    assert_eq!(
        client.ask(request::READLINK, &[text(&directory)]),
        status(Code::BadMessage, "Invalid argument")
    );
}

#[test]
fn real_paths() {
    let mut client = Client::new();
    let real = client.path("").canonicalize().unwrap();
    let real = real.as_os_str().as_bytes();
    let given = client.at("./new//..");
    assert_eq!(
        client.ask(request::REALPATH, &[text(&given)]),
        status(Code::NoSuchFile, "No such file or directory")
    );
    let given = client.at(".//new");
    let expected = [real, b"/new"].concat();
    let answer = client.ask(request::REALPATH, &[text(&given)]);
    assert_eq!(answer, path(&expected));
    let here = std::env::current_dir().unwrap();
    assert_eq!(
        client.ask(request::REALPATH, &[text("")]),
        path(here.as_os_str().as_bytes())
    );
}

#[test]
fn errors_of_permission() {
    let mut client = Client::new();
    let file = client.path("file");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o0)).unwrap();
    let path = client.at("file");
    let fields = [text(&path), Number(READ), Raw(&NO_ATTRIBUTES)];
    let answer = client.ask(request::OPEN, &fields);
    // The superuser may do anything.
    match rustix::process::getuid().is_root() {
        true => _ = handle(answer),
        false => assert_eq!(answer, status(Code::PermissionDenied, "Permission denied")),
    }
}
