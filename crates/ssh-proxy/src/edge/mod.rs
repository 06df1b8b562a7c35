//! The edge: what stands between a connection that was accepted and its login.
//!
//! | module             | owns                                                                    |
//! |--------------------|-------------------------------------------------------------------------|
//! | this one           | who may begin a login, and how others are turned away                   |
//! | [`proxy_protocol`] | the header in which a load balancer tells the user's address            |
//! | [`sources`]        | which connections count as one source, and how many logins it may begin |
//! | [`penalties`]      | how long a source with failed logins has to wait                        |
//! | [`watch`]          | the attempts of a login that fail                                       |
//! | [`tally`]          | how often somebody was turned away, for the log                         |
//! | [`drain`]          | what a signal ends, and when                                            |
//! | [`activation`]     | listeners that were inherited                                           |
//! | [`settings`]       | the keys of the configuration for all that                              |
//!
//! Sources count only where they are users: where a balancer tells their addresses, or the operator
//! says that there is none. Behind a plain TCP balancer everyone has one address, and one person's bad
//! password would lock out all others.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ssh_proto::Error;
use ssh_proto::crypto::random::SystemRandom;
use ssh_proto::error::Reason;
use ssh_proto::transport::{Config, Role, Transport};
use ssh_tokio::Wire;
use ssh_tokio::wire::now;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::{debug, info};

use crate::metrics::Metrics;
use penalties::{Offence, Penalties};
use proxy_protocol::{HeaderError, Origin};
use settings::EdgeSettings;
use sources::{Begun, Source, Sources};
use tally::Tally;

pub(crate) mod activation;
pub(crate) mod drain;
pub(crate) mod penalties;
pub mod proxy_protocol;
pub(crate) mod settings;
pub(crate) mod sources;
pub(crate) mod tally;
pub(crate) mod watch;

/// Connections that are turned away at one time. Each waits up to a second for its peer to read why;
/// beyond this they are closed without a word, since whoever comes so fast does not read.
const MOST_TURNED_AWAY: usize = 256;

/// Decides who may begin a login; shared by all connections.
pub(crate) struct Edge {
    settings: EdgeSettings,
    transport: Arc<Config>,
    /// Logins that may still begin.
    logins: Arc<Semaphore>,
    farewells: Semaphore,
    sources: Arc<Mutex<Sources>>,
    penalties: Arc<Mutex<Penalties>>,
    turned_away: Mutex<Tally>,
    metrics: Arc<Metrics>,
}

/// Leave to log in. While it lives, the connection counts as one that has not.
pub(crate) struct Admission {
    /// The user's address, as far as it is known.
    pub(crate) address: SocketAddr,
    penalised: Option<(Source, Arc<Mutex<Penalties>>)>,
    metrics: Arc<Metrics>,
    _login: OwnedSemaphorePermit,
    _begun: Option<Begun>,
}

impl Admission {
    /// Books that the user got in.
    pub(crate) fn succeeds(&self) {
        if let Some((source, penalties)) = &self.penalised {
            lock(penalties).forgive(*source);
        }
    }

    /// Books that the login did something that others should not have to bear often.
    pub(crate) fn offends(&self, offence: Offence) {
        if let Some((source, penalties)) = &self.penalised {
            lock(penalties).punish(Instant::now(), *source, offence);
            self.metrics.punished(offence);
        }
    }
}

/// Why a connection is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TurnedAway {
    TooManyLogins,
    TooManyFromSource,
    Penalised,
}

impl TurnedAway {
    /// The code in the log and the text for the user.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::TooManyLogins => (
                "too_many_logins",
                "too many users are logging in; try again in a minute [too_many_logins]",
            ),
            Self::TooManyFromSource => (
                "too_many_from_source",
                "too many logins from your address at a time; wait for some to finish \
                 [too_many_from_source]",
            ),
            Self::Penalised => (
                "penalised_source",
                "too many failed logins from your address; wait some minutes and try again \
                 [penalised_source]",
            ),
        }
    }
}

