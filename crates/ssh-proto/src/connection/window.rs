//! Flow control of one channel (RFC 4254 section 5.2): how much may be sent, how much may come, and
//! when to tell the peer that it may send more.
//!
//! Owns the arithmetic and nothing else: no message is made here. No number in it grows with the
//! bytes that went through a channel, so a channel has no length at which it breaks.

use super::limits::{SEND_MAX, WINDOW_FLOOR};
use crate::error::Error;

/// The part of the window that must be consumed before an adjustment is worth a message: with a
/// quarter, a peer far away can always have three quarters of the window in flight.
const ADJUST_SHARE: u32 = 4;

/// What the peer still takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct SendWindow {
    left: u32,
    max_packet: u32,
}

impl SendWindow {
    /// The window as the peer opened it.
    pub(super) fn new(window: u32, max_packet: u32) -> Self {
        Self {
            left: window,
            max_packet: max_packet.min(SEND_MAX),
        }
    }

    /// CHANNEL_WINDOW_ADJUST: true when the window had been empty and no longer is.
    pub(super) fn adjust(&mut self, bytes: u32) -> Result<bool, Error> {
        let opened = self.left == 0 && bytes != 0;
        self.left = (self.left.checked_add(bytes))
            .ok_or(Error::Misbehaved("window grew beyond 2^32-1 bytes"))?;
        Ok(opened)
    }

    /// The most data that the next message may carry.
    pub(super) fn available(&self) -> usize {
        self.left.min(self.max_packet) as usize
    }

    /// `bytes` were sent.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(saturating_u32(bytes));
    }
}

/// What we still take.
///
/// `size` = `left` + `consumed` + what the application was given and still holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReceiveWindow {
    size: u32,
    left: u32,
    consumed: u32,
    max_packet: u32,
}

impl ReceiveWindow {
    /// A window that the peer may fill.
    pub(super) fn new(size: u32, max_packet: u32) -> Self {
        Self {
            size,
            left: size,
            consumed: 0,
            max_packet,
        }
    }

    /// What the peer may have under way at one time.
    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// The peer sent `bytes` of data, of whichever type.
    pub(super) fn receive(&mut self, bytes: usize) -> Result<(), Error> {
        let bytes = saturating_u32(bytes);
        if bytes > self.max_packet {
            return Err(Error::Misbehaved("data beyond the maximum packet size"));
        }
        self.left =
            (self.left.checked_sub(bytes)).ok_or(Error::Misbehaved("data beyond the window"))?;
        Ok(())
    }

    /// The application is done with `bytes`, and never with more than it was given. The amount of
    /// the adjustment to send, when one is due.
    pub(super) fn consume(&mut self, bytes: usize) -> Option<u32> {
        let held = self.size.saturating_sub(self.left);
        self.consumed = (self.consumed)
            .saturating_add(saturating_u32(bytes))
            .min(held);
        if self.consumed == 0 || self.consumed < self.size / ADJUST_SHARE {
            return None;
        }
        let credit = std::mem::take(&mut self.consumed);
        self.left = self.left.saturating_add(credit);
        Some(credit)
    }
}

/// The windows of one connection together.
#[derive(Debug)]
pub(super) struct Budget {
    total: u32,
    granted: u64,
}

impl Budget {
    /// Nothing granted yet.
    pub(super) fn new(total: u32) -> Self {
        Self { total, granted: 0 }
    }

    /// A window of `wanted` bytes or, when others hold much of the total, of less: at most half of
    /// what is left, but never below the floor.
    pub(super) fn grant(&mut self, wanted: u32) -> u32 {
        let left = u64::from(self.total).saturating_sub(self.granted);
        let share = u32::try_from(left / 2).unwrap_or(u32::MAX);
        let window = wanted.min(share.max(WINDOW_FLOOR));
        self.granted = self.granted.saturating_add(u64::from(window));
        window
    }

    /// The channel with this window is gone.
    pub(super) fn release(&mut self, window: u32) {
        self.granted = self.granted.saturating_sub(u64::from(window));
    }
}

