//! Owns the UAA double: a real HTTPS server that gives one-time codes to users and exchanges them for
//! tokens as UAA does, from a state that tests change while it runs. Tokens are in `token`, answers in
//! `http`, the format of forms in `form`.

mod form;
mod http;
mod token;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::certs::{CertError, Identity};
use crate::keys::{KeyError, random_code};
use crate::server::{Server, StartError, lock, tls_config};
use http::Site;
pub use token::{Grant, TokenShape, Tokens};

/// Path where codes become tokens.
pub const TOKEN_PATH: &str = "/oauth/token";
/// Path where users get codes.
pub const AUTHORIZE_PATH: &str = "/oauth/authorize";
/// The OAuth client that the cf CLI asks codes for unless Cloud Controller names another.
pub const SSH_CLIENT: &str = "ssh-proxy";

/// How long a token is good, as UAA has it by default.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// How long a code can be used, as UAA has it.
pub const CODE_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// A user of the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The guid.
    pub id: String,
    /// What people call them.
    pub name: String,
    /// What their tokens are good for.
    pub scopes: Vec<String>,
}

impl User {
    /// A user like most.
    pub fn new(id: &str, name: &str) -> Self {
        let scopes = ["openid", "cloud_controller.read", "cloud_controller.write"];
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            scopes: scopes.map(str::to_owned).to_vec(),
        }
    }

    /// The same as an admin.
    #[must_use]
    pub fn admin(mut self) -> Self {
        self.scopes.push("cloud_controller.admin".to_owned());
        self
    }
}

/// How name and secret in a Basic header are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BasicAuth {
    /// Decoded like parts of a form, the default of UAA.
    #[default]
    Decoded,
    /// As they are, unless the request has `X-CF-ENCODED-CREDENTIALS: true`: UAA's mode
    /// `enable_uri_encoding_compatibility_mode`.
    Raw,
}

/// What UAA knows, as tests and the cell set it.
#[derive(Clone, Debug)]
pub struct State {
    /// The OAuth client of the proxy.
    pub client: String,
    /// Its secret.
    pub secret: String,
    /// How credentials of clients are read.
    pub basic: BasicAuth,
    /// How long codes made from now on can be used.
    pub code_lifetime: Duration,
    /// What tokens made from now on look like.
    pub token_shape: TokenShape,
    /// What the answer calls their type.
    pub token_type: String,
    /// How long tokens made from now on are good.
    pub token_lifetime: Duration,
    codes: BTreeMap<String, Code>,
}

#[derive(Clone, Debug)]
struct Code {
    user: User,
    client: String,
    redirect_uri: Option<String>,
    expires: Instant,
}

impl State {
    fn new(secret: &str) -> Self {
        Self {
            client: SSH_CLIENT.to_owned(),
            secret: secret.to_owned(),
            basic: BasicAuth::default(),
            code_lifetime: CODE_LIFETIME,
            token_shape: TokenShape::default(),
            token_type: "bearer".to_owned(),
            token_lifetime: TOKEN_LIFETIME,
            codes: BTreeMap::new(),
        }
    }

    fn new_code(
        &mut self,
        user: &User,
        client: &str,
        redirect_uri: Option<&str>,
    ) -> Result<String, KeyError> {
        let now = Instant::now();
        self.forget_codes(now);
        let text = random_code()?;
        let code = Code {
            user: user.clone(),
            client: client.to_owned(),
            redirect_uri: redirect_uri.map(str::to_owned),
            expires: now + self.code_lifetime,
        };
        self.codes.insert(text.clone(), code);
        Ok(text)
    }

    /// Drops codes that have been of no use for so long that nobody will ask why: a cell that runs
    /// for days stays small.
    fn forget_codes(&mut self, now: Instant) {
        let old = |code: &Code| now.saturating_duration_since(code.expires) > CODE_LIFETIME;
        self.codes.retain(|_, code| !old(code));
    }
}

/// A running, or stopped, UAA; what it has in common with the other doubles it has from [`Server`].
/// Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Uaa {
    site: Arc<Site>,
    server: Server,
}

impl Uaa {
    /// Starts on a free port of 127.0.0.1 with `identity`; the proxy's OAuth client has this secret.
    pub async fn start(identity: &Identity, secret: &str) -> Result<Self, StartError> {
        let site = Arc::new(Site::new(State::new(secret), Tokens::default()));
        let tls = tls_config(identity, None)?;
        let server = Server::start(Arc::clone(&site) as _, Some(tls))?;
        Ok(Self { site, server })
    }

    /// The value for the proxy's `uaa_token_url`.
    pub fn token_url(&self) -> String {
        self.url() + TOKEN_PATH
    }

    /// Where a user gets a code for the proxy: GET with a token of theirs, and the code is in the
    /// `Location`.
    pub fn authorize_url(&self) -> String {
        let client = self.update(|state| form::encode(&state.client));
        let url = self.url();
        format!("{url}{AUTHORIZE_PATH}?client_id={client}&response_type=code")
    }

    /// A one-time code for `user`, as `cf ssh-code` gets it.
    pub fn new_code(&self, user: &User) -> Result<String, KeyError> {
        self.update(|state| {
            let client = state.client.clone();
            state.new_code(user, &client, None)
        })
    }

    /// A token as `cf login` gets it: good for asking for codes.
    pub fn login(&self, user: &User) -> Result<String, KeyError> {
        let mut user = user.clone();
        user.scopes.push("uaa.user".to_owned());
        let tokens = self.tokens();
        tokens.issue(&user, "cf", &TokenShape::Jwt, TOKEN_LIFETIME)
    }

    /// The tokens that it gave out, for a Cloud Controller that has to judge them.
    pub fn tokens(&self) -> &Tokens {
        &self.site.tokens
    }

    /// Changes what it knows and how it behaves.
    pub fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut lock(&self.site.state))
    }

    /// Shows another certificate to connections that come from now on.
    pub fn show(&self, identity: &Identity) -> Result<(), CertError> {
        self.server.set_tls(tls_config(identity, None)?);
        Ok(())
    }
}

impl Deref for Uaa {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}
