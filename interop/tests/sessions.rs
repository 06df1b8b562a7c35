//! What users do with the installed `ssh`, through the proxy: commands with their streams and their
//! ends, shells on a terminal, many sessions on one connection.

mod support;

use std::path::Path;

use devcell::Cell;
use interop::process::{self, Output, Process};
use rustix::termios::{LocalModes, SpecialCodeIndex};
use support::terminal::{OnTerminal, Terminal};
use support::user::{Master, cell, lives, run, run_with_input, ssh, ssh_asking, text, until};

/// Runs a command in instance 0 with options.
async fn run_with(cell: &Cell, options: &[&str], command: &str) -> Output {
    let mut ssh = ssh(cell, 0);
    ssh.args(options).arg(command);
    process::run(ssh, b"").await
}

#[tokio::test(flavor = "multi_thread")]
async fn output_and_errors_stay_apart() {
    let cell = cell().await;
    let output = run(&cell, "echo out; echo err >&2; echo more").await;
    assert_eq!(text(&output), "out\nmore\n");
    assert_eq!(output.stderr, "err\n");
    assert!(output.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn input_reaches_the_command_up_to_its_end() {
    let cell = cell().await;
    // More than a window, so that it is opened again, both ways.
    let input: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    let echo = run_with_input(&cell, "cat", &input).await;
    assert!(echo.stdout == input, "{} bytes", echo.stdout.len());
    assert!(echo.status.success());
    let count = run_with_input(&cell, "wc -c", &input).await;
    assert_eq!(text(&count), "5000000\n");
    // The end is all that comes.
    assert_eq!(text(&run(&cell, "wc -c").await), "0\n");
    let with_n = run_with(&cell, &["-n"], "wc -c").await;
    assert_eq!(text(&with_n), "0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_status_is_the_commands() {
    let cell = cell().await;
    for status in [0, 1, 3, 127, 255] {
        let output = run(&cell, &format!("exit {status}")).await;
        assert_eq!(output.status.code(), Some(status));
        assert_eq!((text(&output), output.stderr.as_str()), ("", ""));
    }
    let missing = run(&cell, "no-such-command").await;
    assert_eq!(missing.status.code(), Some(127));
    assert!(missing.stderr.contains("not found"), "{}", missing.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_ends_the_command_is_told() {
    let cell = cell().await;
    let output = run_with(&cell, &["-v"], "echo last words; kill -TERM $$").await;
    // Of a signal the client tells its user nothing more.
    assert_eq!(output.status.code(), Some(255));
    assert_eq!(text(&output), "last words\n");
    let told = "client_input_channel_req: channel 0 rtype exit-signal reply 0";
    assert!(output.stderr.contains(told), "{}", output.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_on_the_input_of_a_shell_runs() {
    let cell = cell().await;
    let script = b"echo $((6 * 7))\necho shout >&2\ntest -t 0 || echo no terminal\nexit 9\n";
    let mut shell = ssh(&cell, 0);
    shell.arg("-T");
    let output = process::run(shell, script).await;
    assert_eq!(text(&output), "42\nno terminal\n");
    assert_eq!(output.stderr, "shout\n");
    assert_eq!(output.status.code(), Some(9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_can_be_had_for_a_command() {
    let cell = cell().await;
    let command = "test -t 0 && test -t 1 && tty; echo errors too >&2; exit 4";
    let output = run_with(&cell, &["-tt"], command).await;
    let printed = text(&output);
    assert!(printed.starts_with("/dev/pts/"), "{printed:?}");
    // One stream for both, and line ends as terminals have them.
    assert!(printed.ends_with("\r\nerrors too\r\n"), "{printed:?}");
    assert_eq!(output.status.code(), Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_of_the_client_reach_its_session_alone() {
    let cell = cell().await;
    let echo = "echo \"<$GREETING>\"";
    let output = run_with(&cell, &["-o", "SetEnv=GREETING=\"good morning\""], echo).await;
    assert_eq!(text(&output), "<good morning>\n");
    assert_eq!(text(&run(&cell, echo).await), "<>\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_instance_is_itself() {
    let cell = cell().await;
    for index in 0..cell.logins().len() {
        let mut command = ssh(&cell, index);
        command.arg("echo $CF_INSTANCE_INDEX $USER; pwd");
        let output = process::run(command, b"").await;
        let home = cell.dir().join(format!("instance-{index}"));
        assert_eq!(text(&output), format!("{index} vcap\n{}\n", home.display()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_may_be_long() {
    let cell = cell().await;
    let word = "x".repeat(100_000);
    let output = run(&cell, &format!("echo {word}")).await;
    assert!(output.stdout == format!("{word}\n").as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_output_ends_with_its_reader() {
    let cell = cell().await;
    // In the instance: nobody but a program that ignores it lives on without its reader.
    let pipeline = run(&cell, "yes | head -n 2; echo ${PIPESTATUS[0]}").await;
    let killed_by_pipe = 128 + rustix::process::Signal::PIPE.as_raw();
    assert_eq!(text(&pipeline), format!("y\ny\n{killed_by_pipe}\n"));
    // From outside: the user goes away in the middle.
    let mut command = ssh(&cell, 0);
    command.arg("echo $$.; exec yes");
    let session = Process::start(command);
    assert!(session.stdout.has("y\ny\n").await);
    let printed = session.stdout.text();
    let (pid, _) = printed.split_once('.').unwrap();
    session.kill();
    until("the command has ended", || !lives(pid)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_in_the_background_that_holds_the_output_holds_the_session() {
    let cell = cell().await;
    let gate = cell.dir().join("instance-0/gate");
    let mut command = ssh(&cell, 0);
    command.arg("mkfifo gate; { read line <gate; echo $line; } & echo shell $$.; exit 5");
    let session = Process::start(command);
    assert!(session.stdout.has(".\n").await);
    let line = session.stdout.text();
    let pid = line.strip_prefix("shell ").unwrap().trim_end_matches(".\n");
    until("the shell has ended", || !lives(pid)).await;
    // As under OpenSSH's server, the shell's end is told only when nobody can print any more.
    std::fs::write(gate, "late words\n").unwrap();
    let output = session.finish().await;
    assert_eq!(text(&output), format!("{line}late words\n"));
    assert_eq!(output.status.code(), Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sessions_share_a_connection() {
    const SESSIONS: usize = 30;
    let cell = cell().await;
    let mark = cell.proxy().mark();
    let master = Master::start(&cell, 0, "control", &[]).await;
    let start = |number: usize| {
        let mut command = master.ssh();
        command.arg(format!("echo ready; read word; echo {number} $word"));
        Process::start(command)
    };
    let mut sessions: Vec<Process> = (0..SESSIONS).map(start).collect();
    // All of them run before the first may go on.
    for session in &sessions {
        assert!(
            session.stdout.has("ready\n").await,
            "{}",
            session.stderr.text()
        );
    }
    for session in &mut sessions {
        session.write(b"go\n").await;
    }
    for (number, session) in sessions.into_iter().enumerate() {
        let output = session.finish().await;
        assert_eq!(text(&output), format!("ready\n{number} go\n"));
        assert!(output.status.success());
    }
    master.stop().await;
    assert_eq!(logins(&cell).await, 1, "{}", cell.proxy().log());
    let end = cell.proxy().wait_for_log_after(mark, "relay-ended").await;
    assert!(end.unwrap().contains("disconnected by user"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_persists_until_it_is_told_to_go() {
    let cell = cell().await;
    let socket = cell.dir().join("control").display().to_string();
    let path = format!("ControlPath={socket}");
    let share = [
        "-o",
        "ControlMaster=auto",
        "-o",
        "ControlPersist=yes",
        "-o",
        &path,
    ];
    let first = run_with(&cell, &share, "echo first").await;
    assert_eq!(text(&first), "first\n");
    let second = run_with(&cell, &share, "echo second; exit 2").await;
    assert_eq!(text(&second), "second\n");
    assert_eq!(second.status.code(), Some(2));
    let check = run_with(&cell, &["-o", &path, "-O"], "check").await;
    let pid = check.stderr.split(['=', ')']).nth(1).unwrap().to_owned();
    let exit = run_with(&cell, &["-o", &path, "-O"], "exit").await;
    assert!(exit.status.success(), "{}", exit.stderr);
    until("the socket is gone", || !Path::new(&socket).exists()).await;
    assert_eq!(logins(&cell).await, 1, "{}", cell.proxy().log());
    // It left its parent, and has become ours to reap.
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap());
    let reap = rustix::process::WaitOptions::empty();
    let (_, status) = rustix::process::waitpid(pid, reap).unwrap().unwrap();
    assert!(status.exited());
}

/// How many logins the daemon of instance 0 has seen.
async fn logins(cell: &Cell) -> usize {
    const STARTED: &str = "handle-connection.started";
    let daemon = cell.daemon(0).unwrap();
    daemon.wait_for_log(STARTED).await.unwrap();
    daemon.log().matches(STARTED).count()
}

/// Logs in on a terminal as a user does, up to a prompt that is the same on all systems.
async fn shell(cell: &Cell, terminal: Terminal) -> OnTerminal {
    let mut shell = terminal.start(|program| {
        ssh_asking(program, cell, 0);
        program.args(["-o", "SetEnv=PROMPT_COMMAND=PS1=now-type:"]);
        program.env("TERM", "xterm-256color");
    });
    shell.sees("password: ").await;
    shell.types(&format!("{}\n", cell.logins()[0].password));
    shell.sees("now-type:").await;
    shell
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_on_a_terminal_ends_with_its_status() {
    let cell = cell().await;
    let mut shell = shell(&cell, Terminal::new(24, 80)).await;
    shell.types("echo \"<$TERM>\" $((6 * 7))\n");
    shell.sees("<xterm-256color> 42\r\n").await;
    shell.types("tty\n");
    shell.sees("/dev/pts/").await;
    shell.types("exit 7\n");
    let (status, screen) = shell.ends().await;
    assert_eq!(status.code(), Some(7));
    let farewell = "\nConnection to 127.0.0.1 closed.\r";
    assert!(screen.contains(farewell), "{screen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_size_of_the_window_is_known_at_the_start_and_after_each_change() {
    let cell = cell().await;
    let mut shell = shell(&cell, Terminal::new(31, 107)).await;
    shell.types("stty size\n");
    shell.sees("31 107\r\n").await;
    // Programs are told, which is what full-screen ones redraw for.
    let wait = "sh -c 'trap \"stty size\" WINCH; echo wait''ing; while :; do sleep 0.05; done'\n";
    shell.types(wait);
    shell.sees("waiting\r\n").await;
    shell.resize(50, 132);
    shell.sees("50 132\r\n").await;
    shell.resize(1, 500);
    shell.sees("1 500\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_c_interrupts_what_runs_and_nothing_else() {
    let cell = cell().await;
    let mut shell = shell(&cell, Terminal::new(24, 80)).await;
    shell.types("sh -c 'echo sleep''ing $$.; exec sleep 1000'\n");
    shell.sees("sleeping ").await;
    let pid = shell.sees(".").await;
    shell.types("\x03");
    shell.sees("now-type:").await;
    assert!(!lives(&pid));
    shell.types("echo status=$?\n");
    shell.sees("status=130\r\n").await;
    // The end of input, as a key: at the prompt only is it the shell that reads it. Before, the
    // terminal is still in its canonical mode and takes the key for itself.
    shell.sees("now-type:").await;
    shell.types("\x04");
    let (status, _) = shell.ends().await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_modes_of_the_terminal_are_taken_along() {
    let cell = cell().await;
    let terminal = Terminal::new(24, 80);
    terminal.set_modes(|modes| {
        modes.special_codes[SpecialCodeIndex::VERASE] = 0x08;
        modes.special_codes[SpecialCodeIndex::VINTR] = 0x18;
        modes.local_modes -= LocalModes::ECHO;
    });
    let mut ssh = terminal.start(|program| {
        ssh_asking(program, &cell, 0);
        program.args(["-t", "stty -a; echo end"]);
    });
    ssh.sees("password: ").await;
    ssh.types(&format!("{}\n", cell.logins()[0].password));
    let modes = ssh.sees("end\r\n").await;
    for mode in [
        "erase = ^H;",
        "intr = ^X;",
        "quit = ^\\;",
        " -echo ",
        " icanon ",
    ] {
        assert!(modes.contains(mode), "no {mode:?} in {modes}");
    }
    let (status, _) = ssh.ends().await;
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_closes_hangs_its_programs_up() {
    let cell = cell().await;
    let mut shell = shell(&cell, Terminal::new(24, 80)).await;
    shell.types("sh -c 'echo sleep''ing $$.; exec sleep 1000'\n");
    shell.sees("sleeping ").await;
    let pid = shell.sees(".").await;
    drop(shell);
    until("the program is gone", || !lives(&pid)).await;
}
