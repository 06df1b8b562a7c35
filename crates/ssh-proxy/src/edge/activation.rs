//! Listeners that the process was started with (sd_listen_fds(3)): whoever started it keeps them open,
//! so that nobody is turned away while one process ends and the next one starts.

use std::net::TcpListener;

use connector::os_text;
use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

/// The listener for clients, and one for health checks: there is nothing else to inherit.
const MOST_LISTENERS: usize = 2;

/// What was inherited.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// In place of `address`.
    pub(crate) ssh: Option<TcpListener>,
    /// In place of `health_check_address`.
    pub(crate) health: Option<TcpListener>,
}

impl Inherited {
    /// Takes what the environment names. Must be called before there are other threads, since it takes
    /// the names out of the environment too.
    ///
    /// # Errors
    /// What is named is not listening TCP sockets.
    pub(crate) fn take() -> Result<Self, String> {
        let variable = |name| std::env::var(name).ok();
        let count = count(variable("LISTEN_FDS"), variable("LISTEN_PID"))?;
        if count == 0 {
            return Ok(Self::default());
        }
        let mut descriptors = ListenFd::from_env();
        let mut listener = |index| {
            if index >= count {
                return Ok(None);
            }
            let listener = descriptors
                .take_tcp_listener(index)
                .map_err(|error| format!("LISTEN_FDS: {error}"))?;
            listener.map(checked).transpose()
        };
        Ok(Self {
            ssh: listener(0)?,
            health: listener(1)?,
        })
    }
}

/// How many listeners are meant for this process: the variables may be another's, inherited.
fn count(fds: Option<String>, pid: Option<String>) -> Result<usize, String> {
    let (Some(fds), Some(pid)) = (fds, pid) else {
        return Ok(0);
    };
    if pid.parse() != Ok(std::process::id()) {
        return Ok(0);
    }
    match fds.parse() {
        Ok(count) if count <= MOST_LISTENERS => Ok(count),
        _ => Err(format!(
            "LISTEN_FDS: expected a number up to {MOST_LISTENERS}: the listener for clients, and one \
             for health checks"
        )),
    }
}

/// Ready for an event loop.
fn checked(listener: TcpListener) -> Result<TcpListener, String> {
    let problem = |error: std::io::Error| format!("LISTEN_FDS: {}", os_text(&error));
    if !socket_acceptconn(&listener).map_err(|error| problem(error.into()))? {
        return Err("LISTEN_FDS: the socket does not listen".to_owned());
    }
    listener.set_nonblocking(true).map_err(problem)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listeners_for_this_process_count() {
        let us = std::process::id().to_string();
        let count = |fds: &str, pid: &str| count(Some(fds.to_owned()), Some(pid.to_owned()));
        assert_eq!(count("2", &us), Ok(2));
        assert_eq!(count("0", &us), Ok(0));
        assert_eq!(count("1", "1"), Ok(0));
        assert_eq!(count("1", ""), Ok(0));
        assert_eq!(super::count(Some("1".to_owned()), None), Ok(0));
        for bad in ["3", "-1", "x", "", "99999999999999999999"] {
            assert!(count(bad, &us).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_socket_that_does_not_listen_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let client = TcpListener::from(std::os::fd::OwnedFd::from(client));
        assert!(checked(client).unwrap_err().contains("does not listen"));
        assert!(checked(listener).is_ok());
    }
}
