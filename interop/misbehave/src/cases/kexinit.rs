//! `kexinit`: SSH_MSG_KEXINIT (RFC 4253 section 7.1), its lists and fields, and the guess behind it.

use super::{BROKEN, KEX_FAILED, broken_or_alive, good_kexinit, kexinit, say};
use crate::case::{Case, Expect, Stage, Step};
use crate::end::End;
use crate::kex::{KexInit, List, Offer};
use crate::payload::kex_init;
use crate::peer::Peer;
use ssh_proto::algorithm::{Cipher, Kex, Mac};

const RFC: &str = "RFC 4253 section 7.1";
const GUESS: &str = "RFC 4253 section 7";
const NAMES: &str = "RFC 4251 section 5";

/// The rows.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (list, id) in List::ALL.into_iter().zip(LISTS) {
        if matters(list) {
            cases.extend(nothing_in_common(list, id));
        }
        cases.extend(malformed_names(list, id));
        cases.extend(odd_names(list, id));
    }
    cases.extend(lengths());
    cases.extend(fields());
    cases.extend(guesses());
    cases.extend(order());
    cases
}

const LISTS: [&str; 10] = [
    "kex",
    "hostkey",
    "cipher-cs",
    "cipher-sc",
    "mac-cs",
    "mac-sc",
    "compression-cs",
    "compression-sc",
    "language-cs",
    "language-sc",
];

fn case(id: &str, title: &str, source: &'static str) -> Case {
    Case::new(format!("kexinit-{id}"), title, source).at(Stage::Identified)
}

/// False for languages, of which nobody has any.
fn matters(list: List) -> bool {
    !matches!(list, List::LanguagesToServer | List::LanguagesToClient)
}

/// An offer of which every list counts: an AEAD cipher would leave the MACs out.
fn counted() -> KexInit {
    let names = [Cipher::Aes128Ctr.name(), Cipher::Aes256Ctr.name()].join(",");
    good_kexinit()
        .with(List::CipherToServer, &names)
        .with(List::CipherToClient, names)
}

fn nothing_in_common(list: List, id: &str) -> Vec<Case> {
    let rows: [(&str, &str, &[u8]); 5] = [
        ("empty", "empty", b""),
        (
            "unknown",
            "of unknown names",
            b"one@example.com,two@example.com",
        ),
        ("commas", "of commas", b",,,,"),
        (
            "prefix",
            "of names cut short",
            b"curve25519-sha25,ssh-ed2551,aes128-ct,hmac-sha2-25,non",
        ),
        ("case", "of names in capitals", {
            b"CURVE25519-SHA256,SSH-ED25519,AES128-CTR,HMAC-SHA2-256,NONE"
        }),
    ];
    let row = |(fault, title, names): (&str, &str, &[u8])| {
        case(
            &format!("{id}-{fault}"),
            &format!("{} {title}", name(list)),
            RFC,
        )
        .sends([kexinit(counted().with(list, names))])
        .expects(KEX_FAILED)
    };
    let mut cases: Vec<Case> = rows.into_iter().map(row).collect();
    // An unknown first name is the whole point of negotiation.
    cases.push(
        case(
            &format!("{id}-unknown-first"),
            &format!("{}, an unknown name first", name(list)),
            RFC,
        )
        .sends([kexinit(counted().with_first(list, "one@example.com"))])
        .expects(Expect::Ignored),
    );
    cases
}

/// Bytes that no name-list has (RFC 4251 section 5).
fn malformed_names(list: List, id: &str) -> Vec<Case> {
    let rows: [(&str, &str, &[u8]); 3] = [
        ("nul", "with NUL", b"one\0two"),
        ("not-ascii", "with bytes that are not ASCII", b"one\xc3\xa9"),
        ("space", "with a space", b"one two"),
    ];
    let row = |(fault, title, names): (&str, &str, &[u8])| {
        let case = case(
            &format!("{id}-{fault}"),
            &format!("{} {title}", name(list)),
            NAMES,
        )
        .sends([kexinit(counted().with_first(list, names))])
        // Who looks for known names alone does not see them.
        .expects(Expect::Either(vec![BROKEN, KEX_FAILED, Expect::Ignored]));
        if matters(list) {
            case.ours(BROKEN)
        } else {
            case
        }
    };
    rows.into_iter().map(row).collect()
}

