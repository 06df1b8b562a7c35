//! What is measured.
//!
//! | module     | owns                                                             |
//! |------------|------------------------------------------------------------------|
//! | [`bulk`]   | processor time per byte, and throughput                           |
//! | [`login`]  | processor time and time of a login                                |
//! | [`idle`]   | memory of connections that nobody uses                            |
//! | [`echo`]   | how long a key takes to come back                                 |
//! | [`copies`] | scp and sftp of large and of many files                           |
//! | [`start`]  | how soon a program serves, and how large it is                    |

mod bulk;
mod copies;
mod echo;
mod idle;
mod login;
mod start;

use std::future::Future;
use std::pin::Pin;

use devcell::keys::KeyKind;

use crate::report::Row;
use crate::server::{Binaries, Server, Subject};

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// How often each figure is taken; the median counts.
    pub(crate) rounds: usize,
    /// Sizes and counts are divided by this.
    pub(crate) divisor: u32,
}

impl Effort {
    pub(crate) const FULL: Self = Self {
        rounds: 3,
        divisor: 1,
    };
    pub(crate) const QUICK: Self = Self {
        rounds: 1,
        divisor: 10,
    };

    fn of(&self, full: u32) -> u32 {
        (full / self.divisor).max(1)
    }

    fn bytes(&self, full: u64) -> u64 {
        full / u64::from(self.divisor)
    }
}

/// Rows that belong together.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// How to read the figures.
    pub(crate) note: &'static str,
    pub(crate) run: Run,
}

type Run = for<'a> fn(&'a Binaries, &'a Effort) -> Pin<Box<dyn Future<Output = Vec<Row>> + 'a>>;

/// In this order.
pub(crate) const GROUPS: [Group; 6] = [
    Group {
        name: "start",
        title: "Programs",
        note: "Static files as `scripts/dist` makes them; resident memory once they serve.",
        run: |binaries, effort| Box::pin(start::measure(binaries, effort)),
    },
    Group {
        name: "login",
        title: "Logins",
        note: "`ssh HOST true` again and again. Processor time is the server's alone, but for \
               OpenSSH it has the shell that it starts in it. Through the proxy means a password, \
               BBS, and a second handshake with the daemon.",
        run: |binaries, effort| Box::pin(login::measure(binaries, effort)),
    },
    Group {
        name: "bulk",
        title: "Bulk data",
        note: "Processor seconds, user and system, that the server's own process takes for 10^9 \
               bytes. Its children and the client are not counted. The proxy's column is the proxy \
               alone.",
        run: |binaries, effort| Box::pin(bulk::measure(binaries, effort)),
    },
    Group {
        name: "echo",
        title: "Keystrokes",
        note: "From a key to its echo by the terminal.",
        run: |binaries, effort| Box::pin(echo::measure(binaries, effort)),
    },
    Group {
        name: "idle",
        title: "Idle sessions",
        note: "Memory that the server's processes have more, divided by the sessions held.",
        run: |binaries, effort| Box::pin(idle::measure(binaries, effort)),
    },
    Group {
        name: "copies",
        title: "Copies",
        note: "Seconds for the whole command, on a disk in memory.",
        run: |binaries, effort| Box::pin(copies::measure(binaries, effort)),
    },
];

/// All of `subjects` that are here, at once: they take turns, and those that wait are idle.
async fn servers(binaries: &Binaries, subjects: &[Subject], kind: KeyKind) -> Vec<Server> {
    let mut servers = Vec::new();
    for subject in binaries.present(subjects) {
        servers.push(Server::start(binaries, subject, kind).await);
    }
    servers
}
