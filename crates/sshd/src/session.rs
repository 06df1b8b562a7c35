//! One session channel (RFC 4254 section 6): what its requests prepare, the process that they start,
//! and when it is over.
//!
//! ```text
//!  preparing ──exec, shell──► running ──process ended──► ended, and over once all output is sent
//! ```

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use ssh_proto::connection::request::{Env, PtyReq, SessionRequest, Signal, WindowChange};
use ssh_tokio::session::Pipes;
use tokio::sync::OwnedSemaphorePermit;

use crate::environment::Environment;
use crate::process::{self, Child, ExitOutcome, Program};
use crate::pty::{Pty, Size};
use crate::scp;
use crate::server::Daemon;
use crate::service::Service;

/// The subsystem that there is.
const SFTP: &[u8] = b"sftp";

/// Where processes look for the user's agent.
const AGENT_VARIABLE: &[u8] = b"SSH_AUTH_SOCK";

/// What a request has led to.
pub(crate) enum Task {
    /// Nothing beyond its reply.
    Nothing,
    /// A process runs; its streams are the channel's.
    Started(Pipes),
    /// No process could be started, for this reason; the session is over.
    Failed(String),
}

enum State {
    Preparing {
        environment: Environment,
        terminal: Option<Pty>,
    },
    Running {
        work: Work,
        drained: bool,
    },
    Ended {
        outcome: ExitOutcome,
    },
    Over,
}

/// What runs for a session.
#[derive(Debug)]
pub(crate) enum Work {
    /// A process of the container.
    Process(Child),
    /// Something inside the daemon.
    Service(Service),
}

impl Work {
    /// Waits for its end. May be dropped and called again, up to the end.
    pub(crate) async fn wait(&mut self) -> ExitOutcome {
        match self {
            Self::Process(child) => child.wait().await,
            Self::Service(service) => service.wait().await,
        }
    }
}

/// One session.
pub(crate) struct SessionChannel {
    daemon: Arc<Daemon>,
    state: State,
    /// Kept as long as the terminal may be there.
    terminal_permit: Option<OwnedSemaphorePermit>,
    /// Keepalive intervals since the last answer; none is outstanding at 0.
    unanswered: u32,
}

impl SessionChannel {
    /// A session that nothing was asked of yet.
    pub(crate) fn new(daemon: Arc<Daemon>, environment: Environment) -> Self {
        Self {
            daemon,
            state: State::Preparing {
                environment,
                terminal: None,
            },
            terminal_permit: None,
            unanswered: 0,
        }
    }

    /// Deals with a channel request; `None` is a refusal.
    pub(crate) fn request(&mut self, name: &str, payload: &[u8]) -> Option<Task> {
        // A malformed request fails like an unknown one.
        match SessionRequest::parse(name, payload).ok().flatten()? {
            SessionRequest::Env(env) => self.set(env)?,
            SessionRequest::Pty(pty) => self.open_terminal(&pty)?,
            SessionRequest::WindowChange(change) => self.resize(change),
            SessionRequest::Signal(signal) => self.signal(signal),
            SessionRequest::Exec(exec) if scp::is_scp(exec.command) => {
                return self.serve(|_| Service::scp(exec.command.to_vec()));
            }
            SessionRequest::Exec(exec) => return self.start(Program::Command(exec.command)),
            SessionRequest::Shell => return self.start(Program::Shell),
            SessionRequest::Subsystem(subsystem) if subsystem.name == SFTP => {
                return self.serve(|environment| Service::sftp(environment.home().to_owned()));
            }
            SessionRequest::Subsystem(_)
            | SessionRequest::AuthAgent
            | SessionRequest::ExitStatus(_)
            | SessionRequest::ExitSignal(_) => return None,
        }
        Some(Task::Nothing)
    }

    /// Tells the session's processes where the user's agent is; false when it is too late.
    pub(crate) fn set_agent(&mut self, socket: &Path) -> bool {
        match &mut self.state {
            State::Preparing { environment, .. } => {
                let path = socket.as_os_str().as_bytes();
                environment.set(AGENT_VARIABLE, path).is_ok()
            }
            _ => false,
        }
    }

    /// What runs, while it runs.
    pub(crate) fn running(&mut self) -> Option<&mut Work> {
        match &mut self.state {
            State::Running { work, .. } => Some(work),
            _ => None,
        }
    }

    /// What ran has ended; true if all its output is sent, so that the session is over.
    pub(crate) fn exited(&mut self, outcome: ExitOutcome) -> bool {
        let over = matches!(self.state, State::Running { drained: true, .. });
        self.state = if over {
            State::Over
        } else {
            State::Ended { outcome }
        };
        over
    }

