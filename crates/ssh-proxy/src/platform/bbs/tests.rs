//! The client against a small BBS with real TLS that answers, or misbehaves, as it is told.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Mutex;

use connector::Files;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::models::{ActualLrpKey, Error, Routes};
use super::*;
use crate::platform::reread::{KeyedFile, Recipe};
use crate::platform::testing::Lines;
use crate::platform::tls::Policy;
use crate::sample::{Change, End, Law, Sample, report, sweep};

/// What the server does with a request.
enum Reply {
    Message(Vec<u8>),
    /// A message with another status and media type.
    Odd(u16, &'static str, Vec<u8>),
    RouterError(&'static str),
    Hang,
    HangUp,
}

/// What the server saw: path, media type, whether the request id was there, body.
type Seen = Arc<Mutex<Vec<(String, String, bool, Bytes)>>>;

struct Server {
    address: SocketAddr,
    dir: tempfile::TempDir,
    seen: Seen,
    ca: String,
}

impl Server {
    /// Answers the first requests with `replies`, and hangs then.
    async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let ca = issuer();
        let issued = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned(), "127.0.0.1".to_owned()]);
            let certificate = params.unwrap().signed_by(&key, &ca.1).unwrap();
            (certificate, key)
        };
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = issued("proxy");
        std::fs::write(dir.path().join("ca"), &ca.0).unwrap();
        std::fs::write(dir.path().join("crt"), certificate.pem()).unwrap();
        std::fs::write(dir.path().join("key"), key.serialize_pem()).unwrap();

        let (certificate, key) = issued("bbs.test");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(&dir)), provider.clone());
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            dir,
            seen: Seen::default(),
            ca: ca.0,
        };
        let replies = Arc::new(Mutex::new(replies.into_iter().collect()));
        tokio::spawn(accept(
            listener,
            TlsAcceptor::from(Arc::new(tls)),
            replies,
            server.seen.clone(),
        ));
        server
    }

    fn settings(&self) -> BbsSettings {
        BbsSettings {
            url: format!("https://{}", self.address),
            tls: tls(&self.dir, true),
            max_idle: 2,
            timeout: None,
        }
    }

    fn bbs(&self) -> Bbs {
        Bbs::new(&self.settings(), resolver(&self.dir, ""))
    }

    fn paths(&self) -> Vec<String> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .map(|seen| seen.0.clone())
            .collect()
    }
}

fn issuer() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

fn roots(dir: &tempfile::TempDir) -> RootCertStore {
    crate::platform::tls::roots_from_file(dir.path().join("ca").to_str().unwrap()).unwrap()
}

/// What the proxy's files say, with or without who we are.
fn tls(dir: &tempfile::TempDir, known: bool) -> Arc<Reread> {
    let file = |name: &'static str| KeyedFile::new(name, dir.path().join(name).to_str().unwrap());
    let recipe = Recipe {
        policy: Policy::Internal,
        roots: vec![file("ca")],
        identity: known.then(|| (file("crt"), file("key"))),
        sessions: 64,
        verify: true,
    };
    Arc::new(Reread::new(recipe).unwrap())
}

fn resolver(dir: &tempfile::TempDir, hosts: &str) -> Arc<Resolver> {
    let files = Files {
        hosts: dir.path().join("hosts"),
        resolv_conf: dir.path().join("resolv.conf"),
    };
    std::fs::write(&files.hosts, hosts).unwrap();
    Arc::new(Resolver::new(files))
}

