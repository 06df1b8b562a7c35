//! Who may log in, and into what: the realm of the user name decides who is asked.
//!
//! A [`Grant`] is what an authenticated user gets, and the only way to a relay: it holds the
//! connection to the instance's daemon, which has been dialled and verified by then.

use std::collections::BTreeMap;
use std::sync::Arc;

use ssh_proto::auth::Methods;
use ssh_proto::key::PublicKey;
use ssh_tokio::{Attempt, Authenticated, Authenticator, Denied};
use tracing::{Instrument as _, debug, error, info, info_span};

use crate::dial::{Dialer, Leg};
use crate::metrics::Metrics;
use crate::platform::bbs::Bbs;
use crate::refusal::Refusal;
use crate::target::Target;
use diego::DiegoRealm;
use user::UserName;

pub(crate) mod diego;
pub(crate) mod user;

/// What an authenticated user gets.
pub(crate) struct Grant {
    /// The user name as given.
    pub(crate) user: String,
    /// Tags of the app's log.
    pub(crate) log_tags: BTreeMap<String, String>,
    /// The daemon of the instance, ready for the connection protocol.
    pub(crate) daemon: Authenticated<Leg>,
}

/// Decides about logins; shared by all connections.
pub(crate) struct Gate {
    /// The realm `diego:`, if it is served.
    pub(crate) diego: Option<DiegoRealm>,
    /// Who knows the instances.
    pub(crate) bbs: Bbs,
    /// Who connects to them.
    pub(crate) dialer: Dialer,
    /// Who counts those that are not let in.
    pub(crate) metrics: Arc<Metrics>,
}

impl Gate {
    /// Lets `user` in, or says why not.
    async fn enter(&self, user: &str, password: &[u8]) -> Result<Grant, Refusal> {
        let (guid, index) = match (UserName::parse(user), &self.diego) {
            (Some(UserName::Diego { guid, index }), Some(realm)) => {
                realm.authenticate(password)?;
                (guid, index)
            }
            _ => return Err(Refusal::UnknownUser),
        };
        let lrp = self.bbs.instance(&guid, index).await?;
        let target = Target::new(&lrp, self.dialer.connects_to_instance())?;
        let span = info_span!("new-client-conn");
        let daemon = self.dialer.dial(&target).instrument(span).await?;
        Ok(Grant {
            user: user.to_owned(),
            log_tags: target.log_tags,
            daemon,
        })
    }
}

/// One connection's login.
pub(crate) struct Login {
    gate: Arc<Gate>,
    /// Whose attempt is being decided about. It stays when the login is broken off meanwhile.
    pub(crate) undecided: Option<String>,
}

impl Login {
    /// A login that has not begun.
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self {
            gate,
            undecided: None,
        }
    }
}

impl Authenticator for Login {
    type Grant = Grant;

    fn methods(&self) -> Methods {
        Methods::Password
    }

    fn knows_key(&self, _: &PublicKey) -> bool {
        false
    }

    async fn authenticate(&mut self, user: &str, attempt: Attempt) -> Result<Grant, Denied> {
        let Attempt::Password(password) = attempt else {
            // Every client asks without a password first.
            debug!(user, "authentication-without-password");
            return Err(Denied::Retry(None));
        };
        self.undecided = Some(user.to_owned());
        let entered = self.gate.enter(user, password.expose()).await;
        self.undecided = None;
        match entered {
            Ok(grant) => {
                info!(user, "authentication-attempted");
                Ok(grant)
            }
            Err(refusal) => {
                self.gate.metrics.refused(refusal.code());
                error!(user, error = %refusal, code = refusal.code(), "authentication-failed");
                Err(refusal.denied())
            }
        }
    }
}
