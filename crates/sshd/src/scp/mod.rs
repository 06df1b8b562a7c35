//! scp inside the daemon, so that copying works where the root file system has no scp.
//!
//! Owns what a command `scp -f …` or `scp -t …` means and the copying itself, joined to three
//! streams. It leaves to others how a session gets here and where the streams lead. There is no RFC:
//! the protocol is the one of rcp as OpenSSH's `scp -O` speaks it.
//!
//! | module    | owns                                                            |
//! |-----------|-----------------------------------------------------------------|
//! | `command` | the command line: words, options, what is asked for             |
//! | `glob`    | patterns in the names of what is to be sent                     |
//! | `message` | the protocol's lines, parsed once                               |
//! | `peer`    | the other side: its lines, its answers, what it is told         |
//! | `disk`    | system calls that may wait, away from the daemon's only thread  |
//! | `source`  | `-f`: files and directories go out                              |
//! | `target`  | `-t`: files and directories come in                             |
//!
//! A user who may copy may also run a shell, so nothing here guards the container against its user.
//! What is guarded is the daemon, against running out of anything, and the user, against names that
//! lead elsewhere than the place asked for.

pub(crate) mod command;
mod disk;
pub(crate) mod glob;
mod message;
mod peer;
mod source;
mod target;

use tokio::io::{AsyncRead, AsyncWrite};

use command::{Command, Role};
use peer::Peer;

/// Most directories inside each other, of what is sent and of what is received.
///
/// Each level of a directory that is sent holds one descriptor, of which a container has about
/// 16,000. Trees of programs are some thirty deep; a path of 4,096 bytes ends at 2,047.
const MAX_DEPTH: usize = 512;

/// The exit status if everything was copied.
const SUCCESS: u32 = 0;

/// The exit status if anything was not.
const FAILURE: u32 = 1;

/// The streams of a session.
pub struct Streams<R, W, E> {
    /// What the client sends.
    pub input: R,
    /// What the client receives as output.
    pub output: W,
    /// What the client's user reads.
    pub errors: E,
}

/// Whether a command of an `exec` request (RFC 4254 section 6.5) is for [`run`] and not for a shell.
pub fn is_scp(command: &[u8]) -> bool {
    command
        .trim_ascii_start()
        .strip_prefix(b"scp")
        .is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
}

/// Runs a command for which [`is_scp`] is true, and returns its exit status.
///
/// Must be called in a tokio runtime. Ends when the client has all it asked for, when the protocol is
/// broken, and when the input ends or the output is closed. Then output and errors are shut down.
/// Nothing is ever waited for but the client and the disk; while it waits for the client, it holds no
/// thread.
pub async fn run<R, W, E>(command: &[u8], streams: Streams<R, W, E>) -> u32
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    E: AsyncWrite + Unpin,
{
    let mut peer = Peer::new(streams);
    // Whatever ended it early was told or has no one left to tell it to.
    let ended = match Command::parse(command) {
        Err(error) => peer.complain(error.to_string().as_bytes()).await,
        Ok(Command { role, preserve }) => match role {
            Role::Source { names, recursive } => {
                source::send(&mut peer, names, recursive, preserve).await
            }
            Role::Target {
                path,
                must_be_directory,
            } => target::receive(&mut peer, path, must_be_directory, preserve).await,
        },
    };
    if peer.close(ended.is_ok()).await {
        SUCCESS
    } else {
        FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::is_scp;

    #[test]
    fn the_first_word_tells_scp() {
        for command in ["scp", " \t\nscp", "scp -t x", "scp\n", "scp\t-f"] {
            assert!(is_scp(command.as_bytes()), "{command:?}");
        }
        for command in [
            "",
            "scpx",
            "scp-x",
            "/usr/bin/scp -t x",
            "'scp' -t x",
            "ls scp",
        ] {
            assert!(!is_scp(command.as_bytes()), "{command:?}");
        }
    }
}
