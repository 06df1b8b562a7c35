//! `packet`: the binary packet protocol (RFC 4253 section 6), in the clear and under each construction
//! of cipher and MAC.

use super::{BROKEN, BROKEN_OR_FORGED, FORGED, broken_or_alive, faulty, raw, say};
use crate::case::{Case, Expect, Stage, Step};
use crate::end::End;
use crate::kex::Offer;
use crate::packet::{At, Fault, frame};
use crate::payload::ignore;
use crate::peer::Peer;
use ssh_proto::algorithm::{Cipher, Mac};
use ssh_proto::transport::Role;

const RFC: &str = "RFC 4253 section 6";
const SIZES: &str = "RFC 4253 section 6.1";
/// 255 and 1 make 0 in a byte.
const OVERFLOW: &str = "CVE-2026-46597";
const INTEGRITY: &str = "RFC 4253 section 6.4";

/// packet_length of the longest packet that everybody has to take (RFC 4253 section 6.1), counted
/// without itself.
const LONGEST: usize = 35_000 - 4;

/// The rows.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = clear_lengths();
    cases.extend(clear_paddings());
    cases.extend(clear_amounts());
    for construction in CONSTRUCTIONS {
        cases.extend(construction.lengths());
        cases.extend(construction.paddings());
        cases.extend(construction.forgeries());
        cases.extend(construction.orders());
    }
    cases
}

// In the clear.

fn in_clear(id: &str, title: &str) -> Case {
    Case::new(format!("packet-clear-{id}"), title, RFC).at(Stage::Identified)
}

/// A good first packet of a peer that does not know strict key exchange.
fn kexinit() -> Vec<u8> {
    Offer::default().loose().kexinit(Role::Client).encode()
}

/// What is wrong with packet_length is seen before the rest has come.
fn clear_lengths() -> Vec<Case> {
    let rows: [(&str, &str, u32); 12] = [
        ("length-0", "packet_length 0", 0),
        ("length-1", "packet_length 1", 1),
        ("length-4", "packet_length 4", 4),
        ("length-5", "packet_length 5", 5),
        (
            "length-12-unaligned",
            "packet_length 13, not a multiple",
            13,
        ),
        (
            "length-16-unaligned",
            "packet_length 16, a multiple without itself",
            16,
        ),
        ("length-35004", "packet_length 35,004", 35_004),
        ("length-64k", "packet_length 64 KiB", 0x0000_fffc),
        ("length-256k", "packet_length 256 KiB and 4", 0x0004_0004),
        ("length-16m", "packet_length 16 MiB", 0x00ff_fffc),
        ("length-2g", "packet_length 2^31", 0x8000_0004),
        ("length-4g", "packet_length 2^32 - 4", 0xffff_fffc),
    ];
    let row = |(id, title, length): (&str, &str, u32)| {
        let bytes = [&length.to_be_bytes()[..], &[4; 12]].concat();
        let case = in_clear(id, title).sends([raw(bytes)]);
        // RFC 4253 section 6.1 leaves longer ones to the receiver; nobody needs 256 KiB here.
        if (35_004..=0x0004_0000).contains(&length) {
            case.expects(Expect::Either(vec![BROKEN, Expect::Waits]))
                .ours(BROKEN)
        } else {
            case
        }
    };
    let mut cases: Vec<Case> = rows.into_iter().map(row).collect();
    cases.push(
        in_clear("length-head-alone", "2^32 - 1, and nothing behind it").sends([raw([0xff; 4])]),
    );
    cases.push(
        in_clear("end-in-length", "the end inside packet_length")
            .sends([raw([0, 0, 0]), Step::Finish])
            .expects(Expect::Over),
    );
    cases.push(
        in_clear("end-in-packet", "the end inside a packet")
            .sends([faulty(kexinit(), Fault::Short(1)), Step::Finish])
            .expects(Expect::Over),
    );
    cases
}

