//! User authentication, both machines.

use std::collections::VecDeque;

use ssh_proto::Error;
use ssh_proto::Secret;
use ssh_proto::algorithm::Signature;
use ssh_proto::auth::{ClientAuth, Credential, Methods, Progress, Request, ServerAuth};
use ssh_proto::crypto::random::SeededRandom;
use ssh_proto::key::PrivateKey;
use ssh_proto::msg;
use ssh_proto::transport::{Event, Role, Transport};
use ssh_proto::wire::Put;

use super::clear::{self, Peer};
use super::sample_keys;
use crate::input::Input;

/// Both machines against messages of any kind and order: one answer for each request, none without;
/// the bounds on tries hold; nobody is in whom the application did not let in.
pub fn userauth(data: &[u8]) {
    let mut input = Input::new(data);
    match input.pick(&[Role::Server, Role::Client]) {
        Role::Server => server(input),
        Role::Client => client(input),
    }
}

fn server(mut input: Input<'_>) {
    let methods = input.pick(&[Methods::Password, Methods::PublicKey]);
    let mut peer = Peer::keyed(Role::Server);
    let mut auth = Some(ServerAuth::new(methods));
    let mut requests = 0;
    while !input.is_empty() {
        let mood = input.byte();
        let message = client_message(&mut input);
        peer.say(&message);
        match step(&mut peer, |transport| {
            serve(&mut auth, transport, methods, mood)
        }) {
            Ok(()) => {}
            Err(error) => return peer.check_end(&error),
        }
        let heard: Vec<_> = peer.heard().iter().map(|payload| payload[0]).collect();
        let answers: Vec<_> = heard
            .into_iter()
            .filter(|it| *it != msg::USERAUTH_BANNER)
            .collect();
        match message[0] {
            msg::SERVICE_REQUEST => assert_eq!(answers, [msg::SERVICE_ACCEPT]),
            msg::USERAUTH_REQUEST => {
                requests += 1;
                assert!(requests <= 20, "requests without bound");
                let [answer] = answers[..] else {
                    panic!("{answers:?}")
                };
                assert_eq!(answer == msg::USERAUTH_SUCCESS, auth.is_none());
            }
            _ => assert!(answers.is_empty(), "{answers:?}"),
        }
        if auth.is_none() {
            return;
        }
    }
}

/// Answers one packet as an application in this mood does. The machine is used up by its success.
pub(super) fn serve(
    auth: &mut Option<ServerAuth>,
    transport: &mut Transport,
    methods: Methods,
    mood: u8,
) -> Result<(), Error> {
    let Some(mut machine) = auth.take() else {
        panic!("polled after the success");
    };
    let request = machine.handle(transport)?;
    let Some(request) = request else {
        *auth = Some(machine);
        return Ok(());
    };
    check_request(&request, methods);
    if mood & 4 != 0 {
        machine.banner(transport, "no");
    }
    match (&request, mood & 3) {
        (Request::KeyQuery { key, .. }, 1 | 2) => machine.key_ok(transport, key),
        (Request::KeyQuery { .. }, _) | (_, 0..=2) => machine.reject(transport)?,
        _ => {
            machine.accept(transport);
            return Ok(());
        }
    }
    *auth = Some(machine);
    Ok(())
}

fn check_request(request: &Request, methods: Methods) {
    let (user, method) = match request {
        Request::None { user } => (user, None),
        Request::Password { user, .. } => (user, Some(Methods::Password)),
        Request::KeyQuery { user, .. } | Request::Key { user, .. } => {
            (user, Some(Methods::PublicKey))
        }
    };
    assert!(method.is_none_or(|method| method == methods));
    assert!(user.len() <= 256 && !user.contains(char::is_control));
}

fn client(mut input: Input<'_>) {
    let mut peer = Peer::keyed(Role::Client);
    let credentials: Vec<_> = (0..input.below(4))
        .map(|_| credential(&mut input))
        .collect();
    let most = credentials.len();
    let accepted = peer.accepted.take().expect("the host's key was accepted");
    let mut auth = ClientAuth::start(accepted, &mut peer.transport, "user".into(), credentials);
    assert_eq!(numbers(peer.heard()), [msg::SERVICE_REQUEST]);
    let (mut served, mut tries) = (false, 0);
    while !input.is_empty() {
        let message = server_message(&mut input);
        peer.say(&message);
        let mut progress = Progress::Pending;
        let handle = |transport: &mut Transport| {
            progress = auth.handle(transport)?;
            Ok(())
        };
        if let Err(error) = step(&mut peer, handle) {
            return peer.check_end(&error);
        }
        served |= message[0] == msg::SERVICE_ACCEPT;
        let heard = numbers(peer.heard());
        assert!(
            heard
                .iter()
                .all(|it| served && *it == msg::USERAUTH_REQUEST),
            "{heard:?}"
        );
        tries += heard.len();
        assert!(tries <= most);
        if progress == Progress::Success {
            assert!(served && message[0] == msg::USERAUTH_SUCCESS);
            return;
        }
    }
}

fn numbers(payloads: Vec<Vec<u8>>) -> VecDeque<u8> {
    payloads.iter().map(|payload| payload[0]).collect()
}

