//! The wire of the model: two transports that agree on keys which protect nothing.

use std::time::Instant;

use ssh_proto::connection::{Connection, Limits};
use ssh_proto::transport::{Event, Role, Transport};

use crate::proto::clear::{Peer, feed};

/// Two connections back to back.
pub(crate) fn pair(limits: &Limits) -> (Connection, Connection) {
    let ends = [Role::Client, Role::Server].map(|role| Peer::stranger(role).transport);
    let [mut a, mut b] = ends;
    for _ in 0..4 {
        carry(&mut a, &mut b);
        for end in [&mut a, &mut b] {
            while let Ok(Event::HostKey) = end.poll(Instant::now()) {
                end.accept_host_key().expect("there is a host key");
            }
        }
    }
    let connection = |mut end: Transport| {
        assert!(end.negotiated().is_some() && !end.is_keying());
        end.set_authenticated();
        Connection::new(end, limits.clone())
    };
    (connection(a), connection(b))
}

/// Carries everything that either connection has sent to the other.
pub(crate) fn pump(a: &mut Connection, b: &mut Connection) {
    carry(a.transport_mut(), b.transport_mut());
}

fn carry(a: &mut Transport, b: &mut Transport) {
    let sent = [&mut *a, &mut *b].map(|end| {
        let output = end.output().to_vec();
        end.sent(output.len());
        output
    });
    feed(b, &sent[0]);
    feed(a, &sent[1]);
}
