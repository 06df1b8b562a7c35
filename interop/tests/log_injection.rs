//! Names and texts are the peers' to choose: they neither fill the logs nor steer the terminals of those who
//! read them. Neither do those that users choose for their instances, nor those that an instance or a server
//! of the platform chooses.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;

use devcell::bbs::Fault;
use devcell::bbs::messages::NetInfo;
use devcell::loggregator::Envelope;
use devcell::uaa::TokenShape;
use devcell::{Cell, CellOptions};
use packets::*;
use serde_json::{Value, json};
use ssh_proto::msg;
use ssh_proto::wire::Put;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The longest text in a line that a peer can make, whatever it sends.
const LONGEST_OF_PEERS: usize = 1024;
/// The same for the servers of the platform, whose errors are worth more.
const LONGEST_OF_PLATFORM: usize = 4096;

/// What stands for the rest of a line in the log of somebody who reads it with `cat`.
const FORGED: &str = "\n{\"timestamp\":\"1\",\"source\":\"forged\"}\n";

/// Texts that terminals and readers of logs would obey, and bytes that are no text.
fn nasty() -> Vec<u8> {
    let texts: [&[u8]; 8] = [
        b"\x1b[2J\x1b]0;title\x07",
        b"\x07\x08\x7f\r\n",
        FORGED.as_bytes(),
        // Right-to-left override, zero width space, a byte order mark, line and paragraph separators.
        "\u{202e}\u{200b}\u{feff}\u{2028}\u{2029}\u{61c}".as_bytes(),
        // The same as ESC [ in a set of eight bits, and as UTF-8.
        b"\x9b2J",
        "\u{9b}2J".as_bytes(),
        b"\xff\xfe\xc0\x80\xed\xa0\x80",
        b"\"\\</script>",
    ];
    texts.concat().repeat(100)
}

/// Checks every line of a log, whose texts may be so long. What is searched is the log's bytes, as a
/// terminal gets them.
fn is_harmless(name: &str, log: &str, longest: usize) {
    let steers = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{feff}')
    };
    for line in log.lines() {
        assert!(!line.contains(steers), "{name}: {}", line.escape_debug());
        let parsed: Value = serde_json::from_str(line).unwrap();
        assert_ne!(parsed["source"], "forged", "{name}");
        assert!(parsed["message"].is_string(), "{name}: {line}");
        for (key, value) in parsed["data"].as_object().unwrap() {
            let length = value.as_str().unwrap_or_default().len();
            assert!(length <= longest, "{name}: {key}: {length} bytes");
        }
    }
}

/// Says all there is to say before a login.
async fn strangers(door: &Door) {
    let nasty = nasty();
    // As the comment of an identification, which may be as long as 253 bytes, and instead of one.
    for line in [
        [b"SSH-2.0-x ", &nasty[..200]].concat(),
        nasty[..300].to_vec(),
    ] {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        stream.write_all(&line).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = within("the end", stream.read_to_end(&mut Vec::new())).await;
    }
    // As names of algorithms, of which there are none in common.
    let mut kexinit = vec![msg::KEXINIT];
    kexinit.extend_from_slice(&[7; 16]);
    for _ in 0..10 {
        kexinit.put_string(&nasty);
    }
    kexinit.put_bool(false);
    kexinit.put_u32(0);
    let packet = clear_packet(&kexinit[..kexinit.len().min(30_000)]);
    say_in_the_clear(door.address, &[b"SSH-2.0-x\r\n", &packet[..]].concat()).await;

    // As user and method, short enough to be a name and not.
    for user in [&nasty[..], &nasty[..100], "diego:\u{202e}/0".as_bytes()] {
        let mut raw = Raw::served(door.address).await;
        for method in [&b"none"[..], b"password", &nasty[..200]] {
            let mut request = vec![msg::USERAUTH_REQUEST];
            request.put_string(user);
            request.put_string(b"ssh-connection");
            request.put_string(method);
            if method == b"password" {
                request.put_bool(false);
                request.put_string(&nasty);
            }
            raw.send(&request);
            raw.wait_for(msg::USERAUTH_FAILURE).await.unwrap();
        }
    }
    let mut raw = Raw::keyed(door.address).await;
    let mut service = vec![msg::SERVICE_REQUEST];
    service.put_string(&nasty);
    raw.send(&service);
    raw.disconnect().await;
}

