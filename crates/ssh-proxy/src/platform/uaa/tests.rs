//! Codes against a small UAA that answers, or misbehaves, as it is told.

use tokio::task::{JoinSet, yield_now};

use super::*;
use crate::platform::testing::{Lines, Reply, Server, resolver, tls};
use crate::sample::{Sample, report, sweep};

const CODE: &str = "the+code 100%&more=ü";

fn uaa_at(url: &str, timeout: Option<Duration>) -> Uaa {
    let settings = UaaSettings {
        token_url: format!("{url}/oauth/token").parse().unwrap(),
        username: "ssh proxy".to_owned(),
        password: Secret::new("pass%41+word:".to_owned()),
        tls: tls(true),
        timeout,
    };
    Uaa::new(&settings, resolver())
}

fn jwt(claims: &str) -> String {
    format!(
        "{}.{}.sig",
        URL_SAFE_NO_PAD.encode("{}"),
        URL_SAFE_NO_PAD.encode(claims)
    )
}

fn granted(token: &str) -> Reply {
    let body = serde_json::json!({
        "access_token": token, "token_type": "bearer", "expires_in": 599, "scope": "openid",
    });
    Reply::Json(200, body.to_string())
}

fn rejected(status: u16, error: &str) -> Reply {
    let body = serde_json::json!({
        "error": error, "error_description": format!("Invalid authorization code: {CODE}"),
    });
    Reply::Json(status, body.to_string())
}

async fn exchange(reply: Reply) -> Result<Token, UaaError> {
    let server = Server::start([reply]).await;
    let answer = uaa_at(&server.url, None).exchange(CODE.as_bytes()).await;
    assert_eq!(server.seen().len(), 1, "a code is shown once");
    answer
}

#[tokio::test]
async fn the_request_is_that_of_an_oauth_client_in_both_modes_of_uaa() {
    let server = Server::start([granted("opaque")]).await;
    let uaa = uaa_at(&server.url, None);
    uaa.exchange(CODE.as_bytes()).await.ok().unwrap();
    let seen = server.seen();
    assert_eq!(seen[0].line, "POST /oauth/token HTTP/1.1");
    let basic = seen[0]
        .header("authorization")
        .strip_prefix("Basic ")
        .unwrap();
    assert_eq!(
        STANDARD.decode(basic).unwrap(),
        b"ssh+proxy:pass%2541%2Bword%3A"
    );
    assert_eq!(seen[0].header("x-cf-encoded-credentials"), "true");
    assert_eq!(seen[0].header("accept"), "application/json");
    assert_eq!(
        seen[0].header("content-type"),
        "application/x-www-form-urlencoded"
    );
    assert_eq!(
        seen[0].body,
        "code=the%2Bcode+100%25%26more%3D%C3%BC&grant_type=authorization_code"
    );
}

