//! A whole server up to the success of its client's authentication, and a whole client with its
//! connection, each fed by a peer that says anything in pieces of any size.

use std::time::{Duration, Instant};

use ssh_proto::Error;
use ssh_proto::auth::{ClientAuth, Credential, Methods, Progress, ServerAuth};
use ssh_proto::connection::Connection;
use ssh_proto::msg;
use ssh_proto::transport::{Event, Role, Transport};

use super::channels::{self, LIMITS};
use super::clear::{self, Ear, IDENTIFICATION, Peer};
use super::userauth;
use crate::input::{Input, Pieces};

/// A key exchange may take no longer than a minute.
const LONG: Duration = Duration::from_secs(61);

/// A server, from its client's first byte or from the end of the key exchange, to the success.
pub fn preauth_server(data: &[u8]) {
    let mut input = Input::new(data);
    let methods = input.pick(&[Methods::Password, Methods::PublicKey]);
    let mut moods = input.number();
    let mut peer = peer(Role::Server, &mut input);
    let mut auth = Some(ServerAuth::new(methods));
    let mut ended = None;
    let mut pieces = Pieces::new(&mut input);
    pieces.cut(&stream(Role::Server, input), |piece| {
        moods = moods.rotate_left(5);
        clear::feed(&mut peer.transport, piece);
        let polled = pass_time(&mut peer, moods)
            .and_then(|()| serve(&mut peer, &mut auth, methods, moods.to_be_bytes()[0]));
        ended = polled.err();
        ended.is_none() && auth.is_some()
    });
    if let Some(error) = ended {
        return peer.check_end(&error);
    }
    let told = peer
        .heard()
        .iter()
        .any(|payload| payload[0] == msg::USERAUTH_SUCCESS);
    assert_eq!(told, auth.is_none());
}

fn serve(
    peer: &mut Peer,
    auth: &mut Option<ServerAuth>,
    methods: Methods,
    mood: u8,
) -> Result<(), Error> {
    while auth.is_some() {
        match peer.transport.poll(peer.now)? {
            Event::NeedInput => break,
            Event::Packet => {
                let number = peer.transport.packet()[0];
                assert!(matches!(
                    number,
                    msg::SERVICE_REQUEST | msg::USERAUTH_REQUEST
                ));
                userauth::serve(auth, &mut peer.transport, methods, mood)
                    .map_err(|error| peer.transport.fail(error))?;
            }
            event => panic!("{event:?}"),
        }
    }
    Ok(())
}

/// A client, from its server's first byte or from the end of the key exchange, on into the connection,
/// where both sides may want new keys.
pub fn client_role(data: &[u8]) {
    let mut input = Input::new(data);
    let mut moods = input.number();
    let credentials = (0..input.below(4))
        .map(|_| userauth::credential(&mut input))
        .collect();
    let mut peer = peer(Role::Client, &mut input);
    let mut client = Client::Keying(credentials);
    let mut pieces = Pieces::new(&mut input);
    pieces.cut(&stream(Role::Client, input), |piece| {
        moods = moods.rotate_left(5);
        let mood = moods.to_be_bytes()[0];
        if let Client::Connected(connection) = &mut client {
            clear::feed(connection.transport_mut(), piece);
            return attend(connection, &mut peer.ear, peer.now, mood);
        }
        clear::feed(&mut peer.transport, piece);
        let polled = pass_time(&mut peer, moods).and_then(|()| client.step(&mut peer, mood));
        match polled {
            Ok(true) => client = Client::connect(&mut peer),
            Ok(false) => {}
            Err(error) => {
                peer.check_end(&error);
                return false;
            }
        }
        // What came behind the success is there already.
        match &mut client {
            Client::Connected(connection) => attend(connection, &mut peer.ear, peer.now, mood),
            _ => true,
        }
    });
}

