//! The platform around the proxy: who knows where instances are and who may enter them.
//!
//! Nothing here knows about SSH.

pub(crate) mod bbs;
pub(crate) mod call;
pub(crate) mod cloud_controller;
pub(crate) mod http;
pub(crate) mod loggregator;
pub(crate) mod reread;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod tls;
pub(crate) mod uaa;
pub(crate) mod validity;

use std::error::Error;

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