fn clear_paddings() -> Vec<Case> {
    let nothing = ignore(b"");
    let lie = |byte| faulty(&nothing, Fault::PaddingLength(byte));
    let length = frame(&nothing, 6).len() - 4;
    let all = u8::try_from(length - 1).unwrap_or_default();
    let rows = [
        ("padding-0", "padding of 0 bytes", lie(0)),
        ("padding-3", "padding of 3 bytes", lie(3)),
        ("padding-255", "padding beyond the packet", lie(255)),
        ("padding-all", "padding and no payload", lie(all)),
        (
            "padding-one-more",
            "padding as long as the packet",
            lie(all + 1),
        ),
        ("empty", "a payload of 0 bytes", say([])),
        (
            "kexinit-padding-0",
            "a KEXINIT that takes its padding for payload",
            { faulty(kexinit(), Fault::PaddingLength(0)) },
        ),
    ];
    let row = |(id, title, step)| {
        in_clear(id, title)
            .offering(Offer::default().loose())
            .sends([step])
    };
    let mut cases: Vec<Case> = rows.into_iter().map(row).collect();
    cases.push(
        in_clear("padding-most", "as much padding as there may be")
            .offering(Offer::default().loose())
            .sends([faulty(ignore(b"x"), Fault::MostPadding)])
            .expects(Expect::Ignored),
    );
    cases
}

fn clear_amounts() -> Vec<Case> {
    let either = || Expect::Either(vec![BROKEN, Expect::Ignored]);
    let loose = |id, title| in_clear(id, title).offering(Offer::default().loose());
    vec![
        loose("longest", "a packet of 35,000 bytes")
            .sends([say(filling(LONGEST))])
            .expects(Expect::Ignored),
        loose("longest-and-more", "a packet of 35,008 bytes")
            .sends([say(filling(LONGEST + 8))])
            .expects(broken_or_alive())
            .ours(BROKEN),
        loose("bytewise", "a packet byte by byte")
            .sends([
                Step::Chunks(1),
                say(ignore(b"slowly")),
                Step::Chunks(usize::MAX),
            ])
            .expects(Expect::Ignored),
        // It goes on for ever, and who sends it is nobody yet.
        loose("flood-packets", "1,000 packets and no KEXINIT")
            .sends([say(ignore(b"")).times(1000)])
            .expects(either())
            .ours(BROKEN),
        loose("flood-bytes", "2 MB and no KEXINIT")
            .sends([say(filling(LONGEST)).times(60)])
            .expects(either())
            .ours(BROKEN),
    ]
}

/// An IGNORE that makes a packet in the clear of this packet_length.
fn filling(length: usize) -> Vec<u8> {
    // padding_length, the least padding, the message's number and the length of its string.
    ignore(&vec![0; length - 1 - 4 - 1 - 4])
}

// Under keys.

/// A way to protect packets.
struct Construction {
    id: &'static str,
    cipher: Cipher,
    mac: Mac,
    tag: usize,
    /// The sequence number is part of it.
    sequence: bool,
}

const CONSTRUCTIONS: [Construction; 7] = [
    Construction {
        id: "gcm128",
        cipher: Cipher::Aes128Gcm,
        mac: Mac::HmacSha256,
        tag: 16,
        sequence: false,
    },
    Construction {
        id: "gcm256",
        cipher: Cipher::Aes256Gcm,
        mac: Mac::HmacSha256,
        tag: 16,
        sequence: false,
    },
    Construction {
        id: "chacha",
        cipher: Cipher::ChaCha20Poly1305,
        mac: Mac::HmacSha256,
        tag: 16,
        sequence: true,
    },
    Construction {
        id: "ctr128-sha256",
        cipher: Cipher::Aes128Ctr,
        mac: Mac::HmacSha256,
        tag: 32,
        sequence: true,
    },
    Construction {
        id: "ctr256-sha512",
        cipher: Cipher::Aes256Ctr,
        mac: Mac::HmacSha512,
        tag: 64,
        sequence: true,
    },
    Construction {
        id: "ctr128-sha256etm",
        cipher: Cipher::Aes128Ctr,
        mac: Mac::HmacSha256Etm,
        tag: 32,
        sequence: true,
    },
    Construction {
        id: "ctr192-sha512etm",
        cipher: Cipher::Aes192Ctr,
        mac: Mac::HmacSha512Etm,
        tag: 64,
        sequence: true,
    },
];

