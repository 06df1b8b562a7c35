//! A terminal with a program on it, and someone who types and reads.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::user::PATIENCE;

/// A terminal, before there is anything on it.
pub struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
}

impl Terminal {
    /// A terminal of this size with the modes that a new one has.
    pub fn new(rows: u16, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
        let master = master.expect("a terminal");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(name, flags, Mode::empty()).expect("its other end");
        resize(&master, rows, columns);
        Self { master, slave }
    }

    /// Changes its modes, as `stty` does.
    pub fn set_modes(&self, change: impl FnOnce(&mut Termios)) {
        let mut modes = tcgetattr(&self.slave).expect("modes");
        change(&mut modes);
        tcsetattr(&self.slave, OptionalActions::Now, &modes).expect("other modes");
    }

    /// Starts the program that `complete` adds to a command, in the foreground of this terminal.
    pub fn start(self, complete: impl FnOnce(&mut Command)) -> OnTerminal {
        // A session of its own with this as its terminal, so that it is told of new sizes.
        let mut command = Command::new("setsid");
        command.arg("--ctty");
        complete(&mut command);
        let stream = || Stdio::from(self.slave.try_clone().expect("a descriptor"));
        command.stdin(stream()).stdout(stream()).stderr(stream());
        let child = command.kill_on_drop(true).spawn();
        let child = child.expect("setsid of Debian's util-linux");
        // The command holds the other end, and with it the end of what is read here.
        drop((command, self.slave));
        let screen = read(self.master.try_clone().expect("a descriptor").into());
        OnTerminal {
            keyboard: self.master.into(),
            screen,
            seen: 0,
            child,
        }
    }
}

/// Reads to the end on a thread of its own: a terminal has no other way to be waited for that would
/// be shorter to write.
fn read(mut master: File) -> watch::Receiver<String> {
    let (sender, receiver) = watch::channel(String::new());
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // The end is an error: nobody has the terminal open any more.
        while let Ok(count @ 1..) = master.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..count]);
            sender.send_modify(|screen| screen.push_str(&text));
        }
    });
    receiver
}

fn resize(master: &OwnedFd, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size).expect("a new size");
}

/// A program on a terminal. It is killed when this is dropped.
pub struct OnTerminal {
    keyboard: File,
    screen: watch::Receiver<String>,
    /// What of the screen was expected already.
    seen: usize,
    child: Child,
}

impl OnTerminal {
    /// Types.
    pub fn types(&mut self, keys: &str) {
        self.keyboard
            .write_all(keys.as_bytes())
            .expect("a keyboard");
    }

    /// Reads on until `text` appears; what there was before it. Text that is typed appears too, so
    /// quote it where it would match.
    pub async fn sees(&mut self, text: &str) -> String {
        let seen = self.seen;
        let appears = |screen: &String| screen[seen..].contains(text);
        let waited = timeout(PATIENCE, self.screen.wait_for(appears)).await;
        // It may have ended without the text, which looking again tells.
        drop(waited);
        let screen = self.screen.borrow();
        let Some((before, _)) = screen[seen..].split_once(text) else {
            panic!("no {text:?} but {:?}", &screen[seen..]);
        };
        self.seen += before.len() + text.len();
        before.to_owned()
    }

    /// Changes the size of the terminal.
    pub fn resize(&self, rows: u16, columns: u16) {
        resize(
            &OwnedFd::from(self.keyboard.try_clone().expect("a descriptor")),
            rows,
            columns,
        );
    }

    /// Checks that the shell on it knows a terminal of `xterm-256color` with this size, hears of
    /// another size, and ends with its status.
    pub async fn knows_its_size(mut self, rows: u16, columns: u16) {
        self.types("echo \"<$TERM>\"; stty size\n");
        self.sees("<xterm-256color>\r\n").await;
        self.sees(&format!("{rows} {columns}\r\n")).await;
        let wait = "sh -c 'trap \"stty size; exit 0\" WINCH; echo wait''ing; while :; do sleep 0.05; done'\n";
        self.types(wait);
        self.sees("waiting\r\n").await;
        self.resize(50, 132);
        self.sees("50 132\r\n").await;
        self.types("exit 9\n");
        let (status, _) = self.ends().await;
        assert_eq!(status.code(), Some(9));
    }

    /// Waits for the program's end, and gives what is on the screen since the last look.
    pub async fn ends(mut self) -> (ExitStatus, String) {
        let status = timeout(PATIENCE, self.child.wait()).await;
        let status = status.expect("an end").expect("a status");
        let closed = async { while self.screen.changed().await.is_ok() {} };
        timeout(PATIENCE, closed)
            .await
            .expect("the end of the screen");
        let rest = self.screen.borrow()[self.seen..].to_owned();
        (status, rest)
    }
}
