//! What an app's owners learn about visits: two lines in the log of the app, and how many sessions
//! there are.
//!
//! Whoever gets in has a [`Visit`]; it tells of the end when it is dropped, however that comes.

use std::sync::{Arc, Mutex, PoisonError};

use crate::platform::loggregator::Emitter;
use crate::sessions::Session;

/// What the lines say they are from; `cf logs` shows it as `[SSH/0]`.
const SOURCE_TYPE: &str = "SSH";

/// The gauge of open sessions, and its unit.
const CONNECTIONS: &str = "ssh-connections";
const CONNECTIONS_UNIT: &str = "Metric";

/// The visits of all apps.
#[derive(Debug)]
pub(crate) struct Visits {
    emitter: Emitter,
    /// Held while the gauge is sent, so that values are sent in their order.
    open: Mutex<u32>,
}

/// One session of a user in an instance.
#[derive(Debug)]
pub(crate) struct Visit {
    visits: Arc<Visits>,
    session: Arc<Session>,
}

impl Visits {
    /// Nobody is here yet.
    pub(crate) fn new(emitter: Emitter) -> Self {
        let open = Mutex::new(0);
        Self { emitter, open }
    }

    /// Someone has got into an instance.
    pub(crate) fn begin(self: &Arc<Self>, session: Arc<Session>) -> Visit {
        let visitor = &session.visitor;
        let line = format!("Successful remote access by {}", visitor.address);
        self.emitter.app_log(SOURCE_TYPE, &line, &visitor.tags);
        self.count(|open| open.saturating_add(1));
        Visit {
            visits: Arc::clone(self),
            session,
        }
    }

    fn count(&self, change: impl FnOnce(u32) -> u32) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = change(*open);
        self.emitter
            .gauge(CONNECTIONS, CONNECTIONS_UNIT, f64::from(*open));
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.visits.count(|open| open.saturating_sub(1));
        let visitor = &self.session.visitor;
        let line = format!("Remote access ended for {}", visitor.address);
        self.visits
            .emitter
            .app_log(SOURCE_TYPE, &line, &visitor.tags);
    }
}
