//! What no log, no command line and no environment may show, whatever goes wrong: passwords, keys,
//! and what users do.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;

use devcell::bbs::messages::NetInfo;
use devcell::bbs::{Fault, State};
use devcell::keys::{KeyKind, SshKey};
use devcell::loggregator::Envelope;
use devcell::rig::{LogLevel, Process};
use devcell::uaa::TokenShape;
use devcell::{Cell, CellOptions};
use packets::*;
use serde_json::{Value, json};
use ssh_proto::msg;
use ssh_proto::wire::Put;

const WRONG_PASSWORD: &str = "marker-wrong-password-5f1c";
const ROUTE_PASSWORD: &str = "marker-route-password-93ab";
const ROUTE_JUNK: &str = "marker-route-junk-77de";
const VARIABLE: &str = "marker-variable-c2a0";
const TERMINAL: &str = "marker-terminal-0d9e";
const COMMAND: &str = "marker-command-41b8";
const INPUT: &str = "marker-input-e6f3";
const TARGET: &str = "marker-target-8a17";
const APP_SECRET: &str = "marker-app-secret-6b2d";

/// Things that must not be seen, each with its name.
struct Markers(Vec<(String, String)>);

impl Markers {
    /// The constants above, the operator's credentials, and every line of every private key.
    fn of(cell: &Cell, others: &[&SshKey]) -> Self {
        let fixed = [
            WRONG_PASSWORD,
            ROUTE_PASSWORD,
            ROUTE_JUNK,
            VARIABLE,
            TERMINAL,
            COMMAND,
            INPUT,
            TARGET,
            APP_SECRET,
        ];
        let mut all: Vec<(String, String)> = fixed
            .map(|marker| (marker.to_owned(), marker.to_owned()))
            .to_vec();
        let password = cell.logins()[0].password.clone();
        all.push(("diego_credentials".to_owned(), password));
        let keys = [cell.host_key(), cell.instance_key()].into_iter();
        for key in keys.chain(others.iter().copied()) {
            // The first line of a key is much the same for all; the last is short.
            let lines = key.private_pem().lines().skip(2);
            let lines = lines.filter(|line| line.len() == 64);
            all.extend(lines.map(|line| ("line of a key".to_owned(), line.to_owned())));
        }
        assert!(all.len() > 30);
        Self(all)
    }

    fn without(mut self, marker: &str) -> Self {
        self.0.retain(|(_, text)| text != marker);
        self
    }

    fn are_not_in(&self, place: &str, text: &[u8]) {
        for (name, marker) in &self.0 {
            let found = text.windows(marker.len()).any(|w| w == marker.as_bytes());
            assert!(!found, "{name} in {place}");
        }
    }
}

fn secretive() -> CellOptions {
    CellOptions {
        // RSA, as Cloud Controller makes them: long keys, of which all lines are distinct.
        proxy_key: KeyKind::Rsa2048,
        instance_key: KeyKind::Rsa2048,
        route: json!({"user": "vcap", "password": ROUTE_PASSWORD}),
        daemon_env: vec![("APP_SECRET".to_owned(), APP_SECRET.to_owned())],
        ..options()
    }
}

fn set_route(state: &mut State, changes: &Value) {
    let text = &state.desired[0].routes.as_ref().unwrap().routes["diego-ssh"];
    let mut route: Value = serde_json::from_slice(text).unwrap();
    let keys = route.as_object_mut().unwrap();
    keys.extend(changes.as_object().unwrap().clone());
    state.desired[0].set_ssh_route(&route);
}

