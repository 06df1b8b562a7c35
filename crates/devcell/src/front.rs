//! Owns the TLS front of an instance, Envoy's role in a container: it shows the certificate of the
//! instance, asks for the proxy's, and passes what is inside to the daemon as it is.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::certs::{Authority, CertError, Identity, provider};
use crate::server::{StartError, accept};

/// The name that a cell's Envoy wants to see in the certificate of whoever connects.
pub const PROXY_NAME: &str = "ssh-proxy.service.cf.internal";

/// A running front. Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Front {
    /// Listens on a free port of 127.0.0.1 and passes connections to `daemon`. With `clients`, only
    /// those whose certificate these signed for [`PROXY_NAME`].
    pub async fn start(
        identity: &Identity,
        clients: Option<&Authority>,
        daemon: SocketAddr,
    ) -> Result<Self, StartError> {
        let tls = TlsAcceptor::from(Arc::new(config(identity, clients)?));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        Ok(Self {
            address: listener.local_addr()?,
            task: tokio::spawn(accept(listener, move |stream| {
                pass(stream, tls.clone(), daemon)
            })),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn config(identity: &Identity, clients: Option<&Authority>) -> Result<ServerConfig, CertError> {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(Arc::new(ProxyOnly::new(clients)?)),
    };
    Ok(builder.with_single_cert(identity.chain(), identity.key_der())?)
}

async fn pass(stream: TcpStream, tls: TlsAcceptor, daemon: SocketAddr) {
    // Keystrokes must not wait for each other's acknowledgements; slower is all it would be without.
    let _ = stream.set_nodelay(true);
    let Ok(mut outside) = tls.accept(stream).await else {
        return;
    };
    let Ok(mut inside) = TcpStream::connect(daemon).await else {
        return;
    };
    let _ = inside.set_nodelay(true);
    // How a connection ends is for its two ends to judge.
    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
}

/// Accepts certificates for [`PROXY_NAME`] from one authority.
#[derive(Debug)]
struct ProxyOnly {
    chain: Arc<dyn ClientCertVerifier>,
    name: ServerName<'static>,
}

impl ProxyOnly {
    fn new(clients: &Authority) -> Result<Self, CertError> {
        let roots = Arc::new(clients.roots()?);
        let chain = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
        let name =
            ServerName::try_from(PROXY_NAME).map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { chain, name })
    }
}

impl ClientCertVerifier for ProxyOnly {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, &self.name)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
