//! Key exchange: what a peer offers, a KEXINIT field by field, and what two of them agree on.

use ssh_proto::algorithm::{Cipher, Kex, Mac, Signature};
use ssh_proto::crypto::cipher::{Opener, Sealer};
use ssh_proto::crypto::digest::digest;
use ssh_proto::crypto::kex::{SharedSecret, derive_key};
use ssh_proto::msg;
use ssh_proto::transport::Role;
use ssh_proto::wire::{Put, Reader};

use crate::end::End;

/// OpenSSH PROTOCOL section 1.10.
pub const STRICT_CLIENT: &str = "kex-strict-c-v00@openssh.com";
/// OpenSSH PROTOCOL section 1.10.
pub const STRICT_SERVER: &str = "kex-strict-s-v00@openssh.com";
/// RFC 8308 section 2.1.
pub const EXT_INFO_CLIENT: &str = "ext-info-c";

/// Names among the methods that are none.
const MARKERS: [&str; 3] = [STRICT_CLIENT, STRICT_SERVER, EXT_INFO_CLIENT];

/// What a peer that keeps the rules offers.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Key exchange methods.
    pub kex: Vec<Kex>,
    /// Ciphers.
    pub cipher: Vec<Cipher>,
    /// MACs.
    pub mac: Vec<Mac>,
    /// Signatures of host keys.
    pub host_key: Vec<Signature>,
    /// Whether it knows strict key exchange.
    pub strict: bool,
    /// Whether it reads EXT_INFO.
    pub ext_info: bool,
}

impl Default for Offer {
    /// What every server has something of.
    fn default() -> Self {
        Self {
            kex: vec![
                Kex::Curve25519,
                Kex::Curve25519LibSsh,
                Kex::MlKem768X25519,
                Kex::EcdhP256,
            ],
            cipher: vec![
                Cipher::Aes128Gcm,
                Cipher::Aes128Ctr,
                Cipher::Aes256Ctr,
                Cipher::Aes256Gcm,
                Cipher::ChaCha20Poly1305,
            ],
            mac: vec![Mac::HmacSha256Etm, Mac::HmacSha256, Mac::HmacSha512],
            host_key: Signature::ALL.to_vec(),
            strict: true,
            ext_info: true,
        }
    }
}

impl Offer {
    /// With this cipher alone, and this MAC.
    #[must_use]
    pub fn under(self, cipher: Cipher, mac: Mac) -> Self {
        Self {
            cipher: vec![cipher],
            mac: vec![mac],
            ..self
        }
    }

    /// With this method alone.
    #[must_use]
    pub fn by(self, kex: Kex) -> Self {
        Self {
            kex: vec![kex],
            ..self
        }
    }

    /// Without strict key exchange.
    #[must_use]
    pub fn loose(self) -> Self {
        Self {
            strict: false,
            ..self
        }
    }

    /// Its KEXINIT.
    pub fn kexinit(&self, role: Role) -> KexInit {
        let mut kex: Vec<&str> = self.kex.iter().map(|it| it.name()).collect();
        if self.ext_info && role == Role::Client {
            kex.push(EXT_INFO_CLIENT);
        }
        if self.strict {
            kex.push(match role {
                Role::Client => STRICT_CLIENT,
                Role::Server => STRICT_SERVER,
            });
        }
        let host_key: Vec<&str> = self.host_key.iter().map(|it| it.name()).collect();
        let cipher: Vec<&str> = self.cipher.iter().map(|it| it.name()).collect();
        let mac: Vec<&str> = self.mac.iter().map(|it| it.name()).collect();
        let lists = [
            &kex[..],
            &host_key,
            &cipher,
            &cipher,
            &mac,
            &mac,
            &["none"],
            &["none"],
            &[],
            &[],
        ];
        KexInit {
            cookie: vec![7; 16],
            lists: lists.map(|names| names.join(",").into_bytes()),
            first_kex_packet_follows: 0,
            reserved: 0,
            tail: Vec::new(),
        }
    }
}

