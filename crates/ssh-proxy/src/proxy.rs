//! The SSH side: takes connections, logs their users in, and relays.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use connector::{Files, Resolver};
use ssh_proto::Error;
use ssh_proto::algorithm::{Algorithms, Lists};
use ssh_proto::error::Reason;
use ssh_proto::transport::Config;
use ssh_tokio::serve::{self, Stopping};
use ssh_tokio::{Authenticated, accept, login_deadline};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tracing::{Instrument as _, debug, error, info, info_span, warn};

use crate::app_log::Visits;
use crate::audit::Audit;
use crate::auth::cf::CfRealm;
use crate::auth::diego::DiegoRealm;
use crate::auth::{Gate, Grant, Login};
use crate::dial::Dialer;
use crate::edge::watch::{self, Watched};
use crate::edge::{Admission, Edge};
use crate::metrics::Metrics;
use crate::platform::bbs::Bbs;
use crate::platform::loggregator::Emitter;
use crate::relay::policy::Policy;
use crate::relay::{Limits, Relay, Side};
use crate::sessions::{Sessions, Visitor};
use crate::settings::{AlgorithmLists, Settings, Times};
use crate::witness::Witness;

/// Connections at one time. Each takes two descriptors, of which operators give 100,000.
const MOST_CONNECTIONS: usize = 50_000;

/// Where there is no limit of time. A century is as good, and fits every clock.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// What users are told when the proxy stops.
const SHUTTING_DOWN: &str = "the SSH proxy is shutting down; connect again";

/// The code of a login that the platform did not decide about in time.
const LOGIN_TIMEOUT: &str = "login_timeout";

/// What every connection shares.
pub(crate) struct Proxy {
    transport: Arc<Config>,
    edge: Edge,
    gate: Arc<Gate>,
    times: Times,
    sessions: Arc<Sessions>,
    visits: Arc<Visits>,
    metrics: Arc<Metrics>,
    audit: Arc<Audit>,
    policy: Arc<Policy>,
}

impl Proxy {
    /// A proxy as `settings` want it; nothing is connected yet.
    pub(crate) fn new(
        settings: Settings,
        emitter: Emitter,
        metrics: Arc<Metrics>,
        sessions: Arc<Sessions>,
        audit: Arc<Audit>,
    ) -> Self {
        if settings.cf.as_ref().is_some_and(|cf| cf.skip_cert_verify) {
            warn!("uaa-and-cloud-controller-not-verified");
        }
        let resolver = Arc::new(Resolver::new(Files::default()));
        let algorithms = algorithms(&settings.algorithms);
        let transport = Arc::new(Config::server(
            "SSH-2.0-diego-ssh-proxy",
            algorithms,
            vec![settings.host_key],
        ));
        let gate = Gate {
            diego: settings.diego_credentials.map(DiegoRealm::new),
            cf: settings.cf.map(|cf| CfRealm::new(&cf, &resolver)),
            bbs: Bbs::new(&settings.bbs, Arc::clone(&resolver)),
            dialer: Dialer::new(resolver, settings.backend),
            metrics: Arc::clone(&metrics),
            audit: Arc::clone(&audit),
        };
        Self {
            edge: Edge::new(settings.edge, Arc::clone(&transport), Arc::clone(&metrics)),
            transport,
            gate: Arc::new(gate),
            times: settings.times,
            sessions,
            visits: Arc::new(Visits::new(emitter)),
            metrics,
            audit,
            policy: Arc::new(settings.policy),
        }
    }

