//! `sftp`: requests to the subsystem (draft-ietf-secsh-filexfer-02, OpenSSH PROTOCOL section 4). Nothing
//! is written but to /dev/null.

use super::stream::Stream;
use crate::case::{Case, Expect, Stage, Step};
use crate::end::End;
use crate::payload::{plain, u32_at};
use ssh_proto::msg;
use ssh_proto::wire::Put;

const DRAFT: &str = "draft-ietf-secsh-filexfer-02 section 3";
const INIT_RULE: &str = "draft-ietf-secsh-filexfer-02 section 4";
const HANDLES: &str = "draft-ietf-secsh-filexfer-02 section 6.2";
const READING: &str = "draft-ietf-secsh-filexfer-02 section 6.4";
const EXTENDED: &str = "draft-ietf-secsh-filexfer-02 section 8";
const OPENSSH: &str = "OpenSSH PROTOCOL section 4";

const INIT: u8 = 1;
const VERSION: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const FSTAT: u8 = 8;
const SETSTAT: u8 = 9;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const STAT: u8 = 17;
const EXTENSION: u8 = 200;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const ATTRS: u8 = 105;

/// Any failure.
const FAILED: Wants = Wants::Status(&[2, 3, 4, 5, 8]);
/// SSH_FX_BAD_MESSAGE
const BAD: Wants = Wants::Status(&[5]);
/// SSH_FX_OP_UNSUPPORTED
const UNSUPPORTED: Wants = Wants::Status(&[8]);
/// A handle that there is not.
const NO_HANDLE: Wants = Wants::Status(&[2, 4, 5]);

/// What has to be in a reply, in the order of the requests.
#[derive(Clone, Copy)]
enum Wants {
    /// This type.
    Kind(u8),
    /// SSH_FXP_STATUS with one of these codes.
    Status(&'static [u32]),
}

/// The rows.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = beginnings();
    cases.extend(lengths());
    cases.extend(types());
    cases.extend(truncated());
    cases.extend(extended());
    cases.extend(handles());
    cases.extend(ranges());
    cases.extend(names());
    cases.extend(streams());
    cases
}

fn case(id: &str, title: &str, source: &'static str) -> Case {
    Case::new(format!("sftp-{id}"), title, source)
        .at(Stage::Subsystem("sftp"))
        .expects(Expect::Alive)
}

/// The subsystem ends, and nothing else does.
fn ended() -> Expect {
    Expect::answer(msg::CHANNEL_CLOSE)
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.put_string(&[&[kind], body].concat());
    packet
}

fn request(kind: u8, id: u32, body: &[u8]) -> Vec<u8> {
    packet(kind, &[&id.to_be_bytes(), body].concat())
}

fn init(version: u32) -> Vec<u8> {
    packet(INIT, &version.to_be_bytes())
}

fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_string(bytes.as_ref());
    out
}

fn stat(id: u32, path: impl AsRef<[u8]>) -> Vec<u8> {
    request(STAT, id, &string(path))
}

/// OPEN with flags and no attributes.
fn open(id: u32, path: &str, flags: u32) -> Vec<u8> {
    let numbers = [flags.to_be_bytes(), [0; 4]].concat();
    request(OPEN, id, &[string(path), numbers].concat())
}

fn read(id: u32, handle: &[u8], offset: u64, length: u32) -> Vec<u8> {
    let numbers = [&offset.to_be_bytes()[..], &length.to_be_bytes()].concat();
    request(READ, id, &[string(handle), numbers].concat())
}

fn write(id: u32, handle: &[u8], offset: u64, bytes: &[u8]) -> Vec<u8> {
    let offset = offset.to_be_bytes().to_vec();
    request(WRITE, id, &[string(handle), offset, string(bytes)].concat())
}

