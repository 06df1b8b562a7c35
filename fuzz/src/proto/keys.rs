//! Keys in all their forms, and signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh_proto::algorithm::Signature;
use ssh_proto::key::{PrivateKey, PublicKey, parse_authorized_keys};

use super::sample_keys;
use crate::input::Input;

/// What stands in front of PRIVATE KEY.
pub(super) const LABELS: [&str; 4] = ["OPENSSH ", "", "RSA ", "EC "];

/// Public key blobs, private keys in text and as the inside of each kind of block, lines of
/// `authorized_keys`, and pinned fingerprints: what can be read says the same in every other form,
/// and a private key makes signatures that its public half takes.
pub fn keys(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(5) {
        0 => {
            if let Ok(key) = PublicKey::from_blob(input.rest()) {
                public(&key);
            }
        }
        1 => private(input.rest()),
        2 => {
            let label = input.pick(&LABELS);
            let content = STANDARD.encode(input.rest());
            let text = format!(
                "-----BEGIN {label}PRIVATE KEY-----\n{content}\n-----END {label}PRIVATE KEY-----\n"
            );
            private(text.as_bytes());
        }
        3 => {
            if let Ok(key) = parse_authorized_keys(input.rest()) {
                public(&key);
            }
        }
        _ => pin(input),
    }
}

fn public(key: &PublicKey) {
    assert_eq!(PublicKey::from_blob(key.blob()).as_ref(), Ok(key));
    let line = format!(
        "{} {} comment\n",
        key.key_type(),
        STANDARD.encode(key.blob())
    );
    assert_eq!(parse_authorized_keys(line.as_bytes()).as_ref(), Ok(key));
    for pin in forms(key) {
        assert_eq!(key.matches_fingerprint(&pin), Some(true), "{pin}");
    }
    assert!(!key.signatures().is_empty());
    assert_eq!(key.rsa_bits().is_some(), key.key_type() == "ssh-rsa");
    assert!(
        key.rsa_bits()
            .is_none_or(|bits| (1024..=8192).contains(&bits))
    );
}

fn private(text: &[u8]) {
    let Ok(key) = PrivateKey::from_pem(text) else {
        return;
    };
    public(key.public());
    for algorithm in key.public().signatures() {
        // A key whose numbers do not fit may refuse to sign; what it signs must hold.
        if let Ok(signature) = key.sign(*algorithm, b"message") {
            assert_eq!(
                key.public().verify(*algorithm, b"message", &signature),
                Ok(())
            );
        }
    }
}

fn pin(mut input: Input<'_>) {
    let key = sample_keys::private(input.pick(Signature::ALL)).public();
    let forms = forms(key);
    let mut pin = match input.below(forms.len() + 1) {
        at if at < forms.len() => forms[at].clone().into_bytes(),
        _ => Vec::new(),
    };
    let at = input.number() as usize % (pin.len() + 1);
    pin.truncate(pin.len() - usize::from(input.byte()).min(pin.len()));
    pin.splice(at.min(pin.len()).., input.rest().iter().copied());
    let Ok(pin) = String::from_utf8(pin) else {
        return;
    };
    let same = |form: &String| *form == pin || (is_hex(form) && form.eq_ignore_ascii_case(&pin));
    assert_eq!(
        key.matches_fingerprint(&pin) == Some(true),
        forms.iter().any(same),
        "{pin}"
    );
}

/// True where case does not count: hex digits, with the name of a hash in front or not.
fn is_hex(form: &str) -> bool {
    let digits = form
        .split_once(':')
        .filter(|(name, _)| name.len() > 2)
        .map_or(form, |it| it.1);
    digits
        .bytes()
        .all(|byte| byte == b':' || byte.is_ascii_hexdigit())
}

/// Every form in which this key may be pinned, hex in small letters.
fn forms(key: &PublicKey) -> Vec<String> {
    use ssh_proto::crypto::digest::{sha1, sha256};
    let hex = |bytes: &[u8], separator: &str| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .join(separator)
    };
    let unpadded = |bytes: &[u8]| STANDARD.encode(bytes).trim_end_matches('=').to_owned();
    let (sha1, sha256) = (sha1(key.blob()), sha256(key.blob()));
    let md5 = key.fingerprint_md5();
    let sha256 = [
        unpadded(&sha256),
        STANDARD.encode(sha256),
        hex(&sha256, ""),
        hex(&sha256, ":"),
    ];
    let mut forms = vec![
        format!("MD5:{md5}"),
        md5,
        hex(&sha1, ":"),
        format!("SHA1:{}", hex(&sha1, ":")),
        format!("SHA1:{}", unpadded(&sha1)),
        format!("SHA1:{}", STANDARD.encode(sha1)),
    ];
    forms.extend(sha256.iter().map(|form| format!("SHA256:{form}")));
    forms.extend(sha256);
    forms
}

/// Signatures over a message by keys of every type: one of ours that was not changed holds, and no
/// other does; any bytes at all as key, algorithm and signature are only refused.
pub fn signatures(data: &[u8]) {
    let mut input = Input::new(data);
    let algorithm = input.pick(Signature::ALL);
    if input.flag() {
        let Ok(key) = PublicKey::from_blob(input.bytes()) else {
            return;
        };
        let message = input.short();
        let _ = key.verify(algorithm, message, input.rest());
        return;
    }
    let key = sample_keys::private(algorithm);
    let message = input.short();
    let good = key.sign(algorithm, message).expect("a key of ours signs");
    let (mut signature, mut other) = (good.clone(), message.to_vec());
    match input.below(6) {
        1 => {
            let at = input.number() as usize % signature.len();
            signature[at] ^= input.byte();
        }
        2 => signature.truncate(input.number() as usize % (signature.len() + 1)),
        3 => signature.extend(input.short()),
        4 => other.extend(input.short()),
        5 => signature = input.rest().to_vec(),
        _ => {}
    }
    let holds = key.public().verify(algorithm, &other, &signature).is_ok();
    if signature == good {
        assert_eq!(holds, other == message);
    } else {
        assert!(
            !holds || is_forged(algorithm, &signature),
            "another signature for one message"
        );
    }
    for wrong in Signature::ALL.iter().filter(|it| **it != algorithm) {
        assert!(key.public().verify(*wrong, message, &good).is_err());
    }
}

/// A blob with a signature of zeros, good with `cfg(fuzzing)`.
fn is_forged(algorithm: Signature, blob: &[u8]) -> bool {
    let rest = blob
        .get(4 + algorithm.name().len() + 4..)
        .unwrap_or_default();
    rest.iter().all(|byte| *byte == 0)
}
