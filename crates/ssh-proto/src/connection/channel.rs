//! One channel from its CHANNEL_OPEN to its second CHANNEL_CLOSE, and the table of all of them.
//!
//! Owns the state, both windows and the counts of replies. Says whether a message is allowed; makes
//! and sends none.

use super::ChannelId;
use super::message::End;
use super::window::{ReceiveWindow, SendWindow};
use crate::error::Error;

/// Said of a message for a channel that has no confirmed life; the one text for all such messages.
const NOT_OPEN: Error = Error::Misbehaved("message for a channel that is not open");

/// The life of a channel (RFC 4254 sections 5.1 and 5.3).
///
/// ```text
///         open()                           CHANNEL_OPEN came
///           |                                      |
///           v                                      v
///      +---------+                            +---------+
///      | Opening |--- OPEN_FAILURE --> gone   | Offered |--- refuse() --> gone
///      +---------+                            +---------+
///           | OPEN_CONFIRMATION                    | accept()
///           +-------------------+------------------+
///                               v
///    +-----------------------------------------------------+
///    | Open   sending:   Flowing --- send_eof() ---> Ended |
///    |        receiving: Flowing --- EOF came -----> Ended |
///    +-----------------------------------------------------+
///           | close()                              | CHANNEL_CLOSE came
///           v                                      v
///      +---------+                            +---------+
///      | Closing |                            | Left    |
///      +---------+                            +---------+
///           | CHANNEL_CLOSE came                   | close()
///           v                                      v
///          gone                                   gone
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// We asked for it; the peer has not answered.
    Opening,
    /// The peer asked for it; the application has not answered.
    Offered,
    /// Confirmed. EOF ends one direction and leaves the other as it was.
    Open { sending: Half, receiving: Half },
    /// We sent CLOSE: nothing more goes out, and what still comes in is checked and dropped.
    Closing { receiving: Half },
    /// The peer sent CLOSE, which the application will answer with ours: nothing else may pass.
    Left,
}

/// What our CLOSE does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// It is sent; the channel lives until the peer's.
    Sent,
    /// It is sent as the second of the two; the channel is to be removed.
    Last,
}

/// What the peer's CLOSE does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// The application has to answer it.
    First,
    /// It was the second of the two; the channel is to be removed.
    Last,
}

/// One direction (RFC 4254 section 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    /// Data may come.
    Flowing,
    /// EOF came.
    Ended,
}

/// Whether the application gets to see what a message brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It does.
    Deliver,
    /// We had sent CLOSE, or there is nothing to see.
    Drop,
}

impl Verdict {
    fn deliver_if(condition: bool) -> Self {
        if condition { Self::Deliver } else { Self::Drop }
    }
}

/// One entry of the table. No part of it is on the heap.
#[derive(Debug)]
pub(super) struct Channel {
    /// The peer's number; 0 while opening, when nothing is sent with it.
    peer: u32,
    send: SendWindow,
    receive: ReceiveWindow,
    /// Requests of the peer that want a reply and have none.
    owed: u16,
    /// Requests of ours that want a reply and have none.
    awaited: u16,
    state: State,
}

impl Channel {
    /// We send CHANNEL_OPEN.
    pub(super) fn opening(receive: ReceiveWindow) -> Self {
        Self {
            peer: 0,
            send: SendWindow::new(0, 0),
            receive,
            owed: 0,
            awaited: 0,
            state: State::Opening,
        }
    }

    /// CHANNEL_OPEN came.
    pub(super) fn offered(end: End) -> Self {
        Self {
            peer: end.number,
            send: SendWindow::new(end.window, end.max_packet),
            receive: ReceiveWindow::new(0, 0),
            owed: 0,
            awaited: 0,
            state: State::Offered,
        }
    }

    /// We send OPEN_CONFIRMATION with this window.
    pub(super) fn accept(&mut self, receive: ReceiveWindow) {
        self.receive = receive;
        self.state = State::OPEN;
    }

    /// OPEN_CONFIRMATION came.
    pub(super) fn confirmed(&mut self, end: End) -> Result<(), Error> {
        if self.state != State::Opening {
            return Err(Error::Misbehaved("unsolicited CHANNEL_OPEN_CONFIRMATION"));
        }
        if end.max_packet == 0 {
            return Err(Error::Misbehaved("maximum packet size of 0"));
        }
        self.peer = end.number;
        self.send = SendWindow::new(end.window, end.max_packet);
        self.state = State::OPEN;
        Ok(())
    }

    /// The recipient number of what we send.
    pub(super) fn peer(&self) -> u32 {
        self.peer
    }

    /// The window that was granted.
    pub(super) fn window(&self) -> u32 {
        self.receive.size()
    }

