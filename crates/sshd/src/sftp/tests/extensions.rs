//! The requests of OpenSSH's PROTOCOL file.

use std::os::unix::fs::{MetadataExt as _, symlink};

use super::*;

const READ: u32 = 0x1;
const WRITE: u32 = 0x2;
const APPEND: u32 = 0x4;
const CREATE: u32 = 0x8;

fn extended(answer: Answer) -> Vec<u8> {
    match answer {
        Answer::Extended(bytes) => bytes,
        other => panic!("no extended reply: {other:?}"),
    }
}

fn numbers(answer: Answer) -> Vec<u64> {
    let bytes = extended(answer);
    let (numbers, rest) = bytes.as_chunks();
    assert!(rest.is_empty());
    numbers.iter().map(|n| u64::from_be_bytes(*n)).collect()
}

#[test]
fn a_posix_rename_overwrites() {
    let mut client = Client::new();
    for name in ["one", "other"] {
        fs::write(client.path(name), name).unwrap();
    }
    let (one, other) = (client.at("one"), client.at("other"));
    let fields = [text(&one), text(&other)];
    assert_eq!(client.extended("posix-rename@openssh.com", &fields), ok());
    assert_eq!(fs::read(client.path("other")).unwrap(), b"one");
    assert_eq!(
        client.extended("posix-rename@openssh.com", &fields),
        status(Code::NoSuchFile, "No such file or directory")
    );
}

#[test]
fn a_hard_link() {
    let mut client = Client::new();
    fs::write(client.path("one"), "").unwrap();
    let (one, other) = (client.at("one"), client.at("other"));
    let fields = [text(&one), text(&other)];
    assert_eq!(client.extended("hardlink@openssh.com", &fields), ok());
    let inode = |name| fs::metadata(client.path(name)).unwrap().ino();
    assert_eq!(inode("one"), inode("other"));
    assert_eq!(
        client.extended("hardlink@openssh.com", &fields),
        status(Code::Failure, "File exists")
    );
}

#[test]
fn file_systems() {
    let mut client = Client::new();
    fs::write(client.path("file"), "").unwrap();
    let (path, handle) = (client.at("file"), client.open("file", READ));
    let real = rustix::fs::statvfs(&path[..]).unwrap();
    let by_path = numbers(client.extended("statvfs@openssh.com", &[text(&path)]));
    let by_handle = numbers(client.extended("fstatvfs@openssh.com", &[text(&handle)]));
    for numbers in [&by_path, &by_handle] {
        assert_eq!(numbers.len(), 11);
        assert_eq!(numbers[..3], [real.f_bsize, real.f_frsize, real.f_blocks]);
        assert_eq!(numbers[8], real.f_fsid);
        assert_eq!(numbers[10], real.f_namemax);
    }
    let proc = numbers(client.extended("statvfs@openssh.com", &[text("/proc")]));
    assert!(proc[9] <= 3);
    let missing = client.at("missing");
    assert_eq!(
        client.extended("statvfs@openssh.com", &[text(&missing)]),
        status(Code::NoSuchFile, "No such file or directory")
    );
    assert_eq!(
        client.extended("fstatvfs@openssh.com", &[text("?")]),
        status(Code::Failure, "No such handle")
    );
}

#[test]
fn fsync() {
    let mut client = Client::new();
    let file = client.open("file", WRITE | CREATE);
    assert_eq!(client.extended("fsync@openssh.com", &[text(&file)]), ok());
    assert_eq!(
        client.extended("fsync@openssh.com", &[text("?")]),
        status(Code::Failure, "No such handle")
    );
}

