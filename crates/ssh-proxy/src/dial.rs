//! From a target to a daemon that has proven who it is and has let us in: TCP, TLS where the instance
//! has it, SSH.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use connector::Resolver;
use rustls::pki_types::ServerName;
use ssh_proto::Error;
use ssh_proto::algorithm::Algorithms;
use ssh_proto::auth::Credential;
use ssh_proto::key::{PrivateKey, PublicKey};
use ssh_proto::transport::Config;
use ssh_tokio::{Authenticated, Socket, connect, serve};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::{debug, error, warn};

use crate::metrics::{Metrics, Stage};
use crate::refusal::Refusal;
use crate::settings::{BackendSettings, BackendTls};
use crate::target::{Endpoint, Target, TlsEndpoint};

/// An address of the platform's own network that does not answer by then will not.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// TLS and SSH handshakes with a daemon take milliseconds; a loaded cell may take seconds.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// RSA keys of instances that were desired long ago are shorter: accepted, and worth a warning.
const LEAST_RSA_BITS: usize = 2048;

/// Opens connections to daemons.
pub(crate) struct Dialer {
    resolver: Arc<Resolver>,
    settings: BackendSettings,
    transport: Arc<Config>,
}

impl Dialer {
    /// A dialer for instances. It offers every algorithm whatever is allowed at the edge: daemons are
    /// as old as their apps, and have lists of their own.
    pub(crate) fn new(resolver: Arc<Resolver>, settings: BackendSettings) -> Self {
        let transport = Config::client("SSH-2.0-diego-ssh-proxy", Algorithms::everything());
        Self {
            resolver,
            settings,
            transport: Arc::new(transport),
        }
    }

    /// What instances without a preference are dialled at.
    pub(crate) fn connects_to_instance(&self) -> bool {
        self.settings.connect_to_instance_address
    }

    /// Connects to a daemon, verifies it, and logs in.
    pub(crate) async fn dial(
        &self,
        target: &Target,
        metrics: &Metrics,
    ) -> Result<Authenticated<Leg>, Refusal> {
        let credentials = credentials(target)?;
        let leg = metrics.timed(Stage::Dial, self.connect(target)).await?;
        let entered = self.enter(leg, target, credentials);
        metrics.timed(Stage::DaemonHandshake, entered).await
    }

    /// Verifies the daemon behind `leg`, and logs in.
    async fn enter(
        &self,
        leg: Leg,
        target: &Target,
        credentials: Vec<Credential>,
    ) -> Result<Authenticated<Leg>, Refusal> {
        let proven = matches!(leg, Leg::Tls(_));
        let mut mismatch = None;
        let handshake = connect(
            leg,
            Arc::clone(&self.transport),
            target.user.clone(),
            credentials,
            |key| {
                self.check_host_key(key, target, proven)
                    .inspect_err(|text| {
                        mismatch = Some(text.clone());
                    })
            },
        );
        let connected = timeout(HANDSHAKE_TIMEOUT, handshake)
            .await
            .unwrap_or(Err(Error::Timeout("handshake with the daemon")));
        match (connected, mismatch) {
            (Ok(daemon), _) => Ok(daemon),
            (Err(_), Some(text)) => {
                error!(error = text, "host-key-fingerprint-mismatch");
                Err(Refusal::HostKey(text))
            }
            (Err(error), None) => {
                error!(%error, "handshake-failed");
                Err(Refusal::Handshake(error.to_string()))
            }
        }
    }

    /// A stream to the daemon: through TLS where both sides have it, else plain.
    async fn connect(&self, target: &Target) -> Result<Leg, Refusal> {
        if let (Some(tls), Some(endpoint)) = (&self.settings.tls, &target.tls) {
            let refusal = match self.connect_tls(tls, endpoint).await {
                Ok(leg) => return Ok(leg),
                Err(refusal) => refusal,
            };
            let address = endpoint.endpoint.to_string();
            let san = &endpoint.server_name;
            error!(
                error = %refusal,
                tcp_address = address,
                server_cert_domain_san = san,
                "tls-dial-failed"
            );
            // Where nothing but TLS leads in, what is wrong with it is the reason.
            if !tls.fallback || target.plain.is_none() {
                return Err(refusal);
            }
        }
        let Some(endpoint) = &target.plain else {
            return Err(Refusal::Dial(
                "the instance is reached through TLS only".into(),
            ));
        };
        self.connect_tcp(endpoint).await.map(Leg::Plain)
    }

    async fn connect_tcp(&self, endpoint: &Endpoint) -> Result<TcpStream, Refusal> {
        let address = endpoint.to_string();
        let connected = self
            .resolver
            .connect(&endpoint.host, endpoint.port, DIAL_TIMEOUT)
            .await;
        match connected {
            Ok(stream) => {
                serve::tune(&stream);
                debug!(backend_address = address, "connected-to-backend");
                Ok(stream)
            }
            Err(error) => {
                error!(%error, backend_address = address, "dial-failed");
                Err(Refusal::Dial(format!("{address}: {error}")))
            }
        }
    }

    async fn connect_tls(&self, tls: &BackendTls, to: &TlsEndpoint) -> Result<Leg, Refusal> {
        let name = ServerName::try_from(to.server_name.clone())
            .map_err(|_| Refusal::Tls("the instance guid is no name for a certificate".into()))?;
        let stream = self.connect_tcp(&to.endpoint).await?;
        let handshake = TlsConnector::from(tls.files.config()).connect(name, stream);
        let stream = timeout(HANDSHAKE_TIMEOUT, handshake)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| Refusal::Tls(error.to_string()))?;
        Ok(Leg::Tls(Box::new(stream)))
    }

    /// The pin decides. Without one, a certificate that proved the instance is enough; without that
    /// too, it is the operator's choice.
    fn check_host_key(&self, key: &PublicKey, target: &Target, proven: bool) -> Result<(), String> {
        if key.rsa_bits().is_some_and(|bits| bits < LEAST_RSA_BITS) {
            warn!(bits = key.rsa_bits(), "rsa-key-too-short");
        }
        let fingerprint = key.fingerprint_sha256();
        match &target.host_fingerprint {
            Some(pin) if key.matches_fingerprint(pin) == Some(true) => Ok(()),
            Some(_) => Err(format!(
                "the daemon's key SHA256:{fingerprint} is not the pinned one"
            )),
            None if self.settings.require_host_fingerprint => {
                Err("no fingerprint is pinned, and require_host_fingerprint is set".into())
            }
            None if proven => Ok(()),
            None => {
                warn!(fingerprint, "host-key-not-pinned");
                Ok(())
            }
        }
    }
}

/// The key first, then the password, which needs a user; a daemon without authentication takes
/// neither.
fn credentials(target: &Target) -> Result<Vec<Credential>, Refusal> {
    let mut credentials = Vec::new();
    if let Some(pem) = &target.private_key {
        let key = PrivateKey::from_pem(pem.expose())
            .map_err(|error| Refusal::Handshake(format!("private key in the route: {error}")))?;
        credentials.push(Credential::Key(key));
    }
    if let Some(password) = &target.password
        && !target.user.is_empty()
    {
        credentials.push(Credential::Password(password.clone()));
    }
    credentials.push(Credential::None);
    Ok(credentials)
}

/// The stream towards a daemon.
pub(crate) enum Leg {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket for Leg {
    fn quick_ack(&self) {
        match self {
            Self::Plain(stream) => stream.quick_ack(),
            Self::Tls(stream) => stream.get_ref().0.quick_ack(),
        }
    }
}

impl AsyncRead for Leg {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Leg {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
