//! Owns the part of the platform that knows users: UAA and Cloud Controller for the one app of the
//! cell, and what the proxy has to be told to find them.

use std::path::Path;

use serde_json::{Value, json};

use super::config::{App, CcAccess, CellOptions, merge};
use super::{RigError, files};
use crate::certs::{Authority, Identity, Request};
use crate::cloud_controller::{Access, CloudController, Process};
use crate::front::PROXY_NAME;
use crate::keys::random_guid;
use crate::uaa::{SSH_CLIENT, Uaa, User};

/// The name of the one user who may enter the app.
const DEVELOPER: &str = "developer@example.com";

/// The certificates to verify both with, in the cell's directory.
pub(super) const CF_CA: &str = "cf-ca.crt";

/// UAA, Cloud Controller and their one user.
#[derive(Debug)]
pub(super) struct Cf {
    pub(super) uaa: Uaa,
    pub(super) cloud_controller: CloudController,
    pub(super) developer: User,
}

impl Cf {
    /// Starts both and makes the app known.
    pub(super) async fn start(
        authority: &Authority,
        app: &App,
        options: &CellOptions,
    ) -> Result<Self, RigError> {
        let uaa_names = ["uaa.service.cf.internal", "localhost"];
        let uaa_identity = authority.issue(&Request::server(&uaa_names))?;
        let uaa = Uaa::start(&uaa_identity, &options.uaa_secret).await?;
        let identity = cc_identity(authority)?;
        let access = match options.cc_access {
            CcAccess::Http => Access::Http,
            CcAccess::Https => Access::Https(&identity),
            CcAccess::MutualTls => Access::MutualTls(&identity, authority),
        };
        let cloud_controller = CloudController::start(access, uaa.tokens()).await?;
        let developer = User::new(&random_guid()?, DEVELOPER);
        let process = Process::new(&app.guid, &app.process_guid, &developer.id);
        cloud_controller.update(|state| state.processes.push(process));
        Ok(Self {
            uaa,
            cloud_controller,
            developer,
        })
    }

    /// The keys of the realm `cf:` in the proxy's configuration, as the BOSH template renders them;
    /// the files that they name are left in `dir`.
    pub(super) fn proxy_config(
        &self,
        authority: &Authority,
        dir: &Path,
        options: &CellOptions,
    ) -> Result<Value, RigError> {
        let ca = dir.join(CF_CA);
        files::write(&ca, &authority.certificate_pem())?;
        let mut config = json!({
            "enable_cf_auth": options.cf_auth,
            "uaa_token_url": self.uaa.token_url(),
            "uaa_username": SSH_CLIENT,
            "uaa_password": options.uaa_secret,
            "uaa_ca_cert": ca,
            "cc_api_url": self.cloud_controller.url(),
        });
        if options.cc_access != CcAccess::Http {
            merge(&mut config, &json!({"cc_api_ca_cert": ca}));
        }
        if options.cc_access == CcAccess::MutualTls {
            let client = authority.issue(&Request::client(PROXY_NAME))?;
            let (certificate, key) = files::identity(dir, "cc-client", &client)?;
            let keys = json!({"cc_api_client_cert": certificate, "cc_api_client_key": key});
            merge(&mut config, &keys);
        }
        Ok(config)
    }
}

/// A certificate for Cloud Controller.
fn cc_identity(authority: &Authority) -> Result<Identity, RigError> {
    let names = ["cloud-controller-ng.service.cf.internal", "localhost"];
    Ok(authority.issue(&Request::server(&names))?)
}
