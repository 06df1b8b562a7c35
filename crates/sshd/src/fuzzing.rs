//! What fuzz targets reach of the daemon beyond its API, built for them alone (`--cfg fuzzing`): a
//! connection behind its login, and what scp reads out of a command. What must hold of them is for the
//! targets to say.
//!
//! In these builds nothing that a client says starts a process ([`crate::process`]), listens on a
//! given TCP port ([`crate::forward`]), or leaves the machine (`connector`).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use ssh_proto::Error;
use ssh_tokio::session::Session;
use ssh_tokio::{Authenticated, Socket};

use crate::connection::Connection;
use crate::scp::command::{Command, Role};
use crate::scp::glob;
use crate::server::{Daemon, Server};

/// Serves one connection whose user is in, up to its end; why it ended.
pub async fn serve<S: Socket>(server: Server, wire: Authenticated<S>) -> Error {
    let session = Session::new(wire, server.bounds.of_connection());
    let mut connection = Connection::new(Arc::new(Daemon::new(server)), session);
    let error = connection.run().await;
    connection.end(error).await
}

/// What a command line of scp asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScpCommand {
    /// `-f`: we send.
    pub is_source: bool,
    /// `-r` of a source.
    pub recursive: bool,
    /// `-d` of a target.
    pub must_be_directory: bool,
    /// `-p`.
    pub preserve: bool,
    /// What to send, or the one place to receive to.
    pub names: Vec<Vec<u8>>,
}

/// Reads a command line; the error is what the user is told.
pub fn scp_command(line: &[u8]) -> Result<ScpCommand, String> {
    let Command { role, preserve } = Command::parse(line).map_err(|error| error.to_string())?;
    Ok(match role {
        Role::Source { names, recursive } => ScpCommand {
            is_source: true,
            recursive,
            must_be_directory: false,
            preserve,
            names,
        },
        Role::Target {
            path,
            must_be_directory,
        } => ScpCommand {
            is_source: false,
            recursive: false,
            must_be_directory,
            preserve,
            names: vec![OsString::from(path).into_vec()],
        },
    })
}

/// Whether a name matches a pattern; `None` if the pattern is malformed.
pub fn is_match(pattern: &[u8], name: &[u8]) -> Option<bool> {
    glob::is_match(pattern, name)
}

/// The paths that match, unless there are too many.
pub fn expand(pattern: &[u8]) -> Option<Vec<PathBuf>> {
    glob::expand(pattern).ok()
}
