//! Packets of sftp, each type and each extension, on real files. A malformed one is answered with a
//! status and the session goes on; bytes behind the last field mean nothing. What ends a session is a
//! length that cannot be.

use std::env;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use ssh_proto::wire::{Put as _, Reader};
use sshd::sftp::{Context, Ended, Replies, Server, serve};
use tempfile::TempDir;
use tokio::runtime::Builder;

use crate::sample::{End, Law, Sample, report, sweep};

const INIT: &[u8] = &[1, 0, 0, 0, 3];
const STATUS: u8 = 101;
const EXTENDED: u8 = 200;

/// The id of all requests.
const ID: u32 = 77;

/// Attributes with everything: size, permissions, times, and one extension.
const ATTRIBUTES: &[u8] = b"\x80\0\0\x0d\0\0\0\0\0\0\0\x02\0\0\x01\xa4\0\0\0\x01\0\0\0\x01\
    \0\0\0\x01\0\0\0\x01n\0\0\0\x01v";
const LAYOUT: &str = "uquuunss";

/// A server that has seen INIT, a directory of its own, and handles in it.
struct Rig {
    server: Server,
    directory: TempDir,
    /// To read and write.
    file: Vec<u8>,
    /// To write to.
    target: Vec<u8>,
    /// Of a directory.
    list: Vec<u8>,
}

