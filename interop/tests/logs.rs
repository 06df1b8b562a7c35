//! The proxy's log lines and its small servers as operators' tools read them: both forms, levels that
//! change while it runs, what is hidden, what is cut, and the answers to health checks byte for byte.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;

use std::net::SocketAddr;

use devcell::rig::LogLevel;
use devcell::{Cell, CellOptions};
use packets::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A user whose name is a word that tests look for; nobody of that name gets in.
const USER: &str = "marker-user-of-no-realm";

/// A cell whose proxy logs as `proxy_config` says.
async fn cell(level: LogLevel, proxy_config: Value) -> Cell {
    let options = CellOptions {
        proxy_log_level: level,
        proxy_config,
        ..options()
    };
    Cell::start(options).await.unwrap()
}

/// Tries to log in as `user`, who is not let in.
async fn knock(cell: &Cell, user: &str) {
    let mut raw = Raw::served(cell.proxy_address()).await;
    assert_eq!(raw.try_password(user, "wrong").await, Ok(false));
}

/// One session that works.
async fn visit(cell: &Cell) {
    let mut raw = Raw::login(&proxy_door(cell)).await.unwrap();
    assert_eq!(raw.run(0, "echo in").await.unwrap().stdout, b"in\n");
}

/// Ends the proxy, so that its log is complete, and takes the lines apart.
async fn all_lines(cell: &Cell) -> Vec<String> {
    cell.proxy().stop().await;
    cell.proxy().log().lines().map(str::to_owned).collect()
}

/// The keys of a JSON object in their order, its inner objects skipped.
fn keys(line: &str) -> Vec<&str> {
    let (outer, _) = line.split_once(",\"data\":{").unwrap();
    let mut keys: Vec<&str> = outer
        .trim_start_matches('{')
        .split("\",\"")
        .flat_map(|field| field.split(",\""))
        .map(|field| field.trim_matches('"').split_once("\":").unwrap().0)
        .collect();
    keys.push("data");
    keys
}

fn is_digits(text: &str, count: usize) -> bool {
    text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[tokio::test]
async fn lines_with_seconds_since_1970() {
    let cell = cell(LogLevel::Debug, json!({"time_format": "unix-epoch"})).await;
    knock(&cell, USER).await;
    visit(&cell).await;
    let lines = all_lines(&cell).await;
    let mut levels = Vec::new();
    for line in &lines {
        assert_eq!(
            keys(line),
            ["timestamp", "source", "message", "log_level", "data"],
            "{line}"
        );
        let line: Value = serde_json::from_str(line).unwrap();
        let (seconds, rest) = line["timestamp"].as_str().unwrap().split_once('.').unwrap();
        assert!(is_digits(seconds, 10) && is_digits(rest, 9), "{line}");
        assert_eq!(line["source"], "ssh-proxy");
        assert!(line["message"].as_str().unwrap().starts_with("ssh-proxy."));
        assert!(line["data"].is_object());
        levels.push(line["log_level"].as_u64().unwrap());
    }
    for level in [0, 1, 2] {
        assert!(levels.contains(&level), "{level}");
    }
    cell.stop().await;
}

#[tokio::test]
async fn lines_with_dates() {
    let cell = cell(LogLevel::Debug, json!({"time_format": "rfc3339"})).await;
    knock(&cell, USER).await;
    visit(&cell).await;
    let lines = all_lines(&cell).await;
    let mut levels = Vec::new();
    for line in &lines {
        assert_eq!(
            keys(line),
            ["timestamp", "level", "source", "message", "data"],
            "{line}"
        );
        let line: Value = serde_json::from_str(line).unwrap();
        // 2018-03-27T17:29:44.100530624Z
        let time = line["timestamp"].as_str().unwrap();
        let (date, fraction) = time.split_once('.').unwrap();
        assert!(is_digits(fraction.strip_suffix('Z').unwrap(), 9), "{time}");
        let shape: String = date
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(shape, "0000-00-00T00:00:00");
        levels.push(line["level"].as_str().unwrap().to_owned());
    }
    for level in ["debug", "info", "error"] {
        assert!(levels.iter().any(|is| is == level), "{level}");
    }
    cell.stop().await;
}

/// Sessions are numbered: lines of one connection belong together. Messages are the reference's.
#[tokio::test]
async fn lines_of_one_connection_have_one_session() {
    let cell = cell(LogLevel::Debug, json!({})).await;
    visit(&cell).await;
    let lines: Vec<Value> = all_lines(&cell)
        .await
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let session = |action: &str| {
        let message = format!("ssh-proxy.{action}");
        let line = lines.iter().find(|line| line["message"] == message);
        let line = line.unwrap_or_else(|| panic!("no {message} in {lines:#?}"));
        line["data"]["session"].as_str().unwrap().to_owned()
    };
    let own = session("authentication-attempted");
    for action in [
        "handle-connection.relay-started",
        "handle-connection.relay-ended",
    ] {
        assert_eq!(session(action), own, "{action}");
    }
    for action in [
        "diego-authenticate.do-request.complete",
        "handle-connection.new-client-conn.connected-to-backend",
    ] {
        let child = session(action);
        assert!(child.starts_with(&format!("{own}.")), "{action}: {child}");
    }
    cell.stop().await;
}

#[tokio::test]
async fn levels_leave_out_what_is_less() {
    for (level, least) in [
        (LogLevel::Info, 1),
        (LogLevel::Error, 2),
        (LogLevel::Fatal, 3),
    ] {
        let cell = cell(level, json!({})).await;
        knock(&cell, USER).await;
        visit(&cell).await;
        let lines = all_lines(&cell).await;
        for line in &lines {
            let line: Value = serde_json::from_str(line).unwrap();
            assert!(line["log_level"].as_i64().unwrap() >= least, "{line}");
        }
        assert_eq!(lines.is_empty(), level == LogLevel::Fatal, "{lines:?}");
        cell.stop().await;
    }
}

#[tokio::test]
async fn secrets_are_hidden_if_that_is_wanted() {
    const KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
    const OWN: &str = "own-secret-1234";
    let failed = async |config: Value, user: &str| {
        let cell = cell(LogLevel::Info, config).await;
        knock(&cell, user).await;
        let line = cell.proxy().wait_for_log("authentication-failed").await;
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        cell.stop().await;
        line["data"]["user"].as_str().unwrap().to_owned()
    };
    assert_eq!(failed(json!({}), KEY_ID).await, KEY_ID);
    let hidden = "*REDACTED*";
    let on = json!({"redact_secrets": true});
    assert_eq!(failed(on.clone(), KEY_ID).await, hidden);
    assert_eq!(failed(on, OWN).await, OWN);
    // Patterns of one's own stand in place of the known ones.
    let own = json!({"redact_secrets": true, "redact_patterns": ["own-secret-[0-9]+"]});
    assert_eq!(failed(own.clone(), OWN).await, hidden);
    assert_eq!(failed(own, KEY_ID).await, KEY_ID);
    // Cutting a secret does not bring its beginning to light.
    let both = json!({"redact_secrets": true, "max_data_string_length": 16});
    assert_eq!(failed(both, KEY_ID).await, hidden);
    let cut = json!({"max_data_string_length": 20});
    assert_eq!(failed(cut.clone(), USER).await, "marker-u-(truncated)");
    assert_eq!(failed(cut, &USER[..20]).await, &USER[..20]);
}

/// A port that was free a moment ago.
fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Asks a server and gives its answer, without the date.
async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("answer", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    let lines = answer.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("Date: ")).collect()
}

