//! Owns TLS to the instances: a front before each daemon with the certificate that the options ask
//! for, and what the proxy has to be told to get through.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::config::merge;
use super::{RigError, files};
use crate::certs::{Authority, Request, Usage, Validity};
use crate::front::{Front, PROXY_NAME};
use crate::keys::random_guid;

/// How instances are reached by TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceTls {
    /// What the instances show.
    pub certificate: InstanceCertificate,
    /// Whether they let in only those with a good certificate of their own.
    pub requires_client: bool,
    /// What the proxy shows.
    pub client: ClientCertificate,
    /// The instances can also be reached without TLS; cf-deployment forbids it.
    pub plain_port: bool,
}

impl Default for InstanceTls {
    fn default() -> Self {
        Self {
            certificate: InstanceCertificate::default(),
            requires_client: true,
            client: ClientCertificate::default(),
            plain_port: false,
        }
    }
}

/// The certificate that instances show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InstanceCertificate {
    /// Made out to the guid of the instance by the authority of the platform.
    #[default]
    Good,
    /// Made out to another instance.
    OtherInstance,
    /// It was good once.
    Expired,
    /// By an authority that nobody knows.
    OtherAuthority,
}

/// The certificate that the proxy shows to instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Made out to [`PROXY_NAME`].
    #[default]
    Good,
    /// Made out to someone else.
    OtherName,
    /// None at all.
    Missing,
}

/// What all fronts of a cell share.
#[derive(Debug)]
pub(super) struct Fronts {
    options: InstanceTls,
    /// Signs for instances, and for nothing else.
    instances: Authority,
    /// Signs what it should not.
    stranger: Authority,
}

impl Fronts {
    pub(super) fn new(options: InstanceTls) -> Result<Self, RigError> {
        Ok(Self {
            options,
            instances: Authority::new("devcell instance identity CA")?,
            stranger: Authority::new("devcell instance identity CA")?,
        })
    }

    /// Puts a front before the daemon of one instance; `clients` signed the proxy's certificate.
    pub(super) async fn start(
        &self,
        guid: &str,
        daemon: SocketAddr,
        clients: &Authority,
    ) -> Result<Front, RigError> {
        let (authority, name, validity) = match self.options.certificate {
            InstanceCertificate::Good => (&self.instances, guid.to_owned(), Validity::Current),
            InstanceCertificate::OtherInstance => {
                (&self.instances, random_guid()?, Validity::Current)
            }
            InstanceCertificate::Expired => (&self.instances, guid.to_owned(), Validity::Expired),
            InstanceCertificate::OtherAuthority => {
                (&self.stranger, guid.to_owned(), Validity::Current)
            }
        };
        let request = Request {
            usage: Usage::Both,
            ..Request::server(&[&name]).valid(validity)
        };
        let identity = authority.issue(&request)?;
        let clients = self.options.requires_client.then_some(clients);
        Ok(Front::start(&identity, clients, daemon).await?)
    }

    /// The port of the daemon as BBS tells it: 0 where only TLS leads in.
    pub(super) fn plain_port(&self, daemon: SocketAddr) -> u16 {
        if self.options.plain_port {
            daemon.port()
        } else {
            0
        }
    }

    /// The keys for TLS to instances in the proxy's configuration; the files that they name are left
    /// in `dir`.
    pub(super) fn proxy_config(&self, clients: &Authority, dir: &Path) -> Result<Value, RigError> {
        let ca = dir.join("backends-ca.crt");
        files::write(&ca, &self.instances.certificate_pem())?;
        let mut config = json!({
            "backends_tls_enabled": true,
            "backends_tls_ca_certificates": ca,
        });
        let name = match self.options.client {
            ClientCertificate::Good => PROXY_NAME,
            ClientCertificate::OtherName => "someone-else.service.cf.internal",
            ClientCertificate::Missing => return Ok(config),
        };
        let client = clients.issue(&Request::client(name))?;
        let (certificate, key) = files::identity(dir, "backends-client", &client)?;
        let keys = json!({
            "backends_tls_client_certificate": certificate,
            "backends_tls_client_private_key": key,
        });
        merge(&mut config, &keys);
        Ok(config)
    }
}
