//! What becomes of what is seen of a relay: its session's numbers follow it, channels are counted, and
//! the audit is told.

use std::sync::Arc;

use crate::audit::Audit;
use crate::metrics::Metrics;
use crate::relay::Side;
use crate::relay::observe::{Note, Observer};
use crate::sessions::Session;

/// Events of one session that the audit is told at once, and how many more each second: a browser behind
/// `-D` needs some hundred, and who asks without end shall not fill a disk.
const BURST: u64 = 1000;
const EACH_SECOND: u64 = 10;

/// Sees one session from its begin to its end.
pub(crate) struct Witness {
    session: Arc<Session>,
    metrics: Arc<Metrics>,
    audit: Arc<Audit>,
    /// Events that the audit was told, and those that it was not.
    told: u64,
    left_out: u64,
}

impl Witness {
    /// A witness of `session`, whose relay has not begun.
    pub(crate) fn new(session: Arc<Session>, metrics: Arc<Metrics>, audit: Arc<Audit>) -> Self {
        Self {
            session,
            metrics,
            audit,
            told: 0,
            left_out: 0,
        }
    }

    fn tell(&mut self, note: Note<'_>) {
        let most = BURST + EACH_SECOND.saturating_mul(self.session.age().as_secs());
        match self.told < most {
            true => {
                self.told += 1;
                self.audit.note(&self.session, note);
            }
            false => self.left_out += 1,
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        if self.left_out > 0 {
            self.audit.left_out(&self.session, self.left_out);
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
                return;
            }
            Note::Closed(kind) => return self.session.closed(kind),
            Note::Refused(capability) => self.metrics.refused_by_policy(capability),
            Note::Opening { .. } | Note::Starting(_) | Note::Listening(_) => {}
        }
        self.tell(note);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::audit::settings::AuditSettings;
    use crate::relay::observe::{ChannelKind, Start};
    use crate::sessions::Sessions;
    use crate::sessions::tests::visitor;

    #[tokio::test]
    async fn who_asks_without_end_is_told_of_up_to_a_bound() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("audit.log");
        let settings = AuditSettings {
            file: Some(file.clone()),
            ..AuditSettings::default()
        };
        let (audit, writer) = Audit::start(settings).unwrap();
        let audit = Arc::new(audit);
        let live = Arc::<Sessions>::default().begin(visitor("cf:guid/0"));
        let session = Arc::clone(live.session());
        let mut witness = Witness::new(session, Arc::default(), Arc::clone(&audit));
        for _ in 0..BURST + 5 {
            witness.note(Note::Starting(Start::Shell));
            witness.note(Note::Closed(ChannelKind::Session));
        }
        drop(witness);
        drop(audit);
        writer.unwrap().finish().await;
        let text = fs::read_to_string(&file).unwrap();
        let (last, told) = (text.lines().last().unwrap(), text.lines().count() as u64);
        assert!(last.contains(r#""event":"events_left_out""#), "{last}");
        let left_out: serde_json::Value = serde_json::from_str(last).unwrap();
        assert_eq!(told - 1 + left_out["count"].as_u64().unwrap(), BURST + 5);
        assert!(told < BURST + 5);
    }
}