    pub(super) fn is_opening(&self) -> bool {
        self.state == State::Opening
    }

    pub(super) fn is_offered(&self) -> bool {
        self.state == State::Offered
    }

    /// Confirmed, and no CLOSE either way.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// The most data that the next message of ours may carry; none after our EOF or CLOSE.
    pub(super) fn sendable(&self) -> usize {
        match self.state {
            State::Open {
                sending: Half::Flowing,
                ..
            } => self.send.available(),
            _ => 0,
        }
    }

    /// `bytes` of data were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.send.spend(bytes);
    }

    /// Ends our direction: true when EOF is to be sent.
    pub(super) fn end(&mut self) -> bool {
        match &mut self.state {
            State::Open { sending, .. } => std::mem::replace(sending, Half::Ended) == Half::Flowing,
            _ => false,
        }
    }

    /// We close. None: there is nothing to send.
    pub(super) fn close(&mut self) -> Option<Closing> {
        match self.state {
            State::Open { receiving, .. } => {
                self.state = State::Closing { receiving };
                Some(Closing::Sent)
            }
            State::Left => Some(Closing::Last),
            State::Opening | State::Offered | State::Closing { .. } => None,
        }
    }

    /// CLOSE came.
    pub(super) fn closed(&mut self) -> Result<Closed, Error> {
        self.receiving()?;
        if self.is_open() {
            self.state = State::Left;
            return Ok(Closed::First);
        }
        Ok(Closed::Last)
    }

    /// The application consumed `bytes`: the adjustment to send, for which there is no use once the
    /// peer's direction has ended or we have closed.
    pub(super) fn consume(&mut self, bytes: usize) -> Option<u32> {
        match self.state {
            State::Open {
                receiving: Half::Flowing,
                ..
            } => self.receive.consume(bytes),
            _ => None,
        }
    }

    /// Data of either type came.
    pub(super) fn data(&mut self, bytes: usize) -> Result<Verdict, Error> {
        if *self.receiving()? == Half::Ended {
            return Err(Error::Misbehaved("data after CHANNEL_EOF"));
        }
        self.receive.receive(bytes)?;
        Ok(Verdict::deliver_if(self.is_open() && bytes != 0))
    }

    /// EOF came. A second one says nothing new; some clients send it.
    pub(super) fn eof(&mut self) -> Result<Verdict, Error> {
        let before = std::mem::replace(self.receiving()?, Half::Ended);
        Ok(Verdict::deliver_if(
            self.is_open() && before == Half::Flowing,
        ))
    }

    /// WINDOW_ADJUST came: delivered when an empty window opened that data may still go into.
    pub(super) fn adjust(&mut self, bytes: u32) -> Result<Verdict, Error> {
        self.receiving()?;
        let opened = self.send.adjust(bytes)?;
        Ok(Verdict::deliver_if(opened && self.sendable() > 0))
    }

    /// A request came.
    pub(super) fn request(&mut self, want_reply: bool, limit: u16) -> Result<Verdict, Error> {
        self.receiving()?;
        if self.is_open() && want_reply {
            increment(&mut self.owed, limit)
                .ok_or(Error::Limit("channel requests without a reply"))?;
        }
        Ok(Verdict::deliver_if(self.is_open()))
    }

    /// We reply: true when a reply is owed and can still be sent.
    pub(super) fn reply(&mut self) -> bool {
        self.is_open() && decrement(&mut self.owed).is_some()
    }

    /// We send a request that wants a reply. None: too many do.
    pub(super) fn await_reply(&mut self, limit: u16) -> Option<()> {
        increment(&mut self.awaited, limit)
    }

    /// A reply came.
    pub(super) fn replied(&mut self) -> Result<Verdict, Error> {
        self.receiving()?;
        decrement(&mut self.awaited).ok_or(Error::Misbehaved("unsolicited channel reply"))?;
        Ok(Verdict::deliver_if(self.is_open()))
    }

    /// The peer's direction of a channel that the peer may send to.
    fn receiving(&mut self) -> Result<&mut Half, Error> {
        match &mut self.state {
            State::Open { receiving, .. } | State::Closing { receiving } => Ok(receiving),
            State::Opening | State::Offered | State::Left => Err(NOT_OPEN),
        }
    }
}

impl State {
    const OPEN: Self = Self::Open {
        sending: Half::Flowing,
        receiving: Half::Flowing,
    };
}

/// One more, if that is within the limit.
pub(super) fn increment(count: &mut u16, limit: u16) -> Option<()> {
    *count = count.checked_add(1).filter(|sum| *sum <= limit)?;
    Some(())
}

/// One less, if there is one.
pub(super) fn decrement(count: &mut u16) -> Option<()> {
    *count = count.checked_sub(1)?;
    Some(())
}

