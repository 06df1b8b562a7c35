//! The payloads of requests on a session channel (RFC 4254 section 6), read and written.
//!
//! Form only: bounds on names, values and sizes, and what a request does, are the application's.
//! Text is bytes here, since environment values and commands need not be UTF-8.

use crate::wire::{Malformed, Put, Reader};

/// A request on a session channel that is known by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionRequest<'a> {
    /// `pty-req`
    Pty(PtyReq<'a>),
    /// `env`
    Env(Env<'a>),
    /// `shell`
    Shell,
    /// `exec`
    Exec(Exec<'a>),
    /// `subsystem`
    Subsystem(Subsystem<'a>),
    /// `window-change`
    WindowChange(WindowChange),
    /// `signal`
    Signal(Signal<'a>),
    /// `exit-status`
    ExitStatus(ExitStatus),
    /// `exit-signal`
    ExitSignal(ExitSignal<'a>),
    /// `auth-agent-req@openssh.com`, OpenSSH PROTOCOL.agent section 1
    AuthAgent,
}

impl<'a> SessionRequest<'a> {
    /// Reads the payload of the request called `name`; None when the name is not known here.
    pub fn parse(name: &str, payload: &'a [u8]) -> Result<Option<Self>, Malformed> {
        Ok(Some(match name {
            PtyReq::NAME => Self::Pty(PtyReq::parse(payload)?),
            Env::NAME => Self::Env(Env::parse(payload)?),
            SHELL => empty(payload, Self::Shell)?,
            Exec::NAME => Self::Exec(Exec::parse(payload)?),
            Subsystem::NAME => Self::Subsystem(Subsystem::parse(payload)?),
            WindowChange::NAME => Self::WindowChange(WindowChange::parse(payload)?),
            Signal::NAME => Self::Signal(Signal::parse(payload)?),
            ExitStatus::NAME => Self::ExitStatus(ExitStatus::parse(payload)?),
            ExitSignal::NAME => Self::ExitSignal(ExitSignal::parse(payload)?),
            AUTH_AGENT => empty(payload, Self::AuthAgent)?,
            _ => return Ok(None),
        }))
    }
}

/// The request for the user's shell (section 6.5). It has no fields.
pub const SHELL: &str = "shell";

/// The request for a connection to the client's agent (OpenSSH PROTOCOL.agent section 1). It has no
/// fields.
pub const AUTH_AGENT: &str = "auth-agent-req@openssh.com";

/// The global request by which a client gives up further sessions (OpenSSH PROTOCOL section 2.2), so that
/// whoever takes it over later gets none. It has no fields.
pub const NO_MORE_SESSIONS: &str = "no-more-sessions@openssh.com";

/// The channel type of a session (section 6.1). Its open message has no further fields.
pub const SESSION: &str = "session";

fn empty<T>(payload: &[u8], request: T) -> Result<T, Malformed> {
    Reader::new(payload).finish().map(|()| request)
}

/// The size of a terminal (sections 6.2 and 6.7). Zero is no statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Width in characters.
    pub columns: u32,
    /// Height in rows.
    pub rows: u32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

impl Size {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            columns: reader.u32()?,
            rows: reader.u32()?,
            width: reader.u32()?,
            height: reader.u32()?,
        })
    }

    fn write(self, out: &mut Vec<u8>) {
        [self.columns, self.rows, self.width, self.height]
            .into_iter()
            .for_each(|number| out.put_u32(number));
    }
}

/// `pty-req` (section 6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PtyReq<'a> {
    /// The value for TERM.
    pub term: &'a [u8],
    /// The size.
    pub size: Size,
    /// The encoded modes, for [`super::pty::Modes`].
    pub modes: &'a [u8],
}

impl<'a> PtyReq<'a> {
    /// The request type.
    pub const NAME: &'static str = "pty-req";

    /// Reads the payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let request = Self {
            term: reader.string()?,
            size: Size::read(&mut reader)?,
            modes: reader.string()?,
        };
        reader.finish().map(|()| request)
    }

    /// Writes the payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_string(self.term);
        self.size.write(&mut out);
        out.put_string(self.modes);
        out
    }
}

/// `env` (section 6.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Env<'a> {
    /// The variable.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> Env<'a> {
    /// The request type.
    pub const NAME: &'static str = "env";

    /// Reads the payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let request = Self {
            name: reader.string()?,
            value: reader.string()?,
        };
        reader.finish().map(|()| request)
    }

    /// Writes the payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_string(self.name);
        out.put_string(self.value);
        out
    }
}

/// `exec` (section 6.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec<'a> {
    /// The command line, for a shell.
    pub command: &'a [u8],
}

impl<'a> Exec<'a> {
    /// The request type.
    pub const NAME: &'static str = "exec";

    /// Reads the payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        only_string(payload).map(|command| Self { command })
    }

    /// Writes the payload.
    pub fn encode(&self) -> Vec<u8> {
        string(self.command)
    }
}

/// `subsystem` (section 6.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subsystem<'a> {
    /// The subsystem, such as `sftp`.
    pub name: &'a [u8],
}

impl<'a> Subsystem<'a> {
    /// The request type.
    pub const NAME: &'static str = "subsystem";

    /// Reads the payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        only_string(payload).map(|name| Self { name })
    }

    /// Writes the payload.
    pub fn encode(&self) -> Vec<u8> {
        string(self.name)
    }
}

/// `window-change` (section 6.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowChange {
    /// The new size.
    pub size: Size,
}

impl WindowChange {
    /// The request type.
    pub const NAME: &'static str = "window-change";

