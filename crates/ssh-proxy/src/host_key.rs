//! The proxy's own host key.

use ssh_proto::Secret;

/// A host key that is known to be one.
#[derive(Debug)]
pub(crate) struct HostKey {
    /// PEM text.
    pub(crate) pem: Secret<String>,
}

impl HostKey {
    /// Reads a private key in PEM form.
    ///
    /// This is the place where the SSH layer's own reader of keys belongs; until it is there, only
    /// the frame of the text is looked at.
    pub(crate) fn parse(pem: Secret<String>) -> Result<Self, String> {
        let framed =
            pem.expose().contains("-----BEGIN ") && pem.expose().contains("PRIVATE KEY-----");
        if !framed {
            return Err("ssh: no key found".to_owned());
        }
        Ok(Self { pem })
    }
}
