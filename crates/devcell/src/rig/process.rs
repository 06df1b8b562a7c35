//! Owns one program as a child process: start, readiness, signals, restart, and the promise that
//! it does not outlive the rig.
//!
//! The promise has two parts. Dropping a [`Process`] kills and reaps it synchronously, so it holds
//! without a runtime and when a test panics. And each child has a guard, a three-word shell script
//! that holds a pipe from the rig and kills the child when the pipe breaks: this holds when the
//! rig itself is killed. (`PR_SET_PDEATHSIG` would need `unsafe`, and is lost on re-exec.)

use std::ffi::OsString;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use tokio::time::{Instant, sleep, timeout, timeout_at};

pub use rustix::process::Signal;

use super::RigError;
use super::leftovers;
use super::output::{Found, Mark, Output};

/// How long a program may take to start, and a line to appear that a test waits for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a program may take to end on SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// In the error text of EADDRINUSE: Go writes it small, Rust with a capital letter.
const PORT_TAKEN: &str = "ddress already in use";

/// How to start a program.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    /// The whole environment.
    pub(super) env: Vec<(String, OsString)>,
    pub(super) dir: PathBuf,
    pub(super) ready: Ready,
    /// A variable (`NAME=value`) that only this program and what it starts has, to find those of
    /// them that leave its process group.
    pub(super) mark: Option<String>,
}

/// What shows that a program serves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ready {
    /// A line with this text.
    Line(&'static str),
    /// Nothing is printed at this log level: its port answers.
    Port(SocketAddr),
}

#[derive(Debug)]
struct Running {
    child: Child,
    guard: Guard,
    pid: Pid,
}

/// A program that the rig started. All methods take `&self`, so that tests can share it.
#[derive(Debug)]
pub struct Process {
    launch: Launch,
    output: Arc<Output>,
    running: Mutex<Option<Running>>,
}

impl Process {
    /// Starts the program and waits until it serves.
    pub(super) async fn start(launch: Launch) -> Result<Self, RigError> {
        let process = Self {
            launch,
            output: Arc::default(),
            running: Mutex::default(),
        };
        process.begin().await?;
        Ok(process)
    }

    /// The program's name in messages.
    pub fn name(&self) -> &str {
        &self.launch.name
    }

    /// Its process id, unless it was killed or is known to have ended.
    pub fn pid(&self) -> Option<u32> {
        self.lock().as_ref().map(|running| running.child.id())
    }

    /// Sends a signal to the program alone.
    pub fn signal(&self, signal: Signal) {
        if let Some(running) = &*self.lock() {
            // The child is not reaped yet, so the id is still its own; if it ended, so be it.
            let _ = kill_process(running.pid, signal);
        }
    }

    /// Kills the program and all it started, as when a container is destroyed, and reaps it.
    pub fn kill(&self) {
        self.end();
    }

    /// Asks the program to end, and kills it when it does not do so in time.
    pub async fn stop(&self) {
        self.signal(Signal::TERM);
        let _ = timeout(GRACE, self.exited()).await;
        self.end();
    }

    /// Kills the program if it runs and starts it again, with the same arguments and port.
    pub async fn restart(&self) -> Result<(), RigError> {
        self.end();
        self.begin().await
    }

    /// Waits until the program has ended by itself and its output has been read. `None` if it was killed here already.
    pub async fn exited(&self) -> Option<ExitStatus> {
        while self.is_running() {
            // The end of its output is the signal; the tick is for what it left holding the pipe.
            let _ = timeout(Duration::from_millis(100), self.output.ended()).await;
            if self.is_running() {
                sleep(Duration::from_millis(5)).await;
            }
        }
        let status = self.end();
        // Its last words may still be in the pipe.
        let _ = timeout(GRACE, self.output.ended()).await;
        status
    }

    /// All that the program printed, over all restarts, as far as memory bounds allow.
    pub fn log(&self) -> String {
        self.output.text()
    }

    /// The last line that the program printed.
    pub fn last_log_line(&self) -> String {
        self.output.last_line()
    }

    /// The end of the output so far, for [`wait_for_log_after`](Self::wait_for_log_after).
    pub fn mark(&self) -> Mark {
        self.output.mark()
    }

    /// Waits for a line that contains `text`, however long ago it was printed, and returns it.
    pub async fn wait_for_log(&self, text: &str) -> Result<String, RigError> {
        self.wait_for_log_after(Mark::default(), text).await
    }

    /// Waits for a line after `mark` that contains `text` and returns it.
    pub async fn wait_for_log_after(&self, mark: Mark, text: &str) -> Result<String, RigError> {
        match timeout(PATIENCE, self.output.find(mark, text)).await {
            Ok(Found::Line(line)) => Ok(line),
            Ok(Found::Ended) | Err(_) => Err(self.silent(text)),
        }
    }

    /// Whether the program runs at this moment.
    pub fn is_running(&self) -> bool {
        self.lock().as_ref().is_some_and(|running| {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            // Only a look: unreaped, the id cannot be given to a stranger before `end` uses it.
            matches!(waitid(WaitId::Pid(running.pid), options), Ok(None))
        })
    }

    async fn begin(&self) -> Result<(), RigError> {
        let mark = self.output.mark();
        *self.lock() = Some(self.spawn()?);
        let deadline = Instant::now() + PATIENCE;
        match self.launch.ready {
            Ready::Line(text) => match timeout_at(deadline, self.output.find(mark, text)).await {
                Ok(Found::Line(_)) => Ok(()),
                Ok(Found::Ended) => Err(self.ended_early(mark).await),
                Err(_) => Err(self.silent(text)),
            },
            Ready::Port(address) => self.port_answers(address, mark, deadline).await,
        }
    }