/// Says all there is to say after it.
async fn users(door: &Door) {
    let nasty = nasty();
    let mut raw = Raw::login(door).await.unwrap();
    let peer = raw.open_session(0, 1 << 20).await.unwrap();
    let text = String::from_utf8_lossy(&nasty).into_owned();
    let requests: [(&str, &[&[u8]]); 6] = [
        (&text, &[]),
        ("env", &[&nasty, b"value"]),
        ("env", &[b"NAME", &nasty]),
        ("subsystem", &[&nasty]),
        ("signal", &[&nasty]),
        ("exit-signal", &[&nasty]),
    ];
    for (name, fields) in requests {
        raw.send(&request(peer, name, true, fields));
        raw.packet().await.unwrap();
    }
    let mut terminal = request(peer, "pty-req", true, &[&nasty[..200]]);
    for number in [80, 24, 0, 0] {
        terminal.put_u32(number);
    }
    terminal.put_string(b"");
    raw.send(&terminal);
    raw.packet().await.unwrap();
    let mut command = b"scp -t ".to_vec();
    command.extend(nasty.iter().filter(|byte| **byte != 0));
    raw.send(&request(peer, "exec", true, &[&command]));
    raw.send(&data(peer, &nasty));
    raw.send(&plain(msg::CHANNEL_EOF, peer));
    raw.finish(0, peer).await.unwrap();

    // A file of sftp.
    let peer = raw.open_session(1, 1 << 20).await.unwrap();
    raw.send(&request(peer, "subsystem", true, &[b"sftp"]));
    let mut open_file = vec![3];
    open_file.put_u32(1);
    open_file.put_string(&nasty);
    open_file.put_u32(1);
    open_file.put_u32(0);
    let mut packets = Vec::new();
    packets.put_string(&[1, 0, 0, 0, 3]);
    packets.put_string(&open_file);
    raw.send(&data(peer, &packets));
    raw.send(&plain(msg::CHANNEL_EOF, peer));
    raw.finish(1, peer).await.unwrap();

    // Places: of channels, of listeners, of agents.
    raw.send(&open(&text, 2, 1 << 20, 1 << 15));
    raw.wait_for(msg::CHANNEL_OPEN_FAILURE).await.unwrap();
    for (kind, port) in [
        ("direct-tcpip", Some(1)),
        ("direct-streamlocal@openssh.com", None),
    ] {
        let mut open = open(kind, 3, 1 << 20, 1 << 15);
        open.put_string(&nasty);
        port.into_iter().for_each(|port| open.put_u32(port));
        open.put_string(&nasty);
        open.put_u32(1);
        raw.send(&open);
        raw.wait_for(msg::CHANNEL_OPEN_FAILURE).await.unwrap();
    }
    for name in ["tcpip-forward", "streamlocal-forward@openssh.com", &text] {
        let mut listen = string_message(msg::GLOBAL_REQUEST, name);
        listen.put_bool(true);
        listen.put_string(&nasty);
        if name == "tcpip-forward" {
            listen.put_u32(0);
        }
        raw.send(&listen);
        raw.wait_for(msg::REQUEST_FAILURE).await.unwrap();
    }
    let mut goodbye = vec![msg::DISCONNECT, 0, 0, 0, 11];
    goodbye.put_string(&nasty);
    goodbye.put_string(&nasty);
    raw.send(&goodbye);
    raw.flush().await.unwrap();
}

