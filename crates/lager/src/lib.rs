//! `tracing` events as lager JSON lines, the log format of Cloud Foundry's components.
//!
//! | tracing                        | lager                                                        |
//! |--------------------------------|--------------------------------------------------------------|
//! | a span                         | a session: its name joins the message, its fields the data   |
//! | an event's message             | the action, last part of the message                         |
//! | an event's fields              | `data`; strings, numbers and truth values keep their type     |
//! | `TRACE`, `DEBUG`               | debug (0)                                                    |
//! | `INFO`                         | info (1)                                                     |
//! | `WARN`, `ERROR`                | error (2); lager has no warnings                             |
//! | [`fatal!`]                     | fatal (3)                                                    |
//!
//! Sessions are numbered: `"session":"7.1"` is the first child session of the seventh session of
//! the program. They exist, and are counted, at every log level. A span whose name is empty is a session,
//! too, and joins nothing to the message.
//!
//! One event is one line and one write. A writer that fails loses lines, never the program; a
//! writer that blocks blocks the caller.

#![forbid(unsafe_code)]

mod json;
mod redact;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, SetGlobalDefaultError};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};

use json::{Data, Value, write_object, write_text};
pub use redact::{BadPattern, LONGEST_TEXT, Redaction};

#[doc(hidden)]
pub use tracing;

/// Logs at level fatal, with the syntax of `tracing::error!`.
///
/// A fatal line is written at every log level and tells in `data.trace` where it was logged.
/// Ending the program is the caller's.
#[macro_export]
macro_rules! fatal {
    ($($arg:tt)+) => {
        $crate::tracing::error!(lager.fatal = true, $($arg)+)
    };
}

/// The field that [`fatal!`] marks its events with.
const FATAL_MARK: &str = "lager.fatal";

/// How grave a line is, or how grave it must be to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Everything.
    Debug = 0,
    /// What happens in the normal course of things.
    Info = 1,
    /// What went wrong.
    Error = 2,
    /// What ends the program.
    Fatal = 3,
}

impl Level {
    /// The name in configurations and in the rfc3339 form of lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }

    /// Reads the body of a `/log-level` request of the debug server: a name in lower or upper
    /// case, its initial, or the number. Nothing is trimmed.
    pub fn from_switch(text: &str) -> Option<Self> {
        match text {
            "debug" | "DEBUG" | "d" | "0" => Some(Self::Debug),
            "info" | "INFO" | "i" | "1" => Some(Self::Info),
            "error" | "ERROR" | "e" | "2" => Some(Self::Error),
            "fatal" | "FATAL" | "f" | "3" => Some(Self::Fatal),
            _ => None,
        }
    }

    /// The level of what is described by `metadata`.
    fn of(metadata: &Metadata<'_>) -> Self {
        if metadata.fields().field(FATAL_MARK).is_some() {
            return Self::Fatal;
        }
        match *metadata.level() {
            tracing::Level::TRACE | tracing::Level::DEBUG => Self::Debug,
            tracing::Level::INFO => Self::Info,
            tracing::Level::WARN | tracing::Level::ERROR => Self::Error,
        }
    }

    /// The inverse of `level as u8`.
    const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Debug,
            1 => Self::Info,
            2 => Self::Error,
            _ => Self::Fatal,
        }
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    /// Reads a level in a configuration: exactly one of the four names in lower case.
    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        [Self::Debug, Self::Info, Self::Error, Self::Fatal]
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or_else(|| UnknownLevel(text.to_owned()))
    }
}

/// A log level that there is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownLevel(String);

impl fmt::Display for UnknownLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown log level: {}", self.0)
    }
}

impl std::error::Error for UnknownLevel {}

/// How a line tells its time and its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeFormat {
    /// `"timestamp":"1522171784.100530624"` and `"log_level":1`.
    #[default]
    UnixEpoch,
    /// `"timestamp":"2018-03-27T17:29:44.100530624Z"` and `"level":"info"`.
    Rfc3339,
}

