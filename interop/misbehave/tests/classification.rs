//! What servers can do with a connection, and what it is called then. The servers here are a few lines
//! each; whether real ones are met is for `interop`.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use misbehave::case::{Case, Expect, Program, Step};
use misbehave::end::{End, PROTOCOL_ERROR};
use misbehave::packet::clear;
use misbehave::payload::{disconnect, ignore};
use misbehave::run::{Outcome, Target, Verdict};

const IDENTIFICATION: &[u8] = b"SSH-2.0-fake\r\n";

/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// For what nobody ends: a slow machine makes no difference to that.
const SHORT: Duration = Duration::from_secs(2);

/// Runs a row that should be cut against a server that does `act` with each connection.
fn meet(patience: Duration, act: fn(&mut TcpStream)) -> (Case, Outcome) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target {
        address: listener.local_addr().unwrap(),
        credentials: None,
        program: Program::Any,
        patience,
    };
    // The row's connection, and the next client's.
    let server = thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            act(&mut stream);
        }
    });
    let case = Case::new("test-row", "a row", "nobody").sends([Step::Raw(b"x".to_vec())]);
    let outcome = target.run(&case);
    server.join().unwrap();
    (case, outcome)
}

/// Waits for the other side's end, so that none of its bytes makes a reset of ours.
fn read_all(stream: &mut TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

fn end_of(act: fn(&mut TcpStream)) -> End {
    meet(PATIENCE, act).1.end
}

#[test]
fn a_disconnect_is_a_cut_only_if_the_connection_is_closed_behind_it() {
    let cut = end_of(|stream| {
        stream.write_all(IDENTIFICATION).unwrap();
        stream.write_all(&clear(&disconnect(2, "why"))).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        read_all(stream);
    });
    let text = "why".to_owned();
    let reason = PROTOCOL_ERROR;
    assert_eq!(cut, End::Cut { reason, text });
    let (_, told) = meet(SHORT, |stream| {
        stream.write_all(IDENTIFICATION).unwrap();
        stream.write_all(&clear(&disconnect(2, "why"))).unwrap();
        read_all(stream);
    });
    assert_eq!(told.end, End::Unclosed(2));
}

#[test]
fn a_close_is_told_from_a_reset_and_both_from_silence() {
    let closed = end_of(|stream| {
        stream.write_all(IDENTIFICATION).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        read_all(stream);
    });
    assert_eq!(closed, End::Closed);
    // What is closed with something unread is reset.
    let reset = end_of(|stream| {
        let mut byte = [0];
        let _ = stream.peek(&mut byte);
    });
    assert_eq!(reset, End::Reset);
    assert_eq!(meet(SHORT, read_all).1.end, End::Hang);
}

#[test]
fn plain_text_is_no_disconnect() {
    let (case, outcome) = meet(PATIENCE, |stream| {
        stream.write_all(IDENTIFICATION).unwrap();
        stream
            .write_all(b"Invalid SSH identification string.\r\n")
            .unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        read_all(stream);
    });
    let text = "Invalid SSH identification string.".to_owned();
    assert!(matches!(&outcome.end, End::Told(told) if told.starts_with(&text)));
    // The next client gets nothing of this server, whatever the row says.
    assert_eq!(outcome.verdict(&case, Program::Any), Verdict::Differs);
}

#[test]
fn what_is_said_by_itself_is_no_answer_and_all_else_is() {
    let heard = [ignore(b"x"), vec![80, 0]];
    assert!(Expect::Ignored.is_met(&heard, &End::Alive));
    let heard = [ignore(b"x"), vec![3, 0, 0, 0, 0]];
    assert!(!Expect::Ignored.is_met(&heard, &End::Alive));
    assert!(Expect::answer(3).is_met(&heard, &End::Alive));
    assert!(!Expect::answer(3).is_met(&heard, &End::Closed));
    assert!(Expect::Alive.is_met(&heard, &End::Alive));
    let either = Expect::Either(vec![Expect::Cut(&[2]), Expect::answer(3)]);
    assert!(either.is_met(&heard, &End::Alive) && either.wants_end());
    assert!(!Expect::Cut(&[2]).is_met(&[], &End::Closed));
    assert!(Expect::Over.is_met(&[], &End::Closed));
}

#[test]
fn answers_have_their_order() {
    let expect =
        |numbers: [u8; 2]| Expect::Answered(numbers.map(misbehave::case::Answer::Number).to_vec());
    let heard = [vec![99], vec![94], vec![97]];
    assert!(expect([99, 97]).is_answered(&heard));
    assert!(!expect([97, 99]).is_answered(&heard));
}
