//! The doubles of UAA and Cloud Controller judged from outside by a small client of their own.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use devcell::certs::{Authority, Identity, Request as CertRequest, Validity, provider};
use devcell::cloud_controller::{Access, CloudController, Process};
use devcell::fault::Fault;
use devcell::uaa::{BasicAuth, TOKEN_LIFETIME, TOKEN_PATH, TokenShape, Uaa, User};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Sends one request over `stream`.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, Failure> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(head, body))
}

/// Sends one request to `url`, by TLS with the roots of `ca` if it says so.
async fn send(
    url: &str,
    ca: &Authority,
    client: Option<&Identity>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, Failure> {
    let (scheme, address) = url.split_once("://").unwrap();
    let tcp = TcpStream::connect(address).await?;
    if scheme == "http" {
        return exchange(tcp, request).await;
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(ca.roots()?);
    let config = match client {
        Some(id) => config.with_client_auth_cert(id.chain(), id.key_der())?,
        None => config.with_no_client_auth(),
    };
    let name = ServerName::try_from("localhost")?;
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp);
    exchange(tls.await?, request).await
}

fn value(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap()
}

/// UAA with one user, and Cloud Controller with one process.
struct Fixture {
    ca: Authority,
    uaa: Uaa,
    cc: CloudController,
    user: User,
}

const GUID: &str = "16b8a1a0-0b2f-4f3c-9f57-0123456789ab";

async fn fixture() -> Fixture {
    let ca = Authority::new("test CA").unwrap();
    let identity = ca.issue(&CertRequest::server(&["localhost"])).unwrap();
    let uaa = Uaa::start(&identity, "secret").await.unwrap();
    let cc = CloudController::start(Access::Https(&identity), uaa.tokens())
        .await
        .unwrap();
    let user = User::new("user-guid", "ann");
    let process = Process::new(GUID, "lrp", &user.id);
    cc.update(|state| state.processes.push(process));
    Fixture { ca, uaa, cc, user }
}

impl Fixture {
    fn token_request(authorization: &str, body: &str) -> Request<Full<Bytes>> {
        Request::post(TOKEN_PATH)
            .header("host", "localhost")
            .header("authorization", authorization)
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap()
    }

    /// Exchanges a code as the proxy's client.
    async fn exchange(&self, code: &str) -> Response<Bytes> {
        let body = format!("code={code}&grant_type=authorization_code");
        let request = Self::token_request(&basic("ssh-proxy:secret"), &body);
        send(&self.uaa.url(), &self.ca, None, request)
            .await
            .unwrap()
    }

    /// The status and the error of an exchange with these credentials.
    async fn error(&self, authorization: &str, body: &str) -> (u16, String) {
        let request = Self::token_request(authorization, body);
        let answer = send(&self.uaa.url(), &self.ca, None, request)
            .await
            .unwrap();
        let error = value(&answer)["error"].as_str().unwrap_or("").to_owned();
        (answer.status().as_u16(), error)
    }

    async fn access(&self, guid: &str, authorization: &str) -> (u16, Value) {
        let request = Request::get(format!("/internal/apps/{guid}/ssh_access/7"))
            .header("host", "localhost")
            .header("authorization", authorization)
            .body(Full::default())
            .unwrap();
        let answer = send(&self.cc.url(), &self.ca, None, request).await.unwrap();
        (answer.status().as_u16(), value(&answer))
    }

    fn token(&self, user: &User) -> String {
        let tokens = self.uaa.tokens();
        let token = tokens.issue(user, "ssh-proxy", &TokenShape::Jwt, TOKEN_LIFETIME);
        format!("bearer {}", token.unwrap())
    }
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

#[tokio::test]
async fn a_code_is_good_for_one_token() {
    let f = fixture().await;
    let code = f.uaa.new_code(&f.user).unwrap();
    assert_eq!(code.len(), 32);
    let answer = f.exchange(&code).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let token = value(&answer);
    assert_eq!(token["token_type"], "bearer");
    let text = token["access_token"].as_str().unwrap();
    let grant = f.uaa.tokens().judge(&format!("bearer {text}")).unwrap();
    assert_eq!(grant.user, f.user);

    let again = f.exchange(&code).await;
    assert_eq!(again.status(), 400);
    assert_eq!(value(&again)["error"], "invalid_grant");
    let text = format!("Invalid authorization code: {code}");
    assert_eq!(value(&again)["error_description"], text);
}

#[tokio::test]
async fn a_code_goes_with_the_first_attempt_whatever_comes_of_it() {
    let f = fixture().await;
    f.uaa.update(|state| state.code_lifetime = Duration::ZERO);
    let code = f.uaa.new_code(&f.user).unwrap();
    let expired = value(&f.exchange(&code).await);
    let text = format!("Authorization code expired: {code}");
    assert_eq!(expired["error_description"], text);
    let gone = value(&f.exchange(&code).await);
    let text = format!("Invalid authorization code: {code}");
    assert_eq!(gone["error_description"], text);

    f.uaa
        .update(|state| state.code_lifetime = Duration::from_secs(60));
    let code = f.uaa.new_code(&f.user).unwrap();
    let body = format!("code={code}&grant_type=authorization_code&redirect_uri=x");
    let refused = f.error(&basic("ssh-proxy:secret"), &body).await;
    assert_eq!(refused, (400, "invalid_grant".to_owned()));
    assert_eq!(f.exchange(&code).await.status(), 400);

    // Without credentials it is not looked at.
    let code = f.uaa.new_code(&f.user).unwrap();
    let body = format!("code={code}&grant_type=authorization_code");
    let refused = f.error(&basic("ssh-proxy:wrong"), &body).await;
    assert_eq!(refused, (401, "unauthorized".to_owned()));
    assert_eq!(f.exchange(&code).await.status(), 200);
}

#[tokio::test]
async fn requests_that_are_none_are_refused() {
    let f = fixture().await;
    let good = basic("ssh-proxy:secret");
    let invalid = (400, "invalid_request".to_owned());
    assert_eq!(
        f.error(&good, "grant_type=authorization_code").await,
        invalid
    );
    assert_eq!(f.error(&good, "code=x").await, invalid);
    let unsupported = f.error(&good, "grant_type=password").await;
    assert_eq!(unsupported, (400, "unsupported_grant_type".to_owned()));
    for authorization in ["", "Bearer x", "Basic !", &basic("nobody")] {
        assert_eq!(f.error(authorization, "").await.0, 401, "{authorization}");
    }
    for request in [
        Request::get(TOKEN_PATH),
        Request::post(format!("{TOKEN_PATH}?code=x")),
    ] {
        let request = request.header("host", "x").body(Full::default()).unwrap();
        let answer = send(&f.uaa.url(), &f.ca, None, request).await.unwrap();
        assert_eq!(answer.status(), 405);
    }
}

/// Both modes of UAA, with and without the header that says how the client did it.
#[tokio::test]
async fn secrets_are_read_as_uaa_is_set() {
    let f = fixture().await;
    let secret = "a+b%41";
    f.uaa.update(|state| state.secret = secret.to_owned());
    let (raw, encoded) = (basic("ssh-proxy:a+b%41"), basic("ssh-proxy:a%2Bb%2541"));
    for (mode, header, good, bad) in [
        (BasicAuth::Decoded, false, &encoded, &raw),
        (BasicAuth::Decoded, true, &encoded, &raw),
        (BasicAuth::Raw, false, &raw, &encoded),
        (BasicAuth::Raw, true, &encoded, &raw),
    ] {
        f.uaa.update(|state| state.basic = mode);
        for (authorization, status) in [(good, 200), (bad, 401)] {
            let code = f.uaa.new_code(&f.user).unwrap();
            let body = format!("grant_type=authorization_code&code={code}");
            let mut request = Fixture::token_request(authorization, &body);
            if header {
                let value = "true".parse().unwrap();
                request
                    .headers_mut()
                    .insert("x-cf-encoded-credentials", value);
            }
            let answer = send(&f.uaa.url(), &f.ca, None, request).await.unwrap();
            assert_eq!(answer.status(), status, "{mode:?}, header {header}");
        }
    }
}

#[tokio::test]
async fn users_get_codes_with_their_own_tokens() {
    let f = fixture().await;
    let ask = |url: String, token: String| {
        let request = Request::get(url.strip_prefix(&f.uaa.url()).unwrap())
            .header("host", "localhost")
            .header("authorization", token)
            .body(Full::default())
            .unwrap();
        let (url, ca) = (f.uaa.url(), &f.ca);
        async move { send(&url, ca, None, request).await.unwrap() }
    };
    let token = format!("bearer {}", f.uaa.login(&f.user).unwrap());
    let answer = ask(f.uaa.authorize_url(), token.clone()).await;
    assert_eq!(answer.status(), 302);
    let place = answer.headers()["location"].to_str().unwrap();
    let (_, code) = place.split_once("?code=").unwrap();
    assert_eq!(f.exchange(code).await.status(), 200);

    for token in [String::new(), "bearer x".to_owned(), f.token(&f.user)] {
        assert_eq!(ask(f.uaa.authorize_url(), token).await.status(), 401);
    }
    let other = f.uaa.authorize_url().replace("ssh-proxy", "other");
    assert_eq!(ask(other, token.clone()).await.status(), 401);
    let other = f.uaa.authorize_url().replace("=code", "=token");
    assert_eq!(ask(other, token).await.status(), 400);
}

#[tokio::test]
async fn tokens_look_as_told() {
    let f = fixture().await;
    for shape in [
        TokenShape::Opaque,
        TokenShape::Exactly("a.b.c".to_owned()),
        TokenShape::Exactly("with space".to_owned()),
    ] {
        f.uaa.update(|state| state.token_shape = shape.clone());
        let code = f.uaa.new_code(&f.user).unwrap();
        let token = value(&f.exchange(&code).await);
        let token = token["access_token"].as_str().unwrap();
        assert_ne!(token.split('.').map(str::len).max(), Some(0));
        if let TokenShape::Exactly(text) = shape {
            assert_eq!(token, text);
        }
        let (status, _) = f.access(GUID, &format!("bearer {token}")).await;
        assert_eq!(status, 200);
    }
}

/// The table of statuses and codes of Cloud Controller.
#[tokio::test]
async fn each_condition_has_its_refusal() {
    let f = fixture().await;
    let good = f.token(&f.user);
    let (status, body) = f.access(GUID, &good).await;
    assert_eq!((status, body), (200, json!({"process_guid": "lrp"})));
    let stranger = f.token(&User::new("other-guid", "bob"));
    let mut reader = f.user.clone();
    reader.scopes.retain(|scope| !scope.ends_with("write"));
    let reader = f.token(&reader);
    let admin = f.token(&User::new("admin-guid", "root").admin());
    assert_eq!(f.access(GUID, &admin).await.0, 200);

    let refused = async |guid: &str, token: &str, status: u16, code: u32, name: &str| {
        let (got, body) = f.access(guid, token).await;
        assert_eq!((got, &body["code"]), (status, &json!(code)), "{body}");
        assert_eq!(body["error_code"], name);
    };
    refused(GUID, "", 401, 10002, "CF-NotAuthenticated").await;
    refused(GUID, "bearer x", 401, 1000, "CF-InvalidAuthToken").await;
    refused("nobody", &good, 404, 100_004, "CF-AppNotFound").await;
    refused(GUID, &reader, 403, 10007, "CF-InsufficientScope").await;
    refused(GUID, &stranger, 403, 10003, "CF-NotAuthorized").await;
    let process = |change: fn(&mut Process)| {
        f.cc.update(|state| state.processes.iter_mut().for_each(change));
    };
    process(|process| process.suspended = true);
    refused(GUID, &good, 403, 10003, "CF-NotAuthorized").await;
    process(|process| process.suspended = false);
    process(|process| process.app_enable_ssh = false);
    refused(GUID, &good, 400, 10004, "CF-InvalidRequest").await;
    refused(GUID, &admin, 400, 10004, "CF-InvalidRequest").await;
    process(|process| process.app_enable_ssh = true);
    process(|process| process.space_allow_ssh = false);
    refused(GUID, &good, 400, 10004, "CF-InvalidRequest").await;
    process(|process| process.space_allow_ssh = true);
    f.cc.update(|state| state.allow_app_ssh_access = false);
    refused(GUID, &good, 400, 10004, "CF-InvalidRequest").await;

    // All but the one about a process that there is not.
    let events = f.cc.audit_events();
    assert_eq!(events.len(), f.cc.calls().len() - 1);
    let first = &events[0];
    assert_eq!(first.kind, "audit.app.ssh-authorized");
    assert_eq!(
        (first.actor.as_str(), first.index.as_str()),
        ("user-guid", "7")
    );
    assert_eq!(events[2].kind, "audit.app.ssh-unauthorized");
    assert_eq!(events[2].actor, "unknown-user-guid");
    f.cc.forget_calls();
    assert!(f.cc.audit_events().is_empty() && f.cc.calls().is_empty());
}

#[tokio::test]
async fn clients_find_the_proxy_through_cloud_controller() {
    let f = fixture().await;
    f.cc.update(|state| state.app_ssh.endpoint = "ssh.example.com:2222".to_owned());
    let get = async |path: &str| {
        let request = Request::get(path).header("host", "x");
        let request = request.body(Full::default()).unwrap();
        value(&send(&f.cc.url(), &f.ca, None, request).await.unwrap())
    };
    let root = get("/").await;
    let link = &root["links"]["app_ssh"];
    assert_eq!(link["href"], "ssh.example.com:2222");
    assert_eq!(link["meta"]["oauth_client"], "ssh-proxy");
    let info = get("/v2/info").await;
    assert_eq!(info["app_ssh_endpoint"], "ssh.example.com:2222");
    assert_eq!(get("/v3/apps").await["error_code"], "CF-NotFound");
}

#[tokio::test]
async fn cloud_controller_can_do_without_tls_or_ask_for_certificates() {
    let f = fixture().await;
    let request = || {
        let request = Request::get("/v2/info").header("host", "x");
        request.body(Full::default()).unwrap()
    };
    let tokens = f.uaa.tokens();
    let clear = CloudController::start(Access::Http, tokens).await.unwrap();
    assert!(clear.url().starts_with("http://"));
    let answer = send(&clear.url(), &f.ca, None, request()).await.unwrap();
    assert_eq!(answer.status(), 200);

    let server = f.ca.issue(&CertRequest::server(&["localhost"])).unwrap();
    let access = Access::MutualTls(&server, &f.ca);
    let mutual = CloudController::start(access, tokens).await.unwrap();
    let client = f.ca.issue(&CertRequest::client("ssh-proxy")).unwrap();
    let answer = send(&mutual.url(), &f.ca, Some(&client), request()).await;
    assert_eq!(answer.unwrap().status(), 200);
    let nobody = send(&mutual.url(), &f.ca, None, request()).await;
    assert!(nobody.is_err());
}

#[tokio::test]
async fn both_misbehave_as_told_and_come_back() {
    let f = fixture().await;
    f.uaa.fail_next(1, Fault::Status(503));
    assert_eq!(f.exchange("x").await.status(), 503);
    let error = Fault::ErrorInMessage {
        kind: 1,
        message: "server_error".to_owned(),
    };
    f.uaa.fail_next(1, error.clone());
    assert_eq!(value(&f.exchange("x").await)["error"], "server_error");
    f.cc.fail_next(1, error);
    let (status, body) = f.access(GUID, "").await;
    assert_eq!((status, &body["code"]), (500, &json!(1)));

    let ping = async || {
        let request = Request::get("/info").header("host", "x");
        let request = request.body(Full::default()).unwrap();
        send(&f.uaa.url(), &f.ca, None, request).await
    };
    for fault in [
        Fault::Reset,
        Fault::CloseAfterAccept,
        Fault::CloseAfterRequest,
        Fault::Truncated,
    ] {
        f.uaa.fail_next(1, fault.clone());
        assert!(ping().await.is_err(), "{fault:?}");
    }
    f.uaa.set_fault(Fault::Drip(Duration::from_millis(1)));
    let endless = tokio::time::timeout(Duration::from_millis(50), ping()).await;
    assert!(endless.is_err());
    f.uaa.set_fault(Fault::None);

    let expired = CertRequest::server(&["localhost"]).valid(Validity::Expired);
    let stranger = Authority::new("test CA").unwrap();
    let other = stranger
        .issue(&CertRequest::server(&["localhost"]))
        .unwrap();
    for identity in [f.ca.issue(&expired).unwrap(), other] {
        f.uaa.show(&identity).unwrap();
        assert!(ping().await.is_err());
        f.cc.show(&identity, None).unwrap();
    }
    f.uaa.stop().await;
    assert!(ping().await.is_err());
    let good = f.ca.issue(&CertRequest::server(&["localhost"])).unwrap();
    f.uaa.show(&good).unwrap();
    f.uaa.start_again().await.unwrap();
    assert_eq!(ping().await.unwrap().status(), 200);
    assert!(f.uaa.connection_count() > 4);
}
