//! What the daemon is told on its command line, parsed once into types.
//!
//! Owns the table of flags, their defaults and their meaning. How a command line is spelt is
//! `flags.rs`; where keys come from and how they are hidden is `secret.rs`. Keys stay text here: the
//! caller parses them, since what is wrong with a key has log lines of its own.
//!
//! Source: the reference's `cmd/sshd/main.go` and lager's `lagerflags`.

use crate::bounds::{self, Bounds};
use crate::secret::Keys;
use goflag::{Flag, Kind, Parsed};

/// The flag that holds the host key.
pub const HOST_KEY: &str = "hostKey";
/// The flag that holds the authorized key.
pub const AUTHORIZED_KEY: &str = "authorizedKey";

const ADDRESS: &str = "address";
const ALLOW_UNAUTHENTICATED_CLIENTS: &str = "allowUnauthenticatedClients";
const INHERIT_DAEMON_ENV: &str = "inheritDaemonEnv";
const ALLOWED_CIPHERS: &str = "allowedCiphers";
const ALLOWED_MACS: &str = "allowedMACs";
const ALLOWED_KEY_EXCHANGES: &str = "allowedKeyExchanges";
const ALLOWED_HOST_KEY_ALGORITHMS: &str = "allowedHostKeyAlgorithms";
const DEBUG_ADDR: &str = "debugAddr";
const LOG_LEVEL: &str = "logLevel";
const REDACT_SECRETS: &str = "redactSecrets";
const REDACT_PATTERNS: &str = "redactPatterns";
const TIME_FORMAT: &str = "timeFormat";

/// Every flag of the daemon.
pub const FLAGS: &[Flag] = &[
    Flag {
        name: ADDRESS,
        kind: Kind::Text,
        default: "127.0.0.1:2222",
        usage: "listen address for ssh daemon",
    },
    Flag {
        name: HOST_KEY,
        kind: Kind::Text,
        default: "",
        usage: "PEM encoded host key (SSHD_HOSTKEY has precedence; without both one is generated)",
    },
    Flag {
        name: AUTHORIZED_KEY,
        kind: Kind::Text,
        default: "",
        usage: "Public key in the OpenSSH authorized_keys format (SSHD_AUTHKEY with SSHD_HOSTKEY)",
    },
    Flag {
        name: ALLOW_UNAUTHENTICATED_CLIENTS,
        kind: Kind::Bool,
        default: "false",
        usage: "Allow access to unauthenticated clients",
    },
    Flag {
        name: INHERIT_DAEMON_ENV,
        kind: Kind::Bool,
        default: "false",
        usage: "Inherit daemon's environment",
    },
    Flag {
        name: ALLOWED_CIPHERS,
        kind: Kind::Text,
        default: "",
        usage: "Limit cipher algorithms to those provided (comma separated)",
    },
    Flag {
        name: ALLOWED_MACS,
        kind: Kind::Text,
        default: "",
        usage: "Limit MAC algorithms to those provided (comma separated)",
    },
    Flag {
        name: ALLOWED_KEY_EXCHANGES,
        kind: Kind::Text,
        default: "",
        usage: "Limit key exchanges algorithms to those provided (comma separated)",
    },
    Flag {
        name: ALLOWED_HOST_KEY_ALGORITHMS,
        kind: Kind::Text,
        default: "",
        usage: "Limit host key algorithms to those provided (comma separated)",
    },
    Flag {
        name: DEBUG_ADDR,
        kind: Kind::Text,
        default: "",
        usage: "accepted for compatibility; nothing is served there",
    },
    Flag {
        name: LOG_LEVEL,
        kind: Kind::Text,
        default: "info",
        usage: "log level: debug, info, error or fatal",
    },
    Flag {
        name: REDACT_SECRETS,
        kind: Kind::Bool,
        default: "false",
        usage: "use a redacting log sink to scrub sensitive values from data being logged",
    },
    Flag {
        name: REDACT_PATTERNS,
        kind: Kind::Checked(|_| Ok(())),
        default: "",
        usage: "Regex patterns of values to scrub from data being logged (repeatable)",
    },
    Flag {
        name: TIME_FORMAT,
        kind: Kind::Checked(|text| TimeFormat::parse(text).map(|_| ())),
        default: "",
        usage: "Format for timestamp in component logs. Valid values are \"unix-epoch\" and \"rfc3339\".",
    },
    bounds::CONNECTIONS,
    bounds::LOGINS,
    bounds::LOGIN_TIMEOUT,
    bounds::SESSIONS,
    bounds::CHANNELS,
    bounds::REQUESTS,
    bounds::WINDOW,
    bounds::PTYS,
    bounds::ENV_NAMES,
    bounds::ENV_BYTES,
    bounds::FORWARDS,
    bounds::DIALS,
    bounds::UNCONFIRMED,
    goflag::VERSION,
];

