//! The messages of RFC 4253 and RFC 8308, and the packets that all messages come in.

use ssh_proto::Error;
use ssh_proto::algorithm::{Cipher, Mac};
use ssh_proto::msg;
use ssh_proto::transport::Role;
use ssh_proto::wire::Put;

use crate::heap;
use crate::sample::{Breaks, Change, End, Law, Sample, report, sweep};
use crate::support::clear;
use crate::support::peer::{Offer, Peer};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// What buffers of the first size take for a packet and an answer, and the test for its own.
const FIRST_BUFFERS: usize = 12 * 1024;

/// Polls; everything but an error of the peer's making is an acceptance, and errors are told.
pub(crate) fn end(peer: &mut Peer) -> End {
    match peer.poll() {
        Ok(_) | Err(Error::Disconnected { .. }) => End::Accepted,
        Err(_) => {
            peer.must_be_cut();
            End::Error
        }
    }
}

fn handle(peer: &mut Peer, payload: &[u8]) -> End {
    peer.say(payload);
    end(peer)
}

fn string(number: u8, value: &[u8]) -> Vec<u8> {
    let mut payload = vec![number];
    payload.put_string(value);
    payload
}

/// What anybody may send at any time once a user is authenticated.
fn at_any_time() -> Vec<Sample> {
    let mut disconnect = vec![msg::DISCONNECT];
    disconnect.put_u32(11);
    disconnect.put_string(b"so long");
    disconnect.put_string(b"en");
    let mut debug = vec![msg::DEBUG, 1];
    debug.put_string(b"here I am");
    debug.put_string(b"en");
    vec![
        Sample::new("DISCONNECT", "b|uss", disconnect),
        Sample::new("IGNORE", "b|s", string(msg::IGNORE, b"traffic")),
        Sample::new("UNIMPLEMENTED", "b|u", vec![msg::UNIMPLEMENTED, 0, 0, 0, 9]),
        Sample::new("DEBUG", "b|bss", debug),
        Sample::new("PING", "bs", string(msg::PING, b"are you there")),
        Sample::new("PONG", "b|s", string(msg::PONG, b"here")),
        Sample::new("number 200", "b|s", string(200, b"unknown")),
    ]
}

#[test]
fn messages_of_any_time() {
    let mut cases = 0;
    for role in ROLES {
        let open = |_: &Sample| Peer::authenticated(role, Offer::default());
        cases += sweep(&at_any_time(), open, handle);
    }
    report(cases, 300);
}

#[test]
fn ext_info() {
    let mut payload = vec![msg::EXT_INFO];
    payload.put_u32(3);
    for (name, value) in [
        ("server-sig-algs", &b"ssh-ed25519,rsa-sha2-256"[..]),
        ("ping@openssh.com", b"0"),
        ("no-such@example.com", b"\xff"),
    ] {
        payload.put_string(name.as_bytes());
        payload.put_string(value);
    }
    let samples = [Sample::new("EXT_INFO", "bnssssss", payload)];
    let mut cases = 0;
    for role in ROLES {
        let keyed = |_: &Sample| Peer::connected(role, Offer::default());
        cases += sweep(&samples, keyed, handle);
    }
    report(cases, 280);
}

#[test]
fn kexinit() {
    let mut cases = 0;
    for role in ROLES {
        let identified = || {
            let mut peer = Peer::new(role, Offer::default());
            peer.identify();
            peer.poll().unwrap();
            peer.heard();
            peer
        };
        let open = || Peer::authenticated(role, Offer::default());
        let layout = "b qq ssssssssss bu";
        let first = [Sample::new("first KEXINIT", layout, identified().kexinit())];
        cases += sweep(&first, |_| identified(), handle);
        let rekey = [Sample::new("KEXINIT of a rekey", layout, open().kexinit())];
        cases += sweep(&rekey, |_| open(), handle);
    }
    report(cases, 1000);
}

