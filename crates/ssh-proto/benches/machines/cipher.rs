//! Protection of packets, in bytes of payload: every default cipher, and chacha20-poly1305.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use ssh_proto::algorithm::{Algorithms, Cipher, Mac};
use ssh_proto::crypto::cipher::{Opener, Sealer};

use crate::support::clear_packet;

/// Lines of a program, and a copy of a file.
const LENGTHS: [usize; 2] = [1024, 32 * 1024];

/// All keys. That they are the same each time changes nothing.
const KEY: [u8; 64] = [7; 64];

fn ciphers() -> Vec<Cipher> {
    let mut ciphers = Algorithms::default().cipher;
    ciphers.push(Cipher::ChaCha20Poly1305);
    ciphers
}

/// What goes with the cipher: the MAC that is preferred.
fn mac(cipher: Cipher) -> Option<Mac> {
    let preferred = Algorithms::default().mac.first().copied();
    preferred.filter(|_| !cipher.is_aead())
}

fn name(cipher: Cipher) -> String {
    match mac(cipher) {
        Some(mac) => format!("{}+{}", cipher.name(), mac.name()),
        None => cipher.name().to_owned(),
    }
}

fn sealer(cipher: Cipher) -> Sealer {
    let (key, iv) = (&KEY[..cipher.key_length()], &KEY[..cipher.iv_length()]);
    let mac = mac(cipher);
    Sealer::new(cipher, mac, key, iv, &KEY[..mac.map_or(0, Mac::length)]).unwrap()
}

fn opener(cipher: Cipher) -> Opener {
    let (key, iv) = (&KEY[..cipher.key_length()], &KEY[..cipher.iv_length()]);
    let mac = mac(cipher);
    Opener::new(cipher, mac, key, iv, &KEY[..mac.map_or(0, Mac::length)]).unwrap()
}

/// A packet in clear, with room for its tag.
fn packet(sealer: &Sealer, length: usize) -> Vec<u8> {
    let before = if sealer.length_is_padded() { 5 } else { 1 };
    let padded = (before + length + 4).next_multiple_of(sealer.block_size());
    let mut packet = clear_packet(&vec![0xa5; length], padded - before - length);
    packet.resize(packet.len() + sealer.tag_length(), 0);
    packet
}

pub(crate) fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    for (cipher, length) in rows() {
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(BenchmarkId::new(name(cipher), length), |bencher| {
            let mut sealer = sealer(cipher);
            let mut packet = packet(&sealer, length);
            let mut sequence = 0;
            // Over and over the same bytes: a cipher does not care what they are.
            bencher.iter(|| {
                sealer.seal(sequence, &mut packet).unwrap();
                sequence = sequence.wrapping_add(1);
            });
        });
    }
    group.finish();
}

pub(crate) fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    for (cipher, length) in rows() {
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(BenchmarkId::new(name(cipher), length), |bencher| {
            let (mut sealer, mut opener) = (sealer(cipher), opener(cipher));
            let clear = packet(&sealer, length);
            let (mut sealed, mut opened) = (0, 0);
            // Packets are opened in the order in which they were sealed.
            let seal = || {
                let mut packet = clear.clone();
                sealer.seal(sealed, &mut packet).unwrap();
                sealed = sealed.wrapping_add(1);
                packet
            };
            let open = |packet: &mut Vec<u8>| {
                let head = opener.head_length();
                opener.open_length(opened, &mut packet[..head]).unwrap();
                opener.open(opened, packet).unwrap();
                opened = opened.wrapping_add(1);
            };
            bencher.iter_batched_ref(seal, open, BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn rows() -> impl Iterator<Item = (Cipher, usize)> {
    let lengths = |cipher| LENGTHS.map(|length| (cipher, length));
    ciphers().into_iter().flat_map(lengths)
}
