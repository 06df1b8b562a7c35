//! The server's side, against a client that says what it wants.

use ssh_proto::Error;
use ssh_proto::algorithm::Signature;
use ssh_proto::auth::{Methods, Request, ServerAuth};
use ssh_proto::error::Reason;
use ssh_proto::key::PrivateKey;
use ssh_proto::msg;
use ssh_proto::transport::Event;
use ssh_proto::wire::Put;

use crate::support::{CLIENT, Pair, SERVER, keys};

const SERVICE_REQUEST: &[u8] = b"\x05\0\0\0\x0cssh-userauth";
const FAILURE_PASSWORD: &[u8] = b"\x33\0\0\0\x08password\0";
const FAILURE_PUBLICKEY: &[u8] = b"\x33\0\0\0\x09publickey\0";

/// The server under test. The client is a transport whose user says whatever it likes.
struct Server {
    pair: Pair,
    auth: ServerAuth,
}

impl Server {
    fn fresh(methods: Methods) -> Self {
        Self {
            pair: Pair::connected(),
            auth: ServerAuth::new(methods),
        }
    }

    /// After SERVICE_REQUEST.
    fn new(methods: Methods) -> Self {
        let mut server = Self::fresh(methods);
        assert!(server.handle(SERVICE_REQUEST).unwrap().is_none());
        assert_eq!(server.heard(), [b"\x06\0\0\0\x0cssh-userauth"]);
        server
    }

    /// What becomes of a payload of the client.
    fn handle(&mut self, payload: &[u8]) -> Result<Option<Request>, Error> {
        self.pair.ends[CLIENT].send(&[payload]);
        while self.pair.carry(CLIENT) {}
        let server = &mut self.pair.ends[SERVER];
        assert_eq!(server.poll(self.pair.now)?, Event::Packet);
        self.auth.handle(server).map_err(|error| server.fail(error))
    }

    /// The server asks its owner.
    fn asked(&mut self, payload: &[u8]) -> Request {
        self.handle(payload).unwrap().expect("a request")
    }

    /// Lets the client in, which leaves nothing to ask.
    fn accept(&mut self) {
        let auth = std::mem::replace(&mut self.auth, ServerAuth::new(Methods::Password));
        auth.accept(&mut self.pair.ends[SERVER]);
    }

    fn reject(&mut self) -> Result<(), Error> {
        let server = &mut self.pair.ends[SERVER];
        self.auth.reject(server).map_err(|error| server.fail(error))
    }

    /// The payload ends the connection and the client is told.
    fn cut(&mut self, payload: &[u8]) -> Error {
        let error = self.handle(payload).expect_err("must be cut");
        self.told(error)
    }

    fn told(&mut self, error: Error) -> Error {
        self.pair.poll(SERVER);
        assert_eq!(self.pair.cut(SERVER), error);
        error
    }

    /// The payload fails without anyone being asked.
    fn fails(&mut self, payload: &[u8]) {
        assert!(self.handle(payload).unwrap().is_none());
        let failure = &self.heard()[0];
        assert!(failure == FAILURE_PASSWORD || failure == FAILURE_PUBLICKEY);
    }

    /// What the client got since the last time.
    fn heard(&mut self) -> Vec<Vec<u8>> {
        self.pair.carry(SERVER);
        self.pair.poll(CLIENT);
        self.pair.take_got(CLIENT)
    }
}

/// The beginning of every request.
fn request(user: &[u8], service: &str, method: &str) -> Vec<u8> {
    let mut payload = vec![msg::USERAUTH_REQUEST];
    payload.put_string(user);
    payload.put_string(service.as_bytes());
    payload.put_string(method.as_bytes());
    payload
}

fn none(user: &[u8]) -> Vec<u8> {
    request(user, "ssh-connection", "none")
}

fn password(user: &[u8], password: &[u8]) -> Vec<u8> {
    let mut payload = request(user, "ssh-connection", "password");
    payload.put_bool(false);
    payload.put_string(password);
    payload
}

