//! The subsystem `sftp`: version 3 of the protocol (draft-ietf-secsh-filexfer-02) with OpenSSH's
//! extensions.
//!
//! ```text
//!  serve         streams: whole packets in, replies out, one batch at a time on a thread
//!  server        a packet in, a reply out; extensions has those of OpenSSH
//!  handles attributes paths longname      what they are made of
//!  packet        numbers, statuses, the buffer of replies
//! ```
//!
//! Owns everything between the bytes of a channel and the file system. The session it belongs to,
//! and the exit status that the client is told, are the daemon's. There is no root but the
//! container's, and relative paths begin at the daemon's working directory, as in the reference.
//!
//! Nothing that a client sends ends a session but a packet whose length cannot be: all else is
//! answered with a status.

use std::ffi::OsString;

use crate::accounts::Sources;

mod attributes;
mod extensions;
mod handles;
mod longname;
mod packet;
mod paths;
mod serve;
mod server;
#[cfg(test)]
mod tests;

pub use packet::{Code, Replies, Status};
pub use serve::{Breach, Ended, serve};
pub use server::Server;

/// The version of the protocol that we speak.
pub const VERSION: u32 = 3;

/// Longest packet without its length field, as in OpenSSH. A longer one ends the session.
pub const LONGEST_PACKET: usize = 256 * 1024;

/// Most bytes that one READ gets, as in OpenSSH: a packet less the room for its other fields.
pub const LONGEST_READ: usize = LONGEST_PACKET - 1024;

/// Most bytes that one WRITE should have, as in OpenSSH. A few more fit into a packet and are taken.
pub const LONGEST_WRITE: usize = LONGEST_PACKET - 1024;

/// Most files and directories that a session may have open. Clients need one for each transfer;
/// descriptors are the container's, and some 20,000 at most.
pub const MOST_HANDLES: usize = 1024;

/// Most entries of a directory in one reply: fewer round trips than with OpenSSH's 100.
const MOST_ENTRIES: usize = 256;

/// After so many bytes of entries a reply ends, so that clients get no longer one than the 34,000
/// bytes that all have to take (section 3), the last entry being longer than usual apart.
const MOST_ENTRY_BYTES: usize = 32 * 1024;

/// What a session needs to know of the daemon.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The daemon's `HOME`. Where it is empty, the home is the one in passwd, else the root.
    pub home: OsString,
    /// Where users and groups get their names from.
    pub accounts: Sources,
}
