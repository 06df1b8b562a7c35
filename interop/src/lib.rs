//! Helpers of the tests with real peers; the tests themselves are in `tests/`.
//!
//! | module      | owns                                                                        |
//! |-------------|-----------------------------------------------------------------------------|
//! | [`process`] | programs that tests start: each ends with its guard, and what it started too |
//! | [`openssh`] | the OpenSSH releases that we test with: where they are, their client, keys   |
//! | [`sshd`]    | an OpenSSH server with a configuration of its own                            |
//! | [`choice`]  | the table of algorithms, each one alone                                      |
//! | [`probe`]   | one command that all peers run: data both ways, standard error, a status     |
//! | [`server`]  | our server role: a server in this process that runs the probe                |
//! | [`client`]  | our client role: logs in and runs commands                                   |
//! | [`cases`]   | runs the cases of a table side by side, each within a time                   |
//!
//! A tool that is missing is a failure that names its Debian package, never a skip.

#![forbid(unsafe_code)]

pub mod cases;
pub mod choice;
pub mod client;
pub mod openssh;
pub mod probe;
pub mod process;
pub mod server;
pub mod sshd;