fn public_key(user: &[u8], algorithm: &str, key: &[u8], signature: Option<&[u8]>) -> Vec<u8> {
    let mut payload = request(user, "ssh-connection", "publickey");
    payload.put_bool(signature.is_some());
    payload.put_string(algorithm.as_bytes());
    payload.put_string(key);
    if let Some(signature) = signature {
        payload.put_string(signature);
    }
    payload
}

/// A signature as RFC 4252 section 7 asks for.
fn sign(session: &[u8], user: &[u8], algorithm: Signature, key: &PrivateKey) -> Vec<u8> {
    let mut data = Vec::new();
    data.put_string(session);
    let mut request = public_key(user, algorithm.name(), key.public().blob(), Some(b""));
    request.truncate(request.len() - 4);
    data.extend(request);
    key.sign(algorithm, &data).unwrap()
}

/// A request with a right signature.
fn signed(server: &Server, user: &[u8], algorithm: Signature, key: &PrivateKey) -> Vec<u8> {
    let session = server.pair.ends[CLIENT].session_id();
    let signature = sign(session, user, algorithm, key);
    let blob = key.public().blob();
    public_key(user, algorithm.name(), blob, Some(&signature))
}

#[test]
fn a_password_lets_the_user_in() {
    let mut server = Server::new(Methods::Password);
    let request = server.asked(&password(b"cf:guid/0", b"not UTF-8: \xff"));
    let Request::Password { user, password } = request else {
        panic!("{request:?}");
    };
    assert_eq!(user, "cf:guid/0");
    assert!(password.matches(b"not UTF-8: \xff"));
    server.accept();
    server.pair.carry(SERVER);
    server.pair.poll(CLIENT);
    assert_eq!(server.pair.take_got(CLIENT), [[msg::USERAUTH_SUCCESS]]);
}

#[test]
fn a_wrong_password_can_be_tried_again() {
    let mut server = Server::new(Methods::Password);
    for _ in 0..3 {
        server.asked(&password(b"u", b"wrong"));
        server.reject().unwrap();
        assert_eq!(server.heard(), [FAILURE_PASSWORD]);
    }
    server.asked(&password(b"another", b"right"));
}

#[test]
fn the_password_is_gone_from_the_packet() {
    for payload in [
        password(b"user", b"hunter2"),
        // Also where it is refused unread.
        [password(b"user", b"hunter2"), b"x".to_vec()].concat(),
        password(b"\xff", b"hunter2"),
    ] {
        let mut server = Server::new(Methods::Password);
        let _ = server.handle(&payload);
        assert_eq!(server.pair.ends[SERVER].packet(), vec![0; payload.len()]);
    }
}

#[test]
fn a_password_to_be_changed_fails() {
    let mut payload = request(b"u", "ssh-connection", "password");
    payload.put_bool(true);
    payload.put_string(b"old");
    payload.put_string(b"new");
    Server::new(Methods::Password).fails(&payload);
    payload.push(0);
    Server::new(Methods::Password).cut(&payload);
    payload.truncate(payload.len() - 2);
    Server::new(Methods::Password).cut(&payload);
}

#[test]
fn none_is_asked_about_and_the_first_one_is_free() {
    let mut server = Server::new(Methods::Password);
    let request = server.asked(&none(b"u"));
    assert!(matches!(request, Request::None { user } if user == "u"));
    server.reject().unwrap();
    assert_eq!(server.heard(), [FAILURE_PASSWORD]);
    for _ in 0..5 {
        server.asked(&none(b"u"));
        server.reject().unwrap();
    }
    server.asked(&none(b"u"));
    assert!(server.reject().is_err());

    let mut server = Server::new(Methods::PublicKey);
    server.asked(&none(b"vcap"));
    server.accept();
}

