//! The guard of processes itself: nothing that a test started outlives it.

use interop::process::Process;
use rustix::process::{Pid, test_kill_process};
use tokio::process::Command;

/// A shell whose child has left its session, as sshd's sessions do, and whose grandchild ignores what
/// can be ignored.
const FAMILY: &str =
    "setsid sh -c 'trap \"\" TERM HUP INT; sleep 1000 & echo $$ $! $PPID; wait' & wait";

#[tokio::test]
async fn a_whole_family_ends_with_its_guard_and_is_reaped() {
    for panics in [false, true] {
        let mut shell = Command::new("sh");
        shell.args(["-c", FAMILY]);
        let shell = Process::start(shell);
        assert!(shell.stdout.has("\n").await, "{}", shell.stderr.text());
        let family: Vec<Pid> = (shell.stdout.text().split_whitespace())
            .map(|pid| Pid::from_raw(pid.parse().expect("a number")).expect("a pid"))
            .collect();
        assert_eq!(family.len(), 3);
        for &member in &family {
            test_kill_process(member).expect("it runs");
        }
        let ended = tokio::spawn(async move {
            let _shell = shell;
            assert!(!panics, "a test that fails");
        });
        assert_eq!(ended.await.is_err(), panics);
        for &member in &family {
            // A zombie could still be signalled.
            test_kill_process(member).expect_err("it is gone");
        }
    }
}

#[tokio::test]
#[should_panic(expected = "sshpass is missing: apt-get install sshpass")]
async fn a_missing_tool_is_named_with_its_package() {
    let mut command = Command::new("sshpass");
    command.env("PATH", "/nowhere");
    Process::start(command);
}
