//! Real processes: what they inherit, how they end, and what reaches them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers of tests are tests.

use std::fs;
use std::sync::Arc;

use sshd::bounds::Bounds;
use sshd::environment::{DaemonEnvironment, Environment};
use sshd::process::{Child, ExitOutcome, Program, SpawnError, Spawned, spawn};
use sshd::pty::{Pty, Size};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

const SIZE: Size = Size {
    columns: 91,
    rows: 37,
};

fn environment() -> Environment {
    Environment::new(
        Arc::new(DaemonEnvironment::default()),
        false,
        &Bounds::default(),
    )
}

fn start(command: &str) -> Spawned {
    spawn(Program::Command(command.as_bytes()), &environment(), None).unwrap()
}

fn start_on_terminal(command: &str, modes: &[u8]) -> Spawned {
    let pty = Pty::open(SIZE, modes).unwrap();
    spawn(
        Program::Command(command.as_bytes()),
        &environment(),
        Some(pty),
    )
    .unwrap()
}

/// Everything that a process says on stdout, and its end.
async fn finish(mut spawned: Spawned) -> (String, ExitOutcome) {
    drop(spawned.stdin);
    let mut text = String::new();
    let read = spawned.stdout.read_to_string(&mut text);
    let (read, outcome) = tokio::join!(read, spawned.child.wait());
    read.unwrap();
    (text, outcome)
}

async fn output(command: &str) -> String {
    let (text, outcome) = finish(start(command)).await;
    assert_eq!(outcome, ExitOutcome::Code(0), "{text}");
    text
}

fn killed_by(name: &'static str) -> ExitOutcome {
    ExitOutcome::Signal {
        name,
        core_dumped: false,
    }
}

#[tokio::test]
async fn streams_are_three() {
    let mut spawned = start("cat; echo error >&2");
    spawned.stdin.write_all(b"input").await.unwrap();
    let mut stderr = spawned.stderr.take().unwrap();
    let (stdout, outcome) = finish(spawned).await;
    let mut errors = String::new();
    stderr.read_to_string(&mut errors).await.unwrap();
    assert_eq!((stdout.as_str(), errors.as_str()), ("input", "error\n"));
    assert_eq!(outcome, ExitOutcome::Code(0));
}

#[tokio::test]
async fn the_shell_runs_by_its_full_path() {
    let shell = output("echo $0").await;
    assert!(shell.starts_with('/'), "{shell}");
    let mut spawned = spawn(Program::Shell, &environment(), None).unwrap();
    spawned.stdin.write_all(b"echo $0 $#\n").await.unwrap();
    let (text, _) = finish(spawned).await;
    assert_eq!(text, format!("{} 0\n", shell.trim_end()));
}

#[tokio::test]
async fn only_three_descriptors_are_inherited() {
    // One that is not close-on-exec, as the daemon may have been given.
    let (inherited, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).unwrap();
    // 3 is ls's own.
    assert_eq!(output("exec ls /proc/self/fd").await, "0\n1\n2\n3\n");
    let on_terminal = finish(start_on_terminal("exec ls -x /proc/self/fd", &[])).await;
    assert_eq!(on_terminal.0, "0  1  2  3\r\n");
}