/// All packets but the sealed ones whose length field is encrypted, which nobody can spoil at will.
#[test]
fn packets() {
    let mut cases = 0;
    for role in ROLES {
        let identified = |_: &Sample| {
            let mut peer = Peer::new(role, Offer::default());
            peer.identify();
            peer.poll().unwrap();
            peer
        };
        let kexinit = clear(&Peer::new(role, Offer::default()).kexinit());
        let samples = [Sample::new("packet in clear", "(b*)", kexinit).under(Law::Stream)];
        cases += sweep(&samples, identified, |peer, bytes| {
            peer.say_raw(bytes);
            end(peer)
        });
        for (cipher, mac) in ciphers() {
            let offer = Offer {
                cipher,
                mac,
                ..Offer::default()
            };
            let fresh = || Peer::authenticated(role, offer.clone());
            let layout = if cipher == Cipher::Aes128Gcm {
                "n*"
            } else {
                "*"
            };
            let sealed = fresh().sealed(&string(msg::IGNORE, b"traffic"));
            let name = format!("packet under {} and {}", cipher.name(), mac.name());
            let sample = Sample::new(&name, layout, sealed).under(Law::Stream);
            cases += sweep(
                &[sample],
                |_| fresh(),
                |peer, bytes| {
                    peer.say_raw(bytes);
                    end(peer)
                },
            );
        }
    }
    report(cases, 1800);
}

/// Each cipher, and each MAC with the first that needs one.
fn ciphers() -> Vec<(Cipher, Mac)> {
    let mut all: Vec<_> = Cipher::ALL
        .iter()
        .map(|it| (*it, Mac::HmacSha256))
        .collect();
    all.extend(Mac::ALL.iter().map(|it| (Cipher::Aes128Ctr, *it)));
    all
}

/// The line ends where it ends: what is cut is waited for, and the rest is a packet's.
#[test]
fn identification() {
    let mut cases = 0;
    for role in ROLES {
        let line = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7\r\n".to_vec();
        let samples = [Sample::new("identification", "*", line).under(Law::Stream)];
        let fresh = |_: &Sample| Peer::new(role, Offer::default());
        cases += sweep(&samples, fresh, |peer, bytes| {
            peer.say_raw(bytes);
            end(peer)
        });
    }
    report(cases, 80);
}

/// A length is believed only as far as the state needs: before a user is authenticated, up to the 35,000
/// bytes that all have to take (RFC 4253 section 6.1), and no memory is taken for what has not come.
#[test]
fn claimed_lengths_before_authentication() {
    let claim = |length: u32, law| Sample {
        name: format!("a packet of {length} bytes"),
        bytes: length.to_be_bytes().to_vec(),
        lengths: Vec::new(),
        law,
        work: 0,
    };
    for role in ROLES {
        // Multiples of the block size with the length field in clear, and without it under GCM.
        for [clear, sealed] in [[28, 32], [34_988, 34_992]] {
            let waits = Change::Whole;
            claimed(
                &claim(clear, Law::Stream),
                waits,
                Peer::new(role, Offer::default()),
            );
            let keyed = Peer::connected(role, Offer::default());
            claimed(&claim(sealed, Law::Stream), waits, keyed);
        }
        for [clear, sealed] in [
            [35_004, 35_008],
            [262_140, 262_144],
            [1 << 31, u32::MAX - 15],
        ] {
            let wrong = |length| Change::Length(0, length, Breaks::Form);
            let fresh = Peer::new(role, Offer::default());
            claimed(&claim(clear, Law::Exact), wrong(clear), fresh);
            let keyed = Peer::connected(role, Offer::default());
            claimed(&claim(sealed, Law::Exact), wrong(sealed), keyed);
        }
    }
}

fn claimed(sample: &Sample, change: Change, mut peer: Peer) {
    if peer.transport.peer_identification().is_none() {
        peer.identify();
        peer.poll().unwrap();
    }
    let (_, memory) = heap::peak_of(|| {
        sample.check(change, |bytes| {
            peer.say_raw(bytes);
            end(&mut peer)
        });
    });
    assert!(memory <= FIRST_BUFFERS, "{}: {memory} bytes", sample.name);
}
