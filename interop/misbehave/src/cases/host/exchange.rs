//! `hostkex`: a server's reply, field by field: its key, its value, its signature (RFC 4253 section 8,
//! RFC 5656 section 4, RFC 8731, RFC 8709, draft-ietf-sshm-mlkem-hybrid-kex).

use super::{NO_HANDSHAKE, NO_HOST_KEY, row};
use crate::case::{Case, Expect, Stage, Step};
use crate::cases::exchange::points;
use crate::cases::{BROKEN, KEX_FAILED, say};
use crate::end::{End, KEY_EXCHANGE_FAILED, PROTOCOL_ERROR};
use crate::host::HostCase;
use crate::kex::Offer;
use crate::payload::{kex_init, string_message};
use crate::peer::Peer;
use ssh_proto::algorithm::{Kex, Signature};
use ssh_proto::crypto::random::SystemRandom;
use ssh_proto::key::PrivateKey;
use ssh_proto::msg;
use ssh_proto::wire::{Put, Reader};

const RFC: &str = "RFC 4253 section 8";
const X25519: &str = "RFC 8731 section 3";
const HYBRID: &str = "draft-ietf-sshm-mlkem-hybrid-kex";
const ED25519: &str = "RFC 8709 section 6";

/// ML-KEM-768's ciphertext, in front of the X25519 value of the hybrid.
const ML_KEM_CIPHERTEXT: usize = 1088;

/// RFC 4253 section 11.1: a host whose key is not the right one.
const HOST_KEY_NOT_VERIFIABLE: u32 = 9;

/// A row's id and title, and what it makes of what is right.
type Edit<T> = (&'static str, &'static str, fn(&mut T));

/// The fields of KEX_ECDH_REPLY.
struct Reply {
    key: Vec<u8>,
    public: Vec<u8>,
    signature: Vec<u8>,
}

