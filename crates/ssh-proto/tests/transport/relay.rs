//! Four transports as in the proxy, client ↔ [server | client] ↔ daemon, joined by the rule of its
//! relay: packets are polled from one leg while the other has room, and key exchanges always go on.

use ssh_proto::crypto::random::SeededRandom;
use ssh_proto::transport::{Event, Transport};

use crate::support::{CLIENT, Pair, Pieces, SERVER, below, payload};

struct Relay {
    client_leg: Pair,
    daemon_leg: Pair,
}

impl Relay {
    fn new(seed: u64) -> Self {
        let mut legs = [Pair::authenticated(), Pair::authenticated()];
        for (number, leg) in (0..).zip(&mut legs) {
            for (direction, wire) in (0..).zip(&mut leg.wires) {
                let seed = 100 * seed + 10 * number + direction;
                wire.pieces = Pieces::Random(SeededRandom::new(seed));
                wire.capacity = 2000;
            }
        }
        let [client_leg, daemon_leg] = legs;
        Self {
            client_leg,
            daemon_leg,
        }
    }

    /// The ends under the applications: 0 is the client, 1 the daemon.
    fn end(&mut self, end: usize) -> &mut Transport {
        match end {
            0 => &mut self.client_leg.ends[CLIENT],
            _ => &mut self.daemon_leg.ends[SERVER],
        }
    }

    /// What an application got.
    fn got(&self, end: usize) -> &[Vec<u8>] {
        match end {
            0 => &self.client_leg.got[CLIENT],
            _ => &self.daemon_leg.got[SERVER],
        }
    }

    /// The proxy starts a rekey on a leg if neither is keying.
    fn rekey(&mut self, leg: usize) {
        let now = self.client_leg.now;
        let inner = [
            &mut self.client_leg.ends[SERVER],
            &mut self.daemon_leg.ends[CLIENT],
        ];
        if inner.iter().all(|end| !end.is_keying()) {
            inner.into_iter().nth(leg).unwrap().start_rekey(now);
        }
    }

    /// One piece on every wire, and whatever can be done with it. True if anything moved.
    fn step(&mut self) -> bool {
        let mut moved = false;
        for leg in [&mut self.client_leg, &mut self.daemon_leg] {
            moved |= leg.carry(CLIENT);
            moved |= leg.carry(SERVER);
        }
        self.client_leg.poll(CLIENT);
        self.daemon_leg.poll(SERVER);
        moved | self.forward()
    }

    fn forward(&mut self) -> bool {
        let now = self.client_leg.now;
        let client = &mut self.client_leg.ends[SERVER];
        let daemon = &mut self.daemon_leg.ends[CLIENT];
        let up = forward(client, daemon, now);
        up | forward(daemon, client, now)
    }
}

/// The rule of the proxy's relay. True if a packet was handed on.
fn forward(source: &mut Transport, sink: &mut Transport, now: std::time::Instant) -> bool {
    let mut moved = false;
    loop {
        if sink.room() == 0 && !source.peer_is_keying() {
            return moved;
        }
        match source.poll(now).unwrap() {
            Event::Packet => sink.send(&[source.packet()]),
            _ => return moved,
        }
        moved = true;
    }
}

#[test]
fn both_sides_rekey_with_data_in_flight() {
    for seed in 0..8 {
        let mut random = SeededRandom::new(seed);
        let mut relay = Relay::new(seed);
        let mut sent = [Vec::new(), Vec::new()];
        for _ in 0..4000 {
            let side = below(&mut random, 2);
            let now = relay.client_leg.now;
            match below(&mut random, 40) {
                0 => relay.end(side).start_rekey(now),
                1 => {
                    relay.end(0).start_rekey(now);
                    relay.end(1).start_rekey(now);
                }
                2 => relay.rekey(side),
                3..6 => {
                    let leg = match side {
                        0 => &mut relay.client_leg,
                        _ => &mut relay.daemon_leg,
                    };
                    let capacity = match below(&mut random, 2) {
                        0 => 0,
                        _ => 1 + below(&mut random, 5000),
                    };
                    leg.wires[below(&mut random, 2)].capacity = capacity;
                }
                6..24 if relay.end(side).room() > 0 => {
                    let length = below(&mut random, 34_000);
                    let payload = payload(sent[side].len(), length);
                    relay.end(side).send(&[&payload]);
                    sent[side].push(payload);
                }
                _ => {
                    relay.step();
                }
            }
        }
        for leg in [&mut relay.client_leg, &mut relay.daemon_leg] {
            for wire in &mut leg.wires {
                wire.capacity = 5000;
                wire.pieces = Pieces::Whole;
            }
        }
        while relay.step() {}
        for (side, sent) in sent.iter().enumerate() {
            assert!(sent.len() > 20);
            assert!(relay.got(1 - side) == sent, "seed {seed}: deadlock");
            assert!(!relay.end(side).is_keying());
        }
    }
}

#[test]
fn rekeys_of_one_leg_do_not_fill_the_other_beyond_its_room() {
    let mut relay = Relay::new(1);
    for wire in &mut relay.client_leg.wires {
        wire.capacity = usize::MAX;
        wire.pieces = Pieces::Whole;
    }
    relay.daemon_leg.wires[CLIENT].capacity = 0;
    let now = relay.client_leg.now;
    let mut waiting = 0;
    for round in 0..100 {
        relay.end(0).start_rekey(now);
        for mark in 0..4 {
            relay.end(0).send(&[&payload(mark, 30_000)]);
        }
        for _ in 0..20 {
            relay.step();
        }
        let output = relay.daemon_leg.ends[CLIENT].output().len();
        if round == 10 {
            waiting = output;
        }
    }
    let output = relay.daemon_leg.ends[CLIENT].output().len();
    assert_eq!(output, waiting);
    assert!((256 * 1024..300 * 1024).contains(&output), "{output}");
}