/// What stays the same behind one packet of one hundred bytes in these rows.
fn hundred() -> Vec<u8> {
    ignore(&[b'x'; 100])
}

impl Construction {
    fn case(&self, id: &str, title: &str, source: &'static str) -> Case {
        let title = format!("{}: {title}", self.name());
        Case::new(format!("packet-{}-{id}", self.id), title, source)
            .at(Stage::Keyed)
            .offering(Offer::default().under(self.cipher, self.mac))
    }

    fn name(&self) -> String {
        if self.cipher.is_aead() {
            self.cipher.name().to_owned()
        } else {
            format!("{}, {}", self.cipher.name(), self.mac.name())
        }
    }

    fn hides_length(&self) -> bool {
        let behind = matches!(self.mac, Mac::HmacSha256 | Mac::HmacSha512);
        self.cipher == Cipher::ChaCha20Poly1305 || (!self.cipher.is_aead() && behind)
    }

    /// Sealed by who has the keys: a length that cannot be may be told before the code is checked, or
    /// hidden until then.
    fn lengths(&self) -> Vec<Case> {
        let rows: [(&str, &str, u32); 8] = [
            ("length-0", "packet_length 0", 0),
            ("length-4", "packet_length 4", 4),
            ("length-unaligned", "packet_length 33, not a multiple", 33),
            ("length-256k", "packet_length 256 KiB and 32", 0x0004_0020),
            ("length-16m", "packet_length 16 MiB", 0x0100_0000),
            ("length-2g", "packet_length 2^31", 0x8000_0000),
            ("length-4g", "packet_length 2^32 - 16", 0xffff_fff0),
            ("length-most", "packet_length 2^32 - 1", u32::MAX),
        ];
        let row = |(id, title, length): (&str, &str, u32)| {
            self.case(id, title, "CVE-2008-5161")
                .sends([faulty(hundred(), Fault::Length(length))])
                .expects(BROKEN_OR_FORGED)
                .ours(BROKEN)
        };
        rows.into_iter().map(row).collect()
    }

    fn paddings(&self) -> Vec<Case> {
        let lie = |byte| faulty(hundred(), Fault::PaddingLength(byte));
        let broken = [
            ("padding-0", "padding of 0 bytes", lie(0)),
            ("padding-3", "padding of 3 bytes", lie(3)),
            ("padding-255", "padding beyond the packet", lie(255)),
            ("empty", "a payload of 0 bytes", say([])),
        ];
        let row = |(id, title, step)| {
            let source = if id == "padding-255" { OVERFLOW } else { RFC };
            self.case(id, title, source).sends([step])
        };
        let mut cases: Vec<Case> = broken.into_iter().map(row).collect();
        // In counter mode nobody can seal it; there only packet_length can lie.
        if self.cipher.is_aead() {
            let one_more = Step::act(|peer| {
                let padding = peer.packets().padding(hundred().len()) + 1;
                peer.say_with(&hundred(), Fault::Padding(padding))
            });
            cases.push(row(("unaligned", "one byte of padding too many", one_more)));
        }
        cases.push(
            self.case("padding-most", "as much padding as there may be", RFC)
                .sends([faulty(hundred(), Fault::MostPadding)])
                .expects(Expect::Ignored),
        );
        cases.push(
            self.case("longest", "a packet of 35,000 bytes", SIZES)
                .sends([Step::act(longest)])
                .expects(Expect::Ignored),
        );
        cases.push(
            self.case("bytewise", "a packet byte by byte", RFC)
                .sends([Step::Chunks(1), say(ignore(b"slowly"))])
                .sends([Step::Chunks(usize::MAX)])
                .expects(Expect::Ignored),
        );
        cases
    }

