//! Who may log in, and into what: the realm of the user name decides who is asked.
//!
//! A [`Grant`] is what an authenticated user gets, and the only way to a relay: it holds the
//! connection to the instance's daemon, which has been dialled and verified by then.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ssh_proto::auth::Methods;
use ssh_proto::crypto::random::{Random as _, SystemRandom};
use ssh_proto::key::PublicKey;
use ssh_tokio::{Attempt, Authenticated, Authenticator, Denied};
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument as _, debug, error, info, info_span};

use crate::audit::Audit;
use crate::dial::{Dialer, Leg};
use crate::metrics::{Metrics, Stage};
use crate::platform::bbs::{Bbs, Lrp};
use crate::platform::uaa::User;
use crate::refusal::Refusal;
use crate::target::{Instance, Target};
use cf::CfRealm;
use diego::DiegoRealm;
use user::UserName;

pub(crate) mod cf;
pub(crate) mod diego;
pub mod user;

/// Least time from a password to the refusal of somebody who has proven nothing, so that what was
/// wrong does not show in it, and guessing is slow. Longer than most answers of UAA.
const FAILURE_FLOOR: Duration = Duration::from_millis(250);

/// By how much refusals come later than that at random, so that what takes longer than the floor does
/// not show either; as a mask for this number of milliseconds.
const FAILURE_JITTER: u8 = 63;

/// What an authenticated user gets.
pub(crate) struct Grant {
    /// The user name as given.
    pub(crate) user: String,
    /// Who it is, where the realm knows persons.
    pub(crate) who: Option<User>,
    /// The instance.
    pub(crate) instance: Instance,
    /// Tags of the app's log.
    pub(crate) log_tags: BTreeMap<String, String>,
    /// The daemon of the instance, ready for the connection protocol.
    pub(crate) daemon: Authenticated<Leg>,
}

/// Decides about logins; shared by all connections.
pub(crate) struct Gate {
    /// The realm `diego:`, if it is served.
    pub(crate) diego: Option<DiegoRealm>,
    /// The realm `cf:`, if it is served.
    pub(crate) cf: Option<CfRealm>,
    /// Who knows the instances.
    pub(crate) bbs: Bbs,
    /// Who connects to them.
    pub(crate) dialer: Dialer,
    /// Who counts those that are not let in.
    pub(crate) metrics: Arc<Metrics>,
    /// Who records them.
    pub(crate) audit: Arc<Audit>,
}

impl Gate {
    /// Lets `user` in, or says why not.
    async fn enter(&self, user: &str, password: &[u8]) -> Result<Grant, Refusal> {
        if !self.audit.admits() {
            return Err(Refusal::Unaudited);
        }
        let (lrp, who) = self.instance(user, password).await?;
        let target = Target::new(&lrp, self.dialer.connects_to_instance())?;
        let span = info_span!("handle-connection.new-client-conn");
        let dial = self.dialer.dial(&target, &self.metrics);
        let daemon = dial.instrument(span).await?;
        Ok(Grant {
            user: user.to_owned(),
            who,
            instance: target.instance,
            log_tags: target.log_tags,
            daemon,
        })
    }

    /// The instance that `user` may enter, and who that is.
    async fn instance(&self, user: &str, password: &[u8]) -> Result<(Lrp, Option<User>), Refusal> {
        match (UserName::parse(user), &self.diego, &self.cf) {
            (Some(UserName::Diego { guid, index }), Some(realm), _) => {
                async {
                    realm.authenticate(password)?;
                    Ok((self.find(&guid, index).await?, None))
                }
                .instrument(info_span!("diego-authenticate"))
                .await
            }
            (Some(UserName::Cf { guid, index }), _, Some(realm)) => {
                async {
                    let access = realm.authenticate(&guid, index, password, &self.metrics);
                    let access = access.await?;
                    let lrp = self.find(&access.process_guid, index).await?;
                    Ok((lrp, Some(access.who)))
                }
                .instrument(info_span!("cf-authenticate"))
                .await
            }
            _ => Err(Refusal::UnknownUser),
        }
    }

    /// What BBS knows about an instance.
    async fn find(&self, process_guid: &str, index: i32) -> Result<Lrp, Refusal> {
        let found = self.bbs.instance(process_guid, index);
        Ok(self.metrics.timed(Stage::Bbs, found).await?)
    }
}

/// Until when an attempt that began at `began` is not refused.
fn floor(began: Instant) -> Instant {
    let mut jitter = [0];
    SystemRandom.fill(&mut jitter);
    let [jitter] = jitter;
    began + FAILURE_FLOOR + Duration::from_millis(u64::from(jitter & FAILURE_JITTER))
}

/// One connection's login.
pub(crate) struct Login {
    gate: Arc<Gate>,
    /// Where the user comes from.
    address: SocketAddr,
    /// When the connection began, until the first attempt.
    began: Option<Instant>,
    /// Whose attempt is being decided about. It stays when the login is broken off meanwhile.
    pub(crate) undecided: Option<String>,
    /// Somebody was let in or refused.
    pub(crate) is_decided: bool,
}

impl Login {
    /// A login that has not begun.
    pub(crate) fn new(gate: Arc<Gate>, address: SocketAddr) -> Self {
        Self {
            gate,
            address,
            began: Some(Instant::now()),
            undecided: None,
            is_decided: false,
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
        if let Some(began) = self.began.take() {
            self.gate.metrics.took(Stage::Kex, began.elapsed());
        }
        let Attempt::Password(password) = attempt else {
            // Every client asks without a password first.
            debug!(user, "authentication-without-password");
            return Err(Denied::Retry(None));
        };
        let began = Instant::now();
        self.undecided = Some(user.to_owned());
        let entered = self.gate.enter(user, password.expose()).await;
        self.undecided = None;
        self.is_decided = true;
        match entered {
            Ok(grant) => {
                self.gate.metrics.let_in(user);
                info!(user, "authentication-attempted");
                Ok(grant)
            }
            Err(refusal) => {
                let code = refusal.code();
                self.gate.metrics.refused(user, code);
                if !matches!(refusal, Refusal::Unaudited) {
                    self.gate.audit.login_refused(user, self.address, code);
                }
                error!(user, error = %refusal, code, "authentication-failed");
                if refusal.is_of_stranger() {
                    sleep_until(floor(began)).await;
                }
                Err(refusal.denied())
            }
        }
    }
}

#[cfg(test)]
mod tests;
