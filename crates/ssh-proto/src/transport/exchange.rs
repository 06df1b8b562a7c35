//! One key exchange, from its KEXINITs to both NEWKEYS (RFC 4253 sections 7 and 8, RFC 5656, RFC 8731).
//!
//! ```text
//!  Idle ──start──► Sent ──KEXINIT──► AwaitInit ──INIT, send REPLY NEWKEYS───────────► AwaitNewKeys   (server)
//!                   └─────KEXINIT, send INIT──► AwaitReply ──REPLY──► Undecided ──host key accepted,
//!                                                                      send NEWKEYS──► AwaitNewKeys   (client)
//!  AwaitNewKeys ──NEWKEYS──► Idle
//! ```
//!
//! The steps are functions from one state to the next; sending and switching keys is the transport's.

use super::negotiate::{Negotiated, negotiate};
use super::{Config, Role};
use crate::crypto::cipher::{Opener, Sealer};
use crate::crypto::digest::digest;
use crate::crypto::kex::{ClientExchange, SharedSecret, derive_key, respond};
use crate::crypto::random::Random;
use crate::error::Error;
use crate::key::PublicKey;
use crate::msg;
use crate::wire::{Put, Reader};

use zeroize::Zeroizing;

/// Where a key exchange stands.
pub(super) enum Exchange {
    /// None is going on.
    Idle,
    /// Our KEXINIT is sent, the peer's has not come.
    Sent { ours: Vec<u8> },
    /// Server: the client's public value comes next.
    AwaitInit {
        negotiated: Negotiated,
        transcript: Transcript,
    },
    /// Client: the server's host key, public value and signature come next.
    AwaitReply {
        negotiated: Negotiated,
        transcript: Transcript,
        exchange: ClientExchange,
        public: Vec<u8>,
    },
    /// Client: the signature is right; the application says whether it is the right host.
    Undecided(Agreed),
    /// Our NEWKEYS is sent, the peer's comes next.
    AwaitNewKeys { opener: Opener, strict: bool },
}

/// What enters the exchange hash before the exchange itself.
pub(super) struct Transcript {
    client_identification: Vec<u8>,
    server_identification: Vec<u8>,
    client_kexinit: Vec<u8>,
    server_kexinit: Vec<u8>,
}

/// Both sides have the same keys, and the server has signed for it.
pub(super) struct Agreed {
    pub(super) negotiated: Negotiated,
    pub(super) host_key: PublicKey,
    pub(super) exchange_hash: Vec<u8>,
    secret: SharedSecret,
}

/// Keys for both directions.
pub(super) struct NewKeys {
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
}

/// Both KEXINITs are there: what comes next, and the payload to send, if any.
pub(super) fn begin(
    role: Role,
    config: &Config,
    ours: Vec<u8>,
    theirs: &[u8],
    their_identification: &[u8],
    strict: Option<bool>,
    random: &mut dyn Random,
) -> Result<(Exchange, Negotiated, Option<Vec<u8>>), Error> {
    let negotiated = negotiate(role, &config.algorithms, theirs, strict)?;
    let our_identification = config.identification.as_bytes().to_vec();
    let their_identification = their_identification.to_vec();
    let theirs = theirs.to_vec();
    if role == Role::Server {
        let transcript = Transcript {
            client_identification: their_identification,
            server_identification: our_identification,
            client_kexinit: theirs,
            server_kexinit: ours,
        };
        return Ok((
            Exchange::AwaitInit {
                negotiated,
                transcript,
            },
            negotiated,
            None,
        ));
    }
    let transcript = Transcript {
        client_identification: our_identification,
        server_identification: their_identification,
        client_kexinit: ours,
        server_kexinit: theirs,
    };
    let (exchange, public) = ClientExchange::start(negotiated.kex, random)?;
    let mut payload = vec![msg::KEX_ECDH_INIT];
    payload.put_string(&public);
    let next = Exchange::AwaitReply {
        negotiated,
        transcript,
        exchange,
        public,
    };
    Ok((next, negotiated, Some(payload)))
}

