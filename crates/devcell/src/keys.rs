//! Owns the SSH keys of the cell: generates them, writes them as the PEM and public-key texts that
//! Cloud Controller puts into an LRP, and computes their fingerprints.
//!
//! A double computes these on its own on purpose: were the encodings shared with the code under
//! test, both could be wrong together and every test would still pass.

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsBigEndian, AsDer};
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A key could not be generated or encoded.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a key: {0}")]
pub struct KeyError(&'static str);

/// Which key to generate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA with 2048 bits, as Cloud Controller makes it.
    #[default]
    Rsa2048,
    /// Ed25519, as operators of `diego:` LRPs may choose it.
    Ed25519,
}

/// An SSH key pair in the texts that the platform passes around.
#[derive(Clone)]
pub struct SshKey {
    private_pem: String,
    algorithm: &'static str,
    blob: Vec<u8>,
}

impl std::fmt::Debug for SshKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SshKey({})", self.authorized_line())
    }
}

impl SshKey {
    /// Generates a key.
    pub fn generate(kind: KeyKind) -> Result<Self, KeyError> {
        match kind {
            KeyKind::Rsa2048 => Self::rsa(),
            KeyKind::Ed25519 => Self::ed25519(),
        }
    }

    fn rsa() -> Result<Self, KeyError> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048)
            .map_err(|_| KeyError("RSA generation failed"))?;
        let pkcs8 = pair.as_der().map_err(|_| KeyError("no PKCS#8"))?;
        let pkcs1 = der::pkcs1_of_pkcs8(pkcs8.as_ref()).ok_or(KeyError("not PKCS#8"))?;
        let (modulus, exponent) = der::rsa_public(pkcs1).ok_or(KeyError("not PKCS#1"))?;
        let mut blob = Vec::new();
        // RFC 4253 section 6.6: e before n. DER integers are mpints already: minimal, big-endian,
        // two's complement.
        put_string(&mut blob, b"ssh-rsa")?;
        put_string(&mut blob, exponent)?;
        put_string(&mut blob, modulus)?;
        Ok(Self {
            private_pem: pem("RSA PRIVATE KEY", pkcs1),
            algorithm: "ssh-rsa",
            blob,
        })
    }

    fn ed25519() -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError("Ed25519 generation failed"))?;
        let seed = pair.seed().map_err(|_| KeyError("no Ed25519 seed"))?;
        let seed = seed
            .as_be_bytes()
            .map_err(|_| KeyError("no Ed25519 seed"))?;
        let public = pair.public_key().as_ref();
        let mut blob = Vec::new();
        put_string(&mut blob, b"ssh-ed25519")?;
        put_string(&mut blob, public)?;
        let file = openssh_ed25519(&blob, public, seed.as_ref())?;
        Ok(Self {
            private_pem: pem("OPENSSH PRIVATE KEY", &file),
            algorithm: "ssh-ed25519",
            blob,
        })
    }

    /// The private key: PKCS#1 PEM for RSA, the format of `ssh-keygen` for Ed25519.
    pub fn private_pem(&self) -> &str {
        &self.private_pem
    }

    /// The public key as a line of `authorized_keys`, without a comment.
    pub fn authorized_line(&self) -> String {
        format!("{} {}", self.algorithm, STANDARD.encode(&self.blob))
    }

    /// The public key in the SSH wire format (RFC 4253, section 6.6).
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// SHA-256 as OpenSSH and the cf CLI print it: base64 without padding, 43 characters.
    pub fn fingerprint_sha256(&self) -> String {
        STANDARD_NO_PAD.encode(digest::digest(&digest::SHA256, &self.blob))
    }

    /// SHA-256 as Cloud Controller's `host_256_fingerprint` has it: padded base64, 44 characters.
    pub fn fingerprint_sha256_padded(&self) -> String {
        STANDARD.encode(digest::digest(&digest::SHA256, &self.blob))
    }

    /// SHA-1 as Cloud Controller's `host_fingerprint` has it: hex pairs with colons, 59 characters.
    pub fn fingerprint_sha1(&self) -> String {
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.blob);
        let pairs: Vec<String> = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        pairs.join(":")
    }
}

/// A random text of `bytes * 2` hex digits, for passwords and guids.
pub fn random_hex(bytes: usize) -> Result<String, KeyError> {
    let mut raw = vec![0; bytes];
    rand::fill(&mut raw).map_err(|_| KeyError("no randomness"))?;
    Ok(raw.iter().map(|b| format!("{b:02x}")).collect())
}

