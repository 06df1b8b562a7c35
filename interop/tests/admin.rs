//! The sessions of a proxy, shown and ended by its operator: over HTTP on this machine, through a Unix
//! socket, with mutual TLS, from a shell, and in a real browser.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use devcell::certs::Request;
use devcell::rig::Binaries;
use devcell::{Cell, CellOptions};
use packets::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

async fn cell(proxy_config: Value) -> Cell {
    let options = CellOptions {
        proxy_config,
        cf_auth: true,
        ..options()
    };
    Cell::start(options).await.unwrap()
}

/// Status and body of the answer to a request with these headers.
async fn ask(place: &str, request: &str, headers: &[&str], body: &str) -> (u16, String) {
    let length = body.len();
    let headers: String = headers
        .iter()
        .map(|header| format!("{header}\r\n"))
        .collect();
    let text = format!(
        "{request} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let mut answer = String::new();
    match place.strip_prefix("unix:") {
        None => {
            let mut stream = TcpStream::connect(place).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            stream.read_to_string(&mut answer).await.unwrap();
        }
        Some(path) => {
            let mut stream = UnixStream::connect(path).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            stream.read_to_string(&mut answer).await.unwrap();
        }
    }
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// The sessions as the server at `place` lists them.
async fn sessions(place: &str) -> Vec<Value> {
    let host = match place.starts_with("unix:") {
        true => "Host: localhost".to_owned(),
        false => format!("Host: {place}"),
    };
    let (status, body) = ask(place, "GET /sessions", &[&host], "").await;
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let sessions = answer["sessions"].as_array().unwrap().clone();
    assert_eq!(
        (&answer["total"], &answer["next"]),
        (&sessions.len().into(), &Value::Null)
    );
    sessions
}

/// Runs a command of the proxy's program.
async fn ssh_proxy(arguments: &[&str]) -> (i32, String, String) {
    let program = Binaries::find().unwrap().ssh_proxy;
    let output = Command::new(program)
        .args(arguments)
        .kill_on_drop(true)
        .output();
    let output = within("the command", output).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

const ENDED: &str = "an operator has ended your session";

#[tokio::test]
async fn a_session_is_shown_and_ended_with_a_message() {
    let cell = cell(json!({"admin_address": "127.0.0.1:0"})).await;
    let place = cell.admin_address().await.unwrap();
    let host = format!("Host: {place}");
    assert!(sessions(&place).await.is_empty());
    let login = cell.cf_login(0).unwrap();
    let mut raw = Raw::login(&door_of(&cell, &login)).await.unwrap();
    raw.open_session(0, 1 << 20).await.unwrap();
    let shown = sessions(&place).await.pop().unwrap();
    assert_eq!(shown["user"], login.user.as_str());
    assert_eq!(shown["index"], 0);
    assert!(shown["user_name"].is_string() && shown["user_id"].is_string());
    assert!(shown["source"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(shown["bytes_up"].as_u64().unwrap() > 0);
    assert_eq!(shown["channels"], json!({"session": 1}));

    let path = format!("/sessions/{}", shown["session_id"].as_str().unwrap());
    let (status, one) = ask(&place, &format!("GET {path}"), &[&host], "").await;
    assert_eq!(status, 200);
    assert!(one.contains(&login.user));
    // What is no session, no message or no method changes nothing.
    for (request, body, status) in [
        ("DELETE /sessions/0", "", 404),
        ("GET /sessions?after=x", "", 400),
        ("GET /nothing", "", 404),
        ("POST /sessions", "", 405),
        (&format!("PUT {path}"), "", 405),
        (&format!("DELETE {path}"), "not json", 400),
        (&format!("DELETE {path}"), &"x".repeat(5000), 413),
    ] {
        assert_eq!(
            ask(&place, request, &[&host], body).await.0,
            status,
            "{request}"
        );
    }
    assert_eq!(sessions(&place).await.len(), 1);

    let body = json!({"message": "maintenance at 12\u{1b}[31m"}).to_string();
    let (status, _) = ask(&place, &format!("DELETE {path}"), &[&host], &body).await;
    assert_eq!(status, 204);
    let (reason, text) = raw.disconnect().await;
    assert_eq!(reason, 11);
    assert_eq!(text, format!("{ENDED}: maintenance at 12\u{fffd}[31m"));
    // Gone when its user is.
    within("the end of the session", async {
        while !sessions(&place).await.is_empty() {}
    })
    .await;
    let again = ask(&place, &format!("DELETE {path}"), &[&host], "").await;
    assert_eq!(again.0, 404);
    let line = cell.proxy().wait_for_log("session-ended-by-operator").await;
    assert!(line.unwrap().contains("maintenance at 12"));
}

/// Whatever runs in the operator's browser can send requests to this machine.
#[tokio::test]
async fn pages_of_others_get_nowhere() {
    let cell = cell(json!({"admin_address": "127.0.0.1:0"})).await;
    let place = cell.admin_address().await.unwrap();
    let mut raw = Raw::login(&proxy_door(&cell)).await.unwrap();
    let id = sessions(&place).await[0]["session_id"].clone();
    let delete = format!("DELETE /sessions/{}", id.as_str().unwrap());
    let host = format!("Host: {place}");
    let port = place.rsplit_once(':').unwrap().1;
    for headers in [
        vec!["Host: attacker.example"],
        vec!["Host: localhost.attacker.example"],
        vec![],
        vec![&host, "Origin: http://attacker.example"],
        vec![&host, "Origin: null"],
        vec![&host, "Origin: http://localhost:1"],
    ] {
        assert_eq!(
            ask(&place, &delete, &headers, "").await.0,
            403,
            "{headers:?}"
        );
        assert_eq!(
            ask(&place, "GET /sessions", &headers, "").await.0,
            403,
            "{headers:?}"
        );
    }
    // The page itself, also where ssh -L leads to the server from another port.
    for port in [port, "9000"] {
        let named = [
            format!("Host: localhost:{port}"),
            format!("Origin: http://localhost:{port}"),
        ];
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        assert_eq!(ask(&place, "GET /", &named, "").await.0, 200);
    }
    assert_eq!(raw.run(0, "echo in").await.unwrap().stdout, b"in\n");
}

#[tokio::test]
async fn a_unix_socket_and_the_commands() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("admin.sock");
    // What a process that was killed leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let at = format!("unix:{}", socket.display());
    let cell = cell(json!({"admin_address": at})).await;
    assert_eq!(cell.admin_address().await.unwrap(), at);
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let admin = format!("-admin={at}");
    let mut raw = Raw::login(&proxy_door(&cell)).await.unwrap();
    raw.open_session(0, 1 << 20).await.unwrap();

    let (code, json, _) = ssh_proxy(&["sessions", "-json", &admin]).await;
    let listed: Value = serde_json::from_str(&json).unwrap();
    let id = listed["session_id"].as_str().unwrap();
    assert_eq!((code, &listed["channels"]), (0, &json!({"session": 1})));
    let (code, table, _) = ssh_proxy(&["sessions", &admin]).await;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(code, 0);
    assert!(
        lines[0].starts_with("SESSION ") && lines[1].starts_with(id),
        "{table}"
    );
    assert!(lines[1].ends_with("1 session"), "{table}");

    // As the file of the configuration says, too.
    let file = dir.path().join("config.json");
    fs::write(&file, json!({"admin_address": at}).to_string()).unwrap();
    let config = format!("-config={}", file.display());
    let (code, out, _) = ssh_proxy(&["end", id, &config, "-message=bye"]).await;
    assert_eq!((code, out), (0, format!("ended {id}\n")));
    assert_eq!(raw.disconnect().await, (11, format!("{ENDED}: bye")));

    for (arguments, code, said) in [
        (&["end", id, &admin][..], 1, "there is no such session"),
        (&["end", &admin], 2, "which session?"),
        (&["end", "../x", &admin], 1, "status 404"),
        (&["sessions"], 2, "either -config or -admin is needed"),
        (
            &["sessions", "-nonsense"],
            2,
            "flag provided but not defined",
        ),
        (
            &["sessions", "-admin=unix:/nowhere"],
            1,
            "cannot be reached",
        ),
        (&["sessions", "-config=/nowhere"], 1, "no such file"),
        (&["sessions", "-h"], 0, "Usage of ssh-proxy sessions"),
    ] {
        let (ended, _, complaint) = ssh_proxy(arguments).await;
        assert_eq!(ended, code, "{arguments:?}: {complaint}");
        assert!(complaint.contains(said), "{arguments:?}: {complaint}");
    }
    cell.proxy().stop().await;
    assert!(!socket.exists());
}

/// Writes a certificate and its key; gives the flags of the commands for them.
fn identity(dir: &Path, cell: &devcell::certs::Authority, name: &str) -> (PathBuf, PathBuf) {
    let issued = cell.issue(&Request::client(name)).unwrap();
    let (certificate, key) = (
        dir.join(format!("{name}.crt")),
        dir.join(format!("{name}.key")),
    );
    fs::write(&certificate, issued.certificate_pem()).unwrap();
    fs::write(&key, issued.key_pem()).unwrap();
    (certificate, key)
}

#[tokio::test]
async fn from_elsewhere_only_with_a_certificate() {
    let dir = TempDir::new().unwrap();
    let ours = devcell::certs::Authority::new("operators").unwrap();
    let theirs = devcell::certs::Authority::new("others").unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("ca"), ours.certificate_pem()).unwrap();
    let server = ours.issue(&Request::server(&["127.0.0.1"])).unwrap();
    fs::write(path("server.crt"), server.certificate_pem()).unwrap();
    fs::write(path("server.key"), server.key_pem()).unwrap();
    let (good, good_key) = identity(dir.path(), &ours, "operator");
    let (bad, bad_key) = identity(dir.path(), &theirs, "stranger");
    let cell = cell(json!({
        "admin_address": "127.0.0.1:0", "admin_ca_cert": path("ca"),
        "admin_server_cert": path("server.crt"), "admin_server_key": path("server.key"),
    }))
    .await;
    let address = cell.admin_address().await.unwrap();
    let (_, port) = address.rsplit_once(':').unwrap();
    let _raw = Raw::login(&proxy_door(&cell)).await.unwrap();
    let list = async |certificate: &Path, key: &Path| {
        let (certificate, key) = (certificate.display(), key.display());
        ssh_proxy(&[
            "sessions",
            "-json",
            &format!("-admin=127.0.0.1:{port}"),
            &format!("-ca={}", path("ca")),
            &format!("-cert={certificate}"),
            &format!("-key={key}"),
        ])
        .await
    };
    let (code, listed, complaint) = list(&good, &good_key).await;
    assert_eq!((code, listed.lines().count()), (0, 1), "{complaint}");
    assert_eq!(list(&bad, &bad_key).await.0, 1);
    let (code, _, _) = ssh_proxy(&["sessions", &format!("-admin=127.0.0.1:{port}")]).await;
    assert_eq!(code, 1);
}

/// A page in headless Chromium.
struct Browser {
    client: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    fn open(url: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/browser.py");
        let mut client = Command::new("python3")
            .arg(script)
            .args(["chromium-headless-shell", url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // It complains about buses that are not there.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let requests = client.stdin.take().unwrap();
        let answers = BufReader::new(client.stdout.take().unwrap()).lines();
        Self {
            client,
            requests,
            answers,
        }
    }

    async fn ask(&mut self, request: Value) -> Value {
        let line = format!("{request}\n");
        self.requests.write_all(line.as_bytes()).await.unwrap();
        let answer = within("the browser", self.answers.next_line())
            .await
            .unwrap();
        serde_json::from_str(&answer.expect("the browser lives")).unwrap()
    }

    async fn evaluate(&mut self, expression: &str) -> Value {
        self.ask(json!({"evaluate": expression})).await
    }

    /// Waits until `expression` is true.
    async fn until(&mut self, expression: &str) {
        within(expression, async {
            while self.evaluate(expression).await != json!(true) {}
        })
        .await;
    }

    async fn close(mut self) {
        drop(self.requests);
        let ended = within("the end of the browser", self.client.wait()).await;
        assert!(ended.unwrap().success());
    }
}

#[tokio::test]
async fn the_page_in_a_browser_shows_follows_and_ends_sessions() {
    let cell = cell(json!({"admin_address": "127.0.0.1:0"})).await;
    let place = cell.admin_address().await.unwrap();
    let mut browser = Browser::open(&format!("http://{place}/"));
    let nobody = "document.querySelector('#nobody')?.hidden === false";
    browser.until(nobody).await;

    let login = cell.cf_login(0).unwrap();
    let mut raw = Raw::login(&door_of(&cell, &login)).await.unwrap();
    raw.open_session(0, 1 << 20).await.unwrap();
    let mut other = Raw::login(&proxy_door(&cell)).await.unwrap();
    browser
        .until("document.querySelectorAll('#sessions tr').length === 2")
        .await;
    let text = browser
        .evaluate("document.querySelector('#sessions').innerText")
        .await;
    for shown in [
        login.user.as_str(),
        "devcell-org / devcell-space / devcell",
        "127.0.0.1:",
    ] {
        assert!(text.as_str().unwrap().contains(shown), "{text}");
    }
    assert_eq!(
        browser
            .evaluate("document.querySelector('#count').textContent")
            .await,
        "2"
    );

    // It follows: bytes, with the focus where it was, and the filter.
    let down = "document.querySelectorAll('#sessions .down')[1].textContent";
    browser
        .evaluate("document.querySelector('#filter').focus()")
        .await;
    let before = browser.evaluate(down).await;
    let output = other.run(0, "head -c 3000000 /dev/zero").await.unwrap();
    assert_eq!(output.stdout.len(), 3_000_000);
    browser.until(&format!("{down} === '3.0 MB'")).await;
    assert_ne!(before, "3.0 MB");
    assert_eq!(
        browser.evaluate("document.activeElement.id").await,
        "filter"
    );
    let type_in = "(() => { const f = document.querySelector('#filter'); f.value = 'CF:'; \
        f.dispatchEvent(new Event('input')); })()";
    browser.evaluate(type_in).await;
    assert_eq!(
        browser
            .evaluate("document.querySelector('#count').textContent")
            .await,
        "1 of 2"
    );
    if let Some(path) = std::env::var_os("SCREENSHOT") {
        browser
            .evaluate("document.querySelector('#filter').value = ''; filter()")
            .await;
        browser
            .ask(json!({"screenshot": path.to_str().unwrap()}))
            .await;
    }

    // It ends one, and the user reads why; the other stays.
    browser
        .evaluate("document.querySelector('#sessions tr button').click()")
        .await;
    browser
        .until("document.querySelector('#ending').open")
        .await;
    browser
        .evaluate("document.querySelector('#message').value = 'see you'")
        .await;
    browser
        .evaluate("document.querySelector('#end').click()")
        .await;
    assert_eq!(raw.disconnect().await, (11, format!("{ENDED}: see you")));
    browser
        .until("!document.querySelector('#ending').open")
        .await;
    browser
        .until("document.querySelectorAll('#sessions tr').length === 1")
        .await;
    assert_eq!(other.run(1, "echo in").await.unwrap().stdout, b"in\n");

    // It says when there is nobody to ask any more.
    cell.proxy().stop().await;
    browser
        .until("document.querySelector('#trouble').hidden === false")
        .await;
    browser.close().await;
}
