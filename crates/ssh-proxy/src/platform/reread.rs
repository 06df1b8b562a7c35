//! TLS that follows its files: a certificate or CA that is exchanged counts without a restart.
//!
//! The files are looked at when a connection is made, not in between. Connections that stand, and
//! pools of them, are left as they are; so is everything while a file is broken.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::time::Instant;
use tracing::{error, info};

use super::tls::{self, Identity, Policy};

/// How long the files are taken to be unchanged after a look at them: a burst of logins is not to
/// ask the file system each time, and nobody exchanges certificates in a greater hurry.
const RECHECK: Duration = Duration::from_secs(5);

/// A file and the key of the configuration that names it.
#[derive(Debug, Clone)]
pub(crate) struct KeyedFile {
    /// The key.
    pub(crate) key: &'static str,
    /// The path.
    pub(crate) path: String,
}

impl KeyedFile {
    /// The file at `path`, which `key` names.
    pub(crate) fn new(key: &'static str, path: &str) -> Self {
        let path = path.to_owned();
        Self { key, path }
    }

    fn broken(&self, error: String) -> Broken {
        let key = self.key;
        Broken { key, error }
    }
}

/// A file that is no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    /// The key that names it.
    pub(crate) key: &'static str,
    /// What is wrong.
    pub(crate) error: String,
}

/// Which files make a TLS configuration, and how.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    /// Which suites are offered.
    pub(crate) policy: Policy,
    /// Files of trusted certificates.
    pub(crate) roots: Vec<KeyedFile>,
    /// Our certificate and its key, if we show one.
    pub(crate) identity: Option<(KeyedFile, KeyedFile)>,
    /// TLS sessions to remember.
    pub(crate) sessions: usize,
    /// Refuse servers that cannot prove their name.
    pub(crate) verify: bool,
}

/// What can be made of files.
pub(crate) trait Made: Sized {
    /// Makes it of what is in the files of `recipe`.
    ///
    /// # Errors
    /// Certificate and key are no pair.
    fn make(
        recipe: &Recipe,
        roots: RootCertStore,
        identity: Option<Identity>,
    ) -> Result<Self, String>;
}

impl Made for ClientConfig {
    fn make(
        recipe: &Recipe,
        roots: RootCertStore,
        identity: Option<Identity>,
    ) -> Result<Self, String> {
        let mut config = tls::client_config(recipe.policy, roots, identity, recipe.sessions)?;
        if !recipe.verify {
            tls::accept_anyone(&mut config);
        }
        Ok(config)
    }
}

/// A server whose clients have to prove themselves.
impl Made for ServerConfig {
    fn make(
        recipe: &Recipe,
        roots: RootCertStore,
        identity: Option<Identity>,
    ) -> Result<Self, String> {
        tls::server_config(recipe.policy, roots, identity)
    }
}

impl Recipe {
    fn load<C: Made>(&self) -> Result<Arc<C>, Vec<Broken>> {
        let mut broken = Vec::new();
        let mut roots = RootCertStore::empty();
        for file in &self.roots {
            match tls::roots_from_file(&file.path) {
                Ok(more) => roots.extend(more.roots),
                Err(error) => broken.push(file.broken(error)),
            }
        }
        let identity = self.identity.as_ref().and_then(|(certificate, key)| {
            Identity::from_files(&certificate.path, &key.path)
                .map_err(|error| broken.push(certificate.broken(error)))
                .ok()
        });
        if !broken.is_empty() {
            return Err(broken);
        }
        let made = C::make(self, roots, identity);
        made.map(Arc::new).map_err(|error| vec![self.misfit(error)])
    }

    /// What can be wrong with files that are fine each by itself: certificate and key are no pair.
    fn misfit(&self, error: String) -> Broken {
        let key = self.identity.as_ref().map_or("", |(_, key)| key.key);
        Broken { key, error }
    }

    fn stamps(&self) -> Vec<Stamp> {
        let identity = self.identity.iter().flat_map(|(crt, key)| [crt, key]);
        let files = self.roots.iter().chain(identity);
        files.map(|file| stamp(&file.path)).collect()
    }
}

/// What changes with a file: when it was written, its size, and which file it is. `None` if there is
/// none.
type Stamp = Option<(SystemTime, u64, u64)>;

fn stamp(path: &str) -> Stamp {
    let file = fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.size(), file.ino()))
}

/// A TLS configuration as its files have it now.
#[derive(Debug)]
pub(crate) struct Reread<C = ClientConfig> {
    recipe: Recipe,
    state: Mutex<State<C>>,
}

#[derive(Debug)]
struct State<C> {
    config: Arc<C>,
    /// Of the files that `config` was made of.
    stamps: Vec<Stamp>,
    checked: Instant,
    /// What was last told about broken files, so that it is told once.
    told: Vec<Broken>,
}

impl<C: Made> Reread<C> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// Every file that is no use.
    pub(crate) fn new(recipe: Recipe) -> Result<Self, Vec<Broken>> {
        // Before the files themselves: a change in between is then seen the next time.
        let stamps = recipe.stamps();
        let config = recipe.load()?;
        let state = State {
            config,
            stamps,
            checked: Instant::now(),
            told: Vec::new(),
        };
        Ok(Self {
            recipe,
            state: Mutex::new(state),
        })
    }

    /// The configuration for a new connection.
    pub(crate) fn config(&self) -> Arc<C> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.checked.elapsed() >= RECHECK {
            state.checked = Instant::now();
            state.look_again(&self.recipe);
        }
        Arc::clone(&state.config)
    }
}

impl<C: Made> State<C> {
    /// Takes over files that have changed. Those that are broken are tried again the next time, also
    /// without a change: a certificate may only have to become valid.
    fn look_again(&mut self, recipe: &Recipe) {
        let stamps = recipe.stamps();
        if stamps == self.stamps {
            return;
        }
        match recipe.load() {
            Ok(config) => {
                self.config = config;
                self.stamps = stamps;
                self.told.clear();
                let keys: Vec<&str> = recipe.roots.iter().map(|file| file.key).collect();
                info!(roots = keys.join(","), "certificates-reread");
            }
            Err(broken) if broken == self.told => {}
            Err(broken) => {
                for Broken { key, error } in &broken {
                    error!(key, error, "certificates-not-reread");
                }
                self.told = broken;
            }
        }
    }
}

#[cfg(test)]
mod tests;