/// How to log.
#[derive(Debug, Clone)]
pub struct Config {
    /// The component's name: `source` of every line and first part of its message.
    pub source: String,
    /// The least grave level that is written, until [`Handle::set_level`].
    pub level: Level,
    /// The form of the lines.
    pub time_format: TimeFormat,
    /// What is hidden in `data`; `None` for nothing.
    pub redaction: Option<Redaction>,
    /// Most bytes of a text in `data`, the mark of the cut included. `None` for [`LONGEST_TEXT`]; less
    /// than 12, the length of the mark, counts as 12.
    pub max_data_string_length: Option<usize>,
    /// The crates whose events are lines and whose spans are sessions, by the first part of the
    /// target (`"ssh_proxy"`). Libraries trace in their own style and are left out. Empty for all.
    pub crates: &'static [&'static str],
    /// Where the time comes from.
    pub clock: fn() -> SystemTime,
}

impl Config {
    /// Level info, unix-epoch, nothing hidden, every crate.
    pub fn new(source: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            level: Level::Info,
            time_format: TimeFormat::UnixEpoch,
            redaction: None,
            max_data_string_length: None,
            crates: &[],
            clock: SystemTime::now,
        }
    }
}

/// Changes the log level of a running program.
#[derive(Debug, Clone)]
pub struct Handle {
    level: Arc<AtomicU8>,
}

impl Handle {
    /// The least grave level that is written.
    pub fn level(&self) -> Level {
        Level::from_number(self.level.load(Ordering::Relaxed))
    }

    /// Writes lines from `level` up from now on.
    pub fn set_level(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
        // Events that nobody wanted so far are skipped without asking; make them ask again.
        tracing::callsite::rebuild_interest_cache();
    }
}

/// Logs everything of this program to `writer` from now on.
///
/// # Errors
///
/// If the program logs elsewhere already.
pub fn init<W>(config: Config, writer: W) -> Result<Handle, SetGlobalDefaultError>
where
    W: Write + Send + 'static,
{
    let (layer, handle) = layer(config, writer);
    tracing::subscriber::set_global_default(Registry::default().with(layer))?;
    Ok(handle)
}

/// The same as a layer to put on a [`Registry`], for tests and for programs that log twice.
pub fn layer<W>(config: Config, writer: W) -> (Layer<W>, Handle)
where
    W: Write + Send + 'static,
{
    let level = Arc::new(AtomicU8::new(config.level as u8));
    let handle = Handle { level };
    let layer = Layer {
        config,
        handle: handle.clone(),
        sessions: Mutex::default(),
        writer: Mutex::new(writer),
    };
    (layer, handle)
}

/// Writes events as lines; made by [`layer`].
#[derive(Debug)]
pub struct Layer<W> {
    config: Config,
    handle: Handle,
    sessions: Mutex<Sessions>,
    writer: Mutex<W>,
}

/// The sessions of all spans that are open.
///
/// They are not kept in the registry's extensions: it leaves a small table behind for each span, all over
/// the heap, and after thousands of spans half of what their tasks took could not be given back.
#[derive(Debug, Default)]
struct Sessions {
    /// By the numbers of spans. A tree, as its memory goes with what is in it.
    open: BTreeMap<u64, Session>,
    /// How many had no parent so far.
    roots: u64,
}

