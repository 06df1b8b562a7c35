//! SSH-2 as pure state machines.
//!
//! Nothing here touches a socket, a clock, a task, the environment or a global: bytes, the time and
//! randomness are arguments. `ssh-tokio` drives these machines on real streams; tests drive two of
//! them in memory with virtual time.
//!
//! The layers, each using only those below it:
//!
//! | module         | owns                                                             | RFC  |
//! |----------------|------------------------------------------------------------------|------|
//! | [`connection`] | channels, windows, requests                                      | 4254 |
//! | [`auth`]       | user authentication, both roles                                  | 4252 |
//! | [`transport`]  | identification, packets, key exchange, rekeying                  | 4253 |
//! | [`crypto`], [`key`], [`algorithm`] | primitives, key files, names to negotiate    |      |
//! | [`msg`]        | message numbers and fields                                       | 4250 |
//! | [`wire`]       | the data types of RFC 4251 section 5                             | 4251 |

#![forbid(unsafe_code)]

// Nothing optimised, and so nothing that is shipped, can be built with its protection off.
#[cfg(all(fuzzing, not(debug_assertions)))]
compile_error!("cfg(fuzzing) takes encryption away: it is for fuzzing alone");

pub mod algorithm;
pub mod auth;
pub mod connection;
pub mod crypto;
pub mod error;
pub mod key;
pub mod msg;
pub mod secret;
pub mod transport;
pub mod wire;

pub use error::Error;
pub use secret::Secret;
