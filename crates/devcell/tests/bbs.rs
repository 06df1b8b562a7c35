//! The BBS double judged from outside by a small client of its own: TLS, protocol, faults.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::sync::Arc;
use std::time::Duration;

use devcell::bbs::messages::{
    ActualLrp, ActualLrpsRequest, ActualLrpsResponse, BbsError, DesiredLrp, DesiredLrpRequest,
    DesiredLrpResponse, NetInfo, Presence,
};
use devcell::bbs::{Bbs, CallBody, DESIRED_PATH, Fault, LIST_PATH, PING_PATH, PROTOBUF};
use devcell::certs::{Authority, Identity, Request as CertRequest, Validity, provider};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use prost::Message;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A double with two instances of one process, and what a client needs.
struct Fixture {
    ca: Authority,
    bbs: Bbs,
    client: Identity,
}

async fn fixture() -> Fixture {
    let ca = Authority::new("test CA").unwrap();
    let server = ca.issue(&CertRequest::server(&["localhost"])).unwrap();
    let client = ca.issue(&CertRequest::client("ssh-proxy")).unwrap();
    let bbs = Bbs::start(&server, &ca).await.unwrap();
    bbs.update(|state| {
        let rows = (0..2).map(|i| ActualLrp::running("app", i, &format!("instance-{i}")));
        state.actual = rows.map(|row| row.at(NetInfo::plain(2222, 4000))).collect();
        let route = serde_json::json!({"container_port": 2222});
        state.desired = vec![DesiredLrp::with_ssh_route("app", "log", &route)];
    });
    Fixture { ca, bbs, client }
}

impl Fixture {
    async fn post(&self, path: &str, body: Vec<u8>) -> Result<Response<Bytes>, Failure> {
        post(&self.bbs, &self.ca, Some(&self.client), path, body).await
    }

    async fn list(&self, index: Option<i32>) -> Vec<ActualLrp> {
        let request = ActualLrpsRequest {
            process_guid: "app".to_owned(),
            index,
            ..ActualLrpsRequest::default()
        };
        let answer = self.post(LIST_PATH, request.encode_to_vec()).await.unwrap();
        let answer = ActualLrpsResponse::decode(answer.into_body()).unwrap();
        assert_eq!(answer.error, None);
        answer.actual_lrps
    }

    async fn desired(&self, guid: &str) -> DesiredLrpResponse {
        let request = DesiredLrpRequest {
            process_guid: guid.to_owned(),
        };
        let answer = self.post(DESIRED_PATH, request.encode_to_vec()).await;
        DesiredLrpResponse::decode(answer.unwrap().into_body()).unwrap()
    }
}

async fn post(
    bbs: &Bbs,
    ca: &Authority,
    client: Option<&Identity>,
    path: &str,
    body: Vec<u8>,
) -> Result<Response<Bytes>, Failure> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(ca.roots()?);
    let config = match client {
        Some(id) => config.with_client_auth_cert(id.chain(), id.key_der())?,
        None => config.with_no_client_auth(),
    };
    let tcp = TcpStream::connect(bbs.address()).await?;
    let name = ServerName::try_from("localhost")?;
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp);
    let io = TokioIo::new(tls.await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let connection = tokio::spawn(connection);
    let request = Request::post(path)
        .header("host", "localhost")
        .header("content-type", PROTOBUF)
        .header("x-vcap-request-id", "")
        .body(Full::new(Bytes::from(body)))?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(head, body))
}

#[tokio::test]
async fn list_filters_by_index_only_when_one_is_given() {
    let f = fixture().await;
    assert_eq!(f.list(None).await.len(), 2);
    let first = f.list(Some(0)).await;
    assert_eq!(first.len(), 1);
    assert!(first[0].is("app", 0));
    assert_eq!(f.list(Some(7)).await, []);
}

#[tokio::test]
async fn rows_can_change_while_it_runs() {
    let f = fixture().await;
    let twin = ActualLrp::running("app", 0, "leaving").present(Presence::Evacuating);
    f.bbs.update(|state| state.actual.push(twin));
    assert_eq!(f.list(Some(0)).await.len(), 2);
    f.bbs.update(|state| state.actual.clear());
    assert_eq!(f.list(Some(0)).await, []);
}

#[tokio::test]
async fn desired_answers_errors_inside_the_message() {
    let f = fixture().await;
    let found = f.desired("app").await;
    assert_eq!(found.error, None);
    assert!(found.desired_lrp.unwrap().routes.is_some());
    let unknown = f.desired("nobody").await;
    let kind = unknown.error.unwrap().kind;
    assert_eq!(kind, BbsError::RESOURCE_NOT_FOUND);
    let kind = f.desired("").await.error.unwrap().kind;
    assert_eq!(kind, BbsError::INVALID_REQUEST);
}

