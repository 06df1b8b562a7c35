//! A client's way from the first byte to a running command, and the question whether the server is still
//! there.

use ssh_proto::algorithm::Signature;
use ssh_proto::crypto::random::SystemRandom;
use ssh_proto::key::PrivateKey;
use ssh_proto::msg;
use ssh_proto::transport::Role;
use ssh_proto::wire::Put;

use crate::case::Stage;
use crate::end::End;
use crate::payload::{
    exec, open, password_request, publickey_request, request, service_request, u32_at,
    userauth_request,
};
use crate::peer::Peer;

/// Our number of the first channel.
pub const OURS: u32 = 0;

/// Our number of a channel that never opens: its refusal shows that the server is alive.
const PROBE: u32 = 0x7072_6f62;

/// Ours of the first channel: more than any case reads.
pub const WINDOW: u32 = 1 << 20;

/// RFC 4254 section 5.2 and everybody's choice.
pub const MAX_PACKET: u32 = 1 << 15;

/// Who logs in, and how.
#[derive(Clone)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// What shows that it is that user.
    pub secret: CredentialSecret,
}

/// What shows who a user is.
#[derive(Clone)]
pub enum CredentialSecret {
    /// A password.
    Password(String),
    /// A private key, in PEM or OpenSSH's format.
    Key(String),
}

impl Peer {
    /// Goes on by the rules up to `stage`.
    ///
    /// # Errors
    /// How the connection ended before.
    pub fn climb(&mut self, stage: Stage) -> Result<(), End> {
        if self.role() == Role::Server {
            return self.climb_as_host(stage);
        }
        if stage == Stage::Connected {
            return Ok(());
        }
        self.identify()?;
        if stage == Stage::Identified {
            return Ok(());
        }
        if stage == Stage::Offered || stage == Stage::Replied {
            let kexinit = self.offer.kexinit(Role::Client);
            self.say_kexinit(&kexinit)?;
            self.agree()?;
            if stage == Stage::Replied {
                self.say_init()?;
                self.wait_for(&[msg::NEWKEYS])?;
            }
            return Ok(());
        }
        self.exchange_keys()?;
        if stage == Stage::Keyed {
            return Ok(());
        }
        self.ask_for_service()?;
        if stage == Stage::Served {
            return Ok(());
        }
        self.login()?;
        if stage == Stage::Authenticated {
            return Ok(());
        }
        let channel = self.open_session()?;
        let start = match stage {
            Stage::Running(command) => exec(channel, command),
            Stage::Subsystem(name) => request(channel, "subsystem", true, &[name.as_bytes()]),
            _ => return Ok(()),
        };
        self.say(&start)?;
        let answer = self.wait_for(&[msg::CHANNEL_SUCCESS, msg::CHANNEL_FAILURE])?;
        match answer.first() {
            Some(&msg::CHANNEL_SUCCESS) => Ok(()),
            _ => Err(End::Refused),
        }
    }

    /// Asks for user authentication.
    pub fn ask_for_service(&mut self) -> Result<(), End> {
        self.say(&service_request("ssh-userauth"))?;
        self.wait_for(&[msg::SERVICE_ACCEPT]).map(drop)
    }

    /// Logs in.
    pub fn login(&mut self) -> Result<(), End> {
        let request = self.login_request()?;
        self.say(&request)?;
        let answers = [msg::USERAUTH_FAILURE, msg::USERAUTH_SUCCESS];
        match self.wait_for(&answers)?.first() {
            Some(&msg::USERAUTH_SUCCESS) => Ok(()),
            _ => Err(End::Refused),
        }
    }

    /// The request that logs in.
    pub fn login_request(&self) -> Result<Vec<u8>, End> {
        let credentials = self.credentials.as_ref().ok_or(End::NoCredentials)?;
        let user = &credentials.user;
        match &credentials.secret {
            CredentialSecret::Password(password) => Ok(password_request(user, password)),
            CredentialSecret::Key(pem) => {
                let key = PrivateKey::from_pem(pem).map_err(|_| End::NoCredentials)?;
                let algorithm = key.public().signatures().first();
                let algorithm = *algorithm.ok_or(End::NoCredentials)?;
                let request = publickey_request(user, true, algorithm.name(), key.public().blob());
                signed(self.session_id(), request, &key, algorithm)
            }
        }
    }

    /// Who logs in.
    pub fn user(&self) -> String {
        let user = self.credentials.as_ref().map(|it| it.user.clone());
        user.unwrap_or_else(|| "nobody".to_owned())
    }

    /// The user's key; where a user has none, a key that nobody knows.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn key(&self) -> Result<PrivateKey, End> {
        match self.credentials.as_ref().map(|it| &it.secret) {
            Some(CredentialSecret::Key(pem)) => {
                PrivateKey::from_pem(pem).map_err(|_| End::NoCredentials)
            }
            _ => Ok(PrivateKey::generate_ed25519(&mut SystemRandom)),
        }
    }

    /// Opens a session, and gives the server's number of it.
    pub fn open_session(&mut self) -> Result<u32, End> {
        self.say(&open("session", OURS, WINDOW, MAX_PACKET))?;
        let answers = [msg::CHANNEL_OPEN_CONFIRMATION, msg::CHANNEL_OPEN_FAILURE];
        let answer = self.wait_for(&answers)?;
        if answer.first() != Some(&msg::CHANNEL_OPEN_CONFIRMATION) {
            return Err(End::Refused);
        }
        let channel = u32_at(&answer, 5);
        self.channel = Some(channel);
        Ok(channel)
    }

    /// Does what a good peer does next, and waits for the answer: whatever the other side ignored, it is
    /// there to answer this.
    ///
    /// # Errors
    /// How the connection ended instead.
    pub fn probe(&mut self) -> Result<(), End> {
        if self.role() == Role::Server {
            return self.probe_as_host();
        }
        if self.is_keying() || self.session_id().is_empty() {
            self.exchange_keys()?;
        }
        if self.authenticated {
            // No type that there is, and no reply but this one bears the number.
            self.say(&open("probe@misbehave", PROBE, WINDOW, MAX_PACKET))?;
            let refusal = |payload: &[u8]| {
                payload.first() == Some(&msg::CHANNEL_OPEN_FAILURE) && u32_at(payload, 1) == PROBE
            };
            return self.wait_until(refusal).map(drop);
        }
        if !self.served {
            return self.ask_for_service();
        }
        let request = userauth_request(self.user(), "ssh-connection", "none");
        self.say(&request)?;
        let answers = [msg::USERAUTH_FAILURE, msg::USERAUTH_SUCCESS];
        self.wait_for(&answers).map(drop)
    }
}

/// `request` with its signature (RFC 4252 section 7).
///
/// # Errors
/// The key does not make such signatures.
pub fn signed(
    session_id: &[u8],
    mut request: Vec<u8>,
    key: &PrivateKey,
    algorithm: Signature,
) -> Result<Vec<u8>, End> {
    let mut text = Vec::new();
    text.put_string(session_id);
    text.extend_from_slice(&request);
    let signature = key.sign(algorithm, &text);
    request.put_string(&signature.map_err(|_| End::NoCredentials)?);
    Ok(request)
}
