//! One key for each signature algorithm. They were made for nothing but this.

use std::sync::OnceLock;

use ssh_proto::algorithm::Signature;
use ssh_proto::crypto::random::SeededRandom;
use ssh_proto::key::PrivateKey;
use ssh_proto::wire::Put;

/// Files of ssh-keygen, for every algorithm but Ed25519.
pub(super) const FILES: [&str; 4] = [
    include_str!("../../keys/p256"),
    include_str!("../../keys/p384"),
    include_str!("../../keys/p521"),
    include_str!("../../keys/rsa"),
];

/// The other forms of private keys: the last is of ssh-keygen, all others are of openssl.
pub(super) const OTHER_FORMS: [(&str, &str); 6] = [
    ("RSA ", include_str!("../../keys/rsa1024-pkcs1")),
    ("", include_str!("../../keys/rsa-pkcs8")),
    ("EC ", include_str!("../../keys/p256-sec1")),
    ("", include_str!("../../keys/p256-pkcs8")),
    ("", include_str!("../../keys/ed25519-pkcs8")),
    ("OPENSSH ", include_str!("../../keys/ed25519")),
];

/// The key that makes signatures of this algorithm.
pub(super) fn private(algorithm: Signature) -> &'static PrivateKey {
    static KEYS: OnceLock<Vec<PrivateKey>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let mut keys = vec![PrivateKey::generate_ed25519(&mut SeededRandom::new(3))];
        keys.extend(FILES.map(|file| PrivateKey::from_pem(file).expect("a key of ours")));
        keys
    });
    let fits = |key: &&PrivateKey| key.public().signatures().contains(&algorithm);
    keys.iter().find(fits).expect("a key for each algorithm")
}

/// The blob of its public half.
pub(super) fn public(algorithm: Signature) -> Vec<u8> {
    private(algorithm).public().blob().to_vec()
}

/// A signature that `cfg(fuzzing)` takes for good.
pub(super) fn forged(algorithm: Signature) -> Vec<u8> {
    match algorithm {
        Signature::Ed25519 => super::clear::forged(algorithm, 64),
        Signature::RsaSha256 | Signature::RsaSha512 => super::clear::forged(algorithm, 256),
        _ => {
            // r and s of 0, each an empty mpint.
            let mut blob = Vec::new();
            blob.put_string(algorithm.name().as_bytes());
            blob.put_string(&[0; 8]);
            blob
        }
    }
}
