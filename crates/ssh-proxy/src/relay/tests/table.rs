//! Every message number from either end, and every message of RFC 4254 in each state of a channel: what
//! the other end gets of it.
//!
//! The expectations are written down here, not computed by the code under test. Time is virtual: who is
//! cut has a second to read why, which nobody has to wait for.

use super::*;

/// What becomes of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The other end gets it as it is.
    Forwarded,
    /// It stays on its hop, and both connections go on.
    Kept,
    /// It stays here, and its sender is answered with a refusal.
    Refused,
    /// Its sender ended the connection; the other end is told.
    Ended,
    /// Its sender is cut and told why; the other end is told that the sender is gone.
    Cut,
}
use Fate::{Cut, Ended, Forwarded, Kept, Refused};

/// Where the channel stands that the client calls 3 and the daemon 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Never,
    /// The client opened it, and the daemon has not answered.
    OpenedByClient,
    /// The daemon opened it, and the client has not answered.
    OpenedByDaemon,
    RefusedByDaemon,
    InUse,
    ClientEof,
    DaemonEof,
    ClientClosed,
    DaemonClosed,
    Gone,
}
use State::*;

/// For each state what becomes of what the client sends, and of what the daemon sends: `F` forwarded, `X`
/// cut.
#[rustfmt::skip]
const CHANNELS: [(State, &str, &str); 10] = [
    // OPEN of a new number, OPEN of the sender's number for this channel, OPEN_CONFIRMATION,
    // OPEN_FAILURE, WINDOW_ADJUST, DATA, EXTENDED_DATA, EOF, CLOSE, REQUEST, one that wants a reply,
    // SUCCESS, FAILURE. Data and windows pass unseen: whether they may come is for the ends to judge.
    //                 new own conf fail  adj data ext  eof close  req req!  succ fail
    (Never,           "F   F   X    X     F   F    F    X   X      X   X     X    X",
                      "F   F   X    X     F   F    F    X   X      X   X     X    X"),
    (OpenedByClient,  "F   X   X    X     F   F    F    X   X      X   X     X    X",
                      "F   F   F    F     F   F    F    X   X      X   X     X    X"),
    (OpenedByDaemon,  "F   F   F    F     F   F    F    X   X      X   X     X    X",
                      "F   X   X    X     F   F    F    X   X      X   X     X    X"),
    (RefusedByDaemon, "F   F   X    X     F   F    F    X   X      X   X     X    X",
                      "F   F   X    X     F   F    F    X   X      X   X     X    X"),
    (InUse,           "F   X   X    X     F   F    F    F   F      F   F     X    X",
                      "F   X   X    X     F   F    F    F   F      F   F     X    X"),
    (ClientEof,       "F   X   X    X     F   F    F    F   F      F   F     X    X",
                      "F   X   X    X     F   F    F    F   F      F   F     X    X"),
    (DaemonEof,       "F   X   X    X     F   F    F    F   F      F   F     X    X",
                      "F   X   X    X     F   F    F    F   F      F   F     X    X"),
    (ClientClosed,    "F   X   X    X     F   F    F    X   X      X   X     X    X",
                      "F   X   X    X     F   F    F    F   F      F   F     X    X"),
    (DaemonClosed,    "F   X   X    X     F   F    F    F   F      F   F     X    X",
                      "F   X   X    X     F   F    F    X   X      X   X     X    X"),
    (Gone,            "F   F   X    X     F   F    F    X   X      X   X     X    X",
                      "F   F   X    X     F   F    F    X   X      X   X     X    X"),
];

/// The same for SUCCESS and FAILURE where one request of the other end is not answered yet, and for a
/// second one behind it.
const AWAITED: [(State, &str, &str); 5] = [
    (InUse, "F X", "F X"),
    (ClientEof, "F X", "F X"),
    (DaemonEof, "F X", "F X"),
    (ClientClosed, "X", "F X"),
    (DaemonClosed, "F X", "X"),
];

/// Of the numbers that are not RFC 4254's. What is not there is kept.
fn of_the_hop(number: u8) -> Option<Fate> {
    match number {
        1 => Some(Ended),
        // EXT_INFO, KEXINIT without a body, NEWKEYS, key exchange, ends of an authentication that is over.
        7 | 20 | 21 | 30..=49 | 51..=53 | 60 => Some(Cut),
        80..=82 | 90..=100 => None,
        _ => Some(Kept),
    }
}

const SIDES: [Side; 2] = [Side::Client, Side::Daemon];

