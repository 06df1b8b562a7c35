//! Everything that listens for the user, and the pace of accepting.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use connector::os_text;
use ssh_tokio::serve::{ACCEPT_PAUSE, is_about_one_connection};
use tokio::time::{Sleep, sleep};
use tracing::error;

use super::Incoming;
use super::agent::Agent;
use super::streamlocal::StreamlocalListener;
use super::tcp::{Place, TcpipListener};

/// The listeners of one connection, closed when dropped.
pub(super) struct Listeners {
    most: usize,
    tcp: Vec<TcpipListener>,
    unix: Vec<StreamlocalListener>,
    agent: Option<Agent>,
    /// Whose turn it is to be asked first, so that a busy listener does not silence the others.
    turn: usize,
    /// Set while the process has no descriptor or memory for another socket.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Listeners {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            tcp: Vec::new(),
            unix: Vec::new(),
            agent: None,
            turn: 0,
            pause: None,
        }
    }

    /// Listens on a place that was asked for as `address`; the port.
    pub(super) fn listen(&mut self, address: &str, place: &Place, port: u16) -> io::Result<u16> {
        self.check_room()?;
        let listener = TcpipListener::bind(address, place, port)?;
        let port = listener.port();
        self.tcp.push(listener);
        Ok(port)
    }

    /// Closes the listener that was asked for as `address`, or that is bound to it; false if there is
    /// none.
    pub(super) fn cancel(&mut self, address: &str, port: u16) -> bool {
        let asked_for = self.tcp.iter().position(|it| it.is(address, port));
        let bound = || self.tcp.iter().position(|it| it.is_bound_to(address, port));
        let Some(found) = asked_for.or_else(bound) else {
            return false;
        };
        self.tcp.remove(found);
        true
    }

    /// Listens on a Unix socket.
    pub(super) fn listen_unix(&mut self, path: &[u8]) -> io::Result<()> {
        self.check_room()?;
        self.unix.push(StreamlocalListener::bind(path)?);
        Ok(())
    }

    /// Closes the listener on a Unix socket; false if there is none.
    pub(super) fn cancel_unix(&mut self, path: &[u8]) -> bool {
        let Some(found) = self.unix.iter().position(|it| it.is(path)) else {
            return false;
        };
        self.unix.remove(found);
        true
    }

    /// The socket of the user's agent, made for the first who asks.
    pub(super) fn agent(&mut self) -> io::Result<&Path> {
        let agent = match self.agent.take() {
            Some(agent) => agent,
            None => Agent::open()?,
        };
        Ok(self.agent.insert(agent).path())
    }

    fn check_room(&self) -> io::Result<()> {
        if self.tcp.len() + self.unix.len() < self.most {
            return Ok(());
        }
        Err(io::Error::other("too many listeners on this connection"))
    }

    /// The next that came to any listener.
    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(self.poll_each(cx)) {
                Ok(incoming) => return Poll::Ready(incoming),
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    error!(error = os_text(&error), "failed-to-accept");
                    // What could not be accepted is still there: asking at once would spin.
                    self.pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
                }
            }
        }
    }

    fn poll_each(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Incoming>> {
        let all = self.tcp.len() + self.unix.len() + usize::from(self.agent.is_some());
        for offset in 0..all {
            let number = (self.turn + offset) % all;
            if let Poll::Ready(accepted) = self.poll_one(cx, number) {
                self.turn = number + 1;
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }

    fn poll_one(&mut self, cx: &mut Context<'_>, number: usize) -> Poll<io::Result<Incoming>> {
        if let Some(listener) = self.tcp.get_mut(number) {
            return listener.poll_accept(cx);
        }
        if let Some(listener) = self.unix.get(number - self.tcp.len()) {
            return listener.poll_accept(cx);
        }
        match &self.agent {
            Some(agent) => agent.poll_accept(cx),
            None => Poll::Pending,
        }
    }
}