impl Stream<'_> {
    /// The next reply without its length.
    fn reply(&mut self) -> Result<Vec<u8>, End> {
        let length = u32_at(&self.read(4)?, 0);
        match usize::try_from(length) {
            Ok(length) if (1..=1 << 20).contains(&length) => self.read(length),
            _ => Err(End::Garbled("reply of the subsystem")),
        }
    }

    fn wants(&mut self, wants: Wants) -> Result<Vec<u8>, End> {
        let reply = self.reply()?;
        let kind = reply.first().copied().unwrap_or_default();
        let fits = match wants {
            Wants::Kind(wanted) => kind == wanted,
            Wants::Status(codes) => kind == STATUS && codes.contains(&u32_at(&reply, 5)),
        };
        if fits {
            return Ok(reply);
        }
        Err(End::Unlike(match kind {
            STATUS => format!("status {}", u32_at(&reply, 5)),
            kind => format!("type {kind}"),
        }))
    }

    fn begin(&mut self) -> Result<(), End> {
        self.write(&init(3))?;
        self.wants(Wants::Kind(VERSION)).map(drop)
    }

    /// Opens something, and gives its handle.
    fn handle(&mut self, request: &[u8]) -> Result<Vec<u8>, End> {
        self.write(request)?;
        let reply = self.wants(Wants::Kind(HANDLE))?;
        Ok(reply.get(9..).unwrap_or_default().to_vec())
    }

    /// It still answers as it should.
    fn is_well(&mut self) -> Result<(), End> {
        self.write(&stat(0x7765_6c6c, "/"))?;
        let reply = self.wants(Wants::Kind(ATTRS))?;
        match u32_at(&reply, 1) {
            0x7765_6c6c => Ok(()),
            id => Err(End::Unlike(format!("with the id {id}"))),
        }
    }
}

/// Sends bytes, and waits for these replies; then the subsystem is well.
fn talk(bytes: Vec<u8>, replies: Vec<Wants>) -> Step {
    Step::act(move |peer| {
        let mut stream = Stream::new(peer);
        stream.write(&bytes)?;
        replies
            .iter()
            .try_for_each(|it| stream.wants(*it).map(drop))?;
        stream.is_well()
    })
}

/// The same behind INIT.
fn ask(bytes: &[u8], replies: &[Wants]) -> Step {
    let replies = [&[Wants::Kind(VERSION)], replies].concat();
    talk([&init(3), bytes].concat(), replies)
}

fn send(bytes: Vec<u8>) -> Step {
    Step::act(move |peer| Stream::new(peer).write(&bytes))
}

fn beginnings() -> Vec<Case> {
    let extensions = |bytes: &[u8]| packet(INIT, &[&[0, 0, 0, 3], bytes].concat());
    let good = [string("x@example.com"), string("1")].concat();
    let mut cases: Vec<Case> = [0, 1, 2, 3, 4, 6, u32::MAX]
        .into_iter()
        .map(|version| {
            // The server answers with its own version, which is no higher.
            case(
                &format!("init-version-{version}"),
                &format!("version {version}"),
                INIT_RULE,
            )
            .sends([talk(init(version), vec![Wants::Kind(VERSION)])])
        })
        .collect();
    let rows = [
        (
            "init-extension",
            "an unknown extension in INIT",
            extensions(&good),
        ),
        (
            "init-extension-cut",
            "an extension in INIT that is cut off",
            extensions(&[0, 0, 0, 9, b'x']),
        ),
        (
            "init-extension-4g",
            "an extension of 4 GiB in INIT",
            extensions(&[255; 4]),
        ),
        (
            "init-extension-half",
            "a name without data in INIT",
            extensions(&string("x")),
        ),
    ];
    cases.extend(rows.into_iter().map(|(id, title, bytes)| {
        case(id, title, INIT_RULE).sends([talk(bytes, vec![Wants::Kind(VERSION)])])
    }));
    cases.push(
        case("init-twice", "INIT twice", INIT_RULE).sends([send([init(3), init(3)].concat())]),
    );
    cases.push(case("init-none", "a request before INIT", INIT_RULE).sends([send(stat(1, "/"))]));
    cases.push(
        case("init-short", "INIT without a version", INIT_RULE).sends([send(packet(INIT, &[]))]),
    );
    cases
}