#[tokio::test]
async fn a_good_code_becomes_a_token_and_a_name() {
    let token = jwt(r#"{"user_id": "id-1", "user_name": "jo@example.com", "exp": 1}"#);
    let answer = exchange(granted(&token)).await.ok().unwrap();
    assert_eq!(answer.authorization, format!("bearer {token}"));
    assert!(answer.authorization.is_sensitive());
    assert_eq!(answer.user.id, "id-1");
    assert_eq!(answer.user.name, "jo@example.com");
}

#[tokio::test]
async fn the_answer_decides_about_the_code() {
    for (reply, expected) in [
        (rejected(400, "invalid_grant"), UaaError::InvalidCode),
        (rejected(401, "invalid_grant"), UaaError::InvalidCode),
        (rejected(401, "unauthorized"), UaaError::Client),
        (rejected(401, "invalid_client"), UaaError::Client),
        (Reply::Json(401, String::new()), UaaError::Client),
        (rejected(400, "invalid_request"), UaaError::Status(400)),
        (Reply::Json(400, "<html>".to_owned()), UaaError::Status(400)),
        (rejected(405, "method_not_allowed"), UaaError::Status(405)),
        (rejected(500, "invalid_grant"), UaaError::Status(500)),
        (Reply::Json(503, String::new()), UaaError::Status(503)),
        (
            Reply::Redirect(302, "http://127.0.0.1:1/".to_owned()),
            UaaError::Call(CallError::Redirect(302)),
        ),
    ] {
        assert_eq!(exchange(reply).await.err().unwrap(), expected);
    }
}

#[tokio::test]
async fn what_holds_no_token_is_no_success() {
    let bodies = [
        "",
        "x",
        "[]",
        "null",
        r#"{"access_token": "a"}"#,
        r#"{"token_type": "bearer"}"#,
        r#"{"access_token": null, "token_type": "bearer"}"#,
        r#"{"access_token": 5, "token_type": "bearer"}"#,
        r#"{"access_token": "", "token_type": "bearer"}"#,
        r#"{"access_token": "a", "token_type": ""}"#,
        r#"{"access_token": "a b", "token_type": "bearer"}"#,
        r#"{"access_token": "a\r\nx: y", "token_type": "bearer"}"#,
        r#"{"access_token": "ä", "token_type": "bearer"}"#,
        r#"{"access_token": "a", "access_token": "b", "token_type": "bearer"}"#,
    ];
    for body in bodies {
        let answer = exchange(Reply::Json(200, body.to_owned())).await;
        assert!(matches!(answer, Err(UaaError::Garbled(_))), "{body}");
    }
}

#[test]
fn tokens_that_do_not_tell_their_user_are_as_good() {
    let payload = |text: &[u8]| format!("h.{}.s", URL_SAFE_NO_PAD.encode(text));
    let tokens = [
        "opaque".to_owned(),
        "..".to_owned(),
        "a.b".to_owned(),
        "a.b.c.d".to_owned(),
        "a.!!.c".to_owned(),
        payload(b"not json"),
        payload(b"[1]"),
        payload(b"\xff"),
        payload("[".repeat(100_000).as_bytes()),
        jwt("{}"),
        jwt(r#"{"user_id": 5, "user_name": null}"#),
        jwt(r#"{"user_id": "", "user_name": ["x"]}"#),
    ];
    for token in tokens {
        let user = user(&token);
        assert_eq!((user.id.as_str(), user.name.as_str()), (UNKNOWN, UNKNOWN));
    }
    let half = user(&jwt(r#"{"user_id": "id-1"}"#));
    assert_eq!((half.id.as_str(), half.name.as_str()), ("id-1", UNKNOWN));
}

#[test]
fn what_tokens_tell_is_bounded() {
    let name = "ü".repeat(MAX_CLAIM);
    let user = user(&jwt(&format!(r#"{{"user_name": "{name}"}}"#)));
    assert_eq!(user.name, "ü".repeat(MAX_CLAIM / 2));
}

#[tokio::test]
async fn what_cannot_be_a_code_does_not_trouble_uaa() {
    let server = Server::start([]).await;
    let uaa = uaa_at(&server.url, None);
    for code in [Vec::new(), vec![b'x'; MAX_CODE + 1]] {
        let answer = uaa.exchange(&code).await;
        assert_eq!(answer.err().unwrap(), UaaError::InvalidCode);
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn uaa_is_asked_so_much_at_a_time_and_not_more() {
    let server = Server::start([]).await;
    let uaa = Arc::new(uaa_at(&server.url, None));
    let mut logins = JoinSet::new();
    for _ in 0..MAX_CALLS + MAX_WAITING {
        let uaa = Arc::clone(&uaa);
        logins.spawn(async move { uaa.exchange(b"code").await.map(|_| ()) });
    }
    while uaa.places.available_permits() > 0 {
        yield_now().await;
    }
    let answer = uaa.exchange(b"code").await;
    assert_eq!(answer.err().unwrap(), UaaError::Busy);
    server.wait_for(MAX_CALLS).await;
    assert_eq!(server.seen().len(), MAX_CALLS);

    // Whoever gives up makes room.
    logins.shutdown().await;
    assert_eq!(uaa.places.available_permits(), MAX_CALLS + MAX_WAITING);
    assert_eq!(uaa.turns.available_permits(), MAX_CALLS);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_turn_has_a_time_of_its_own() {
    // Takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let uaa = uaa_at(&url, Some(Duration::from_secs(10)));
    let turns = u32::try_from(MAX_CALLS).unwrap();
    let all = uaa.turns.acquire_many(turns).await.unwrap();
    let began = Instant::now();
    let answer = uaa.exchange(b"code").await;
    assert_eq!(answer.err().unwrap(), UaaError::Busy);
    assert_eq!(began.elapsed().as_secs(), 10);

    let began = Instant::now();
    let soon = async {
        tokio::time::sleep(Duration::from_secs(9)).await;
        drop(all);
    };
    let (answer, ()) = tokio::join!(uaa.exchange(b"code"), soon);
    assert!(matches!(answer, Err(UaaError::Call(_))));
    assert_eq!(
        began.elapsed().as_secs(),
        19,
        "the call has its ten seconds"
    );
}

#[tokio::test]
async fn failures_are_logged_without_secrets() {
    let (lines, _guard) = Lines::capture();
    let cases = [
        (rejected(400, "invalid_grant"), "response-status-not-ok"),
        (rejected(401, "unauthorized"), "response-status-not-ok"),
        (
            Reply::Json(200, CODE.to_owned()),
            "decode-token-response-failed",
        ),
        (
            granted("secret-token with a space"),
            "decode-token-response-failed",
        ),
        (Reply::HangUp, "request-failed"),
        (granted("secret-token"), ""),
    ];
    let count = cases.len();
    let actions: Vec<&str> = cases.iter().map(|(_, action)| *action).collect();
    for (reply, _) in cases {
        let _ = exchange(reply).await;
    }
    let told = lines.told();
    assert_eq!(told.len(), count - 1, "{told:?}");
    for (line, action) in told.iter().zip(actions) {
        let message = format!("ssh-proxy.exchange-access-code-for-token.{action}");
        assert_eq!(line["message"], message);
    }
    assert_eq!(told[0]["data"]["status-code"], 400);
    let text = lines.text();
    for secret in ["the+code", "the%2Bcode", "secret-token", "pass%", "%41"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

/// The answer of UAA cut anywhere, or with a byte more, is no answer.
#[test]
fn a_token_is_whole_or_none() {
    let body =
        br#"{"access_token":"eyJh.eyJ1c2VyX25hbWUiOiJhIn0.x","token_type":"bearer","scope":"x"}"#;
    let samples = [Sample::new("token", "*", body.to_vec())];
    report(sweep(&samples, |_| (), |(), bytes| token(bytes).into()), 85);
}