#[tokio::test]
async fn what_users_say_stays_short_and_harmless_in_the_logs() {
    let cell = Cell::start(options()).await.unwrap();
    for door in doors(&cell) {
        strangers(&door).await;
        users(&door).await;
    }
    for program in [cell.proxy(), cell.daemon(0).unwrap()] {
        let logged = program.wait_for_log("disconnected by the peer").await;
        logged.unwrap();
        program.stop().await;
        is_harmless(program.name(), &program.log(), LONGEST_OF_PEERS);
    }
    cell.stop().await;
}

/// An instance that is no daemon: says `words`, and then whatever it likes.
async fn impostor(cell: &Cell, words: Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    cell.bbs()
        .update(|state| state.actual[1].net_info = Some(NetInfo::plain(2222, port)));
    let says = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&words).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let login = &cell.logins()[1];
    let (told, ()) = tokio::join!(enter(cell, login), says);
    is_fit_for_users(&told.unwrap_err());
}

/// What a user is told goes to the user's terminal.
fn is_fit_for_users(told: &str) {
    let control = |c: char| c.is_control() && !matches!(c, '\r' | '\n');
    assert!(!told.contains(control), "{}", told.escape_debug());
    assert!(
        !told.contains("forged") && !told.contains('\u{202e}'),
        "{told}"
    );
}

#[tokio::test]
async fn what_instances_and_the_platform_say_stays_short_and_harmless_too() {
    let nasty = nasty();
    let text = String::from_utf8_lossy(&nasty).into_owned();
    let cell = Cell::start(CellOptions {
        cf_auth: true,
        ..options()
    })
    .await
    .unwrap();
    let mut disconnect = vec![msg::DISCONNECT, 0, 0, 0, 2];
    disconnect.put_string(&nasty);
    disconnect.put_string(&nasty);
    let disconnect = clear_packet(&disconnect);
    impostor(&cell, nasty.clone()).await;
    impostor(&cell, [b"SSH-2.0-x ", &nasty[..200], b"\r\n"].concat()).await;
    impostor(&cell, [b"SSH-2.0-x\r\n", &disconnect[..]].concat()).await;

    // What the route says, an answer of UAA or Cloud Controller, and the name in a token.
    let good = cell.bbs().update(|state| state.clone());
    cell.bbs().update(|state| {
        let route = json!({"container_port": 2222, "host_fingerprint": text, "user": text,
            "password": text, "private_key": text});
        state.desired[0].set_ssh_route(&route);
    });
    is_fit_for_users(&enter(&cell, &cell.logins()[0]).await.unwrap_err());
    cell.bbs().update(|state| *state = good.clone());
    cell.bbs().update(|state| {
        let info = state.actual[0].net_info.as_mut().unwrap();
        info.address.clone_from(&text);
    });
    is_fit_for_users(&enter(&cell, &cell.logins()[0]).await.unwrap_err());
    cell.bbs().update(|state| *state = good);
    let error = Fault::ErrorInMessage {
        kind: 1,
        message: text.clone(),
    };
    cell.uaa().fail_next(1, error.clone());
    is_fit_for_users(&enter(&cell, &cell.cf_login(0).unwrap()).await.unwrap_err());
    cell.cloud_controller().fail_next(1, error.clone());
    is_fit_for_users(&enter(&cell, &cell.cf_login(0).unwrap()).await.unwrap_err());
    cell.bbs().set_fault(error);
    is_fit_for_users(&enter(&cell, &cell.logins()[0]).await.unwrap_err());
    cell.bbs().set_fault(Fault::None);
    cell.uaa()
        .update(|state| state.token_shape = TokenShape::Exactly(text.clone()));
    let _ = enter(&cell, &cell.cf_login(0).unwrap()).await;

    cell.proxy().stop().await;
    is_harmless("ssh-proxy", &cell.proxy().log(), LONGEST_OF_PLATFORM);
    // The app's log is shown to its developers as it is.
    for envelope in cell.agent().unwrap().envelopes() {
        let line = Envelope::line(&envelope).unwrap_or_default();
        let control = |c: char| c.is_control() && c != '\n';
        assert!(!line.contains(control), "{}", line.escape_debug());
        assert!(!line.contains("forged"), "{line}");
    }
    cell.stop().await;
}