#[test]
fn six_failures_end_the_connection() {
    type Fail = fn(&mut Server) -> Result<(), Error>;
    let refused: [Fail; 3] = [
        |server| {
            server.asked(&password(b"u", b"wrong"));
            server.reject()
        },
        |server| {
            server
                .handle(&request(b"u", "ssh-connection", "hostbased"))
                .map(|_| ())
        },
        |server| server.handle(&password(b"\n", b"x")).map(|_| ()),
    ];
    for fail in refused {
        let mut server = Server::new(Methods::Password);
        for _ in 0..5 {
            fail(&mut server).unwrap();
        }
        let error = fail(&mut server).unwrap_err();
        assert_eq!(error.to_string(), "too many authentication failures");
        assert_eq!(error.reason(), Some(Reason::ProtocolError));
        server.told(error);
    }
}

#[test]
fn twenty_requests_end_the_connection_even_when_each_key_would_do() {
    let mut server = Server::new(Methods::PublicKey);
    let key = keys::ed25519(5);
    let query = public_key(b"u", "ssh-ed25519", key.public().blob(), None);
    for _ in 0..20 {
        assert!(matches!(server.asked(&query), Request::KeyQuery { .. }));
        let end = &mut server.pair.ends[SERVER];
        server.auth.key_ok(end, key.public());
    }
    let error = server.cut(&query);
    assert_eq!(error.to_string(), "too many authentication failures");
}

#[test]
fn a_key_that_would_do_is_told_and_its_signature_lets_in() {
    for algorithm in Signature::ALL {
        let key = keys::signing(*algorithm);
        let blob = key.public().blob();
        let mut server = Server::new(Methods::PublicKey);
        let asked = server.asked(&public_key(b"u", algorithm.name(), blob, None));
        let Request::KeyQuery { user, key: queried } = asked else {
            panic!("{asked:?}");
        };
        assert_eq!((user.as_str(), &queried), ("u", key.public()));
        server.auth.key_ok(&mut server.pair.ends[SERVER], &queried);
        let mut ok = vec![msg::USERAUTH_PK_OK];
        ok.put_string(algorithm.name().as_bytes());
        ok.put_string(blob);
        assert_eq!(server.heard(), [ok]);
        let payload = signed(&server, b"u", *algorithm, &key);
        let asked = server.asked(&payload);
        let Request::Key { user, key: proven } = asked else {
            panic!("{asked:?}");
        };
        assert_eq!((user.as_str(), proven.key()), ("u", key.public()));
        server.accept();
        assert_eq!(server.heard(), [[msg::USERAUTH_SUCCESS]]);
    }
}

#[test]
fn the_key_that_signed_counts_and_not_the_one_that_was_asked_about() {
    let (a, b) = (keys::ed25519(1), keys::ed25519(2));
    let mut server = Server::new(Methods::PublicKey);
    let asked = server.asked(&public_key(b"u", "ssh-ed25519", a.public().blob(), None));
    assert!(matches!(asked, Request::KeyQuery { key, .. } if key == *a.public()));
    server
        .auth
        .key_ok(&mut server.pair.ends[SERVER], a.public());
    server.heard();
    let payload = signed(&server, b"u", Signature::Ed25519, &b);
    let asked = server.asked(&payload);
    assert!(matches!(asked, Request::Key { key, .. } if key.key() == b.public()));
}

/// Nothing is remembered from one request to the next but how many there were: a question that was
/// answered with yes, a password that was right, a name.
#[test]
fn what_one_user_did_helps_no_other() {
    let key = keys::ed25519(1);
    let mut server = Server::new(Methods::PublicKey);
    let blob = key.public().blob();
    server.asked(&public_key(b"alice", "ssh-ed25519", blob, None));
    server
        .auth
        .key_ok(&mut server.pair.ends[SERVER], key.public());
    server.heard();
    // What alice signed says alice.
    let session = server.pair.ends[CLIENT].session_id().to_vec();
    let signature = sign(&session, b"alice", Signature::Ed25519, &key);
    server.fails(&public_key(b"root", "ssh-ed25519", blob, Some(&signature)));
    // Each request is asked about with its own name, and with nothing but its own.
    let payload = signed(&server, b"root", Signature::Ed25519, &key);
    let asked = server.asked(&payload);
    assert!(matches!(asked, Request::Key { user, .. } if user == "root"));

    let mut server = Server::new(Methods::Password);
    for (user, typed) in [(b"alice", b"right"), (b"mallo", b"wrong")] {
        let asked = server.asked(&password(user, typed));
        let Request::Password {
            user: asked,
            password,
        } = asked
        else {
            panic!("{asked:?}");
        };
        assert_eq!(
            (asked.as_bytes(), password.expose()),
            (&user[..], &typed.to_vec())
        );
        server.reject().unwrap();
        server.heard();
    }
    let asked = server.asked(&none(b"alice"));
    assert!(matches!(asked, Request::None { .. }));
}

