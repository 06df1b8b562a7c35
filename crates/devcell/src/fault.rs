//! Owns how the doubles misbehave: the catalogue of faults and the schedule that says which one the
//! next connection or call meets. A server that is down, or that shows another certificate, is not a
//! fault but a state: see `stop` and `show` of the doubles.

use std::time::Duration;

/// One way to misbehave. The first four happen to connections, the others to calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Behave.
    #[default]
    None,
    /// Accept the TCP connection and drop it at once.
    CloseAfterAccept,
    /// Accept the TCP connection and reset it at once.
    Reset,
    /// Accept the TCP connection and never answer the TLS handshake.
    HangBeforeTls,
    /// Read the request, then drop the connection without an answer.
    CloseAfterRequest,
    /// Read the request and never answer.
    Hang,
    /// Answer properly, this much later.
    Slow(Duration),
    /// 200 at once, and then one byte of a body without end each time this much has passed.
    Drip(Duration),
    /// This status with an empty body and no content type, as a BBS that migrates answers 503.
    Status(u16),
    /// A 404 in plain text, as from something else that got the port.
    NotProtobuf,
    /// 200 without content type or body.
    EmptyOk,
    /// 502 with this text in `X-Cf-Routererror`.
    RouterError(String),
    /// 200 with the right content type around bytes that are nothing of the kind.
    Garbage,
    /// A proper answer that carries an error, which clients must not retry.
    ErrorInMessage {
        /// The number of the error type; UAA's errors have none.
        kind: i32,
        /// Its text.
        message: String,
    },
    /// 200 with the right content type and this many zero bytes, none of them stored anywhere.
    HugeBody(u64),
    /// Promises more bytes than it sends, then drops the connection.
    Truncated,
    /// Sends the client elsewhere.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// The `Location`.
        to: String,
    },
}

impl Fault {
    /// Whether it strikes before any request is read.
    fn at_connect(&self) -> bool {
        matches!(
            self,
            Self::CloseAfterAccept | Self::Reset | Self::HangBeforeTls
        )
    }
}

/// Which fault comes next: a count of extraordinary ones, then the standing one.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    standing: Fault,
    next: Option<(u32, Fault)>,
}

impl Schedule {
    pub(crate) fn set(&mut self, fault: Fault) {
        *self = Self {
            standing: fault,
            next: None,
        };
    }

    pub(crate) fn set_next(&mut self, times: u32, fault: Fault) {
        self.next = Some((times, fault));
    }

    /// Takes the fault for a connection that has just been accepted.
    pub(crate) fn on_connect(&mut self) -> Fault {
        self.take(Fault::at_connect)
    }

    /// Takes the fault for a request that has just been read.
    pub(crate) fn on_request(&mut self) -> Fault {
        self.take(|fault| !fault.at_connect())
    }

    /// Only faults of the asked kind are used up: a connection does not eat a fault of a call.
    fn take(&mut self, wanted: impl Fn(&Fault) -> bool) -> Fault {
        let current = match &mut self.next {
            Some((times, fault)) if *times > 0 => {
                if wanted(fault) {
                    *times -= 1;
                }
                &*fault
            }
            _ => &self.standing,
        };
        if wanted(current) {
            current.clone()
        } else {
            Fault::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_faults_run_out_and_leave_the_standing_one() {
        let mut schedule = Schedule::default();
        schedule.set(Fault::Garbage);
        schedule.set_next(2, Fault::Status(503));
        let seen: Vec<Fault> = (0..3).map(|_| schedule.on_request()).collect();
        assert_eq!(
            seen,
            [Fault::Status(503), Fault::Status(503), Fault::Garbage]
        );
    }

    #[test]
    fn a_connection_does_not_use_up_a_fault_of_a_call() {
        let mut schedule = Schedule::default();
        schedule.set_next(1, Fault::Garbage);
        assert_eq!(schedule.on_connect(), Fault::None);
        assert_eq!(schedule.on_request(), Fault::Garbage);
        assert_eq!(schedule.on_request(), Fault::None);
    }
}
