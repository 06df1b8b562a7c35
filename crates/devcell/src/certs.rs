//! Owns the throw-away X.509 side of the cell: authorities made when it starts and the certificates
//! they issue, good ones and, for tests, expired and premature ones. Nothing outlives the cell.
//!
//! All keys are ECDSA P-256. The Go platform limits TLS 1.2 to RSA suites, so these certificates
//! mean TLS 1.3 there.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// Making or signing a certificate failed.
    #[error("cannot make a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// A certificate or its key does not fit the TLS configuration.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The verifier of client certificates could not be built.
    #[error("cannot verify client certificates: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// What a certificate may be used for (extended key usage).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// A TLS server.
    Server,
    /// A TLS client.
    Client,
    /// Both, as instance identity certificates have it.
    Both,
}

/// When a certificate holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validity {
    /// Now, and for decades.
    #[default]
    Current,
    /// Ended in the past.
    Expired,
    /// Begins far in the future.
    NotYet,
}

/// What to put into a certificate.
#[derive(Clone, Debug)]
pub struct Request {
    /// The subject's common name.
    pub common_name: String,
    /// DNS subject alternative names.
    pub dns: Vec<String>,
    /// IP subject alternative names.
    pub ips: Vec<IpAddr>,
    /// Extended key usage.
    pub usage: Usage,
    /// Validity period.
    pub validity: Validity,
}

impl Request {
    /// A server certificate for `dns` and 127.0.0.1, named after the first name.
    pub fn server(dns: &[&str]) -> Self {
        Self {
            common_name: dns.first().copied().unwrap_or("localhost").to_owned(),
            dns: dns.iter().map(|&name| name.to_owned()).collect(),
            ips: vec![IpAddr::from([127, 0, 0, 1])],
            usage: Usage::Server,
            validity: Validity::Current,
        }
    }

    /// A client certificate whose common name and only DNS name is `name`.
    pub fn client(name: &str) -> Self {
        Self {
            common_name: name.to_owned(),
            dns: vec![name.to_owned()],
            ips: Vec::new(),
            usage: Usage::Client,
            validity: Validity::Current,
        }
    }

    /// The same with another validity period.
    pub fn valid(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }

    fn params(&self) -> Result<CertificateParams, CertError> {
        let mut params = CertificateParams::new(self.dns.clone())?;
        let ips = self.ips.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(ips);
        params
            .distinguished_name
            .push(DnType::CommonName, &self.common_name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match self.usage {
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Both => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
        };
        set_validity(&mut params, self.validity);
        Ok(params)
    }
}

/// Fixed dates, so that a certificate does not depend on the clock of the machine; the last one
/// fits X.509's `UTCTime`.
fn set_validity(params: &mut CertificateParams, validity: Validity) {
    let (from, to) = match validity {
        Validity::Current => (2020, 2049),
        Validity::Expired => (2000, 2001),
        Validity::NotYet => (2048, 2049),
    };
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
}

/// A certificate with its private key.
#[derive(Debug)]
pub struct Identity {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key: KeyPair,
}

impl Identity {
    /// The certificate as PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key as PKCS#8 PEM.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The chain to present: this certificate alone, since authorities here sign directly.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    /// The private key for rustls.
    pub fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }
}

/// A certificate authority that lives as long as the cell.
#[derive(Debug)]
pub struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new authority.
    pub fn new(name: &str) -> Result<Self, CertError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, Validity::Current);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);
        Ok(Self {
            certificate,
            issuer,
        })
    }

    /// The authority's own certificate as PEM: what a CA file holds.
    pub fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    /// Issues a certificate with a fresh key.
    pub fn issue(&self, request: &Request) -> Result<Identity, CertError> {
        let key = KeyPair::generate()?;
        let certificate = request.params()?.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key,
        })
    }

    /// A root store that trusts this authority and nobody else.
    pub fn roots(&self) -> Result<RootCertStore, CertError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone())?;
        Ok(roots)
    }
}

/// The crypto provider of every TLS configuration here, never the process-wide default.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_files_carry_certificate_and_key() {
        let ca = Authority::new("test CA").unwrap();
        let id = ca.issue(&Request::server(&["localhost"])).unwrap();
        assert!(ca.certificate_pem().starts_with("-----BEGIN CERTIFICATE"));
        assert!(id.certificate_pem().starts_with("-----BEGIN CERTIFICATE"));
        assert!(id.key_pem().starts_with("-----BEGIN PRIVATE KEY"));
    }

    #[test]
    fn two_authorities_do_not_share_keys() {
        let (one, two) = (Authority::new("CA").unwrap(), Authority::new("CA").unwrap());
        assert_ne!(one.certificate_pem(), two.certificate_pem());
    }
}
