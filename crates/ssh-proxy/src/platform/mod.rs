//! The platform around the proxy: who knows where instances are and who may enter them.
//!
//! Nothing here knows about SSH.

pub(crate) mod bbs;
pub(crate) mod http;
pub(crate) mod resolve;
pub(crate) mod tls;
mod validity;

use std::error::Error;
use std::io;

/// The operating system's words for an error as Go prints them: `connection refused`.
pub(crate) fn os_text(error: &io::Error) -> String {
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

/// An error and its causes, joined by colons.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        // Some errors already print their cause.
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
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
