//! Peers that break the rules, against both programs: they are told why and cut, and nobody else
//! notices. What a row can say is among those of `misbehave`; here is what happens besides. Instances that
//! break them have rows of their own (`misbehave_host.rs`).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;

use devcell::Cell;
use packets::*;
use ssh_proto::msg;
use ssh_proto::wire::Put;

/// Reason codes of RFC 4253 section 11.1.
const PROTOCOL_ERROR: u32 = 2;
const SERVICE_NOT_AVAILABLE: u32 = 7;
const BY_APPLICATION: u32 = 11;

#[tokio::test]
async fn without_a_login_nothing_runs() {
    let cell = Cell::start(options()).await.unwrap();
    let marker = cell.dir().join("marker");
    for door in doors(&cell) {
        let mut bystander = Bystander::enter(&door).await;
        let mut raw = Raw::served(door.address).await;
        raw.send(&open("session", 0, 1 << 20, 1 << 15));
        raw.send(&exec(0, &format!("touch {}", marker.display())));
        assert_eq!(raw.disconnect().await.0, PROTOCOL_ERROR);

        let mut raw = Raw::served(door.address).await;
        raw.send(&userauth_request("user", "ssh-other", "none"));
        assert_eq!(raw.disconnect().await.0, SERVICE_NOT_AVAILABLE);

        // Methods that there are not, asked for again and again.
        let mut raw = Raw::served(door.address).await;
        for method in ["hostbased", "keyboard-interactive", "gssapi-with-mic", "x"].repeat(6) {
            raw.send(&userauth_request("user", "ssh-connection", method));
        }
        let told = raw.disconnect().await;
        assert_eq!(told, (2, "too many authentication failures".to_owned()));
        bystander.all_is_well().await;
    }
    assert!(!marker.exists());
    cell.stop().await;
}

/// One rule broken after login: what is sent, given the server's number of an open session.
type Breach = fn(u32) -> Vec<u8>;

/// Breaches that the proxy sees by itself, and the daemon too.
const CONTROL: &[(&str, Breach)] = &[
    ("EOF for nothing", |_| plain(msg::CHANNEL_EOF, 77)),
    ("CLOSE for nothing", |_| plain(msg::CHANNEL_CLOSE, 77)),
    ("request for nothing", |_| exec(77, "true")),
    ("success for nothing", |_| plain(msg::CHANNEL_SUCCESS, 77)),
    ("success unasked", |peer| plain(msg::CHANNEL_SUCCESS, peer)),
    ("failure unasked", |peer| plain(msg::CHANNEL_FAILURE, peer)),
    ("global success unasked", |_| vec![msg::REQUEST_SUCCESS]),
    ("global failure unasked", |_| vec![msg::REQUEST_FAILURE]),
    ("confirmation for nothing", |_| confirmation(77)),
    ("confirmation twice", confirmation),
    ("failure to open, unasked", |peer| {
        let mut payload = plain(msg::CHANNEL_OPEN_FAILURE, peer);
        payload.put_u32(1);
        payload.put_string(b"no");
        payload.put_string(b"");
        payload
    }),
    ("a number that stands for nothing", |_| {
        plain(msg::CHANNEL_EOF, u32::MAX)
    }),
    ("cut-off open", |_| {
        vec![msg::CHANNEL_OPEN, 0, 0, 0, 7, b's']
    }),
    ("a string of 4 GiB", |_| {
        vec![msg::GLOBAL_REQUEST, 255, 255, 255, 255, b'x']
    }),
    ("cut-off request", |peer| plain(msg::CHANNEL_REQUEST, peer)),
    ("USERAUTH_SUCCESS", |_| vec![msg::USERAUTH_SUCCESS]),
    ("NEWKEYS", |_| vec![msg::NEWKEYS]),
    ("kex reply", |_| vec![msg::KEX_ECDH_REPLY]),
    ("late EXT_INFO", |_| vec![msg::EXT_INFO, 0, 0, 0, 0]),
    ("empty KEXINIT", |_| vec![msg::KEXINIT]),
];

/// Breaches in packets that the proxy forwards unseen; the daemon cuts.
const DATA: &[(&str, Breach)] = &[
    ("data for nothing", |_| data(77, b"x")),
    ("extended data for nothing", |_| {
        let mut payload = plain(msg::CHANNEL_EXTENDED_DATA, 77);
        payload.put_u32(1);
        payload.put_string(b"x");
        payload
    }),
    ("window for nothing", |_| window_adjust(77, 1)),
    ("window beyond 2^32", |peer| window_adjust(peer, u32::MAX)),
    ("data beyond max packet", |peer| data(peer, &[0; 40 * 1024])),
    ("cut-off data", |peer| plain(msg::CHANNEL_DATA, peer)),
];

