//! The messages of RFC 4252, against the machines that read them over a transport. A request that is
//! answered with FAILURE is accepted as far as its form goes.

use ssh_proto::algorithm::Signature;
use ssh_proto::auth::{ClientAuth, Credential, Methods, Request, ServerAuth};
use ssh_proto::transport::{Event, Role};
use ssh_proto::wire::Put;
use ssh_proto::{Error, Secret, msg};

use crate::sample::{End, Law, Sample, report, sweep};
use crate::support::keys;
use crate::support::peer::{Offer, Peer};

const SERVICE: &[u8] = b"ssh-userauth";

fn service(number: u8) -> Vec<u8> {
    let mut payload = vec![number];
    payload.put_string(SERVICE);
    payload
}

fn request(method: &[u8]) -> Vec<u8> {
    let mut payload = vec![msg::USERAUTH_REQUEST];
    for field in [b"cf:4f60b2e5/0", &b"ssh-connection"[..], method] {
        payload.put_string(field);
    }
    payload
}

fn password() -> Vec<u8> {
    let mut payload = request(b"password");
    payload.put_bool(false);
    payload.put_string(b"hunter2");
    payload
}

fn query(algorithm: Signature) -> Vec<u8> {
    let mut payload = request(b"publickey");
    payload.put_bool(false);
    payload.put_string(algorithm.name().as_bytes());
    payload.put_string(keys::signing(algorithm).public().blob());
    payload
}

fn signed(algorithm: Signature, session_id: &[u8]) -> Vec<u8> {
    let mut payload = query(algorithm);
    let flag = request(b"publickey").len();
    payload[flag] = 1;
    let mut data = Vec::new();
    data.put_string(session_id);
    data.extend(&payload);
    let key = keys::signing(algorithm);
    payload.put_string(&key.sign(algorithm, &data).unwrap());
    payload
}

/// The inside of a key of this kind.
fn key_layout(algorithm: Signature) -> &'static str {
    match algorithm {
        Signature::Ed25519 => "(ss)",
        _ => "(sss)",
    }
}

/// A server that has heard SERVICE_REQUEST, or has not.
struct Server {
    peer: Peer,
    auth: ServerAuth,
}

impl Server {
    fn new(methods: Methods, begun: bool) -> Self {
        let mut server = Self {
            peer: Peer::connected(Role::Server, Offer::default()),
            auth: ServerAuth::new(methods),
        };
        if begun {
            let end = server.handle(&service(msg::SERVICE_REQUEST), false);
            assert_eq!(end, End::Accepted);
            server.peer.heard();
        }
        server
    }

    /// A key may be proven only by the request as it was made.
    fn handle(&mut self, payload: &[u8], may_prove: bool) -> End {
        self.peer.say(payload);
        let handled = match self.peer.poll() {
            Ok(Event::Packet) => self.auth.handle(&mut self.peer.transport),
            Ok(event) => panic!("{event:?}"),
            Err(error) => Err(error),
        };
        if let Ok(Some(Request::Key { .. })) = handled {
            assert!(may_prove, "a spoilt signature that holds");
        }
        told(&mut self.peer, handled.err())
    }
}

/// An error is the last thing that the peer hears.
fn told(peer: &mut Peer, error: Option<Error>) -> End {
    let Some(error) = error else {
        return End::Accepted;
    };
    peer.transport.fail(error);
    peer.must_be_cut();
    End::Error
}

#[test]
fn requests() {
    let mut cases = 0;
    let first = [Sample::new("SERVICE_REQUEST", "bs", service(5))];
    cases += sweep(
        &first,
        |_| Server::new(Methods::Password, false),
        |server, bytes| server.handle(bytes, false),
    );
    let mut change = password();
    change[request(b"password").len()] = 1;
    change.put_string(b"hunter3");
    let mut hostbased = request(b"hostbased");
    hostbased.put_string(b"ssh-ed25519");
    let samples = [
        Sample::new("none", "bssk", request(b"none")),
        Sample::new("password", "bsskbs", password()),
        Sample::new("a new password", "bsskbss", change),
        Sample::new("hostbased", "bssk|s", hostbased),
    ];
    cases += sweep(
        &samples,
        |_| Server::new(Methods::Password, true),
        |server, bytes| server.handle(bytes, false),
    );
    report(cases, 300);
}

#[test]
fn requests_with_keys_of_each_kind() {
    let mut cases = 0;
    let fresh = || Server::new(Methods::PublicKey, true);
    // The same in all, since the random numbers are.
    let session_id = fresh().peer.session_id;
    for algorithm in Signature::ALL {
        let key = key_layout(*algorithm);
        let name = algorithm.name();
        let layout = format!("bsskbs{key}");
        let query = Sample::new(&format!("query {name}"), &layout, query(*algorithm));
        let layout = format!("bsskbs{key}(ss)");
        let whole = signed(*algorithm, &session_id);
        let signed = Sample::new(&format!("signed {name}"), &layout, whole.clone());
        assert!(proves(&whole));
        cases += sweep(
            &[query, signed],
            |_| fresh(),
            |server, bytes| server.handle(bytes, bytes == whole),
        );
    }
    report(cases, 4500);
}

/// The request as it was made proves the key, so that it is the change that does not.
fn proves(payload: &[u8]) -> bool {
    let mut server = Server::new(Methods::PublicKey, true);
    server.peer.say(payload);
    assert_eq!(server.peer.poll(), Ok(Event::Packet));
    let handled = server.auth.handle(&mut server.peer.transport);
    matches!(handled, Ok(Some(Request::Key { .. })))
}

/// A client that has heard SERVICE_ACCEPT, or has not.
struct Client {
    peer: Peer,
    auth: ClientAuth,
}

impl Client {
    fn new(begun: bool) -> Self {
        let mut peer = Peer::connected(Role::Client, Offer::default());
        let host = peer.accepted.take().unwrap();
        let credentials = ["p", "q"].map(|text| Credential::Password(Secret::new(text.into())));
        let auth = ClientAuth::start(host, &mut peer.transport, "vcap".into(), credentials);
        let mut client = Self { peer, auth };
        if begun {
            assert_eq!(client.handle(&service(msg::SERVICE_ACCEPT)), End::Accepted);
        }
        client.peer.heard();
        client
    }

    fn handle(&mut self, payload: &[u8]) -> End {
        self.peer.say(payload);
        let handled = match self.peer.poll() {
            Ok(Event::Packet) => self.auth.handle(&mut self.peer.transport).map(drop),
            Ok(event) => panic!("{event:?}"),
            Err(error) => Err(error),
        };
        told(&mut self.peer, handled.err())
    }
}

#[test]
fn answers() {
    let mut failure = vec![msg::USERAUTH_FAILURE];
    failure.put_string(b"publickey,password");
    failure.put_bool(false);
    let mut banner = vec![msg::USERAUTH_BANNER];
    banner.put_string("Grüße\r\n".as_bytes());
    banner.put_string(b"de");
    let first = [Sample::new("SERVICE_ACCEPT", "bs", service(6))];
    let later = [
        Sample::new("FAILURE", "bsb", failure),
        Sample::new("SUCCESS", "b", vec![msg::USERAUTH_SUCCESS]),
        Sample::new("BANNER", "bss", banner),
    ];
    let mut cases = sweep(&first, |_| Client::new(false), Client::handle);
    cases += sweep(&later, |_| Client::new(true), Client::handle);
    assert!(later.iter().all(|sample| sample.law == Law::Exact));
    report(cases, 80);
}
