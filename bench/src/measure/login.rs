//! `ssh HOST true`, one after another and several at once.

use std::time::Instant;

use devcell::keys::KeyKind;

use super::{Effort, servers};
use crate::client::succeed;
use crate::process::{cpu_time, cpu_time_with_children};
use crate::report::{Row, Unit};
use crate::server::{Binaries, Server, Subject};

const LOGINS: u32 = 40;
const AT_ONCE: u32 = 8;

const SUBJECTS: [Subject; 5] = [
    Subject::OpenSsh,
    Subject::Daemon,
    Subject::Proxy,
    Subject::GoDaemon,
    Subject::GoProxy,
];

pub(super) async fn measure(binaries: &Binaries, effort: &Effort) -> Vec<Row> {
    let mut rows = Vec::new();
    for (key, kind) in [
        ("RSA-2048", KeyKind::Rsa2048),
        ("Ed25519", KeyKind::Ed25519),
    ] {
        let servers = servers(binaries, &SUBJECTS, kind).await;
        for at_once in [1, AT_ONCE] {
            let how = match at_once {
                1 => "one after another".to_owned(),
                many => format!("{many} at once"),
            };
            let mut cpu = Row::new(
                format!("CPU of a login, {key}, {how}"),
                Unit::CpuMilliseconds,
            );
            let mut wall = Row::new(format!("time of a login, {key}, {how}"), Unit::Milliseconds);
            for _ in 0..effort.rounds {
                for server in &servers {
                    let logins = effort.of(LOGINS).next_multiple_of(at_once);
                    let (cpu_ms, wall_ms) = log_in(server, logins, at_once).await;
                    cpu.push(server.subject, cpu_ms);
                    wall.push(server.subject, wall_ms);
                }
            }
            rows.extend([cpu, wall]);
        }
    }
    rows
}

/// Milliseconds of processor time and of time for one login.
async fn log_in(server: &Server, logins: u32, at_once: u32) -> (f64, f64) {
    let cpu = cpu_of(server);
    let wall = Instant::now();
    let chains = (0..at_once).map(|_| {
        let way = server.way.clone();
        tokio::spawn(async move {
            for _ in 0..logins / at_once {
                succeed(way.ssh(None, "true")).await;
            }
        })
    });
    for chain in chains.collect::<Vec<_>>() {
        chain.await.expect("logins");
    }
    let wall = wall.elapsed();
    let each = |seconds: f64| seconds * 1000.0 / f64::from(logins);
    let cpu = cpu_of(server) - cpu;
    (each(cpu.as_secs_f64()), each(wall.as_secs_f64()))
}

/// OpenSSH does all of it in children, which it has waited for when the client is gone.
fn cpu_of(server: &Server) -> std::time::Duration {
    match server.subject {
        Subject::OpenSsh => cpu_time_with_children(server.listener),
        _ => cpu_time(server.listener),
    }
}
