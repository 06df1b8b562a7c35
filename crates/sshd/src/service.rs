//! Services: what runs for a session inside the daemon instead of a process of the container.
//!
//! Owns the task of one and the pipes in memory that join it to its channel. What a service does is in
//! [`crate::scp`] and [`crate::sftp`].
//!
//! Nobody ends a service but its input: when the client goes, in whichever way, it reads the end, and
//! its output breaks. So what has arrived of a file gets to the file.

use std::ffi::OsString;
use std::future::Future;

use ssh_tokio::session::Pipes;
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;

use crate::process::ExitOutcome;
use crate::{scp, sftp};

/// Bytes on their way between a service and its channel: several packets, so that both ends work in
/// large steps. A pipe takes memory only for what is in it.
const PIPE: usize = 256 * 1024;

/// A service that was started.
#[derive(Debug)]
pub(crate) struct Service(JoinHandle<u32>);

impl Service {
    /// Starts scp for a command that is its own.
    ///
    /// Must be called in a tokio runtime, as [`Self::sftp`].
    pub(crate) fn scp(command: Vec<u8>) -> (Self, Pipes) {
        Self::start(|input, output, errors| async move {
            let streams = scp::Streams {
                input,
                output,
                errors,
            };
            scp::run(&command, streams).await
        })
    }

    /// Starts sftp for a user with this home.
    pub(crate) fn sftp(home: OsString) -> (Self, Pipes) {
        Self::start(|input, output, _| async move {
            let context = sftp::Context {
                home,
                ..sftp::Context::default()
            };
            sftp::serve(input, output, context).await.exit_status()
        })
    }

    /// Starts what reads, writes, and complains on pipes, and gives an exit status in the end.
    fn start<F>(run: impl FnOnce(DuplexStream, DuplexStream, DuplexStream) -> F) -> (Self, Pipes)
    where
        F: Future<Output = u32> + Send + 'static,
    {
        // One pipe for each direction: a closed one must not take the other with it.
        let (sink, input) = duplex(PIPE);
        let (output, source) = duplex(PIPE);
        let (errors, error_source) = duplex(PIPE);
        let task = tokio::spawn(run(input, output, errors));
        let pipes = Pipes {
            sink: Some(Box::new(sink)),
            source: Some(Box::new(source)),
            errors: Some(Box::new(error_source)),
        };
        (Self(task), pipes)
    }

    /// Waits for its end. May be dropped and called again, up to the end.
    pub(crate) async fn wait(&mut self) -> ExitOutcome {
        match (&mut self.0).await {
            Ok(status) => ExitOutcome::Code(status),
            // A bug of ours, which has ended this service and nothing else.
            Err(_) => ExitOutcome::Unknown,
        }
    }
}