#[tokio::test]
async fn the_level_changes_while_the_proxy_runs() {
    let debug = free_port();
    let cell = cell(LogLevel::Error, json!({"debug_address": debug.to_string()})).await;
    let empty = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let proxy = cell.proxy();
    // Each word for a level, and whether a visit and a refusal show at it.
    let words = [
        ("debug", true, true),
        ("error", false, true),
        ("1", true, true),
        ("FATAL", false, false),
        ("i", true, true),
        ("e", false, true),
        ("INFO", true, true),
        ("f", false, false),
        ("0", true, true),
        ("3", false, false),
        ("DEBUG", true, true),
        ("ERROR", false, true),
        ("d", true, true),
        ("2", false, true),
        ("info", true, true),
        ("fatal", false, false),
    ];
    let methods = ["PUT", "POST", "GET"].into_iter().cycle();
    for ((word, info, error), method) in words.into_iter().zip(methods) {
        assert_eq!(ask(debug, method, "/log-level", word).await, empty);
        // Known words only, without so much as a space.
        for nonsense in ["Debug", "info\n", " info", "4", "", "trace"] {
            assert_eq!(ask(debug, "PUT", "/log-level", nonsense).await, empty);
        }
        let before = proxy.log().len();
        knock(&cell, USER).await;
        visit(&cell).await;
        // A line at its end that is always written: what came before it has been written by then.
        assert_eq!(ask(debug, "PUT", "/log-level", "error").await, empty);
        let mark = proxy.mark();
        knock(&cell, "the-end").await;
        proxy.wait_for_log_after(mark, "the-end").await.unwrap();
        let log = proxy.log().split_off(before);
        assert_eq!(
            log.contains("authentication-attempted"),
            info,
            "{word}: {log}"
        );
        assert_eq!(log.contains(USER), error, "{word}: {log}");
        assert_eq!(
            log.contains("\"log_level\":0"),
            matches!(word, "debug" | "DEBUG" | "d" | "0"),
            "{word}: {log}"
        );
    }
    let missing = ask(debug, "GET", "/debug/pprof/", "").await;
    assert!(missing.starts_with("HTTP/1.1 404 "), "{missing}");
    cell.stop().await;
}

#[tokio::test]
async fn health_checks_are_answered_as_ever() {
    let cell = cell(LogLevel::Info, json!({})).await;
    let health = cell.health_address();
    let text = "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n";
    let end = "Connection: close\r\nContent-Length: 19\r\n\r\n";
    let refused = format!("HTTP/1.1 405 Method Not Allowed\r\n{text}Allow: GET\r\n{end}");
    let missing = format!("HTTP/1.1 404 Not Found\r\n{text}{end}");
    let cases = [
        (
            "GET",
            "/",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned(),
        ),
        ("HEAD", "/", refused.clone()),
        ("POST", "/", format!("{refused}Method Not Allowed\n")),
        ("DELETE", "/", format!("{refused}Method Not Allowed\n")),
        ("GET", "/foo", format!("{missing}404 page not found\n")),
        ("HEAD", "/foo", missing.clone()),
        ("POST", "/foo", format!("{missing}404 page not found\n")),
    ];
    for (method, path, answer) in cases {
        assert_eq!(
            ask(health, method, path, "").await,
            answer,
            "{method} {path}"
        );
    }
    cell.stop().await;
}

#[tokio::test]
async fn a_health_server_that_is_off_has_no_port() {
    let cell = cell(LogLevel::Info, json!({"disable_health_check_server": true})).await;
    let error = TcpStream::connect(cell.health_address()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    visit(&cell).await;
    cell.stop().await;
}
