//! Every combination of algorithms connects, both ways, however the bytes arrive.

use ssh_proto::Error;
use ssh_proto::algorithm::{Algorithms, Cipher, Kex, Mac, Signature};
use ssh_proto::crypto::random::SeededRandom;
use ssh_proto::transport::{Event, RekeyLimits};

use crate::support::{
    CLIENT, ENDS, LONGEST_PAYLOAD, Pair, Pieces, SERVER, clear_payloads, client_config, fast, keys,
    payload, read_disconnect, server_config,
};

fn pair(algorithms: &Algorithms) -> Pair {
    Pair::of(algorithms, RekeyLimits::default())
}

/// Sends payloads of these lengths both ways, and expects them.
fn exchange(pair: &mut Pair, lengths: &[usize]) {
    for end in ENDS {
        let payloads: Vec<_> = (0..).zip(lengths).map(|(i, n)| payload(i, *n)).collect();
        for payload in &payloads {
            pair.ends[end].send(&[payload]);
        }
        pair.drive();
        assert_eq!(pair.errors, [None, None]);
        assert!(pair.take_got(1 - end) == payloads);
    }
}

#[test]
fn every_kex_with_every_host_key_algorithm() {
    for kex in Kex::ALL {
        for host_key in Signature::ALL {
            let algorithms = Algorithms {
                kex: vec![*kex],
                host_key: vec![*host_key],
                ..fast()
            };
            let mut pair = pair(&algorithms).connect().authenticate();
            for end in ENDS {
                let negotiated = *pair.ends[end].negotiated().unwrap();
                assert_eq!((negotiated.kex, negotiated.host_key), (*kex, *host_key));
                assert!(negotiated.strict);
            }
            let id = pair.ends[CLIENT].session_id();
            assert_eq!(id, pair.ends[SERVER].session_id());
            assert!(!id.is_empty());
            let key = keys::signing(*host_key);
            assert_eq!(pair.ends[CLIENT].host_key(), Some(key.public()));
            exchange(&mut pair, &[1, 100]);
        }
    }
}

#[test]
fn every_cipher_with_every_mac_carries_payloads_of_all_lengths() {
    let lengths: Vec<usize> = (9..60).chain([32_768, LONGEST_PAYLOAD]).collect();
    for cipher in Cipher::ALL {
        for mac in Mac::ALL {
            let algorithms = Algorithms {
                cipher: vec![*cipher],
                mac: vec![*mac],
                ..fast()
            };
            let mut pair = pair(&algorithms).connect().authenticate();
            let agreed = (*cipher, (!cipher.is_aead()).then_some(*mac));
            for end in ENDS {
                let negotiated = pair.ends[end].negotiated().unwrap();
                assert_eq!(negotiated.to_server(), agreed);
                assert_eq!(negotiated.to_client(), agreed);
            }
            exchange(&mut pair, &lengths);
            for length in 1..9 {
                pair.ends[CLIENT].send(&[&[94; 8][..length]]);
                pair.drive();
                assert_eq!(pair.take_got(SERVER), [vec![94; length]]);
            }
        }
    }
}

#[test]
fn the_directions_have_keys_of_their_own() {
    // Were they the same, both ends would encrypt the same packet alike.
    let mut pair = Pair::authenticated();
    let message = payload(0, 100);
    let up = pair.sealed(CLIENT, &message);
    let down = pair.sealed(SERVER, &message);
    assert_ne!(up[4..], down[4..]);
    pair.inject(CLIENT, &up);
    assert_eq!(pair.errors[CLIENT], Some(Error::Integrity));
}

#[test]
fn one_byte_at_a_time() {
    for cipher in Cipher::ALL {
        let algorithms = Algorithms {
            cipher: vec![*cipher],
            ..fast()
        };
        let mut pair = pair(&algorithms);
        for wire in &mut pair.wires {
            wire.pieces = Pieces::OneByte;
            wire.capacity = 7;
        }
        let mut pair = pair.connect().authenticate();
        exchange(&mut pair, &[1, 2, 300]);
    }
}

#[test]
fn pieces_of_all_sizes() {
    for seed in 0..20 {
        let mut pair = pair(&Algorithms::default());
        for (wire, seed) in pair.wires.iter_mut().zip([seed, seed + 1000]) {
            wire.pieces = Pieces::Random(SeededRandom::new(seed));
            wire.capacity = 500;
        }
        let mut pair = pair.connect().authenticate();
        exchange(&mut pair, &[5, 4000, 1, 33_000, 17]);
    }
}

#[test]
fn the_same_seeds_say_the_same_bytes() {
    let said = || Pair::connected().sealed(CLIENT, b"x");
    assert_eq!(said(), said());
}

#[test]
fn nothing_in_common_is_told_with_both_lists() {
    let other = |change: fn(&mut Algorithms)| {
        let mut algorithms = fast();
        change(&mut algorithms);
        algorithms
    };
    let cases = [
        ("kex algorithm", other(|a| a.kex = vec![Kex::EcdhP256])),
        (
            "host key algorithm",
            other(|a| a.host_key = vec![Signature::EcdsaP256]),
        ),
        ("cipher", other(|a| a.cipher = vec![Cipher::Aes256Gcm])),
    ];
    for (what, algorithms) in cases {
        let mut pair = Pair::new(client_config(&algorithms), server_config(&fast()));
        pair.carry(CLIENT);
        pair.poll(SERVER);
        let error = pair.errors[SERVER].clone().unwrap();
        let said = clear_payloads(&pair.intercept(SERVER));
        assert_eq!(read_disconnect(&said[1]), (3, error.to_string()));
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("no common {what}: ours ")),
            "{text}"
        );
    }
}

#[test]
fn identifications_are_known_to_both() {
    let pair = Pair::connected();
    assert_eq!(
        pair.ends[CLIENT].peer_identification(),
        Some(&b"SSH-2.0-server"[..])
    );
    assert_eq!(
        pair.ends[SERVER].peer_identification(),
        Some(&b"SSH-2.0-client"[..])
    );
}

#[test]
fn the_server_says_which_signatures_it_takes_and_that_it_answers_pings() {
    let pair = Pair::connected();
    let said = pair.ends[CLIENT].extensions();
    assert_eq!(said.signatures.as_deref(), Some(Signature::ALL));
    assert!(said.ping);
    assert_eq!(pair.ends[SERVER].extensions().signatures, None);
}

#[test]
fn a_host_key_that_is_not_accepted_ends_the_connection() {
    let mut pair = Pair::new(client_config(&fast()), server_config(&fast()));
    for from in [CLIENT, SERVER, CLIENT] {
        pair.carry(from);
        pair.poll(SERVER);
        if from == SERVER {
            assert_eq!(pair.ends[CLIENT].poll(pair.now), Ok(Event::NeedInput));
        }
    }
    pair.carry(SERVER);
    let client = &mut pair.ends[CLIENT];
    assert_eq!(client.poll(pair.now), Ok(Event::HostKey));
    assert_eq!(client.poll(pair.now), Ok(Event::HostKey));
    assert_eq!(client.session_id(), b"");
    client.fail(Error::HostKey("not the one".into()));
    pair.poll(CLIENT);
    pair.cut(CLIENT);
    assert!(pair.ends[CLIENT].accept_host_key().is_err());
}
