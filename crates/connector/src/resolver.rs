//! Names to addresses, and connections to names.
//!
//! Names are looked up in the hosts file and then by DNS as resolv.conf says, in pure Rust: a
//! static binary cannot use the C library's name services. Both files are first read when there is a
//! name to look up, and again when they change; neither has to exist. `localhost` needs none of them,
//! and IP literals bypass all this.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::proto::rr::Name;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::dns::Dns;
use crate::etc::contents;
use crate::hosts::{self, Hosts};
use crate::{no_such_host, os_text, timed_out};

/// The least time that one of several addresses gets to answer, as in Go's dialer: less would only
/// make sure that none of them can.
const MIN_ADDRESS_SHARE: Duration = Duration::from_secs(2);

/// How long the files are taken to be unchanged after a look at them.
const RECHECK: Duration = Duration::from_secs(5);

/// Longer names cannot be asked of DNS (RFC 1035 section 2.3.4, without the final dot and the length
/// octets), and whoever gives one is not told by a look-up.
const LONGEST_NAME: usize = 253;

/// The files that say how to resolve names.
#[derive(Debug, Clone)]
pub struct Files {
    /// Names known here.
    pub hosts: PathBuf,
    /// Name servers and search list.
    pub resolv_conf: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            hosts: "/etc/hosts".into(),
            resolv_conf: "/etc/resolv.conf".into(),
        }
    }
}

impl Files {
    /// When the files were changed last; `None` for those that are not there.
    fn changed(&self) -> [Option<SystemTime>; 2] {
        [&self.hosts, &self.resolv_conf]
            .map(|file| fs::metadata(file).and_then(|m| m.modified()).ok())
    }
}

/// Resolves names; cheap to make, and to share behind an `Arc`.
pub struct Resolver {
    files: Files,
    /// Nothing before the first name.
    state: Mutex<Option<State>>,
}

/// What was read of the files and when.
struct State {
    names: Arc<Names>,
    changed: [Option<SystemTime>; 2],
    checked: Instant,
}

/// What the files say.
struct Names {
    /// The hosts file; names in it are not asked of DNS at all.
    hosts: Hosts,
    resolv_conf: PathBuf,
    /// Made for the first name that is not in the hosts file; `None` if there is no way to ask.
    dns: OnceLock<Option<Dns>>,
}

impl Resolver {
    /// Will read `files` when there is something to look up.
    pub fn new(files: Files) -> Self {
        Self {
            files,
            state: Mutex::new(None),
        }
    }

    /// Connects to a name or IP literal, trying each of its addresses in turn until one answers.
    ///
    /// `budget` bounds resolving and all attempts together; each address gets its share of what is
    /// left.
    ///
    /// # Errors
    /// That of the first address, in Go's words: `dial tcp 127.0.0.1:1: connect: connection refused`,
    /// `dial tcp: lookup x: no such host`.
    pub async fn connect(&self, host: &str, port: u16, budget: Duration) -> io::Result<TcpStream> {
        let deadline = Instant::now() + budget;
        let addresses = timeout(budget, self.addresses(host, port))
            .await
            .unwrap_or_else(|_| Err(timed_out()))
            .map_err(|error| {
                io::Error::new(error.kind(), format!("dial tcp: lookup {host}: {error}"))
            })?;
        connect_any(&addresses, deadline).await
    }

    /// The addresses of a name or IP literal, in the order to try them; never empty. An IPv6 literal
    /// may stand in brackets.
    ///
    /// # Errors
    /// `NotFound` for a name that does not exist; others where that could not be found out.
    pub async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let literal = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let found = match literal.unwrap_or(host).parse() {
            Ok(ip) => vec![ip],
            Err(_) => self.current().lookup(host).await?,
        };
        if found.is_empty() {
            return Err(no_such_host());
        }
        Ok(found
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect())
    }

    /// The names as the files have them now.
    fn current(&self) -> Arc<Names> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let state = state.get_or_insert_with(|| State::read(&self.files, now));
        if now.duration_since(state.checked) >= RECHECK {
            state.checked = now;
            if self.files.changed() != state.changed {
                *state = State::read(&self.files, now);
            }
        }
        Arc::clone(&state.names)
    }
}

impl State {
    fn read(files: &Files, now: Instant) -> Self {
        // Before the files themselves: a change in between is then seen the next time.
        let changed = files.changed();
        let hosts = contents(&files.hosts).unwrap_or_default();
        let names = Names {
            hosts: hosts::parse(&String::from_utf8_lossy(&hosts)),
            resolv_conf: files.resolv_conf.clone(),
            dns: OnceLock::new(),
        };
        Self {
            names: Arc::new(names),
            changed,
            checked: now,
        }
    }
}

impl Names {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let name = hosts::normal(host);
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(no_such_host());
        }
        if let Some(addresses) = self.hosts.get(&name) {
            return Ok(addresses.clone());
        }
        // RFC 6761 section 6.3.
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        if cfg!(fuzzing) {
            // Nobody is asked for names that a fuzzer makes up.
            return Err(no_such_host());
        }
        let dns = self.dns.get_or_init(|| Dns::read(&self.resolv_conf));
        let dns = dns
            .as_ref()
            .ok_or_else(|| io::Error::other("no name servers"))?;
        // What DNS cannot have as a name is none of a host, and other letters are not translated.
        let name = Name::from_ascii(host).map_err(|_| no_such_host())?;
        dns.lookup(&name).await
    }
}

