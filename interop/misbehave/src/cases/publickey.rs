//! `publickey`: keys and signatures of users (RFC 4252 section 7, RFC 8332). What is wrong with them
//! fails like a key that nobody knows.
//!
//! Where a server has passwords only, no key opens it, and it need not read any.

use super::BROKEN;
use super::connection::{
    answers, at_once, cut, either, for_user, longer, numbers, short_by, strings,
};
use crate::case::{Case, Expect, Stage, Step};
use crate::client::signed;
use crate::end::End;
use crate::payload::{publickey_request, userauth_request};
use crate::peer::Peer;
use ssh_proto::algorithm::Signature;
use ssh_proto::crypto::random::SystemRandom;
use ssh_proto::key::PrivateKey;
use ssh_proto::msg;
use ssh_proto::wire::{Put, Reader};

const RFC: &str = "RFC 4252 section 7";

/// The order of the curve's group, least byte first (RFC 8032 section 5.1).
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The rows.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = names();
    cases.extend(blobs());
    cases.extend(forms());
    cases.extend(signatures());
    cases.extend(confusions());
    cases
}

fn case(id: &str, title: &str) -> Case {
    Case::new(format!("publickey-{id}"), title, RFC)
        .at(Stage::Served)
        .expects(failure())
}

fn failure() -> Expect {
    Expect::answer(msg::USERAUTH_FAILURE)
}

/// The user's key, the request to log in with it up to the signature, and what it is signed with.
struct Login {
    key: PrivateKey,
    algorithm: Signature,
    request: Vec<u8>,
}

impl Login {
    fn of(peer: &Peer) -> Result<Self, End> {
        Self::with(peer, peer.key()?)
    }

    fn with(peer: &Peer, key: PrivateKey) -> Result<Self, End> {
        let algorithm = key.public().signatures().first().copied();
        let algorithm = algorithm.ok_or(End::NoCredentials)?;
        let name = algorithm.name();
        let request = publickey_request(peer.user(), true, name, key.public().blob());
        Ok(Self {
            key,
            algorithm,
            request,
        })
    }

    /// The signature of `request`, as a blob.
    fn signature(&self, session_id: &[u8], request: &[u8]) -> Result<Vec<u8>, End> {
        let whole = signed(session_id, request.to_vec(), &self.key, self.algorithm)?;
        Ok(whole.get(request.len() + 4..).unwrap_or_default().to_vec())
    }

    /// The request with a signature of `make`'s choice.
    fn with_signature(mut self, signature: &[u8]) -> Vec<u8> {
        self.request.put_string(signature);
        self.request
    }
}

/// A row in which the user's right key comes with a signature that `spoil` makes of the right one.
fn spoilt(id: &str, title: &str, spoil: fn(&str, Vec<u8>) -> Vec<u8>) -> Case {
    let send = Step::act(move |peer| {
        let login = Login::of(peer)?;
        let blob = login.signature(peer.session_id(), &login.request)?;
        let mut reader = Reader::new(&blob);
        let name = reader.utf8().unwrap_or_default();
        let raw = reader.string().unwrap_or_default().to_vec();
        let payload = spoil(name, raw);
        let request = login.with_signature(&payload);
        peer.say(&request)
    });
    case(id, title).sends([send]).with_login()
}

/// What a signature is made over: the session identifier and the request.
type SessionAndText = (Vec<u8>, Vec<u8>);

/// A row in which the user's right key signs something else than it should.
fn misdirected(
    id: &str,
    title: &str,
    session_and_text: fn(&Peer, &Login) -> SessionAndText,
) -> Case {
    let send = Step::act(move |peer| {
        let login = Login::of(peer)?;
        let (session_id, text) = session_and_text(peer, &login);
        let signature = login.signature(&session_id, &text)?;
        let request = login.with_signature(&signature);
        peer.say(&request)
    });
    case(id, title).sends([send]).with_login()
}

fn signature_blob(name: &str, raw: &[u8]) -> Vec<u8> {
    strings([name.as_bytes(), raw])
}

/// A question about a key, behind the name of the method.
fn query(algorithm: impl AsRef<[u8]>, blob: &[u8]) -> Vec<u8> {
    [&[0][..], &strings([algorithm.as_ref(), blob])].concat()
}

/// A request with these fields behind the name of the method.
fn ask(fields: Vec<u8>) -> Step {
    for_user(move |user| {
        let start = userauth_request(user, "ssh-connection", "publickey");
        [start, fields.clone()].concat()
    })
}

fn ed25519(public: &[u8]) -> Vec<u8> {
    strings([b"ssh-ed25519".as_slice(), public])
}

fn rsa(exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
    strings([b"ssh-rsa".as_slice(), exponent, modulus])
}

