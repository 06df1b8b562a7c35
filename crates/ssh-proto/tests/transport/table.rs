//! Every message number in every state, in both roles: what the table says and nothing else.
//!
//! The expectations here are written down once more, not computed by the code under test. There is no
//! state before our own KEXINIT: it leaves with the identification.

use ssh_proto::Error;
use ssh_proto::crypto::random::{Random, SeededRandom};
use ssh_proto::msg;
use ssh_proto::transport::{Event, Role};
use ssh_proto::wire::Put;

use crate::support::numbers::letter;
use crate::support::peer::{Offer, Peer, kex_reply};

/// How far the peer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not even its identification has come.
    Unidentified,
    /// First kex: our KEXINIT is sent, the peer's has not come.
    Identified,
    /// First kex: both KEXINITs are there.
    FirstKexinit,
    /// The same, and the peer guessed wrong: its next kex message is to be dropped.
    FirstGuess,
    /// Client, first kex: the host key waits for its owner's decision.
    Undecided,
    /// First kex: the values are exchanged and our NEWKEYS is sent, the peer's has not come.
    FirstNewkeys,
    /// Both NEWKEYS came, and nothing since.
    Keyed,
    /// Something has come since.
    Unauthenticated,
    /// A user is authenticated.
    Open,
    /// We have started a rekey, which the peer may not know yet.
    OurRekey,
    /// The peer started a rekey, and we answered at once.
    TheirRekey,
    /// Both started one.
    CrossedRekey,
    /// The peer's NEWKEYS is all that lacks of a rekey.
    RekeyNewkeys,
    /// A rekey is over.
    Rekeyed,
    /// We have sent DISCONNECT.
    Ended,
}
use State::*;

/// For each state what becomes of each number that the peer of a server sends, and of a client. First
/// match; `*` is all others, which are cut where it is not there.
///
/// `D` the peer ended the connection, `X` the connection is cut and the peer told, `.` it goes on and
/// nobody learns of it, `K` the key exchange begins or goes on, `P` the layer above gets it, `O` PONG is
/// the answer, `U` UNIMPLEMENTED is, `W` it is not looked at.
const STRICT: [(State, &str, &str); 5] = [
    (Unidentified, "", ""),
    (Identified, "1D 2-4. 20K", "1D 2-4. 20K"),
    (FirstKexinit, "1D 30K", "1D 31K"),
    (FirstGuess, "1D 30-49.", "1D 30-49."),
    (FirstNewkeys, "1D 21K", "1D 21K"),
];

const LOOSE: [(State, &str, &str); 5] = [
    (Unidentified, "", ""),
    (Identified, "1D 2-4. 20K", "1D 2-4. 20K"),
    (FirstKexinit, "1D 2-4. 30K", "1D 2-4. 31K"),
    (FirstGuess, "1D 2-4. 30-49.", "1D 2-4. 30-49."),
    (FirstNewkeys, "1D 2-4. 21K", "1D 2-4. 21K"),
];

/// The same whether the first key exchange was strict or not.
const LATER: [(State, &str, &str); 10] = [
    (Undecided, "", "*W"),
    (Keyed, "1D 2-4. 5P 7. 50P", "1D 2-4. 6P 7. 51-53P 60P"),
    (
        Unauthenticated,
        "1D 2-4. 5P 50P",
        "1D 2-4. 6P 7. 51-53P 60P",
    ),
    (Open, OPEN_SERVER, OPEN_CLIENT),
    // All as before, but that a pong waits for our NEWKEYS.
    (OurRekey, OPEN_SERVER_KEYING, OPEN_CLIENT_KEYING),
    (TheirRekey, "1D 2-4. 30K", "1D 2-4. 31K"),
    (CrossedRekey, "1D 2-4. 30K", "1D 2-4. 31K"),
    (RekeyNewkeys, "1D 2-4. 21K", "1D 2-4. 21K"),
    (Rekeyed, OPEN_SERVER, OPEN_CLIENT),
    (Ended, "*W", "*W"),
];

const OPEN_SERVER: &str = "1D 2-4. 7X 20K 21X 30-49X 50. 51-53X 60X 80-82P 90-100P 192O 193. *U";
const OPEN_CLIENT: &str = "1D 2-4. 7X 20K 21X 30-49X 51-53X 60X 80-82P 90-100P 192O 193. *U";
const OPEN_SERVER_KEYING: &str =
    "1D 2-4. 7X 20K 21X 30-49X 50. 51-53X 60X 80-82P 90-100P 192-193. *U";
const OPEN_CLIENT_KEYING: &str = "1D 2-4. 7X 20K 21X 30-49X 51-53X 60X 80-82P 90-100P 192-193. *U";

/// A transport of `role` in a state, and its peer.
fn peer_in(role: Role, state: State, strict: bool) -> Peer {
    let guess = (state == FirstGuess).then_some("a-guess@example.com");
    let offer = Offer {
        strict,
        guess,
        ..Offer::default()
    };
    match state {
        Unidentified | Identified | FirstKexinit | FirstGuess | Undecided | FirstNewkeys => {
            first_kex(Peer::new(role, offer), state)
        }
        Keyed => Peer::connected(role, offer),
        Unauthenticated => {
            let mut peer = Peer::connected(role, offer);
            peer.ignored(&[msg::IGNORE]);
            peer
        }
        _ => rekey(Peer::authenticated(role, offer), state),
    }
}

fn first_kex(mut peer: Peer, state: State) -> Peer {
    if state == Unidentified {
        return peer;
    }
    peer.identify();
    peer.poll().unwrap();
    peer.heard();
    if state == Identified {
        return peer;
    }
    peer.say_kexinit();
    peer.poll().unwrap();
    peer.heard();
    if matches!(state, FirstKexinit | FirstGuess) {
        return peer;
    }
    peer.say_kex_message();
    if state == Undecided {
        assert_eq!(peer.transport.poll(peer.now), Ok(Event::HostKey));
    } else {
        peer.poll().unwrap();
    }
    peer.heard();
    peer
}

