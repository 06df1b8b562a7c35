//! Fingerprints of public keys, and the many forms in which one may have been pinned.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::crypto::digest;

use super::PublicKey;

impl PublicKey {
    /// MD5 as sixteen pairs of hex digits with colons, 47 characters (RFC 4716 section 4).
    pub fn fingerprint_md5(&self) -> String {
        hex(&digest::md5(self.blob()), ":")
    }

    /// SHA-1 as twenty pairs of hex digits with colons, 59 characters.
    pub fn fingerprint_sha1(&self) -> String {
        hex(&digest::sha1(self.blob()), ":")
    }

    /// SHA-256 in base64 without padding, 43 characters: as `ssh-keygen` prints it, without the name
    /// of the hash.
    pub fn fingerprint_sha256(&self) -> String {
        STANDARD_NO_PAD.encode(digest::sha256(self.blob()))
    }

    /// True when `pin` is a fingerprint of this key; none when it is not in a form that is known,
    /// which the caller must treat as a mismatch.
    ///
    /// The form shows from the length, as in the system that we replace: 47 MD5 and 59 SHA-1 with
    /// colons; SHA-256 in base64 (43, or 44 with its `=`), in hex (64) or with colons (95). In front
    /// may stand the name of the hash, as `ssh-keygen` prints it; SHA-1 may then be base64 too. Hex
    /// digits are compared without regard to case.
    pub fn matches_fingerprint(&self, pin: &str) -> Option<bool> {
        match pin.split_once(':') {
            Some(("MD5", pin)) => self.matches_md5(pin),
            Some(("SHA1", pin)) => self
                .matches_sha1(pin)
                .or_else(|| matches_base64(pin, &digest::sha1(self.blob()))),
            Some(("SHA256", pin)) => self.matches_sha256(pin),
            _ => self
                .matches_md5(pin)
                .or_else(|| self.matches_sha1(pin))
                .or_else(|| self.matches_sha256(pin)),
        }
    }

    fn matches_md5(&self, pin: &str) -> Option<bool> {
        matches_hex(pin, &self.fingerprint_md5())
    }

    fn matches_sha1(&self, pin: &str) -> Option<bool> {
        matches_hex(pin, &self.fingerprint_sha1())
    }

    fn matches_sha256(&self, pin: &str) -> Option<bool> {
        let hash = digest::sha256(self.blob());
        matches_base64(pin, &hash)
            .or_else(|| matches_hex(pin, &hex(&hash, "")))
            .or_else(|| matches_hex(pin, &hex(&hash, ":")))
    }
}

fn hex(bytes: &[u8], separator: &str) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(separator)
}

/// None when the length alone shows that `pin` has another form.
fn matches_hex(pin: &str, expected: &str) -> Option<bool> {
    (pin.len() == expected.len()).then(|| pin.eq_ignore_ascii_case(expected))
}

/// None when the length alone shows that `pin` has another form.
fn matches_base64(pin: &str, hash: &[u8]) -> Option<bool> {
    let expected = STANDARD_NO_PAD.encode(hash);
    let padded = pin.len() == expected.len() + 1;
    if padded {
        return Some(pin.strip_suffix('=') == Some(&expected));
    }
    (pin.len() == expected.len()).then(|| pin == expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Put;

    fn key() -> PublicKey {
        let mut blob = Vec::new();
        blob.put_string(b"ssh-ed25519");
        blob.put_string(&[9; 32]);
        PublicKey::from_blob(&blob).unwrap()
    }

    fn forms(key: &PublicKey) -> Vec<String> {
        let sha256 = digest::sha256(key.blob());
        let sha1 = STANDARD_NO_PAD.encode(digest::sha1(key.blob()));
        vec![
            key.fingerprint_md5(),
            key.fingerprint_md5().to_uppercase(),
            format!("MD5:{}", key.fingerprint_md5()),
            key.fingerprint_sha1(),
            key.fingerprint_sha1().to_uppercase(),
            format!("SHA1:{}", key.fingerprint_sha1()),
            format!("SHA1:{sha1}"),
            key.fingerprint_sha256(),
            format!("{}=", key.fingerprint_sha256()),
            format!("SHA256:{}", key.fingerprint_sha256()),
            hex(&sha256, ""),
            hex(&sha256, "").to_uppercase(),
            hex(&sha256, ":"),
            format!("SHA256:{}", hex(&sha256, ":")),
        ]
    }

    #[test]
    fn lengths_are_those_of_the_pinned_forms() {
        let key = key();
        assert_eq!(key.fingerprint_md5().len(), 47);
        assert_eq!(key.fingerprint_sha1().len(), 59);
        assert_eq!(key.fingerprint_sha256().len(), 43);
    }

    #[test]
    fn every_form_matches_and_a_changed_digit_does_not() {
        let key = key();
        for form in forms(&key) {
            assert_eq!(key.matches_fingerprint(&form), Some(true), "{form}");
            for at in form.rfind("5:").map_or(0, |at| at + 2)..form.len() {
                let mut changed = form.clone().into_bytes();
                changed[at] = if changed[at] == b'!' { b'?' } else { b'!' };
                let changed = String::from_utf8(changed).unwrap();
                assert_ne!(key.matches_fingerprint(&changed), Some(true), "{changed}");
            }
        }
    }

    #[test]
    fn base64_is_compared_exactly() {
        let key = key();
        let swapped: String = key
            .fingerprint_sha256()
            .chars()
            .map(|c| match c {
                c if c.is_ascii_lowercase() => c.to_ascii_uppercase(),
                c => c.to_ascii_lowercase(),
            })
            .collect();
        assert_eq!(key.matches_fingerprint(&swapped), Some(false));
        let wrong_end = format!("{}A", key.fingerprint_sha256());
        assert_eq!(key.matches_fingerprint(&wrong_end), Some(false));
    }

    #[test]
    fn other_forms_are_unknown() {
        let key = key();
        let long = format!("{}==", key.fingerprint_sha256());
        let wrong_name = format!("MD5:{}", key.fingerprint_sha256());
        for pin in ["", "x", "SHA256:", "MD5:", long.as_str(), &wrong_name] {
            assert_eq!(key.matches_fingerprint(pin), None, "{pin}");
        }
        let umlauts = "ä".repeat(22) + "abc";
        assert_eq!(umlauts.len(), 47);
        assert_eq!(key.matches_fingerprint(&umlauts), Some(false));
    }
}
