//! The algorithms that this implementation knows, by the names that are negotiated, and the lists
//! that it offers unless told otherwise.
//!
//! Names of algorithms stand in this file and nowhere else.

/// Makes a closed enum of algorithms with their names on the wire.
macro_rules! algorithms {
    ($(#[$meta:meta])* $kind:ident { $($(#[$vmeta:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $kind { $($(#[$vmeta])* $variant,)* }

        impl $kind {
            /// Every algorithm of this category that can be used.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The algorithm of this name, if it is one that can be used.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

algorithms! {
    /// Key exchange methods.
    Kex {
        /// draft-ietf-sshm-mlkem-hybrid-kex: post-quantum hybrid, SHA-256.
        MlKem768X25519 = "mlkem768x25519-sha256",
        /// RFC 8731.
        Curve25519 = "curve25519-sha256",
        /// The same under the name that it had before RFC 8731; all that old daemons know.
        Curve25519LibSsh = "curve25519-sha256@libssh.org",
        /// RFC 5656.
        EcdhP256 = "ecdh-sha2-nistp256",
        /// RFC 5656.
        EcdhP384 = "ecdh-sha2-nistp384",
        /// RFC 5656.
        EcdhP521 = "ecdh-sha2-nistp521",
    }
}

algorithms! {
    /// Signature algorithms, for host keys and for users' keys.
    Signature {
        /// RFC 8709.
        Ed25519 = "ssh-ed25519",
        /// RFC 5656.
        EcdsaP256 = "ecdsa-sha2-nistp256",
        /// RFC 5656.
        EcdsaP384 = "ecdsa-sha2-nistp384",
        /// RFC 5656.
        EcdsaP521 = "ecdsa-sha2-nistp521",
        /// RFC 8332.
        RsaSha512 = "rsa-sha2-512",
        /// RFC 8332.
        RsaSha256 = "rsa-sha2-256",
    }
}

algorithms! {
    /// Ciphers.
    Cipher {
        /// RFC 5647 as OpenSSH negotiates it (PROTOCOL section 1.6).
        Aes128Gcm = "aes128-gcm@openssh.com",
        /// RFC 5647 as OpenSSH negotiates it (PROTOCOL section 1.6).
        Aes256Gcm = "aes256-gcm@openssh.com",
        /// PROTOCOL.chacha20poly1305; only together with strict kex (Terrapin).
        ChaCha20Poly1305 = "chacha20-poly1305@openssh.com",
        /// RFC 4344.
        Aes128Ctr = "aes128-ctr",
        /// RFC 4344.
        Aes192Ctr = "aes192-ctr",
        /// RFC 4344.
        Aes256Ctr = "aes256-ctr",
    }
}

algorithms! {
    /// Message authentication codes for ciphers that have none of their own.
    Mac {
        /// RFC 6668.
        HmacSha256 = "hmac-sha2-256",
        /// RFC 6668.
        HmacSha512 = "hmac-sha2-512",
        /// RFC 6668 over the encrypted packet (OpenSSH PROTOCOL section 1.5).
        HmacSha256Etm = "hmac-sha2-256-etm@openssh.com",
        /// RFC 6668 over the encrypted packet (OpenSSH PROTOCOL section 1.5).
        HmacSha512Etm = "hmac-sha2-512-etm@openssh.com",
    }
}

algorithms! {
    /// Hash functions of key exchange methods.
    Hash {
        /// FIPS 180-4.
        Sha256 = "sha256",
        /// FIPS 180-4.
        Sha384 = "sha384",
        /// FIPS 180-4.
        Sha512 = "sha512",
    }
}

impl Kex {
    /// The hash that makes the exchange hash and the keys (RFC 4253 section 7.2).
    pub const fn hash(self) -> Hash {
        match self {
            Self::MlKem768X25519 | Self::Curve25519 | Self::Curve25519LibSsh | Self::EcdhP256 => {
                Hash::Sha256
            }
            Self::EcdhP384 => Hash::Sha384,
            Self::EcdhP521 => Hash::Sha512,
        }
    }
}

impl Cipher {
    /// True for ciphers that authenticate; no MAC is negotiated for them.
    pub const fn is_aead(self) -> bool {
        matches!(
            self,
            Self::Aes128Gcm | Self::Aes256Gcm | Self::ChaCha20Poly1305
        )
    }

    /// Bytes of key that the cipher takes.
    pub const fn key_length(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes128Ctr => 16,
            Self::Aes192Ctr => 24,
            Self::Aes256Gcm | Self::Aes256Ctr => 32,
            Self::ChaCha20Poly1305 => 64,
        }
    }

    /// Bytes of initial vector that the cipher takes.
    pub const fn iv_length(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => 12,
            Self::Aes128Ctr | Self::Aes192Ctr | Self::Aes256Ctr => 16,
            Self::ChaCha20Poly1305 => 0,
        }
    }
}

impl Mac {
    /// Bytes of key, and of the code itself.
    pub const fn length(self) -> usize {
        match self {
            Self::HmacSha256 | Self::HmacSha256Etm => 32,
            Self::HmacSha512 | Self::HmacSha512Etm => 64,
        }
    }

    /// True where the code is made over the encrypted packet and the length is sent in clear.
    pub const fn is_etm(self) -> bool {
        matches!(self, Self::HmacSha256Etm | Self::HmacSha512Etm)
    }
}

/// Names that are understood in an operator's list but never negotiated: too weak, or a way to
/// make the server work for nothing.
pub const KNOWN_BUT_REFUSED: &[&str] = &[
    "diffie-hellman-group1-sha1",
    "diffie-hellman-group14-sha1",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group-exchange-sha1",
    "diffie-hellman-group-exchange-sha256",
    "ssh-rsa",
    "ssh-dss",
    "3des-cbc",
    "aes128-cbc",
    "aes192-cbc",
    "aes256-cbc",
    "arcfour",
    "arcfour128",
    "arcfour256",
    "hmac-md5",
    "hmac-md5-96",
    "hmac-sha1",
    "hmac-sha1-96",
    "hmac-sha1-etm@openssh.com",
    "umac-64@openssh.com",
    "umac-64-etm@openssh.com",
    "umac-128@openssh.com",
    "umac-128-etm@openssh.com",
];

/// What one side offers, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Algorithms {
    /// Key exchange methods.
    pub kex: Vec<Kex>,
    /// Signature algorithms of host keys.
    pub host_key: Vec<Signature>,
    /// Ciphers, the same both ways.
    pub cipher: Vec<Cipher>,
    /// Message authentication codes, the same both ways.
    pub mac: Vec<Mac>,
}

impl Default for Algorithms {
    /// What a server offers. Post-quantum first with a classical fall-back; nothing with SHA-1, CBC
    /// or finite-field Diffie-Hellman. The order of ciphers and MACs is the one of the system that
    /// we replace.
    ///
    /// The fall-back has one of its two names: the one without which nobody can have entered the
    /// system that we replace, and the only one of Go's clients before 2021.
    fn default() -> Self {
        Self {
            kex: vec![Kex::MlKem768X25519, Kex::Curve25519LibSsh],
            host_key: vec![
                Signature::Ed25519,
                Signature::EcdsaP256,
                Signature::RsaSha512,
                Signature::RsaSha256,
            ],
            cipher: vec![
                Cipher::Aes128Gcm,
                Cipher::Aes256Ctr,
                Cipher::Aes192Ctr,
                Cipher::Aes128Ctr,
            ],
            mac: vec![Mac::HmacSha256Etm, Mac::HmacSha256],
        }
    }
}

impl Algorithms {
    /// All that can be used, best first: what a client offers that cannot know a server's lists.
    ///
    /// ChaCha20 comes last, for it is refused to a peer without strict key exchange (Terrapin).
    pub fn everything() -> Self {
        Self {
            kex: Kex::ALL.to_vec(),
            host_key: Signature::ALL.to_vec(),
            cipher: vec![
                Cipher::Aes128Gcm,
                Cipher::Aes256Gcm,
                Cipher::Aes256Ctr,
                Cipher::Aes192Ctr,
                Cipher::Aes128Ctr,
                Cipher::ChaCha20Poly1305,
            ],
            mac: vec![
                Mac::HmacSha256Etm,
                Mac::HmacSha512Etm,
                Mac::HmacSha256,
                Mac::HmacSha512,
            ],
        }
    }
}

/// An operator's lists of names, each separated by commas; an empty one means the defaults.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lists<'a> {
    /// Key exchange methods.
    pub kex: &'a str,
    /// Signature algorithms of host keys.
    pub host_key: &'a str,
    /// Ciphers.
    pub cipher: &'a str,
    /// Message authentication codes.
    pub mac: &'a str,
}