/// The number by which the side calls the channel.
fn number(side: Side) -> u32 {
    match side {
        Side::Client => 3,
        Side::Daemon => 7,
    }
}

/// A kind of channel that either side may open, since nobody knows it.
const KIND: &[u8] = b"odd-channel@example.com";

/// The messages in the order of [`CHANNELS`], as the side sends them.
fn messages(from: Side) -> [Vec<u8>; 13] {
    let (own, recipient) = (number(from), number(from.other()));
    let mut refusal = about(msg::CHANNEL_OPEN_FAILURE, recipient);
    refusal.extend([0; 12]);
    let mut adjust = about(msg::CHANNEL_WINDOW_ADJUST, recipient);
    adjust.put_u32(1);
    let mut extended = about(msg::CHANNEL_EXTENDED_DATA, recipient);
    extended.put_u32(msg::EXTENDED_DATA_STDERR);
    extended.put_string(b"x");
    [
        open(KIND, 99),
        open(KIND, own),
        confirm(recipient, own),
        refusal,
        adjust,
        data(recipient, b"x"),
        extended,
        about(msg::CHANNEL_EOF, recipient),
        about(msg::CHANNEL_CLOSE, recipient),
        request(recipient, b"odd-request@example.com", false),
        request(recipient, b"odd-request@example.com", true),
        about(msg::CHANNEL_SUCCESS, recipient),
        about(msg::CHANNEL_FAILURE, recipient),
    ]
}

impl Rig {
    /// The sender and the other.
    fn ends(&mut self, from: Side) -> (&mut Peer, &mut Peer) {
        match from {
            Side::Client => (&mut self.client, &mut self.daemon),
            Side::Daemon => (&mut self.daemon, &mut self.client),
        }
    }

    /// The side sends a payload that goes through.
    async fn passes(&mut self, from: Side, payload: &[u8]) {
        let (sender, other) = self.ends(from);
        pass(sender, other, payload).await;
    }

    /// Sends the payload, and behind it one that goes through each way, so that it shows what became of
    /// the first.
    async fn fate(&mut self, from: Side, payload: &[u8]) -> Fate {
        let behind = global(b"behind", false);
        let (sender, other) = self.ends(from);
        sender.send(payload).await;
        sender.0.transport_mut().send(&[&behind]);
        // If the payload was the end, writing may fail.
        let _ = sender.0.flush().await;
        match other.receive().await {
            Ok(got) if got == behind => {}
            Ok(got) => {
                assert_eq!(got, payload);
                other.expect(&behind).await;
                return Forwarded;
            }
            Err(told) => {
                let gone = Reason::ByApplication as u32;
                assert!(matches!(told, Error::Disconnected { reason, .. } if reason == gone));
                return self.end(from).await;
            }
        }
        other.send(&behind).await;
        match sender.receive().await.unwrap() {
            got if got == behind => Kept,
            got => {
                assert!(matches!(got[0], msg::CHANNEL_OPEN_FAILURE | 82 | 100));
                sender.expect(&behind).await;
                Refused
            }
        }
    }

    /// The connection is over, by what `from` sent.
    async fn end(&mut self, from: Side) -> Fate {
        let end = (&mut self.relay).await.unwrap();
        assert_eq!(end.side, from);
        if let Error::Disconnected { .. } = end.reason {
            return Ended;
        }
        let (sender, _) = self.ends(from);
        let told = sender.receive().await.unwrap_err();
        let wrong = Reason::ProtocolError as u32;
        assert!(matches!(told, Error::Disconnected { reason, .. } if reason == wrong));
        Cut
    }
}

/// A relay with the channel in a state, and one unanswered request of `asking`.
async fn rig_in(state: State, asking: Option<Side>) -> Rig {
    use Side::{Client, Daemon};
    let mut rig = rig().await;
    match state {
        Never => return rig,
        OpenedByDaemon => rig.passes(Daemon, &open(KIND, 7)).await,
        _ => rig.passes(Client, &open(KIND, 3)).await,
    }
    match state {
        OpenedByClient | OpenedByDaemon => return rig,
        RefusedByDaemon => {
            rig.passes(Daemon, &messages(Daemon)[3]).await;
            return rig;
        }
        _ => rig.passes(Daemon, &confirm(3, 7)).await,
    }
    if let Some(side) = asking {
        rig.passes(side, &messages(side)[10]).await;
    }
    let (eof, close) = (msg::CHANNEL_EOF, msg::CHANNEL_CLOSE);
    let ends: &[(Side, u8)] = match state {
        ClientEof => &[(Client, eof)],
        DaemonEof => &[(Daemon, eof)],
        ClientClosed => &[(Client, close)],
        DaemonClosed => &[(Daemon, close)],
        Gone => &[(Client, close), (Daemon, close)],
        _ => &[],
    };
    for (side, end) in ends {
        rig.passes(*side, &about(*end, number(side.other()))).await;
    }
    rig
}

