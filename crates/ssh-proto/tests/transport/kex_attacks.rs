//! Peers that do the key exchange wrong: values, signatures, order, and EXT_INFO out of place.

use ssh_proto::Error;
use ssh_proto::algorithm::{Kex, Signature};
use ssh_proto::error::Reason;
use ssh_proto::msg;
use ssh_proto::transport::{Event, Role};
use ssh_proto::wire::{Put, Reader};

use crate::support::peer::{Offer, Peer, kex_reply};
use crate::support::{keys, payload};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// The points of low order on Curve25519 and its twist, and what is the same modulo p.
const LOW_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
];

fn hex(text: &str) -> Vec<u8> {
    let digits = (0..text.len()).step_by(2);
    digits
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

/// Both KEXINITs are there, and in a client's case its KEX_ECDH_INIT.
fn begun(role: Role, offer: Offer) -> Peer {
    let mut peer = Peer::new(role, offer);
    peer.identify();
    peer.say_kexinit();
    assert_eq!(peer.poll(), Ok(Event::NeedInput));
    peer.heard();
    peer
}

fn with_kex(kex: Kex) -> Offer {
    Offer {
        kex,
        ..Offer::default()
    }
}

/// The fields of a KEX_ECDH_REPLY.
fn reply_fields(reply: &[u8]) -> [Vec<u8>; 3] {
    let mut reader = Reader::new(&reply[1..]);
    [0; 3].map(|_| reader.string().unwrap().to_vec())
}

/// What the end under test says to this public value in place of `honest`.
fn offers_value(role: Role, kex: Kex, change: impl Fn(&[u8]) -> Vec<u8>) -> Error {
    let mut peer = begun(role, with_kex(kex));
    let message = peer.kex_message();
    let message = match role {
        Role::Server => peer.kex_init(&change(&message[5..])),
        Role::Client => {
            let [host_key, public, signature] = reply_fields(&message);
            kex_reply(&host_key, &change(&public), &signature)
        }
    };
    peer.cut(&message)
}

#[test]
fn bad_public_values_are_refused() {
    let bad = Error::KeyExchange("bad public value");
    for role in ROLES {
        for kex in Kex::ALL {
            let is = |change: &dyn Fn(&[u8]) -> Vec<u8>| {
                assert_eq!(offers_value(role, *kex, change), bad, "{role:?} {kex:?}");
            };
            is(&|_| Vec::new());
            is(&|value| value[1..].to_vec());
            is(&|value| [value, &[0]].concat());
            is(&|value| vec![0; value.len()]);
            let ecdh = matches!(kex, Kex::EcdhP256 | Kex::EcdhP384 | Kex::EcdhP521);
            if ecdh {
                is(&|value| [&[4][..], &vec![1; value.len() - 1]].concat());
                is(&|value| [&value[..value.len() - 1], &[value[value.len() - 1] ^ 1]].concat());
                let compressed = |value: &[u8]| {
                    let odd = value[value.len() - 1] & 1;
                    [&[2 + odd][..], &value[1..=value.len() / 2]].concat()
                };
                is(&compressed);
                is(&|value| [&[6 + (value[value.len() - 1] & 1)], &value[1..]].concat());
                is(&|_| vec![0]);
            } else {
                for point in LOW_ORDER {
                    is(&|value| [&value[..value.len() - 32], &hex(point)].concat());
                }
            }
        }
        if role == Role::Server {
            // FIPS 203 section 7.2: coefficients of the key are below q.
            let change = |value: &[u8]| [&[0xff; 1152], &value[1152..]].concat();
            assert_eq!(offers_value(role, Kex::MlKem768X25519, change), bad);
        }
    }
}

#[test]
fn a_server_that_cannot_sign_for_its_key_is_refused() {
    let wrong = "host key signature is wrong";
    let unreadable = "host key not readable";
    type Change = fn([Vec<u8>; 3]) -> [Vec<u8>; 3];
    let cases: [(Change, &'static str); 6] = [
        (
            |[key, value, mut signature]| {
                *signature.last_mut().unwrap() ^= 1;
                [key, value, signature]
            },
            wrong,
        ),
        (|[key, value, _]| [key, value, Vec::new()], wrong),
        (
            |[_, value, signature]| [keys::ed25519(9).public().blob().to_vec(), value, signature],
            wrong,
        ),
        (
            |[key, value, _]| {
                let other = keys::ed25519(1).sign(Signature::Ed25519, b"another hash");
                [key, value, other.unwrap()]
            },
            wrong,
        ),
        (
            |[_, value, signature]| {
                let other = keys::signing(Signature::EcdsaP256);
                [other.public().blob().to_vec(), value, signature]
            },
            wrong,
        ),
        (
            |[_, value, signature]| [b"?".to_vec(), value, signature],
            unreadable,
        ),
    ];
    for (change, text) in cases {
        let mut peer = begun(Role::Client, Offer::default());
        let reply = peer.kex_message();
        let [key, value, signature] = change(reply_fields(&reply));
        let error = peer.cut(&kex_reply(&key, &value, &signature));
        assert_eq!(error, Error::KeyExchange(text));
    }
}

#[test]
fn a_host_key_that_changes_while_rekeying_is_refused() {
    let mut peer = Peer::authenticated(Role::Client, Offer::default());
    peer.kex().unwrap();
    peer.host_key = keys::ed25519(2);
    assert_eq!(
        peer.kex().map_err(|error| error.reason()),
        Err(Some(Reason::HostKeyNotVerifiable))
    );
    peer.must_be_cut();
}

#[test]
fn messages_of_the_key_exchange_out_of_order_are_cut() {
    type Say = fn(&mut Peer) -> Vec<u8>;
    let kexinit: Say = |peer| peer.kexinit();
    let kex_message: Say = |peer| match peer.role {
        // A server has nothing to answer before there was a value of the client.
        Role::Client if peer.public.is_empty() => kex_reply(b"", b"", b""),
        _ => peer.kex_message(),
    };
    let others: Say = |peer| match peer.role {
        Role::Server => kex_reply(b"", b"", b""),
        Role::Client => peer.kex_init(&[9; 32]),
    };
    let newkeys: Say = |_| vec![msg::NEWKEYS];
    let unknown: Say = |_| vec![49];
    // What the peer says in its first key exchange; the last message is the one too much.
    let cases: [&[Say]; 10] = [
        &[kex_message],
        &[newkeys],
        &[kexinit, kexinit],
        &[kexinit, newkeys],
        &[kexinit, others],
        &[kexinit, unknown],
        &[kexinit, kex_message, kex_message],
        &[kexinit, kex_message, kexinit],
        &[kexinit, kex_message, others],
        &[kexinit, |_| vec![30]],
    ];
    for role in ROLES {
        for rekey in [false, true] {
            for (number, case) in cases.iter().enumerate() {
                let mut peer = match rekey {
                    true => Peer::authenticated(role, Offer::default()),
                    false => Peer::new(role, Offer::default()),
                };
                if !rekey {
                    peer.identify();
                }
                let (last, rest) = case.split_last().unwrap();
                for say in rest {
                    let is_kexinit = std::ptr::fn_addr_eq(*say, kexinit);
                    if is_kexinit {
                        peer.say_kexinit();
                    } else {
                        let payload = say(&mut peer);
                        peer.say(&payload);
                    }
                    peer.poll().unwrap();
                    peer.heard();
                }
                let payload = last(&mut peer);
                let error = peer.cut(&payload);
                let reason = Some(Reason::ProtocolError);
                assert_eq!(error.reason(), reason, "{role:?} {rekey} {number}: {error}");
            }
        }
    }
}

#[test]
fn newkeys_with_a_body_is_cut() {
    for role in ROLES {
        let mut peer = begun(role, Offer::default());
        peer.say_kex_message();
        peer.poll().unwrap();
        let error = peer.cut(&[msg::NEWKEYS, 0]);
        assert_eq!(error, Error::Misbehaved("malformed NEWKEYS"));
    }
}

#[test]
fn the_packet_of_a_wrong_guess_is_dropped_and_no_other() {
    for role in ROLES {
        // Our first choice is the hybrid.
        let offer = Offer {
            guess: Some("diffie-hellman-group14-sha256"),
            ..with_kex(Kex::Curve25519)
        };
        let guessed = match role {
            Role::Server => [&[msg::KEX_ECDH_INIT][..], &[0; 70]].concat(),
            Role::Client => kex_reply(b"a", b"b", b"c"),
        };
        let mut peer = Peer::new(role, offer.clone());
        peer.identify();
        peer.say_kexinit();
        peer.say(&guessed);
        peer.poll().unwrap();
        peer.heard();
        peer.say_kex_message();
        peer.poll().unwrap();
        peer.heard();
        peer.say_newkeys();
        peer.poll().unwrap();
        peer.transport.set_authenticated();
        peer.say(&payload(0, 20));
        assert_eq!(peer.poll(), Ok(Event::Packet));

        let mut peer = Peer::new(role, offer);
        peer.identify();
        peer.say_kexinit();
        peer.say(&guessed);
        peer.cut(&guessed);
    }
}

#[test]
fn the_packet_of_a_right_guess_counts() {
    for role in ROLES {
        let offer = Offer {
            guess: Some(Kex::MlKem768X25519.name()),
            ..with_kex(Kex::MlKem768X25519)
        };
        let mut peer = Peer::new(role, offer);
        peer.identify();
        peer.kex().unwrap();
        assert!(!peer.transport.session_id().is_empty());
    }
}

#[test]
fn a_kexinit_of_absurd_length_or_form_is_cut() {
    let long = |names: &str, count: usize| {
        let mut payload = vec![msg::KEXINIT];
        payload.extend([7; 16]);
        payload.put_name_list(std::iter::repeat_n(names, count));
        payload
    };
    let mut cut_short = Peer::new(Role::Server, Offer::default()).kexinit();
    cut_short.pop();
    let mut longer = cut_short.clone();
    longer.extend([0, 0]);
    let mut endless = vec![msg::KEXINIT];
    endless.extend([0xff; 60]);
    let mut not_text = cut_short.clone();
    not_text.push(0);
    not_text[21] = 0xff;
    let payloads = [
        vec![msg::KEXINIT],
        cut_short,
        longer,
        endless,
        not_text,
        long("curve25519-sha256", 5),
        long("curve25519-sha256", 1900),
        long("", 5000),
    ];
    for role in ROLES {
        for payload in &payloads {
            let mut peer = Peer::new(role, Offer::default());
            peer.identify();
            let reason = peer.cut(payload).reason();
            assert_eq!(reason, Some(Reason::ProtocolError));
        }
    }
}

/// EXT_INFO with one extension.
fn ext_info(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut payload = vec![msg::EXT_INFO];
    payload.put_u32(1);
    payload.put_string(name);
    payload.put_string(value);
    payload
}

#[test]
fn ext_info_is_read_where_it_may_come() {
    let signatures = b"ssh-rsa,rsa-sha2-512,unknown,ssh-ed25519";
    for role in ROLES {
        let mut peer = Peer::connected(role, Offer::default());
        peer.ignored(&ext_info(b"server-sig-algs", signatures));
        assert_eq!(
            peer.transport.extensions().signatures,
            Some(vec![Signature::RsaSha512, Signature::Ed25519])
        );
        assert!(!peer.transport.extensions().ping);
        if role == Role::Client {
            // Once more in front of USERAUTH_SUCCESS: the later one counts (RFC 8308 section 2.4).
            peer.ignored(&ext_info(b"ping@openssh.com", b"0"));
            assert!(peer.transport.extensions().ping);
            assert_eq!(peer.transport.extensions().signatures, None);
        }
        peer.cut(&ext_info(b"server-sig-algs", signatures));
    }
}

#[test]
fn ext_info_out_of_place_is_cut() {
    let good = ext_info(b"unknown", b"\xff\0");
    let mut second = Peer::connected(Role::Server, Offer::default());
    second.ignored(&[msg::IGNORE, 0, 0, 0, 0]);
    second.cut(&good);
    for role in ROLES {
        Peer::authenticated(role, Offer::default()).cut(&good);
        let mut peer = Peer::authenticated(role, Offer::default());
        peer.kex().unwrap();
        peer.heard();
        peer.cut(&good);
        for malformed in [
            &good[..good.len() - 1],
            &[7, 0xff, 0xff, 0xff, 0xff],
            &[7, 0, 0, 0, 1],
            &[7],
        ] {
            Peer::connected(role, Offer::default()).cut(malformed);
        }
    }
}

#[test]
fn ext_info_is_sent_only_to_who_asked() {
    for ext_info in [false, true] {
        let offer = Offer {
            ext_info,
            ..Offer::default()
        };
        let mut peer = begun(Role::Server, offer);
        peer.say_kex_message();
        peer.poll().unwrap();
        let numbers: Vec<_> = peer.heard().iter().map(|payload| payload[0]).collect();
        assert_eq!(numbers, [31, 21, 7][..2 + usize::from(ext_info)]);
    }
}
