//! `diego-sshd`: the SSH daemon that runs beside an app, in any root file system, even an empty one.
//!
//! The binary is `main.rs`; everything else is here so that tests can reach it. From the top down:
//!
//! | module                        | owns                                                   |
//! |-------------------------------|--------------------------------------------------------|
//! | [`config`]                    | the command line, parsed once                          |
//! | [`secret`]                    | keys out of argv and environ before anybody can look   |
//! | [`listen`]                    | the listening socket                                   |
//! | [`server`]                    | connections: who gets in, and their channels           |
//! | [`session`]                   | one session: requests, process, end                    |
//! | [`process`]                   | a session's shell, its streams and its end             |
//! | [`pty`]                       | pseudo terminals                                       |
//! | [`environment`]               | a session's environment variables                      |
//! | [`sftp`]                      | the subsystem sftp: files over a channel               |
//! | [`accounts`]                  | the names of users and groups                          |
//! | `sys`                         | the system calls that need `unsafe`                    |
//!
//! Nothing may be required from the root file system: no shared library, no `/proc`, `/dev`,
//! `/etc/passwd`, and none of the C library's look-ups (`getpw*`, `getaddrinfo`) that want them.

pub mod accounts;
pub mod config;
pub mod environment;
pub mod listen;
pub mod process;
pub mod pty;
pub mod secret;
pub mod server;
pub mod session;
pub mod sftp;
mod sys;
