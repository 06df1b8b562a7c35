//! Services: what runs for a session inside the daemon instead of a process of the container.
//!
//! Owns the task of one and the pipes in memory that join it to its channel. What a service does is in
//! [`crate::scp`] and [`crate::sftp`].
//!
//! Nobody ends a service but its input: when the client goes, in whichever way, it reads the end, and
//! its output breaks. So what has arrived of a file gets to the file.

use std::future::Future;

use ssh_tokio::session::Pipes;
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;

use crate::process::ExitOutcome;

/// Bytes on their way between a service and its channel: several packets, so that both ends work in
/// large steps. A pipe takes memory only for what is in it.
const PIPE: usize = 256 * 1024;

/// A service that was started.
#[derive(Debug)]
pub(crate) struct Service(JoinHandle<u32>);

/// The service's ends of its pipes.
pub(crate) struct Streams {
    /// What the client sends.
    pub(crate) input: DuplexStream,
    /// What goes to the client.
    pub(crate) output: DuplexStream,
    /// What goes to the client's standard error.
    pub(crate) errors: DuplexStream,
}

impl Service {
    /// Starts a service, which gives the exit status in the end.
    ///
    /// Must be called in a tokio runtime.
    pub(crate) fn start<F>(run: impl FnOnce(Streams) -> F) -> (Self, Pipes)
    where
        F: Future<Output = u32> + Send + 'static,
    {
        // One pipe for each direction: a closed one must not take the other with it.
        let (sink, input) = duplex(PIPE);
        let (output, source) = duplex(PIPE);
        let (errors, error_source) = duplex(PIPE);
        let task = tokio::spawn(run(Streams {
            input,
            output,
            errors,
        }));
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
