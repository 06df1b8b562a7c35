//! Both ends of a login: identification, key exchange, and a password that is always right.

use criterion::{BatchSize, BenchmarkId, Criterion};
use ssh_proto::Secret;
use ssh_proto::algorithm::{Algorithms, Kex, Signature};
use ssh_proto::auth::{ClientAuth, Credential, Methods, Progress, Request, ServerAuth};
use ssh_proto::transport::{Config, Event};

use crate::support::{CLIENT, ENDS, Pair, SERVER, client_config, fast, server_config};

pub(crate) fn handshake(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handshake");
    for kex in [Kex::MlKem768X25519, Kex::Curve25519] {
        for host_key in [Signature::Ed25519, Signature::RsaSha256] {
            let algorithms = Algorithms {
                kex: vec![kex],
                host_key: vec![host_key],
                ..fast()
            };
            let name = match host_key {
                Signature::RsaSha256 => "rsa-2048",
                other => other.name(),
            };
            group.bench_function(BenchmarkId::new(kex.name(), name), |bencher| {
                bencher.iter_batched(
                    || (client_config(&algorithms), server_config(&algorithms)),
                    |(client, server)| log_in(client, server),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

/// Two ends that know nothing of each other yet, up to USERAUTH_SUCCESS.
fn log_in(client: Config, server: Config) -> Pair {
    let mut pair = Pair::new(client, server).connect();
    let host = pair.accepted.take().expect("a host key");
    let password = Credential::Password(Secret::new("password".to_owned()));
    let client = &mut pair.ends[CLIENT];
    let mut client = ClientAuth::start(host, client, "user".to_owned(), [password]);
    let mut server = Some(ServerAuth::new(Methods::Password));
    loop {
        for from in ENDS {
            pair.carry(from);
        }
        if hears(&mut pair, SERVER) {
            let transport = &mut pair.ends[SERVER];
            let asked = server.as_mut().expect("a login").handle(transport).unwrap();
            if let Some(Request::Password { .. }) = asked {
                server.take().expect("a login").accept(transport);
            }
        }
        if hears(&mut pair, CLIENT)
            && client.handle(&mut pair.ends[CLIENT]).unwrap() == Progress::Success
        {
            return pair;
        }
    }
}

fn hears(pair: &mut Pair, end: usize) -> bool {
    pair.ends[end].poll(pair.now).unwrap() == Event::Packet
}
