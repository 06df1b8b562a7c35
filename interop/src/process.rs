//! Programs that tests start. Each ends with its guard, together with all that it has started, and is
//! reaped: also when a test panics, and also where the program leaves its session, as sshd does.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::ErrorKind;
use std::process::{ExitStatus, Stdio};
use std::sync::Once;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, set_child_subreaper, waitid,
    waitpid,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;

use crate::cases::DEADLINE;

/// Programs and the Debian packages that bring them.
const PACKAGES: &[(&str, &str)] = &[
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("/usr/sbin/sshd", "openssh-server"),
    ("sshpass", "sshpass"),
    ("chroot", "coreutils"),
    ("scp", "openssh-client"),
    ("sftp", "openssh-client"),
    ("ssh-add", "openssh-client"),
    ("ssh-agent", "openssh-client"),
    ("curl", "curl"),
    ("dbclient", "dropbear-bin"),
    ("dropbearconvert", "dropbear-bin"),
    ("fusermount3", "fuse3"),
    ("git", "git"),
    ("lftp", "lftp"),
    ("plink", "putty-tools"),
    ("pscp", "putty-tools"),
    ("psftp", "putty-tools"),
    ("puttygen", "putty-tools"),
    ("rsync", "rsync"),
    ("setpriv", "util-linux"),
    ("sshfs", "sshfs"),
    ("strace", "strace"),
];

/// How long a program may take: less than a test, so that it is the program that is named.
const PATIENCE: Duration = Duration::from_secs(DEADLINE.as_secs() / 2);

/// A running program. It is killed when this is dropped.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    /// Its standard output so far.
    pub stdout: Log,
    /// Its standard error so far.
    pub stderr: Log,
}

/// What a program has done when it ended.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: String,
}

impl Process {
    /// Starts `command` with pipes for its standard streams.
    ///
    /// # Panics
    /// It cannot be started: the message names the package that is missing.
    pub fn start(command: Command) -> Self {
        Self::start_on(command, Stdio::piped(), Stdio::piped())
    }