#[test]
fn attributes_of_links() {
    let mut client = Client::new();
    fs::write(client.path("file"), "12345").unwrap();
    symlink("file", client.path("link")).unwrap();
    let (file, link) = (client.at("file"), client.at("link"));
    let before = fs::metadata(client.path("file")).unwrap();
    let times = b"\0\0\0\x08\0\0\0\x01\0\0\0\x02";
    let fields = [text(&link), Raw(times)];
    assert_eq!(client.extended("lsetstat@openssh.com", &fields), ok());
    let changed = fs::symlink_metadata(client.path("link")).unwrap();
    assert_eq!((changed.atime(), changed.mtime()), (1, 2));
    let after = fs::metadata(client.path("file")).unwrap();
    assert_eq!(after.mtime(), before.mtime());

    let owner = [0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let fields = [text(&link), Raw(&owner)];
    assert_eq!(client.extended("lsetstat@openssh.com", &fields), ok());

    // A symlink has no mode, what is none has.
    let mode = b"\0\0\0\x04\0\0\x01\xc0";
    assert_eq!(
        client.extended("lsetstat@openssh.com", &[text(&link), Raw(mode)]),
        status(Code::Failure, "Operation not supported")
    );
    let fields = [text(&file), Raw(mode)];
    assert_eq!(client.extended("lsetstat@openssh.com", &fields), ok());
    let after = fs::metadata(client.path("file")).unwrap();
    assert_eq!(after.mode() & 0o7777, 0o700);

    let size = b"\0\0\0\x01\0\0\0\0\0\0\0\x01";
    assert_eq!(
        client.extended("lsetstat@openssh.com", &[text(&file), Raw(size)]),
        status(Code::BadMessage, "A symlink has no size to set")
    );
    assert_eq!(fs::metadata(client.path("file")).unwrap().size(), 5);
}

#[test]
fn limits_are_those_that_are_kept() {
    let mut client = Client::new();
    let limits = numbers(client.extended("limits@openssh.com", &[]));
    assert_eq!(limits[..3], [262_144, 261_120, 261_120]);
    assert!(limits[3] > 0 && limits[3] <= 1024);
}

#[test]
fn paths_are_expanded() {
    let mut client = Client::new();
    client.server = {
        let home = client.at("");
        let context = Context {
            home: std::ffi::OsStr::from_bytes(&home).into(),
            accounts: Sources {
                passwd: client.path("passwd"),
                group: client.path("group"),
            },
        };
        fs::write(client.path("passwd"), "user:x:1:1::/usr:\n").unwrap();
        Server::new(context)
    };
    client.raw(&packet(request::INIT, VERSION, &[]));
    let home = client.path("").canonicalize().unwrap();
    let home = home.as_os_str().as_bytes();
    let here = std::env::current_dir().unwrap();
    for (given, expected) in [
        ("~", path(home)),
        ("~/", path(home)),
        ("~/new", path(&[home, b"/new"].concat())),
        ("~user", path(b"/usr")),
        ("~user/../usr/./", path(b"/usr")),
        ("/usr/..", path(b"/")),
        ("", path(here.as_os_str().as_bytes())),
        ("~stranger", status(Code::NoSuchFile, "no such user")),
    ] {
        let answer = client.extended("expand-path@openssh.com", &[text(given)]);
        assert_eq!(answer, expected, "{given}");
    }
}

#[test]
fn homes() {
    let mut client = Client::new();
    let mut home = |user| client.extended("home-directory", &[text(user)]);
    assert_eq!(home(""), path(b"/mine"));
    assert_eq!(home("somebody"), path(b"/home/somebody"));
    assert_eq!(home("stranger"), status(Code::Failure, "no such user"));
}

#[test]
fn names_of_users_and_groups() {
    let mut client = Client::new();
    const NAME: &str = "users-groups-by-id@openssh.com";
    let ids = [0, 0, 0, 0, 0, 0, 0, 9];
    let answer = client.extended(NAME, &[text(&ids), text(&ids[..4])]);
    let expected = b"\0\0\0\x10\0\0\0\x08somebody\0\0\0\0\0\0\0\x0d\0\0\0\x09everybody";
    assert_eq!(extended(answer), expected);
    let answer = client.extended(NAME, &[text(""), text("")]);
    assert_eq!(extended(answer), [0; 8]);
    let malformed = status(Code::BadMessage, "Malformed request");
    assert_eq!(
        client.extended(NAME, &[text(&ids[..5]), text("")]),
        malformed
    );
    let many = vec![0; 200 * 1024];
    assert_eq!(
        client.extended(NAME, &[text(&many), text("")]),
        status(Code::Failure, "Too many ids for one reply")
    );
}

fn copy(client: &mut Client, from: (&[u8], u64), length: u64, to: (&[u8], u64)) -> Answer {
    let fields = [
        text(from.0),
        Long(from.1),
        Long(length),
        text(to.0),
        Long(to.1),
    ];
    client.extended("copy-data", &fields)
}

#[test]
fn data_is_copied() {
    let mut client = Client::new();
    fs::write(client.path("source"), "0123456789").unwrap();
    let source = client.open("source", READ);
    let target = client.open("target", WRITE | CREATE);
    assert_eq!(copy(&mut client, (&source, 2), 3, (&target, 1)), ok());
    assert_eq!(fs::read(client.path("target")).unwrap(), b"\x00234");
    assert_eq!(copy(&mut client, (&source, 5), 0, (&target, 4)), ok());
    assert_eq!(fs::read(client.path("target")).unwrap(), b"\x0023456789");
    // A length that the source does not have.
    assert_eq!(
        copy(&mut client, (&source, 8), 5, (&target, 0)),
        status(Code::Eof, "End of file")
    );
    assert_eq!(copy(&mut client, (&source, 100), 0, (&target, 0)), ok());
    let invalid = status(Code::BadMessage, "Invalid argument");
    assert_eq!(
        copy(&mut client, (&source, u64::MAX), 1, (&target, 0)),
        invalid
    );
}

#[test]
fn data_is_copied_where_the_kernel_cannot_do_it_alone() {
    let mut client = Client::new();
    let content: Vec<u8> = (0..600_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(client.path("source"), &content).unwrap();
    fs::write(client.path("target"), "before").unwrap();
    let source = client.open("source", READ);
    let target = client.open("target", WRITE | APPEND);
    assert_eq!(copy(&mut client, (&source, 0), 0, (&target, 0)), ok());
    let copied = fs::read(client.path("target")).unwrap();
    assert!(copied.strip_prefix(b"before") == Some(&content));

    // It looks empty to copy_file_range.
    let fields = [text("/proc/version"), Number(READ), Raw(&NO_ATTRIBUTES)];
    let version = handle(client.ask(request::OPEN, &fields));
    let target = client.open("version", WRITE | CREATE);
    assert_eq!(copy(&mut client, (&version, 0), 0, (&target, 0)), ok());
    let copied = fs::read(client.path("version")).unwrap();
    assert_eq!(copied, fs::read("/proc/version").unwrap());
}

#[test]
fn data_is_not_copied_within_a_file() {
    let mut client = Client::new();
    fs::write(client.path("file"), "0123456789").unwrap();
    fs::hard_link(client.path("file"), client.path("same")).unwrap();
    let file = client.open("file", READ | WRITE);
    let same = client.open("same", WRITE);
    let refused = status(Code::Failure, "Cannot copy from a file to itself");
    assert_eq!(copy(&mut client, (&file, 0), 1, (&file, 5)), refused);
    assert_eq!(copy(&mut client, (&file, 0), 1, (&same, 5)), refused);
    let unknown = status(Code::Failure, "No such handle");
    assert_eq!(copy(&mut client, (&file, 0), 1, (b"?", 5)), unknown);
    assert_eq!(copy(&mut client, (b"?", 0), 1, (&file, 5)), unknown);
}

#[test]
fn a_copy_ends_with_its_session() {
    let mut client = Client::new();
    let fields = [text("/dev/zero"), Number(READ), Raw(&NO_ATTRIBUTES)];
    let zero = handle(client.ask(request::OPEN, &fields));
    let fields = [text("/dev/null"), Number(WRITE), Raw(&NO_ATTRIBUTES)];
    let null = handle(client.ask(request::OPEN, &fields));
    let stopped = client.server.stop_flag();
    stopped.store(true, std::sync::atomic::Ordering::Relaxed);
    // Without that it would go on for ever.
    assert_eq!(
        copy(&mut client, (&zero, 0), 0, (&null, 0)),
        status(Code::Failure, "The session has ended")
    );
}