#[test]
fn a_signature_over_anything_else_fails() {
    use Signature::{Ed25519, RsaSha256, RsaSha512};
    let (key, other) = (keys::ed25519(1), keys::ed25519(2));
    let (blob, rsa) = (key.public().blob(), keys::signing(RsaSha256));
    let fresh = || Server::new(Methods::PublicKey);
    let session = fresh().pair.ends[CLIENT].session_id().to_vec();
    let mut wrong_session = session.clone();
    wrong_session[0] ^= 1;
    let mut bad = sign(&session, b"u", Ed25519, &key);
    *bad.last_mut().unwrap() ^= 1;
    let name = Ed25519.name();
    let rsa_256 = sign(&session, b"u", RsaSha256, &rsa);
    let rsa_blob = rsa.public().blob();
    let request =
        |algorithm, blob, signature: &[u8]| public_key(b"u", algorithm, blob, Some(signature));
    let right = sign(&session, b"u", Ed25519, &key);
    let cases = [
        request(name, blob, &sign(&wrong_session, b"u", Ed25519, &key)),
        request(name, blob, &sign(b"", b"u", Ed25519, &key)),
        request(name, blob, &sign(&session, b"v", Ed25519, &key)),
        request(name, blob, &sign(&session, b"u", Ed25519, &other)),
        request(name, other.public().blob(), &right),
        request(name, blob, &bad),
        request(name, blob, b""),
        request(name, blob, &key.sign(Ed25519, b"x").unwrap()),
        // The algorithm declared, of the signature and of the key have to be one.
        request(RsaSha512.name(), rsa_blob, &rsa_256),
        request(name, rsa_blob, &rsa_256),
        request(RsaSha256.name(), blob, &right),
        request("ssh-rsa", rsa_blob, &rsa_256),
        request("ssh-ed25519-cert-v01@openssh.com", blob, &right),
        request("\u{fffd}", blob, &right),
        request(name, b"no key", &right),
    ];
    for case in cases {
        fresh().fails(&case);
    }
    assert!(
        fresh()
            .handle(&request(name, blob, &right))
            .unwrap()
            .is_some()
    );
    let right = request(RsaSha256.name(), rsa_blob, &rsa_256);
    assert!(fresh().handle(&right).unwrap().is_some());
}

#[test]
fn queries_for_keys_nobody_can_use_fail_unasked() {
    let blob = keys::ed25519(1).public().blob().to_vec();
    for (algorithm, key) in [
        ("ssh-rsa", &blob[..]),
        ("rsa-sha2-256", &blob),
        ("ssh-ed25519", b""),
        ("ssh-ed25519", &blob[..blob.len() - 1]),
    ] {
        let mut server = Server::new(Methods::PublicKey);
        server.fails(&public_key(b"u", algorithm, key, None));
    }
}

#[test]
fn methods_that_are_not_offered_fail_unasked() {
    let key = keys::ed25519(1);
    let mut server = Server::new(Methods::Password);
    let payload = signed(&server, b"u", Signature::Ed25519, &key);
    server.fails(&payload);
    server.fails(&request(b"u", "ssh-connection", "keyboard-interactive"));
    server.fails(&request(b"u", "ssh-connection", ""));
    Server::new(Methods::PublicKey).fails(&password(b"u", b"p"));
}

