//! How long sources with failed logins have to wait, after OpenSSH's `PerSourcePenalties`.
//!
//! Each offence adds a time to the source's penalty, twice as much as the one before it. A short penalty
//! only counts; a source is barred once its penalty is worth it, until it is over. So a typo or two cost
//! nothing, and whoever goes on soon waits ten minutes for each guess. A source that stays away for as
//! long starts anew, and each login that succeeds makes up for an offence: an office behind one address is
//! not barred for the stale codes of a day.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::sources::Source;

/// Sources that are remembered, with 100 bytes each. Beyond that the one whose penalty ends first is
/// forgotten.
const MOST_SOURCES: usize = 65_536;

/// Penalties below this do not bar: OpenSSH's `min`.
const LEAST: Duration = Duration::from_secs(15);

/// No penalty is longer: OpenSSH's `max`.
const MOST: Duration = Duration::from_secs(600);

/// How long offences are remembered after a penalty is over, and make the next one longer.
const MEMORY: Duration = Duration::from_secs(600);

/// Something that a login did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offence {
    /// A password or a code was not right.
    Password,
    /// The login was not done in its time, and it was not us whom it waited for.
    Deadline,
    /// What came was not SSH as its rules are.
    Protocol,
}

impl Offence {
    /// The name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Deadline => "deadline",
            Self::Protocol => "protocol",
        }
    }

    /// The first penalty for it.
    fn penalty(self) -> Duration {
        Duration::from_secs(match self {
            Self::Password => 5,
            // OpenSSH has the same for `grace-exceeded`.
            Self::Deadline => 10,
            Self::Protocol => 10,
        })
    }
}

#[derive(Debug, Clone, Copy)]
struct Penalty {
    ends: Instant,
    offences: u32,
    bars: bool,
}

/// The penalties of all sources.
#[derive(Debug, Default)]
pub(crate) struct Penalties {
    by_source: HashMap<Source, Penalty>,
    by_end: BTreeSet<(Instant, Source)>,
}

impl Penalties {
    /// Whether `source` has to wait.
    pub(crate) fn bars(&self, now: Instant, source: Source) -> bool {
        let penalty = self.by_source.get(&source);
        penalty.is_some_and(|penalty| penalty.bars && penalty.ends > now)
    }

    /// Adds to the penalty of `source`.
    pub(crate) fn punish(&mut self, now: Instant, source: Source, offence: Offence) {
        self.forget_the_old(now);
        let before = self.by_source.get(&source).copied();
        let (left, offences, barred) = match before {
            None => (Duration::ZERO, 0, false),
            Some(penalty) => {
                self.by_end.remove(&(penalty.ends, source));
                let left = penalty.ends.saturating_duration_since(now);
                (left, penalty.offences, penalty.bars && !left.is_zero())
            }
        };
        let factor = 2u32.saturating_pow(offences);
        let added = offence.penalty().saturating_mul(factor);
        let length = left.saturating_add(added).min(MOST);
        let penalty = Penalty {
            ends: now + length,
            offences: offences.saturating_add(1),
            bars: barred || length >= LEAST,
        };
        if before.is_none() && self.by_source.len() >= MOST_SOURCES {
            self.forget_first();
        }
        self.by_source.insert(source, penalty);
        self.by_end.insert((penalty.ends, source));
    }

    /// Makes up for one offence of `source`: the next penalty is half as long. The present one stays.
    pub(crate) fn forgive(&mut self, source: Source) {
        if let Some(penalty) = self.by_source.get_mut(&source) {
            penalty.offences = penalty.offences.saturating_sub(1);
        }
    }

    fn forget_the_old(&mut self, now: Instant) {
        while let Some(&(ends, _)) = self.by_end.first()
            && ends + MEMORY <= now
        {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, source)) = self.by_end.pop_first() {
            self.by_source.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Source = Source::V4(1);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// For how many seconds the source is barred from `now` on.
    fn barred_for(penalties: &Penalties, now: Instant, source: Source) -> u64 {
        let barred = |after: &u64| penalties.bars(now + seconds(*after), source);
        (0..10_000).take_while(barred).count() as u64
    }

    #[test]
    fn one_mistake_is_free_and_each_further_one_costs_twice_as_much() {
        let now = Instant::now();
        let mut penalties = Penalties::default();
        let mut barred = Vec::new();
        for _ in 0..9 {
            penalties.punish(now, SOURCE, Offence::Password);
            barred.push(barred_for(&penalties, now, SOURCE));
        }
        assert_eq!(barred, [0, 15, 35, 75, 155, 315, 600, 600, 600]);
        assert!(!penalties.bars(now, Source::V4(2)));
    }

    #[test]
    fn slow_guessing_is_slowed_down_further() {
        let mut now = Instant::now();
        let mut penalties = Penalties::default();
        let mut waits = Vec::new();
        for _ in 0..10 {
            penalties.punish(now, SOURCE, Offence::Password);
            let wait = barred_for(&penalties, now, SOURCE);
            waits.push(wait);
            now += seconds(wait.max(60));
        }
        assert_eq!(waits, [0, 0, 20, 40, 80, 160, 320, 600, 600, 600]);
    }

    #[test]
    fn a_busy_office_is_not_barred_for_its_few_mistakes() {
        let mut now = Instant::now();
        let mut penalties = Penalties::default();
        for _ in 0..100 {
            penalties.punish(now, SOURCE, Offence::Password);
            assert!(!penalties.bars(now, SOURCE));
            penalties.forgive(SOURCE);
            penalties.forgive(SOURCE);
            now += seconds(60);
        }
        // Guesses between good logins cost what they cost without a past, and no less.
        for _ in 0..3 {
            penalties.punish(now, SOURCE, Offence::Password);
            penalties.forgive(SOURCE);
        }
        assert_eq!(barred_for(&penalties, now, SOURCE), 15);
        penalties.forgive(Source::V4(2));
        assert_eq!(penalties.by_source.len(), 1);
    }

    #[test]
    fn who_stays_away_starts_anew() {
        let now = Instant::now();
        let mut penalties = Penalties::default();
        for _ in 0..9 {
            penalties.punish(now, SOURCE, Offence::Password);
        }
        let later = now + MOST + MEMORY;
        penalties.punish(later, Source::V4(2), Offence::Deadline);
        assert_eq!(penalties.by_source.len(), 1, "the first is forgotten");
        penalties.punish(later, SOURCE, Offence::Password);
        assert!(!penalties.bars(later, SOURCE));
    }

    #[test]
    fn the_table_is_bounded_and_keeps_the_worst() {
        let now = Instant::now();
        let mut penalties = Penalties::default();
        for _ in 0..9 {
            penalties.punish(now, SOURCE, Offence::Password);
        }
        for number in 0..2 * MOST_SOURCES as u64 {
            penalties.punish(now, Source::V6(number), Offence::Password);
        }
        assert_eq!(penalties.by_source.len(), MOST_SOURCES);
        assert_eq!(penalties.by_end.len(), MOST_SOURCES);
        assert!(penalties.bars(now, SOURCE));
    }
}