    /// Reads the payload.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let size = Size::read(&mut reader)?;
        reader.finish().map(|()| Self { size })
    }

    /// Writes the payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.size.write(&mut out);
        out
    }
}

/// `signal` (section 6.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal<'a> {
    /// The name without `SIG`.
    pub name: &'a [u8],
}

impl<'a> Signal<'a> {
    /// The request type.
    pub const NAME: &'static str = "signal";

    /// Reads the payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        only_string(payload).map(|name| Self { name })
    }

    /// Writes the payload.
    pub fn encode(&self) -> Vec<u8> {
        string(self.name)
    }
}

/// `exit-status` (section 6.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitStatus {
    /// The status.
    pub status: u32,
}

impl ExitStatus {
    /// The request type.
    pub const NAME: &'static str = "exit-status";

    /// Reads the payload.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let status = reader.u32()?;
        reader.finish().map(|()| Self { status })
    }

    /// Writes the payload.
    pub fn encode(&self) -> Vec<u8> {
        self.status.to_be_bytes().to_vec()
    }
}

/// `exit-signal` (section 6.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitSignal<'a> {
    /// The name without `SIG`.
    pub name: &'a [u8],
    /// Whether there is a core dump.
    pub core_dumped: bool,
    /// A text for the user.
    pub message: &'a [u8],
    /// The language of the text.
    pub language: &'a [u8],
}

impl<'a> ExitSignal<'a> {
    /// The request type.
    pub const NAME: &'static str = "exit-signal";

    /// Reads the payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let request = Self {
            name: reader.string()?,
            core_dumped: reader.bool()?,
            message: reader.string()?,
            language: reader.string()?,
        };
        reader.finish().map(|()| request)
    }

    /// Writes the payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_string(self.name);
        out.put_bool(self.core_dumped);
        out.put_string(self.message);
        out.put_string(self.language);
        out
    }
}

/// The one string that a payload consists of.
pub(super) fn only_string(payload: &[u8]) -> Result<&[u8], Malformed> {
    let mut reader = Reader::new(payload);
    let string = reader.string()?;
    reader.finish().map(|()| string)
}

/// A payload of one string.
pub(super) fn string(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_string(value);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        columns: 80,
        rows: 24,
        width: 0,
        height: u32::MAX,
    };

    /// Each request with its name and payload.
    fn all() -> Vec<(SessionRequest<'static>, &'static str, Vec<u8>)> {
        let pty = PtyReq {
            term: b"xterm",
            size: SIZE,
            modes: &[0],
        };
        let env = Env {
            name: b"LANG",
            value: b"\xff=\0",
        };
        let exec = Exec { command: b"ls" };
        let subsystem = Subsystem { name: b"sftp" };
        let change = WindowChange { size: SIZE };
        let signal = Signal { name: b"HUP" };
        let status = ExitStatus { status: 255 };
        let killed = ExitSignal {
            name: b"KILL",
            core_dumped: true,
            message: b"gone",
            language: b"",
        };
        let payloads = [
            pty.encode(),
            env.encode(),
            exec.encode(),
            subsystem.encode(),
            change.encode(),
            signal.encode(),
            status.encode(),
            killed.encode(),
        ];
        let requests = [
            (SessionRequest::Pty(pty), "pty-req"),
            (SessionRequest::Env(env), "env"),
            (SessionRequest::Exec(exec), "exec"),
            (SessionRequest::Subsystem(subsystem), "subsystem"),
            (SessionRequest::WindowChange(change), "window-change"),
            (SessionRequest::Signal(signal), "signal"),
            (SessionRequest::ExitStatus(status), "exit-status"),
            (SessionRequest::ExitSignal(killed), "exit-signal"),
        ];
        let named = requests.into_iter().zip(payloads);
        named
            .map(|((request, name), bytes)| (request, name, bytes))
            .collect()
    }

    #[test]
    fn requests_come_back_as_they_were_written() {
        for (request, name, payload) in all() {
            assert_eq!(SessionRequest::parse(name, &payload), Ok(Some(request)));
        }
        assert_eq!(
            SessionRequest::parse(SHELL, b""),
            Ok(Some(SessionRequest::Shell))
        );
        assert_eq!(
            SessionRequest::parse(AUTH_AGENT, b""),
            Ok(Some(SessionRequest::AuthAgent))
        );
    }

    #[test]
    fn a_payload_cut_short_or_too_long_is_malformed() {
        for (_, name, mut payload) in all() {
            for cut in 0..payload.len() {
                assert_eq!(SessionRequest::parse(name, &payload[..cut]), Err(Malformed));
            }
            payload.push(0);
            assert_eq!(SessionRequest::parse(name, &payload), Err(Malformed));
        }
        assert_eq!(SessionRequest::parse(SHELL, b"\0"), Err(Malformed));
    }

    #[test]
    fn other_names_are_not_ours_whatever_their_payload() {
        for name in ["", "Shell", "x11-req", "env\0"] {
            assert_eq!(SessionRequest::parse(name, b"\xff"), Ok(None));
        }
    }

    #[test]
    fn a_pty_request_has_the_bytes_of_the_rfc() {
        let pty = PtyReq {
            term: b"vt",
            size: SIZE,
            modes: &[53, 0, 0, 0, 1, 0],
        };
        let mut expected = b"\0\0\0\x02vt\0\0\0\x50\0\0\0\x18\0\0\0\0\xff\xff\xff\xff".to_vec();
        expected.extend(b"\0\0\0\x06\x35\0\0\0\x01\0");
        assert_eq!(pty.encode(), expected);
    }
}