#[tokio::test]
async fn calls_are_recorded_as_decoded_messages() {
    let f = fixture().await;
    f.list(Some(0)).await;
    f.desired("app").await;
    let calls = f.bbs.calls();
    let paths: Vec<&str> = calls.iter().map(|call| call.path.as_str()).collect();
    assert_eq!(paths, [LIST_PATH, DESIRED_PATH]);
    assert_eq!(calls[0].headers["content-type"], PROTOBUF);
    assert_eq!(calls[0].headers["x-vcap-request-id"], "");
    let CallBody::List(request) = &calls[0].body else {
        panic!("not a list call: {:?}", calls[0])
    };
    assert_eq!(request.index, Some(0));
    assert_eq!(f.bbs.call_count(LIST_PATH), 1);
    f.bbs.forget_calls();
    assert_eq!(f.bbs.calls(), []);
}

#[tokio::test]
async fn wrong_paths_and_undecodable_bodies_are_refused() {
    let f = fixture().await;
    assert_eq!(f.post("/v2/info", vec![]).await.unwrap().status(), 404);
    assert_eq!(f.post(PING_PATH, vec![]).await.unwrap().body()[..], [8, 1]);
    let answer = f.post(LIST_PATH, vec![0xff; 8]).await.unwrap();
    let answer = ActualLrpsResponse::decode(answer.into_body()).unwrap();
    assert_eq!(answer.error.unwrap().kind, BbsError::INVALID_REQUEST);
}

#[tokio::test]
async fn clients_without_a_good_certificate_are_turned_away() {
    let f = fixture().await;
    let stranger = Authority::new("stranger").unwrap();
    let foreign = stranger.issue(&CertRequest::client("ssh-proxy")).unwrap();
    let late = CertRequest::client("ssh-proxy").valid(Validity::Expired);
    let expired = f.ca.issue(&late).unwrap();
    for client in [None, Some(&foreign), Some(&expired)] {
        let answer = post(&f.bbs, &f.ca, client, PING_PATH, vec![]).await;
        assert!(answer.is_err(), "{client:?} was let in");
    }
    assert_eq!(f.bbs.calls(), []);
}

#[tokio::test]
async fn faults_that_answer() {
    let f = fixture().await;
    let fault = |fault| {
        f.bbs.fail_next(1, fault);
        f.post(LIST_PATH, vec![])
    };
    let unavailable = fault(Fault::Status(503)).await.unwrap();
    assert_eq!(unavailable.status(), 503);
    assert!(!unavailable.headers().contains_key("content-type"));
    assert_eq!(fault(Fault::NotProtobuf).await.unwrap().status(), 404);
    assert_eq!(fault(Fault::EmptyOk).await.unwrap().status(), 200);
    let router = fault(Fault::RouterError("no endpoint".into())).await;
    assert_eq!(router.unwrap().headers()["x-cf-routererror"], "no endpoint");
    let to = "https://127.0.0.1:1/".to_owned();
    let redirect = fault(Fault::Redirect { status: 307, to }).await.unwrap();
    assert_eq!(redirect.headers()["location"], "https://127.0.0.1:1/");
    let garbage = fault(Fault::Garbage).await.unwrap().into_body();
    assert!(ActualLrpsResponse::decode(garbage).is_err());
    let huge = fault(Fault::HugeBody(300_000)).await.unwrap();
    assert_eq!(huge.body().len(), 300_000);
    let message = "locked".to_owned();
    let error = fault(Fault::ErrorInMessage { kind: 30, message }).await;
    let error = ActualLrpsResponse::decode(error.unwrap().into_body()).unwrap();
    assert_eq!(error.error, Some(BbsError::new(30, "locked")));
    // Used up: the next one is fine.
    assert_eq!(f.list(None).await.len(), 2);
}

#[tokio::test]
async fn faults_that_break_the_connection() {
    let f = fixture().await;
    for fault in [
        Fault::CloseAfterAccept,
        Fault::CloseAfterRequest,
        Fault::Truncated,
    ] {
        f.bbs.fail_next(1, fault.clone());
        assert!(f.post(LIST_PATH, vec![]).await.is_err(), "{fault:?}");
        assert_eq!(f.list(None).await.len(), 2, "after {fault:?}");
    }
}

#[tokio::test]
async fn faults_that_take_time() {
    let f = fixture().await;
    for fault in [Fault::Hang, Fault::HangBeforeTls] {
        f.bbs.set_fault(fault.clone());
        let answer = f.post(LIST_PATH, vec![]);
        let answer = tokio::time::timeout(Duration::from_millis(300), answer).await;
        assert!(answer.is_err(), "{fault:?} answered");
    }
    f.bbs.set_fault(Fault::Slow(Duration::from_millis(100)));
    let start = std::time::Instant::now();
    assert_eq!(f.list(None).await.len(), 2);
    assert!(start.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn it_comes_back_on_the_same_port_with_the_same_state() {
    let f = fixture().await;
    f.bbs.stop().await;
    let down = TcpStream::connect(f.bbs.address()).await;
    let kind = down.unwrap_err().kind();
    assert_eq!(kind, std::io::ErrorKind::ConnectionRefused);
    f.bbs.start_again().await.unwrap();
    assert_eq!(f.list(None).await.len(), 2);
}
