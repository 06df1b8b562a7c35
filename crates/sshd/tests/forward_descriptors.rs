//! A listener when the process is out of descriptors. The limit is the process's, so that this test
//! has one of its own.

use std::sync::Arc;
use std::time::Duration;

use connector::{Files, Resolver};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use ssh_proto::connection::forward::{BoundPort, TcpipForward};
use sshd::bounds::Bounds;
use sshd::forward::{Event, Forwards};
use tokio::net::TcpStream;
use tokio::time::{pause, resume, timeout};

#[tokio::test]
async fn without_descriptors_accepting_waits_and_goes_on_afterwards() {
    let resolver = Arc::new(Resolver::new(Files::default()));
    let mut forwards = Forwards::new(resolver, &Bounds::default());
    let listen = TcpipForward {
        address: b"127.0.0.1",
        port: 0,
    };
    forwards.request(TcpipForward::NAME, true, &listen.encode());
    let Event::Reply(Some(reply)) = forwards.next().await else {
        panic!("no listener");
    };
    let port = BoundPort::parse(&reply).unwrap().port;
    let _client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();

    let limit = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(0),
        ..limit
    };
    setrlimit(Resource::Nofile, none).unwrap();
    // Virtual time passes only where nobody spins.
    pause();
    let waiting = timeout(Duration::from_secs(10), forwards.next()).await;
    resume();
    setrlimit(Resource::Nofile, limit).unwrap();
    assert!(waiting.is_err(), "{waiting:?}");

    let next = timeout(Duration::from_secs(30), forwards.next()).await;
    assert!(matches!(next, Ok(Event::Incoming(_))), "{next:?}");
}
