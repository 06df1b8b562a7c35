//! Names to addresses, and TCP connections to names, for both binaries.
//!
//! Owns how a name is looked up without the C library ([`Resolver`]), the trying of one address after
//! the other, reading the small files that names come from ([`contents`]), and the words of the operating
//! system for what goes wrong ([`os_text`]). What is spoken on a connection, its options and its
//! encryption are the callers'.

#![forbid(unsafe_code)]

mod dns;
mod etc;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hosts;
mod resolver;

use std::io;

pub use etc::contents;
pub use resolver::{Files, Resolver};

/// The operating system's words for an error as Go prints them: `connection refused`.
pub fn os_text(error: &io::Error) -> String {
    let text = error.to_string();
    if error.raw_os_error().is_none() {
        return text;
    }
    let text = text.split(" (os error").next().unwrap_or_default();
    // Go has its own name for EADDRINUSE and the like; they differ in the first letter only.
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}

fn no_such_host() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no such host")
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "i/o timeout")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_read_as_in_go() {
        // Linux: 2 ENOENT, 98 EADDRINUSE, 111 ECONNREFUSED.
        for (number, text) in [
            (2, "no such file or directory"),
            (98, "address already in use"),
            (111, "connection refused"),
        ] {
            assert_eq!(os_text(&io::Error::from_raw_os_error(number)), text);
        }
        assert_eq!(os_text(&io::Error::other("Own words")), "Own words");
    }
}