/// What is clumsy or too much of a good thing, and still says what is wanted.
fn odd_names(list: List, id: &str) -> Vec<Case> {
    let now = String::from_utf8_lossy(counted().list(list)).into_owned();
    let many: Vec<String> = (0..1000).map(|number| format!("n{number}@x.y")).collect();
    let rows = [
        ("comma-first", "a comma first", format!(",{now}")),
        ("comma-last", "a comma last", format!("{now},")),
        ("comma-double", "two commas", now.replacen(',', ",,", 1)),
        ("repeated", "each name five times", [&*now; 5].join(",")),
        (
            "long-name",
            "a name of 1,000 letters",
            format!("{},{now}", "a".repeat(1000)),
        ),
        (
            "many",
            "1,000 names more",
            format!("{},{now}", many.join(",")),
        ),
    ];
    let row = |(fault, title, names): (&str, &str, String)| {
        case(
            &format!("{id}-{fault}"),
            &format!("{}, {title}", name(list)),
            NAMES,
        )
        .sends([kexinit(counted().with(list, names))])
        .expects(Expect::Either(vec![Expect::Ignored, BROKEN, KEX_FAILED]))
        .ours(Expect::Ignored)
    };
    rows.into_iter().map(row).collect()
}

fn name(list: List) -> &'static str {
    match list {
        List::Kex => "key exchange methods",
        List::HostKey => "host keys",
        List::CipherToServer => "ciphers to the server",
        List::CipherToClient => "ciphers to the client",
        List::MacToServer => "MACs to the server",
        List::MacToClient => "MACs to the client",
        List::CompressionToServer => "compression to the server",
        List::CompressionToClient => "compression to the client",
        List::LanguagesToServer => "languages to the server",
        List::LanguagesToClient => "languages to the client",
    }
}

/// The message as a whole is too long, too short, or says so.
fn lengths() -> Vec<Case> {
    let whole = good_kexinit().encode();
    let mut cases = Vec::new();
    // Behind the number, in the cookie, and behind each length and each list.
    let mut cut = 1;
    let mut places = vec![("number".to_owned(), 1), ("cookie".to_owned(), 9)];
    cut += 16;
    for (list, id) in List::ALL.into_iter().zip(LISTS) {
        places.push((format!("{id}-length"), cut + 2));
        cut += 4 + good_kexinit().list(list).len();
        places.push((id.to_owned(), cut - usize::from(matters(list))));
    }
    places.push(("flag".to_owned(), cut));
    places.push(("reserved".to_owned(), cut + 3));
    for (place, length) in places {
        let payload = whole.get(..length).unwrap_or_default();
        let id = format!("cut-{place}");
        cases.push(case(&id, &format!("cut in {place}"), RFC).sends([say(payload)]));
    }
    for (list, id) in List::ALL.into_iter().zip(LISTS) {
        cases.extend(lying_lengths(list, id));
    }
    cases.push(
        case("trailing", "a byte behind its end", RFC)
            .sends([kexinit(KexInit {
                tail: vec![0],
                ..good_kexinit()
            })])
            .expects(Expect::Either(vec![BROKEN, Expect::Ignored]))
            .ours(BROKEN),
    );
    let long = |size: usize| good_kexinit().with_first(List::HostKey, vec![b'a'; size]);
    cases.push(
        case("name-20k", "a name of 20,000 letters", NAMES)
            .sends([kexinit(long(20_000))])
            .expects(Expect::Either(vec![Expect::Ignored, BROKEN]))
            .ours(Expect::Ignored),
    );
    cases.push(
        case("name-34k", "a name of 34,000 letters", NAMES)
            .sends([kexinit(long(34_000))])
            .expects(Expect::Either(vec![Expect::Ignored, BROKEN]))
            .ours(BROKEN),
    );
    cases.push(
        case("name-64k", "a name of 64 kB", "RFC 4253 section 6.1")
            .sends([kexinit(long(64_000))])
            .expects(broken_or_alive())
            .ours(BROKEN),
    );
    let names: Vec<String> = (0..5000).map(|number| format!("n{number}")).collect();
    cases.push(
        case("names-5000", "5,000 names", NAMES)
            .sends([kexinit(
                good_kexinit().with_first(List::Kex, names.join(",")),
            )])
            .expects(Expect::Either(vec![Expect::Ignored, BROKEN]))
            .ours(Expect::Ignored),
    );
    cases
}

/// A list whose length reaches beyond the message.
fn lying_lengths(list: List, id: &str) -> Vec<Case> {
    let before: usize = 17
        + (List::ALL.into_iter())
            .take(list as usize)
            .map(|list| 4 + good_kexinit().list(list).len())
            .sum::<usize>();
    let lengths = [("4g", u32::MAX), ("2g", 0x8000_0000), ("16m", 0x0100_0000)];
    let row = |(size, length): (&str, u32)| {
        let mut payload = good_kexinit().encode();
        for (byte, lie) in payload.iter_mut().skip(before).zip(length.to_be_bytes()) {
            *byte = lie;
        }
        let title = format!("{} of {size} bytes", name(list));
        case(&format!("{id}-length-{size}"), &title, NAMES).sends([say(payload)])
    };
    lengths.into_iter().map(row).collect()
}