enum Field<'a> {
    Text(&'a [u8]),
    Number(u32),
    Long(u64),
    Raw(&'a [u8]),
}
use Field::{Long, Number, Raw, Text};

fn packet(kind: u8, fields: &[Field<'_>]) -> Vec<u8> {
    let mut packet = vec![kind];
    packet.put_u32(ID);
    for field in fields {
        match field {
            Text(value) => packet.put_string(value),
            Number(value) => packet.put_u32(*value),
            Long(value) => packet.put_u64(*value),
            Raw(value) => packet.extend_from_slice(value),
        }
    }
    packet
}

impl Rig {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // A path whose length is wrong may be empty, which is the working directory: not the sources.
        env::set_current_dir(env::temp_dir()).unwrap();
        for name in ["file", "target", "other"] {
            fs::write(directory.path().join(name), "0123456789").unwrap();
        }
        let mut rig = Self {
            server: Server::new(Context::default()),
            directory,
            file: Vec::new(),
            target: Vec::new(),
            list: Vec::new(),
        };
        rig.ask(INIT);
        rig.file = rig.open("file");
        rig.target = rig.open("target");
        rig.list = rig.handle(&packet(11, &[Text(&rig.path(""))]));
        rig
    }

    fn path(&self, name: &str) -> Vec<u8> {
        self.directory
            .path()
            .join(name)
            .as_os_str()
            .as_bytes()
            .to_vec()
    }

    fn open(&mut self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        self.handle(&packet(3, &[Text(&path), Number(3), Number(0)]))
    }

    fn handle(&mut self, request: &[u8]) -> Vec<u8> {
        let reply = self.ask(request);
        Reader::new(&reply[9..]).string().unwrap().to_vec()
    }

    /// The reply to a packet, with its length in front.
    fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        let mut replies = Replies::default();
        self.server.handle(request, &mut replies);
        replies.as_bytes().to_vec()
    }

    /// One reply, which says that the request is malformed or what became of it.
    fn end(&mut self, request: &[u8]) -> End {
        let reply = self.ask(request);
        let mut reader = Reader::new(&reply);
        let packet = reader.string().unwrap();
        reader.finish().unwrap();
        let mut fields = Reader::new(packet);
        let kind = fields.u8().unwrap();
        let id = fields.u32().unwrap();
        let malformed =
            kind == STATUS && fields.rest().starts_with(b"\0\0\0\x05\0\0\0\x11Malformed");
        assert!(malformed || id == ID || request.len() == 5, "{packet:?}");
        if malformed { End::Error } else { End::Accepted }
    }

    /// Requests that do nothing that others would miss.
    fn requests(&self) -> Vec<Sample> {
        let (file, other, new) = (self.path("file"), self.path("other"), self.path("new"));
        let root = self.path("");
        let plain: &[(&str, u8, &str, &[Field<'_>])] = &[
            ("OPEN", 3, "su*", &[Text(&file), Number(3), Raw(ATTRIBUTES)]),
            ("CLOSE", 4, "s", &[Text(b"no such")]),
            ("READ", 5, "squ", &[Text(&self.file), Long(0), Number(10)]),
            (
                "WRITE",
                6,
                "sqs",
                &[Text(&self.file), Long(0), Text(b"data")],
            ),
            ("LSTAT", 7, "s", &[Text(&file)]),
            ("FSTAT", 8, "s", &[Text(&self.file)]),
            ("SETSTAT", 9, "s*", &[Text(&other), Raw(ATTRIBUTES)]),
            ("FSETSTAT", 10, "s*", &[Text(&self.target), Raw(ATTRIBUTES)]),
            ("OPENDIR", 11, "s", &[Text(&root)]),
            ("READDIR", 12, "s", &[Text(&self.list)]),
            ("MKDIR", 14, "s*", &[Text(&new), Raw(ATTRIBUTES)]),
            ("RMDIR", 15, "s", &[Text(&new)]),
            ("REALPATH", 16, "s", &[Text(&file)]),
            ("STAT", 17, "s", &[Text(&file)]),
            ("SYMLINK", 20, "ss", &[Text(&file), Text(&new)]),
            ("READLINK", 19, "s", &[Text(&new)]),
            ("RENAME", 18, "ss", &[Text(&new), Text(&new)]),
            ("REMOVE", 13, "s", &[Text(&new)]),
        ];
        let extended: &[(&str, &str, &[Field<'_>])] = &[
            (
                "posix-rename@openssh.com",
                "ss",
                &[Text(&file), Text(&file)],
            ),
            ("statvfs@openssh.com", "s", &[Text(&file)]),
            ("fstatvfs@openssh.com", "s", &[Text(&self.file)]),
            ("hardlink@openssh.com", "ss", &[Text(&file), Text(&file)]),
            ("fsync@openssh.com", "s", &[Text(&self.file)]),
            (
                "lsetstat@openssh.com",
                "s*",
                &[Text(&other), Raw(ATTRIBUTES)],
            ),
            ("limits@openssh.com", "", &[]),
            ("expand-path@openssh.com", "s", &[Text(&file)]),
            (
                "copy-data",
                "sqqsq",
                &[
                    Text(&self.file),
                    Long(0),
                    Long(5),
                    Text(&self.target),
                    Long(0),
                ],
            ),
            ("home-directory", "s", &[Text(b"root")]),
            (
                "users-groups-by-id@openssh.com",
                "(u)(u)",
                &[Text(&[0; 4]), Text(&[0; 4])],
            ),
        ];
        let mut samples = Vec::new();
        for (name, kind, layout, fields) in plain {
            let layout = format!("bu{}", layout.replace('*', LAYOUT));
            samples.push(Sample::new(name, &layout, packet(*kind, fields)));
        }
        for (name, layout, fields) in extended {
            let mut request = packet(EXTENDED, &[Text(name.as_bytes())]);
            request.extend_from_slice(&packet(0, fields)[5..]);
            let layout = format!("bus{}", layout.replace('*', LAYOUT));
            samples.push(Sample::new(name, &layout, request));
        }
        for sample in &mut samples {
            sample.law = Law::OpenFrom(sample.bytes.len());
        }
        // Only the name of an unknown extension matters.
        let unknown = packet(EXTENDED, &[Text(b"no-such@example.com"), Text(b"x")]);
        samples.push(Sample::new("an unknown extension", "bus|s", unknown));
        samples
    }
}

#[test]
fn requests() {
    let mut rig = Rig::new();
    let samples = rig.requests();
    let cases = sweep(&samples, |_| (), |(), bytes| rig.end(bytes));
    report(cases, 1600);
}

#[test]
fn init() {
    let mut init = INIT.to_vec();
    init.put_string(b"newline@vandyke.com");
    init.put_string(b"\n");
    let samples = [Sample::new("INIT", "bu|ss", init)];
    let cases = sweep(
        &samples,
        |_| Server::new(Context::default()),
        |server, bytes| {
            let mut replies = Replies::default();
            server.handle(bytes, &mut replies);
            let version = replies.as_bytes().get(4) == Some(&2);
            version.then_some(()).ok_or(()).into()
        },
    );
    report(cases, 45);
}

/// Behind each other, on a stream: where a length is wrong, nothing behind it can be told apart.
#[test]
fn packets_on_a_stream() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut stream = Vec::new();
    stream.put_string(INIT);
    stream.put_string(&packet(17, &[Text(b"/")]));
    stream.put_string(&packet(17, &[Text(b"/no such file")]));
    let three = Sample::new("INIT, STAT and STAT", "sss", stream);
    let boundaries: Vec<usize> = three.lengths.iter().map(|(at, _)| *at).collect();
    let mut cases = 0;
    for change in three.changes() {
        let bytes = three.with(change);
        // Whole packets are a session, be they fewer.
        let whole = bytes.len() < three.bytes.len() && boundaries.contains(&bytes.len());
        let law = if whole { Law::Stream } else { three.law };
        let case = three.clone().under(law);
        case.check(change, |bytes| {
            let mut output = Vec::new();
            match runtime.block_on(serve(bytes, &mut output, Context::default())) {
                Ended::Done => End::Accepted,
                Ended::Breach(_) => End::Error,
                ended => panic!("{ended}"),
            }
        });
        cases += 1;
    }
    report(cases, 60);
}