/// A session that does everything that has content.
async fn a_busy_session(door: &Door) {
    let mut raw = Raw::login(door).await.unwrap();
    let peer = raw.open_session(0, 1 << 20).await.unwrap();
    let env = [&b"MARKED"[..], VARIABLE.as_bytes()];
    raw.send(&request(peer, "env", true, &env));
    raw.send(&request(peer, "subsystem", true, &[COMMAND.as_bytes()]));
    raw.send(&request(
        peer,
        "future@example.com",
        true,
        &[COMMAND.as_bytes()],
    ));
    raw.send(&request(peer, "signal", true, &[COMMAND.as_bytes()]));
    for _ in 0..4 {
        raw.packet().await.unwrap();
    }
    let command = format!("echo {COMMAND}; echo $MARKED; cat; echo {COMMAND} >&2; exit 3");
    raw.send(&exec(peer, &command));
    raw.send(&data(peer, INPUT.as_bytes()));
    raw.send(&plain(msg::CHANNEL_EOF, peer));
    let finished = raw.finish(0, peer).await.unwrap();
    let expected = format!("{COMMAND}\n{VARIABLE}\n{INPUT}");
    assert_eq!(finished.stdout, expected.as_bytes());
    assert_eq!(finished.status, Some(3));

    // A terminal, and a command that there is not.
    let peer = raw.open_session(1, 1 << 20).await.unwrap();
    let mut pty = request(peer, "pty-req", true, &[TERMINAL.as_bytes()]);
    for number in [80, 24, 0, 0, 0] {
        pty.put_u32(number);
    }
    raw.send(&pty);
    assert_eq!(raw.packet().await.unwrap()[0], msg::CHANNEL_SUCCESS);
    raw.send(&exec(peer, COMMAND));
    let finished = raw.finish(1, peer).await.unwrap();
    assert_eq!(finished.status, Some(127));

    // Requests of the connection, and a channel to somewhere.
    let mut forward = string_message(msg::GLOBAL_REQUEST, "future-forward@example.com");
    forward.put_bool(true);
    forward.put_string(TARGET.as_bytes());
    raw.send(&forward);
    raw.wait_for(msg::REQUEST_FAILURE).await.unwrap();
    let mut direct = open("direct-future@example.com", 2, 1 << 20, 1 << 15);
    direct.put_string(TARGET.as_bytes());
    raw.send(&direct);
    raw.wait_for(msg::CHANNEL_OPEN_FAILURE).await.unwrap();
    // And a rule broken, with content.
    raw.send(&data(77, INPUT.as_bytes()));
    raw.disconnect().await;
}

/// A login to the second instance; how it ends is for other tests.
async fn try_second(cell: &Cell, password: &str) {
    let user = &cell.logins()[1].user;
    let mut raw = Raw::served(cell.proxy_address()).await;
    let _ = raw.try_password(user, password).await;
}

#[tokio::test]
async fn no_log_shows_a_secret_or_what_users_do() {
    let cell = Cell::start(secretive()).await.unwrap();
    let other = SshKey::generate(KeyKind::Rsa2048).unwrap();
    let password = cell.logins()[1].password.clone();
    for door in doors(&cell) {
        a_busy_session(&door).await;
    }

    // All that can go wrong with a login.
    try_second(&cell, WRONG_PASSWORD).await;
    let good = cell.bbs().update(|state| state.clone());
    let routes = [
        json!({"private_key": other.private_pem()}),
        json!({"private_key": ROUTE_JUNK}),
        json!({"private_key": format!("-----BEGIN RSA PRIVATE KEY-----\n{ROUTE_JUNK}")}),
        json!({"container_port": "x", "password": ROUTE_JUNK}),
        json!({"container_port": ROUTE_JUNK}),
        json!({"private_key": {"a": ROUTE_JUNK}}),
        json!({"host_256_fingerprint": other.fingerprint_sha256_padded()}),
    ];
    for route in routes {
        cell.bbs().update(|state| set_route(state, &route));
        try_second(&cell, &password).await;
        cell.bbs().update(|state| *state = good.clone());
    }
    cell.bbs().update(|state| {
        state.actual[1].net_info = Some(NetInfo::plain(2222, 1));
    });
    try_second(&cell, &password).await;
    cell.bbs().update(|state| *state = good.clone());
    let faults = [
        Fault::Garbage,
        Fault::Status(503),
        Fault::Truncated,
        Fault::CloseAfterRequest,
        Fault::Hang,
    ];
    for fault in faults {
        cell.bbs().set_fault(fault);
        try_second(&cell, &password).await;
    }
    cell.bbs().set_fault(Fault::None);
    cell.bbs().stop().await;
    try_second(&cell, &password).await;

    // A password where a user name belongs is not ours to hide, but a key that is refused is.
    let mut raw = Raw::served(cell.daemon_address(0).unwrap()).await;
    let mut request = string_message(msg::USERAUTH_REQUEST, "vcap");
    request.put_string(b"ssh-connection");
    request.put_string(b"password");
    request.put_bool(false);
    request.put_string(WRONG_PASSWORD.as_bytes());
    raw.send(&request);
    assert_eq!(raw.packet().await.unwrap()[0], msg::USERAUTH_FAILURE);

    // Both log what they do at this level, just not that.
    for expected in [
        "invalid-credentials",
        "relay-ended",
        "host-key-fingerprint-mismatch",
    ] {
        cell.proxy().wait_for_log(expected).await.unwrap();
    }
    let daemon = cell.daemon(0).unwrap();
    daemon.wait_for_log("received-request").await.unwrap();
    let proxy = cell.proxy().log();
    let markers = Markers::of(&cell, &[&other]);
    markers.are_not_in("the proxy's log", proxy.as_bytes());
    for index in 0..2 {
        let log = cell.daemon(index).unwrap().log();
        markers.are_not_in("a daemon's log", log.as_bytes());
    }
    cell.stop().await;
}