fn fields() -> Vec<Case> {
    let good = good_kexinit;
    let rows = [
        (
            "cookie-zero",
            "a cookie of zeros",
            KexInit {
                cookie: vec![0; 16],
                ..good()
            },
        ),
        (
            "reserved",
            "a reserved field that is not 0",
            KexInit {
                reserved: 7,
                ..good()
            },
        ),
        (
            "reserved-most",
            "a reserved field of ones",
            KexInit {
                reserved: u32::MAX,
                ..good()
            },
        ),
        ("languages", "languages", {
            good()
                .with(List::LanguagesToServer, "de,en")
                .with(List::LanguagesToClient, "de")
        }),
        ("directions", "another cipher in each direction", {
            good()
                .with(List::CipherToServer, Cipher::Aes128Ctr.name())
                .with(List::CipherToClient, Cipher::Aes256Ctr.name())
                .with(List::MacToServer, Mac::HmacSha256.name())
                .with(
                    List::MacToClient,
                    [Mac::HmacSha256Etm.name(), Mac::HmacSha256.name()].join(","),
                )
        }),
        (
            "mac-unknown-aead",
            "no MAC in common, and a cipher that needs none",
            {
                good()
                    .with(List::CipherToServer, Cipher::Aes128Gcm.name())
                    .with(List::CipherToClient, Cipher::Aes128Gcm.name())
                    .with(List::MacToServer, "none@example.com")
                    .with(List::MacToClient, "none@example.com")
            },
        ),
    ];
    let row = |(id, title, message)| {
        case(id, title, RFC)
            .sends([kexinit(message)])
            .expects(Expect::Ignored)
    };
    let mut cases: Vec<Case> = rows.into_iter().map(row).collect();
    let weak = [
        (
            "group1",
            List::Kex,
            "diffie-hellman-group1-sha1",
            "RFC 9142",
        ),
        (
            "gex-sha1",
            List::Kex,
            "diffie-hellman-group-exchange-sha1",
            "RFC 9142",
        ),
        ("dss", List::HostKey, "ssh-dss", "RFC 8332"),
        (
            "cipher-none",
            List::CipherToServer,
            "none",
            "RFC 4253 section 6.3",
        ),
        (
            "cipher-none-sc",
            List::CipherToClient,
            "none",
            "RFC 4253 section 6.3",
        ),
        ("arcfour", List::CipherToServer, "arcfour", "RFC 8758"),
        ("3des", List::CipherToClient, "3des-cbc", "RFC 8758"),
        (
            "mac-none",
            List::MacToServer,
            "none",
            "RFC 4253 section 6.4",
        ),
        (
            "mac-none-sc",
            List::MacToClient,
            "none",
            "RFC 4253 section 6.4",
        ),
        ("mac-md5", List::MacToServer, "hmac-md5", "RFC 6151"),
        ("zlib", List::CompressionToServer, "zlib", "CVE-2026-46702"),
        (
            "zlib-sc",
            List::CompressionToClient,
            "zlib",
            "CVE-2026-46702",
        ),
        (
            "strict-alone",
            List::Kex,
            "kex-strict-c-v00@openssh.com",
            "OpenSSH PROTOCOL 1.10",
        ),
        (
            "strict-server",
            List::Kex,
            "kex-strict-s-v00@openssh.com",
            "OpenSSH PROTOCOL 1.10",
        ),
        (
            "ext-info-alone",
            List::Kex,
            "ext-info-c",
            "RFC 8308 section 2.1",
        ),
    ];
    for (id, list, only, source) in weak {
        let title = format!("{}: nothing but {only}", name(list));
        cases.push(
            case(&format!("only-{id}"), &title, source)
                .sends([kexinit(counted().with(list, only))])
                .expects(KEX_FAILED),
        );
    }
    cases
}

