//! SSH_MSG_KEXINIT and what two of them agree on (RFC 4253 section 7.1).

use super::Role;
use crate::algorithm::{Algorithms, Cipher, Kex, Mac, Signature};
use crate::crypto::random::Random;
use crate::error::Error;
use crate::msg;
use crate::wire::{NameList, Put, Reader, printable};

/// Names among the kex methods that are no methods: what their sender is able to do.
const EXT_INFO_CLIENT: &str = "ext-info-c";
const STRICT_CLIENT: &str = "kex-strict-c-v00@openssh.com";
const STRICT_SERVER: &str = "kex-strict-s-v00@openssh.com";

/// The longest KEXINIT that we read. OpenSSH's is about 1.5 kB.
const LONGEST_KEXINIT: usize = 32 * 1024;

/// How much of a peer's list goes into an error's text.
const LIST_IN_ERROR: usize = 200;

/// Writes our KEXINIT. The markers go into the first one alone: that is where they count.
pub(super) fn encode_kexinit(
    role: Role,
    algorithms: &Algorithms,
    first: bool,
    random: &mut dyn Random,
) -> Vec<u8> {
    let mut cookie = [0; 16];
    random.fill(&mut cookie);
    let markers: &[&str] = match (first, role) {
        (false, _) => &[],
        (true, Role::Client) => &[EXT_INFO_CLIENT, STRICT_CLIENT],
        (true, Role::Server) => &[STRICT_SERVER],
    };
    let kex = algorithms
        .kex
        .iter()
        .map(|kex| kex.name())
        .chain(markers.iter().copied());
    let mut out = vec![msg::KEXINIT];
    out.extend_from_slice(&cookie);
    out.put_name_list(kex);
    out.put_name_list(algorithms.host_key.iter().map(|name| name.name()));
    for _ in 0..2 {
        out.put_name_list(algorithms.cipher.iter().map(|name| name.name()));
    }
    for _ in 0..2 {
        out.put_name_list(algorithms.mac.iter().map(|name| name.name()));
    }
    for _ in 0..2 {
        out.put_name_list(["none"]);
    }
    for _ in 0..2 {
        out.put_name_list([]);
    }
    out.put_bool(false);
    out.put_u32(0);
    out
}

/// A peer's KEXINIT.
struct KexInit<'a> {
    kex: NameList<'a>,
    host_key: NameList<'a>,
    cipher: Pair<NameList<'a>>,
    mac: Pair<NameList<'a>>,
    compression: Pair<NameList<'a>>,
    first_kex_packet_follows: bool,
}

/// Something for each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair<T> {
    pub(super) to_server: T,
    pub(super) to_client: T,
}

impl<'a> KexInit<'a> {
    fn parse(payload: &'a [u8]) -> Result<Self, Error> {
        if payload.len() > LONGEST_KEXINIT {
            return Err(Error::Misbehaved("KEXINIT too long"));
        }
        let mut reader = Reader::new(payload);
        reader.bytes(1 + 16)?;
        let parsed = Self {
            kex: reader.name_list()?,
            host_key: reader.name_list()?,
            cipher: Pair {
                to_server: reader.name_list()?,
                to_client: reader.name_list()?,
            },
            mac: Pair {
                to_server: reader.name_list()?,
                to_client: reader.name_list()?,
            },
            compression: Pair {
                to_server: reader.name_list()?,
                to_client: reader.name_list()?,
            },
            first_kex_packet_follows: {
                // Languages: nobody uses them.
                reader.string()?;
                reader.string()?;
                reader.bool()?
            },
        };
        reader.u32()?;
        reader.finish()?;
        Ok(parsed)
    }
}

/// What both sides will use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// The key exchange method.
    pub kex: Kex,
    /// The signature algorithm of the server's host key.
    pub host_key: Signature,
    pub(super) cipher: Pair<Cipher>,
    pub(super) mac: Pair<Option<Mac>>,
    /// Both sides asked for strict key exchange, now or in their first KEXINIT.
    pub strict: bool,
    /// The peer, a client, reads EXT_INFO.
    pub(super) wants_ext_info: bool,
    /// The peer guessed wrong: its next packet is to be dropped (RFC 4253 section 7).
    pub(super) drop_guess: bool,
}