    /// One bit of a packet is turned on its way.
    fn forgeries(&self) -> Vec<Case> {
        let flip = |at, bit| faulty(hundred(), Fault::Flipped(at, bit));
        let rows = [
            (
                "flip-padding-length",
                "a bit of padding_length",
                At::Start(4),
            ),
            ("flip-number", "a bit of the message's number", At::Start(5)),
            ("flip-payload", "a bit of the payload", At::Start(50)),
            ("flip-padding", "a bit of the padding", At::End(self.tag)),
            (
                "flip-tag-first",
                "a bit of the code's first byte",
                At::End(self.tag - 1),
            ),
            (
                "flip-tag-middle",
                "a bit of the code's middle",
                At::End(self.tag / 2),
            ),
            ("flip-tag-last", "a bit of the code's last byte", At::End(0)),
        ];
        let row = |(id, title, at)| {
            self.case(id, title, INTEGRITY)
                .sends([flip(at, 0)])
                .expects(FORGED)
        };
        let mut cases: Vec<Case> = rows.into_iter().map(row).collect();
        cases.push(
            self.case(
                "flip-length-high",
                "the highest bit of packet_length",
                INTEGRITY,
            )
            .sends([flip(At::Start(0), 7)])
            .expects(BROKEN_OR_FORGED)
            .ours(BROKEN),
        );
        // Whatever the length is taken for, there is enough behind it to check the code.
        cases.push(
            self.case(
                "flip-length-low",
                "a bit that makes packet_length another",
                INTEGRITY,
            )
            .sends([flip(At::Start(3), 5), raw([0; 256])])
            .expects(FORGED),
        );
        cases
    }

    /// Each packet is all right; what is not is which one comes when. Under a stream cipher that hides
    /// packet_length, it is read as any number then.
    fn orders(&self) -> Vec<Case> {
        let out_of_order = || {
            if self.hides_length() {
                BROKEN_OR_FORGED
            } else {
                FORGED
            }
        };
        let mut cases = vec![
            self.case("replayed", "a packet twice", INTEGRITY)
                .sends([faulty(hundred(), Fault::Twice)])
                .expects(out_of_order()),
            self.case("lost", "a packet that is missing", INTEGRITY)
                .sends([faulty(hundred(), Fault::Lost), say(hundred())])
                .expects(out_of_order()),
            self.case("swapped", "two packets in the other order", INTEGRITY)
                .sends([Step::act(swapped)])
                .expects(out_of_order()),
            self.case(
                "short",
                "a packet without its last four bytes, and the next",
                INTEGRITY,
            )
            .sends([faulty(hundred(), Fault::Short(4)), say(hundred())])
            .expects(FORGED),
            self.case(
                "no-tag",
                "a packet without its code, and the next",
                INTEGRITY,
            )
            .sends([faulty(hundred(), Fault::Short(self.tag)), say(hundred())])
            .expects(FORGED),
            // Where packet_length is encrypted it is any number.
            self.case("clear", "a packet in the clear", INTEGRITY)
                .sends([Step::Clear(hundred()), raw([0; 256])])
                .expects(BROKEN_OR_FORGED),
            self.case("end-in-packet", "the end inside a packet", RFC)
                .sends([faulty(hundred(), Fault::Short(1)), Step::Finish])
                .expects(Expect::Over),
        ];
        if self.sequence {
            cases.push(
                self.case("sequence", "the next sequence number", INTEGRITY)
                    .sends([faulty(hundred(), Fault::Ahead(1))])
                    .expects(out_of_order()),
            );
        }
        cases
    }
}

/// A packet of 35,000 bytes in all, or a little less where blocks are longer.
fn longest(peer: &mut Peer) -> Result<(), End> {
    let room = LONGEST / 16 * 16 - 64;
    peer.say(&ignore(&vec![0; room]))
}

fn swapped(peer: &mut Peer) -> Result<(), End> {
    let first = peer.packets().seal(&hundred())?;
    let second = peer.packets().seal(&hundred())?;
    peer.say_raw(&second)?;
    peer.say_raw(&first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::clear;

    #[test]
    fn the_longest_packet_is_as_long_as_the_rfc_says() {
        assert_eq!(clear(&filling(LONGEST)).len(), 35_000);
    }
}
