//! `diego-sshd`: the SSH daemon that runs beside an app, in any root file system, even an empty one.
//!
//! The binary is `main.rs`; everything else is here so that tests can reach it. From the top down:
//!
//! | module                        | owns                                                   |
//! |-------------------------------|--------------------------------------------------------|
//! | [`config`]                    | the command line, parsed once                          |
//! | [`secret`]                    | keys out of argv and environ before anybody can look   |
//! | [`inherited`]                 | blocked signals and the limit of descriptors           |
//! | [`listen`]                    | the listening socket                                   |
//! | [`bounds`]                    | what clients may take of the daemon                    |
//! | [`server`]                    | who gets in, and how many at a time                    |
//! | `logins`                      | who makes room for whom while logging in               |
//! | `connection`                  | one connection: its channels and their messages        |
//! | `session`                     | one session: requests, what runs for it, end           |
//! | [`process`]                   | a session's shell, its streams and its end             |
//! | [`pty`]                       | pseudo terminals                                       |
//! | [`environment`]               | a session's environment variables                      |
//! | `service`                     | scp and sftp as tasks of the daemon                    |
//! | [`scp`]                       | copying files, without an scp in the file system       |
//! | [`sftp`]                      | the subsystem sftp: files over a channel               |
//! | [`accounts`]                  | the names of users and groups                          |
//! | [`forward`]                   | connections and listeners for the user, the agent      |
//! | `sys`                         | the system calls that need `unsafe`                    |
//! | `fuzzing`                     | what fuzz targets reach, in their builds alone         |
//!
//! Nothing may be required from the root file system: no shared library, no `/proc`, `/dev`,
//! `/etc/passwd`, and none of the C library's look-ups (`getpw*`, `getaddrinfo`) that want them.

pub mod accounts;
pub mod bounds;
pub mod config;
mod connection;
pub mod environment;
pub mod forward;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod inherited;
pub mod listen;
mod logins;
pub mod process;
pub mod pty;
pub mod scp;
pub mod secret;
pub mod server;
mod service;
mod session;
pub mod sftp;
mod sys;

pub use sys::init::stay_behind;
