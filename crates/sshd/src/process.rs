//! A session's process: the shell, its streams, its signals and its end.
//!
//! Owns finding a shell, starting it with pipes or on a terminal, what it inherits (three
//! descriptors, the working directory and the umask, nothing else), and the words of RFC 4254 for
//! signals and ends. What a user may start, and when, is the session's; scp and sftp never get here.
//!
//! Nobody waits for processes but tokio: [`Child::wait`] reaps, and a [`Child`] that is dropped keeps
//! running and is reaped by the runtime when it ends.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;

use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::environment::Environment;
use crate::pty::{Master, Pty, Reader, Size, Writer};
use crate::sys;

/// The shells to try, in this order; names without a slash are looked for in the daemon's `PATH`.
const SHELLS: [&str; 5] = ["/bin/bash", "/usr/local/bin/bash", "/bin/sh", "bash", "sh"];

/// One direction of a process's streams, to read.
pub type BoxAsyncRead = Box<dyn AsyncRead + Send + Unpin>;

/// One direction of a process's streams, to write.
pub type BoxAsyncWrite = Box<dyn AsyncWrite + Send + Unpin>;

/// What to run in the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program<'a> {
    /// The shell itself, not as a login shell, as in the reference.
    Shell,
    /// A command line for the shell.
    Command(&'a [u8]),
}

/// A process and its streams.
pub struct Spawned {
    /// The process.
    pub child: Child,
    /// Its input. Dropping it is the end of file, except on a terminal.
    pub stdin: BoxAsyncWrite,
    /// Its output. On a terminal this ends only if [`Child::wait`] is polled meanwhile, should the
    /// terminal outlive the process in other hands.
    pub stdout: BoxAsyncRead,
    /// Its errors; none on a terminal, which has one stream for both.
    pub stderr: Option<BoxAsyncRead>,
}

