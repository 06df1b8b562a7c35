//! Every message number in every state, in both roles: what the table says and nothing else.
//!
//! The expectations here are written down once more, not computed by the table itself.

use ssh_proto::Error;
use ssh_proto::crypto::random::{Random, SeededRandom};
use ssh_proto::msg;
use ssh_proto::transport::{Event, Role};
use ssh_proto::wire::Put;

use crate::support::peer::{Offer, Peer};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    FirstKex,
    StrictFirstKex,
    BeforeAuthentication,
    Open,
    OpenWhilePeerIsKeying,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The connection goes on and nobody learns of it.
    Nothing,
    /// The layer above gets it.
    Packet,
    /// UNIMPLEMENTED is the answer.
    Unimplemented,
    /// The peer ended the connection.
    Disconnected,
    /// The connection ends and the peer is told.
    Cut,
    /// The transport's own: fine or malformed, but not for the layer above.
    Own,
}

fn expected(role: Role, state: State, number: u8) -> Outcome {
    use Outcome::{Cut, Disconnected, Nothing, Own, Packet, Unimplemented};
    let strict = state == State::StrictFirstKex;
    match (state, number) {
        (_, 1) => Disconnected,
        (_, 2..=4) if strict => Cut,
        (_, 2..=4) => Nothing,
        // All of these have bodies that are not in these payloads.
        (_, 20 | 21 | 30..=49) => Cut,
        (State::BeforeAuthentication, 7) => Own,
        (State::BeforeAuthentication, 5 | 50) if role == Role::Server => Packet,
        (State::BeforeAuthentication, 6 | 51..=53 | 60) if role == Role::Client => Packet,
        (State::Open, 7 | 51..=53 | 60) => Cut,
        (State::Open, 50) if role == Role::Server => Nothing,
        (State::Open, 80..=82 | 90..=100) => Packet,
        (State::Open, 192) => Own,
        (State::Open, 193) => Nothing,
        (State::Open, _) => Unimplemented,
        _ => Cut,
    }
}

fn peer_in(role: Role, state: State) -> Peer {
    let offer = Offer {
        strict: state != State::FirstKex,
        ..Offer::default()
    };
    match state {
        State::FirstKex | State::StrictFirstKex => {
            let mut peer = Peer::new(role, offer);
            peer.identify();
            if state == State::StrictFirstKex {
                peer.say_kexinit();
            }
            peer.poll().unwrap();
            peer
        }
        State::BeforeAuthentication => Peer::connected(role, offer),
        State::Open => Peer::authenticated(role, offer),
        State::OpenWhilePeerIsKeying => {
            let mut peer = Peer::authenticated(role, offer);
            peer.say_kexinit();
            peer.poll().unwrap();
            peer
        }
    }
}

/// Sends the payload and sees what comes of it.
fn outcome(peer: &mut Peer, payload: &[u8]) -> Outcome {
    peer.heard();
    let mut unimplemented = vec![msg::UNIMPLEMENTED];
    unimplemented.put_u32(peer.sequence_out);
    peer.say(payload);
    match peer.poll() {
        Ok(Event::Packet) => {
            assert_eq!(peer.transport.packet(), payload);
            assert_eq!(peer.heard(), Vec::<Vec<u8>>::new());
            Outcome::Packet
        }
        Ok(Event::NeedInput) => match &peer.heard()[..] {
            [] => Outcome::Nothing,
            [answer] if *answer == unimplemented => Outcome::Unimplemented,
            [answer] if answer[0] == msg::PONG => Outcome::Own,
            heard => panic!("{heard:?}"),
        },
        Ok(event) => panic!("{event:?}"),
        Err(Error::Disconnected { .. }) => {
            assert_eq!(peer.heard(), Vec::<Vec<u8>>::new());
            Outcome::Disconnected
        }
        Err(_) => {
            peer.must_be_cut();
            Outcome::Cut
        }
    }
}

fn drive(state: State) {
    let mut random = SeededRandom::new(5);
    for role in [Role::Client, Role::Server] {
        let mut peer = peer_in(role, state);
        for number in 0..=255 {
            let mut noise = [0; 40];
            random.fill(&mut noise);
            for body in [&b""[..], &noise[..1], &noise] {
                let wanted = expected(role, state, number);
                let outcome = outcome(&mut peer, &[&[number], body].concat());
                let fits = match wanted {
                    Outcome::Own => matches!(outcome, Outcome::Own | Outcome::Cut),
                    _ => outcome == wanted,
                };
                assert!(fits, "{role:?} {state:?} {number} {body:?}: {outcome:?}");
                let over = matches!(outcome, Outcome::Cut | Outcome::Disconnected);
                if over || state == State::BeforeAuthentication {
                    peer = peer_in(role, state);
                }
            }
        }
    }
}

#[test]
fn in_the_first_key_exchange() {
    drive(State::FirstKex);
}

#[test]
fn in_a_strict_first_key_exchange() {
    drive(State::StrictFirstKex);
}

#[test]
fn before_authentication() {
    drive(State::BeforeAuthentication);
}

#[test]
fn once_open() {
    drive(State::Open);
}

#[test]
fn while_the_peer_is_keying() {
    drive(State::OpenWhilePeerIsKeying);
}