#[tokio::test]
async fn no_signal_is_blocked_or_ignored() {
    let status = output("exec cat /proc/self/status").await;
    for field in ["SigBlk", "SigIgn"] {
        assert!(
            status.contains(&format!("{field}:\t0000000000000000\n")),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_broken_pipe_ends_a_process() {
    let mut spawned = start("exec cat /dev/zero");
    drop(std::mem::replace(
        &mut spawned.stdout,
        Box::new(tokio::io::empty()),
    ));
    assert_eq!(spawned.child.wait().await, killed_by("PIPE"));
}

#[tokio::test]
async fn directory_and_umask_are_the_daemons() {
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let umask = own.lines().find_map(|line| line.strip_prefix("Umask:\t"));
    let directory = std::env::current_dir().unwrap();
    assert_eq!(
        output("umask; pwd").await,
        format!("{}\n{}\n", umask.unwrap(), directory.display())
    );
}

#[tokio::test]
async fn the_environment_is_the_sessions() {
    let mut environment = environment();
    environment.set(b"MARK", b"a b").unwrap();
    let spawned = spawn(Program::Command(b"exec env"), &environment, None).unwrap();
    let (text, _) = finish(spawned).await;
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    let expected = [
        "HOME=",
        "LANG=en_US.UTF8",
        "MARK=a b",
        "PATH=/bin:/usr/bin",
        "USER=",
    ];
    // Shells may have ideas of their own.
    lines.retain(|line| {
        !["PWD=", "OLDPWD=", "SHLVL=", "_="]
            .iter()
            .any(|p| line.starts_with(p))
    });
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn ends_are_told() {
    for (command, outcome) in [
        ("exit 0", ExitOutcome::Code(0)),
        ("exit 7", ExitOutcome::Code(7)),
        ("exit 255", ExitOutcome::Code(255)),
        ("kill -TERM $$", killed_by("TERM")),
        ("kill -USR2 $$", killed_by("USR2")),
        ("ulimit -c 0; kill -BUS $$", killed_by("BUS")),
        ("kill -KILL $$", killed_by("KILL")),
        ("kill -40 $$", killed_by("RT")),
        ("/no/such/program 2>&-", ExitOutcome::Code(127)),
    ] {
        assert_eq!(finish(start(command)).await.1, outcome, "{command}");
    }
}

#[tokio::test]
async fn signals_arrive_by_name() {
    for name in ["HUP", "INT", "TERM", "KILL", "USR1"] {
        let mut spawned = start("exec cat");
        assert!(spawned.child.pid().is_some());
        assert!(spawned.child.signal(name.as_bytes()));
        assert_eq!(spawned.child.wait().await, killed_by(name));
        assert!(!spawned.child.signal(name.as_bytes()));
        assert_eq!(spawned.child.pid(), None);
    }
}

#[tokio::test]
async fn unknown_signals_do_nothing() {
    let spawned = start("exec cat");
    for name in [&b""[..], b"SIGTERM", b"TERM\0", b"STOP", b"\xff"] {
        assert!(!spawned.child.signal(name));
    }
    assert_eq!(finish(spawned).await.1, ExitOutcome::Code(0));
}

#[tokio::test]
async fn impossible_commands_are_refused() {
    let nul = spawn(Program::Command(b"a\0b"), &environment(), None);
    assert!(matches!(nul, Err(SpawnError::NulInCommand)));
    let long = vec![b'x'; 200_000];
    let long = spawn(Program::Command(&long), &environment(), None);
    assert!(matches!(long, Err(SpawnError::Exec { .. })));
}

#[tokio::test]
async fn a_child_in_the_background_keeps_stdout_open() {
    let mut spawned = start("(read line; echo late) <&0 & echo now");
    assert_eq!(spawned.child.wait().await, ExitOutcome::Code(0));
    let mut stdout = BufReader::new(spawned.stdout);
    let mut line = String::new();
    stdout.read_line(&mut line).await.unwrap();
    assert_eq!(line, "now\n");
    spawned.stdin.write_all(b"go\n").await.unwrap();
    stdout.read_to_string(&mut line).await.unwrap();
    assert_eq!(line, "now\nlate\n");
}

#[tokio::test]
async fn a_terminal_has_its_size_and_modes() {
    // ECHO off, VINTR ^G.
    let modes = [53, 0, 0, 0, 0, 1, 0, 0, 0, 7, 0];
    let (text, outcome) = finish(start_on_terminal("exec stty -a", &modes)).await;
    assert_eq!(outcome, ExitOutcome::Code(0));
    for part in ["rows 37; columns 91;", "intr = ^G;", " -echo ", " icanon "] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn a_program_learns_of_a_new_size() {
    let mut spawned = start_on_terminal(
        "trap 'stty size; exit 0' WINCH; echo ready; while :; do read line; done",
        &[],
    );
    let mut lines = BufReader::new(&mut spawned.stdout).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "ready");
    let size = Size {
        columns: 100,
        rows: 50,
    };
    spawned.child.resize(size).unwrap();
    // A shell may run its trap only after the read that it is in.
    spawned.stdin.write_all(b"\n").await.unwrap();
    loop {
        let line = lines.next_line().await.unwrap().unwrap();
        if line.trim_end() == "50 100" {
            break;
        }
    }
    drop(lines);
    assert_eq!(spawned.child.wait().await, ExitOutcome::Code(0));
}

#[tokio::test]
async fn a_terminal_is_the_controlling_one_of_a_new_session() {
    // Fields of /proc/self/stat: pid, comm, state, parent, group, session, terminal, foreground.
    let spawned = start_on_terminal("exec cat /proc/self/stat", &[]);
    let pid = spawned.child.pid().unwrap().to_string();
    let (text, _) = finish(spawned).await;
    let fields: Vec<_> = text.split(' ').collect();
    assert_eq!(
        [fields[0], fields[4], fields[5], fields[7]],
        [pid.as_str(); 4]
    );
    assert_ne!(fields[6], "0");
}

/// In the daemon's group, this would be the daemon's end.
#[tokio::test]
async fn without_a_terminal_a_signal_to_the_group_is_for_the_session_alone() {
    let command = "sleep 1000 & trap 'exit 3' TERM; kill 0; exit 4";
    // The output ends when nobody has it any more.
    let (_, outcome) = finish(start(command)).await;
    assert_eq!(outcome, ExitOutcome::Code(3));
}

#[tokio::test]
async fn who_writes_for_ever_to_a_terminal_does_not_keep_its_session() {
    let command = "trap '' HUP; yes & exec sleep 0.1";
    let (text, outcome) = finish(start_on_terminal(command, &[])).await;
    assert_eq!(outcome, ExitOutcome::Code(0));
    assert!(text.starts_with("y\r\ny\r\n"), "{} bytes", text.len());
}

/// Starts a shell with job control, by which the foreground is a group of its own, and hangs it up.
async fn hang_up_job(prepare: &str) -> ExitOutcome {
    let command = format!("set -m; {prepare} sh -c 'echo ready; exec cat'; exit 3");
    let mut spawned = start_on_terminal(&command, &[]);
    let mut lines = BufReader::new(&mut spawned.stdout).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "ready");
    spawned.child.hang_up();
    drop(lines);
    spawned.child.wait().await
}

#[tokio::test]
async fn a_hang_up_reaches_the_shell() {
    assert_eq!(hang_up_job("").await, killed_by("HUP"));
}

#[tokio::test]
async fn a_hang_up_reaches_the_foreground() {
    // The shell goes on when its job has ended, which nothing but the hang-up could do.
    assert_eq!(hang_up_job("trap : HUP;").await, ExitOutcome::Code(3));
}

#[tokio::test]
async fn a_hang_up_without_a_terminal_reaches_the_process() {
    let mut spawned = start("exec cat");
    spawned.child.hang_up();
    assert_eq!(spawned.child.wait().await, killed_by("HUP"));
}

#[tokio::test]
async fn closing_a_terminal_hangs_its_program_up() {
    let Spawned {
        mut child,
        stdin,
        mut stdout,
        ..
    } = start_on_terminal("echo ready; exec cat", &[]);
    let mut ready = [0; 7];
    stdout.read_exact(&mut ready).await.unwrap();
    drop((stdin, stdout));
    child.hang_up();
    assert_eq!(child.wait().await, killed_by("HUP"));
}

#[tokio::test]
async fn a_program_in_the_background_does_not_hold_a_terminals_session() {
    let command = "set -m; (trap '' HUP; exec cat <&3 3<&-) 3<&0 & echo now";
    let (text, outcome) = finish(start_on_terminal(command, &[])).await;
    assert_eq!(outcome, ExitOutcome::Code(0));
    assert!(text.contains("now\r\n"), "{text}");
}

#[tokio::test]
async fn children_that_nobody_waits_for_are_reaped() {
    let mut pids = Vec::new();
    for _ in 0..20 {
        let Spawned {
            child, mut stdout, ..
        } = start("exit 0");
        pids.push(child.pid().unwrap());
        drop::<Child>(child);
        stdout.read_to_end(&mut Vec::new()).await.unwrap();
    }
    let is_there = |pid: &u32| fs::metadata(format!("/proc/{pid}")).is_ok();
    let limit = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while pids.iter().any(is_there) {
        assert!(tokio::time::Instant::now() < limit, "zombies");
        // Reaping goes with SIGCHLD; another child makes sure that one is still to come.
        finish(start("exit 0")).await;
    }
}