async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    seen: Seen,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, replies, seen) = (tls.clone(), replies.clone(), seen.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let service = service_fn(|request| answer(request, replies.clone(), seen.clone()));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    seen: Seen,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    assert_eq!(request.method(), Method::POST);
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let media_type = head.headers[CONTENT_TYPE].to_str().unwrap().to_owned();
    let length: usize = head.headers["content-length"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(length, body.len());
    let id = head.headers.get(REQUEST_ID).is_some_and(|id| id.is_empty());
    seen.lock()
        .unwrap()
        .push((head.uri.path().to_owned(), media_type, id, body));
    let reply = replies.lock().unwrap().pop_front();
    let respond = |status: u16, media_type: &str, body: Vec<u8>| {
        let mut response = Response::builder().status(status);
        if !media_type.is_empty() {
            response = response.header(CONTENT_TYPE, media_type);
        }
        response.body(Full::new(body.into())).unwrap()
    };
    Ok(match reply.unwrap_or(Reply::Hang) {
        Reply::Message(body) => respond(200, PROTOBUF, body),
        Reply::Odd(status, media_type, body) => respond(status, media_type, body),
        Reply::RouterError(error) => {
            let mut response = respond(502, PROTOBUF, Vec::new());
            response
                .headers_mut()
                .insert(ROUTER_ERROR, error.parse().unwrap());
            response
        }
        Reply::Hang => std::future::pending::<Infallible>().await.into_response(),
        Reply::HangUp => return Err(std::io::Error::other("hang up")),
    })
}

trait IntoResponse {
    fn into_response(self) -> Response<Full<Bytes>>;
}

impl IntoResponse for Infallible {
    fn into_response(self) -> Response<Full<Bytes>> {
        match self {}
    }
}

fn row(state: &str, presence: Presence) -> ActualLrp {
    ActualLrp {
        key: Some(ActualLrpKey {
            process_guid: "guid".into(),
            index: 0,
        }),
        state: state.into(),
        presence: presence as i32,
        ..ActualLrp::default()
    }
}

fn rows(rows: Vec<ActualLrp>) -> Reply {
    let response = ActualLrpsResponse {
        error: None,
        actual_lrps: rows,
    };
    Reply::Message(response.encode_to_vec())
}

fn one_row() -> Reply {
    rows(vec![row(RUNNING, Presence::Ordinary)])
}

fn desired() -> Reply {
    let routes = HashMap::from([("diego-ssh".to_owned(), b"{}".to_vec())]);
    let response = DesiredLrpResponse {
        error: None,
        desired_lrp: Some(DesiredLrp {
            process_guid: "guid".into(),
            routes: Some(Routes { routes }),
            ..DesiredLrp::default()
        }),
    };
    Reply::Message(response.encode_to_vec())
}

fn failure(kind: i32, message: &str) -> Reply {
    let error = Error {
        kind,
        message: message.into(),
    };
    let response = ActualLrpsResponse {
        error: Some(error),
        actual_lrps: Vec::new(),
    };
    Reply::Message(response.encode_to_vec())
}

#[tokio::test]
async fn an_instance_takes_two_calls() {
    let server = Server::start([one_row(), desired()]).await;
    let lrp = server.bbs().instance("guid", 0).await.unwrap();
    assert_eq!(lrp.actual.state, RUNNING);
    assert!(lrp.desired.routes.unwrap().routes.contains_key("diego-ssh"));

    let seen = server.seen.lock().unwrap();
    let [actual, desired] = seen.as_slice() else {
        panic!("{} calls", seen.len())
    };
    assert_eq!(actual.0, "/v1/actual_lrps/list");
    assert_eq!(desired.0, "/v1/desired_lrps/get_by_process_guid.r3");
    assert!(seen.iter().all(|seen| seen.1 == PROTOBUF && seen.2));
    let asked = ActualLrpsRequest::decode(actual.3.clone()).unwrap();
    assert_eq!(
        (asked.process_guid.as_str(), asked.index),
        ("guid", Some(0))
    );
    assert_eq!(
        DesiredLrpRequest::decode(desired.3.clone())
            .unwrap()
            .process_guid,
        "guid"
    );
}

#[tokio::test]
async fn refusals_of_bbs_end_at_once() {
    let server = Server::start([
        one_row(),
        failure(13, "the requested resource could not be found"),
    ])
    .await;
    let error = server.bbs().instance("guid", 0).await.unwrap_err();
    assert_eq!(
        error,
        BbsError::NotFound("the requested resource could not be found".into())
    );
    assert_eq!(server.paths().len(), 2);

    let server = Server::start([failure(28, "deadlock")]).await;
    let error = server.bbs().instance("guid", 0).await.unwrap_err();
    let message = "deadlock".to_owned();
    assert_eq!(error, BbsError::Application { kind: 28, message });
    assert_eq!(server.paths().len(), 1);
}

#[tokio::test]
async fn what_is_no_answer_is_asked_for_again() {
    let cases = [
        (
            Reply::Odd(503, "", vec![]),
            Reply::Odd(503, "", vec![]),
            Reply::Odd(503, "", vec![]),
            BbsError::Status(503),
        ),
        (
            Reply::HangUp,
            Reply::RouterError("x"),
            Reply::Odd(404, "text/html", vec![b'x']),
            BbsError::Status(404),
        ),
        (
            Reply::HangUp,
            Reply::HangUp,
            Reply::RouterError("endpoint_failure"),
            BbsError::Router("endpoint_failure".into()),
        ),
    ];
    for (first, second, third, expected) in cases {
        let server = Server::start([first, second, third, one_row()]).await;
        let started = Instant::now();
        let error = server.bbs().instance("guid", 0).await.unwrap_err();
        assert_eq!(error, expected);
        assert_eq!(server.paths().len(), 3);
        assert!(started.elapsed() >= 2 * PAUSE && started.elapsed() < 8 * PAUSE);
    }
}

#[tokio::test]
async fn a_later_attempt_can_succeed() {
    let garbage = Reply::Odd(200, "application/x-protobuf; q=1", vec![0xff; 5]);
    let server = Server::start([garbage, Reply::HangUp, one_row(), desired()]).await;
    server.bbs().instance("guid", 0).await.unwrap();
    assert_eq!(server.paths().len(), 4);
}

#[tokio::test]
async fn garbage_is_told_as_such() {
    let garbage = || Reply::Message(vec![0xff; 5]);
    let server = Server::start([garbage(), garbage(), garbage()]).await;
    let error = server.bbs().instance("guid", 0).await.unwrap_err();
    assert!(matches!(error, BbsError::Garbled(_)), "{error}");
}

#[tokio::test]
async fn the_status_of_a_protobuf_answer_does_not_count() {
    let response = ActualLrpsResponse {
        error: None,
        actual_lrps: vec![row("", Presence::Ordinary)],
    };
    let odd = Reply::Odd(500, PROTOBUF, response.encode_to_vec());
    let server = Server::start([odd, desired()]).await;
    server.bbs().instance("guid", 0).await.unwrap();
}

#[tokio::test]
async fn empty_answers_are_errors() {
    let server = Server::start([Reply::Odd(200, "text/plain", vec![])]).await;
    let error = server.bbs().instance("guid", 3).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no matching ActualLRP for ProcessGuid: guid, Index: 3"
    );

    let server = Server::start([one_row(), Reply::Message(Vec::new())]).await;
    let error = server.bbs().instance("guid", 0).await.unwrap_err();
    assert!(matches!(error, BbsError::NoDesiredLrp { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_without_end_is_not_asked_for_again() {
    let big = Reply::Odd(200, PROTOBUF, vec![0; MAX_BODY + 1]);
    let server = Server::start([big, one_row(), desired()]).await;
    let error = server.bbs().instance("guid", 0).await.unwrap_err();
    assert_eq!(error, BbsError::TooLarge);
    assert_eq!(server.paths().len(), 1);
}

#[tokio::test]
async fn a_call_that_hangs_is_made_once_more() {
    let replies = [
        (
            vec![Reply::Hang, one_row(), Reply::Hang, desired()],
            None,
            4,
        ),
        (vec![Reply::Hang, Reply::Hang], Some(BbsError::Timeout), 2),
    ];
    for (replies, expected, calls) in replies {
        let server = Server::start(replies).await;
        let settings = BbsSettings {
            timeout: Some(Duration::from_millis(500)),
            ..server.settings()
        };
        let bbs = Bbs::new(&settings, resolver(&server.dir, ""));
        assert_eq!(bbs.instance("guid", 0).await.err(), expected);
        assert_eq!(server.paths().len(), calls);
    }
}

#[tokio::test]
async fn the_address_that_listens_is_found_and_proven_by_name() {
    let server = Server::start([one_row(), desired()]).await;
    // Nobody listens on the first address.
    let hosts = "127.0.0.9 bbs.test\n127.0.0.1 bbs.test\n127.0.0.1 other.test\n";
    let at = |name: &str| BbsSettings {
        url: format!("https://{name}:{}", server.address.port()),
        ..server.settings()
    };
    let bbs = Bbs::new(&at("bbs.test"), resolver(&server.dir, hosts));
    bbs.instance("guid", 0).await.unwrap();
    assert_eq!(server.paths().len(), 2);

    let bbs = Bbs::new(&at("other.test"), resolver(&server.dir, hosts));
    let error = bbs.instance("guid", 0).await.unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
    assert_eq!(server.paths().len(), 2);
}

#[tokio::test]
async fn strangers_are_not_trusted_and_not_served() {
    let server = Server::start([one_row()]).await;
    let anonymous = tls(&server.dir, false);
    let (other_ca, _) = issuer();
    assert_ne!(other_ca, server.ca);
    std::fs::write(server.dir.path().join("ca"), other_ca).unwrap();
    let distrustful = tls(&server.dir, false);
    for (tls, words) in [
        (anonymous, "CertificateRequired"),
        (distrustful, "invalid peer certificate"),
    ] {
        let settings = BbsSettings {
            tls,
            ..server.settings()
        };
        let bbs = Bbs::new(&settings, resolver(&server.dir, ""));
        let error = bbs.instance("guid", 0).await.unwrap_err();
        assert!(matches!(&error, BbsError::Unavailable(_)), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(server.paths().is_empty());
}

#[tokio::test]
async fn each_call_is_a_session_of_the_log() {
    let (lines, _guard) = Lines::capture();
    let server = Server::start([Reply::RouterError("gone"), one_row(), desired()]).await;
    let span = info_span!("diego-authenticate");
    let bbs = server.bbs();
    bbs.instance("guid", 0).instrument(span).await.unwrap();

    let told: Vec<String> = lines
        .told()
        .iter()
        .map(|line| {
            let message = line["message"].as_str().unwrap();
            let action = message
                .strip_prefix("ssh-proxy.diego-authenticate.do-request.")
                .unwrap();
            let data = &line["data"];
            let detail = ["request_name", "request_path", "error"].map(|key| data[key].as_str());
            let detail = detail.into_iter().flatten().next().unwrap();
            format!(
                "{} {action} {} {detail}",
                data["session"].as_str().unwrap(),
                data["attempt"]
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "1.1 creating-request 1 ActualLRPs",
            "1.1 doing-request 1 /v1/actual_lrps/list",
            "1.1 failed-doing-request null gone",
            "1.1 complete null /v1/actual_lrps/list",
            "1.1 creating-request 2 ActualLRPs",
            "1.1 doing-request 2 /v1/actual_lrps/list",
            "1.1 complete null /v1/actual_lrps/list",
            "1.2 creating-request 1 DesiredLRPByProcessGuid_r3",
            "1.2 doing-request 1 /v1/desired_lrps/get_by_process_guid.r3",
            "1.2 complete null /v1/desired_lrps/get_by_process_guid.r3",
        ]
    );
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = Server::start([one_row(), desired(), one_row(), desired()]).await;
    let bbs = server.bbs();
    bbs.instance("guid", 0).await.unwrap();
    bbs.instance("guid", 0).await.unwrap();
    assert_eq!(server.paths().len(), 4);
}

#[test]
fn one_row_is_chosen_or_none() {
    use Presence::{Evacuating, Ordinary, Suspect};
    let running = |presence| row(RUNNING, presence);
    let chosen = |rows: Vec<ActualLrp>| {
        choose(rows, "g", 1)
            .map(|row| row.presence)
            .map_err(|error| error.to_string())
    };
    let ordinary = Ok(Ordinary as i32);
    let cases = [
        (
            vec![],
            Err("no matching ActualLRP for ProcessGuid: g, Index: 1"),
        ),
        (vec![running(Ordinary)], ordinary),
        (vec![row("", Ordinary)], ordinary),
        (
            vec![row("CRASHED", Ordinary)],
            Err("instance is not running: CRASHED"),
        ),
        (vec![running(Evacuating), running(Ordinary)], ordinary),
        (vec![running(Ordinary), running(Suspect)], ordinary),
        (
            vec![running(Suspect), row("CLAIMED", Ordinary)],
            Ok(Suspect as i32),
        ),
        (
            vec![row("UNCLAIMED", Ordinary), running(Evacuating)],
            Ok(Evacuating as i32),
        ),
        (
            vec![row("CLAIMED", Ordinary), row("CRASHED", Suspect)],
            Err("instance is not running: CLAIMED"),
        ),
        (
            vec![running(Ordinary), running(Ordinary)],
            Err("multiple matching ActualLRP for ProcessGuid: g, Index: 1"),
        ),
        (
            vec![running(Suspect), running(Evacuating)],
            Err("multiple matching ActualLRP for ProcessGuid: g, Index: 1"),
        ),
    ];
    for (rows, expected) in cases {
        assert_eq!(chosen(rows), expected.map_err(ToOwned::to_owned));
    }
}

#[test]
fn routes_do_not_show_in_debug() {
    let routes = HashMap::from([("diego-ssh".to_owned(), b"hunter2".to_vec())]);
    assert_eq!(format!("{:?}", Routes { routes }), "{\"diego-ssh\"}");
}

/// Protobuf that is cut between two fields is a shorter message; what follows from it is checked later.
#[test]
fn answers_that_are_cut_or_lengthened_are_read_or_refused() {
    let Reply::Message(lrps) = one_row() else {
        panic!("no message");
    };
    let Reply::Message(lrp) = desired() else {
        panic!("no message");
    };
    let sample = |name, bytes| [Sample::new(name, "*", bytes).under(Law::Either)];
    let mut cases = 0;
    cases += sweep(
        &sample("actual LRPs", lrps),
        |_| (),
        |(), bytes| ActualLrpsResponse::decode(bytes).into(),
    );
    cases += sweep(
        &sample("desired LRP", lrp),
        |_| (),
        |(), bytes| DesiredLrpResponse::decode(bytes).into(),
    );
    // A length of its own, in as many bytes as there may be, is believed no further than the body goes.
    for claim in [0x7f_u64, 1 << 31, u64::from(u32::MAX), u64::MAX] {
        let mut body = vec![0x12];
        prost::encoding::encode_varint(claim, &mut body);
        let claims = Sample::new("a claim", "*", body).under(Law::Either);
        claims.check(Change::OneMore, |bytes| {
            let end = ActualLrpsResponse::decode(bytes).into();
            assert_eq!(end, End::Error);
            end
        });
        cases += 1;
    }
    report(cases, 40);
}