#[tokio::test(start_paused = true)]
async fn of_the_numbers_that_are_not_of_the_connection_protocol() {
    for from in SIDES {
        let mut rig = rig_in(InUse, None).await;
        for number in 0..=255 {
            let Some(wanted) = of_the_hop(number) else {
                continue;
            };
            let fate = rig.fate(from, &[number, 0, 0, 0, 0]).await;
            assert_eq!(fate, wanted, "{from:?} {number}");
            if matches!(fate, Cut | Ended) {
                rig = rig_in(InUse, None).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_the_messages_for_a_channel() {
    for (state, client, daemon) in CHANNELS {
        for (from, row) in [(Side::Client, client), (Side::Daemon, daemon)] {
            let wanted: Vec<&str> = row.split_whitespace().collect();
            assert_eq!(wanted.len(), messages(from).len());
            for (message, wanted) in messages(from).iter().zip(wanted) {
                let mut rig = rig_in(state, None).await;
                let fate = rig.fate(from, message).await;
                let wanted = if wanted == "F" { Forwarded } else { Cut };
                assert_eq!(fate, wanted, "{state:?} {from:?} {message:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_the_replies_to_requests_on_a_channel() {
    for (state, client, daemon) in AWAITED {
        for (from, row) in [(Side::Client, client), (Side::Daemon, daemon)] {
            for reply in [msg::CHANNEL_SUCCESS, msg::CHANNEL_FAILURE] {
                let mut rig = rig_in(state, Some(from.other())).await;
                for wanted in row.split_whitespace() {
                    let reply = about(reply, number(from.other()));
                    let fate = rig.fate(from, &reply).await;
                    let wanted = if wanted == "F" { Forwarded } else { Cut };
                    assert_eq!(fate, wanted, "{state:?} {from:?} {reply:?}");
                }
            }
        }
    }
}

/// What is about no channel: OPEN, by its kind, and global requests with their replies.
#[tokio::test(start_paused = true)]
async fn of_what_is_about_no_channel() {
    let hostkeys = |name: &str, want_reply| {
        let name = format!("hostkeys-{name}@openssh.com");
        global(name.as_bytes(), want_reply)
    };
    let rows = [
        (
            global(b"odd-request@example.com", false),
            Forwarded,
            Forwarded,
        ),
        (
            global(b"odd-request@example.com", true),
            Forwarded,
            Forwarded,
        ),
        (hostkeys("00", false), Kept, Kept),
        (hostkeys("prove-00", true), Refused, Refused),
        (vec![msg::REQUEST_SUCCESS], Cut, Cut),
        (vec![msg::REQUEST_FAILURE], Cut, Cut),
        (open(b"session", 99), Forwarded, Refused),
        (open(b"direct-tcpip", 99), Forwarded, Refused),
        (
            open(b"direct-streamlocal@openssh.com", 99),
            Forwarded,
            Refused,
        ),
        (open(b"direct-odd@example.com", 99), Forwarded, Refused),
        (open(b"tun@openssh.com", 99), Forwarded, Refused),
        (open(b"forwarded-tcpip", 99), Forwarded, Refused),
        (
            open(b"forwarded-streamlocal@openssh.com", 99),
            Forwarded,
            Refused,
        ),
        (open(b"auth-agent@openssh.com", 99), Forwarded, Refused),
        (open(b"auth-agent", 99), Forwarded, Refused),
        (open(b"x11", 99), Forwarded, Refused),
        (open(KIND, 99), Forwarded, Forwarded),
    ];
    for (payload, client, daemon) in &rows {
        for (from, wanted) in [(Side::Client, client), (Side::Daemon, daemon)] {
            let mut rig = rig_in(InUse, None).await;
            let fate = rig.fate(from, payload).await;
            assert_eq!(fate, *wanted, "{from:?} {}", payload.escape_ascii());
        }
    }
    for from in SIDES {
        for reply in [vec![msg::REQUEST_SUCCESS, 1], vec![msg::REQUEST_FAILURE]] {
            let mut rig = rig_in(InUse, None).await;
            rig.passes(from.other(), &global(b"odd", true)).await;
            assert_eq!(rig.fate(from, &reply).await, Forwarded);
            assert_eq!(rig.fate(from, &reply).await, Cut);
        }
    }
}
