//! The sessions that are open right now: who is in which instance, since when, how much has passed, and
//! what is open. Whoever shows them, counts them or ends them asks here.
//!
//! A session's numbers are written by its relay alone, without a lock, and read by anybody at any time.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ssh_proto::crypto::random::{Random as _, SystemRandom};
use tokio::sync::Notify;

use crate::platform::loggregator::Tags;
use crate::platform::uaa::User;
use crate::relay::Side;
use crate::relay::observe::ChannelKind;
use crate::target::Instance;

/// Names one session among those of all proxies: a number of the process, and one that counts.
///
/// Later sessions of a process have larger ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for SessionId {
    type Err = ();

    /// Takes what `Display` writes, and nothing else.
    fn from_str(text: &str) -> Result<Self, ()> {
        let id = Self(u64::from_str_radix(text, 16).map_err(|_| ())?);
        (id.to_string() == text).then_some(id).ok_or(())
    }
}

/// Who is in, and where.
#[derive(Debug)]
pub(crate) struct Visitor {
    /// The user name as given.
    pub(crate) user: String,
    /// Who it is, where the realm knows persons.
    pub(crate) who: Option<User>,
    /// Where the user comes from, as far as it is known.
    pub(crate) address: SocketAddr,
    /// The instance that the user is in.
    pub(crate) instance: Instance,
    /// Tags of the app's log; `app_name`, `space_name` and `organization_name` among them.
    pub(crate) tags: Tags,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    /// What it is called.
    pub(crate) id: SessionId,
    /// Who is in, and where.
    pub(crate) visitor: Visitor,
    /// When the user was let in.
    pub(crate) began: SystemTime,
    begun_at: Instant,
    up: AtomicU64,
    down: AtomicU64,
    open: [AtomicU32; ChannelKind::ALL.len()],
    end_text: OnceLock<String>,
    end: Notify,
}

impl Session {
    /// How long it has been open.
    pub(crate) fn age(&self) -> Duration {
        self.begun_at.elapsed()
    }