/// Server: answers the client's public value. The payload is the reply to send.
pub(super) fn answer(
    config: &Config,
    negotiated: Negotiated,
    transcript: &Transcript,
    init: &[u8],
    random: &mut dyn Random,
) -> Result<(Agreed, Vec<u8>), Error> {
    let mut reader = Reader::new(init);
    reader.u8()?;
    let client_public = reader.string()?;
    reader.finish()?;
    let host_key = config
        .host_keys
        .iter()
        .find(|key| key.public().signatures().contains(&negotiated.host_key))
        .ok_or(Error::Bug("negotiated a host key that is not there"))?;
    let (server_public, secret) = respond(negotiated.kex, client_public, random)?;
    let blob = host_key.public().blob();
    let exchange_hash = transcript.hash(negotiated, blob, client_public, &server_public, &secret);
    let signature = host_key
        .sign(negotiated.host_key, &exchange_hash)
        .map_err(|_| Error::Bug("host key does not sign"))?;
    let mut reply = vec![msg::KEX_ECDH_REPLY];
    reply.put_string(blob);
    reply.put_string(&server_public);
    reply.put_string(&signature);
    let host_key = host_key.public().clone();
    Ok((
        Agreed {
            negotiated,
            host_key,
            exchange_hash,
            secret,
        },
        reply,
    ))
}

/// Client: checks the server's reply. Whose key it is remains to be decided.
pub(super) fn conclude(
    negotiated: Negotiated,
    transcript: &Transcript,
    exchange: ClientExchange,
    public: &[u8],
    reply: &[u8],
) -> Result<Agreed, Error> {
    let mut reader = Reader::new(reply);
    reader.u8()?;
    let blob = reader.string()?;
    let server_public = reader.string()?;
    let signature = reader.string()?;
    reader.finish()?;
    let host_key =
        PublicKey::from_blob(blob).map_err(|_| Error::KeyExchange("host key not readable"))?;
    let secret = exchange.finish(server_public)?;
    let exchange_hash = transcript.hash(negotiated, blob, public, server_public, &secret);
    host_key
        .verify(negotiated.host_key, &exchange_hash, signature)
        .map_err(|_| Error::KeyExchange("host key signature is wrong"))?;
    Ok(Agreed {
        negotiated,
        host_key,
        exchange_hash,
        secret,
    })
}

impl Transcript {
    /// H of RFC 5656 section 4.
    fn hash(
        &self,
        negotiated: Negotiated,
        host_key: &[u8],
        client_public: &[u8],
        server_public: &[u8],
        secret: &SharedSecret,
    ) -> Vec<u8> {
        let mut strings = Vec::new();
        for string in [
            self.client_identification.as_slice(),
            &self.server_identification,
            &self.client_kexinit,
            &self.server_kexinit,
            host_key,
            client_public,
            server_public,
        ] {
            strings.put_string(string);
        }
        digest(negotiated.kex.hash(), &[&strings, secret.encoded()])
            .as_ref()
            .to_vec()
    }
}

impl Agreed {
    /// The keys of both directions (RFC 4253 section 7.2).
    pub(super) fn keys(&self, role: Role, session_id: &[u8]) -> Result<NewKeys, Error> {
        let key = |letter: u8, length: usize| {
            let mut key = Zeroizing::new(vec![0; length]);
            let hash = self.negotiated.kex.hash();
            derive_key(
                hash,
                &self.secret,
                &self.exchange_hash,
                letter,
                session_id,
                &mut key,
            );
            key
        };
        let (cipher_out, mac_out, letters_out, cipher_in, mac_in, letters_in) = {
            let (c_cipher, c_mac) = self.negotiated.to_server();
            let (s_cipher, s_mac) = self.negotiated.to_client();
            match role {
                Role::Client => (c_cipher, c_mac, b"ACE", s_cipher, s_mac, b"BDF"),
                Role::Server => (s_cipher, s_mac, b"BDF", c_cipher, c_mac, b"ACE"),
            }
        };
        let [iv, enc, mac] = *letters_out;
        let sealer = Sealer::new(
            cipher_out,
            mac_out,
            &key(enc, cipher_out.key_length()),
            &key(iv, cipher_out.iv_length()),
            &key(mac, mac_out.map_or(0, crate::algorithm::Mac::length)),
        )?;
        let [iv, enc, mac] = *letters_in;
        let opener = Opener::new(
            cipher_in,
            mac_in,
            &key(enc, cipher_in.key_length()),
            &key(iv, cipher_in.iv_length()),
            &key(mac, mac_in.map_or(0, crate::algorithm::Mac::length)),
        )?;
        Ok(NewKeys { sealer, opener })
    }
}