enum Client {
    Keying(Vec<Credential>),
    Authenticating(ClientAuth),
    Connected(Box<Connection>),
}

impl Client {
    /// Deals with what came; true when the server has let us in.
    fn step(&mut self, peer: &mut Peer, mood: u8) -> Result<bool, Error> {
        loop {
            if let (Self::Keying(credentials), Some(accepted)) = (&mut *self, peer.accepted.take())
            {
                let credentials = std::mem::take(credentials);
                let user = "user".to_owned();
                let auth = ClientAuth::start(accepted, &mut peer.transport, user, credentials);
                *self = Self::Authenticating(auth);
            }
            match peer.transport.poll(peer.now)? {
                Event::NeedInput => return Ok(false),
                Event::HostKey if mood & 0x70 == 0x70 => {
                    return Err(peer.transport.fail(Error::HostKey("another host".into())));
                }
                Event::HostKey => peer.accepted = Some(peer.transport.accept_host_key()?),
                Event::Packet => {
                    let Self::Authenticating(auth) = self else {
                        panic!("a packet from a host that was not accepted");
                    };
                    let handled = auth.handle(&mut peer.transport);
                    match handled.map_err(|error| peer.transport.fail(error))? {
                        Progress::Pending => {}
                        Progress::Success => return Ok(true),
                    }
                }
                Event::NeedOutput => panic!("so few requests fill no output"),
            }
        }
    }

    /// The connection protocol over the peer's transport.
    fn connect(peer: &mut Peer) -> Self {
        let fresh = Peer::stranger(Role::Client).transport;
        let transport = std::mem::replace(&mut peer.transport, fresh);
        Self::Connected(Box::new(Connection::new(transport, LIMITS)))
    }
}

fn attend(connection: &mut Connection, ear: &mut Ear, now: Instant, mood: u8) -> bool {
    let transport = connection.transport_mut();
    if mood & 0x70 == 0x10 || transport.rekey_due(now) {
        transport.start_rekey(now);
    }
    channels::start_something(connection, mood);
    channels::attend(connection, ear, now, mood)
}

/// A peer at the beginning, or after the key exchange.
fn peer(role: Role, input: &mut Input<'_>) -> Peer {
    if input.flag() {
        Peer::keyed(role)
    } else {
        Peer::stranger(role)
    }
}

/// Sometimes a minute is over.
fn pass_time(peer: &mut Peer, moods: u32) -> Result<(), Error> {
    if moods.is_multiple_of(31) {
        peer.now += LONG;
    }
    let due = |transport: &Transport| transport.poll_timeout().is_some_and(|at| at <= peer.now);
    let overdue = due(&peer.transport);
    let handled = peer.transport.handle_timeout(peer.now);
    assert!(peer.transport.failure().is_some() || overdue == handled.is_err());
    handled
}

/// What the peer of a transport of this role sends: bytes, or packets of messages.
fn stream(role: Role, mut input: Input<'_>) -> Vec<u8> {
    if input.flag() {
        return input.rest().to_vec();
    }
    let mut stream = Vec::new();
    while !input.is_empty() {
        match input.below(32) {
            0 => stream.extend_from_slice(IDENTIFICATION),
            1 => stream.extend_from_slice(input.short()),
            _ => stream.extend(clear::packet(&message(role, &mut input))),
        }
    }
    stream
}

fn message(role: Role, input: &mut Input<'_>) -> Vec<u8> {
    match input.below(8) {
        0 | 1 => input
            .pick(&clear::handshake(role).each_ref().map(Vec::as_slice))
            .to_vec(),
        2 => {
            let mut changed = clear::handshake(role)[input.below(2)].clone();
            let at = input.number() as usize % changed.len();
            changed[at] = input.byte();
            changed
        }
        3 | 4 if role == Role::Server => userauth::client_message(input),
        3 => userauth::server_message(input),
        4..=6 => channels::message(input),
        _ => userauth::anything(input),
    }
}
