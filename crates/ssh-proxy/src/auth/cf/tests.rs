//! The realm against a small UAA and a small Cloud Controller.

use ssh_proto::Secret;
use tracing::{Instrument as _, info_span};

use super::*;
use crate::platform::cloud_controller::CloudControllerSettings;
use crate::platform::testing::{Lines, Reply, Server, resolver, tls};
use crate::platform::uaa::{UaaError, UaaSettings};

const GUID: &str = "16b8a1a0-0b2f-4f3c-9f57-0123456789ab";

/// `{"user_id": "id-1", "user_name": "jo"}` as a JWT.
const TOKEN: &str = "e30.eyJ1c2VyX2lkIjogImlkLTEiLCAidXNlcl9uYW1lIjogImpvIn0.c2ln";

struct Platform {
    uaa: Server,
    cloud_controller: Server,
    realm: CfRealm,
}

impl Platform {
    async fn start(uaa: Vec<Reply>, cloud_controller: Vec<Reply>) -> Self {
        let uaa = Server::start(uaa).await;
        let cloud_controller = Server::start(cloud_controller).await;
        let settings = CfSettings {
            uaa: UaaSettings {
                token_url: format!("{}/oauth/token", uaa.url).parse().unwrap(),
                username: "ssh-proxy".to_owned(),
                password: Secret::new("secret".to_owned()),
                tls: tls(true),
                timeout: None,
            },
            cloud_controller: CloudControllerSettings {
                api_url: cloud_controller.url.parse().unwrap(),
                tls: tls(true),
                timeout: None,
            },
            skip_cert_verify: false,
        };
        Self {
            realm: CfRealm::new(&settings, &resolver()),
            uaa,
            cloud_controller,
        }
    }

    async fn authenticate(&self) -> Result<Access, Refusal> {
        self.realm
            .authenticate(GUID, 3, b"the-code", &crate::metrics::Metrics::default())
            .instrument(info_span!("cf-authenticate"))
            .await
    }
}

fn granted() -> Reply {
    let body = format!(r#"{{"access_token": "{TOKEN}", "token_type": "bearer"}}"#);
    Reply::Json(200, body)
}

fn allowed() -> Reply {
    Reply::Json(200, r#"{"process_guid": "guid-version"}"#.to_owned())
}

fn messages(lines: &Lines) -> Vec<String> {
    let told = lines.told();
    let message = |line: &serde_json::Value| {
        let message = line["message"].as_str().unwrap();
        message
            .strip_prefix("ssh-proxy.cf-authenticate.")
            .unwrap()
            .to_owned()
    };
    told.iter().map(message).collect()
}

#[tokio::test]
async fn who_may_enter_is_known_by_name_and_gets_the_process() {
    let (lines, _guard) = Lines::capture();
    let platform = Platform::start(vec![granted()], vec![allowed()]).await;
    let access = platform.authenticate().await.ok().unwrap();
    assert_eq!(access.process_guid, "guid-version");
    assert_eq!(
        (access.who.id.as_str(), access.who.name.as_str()),
        ("id-1", "jo")
    );

    assert_eq!(platform.uaa.seen().len(), 1);
    let asked = platform.cloud_controller.seen();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization"), format!("bearer {TOKEN}"));

    assert_eq!(
        messages(&lines),
        [
            "authenticate-starting",
            "app-access-success",
            "authenticate-finished"
        ]
    );
    let data = &lines.told()[1]["data"];
    assert_eq!(data["app"], format!("{GUID}/3"));
    assert_eq!(
        (&data["principal"], &data["username"]),
        (&"id-1".into(), &"jo".into())
    );
    for secret in ["the-code", TOKEN] {
        assert!(!lines.text().contains(secret));
    }
}

#[tokio::test]
async fn without_a_good_code_cloud_controller_is_not_asked() {
    let (lines, _guard) = Lines::capture();
    let body = r#"{"error": "invalid_grant", "error_description": "the-code"}"#;
    let reply = Reply::Json(400, body.to_owned());
    let platform = Platform::start(vec![reply], vec![allowed()]).await;
    let refusal = platform.authenticate().await.err().unwrap();
    assert!(matches!(refusal, Refusal::Uaa(UaaError::InvalidCode)));
    assert_eq!(platform.cloud_controller.connections(), 0);
    assert_eq!(
        messages(&lines),
        [
            "authenticate-starting",
            "exchange-access-code-for-token.response-status-not-ok",
            "authenticate-finished"
        ]
    );
    assert!(!lines.text().contains("the-code"));
}

#[tokio::test]
async fn every_password_asks_cloud_controller_once_whatever_it_answers() {
    let cases = [
        (
            Reply::Json(403, "{}".to_owned()),
            "no_role",
            "fetching-app-failed",
        ),
        (
            Reply::Json(500, "{}".to_owned()),
            "platform_unavailable",
            "fetching-app-failed",
        ),
        (Reply::HangUp, "platform_unavailable", "fetching-app-failed"),
        (
            Reply::Json(200, "{}".to_owned()),
            "platform_unavailable",
            "invalid-cc-response",
        ),
    ];
    for (reply, code, action) in cases {
        let (lines, _guard) = Lines::capture();
        let platform = Platform::start(vec![granted()], vec![reply, allowed()]).await;
        let refusal = platform.authenticate().await.err().unwrap();
        assert_eq!(refusal.code(), code);
        assert!(!refusal.is_of_stranger());
        assert_eq!(platform.cloud_controller.seen().len(), 1);
        assert_eq!(messages(&lines)[1], action);
        assert_eq!(lines.told()[1]["data"]["username"], "jo");
    }
}