    /// The same with another standard input and standard error, which can be any descriptors: sockets to
    /// inherit, for instance. What is given is not ours to write and read.
    ///
    /// # Panics
    /// It cannot be started: the message names the package that is missing.
    pub fn start_on(mut command: Command, stdin: Stdio, stderr: Stdio) -> Self {
        adopt_orphans();
        let name = command
            .as_std()
            .get_program()
            .to_string_lossy()
            .into_owned();
        command.stdin(stdin).stdout(Stdio::piped()).stderr(stderr);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => missing(&name),
            Err(error) => panic!("{name} does not start: {error}"),
        };
        Self {
            stdin: child.stdin.take(),
            stdout: Log::of(child.stdout.take().expect("a pipe")),
            stderr: child.stderr.take().map_or_else(Log::default, Log::of),
            name,
            child,
        }
    }

    /// Gives it input.
    ///
    /// # Panics
    /// It takes no more.
    pub async fn write(&mut self, input: &[u8]) {
        let stdin = self.stdin.as_mut().expect("its input was closed");
        let written = stdin.write_all(input).await;
        written.unwrap_or_else(|error| panic!("input of {}: {error}", self.name));
    }

    /// Closes its input, and waits for its end.
    ///
    /// # Panics
    /// It does not end in time.
    pub async fn finish(mut self) -> Output {
        drop(self.stdin.take());
        self.wait(async {}, PATIENCE).await
    }

    /// Its process id.
    ///
    /// # Panics
    /// It has ended.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// It has ended.
    pub fn signal(&self, signal: Signal) {
        let leader = self.child.id().and_then(pid).expect("it runs");
        kill_process(leader, signal).expect("a signal");
    }

    /// Kills it and all that it has started, as dropping it does.
    pub fn kill(self) {}

    async fn wait(mut self, meanwhile: impl Future<Output = ()>, patience: Duration) -> Output {
        let (stdout, stderr) = (self.stdout.clone(), self.stderr.clone());
        let ended =
            async { tokio::join!(meanwhile, self.child.wait(), stdout.end(), stderr.end()) };
        let Ok(((), status, stdout, stderr)) = tokio::time::timeout(patience, ended).await else {
            panic!("{} does not end. {}", self.name, self.stderr.text());
        };
        Output {
            status: status.expect("a status"),
            stdout,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

/// Runs `command` with `input` to its end.
///
/// # Panics
/// It cannot be started, or does not end in time.
pub async fn run(command: Command, input: &[u8]) -> Output {
    run_for(command, input, PATIENCE).await
}

/// The same for a command that may take longer, such as a copy of some GiB.
///
/// # Panics
/// It cannot be started, or does not end in time.
pub async fn run_for(command: Command, input: &[u8], patience: Duration) -> Output {
    let mut process = Process::start(command);
    let mut stdin = process.stdin.take().expect("a pipe");
    let feed = async move {
        // A program may end without having read everything; what it says then counts.
        let _ = stdin.write_all(input).await;
    };
    process.wait(feed, patience).await
}

/// Fails unless `program` is there; for programs that others start.
///
/// # Panics
/// It is not: the message names the package that is missing.
pub fn require(program: &str) {
    let path = env::var_os("PATH").unwrap_or_default();
    if !env::split_paths(&path).any(|dir| dir.join(program).is_file()) {
        missing(program);
    }
}

fn missing(program: &str) -> ! {
    let known = PACKAGES.iter().find(|(name, _)| *name == program);
    match known {
        Some((_, package)) => panic!("{program} is missing: apt-get install {package}"),
        None => panic!("{program} is missing"),
    }
}

/// What a program writes, kept from its start.
#[derive(Debug, Clone)]
pub struct Log(watch::Receiver<Vec<u8>>);

impl Default for Log {
    /// Of nothing.
    fn default() -> Self {
        Self::of(tokio::io::empty())
    }
}

impl Log {
    fn of(mut stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (sender, receiver) = watch::channel(Vec::new());
        tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(count) = stream.read(&mut buffer).await
                && count > 0
            {
                sender.send_modify(|all| all.extend_from_slice(&buffer[..count]));
            }
        });
        Self(receiver)
    }

    /// What has been written so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.borrow()).into_owned()
    }

    /// How often `text` has been written so far.
    pub fn count(&self, text: &str) -> usize {
        self.text().matches(text).count()
    }

    /// Waits until `text` has been written; false if the stream ended without it.
    ///
    /// # Panics
    /// Neither comes in time.
    pub async fn has(&self, text: &str) -> bool {
        self.has_times(text, 1).await
    }

    /// Waits until `text` has been written so many times; false if the stream ended before.
    ///
    /// # Panics
    /// Neither comes in time.
    pub async fn has_times(&self, text: &str, times: usize) -> bool {
        let mut receiver = self.0.clone();
        let enough = |all: &Vec<u8>| String::from_utf8_lossy(all).matches(text).count() >= times;
        let wait = tokio::time::timeout(DEADLINE / 2, receiver.wait_for(enough));
        match wait.await {
            Ok(found) => found.is_ok(),
            Err(_) => panic!("{text:?} does not come. {}", self.text()),
        }
    }

    /// Waits for the end of the stream, and gives all of it.
    async fn end(mut self) -> Vec<u8> {
        while self.0.changed().await.is_ok() {}
        self.0.borrow().clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Without an id it was waited for.
        let Some(leader) = self.child.id().and_then(pid) else {
            return;
        };
        let _ = kill_process(leader, Signal::STOP);
        let family = stop_descendants(leader);
        for &member in family.iter().rev().chain([&leader]) {
            let _ = kill_process(member, Signal::KILL);
        }
        // Only looks: the status is for `Child` to take, which would reap another one otherwise.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let _ = waitid(WaitId::Pid(leader), look);
        let _ = self.child.try_wait();
        // Parents first: their children are ours from then on. Some were reaped by their parents.
        for member in family {
            let _ = waitpid(Some(member), WaitOptions::empty());
        }
    }
}

/// Makes orphans of our children ours, to be reaped here. In a container nobody else may do it.
fn adopt_orphans() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let us = Some(rustix::process::getpid());
        set_child_subreaper(us).expect("prctl(PR_SET_CHILD_SUBREAPER)");
    });
}

/// Stops everything below `leader`, which is stopped itself, so that nothing new is started; gives
/// all of it, parents first.
fn stop_descendants(leader: Pid) -> Vec<Pid> {
    let mut family = vec![leader];
    loop {
        let known = family.len();
        let children = children();
        let mut at = 0;
        while let Some(parent) = family.get(at) {
            let found = children.get(parent).map(Vec::as_slice).unwrap_or_default();
            let new: Vec<Pid> = (found.iter().copied())
                .filter(|child| !family.contains(child))
                .collect();
            for child in new {
                let _ = kill_process(child, Signal::STOP);
                family.push(child);
            }
            at += 1;
        }
        if family.len() == known {
            family.remove(0);
            return family;
        }
    }
}

/// All processes by their parents.
fn children() -> HashMap<Pid, Vec<Pid>> {
    let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // "pid (name) state parent ...", where a name may contain anything.
        let parent = (stat.rsplit_once(')'))
            .and_then(|(_, rest)| rest.split_whitespace().nth(1))
            .and_then(|parent| parent.parse().ok());
        if let (Some(child), Some(parent)) = (number.and_then(pid), parent.and_then(pid)) {
            children.entry(parent).or_default().push(child);
        }
    }
    children
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}