fn confirmation(channel: u32) -> Vec<u8> {
    let mut payload = plain(msg::CHANNEL_OPEN_CONFIRMATION, channel);
    for number in [0, 1 << 20, 1 << 15] {
        payload.put_u32(number);
    }
    payload
}

#[tokio::test]
async fn after_login_a_broken_rule_ends_the_connection_and_no_other() {
    let cell = Cell::start(options()).await.unwrap();
    for door in doors(&cell) {
        let mut bystander = Bystander::enter(&door).await;
        for (name, breach) in CONTROL.iter().chain(DATA) {
            let mut raw = Raw::login(&door).await.unwrap();
            let peer = raw.open_session(0, 1 << 20).await.unwrap();
            raw.send(&breach(peer));
            let (reason, text) = raw.disconnect().await;
            let unseen = DATA.iter().any(|(unseen, _)| unseen == name);
            let expected = if door.name == "proxy" && unseen {
                BY_APPLICATION
            } else {
                PROTOCOL_ERROR
            };
            assert_eq!(reason, expected, "{}: {name}: {text}", door.name);
            bystander.is_undisturbed().await;
        }
        bystander.all_is_well().await;
    }
    cell.stop().await;
}

#[tokio::test]
async fn data_beyond_the_window_end_the_connection() {
    let cell = Cell::start(options()).await.unwrap();
    for door in doors(&cell) {
        let mut bystander = Bystander::enter(&door).await;
        let mut raw = Raw::login(&door).await.unwrap();
        let peer = raw.open_session(0, 1 << 20).await.unwrap();
        raw.send(&exec(peer, "exec sleep 1000"));
        // A pipe takes 64 KiB without a reader; the window is 2 MiB.
        let chunk = data(peer, &[b'x'; 32 * 1024]);
        for _ in 0..70 {
            raw.send(&chunk);
            // What was cut already takes no more.
            if raw.flush().await.is_err() {
                break;
            }
        }
        let (reason, _) = raw.disconnect().await;
        let by = [PROTOCOL_ERROR, BY_APPLICATION];
        assert!(by.contains(&reason), "{}: {reason}", door.name);
        bystander.all_is_well().await;
    }
    cell.stop().await;
}

#[tokio::test]
async fn what_is_only_unknown_ends_nothing() {
    let cell = Cell::start(options()).await.unwrap();
    for door in doors(&cell) {
        let mut raw = Raw::login(&door).await.unwrap();
        // Numbers that nobody has given a meaning (RFC 4253 section 11.4).
        for number in [5, 54, 70, 83, 101, 150, 191, 194, 255] {
            raw.send(&[number, 1, 2, 3]);
        }
        // Too late to matter (RFC 4252 section 5.1).
        raw.send(&[msg::USERAUTH_REQUEST]);
        raw.send(&[msg::IGNORE, 0, 0, 0, 0]);
        // Unknown kinds of everything.
        raw.send(&open("tun-of-the-future@example.com", 5, 1 << 20, 1 << 15));
        let packet = raw.wait_for(msg::CHANNEL_OPEN_FAILURE).await.unwrap();
        assert_eq!((u32_at(&packet, 1), u32_at(&packet, 5)), (5, 3));
        let mut global = string_message(msg::GLOBAL_REQUEST, "future@example.com");
        global.put_bool(true);
        raw.send(&global);
        raw.wait_for(msg::REQUEST_FAILURE).await.unwrap();
        raw.send(&open("session", 6, 1 << 20, 0));
        let packet = raw.wait_for(msg::CHANNEL_OPEN_FAILURE).await.unwrap();
        assert_eq!(u32_at(&packet, 1), 6, "packets of no size");

        let peer = raw.open_session(0, 1 << 20).await.unwrap();
        let fields: [(&str, &[&[u8]]); 6] = [
            ("future@example.com", &[b"x"]),
            ("env", &[b"cut off"]),
            ("env", &[b"A\0B", b"C"]),
            ("env", &[b"A=B", b"C"]),
            ("pty-req", &[b"xterm"]),
            ("exec", &[]),
        ];
        for (name, fields) in fields {
            raw.send(&request(peer, name, true, fields));
            let packet = raw.packet().await.unwrap();
            assert_eq!(packet[0], msg::CHANNEL_FAILURE, "{}: {name}", door.name);
        }
        raw.send(&exec(peer, "echo alive"));
        let finished = raw.finish(0, peer).await.unwrap();
        assert_eq!(finished.stdout, b"alive\n", "{}", door.name);
    }
    cell.stop().await;
}
