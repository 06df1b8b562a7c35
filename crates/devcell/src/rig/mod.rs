//! Owns running the real programs: finding them, starting them as child processes with
//! configurations of their own, reading what they print, and never leaving one behind.
//!
//! [`Cell`] is the whole; [`Process`] is one program in it.

mod binaries;
mod cell;
mod cf;
mod config;
mod files;
mod instance_tls;
mod leftovers;
mod output;
mod ports;
mod process;
mod web;

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

pub use binaries::{BIN_DIR_VARIABLE, Binaries};
pub use cell::{Cell, Login};
pub use config::{CcAccess, CellOptions, LogLevel};
pub use instance_tls::{ClientCertificate, InstanceCertificate, InstanceTls};
pub use output::Mark;
pub use ports::free_port;
pub use process::{Process, Signal};

use crate::certs::CertError;
use crate::keys::KeyError;
use crate::server::StartError;

/// The cell could not start or a program in it did not behave. Every text is one line.
#[derive(Debug, thiserror::Error)]
pub enum RigError {
    /// A program is not where it was looked for.
    #[error(
        "{name} is not in {}: build it with `cargo build -p sshd -p ssh-proxy`, or set \
         {BIN_DIR_VARIABLE} to the directory that has it",
        searched.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(" or ")
    )]
    NotBuilt {
        /// The program.
        name: &'static str,
        /// Where it is not.
        searched: Vec<PathBuf>,
    },
    /// A program could not be started at all.
    #[error("cannot run {what}: {error}")]
    Spawn {
        /// The program.
        what: String,
        /// Why.
        error: io::Error,
    },
    /// A program ended when it should run.
    #[error("{name} ended ({status}); the last it printed: {last_line}")]
    Ended {
        /// The program.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The last line of its output.
        last_line: String,
        /// Whether it ended because its port was taken.
        port_taken: bool,
    },
    /// A program runs but did not say that it is ready, or not what a test waits for.
    #[error("{name} did not print \"{expected}\" in time; the last it printed: {last_line}")]
    Silent {
        /// The program.
        name: String,
        /// What was expected.
        expected: String,
        /// The last line of its output.
        last_line: String,
    },
    /// The port asked for is not free.
    #[error(
        "port {port} on 127.0.0.1 is already taken; choose another with --port N (0 takes any \
         free one)"
    )]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// A file or directory of the cell could not be made.
    #[error("cannot write {what}: {error}")]
    File {
        /// What it was for.
        what: String,
        /// Why.
        error: io::Error,
    },
    /// No free port could be found.
    #[error("cannot get a free port: {0}")]
    NoPort(io::Error),
    /// A certificate could not be made.
    #[error(transparent)]
    Certificates(#[from] CertError),
    /// A key could not be made.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// A double of the platform could not start.
    #[error("a double of the platform: {0}")]
    Double(#[from] StartError),
}