impl Algorithms {
    /// The defaults, each category replaced by the operator's list for it, and the names in those
    /// lists that are not used.
    pub fn from_lists(lists: Lists<'_>) -> (Self, Vec<Dropped>) {
        let mut dropped = Vec::new();
        let mut algorithms = Self::default();
        replace(&mut algorithms.kex, lists.kex, Kex::from_name, &mut dropped);
        replace(
            &mut algorithms.host_key,
            lists.host_key,
            Signature::from_name,
            &mut dropped,
        );
        replace(
            &mut algorithms.cipher,
            lists.cipher,
            Cipher::from_name,
            &mut dropped,
        );
        replace(&mut algorithms.mac, lists.mac, Mac::from_name, &mut dropped);
        (algorithms, dropped)
    }

    /// The categories of which nothing is left though something is needed, in RFC 4253's words: nobody can
    /// agree with that.
    pub fn lacking(&self) -> Vec<&'static str> {
        let needs_mac = !self.cipher.iter().any(|cipher| cipher.is_aead());
        let lacking = [
            (self.kex.is_empty(), "key exchange"),
            (self.host_key.is_empty(), "host key"),
            (self.cipher.is_empty(), "encryption"),
            (self.mac.is_empty() && needs_mac, "MAC"),
        ];
        let names = lacking.into_iter().filter(|(is_lacking, _)| *is_lacking);
        names.map(|(_, name)| name).collect()
    }
}

