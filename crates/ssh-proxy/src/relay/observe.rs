//! What somebody who watches a relay is told: how many bytes have passed, which channels are open, and
//! what users ask for. Nobody who watches can hold a packet up.

use ssh_proto::msg;
use ssh_proto::wire::Reader;

use super::Side;
use super::policy::Capability;

/// Watches one relay. It is called from the relay's task, between two packets: it must not block.
pub trait Observer: Send {
    /// So many more payload bytes of `from` have been handed to the other side.
    fn passed(&mut self, from: Side, bytes: u64);

    /// Something else happened.
    fn note(&mut self, note: Note<'_>);
}

/// Nobody watches.
impl Observer for () {
    fn passed(&mut self, _: Side, _: u64) {}

    fn note(&mut self, _: Note<'_>) {}
}

/// The types of channels (RFC 4254 sections 6 and 7, OpenSSH's PROTOCOL section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelKind {
    /// A shell, a command or a subsystem.
    Session,
    /// `-L`, `-D`, `-W`.
    DirectTcpip,
    /// A connection to a listener of `-R`.
    ForwardedTcpip,
    /// The same as `DirectTcpip` for Unix sockets.
    DirectStreamlocal,
    /// The same as `ForwardedTcpip` for Unix sockets.
    ForwardedStreamlocal,
    /// The user's agent.
    Agent,
    /// X11.
    X11,
    /// Any other.
    Other,
}

impl ChannelKind {
    /// All of them, each at its [`Self::index`].
    pub(crate) const ALL: [Self; 8] = [
        Self::Session,
        Self::DirectTcpip,
        Self::ForwardedTcpip,
        Self::DirectStreamlocal,
        Self::ForwardedStreamlocal,
        Self::Agent,
        Self::X11,
        Self::Other,
    ];

    /// The kind that has this name on the wire.
    pub(super) fn of(name: &[u8]) -> Self {
        if name == b"auth-agent" {
            // As the drafts had it.
            return Self::Agent;
        }
        let named = Self::ALL
            .into_iter()
            .find(|kind| kind.name().as_bytes() == name);
        named.unwrap_or(Self::Other)
    }