    /// Serves clients until `close` is done, and ends what is left of them when `end` is, too.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        close: impl Future<Output = ()>,
        end: impl Future<Output = ()>,
    ) {
        let proxy = Arc::new(self);
        let handle = |stream, peer, stopping| Arc::clone(&proxy).handle(stream, peer, stopping);
        serve::serve_and_drain(listener, MOST_CONNECTIONS, close, end, handle).await;
    }

    /// One connection, from accept to its end.
    async fn handle(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, mut stopping: Stopping) {
        self.metrics.connected();
        // Whoever may be idle for less than that is not waited for longer.
        let limits = [self.times.login, self.times.idle];
        let patience = limits.into_iter().flatten().min().unwrap_or(FOREVER);
        let deadline = Instant::now() + patience;
        let admitted = tokio::select! {
            admitted = self.edge.admit(stream, peer) => admitted,
            // Whoever has said nothing by then is told nothing.
            () = tokio::time::sleep_until(deadline) => None,
            () = stopping.wait() => None,
        };
        if let Some((stream, admission)) = admitted {
            // Its lines have one session, and the reference's messages: those of logins are told by another
            // part of it than what comes before and after. No span tells the parts from each other, as each
            // span costs memory for as long as the connection lasts.
            let span = info_span!("", remote_address = %admission.address);
            let session = self.session(stream, admission, deadline, stopping);
            Box::pin(session.instrument(span)).await;
        }
    }

    /// One connection that may log in. Each stage has memory of its own, so that nobody takes any for a
    /// stage that is not reached, or is over.
    async fn session(
        self: Arc<Self>,
        stream: TcpStream,
        admission: Admission,
        deadline: Instant,
        mut stopping: Stopping,
    ) {
        let address = admission.address;
        let login = self.log_in(stream, admission, deadline, &mut stopping);
        if let Some((client, grant)) = Box::pin(login).await {
            Box::pin(self.relay(client, grant, address, stopping)).await;
        }
    }

    /// Logs the user in, or says why not.
    async fn log_in(
        &self,
        stream: TcpStream,
        admission: Admission,
        deadline: Instant,
        stopping: &mut Stopping,
    ) -> Option<(Authenticated<TcpStream>, Grant)> {
        let transport = Arc::clone(&self.transport);
        let mut login = Login::new(Arc::clone(&self.gate), admission.address);
        let until = async {
            tokio::select! {
                error = login_deadline(deadline) => error,
                () = stopping.wait() => Error::Closed {
                    reason: Reason::ByApplication,
                    text: SHUTTING_DOWN.into(),
                },
            }
        };
        let mut watched = Watched::new(&mut login, &admission);
        let accepted = accept(stream, transport, &mut watched, until).await;
        let failed = |error: &Error| {
            let offence = watch::offence(error, login.undecided.is_some());
            offence.inspect(|offence| admission.offends(*offence));
            self.log_failure(&login, admission.address, error);
        };
        let accepted = accepted.inspect_err(failed).ok()?;
        admission.succeeds();
        Some(accepted)
    }

    /// Joins the user to the instance until one of them is gone.
    async fn relay(
        &self,
        client: Authenticated<TcpStream>,
        grant: Grant,
        user_address: SocketAddr,
        mut stopping: Stopping,
    ) {
        self.metrics.agreed(Side::Client, client.transport());
        self.metrics.agreed(Side::Daemon, grant.daemon.transport());
        let Grant {
            user,
            who,
            instance,
            log_tags,
            daemon,
        } = grant;
        let live = self.sessions.begin(Visitor {
            user,
            who,
            address: user_address,
            instance,
            tags: log_tags,
        });
        let session = Arc::clone(live.session());
        let id = session.id.to_string();
        let user = &session.visitor.user;
        let who = session.visitor.who.as_ref();
        let principal = who.map(|who| who.id.as_str());
        let username = who.map(|who| who.name.as_str());
        info!(
            user,
            principal,
            username,
            session_id = id,
            "handle-connection.relay-started"
        );
        self.audit.login_accepted(&session);
        let _visit = self.visits.begin(Arc::clone(&session));
        let limits = Limits {
            idle: self.times.idle,
            inactivity: self.times.inactivity,
            total: self.times.connection,
        };
        let stop = async {
            tokio::select! {
                () = stopping.wait() => SHUTTING_DOWN.to_owned(),
                text = session.ended() => text,
            }
        };
        let policy = Arc::clone(&self.policy);
        let witness = Witness::new(
            Arc::clone(&session),
            Arc::clone(&self.metrics),
            Arc::clone(&self.audit),
        );
        let relay = Relay::observed(client, daemon, limits, policy, witness);
        let end = Box::pin(relay.run(stop)).await;
        self.metrics.ended(&end);
        self.audit.session_ended(&session, &end);
        info!(
            user,
            principal,
            username,
            session_id = id,
            side = end.by(),
            reason = %end.reason,
            bytes_up = end.bytes_up,
            bytes_down = end.bytes_down,
            "handle-connection.relay-ended"
        );
    }

    /// A login that came to nothing. Who connects and leaves is a scan or a balancer's probe, and not
    /// worth a line; that a user was left waiting for the platform is.
    fn log_failure(&self, login: &Login, address: SocketAddr, error: &Error) {
        let is_decided = login.is_decided || login.undecided.is_some();
        if !is_decided && !matches!(error, Error::Closed { .. }) {
            self.metrics.handshake_failed(error);
        }
        match (&login.undecided, error) {
            (Some(user), Error::Timeout(_)) => {
                self.metrics.refused(user, LOGIN_TIMEOUT);
                self.audit.login_refused(user, address, LOGIN_TIMEOUT);
                error!(user, %error, code = LOGIN_TIMEOUT, "authentication-failed")
            }
            (_, Error::Lost(_)) => debug!(%error, "handle-connection.handshake-failed"),
            _ => info!(%error, "handle-connection.handshake-failed"),
        }
    }
}

/// What is offered to clients; names in the lists that are not used are worth a warning.
fn algorithms(lists: &AlgorithmLists) -> Algorithms {
    let (algorithms, dropped) = Algorithms::from_lists(Lists {
        kex: &lists.kex,
        host_key: &lists.host_key,
        cipher: &lists.cipher,
        mac: &lists.mac,
    });
    for name in dropped {
        warn!(
            algorithm = name.name,
            known = name.known,
            "algorithm-not-used"
        );
    }
    for category in algorithms.lacking() {
        error!(category, "no-algorithm-left");
    }
    algorithms
}