/// A list of KEXINIT (RFC 4253 section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// kex_algorithms
    Kex,
    /// server_host_key_algorithms
    HostKey,
    /// encryption_algorithms_client_to_server
    CipherToServer,
    /// encryption_algorithms_server_to_client
    CipherToClient,
    /// mac_algorithms_client_to_server
    MacToServer,
    /// mac_algorithms_server_to_client
    MacToClient,
    /// compression_algorithms_client_to_server
    CompressionToServer,
    /// compression_algorithms_server_to_client
    CompressionToClient,
    /// languages_client_to_server
    LanguagesToServer,
    /// languages_server_to_client
    LanguagesToClient,
}

impl List {
    /// All of them, as they follow each other.
    pub const ALL: [Self; 10] = [
        Self::Kex,
        Self::HostKey,
        Self::CipherToServer,
        Self::CipherToClient,
        Self::MacToServer,
        Self::MacToClient,
        Self::CompressionToServer,
        Self::CompressionToClient,
        Self::LanguagesToServer,
        Self::LanguagesToClient,
    ];
}

/// A KEXINIT, right or wrong.
#[derive(Debug, Clone)]
pub struct KexInit {
    /// Random bytes: 16 of them.
    pub cookie: Vec<u8>,
    /// The lists, by [`List`].
    pub lists: [Vec<u8>; 10],
    /// The boolean, whatever its value.
    pub first_kex_packet_follows: u8,
    /// For the future: 0.
    pub reserved: u32,
    /// What follows behind its end.
    pub tail: Vec<u8>,
}

impl KexInit {
    /// With another list.
    #[must_use]
    pub fn with(mut self, list: List, names: impl AsRef<[u8]>) -> Self {
        if let Some(slot) = self.lists.get_mut(list as usize) {
            *slot = names.as_ref().to_vec();
        }
        self
    }

    /// With a longer list: `names` stand before what there is, and a comma.
    #[must_use]
    pub fn with_first(self, list: List, names: impl AsRef<[u8]>) -> Self {
        let now = self.list(list).to_vec();
        self.with(list, [names.as_ref(), b",", &now].concat())
    }

    /// One list.
    pub fn list(&self, list: List) -> &[u8] {
        self.lists.get(list as usize).map_or(&[][..], Vec::as_slice)
    }

    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![msg::KEXINIT];
        out.extend_from_slice(&self.cookie);
        for list in &self.lists {
            out.put_string(list);
        }
        out.push(self.first_kex_packet_follows);
        out.put_u32(self.reserved);
        out.extend_from_slice(&self.tail);
        out
    }

    /// The first name of a list of a payload.
    pub fn first_of(payload: &[u8], list: List) -> Option<String> {
        let lists = Self::lists(payload)?;
        let names = lists.get(list as usize)?;
        names.first().map(|name| (*name).to_owned())
    }

    /// The lists of a payload.
    fn lists(payload: &[u8]) -> Option<Vec<Vec<&str>>> {
        let mut reader = Reader::new(payload);
        reader.bytes(17).ok()?;
        let mut lists = Vec::new();
        for _ in List::ALL {
            let list = std::str::from_utf8(reader.string().ok()?).unwrap_or_default();
            lists.push(list.split(',').collect());
        }
        Some(lists)
    }
}

/// What two KEXINITs agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// The method.
    pub kex: Kex,
    /// What the server signs with.
    pub host_key: Signature,
    to_server: (Cipher, Option<Mac>),
    to_client: (Cipher, Option<Mac>),
    /// Both know strict key exchange.
    pub strict: bool,
}

