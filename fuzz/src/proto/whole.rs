//! A whole server up to the success of its client's authentication, and a whole client with its
//! connection, each fed by a peer that says anything in pieces of any size.

use std::time::Duration;

use ssh_proto::Error;
use ssh_proto::auth::{ClientAuth, Credential, Methods, Progress, ServerAuth};
use ssh_proto::connection::Connection;
use ssh_proto::msg;
use ssh_proto::transport::{Event, Role, Transport};

use super::channels::{self, LIMITS};
use super::clear::{self, IDENTIFICATION, Peer};
use super::userauth;
use crate::input::{Input, Pieces};

/// A key exchange may take no longer than a minute.
const LONG: Duration = Duration::from_secs(61);

/// How far a connection has come; most of what its peer sends fits that.
#[derive(Clone, Copy)]
enum Stage {
    Keying,
    Authenticating,
    Connected,
}

/// A server, from its client's first byte or from the end of the key exchange, to the success.
pub fn preauth_server(data: &[u8]) {
    let mut input = Input::new(data);
    let methods = input.pick(&[Methods::Password, Methods::PublicKey]);
    let mut peer = peer(Role::Server, &mut input);
    let mut auth = Some(ServerAuth::new(methods));
    let mut ended = None;
    run(
        Role::Server,
        stage_of(&peer.transport),
        input,
        |piece, mood| {
            clear::feed(&mut peer.transport, piece);
            let polled = pass_time(&mut peer, mood)
                .and_then(|()| serve(&mut peer, &mut auth, methods, mood));
            ended = polled.err();
            (ended.is_none() && auth.is_some()).then(|| stage_of(&peer.transport))
        },
    );
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
    let credentials = (0..input.below(4))
        .map(|_| userauth::credential(&mut input))
        .collect();
    let mut peer = peer(Role::Client, &mut input);
    let mut client = Client::Keying(credentials);
    run(
        Role::Client,
        stage_of(&peer.transport),
        input,
        |piece, mood| {
            if let Client::Connected(connection) = &mut client {
                clear::feed(connection.transport_mut(), piece);
            } else {
                clear::feed(&mut peer.transport, piece);
                let polled = pass_time(&mut peer, mood).and_then(|()| client.step(&mut peer, mood));
                match polled {
                    Ok(true) => client = Client::connect(&mut peer),
                    Ok(false) => {}
                    Err(error) => {
                        peer.check_end(&error);
                        return None;
                    }
                }
            }
            let Client::Connected(connection) = &mut client else {
                return Some(stage_of(&peer.transport));
            };
            channels::start_something(connection, peer.now, mood);
            channels::attend(connection, &mut peer.ear, peer.now, mood).then_some(Stage::Connected)
        },
    );
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

/// A peer at the beginning, or after the key exchange.
fn peer(role: Role, input: &mut Input<'_>) -> Peer {
    if input.flag() {
        Peer::keyed(role)
    } else {
        Peer::stranger(role)
    }
}

fn stage_of(transport: &Transport) -> Stage {
    if transport.session_id().is_empty() || transport.is_keying() {
        Stage::Keying
    } else {
        Stage::Authenticating
    }
}

/// Sometimes a minute is over.
fn pass_time(peer: &mut Peer, mood: u8) -> Result<(), Error> {
    if mood == 0x55 {
        peer.now += LONG;
    }
    let due = peer
        .transport
        .poll_timeout()
        .is_some_and(|at| at <= peer.now);
    let handled = peer.transport.handle_timeout(peer.now);
    assert_eq!(due, handled.is_err());
    handled
}

/// Hands what the peer of a transport of this role sends to `step`, piece by piece and with a mood for
/// the application, until that ends or the input does.
fn run(
    role: Role,
    mut stage: Stage,
    mut input: Input<'_>,
    mut step: impl FnMut(&[u8], u8) -> Option<Stage>,
) {
    let mut pieces = Pieces::new(&mut input);
    let raw = input.flag();
    let (mut sent, mut over) = (0, false);
    while !input.is_empty() && !over {
        let mood = input.byte();
        let bytes = match raw {
            true => input.bytes().to_vec(),
            false => next(role, stage, sent, &mut input),
        };
        sent += 1;
        pieces.cut(&bytes, |piece| {
            match step(piece, mood) {
                Some(next) => stage = next,
                None => over = true,
            }
            !over
        });
    }
}

/// The next of what a peer sends: mostly what fits.
fn next(role: Role, stage: Stage, sent: usize, input: &mut Input<'_>) -> Vec<u8> {
    let message = match (input.below(32), stage) {
        (0, _) => return IDENTIFICATION.to_vec(),
        (1, _) => return input.short().to_vec(),
        (2, _) => userauth::anything(input),
        (3, _) => channels::message(input),
        (4 | 5, _) => channels::kex_message(role, input),
        (6, _) => vec![
            input.pick(&[msg::IGNORE, msg::DEBUG, msg::UNIMPLEMENTED]),
            0,
            0,
            0,
            0,
        ],
        // The identification goes first.
        (_, Stage::Keying) if sent == 0 => return IDENTIFICATION.to_vec(),
        (_, Stage::Keying) => clear::handshake(role)[(sent - 1) % 3].clone(),
        (_, Stage::Authenticating) if role == Role::Server => userauth::client_message(input),
        (_, Stage::Authenticating) => userauth::server_message(input),
        (_, Stage::Connected) => channels::message(input),
    };
    clear::packet(&message)
}