/// Where a packet ends nobody knows any more.
fn lengths() -> Vec<Case> {
    let rows = [
        ("0", 0_u32),
        ("256k", 256 * 1024 + 1),
        ("1m", 1 << 20),
        ("2g", 1 << 31),
        ("max", u32::MAX),
    ];
    rows.into_iter()
        .map(|(id, length)| {
            let bytes = [&init(3)[..], &length.to_be_bytes(), b"\x11xxxx"].concat();
            case(
                &format!("length-{id}"),
                &format!("a packet of {length} bytes"),
                DRAFT,
            )
            .sends([send(bytes)])
            .expects(ended())
        })
        .collect()
}

/// Types that there are not, and types of replies.
fn types() -> Vec<Case> {
    let numbers = [
        0, 2, 21, 22, 100, 101, 102, 103, 104, 105, 106, 199, 201, 202, 255,
    ];
    numbers
        .into_iter()
        .map(|kind| {
            case(&format!("type-{kind}"), &format!("type {kind}"), "pkg/sftp")
                .sends([ask(&request(kind, 5, b"x"), &[UNSUPPORTED])])
        })
        .collect()
}

/// Each kind of request, cut short.
fn truncated() -> Vec<Case> {
    let mut cases: Vec<Case> = (OPEN..=20)
        .map(|kind| {
            let id = format!("cut-{kind}");
            case(&id, &format!("type {kind} without its fields"), DRAFT)
                .sends([ask(&request(kind, 5, &[]), &[BAD])])
        })
        .collect();
    cases.extend((OPEN..=20).map(|kind| {
        let id = format!("lie-{kind}");
        case(&id, &format!("type {kind} with a string of 4 GiB"), DRAFT)
            .sends([ask(&request(kind, 5, &[255, 255, 255, 255, b'x']), &[BAD])])
    }));
    cases.push(
        case("cut-id", "a request cut in its id", DRAFT)
            .sends([ask(&packet(STAT, &[0, 0]), &[BAD])]),
    );
    cases.push(
        case(
            "cut-attributes",
            "OPEN with attributes that are cut off",
            DRAFT,
        )
        .sends([ask(
            &request(
                OPEN,
                5,
                &[string("/dev/null"), vec![0, 0, 0, 1, 0, 0, 0, 0xf]].concat(),
            ),
            &[BAD],
        )]),
    );
    cases.push(
        case("extended-count", "attributes with 2^32-1 extensions", DRAFT).sends([ask(
            &request(
                OPEN,
                5,
                &[
                    string("/dev/null"),
                    vec![0, 0, 0, 1, 0x80, 0, 0, 0, 255, 255, 255, 255],
                ]
                .concat(),
            ),
            &[BAD],
        )]),
    );
    cases
}

fn extended() -> Vec<Case> {
    let known = [
        "posix-rename@openssh.com",
        "statvfs@openssh.com",
        "fstatvfs@openssh.com",
        "hardlink@openssh.com",
        "fsync@openssh.com",
        "lsetstat@openssh.com",
        "limits@openssh.com",
        "expand-path@openssh.com",
        "copy-data",
        "home-directory",
        "users-groups-by-id@openssh.com",
    ];
    let mut cases = Vec::new();
    for name in known {
        // The one that has no fields has nothing that could be cut off.
        if name == "limits@openssh.com" {
            continue;
        }
        let id = name.split('@').next().unwrap_or_default();
        cases.push(
            case(
                &format!("extended-{id}-cut"),
                &format!("{name} cut off"),
                OPENSSH,
            )
            .sends([ask(
                &request(EXTENSION, 5, &[string(name), vec![0, 0]].concat()),
                &[FAILED],
            )]),
        );
        cases.push(
            case(
                &format!("extended-{id}-4g"),
                &format!("{name} with a string of 4 GiB"),
                OPENSSH,
            )
            .sends([ask(
                &request(EXTENSION, 5, &[string(name), vec![255; 4]].concat()),
                &[FAILED],
            )]),
        );
    }
    let rows: [(&str, &str, Vec<u8>, Wants); 4] = [
        (
            "unknown",
            "an unknown extension",
            string("x@example.com"),
            UNSUPPORTED,
        ),
        (
            "empty",
            "an extension without a name",
            string(""),
            UNSUPPORTED,
        ),
        ("none", "nothing behind the id", Vec::new(), BAD),
        (
            "not-utf8",
            "a name that is not UTF-8",
            string([0xff, 0xfe]),
            UNSUPPORTED,
        ),
    ];
    cases.extend(rows.into_iter().map(|(id, title, body, wants)| {
        case(&format!("extended-{id}"), title, EXTENDED)
            .sends([ask(&request(EXTENSION, 5, &body), &[wants])])
    }));
    cases
}

