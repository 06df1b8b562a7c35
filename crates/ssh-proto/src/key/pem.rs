//! The armour of private key files (RFC 7468, with the headers of RFC 1421), as tolerant as the
//! system that we replace: text around the block is passed over, line ends may be CRLF.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::KeyError;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
/// How the labels of private keys end.
const PRIVATE_KEY: &[u8] = b"PRIVATE KEY";

/// One block.
pub(super) struct Block<'a> {
    /// What stands behind `BEGIN`.
    pub(super) label: &'a [u8],
    /// True when a header says that the content is encrypted (RFC 1421 section 4.6.1.1).
    pub(super) encrypted: bool,
    /// The content; wiped when dropped.
    pub(super) content: Zeroizing<Vec<u8>>,
}

/// The first block that holds a private key; others, such as `EC PARAMETERS`, are passed over.
pub(super) fn private_key(text: &[u8]) -> Result<Block<'_>, KeyError> {
    let mut lines = text
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii_end);
    let mut other = false;
    while let Some(line) = lines.next() {
        match label(line, BEGIN) {
            Some(label) if label.ends_with(PRIVATE_KEY) => return block(label, lines),
            Some(_) => other = true,
            None => {}
        }
    }
    Err(KeyError::Pem(if other {
        "no block is a private key"
    } else {
        "no BEGIN line"
    }))
}

fn label<'a>(line: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(keyword)?.strip_suffix(DASHES)
}

/// The rest of a block, from the line behind `BEGIN`.
fn block<'a>(name: &'a [u8], lines: impl Iterator<Item = &'a [u8]>) -> Result<Block<'a>, KeyError> {
    let mut encrypted = false;
    let mut in_header = false;
    let mut base64 = Zeroizing::new(Vec::new());
    for line in lines {
        if line.starts_with(END) {
            if label(line, END) != Some(name) {
                return Err(KeyError::Pem("END does not name what BEGIN names"));
            }
            let content = STANDARD
                .decode(&*base64)
                .map_err(|_| KeyError::Pem("content is not base64"))?;
            return Ok(Block {
                label: name,
                encrypted,
                content: Zeroizing::new(content),
            });
        }
        if line.contains(&b':') && base64.is_empty() {
            encrypted |= line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED");
            in_header = true;
        } else if line.is_empty() {
            in_header = false;
        } else if !in_header {
            base64.extend(line.iter().filter(|byte| !byte.is_ascii_whitespace()));
        }
    }
    Err(KeyError::Pem("no END line"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> KeyError {
        private_key(text.as_bytes())
            .err()
            .expect("this is no block")
    }

    #[test]
    fn text_around_the_block_and_crlf_are_passed_over() {
        let text = "hello\r\n-----BEGIN EC PARAMETERS-----\r\nAAAA\r\n-----END EC PARAMETERS-----\r\n\
                    -----BEGIN EC PRIVATE KEY-----\r\nQUJD\r\nREVG \r\n-----END EC PRIVATE KEY-----\r\n\
                    trailing\r\n";
        let block = private_key(text.as_bytes()).unwrap();
        assert_eq!(block.label, b"EC PRIVATE KEY");
        assert_eq!(*block.content, b"ABCDEF");
        assert!(!block.encrypted);
    }

    #[test]
    fn headers_are_read() {
        let text = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                    DEK-Info: AES-128-CBC,00\n folded\n\nQUJD\n-----END RSA PRIVATE KEY-----";
        let block = private_key(text.as_bytes()).unwrap();
        assert!(block.encrypted);
        assert_eq!(*block.content, b"ABC");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let begin = "-----BEGIN PRIVATE KEY-----\n";
        assert_eq!(error(""), KeyError::Pem("no BEGIN line"));
        assert_eq!(error(begin), KeyError::Pem("no END line"));
        assert_eq!(
            error("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"),
            KeyError::Pem("no block is a private key")
        );
        assert_eq!(
            error(&format!("{begin}QUJD\n-----END RSA PRIVATE KEY-----")),
            KeyError::Pem("END does not name what BEGIN names")
        );
        assert_eq!(
            error(&format!("{begin}QUJD%\n-----END PRIVATE KEY-----")),
            KeyError::Pem("content is not base64")
        );
    }
}
