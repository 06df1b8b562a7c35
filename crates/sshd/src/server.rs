//! The daemon as an SSH server: who may log in, and how many at a time.
//!
//! One task for each connection logs its user in and goes on as a [`crate::connection`].

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use connector::Resolver;
use ssh_proto::Error;
use ssh_proto::auth::Methods;
use ssh_proto::error::Reason;
use ssh_proto::key::PublicKey;
use ssh_proto::transport::Config;
use ssh_tokio::serve::{self, Stopping};
use ssh_tokio::session::Session;
use ssh_tokio::{Attempt, Authenticator, Denied, accept, login_deadline};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::{Instrument, error, info, info_span};

use crate::bounds::Bounds;
use crate::connection::Connection;
use crate::environment::DaemonEnvironment;
use crate::logins::Logins;

/// Connections beyond the bounds that wait for room to log in or are told that there is none for them;
/// more wait to be accepted.
const WAITING: usize = 64;

/// How the daemon serves.
pub struct Server {
    /// How the transport is spoken.
    pub transport: Arc<Config>,
    /// The one key that opens the daemon.
    pub authorized_key: Option<PublicKey>,
    /// Whether everyone is let in.
    pub allow_unauthenticated_clients: bool,
    /// The daemon's own environment, for sessions to inherit.
    pub environment: Arc<DaemonEnvironment>,
    /// Whether sessions inherit it.
    pub inherit_daemon_env: bool,
    /// What clients may take.
    pub bounds: Bounds,
    /// Looks names up for forwards.
    pub resolver: Arc<Resolver>,
}

/// What all connections share.
pub(crate) struct Daemon {
    pub(crate) server: Server,
    logins: Logins,
    connections: Semaphore,
    ptys: Arc<Semaphore>,
}

impl Server {
    /// Serves connections from `listener` until `stop` completes, then ends those that are open.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let daemon = Arc::new(Daemon::new(self));
        let bounds = &daemon.server.bounds;
        let limit = bounds.connections + bounds.logins + WAITING;
        let stop = async {
            stop.await;
            info!("stopping-server");
        };
        serve::serve(listener, limit, stop, |stream, peer, stopping| {
            let span = info_span!("handle-connection", remote_address = %peer);
            Arc::clone(&daemon)
                .handle(stream, stopping)
                .instrument(span)
        })
        .await;
    }
}

impl Daemon {
    pub(crate) fn new(server: Server) -> Self {
        let bounds = &server.bounds;
        Self {
            logins: Logins::new(bounds.logins),
            connections: Semaphore::new(bounds.connections),
            ptys: Arc::new(Semaphore::new(bounds.ptys)),
            server,
        }
    }

    /// Room for one more terminal, which is free again when the permit is dropped.
    pub(crate) fn pty(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.ptys).try_acquire_owned().ok()
    }

    async fn handle(self: Arc<Self>, stream: TcpStream, mut stopping: Stopping) {
        info!("started");
        // Each stage has memory of its own, so that none is there for those that are not reached.
        let session = match Box::pin(self.log_in(stream, &mut stopping)).await {
            Ok(session) => session,
            Err(error) => return error!(%error, "handshake-failed"),
        };
        let error = match self.connections.try_acquire() {
            Ok(_permit) => Box::pin(self.connection(session, &mut stopping)).await,
            Err(_) => Box::pin(session.close(Error::Limit("too many connections"))).await,
        };
        info!(reason = %error, "completed");
    }

    async fn connection(
        self: &Arc<Self>,
        session: Session<TcpStream>,
        stopping: &mut Stopping,
    ) -> Error {
        let mut connection = Connection::new(Arc::clone(self), session);
        let error = tokio::select! {
            error = connection.run() => error,
            error = stopped(stopping) => error,
        };
        Box::pin(connection.end(error)).await
    }

    async fn log_in(
        self: &Arc<Self>,
        stream: TcpStream,
        stopping: &mut Stopping,
    ) -> Result<Session<TcpStream>, Error> {
        let deadline = Instant::now() + self.server.bounds.login_timeout;
        let transport = Arc::clone(&self.server.transport);
        let mut login = Login(Arc::clone(self));
        let mut broken_off = pin!(async {
            tokio::select! {
                error = login_deadline(deadline) => error,
                error = stopped(stopping) => error,
            }
        });
        let room = tokio::select! {
            room = self.logins.enter() => room.ok_or(Error::Bug("no room for logins")),
            error = &mut broken_off => Err(error),
        };
        let until = async {
            if let Err(error) = &room {
                return error.clone();
            }
            tokio::select! {
                error = broken_off => error,
                error = self.logins.overstayed() => error,
            }
        };
        let (wire, ()) = Box::pin(accept(stream, transport, &mut login, until)).await?;
        Ok(Session::new(wire, self.server.bounds.of_connection()))
    }
}

/// Completes when the daemon stops, with what clients are told.
async fn stopped(stopping: &mut Stopping) -> Error {
    stopping.wait().await;
    Error::Closed {
        reason: Reason::ByApplication,
        text: "the app instance is stopping".into(),
    }
}

/// Lets in whoever has the key, or everyone.
struct Login(Arc<Daemon>);

impl Authenticator for Login {
    type Grant = ();

    fn methods(&self) -> Methods {
        Methods::PublicKey
    }

    fn knows_key(&self, key: &PublicKey) -> bool {
        self.0.server.authorized_key.as_ref() == Some(key)
    }

    async fn authenticate(&mut self, _user: &str, attempt: Attempt) -> Result<(), Denied> {
        let welcome = match attempt {
            Attempt::Key(key) => self.knows_key(key.key()),
            Attempt::None | Attempt::Password(_) => false,
        };
        if welcome || self.0.server.allow_unauthenticated_clients {
            Ok(())
        } else {
            Err(Denied::Retry(None))
        }
    }
}
