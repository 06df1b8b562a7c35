//! The sweep: every message that there is, cut at every byte, lengthened by one and with wrong lengths,
//! against the machine that reads it, in the state in which it may come. Each case ends in an error that
//! its sender is told, or in an acceptance that its law allows; none panics, and none takes more memory
//! than its own bytes and 64 KiB.

#[cfg(test)]
mod auth;
#[cfg(test)]
mod connection;
#[cfg(test)]
mod heap;
#[cfg(test)]
mod kex;
#[cfg(test)]
mod key_files;
#[cfg(test)]
#[allow(dead_code, reason = "other crates sweep with the rest")]
mod sample;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod transport;
#[cfg(test)]
#[path = "../connection/wire.rs"]
#[allow(dead_code, reason = "the tests of the connection use the rest")]
mod wire;
