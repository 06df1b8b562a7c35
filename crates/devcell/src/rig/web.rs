//! Owns the app itself: in each instance a web server that says which one it is, so that there is
//! something to forward to.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::StatusCode;

use super::RigError;
use crate::answer::{Answer, ok, plain_not_found, status};
use crate::server::{Call, Server, Service, StartError};

/// The app of one instance. Dropping it closes its port.
#[derive(Debug)]
pub(super) struct Web {
    server: Server,
}

impl Web {
    /// Starts on a free port of 127.0.0.1.
    pub(super) async fn start(index: usize) -> Result<Self, RigError> {
        let greeting = Arc::new(Greeting(format!("This is instance {index} of the app.\n")));
        let server = Server::start(greeting, None);
        let server = server.map_err(StartError::from)?;
        Ok(Self { server })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

#[derive(Debug)]
struct Greeting(String);

impl Service for Greeting {
    fn content_type(&self) -> &'static str {
        "text/plain; charset=utf-8"
    }

    fn answer(&self, call: &Call) -> Answer {
        match (call.method.as_str(), call.path.as_str()) {
            ("GET", "/") => ok(self.content_type(), self.0.clone()),
            _ => plain_not_found(),
        }
    }

    fn error(&self, _: &Call, _: i32, _: &str) -> Answer {
        status(StatusCode::INTERNAL_SERVER_ERROR)
    }
}
