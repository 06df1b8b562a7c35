//! How often something happened, for a log that strangers cannot flood.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Between two lines about the same.
const PAUSE: Duration = Duration::from_secs(10);

/// What has been counted and not yet told, by its code. Codes are ours, and few.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<&'static str, Count>);

#[derive(Debug, Default)]
struct Count {
    told: Option<Instant>,
    untold: u64,
}

impl Tally {
    /// Counts one more; gives how often it happened since the last line, if it is time for one.
    pub(crate) fn count(&mut self, code: &'static str, now: Instant) -> Option<u64> {
        let count = self.0.entry(code).or_default();
        count.untold = count.untold.saturating_add(1);
        if count.told.is_some_and(|told| now < told + PAUSE) {
            return None;
        }
        count.told = Some(now);
        Some(std::mem::take(&mut count.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_together() {
        let mut tally = Tally::default();
        let now = Instant::now();
        assert_eq!(tally.count("a", now), Some(1));
        assert_eq!(tally.count("b", now), Some(1));
        for _ in 0..5 {
            assert_eq!(tally.count("a", now + PAUSE / 2), None);
        }
        assert_eq!(tally.count("a", now + PAUSE), Some(6));
        assert_eq!(tally.count("a", now + PAUSE), None);
    }
}