impl Negotiated {
    /// The cipher towards the server and its MAC, where it needs one.
    pub fn to_server(&self) -> (Cipher, Option<Mac>) {
        (self.cipher.to_server, self.mac.to_server)
    }

    /// The cipher towards the client and its MAC, where it needs one.
    pub fn to_client(&self) -> (Cipher, Option<Mac>) {
        (self.cipher.to_client, self.mac.to_client)
    }
}

/// Compares the peer's KEXINIT with what we offer.
///
/// `strict` tells what the first key exchange found; `None` means that this is the first.
pub(super) fn negotiate(
    role: Role,
    ours: &Algorithms,
    payload: &[u8],
    strict: Option<bool>,
) -> Result<Negotiated, Error> {
    let theirs = KexInit::parse(payload)?;
    let strict = strict.unwrap_or_else(|| match role {
        Role::Client => theirs.kex.contains(STRICT_SERVER),
        Role::Server => theirs.kex.contains(STRICT_CLIENT),
    });
    let kex = choose(role, "kex algorithm", &ours.kex, theirs.kex, Kex::name)?;
    let host_key = choose(
        role,
        "host key algorithm",
        &ours.host_key,
        theirs.host_key,
        Signature::name,
    )?;
    let cipher = Pair {
        to_server: choose(
            role,
            CIPHER,
            &ours.cipher,
            theirs.cipher.to_server,
            Cipher::name,
        )?,
        to_client: choose(
            role,
            CIPHER,
            &ours.cipher,
            theirs.cipher.to_client,
            Cipher::name,
        )?,
    };
    let mac = Pair {
        to_server: choose_mac(role, ours, cipher.to_server, theirs.mac.to_server)?,
        to_client: choose_mac(role, ours, cipher.to_client, theirs.mac.to_client)?,
    };
    for list in [theirs.compression.to_server, theirs.compression.to_client] {
        if !list.contains("none") {
            return Err(incompatible("compression", &["none"], list));
        }
    }
    let chacha = [cipher.to_server, cipher.to_client].contains(&Cipher::ChaCha20Poly1305);
    if chacha && !strict {
        return Err(Error::KeyExchange(
            "chacha20-poly1305 needs strict key exchange",
        ));
    }
    let right_guess = theirs.kex.first() == ours.kex.first().map(|name| name.name())
        && theirs.host_key.first() == ours.host_key.first().map(|name| name.name());
    Ok(Negotiated {
        kex,
        host_key,
        cipher,
        mac,
        strict,
        wants_ext_info: role == Role::Server && theirs.kex.contains(EXT_INFO_CLIENT),
        drop_guess: theirs.first_kex_packet_follows && !right_guess,
    })
}

const CIPHER: &str = "cipher";

fn choose_mac(
    role: Role,
    ours: &Algorithms,
    cipher: Cipher,
    theirs: NameList<'_>,
) -> Result<Option<Mac>, Error> {
    if cipher.is_aead() {
        return Ok(None);
    }
    choose(role, "MAC", &ours.mac, theirs, Mac::name).map(Some)
}

/// The first name of the client's list that the server has too.
fn choose<A: Copy>(
    role: Role,
    what: &'static str,
    ours: &[A],
    theirs: NameList<'_>,
    name: fn(A) -> &'static str,
) -> Result<A, Error> {
    let named = |wanted: &str| {
        ours.iter()
            .copied()
            .find(|algorithm| name(*algorithm) == wanted)
    };
    let chosen = match role {
        Role::Client => ours
            .iter()
            .copied()
            .find(|algorithm| theirs.contains(name(*algorithm))),
        Role::Server => theirs.iter().find_map(named),
    };
    chosen.ok_or_else(|| {
        let names: Vec<_> = ours.iter().map(|algorithm| name(*algorithm)).collect();
        incompatible(what, &names, theirs)
    })
}

