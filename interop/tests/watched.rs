//! What an operator learns of users: the numbers that Prometheus scrapes, and the lines of the audit.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;
mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use devcell::rig::Login;
use devcell::{Cell, CellOptions};
use packets::metrics::{Scrape, address, get, scrape};
use packets::*;
use serde_json::{Value, json};
use support::user::until;
use tempfile::TempDir;

async fn cell(proxy_config: Value) -> Cell {
    let options = CellOptions {
        proxy_config,
        ..options()
    };
    Cell::start(options).await.unwrap()
}

#[track_caller]
fn value(scrape: &Scrape, series: &str) -> f64 {
    *scrape
        .get(series)
        .unwrap_or_else(|| panic!("no {series} in {scrape:#?}"))
}

fn wrong(login: &Login) -> Login {
    Login {
        password: "wrong".to_owned(),
        ..login.clone()
    }
}

async fn ssh_ok(cell: &Cell, login: &Login, command: &str) -> Output {
    let output = ssh(cell, login, command).await;
    assert!(output.status.success(), "{output:?}");
    output
}

#[tokio::test]
async fn every_step_of_a_session_is_counted() {
    let config = json!({"metrics_address": "127.0.0.1:0", "policy": {"remote_forwarding": false}});
    let cell = cell(config).await;
    let address = address(&cell).await;
    let before = scrape(address).await;
    assert_eq!(value(&before, "ssh_proxy_sessions"), 0.0);
    let login = &cell.logins()[0];
    let mut raw = Raw::login(&proxy_door(&cell)).await.unwrap();
    raw.open_session(0, 1 << 20).await.unwrap();
    let open = scrape(address).await;
    for (series, count) in [
        ("ssh_proxy_sessions", 1.0),
        ("ssh_proxy_channels{kind=\"session\"}", 1.0),
        ("ssh_proxy_channels{kind=\"direct-tcpip\"}", 0.0),
        ("ssh_proxy_channels_opened_total{kind=\"session\"}", 1.0),
        ("ssh_proxy_connections_total", 1.0),
        ("ssh_proxy_logins_total{realm=\"diego\",code=\"ok\"}", 1.0),
    ] {
        assert_eq!(value(&open, series), count, "{series}");
    }
    drop(raw);
    assert!(enter(&cell, &wrong(login)).await.is_err());
    assert!(enter(&cell, &as_user(login, "nobody")).await.is_err());
    ssh_ok(&cell, login, "head -c 100000 /dev/zero | tr '\\0' x").await;
    // Its end is counted when both sides are gone.
    let line = |text: &str| text.contains("relay-ended") && text.contains("\"side\":\"client\"");
    let is_over = || cell.proxy().log().lines().filter(|text| line(text)).count() == 2;
    until("both sessions end", is_over).await;
    let after = scrape(address).await;
    for (series, count) in [
        ("ssh_proxy_sessions", 0.0),
        ("ssh_proxy_channels{kind=\"session\"}", 0.0),
        ("ssh_proxy_channels_opened_total{kind=\"session\"}", 2.0),
        (
            "ssh_proxy_logins_total{realm=\"diego\",code=\"invalid_credentials\"}",
            1.0,
        ),
        (
            "ssh_proxy_logins_total{realm=\"none\",code=\"invalid_credentials\"}",
            1.0,
        ),
        (
            "ssh_proxy_relay_ends_total{side=\"client\",reason=\"lost\"}",
            1.0,
        ),
        (
            "ssh_proxy_relay_ends_total{side=\"client\",reason=\"disconnected\"}",
            1.0,
        ),
        (
            "ssh_proxy_peer_versions_total{hop=\"daemon\",software=\"diego-sshd\"}",
            2.0,
        ),
        ("ssh_proxy_login_stage_seconds_count{stage=\"bbs\"}", 2.0),
        ("ssh_proxy_login_stage_seconds_count{stage=\"dial\"}", 2.0),
        (
            "ssh_proxy_login_stage_seconds_count{stage=\"daemon_handshake\"}",
            2.0,
        ),
        ("ssh_proxy_login_stage_seconds_count{stage=\"kex\"}", 4.0),
        ("ssh_proxy_dropped_total{queue=\"audit\"}", 0.0),
    ] {
        assert_eq!(value(&after, series), count, "{series}: {after:#?}");
    }
    // Of one client it is known; OpenSSH's depends on its version.
    let kex =
        "ssh_proxy_negotiated_total{hop=\"client\",part=\"kex\",name=\"mlkem768x25519-sha256\"}";
    assert!(value(&after, kex) >= 1.0);
    let down = "ssh_proxy_bytes_total{direction=\"down\"}";
    assert!(value(&after, down) - value(&before, down) > 100_000.0);
    for series in [
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_cpu_seconds_total",
    ] {
        assert!(value(&after, series) > 0.0, "{series}");
    }
    assert!(get(address, "/").await.starts_with("HTTP/1.1 404 "));
}

