//! The streams between client, relay and daemon: each way is carried by a task of its own, in pieces,
//! some of them late.

use std::sync::Arc;
use std::time::Duration;

use ssh_proto::algorithm::{Algorithms, Kex};
use ssh_proto::auth::{Credential, Methods};
use ssh_proto::crypto::random::SeededRandom;
use ssh_proto::key::{PrivateKey, PublicKey};
use ssh_proto::transport::{Config, RekeyLimits};
use ssh_tokio::{Attempt, Authenticated, Authenticator, Denied, accept, connect};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::time::sleep;

use super::Dice;
use super::plan::{Plan, Wire};

/// Lets everyone in.
struct Open;

impl Authenticator for Open {
    type Grant = ();

    fn methods(&self) -> Methods {
        Methods::Password
    }

    fn knows_key(&self, _: &PublicKey) -> bool {
        false
    }

    async fn authenticate(&mut self, _: &str, _: Attempt) -> Result<(), Denied> {
        Ok(())
    }
}

/// A wire on which both ends are logged in: the client's side and the server's.
pub(crate) async fn leg(
    plan: &Plan,
    leg: usize,
) -> (Authenticated<DuplexStream>, Authenticated<DuplexStream>) {
    let (near, far) = wire(plan, leg);
    // All seeds have the same key: making one takes time.
    let key = PrivateKey::generate_ed25519(&mut SeededRandom::new(7));
    let algorithms = Algorithms {
        kex: vec![Kex::Curve25519],
        cipher: vec![plan.ciphers[leg]],
        ..Algorithms::default()
    };
    let limits = |end: usize| {
        let usual = RekeyLimits::default();
        let bytes = plan.rekeys[2 * leg + end].unwrap_or(usual.bytes);
        RekeyLimits { bytes, ..usual }
    };
    let client = Config::client("SSH-2.0-client", algorithms.clone());
    let server = Config::server("SSH-2.0-server", algorithms, vec![key]);
    let (client, server) = (
        Arc::new(client.with_rekey_limits(limits(0))),
        Arc::new(server.with_rekey_limits(limits(1))),
    );
    let none = vec![Credential::None];
    let mut open = Open;
    let (connected, accepted) = tokio::join!(
        connect(near, client, "user".into(), none, |_| Ok(())),
        accept(far, server, &mut open, std::future::pending()),
    );
    (connected.unwrap(), accepted.unwrap().0)
}

fn wire(plan: &Plan, leg: usize) -> (DuplexStream, DuplexStream) {
    let wire = &plan.wires[leg];
    let (near, one) = duplex(wire.capacity);
    let (other, far) = duplex(wire.capacity);
    let (from_near, to_near) = split(one);
    let (from_far, to_far) = split(other);
    let part = 1 + 2 * leg as u64;
    tokio::spawn(carry(
        Dice::new(plan.seed, part),
        wire.clone(),
        from_near,
        to_far,
    ));
    tokio::spawn(carry(
        Dice::new(plan.seed, part + 1),
        wire.clone(),
        from_far,
        to_near,
    ));
    (near, far)
}

/// Carries one way up to its end, or up to that of its reader.
async fn carry(
    mut dice: Dice,
    wire: Wire,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) {
    let mut buffer = vec![0; wire.piece];
    loop {
        let most = 1 + dice.below(wire.piece);
        let Ok(length @ 1..) = from.read(&mut buffer[..most]).await else {
            // Whoever reads there may be gone.
            let _ = to.shutdown().await;
            return;
        };
        pause(&mut dice, wire.late).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Takes some time, `percent` times of a hundred; else it may let others go first.
pub(crate) async fn pause(dice: &mut Dice, percent: usize) {
    if dice.chance(percent) {
        sleep(Duration::from_millis(1 + dice.below(15) as u64)).await;
    } else if dice.chance(30) {
        tokio::task::yield_now().await;
    }
}
