//! The public values, host keys and signatures of key exchanges.

use ssh_proto::Error;
use ssh_proto::algorithm::{Algorithms, Cipher, Kex, Mac, Signature};
use ssh_proto::msg;
use ssh_proto::transport::{Event, Role};
use ssh_proto::wire::Reader;

use super::clear::{self, IDENTIFICATION, POINT, Peer};
use super::sample_keys;
use crate::input::Input;

/// Each method, on the side that the values come to: good values are taken, others end the exchange,
/// and no key is agreed on with values of another length.
pub fn kex_replies(data: &[u8]) {
    let mut input = Input::new(data);
    let method = input.pick(Kex::ALL);
    match input.pick(&[Role::Server, Role::Client]) {
        Role::Server => to_server(method, input),
        Role::Client => to_client(method, input),
    }
}

fn to_server(method: Kex, mut input: Input<'_>) {
    let mut peer = begun(Role::Server, method, Signature::Ed25519);
    let good = client_value(method);
    let (value, is_good) = value(&mut input, &good);
    let mut init = clear::string_message(msg::KEX_ECDH_INIT, &value);
    let whole = !damage(&mut input, &mut init);
    peer.say(&init);
    match peer.transport.poll(peer.now) {
        Ok(event) => {
            assert_eq!(event, Event::NeedInput);
            assert!(!whole || value.len() == good.len());
            let heard = peer.heard();
            let numbers: Vec<_> = heard.iter().map(|payload| payload[0]).collect();
            // EXT_INFO is not asked for.
            assert_eq!(numbers, [msg::KEX_ECDH_REPLY, msg::NEWKEYS]);
            finish(peer, input);
        }
        Err(error) => {
            assert!(!(is_good && whole), "{error}");
            check_refusal(&mut peer, &error);
        }
    }
}

fn to_client(method: Kex, mut input: Input<'_>) {
    let algorithm = input.pick(Signature::ALL);
    let mut peer = begun(Role::Client, method, algorithm);
    let good = server_value(method);
    let (value, mut is_good) = value(&mut input, &good);
    let (host_key, forged) = (
        sample_keys::public(algorithm),
        sample_keys::forged(algorithm),
    );
    let (host_key, same_key) = self::value(&mut input, &host_key);
    let (signature, same_signature) = self::value(&mut input, &forged);
    is_good &= same_key && same_signature;
    let mut reply = clear::ecdh_reply(&host_key, &value, &signature);
    let whole = !damage(&mut input, &mut reply);
    peer.say(&reply);
    match peer.transport.poll(peer.now) {
        Ok(event) => {
            assert_eq!(event, Event::HostKey);
            let shown = peer
                .transport
                .host_key()
                .expect("the host's key")
                .blob()
                .to_vec();
            assert!(!whole || (value.len() == good.len() && shown == host_key));
            // Nothing happens before the application has decided.
            assert_eq!(peer.transport.poll(peer.now), Ok(Event::HostKey));
            assert!(peer.heard().is_empty());
            assert!(peer.transport.accept_host_key().is_ok());
            assert_eq!(peer.heard(), [[msg::NEWKEYS]]);
            finish(peer, input);
        }
        Err(error) => {
            assert!(!(is_good && whole), "{error}");
            assert!(peer.transport.accept_host_key().is_err());
            check_refusal(&mut peer, &error);
        }
    }
}

/// Keys are agreed on; whatever follows is allowed, or ends it.
fn finish(mut peer: Peer, mut input: Input<'_>) {
    assert!(peer.transport.negotiated().is_some() && !peer.transport.session_id().is_empty());
    for _ in 0..4 {
        let message = if input.flag() {
            vec![msg::NEWKEYS]
        } else {
            input.short().to_vec()
        };
        if message.is_empty() {
            return;
        }
        peer.say(&message);
        match peer.transport.poll(peer.now) {
            Ok(event) => assert!(matches!(event, Event::NeedInput | Event::Packet)),
            Err(error) => return peer.check_end(&error),
        }
    }
}

fn check_refusal(peer: &mut Peer, error: &Error) {
    let named = matches!(
        error,
        Error::KeyExchange(_) | Error::Misbehaved(_) | Error::Disconnected { .. }
    );
    assert!(named, "{error}");
    assert!(peer.transport.session_id().is_empty());
    peer.check_end(error);
}

/// A transport that waits for its peer's value.
fn begun(role: Role, method: Kex, algorithm: Signature) -> Peer {
    let mut peer = Peer::offering(
        role,
        Algorithms {
            kex: vec![method],
            host_key: vec![algorithm],
            cipher: vec![Cipher::Aes128Gcm],
            mac: vec![Mac::HmacSha256],
        },
    );
    clear::feed(&mut peer.transport, IDENTIFICATION);
    peer.say(&clear::kexinit_with(&[method.name()], algorithm));
    assert_eq!(peer.transport.poll(peer.now), Ok(Event::NeedInput));
    peer.heard();
    peer
}

/// The good value, a part of it, the good one with a byte changed, or anything; and whether it is the
/// good one.
fn value(input: &mut Input<'_>, good: &[u8]) -> (Vec<u8>, bool) {
    let value = match input.below(5) {
        0 => good.to_vec(),
        1 => good[..input.number() as usize % (good.len() + 1)].to_vec(),
        2 => {
            let mut changed = good.to_vec();
            let at = input.number() as usize % good.len();
            changed[at] = input.byte();
            changed
        }
        3 => vec![input.byte(); good.len()],
        _ => input.bytes().to_vec(),
    };
    let is_good = value == good;
    (value, is_good)
}

/// Cuts, lengthens or changes what follows a message's number, or leaves it; true if it did anything.
fn damage(input: &mut Input<'_>, message: &mut Vec<u8>) -> bool {
    let before = message.clone();
    match input.below(8) {
        1 => message.truncate((input.number() as usize % message.len()).max(1)),
        2 => message.extend(input.short()),
        3 => {
            let at = 1 + input.number() as usize % (message.len() - 1);
            message[at] = input.byte();
        }
        _ => {}
    }
    *message != before
}

/// Q_C of RFC 5656 section 4, C_INIT of the hybrid: an encapsulation key of zeros is one.
fn client_value(method: Kex) -> Vec<u8> {
    match method {
        Kex::MlKem768X25519 => [&[0; 1184][..], &POINT].concat(),
        _ => server_value(method),
    }
}

/// Q_S of RFC 5656 section 4, S_REPLY of the hybrid: any ciphertext is decapsulated.
fn server_value(method: Kex) -> Vec<u8> {
    let point = |algorithm| {
        // The last field of an ECDSA key is a point of its curve.
        let blob = sample_keys::public(algorithm);
        let mut reader = Reader::new(&blob);
        let fields = [(); 3].map(|()| reader.string().expect("three strings").to_vec());
        fields[2].clone()
    };
    match method {
        Kex::MlKem768X25519 => [&[0; 1088][..], &POINT].concat(),
        Kex::Curve25519 | Kex::Curve25519LibSsh => POINT.to_vec(),
        Kex::EcdhP256 => point(Signature::EcdsaP256),
        Kex::EcdhP384 => point(Signature::EcdsaP384),
        Kex::EcdhP521 => point(Signature::EcdsaP521),
    }
}