/// An odd number of so many bytes, as an mpint has it.
fn odd_number(bytes: usize) -> Vec<u8> {
    let mut number = vec![0xa5; bytes];
    number.insert(0, 0);
    number
}

/// Names of algorithms that do not fit, or that nobody should take any more.
fn names() -> Vec<Case> {
    let key = ed25519(&[7; 32]);
    let big = rsa(&[1, 0, 1], &odd_number(256));
    let rows: [(&str, &str, Vec<u8>); 10] = [
        (
            "alg-other",
            "an Ed25519 key as rsa-sha2-256",
            query("rsa-sha2-256", &key),
        ),
        (
            "alg-curve",
            "an Ed25519 key as ECDSA",
            query("ecdsa-sha2-nistp256", &key),
        ),
        (
            "alg-sha1",
            "an RSA key as ssh-rsa, with SHA-1",
            query("ssh-rsa", &big),
        ),
        (
            "alg-dsa",
            "a key of ssh-dss",
            query("ssh-dss", &strings([b"ssh-dss".as_slice(), &[1]])),
        ),
        ("alg-empty", "an algorithm of no letters", query("", &key)),
        (
            "alg-huge",
            "an algorithm of 20,000 letters",
            query([b'a'; 20_000], &key),
        ),
        (
            "alg-not-utf8",
            "an algorithm that is not UTF-8",
            query([0xff, 0xfe], &key),
        ),
        (
            "alg-nul",
            "ssh-ed25519 and NUL",
            query("ssh-ed25519\0", &key),
        ),
        (
            "alg-certificate",
            "a plain key as a certificate",
            query("ssh-ed25519-cert-v01@openssh.com", &key),
        ),
        (
            "certificate",
            "a certificate as a plain key",
            query(
                "ssh-ed25519",
                &strings([
                    b"ssh-ed25519-cert-v01@openssh.com".as_slice(),
                    &[1; 32],
                    &[7; 32],
                ]),
            ),
        ),
    ];
    let row = |(id, title, payload): (&str, &str, Vec<u8>)| case(id, title).sends([ask(payload)]);
    rows.into_iter().map(row).collect()
}

/// Keys that are none. A server that ends the connection for them is right too.
fn blobs() -> Vec<Case> {
    let key = ed25519(&[7; 32]);
    let point = |first: u8, length: usize| [vec![first], vec![3; length]].concat();
    let ecdsa =
        |kind: &str, curve: &str, point: &[u8]| strings([kind.as_bytes(), curve.as_bytes(), point]);
    let p256 = "ecdsa-sha2-nistp256";
    let rsa_256 = "rsa-sha2-256";
    let rows: [(&str, &str, Vec<u8>); 22] = [
        ("key-empty", "a key of no bytes", query("ssh-ed25519", b"")),
        (
            "key-cut",
            "a key cut short",
            query("ssh-ed25519", &short_by(&key, 1)),
        ),
        (
            "key-name-only",
            "nothing but the type",
            query("ssh-ed25519", &cut(&key, 15)),
        ),
        (
            "key-trailing",
            "a byte behind a key",
            query("ssh-ed25519", &longer(&key)),
        ),
        (
            "key-4g",
            "a type of 4 GiB",
            query("ssh-ed25519", &[0xff; 40]),
        ),
        (
            "key-31",
            "an Ed25519 key of 31 bytes",
            query("ssh-ed25519", &ed25519(&[7; 31])),
        ),
        (
            "key-33",
            "an Ed25519 key of 33 bytes",
            query("ssh-ed25519", &ed25519(&[7; 33])),
        ),
        (
            "key-zero",
            "an Ed25519 key of low order",
            query("ssh-ed25519", &ed25519(&[0; 32])),
        ),
        (
            "curve-name",
            "nistp384 in a key of nistp256",
            query(p256, &ecdsa(p256, "nistp384", &point(4, 64))),
        ),
        (
            "curve-point",
            "a point that is not on the curve",
            query(p256, &ecdsa(p256, "nistp256", &point(4, 64))),
        ),
        (
            "curve-length",
            "a point of another curve's length",
            query(p256, &ecdsa(p256, "nistp256", &point(4, 96))),
        ),
        (
            "curve-infinity",
            "the point at infinity",
            query(p256, &ecdsa(p256, "nistp256", &[0])),
        ),
        (
            "curve-compressed",
            "a compressed point",
            query(p256, &ecdsa(p256, "nistp256", &point(2, 32))),
        ),
        (
            "rsa-e1",
            "RSA with exponent 1",
            query(rsa_256, &rsa(&[1], &odd_number(256))),
        ),
        (
            "rsa-e2",
            "RSA with exponent 2",
            query(rsa_256, &rsa(&[2], &odd_number(256))),
        ),
        (
            "rsa-e0",
            "RSA with exponent 0",
            query(rsa_256, &rsa(&[], &odd_number(256))),
        ),
        (
            "rsa-e-huge",
            "RSA with an exponent of 2,048 bits",
            query(rsa_256, &rsa(&odd_number(256), &odd_number(256))),
        ),
        (
            "rsa-512",
            "RSA of 512 bits",
            query(rsa_256, &rsa(&[1, 0, 1], &odd_number(64))),
        ),
        (
            "rsa-16392",
            "RSA of 16,392 bits",
            query(rsa_256, &rsa(&[1, 0, 1], &odd_number(2049))),
        ),
        (
            "rsa-negative",
            "RSA with a negative modulus",
            query(rsa_256, &rsa(&[1, 0, 1], &[0xa5; 256])),
        ),
        (
            "rsa-zeros",
            "RSA with zeros before its modulus",
            query(
                rsa_256,
                &rsa(&[1, 0, 1], &[vec![0; 8], odd_number(256)].concat()),
            ),
        ),
        (
            "rsa-n0",
            "RSA with modulus 0",
            query(rsa_256, &rsa(&[1, 0, 1], &[])),
        ),
    ];
    let row = |(id, title, payload): (&str, &str, Vec<u8>)| {
        case(id, title)
            .sends([ask(payload)])
            .expects(either([failure(), BROKEN]))
            .ours(failure())
    };
    rows.into_iter().map(row).collect()
}

