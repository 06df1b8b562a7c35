//! KEXINIT, and what two of them agree on.

use ssh_proto::Error;
use ssh_proto::algorithm::{Algorithms, Cipher, Kex, Mac, Signature};
use ssh_proto::msg;
use ssh_proto::transport::fuzzing::negotiate_with;
use ssh_proto::transport::{Negotiated, Role};
use ssh_proto::wire::Put;

use super::clear::Peer;
use crate::input::Input;

/// The longest KEXINIT that is read.
const LONGEST: usize = 32 * 1024;

/// Four of these are too long.
const LONG_NAME: &[u8] = &[b'x'; 10_000];

/// A peer's KEXINIT against lists of ours: what is agreed on is what a plain reading of RFC 4253
/// section 7.1 finds. Two KEXINITs of ours agree on the same on both sides.
pub fn kexinit(data: &[u8]) {
    let mut input = Input::new(data);
    let role = input.pick(&[Role::Server, Role::Client]);
    let ours = algorithms(&mut input);
    let strict = input.pick(&[None, Some(false), Some(true)]);
    let payload = match input.below(3) {
        0 => kexinit_of_names(&mut input),
        1 => [&[msg::KEXINIT], input.rest()].concat(),
        _ => return agree(&ours, &algorithms(&mut input)),
    };
    let found = negotiate_with(role, &ours, &payload, strict);
    assert!(!matches!(found, Err(Error::Bug(_))));
    let wanted = expected(role, &ours, &payload, strict);
    assert_eq!(found.ok().as_ref().map(Agreement::from), wanted);
}

/// What is compared of a [`Negotiated`].
#[derive(Debug, PartialEq)]
struct Agreement {
    kex: Kex,
    host_key: Signature,
    to_server: (Cipher, Option<Mac>),
    to_client: (Cipher, Option<Mac>),
    strict: bool,
    wants_ext_info: bool,
    drops_guess: bool,
}

impl From<&Negotiated> for Agreement {
    fn from(found: &Negotiated) -> Self {
        Self {
            kex: found.kex,
            host_key: found.host_key,
            to_server: found.to_server(),
            to_client: found.to_client(),
            strict: found.strict,
            wants_ext_info: found.wants_ext_info(),
            drops_guess: found.drops_guess(),
        }
    }
}

fn agree(client: &Algorithms, server: &Algorithms) {
    let ends = [(Role::Client, client), (Role::Server, server)];
    let offers = ends.map(|(role, algorithms)| {
        let mut peer = Peer::offering(role, algorithms.clone());
        peer.heard().remove(0)
    });
    // The host keys of a server decide what it offers: Ed25519, or nothing.
    let server = Algorithms {
        host_key: server
            .host_key
            .iter()
            .copied()
            .filter(|it| *it == Signature::Ed25519)
            .collect(),
        ..server.clone()
    };
    let at_client = negotiate_with(Role::Client, client, &offers[1], None);
    let at_server = negotiate_with(Role::Server, &server, &offers[0], None);
    assert_eq!(at_client.is_ok(), at_server.is_ok());
    if let (Ok(at_client), Ok(at_server)) = (at_client, at_server) {
        let at_client = Agreement {
            wants_ext_info: true,
            ..Agreement::from(&at_client)
        };
        assert_eq!(at_client, Agreement::from(&at_server));
    }
}

fn algorithms(input: &mut Input<'_>) -> Algorithms {
    Algorithms {
        kex: choice(input, Kex::ALL),
        host_key: choice(input, Signature::ALL),
        cipher: choice(input, Cipher::ALL),
        mac: choice(input, Mac::ALL),
    }
}

/// Some of `all` in some order, perhaps one of them twice.
fn choice<T: Copy>(input: &mut Input<'_>, all: &[T]) -> Vec<T> {
    (0..input.below(all.len() + 1))
        .map(|_| input.pick(all))
        .collect()
}