/// The channels by our number for them. A number is free again once its channel is gone.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Option<Channel>>,
    used: usize,
}

impl Table {
    /// Puts a channel under the lowest free number; none when `limit` channels are there.
    pub(super) fn insert(&mut self, channel: Channel, limit: usize) -> Option<ChannelId> {
        if self.used >= limit {
            return None;
        }
        let index = (self.slots.iter().position(Option::is_none)).unwrap_or(self.slots.len());
        let number = u32::try_from(index).ok()?;
        match self.slots.get_mut(index) {
            Some(slot) => *slot = Some(channel),
            None => self.slots.push(Some(channel)),
        }
        self.used = self.used.saturating_add(1);
        Some(ChannelId(number))
    }

    /// The channel, in whichever state.
    pub(super) fn get(&self, id: ChannelId) -> Option<&Channel> {
        self.slots.get(id.index())?.as_ref()
    }

    /// The channel, in whichever state.
    pub(super) fn get_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.slots.get_mut(id.index())?.as_mut()
    }

    /// The channel that a message of the peer names.
    pub(super) fn named(&mut self, number: u32) -> Result<&mut Channel, Error> {
        self.get_mut(ChannelId(number)).ok_or(NOT_OPEN)
    }

    /// Takes the channel out. The last one gone, the table needs no memory.
    pub(super) fn remove(&mut self, id: ChannelId) -> Option<Channel> {
        let channel = self.slots.get_mut(id.index())?.take()?;
        self.used = self.used.saturating_sub(1);
        if self.used == 0 {
            self.slots = Vec::new();
        }
        Some(channel)
    }

    /// How many channels there are.
    pub(super) fn len(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: End = End {
        number: 5,
        window: 100,
        max_packet: 50,
    };

    fn open() -> Channel {
        let mut channel = Channel::offered(END);
        channel.accept(ReceiveWindow::new(100, 50));
        channel
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Option<Channel>>() <= 40);
    }

    #[test]
    fn nothing_may_come_for_a_channel_before_its_confirmation() {
        for mut channel in [
            Channel::offered(END),
            Channel::opening(ReceiveWindow::new(100, 50)),
        ] {
            assert_eq!(channel.data(1), Err(NOT_OPEN));
            assert_eq!(channel.eof(), Err(NOT_OPEN));
            assert_eq!(channel.adjust(1), Err(NOT_OPEN));
            assert_eq!(channel.request(true, 9), Err(NOT_OPEN));
            assert_eq!(channel.replied(), Err(NOT_OPEN));
            assert_eq!(channel.sendable(), 0);
            assert!(!channel.end() && channel.close().is_none() && !channel.reply());
        }
    }

    #[test]
    fn eof_ends_one_direction_only() {
        let mut channel = open();
        assert_eq!(channel.eof(), Ok(Verdict::Deliver));
        assert_eq!(channel.sendable(), 50);
        assert!(channel.data(0).is_err());
        assert_eq!(channel.request(false, 0), Ok(Verdict::Deliver));
        let mut channel = open();
        assert!(channel.end() && !channel.end());
        assert_eq!(channel.sendable(), 0);
        assert_eq!(channel.data(1), Ok(Verdict::Deliver));
    }

    #[test]
    fn after_our_close_everything_is_checked_and_dropped() {
        let mut channel = open();
        assert_eq!(channel.close(), Some(Closing::Sent));
        assert_eq!(channel.close(), None);
        assert_eq!(channel.data(50), Ok(Verdict::Drop));
        assert_eq!(channel.data(50), Ok(Verdict::Drop));
        assert!(channel.data(1).is_err());
        assert_eq!(channel.adjust(1), Ok(Verdict::Drop));
        assert_eq!(channel.request(true, 0), Ok(Verdict::Drop));
        assert!(!channel.reply());
        assert_eq!(channel.eof(), Ok(Verdict::Drop));
        assert!(channel.data(0).is_err());
        assert!(channel.replied().is_err());
        assert_eq!(channel.consume(100), None);
    }

    #[test]
    fn numbers_are_reused_lowest_first() {
        let mut table = Table::default();
        let ids: Vec<_> = (0..3).map(|_| table.insert(open(), 3).unwrap()).collect();
        assert!(table.insert(open(), 3).is_none());
        assert!(table.remove(ids[1]).is_some() && table.remove(ids[1]).is_none());
        assert_eq!(table.insert(open(), 3), Some(ids[1]));
        assert!(ids.iter().all(|id| table.remove(*id).is_some()));
        assert_eq!((table.len(), table.slots.capacity()), (0, 0));
        assert!(table.named(u32::MAX).is_err());
    }
}