fn saturating_u32(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_send_window_grows_to_2_32_minus_1_and_no_further() {
        let mut window = SendWindow::new(u32::MAX - 1, 1);
        assert_eq!(window.adjust(1), Ok(false));
        assert_eq!(window.adjust(0), Ok(false));
        assert!(window.adjust(1).is_err());
        assert!(SendWindow::new(1, 1).adjust(u32::MAX).is_err());
        assert_eq!(SendWindow::new(0, 1).adjust(u32::MAX), Ok(true));
    }

    #[test]
    fn a_message_carries_no_more_than_window_packet_and_our_own_bound() {
        assert_eq!(SendWindow::new(0, 100).available(), 0);
        assert_eq!(SendWindow::new(7, 100).available(), 7);
        assert_eq!(SendWindow::new(700, 100).available(), 100);
        assert_eq!(
            SendWindow::new(u32::MAX, u32::MAX).available(),
            SEND_MAX as usize
        );
    }

    #[test]
    fn only_an_empty_window_is_reported_as_opened() {
        let mut window = SendWindow::new(0, 10);
        assert_eq!(window.adjust(0), Ok(false));
        assert_eq!(window.adjust(5), Ok(true));
        assert_eq!(window.adjust(5), Ok(false));
        window.spend(10);
        assert_eq!(window.available(), 0);
        assert_eq!(window.adjust(1), Ok(true));
    }

    #[test]
    fn data_beyond_the_window_or_the_packet_size_is_refused() {
        let mut window = ReceiveWindow::new(10, 6);
        assert!(window.receive(7).is_err());
        assert!(window.receive(6).is_ok());
        assert!(window.receive(0).is_ok());
        assert!(window.receive(5).is_err());
        assert!(window.receive(4).is_ok());
        assert!(window.receive(1).is_err());
        assert!(window.receive(usize::MAX).is_err());
        assert!(ReceiveWindow::new(0, 6).receive(1).is_err());
        assert!(ReceiveWindow::new(0, 6).receive(0).is_ok());
    }

    #[test]
    fn an_adjustment_waits_for_a_quarter_of_the_window() {
        let mut window = ReceiveWindow::new(100, 100);
        window.receive(100).unwrap();
        assert_eq!(window.consume(24), None);
        assert_eq!(window.consume(1), Some(25));
        assert_eq!(window.consume(0), None);
        assert_eq!(window.consume(75), Some(75));
    }

    #[test]
    fn no_more_is_credited_than_was_received() {
        let mut window = ReceiveWindow::new(100, 100);
        assert_eq!(window.consume(1000), None);
        window.receive(60).unwrap();
        assert_eq!(window.consume(usize::MAX), Some(60));
        assert_eq!(window.consume(usize::MAX), None);
        assert!(window.receive(100).is_ok());
        let mut tiny = ReceiveWindow::new(1, 1);
        tiny.receive(1).unwrap();
        assert_eq!(tiny.consume(1), Some(1));
        assert_eq!(ReceiveWindow::new(0, 1).consume(9), None);
    }

    #[test]
    fn a_crowded_connection_grants_less_and_gets_it_back() {
        let mut budget = Budget::new(8 << 20);
        let windows: Vec<u32> = (0..300).map(|_| budget.grant(2 << 20)).collect();
        assert_eq!(windows[..4], [2 << 20, 2 << 20, 2 << 20, 1 << 20]);
        assert_eq!(windows[299], WINDOW_FLOOR);
        assert!(budget.granted <= (8 << 20) + 300 * u64::from(WINDOW_FLOOR));
        assert_eq!(budget.grant(100), 100);
        windows.into_iter().for_each(|size| budget.release(size));
        budget.release(100);
        assert_eq!(budget.granted, 0);
        assert_eq!(Budget::new(u32::MAX).grant(u32::MAX), u32::MAX / 2);
    }

    /// Both ends of one channel, in steps large enough to pass 4 GiB many times.
    #[test]
    fn a_channel_carries_more_than_4_gib() {
        let (mut out, mut back) = (
            SendWindow::new(u32::MAX, SEND_MAX),
            ReceiveWindow::new(u32::MAX, SEND_MAX),
        );
        let mut total = 0u64;
        while total <= 5 << 30 {
            let step = out.available();
            assert_eq!(step, SEND_MAX as usize);
            out.spend(step);
            back.receive(step).unwrap();
            if let Some(credit) = back.consume(step) {
                out.adjust(credit).unwrap();
            }
            total += step as u64;
        }
    }

    proptest! {
        /// The windows against the same sums in u64.
        #[test]
        fn windows_agree_with_a_wider_model(
            size: u32,
            max_packet in 1u32..,
            steps in prop::collection::vec((any::<bool>(), any::<u32>()), 0..60),
        ) {
            let mut window = ReceiveWindow::new(size, max_packet);
            let (mut received, mut done, mut credited) = (0u64, 0u64, 0u64);
            for (receive, bytes) in steps {
                let wide = u64::from(bytes);
                if receive {
                    let fits = wide <= u64::from(max_packet)
                        && received + wide <= u64::from(size) + credited;
                    prop_assert_eq!(window.receive(bytes as usize).is_ok(), fits);
                    received += if fits { wide } else { 0 };
                } else {
                    done = received.min(done + wide);
                    credited += u64::from(window.consume(bytes as usize).unwrap_or(0));
                    prop_assert!(credited <= done);
                    prop_assert!(done - credited < u64::from(size / 4).max(1));
                }
            }
        }

        #[test]
        fn adjustments_agree_with_a_wider_model(
            start: u32,
            steps in prop::collection::vec((any::<bool>(), any::<u32>()), 0..60),
        ) {
            let mut window = SendWindow::new(start, u32::MAX);
            let mut model = u64::from(start);
            for (grow, bytes) in steps {
                if grow {
                    let sum = model + u64::from(bytes);
                    let fits = sum <= u64::from(u32::MAX);
                    prop_assert_eq!(window.adjust(bytes).is_ok(), fits);
                    model = if fits { sum } else { model };
                } else {
                    let step = window.available().min(bytes as usize);
                    window.spend(step);
                    model -= step as u64;
                }
                prop_assert_eq!(window.available() as u64, model.min(u64::from(SEND_MAX)));
            }
        }
    }
}
