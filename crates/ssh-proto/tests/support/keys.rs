//! Keys: Ed25519 from a seed, all others from ssh-keygen, once for each test program.

use std::fs;
use std::path::Path;
use std::process::{self, Command};
use std::sync::OnceLock;

use ssh_proto::algorithm::Signature;
use ssh_proto::crypto::random::SeededRandom;
use ssh_proto::key::PrivateKey;

/// The key of this seed.
pub(crate) fn ed25519(seed: u64) -> PrivateKey {
    PrivateKey::generate_ed25519(&mut SeededRandom::new(seed))
}

/// A key that makes signatures of this algorithm, the same one each time.
pub(crate) fn signing(algorithm: Signature) -> PrivateKey {
    match algorithm {
        Signature::Ed25519 => ed25519(100),
        _ => PrivateKey::from_pem(pem(algorithm)).unwrap(),
    }
}

/// The file of such a key, as ssh-keygen writes it.
pub(crate) fn pem(algorithm: Signature) -> &'static str {
    static ED25519: OnceLock<String> = OnceLock::new();
    static RSA: OnceLock<String> = OnceLock::new();
    static P256: OnceLock<String> = OnceLock::new();
    static P384: OnceLock<String> = OnceLock::new();
    static P521: OnceLock<String> = OnceLock::new();
    let (pem, kind, bits) = match algorithm {
        Signature::Ed25519 => (&ED25519, "ed25519", "256"),
        Signature::RsaSha256 | Signature::RsaSha512 => (&RSA, "rsa", "2048"),
        Signature::EcdsaP256 => (&P256, "ecdsa", "256"),
        Signature::EcdsaP384 => (&P384, "ecdsa", "384"),
        Signature::EcdsaP521 => (&P521, "ecdsa", "521"),
    };
    pem.get_or_init(|| keygen(kind, bits))
}

fn keygen(kind: &str, bits: &str) -> String {
    let name = format!("key-{}-{kind}-{bits}", process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-b", bits, "-N", "", "-f"])
        .arg(&path)
        .output()
        .expect("ssh-keygen is needed: install the package openssh-client");
    assert!(output.status.success(), "{output:?}");
    let pem = fs::read_to_string(&path).unwrap();
    fs::remove_file(path.with_extension("pub")).unwrap();
    fs::remove_file(path).unwrap();
    pem
}
