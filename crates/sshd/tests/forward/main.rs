//! Forwards on real sockets. What depends on the machine having IPv6 is asserted either way.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests are tests too"
)]

#[cfg(test)]
mod agent;
#[cfg(test)]
mod dial;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod streamlocal;
#[cfg(test)]
mod tcpip;