fn incompatible(what: &'static str, ours: &[&str], theirs: NameList<'_>) -> Error {
    Error::Incompatible {
        what,
        ours: ours.join(","),
        theirs: printable(theirs.as_str().as_bytes(), LIST_IN_ERROR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::SeededRandom;

    fn offer(role: Role, algorithms: &Algorithms) -> Vec<u8> {
        encode_kexinit(role, algorithms, true, &mut SeededRandom::new(1))
    }

    #[test]
    fn the_clients_order_decides_and_both_sides_agree() {
        let server = Algorithms::default();
        let client = Algorithms {
            kex: vec![Kex::EcdhP256, Kex::Curve25519LibSsh, Kex::Curve25519],
            host_key: vec![Signature::RsaSha256, Signature::Ed25519],
            cipher: vec![Cipher::Aes192Ctr, Cipher::Aes128Gcm],
            mac: vec![Mac::HmacSha512, Mac::HmacSha256],
        };
        let at_server =
            negotiate(Role::Server, &server, &offer(Role::Client, &client), None).unwrap();
        let at_client =
            negotiate(Role::Client, &client, &offer(Role::Server, &server), None).unwrap();
        assert_eq!(at_server.kex, Kex::Curve25519LibSsh);
        assert_eq!(at_server.host_key, Signature::RsaSha256);
        assert_eq!(
            at_server.to_client(),
            (Cipher::Aes192Ctr, Some(Mac::HmacSha256))
        );
        assert_eq!(
            Negotiated {
                wants_ext_info: true,
                ..at_client
            },
            at_server
        );
        assert!(at_server.strict && !at_server.drop_guess);
    }

    #[test]
    fn an_unusable_mac_list_does_not_matter_to_an_aead_cipher() {
        let no_mac = Algorithms {
            mac: vec![],
            ..Algorithms::default()
        };
        let ours = Algorithms::default();
        let agreed = negotiate(Role::Server, &ours, &offer(Role::Client, &no_mac), None).unwrap();
        assert_eq!(agreed.to_server(), (Cipher::Aes128Gcm, None));
        let ctr = Algorithms {
            cipher: vec![Cipher::Aes128Ctr],
            ..no_mac
        };
        let error = negotiate(Role::Server, &ours, &offer(Role::Client, &ctr), None).unwrap_err();
        assert!(
            matches!(error, Error::Incompatible { what: "MAC", .. }),
            "{error}"
        );
    }

    #[test]
    fn chacha20_without_strict_kex_is_refused() {
        let chacha = Algorithms {
            cipher: vec![Cipher::ChaCha20Poly1305],
            ..Algorithms::default()
        };
        let strict = offer(Role::Client, &chacha);
        assert!(negotiate(Role::Server, &chacha, &strict, None).is_ok());
        let loose = encode_kexinit(Role::Client, &chacha, false, &mut SeededRandom::new(1));
        let error = negotiate(Role::Server, &chacha, &loose, None).unwrap_err();
        assert_eq!(
            error.reason(),
            Some(crate::error::Reason::KeyExchangeFailed)
        );
    }

    #[test]
    fn a_wrong_guess_is_to_be_dropped() {
        let ours = Algorithms::default();
        let other = Algorithms {
            kex: vec![Kex::Curve25519LibSsh],
            ..Algorithms::default()
        };
        for (algorithms, wrong) in [(&ours, false), (&other, true)] {
            let mut payload = offer(Role::Client, algorithms);
            let flag = payload.len() - 5;
            payload[flag] = 1;
            let agreed = negotiate(Role::Server, &ours, &payload, None).unwrap();
            assert_eq!(agreed.drop_guess, wrong);
        }
    }

    #[test]
    fn every_cut_of_a_kexinit_is_malformed() {
        let whole = offer(Role::Client, &Algorithms::default());
        for length in 1..whole.len() {
            assert!(
                negotiate(Role::Server, &Algorithms::default(), &whole[..length], None).is_err()
            );
        }
        let longer = [whole.as_slice(), &[0]].concat();
        assert!(negotiate(Role::Server, &Algorithms::default(), &longer, None).is_err());
    }
}