fn forms() -> Vec<Case> {
    let whole = query("ssh-ed25519", &ed25519(&[7; 32]));
    let promised = [
        &[1][..],
        &strings([b"ssh-ed25519".as_slice(), &ed25519(&[7; 32])]),
    ]
    .concat();
    let rows: [(&str, &str, Vec<u8>); 7] = [
        ("cut-flag", "cut behind the method", Vec::new()),
        ("cut-algorithm", "cut inside the algorithm", cut(&whole, 8)),
        ("cut-key", "cut inside the key", short_by(&whole, 1)),
        ("trailing", "a byte behind the question", longer(&whole)),
        (
            "no-signature",
            "a signature is promised and missing",
            promised.clone(),
        ),
        (
            "signature-4g",
            "a signature of 4 GiB",
            [promised.clone(), numbers([u32::MAX])].concat(),
        ),
        (
            "signature-trailing",
            "a byte behind the signature",
            longer(&[promised, strings([b"x".as_slice()])].concat()),
        ),
    ];
    let row = |(id, title, payload): (&str, &str, Vec<u8>)| {
        case(id, title)
            .sends([ask(payload)])
            .expects(either([BROKEN, failure()]))
            .daemon(BROKEN)
            // It has passwords only, and reads no keys.
            .proxy(failure())
    };
    rows.into_iter().map(row).collect()
}

/// The right key with wrong signatures.
fn signatures() -> Vec<Case> {
    let mut cases = vec![
        spoilt("sig-empty", "a signature of no bytes", |_, _| Vec::new()),
        spoilt(
            "sig-flipped",
            "a signature with a bit turned",
            |name, raw| {
                let mut raw = raw;
                if let Some(byte) = raw.first_mut() {
                    *byte ^= 1;
                }
                signature_blob(name, &raw)
            },
        ),
        spoilt(
            "sig-short",
            "a signature without its last byte",
            |name, raw| signature_blob(name, &short_by(&raw, 1)),
        ),
        spoilt("sig-long", "a signature with one byte more", |name, raw| {
            signature_blob(name, &longer(&raw))
        }),
        spoilt("sig-zeros", "a signature of zeros", |name, raw| {
            signature_blob(name, &vec![0; raw.len()])
        }),
        spoilt("sig-raw", "a signature without its name", |_, raw| raw),
        spoilt(
            "sig-trailing",
            "a byte behind the signature's parts",
            |name, raw| longer(&signature_blob(name, &raw)),
        ),
        spoilt("sig-name", "a signature under another name", |_, raw| {
            signature_blob("ecdsa-sha2-nistp256", &raw)
        }),
        spoilt(
            "sig-name-sha1",
            "a signature that says ssh-rsa",
            |_, raw| signature_blob("ssh-rsa", &raw),
        ),
        spoilt("sig-huge", "a signature of 20,000 bytes", |name, _| {
            signature_blob(name, &[1; 20_000])
        }),
    ];
    // Other keys than Ed25519 are not malleable so; there it is one more wrong signature.
    let malleable = spoilt(
        "sig-malleable",
        "a signature with S + L for S",
        |name, raw| {
            let mut raw = raw;
            let mut carry = 0;
            for (byte, order) in raw.iter_mut().skip(32).zip(ORDER) {
                let [high, low] = (u16::from(*byte) + u16::from(order) + carry).to_be_bytes();
                (*byte, carry) = (low, u16::from(high));
            }
            signature_blob(name, &raw)
        },
    );
    cases.push(malleable.by("RFC 8032 section 5.1.7"));
    cases.extend([
        misdirected("sig-session", "signed for another session", |_, login| {
            (vec![0x5a; 32], login.request.clone())
        }),
        misdirected("sig-no-session", "signed for no session", |_, login| {
            (Vec::new(), login.request.clone())
        }),
        misdirected("sig-user", "signed for another user", |peer, login| {
            (
                of_session(peer),
                text("other", "ssh-connection", "publickey", true, login),
            )
        }),
        misdirected(
            "sig-service",
            "signed for another service",
            |peer, login| {
                (
                    of_session(peer),
                    text(&peer.user(), "ssh-other", "publickey", true, login),
                )
            },
        ),
        misdirected("sig-method", "signed for another method", |peer, login| {
            (
                of_session(peer),
                text(&peer.user(), "ssh-connection", "hostbased", true, login),
            )
        }),
        misdirected("sig-flag", "signed as a question", |peer, login| {
            (
                of_session(peer),
                text(&peer.user(), "ssh-connection", "publickey", false, login),
            )
        }),
    ]);
    cases
}

