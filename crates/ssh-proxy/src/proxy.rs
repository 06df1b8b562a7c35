//! The SSH side: accepts clients and serves each of them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::sleep;
use tracing::{debug, info, info_span};

use crate::platform::bbs::Bbs;
use crate::platform::resolve::Resolver;
use crate::settings::Settings;

/// How long to wait when no connection can be accepted, for want of descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every connection shares.
pub(crate) struct Proxy {
    /// What the operator wants.
    pub(crate) settings: Settings,
    /// Who knows the instances.
    pub(crate) bbs: Bbs,
    /// Who knows addresses.
    pub(crate) resolver: Arc<Resolver>,
}

/// Serves clients until `stop` is done, then closes the listener and what is left of them.
pub(crate) async fn serve_ssh(
    listener: TcpListener,
    proxy: Arc<Proxy>,
    stop: impl Future<Output = ()>,
) {
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            // To be plugged in: the SSH layer.
            Ok((stream, _peer)) => drop((stream, proxy.clone())),
            Err(error) => {
                debug!(error = %error, "accept-failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    info_span!("server").in_scope(|| info!("stopping-server"));
}