    async fn port_answers(
        &self,
        address: SocketAddr,
        mark: Mark,
        deadline: Instant,
    ) -> Result<(), RigError> {
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            if !self.is_running() {
                return Err(self.ended_early(mark).await);
            }
            if Instant::now() > deadline {
                return Err(self.silent("(a port that answers)"));
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    fn spawn(&self) -> Result<Running, RigError> {
        let launch = &self.launch;
        let failed = |error| RigError::Spawn {
            what: launch.program.display().to_string(),
            error,
        };
        let mut child = Command::new(&launch.program)
            .args(&launch.args)
            .env_clear()
            .envs(launch.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&launch.dir)
            // Its own group: Ctrl-C reaches the rig alone, and one kill reaches all it started.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(stdout) = child.stdout.take() {
            self.output.read(stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            self.output.read(stderr);
        }
        let pid = Pid::from_child(&child);
        match Guard::new(pid) {
            Ok(guard) => Ok(Running { child, guard, pid }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(RigError::Spawn {
                    what: "/bin/sh".to_owned(),
                    error,
                })
            }
        }
    }

    /// Kills the group while its id is certainly ours, then what left it; the guard's duty ends
    /// before the id does.
    fn end(&self) -> Option<ExitStatus> {
        let mut running = self.lock().take()?;
        let _ = kill_process_group(running.pid, Signal::KILL);
        if let Some(mark) = &self.launch.mark {
            leftovers::kill(mark);
        }
        running.guard.release();
        running.child.wait().ok()
    }

    async fn ended_early(&self, mark: Mark) -> RigError {
        // The output ends before the process does; give up on one that closed it and lives on.
        match timeout(GRACE, self.exited()).await {
            Ok(Some(status)) => RigError::Ended {
                name: self.launch.name.clone(),
                status,
                last_line: self.output.last_line(),
                port_taken: self.output.contains_since(mark, PORT_TAKEN),
            },
            Ok(None) | Err(_) => self.silent("(a line that says it is ready)"),
        }
    }

    fn silent(&self, expected: &str) -> RigError {
        RigError::Silent {
            name: self.launch.name.clone(),
            expected: expected.to_owned(),
            last_line: self.output.last_line(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Kills a process group when the rig disappears without having said good-bye.
#[derive(Debug)]
struct Guard(Child);

impl Guard {
    /// `read` fails when the pipe breaks; a line means that there is nothing left to do.
    const SCRIPT: &str = r#"trap "" HUP INT TERM; read -r _ || kill -s KILL -- "-$1""#;

    fn new(group: Pid) -> std::io::Result<Self> {
        Command::new("/bin/sh")
            .args(["-c", Self::SCRIPT, "devcell-guard"])
            .arg(group.as_raw_nonzero().to_string())
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(Self)
    }

    /// Must come before the group's leader is reaped: afterwards the id may be someone else's.
    fn release(&mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, ready: Ready) -> Launch {
        Launch {
            name: "script".to_owned(),
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: vec![("PATH".to_owned(), "/usr/bin:/bin".into())],
            dir: "/".into(),
            ready,
            mark: None,
        }
    }

    /// Whether the process exists and is no zombie.
    fn alive(pid: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The state follows the name, which stands in parentheses.
        let state = stat
            .rsplit_once(") ")
            .map(|(_, rest)| rest.starts_with('Z'));
        state == Some(false)
    }

    #[tokio::test]
    async fn drop_kills_the_program_and_what_it_started() {
        let script = "sleep 1000 & echo child=$!. started; wait";
        let process = Process::start(sh(script, Ready::Line("started")))
            .await
            .unwrap();
        let line = process.wait_for_log("child=").await.unwrap();
        let child: u32 = line["child=".len()..]
            .split_once('.')
            .unwrap()
            .0
            .parse()
            .unwrap();
        let pid = process.pid().unwrap();
        assert!(alive(pid) && alive(child));
        drop(process);
        assert!(!alive(pid));
        // The grandchild is not ours to reap, so its death may take a moment to show.
        for _ in 0..200 {
            if !alive(child) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("the grandchild lives on");
    }

    #[tokio::test]
    async fn the_guard_kills_when_the_pipe_breaks() {
        let process = Process::start(sh("echo started; exec sleep 1000", Ready::Line("started")))
            .await
            .unwrap();
        let pipe = process.lock().as_mut().unwrap().guard.0.stdin.take();
        drop(pipe);
        let status = timeout(PATIENCE, process.exited()).await.unwrap();
        assert_eq!(status.unwrap().to_string(), "signal: 9 (SIGKILL)");
    }

    #[tokio::test]
    async fn a_program_that_ends_at_once_is_reported_with_its_last_words() {
        let script = "echo 'bind: address already in use' >&2; exit 1";
        let error = Process::start(sh(script, Ready::Line("started"))).await;
        let text = error.as_ref().unwrap_err().to_string();
        assert!(text.contains("exit status: 1"), "{text}");
        assert!(text.contains("address already in use"), "{text}");
        let taken = matches!(
            error,
            Err(RigError::Ended {
                port_taken: true,
                ..
            })
        );
        assert!(taken);
    }

    #[tokio::test]
    async fn restart_gives_a_new_process_and_keeps_the_log() {
        let process = Process::start(sh("echo started; exec sleep 1000", Ready::Line("started")))
            .await
            .unwrap();
        let first = process.pid().unwrap();
        process.restart().await.unwrap();
        assert_ne!(process.pid().unwrap(), first);
        assert!(!alive(first));
        assert_eq!(process.log(), "started\nstarted\n");
        process.stop().await;
        assert_eq!(process.pid(), None);
        assert!(!process.is_running());
    }
}