/// The form is right, and most names are known.
fn kexinit_of_names(input: &mut Input<'_>) -> Vec<u8> {
    let mut payload = vec![msg::KEXINIT];
    payload.extend([0; 16]);
    for category in [0, 1, 2, 2, 3, 3, 4, 4, 5, 5] {
        let known = names(category);
        let list = (0..input.below(8)).map(|_| match input.below(32) {
            index if index < known.len() => known[index].as_bytes(),
            31 => LONG_NAME,
            _ => input.short(),
        });
        let list: Vec<_> = list.collect();
        payload.put_string(&list.join(&b','));
    }
    payload.put_u8(input.byte());
    payload.put_u32(input.number());
    payload.extend(input.short());
    payload
}

fn names(category: u8) -> Vec<&'static str> {
    match category {
        0 => {
            let markers = [
                "ext-info-c",
                "kex-strict-c-v00@openssh.com",
                "kex-strict-s-v00@openssh.com",
            ];
            Kex::ALL.iter().map(|it| it.name()).chain(markers).collect()
        }
        1 => Signature::ALL.iter().map(|it| it.name()).collect(),
        2 => Cipher::ALL.iter().map(|it| it.name()).collect(),
        3 => Mac::ALL.iter().map(|it| it.name()).collect(),
        4 => vec!["none", "zlib"],
        _ => Vec::new(),
    }
}

fn expected(
    role: Role,
    ours: &Algorithms,
    payload: &[u8],
    strict: Option<bool>,
) -> Option<Agreement> {
    let (lists, follows) = parse(payload)?;
    let has = |list: usize, name: &str| lists[list].contains(&name);
    let marker = match role {
        Role::Client => "kex-strict-s-v00@openssh.com",
        Role::Server => "kex-strict-c-v00@openssh.com",
    };
    let strict = strict.unwrap_or(has(0, marker));
    let kex = first(role, &ours.kex, &lists[0], Kex::name)?;
    let host_key = first(role, &ours.host_key, &lists[1], Signature::name)?;
    let direction = |at: usize| {
        let cipher = first(role, &ours.cipher, &lists[2 + at], Cipher::name)?;
        let mac = first(role, &ours.mac, &lists[4 + at], Mac::name);
        match cipher {
            Cipher::Aes128Gcm | Cipher::Aes256Gcm => Some((cipher, None)),
            Cipher::ChaCha20Poly1305 => strict.then_some((cipher, None)),
            _ => mac.map(|mac| (cipher, Some(mac))),
        }
    };
    let (to_server, to_client) = (direction(0)?, direction(1)?);
    if !has(6, "none") || !has(7, "none") {
        return None;
    }
    let guessed = lists[0].first() == Some(&ours.kex.first()?.name())
        && lists[1].first() == Some(&ours.host_key.first()?.name());
    Some(Agreement {
        kex,
        host_key,
        to_server,
        to_client,
        strict,
        wants_ext_info: role == Role::Server && has(0, "ext-info-c"),
        drops_guess: follows && !guessed,
    })
}

/// The first of the client's that the server has.
fn first<T: Copy>(
    role: Role,
    ours: &[T],
    theirs: &[&str],
    name: fn(T) -> &'static str,
) -> Option<T> {
    let mut found = Vec::new();
    for (rank, algorithm) in ours.iter().enumerate() {
        if let Some(place) = theirs.iter().position(|it| *it == name(*algorithm)) {
            found.push((if role == Role::Client { rank } else { place }, *algorithm));
        }
    }
    found
        .into_iter()
        .min_by_key(|(order, _)| *order)
        .map(|(_, algorithm)| algorithm)
}

/// The eight lists that count, and first_kex_packet_follows.
fn parse(payload: &[u8]) -> Option<(Vec<Vec<&str>>, bool)> {
    let mut rest = payload.get(17..).filter(|_| payload.len() <= LONGEST)?;
    let mut lists = Vec::new();
    for _ in 0..10 {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        lists.push(rest.get(4..4usize.checked_add(length)?)?);
        rest = &rest[4 + length..];
    }
    lists.truncate(8);
    let [follows, _, _, _, _] = *rest else {
        return None;
    };
    let names = lists.into_iter().map(|list| {
        let printable = list.iter().all(|byte| (b'!'..=b'~').contains(byte));
        let text = std::str::from_utf8(list).ok().filter(|_| printable)?;
        Some(text.split(',').filter(|name| !name.is_empty()).collect())
    });
    Some((names.collect::<Option<_>>()?, follows != 0))
}