fn handles() -> Vec<Case> {
    let bad: [(&str, &str, Vec<u8>); 4] = [
        (
            "unknown",
            "a handle that there is not",
            b"\0\0\0\x63".to_vec(),
        ),
        ("empty", "an empty handle", Vec::new()),
        ("257", "a handle of 257 bytes", vec![b'x'; 257]),
        ("text", "a path as handle", b"/etc/passwd".to_vec()),
    ];
    let mut cases = Vec::new();
    for (id, title, handle) in bad {
        let all = [
            request(CLOSE, 1, &string(&handle)),
            read(2, &handle, 0, 10),
            write(3, &handle, 0, b"x"),
            request(FSTAT, 4, &string(&handle)),
            request(READDIR, 5, &string(&handle)),
        ];
        cases.push(
            case(&format!("handle-{id}"), title, HANDLES)
                .sends([ask(&all.concat(), &[NO_HANDLE; 5])]),
        );
    }
    let with = |id: &str, title: &str, act: fn(&mut Stream<'_>) -> Result<(), End>| {
        case(id, title, HANDLES).sends([Step::act(move |peer| {
            let mut stream = Stream::new(peer);
            stream.begin()?;
            act(&mut stream)?;
            stream.is_well()
        })])
    };
    cases.push(with("handle-closed", "a handle that is closed", |stream| {
        let handle = stream.handle(&open(1, "/dev/null", 1))?;
        let close = request(CLOSE, 2, &string(&handle));
        stream.write(&[close.clone(), close, read(3, &handle, 0, 1)].concat())?;
        stream.wants(Wants::Status(&[0]))?;
        stream.wants(NO_HANDLE)?;
        stream.wants(NO_HANDLE).map(drop)
    }));
    cases.push(with("handle-file-readdir", "READDIR of a file", |stream| {
        let handle = stream.handle(&open(1, "/dev/null", 1))?;
        stream.write(&request(READDIR, 2, &string(handle)))?;
        stream.wants(FAILED).map(drop)
    }));
    cases.push(with(
        "handle-directory-read",
        "READ and WRITE of a directory",
        |stream| {
            let handle = stream.handle(&request(OPENDIR, 1, &string("/")))?;
            stream.write(&[read(2, &handle, 0, 1), write(3, &handle, 0, b"x")].concat())?;
            stream.wants(FAILED)?;
            stream.wants(FAILED).map(drop)
        },
    ));
    cases.push(with("handles", "2,000 handles at once", |stream| {
        for id in 0..2000 {
            stream.write(&open(id, "/dev/null", 1))?;
            if stream.reply()?.first() == Some(&STATUS) {
                return Ok(());
            }
        }
        // As many as it likes, as long as there is an end.
        Err(End::Unlike("2,000 handles".to_owned()))
    }));
    cases.push(with("ids", "one id for two requests", |stream| {
        stream.write(&[stat(9, "/"), stat(9, "/")].concat())?;
        stream.wants(Wants::Kind(ATTRS))?;
        stream.wants(Wants::Kind(ATTRS)).map(drop)
    }));
    cases
}