impl Edge {
    /// An edge as `settings` want it, whose refusals are put as `transport` would put them.
    pub(crate) fn new(
        settings: EdgeSettings,
        transport: Arc<Config>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            logins: Arc::new(Semaphore::new(settings.most_logins)),
            farewells: Semaphore::new(MOST_TURNED_AWAY),
            sources: Arc::new(Mutex::new(Sources::new(settings.most_logins_of_source))),
            penalties: Arc::default(),
            turned_away: Mutex::default(),
            metrics,
            settings,
            transport,
        }
    }

    /// Lets `stream` begin its login, with nothing read from it but the balancer's header; or closes
    /// it. The caller bounds the time.
    pub(crate) async fn admit(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Option<(TcpStream, Admission)> {
        let mut stream = stream;
        let Ok(login) = Arc::clone(&self.logins).try_acquire_owned() else {
            let why = TurnedAway::TooManyLogins;
            Box::pin(self.turn_away(stream, peer, why)).await;
            return None;
        };
        let (address, is_user) = self.origin(&mut stream, peer).await?;
        let source = (is_user && !self.is_exempt(address.ip())).then(|| Source::of(address.ip()));
        let begun = match source.map(|source| self.begin(source)) {
            None => None,
            Some(Ok(begun)) => Some(begun),
            Some(Err(why)) => {
                drop(login);
                Box::pin(self.turn_away(stream, address, why)).await;
                return None;
            }
        };
        let admission = Admission {
            address,
            penalised: source.map(|source| (source, Arc::clone(&self.penalties))),
            metrics: Arc::clone(&self.metrics),
            _login: login,
            _begun: begun,
        };
        Some((stream, admission))
    }

    /// Whose address it is that we see or are told, and whether it is a user's.
    async fn origin(&self, stream: &mut TcpStream, peer: SocketAddr) -> Option<(SocketAddr, bool)> {
        let balancers = &self.settings.balancers;
        if !balancers.iter().any(|net| net.contains(&peer.ip())) {
            // Where balancers are named, whoever is not one is a user.
            return Some((peer, self.settings.source_is_user || !balancers.is_empty()));
        }
        match Box::pin(proxy_protocol::read(stream)).await {
            Ok(Origin::User(address)) => {
                debug!(balancer = %peer, remote_address = %address, "proxy-protocol");
                Some((address, true))
            }
            Ok(Origin::Balancer) => Some((peer, false)),
            Err(HeaderError::Closed) => {
                debug!(remote_address = %peer, "proxy-protocol-probe");
                None
            }
            Err(error) => {
                info!(%error, remote_address = %peer, "proxy-protocol-failed");
                None
            }
        }
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        let exempt = &self.settings.exempt;
        exempt.iter().any(|net| net.contains(&address))
    }

    fn begin(&self, source: Source) -> Result<Begun, TurnedAway> {
        if lock(&self.penalties).bars(Instant::now(), source) {
            return Err(TurnedAway::Penalised);
        }
        Sources::begin(&self.sources, source).ok_or(TurnedAway::TooManyFromSource)
    }

    /// Tells the peer why, in clear and without a key exchange, and closes.
    async fn turn_away(&self, stream: TcpStream, address: SocketAddr, why: TurnedAway) {
        let (code, text) = why.words();
        self.metrics.turned_away(code);
        debug!(remote_address = %address, code, "not-admitted");
        if let Some(count) = lock(&self.turned_away).count(code, Instant::now()) {
            info!(code, count, "turned-away");
        }
        let Ok(_farewell) = self.farewells.try_acquire() else {
            return;
        };
        let config = Arc::clone(&self.transport);
        let transport = Transport::new(Role::Server, config, Box::new(SystemRandom), now());
        let error = Error::Closed {
            reason: Reason::TooManyConnections,
            text: text.to_owned(),
        };
        Wire::new(stream, transport).close(error).await;
    }
}

/// What is behind `mutex`. Nothing that runs under these locks can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
