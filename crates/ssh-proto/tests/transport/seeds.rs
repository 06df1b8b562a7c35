//! Two transports over many seeds: ciphers, limits for rekeying, splits and blocked wires as a seed
//! says. What is sent arrives equal and in its order, whoever starts key exchanges in between.

use ssh_proto::algorithm::{Algorithms, Cipher, Mac};
use ssh_proto::crypto::random::SeededRandom;
use ssh_proto::transport::{Config, RekeyLimits};

use crate::support::{ENDS, Pair, Pieces, below, client_config, fast, payload, server_config};

/// How many there are to try; each is a number from 0.
const SEEDS: u64 = 2_000;

/// Things that happen in each.
const STEPS: usize = 80;

/// A configuration with limits that are reached soon, or never.
fn limited(config: Config, random: &mut SeededRandom) -> Config {
    let usual = RekeyLimits::default();
    config.with_rekey_limits(match below(random, 3) {
        0 => usual,
        1 => RekeyLimits {
            bytes: 3_000 + below(random, 20_000) as u64,
            ..usual
        },
        _ => RekeyLimits {
            packets: 5 + below(random, 40) as u64,
            ..usual
        },
    })
}

fn pair(random: &mut SeededRandom) -> Pair {
    let algorithms = Algorithms {
        cipher: vec![Cipher::ALL[below(random, Cipher::ALL.len())]],
        mac: vec![Mac::ALL[below(random, Mac::ALL.len())]],
        ..fast()
    };
    let client = limited(client_config(&algorithms), random);
    let server = limited(server_config(&algorithms), random);
    let mut pair = Pair::new(client, server);
    for wire in &mut pair.wires {
        let seed = below(random, usize::MAX) as u64;
        wire.pieces = Pieces::Random(SeededRandom::new(seed));
    }
    pair.connect().authenticate()
}

/// One thing that happens: a send, a rekey, a wire that blocks or opens, or nothing but time to carry.
fn step(pair: &mut Pair, random: &mut SeededRandom, sent: &mut [Vec<Vec<u8>>; 2]) {
    for end in ENDS {
        if pair.ends[end].rekey_due(pair.now) {
            pair.ends[end].start_rekey(pair.now);
        }
    }
    let end = below(random, 2);
    match below(random, 12) {
        0 => pair.ends[end].start_rekey(pair.now),
        1 => pair.wires[end].capacity = [0, 100, 3000, usize::MAX][below(random, 4)],
        2..6 if pair.ends[end].room() > 0 => {
            let length = [40, 1500, 6000][below(random, 3)];
            let payload = payload(sent[end].len(), below(random, length));
            pair.ends[end].send(&[&payload]);
            sent[end].push(payload);
        }
        _ => {
            for _ in 0..below(random, 8) {
                pair.step();
            }
        }
    }
}

#[test]
fn payloads_arrive_equal_and_in_their_order_whatever_the_seed() {
    let (mut payloads, mut exchanges) = (0, 0);
    for seed in 0..SEEDS {
        let mut random = SeededRandom::new(seed);
        let mut pair = pair(&mut random);
        let mut sent = [Vec::new(), Vec::new()];
        let mut was_keying = false;
        for _ in 0..STEPS {
            step(&mut pair, &mut random, &mut sent);
            let is_keying = pair.ends.iter().any(|end| end.is_keying());
            exchanges += usize::from(is_keying && !was_keying);
            was_keying = is_keying;
        }
        for wire in &mut pair.wires {
            wire.capacity = usize::MAX;
        }
        pair.drive();
        assert_eq!(pair.errors, [None, None], "seed {seed}");
        for end in ENDS {
            assert!(pair.got[1 - end] == sent[end], "seed {seed}");
            assert!(!pair.ends[end].is_keying(), "seed {seed}");
            payloads += sent[end].len();
        }
    }
    // The seeds do what they are for.
    assert!(
        payloads > 40_000 && exchanges > 4_000,
        "{payloads} {exchanges}"
    );
}