fn ranges() -> Vec<Case> {
    let on_null = |id: &str, title: &str, make: fn(&[u8]) -> Vec<u8>, wants: Wants| {
        case(id, title, READING).sends([Step::act(move |peer| {
            let mut stream = Stream::new(peer);
            stream.begin()?;
            let handle = stream.handle(&open(1, "/dev/null", 3))?;
            stream.write(&make(&handle))?;
            stream.wants(wants)?;
            stream.is_well()
        })])
    };
    // SSH_FX_EOF, or whatever the offset is worth.
    let none = Wants::Status(&[1, 4, 5]);
    let setstat = |path: &str, size: u64| {
        let body = [string(path), vec![0, 0, 0, 1], size.to_be_bytes().to_vec()].concat();
        request(SETSTAT, 5, &body)
    };
    vec![
        on_null(
            "read-max",
            "READ of 2^32-1 bytes",
            |it| read(2, it, 0, u32::MAX),
            none,
        ),
        on_null(
            "read-far",
            "READ at 2^64-1",
            |it| read(2, it, u64::MAX, 10),
            none,
        ),
        on_null(
            "read-half",
            "READ at 2^63",
            |it| read(2, it, 1 << 63, 10),
            none,
        ),
        on_null(
            "write-far",
            "WRITE at 2^64-1",
            |it| write(2, it, u64::MAX, b"x"),
            FAILED,
        ),
        on_null(
            "write-none",
            "WRITE of nothing",
            |it| write(2, it, 0, b""),
            Wants::Status(&[0]),
        ),
        on_null(
            "write-lie",
            "WRITE that says more than there is",
            |it| {
                request(
                    WRITE,
                    2,
                    &[string(it), vec![0; 8], vec![0, 1, 0, 0, b'x']].concat(),
                )
            },
            BAD,
        ),
        case("setstat-half", "SETSTAT of 2^63 bytes", READING)
            .sends([ask(&setstat("/dev/null", 1 << 63), &[FAILED])]),
        case("setstat-max", "SETSTAT of 2^64-1 bytes", READING)
            .sends([ask(&setstat("/dev/null", u64::MAX), &[FAILED])]),
        case("open-no-flags", "OPEN to do nothing", DRAFT)
            .sends([send([init(3), open(1, "/dev/null", 0)].concat())]),
        case("open-all-flags", "OPEN with all flags", DRAFT)
            .sends([ask(&open(1, "/dev/null", u32::MAX), &[FAILED])]),
    ]
}

fn names() -> Vec<Case> {
    let rows: [(&str, &str, Vec<u8>); 4] = [
        ("nul", "a name with NUL", b"/dev\0/null".to_vec()),
        ("64k", "a name of 64 kB", vec![b'x'; 64_000]),
        (
            "not-utf8",
            "a name that is not UTF-8 and is not there",
            vec![b'/', 0xff, 0xfe],
        ),
        ("deep", "a name of 2,000 directories", b"x/".repeat(2000)),
    ];
    rows.into_iter()
        .map(|(id, title, name)| {
            case(&format!("name-{id}"), title, DRAFT).sends([ask(&stat(5, name), &[FAILED])])
        })
        .collect()
}

fn streams() -> Vec<Case> {
    let eof = || Step::ToChannel(|channel| plain(msg::CHANNEL_EOF, channel));
    let over = |id: &str, title: &str, bytes: Vec<u8>| {
        case(id, title, DRAFT)
            .sends([send(bytes), eof()])
            .expects(ended())
    };
    vec![
        over("end", "the end at once", Vec::new()),
        over("end-init", "the end behind INIT", init(3)),
        over(
            "end-half",
            "the end in a packet",
            [init(3), vec![0, 0, 0, 9, STAT]].concat(),
        ),
        over(
            "end-length",
            "the end in a length",
            [init(3), vec![0, 0]].concat(),
        ),
        case("bytewise", "packets one byte at a time", DRAFT).sends([Step::act(|peer| {
            let mut stream = Stream::new(peer);
            stream.write_in(&[init(3), stat(1, "/")].concat(), 1)?;
            stream.wants(Wants::Kind(VERSION))?;
            stream.wants(Wants::Kind(ATTRS))?;
            stream.is_well()
        })]),
        case(
            "pipelined",
            "1,000 requests that are answered in their order",
            DRAFT,
        )
        .sends([Step::act(|peer| {
            let mut stream = Stream::new(peer);
            stream.begin()?;
            let all: Vec<Vec<u8>> = (0..1000).map(|id| stat(id, "/")).collect();
            stream.write(&all.concat())?;
            for _ in 0..1000 {
                stream.wants(Wants::Kind(ATTRS))?;
            }
            stream.is_well()
        })]),
    ]
}
