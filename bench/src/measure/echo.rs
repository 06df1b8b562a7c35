//! One key at a time on a terminal.

use std::time::{Duration, Instant};

use devcell::keys::KeyKind;
use ssh_proto::connection::request::{PtyReq, Size};
use ssh_tokio::session::Pipes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Effort, servers};
use crate::client::{ask, exec, open_session};
use crate::report::{Row, Unit};
use crate::server::{Binaries, Server, Subject};

const KEYS: u32 = 2000;

/// Keys that are not counted: everything is warm after them.
const FIRST_KEYS: u32 = 100;

const SUBJECTS: [Subject; 6] = [
    Subject::OpenSsh,
    Subject::Daemon,
    Subject::Proxy,
    Subject::ProxyTls,
    Subject::GoDaemon,
    Subject::GoProxy,
];

pub(super) async fn measure(binaries: &Binaries, effort: &Effort) -> Vec<Row> {
    let servers = servers(binaries, &SUBJECTS, KeyKind::Ed25519).await;
    let mut median = Row::new("echo, median", Unit::Microseconds);
    let mut slow = Row::new("echo, 99th of 100", Unit::Microseconds);
    for _ in 0..effort.rounds {
        for server in &servers {
            let mut times = type_keys(server, effort.of(KEYS)).await;
            times.sort_unstable();
            let at = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1e6;
            median.push(server.subject, at(50));
            slow.push(server.subject, at(99));
        }
    }
    vec![median, slow]
}

/// How long each key took to come back.
async fn type_keys(server: &Server, keys: u32) -> Vec<Duration> {
    let mut session = server.way.connect().await;
    let channel = open_session(&mut session).await;
    let terminal = PtyReq {
        term: b"xterm",
        size: Size {
            columns: 80,
            rows: 24,
            width: 0,
            height: 0,
        },
        modes: b"",
    };
    ask(&mut session, channel, PtyReq::NAME, &terminal.encode()).await;
    // The terminal echoes; the program only has to be there, and to begin.
    exec(&mut session, channel, "echo ready; exec sleep 1000").await;
    let (mut keyboard, source) = tokio::io::duplex(64);
    let (sink, mut screen) = tokio::io::duplex(4096);
    session.join(
        channel,
        Pipes {
            sink: Some(Box::new(sink)),
            source: Some(Box::new(source)),
            errors: None,
        },
    );
    let typed = async {
        let mut said = vec![0; "ready\r\n".len()];
        screen.read_exact(&mut said).await.expect("a session");
        let mut times = Vec::new();
        for number in 0..FIRST_KEYS + keys {
            let start = Instant::now();
            keyboard.write_all(b"x").await.expect("a session");
            screen.read_exact(&mut [0]).await.expect("a session");
            if number >= FIRST_KEYS {
                times.push(start.elapsed());
            }
        }
        times
    };
    let driven = async { while session.next().await.is_ok() {} };
    tokio::select! {
        times = typed => times,
        () = driven => panic!("the session ended early"),
    }
}
