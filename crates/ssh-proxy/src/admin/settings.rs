//! The keys of the configuration for the admin server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::bind;
use crate::config::File;
use crate::platform::reread::{KeyedFile, Recipe, Reread};
use crate::platform::tls::Policy;
use crate::settings::{Exit, Problems};

/// What comes before the path of a Unix socket.
pub(crate) const UNIX: &str = "unix:";

const ACTION: &str = "failed-to-configure-admin-server";

/// Where the admin server is, and who may come.
#[derive(Debug, Clone)]
pub(crate) enum AdminSettings {
    /// Whoever is on this machine, in clear.
    Loopback(SocketAddr),
    /// Whoever may open the file.
    Unix(PathBuf),
    /// Whoever shows a certificate.
    Tls(SocketAddr, Arc<Reread<ServerConfig>>),
}

impl AdminSettings {
    /// Reads the keys of `file`, where `admin_address` is given.
    pub(crate) fn new(file: &File, found: &mut Problems) -> Option<Self> {
        if let Some(path) = file.admin_address.strip_prefix(UNIX) {
            return Some(Self::Unix(PathBuf::from(path)));
        }
        let address = bind::parse_address(&file.admin_address);
        let address = found.check("admin_address", ACTION, Exit::Failure, address)?;
        let ca = KeyedFile::new("admin_ca_cert", &file.admin_ca_cert);
        let certificate = KeyedFile::new("admin_server_cert", &file.admin_server_cert);
        let key = KeyedFile::new("admin_server_key", &file.admin_server_key);
        let given = [&ca, &certificate, &key].map(|file| !file.path.is_empty());
        if given == [false; 3] && address.ip().is_loopback() {
            return Some(Self::Loopback(address));
        }
        let missing = [&ca, &certificate, &key]
            .into_iter()
            .find(|file| file.path.is_empty());
        if let Some(missing) = missing {
            let error = "admin_address without TLS has to be 127.0.0.1, [::1] or a Unix socket";
            found.check::<()>(missing.key, ACTION, Exit::Failure, Err(error.to_owned()));
            return None;
        }
        let files = Reread::new(Recipe {
            policy: Policy::Internal,
            roots: vec![ca],
            identity: Some((certificate, key)),
            sessions: 0,
            verify: true,
        });
        let files = found.files(ACTION, Exit::Failure, files)?;
        Some(Self::Tls(address, files))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str) -> Result<AdminSettings, Vec<&'static str>> {
        let file = File::parse(config.as_bytes()).unwrap();
        let mut found = Problems::default();
        let settings = AdminSettings::new(&file, &mut found);
        let keys = found.0.iter().map(|problem| problem.key).collect();
        settings.ok_or(keys)
    }

    #[test]
    fn without_tls_nobody_comes_from_outside() {
        use AdminSettings::{Loopback, Unix};
        for address in ["127.0.0.1:0", "localhost:1", "[::1]:2"] {
            let config = format!(r#"{{"admin_address": "{address}"}}"#);
            assert!(matches!(read(&config), Ok(Loopback(_))), "{address}");
        }
        let unix = read(r#"{"admin_address": "unix:/run/x"}"#);
        assert!(matches!(unix, Ok(Unix(path)) if path == *"/run/x"));
        for address in [":1", "0.0.0.0:1", "192.0.2.1:1"] {
            let config = format!(r#"{{"admin_address": "{address}"}}"#);
            assert_eq!(read(&config).unwrap_err(), ["admin_ca_cert"], "{address}");
        }
        let half =
            r#"{"admin_address": "127.0.0.1:1", "admin_ca_cert": "/x", "admin_server_cert": "/x"}"#;
        assert_eq!(read(half).unwrap_err(), ["admin_server_key"]);
        assert_eq!(
            read(r#"{"admin_address": "x"}"#).unwrap_err(),
            ["admin_address"]
        );
    }
}
