//! What a client should not send: each time a status, and the session goes on.

use super::*;

const MALFORMED: &str = "Malformed request";

/// One valid request of each kind. What they set or copy is nothing that others use.
fn requests(client: &mut Client) -> Vec<Vec<u8>> {
    for name in ["file", "source", "target", "sized"] {
        fs::write(client.path(name), "0123456789").unwrap();
    }
    let (file, source) = (client.open("file", 0x3), client.open("source", 0x1));
    let (target, sized) = (client.open("target", 0x2), client.open("sized", 0x2));
    let (path, other, new) = (client.at("file"), client.at("sized"), client.at("new"));
    let root = client.at("");
    let directory = handle(client.ask(request::OPENDIR, &[text(&root)]));
    let attributes = b"\x80\0\0\x0d\0\0\0\0\0\0\0\x02\0\0\x01\xa4\0\0\0\x01\0\0\0\x01\
        \0\0\0\x01\0\0\0\x01n\0\0\0\x01v";
    let short = &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3][..];
    let plain: &[(u8, &[Field<'_>])] = &[
        (request::OPEN, &[text(&path), Number(3), Raw(attributes)]),
        (request::READ, &[text(&file), Long(0), Number(10)]),
        (request::WRITE, &[text(&file), Long(0), text("data")]),
        (request::LSTAT, &[text(&path)]),
        (request::FSTAT, &[text(&file)]),
        (request::SETSTAT, &[text(&other), Raw(attributes)]),
        (request::FSETSTAT, &[text(&sized), Raw(short)]),
        (request::OPENDIR, &[text(&root)]),
        (request::READDIR, &[text(&directory)]),
        (request::MKDIR, &[text(&new), Raw(attributes)]),
        (request::RMDIR, &[text(&new)]),
        (request::REALPATH, &[text(&path)]),
        (request::STAT, &[text(&path)]),
        (request::SYMLINK, &[text(&path), text(&new)]),
        (request::READLINK, &[text(&new)]),
        (request::RENAME, &[text(&new), text(&new)]),
        (request::REMOVE, &[text(&new)]),
        (request::CLOSE, &[text("no such")]),
    ];
    let extended: &[(&str, &[Field<'_>])] = &[
        ("posix-rename@openssh.com", &[text(&path), text(&path)]),
        ("statvfs@openssh.com", &[text(&path)]),
        ("fstatvfs@openssh.com", &[text(&file)]),
        ("hardlink@openssh.com", &[text(&path), text(&path)]),
        ("fsync@openssh.com", &[text(&file)]),
        ("lsetstat@openssh.com", &[text(&other), Raw(attributes)]),
        ("limits@openssh.com", &[]),
        ("expand-path@openssh.com", &[text(&path)]),
        (
            "copy-data",
            &[text(&source), Long(0), Long(5), text(&target), Long(0)],
        ),
        ("home-directory", &[text("somebody")]),
        (
            "users-groups-by-id@openssh.com",
            &[text("\0\0\0\0"), text("\0\0\0\0")],
        ),
        ("no-such@extension", &[text("x")]),
    ];
    let plain = plain.iter().map(|(kind, fields)| packet(*kind, 77, fields));
    let extended = extended.iter().map(|(name, fields)| {
        let mut request = packet(request::EXTENDED, 77, &[text(name)]);
        request.extend_from_slice(&packet(0, 0, fields)[5..]);
        request
    });
    plain.chain(extended).collect()
}

#[test]
fn every_request_cut_short_anywhere_is_malformed() {
    let mut client = Client::new();
    for request in requests(&mut client) {
        for end in 0..request.len() {
            let reply = client.raw(&request[..end]);
            let id = if end < 5 { u32::MAX } else { 77 };
            let expected = (id, status(Code::BadMessage, MALFORMED));
            // Only the name of an unknown extension matters.
            let unknown = status(Code::OpUnsupported, "Unknown extension");
            let answer = parse(&reply);
            assert!(
                answer == expected || answer == (77, unknown),
                "{request:?} up to {end}: {answer:?}"
            );
        }
    }
}

#[test]
fn every_request_with_any_field_spoilt_is_answered() {
    let mut client = Client::new();
    for request in requests(&mut client) {
        for at in 5..=request.len().saturating_sub(4) {
            for spoilt in [0, u32::MAX, 1 << 31] {
                let mut request = request.clone();
                request[at..at + 4].copy_from_slice(&u32::to_be_bytes(spoilt));
                let (id, _) = parse(&client.raw(&request));
                assert_eq!(id, 77);
            }
        }
    }
}

#[test]
fn bytes_behind_the_last_field_mean_nothing() {
    let mut client = Client::new();
    let path = client.at("");
    let fields = [text(&path), Raw(b"more")];
    attributes(client.ask(request::STAT, &fields));
}

#[test]
fn unknown_types_are_unsupported() {
    let mut client = Client::new();
    let known = [1, 200].into_iter().chain(3..=20).collect::<Vec<u8>>();
    for kind in (0..=255).filter(|kind| !known.contains(kind)) {
        let expected = status(Code::OpUnsupported, "Unknown request");
        assert_eq!(client.ask(kind, &[]), expected);
        // The packet that kills the reference.
        let bare = (u32::MAX, status(Code::BadMessage, MALFORMED));
        assert_eq!(parse(&client.raw(&[kind])), bare);
    }
    assert_eq!(
        client.extended("md5-hash@example.org", &[]),
        status(Code::OpUnsupported, "Unknown extension")
    );
}

#[test]
fn init_comes_first_and_once() {
    let mut client = Client::new();
    let again = client.raw(&packet(request::INIT, VERSION, &[]));
    let expected = (3, status(Code::BadMessage, "INIT came before"));
    assert_eq!(parse(&again), expected);
    client.server = Server::new(Context::default());
    for kind in [request::STAT, request::EXTENDED, 0xff] {
        let expected = status(Code::BadMessage, "INIT has to come first");
        assert_eq!(client.ask(kind, &[text("/")]), expected);
    }
    let cut = (u32::MAX, status(Code::BadMessage, MALFORMED));
    assert_eq!(parse(&client.raw(&[request::INIT, 0])), cut);
    assert_eq!(
        client.raw(&packet(request::INIT, VERSION, &[]))[0],
        reply::VERSION
    );
}

#[test]
fn names_with_nul_are_refused() {
    let mut client = Client::new();
    let path = [&client.at("file")[..], b"\0more"].concat();
    let refused = status(Code::BadMessage, "Invalid argument");
    assert_eq!(client.ask(request::STAT, &[text(&path)]), refused);
    assert_eq!(client.ask(request::REMOVE, &[text(&path)]), refused);
    let fields = [text(&path), Number(0x1a), Raw(&NO_ATTRIBUTES)];
    assert_eq!(client.ask(request::OPEN, &fields), refused);
    assert!(!client.path("file").exists());
}