/// From an open connection on.
fn rekey(mut peer: Peer, state: State) -> Peer {
    match state {
        OurRekey | CrossedRekey => peer.transport.start_rekey(peer.now),
        Rekeyed => peer.kex().unwrap(),
        Ended => {
            peer.cut(&[msg::NEWKEYS]);
        }
        _ => {}
    }
    if matches!(state, TheirRekey | CrossedRekey | RekeyNewkeys) {
        peer.say_kexinit();
        peer.poll().unwrap();
        peer.heard();
    }
    if state == RekeyNewkeys {
        peer.say_kex_message();
        peer.poll().unwrap();
    }
    peer.heard();
    peer
}

/// A payload that is all that its number asks for, so that only the state can be against it.
fn fitting(peer: &mut Peer, number: u8) -> Vec<u8> {
    let mut payload = vec![number];
    match number {
        msg::DISCONNECT => {
            payload.put_u32(11);
            payload.put_string(b"bye");
            payload.put_string(b"");
        }
        msg::DEBUG => payload.extend([0; 9]),
        msg::KEXINIT => return peer.kexinit(),
        msg::NEWKEYS => {}
        msg::KEX_ECDH_INIT if peer.role == Role::Server => return peer.kex_message(),
        msg::KEX_ECDH_REPLY if peer.role == Role::Client && !peer.public.is_empty() => {
            return peer.kex_message();
        }
        msg::KEX_ECDH_REPLY => return kex_reply(b"", b"", b""),
        _ => payload.put_u32(0),
    }
    payload
}

/// Sends the payload and sees what comes of it, as a letter of the table.
fn outcome(peer: &mut Peer, payload: &[u8]) -> char {
    let mut unimplemented = vec![msg::UNIMPLEMENTED];
    unimplemented.put_u32(peer.sequence_out);
    let keying = |peer: &Peer| (peer.transport.is_keying(), peer.transport.peer_is_keying());
    let before = keying(peer);
    let identified = peer.transport.peer_identification().is_some();
    peer.say(payload);
    if !identified {
        // A client would wait for the end of whatever line it takes this for.
        peer.say_raw(&[0; 255]);
    }
    match peer.poll() {
        Ok(Event::Packet) => {
            assert_eq!(peer.transport.packet(), payload);
            assert_eq!(peer.heard(), Vec::<Vec<u8>>::new());
            'P'
        }
        Ok(Event::NeedInput) => match &peer.heard()[..] {
            [] if keying(peer) == before => '.',
            [answer] if *answer == unimplemented => 'U',
            [answer] if answer[0] == msg::PONG => 'O',
            heard => {
                let of_kex = |payload: &Vec<u8>| matches!(payload[0], 7 | 20 | 21 | 30 | 31);
                assert!(heard.iter().all(of_kex), "{heard:?}");
                'K'
            }
        },
        Ok(event) => panic!("{event:?}"),
        Err(Error::Disconnected { .. }) => {
            assert_eq!(peer.heard(), Vec::<Vec<u8>>::new());
            'D'
        }
        Err(_) => {
            peer.must_be_cut();
            'X'
        }
    }
}

/// Sends the payload where nothing is looked at: all stays as it was.
fn unread(peer: &mut Peer, payload: &[u8]) {
    let before = peer.transport.poll(peer.now);
    peer.say(payload);
    assert_eq!(peer.transport.poll(peer.now), before);
    assert_eq!(peer.heard(), Vec::<Vec<u8>>::new());
}

/// True if what a message is about shows only when its body is read.
fn is_read(wanted: char, number: u8) -> bool {
    wanted == 'K' || matches!(number, msg::EXT_INFO | msg::PING)
}

fn drive(role: Role, state: State, strict: bool, row: &str) {
    let mut random = SeededRandom::new(5);
    let mut peer = peer_in(role, state, strict);
    for number in 0..=255 {
        let mut noise = [number; 41];
        random.fill(&mut noise[1..]);
        let whole = fitting(&mut peer, number);
        let wanted = letter(row, number);
        // For what is cut in any case, one body and none are enough.
        let bodies = if wanted == 'X' { 2 } else { 4 };
        for payload in [&whole[..], &noise[..1], &noise[..2], &noise]
            .into_iter()
            .take(bodies)
        {
            if wanted == 'W' {
                unread(&mut peer, payload);
                continue;
            }
            let outcome = outcome(&mut peer, payload);
            let malformed = payload != whole && is_read(wanted, number);
            assert!(
                outcome == wanted || (malformed && outcome == 'X'),
                "{role:?} {state:?} strict: {strict} {payload:?}: {outcome} and not {wanted}"
            );
            // Where nothing has changed, the next may come to the same place.
            let same = matches!(state, Open | OurRekey | Rekeyed) && "PUO.".contains(outcome);
            if !same {
                peer = peer_in(role, state, strict);
            }
        }
    }
}

fn drive_all(strict: bool, rows: &[(State, &str, &str)]) {
    for (state, server, client) in rows {
        if *state != Undecided {
            drive(Role::Server, *state, strict, server);
        }
        drive(Role::Client, *state, strict, client);
    }
}

#[test]
fn in_a_strict_first_key_exchange() {
    drive_all(true, &STRICT);
}

#[test]
fn in_a_loose_first_key_exchange() {
    drive_all(false, &LOOSE);
}

#[test]
fn after_a_strict_first_key_exchange() {
    drive_all(true, &LATER);
}

#[test]
fn after_a_loose_first_key_exchange() {
    drive_all(false, &LATER);
}
