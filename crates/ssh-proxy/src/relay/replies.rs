//! The replies that one side waits for, to global requests or to those of one channel.
//!
//! Replies bear no number: their order alone tells what they answer (RFC 4254 sections 4 and 5.4). So a
//! refusal that is made here waits behind the replies that the other end still owes.

use std::collections::VecDeque;

/// Refusals that wait, by the replies before them: 4 bytes each.
const MOST_REFUSALS: usize = 1024;

/// Replies that one side waits for. Without waiting refusals this is two numbers and no memory.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// For each waiting refusal, the replies of the other end between it and the one before it.
    refusals: VecDeque<u32>,
    /// Replies of the other end behind the last refusal.
    behind: u32,
    /// All replies of the other end that are still owed.
    owed: u32,
}

/// What to do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Nothing is owed before it: it goes out now.
    Now,
    /// It waits; [`Replies::reply`] tells when it is due.
    Later,
}

/// More waits than the bounds allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

impl Replies {
    /// A request goes to the other end, which owes a reply; at most `most` at a time.
    pub(super) fn ask(&mut self, most: u32) -> Result<(), TooMany> {
        if self.owed >= most {
            return Err(TooMany);
        }
        self.owed = self.owed.saturating_add(1);
        self.behind = self.behind.saturating_add(1);
        Ok(())
    }

    /// A request is refused here.
    pub(super) fn refuse(&mut self) -> Result<Refused, TooMany> {
        if self.owed == 0 {
            return Ok(Refused::Now);
        }
        if self.refusals.len() >= MOST_REFUSALS {
            return Err(TooMany);
        }
        self.refusals.push_back(std::mem::take(&mut self.behind));
        Ok(Refused::Later)
    }

    /// The other end replied: how many refusals go out behind its reply, or `None` if nothing was owed.
    pub(super) fn reply(&mut self) -> Option<usize> {
        self.owed = self.owed.checked_sub(1)?;
        match self.refusals.front_mut() {
            None => self.behind = self.behind.saturating_sub(1),
            Some(before) => *before = before.saturating_sub(1),
        }
        let mut due = 0;
        while self.refusals.front() == Some(&0) {
            self.refusals.pop_front();
            due += 1;
        }
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_goes_out_at_once_where_nothing_is_owed() {
        let mut replies = Replies::default();
        assert_eq!(replies.refuse(), Ok(Refused::Now));
        replies.ask(9).unwrap();
        assert_eq!(replies.reply(), Some(0));
        assert_eq!(replies.refuse(), Ok(Refused::Now));
        assert_eq!(replies.reply(), None);
    }

    /// Every order of requests that are asked and refused, with replies as late as can be and in
    /// between, gives the replies in the order of the requests.
    #[test]
    fn replies_keep_the_order_of_their_requests() {
        const LENGTH: u32 = 8;
        for pattern in 0..1u32 << LENGTH {
            for replies_between in [0, 1, 2, 3] {
                let mut replies = Replies::default();
                let (mut wanted, mut seen) = (Vec::new(), Vec::new());
                let reply = |replies: &mut Replies, seen: &mut Vec<bool>| {
                    if let Some(due) = replies.reply() {
                        seen.push(true);
                        seen.extend(std::iter::repeat_n(false, due));
                    }
                };
                for bit in 0..LENGTH {
                    let asked = pattern >> bit & 1 == 1;
                    wanted.push(asked);
                    if asked {
                        replies.ask(LENGTH).unwrap();
                    } else if replies.refuse().unwrap() == Refused::Now {
                        seen.push(false);
                    }
                    if replies_between > 0 && bit % replies_between == 0 {
                        reply(&mut replies, &mut seen);
                    }
                }
                for _ in 0..LENGTH {
                    reply(&mut replies, &mut seen);
                }
                assert_eq!(seen, wanted, "{pattern:b} {replies_between}");
                assert!(replies.refusals.is_empty() && replies.behind == 0);
            }
        }
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut replies = Replies::default();
        replies.ask(1).unwrap();
        assert_eq!(replies.ask(1), Err(TooMany));
        for _ in 0..MOST_REFUSALS {
            assert_eq!(replies.refuse(), Ok(Refused::Later));
        }
        assert_eq!(replies.refuse(), Err(TooMany));
        assert_eq!(replies.reply(), Some(MOST_REFUSALS));
    }
}
