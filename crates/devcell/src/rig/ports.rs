//! Ports for programs that have to be told one, since they do not say which they got for `:0`.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;

use super::RigError;
use crate::keys::random_hex;

/// Below those that Linux gives out by itself (`net.ipv4.ip_local_port_range`): while a port waits for its
/// program, no connection and no listener at `:0` of anybody gets it.
const PORTS: Range<u16> = 10_000..32_768;

/// How many ports are tried. Of those above, few are ever taken.
const ATTEMPTS: usize = 100;

/// An address of this machine.
pub(super) fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Picks a port that is free now. Until a program binds it, only who picks as we do may take it.
///
/// # Errors
/// There is none.
pub fn free_port() -> Result<u16, RigError> {
    for _ in 0..ATTEMPTS {
        let port = random_port()?;
        if TcpListener::bind(local(port)).is_ok() {
            return Ok(port);
        }
    }
    Err(RigError::NoPort(io::ErrorKind::AddrInUse.into()))
}

fn random_port() -> Result<u16, RigError> {
    let digits = random_hex(2)?;
    let number = u16::from_str_radix(&digits, 16).unwrap_or_default();
    Ok(PORTS.start + number % (PORTS.end - PORTS.start))
}

/// Fails where somebody has `port`.
pub(super) fn ensure_free(port: u16) -> Result<(), RigError> {
    match TcpListener::bind(local(port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(RigError::PortTaken { port }),
        Err(error) => Err(RigError::NoPort(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_none_that_the_kernel_gives_out() {
        for _ in 0..100 {
            let port = free_port().unwrap();
            assert!(PORTS.contains(&port), "{port}");
        }
    }

    #[test]
    fn a_taken_port_is_named() {
        let listener = TcpListener::bind(local(0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = ensure_free(port).unwrap_err().to_string();
        assert!(text.starts_with(&format!("port {port} on 127.0.0.1 is already taken")));
    }
}