    /// All output is sent; the way the process ended, if it has, so that the session is over.
    pub(crate) fn drained(&mut self) -> Option<ExitOutcome> {
        match &mut self.state {
            State::Running { drained, .. } => *drained = true,
            State::Ended { outcome } => {
                let outcome = *outcome;
                self.state = State::Over;
                return Some(outcome);
            }
            State::Preparing { .. } | State::Over => {}
        }
        None
    }

    /// The client is gone: programs on a terminal are hung up. Others see their pipes close, as under
    /// any SSH server.
    pub(crate) fn hang_up(&self) {
        if let (Some(child), true) = (self.process(), self.has_terminal()) {
            child.hang_up();
        }
    }

    /// Whether the client asked for a terminal and got one.
    pub(crate) fn has_terminal(&self) -> bool {
        self.terminal_permit.is_some()
    }

    fn process(&self) -> Option<&Child> {
        match &self.state {
            State::Running {
                work: Work::Process(child),
                ..
            } => Some(child),
            _ => None,
        }
    }

    /// Another keepalive interval has passed. For a session on a terminal, how many there were
    /// without an answer before; a keepalive is to be sent at 0.
    pub(crate) fn next_keepalive(&mut self) -> Option<u32> {
        if !self.has_terminal() || !matches!(self.state, State::Running { .. }) {
            return None;
        }
        let unanswered = self.unanswered;
        self.unanswered += 1;
        Some(unanswered)
    }

    /// The client answered a keepalive, and be it with a failure.
    pub(crate) fn answered_keepalive(&mut self) {
        self.unanswered = 0;
    }

    /// After the start, a variable is accepted and has no effect, as in the reference.
    fn set(&mut self, env: Env<'_>) -> Option<()> {
        match &mut self.state {
            State::Preparing { environment, .. } => environment.set(env.name, env.value).ok(),
            _ => Some(()),
        }
    }

    /// A second terminal replaces the first.
    fn open_terminal(&mut self, request: &PtyReq<'_>) -> Option<()> {
        let State::Preparing {
            environment,
            terminal,
        } = &mut self.state
        else {
            return None;
        };
        // The first one goes before there is a second.
        *terminal = None;
        self.terminal_permit = None;
        let permit = self.daemon.pty()?;
        let pty = Pty::open(size(request.size), request.modes).ok()?;
        environment.set(b"TERM", request.term).ok()?;
        *terminal = Some(pty);
        self.terminal_permit = Some(permit);
        Some(())
    }

    /// Without a terminal there is nothing to resize, and nothing to complain about.
    fn resize(&mut self, change: WindowChange) {
        let size = size(change.size);
        // A terminal that cannot be resized keeps its size.
        let _ = match &self.state {
            State::Preparing {
                terminal: Some(terminal),
                ..
            } => terminal.resize(size),
            _ => self.process().map_or(Ok(()), |child| child.resize(size)),
        };
    }

    /// Signals that are unknown, or come too late or too early, do nothing.
    fn signal(&mut self, signal: Signal<'_>) {
        if let Some(child) = self.process() {
            child.signal(signal.name);
        }
    }

    /// Starts a service as the one thing that a session runs. It has no use for a terminal.
    fn serve(&mut self, start: impl FnOnce(&Environment) -> (Service, Pipes)) -> Option<Task> {
        let State::Preparing { environment, .. } = &self.state else {
            return None;
        };
        let (service, pipes) = start(environment);
        self.terminal_permit = None;
        self.state = State::Running {
            work: Work::Service(service),
            drained: false,
        };
        Some(Task::Started(pipes))
    }

    /// Starts the one process of a session; a second start is refused.
    fn start(&mut self, program: Program<'_>) -> Option<Task> {
        let State::Preparing {
            environment,
            terminal,
        } = &mut self.state
        else {
            return None;
        };
        let spawned = process::spawn(program, environment, terminal.take());
        Some(match spawned {
            Ok(spawned) => {
                self.state = State::Running {
                    work: Work::Process(spawned.child),
                    drained: false,
                };
                Task::Started(Pipes {
                    sink: Some(spawned.stdin),
                    source: Some(spawned.stdout),
                    errors: spawned.stderr,
                })
            }
            Err(error) => {
                self.state = State::Over;
                Task::Failed(error.to_string())
            }
        })
    }
}

fn size(size: ssh_proto::connection::request::Size) -> Size {
    Size {
        columns: size.columns,
        rows: size.rows,
    }
}