#[test]
fn user_names_that_cannot_be_shown_fail_like_unknown_ones() {
    let longest = [b'a'; 256];
    Server::new(Methods::Password).asked(&none(&longest));
    Server::new(Methods::Password).asked(&none("".as_bytes()));
    Server::new(Methods::Password).asked(&none("bücher".as_bytes()));
    let refused: [&[u8]; 7] = [
        &[b'a'; 257],
        &[b'a'; 30_000],
        b"a\0b",
        b"a\nb",
        b"\x1b[31m",
        b"\x7f",
        b"\xff\xfe",
    ];
    for user in refused {
        Server::new(Methods::Password).fails(&none(user));
        Server::new(Methods::Password).fails(&password(user, b"p"));
        let key = keys::ed25519(1);
        let mut server = Server::new(Methods::PublicKey);
        let payload = signed(&server, user, Signature::Ed25519, &key);
        server.fails(&payload);
    }
}

#[test]
fn other_services_end_the_connection() {
    for service in ["ssh-connection", "", "ssh-userauth2", "telnet"] {
        let mut payload = vec![msg::SERVICE_REQUEST];
        payload.put_string(service.as_bytes());
        let error = Server::fresh(Methods::Password).cut(&payload);
        assert_eq!(error.reason(), Some(Reason::ServiceNotAvailable));
    }
    let payload = request(b"u", "ssh-userauth", "none");
    let error = Server::new(Methods::Password).cut(&payload);
    assert_eq!(error.reason(), Some(Reason::ServiceNotAvailable));
}

#[test]
fn messages_out_of_order_are_cut() {
    let misbehaved = |error| assert!(matches!(error, Error::Misbehaved(_)), "{error}");
    misbehaved(Server::fresh(Methods::Password).cut(&none(b"u")));
    misbehaved(Server::new(Methods::Password).cut(SERVICE_REQUEST));
    for number in [6, 51, 52, 53, 60, 61, 79, 80, 90, 94, 98, 192] {
        misbehaved(Server::fresh(Methods::Password).cut(&[number]));
        misbehaved(Server::new(Methods::Password).cut(&[number]));
    }
    // A request on top of one that nobody has answered yet.
    let mut server = Server::new(Methods::Password);
    server.asked(&password(b"u", b"p"));
    misbehaved(server.cut(&password(b"u", b"p")));
}

#[test]
fn every_cut_of_a_request_is_malformed_or_fails() {
    let key = keys::ed25519(1);
    let server = Server::new(Methods::PublicKey);
    let payloads = [
        (Methods::Password, password(b"user", b"pass")),
        (Methods::Password, none(b"user")),
        (
            Methods::PublicKey,
            signed(&server, b"user", Signature::Ed25519, &key),
        ),
    ];
    for (methods, payload) in payloads {
        for length in 1..payload.len() {
            let error = Server::new(methods).cut(&payload[..length]);
            assert_eq!(error, Error::Misbehaved("malformed message"));
        }
        let longer = [payload, b"x".to_vec()].concat();
        Server::new(methods).cut(&longer);
    }
    for malformed in [&SERVICE_REQUEST[..9], &[SERVICE_REQUEST, b"x"].concat()] {
        Server::fresh(Methods::Password).cut(malformed);
    }
}

#[test]
fn requests_after_success_are_ignored() {
    let mut server = Server::new(Methods::Password);
    server.asked(&password(b"u", b"p"));
    server.accept();
    server.heard();
    server.pair.ends[CLIENT].set_authenticated();
    for payload in [password(b"root", b"p"), vec![msg::USERAUTH_REQUEST]] {
        server.pair.ends[CLIENT].send(&[&payload]);
        server.pair.drive();
        assert_eq!(server.pair.errors, [None, None]);
        assert!(server.pair.got.iter().all(Vec::is_empty));
    }
}

#[test]
fn a_banner_is_cut_where_clients_would_cut_it() {
    let mut server = Server::new(Methods::Password);
    let long = "ü".repeat(300);
    for text in ["hello", &long] {
        server.auth.banner(&mut server.pair.ends[SERVER], text);
    }
    let banner = |text: &str| {
        let mut payload = vec![msg::USERAUTH_BANNER];
        payload.put_string(text.as_bytes());
        payload.put_string(b"");
        payload
    };
    assert_eq!(server.heard(), [banner("hello"), banner(&long[..400])]);
}
