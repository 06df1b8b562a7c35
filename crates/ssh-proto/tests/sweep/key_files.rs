//! Keys as they are in messages and in files: blobs, private key files, lines of `authorized_keys`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh_proto::algorithm::Signature;
use ssh_proto::key::{PrivateKey, PublicKey, parse_authorized_keys};

use crate::sample::{Law, Sample, report, sweep};
use crate::support::keys;

/// One of each kind; RSA has two algorithms and one kind of key.
const KINDS: [Signature; 5] = [
    Signature::Ed25519,
    Signature::EcdsaP256,
    Signature::EcdsaP384,
    Signature::EcdsaP521,
    Signature::RsaSha512,
];

#[test]
fn blobs() {
    let mut samples = Vec::new();
    for kind in KINDS {
        let layout = if kind == Signature::Ed25519 {
            "ss"
        } else {
            "sss"
        };
        let blob = keys::signing(kind).public().blob().to_vec();
        samples.push(Sample::new(kind.name(), layout, blob));
    }
    let cases = sweep(
        &samples,
        |_| (),
        |(), bytes| PublicKey::from_blob(bytes).into(),
    );
    report(cases, 800);
}

/// What is behind the END line does not matter, nor whether that is a line.
#[test]
fn text_of_private_key_files() {
    let mut samples = Vec::new();
    for kind in KINDS {
        let text = keys::pem(kind);
        let end = text.trim_end().len();
        let sample = Sample::new(kind.name(), "*", text.as_bytes().to_vec());
        samples.push(sample.under(Law::OpenFrom(end)));
    }
    let cases = sweep(
        &samples,
        |_| (),
        |(), bytes| PrivateKey::from_pem(bytes).into(),
    );
    report(cases, 4000);
}

/// The content of OpenSSH's container (PROTOCOL.key), which base64 hides.
#[test]
fn content_of_private_key_files() {
    let mut samples = Vec::new();
    for kind in KINDS {
        let fields = match kind {
            Signature::Ed25519 => "sss",
            Signature::RsaSha512 => "sssssss",
            _ => "ssss",
        };
        let public = if kind == Signature::Ed25519 {
            "(ss)"
        } else {
            "(sss)"
        };
        // Padding is part of the last string, up to its end.
        let layout = format!("qwbbb sss n {public} (uu{fields}s*)");
        let bytes = content(keys::pem(kind));
        samples.push(Sample::new(kind.name(), &layout, bytes));
    }
    let cases = sweep(
        &samples,
        |_| (),
        |(), bytes| {
            let text = format!(
                "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
                STANDARD.encode(bytes)
            );
            PrivateKey::from_pem(text).into()
        },
    );
    report(cases, 3000);
}

/// What a file has between its first line and its last.
fn content(pem: &str) -> Vec<u8> {
    let lines = pem.lines().filter(|line| !line.starts_with('-'));
    STANDARD.decode(lines.collect::<String>()).unwrap()
}

/// The comment behind a key does not matter.
#[test]
fn lines_of_authorized_keys() {
    let mut samples = Vec::new();
    for kind in KINDS {
        let key = keys::signing(kind);
        let (name, blob) = (key.public().key_type(), key.public().blob());
        let line = format!("no-pty {name} {}", STANDARD.encode(blob));
        let end = line.len();
        let line = format!("{line} me@example.com\n").into_bytes();
        samples.push(Sample::new(name, "*", line).under(Law::OpenFrom(end)));
    }
    let cases = sweep(
        &samples,
        |_| (),
        |(), bytes| parse_authorized_keys(bytes).into(),
    );
    report(cases, 1200);
}

/// Every shorter or longer fingerprint than one that was pinned is another key's.
#[test]
fn fingerprints() {
    let key = keys::ed25519(1);
    let public = key.public();
    let mut samples = Vec::new();
    for (name, pin) in [
        ("MD5", public.fingerprint_md5()),
        ("SHA1", public.fingerprint_sha1()),
        ("SHA256", public.fingerprint_sha256()),
    ] {
        samples.push(Sample::new(name, "*", pin.clone().into_bytes()));
        let prefixed = format!("{name}:{pin}").into_bytes();
        samples.push(Sample::new(name, "*", prefixed));
    }
    let cases = sweep(
        &samples,
        |_| (),
        |(), bytes| {
            let pin = String::from_utf8_lossy(bytes);
            let matched = public.matches_fingerprint(&pin) == Some(true);
            matched.then_some(()).ok_or(()).into()
        },
    );
    report(cases, 300);
}
