//! What tests of a whole cell share.
//!
//! | module       | owns                                                              |
//! |--------------|-------------------------------------------------------------------|
//! | [`target`]   | one daemon and the way to it, for clients of all makes             |
//! | [`files`]    | files that are copied, and how copies are compared with them       |
//! | [`languages`] | clients in other languages: what they are told, and what they tell  |
//! | [`network`]  | who is at both ends of a forwarded connection                     |
//! | [`shown`]    | the `devcell` command, and what it prints pasted into a shell      |
//! | [`user`]     | the installed `ssh` as a user of the cell runs it                 |
//! | [`terminal`] | a terminal with a program on it, and someone who types and reads   |
//! | [`runs`]     | a client of our own that checks the order of all messages of a run |
//! | [`wrapped`]  | the proxy inside another program                                  |
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    unused_macros,
    reason = "compiled into each test, which uses only a part"
)]

pub mod files;
pub mod languages;
pub mod network;
pub mod runs;
pub mod shown;
pub mod target;
pub mod terminal;
pub mod user;
pub mod wrapped;

/// Whether the long forms of the tests are to run; `scripts/soak` asks for them.
pub fn soak() -> bool {
    std::env::var_os("SOAK").is_some_and(|value| !value.is_empty() && value != "0")
}

/// A tenth of `full`, unless this is a soak.
pub fn tenth<N: std::ops::Div<Output = N> + From<u8>>(full: N) -> N {
    if soak() { full } else { full / N::from(10) }
}
