//! TLS towards the platform and towards instances: certificates from files, and the two policies
//! that the platform knows.
//!
//! Roots are only ever those of the file that is named for the purpose, never the system's. Every
//! certificate in such a file is trusted as it is, an intermediate one without its root, too.

use std::path::Path;
use std::sync::Arc;

use connector::os_text;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CipherSuite, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use zeroize::Zeroizing;

use crate::platform::validity;

/// TLS sessions that a client remembers unless told otherwise (Go: `NewLRUClientSessionCache(0)`).
pub(crate) const DEFAULT_SESSION_CACHE: usize = 64;

/// The suites of TLS 1.2 that services of the platform use with each other.
const INTERNAL_TLS12_SUITES: &[CipherSuite] = &[
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

/// Which suites are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// TLS 1.3, and of TLS 1.2 the two suites of `tlsconfig.WithInternalServiceDefaults`.
    Internal,
    /// TLS 1.3 and every suite of TLS 1.2 with forward secrecy.
    General,
}

/// What we show to a server that asks who we are.
#[derive(Debug)]
pub(crate) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads a certificate with its chain and its key.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or holds nothing of the kind, or if the certificate is not valid
    /// now: better told at the start than by a peer's alert at every login.
    pub(crate) fn from_files(certificate: &str, key: &str) -> Result<Self, String> {
        let chain = certificates(certificate)?;
        let leaf = chain
            .first()
            .ok_or_else(|| format!("no certificate in {certificate}"))?;
        validity::check_now(leaf).map_err(|problem| format!("{certificate}: {problem}"))?;
        let key = PrivateKeyDer::from_pem_slice(&read(key)?)
            .map_err(|_| format!("no private key in {key}"))?;
        Ok(Self { chain, key })
    }
}

/// The certificates of a file that has at least one.
pub(crate) fn roots_from_file(path: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    // What cannot be read as a certificate is passed over, as Go's AppendCertsFromPEM does.
    let (added, _) = roots.add_parsable_certificates(certificates(path)?);
    if added == 0 {
        return Err("Unable to load caCert".to_owned());
    }
    Ok(roots)
}

/// A configuration that trusts `roots` and shows `identity`, if any, and that remembers at most
/// `sessions` sessions.
pub(crate) fn client_config(
    policy: Policy,
    roots: RootCertStore,
    identity: Option<Identity>,
    sessions: usize,
) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider(policy)))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder
            .with_client_auth_cert(identity.chain, identity.key)
            .map_err(|error| format!("failed to load keypair: {error}"))?,
    };
    config.resumption = Resumption::in_memory_sessions(sessions);
    Ok(config)
}

/// A configuration for a server that shows `identity` and speaks with those alone who show a certificate
/// of `roots`.
pub(crate) fn server_config(
    policy: Policy,
    roots: RootCertStore,
    identity: Option<Identity>,
) -> Result<ServerConfig, String> {
    let provider = Arc::new(provider(policy));
    let identity = identity.ok_or_else(|| "a server needs a certificate".to_owned())?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| error.to_string())?;
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain, identity.key)
        .map_err(|error| format!("failed to load keypair: {error}"))
}

/// Makes `config` take every server for the right one, as operators can want it (`skip_cert_verify`).
pub(crate) fn accept_anyone(config: &mut ClientConfig) {
    let schemes = config
        .crypto_provider()
        .signature_verification_algorithms
        .supported_schemes();
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(Anyone { schemes }));
}

/// Believes every certificate. Signatures prove nothing about a stranger, and are not looked at: a
/// certificate of any form will do.
#[derive(Debug)]
struct Anyone {
    /// What servers may sign with.
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

fn provider(policy: Policy) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if policy == Policy::Internal {
        provider.cipher_suites.retain(|suite| {
            suite.tls13().is_some() || INTERNAL_TLS12_SUITES.contains(&suite.suite())
        });
    }
    provider
}

/// All certificates of a file.
pub(crate) fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|_| format!("bad PEM in {path}"))
}

/// Content of a file, wiped when dropped: it may have keys in it. The error reads as Go's.
pub(crate) fn read(path: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    std::fs::read(Path::new(path))
        .map(Zeroizing::new)
        .map_err(|error| format!("open {path}: {}", os_text(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_of_the_platform_speak_two_suites_of_tls12() {
        let suites: Vec<CipherSuite> = provider(Policy::Internal)
            .cipher_suites
            .iter()
            .filter(|suite| suite.tls13().is_none())
            .map(|suite| suite.suite())
            .collect();
        assert_eq!(suites.len(), 2);
        assert!(
            suites
                .iter()
                .all(|suite| INTERNAL_TLS12_SUITES.contains(suite))
        );
        assert!(provider(Policy::General).cipher_suites.len() > 5);
        assert_eq!(
            provider(Policy::Internal)
                .cipher_suites
                .iter()
                .filter(|s| s.tls13().is_some())
                .count(),
            3
        );
    }

    #[test]
    fn files_that_are_no_use_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let junk = dir.path().join("junk");
        std::fs::write(&junk, "junk").unwrap();
        let junk = junk.to_str().unwrap();
        assert_eq!(
            roots_from_file("/does/not/exist").unwrap_err(),
            "open /does/not/exist: no such file or directory"
        );
        assert_eq!(roots_from_file(junk).unwrap_err(), "Unable to load caCert");
        assert!(Identity::from_files(junk, junk).is_err());
    }

    #[test]
    fn an_identity_needs_its_own_key_and_to_be_valid_now() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        let certificate = |from, to| {
            let mut params = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(to, 1, 1);
            params.self_signed(&key).unwrap().pem()
        };
        let good = write("good", certificate(2020, 2090));
        let old = write("old", certificate(2020, 2021));
        let young = write("young", certificate(2080, 2090));
        let key_file = write("key", key.serialize_pem());
        let other_file = write("other", other.serialize_pem());
        let build = |certificate: &str, key: &str| {
            let identity = Identity::from_files(certificate, key)?;
            client_config(Policy::Internal, RootCertStore::empty(), Some(identity), 1)
        };
        assert!(build(&good, &key_file).is_ok());
        assert!(build(&good, &other_file).unwrap_err().contains("keypair"));
        assert!(build(&old, &key_file).unwrap_err().contains("expired"));
        assert!(
            build(&young, &key_file)
                .unwrap_err()
                .contains("not yet valid")
        );
    }
}
