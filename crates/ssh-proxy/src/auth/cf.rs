//! The realm `cf:`, whose users show a one-time code: UAA says who they are, Cloud Controller whether
//! they may enter the app.

use std::sync::Arc;

use connector::Resolver;
use tracing::{error, info};

use crate::metrics::{Metrics, Stage};
use crate::platform::cloud_controller::{CloudController, CloudControllerError};
use crate::platform::uaa::{Uaa, User};
use crate::refusal::Refusal;
use crate::settings::CfSettings;

/// Asks UAA and Cloud Controller, in this order and each once.
pub(crate) struct CfRealm {
    uaa: Uaa,
    cloud_controller: CloudController,
}

/// What somebody who may enter gets.
pub(crate) struct Access {
    /// What Diego calls the process.
    pub(crate) process_guid: String,
    /// Who enters.
    pub(crate) who: User,
}

impl CfRealm {
    /// A realm that has not connected to anybody yet.
    pub(crate) fn new(settings: &CfSettings, resolver: &Arc<Resolver>) -> Self {
        Self {
            uaa: Uaa::new(&settings.uaa, Arc::clone(resolver)),
            cloud_controller: CloudController::new(
                &settings.cloud_controller,
                Arc::clone(resolver),
            ),
        }
    }

    /// Whether whoever knows `code` may enter instance `index` of the process `guid`.
    pub(crate) async fn authenticate(
        &self,
        guid: &str,
        index: i32,
        code: &[u8],
        metrics: &Metrics,
    ) -> Result<Access, Refusal> {
        info!("authenticate-starting");
        let access = self.access(guid, index, code, metrics).await;
        info!("authenticate-finished");
        access
    }

    async fn access(
        &self,
        guid: &str,
        index: i32,
        code: &[u8],
        metrics: &Metrics,
    ) -> Result<Access, Refusal> {
        let token = metrics.timed(Stage::Uaa, self.uaa.exchange(code)).await?;
        let who = token.user;
        let app = format!("{guid}/{index}");
        let (principal, username) = (who.id.as_str(), who.name.as_str());
        let answer = self
            .cloud_controller
            .ssh_access(token.authorization, guid, index);
        let answer = metrics.timed(Stage::Cc, answer).await;
        match answer {
            Ok(process_guid) => {
                info!(app, principal, username, "app-access-success");
                Ok(Access { process_guid, who })
            }
            Err(CloudControllerError::Garbled) => {
                let error = CloudControllerError::Garbled;
                error!(%error, app, principal, username, "invalid-cc-response");
                Err(error.into())
            }
            Err(error) => {
                error!(
                    %error,
                    StatusCode = error.status(),
                    app, principal, username,
                    "fetching-app-failed"
                );
                Err(error.into())
            }
        }
    }
}

#[cfg(test)]
mod tests;
