//! The identification that each side sends first (RFC 4253 section 4.2).

use super::Role;
use super::buffer::Buffer;
use crate::error::Error;

/// The longest line, with its CR LF.
const LONGEST_LINE: usize = 255;

/// Lines that a server may send before its identification. The RFC gives no bound.
const MOST_LINES: usize = 32;

/// Reads the peer's identification line by line.
#[derive(Default)]
pub(super) struct Reading {
    lines: usize,
}

impl Reading {
    /// The peer's identification without its line end, once all of it is there.
    pub(super) fn read(
        &mut self,
        role: Role,
        input: &mut Buffer,
    ) -> Result<Option<Vec<u8>>, Error> {
        loop {
            let window = input.filled();
            let Some(end) = window
                .iter()
                .take(LONGEST_LINE)
                .position(|byte| *byte == b'\n')
            else {
                return if window.len() < LONGEST_LINE && !hopeless(role, window) {
                    Ok(None)
                } else {
                    Err(Error::Version("no identification line"))
                };
            };
            let line = window.get(..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
            input.consume(end + 1);
            if line.starts_with(b"SSH-") {
                return check(role, line).map(Some);
            }
            self.lines += 1;
            if role == Role::Server || self.lines >= MOST_LINES {
                return Err(Error::Version("no identification line"));
            }
        }
    }
}

/// True when no continuation of these bytes can be a client's identification, so that an HTTP client
/// need not be waited for. A server may send other lines first.
fn hopeless(role: Role, start: &[u8]) -> bool {
    role == Role::Server
        && !start
            .iter()
            .zip(b"SSH-")
            .all(|(ours, theirs)| ours == theirs)
}

fn check(role: Role, line: Vec<u8>) -> Result<Vec<u8>, Error> {
    let version_2 = line.starts_with(b"SSH-2.0-")
        // RFC 4253 section 5.1: a client takes 1.99 as 2.0.
        || (role == Role::Client && line.starts_with(b"SSH-1.99-"));
    if !version_2 {
        return Err(Error::Version("protocol version is not 2.0"));
    }
    if line.contains(&0) {
        return Err(Error::Version("identification contains NUL"));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(role: Role, bytes: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let mut input = Buffer::default();
        input.append(bytes);
        Reading::default().read(role, &mut input)
    }

    #[test]
    fn the_line_end_is_not_part_of_it() {
        for line in [&b"SSH-2.0-x y\r\n"[..], b"SSH-2.0-x y\n"] {
            assert_eq!(read(Role::Server, line).unwrap().unwrap(), b"SSH-2.0-x y");
        }
    }

    #[test]
    fn more_is_waited_for_only_while_it_can_help() {
        assert_eq!(read(Role::Server, b""), Ok(None));
        assert_eq!(read(Role::Server, b"SS"), Ok(None));
        assert_eq!(read(Role::Server, b"SSH-2.0-abc"), Ok(None));
        assert!(read(Role::Server, b"GET").is_err());
        assert_eq!(read(Role::Client, b"Hello"), Ok(None));
        assert!(read(Role::Client, &[b'a'; 255]).is_err());
        assert!(
            read(
                Role::Server,
                &[b"SSH-2.0-".as_slice(), &[b'a'; 300]].concat()
            )
            .is_err()
        );
    }

    #[test]
    fn only_a_server_may_send_lines_before() {
        assert!(read(Role::Server, b"hello\r\nSSH-2.0-x\r\n").is_err());
        assert_eq!(
            read(Role::Client, b"hello\r\nSSH-2.0-x\r\n")
                .unwrap()
                .unwrap(),
            b"SSH-2.0-x"
        );
        assert!(read(Role::Client, &b"hello\r\n".repeat(40)).is_err());
    }

    #[test]
    fn other_versions_and_nul_are_refused() {
        assert!(read(Role::Server, b"SSH-1.5-x\r\n").is_err());
        assert!(read(Role::Server, b"SSH-1.99-x\r\n").is_err());
        assert!(read(Role::Client, b"SSH-1.99-x\r\n").is_ok());
        assert!(read(Role::Server, b"SSH-2.0-x\0y\r\n").is_err());
    }
}