impl Reply {
    fn of(payload: &[u8]) -> Result<Self, End> {
        const BAD: End = End::Garbled("our own reply");
        let mut reader = Reader::new(payload.get(1..).unwrap_or_default());
        let mut field = || reader.string().map(<[u8]>::to_vec).map_err(|_| BAD);
        Ok(Self {
            key: field()?,
            public: field()?,
            signature: field()?,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut payload = vec![msg::KEX_ECDH_REPLY];
        for field in [&self.key, &self.public, &self.signature] {
            payload.put_string(field);
        }
        payload
    }
}

/// The rows.
pub(super) fn cases() -> Vec<HostCase> {
    let mut cases = x25519();
    cases.extend(hybrid());
    cases.extend(keys());
    cases.extend(signatures());
    cases.extend(forms());
    cases
}

fn case(id: &str, title: &str, source: &'static str) -> Case {
    row("hostkex", id, title, source)
        .at(Stage::Offered)
        .offering(Offer::default().by(Kex::Curve25519))
}

/// A reply that is right but for this; the exchange hash helps to sign what is wrong.
fn reply(change: impl Fn(&mut Reply, &[u8]) -> Result<(), End> + Send + Sync + 'static) -> Step {
    Step::act(move |peer| {
        let mut reply = Reply::of(&peer.reply()?)?;
        // The first exchange hash is the session identifier (RFC 4253 section 7.2).
        let hash = peer.session_id().to_vec();
        change(&mut reply, &hash)?;
        peer.say(&reply.encode())
    })
}

/// A reply of which the row changes one field.
fn changed(change: fn(&mut Reply)) -> Step {
    reply(move |reply, _| {
        change(reply);
        Ok(())
    })
}

fn x25519() -> Vec<HostCase> {
    let low = points().map(|(id, point)| (format!("low-{id}"), "a point of low order", point));
    let lengths = [0, 1, 31, 33, 64, 30_000].map(|length| {
        let id = format!("length-{length}");
        (id, "a value of another length", vec![9; length])
    });
    let one = |(id, title, value): (String, &str, Vec<u8>)| {
        case(&format!("x25519-{id}"), &format!("X25519: {title}"), X25519)
            .sends([reply(move |reply, _| {
                reply.public.clone_from(&value);
                Ok(())
            })])
            .expects(KEX_FAILED)
            .seen(NO_HANDSHAKE)
    };
    low.chain(lengths).map(one).collect()
}

fn hybrid() -> Vec<HostCase> {
    let rows: [Edit<Reply>; 9] = [
        ("empty", "no value", |reply| reply.public.clear()),
        ("one-less", "a byte too few", |reply| {
            reply.public.pop();
        }),
        ("one-more", "a byte too many", |reply| reply.public.push(9)),
        ("no-x25519", "the ciphertext alone", |reply| {
            reply.public.truncate(ML_KEM_CIPHERTEXT)
        }),
        ("x25519-alone", "the X25519 value alone", |reply| {
            reply.public.drain(..ML_KEM_CIPHERTEXT);
        }),
        ("swapped", "the X25519 value first", |reply| {
            reply.public.rotate_right(32)
        }),
        ("low-order", "the X25519 value 0", |reply| {
            let value = reply.public.iter_mut().skip(ML_KEM_CIPHERTEXT);
            value.for_each(|byte| *byte = 0);
        }),
        // Decapsulation gives another secret, which the signature tells.
        ("ciphertext", "another ciphertext", |reply| {
            reply.public.iter_mut().take(1).for_each(|byte| *byte ^= 1);
        }),
        ("zeros", "a ciphertext of zeros", |reply| {
            reply
                .public
                .iter_mut()
                .take(ML_KEM_CIPHERTEXT)
                .for_each(|byte| *byte = 0);
        }),
    ];
    let one = |(id, title, change): Edit<Reply>| {
        let title = format!("ML-KEM and X25519: {title}");
        case(&format!("mlkem-{id}"), &title, HYBRID)
            .offering(Offer::default().by(Kex::MlKem768X25519))
            .sends([changed(change)])
            .expects(KEX_FAILED)
            .seen(NO_HANDSHAKE)
    };
    rows.into_iter().map(one).collect()
}

/// A key by its type and its fields.
fn blob(kind: &str, fields: &[&[u8]]) -> Vec<u8> {
    let mut blob = Vec::new();
    blob.put_string(kind.as_bytes());
    for field in fields {
        blob.put_string(field);
    }
    blob
}

fn keys() -> Vec<HostCase> {
    let rows: [Edit<Reply>; 11] = [
        ("empty", "no key", |reply| reply.key.clear()),
        ("cut", "a key cut short", |reply| {
            reply.key.pop();
        }),
        ("longer", "a byte behind the key", |reply| reply.key.push(0)),
        ("length-31", "a key of 31 bytes", |reply| {
            reply.key = blob("ssh-ed25519", &[&[9; 31]])
        }),
        ("length-33", "a key of 33 bytes", |reply| {
            reply.key = blob("ssh-ed25519", &[&[9; 33]])
        }),
        ("unknown", "an unknown type", |reply| {
            reply.key = blob("x@example.com", &[&[9; 32]])
        }),
        ("no-type", "no type", |reply| {
            reply.key = blob("", &[&[9; 32]])
        }),
        ("dsa", "a DSA key", |reply| {
            reply.key = blob("ssh-dss", &[&[9; 128], &[9; 20], &[9; 128], &[9; 128]]);
        }),
        ("rsa", "an RSA key where Ed25519 was agreed", |reply| {
            reply.key = blob(
                "ssh-rsa",
                &[&[1, 0, 1], &[&[0, 0x91][..], &[0x55; 255]].concat()],
            );
        }),
        (
            "certificate",
            "a certificate where a key was agreed",
            |reply| {
                reply.key = blob("ssh-ed25519-cert-v01@openssh.com", &[&[9; 32], &[9; 32]]);
            },
        ),
        // With it, a signature that verifies for every message can be made.
        ("identity", "the neutral point as key", |reply| {
            let mut point = [0; 32];
            point[0] = 1;
            reply.key = blob("ssh-ed25519", &[&point]);
        }),
    ];
    let one = |(id, title, change): Edit<Reply>| {
        case(&format!("key-{id}"), title, RFC)
            .sends([changed(change)])
            .expects(KEX_FAILED)
            .seen(NO_HANDSHAKE)
    };
    let mut cases: Vec<HostCase> = rows.into_iter().map(one).collect();
    cases.push(
        case(
            "key-other",
            "another key, and all right by it",
            "RFC 4251 section 4.1",
        )
        .sends([Step::act(sign_by_another_key)])
        .expects(Expect::Cut(&[HOST_KEY_NOT_VERIFIABLE]))
        .seen(NO_HOST_KEY),
    );
    cases
}

/// The reply and NEWKEYS of somebody else.
fn sign_by_another_key(peer: &mut Peer) -> Result<(), End> {
    peer.use_host_key(PrivateKey::generate_ed25519(&mut SystemRandom));
    peer.say_reply()?;
    peer.say_newkeys()
}

fn sign(key: &PrivateKey, message: &[u8]) -> Result<Vec<u8>, End> {
    let signature = key.sign(Signature::Ed25519, message);
    signature.map_err(|_| End::NothingInCommon("host key"))
}

/// The signature blob of 64 bytes, or however many.
fn of_bytes(name: &str, bytes: &[u8]) -> Vec<u8> {
    blob(name, &[bytes])
}

/// The bytes behind the name.
fn bytes_of(signature: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(signature);
    let bytes = reader.string().and_then(|_| reader.string());
    bytes.unwrap_or_default().to_vec()
}

/// The order of Ed25519's group: what is added to S gives the same point (RFC 8032 section 5.1.7).
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// S + L, little-endian.
fn add_order(signature: &[u8]) -> Vec<u8> {
    let mut bytes = bytes_of(signature);
    let mut carry = 0_u16;
    for (byte, order) in bytes.iter_mut().skip(32).zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        let [low, high] = sum.to_le_bytes();
        *byte = low;
        carry = u16::from(high);
    }
    of_bytes("ssh-ed25519", &bytes)
}

fn signatures() -> Vec<HostCase> {
    let rows: [Edit<Reply>; 14] = [
        ("empty", "no signature", |reply| reply.signature.clear()),
        ("zeros", "64 zeros", |reply| {
            reply.signature = of_bytes("ssh-ed25519", &[0; 64])
        }),
        ("bit", "another bit", |reply| {
            reply
                .signature
                .iter_mut()
                .last()
                .into_iter()
                .for_each(|byte| *byte ^= 1);
        }),
        ("cut", "cut short", |reply| {
            reply.signature.pop();
        }),
        ("longer", "a byte behind it", |reply| {
            reply.signature.push(0)
        }),
        ("bytes-63", "63 bytes", |reply| {
            let bytes = bytes_of(&reply.signature);
            reply.signature = of_bytes("ssh-ed25519", bytes.get(..63).unwrap_or_default());
        }),
        ("bytes-65", "65 bytes", |reply| {
            let bytes = [&bytes_of(&reply.signature)[..], &[0]].concat();
            reply.signature = of_bytes("ssh-ed25519", &bytes);
        }),
        ("bytes-none", "no bytes", |reply| {
            reply.signature = of_bytes("ssh-ed25519", &[])
        }),
        ("malleable", "S and the order of the group", |reply| {
            reply.signature = add_order(&reply.signature);
        }),
        ("name-rsa", "the name of another algorithm", |reply| {
            reply.signature = of_bytes("rsa-sha2-256", &bytes_of(&reply.signature));
        }),
        ("name-none", "no name", |reply| {
            reply.signature = of_bytes("", &bytes_of(&reply.signature));
        }),
        ("name-unknown", "an unknown name", |reply| {
            reply.signature = of_bytes("x@example.com", &bytes_of(&reply.signature));
        }),
        ("name-certificate", "the name of a certificate", |reply| {
            let name = "ssh-ed25519-cert-v01@openssh.com";
            reply.signature = of_bytes(name, &bytes_of(&reply.signature));
        }),
        ("huge", "30,000 bytes", |reply| {
            reply.signature = of_bytes("ssh-ed25519", &[1; 30_000]);
        }),
    ];
    let one = |(id, title, change): Edit<Reply>| {
        case(&format!("signature-{id}"), title, ED25519)
            .sends([changed(change)])
            .expects(KEX_FAILED)
            .seen(NO_HANDSHAKE)
    };
    let mut cases: Vec<HostCase> = rows.into_iter().map(one).collect();
    let other = |id: &str, title: &str, step: Step| {
        case(&format!("signature-{id}"), title, RFC)
            .sends([step])
            .expects(KEX_FAILED)
            .seen(NO_HANDSHAKE)
    };
    cases.push(other(
        "other-key",
        "by another key than the one that is shown",
        {
            reply(|reply, hash| {
                let key = PrivateKey::generate_ed25519(&mut SystemRandom);
                reply.signature = sign(&key, hash)?;
                Ok(())
            })
        },
    ));
    cases.push(other("other-value", "right, but for another value", {
        changed(|reply| reply.public = [&[9][..], &[0; 31]].concat())
    }));
    cases
}

fn forms() -> Vec<HostCase> {
    let rows: [Edit<Vec<u8>>; 6] = [
        ("number-alone", "nothing but the number", |payload| {
            payload.truncate(1)
        }),
        ("key-cut", "cut in the key", |payload| payload.truncate(20)),
        ("no-value", "nothing behind the key", |payload| {
            payload.truncate(56)
        }),
        ("one-less", "a byte too few", |payload| {
            payload.pop();
        }),
        ("one-more", "a byte too many", |payload| payload.push(0)),
        ("length-4g", "a key of 4 GiB", |payload| {
            payload
                .iter_mut()
                .skip(1)
                .take(4)
                .for_each(|byte| *byte = 0xff);
        }),
    ];
    let one = |(id, title, change): Edit<Vec<u8>>| {
        case(&format!("reply-{id}"), &format!("the reply: {title}"), RFC)
            .sends([Step::act(move |peer| {
                let mut payload = peer.reply()?;
                change(&mut payload);
                peer.say(&payload)
            })])
            .expects(BROKEN)
            .seen(NO_HANDSHAKE)
    };
    let mut cases: Vec<HostCase> = rows.into_iter().map(one).collect();
    let disorder = |id: &str, title: &str, steps: Vec<Step>| {
        case(id, title, RFC)
            .sends(steps)
            .expects(Expect::Cut(&[PROTOCOL_ERROR, KEY_EXCHANGE_FAILED]))
            .proxy(BROKEN)
            .seen(NO_HANDSHAKE)
    };
    let again = || say(string_message(msg::KEX_ECDH_REPLY, "x"));
    cases.push(disorder(
        "reply-twice",
        "a second reply",
        vec![Step::act(Peer::say_reply), again()],
    ));
    cases.push(disorder(
        "init",
        "the client's own message",
        vec![say(kex_init(&[9; 32]))],
    ));
    cases.push(disorder(
        "newkeys-early",
        "NEWKEYS before the reply",
        vec![say([msg::NEWKEYS])],
    ));
    cases.push(disorder("newkeys-longer", "a byte behind NEWKEYS", {
        vec![Step::act(Peer::say_reply), say([msg::NEWKEYS, 0])]
    }));
    cases
}