impl Agreed {
    /// RFC 4253 section 7.1: of each list the first name of the client's that the server has.
    ///
    /// # Errors
    /// They have nothing in common that we know.
    pub fn of(client: &[u8], server: &[u8]) -> Result<Self, End> {
        let unreadable = End::Garbled("KEXINIT");
        let client = KexInit::lists(client).ok_or(unreadable.clone())?;
        let server = KexInit::lists(server).ok_or(unreadable)?;
        let both = |list: List, what| {
            let (ours, theirs) = (client.get(list as usize), server.get(list as usize));
            let names = ours.into_iter().flatten();
            let mut common = names
                .filter(|name| theirs.is_some_and(|list| list.contains(name)))
                .filter(|name| !MARKERS.contains(name));
            common.next().copied().ok_or(End::NothingInCommon(what))
        };
        let cipher = |list| {
            let name = both(list, "cipher")?;
            Cipher::from_name(name).ok_or(End::NothingInCommon("cipher"))
        };
        let mac = |cipher: Cipher, list| match cipher.is_aead() {
            true => Ok(None),
            false => {
                let name = both(list, "MAC")?;
                Mac::from_name(name)
                    .map(Some)
                    .ok_or(End::NothingInCommon("MAC"))
            }
        };
        let kex = both(List::Kex, "key exchange method")?;
        let host_key = both(List::HostKey, "host key")?;
        let to_server = cipher(List::CipherToServer)?;
        let to_client = cipher(List::CipherToClient)?;
        let has = |lists: &[Vec<&str>], name| {
            let kex = lists.get(List::Kex as usize);
            kex.is_some_and(|list| list.contains(&name))
        };
        Ok(Self {
            kex: Kex::from_name(kex).ok_or(End::NothingInCommon("key exchange method"))?,
            host_key: Signature::from_name(host_key).ok_or(End::NothingInCommon("host key"))?,
            to_server: (to_server, mac(to_server, List::MacToServer)?),
            to_client: (to_client, mac(to_client, List::MacToClient)?),
            strict: has(&client, STRICT_CLIENT) && has(&server, STRICT_SERVER),
        })
    }
}

/// What enters the exchange hash (RFC 5656 section 4), each from the side that it came from.
pub struct Transcript<'a> {
    /// V_C and V_S.
    pub identifications: [&'a [u8]; 2],
    /// I_C and I_S.
    pub kexinits: [&'a [u8]; 2],
    /// K_S.
    pub host_key: &'a [u8],
    /// Q_C and Q_S.
    pub publics: [&'a [u8]; 2],
}

impl Transcript<'_> {
    /// H.
    pub fn hash(&self, kex: Kex, secret: &SharedSecret) -> Vec<u8> {
        let [client, server] = self.publics;
        let own = [self.host_key, client, server];
        let mut strings = Vec::new();
        let all = self.identifications.iter().chain(&self.kexinits);
        for string in all.chain(&own) {
            strings.put_string(string);
        }
        let hash = digest(kex.hash(), &[&strings, secret.encoded()]);
        hash.as_ref().to_vec()
    }
}

/// Keys that wait for the NEWKEYS of their direction.
pub struct Keys {
    /// For what is sent.
    pub sealer: Option<Sealer>,
    /// For what is read.
    pub opener: Option<Opener>,
}

impl Keys {
    /// RFC 4253 section 7.2.
    pub fn derive(
        role: Role,
        agreed: &Agreed,
        secret: &SharedSecret,
        hash: &[u8],
        session_id: &[u8],
    ) -> Self {
        let key = |letter: u8, length: usize| {
            let mut key = vec![0; length];
            derive_key(
                agreed.kex.hash(),
                secret,
                hash,
                letter,
                session_id,
                &mut key,
            );
            key
        };
        let keys = |(cipher, mac): (Cipher, Option<Mac>), [iv, encryption, integrity]: [u8; 3]| {
            (
                key(encryption, cipher.key_length()),
                key(iv, cipher.iv_length()),
                key(integrity, mac.map_or(0, Mac::length)),
            )
        };
        let (out, letters_out, into, letters_in) = match role {
            Role::Client => (agreed.to_server, *b"ACE", agreed.to_client, *b"BDF"),
            Role::Server => (agreed.to_client, *b"BDF", agreed.to_server, *b"ACE"),
        };
        let (enc, iv, mac) = keys(out, letters_out);
        let sealer = Sealer::new(out.0, out.1, &enc, &iv, &mac).ok();
        let (enc, iv, mac) = keys(into, letters_in);
        let opener = Opener::new(into.0, into.1, &enc, &iv, &mac).ok();
        Self { sealer, opener }
    }
}
