//! Every answer that Cloud Controller can give.

use super::*;
use crate::platform::testing::{Reply, Server, resolver, tls};
use crate::sample::{Sample, report, sweep};

const GUID: &str = "16b8a1a0-0b2F-4f3c-9f57-0123456789aB";

fn cloud_controller_at(url: &str) -> CloudController {
    let settings = CloudControllerSettings {
        api_url: url.parse().unwrap(),
        tls: tls(true),
        timeout: None,
    };
    CloudController::new(&settings, resolver())
}

/// An answer as Cloud Controller gives it to those who may not.
fn failed(status: u16, code: i64, name: &str) -> Reply {
    let body = serde_json::json!({"description": "Words.", "error_code": name, "code": code});
    Reply::Json(status, body.to_string())
}

async fn ask(reply: Reply) -> Result<String, CloudControllerError> {
    let server = Server::start([reply]).await;
    let token = HeaderValue::from_static("bearer token");
    let answer = cloud_controller_at(&server.url)
        .ssh_access(token, GUID, 7)
        .await;
    assert_eq!(server.seen().len(), 1, "asked once");
    answer
}

#[tokio::test]
async fn the_question_carries_the_token_and_the_name_as_typed() {
    let allowed = || Reply::Json(200, r#"{"process_guid": "g-v", "more": 1}"#.to_owned());
    let server = Server::start([allowed(), allowed()]).await;
    for base in ["", "/cc/"] {
        let cloud_controller = cloud_controller_at(&format!("{}{base}", server.url));
        let token = HeaderValue::from_static("bearer a.b.c");
        let answer = cloud_controller.ssh_access(token, GUID, 7).await;
        assert_eq!(answer.unwrap(), "g-v");
    }
    let seen = server.seen();
    let path = format!("/internal/apps/{GUID}/ssh_access/7");
    assert_eq!(seen[0].line, format!("GET {path} HTTP/1.1"));
    assert_eq!(seen[1].line, format!("GET /cc{path} HTTP/1.1"));
    assert_eq!(seen[0].header("authorization"), "bearer a.b.c");
    assert_eq!(seen[0].body, "");
}

#[tokio::test]
async fn each_answer_has_its_meaning() {
    use CloudControllerError::*;
    for (reply, expected) in [
        (failed(400, 10004, "CF-InvalidRequest"), SshDisabled),
        (failed(400, 1001, "CF-MessageParseError"), Status(400)),
        (Reply::Json(400, String::new()), Status(400)),
        (failed(401, 10002, "CF-NotAuthenticated"), TokenRefused),
        (failed(401, 1000, "CF-InvalidAuthToken"), TokenRefused),
        (failed(403, 10003, "CF-NotAuthorized"), NoRole),
        (failed(403, 10007, "CF-InsufficientScope"), NoRole),
        (failed(404, 100_004, "CF-AppNotFound"), NoSuchProcess),
        (Reply::Json(404, String::new()), Status(404)),
        (failed(404, 10000, "CF-NotFound"), Status(404)),
        (failed(500, 10001, "UnknownError"), Status(500)),
        (Reply::Json(503, "down".to_owned()), Status(503)),
        (Reply::RouterError, Call(CallError::Router)),
        (
            Reply::Redirect(307, "http://127.0.0.1:1/".to_owned()),
            Call(CallError::Redirect(307)),
        ),
    ] {
        assert_eq!(ask(reply).await.unwrap_err(), expected);
    }
}

#[tokio::test]
async fn a_success_without_a_process_is_none() {
    let long = format!(
        r#"{{"process_guid": "{}"}}"#,
        "x".repeat(MAX_PROCESS_GUID + 1)
    );
    let bodies = [
        "",
        "x",
        "{}",
        "[]",
        r#"{"process_guid": ""}"#,
        r#"{"process_guid": 5}"#,
        r#"{"process_guid": null}"#,
        long.as_str(),
    ];
    for body in bodies {
        let answer = ask(Reply::Json(200, body.to_owned())).await;
        assert_eq!(answer.unwrap_err(), CloudControllerError::Garbled, "{body}");
    }
    let created = Reply::Json(201, r#"{"process_guid": "g"}"#.to_owned());
    assert_eq!(
        ask(created).await.unwrap_err(),
        CloudControllerError::Status(201)
    );
}

#[tokio::test]
async fn no_answer_is_no_reason_to_ask_again() {
    let answer = ask(Reply::HangUp).await;
    assert!(matches!(
        answer.unwrap_err(),
        CloudControllerError::Call(CallError::Unavailable(_))
    ));
}

/// The answer of Cloud Controller cut anywhere, or with a byte more, is no answer.
#[test]
fn a_process_guid_is_whole_or_none() {
    let body = br#"{"process_guid":"4f60b2e5-1f3b-4d8f-9d0e-0d1c7c1f1c55-9b1d"}"#;
    let samples = [Sample::new("ssh access", "*", body.to_vec())];
    let cases = sweep(
        &samples,
        |_| (),
        |(), bytes| {
            let answer = Answer {
                status: StatusCode::OK,
                body: bytes.to_vec().into(),
            };
            process_guid(&answer).into()
        },
    );
    report(cases, 60);
}
