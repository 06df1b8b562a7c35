//! Requests in, replies out, on real files.

mod extensions;
mod malformed;
mod requests;

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use ssh_proto::wire::{Put as _, Reader};
use tempfile::TempDir;

use super::packet::{Code, first_packet, reply, request};
use super::*;
use crate::accounts::Sources;

pub(super) const NO_ATTRIBUTES: [u8; 4] = [0; 4];

/// A server that has seen INIT, and a directory for it.
pub(super) struct Client {
    pub(super) server: Server,
    replies: Replies,
    directory: TempDir,
    id: u32,
}

/// A field of a request.
pub(super) enum Field<'a> {
    Number(u32),
    Long(u64),
    String(&'a [u8]),
    Raw(&'a [u8]),
}
pub(super) use Field::{Long, Number, Raw};

pub(super) fn text(value: &(impl AsRef<[u8]> + ?Sized)) -> Field<'_> {
    Field::String(value.as_ref())
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Status(u32, String),
    Handle(Vec<u8>),
    Data(Vec<u8>),
    Names(Vec<Entry>),
    Attributes(Shown),
    Extended(Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) line: Vec<u8>,
    pub(super) attributes: Option<Shown>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) size: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) times: (u32, u32),
}

pub(super) fn packet(kind: u8, id: u32, fields: &[Field<'_>]) -> Vec<u8> {
    let mut packet = vec![kind];
    packet.put_u32(id);
    for field in fields {
        match field {
            Number(value) => packet.put_u32(*value),
            Long(value) => packet.put_u64(*value),
            Field::String(value) => packet.put_string(value),
            Raw(value) => packet.extend_from_slice(value),
        }
    }
    packet
}

impl Client {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("files")).unwrap();
        let passwd = root.join("passwd");
        let group = root.join("group");
        fs::write(&passwd, "somebody:x:0:0::/home/somebody:\n").unwrap();
        fs::write(&group, "everybody:x:0:\n").unwrap();
        let mut client = Self {
            server: Server::new(Context {
                home: "/mine".into(),
                accounts: Sources { passwd, group },
            }),
            replies: Replies::default(),
            directory,
            id: 0,
        };
        // INIT has the version where others have the id.
        client.raw(&packet(request::INIT, VERSION, &[]));
        client
    }

    /// The path of a file of this test's.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("files").join(name)
    }

    /// The same, as it goes over the wire.
    pub(super) fn at(&self, name: &str) -> Vec<u8> {
        self.path(name).as_os_str().as_bytes().to_vec()
    }

    /// Sends a packet as it is; the one reply to it.
    pub(super) fn raw(&mut self, packet: &[u8]) -> Vec<u8> {
        self.replies.clear();
        self.server.handle(packet, &mut self.replies);
        let reply = first_packet(self.replies.as_bytes()).unwrap();
        assert_eq!(self.replies.len(), 4 + reply.len(), "one reply each");
        reply.to_vec()
    }

    pub(super) fn ask(&mut self, kind: u8, fields: &[Field<'_>]) -> Answer {
        self.id += 1;
        let reply = self.raw(&packet(kind, self.id, fields));
        let (id, answer) = parse(&reply);
        assert_eq!(id, self.id);
        answer
    }

    pub(super) fn extended(&mut self, name: &str, fields: &[Field<'_>]) -> Answer {
        let mut all = vec![text(name)];
        all.extend(fields.iter().map(|field| match field {
            Number(value) => Number(*value),
            Long(value) => Long(*value),
            Field::String(value) => Field::String(value),
            Raw(value) => Raw(value),
        }));
        self.ask(request::EXTENDED, &all)
    }

    pub(super) fn open(&mut self, name: &str, pflags: u32) -> Vec<u8> {
        let path = self.at(name);
        let fields = [text(&path), Number(pflags), Raw(&NO_ATTRIBUTES)];
        handle(self.ask(request::OPEN, &fields))
    }

    pub(super) fn close(&mut self, handle: &[u8]) {
        assert_eq!(self.ask(request::CLOSE, &[text(handle)]), ok());
    }

    pub(super) fn write(&mut self, handle: &[u8], offset: u64, data: &[u8]) -> Answer {
        self.ask(request::WRITE, &[text(handle), Long(offset), text(data)])
    }

    pub(super) fn read(&mut self, handle: &[u8], offset: u64, length: u32) -> Answer {
        self.ask(request::READ, &[text(handle), Long(offset), Number(length)])
    }
}

pub(super) fn handle(answer: Answer) -> Vec<u8> {
    match answer {
        Answer::Handle(handle) => handle,
        other => panic!("no handle: {other:?}"),
    }
}

pub(super) fn names(answer: Answer) -> Vec<Entry> {
    match answer {
        Answer::Names(names) => names,
        other => panic!("no names: {other:?}"),
    }
}

pub(super) fn attributes(answer: Answer) -> Shown {
    match answer {
        Answer::Attributes(attributes) => attributes,
        other => panic!("no attributes: {other:?}"),
    }
}

pub(super) fn ok() -> Answer {
    Answer::Status(0, "Success".into())
}

pub(super) fn status(code: Code, text: &str) -> Answer {
    Answer::Status(code as u32, text.into())
}

/// One path without attributes, as REALPATH and READLINK answer.
pub(super) fn path(path: &[u8]) -> Answer {
    Answer::Names(vec![Entry {
        name: path.to_vec(),
        line: path.to_vec(),
        attributes: None,
    }])
}

/// Reads a reply to its end, and its id.
pub(super) fn parse(reply: &[u8]) -> (u32, Answer) {
    let mut fields = Reader::new(reply);
    let kind = fields.u8().unwrap();
    let id = fields.u32().unwrap();
    let answer = match kind {
        reply::STATUS => {
            let code = fields.u32().unwrap();
            let text = fields.utf8().unwrap().to_owned();
            assert_eq!(fields.string().unwrap(), b"");
            Answer::Status(code, text)
        }
        reply::HANDLE => Answer::Handle(fields.string().unwrap().to_vec()),
        reply::DATA => Answer::Data(fields.string().unwrap().to_vec()),
        reply::NAME => {
            let count = fields.u32().unwrap();
            Answer::Names((0..count).map(|_| entry(&mut fields)).collect())
        }
        reply::ATTRS => Answer::Attributes(shown(&mut fields).unwrap()),
        reply::EXTENDED_REPLY => {
            let rest = fields.rest().to_vec();
            return (id, Answer::Extended(rest));
        }
        other => panic!("a reply of type {other}"),
    };
    fields.finish().unwrap();
    (id, answer)
}

fn entry(fields: &mut Reader<'_>) -> Entry {
    Entry {
        name: fields.string().unwrap().to_vec(),
        line: fields.string().unwrap().to_vec(),
        attributes: shown(fields),
    }
}

fn shown(fields: &mut Reader<'_>) -> Option<Shown> {
    match fields.u32().unwrap() {
        0 => None,
        0xf => Some(Shown {
            size: fields.u64().unwrap(),
            uid: fields.u32().unwrap(),
            gid: fields.u32().unwrap(),
            mode: fields.u32().unwrap(),
            times: (fields.u32().unwrap(), fields.u32().unwrap()),
        }),
        flags => panic!("flags {flags:x}"),
    }
}