fn replace<A>(
    defaults: &mut Vec<A>,
    list: &str,
    from_name: fn(&str) -> Option<A>,
    dropped: &mut Vec<Dropped>,
) {
    if let Some((used, unused)) = parse_list(list, from_name) {
        *defaults = used;
        dropped.extend(unused);
    }
}

/// A name in an operator's list that is not used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The name as given.
    pub name: String,
    /// True for [`KNOWN_BUT_REFUSED`] names, false for names never heard of.
    pub known: bool,
}

/// Reads an operator's comma-separated list: what can be used in its order, and what is dropped.
///
/// An empty list means "the defaults" and gives `None`.
pub fn parse_list<A>(
    list: &str,
    from_name: fn(&str) -> Option<A>,
) -> Option<(Vec<A>, Vec<Dropped>)> {
    if list.trim().is_empty() {
        return None;
    }
    let mut used = Vec::new();
    let mut dropped = Vec::new();
    for name in list
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        match from_name(name) {
            Some(algorithm) => used.push(algorithm),
            None => dropped.push(Dropped {
                name: name.to_owned(),
                known: KNOWN_BUT_REFUSED.contains(&name),
            }),
        }
    }
    Some((used, dropped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_algorithms() {
        for kex in Kex::ALL {
            assert_eq!(Kex::from_name(kex.name()), Some(*kex));
        }
        for cipher in Cipher::ALL {
            assert_eq!(Cipher::from_name(cipher.name()), Some(*cipher));
        }
        for mac in Mac::ALL {
            assert_eq!(Mac::from_name(mac.name()), Some(*mac));
        }
    }

    #[test]
    fn an_operators_list_keeps_its_order_and_tells_what_it_lost() {
        let (used, dropped) = parse_list(
            "aes256-ctr, aes128-cbc,aes128-ctr,nonsense",
            Cipher::from_name,
        )
        .unwrap();
        assert_eq!(used, [Cipher::Aes256Ctr, Cipher::Aes128Ctr]);
        assert_eq!(
            dropped,
            [
                Dropped {
                    name: "aes128-cbc".into(),
                    known: true
                },
                Dropped {
                    name: "nonsense".into(),
                    known: false
                },
            ]
        );
        assert_eq!(parse_list("", Cipher::from_name), None);
        assert_eq!(parse_list("x", Cipher::from_name).unwrap().0, []);
    }

    #[test]
    fn lists_of_names_that_are_not_used_leave_nothing_to_agree_on() {
        let lacking = |lists| Algorithms::from_lists(lists).0.lacking();
        let none = Lists::default();
        assert!(lacking(none).is_empty());
        let mac = "hmac-sha1";
        assert!(lacking(Lists { mac, ..none }).is_empty());
        let cipher = "aes128-ctr";
        assert_eq!(
            lacking(Lists {
                mac,
                cipher,
                ..none
            }),
            ["MAC"]
        );
        let lists = Lists {
            kex: "diffie-hellman-group16-sha512",
            host_key: "ssh-rsa",
            cipher: "aes128-cbc",
            mac,
        };
        assert_eq!(
            lacking(lists),
            ["key exchange", "host key", "encryption", "MAC"]
        );
    }

    #[test]
    fn everything_leaves_nothing_out() {
        let Algorithms {
            kex,
            host_key,
            cipher,
            mac,
        } = Algorithms::everything();
        assert!(Kex::ALL.iter().all(|it| kex.contains(it)));
        assert!(Signature::ALL.iter().all(|it| host_key.contains(it)));
        assert!(Cipher::ALL.iter().all(|it| cipher.contains(it)));
        assert!(Mac::ALL.iter().all(|it| mac.contains(it)));
    }

    #[test]
    fn no_refused_name_can_be_used() {
        for name in KNOWN_BUT_REFUSED {
            assert!(Kex::from_name(name).is_none() && Cipher::from_name(name).is_none());
            assert!(Mac::from_name(name).is_none() && Signature::from_name(name).is_none());
        }
    }
}
