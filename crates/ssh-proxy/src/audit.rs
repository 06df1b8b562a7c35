//! Who did what: one line of JSON for each login, refusal, channel, program, forward and end of a
//! session, to a file, to the log, or both.
//!
//! Sessions never wait for a disk: lines go through a bounded queue to a thread that writes. What it
//! cannot write it keeps and tries again, so nothing is lost while the queue has room; beyond that the
//! newest lines are dropped and counted, or, if the operator wants it so, nobody is let in meanwhile.
//!
//! Commands and targets are the users' own business unless the operator asks for them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::{error, info};

use crate::relay::RelayEnd;
use crate::relay::observe::{ChannelKind, Note, Start, Target};
use crate::sessions::{Session, Visitor};
use file::AuditFile;

mod file;
pub(crate) mod settings;

pub(crate) use file::Writer;
use settings::AuditSettings;

/// Lines that wait for the disk. With half a kilobyte each they bridge seconds of a busy proxy; with the
/// longest details, all of them escaped, they are fifty megabytes.
const MOST_LINES: usize = 2048;

/// Of these, so many may be about people who are not let in: the others are for those who are.
const MOST_REFUSALS: usize = MOST_LINES / 2;

/// Bytes of a user name, a command or a target that are told.
const LONGEST_DETAIL: usize = 4096;

/// One event. Fields that do not apply are left out.
#[derive(Debug, Default, Serialize)]
struct Event<'a> {
    /// When, as RFC 3339 has it.
    timestamp: String,
    /// What happened.
    event: &'static str,
    /// The session, as the log and the admin server name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    /// The user name as given.
    user: &'a str,
    /// UAA's id and name of the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_name: Option<&'a str>,
    /// Where the user comes from.
    source: String,
    /// What the platform calls the app.
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    space_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_name: Option<&'a str>,
    /// What Diego calls the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    process_guid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_guid: Option<&'a str>,
    /// Why somebody was not let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// The type of a channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'static str>,
    /// What was started: `shell`, `exec` or `subsystem`.
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<&'static str>,
    /// The command or the name of the subsystem.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    /// Where a connection leads, or where a listener is.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// What the policy refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    capability: Option<&'static str>,
    /// How many events this one stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    /// Whose side of a session ended first, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    side: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Payload bytes from the user and to the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_up: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_down: Option<u64>,
    /// How long a session lasted.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
}

/// Takes events; shared by all connections.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    lines: Option<SyncSender<Vec<u8>>>,
    settings: AuditSettings,
    state: Arc<State>,
}

/// What the thread that writes and those that ask share.
#[derive(Debug)]
struct State {
    /// The last line was written, and there is room for the next.
    writable: AtomicBool,
    dropped: AtomicU64,
    /// Lines in the queue.
    waiting: AtomicUsize,
}

