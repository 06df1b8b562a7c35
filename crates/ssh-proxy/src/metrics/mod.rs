//! What the proxy tells about itself in numbers.
//!
//! | module         | owns                                                                       |
//! |----------------|----------------------------------------------------------------------------|
//! | this one       | what is counted, under which names and labels                              |
//! | [`exposition`] | the text that Prometheus scrapes, and what is read off at that moment      |
//! | [`peers`]      | the software of peers as a label of which there are few                    |
//! | [`rounds`]     | the metrics that every component of the platform has, through loggregator  |
//!
//! Labels come from small sets, whatever users and strangers do: what they name is never a label, but
//! for the software of clients, which [`peers`] bounds. Nothing here is on the way of a packet.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use ssh_proto::Error;
use ssh_proto::transport::Transport;
use tokio::time::Instant;

use crate::auth::user;
use crate::edge::penalties::Offence;
use crate::relay::observe::ChannelKind;
use crate::relay::policy::Capability;
use crate::relay::{RelayEnd, Side};
use peers::Peers;
use rounds::Refusals;

mod exposition;
mod peers;
mod rounds;

pub(crate) use exposition::Exposition;

/// The code of logins that ended well.
const OK: &str = "ok";

/// Seconds that a stage takes: from what the same machine answers to the longest time limit.
const STAGES: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0,
];

/// One label.
type Label<V = &'static str> = (&'static str, V);

type Counters<const LABELS: usize> = Family<[Label; LABELS], Counter>;

/// A part of a login that takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// From the first byte to the first attempt: key exchange, and what the client thinks about it.
    Kex,
    /// UAA.
    Uaa,
    /// Cloud Controller.
    Cc,
    /// BBS.
    Bbs,
    /// TCP and TLS to the instance.
    Dial,
    /// SSH with the daemon up to its consent.
    DaemonHandshake,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Kex => "kex",
            Self::Uaa => "uaa",
            Self::Cc => "cc",
            Self::Bbs => "bbs",
            Self::Dial => "dial",
            Self::DaemonHandshake => "daemon_handshake",
        }
    }
}

/// Everything that is counted as it happens.
#[derive(Debug)]
pub(crate) struct Metrics {
    connections: Counter,
    handshakes_failed: Counters<1>,
    logins: Counters<2>,
    stages: Family<[Label; 1], Histogram, fn() -> Histogram>,
    turned_away: Counters<1>,
    offences: Counters<1>,
    channels_opened: Counters<1>,
    policy_refusals: Counters<1>,
    relay_ends: Counters<2>,
    negotiated: Counters<3>,
    peers: Peers,
    /// What goes to loggregator with the next round.
    refusals: Refusals,
}

/// Counts what a stage took when it is over, one way or the other.
struct Measured<'a> {
    metrics: &'a Metrics,
    stage: Stage,
    began: Instant,
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        self.metrics.took(self.stage, self.began.elapsed());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            connections: Counter::default(),
            handshakes_failed: Family::default(),
            logins: Family::default(),
            stages: Family::new_with_constructor(|| Histogram::new(STAGES)),
            turned_away: Family::default(),
            offences: Family::default(),
            channels_opened: Family::default(),
            policy_refusals: Family::default(),
            relay_ends: Family::default(),
            negotiated: Family::default(),
            peers: Peers::default(),
            refusals: Refusals::default(),
        }
    }
}

impl Metrics {
    /// Somebody has connected.
    pub(crate) fn connected(&self) {
        self.connections.inc();
    }

    /// `user` was let in.
    pub(crate) fn let_in(&self, user: &str) {
        self.login(user, OK);
    }

    /// A login of `user` ended for the reason `code`.
    pub(crate) fn refused(&self, user: &str, code: &'static str) {
        self.login(user, code);
        self.refusals.count(code);
    }

    fn login(&self, user: &str, code: &'static str) {
        let labels = [("realm", user::realm(user)), ("code", code)];
        self.logins.get_or_create(&labels).inc();
    }

    /// A connection ended before anybody was let in or refused.
    pub(crate) fn handshake_failed(&self, error: &Error) {
        let labels = [("reason", reason(error))];
        self.handshakes_failed.get_or_create(&labels).inc();
    }

    /// A stage took so long.
    pub(crate) fn took(&self, stage: Stage, time: Duration) {
        let stage = self.stages.get_or_create(&[("stage", stage.name())]);
        stage.observe(time.as_secs_f64());
    }

