//! The host key of an instance and the fingerprint in its route: which keys are taken, and what becomes of
//! instances of which nobody has said what their key is. That TLS proves an instance is instance_tls.rs's.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;

use devcell::{Cell, CellOptions};
use packets::*;
use serde_json::{Value, json};

/// What a user is told whose instance has another key, or none that anybody knows of.
const REFUSED: &str = "instance_host_key";

async fn cell(route: Value, config: Value) -> Cell {
    let mut options = CellOptions { route, ..options() };
    for (key, value) in config.as_object().unwrap() {
        options.proxy_config[key] = value.clone();
    }
    Cell::start(options).await.unwrap()
}

/// Fingerprints that a route has under both names.
fn pinned(fingerprint: &str) -> Value {
    json!({"host_fingerprint": fingerprint, "host_256_fingerprint": null})
}

fn unpinned() -> Value {
    json!({"host_fingerprint": null, "host_256_fingerprint": null})
}

#[tokio::test]
async fn only_the_pinned_key_is_taken_whatever_the_form_of_the_pin() {
    let cell = cell(unpinned(), json!({})).await;
    let key = cell.instance_key().clone();
    let other = cell.host_key().clone();
    let login = cell.logins()[0].clone();
    for (pin, right) in [
        (key.fingerprint_sha1(), true),
        (key.fingerprint_sha256(), true),
        (key.fingerprint_sha256_padded(), true),
        (other.fingerprint_sha1(), false),
        (other.fingerprint_sha256_padded(), false),
        // What is no fingerprint is no reason to do without one.
        ("x".to_owned(), false),
        (key.fingerprint_sha256_padded()[1..].to_owned(), false),
        (" ".to_owned(), false),
    ] {
        cell.bbs().update(|state| {
            let text = &state.desired[0].routes.as_ref().unwrap().routes["diego-ssh"];
            let mut route: Value = serde_json::from_slice(text).unwrap();
            route["host_fingerprint"] = json!(pin);
            state.desired[0].set_ssh_route(&route);
        });
        let entered = enter(&cell, &login).await;
        assert_eq!(entered.is_ok(), right, "{pin:?}: {entered:?}");
        if let Err(told) = entered {
            assert!(told.contains(REFUSED), "{told}");
        }
    }
    cell.stop().await;
}

#[tokio::test]
async fn without_a_pin_the_key_is_taken_with_a_warning() {
    for route in [unpinned(), pinned("")] {
        let cell = cell(route, json!({})).await;
        assert_eq!(enter(&cell, &cell.logins()[0]).await, Ok(()));
        let line = cell.proxy().wait_for_log("host-key-not-pinned").await;
        assert!(
            line.unwrap()
                .contains(&cell.instance_key().fingerprint_sha256())
        );
        cell.stop().await;
    }
}

#[tokio::test]
async fn an_operator_can_have_instances_without_a_pin_refused() {
    let require = json!({"require_host_fingerprint": true});
    for route in [unpinned(), pinned("")] {
        let cell = cell(route, require.clone()).await;
        let told = enter(&cell, &cell.logins()[0]).await.unwrap_err();
        assert!(told.contains(REFUSED), "{told}");
        let line = cell.proxy().wait_for_log("no fingerprint is pinned").await;
        line.unwrap();
        cell.stop().await;
    }
}
