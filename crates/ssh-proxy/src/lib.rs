//! `ssh-proxy`: the way in to the containers of Cloud Foundry over SSH.
//!
//! The binary is `main.rs`, which only calls [`start`]; everything else is here so that tests, benches
//! and fuzz targets can reach it. From the top down:
//!
//! | module       | owns                                                                  |
//! |--------------|-----------------------------------------------------------------------|
//! | `start`      | the command line, the log, the runtime, exit codes                    |
//! | [`config`]   | the configuration file, key by key                                    |
//! | [`settings`] | what the file means, as values that cannot be wrong                   |
//! | `bind`       | every port, before anything is served                                 |
//! | `proxy`      | the SSH side: takes connections, logs their users in, relays          |
//! | [`edge`]     | who may begin a login, and whose connection it is                     |
//! | [`auth`]     | who may log in, and into what                                         |
//! | [`target`]   | where an instance's daemon is and how to log in there                 |
//! | `dial`       | the way to it, and its proof                                          |
//! | [`relay`]    | packets from one side to the other                                    |
//! | `refusal`    | why somebody is not let in: codes, texts, what the client is told     |
//! | `sessions`   | who is in right now                                                   |
//! | `witness`    | what of a relay is listed, counted and recorded                       |
//! | `audit`      | who did what, as lines of JSON                                        |
//! | `app_log`    | lines in the app's log                                                |
//! | `metrics`    | how many came, went and were refused                                  |
//! | `admin`      | the sessions shown and ended: a server, its page, and commands        |
//! | `doctor`     | what is broken: everything that a login needs, tried one by one       |
//! | `health`     | the health server                                                     |
//! | `debug`      | the debug server                                                      |
//! | `server`     | what they have in common: small HTTP servers                          |
//! | `platform`   | BBS, UAA, Cloud Controller and the loggregator agent                  |
//! | `fuzzing`    | steps of the login for fuzz targets, in their builds alone            |

// Its unit tests have an allocator that counts, which cannot do without.
#![cfg_attr(not(test), forbid(unsafe_code))]

mod admin;
mod app_log;
mod audit;
pub mod auth;
mod bind;
pub mod config;
mod debug;
mod dial;
mod doctor;
pub mod edge;
#[cfg(fuzzing)]
pub mod fuzzing;
mod health;
#[cfg(test)]
#[path = "../../ssh-proto/tests/sweep/heap.rs"]
mod heap;
mod metrics;
mod platform;
mod proxy;
mod refusal;
pub mod relay;
#[cfg(test)]
#[path = "../../ssh-proto/tests/sweep/sample.rs"]
#[allow(dead_code, reason = "the sweep of ssh-proto uses the rest")]
mod sample;
mod server;
mod sessions;
pub mod settings;
mod start;
pub mod target;
mod witness;

pub use start::start;
