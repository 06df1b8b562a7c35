//! One public key out of text in the format of `authorized_keys` (sshd(8)), with the tolerance of the
//! system that we replace: what cannot be read is skipped, and the first key that can is taken.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{KeyError, PublicKey};

/// The first key of `text`. Options in front of it are passed over, not obeyed.
pub fn parse_authorized_keys(text: &[u8]) -> Result<PublicKey, KeyError> {
    text.split(|byte| *byte == b'\n')
        .find_map(line)
        .ok_or(KeyError::NoKeyFound)
}

fn line(line: &[u8]) -> Option<PublicKey> {
    let line = line.split(|byte| *byte == b'\r').next()?.trim_ascii();
    if line.starts_with(b"#") {
        return None;
    }
    key(line).or_else(|| key(behind_options(line)))
}

/// Key type, blob and comment. The type is told by the blob too, so that only that one counts.
fn key(line: &[u8]) -> Option<PublicKey> {
    let mut words = line
        .split(|byte| is_blank(*byte))
        .filter(|word| !word.is_empty());
    let _key_type = words.next()?;
    let blob = STANDARD.decode(words.next()?).ok()?;
    PublicKey::from_blob(&blob).ok()
}

/// What follows the first blank that is not between quotes; a quote behind a backslash is none.
fn behind_options(line: &[u8]) -> &[u8] {
    let mut quoted = false;
    let mut previous = 0;
    let end = line.iter().position(|byte| {
        if *byte == b'"' && previous != b'\\' {
            quoted = !quoted;
        }
        previous = *byte;
        is_blank(*byte) && !quoted
    });
    end.and_then(|end| line.get(end..))
        .unwrap_or_default()
        .trim_ascii_start()
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Put;

    fn blob(byte: u8) -> Vec<u8> {
        let mut blob = Vec::new();
        blob.put_string(b"ssh-ed25519");
        blob.put_string(&[byte; 32]);
        blob
    }

    fn encoded(byte: u8) -> String {
        STANDARD.encode(blob(byte))
    }

    #[test]
    fn the_first_key_that_can_be_read_is_taken() {
        let text = format!(
            "# comment ssh-ed25519 {one}\r\n\n  \nnonsense\nssh-ed25519 !!!!\nssh-dss AAAAB3NzaC1kc3M=\n\
             \t ssh-ed25519  {two}  me@here \r\nssh-ed25519 {one}\n",
            one = encoded(1),
            two = encoded(2)
        );
        let key = parse_authorized_keys(text.as_bytes()).unwrap();
        assert_eq!(key.blob(), blob(2));
    }

    #[test]
    fn options_are_passed_over() {
        for options in [
            "no-pty",
            "no-pty,command=\"echo \\\"a b\\\"\"",
            "environment=\"A=b c\"\t",
        ] {
            let text = format!("{options} ssh-ed25519 {} me", encoded(3));
            assert_eq!(
                parse_authorized_keys(text.as_bytes()).unwrap().blob(),
                blob(3),
                "{options}"
            );
        }
    }

    #[test]
    fn without_a_key_the_error_is_that_of_the_reference() {
        let open_quote = format!("command=\"x ssh-ed25519 {}", encoded(1));
        for text in ["", "\n\n", "# x", "ssh-ed25519", "a b c d", &open_quote] {
            assert_eq!(
                parse_authorized_keys(text.as_bytes())
                    .unwrap_err()
                    .to_string(),
                "ssh: no key found"
            );
        }
        assert!(parse_authorized_keys(&[0xff, b' ', 0xfe]).is_err());
    }
}