    /// The name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::DirectTcpip => "direct-tcpip",
            Self::ForwardedTcpip => "forwarded-tcpip",
            Self::DirectStreamlocal => "direct-streamlocal@openssh.com",
            Self::ForwardedStreamlocal => "forwarded-streamlocal@openssh.com",
            Self::Agent => "auth-agent@openssh.com",
            Self::X11 => "x11",
            Self::Other => "other",
        }
    }

    /// Its place in a table of [`Self::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// Something that happened in a relay. Texts are the users' own and may hold anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note<'a> {
    /// A side asks for a channel, and may.
    Opening {
        /// What it asks for.
        kind: ChannelKind,
        /// Where a connection is to lead.
        target: Option<Target<'a>>,
    },
    /// The other side has agreed.
    Opened(ChannelKind),
    /// Both sides have closed it.
    Closed(ChannelKind),
    /// A program is to be started on a session.
    Starting(Start<'a>),
    /// A listener is wanted in the container.
    Listening(Target<'a>),
    /// The policy has taken it away.
    Refused(Capability),
}

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A host, by name or address, and a port.
    Tcp(&'a [u8], u32),
    /// A path.
    Unix(&'a [u8]),
}

/// What is started on a session (RFC 4254 section 6.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start<'a> {
    /// The user's shell.
    Shell,
    /// A command.
    Exec(&'a [u8]),
    /// A subsystem.
    Subsystem(&'a [u8]),
}

/// What a control packet that `from` sends to the other side asks for, if it is something to tell. What
/// cannot be read to its end is not told: its receiver will not do it either. Nor is what a container asks
/// of its user, who would be blamed for it.
pub(super) fn request(from: Side, payload: &[u8]) -> Option<Note<'_>> {
    let mut reader = Reader::new(payload);
    match (reader.u8().ok()?, from) {
        (msg::GLOBAL_REQUEST, Side::Client) => listening(reader),
        (msg::CHANNEL_OPEN, _) => opening(reader),
        (msg::CHANNEL_REQUEST, Side::Client) => starting(reader),
        _ => None,
    }
}

fn listening(mut reader: Reader<'_>) -> Option<Note<'_>> {
    let name = reader.string().ok()?;
    reader.bool().ok()?;
    Some(Note::Listening(match name {
        b"tcpip-forward" => tcp(reader)?,
        b"streamlocal-forward@openssh.com" => Target::Unix(reader.string().ok()?),
        _ => return None,
    }))
}

fn opening(mut reader: Reader<'_>) -> Option<Note<'_>> {
    let kind = ChannelKind::of(reader.string().ok()?);
    for _number_window_and_packet_size in 0..3 {
        reader.u32().ok()?;
    }
    let target = match kind {
        ChannelKind::DirectTcpip | ChannelKind::ForwardedTcpip => Some(tcp(reader)?),
        ChannelKind::DirectStreamlocal | ChannelKind::ForwardedStreamlocal => {
            Some(Target::Unix(reader.string().ok()?))
        }
        _ => None,
    };
    Some(Note::Opening { kind, target })
}

fn starting(mut reader: Reader<'_>) -> Option<Note<'_>> {
    reader.u32().ok()?;
    let name = reader.string().ok()?;
    reader.bool().ok()?;
    Some(Note::Starting(match name {
        b"shell" => Start::Shell,
        b"exec" => Start::Exec(reader.string().ok()?),
        b"subsystem" => Start::Subsystem(reader.string().ok()?),
        _ => return None,
    }))
}

fn tcp(mut reader: Reader<'_>) -> Option<Target<'_>> {
    let host = reader.string().ok()?;
    Some(Target::Tcp(host, reader.u32().ok()?))
}

#[cfg(test)]
mod tests {
    use ssh_proto::wire::Put;

    use super::*;

    fn packet(number: u8, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut payload = vec![number];
        fill(&mut payload);
        payload
    }

    fn open(kind: &str, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        packet(msg::CHANNEL_OPEN, |payload| {
            payload.put_string(kind.as_bytes());
            for number in [1, 2, 3] {
                payload.put_u32(number);
            }
            fill(payload);
        })
    }

    fn on_channel(name: &str, fields: &[&str]) -> Vec<u8> {
        packet(msg::CHANNEL_REQUEST, |payload| {
            payload.put_u32(7);
            payload.put_string(name.as_bytes());
            payload.put_bool(true);
            for field in fields {
                payload.put_string(field.as_bytes());
            }
        })
    }

    fn global(name: &str, host: &str, port: Option<u32>) -> Vec<u8> {
        packet(msg::GLOBAL_REQUEST, |payload| {
            payload.put_string(name.as_bytes());
            payload.put_bool(true);
            payload.put_string(host.as_bytes());
            port.into_iter().for_each(|port| payload.put_u32(port));
        })
    }

    #[test]
    fn what_is_asked_for_is_told_with_its_target() {
        use ChannelKind::*;
        let to = |payload: &mut Vec<u8>| {
            payload.put_string(b"db.internal");
            payload.put_u32(5432);
        };
        let tcp = Target::Tcp(b"db.internal", 5432);
        let path = |payload: &mut Vec<u8>| payload.put_string(b"/run/s");
        let opening = |kind, target| Some(Note::Opening { kind, target });
        for (payload, note) in [
            (open("session", |_| {}), opening(Session, None)),
            (open("direct-tcpip", to), opening(DirectTcpip, Some(tcp))),
            (
                open("forwarded-tcpip", to),
                opening(ForwardedTcpip, Some(tcp)),
            ),
            (
                open("direct-streamlocal@openssh.com", path),
                opening(DirectStreamlocal, Some(Target::Unix(b"/run/s"))),
            ),
            (open("tun@openssh.com", |_| {}), opening(Other, None)),
            (open("direct-tcpip", |_| {}), None),
            (on_channel("shell", &[]), Some(Note::Starting(Start::Shell))),
            (
                on_channel("exec", &["id"]),
                Some(Note::Starting(Start::Exec(b"id"))),
            ),
            (
                on_channel("subsystem", &["sftp"]),
                Some(Note::Starting(Start::Subsystem(b"sftp"))),
            ),
            (on_channel("exec", &[]), None),
            (on_channel("env", &["A", "b"]), None),
            (
                global("tcpip-forward", "0.0.0.0", Some(80)),
                Some(Note::Listening(Target::Tcp(b"0.0.0.0", 80))),
            ),
            (
                global("streamlocal-forward@openssh.com", "/s", None),
                Some(Note::Listening(Target::Unix(b"/s"))),
            ),
            (global("cancel-tcpip-forward", "", Some(80)), None),
            (vec![msg::CHANNEL_CLOSE, 0, 0, 0, 7], None),
        ] {
            assert_eq!(request(Side::Client, &payload), note, "{payload:?}");
            let is_opening = matches!(note, Some(Note::Opening { .. }));
            let told = note.filter(|_| is_opening);
            assert_eq!(request(Side::Daemon, &payload), told, "{payload:?}");
        }
    }

    #[test]
    fn each_kind_has_its_place_and_its_name() {
        for (index, kind) in ChannelKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), index);
            assert_eq!(ChannelKind::of(kind.name().as_bytes()), kind);
        }
    }
}
