//! The client's side, against the real server and against one that says what it wants.

use ssh_proto::algorithm::Signature;
use ssh_proto::auth::{ClientAuth, Credential, Methods, Progress, Request, ServerAuth};
use ssh_proto::error::Reason;
use ssh_proto::msg;
use ssh_proto::transport::Event;
use ssh_proto::wire::Put;
use ssh_proto::{Error, Secret};

use crate::support::{CLIENT, Pair, SERVER, keys};

/// The client under test, its SERVICE_REQUEST sent.
struct Client {
    pair: Pair,
    auth: ClientAuth,
}

impl Client {
    fn new(credentials: Vec<Credential>) -> Self {
        let mut pair = Pair::connected();
        let host = pair.accepted.take().unwrap();
        let transport = &mut pair.ends[CLIENT];
        let auth = ClientAuth::start(host, transport, "vcap".into(), credentials);
        Self { pair, auth }
    }

    /// After SERVICE_ACCEPT; the server has forgotten what it heard.
    fn accepted(credentials: Vec<Credential>) -> Self {
        let mut client = Self::new(credentials);
        assert_eq!(client.heard(), [b"\x05\0\0\0\x0cssh-userauth"]);
        client.handle(b"\x06\0\0\0\x0cssh-userauth").unwrap();
        client
    }

    /// What becomes of a payload of the server.
    fn handle(&mut self, payload: &[u8]) -> Result<Progress, Error> {
        self.pair.ends[SERVER].send(&[payload]);
        self.pair.carry(SERVER);
        let client = &mut self.pair.ends[CLIENT];
        assert_eq!(client.poll(self.pair.now)?, Event::Packet);
        self.auth.handle(client).map_err(|error| client.fail(error))
    }

    fn cut(&mut self, payload: &[u8]) -> Error {
        let error = self.handle(payload).expect_err("must be cut");
        self.pair.poll(CLIENT);
        assert_eq!(self.pair.cut(CLIENT), error);
        error
    }

    fn heard(&mut self) -> Vec<Vec<u8>> {
        self.pair.carry(CLIENT);
        self.pair.poll(SERVER);
        self.pair.take_got(SERVER)
    }
}

fn password(text: &str) -> Credential {
    Credential::Password(Secret::new(text.to_owned()))
}

fn key(seed: u64) -> Credential {
    Credential::Key(keys::ed25519(seed))
}

fn failure(methods: &[u8]) -> Vec<u8> {
    let mut payload = vec![msg::USERAUTH_FAILURE];
    payload.put_string(methods);
    payload.put_bool(false);
    payload
}

/// The method that a request asks for.
fn method(request: &[u8]) -> String {
    let mut reader = ssh_proto::wire::Reader::new(request);
    assert_eq!(reader.u8(), Ok(msg::USERAUTH_REQUEST));
    assert_eq!(reader.utf8(), Ok("vcap"));
    assert_eq!(reader.utf8(), Ok("ssh-connection"));
    reader.utf8().unwrap().to_owned()
}

/// The real client against the real server: what the server was asked, and how it ended.
fn log_in(
    methods: Methods,
    credentials: Vec<Credential>,
    accepts: fn(&Request) -> bool,
) -> (Vec<Request>, Result<Progress, Error>) {
    let mut client = Client::new(credentials);
    let mut server = Some(ServerAuth::new(methods));
    let mut asked = Vec::new();
    loop {
        let pair = &mut client.pair;
        pair.carry(CLIENT);
        let transport = &mut pair.ends[SERVER];
        while transport.poll(pair.now) == Ok(Event::Packet) {
            let mut auth = server.take().expect("nothing comes after success");
            if let Some(request) = auth.handle(transport).unwrap() {
                if accepts(&request) {
                    auth.accept(transport);
                } else {
                    auth.reject(transport).unwrap();
                    server = Some(auth);
                }
                asked.push(request);
            } else {
                server = Some(auth);
            }
        }
        pair.carry(SERVER);
        let transport = &mut pair.ends[CLIENT];
        while transport.poll(pair.now) == Ok(Event::Packet) {
            match client.auth.handle(transport) {
                Ok(Progress::Pending) => {}
                end => return (asked, end),
            }
        }
    }
}

#[test]
fn every_credential_that_the_server_takes_lets_in() {
    let (asked, end) = log_in(Methods::PublicKey, vec![Credential::None], |_| true);
    assert_eq!(end, Ok(Progress::Success));
    assert!(matches!(&asked[..], [Request::None { user }] if user == "vcap"));

    let (asked, end) = log_in(Methods::Password, vec![password("p")], |_| true);
    assert_eq!(end, Ok(Progress::Success));
    let [Request::Password { user, password }] = &asked[..] else {
        panic!("{asked:?}");
    };
    assert!(user == "vcap" && password.matches(b"p"));

    for algorithm in Signature::ALL {
        let key = keys::signing(*algorithm);
        let public = key.public().clone();
        let (asked, end) = log_in(Methods::PublicKey, vec![Credential::Key(key)], |_| true);
        assert_eq!(end, Ok(Progress::Success));
        let [Request::Key { user, key }] = &asked[..] else {
            panic!("{asked:?}");
        };
        assert!(user == "vcap" && *key.key() == public);
    }
}

#[test]
fn credentials_are_tried_in_their_order_until_one_is_taken() {
    let credentials = vec![Credential::None, key(1), key(2), key(3)];
    let (asked, end) = log_in(
        Methods::PublicKey,
        credentials,
        |request| matches!(request, Request::Key { key, .. } if key.key() == keys::ed25519(2).public()),
    );
    assert_eq!(end, Ok(Progress::Success));
    assert_eq!(asked.len(), 3);

    let mut client = Client::accepted(vec![key(1), password("p")]);
    assert_eq!(method(&client.heard()[0]), "publickey");
    client.handle(&failure(b"publickey,password")).unwrap();
    assert_eq!(method(&client.heard()[0]), "password");
    assert_eq!(
        client.handle(&[msg::USERAUTH_SUCCESS]),
        Ok(Progress::Success)
    );
}