/// The daemon's configuration.
#[derive(Debug)]
pub struct Config {
    /// Where to listen, as Go's `net.Listen` takes it; see [`crate::listen::bind`].
    pub address: String,
    /// The host key and the authorized key, unparsed.
    pub keys: Keys,
    /// Whether users come in without any key.
    pub allow_unauthenticated_clients: bool,
    /// Whether sessions see the daemon's environment variables.
    pub inherit_daemon_env: bool,
    /// The algorithms to offer.
    pub allowed: AllowedAlgorithms,
    /// Set if a debug server was asked for, which this daemon does not have: worth a warning.
    pub debug_address: Option<String>,
    /// What clients may take.
    pub bounds: Bounds,
    /// How to log.
    pub log: LogConfig,
}

/// Names of algorithms in the order of preference; an empty list means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedAlgorithms {
    /// Ciphers.
    pub ciphers: Vec<String>,
    /// Message authentication codes.
    pub macs: Vec<String>,
    /// Key exchange methods.
    pub key_exchanges: Vec<String>,
    /// Host key signature algorithms.
    pub host_key_algorithms: Vec<String>,
}

/// How to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The least severe level that is written.
    pub level: LogLevel,
    /// How timestamps are written.
    pub time_format: TimeFormat,
    /// What is scrubbed from values, if anything.
    pub redact: Option<Redact>,
}

/// What is scrubbed from logged values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redact {
    /// Regular expressions; empty means lager's own.
    pub patterns: Vec<String>,
}

/// Lager's levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Level 0.
    Debug,
    /// Level 1.
    Info,
    /// Level 2.
    Error,
    /// Level 3.
    Fatal,
}

/// Lager's timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeFormat {
    /// Seconds and nanoseconds since 1970.
    UnixEpoch,
    /// RFC 3339 in UTC.
    Rfc3339,
}

/// `-logLevel` names no level. The reference panics with this text, which is exit code 2.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown log level: {0}")]
pub struct UnknownLogLevel(String);

impl Config {
    /// Interprets `flags`; the keys were taken from them before, by [`crate::secret::conceal`].
    pub fn new(flags: &Parsed, keys: Keys) -> Result<Self, UnknownLogLevel> {
        let debug_address = Some(flags.text(DEBUG_ADDR)).filter(|address| !address.is_empty());
        Ok(Self {
            address: flags.text(ADDRESS).to_owned(),
            keys,
            allow_unauthenticated_clients: flags.is_true(ALLOW_UNAUTHENTICATED_CLIENTS),
            inherit_daemon_env: flags.is_true(INHERIT_DAEMON_ENV),
            allowed: AllowedAlgorithms {
                ciphers: split_list(flags.text(ALLOWED_CIPHERS)),
                macs: split_list(flags.text(ALLOWED_MACS)),
                key_exchanges: split_list(flags.text(ALLOWED_KEY_EXCHANGES)),
                host_key_algorithms: split_list(flags.text(ALLOWED_HOST_KEY_ALGORITHMS)),
            },
            debug_address: debug_address.map(str::to_owned),
            bounds: Bounds::new(flags),
            log: LogConfig::new(flags)?,
        })
    }
}

