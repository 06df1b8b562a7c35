//! What clients may take of the daemon.
//!
//! Owns the bounds, the reason for the size of each, and the flags that override them. Over a bound
//! there is a refusal with a reason, and everything else goes on. Bounds that a protocol has (sizes
//! of packets, lengths of names) stand with the code that speaks it.

use std::str::FromStr;
use std::time::Duration;

use goflag::{Flag, Kind, Parsed, duration};
use ssh_proto::connection::Limits;

/// Connections that are logged in: each may cost a few hundred kB under load, and the container's
/// memory is the app's.
pub const CONNECTIONS: Flag = count(
    "maxConnections",
    "512",
    "most connections that are logged in",
);

/// Connections that are not: proxies log in within milliseconds. A stranger in the container can hold no
/// more than these, and not for long while others wait.
pub const LOGINS: Flag = count("maxLogins", "128", "most connections that are logging in");

/// Counted from accept, and not extended by traffic: what a user needs over a slow link.
pub const LOGIN_TIMEOUT: Flag = Flag {
    name: "loginTimeout",
    kind: Kind::Checked(|text| match duration::parse(text)? {
        Duration::ZERO => Err("nobody can log in within no time".to_owned()),
        _ => Ok(()),
    }),
    default: "60s",
    usage: "how long a login may take, from its connection on",
};

/// An editor with its tasks and terminals needs about 20.
pub const SESSIONS: Flag = count("maxSessions", "64", "most sessions of one connection");

/// A browser behind `ssh -D` holds some dozens.
pub const CHANNELS: Flag = count("maxChannels", "256", "most channels of one connection");

/// More than any client sends ahead: OpenSSH asks for a terminal, some environment, one command.
pub const REQUESTS: Flag = Flag {
    kind: Kind::Checked(|text| in_range::<u16>(text, 1)),
    ..count(
        "maxRequests",
        "256",
        "most requests that wait for their reply, for each channel",
    )
};

/// As OpenSSH: fills 100 Mbit/s at 160 ms. It is what the daemon may have to hold of one channel.
pub const WINDOW: Flag = Flag {
    kind: Kind::Checked(|text| in_range::<u32>(text, 32 * 1024)),
    ..count(
        "channelWindow",
        "2097152",
        "most bytes on their way to the daemon on one channel, at least 32768",
    )
};

/// Of the whole daemon, since a cell has 4,096 for all its containers (`/proc/sys/kernel/pty/max`).
pub const PTYS: Flag = count(
    "maxPtys",
    "64",
    "most terminals of all connections together",
);

/// OpenSSH allows as many.
pub const ENV_NAMES: Flag = count(
    "maxEnvNames",
    "1024",
    "most environment variables that one session may set",
);

/// With `=` and the final NUL. This is also what Linux takes for a single variable
/// (`MAX_ARG_STRLEN`), and far below what it takes for all: no requests can make `execve` fail.
pub const ENV_BYTES: Flag = count(
    "maxEnvBytes",
    "131072",
    "most bytes of the variables that one session may set",
);

/// Each holds one or two descriptors of the container's.
pub const FORWARDS: Flag = count(
    "maxForwards",
    "64",
    "most addresses that one connection may listen on (-R)",
);

/// So many channels of a connection can have a full window; what others get is less.
const FULL_WINDOWS: u32 = Limits::TOTAL_WINDOW / Limits::WINDOW;

/// Half of the channels, so that targets that never answer leave room for others.
pub const DIALS: Flag = count(
    "maxDials",
    "128",
    "most connections to targets that are being made for one connection (-L, -D)",
);

/// A client confirms within a round trip: at 100 ms still 320 connections a second.
pub const UNCONFIRMED: Flag = count(
    "maxUnconfirmed",
    "32",
    "most connections accepted for one connection that its client has not confirmed (-R)",
);

/// The bounds of a daemon; each field is explained at the flag of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "said at the flags")]
pub struct Bounds {
    pub connections: usize,
    pub logins: usize,
    pub login_timeout: Duration,
    pub sessions: usize,
    pub channels: usize,
    pub requests: u16,
    pub window: u32,
    pub ptys: usize,
    pub env_names: usize,
    pub env_bytes: usize,
    pub forwards: usize,
    pub dials: usize,
    pub unconfirmed: usize,
}

impl Bounds {
    /// Reads the flags, which were checked when they were parsed.
    pub fn new(flags: &Parsed) -> Self {
        Self::read(|flag| flags.text(flag.name).to_owned())
    }

    /// Those that the connection protocol keeps by itself.
    pub(crate) fn of_connection(&self) -> Limits {
        Limits {
            channels: self.channels,
            window: self.window,
            total_window: self.window.saturating_mul(FULL_WINDOWS),
            replies: self.requests,
            ..Limits::default()
        }
    }

    fn read(text: impl Fn(&Flag) -> String) -> Self {
        Self {
            connections: number(text(&CONNECTIONS)),
            logins: number(text(&LOGINS)),
            login_timeout: duration::parse(&text(&LOGIN_TIMEOUT)).unwrap_or_default(),
            sessions: number(text(&SESSIONS)),
            channels: number(text(&CHANNELS)),
            requests: number(text(&REQUESTS)),
            window: number(text(&WINDOW)),
            ptys: number(text(&PTYS)),
            env_names: number(text(&ENV_NAMES)),
            env_bytes: number(text(&ENV_BYTES)),
            forwards: number(text(&FORWARDS)),
            dials: number(text(&DIALS)),
            unconfirmed: number(text(&UNCONFIRMED)),
        }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::read(|flag| flag.default.to_owned())
    }
}

const fn count(name: &'static str, default: &'static str, usage: &'static str) -> Flag {
    Flag {
        name,
        kind: Kind::Checked(|text| in_range::<u32>(text, 1)),
        default,
        usage,
    }
}

fn in_range<N: FromStr + PartialOrd>(text: &str, least: N) -> Result<(), String> {
    match text.parse::<N>() {
        Ok(number) if number >= least => Ok(()),
        _ => Err("not a number in range".to_owned()),
    }
}

/// What is no number was refused before, and would allow nothing.
fn number<N: FromStr + Default>(text: String) -> N {
    text.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_design() {
        let bounds = Bounds::default();
        assert_eq!((bounds.sessions, bounds.channels), (64, 256));
        assert_eq!((bounds.env_names, bounds.env_bytes), (1024, 128 * 1024));
        assert_eq!(bounds.login_timeout, Duration::from_secs(60));
        assert_eq!((bounds.requests, bounds.window), (256, 2 << 20));
    }

    #[test]
    fn flags_override_them_and_nonsense_is_refused() {
        const ALL: &[Flag] = &[SESSIONS, REQUESTS, WINDOW, LOGIN_TIMEOUT];
        let parse = |word: &str| goflag::parse(ALL, vec![word.into()]);
        let bounds = |word: &str| Bounds::new(&parse(word).unwrap());
        assert_eq!(bounds("-maxSessions=7").sessions, 7);
        assert_eq!(bounds("-loginTimeout=1m30s").login_timeout.as_secs(), 90);
        for word in [
            "-maxSessions=0",
            "-maxSessions=-1",
            "-maxSessions=many",
            "-maxRequests=65536",
            "-channelWindow=32767",
            "-channelWindow=4294967296",
            "-loginTimeout=60",
            "-loginTimeout=0",
        ] {
            assert!(parse(word).is_err(), "{word}");
        }
    }
}