    /// Payload bytes from the user so far.
    pub(crate) fn bytes_up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    /// Payload bytes to the user so far.
    pub(crate) fn bytes_down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }

    /// How many channels of `kind` are open.
    pub(crate) fn open(&self, kind: ChannelKind) -> u32 {
        let open = self.open.get(kind.index());
        open.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Ends the session, and tells both sides `text`. Of several texts the first is told.
    pub(crate) fn end(&self, text: String) {
        let _ = self.end_text.set(text);
        self.end.notify_one();
    }

    /// Completes with the text when somebody ends the session. To be awaited by its relay alone.
    pub(crate) async fn ended(&self) -> String {
        self.end.notified().await;
        self.end_text.get().cloned().unwrap_or_default()
    }

    /// So many more bytes have passed. To be called by the relay alone.
    pub(crate) fn passed(&self, from: Side, bytes: u64) {
        let passed = match from {
            Side::Client => &self.up,
            Side::Daemon => &self.down,
        };
        passed.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A channel was opened. To be called by the relay alone.
    pub(crate) fn opened(&self, kind: ChannelKind) {
        if let Some(count) = self.open.get(kind.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A channel that was opened was closed. To be called by the relay alone.
    pub(crate) fn closed(&self, kind: ChannelKind) {
        if let Some(count) = self.open.get(kind.index()) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// All open sessions of this proxy.
#[derive(Debug)]
pub(crate) struct Sessions {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    live: BTreeMap<SessionId, Arc<Session>>,
    next: u64,
    /// What passed in sessions that are over.
    past: Totals,
}

/// What all sessions come to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    /// How many are open.
    pub(crate) open: usize,
    /// Payload bytes from users, in sessions that are over too.
    pub(crate) bytes_up: u64,
    /// The same to users.
    pub(crate) bytes_down: u64,
    /// Open channels, each kind at its index.
    pub(crate) channels: [u64; ChannelKind::ALL.len()],
}

impl Totals {
    fn add(&mut self, session: &Session) {
        self.bytes_up = self.bytes_up.saturating_add(session.bytes_up());
        self.bytes_down = self.bytes_down.saturating_add(session.bytes_down());
    }
}

impl Default for Sessions {
    fn default() -> Self {
        let mut process = [0; 4];
        SystemRandom.fill(&mut process);
        let state = State {
            live: BTreeMap::new(),
            next: u64::from(u32::from_be_bytes(process)) << 32,
            past: Totals::default(),
        };
        Self {
            state: Mutex::new(state),
        }
    }
}

impl Sessions {
    /// Somebody has been let in.
    pub(crate) fn begin(self: &Arc<Self>, visitor: Visitor) -> Live {
        let mut state = self.lock();
        let id = SessionId(state.next);
        state.next = state.next.wrapping_add(1);
        let session = Arc::new(Session {
            id,
            visitor,
            began: SystemTime::now(),
            begun_at: Instant::now(),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            open: Default::default(),
            end_text: OnceLock::new(),
            end: Notify::new(),
        });
        state.live.insert(id, Arc::clone(&session));
        Live {
            sessions: Arc::clone(self),
            session,
        }
    }

    /// The open session that is called `id`.
    pub(crate) fn get(&self, id: SessionId) -> Option<Arc<Session>> {
        self.lock().live.get(&id).cloned()
    }

    /// At most `most` open sessions, the oldest first, from behind `after` on.
    pub(crate) fn list(&self, after: Option<SessionId>, most: usize) -> Vec<Arc<Session>> {
        let state = self.lock();
        let behind = |id: &SessionId| after.is_none_or(|after| *id > after);
        let listed = state.live.iter().filter(|(id, _)| behind(id));
        listed
            .take(most)
            .map(|(_, session)| Arc::clone(session))
            .collect()
    }

    /// What all of them come to.
    pub(crate) fn totals(&self) -> Totals {
        let state = self.lock();
        let mut totals = state.past;
        totals.open = state.live.len();
        for session in state.live.values() {
            totals.add(session);
            for (total, kind) in totals.channels.iter_mut().zip(ChannelKind::ALL) {
                *total += u64::from(session.open(kind));
            }
        }
        totals
    }

    /// Nothing that runs under this lock can panic half-way.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session that is open as long as this lives.
#[derive(Debug)]
pub(crate) struct Live {
    sessions: Arc<Sessions>,
    session: Arc<Session>,
}

impl Live {
    /// The session.
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut state = self.sessions.lock();
        state.live.remove(&self.session.id);
        state.past.add(&self.session);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn visitor(user: &str) -> Visitor {
        Visitor {
            user: user.to_owned(),
            who: None,
            address: SocketAddr::from(([192, 0, 2, 1], 5)),
            instance: Instance {
                process_guid: "process".to_owned(),
                index: 0,
                guid: "instance".to_owned(),
            },
            tags: Tags::new(),
        }
    }

    fn users(sessions: &[Arc<Session>]) -> Vec<&str> {
        sessions
            .iter()
            .map(|session| session.visitor.user.as_str())
            .collect()
    }

    #[test]
    fn who_is_in_is_listed_in_order_and_in_pieces() {
        let sessions = Arc::<Sessions>::default();
        let live: Vec<Live> = ["a", "b", "c"]
            .into_iter()
            .map(|user| sessions.begin(visitor(user)))
            .collect();
        assert_eq!(users(&sessions.list(None, 2)), ["a", "b"]);
        let second = live[1].session().id;
        assert_eq!(users(&sessions.list(Some(second), 2)), ["c"]);
        drop(live);
        assert!(sessions.list(None, 9).is_empty() && sessions.get(second).is_none());
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let sessions = Arc::<Sessions>::default();
        let live = sessions.begin(visitor("a"));
        let id = live.session().id;
        let text = id.to_string();
        assert_eq!((text.len(), text.parse()), (16, Ok(id)));
        for other in [
            "",
            "1",
            "+00000000000000f",
            &text.replace('0', "O"),
            "ffffffffffffffff0",
        ] {
            assert!(
                other == text || other.parse::<SessionId>().is_err(),
                "{other}"
            );
        }
    }

    #[test]
    fn what_passed_is_counted_beyond_the_end() {
        let sessions = Arc::<Sessions>::default();
        let first = sessions.begin(visitor("a"));
        let second = sessions.begin(visitor("b"));
        first.session().passed(Side::Client, 5);
        second.session().passed(Side::Daemon, 7);
        second.session().opened(ChannelKind::Agent);
        second.session().opened(ChannelKind::Agent);
        second.session().closed(ChannelKind::Agent);
        let totals = sessions.totals();
        assert_eq!((totals.open, totals.bytes_up, totals.bytes_down), (2, 5, 7));
        assert_eq!(totals.channels[ChannelKind::Agent.index()], 1);
        drop((first, second));
        let totals = sessions.totals();
        assert_eq!((totals.open, totals.bytes_up, totals.bytes_down), (0, 5, 7));
        assert_eq!(totals.channels, [0; ChannelKind::ALL.len()]);
    }

    #[tokio::test]
    async fn an_end_is_told_even_if_nobody_waits_yet() {
        let sessions = Arc::<Sessions>::default();
        let live = sessions.begin(visitor("a"));
        let session = sessions.get(live.session().id).unwrap();
        session.end("enough".to_owned());
        session.end("later".to_owned());
        assert_eq!(live.session().ended().await, "enough");
    }
}