/// Everything that came of a message: each packet goes to `handle`, whose error ends the transport.
fn step(
    peer: &mut Peer,
    mut handle: impl FnMut(&mut Transport) -> Result<(), Error>,
) -> Result<(), Error> {
    loop {
        match peer.transport.poll(peer.now)? {
            Event::NeedInput => return Ok(()),
            Event::Packet => {
                handle(&mut peer.transport).map_err(|error| peer.transport.fail(error))?;
            }
            event => panic!("{event:?}"),
        }
    }
}

pub(super) fn credential(input: &mut Input<'_>) -> Credential {
    match input.below(4) {
        0 => Credential::None,
        1 => Credential::Password(Secret::new("secret".to_owned())),
        2 => Credential::Key(PrivateKey::generate_ed25519(&mut SeededRandom::new(9))),
        _ => {
            let pem = input.pick(&sample_keys::FILES);
            Credential::Key(PrivateKey::from_pem(pem).expect("a key of ours"))
        }
    }
}

/// What a client may send while it authenticates, and what it may not.
pub(super) fn client_message(input: &mut Input<'_>) -> Vec<u8> {
    match input.below(8) {
        0 => clear::string_message(msg::SERVICE_REQUEST, service(input)),
        1..=5 => user_request(input),
        6 => vec![
            input.pick(&[msg::IGNORE, msg::DEBUG, msg::UNIMPLEMENTED]),
            0,
            0,
            0,
            0,
        ],
        _ => anything(input),
    }
}

fn service<'a>(input: &mut Input<'a>) -> &'a [u8] {
    match input.below(8) {
        0..=5 => b"ssh-userauth",
        6 => b"ssh-connection",
        _ => input.short(),
    }
}

/// USERAUTH_REQUEST (RFC 4252 section 5).
fn user_request(input: &mut Input<'_>) -> Vec<u8> {
    let mut out = vec![msg::USERAUTH_REQUEST];
    match input.below(4) {
        0 => out.put_string(input.bytes()),
        _ => out.put_string(b"vcap"),
    }
    match input.below(16) {
        0 => out.put_string(input.short()),
        _ => out.put_string(b"ssh-connection"),
    }
    match input.below(6) {
        0 => out.put_string(b"none"),
        1 => {
            out.put_string(b"password");
            out.put_bool(input.below(8) == 7);
            out.put_string(input.short());
        }
        2 | 3 => {
            let signed = input.flag();
            let algorithm = input.pick(Signature::ALL);
            out.put_string(b"publickey");
            out.put_bool(signed);
            out.put_string(algorithm.name().as_bytes());
            match input.below(4) {
                0 => out.put_string(input.bytes()),
                1 => out.put_string(&sample_keys::public(input.pick(Signature::ALL))),
                _ => out.put_string(&sample_keys::public(algorithm)),
            }
            if signed {
                match input.below(4) {
                    0 => out.put_string(input.bytes()),
                    1 => out.put_string(&sample_keys::forged(input.pick(Signature::ALL))),
                    _ => out.put_string(&sample_keys::forged(algorithm)),
                }
            }
        }
        4 => out.put_string(b"keyboard-interactive"),
        _ => out.put_string(input.short()),
    }
    if input.below(16) == 15 {
        out.extend(input.short());
    }
    out
}

/// What a server may send to a client that authenticates, and what it may not.
pub(super) fn server_message(input: &mut Input<'_>) -> Vec<u8> {
    let kind = input.below(8);
    match kind {
        0 => clear::string_message(msg::SERVICE_ACCEPT, b"ssh-userauth"),
        1 | 2 => {
            let mut out = clear::string_message(msg::USERAUTH_FAILURE, input.short());
            out.put_bool(input.flag());
            out
        }
        3 => vec![msg::USERAUTH_SUCCESS],
        4 => {
            let mut out = clear::string_message(msg::USERAUTH_BANNER, input.bytes());
            out.put_string(b"");
            out
        }
        5 => {
            let mut out = clear::string_message(msg::USERAUTH_PK_OK, input.short());
            out.put_string(input.short());
            out
        }
        6 => ext_info(input),
        _ => anything(input),
    }
}

/// EXT_INFO (RFC 8308).
pub(super) fn ext_info(input: &mut Input<'_>) -> Vec<u8> {
    let mut out = vec![msg::EXT_INFO];
    let count = input.below(4);
    out.put_u32(match input.below(8) {
        7 => input.number(),
        _ => u32::try_from(count).expect("below 4"),
    });
    for _ in 0..count {
        match input.below(3) {
            0 => {
                out.put_string(b"server-sig-algs");
                let names = (0..input.below(4)).map(|_| input.pick(Signature::ALL).name());
                let names: Vec<_> = names.collect();
                out.put_name_list(names);
            }
            1 => {
                out.put_string(b"ping@openssh.com");
                out.put_string(b"0");
            }
            _ => {
                out.put_string(input.short());
                out.put_string(input.short());
            }
        }
    }
    out
}

/// Any payload; a packet is never empty.
pub(super) fn anything(input: &mut Input<'_>) -> Vec<u8> {
    [&[input.byte()], input.bytes()].concat()
}
