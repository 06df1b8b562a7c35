//! Every message number in every state of user authentication, in both roles: what the transport and
//! the machine above it make of it together.
//!
//! The expectations are written down here, not computed by the code under test.

use ssh_proto::algorithm::Signature;
use ssh_proto::auth::{ClientAuth, Credential, Methods, Progress, Request, ServerAuth};
use ssh_proto::error::Reason;
use ssh_proto::transport::{Event, Role};
use ssh_proto::wire::Put;
use ssh_proto::{Error, Secret, msg};

use crate::support::keys;
use crate::support::numbers::letter;
use crate::support::peer::{Offer, Peer};

/// How far a client has come with the server under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    /// Nothing has come since NEWKEYS.
    AwaitService,
    /// An IGNORE has.
    AwaitServiceLater,
    AwaitRequest,
    /// A password is being checked.
    AskedPassword,
    /// It is being decided whether a key would do.
    AskedQuery,
    /// It is being decided about a key whose signature holds.
    AskedKey,
    AfterFailure,
    AfterPkOk,
    /// The next failure is the last.
    AfterFiveFailures,
    AfterSuccess,
}

/// For each state what becomes of each number, first match; what is not there is cut.
///
/// `D` the client ended the connection, `X` the connection is cut and the client told, `.` it goes on and
/// nobody learns of it, `A` it is answered here, `Q` the owner is asked, `P` the connection protocol gets
/// it, `K` a key exchange begins, `O` PONG is the answer, `U` UNIMPLEMENTED is.
const SERVER: [(Server, &str); 10] = [
    (Server::AwaitService, "1D 2-4. 5A 7."),
    (Server::AwaitServiceLater, "1D 2-4. 5A"),
    (Server::AwaitRequest, "1D 2-4. 50Q"),
    (Server::AskedPassword, "1D 2-4."),
    (Server::AskedQuery, "1D 2-4."),
    (Server::AskedKey, "1D 2-4."),
    (Server::AfterFailure, "1D 2-4. 50Q"),
    (Server::AfterPkOk, "1D 2-4. 50Q"),
    (Server::AfterFiveFailures, "1D 2-4. 50Q"),
    (
        Server::AfterSuccess,
        "1D 2-4. 7X 20K 21X 30-49X 50. 51-53X 60X 80-82P 90-100P 192O 193. *U",
    ),
];

/// How far a server has come with the client under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    /// SERVICE_REQUEST is sent.
    AwaitService,
    /// The first of two credentials is sent.
    AwaitAnswer,
    /// The last one is.
    AfterFailure,
    AfterSuccess,
}

/// The same for what a server sends. `S` lets us in, `E` ends the connection for want of a credential.
const CLIENT: [(Client, &str); 4] = [
    (Client::AwaitService, "1D 2-4. 6A 7. 53."),
    (Client::AwaitAnswer, "1D 2-4. 7. 51A 52S 53."),
    (Client::AfterFailure, "1D 2-4. 7. 51E 52S 53."),
    (
        Client::AfterSuccess,
        "1D 2-4. 7X 20K 21X 30-49X 51-53X 60X 80-82P 90-100P 192O 193. *U",
    ),
];

/// The machine under test.
enum Auth {
    Server(ServerAuth),
    Client(ClientAuth),
    /// It has let somebody in, or has been let in.
    Over,
}

struct Rig {
    peer: Peer,
    auth: Auth,
}

impl Rig {
    fn server(state: Server) -> Self {
        let peer = Peer::connected(Role::Server, Offer::default());
        let methods = match state {
            Server::AskedQuery | Server::AskedKey | Server::AfterPkOk => Methods::PublicKey,
            _ => Methods::Password,
        };
        let auth = Auth::Server(ServerAuth::new(methods));
        let mut rig = Self { peer, auth };
        match state {
            Server::AwaitService => {}
            Server::AwaitServiceLater => rig.peer.ignored(&[msg::IGNORE]),
            Server::AwaitRequest => rig.begin(),
            Server::AskedPassword => {
                rig.begin();
                rig.asked(&password());
            }
            Server::AskedQuery | Server::AfterPkOk => rig.query(state == Server::AfterPkOk),
            Server::AskedKey => {
                rig.begin();
                let signed = signed(&rig.peer.session_id);
                assert!(matches!(rig.asked(&signed), Request::Key { .. }));
            }
            Server::AfterFailure => rig.fail(1),
            Server::AfterFiveFailures => rig.fail(5),
            Server::AfterSuccess => rig.succeed(),
        }
        rig.peer.heard();
        rig
    }

    fn client(state: Client) -> Self {
        let mut peer = Peer::connected(Role::Client, Offer::default());
        let host = peer.accepted.take().unwrap();
        let credentials = ["p", "q"].map(|text| Credential::Password(Secret::new(text.into())));
        let auth = ClientAuth::start(host, &mut peer.transport, "vcap".into(), credentials);
        let auth = Auth::Client(auth);
        let mut rig = Self { peer, auth };
        let steps: &[u8] = match state {
            Client::AwaitService => &[],
            Client::AwaitAnswer => &[6],
            Client::AfterFailure => &[6, 51],
            Client::AfterSuccess => &[6, 52],
        };
        rig.peer.heard();
        for number in steps {
            let expected = if *number == 52 { 'S' } else { 'A' };
            assert_eq!(rig.outcome(&fitting(&rig.peer, *number)), expected);
        }
        rig
    }

    /// SERVICE_REQUEST and its answer.
    fn begin(&mut self) {
        assert_eq!(self.outcome(&fitting(&self.peer, 5)), 'A');
    }