impl Default for State {
    fn default() -> Self {
        Self {
            writable: AtomicBool::new(true),
            dropped: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl Audit {
    /// Opens the file, if there is to be one, and starts to write.
    ///
    /// # Errors
    /// The file cannot be opened; the text names the key.
    pub(crate) fn start(settings: AuditSettings) -> Result<(Self, Option<Writer>), String> {
        let state = Arc::<State>::default();
        let Some(path) = &settings.file else {
            let lines = None;
            let audit = Self {
                lines,
                settings,
                state,
            };
            return Ok((audit, None));
        };
        let file = AuditFile::open(path).map_err(|error| format!("audit_file: {error}"))?;
        let (lines, queue) = sync_channel(MOST_LINES);
        let writer = Writer::start(file, queue, Arc::clone(&state))
            .map_err(|error| format!("audit_file: {error}"))?;
        let audit = Self {
            lines: Some(lines),
            settings,
            state,
        };
        Ok((audit, Some(writer)))
    }

    /// Whether somebody may be let in: what they do can be written, or need not be.
    pub(crate) fn admits(&self) -> bool {
        !self.settings.refuses_unwritten || self.state.writable.load(Ordering::Relaxed)
    }

    /// Lines that there was no room for.
    pub(crate) fn dropped(&self) -> u64 {
        self.state.dropped.load(Ordering::Relaxed)
    }

    /// Somebody was not let in, for the reason `code`.
    pub(crate) fn login_refused(&self, user: &str, source: SocketAddr, code: &'static str) {
        if self.state.waiting.load(Ordering::Relaxed) >= MOST_REFUSALS {
            self.state.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.record(|| Event {
            event: "login_refused",
            user: user
                .get(..user.floor_char_boundary(LONGEST_DETAIL))
                .unwrap_or_default(),
            source: source.to_string(),
            code: Some(code),
            ..Event::default()
        });
    }

    /// Somebody was let in.
    pub(crate) fn login_accepted(&self, session: &Session) {
        self.record(|| Event {
            event: "login_accepted",
            ..of(session)
        });
    }

    /// Something happened in a session.
    pub(crate) fn note(&self, session: &Session, note: Note<'_>) {
        let detail = |text: String| self.settings.details.then_some(text);
        match note {
            Note::Opening { kind, target } => self.record(|| Event {
                event: "channel_opened",
                channel: Some(kind.name()),
                target: target.and_then(|target| detail(place(target))),
                ..of(session)
            }),
            Note::Starting(start) => self.record(|| {
                let (program, command) = program(start);
                Event {
                    event: "program_started",
                    channel: Some(ChannelKind::Session.name()),
                    program: Some(program),
                    command: command.and_then(|command| detail(shown(command))),
                    ..of(session)
                }
            }),
            Note::Listening(target) => self.record(|| Event {
                event: "forward_requested",
                target: detail(place(target)),
                ..of(session)
            }),
            Note::Refused(capability) => self.record(|| Event {
                event: "refused_by_policy",
                capability: Some(capability.name()),
                ..of(session)
            }),
            Note::Opened(_) | Note::Closed(_) => {}
        }
    }

    /// So many events of a session are not told, since there were too many.
    pub(crate) fn left_out(&self, session: &Session, events: u64) {
        self.record(|| Event {
            event: "events_left_out",
            count: Some(events),
            ..of(session)
        });
    }

    /// A session is over.
    pub(crate) fn session_ended(&self, session: &Session, end: &RelayEnd) {
        self.record(|| Event {
            event: "session_ended",
            side: Some(end.by()),
            reason: Some(end.reason.to_string()),
            bytes_up: Some(end.bytes_up),
            bytes_down: Some(end.bytes_down),
            seconds: Some(session.age().as_secs_f64()),
            ..of(session)
        });
    }

    fn record<'a>(&self, event: impl FnOnce() -> Event<'a>) {
        if self.lines.is_none() && !self.settings.log {
            return;
        }
        let mut event = event();
        event.timestamp = now();
        if self.settings.log {
            log(&event);
        }
        let Some(lines) = &self.lines else { return };
        let Ok(mut line) = serde_json::to_vec(&event) else {
            return;
        };
        line.push(b'\n');
        // Before it is there, so that whoever takes it finds it counted.
        self.state.waiting.fetch_add(1, Ordering::Relaxed);
        if lines.try_send(line).is_err() {
            self.state.waiting.fetch_sub(1, Ordering::Relaxed);
            self.state.dropped.fetch_add(1, Ordering::Relaxed);
            // A disk that hangs gives no error.
            if self.state.writable.swap(false, Ordering::Relaxed) {
                error!(lines = MOST_LINES, "audit-queue-full");
            }
        }
    }
}

/// An event of `session`, with who and where.
fn of(session: &Session) -> Event<'_> {
    let Visitor {
        user,
        who,
        address,
        instance,
        tags,
    } = &session.visitor;
    let tag = |name: &str| tags.get(name).map(String::as_str);
    Event {
        session_id: Some(session.id.to_string()),
        user,
        user_id: who.as_ref().map(|who| who.id.as_str()),
        user_name: who.as_ref().map(|who| who.name.as_str()),
        source: address.to_string(),
        app_id: tag("app_id").or_else(|| tag("source_id")),
        app_name: tag("app_name"),
        space_name: tag("space_name"),
        organization_name: tag("organization_name"),
        process_guid: Some(&instance.process_guid),
        index: Some(instance.index),
        instance_guid: Some(&instance.guid),
        ..Event::default()
    }
}

fn now() -> String {
    OffsetDateTime::now_utc()
        .format(&Rfc3339)
        .unwrap_or_default()
}

fn program(start: Start<'_>) -> (&'static str, Option<&[u8]>) {
    match start {
        Start::Shell => ("shell", None),
        Start::Exec(command) => ("exec", Some(command)),
        Start::Subsystem(name) => ("subsystem", Some(name)),
    }
}

fn place(target: Target<'_>) -> String {
    match target {
        Target::Tcp(host, port) => {
            let host = shown(host);
            match host.contains(':') {
                true => format!("[{host}]:{port}"),
                false => format!("{host}:{port}"),
            }
        }
        Target::Unix(path) => shown(path),
    }
}

/// What a user sent, cut. Whatever is in it, a line of JSON stays one.
fn shown(text: &[u8]) -> String {
    let cut = text.get(..LONGEST_DETAIL).unwrap_or(text);
    String::from_utf8_lossy(cut).into_owned()
}

/// The same event as a line of the log.
fn log(event: &Event<'_>) {
    info!(
        event = event.event,
        session_id = event.session_id,
        user = event.user,
        user_id = event.user_id,
        user_name = event.user_name,
        source = event.source,
        app_id = event.app_id,
        app_name = event.app_name,
        space_name = event.space_name,
        organization_name = event.organization_name,
        process_guid = event.process_guid,
        index = event.index,
        instance_guid = event.instance_guid,
        code = event.code,
        channel = event.channel,
        program = event.program,
        command = event.command,
        target = event.target,
        capability = event.capability,
        count = event.count,
        side = event.side,
        reason = event.reason,
        bytes_up = event.bytes_up,
        bytes_down = event.bytes_down,
        seconds = event.seconds,
        "audit"
    );
}

#[cfg(test)]
mod tests;