/// A one-time code as UAA makes them: 32 characters.
pub(crate) fn random_code() -> Result<String, KeyError> {
    let mut raw = [0; 24];
    rand::fill(&mut raw).map_err(|_| KeyError("no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(raw))
}

/// A random guid in the usual 8-4-4-4-12 form.
pub fn random_guid() -> Result<String, KeyError> {
    let hex = random_hex(16)?;
    let mut guid = String::with_capacity(36);
    for (i, digit) in hex.chars().enumerate() {
        if matches!(i, 8 | 12 | 16 | 20) {
            guid.push('-');
        }
        guid.push(digit);
    }
    Ok(guid)
}

fn put_string(out: &mut Vec<u8>, value: &[u8]) -> Result<(), KeyError> {
    let len = u32::try_from(value.len()).map_err(|_| KeyError("key too long"))?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(value);
    Ok(())
}

/// An unencrypted private key file as in OpenSSH's PROTOCOL.key.
fn openssh_ed25519(blob: &[u8], public: &[u8], seed: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut secret = Vec::new();
    // Two equal check numbers; they only mean something when the section is encrypted.
    secret.extend_from_slice(&[0x5a; 8]);
    secret.extend_from_slice(blob);
    put_string(&mut secret, &[seed, public].concat())?;
    put_string(&mut secret, b"devcell")?;
    // Padding counts 1, 2, 3... up to the block size of cipher `none`, which is 8.
    secret.extend((1u8..).take(secret.len().next_multiple_of(8) - secret.len()));

    let mut file = b"openssh-key-v1\0".to_vec();
    put_string(&mut file, b"none")?;
    put_string(&mut file, b"none")?;
    put_string(&mut file, b"")?;
    file.extend_from_slice(&1u32.to_be_bytes());
    put_string(&mut file, blob)?;
    put_string(&mut file, &secret)?;
    Ok(file)
}

fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for (i, c) in STANDARD.encode(der).chars().enumerate() {
        if i > 0 && i % 64 == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}

/// The few bytes of DER that taking an RSA key out of PKCS#8 needs.
mod der {
    const INTEGER: u8 = 0x02;
    const OCTET_STRING: u8 = 0x04;
    const SEQUENCE: u8 = 0x30;

    /// Takes one element with `tag` off the front of `input`.
    fn take<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
        let (&[found, first], rest) = input.split_first_chunk::<2>()?;
        if found != tag {
            return None;
        }
        let (len, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (long_length(octets)?, rest)
        };
        let (value, rest) = rest.split_at_checked(len)?;
        *input = rest;
        Some(value)
    }

    fn long_length(octets: &[u8]) -> Option<usize> {
        // Four octets are 4 GiB: no key is longer.
        (octets.len() <= 4).then(|| octets.iter().fold(0, |n, &b| n << 8 | usize::from(b)))
    }

    /// RFC 5958: version, algorithm, then the key itself in an octet string.
    pub(super) fn pkcs1_of_pkcs8(mut input: &[u8]) -> Option<&[u8]> {
        let mut body = take(&mut input, SEQUENCE)?;
        take(&mut body, INTEGER)?;
        take(&mut body, SEQUENCE)?;
        take(&mut body, OCTET_STRING)
    }

    /// RFC 8017, appendix A.1.2: version, modulus, public exponent.
    pub(super) fn rsa_public(mut input: &[u8]) -> Option<(&[u8], &[u8])> {
        let mut body = take(&mut input, SEQUENCE)?;
        take(&mut body, INTEGER)?;
        Some((take(&mut body, INTEGER)?, take(&mut body, INTEGER)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsa_key_has_the_texts_of_cloud_controller() {
        let key = SshKey::generate(KeyKind::Rsa2048).unwrap();
        assert!(key.private_pem().starts_with("-----BEGIN RSA PRIVATE KEY"));
        // string "ssh-rsa", mpint 65537, mpint of 2048 bits with a leading zero octet.
        assert_eq!(key.blob().len(), 4 + 7 + 4 + 3 + 4 + 257);
        assert!(key.authorized_line().starts_with("ssh-rsa AAAAB3NzaC1yc2E"));
        assert_eq!(key.fingerprint_sha1().len(), 59);
        assert_eq!(key.fingerprint_sha256().len(), 43);
        assert_eq!(key.fingerprint_sha256_padded().len(), 44);
    }

    #[test]
    fn ed25519_key_is_an_openssh_file() {
        let key = SshKey::generate(KeyKind::Ed25519).unwrap();
        assert!(key.private_pem().starts_with("-----BEGIN OPENSSH PRIVATE"));
        assert_eq!(key.blob().len(), 4 + 11 + 4 + 32);
    }

    /// OpenSSH is the judge of our files, where it is installed.
    #[test]
    fn ssh_keygen_reads_the_private_keys_and_agrees_on_the_public_ones() {
        use std::os::unix::fs::PermissionsExt;
        for kind in [KeyKind::Rsa2048, KeyKind::Ed25519] {
            let key = SshKey::generate(kind).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("key");
            std::fs::write(&path, key.private_pem()).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            let keygen = |flags: &[&str]| {
                let out = std::process::Command::new("ssh-keygen")
                    .args(flags)
                    .arg("-f")
                    .arg(&path)
                    .output();
                String::from_utf8(out.expect("ssh-keygen is installed").stdout).unwrap()
            };
            assert!(keygen(&["-y"]).starts_with(&key.authorized_line()));
            let expected = format!("SHA256:{}", key.fingerprint_sha256());
            assert!(keygen(&["-l", "-E", "sha256"]).contains(&expected));
        }
    }

    #[test]
    fn guids_look_like_guids() {
        let guid = random_guid().unwrap();
        let lengths: Vec<usize> = guid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
    }
}