/// All events of `file`, once the proxy has ended.
async fn events(cell: &Cell, file: &Path) -> Vec<Value> {
    cell.proxy().stop().await;
    let text = fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn names(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn the_audit_tells_who_did_what_from_login_to_end() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("audit.log");
    let config = json!({
        "audit_file": file, "audit_log": true, "audit_details": true,
        "policy": {"remote_forwarding": false},
    });
    let cell = cell(config).await;
    let login = &cell.logins()[0];
    assert!(enter(&cell, &wrong(login)).await.is_err());
    ssh_ok(&cell, login, "echo hello").await;
    let events = events(&cell, &file).await;
    let log = cell.proxy().log();
    assert_eq!(
        names(&events),
        [
            "login_refused",
            "login_accepted",
            "channel_opened",
            "program_started",
            "session_ended"
        ]
    );
    assert_eq!(events[0]["code"], "invalid_credentials");
    let session = events[1]["session_id"].as_str().unwrap();
    for event in &events {
        assert_eq!(event["user"], login.user.as_str());
        assert!(event["source"].as_str().unwrap().starts_with("127.0.0.1:"));
    }
    for event in &events[1..] {
        assert_eq!(event["session_id"], session);
        assert_eq!(event["index"], 0);
        assert!(!event["instance_guid"].as_str().unwrap().is_empty());
        assert!(!event["app_id"].as_str().unwrap().is_empty());
    }
    assert_eq!(events[2]["channel"], "session");
    assert_eq!(
        (&events[3]["program"], &events[3]["command"]),
        (&"exec".into(), &"echo hello".into())
    );
    assert!(events[4]["bytes_down"].as_u64().unwrap() > 6);
    assert!(events[4]["seconds"].as_f64().unwrap() > 0.0);
    // The same in the log, with what ties it to the other lines there.
    assert!(log.contains("\"event\":\"program_started\""), "{log}");
    assert!(
        log.contains(&format!("\"session_id\":\"{session}\"")),
        "{log}"
    );
}

#[tokio::test]
async fn commands_and_targets_are_told_only_if_the_operator_asks() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("audit.log");
    let cell = cell(json!({"audit_file": file})).await;
    ssh_ok(&cell, &cell.logins()[0], "echo a-secret-word").await;
    cell.proxy().stop().await;
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("program_started"), "{text}");
    assert!(!text.contains("a-secret-word"), "{text}");
    assert!(!cell.proxy().log().contains("\"event\":"));
}

/// `/dev/full` opens, and takes nothing.
#[tokio::test]
async fn with_a_full_disk_the_operator_decides_who_gets_in() {
    let lax = cell(json!({"audit_file": "/dev/full"})).await;
    ssh_ok(&lax, &lax.logins()[0], "true").await;
    lax.proxy()
        .wait_for_log("audit-file-not-written")
        .await
        .unwrap();
    ssh_ok(&lax, &lax.logins()[0], "true").await;

    let strict = json!({"audit_file": "/dev/full", "audit_when_unwritable": "refuse"});
    let strict = cell(strict).await;
    let mut inside = Raw::login(&proxy_door(&strict)).await.unwrap();
    strict
        .proxy()
        .wait_for_log("audit-file-not-written")
        .await
        .unwrap();
    let refusal = enter(&strict, &strict.logins()[0]).await.unwrap_err();
    assert!(refusal.contains("[audit_unavailable]"), "{refusal}");
    // Whoever is in stays in.
    assert_eq!(inside.run(0, "echo in").await.unwrap().stdout, b"in\n");
}
