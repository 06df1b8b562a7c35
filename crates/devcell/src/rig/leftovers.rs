//! Owns ending what programs of an instance leave running in sessions of their own: what a user
//! started with `nohup`, or what ignores its hang-up. A real cell destroys the container; here such
//! processes are known by the variable that each instance has, which all it starts inherit. One that
//! empties its environment escapes.

use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Looks this often: what is killed may have started others in the meantime. A program that starts
/// others faster than this is no accident.
const ROUNDS: usize = 10;

/// Kills all processes of ours that have `variable` (`NAME=value`) in their environment.
pub(super) fn kill(variable: &str) {
    for _ in 0..ROUNDS {
        if kill_once(variable.as_bytes()) == 0 {
            return;
        }
    }
}

/// Kills those that are there now; how many.
fn kill_once(variable: &[u8]) -> usize {
    let Ok(entries) = fs::read_dir("/proc") else {
        return 0;
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| Pid::from_raw(name.to_str()?.parse().ok()?))
        .filter(|&pid| kill_if(pid, variable).unwrap_or(false))
        .count()
}

/// Kills the process if it has the variable; whether it had. The environments of the dead and of
/// strangers cannot be read.
fn kill_if(pid: Pid, variable: &[u8]) -> io::Result<bool> {
    // Opened first: from here on it is the same process whose environment is read and which is
    // killed, even if its id is given to another meanwhile.
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero()))?;
    let found = environment
        .split(|&byte| byte == 0)
        .any(|it| it == variable);
    if found {
        pidfd_send_signal(&process, Signal::KILL)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_those_with_the_variable_are_killed() {
        let sleeper = |value: &str| {
            let mut command = Command::new("sleep");
            command.arg("1000").env("LEFTOVER", value).spawn().unwrap()
        };
        let variable = format!("LEFTOVER={}", std::process::id());
        let (_, value) = variable.split_once('=').unwrap();
        let (mut ours, mut other) = (sleeper(value), sleeper(&format!("{value}0")));
        // A parent goes on before the kernel has laid out its child's environment.
        let environ = format!("/proc/{}/environ", ours.id());
        while !fs::read(&environ).unwrap().ends_with(b"\0") {
            std::thread::yield_now();
        }
        kill(&variable);
        let status = ours.wait().unwrap();
        assert_eq!(status.to_string(), "signal: 9 (SIGKILL)");
        assert_eq!(other.try_wait().unwrap(), None);
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