impl LogConfig {
    fn new(flags: &Parsed) -> Result<Self, UnknownLogLevel> {
        let patterns = flags.all(REDACT_PATTERNS).map(str::to_owned).collect();
        Ok(Self {
            level: LogLevel::parse(flags.text(LOG_LEVEL))?,
            // The flag's check has refused everything else.
            time_format: TimeFormat::parse(flags.text(TIME_FORMAT))
                .unwrap_or(TimeFormat::UnixEpoch),
            redact: flags.is_true(REDACT_SECRETS).then_some(Redact { patterns }),
        })
    }
}

impl LogLevel {
    fn parse(text: &str) -> Result<Self, UnknownLogLevel> {
        match text {
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "error" => Ok(Self::Error),
            "fatal" => Ok(Self::Fatal),
            _ => Err(UnknownLogLevel(text.to_owned())),
        }
    }
}

impl TimeFormat {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "unix-epoch" | "0" => Ok(Self::UnixEpoch),
            "rfc3339" | "1" => Ok(Self::Rfc3339),
            _ => Err(format!("invalid TimeFormat: \"{text}\"")),
        }
    }
}

/// A comma list; the empty text is the empty list, unlike in `strings.Split`.
fn split_list(text: &str) -> Vec<String> {
    match text {
        "" => Vec::new(),
        _ => text.split(',').map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goflag::Stop;

    fn config(words: &[&str]) -> Result<Config, UnknownLogLevel> {
        let flags = goflag::parse(FLAGS, words.iter().map(Into::into).collect()).unwrap();
        Config::new(&flags, Keys::default())
    }

    #[test]
    fn defaults() {
        let config = config(&[]).unwrap();
        assert_eq!(config.address, "127.0.0.1:2222");
        assert!(!config.allow_unauthenticated_clients && !config.inherit_daemon_env);
        assert_eq!(config.allowed, AllowedAlgorithms::default());
        assert_eq!(config.debug_address, None);
        let log = LogConfig {
            level: LogLevel::Info,
            time_format: TimeFormat::UnixEpoch,
            redact: None,
        };
        assert_eq!(config.log, log);
    }

    /// The suites pass every flag, empty ones included.
    #[test]
    fn empty_values_mean_the_default_lists() {
        let config = config(&[
            "-address=127.0.0.1:7001",
            "-hostKey=",
            "-authorizedKey=",
            "-allowUnauthenticatedClients=true",
            "-inheritDaemonEnv=false",
            "-allowedCiphers=",
            "-allowedMACs=",
            "-allowedKeyExchanges=a,b",
        ])
        .unwrap();
        assert_eq!(config.address, "127.0.0.1:7001");
        assert!(config.allow_unauthenticated_clients);
        assert!(config.allowed.ciphers.is_empty());
        assert_eq!(config.allowed.key_exchanges, ["a", "b"]);
    }

    #[test]
    fn logging() {
        let words = [
            "-logLevel=debug",
            "-timeFormat=1",
            "-redactSecrets",
            "-redactPatterns=a",
            "-redactPatterns=b",
        ];
        let log = config(&words).unwrap().log;
        assert_eq!(log.level, LogLevel::Debug);
        assert_eq!(log.time_format, TimeFormat::Rfc3339);
        assert_eq!(log.redact.unwrap().patterns, ["a", "b"]);
    }

    #[test]
    fn wrong_values_are_told_as_in_the_reference() {
        let error = config(&["-logLevel=loud"]).unwrap_err();
        assert_eq!(error.to_string(), "unknown log level: loud");

        let stop = goflag::parse(FLAGS, vec!["-timeFormat=late".into()]).unwrap_err();
        let text = r#"invalid value "late" for flag -timeFormat: invalid TimeFormat: "late""#;
        assert_eq!(stop, Stop::Bad(text.into()));
    }
}