fn of_session(peer: &Peer) -> Vec<u8> {
    peer.session_id().to_vec()
}

fn text(user: &str, service: &str, method: &str, signed: bool, login: &Login) -> Vec<u8> {
    let mut text = userauth_request(user, service, method);
    text.put_bool(signed);
    text.put_string(login.algorithm.name().as_bytes());
    text.put_string(login.key.public().blob());
    text
}

fn stranger() -> PrivateKey {
    PrivateKey::generate_ed25519(&mut SystemRandom)
}

/// A question about the user's key.
fn ask_about(peer: &mut Peer) -> Result<(), End> {
    let login = Login::of(peer)?;
    let (name, blob) = (login.algorithm.name(), login.key.public().blob());
    let question = publickey_request(peer.user(), false, name, blob);
    peer.say(&question)
}

/// One key is shown and another one signs, and too many keys.
fn confusions() -> Vec<Case> {
    let confusion = |id: &str, title: &str| case(id, title).by("CVE-2024-45337").with_login();
    vec![
        confusion(
            "asked-then-other",
            "asked about the right key, and signed by another",
        )
        .sends([Step::act(ask_about)])
        .sends([Step::act(|peer| {
            peer.wait_for(&[msg::USERAUTH_PK_OK, msg::USERAUTH_FAILURE])?;
            let login = Login::with(peer, stranger())?;
            let signature = login.signature(peer.session_id(), &login.request)?;
            peer.say(&login.with_signature(&signature))
        })]),
        confusion(
            "shown-other",
            "the right key is shown, and another one signs",
        )
        .sends([Step::act(|peer| {
            let login = Login::of(peer)?;
            let other = Login::with(peer, stranger())?;
            let signature = other.signature(peer.session_id(), &login.request)?;
            peer.say(&login.with_signature(&signature))
        })]),
        confusion(
            "unsigned",
            "the right key with the flag and no signature's bytes",
        )
        .sends([Step::act(|peer| {
            let login = Login::of(peer)?;
            peer.say(&login.with_signature(b""))
        })]),
        confusion("user-nul", "the right key, for a user with NUL").sends([Step::act(|peer| {
            let login = Login::of(peer)?;
            let user = format!("{}\0", peer.user());
            let request = text(&user, "ssh-connection", "publickey", true, &login);
            let request = signed(peer.session_id(), request, &login.key, login.algorithm)?;
            peer.say(&request)
        })]),
        case("questions", "21 questions about the right key")
            .sends(at_once([Step::act(ask_about).times(21)]))
            .expects(BROKEN)
            .with_login(),
        case(
            "questions-unknown",
            "21 questions about a key that nobody knows",
        )
        .sends(at_once([
            ask(query("ssh-ed25519", &ed25519(&[7; 32]))).times(21)
        ]))
        .expects(BROKEN),
        case("asked-then-login", "asked about the right key, then in")
            .sends([Step::act(|peer| {
                ask_about(peer)?;
                peer.wait_for(&[msg::USERAUTH_PK_OK, msg::USERAUTH_FAILURE])?;
                let request = peer.login_request()?;
                peer.say(&request)
            })])
            .expects(answers(&[msg::USERAUTH_SUCCESS]))
            .with_login(),
    ]
}