fn of_process(process: &Process, file: &str) -> Vec<u8> {
    std::fs::read(format!("/proc/{}/{file}", process.pid().unwrap())).unwrap()
}

#[tokio::test]
async fn no_process_shows_a_key() {
    let cell = Cell::start(secretive()).await.unwrap();
    let markers = Markers::of(&cell, &[]).without(APP_SECRET);
    let programs = [
        cell.proxy(),
        cell.daemon(0).unwrap(),
        cell.daemon(1).unwrap(),
    ];
    for program in programs {
        for file in ["cmdline", "environ"] {
            let place = format!("{file} of {}", program.name());
            let text = of_process(program, file);
            markers.are_not_in(&place, &text);
            let text = String::from_utf8_lossy(&text);
            assert!(!text.contains("SSHD_HOSTKEY"), "{place}");
            assert!(!text.contains("SSHD_AUTHKEY"), "{place}");
        }
    }
    for door in doors(&cell) {
        let mut raw = Raw::login(&door).await.unwrap();
        let look = "env; tr '\\0' '\\n' </proc/$PPID/environ; tr '\\0' ' ' </proc/$PPID/cmdline";
        let seen = raw.run(0, look).await.unwrap().stdout;
        let text = String::from_utf8_lossy(&seen);
        // The app's own environment is its users' to see.
        assert!(text.contains(&format!("APP_SECRET={APP_SECRET}")));
        assert!(text.contains("-address="), "{text}");
        for absent in ["SSHD_HOSTKEY", "SSHD_AUTHKEY", "PRIVATE KEY"] {
            assert!(!text.contains(absent), "{absent}");
        }
        markers.are_not_in("a session", &seen);
    }
    cell.stop().await;
}

const CLIENT_SECRET: &str = "marker-client-secret-2f7a";
const WRONG_CODE: &str = "marker-wrong-code-19be";
const TOKEN: &str = "marker-token-81cd";
const SCP_NAME: &str = "marker-scp-name-a04c";
const SFTP_NAME: &str = "marker-sftp-name-c5e1";

/// A session of the realm `cf:` that copies and forwards.
async fn copies_and_forwards(door: &Door) {
    let mut raw = Raw::login(door).await.unwrap();
    let peer = raw.open_session(0, 1 << 20).await.unwrap();
    raw.send(&exec(peer, "scp -t ."));
    raw.send(&data(peer, format!("C0644 3 {SCP_NAME}\nabc\0").as_bytes()));
    raw.send(&plain(msg::CHANNEL_EOF, peer));
    assert_eq!(raw.finish(0, peer).await.unwrap().status, Some(0));

    // SSH_FXP_INIT and SSH_FXP_OPEN of draft-ietf-secsh-filexfer-02: there is no such file.
    let peer = raw.open_session(1, 1 << 20).await.unwrap();
    raw.send(&request(peer, "subsystem", true, &[b"sftp"]));
    let mut open_file = vec![3];
    open_file.put_u32(1);
    open_file.put_string(SFTP_NAME.as_bytes());
    open_file.put_u32(1);
    open_file.put_u32(0);
    let mut packets = Vec::new();
    packets.put_string(&[1, 0, 0, 0, 3]);
    packets.put_string(&open_file);
    raw.send(&data(peer, &packets));
    raw.send(&plain(msg::CHANNEL_EOF, peer));
    let finished = raw.finish(1, peer).await.unwrap();
    assert_eq!(finished.status, Some(0));
    assert!(!finished.stdout.is_empty());

    let mut direct = open("direct-streamlocal@openssh.com", 2, 1 << 20, 1 << 15);
    direct.put_string(format!("/nowhere/{TARGET}").as_bytes());
    direct.put_string(b"");
    direct.put_u32(0);
    raw.send(&direct);
    raw.wait_for(msg::CHANNEL_OPEN_FAILURE).await.unwrap();
}

