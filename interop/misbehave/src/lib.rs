//! A peer that speaks SSH well up to any point and then breaks a rule, the rules that it can break, and
//! what has to come back. Made for any server: what BoGo is to TLS.
//!
//! | module      | owns                                                                          |
//! |-------------|-------------------------------------------------------------------------------|
//! | [`cases`]   | the rows: what is sent, and what must come back                               |
//! | [`case`]    | what a row is made of: stages, steps, expectations                            |
//! | [`run`]     | runs rows against a target, and tells how each one ended                      |
//! | [`report`]  | results as table, JSON and Markdown                                           |
//! | [`client`]  | the client's way up: service, login, channels; and how it sees who is alive   |
//! | [`host`]    | the server's way up, and what the user of a proxy sees meanwhile               |
//! | [`peer`]    | one connection, both roles: identification, packets, key exchange             |
//! | [`kex`]     | offers, KEXINITs, and what comes of two of them                               |
//! | [`packet`]  | packets under the present keys, right ones and wrong ones                     |
//! | [`link`]    | the TCP connection                                                            |
//! | [`payload`] | messages by their fields                                                      |
//!
//! It has primitives of `ssh-proto` (ciphers, curves, data types) and none of its state machines: those
//! keep rules, and every rule has to be breakable here. It looks at no host key.

pub mod case;
pub mod cases;
pub mod client;
pub mod end;
pub mod host;
pub mod kex;
pub mod link;
pub mod packet;
pub mod payload;
pub mod peer;
pub mod report;
pub mod run;
