//! What the configuration file means for the realm `cf:`: UAA, Cloud Controller, and whom to take for
//! them.

use std::sync::Arc;

use crate::config::File;
use crate::platform::cloud_controller::CloudControllerSettings;
use crate::platform::reread::{Broken, KeyedFile, Recipe, Reread};
use crate::platform::tls::{DEFAULT_SESSION_CACHE, Policy};
use crate::platform::uaa::UaaSettings;

use super::{Exit, Problems, limit, parse_web_url};

/// What deciding on the realm `cf:` takes.
#[derive(Debug, Clone)]
pub(crate) struct CfSettings {
    /// How to reach UAA.
    pub(crate) uaa: UaaSettings,
    /// How to reach Cloud Controller.
    pub(crate) cloud_controller: CloudControllerSettings,
    /// Whether neither is verified; it is done already, and worth a warning.
    pub(crate) skip_cert_verify: bool,
}

/// Makes sense of the keys of the realm.
pub(crate) fn settings(file: &File, found: &mut Problems) -> Option<CfSettings> {
    let mut check = Configure(found);
    for (key, is_missing, name) in missing(file) {
        if is_missing {
            let error = format!("{name} is required for Cloud Foundry authentication");
            check.result::<()>(key, Err(error));
        }
    }
    let mut url = |key, text: &str| {
        // Told above.
        (!text.is_empty())
            .then(|| check.result(key, parse_web_url(text)))
            .flatten()
    };
    let cc_api_url = url("cc_api_url", &file.cc_api_url);
    let uaa_token_url = url("uaa_token_url", &file.uaa_token_url);
    let trust = trust(file);
    let identity = cc_identity(file);
    let cc_recipe = Recipe {
        identity: identity.clone().ok().flatten(),
        ..trust.clone()
    };
    let cc_tls = check.files(cc_recipe);
    let identity = check.result("cc_api_client_cert", identity);
    // The same files once more, which are told above if they are no use.
    let uaa_tls = cc_tls.as_ref().and_then(|_| check.files(trust));
    let timeout = limit(file.communication_timeout);
    let settings = CfSettings {
        uaa: UaaSettings {
            token_url: uaa_token_url?,
            username: file.uaa_username.clone(),
            password: file.uaa_password.clone(),
            tls: uaa_tls?,
            timeout,
        },
        cloud_controller: CloudControllerSettings {
            api_url: cc_api_url?,
            tls: cc_tls?,
            timeout,
        },
        skip_cert_verify: file.skip_cert_verify,
    };
    let complete = missing(file).iter().all(|(_, is_missing, _)| !is_missing);
    (complete && identity.is_some()).then_some(settings)
}

/// The keys of the realm `cf:` that may not be empty, in the order in which the reference looks.
fn missing(file: &File) -> [(&'static str, bool, &'static str); 4] {
    [
        ("cc_api_url", file.cc_api_url.is_empty(), "ccAPIURL"),
        (
            "uaa_password",
            file.uaa_password.expose().is_empty(),
            "UAA password",
        ),
        ("uaa_username", file.uaa_username.is_empty(), "UAA username"),
        (
            "uaa_token_url",
            file.uaa_token_url.is_empty(),
            "uaaTokenURL",
        ),
    ]
}

/// Whom we trust to be UAA or Cloud Controller: both files for both.
fn trust(file: &File) -> Recipe {
    let mut roots = vec![
        KeyedFile::new("cc_api_ca_cert", &file.cc_api_ca_cert),
        KeyedFile::new("uaa_ca_cert", &file.uaa_ca_cert),
    ];
    roots.retain(|file| !file.path.is_empty());
    Recipe {
        policy: Policy::General,
        roots,
        identity: None,
        sessions: DEFAULT_SESSION_CACHE,
        verify: !file.skip_cert_verify,
    }
}

/// Problems that the reference all tells as `configure-failed`.
struct Configure<'a>(&'a mut Problems);

impl Configure<'_> {
    const ACTION: &'static str = "configure-failed";

    fn result<T>(&mut self, key: &'static str, result: Result<T, String>) -> Option<T> {
        self.0.check(key, Self::ACTION, Exit::Failure, result)
    }

    fn files(&mut self, recipe: Recipe) -> Option<Arc<Reread>> {
        let result = Reread::new(recipe)
            .map_err(|broken| broken.into_iter().map(in_words_of_the_realm).collect());
        self.0.files(Self::ACTION, Exit::Failure, result)
    }
}

/// The reference's words for CA files of the realm `cf:`.
fn in_words_of_the_realm(mut broken: Broken) -> Broken {
    if broken.key.ends_with("_ca_cert") && broken.error.starts_with("open ") {
        broken.error.insert_str(0, "failed to read ca cert file: ");
    }
    broken
}

/// Who we are for Cloud Controller; `None` if no client certificate is configured.
fn cc_identity(file: &File) -> Result<Option<(KeyedFile, KeyedFile)>, String> {
    let certificate = KeyedFile::new("cc_api_client_cert", &file.cc_api_client_cert);
    let key = KeyedFile::new("cc_api_client_key", &file.cc_api_client_key);
    match (certificate.path.is_empty(), key.path.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => Ok(Some((certificate, key))),
        _ => Err("cc_api_client_cert and cc_api_client_key go together".to_owned()),
    }
}