/// RFC 4253 section 7: a guess is right if both sides put the same method and the same host key first.
fn guesses() -> Vec<Case> {
    let guessing = |message: KexInit| {
        kexinit(KexInit {
            first_kex_packet_follows: 1,
            ..message
        })
    };
    let zeros = || say(kex_init(&[0; 32]));
    let by_p256 = good_kexinit().with_first(List::Kex, Kex::EcdhP256.name());
    vec![
        case("guess-right", "a right guess, and no other packet", GUESS)
            .sends([Step::act(guess_right)])
            .expects(Expect::Ignored),
        // Nobody puts a method first that does not exist, so this one is wrong with all.
        case(
            "guess-wrong",
            "a wrong guess, and then the right packet",
            GUESS,
        )
        .sends([
            guessing(good_kexinit().with_first(List::Kex, "guess@example.com")),
            zeros(),
        ])
        .expects(Expect::Ignored),
        case(
            "guess-wrong-hostkey",
            "a guess that is wrong by its host key",
            GUESS,
        )
        .sends([
            guessing(good_kexinit().with_first(List::HostKey, "guess@example.com")),
            zeros(),
        ])
        .expects(Expect::Ignored),
        case(
            "guess-wrong-other-method",
            "the packet of another method for a guess",
            GUESS,
        )
        .sends([guessing(by_p256), say(kex_init(&[4; 65]))])
        .offering(Offer::default())
        .expects(Expect::Either(vec![Expect::Ignored, KEX_FAILED])),
        case(
            "guess-wrong-garbage",
            "a wrong guess that is no message of a method",
            GUESS,
        )
        .sends([
            guessing(good_kexinit().with_first(List::Kex, "guess@example.com")),
            say([34, 0xff, 0xff, 0xff, 0xff]),
        ])
        .expects(Expect::Ignored),
        case(
            "guess-wrong-twice",
            "a wrong guess, and then another one",
            GUESS,
        )
        .sends([
            guessing(good_kexinit().with_first(List::Kex, "guess@example.com")),
            zeros(),
            zeros(),
        ])
        .expects(KEX_FAILED),
        case("guess-wrong-newkeys", "NEWKEYS for a wrong guess", GUESS)
            .sends([
                guessing(good_kexinit().with_first(List::Kex, "guess@example.com")),
                say([21]),
            ])
            .expects(broken_or_alive())
            .ours(BROKEN),
        case("guess-wrong-ignore", "IGNORE for a wrong guess", GUESS)
            .sends([
                guessing(good_kexinit().with_first(List::Kex, "guess@example.com")),
                say([2, 0, 0, 0, 0]),
            ])
            .expects(broken_or_alive())
            .ours(BROKEN),
        case(
            "guess-flag-255",
            "a boolean of 255, and a wrong guess",
            NAMES,
        )
        .sends([
            kexinit(KexInit {
                first_kex_packet_follows: 255,
                ..good_kexinit().with_first(List::Kex, "guess@example.com")
            }),
            zeros(),
        ])
        .expects(Expect::Ignored),
        case("guess-none", "a wrong guess that is not announced", GUESS)
            .sends([
                kexinit(good_kexinit().with_first(List::Kex, "guess@example.com")),
                zeros(),
            ])
            .expects(KEX_FAILED),
        case("guess-late", "a wrong guess that never comes", GUESS)
            .sends([
                guessing(good_kexinit().with_first(List::Kex, "guess@example.com")),
                Step::Init,
                Step::Finish,
            ])
            .expects(Expect::Over),
    ]
}

/// Puts first what the server puts first, if that is something we know.
fn guess_right(peer: &mut Peer) -> Result<(), End> {
    let theirs = peer.their_kexinit()?;
    let first = |list| KexInit::first_of(&theirs, list).unwrap_or_default();
    let kex = Kex::from_name(&first(List::Kex)).ok_or(End::NothingInCommon("guess"))?;
    let host_key = first(List::HostKey);
    let message = KexInit {
        first_kex_packet_follows: 1,
        ..good_kexinit()
            .with_first(List::Kex, kex.name())
            .with_first(List::HostKey, host_key)
    };
    peer.cork();
    peer.say_kexinit(&message)?;
    peer.say_init()?;
    peer.uncork()
}

fn order() -> Vec<Case> {
    let good = || kexinit(good_kexinit());
    vec![
        case("twice", "two KEXINITs", RFC).sends([good(), good()]),
        case(
            "twice-after-theirs",
            "a second KEXINIT in the middle of the exchange",
            RFC,
        )
        .at(Stage::Offered)
        .sends([good()]),
        case(
            "twice-after-reply",
            "a second KEXINIT where NEWKEYS belongs",
            RFC,
        )
        .at(Stage::Replied)
        .sends([good()]),
        case(
            "before-ident",
            "a KEXINIT that comes before the server's was read",
            RFC,
        )
        .sends([
            Step::Cork,
            Step::Identify(b"SSH-2.0-x".to_vec(), vec![b"SSH-2.0-x\r\n".to_vec()]),
        ])
        .at(Stage::Connected)
        .sends([good(), Step::Uncork])
        .expects(Expect::Ignored),
    ]
}
