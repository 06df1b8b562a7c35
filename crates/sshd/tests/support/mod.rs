//! What tests of a daemon in their own process share.

use std::sync::Arc;

use ssh_proto::algorithm::Algorithms;
use ssh_proto::crypto::random::SystemRandom;
use ssh_proto::key::PrivateKey;
use ssh_proto::transport::Config;
use sshd::bounds::Bounds;
use sshd::environment::DaemonEnvironment;
use sshd::server::Server;

/// A daemon that lets everyone in.
pub(crate) fn open_server() -> Server {
    let key = PrivateKey::generate_ed25519(&mut SystemRandom);
    let config = Config::server("SSH-2.0-x", Algorithms::default(), vec![key]);
    Server {
        transport: Arc::new(config),
        authorized_key: None,
        allow_unauthenticated_clients: true,
        environment: Arc::new(DaemonEnvironment::default()),
        inherit_daemon_env: false,
        bounds: Bounds::default(),
    }
}