/// Logins of the realm `cf:` that succeed and fail; gives all codes that there were.
async fn come_with_codes(cell: &Cell) -> Vec<String> {
    let mut codes = Vec::new();
    let mut next = || {
        let login = cell.cf_login(0).unwrap();
        codes.push(login.password.clone());
        login
    };
    a_busy_session(&door_of(cell, &next())).await;
    copies_and_forwards(&door_of(cell, &next())).await;
    let faults = [Fault::Garbage, Fault::Status(500), Fault::Truncated];
    for fault in faults {
        for of_uaa in [true, false] {
            match of_uaa {
                true => cell.uaa().fail_next(1, fault.clone()),
                false => cell.cloud_controller().fail_next(1, fault.clone()),
            }
            assert!(Raw::login(&door_of(cell, &next())).await.is_err());
        }
    }
    let used = cell.cf_login(0).unwrap();
    let wrong = [next().user, used.user];
    for user in wrong {
        let mut raw = Raw::served(cell.proxy_address()).await;
        assert_eq!(raw.try_password(&user, WRONG_CODE).await, Ok(false));
        assert_eq!(raw.try_password(&user, &codes[0]).await, Ok(false));
    }
    codes
}

/// What a cell's programs and the app's log have shown, when all is over.
async fn all_output(cell: &Cell) -> Vec<(&'static str, String)> {
    cell.proxy().stop().await;
    let mut texts = vec![("the proxy's log", cell.proxy().log())];
    for index in 0..2 {
        let daemon = cell.daemon(index).unwrap();
        daemon.stop().await;
        texts.push(("a daemon's log", daemon.log()));
    }
    let envelopes = cell.agent().unwrap().envelopes();
    let lines: Vec<String> = envelopes.iter().filter_map(Envelope::line).collect();
    texts.push(("the app's log", lines.concat()));
    texts.push(("envelopes", format!("{envelopes:?}")));
    texts
}

#[tokio::test]
async fn no_output_shows_what_comes_with_codes_at_any_level() {
    use LogLevel::{Debug, Error, Fatal, Info};
    for level in [Debug, Info, Error, Fatal] {
        let cell = Cell::start(CellOptions {
            cf_auth: true,
            uaa_secret: CLIENT_SECRET.to_owned(),
            proxy_log_level: level,
            daemon_log_level: level,
            ..secretive()
        })
        .await
        .unwrap();
        // Tokens as they are, and one that can be told from all else.
        let mut codes = come_with_codes(&cell).await;
        cell.uaa()
            .update(|state| state.token_shape = TokenShape::Exactly(TOKEN.to_owned()));
        codes.extend(come_with_codes(&cell).await);
        let call = cell.uaa().calls().remove(0);
        let basic = call.header("authorization").strip_prefix("Basic ");
        let mut markers = Markers::of(&cell, &[]);
        let more = [CLIENT_SECRET, WRONG_CODE, TOKEN, SCP_NAME, SFTP_NAME];
        // How each JWT begins.
        let more = more.into_iter().chain(basic).chain(["eyJhbGciOi"]);
        let more = more.map(str::to_owned).chain(codes);
        markers.0.extend(more.map(|text| (text.clone(), text)));
        if level == Debug {
            // No secret: who looks for the reason of a failed forwarding needs it.
            markers = markers.without(TARGET);
        }
        for (place, text) in all_output(&cell).await {
            markers.are_not_in(place, text.as_bytes());
        }
        cell.stop().await;
    }
}