#[test]
fn when_no_credential_is_left_the_error_says_what_the_server_wants() {
    let mut client = Client::accepted(vec![password("p")]);
    client.heard();
    let error = client.cut(&failure(b"public\x1bkey,gssapi"));
    assert_eq!(error.reason(), Some(Reason::NoMoreAuthMethodsAvailable));
    let text = "authentication: the server accepts none of our credentials \
                (it would continue with: public\u{fffd}key,gssapi)";
    assert_eq!(error.to_string(), text);

    let mut client = Client::new(vec![]);
    client.heard();
    let error = client.cut(b"\x06\0\0\0\x0cssh-userauth");
    assert!(matches!(error, Error::Authentication(_)));
}

#[test]
fn banners_are_tolerated_at_any_time() {
    let banner = b"\x35\0\0\0\x02hi\0\0\0\0";
    let mut client = Client::new(vec![password("p")]);
    assert_eq!(client.handle(banner), Ok(Progress::Pending));
    client.handle(b"\x06\0\0\0\x0cssh-userauth").unwrap();
    for _ in 0..10 {
        assert_eq!(client.handle(banner), Ok(Progress::Pending));
    }
    let heard = client.heard();
    assert_eq!(heard.len(), 2);
    assert_eq!(
        client.handle(&[msg::USERAUTH_SUCCESS]),
        Ok(Progress::Success)
    );
}

#[test]
fn messages_out_of_order_are_cut() {
    for number in [msg::USERAUTH_SUCCESS, msg::USERAUTH_FAILURE] {
        let error = Client::new(vec![password("p")]).cut(&[number, 0, 0, 0, 0, 0]);
        assert!(matches!(error, Error::Misbehaved(_)));
    }
    for number in [5, 6, 50, 60, 61, 80, 90, 94, 192] {
        let error = Client::accepted(vec![password("p")]).cut(&[number, 0, 0, 0, 0]);
        assert!(matches!(error, Error::Misbehaved(_)));
    }
    let error = Client::accepted(vec![password("p")]).cut(&[msg::USERAUTH_FAILURE]);
    assert_eq!(error, Error::Misbehaved("malformed message"));
}

#[test]
fn answers_of_another_form_or_for_another_service_are_cut() {
    for answer in [
        &b"\x06"[..],
        b"\x06\0\0\0\x0cssh-userauth!",
        b"\x06\0\0\0\x0essh-connection",
    ] {
        let error = Client::new(vec![password("p")]).cut(answer);
        assert!(matches!(error, Error::Misbehaved(_)), "{answer:?}");
    }
    for answer in [
        &b"\x33\0\0\0\x08password"[..],
        b"\x33\0\0\0\x08password\0!",
        b"\x34!",
        b"\x35",
        b"\x35\0\0\0\0\0\0\0\0!",
    ] {
        let error = Client::accepted(vec![password("p"), password("q")]).cut(answer);
        assert_eq!(error, Error::Misbehaved("malformed message"), "{answer:?}");
    }
}

#[test]
fn an_rsa_key_signs_with_what_the_server_said_it_takes() {
    let mut extension = vec![msg::EXT_INFO];
    extension.put_u32(1);
    extension.put_string(b"server-sig-algs");
    extension.put_string(b"ssh-ed25519,rsa-sha2-256");
    let name = |requests: &[Vec<u8>]| {
        let text = String::from_utf8_lossy(&requests[0]).into_owned();
        ["rsa-sha2-256", "rsa-sha2-512"].map(|name| text.contains(name))
    };
    for (said, expected) in [(false, [false, true]), (true, [true, false])] {
        let rsa = keys::signing(Signature::RsaSha256);
        let mut client = Client::new(vec![Credential::Key(rsa)]);
        client.heard();
        if said {
            client.pair.ends[SERVER].send(&[&extension]);
        }
        client.handle(b"\x06\0\0\0\x0cssh-userauth").unwrap();
        assert_eq!(name(&client.heard()), expected);
    }
}

#[test]
fn success_opens_the_connection_protocol() {
    let mut client = Client::accepted(vec![password("p")]);
    client.heard();
    client.handle(&[msg::USERAUTH_SUCCESS]).unwrap();
    for end in [CLIENT, SERVER] {
        client.pair.ends[end].set_authenticated();
        client.pair.ends[end].send(&[b"\x5edata"]);
    }
    client.pair.drive();
    assert_eq!(client.pair.got, [[b"\x5edata"], [b"\x5edata"]]);
}

#[test]
fn a_server_grants_the_service_that_was_asked_for() {
    for payload in [
        &b"\x06\0\0\0\x0essh-connection"[..],
        b"\x06\0\0\0\0",
        b"\x06\0\0\0\x0cssh-user",
        b"\x06\0\0\0\x0cssh-userauth\0",
        b"\x06",
    ] {
        let mut client = Client::new(vec![password("one")]);
        client.heard();
        let error = client.cut(payload);
        assert_eq!(error.reason(), Some(Reason::ProtocolError), "{payload:?}");
    }
}

#[test]
fn answers_to_a_login_are_whole_messages() {
    for payload in [
        &b"\x33\0\0\0\x04none"[..],
        b"\x33\0\0\0\x04none\0\0",
        b"\x34\0",
    ] {
        let mut client = Client::accepted(vec![password("one"), password("two")]);
        let error = client.cut(payload);
        assert_eq!(error.reason(), Some(Reason::ProtocolError), "{payload:?}");
    }
}