/// What a span carries for the lines below it.
#[derive(Debug)]
struct Session {
    /// Source and session names so far.
    path: String,
    /// The dotted counters.
    id: String,
    /// Fields of those above it and of this span, the latest last: a list, as trees take room for more.
    data: Vec<(&'static str, Value)>,
    /// Child sessions so far.
    children: u64,
}

impl Sessions {
    /// The session of a new span.
    fn begin(&mut self, source: &str, parent: Option<Id>, name: &str, own: Data) -> Session {
        let above = parent.and_then(|parent| self.open.get_mut(&parent.into_u64()));
        let (path, id, inherited) = match above {
            Some(above) => {
                above.children += 1;
                let id = format!("{}.{}", above.id, above.children);
                (above.path.as_str(), id, above.data.as_slice())
            }
            None => {
                self.roots += 1;
                (source, self.roots.to_string(), &[][..])
            }
        };
        Session {
            path: match name {
                "" => path.to_owned(),
                name => format!("{path}.{name}"),
            },
            id,
            data: inherited.iter().cloned().chain(own).collect(),
            children: 0,
        }
    }
}

/// Whoever panicked with it left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<W: Write> Layer<W> {
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let ours = self.config.crates.is_empty()
            || metadata
                .target()
                .split("::")
                .next()
                .is_some_and(|name| self.config.crates.contains(&name));
        ours && (metadata.is_span() || Level::of(metadata) >= self.handle.level())
    }

    /// The line of an event under `session`.
    fn line(&self, level: Level, session: Option<&Session>, fields: Fields) -> String {
        let path = session.map_or(self.config.source.as_str(), |session| &session.path);
        let mut line = String::with_capacity(256);
        line.push_str("{\"timestamp\":");
        write_text(&mut line, &self.timestamp());
        if self.config.time_format == TimeFormat::Rfc3339 {
            line.push_str(",\"level\":");
            write_text(&mut line, level.name());
        }
        line.push_str(",\"source\":");
        write_text(&mut line, &self.config.source);
        line.push_str(",\"message\":");
        write_text(&mut line, &format!("{path}.{}", fields.message));
        if self.config.time_format == TimeFormat::UnixEpoch {
            line.push_str(&format!(",\"log_level\":{}", level as u8));
        }
        line.push_str(",\"data\":");
        self.write_data(&mut line, session, fields.data);
        line.push_str("}\n");
        line
    }

    fn write_data(&self, line: &mut String, session: Option<&Session>, own: Data) {
        let mut data: BTreeMap<&str, &Value> = BTreeMap::new();
        if let Some(session) = session {
            data.extend(session.data.iter().map(|(key, value)| (*key, value)));
        }
        data.extend(own.iter().map(|(key, value)| (*key, value)));
        let id = session.map(|session| Value::Text(session.id.clone()));
        if let Some(id) = &id {
            data.insert("session", id);
        }
        write_object(line, data.into_iter(), |key, value| {
            redact::clean(
                self.config.redaction.as_ref(),
                self.config.max_data_string_length,
                key,
                value,
            )
        });
    }

    fn timestamp(&self) -> String {
        let now = (self.config.clock)();
        match self.config.time_format {
            TimeFormat::UnixEpoch => {
                // A clock before 1970 is broken; logging goes on with zero.
                let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
                format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
            }
            TimeFormat::Rfc3339 => {
                let now = time::OffsetDateTime::from(now);
                format!(
                    "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z",
                    now.year(),
                    u8::from(now.month()),
                    now.day(),
                    now.hour(),
                    now.minute(),
                    now.second(),
                    now.nanosecond()
                )
            }
        }
    }
}

impl<S, W> tracing_subscriber::Layer<S> for Layer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write + Send + 'static,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let parent = span.parent().map(|parent| parent.id());
        let mut sessions = lock(&self.sessions);
        let session = sessions.begin(&self.config.source, parent, span.name(), fields.data);
        sessions.open.insert(id.into_u64(), session);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        if let Some(session) = lock(&self.sessions).open.get_mut(&id.into_u64()) {
            session.data.extend(fields.data);
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        lock(&self.sessions).open.remove(&id.into_u64());
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let level = Level::of(metadata);
        let mut fields = Fields::default();
        event.record(&mut fields);
        if level == Level::Fatal {
            let file = metadata.file().unwrap_or_default();
            let line = metadata.line().unwrap_or_default();
            let place = format!("{} at {file}:{line}", metadata.target());
            fields.data.insert("trace", Value::Text(place));
        }
        let span = context.event_span(event);
        let line = {
            let sessions = lock(&self.sessions);
            let session = span.and_then(|span| sessions.open.get(&span.id().into_u64()));
            self.line(level, session, fields)
        };
        let mut writer = lock(&self.writer);
        // There is nowhere left to report to.
        let _ = writer.write_all(line.as_bytes());
        let _ = writer.flush();
    }
}

/// The fields of an event or span.
#[derive(Default)]
struct Fields {
    /// The event's message.
    message: String,
    data: Data,
}

impl Fields {
    fn insert(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            (FATAL_MARK, _) => {}
            ("message", Value::Text(text)) => self.message = text,
            (name, value) => {
                self.data.insert(name, value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, Value::Text(value.to_owned()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, Value::Literal(value.to_string()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, Value::Literal(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, Value::Literal(value.to_string()));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.insert(field, Value::Literal(value.to_string()));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.insert(field, Value::Literal(value.to_string()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, Value::float(value));
    }

    /// Go writes slices of bytes in base64.
    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        let text = base64::engine::general_purpose::STANDARD.encode(value);
        self.insert(field, Value::Text(text));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.insert(field, Value::Text(value.to_string()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, Value::Text(format!("{value:?}")));
    }
}

#[cfg(test)]
mod tests;