    /// The owner is asked.
    fn asked(&mut self, payload: &[u8]) -> Request {
        self.peer.say(payload);
        assert_eq!(self.peer.poll(), Ok(Event::Packet));
        let Auth::Server(auth) = &mut self.auth else {
            panic!("no server");
        };
        auth.handle(&mut self.peer.transport).unwrap().unwrap()
    }

    fn query(&mut self, answered: bool) {
        self.begin();
        let mut query = request(b"publickey");
        query.put_bool(false);
        query.put_string(b"ssh-ed25519");
        query.put_string(keys::ed25519(9).public().blob());
        let Request::KeyQuery { key, .. } = self.asked(&query) else {
            panic!("no query");
        };
        if let (true, Auth::Server(auth)) = (answered, &mut self.auth) {
            auth.key_ok(&mut self.peer.transport, &key);
        }
    }

    fn fail(&mut self, times: usize) {
        self.begin();
        for _ in 0..times {
            self.asked(&password());
            if let Auth::Server(auth) = &mut self.auth {
                auth.reject(&mut self.peer.transport).unwrap();
            }
        }
    }

    fn succeed(&mut self) {
        self.begin();
        self.asked(&password());
        if let Auth::Server(auth) = std::mem::replace(&mut self.auth, Auth::Over) {
            auth.accept(&mut self.peer.transport);
        }
    }

    /// Sends the payload and sees what comes of it, as a letter of the tables.
    fn outcome(&mut self, payload: &[u8]) -> char {
        self.peer.say(payload);
        let handled = match self.peer.poll() {
            Ok(Event::Packet) => self.handle(),
            Ok(Event::NeedInput) => Ok('.'),
            Ok(event) => panic!("{event:?}"),
            Err(error) => Err(error),
        };
        match handled {
            Ok('.') => answer(&self.peer.heard()),
            Ok(letter) => letter,
            Err(Error::Disconnected { .. }) => {
                assert_eq!(self.peer.heard(), Vec::<Vec<u8>>::new());
                'D'
            }
            Err(error) => {
                self.peer.transport.fail(error.clone());
                assert_eq!(self.peer.must_be_cut(), error);
                match error.reason() {
                    Some(Reason::NoMoreAuthMethodsAvailable) => 'E',
                    _ => 'X',
                }
            }
        }
    }

    fn handle(&mut self) -> Result<char, Error> {
        let transport = &mut self.peer.transport;
        match &mut self.auth {
            Auth::Server(auth) => match auth.handle(transport)? {
                Some(_) => Ok('Q'),
                None => Ok('.'),
            },
            Auth::Client(auth) => match auth.handle(transport)? {
                Progress::Pending => Ok('.'),
                Progress::Success => {
                    self.auth = Auth::Over;
                    Ok('S')
                }
            },
            Auth::Over => Ok('P'),
        }
    }
}

/// What answers say of what they answer.
fn answer(heard: &[Vec<u8>]) -> char {
    match heard {
        [] => '.',
        [answer] => match answer[0] {
            msg::UNIMPLEMENTED => 'U',
            msg::SERVICE_ACCEPT | msg::USERAUTH_REQUEST => 'A',
            msg::PONG => 'O',
            msg::KEXINIT => 'K',
            _ => panic!("{answer:?}"),
        },
        [kexinit, init] if (kexinit[0], init[0]) == (20, 30) => 'K',
        _ => panic!("{heard:?}"),
    }
}

/// A payload that is all that its number asks for, so that only the state can be against it.
fn fitting(peer: &Peer, number: u8) -> Vec<u8> {
    let mut payload = vec![number];
    match number {
        msg::SERVICE_REQUEST | msg::SERVICE_ACCEPT => payload.put_string(b"ssh-userauth"),
        msg::KEXINIT => return peer.kexinit(),
        msg::USERAUTH_REQUEST => return request(b"none"),
        msg::USERAUTH_FAILURE => {
            payload.put_string(b"password");
            payload.put_bool(false);
        }
        msg::USERAUTH_SUCCESS | msg::NEWKEYS => {}
        msg::USERAUTH_BANNER | msg::USERAUTH_PK_OK => {
            payload.put_string(b"ssh-ed25519");
            payload.put_string(b"");
        }
        _ => payload.put_u32(0),
    }
    payload
}

fn request(method: &[u8]) -> Vec<u8> {
    let mut payload = vec![msg::USERAUTH_REQUEST];
    for field in [b"vcap", &b"ssh-connection"[..], method] {
        payload.put_string(field);
    }
    payload
}

fn password() -> Vec<u8> {
    let mut payload = request(b"password");
    payload.put_bool(false);
    payload.put_string(b"wrong");
    payload
}

/// A publickey request with a signature that holds.
fn signed(session_id: &[u8]) -> Vec<u8> {
    let key = keys::ed25519(9);
    let mut payload = request(b"publickey");
    payload.put_bool(true);
    payload.put_string(b"ssh-ed25519");
    payload.put_string(key.public().blob());
    let mut data = Vec::new();
    data.put_string(session_id);
    data.extend(&payload);
    payload.put_string(&key.sign(Signature::Ed25519, &data).unwrap());
    payload
}

#[test]
fn of_the_server() {
    for (state, row) in SERVER {
        for number in 0..=255 {
            let mut rig = Rig::server(state);
            let payload = fitting(&rig.peer, number);
            let wanted = letter(row, number);
            assert_eq!(rig.outcome(&payload), wanted, "{state:?} {number}");
        }
    }
}

#[test]
fn of_the_client() {
    for (state, row) in CLIENT {
        for number in 0..=255 {
            let mut rig = Rig::client(state);
            let payload = fitting(&rig.peer, number);
            let wanted = letter(row, number);
            assert_eq!(rig.outcome(&payload), wanted, "{state:?} {number}");
        }
    }
}