/// Why a process was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is no shell in this file system.
    #[error("no shell found")]
    NoShell,
    /// The command has a NUL in it, which no process can be given.
    #[error("the command contains a NUL byte")]
    NulInCommand,
    /// There are too many processes, descriptors or pages already; later it may succeed.
    #[error("cannot start a process: {0}")]
    Exhausted(#[source] io::Error),
    /// The shell cannot be executed.
    #[error("cannot execute {}: {source}", shell.display())]
    Exec {
        /// The shell that was found.
        shell: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Starts `program` in a session of its own, with pipes or on `terminal`.
///
/// Must be called in a tokio runtime. Takes the time of one fork and exec.
pub fn spawn(
    program: Program<'_>,
    environment: &Environment,
    terminal: Option<Pty>,
) -> Result<Spawned, SpawnError> {
    // What a fuzzer makes up is not run: it is as in a container without a shell.
    let shell = find_shell(environment.daemon_path()).filter(|_| cfg!(not(fuzzing)));
    let shell = shell.ok_or(SpawnError::NoShell)?;
    let mut command = Command::new(&shell);
    if let Program::Command(line) = program {
        if line.contains(&0) {
            return Err(SpawnError::NulInCommand);
        }
        command.arg("-c").arg(OsStr::from_bytes(line));
    }
    command.env_clear().envs(environment.variables());
    sys::child::isolate(&mut command, terminal.is_some());
    match terminal {
        None => spawn_with_pipes(command),
        Some(pty) => spawn_on_terminal(command, pty),
    }
    .map_err(|source| SpawnError::new(shell, source))
}

fn spawn_with_pipes(mut command: Command) -> io::Result<Spawned> {
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped());
    command.stderr(Stdio::piped());
    let mut inner = tokio::process::Command::from(command).spawn()?;
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (inner.stdin.take(), inner.stdout.take(), inner.stderr.take())
    else {
        return Err(io::Error::other("a pipe is missing"));
    };
    Ok(Spawned {
        child: Child {
            inner,
            terminal: None,
        },
        stdin: Box::new(stdin),
        stdout: Box::new(stdout),
        stderr: Some(Box::new(stderr)),
    })
}

fn spawn_on_terminal(mut command: Command, pty: Pty) -> io::Result<Spawned> {
    let (master, slave) = pty.into_parts();
    let duplicate = || OwnedFd::try_clone(&slave).map(Stdio::from);
    command.stdin(duplicate()?);
    command.stdout(duplicate()?);
    command.stderr(duplicate()?);
    // The last of our references to the slave go with `command` and `slave`: only then can the
    // master see its end.
    let inner = tokio::process::Command::from(command).spawn()?;
    Ok(Spawned {
        child: Child {
            inner,
            terminal: Some(Arc::clone(&master)),
        },
        stdin: Box::new(Writer(Arc::clone(&master))),
        stdout: Box::new(Reader::new(master)),
        stderr: None,
    })
}

impl SpawnError {
    fn new(shell: PathBuf, source: io::Error) -> Self {
        let exhausted = [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE];
        match source.raw_os_error() {
            Some(errno) if exhausted.contains(&errno) => Self::Exhausted(source),
            _ => Self::Exec { shell, source },
        }
    }
}

/// A process that was started.
#[derive(Debug)]
pub struct Child {
    inner: tokio::process::Child,
    terminal: Option<Arc<Master>>,
}

impl Child {
    /// Its id, until [`Child::wait`] has told its end.
    pub fn pid(&self) -> Option<u32> {
        self.inner.id()
    }

    /// Waits for its end. May be dropped and called again, also after the end.
    ///
    /// On a terminal, this is also the end of the output; see [`Spawned::stdout`].
    pub async fn wait(&mut self) -> ExitOutcome {
        let outcome = match self.inner.wait().await {
            Ok(status) => ExitOutcome::from(status),
            Err(_) => ExitOutcome::Unknown,
        };
        if let Some(terminal) = &self.terminal {
            terminal.leader_ended();
        }
        outcome
    }

    /// Delivers a signal by its name in RFC 4254 section 6.10, without `SIG`, to this process alone.
    ///
    /// False if the name is unknown or the process has ended, neither of which matters to a client.
    pub fn signal(&self, name: &[u8]) -> bool {
        let known = RFC_SIGNALS.iter().find(|(_, n)| n.as_bytes() == name);
        let (Some(&(signal, _)), Some(pid)) = (known, self.id()) else {
            return false;
        };
        kill_process(pid, signal).is_ok()
    }

    /// Tells the terminal's programs, or without one this process, that the user is gone.
    ///
    /// Goes to the process's own group and to the one in the foreground. What ignores it is cut off
    /// from the terminal when that closes.
    pub fn hang_up(&self) {
        let Some(terminal) = &self.terminal else {
            self.signal(b"HUP");
            return;
        };
        let groups = [self.id(), terminal.foreground()];
        for group in groups.into_iter().flatten() {
            // A group may be gone in the meantime.
            _ = kill_process_group(group, Signal::HUP);
        }
    }

    /// Changes the size of its terminal, if it has one.
    pub fn resize(&self, size: Size) -> io::Result<()> {
        match &self.terminal {
            Some(terminal) => terminal.resize(size),
            None => Ok(()),
        }
    }

    /// Its id as long as nobody else can have it.
    fn id(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.inner.id()?).ok()?)
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitOutcome {
    /// By itself, with this code.
    Code(u32),
    /// By a signal.
    Signal {
        /// The name without `SIG`. Where RFC 4254 has no name, the usual one (`BUS`), since the
        /// reference's empty name tells users nothing; `RT` for all real-time signals.
        name: &'static str,
        /// Whether there is a core dump.
        core_dumped: bool,
    },
    /// The system did not say.
    Unknown,
}

impl From<ExitStatus> for ExitOutcome {
    fn from(status: ExitStatus) -> Self {
        if let Some(code) = status.code().and_then(|code| u32::try_from(code).ok()) {
            return Self::Code(code);
        }
        let name = |signal| {
            let mut all = RFC_SIGNALS.iter().chain(&OTHER_SIGNALS);
            let known = all.find(|(known, _)| known.as_raw() == signal);
            known.map_or("RT", |(_, name)| name)
        };
        status
            .signal()
            .map_or(Self::Unknown, |signal| Self::Signal {
                name: name(signal),
                core_dumped: status.core_dumped(),
            })
    }
}

/// The signals that RFC 4254 section 6.10 names.
const RFC_SIGNALS: [(Signal, &str); 13] = [
    (Signal::ABORT, "ABRT"),
    (Signal::ALARM, "ALRM"),
    (Signal::FPE, "FPE"),
    (Signal::HUP, "HUP"),
    (Signal::ILL, "ILL"),
    (Signal::INT, "INT"),
    (Signal::KILL, "KILL"),
    (Signal::PIPE, "PIPE"),
    (Signal::QUIT, "QUIT"),
    (Signal::SEGV, "SEGV"),
    (Signal::TERM, "TERM"),
    (Signal::USR1, "USR1"),
    (Signal::USR2, "USR2"),
];

/// The others that can end a process.
const OTHER_SIGNALS: [(Signal, &str); 10] = [
    (Signal::BUS, "BUS"),
    (Signal::IO, "IO"),
    (Signal::POWER, "PWR"),
    (Signal::PROF, "PROF"),
    (Signal::STKFLT, "STKFLT"),
    (Signal::SYS, "SYS"),
    (Signal::TRAP, "TRAP"),
    (Signal::VTALARM, "VTALRM"),
    (Signal::XCPU, "XCPU"),
    (Signal::XFSZ, "XFSZ"),
];

/// The first shell that can be executed.
fn find_shell(path: Option<&OsStr>) -> Option<PathBuf> {
    SHELLS.iter().find_map(|shell| {
        if shell.starts_with('/') {
            return Some(PathBuf::from(shell)).filter(|shell| is_executable(shell));
        }
        // Relative directories are passed over, as Go does: the program would depend on the place.
        env::split_paths(path.unwrap_or_default())
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(shell))
            .find(|shell| is_executable(shell))
    })
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}