    /// Measures what `work` takes, also if it is broken off: a service that hangs is the slowest.
    pub(crate) async fn timed<T>(&self, stage: Stage, work: impl Future<Output = T>) -> T {
        let _measured = Measured {
            metrics: self,
            stage,
            began: Instant::now(),
        };
        work.await
    }

    /// A connection was not let begin its login, for the reason `code`.
    pub(crate) fn turned_away(&self, code: &'static str) {
        self.turned_away.get_or_create(&[("code", code)]).inc();
    }

    /// A source was given a penalty.
    pub(crate) fn punished(&self, offence: Offence) {
        let labels = [("offence", offence.name())];
        self.offences.get_or_create(&labels).inc();
    }

    /// A channel was opened.
    pub(crate) fn opened(&self, kind: ChannelKind) {
        let labels = [("kind", kind.name())];
        self.channels_opened.get_or_create(&labels).inc();
    }

    /// The policy refused something.
    pub(crate) fn refused_by_policy(&self, capability: Capability) {
        let labels = [("capability", capability.name())];
        self.policy_refusals.get_or_create(&labels).inc();
    }

    /// A session is over.
    pub(crate) fn ended(&self, end: &RelayEnd) {
        let labels = [("side", end.by()), ("reason", reason(&end.reason))];
        self.relay_ends.get_or_create(&labels).inc();
    }

    /// What was agreed on with the peer at `hop`, and what software it runs.
    pub(crate) fn agreed(&self, hop: Side, transport: &Transport) {
        let hop = hop.name();
        let version = transport.peer_identification().unwrap_or_default();
        self.peers.count(hop, version);
        let Some(agreed) = transport.negotiated() else {
            return;
        };
        let (up, up_mac) = agreed.to_server();
        let (down, down_mac) = agreed.to_client();
        // Ciphers that seal need no other.
        let implicit = "implicit";
        for (part, name) in [
            ("kex", agreed.kex.name()),
            ("host_key", agreed.host_key.name()),
            ("cipher_up", up.name()),
            ("cipher_down", down.name()),
            ("mac_up", up_mac.map_or(implicit, |mac| mac.name())),
            ("mac_down", down_mac.map_or(implicit, |mac| mac.name())),
        ] {
            let labels = [("hop", hop), ("part", part), ("name", name)];
            self.negotiated.get_or_create(&labels).inc();
        }
    }

    /// Gives each of them its name.
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "connections",
            "Connections that were accepted",
            self.connections.clone(),
        );
        registry.register(
            "handshakes_failed",
            "Connections that ended before a login was decided, by reason",
            self.handshakes_failed.clone(),
        );
        registry.register(
            "logins",
            "Login attempts by realm and code; ok, or why not",
            self.logins.clone(),
        );
        registry.register(
            "login_stage_seconds",
            "How long the stages of logins take",
            self.stages.clone(),
        );
        registry.register(
            "turned_away",
            "Connections that were not let begin a login, by code",
            self.turned_away.clone(),
        );
        registry.register(
            "penalties",
            "Penalties for sources, by offence",
            self.offences.clone(),
        );
        registry.register(
            "channels_opened",
            "Channels that were opened, by kind",
            self.channels_opened.clone(),
        );
        registry.register(
            "policy_refusals",
            "Requests that the policy refused, by capability",
            self.policy_refusals.clone(),
        );
        registry.register(
            "relay_ends",
            "Sessions that ended, by the side that ended first and its reason",
            self.relay_ends.clone(),
        );
        registry.register(
            "negotiated",
            "Algorithms agreed on at login, by hop and part",
            self.negotiated.clone(),
        );
        registry.register(
            "peer_versions",
            "Software of peers at login, by hop",
            self.peers.counters(),
        );
    }
}

/// What ended a connection, in a word.
pub(crate) fn reason(error: &Error) -> &'static str {
    match error {
        Error::Misbehaved(_) => "protocol_error",
        Error::Incompatible { .. } => "incompatible",
        Error::Version(_) => "version",
        Error::Integrity => "integrity",
        Error::KeyExchange(_) => "key_exchange",
        Error::HostKey(_) => "host_key",
        Error::Limit(_) => "limit",
        Error::Timeout(_) => "timeout",
        Error::Authentication(_) => "authentication",
        Error::Closed { .. } => "closed_here",
        Error::Disconnected { .. } => "disconnected",
        Error::Lost(_) => "lost",
        Error::Bug(_) => "internal_error",
    }
}