/// Connects to the first of `addresses` that answers before `deadline`.
async fn connect_any(addresses: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    if cfg!(fuzzing) {
        // Nor does anybody get connections from it.
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    let mut first_error = None;
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let share = share(left, addresses.len() - tried);
        let error = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => io::Error::new(
                error.kind(),
                format!("dial tcp {address}: connect: {}", os_text(&error)),
            ),
            Err(_) => io::Error::new(
                io::ErrorKind::TimedOut,
                format!("dial tcp {address}: {}", timed_out()),
            ),
        };
        first_error.get_or_insert(error);
    }
    Err(first_error.unwrap_or_else(timed_out))
}

/// What one of `addresses` addresses gets of the time left.
fn share(left: Duration, addresses: usize) -> Duration {
    let addresses = u32::try_from(addresses).unwrap_or(u32::MAX).max(1);
    (left / addresses).max(MIN_ADDRESS_SHARE).min(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tokio::net::TcpListener;

    /// The library below has an assertion about capital letters beside others.
    #[tokio::test]
    async fn names_of_other_letters_are_no_names() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(&dir, "");
        let text = "# \u{e4}\ndomain B\u{416}.example\nnameserver 127.0.0.1\n";
        fs::write(&files.resolv_conf, text).unwrap();
        assert!(Dns::read(&files.resolv_conf).is_some());
        let names = State::read(&files, Instant::now()).names;
        for host in ["B\u{416}.example", "\u{e4}A", "xn--a\u{130}"] {
            let error = names.lookup(host).await.unwrap_err();
            assert_eq!(error.to_string(), no_such_host().to_string(), "{host}");
        }
    }

    /// Nothing takes so long.
    const HOUR: Duration = Duration::from_secs(3600);

    /// Files in a directory of the test.
    fn files(dir: &tempfile::TempDir, hosts: &str) -> Files {
        let files = Files {
            hosts: dir.path().join("hosts"),
            resolv_conf: dir.path().join("resolv.conf"),
        };
        fs::write(&files.hosts, hosts).unwrap();
        files
    }

    #[tokio::test]
    async fn literals_and_localhost_need_no_files() {
        let resolver = Resolver::new(Files {
            hosts: "/does/not/exist".into(),
            resolv_conf: "/does/not/exist".into(),
        });
        for (host, address) in [
            ("10.0.0.1", "10.0.0.1:80"),
            ("fd00::1", "[fd00::1]:80"),
            ("[fd00::1]", "[fd00::1]:80"),
        ] {
            let expected: Vec<SocketAddr> = vec![address.parse().unwrap()];
            assert_eq!(resolver.addresses(host, 80).await.unwrap(), expected);
        }
        let local = resolver.addresses("localhost", 80).await.unwrap();
        assert!(
            local.contains(&"127.0.0.1:80".parse().unwrap()),
            "{local:?}"
        );
    }

    #[tokio::test]
    async fn what_cannot_be_a_name_is_not_asked_for() {
        let resolver = Resolver::new(Files {
            hosts: "/does/not/exist".into(),
            resolv_conf: "/does/not/exist".into(),
        });
        // The last one is certain not to exist (RFC 6761 section 6.4).
        for host in ["", "a b", "a..b", &"x.".repeat(128), "x.invalid"] {
            let error = resolver.connect(host, 80, HOUR).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
            let text = format!("dial tcp: lookup {host}: no such host");
            assert_eq!(error.to_string(), text);
        }
    }

    #[tokio::test]
    async fn the_hosts_file_is_read_again_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let resolver = Resolver::new(files(&dir, "10.0.0.1 bbs.test\n10.0.0.2 bbs.test\n"));
        let mut found = resolver.addresses("bbs.test", 1).await.unwrap();
        found.sort();
        assert_eq!(
            found,
            ["10.0.0.1:1".parse().unwrap(), "10.0.0.2:1".parse().unwrap()]
        );

        fs::write(dir.path().join("hosts"), "10.0.0.3 bbs.test\n").unwrap();
        let later = SystemTime::now() + Duration::from_secs(10);
        let file = fs::File::options()
            .append(true)
            .open(dir.path().join("hosts"))
            .unwrap();
        file.set_modified(later).unwrap();
        resolver.state.lock().unwrap().as_mut().unwrap().checked -= RECHECK;
        let found = resolver.addresses("bbs.test", 1).await.unwrap();
        assert_eq!(found, ["10.0.0.3:1".parse().unwrap()]);
    }

    /// The container's owner may put anything there.
    #[tokio::test]
    async fn what_is_no_file_holds_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, &fifo, FileType::Fifo, mode, 0).unwrap();
        for hosts in [fifo, "/dev/zero".into(), dir.path().into()] {
            let resolv_conf = hosts.clone();
            let files = Files { hosts, resolv_conf };
            let names = State::read(&files, Instant::now()).names;
            assert!(names.lookup("localhost").await.is_ok());
            assert!(Dns::read(&files.resolv_conf).is_some());
        }
    }

    #[tokio::test]
    async fn an_address_that_refuses_leads_to_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let dead = SocketAddr::from(([127, 0, 0, 2], port));
        let deadline = Instant::now() + Duration::from_secs(5);
        let live = listener.local_addr().unwrap();
        let stream = connect_any(&[dead, live], deadline).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), live);

        let error = connect_any(&[dead, dead], deadline).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("dial tcp {dead}: connect: connection refused")
        );
        assert!(connect_any(&[live], Instant::now()).await.is_err());
    }

    #[test]
    fn addresses_share_the_time_left() {
        let seconds = Duration::from_secs;
        assert_eq!(share(seconds(5), 1), seconds(5));
        assert_eq!(share(seconds(5), 2), Duration::from_millis(2500));
        assert_eq!(share(seconds(5), 4), seconds(2));
        assert_eq!(share(seconds(1), 4), seconds(1));
    }
}
