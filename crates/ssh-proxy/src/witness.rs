//! What becomes of what is seen of a relay: its session's numbers follow it, channels are counted, and
//! the audit is told.

use std::sync::Arc;

use crate::audit::Audit;
use crate::metrics::Metrics;
use crate::relay::Side;
use crate::relay::observe::{Note, Observer};
use crate::sessions::Session;

/// Sees one session from its begin to its end.
pub(crate) struct Witness {
    session: Arc<Session>,
    metrics: Arc<Metrics>,
    audit: Arc<Audit>,
}

impl Witness {
    /// A witness of `session`, whose relay has not begun.
    pub(crate) fn new(session: Arc<Session>, metrics: Arc<Metrics>, audit: Arc<Audit>) -> Self {
        Self {
            session,
            metrics,
            audit,
        }
    }
}

impl Observer for Witness {
    fn passed(&mut self, from: Side, bytes: u64) {
        self.session.passed(from, bytes);
    }

    fn note(&mut self, note: Note<'_>) {
        match note {
            Note::Opened(kind) => {
                self.session.opened(kind);
                self.metrics.opened(kind);
            }
            Note::Closed(kind) => self.session.closed(kind),
            Note::Refused(capability) => self.metrics.refused_by_policy(capability),
            Note::Opening { .. } | Note::Starting(_) | Note::Listening(_) => {}
        }
        self.audit.note(&self.session, note);
    }
}
