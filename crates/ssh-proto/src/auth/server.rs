//! The server's side of user authentication.
//!
//! ```text
//!  AwaitService ──SERVICE_REQUEST──► AwaitRequest ──USERAUTH_REQUEST──► Asked ──accept──► (consumed)
//!                                         ▲                               │
//!                                         └──────── reject, key_ok ───────┘
//! ```
//!
//! While a request is asked about, the owner polls no further packets: the machine is parked.

use super::{CONNECTION, NONE, PASSWORD, PUBLICKEY, USERAUTH, signed_data};
use crate::algorithm::Signature;
use crate::error::{Error, Reason};
use crate::key::PublicKey;
use crate::msg;
use crate::secret::Secret;
use crate::transport::Transport;
use crate::wire::{Put, Reader};

/// Failures that end the connection; the first `none` is not one. As the reference.
const MOST_FAILURES: u32 = 6;

/// Requests of all kinds, questions about keys among them, that end the connection.
const MOST_REQUESTS: u32 = 20;

/// The longest user name. Longer ones fail like unknown ones.
const LONGEST_USER: usize = 256;

/// The longest text of a banner that every client shows whole.
const LONGEST_BANNER: usize = 400;

/// Methods that a server offers, beside `none`, which is always answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Methods {
    /// `password` alone.
    Password,
    /// `publickey` alone.
    PublicKey,
}

impl Methods {
    fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::PublicKey => "publickey",
        }
    }
}

/// A key with which this very request was signed. Only the signature check makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedKey(PublicKey);

impl VerifiedKey {
    /// The key.
    pub fn key(&self) -> &PublicKey {
        &self.0
    }
}

/// What the client asks for. Each has to be answered before the next packet is polled.
#[derive(Debug)]
pub enum Request {
    /// Access without any credential.
    None {
        /// Who asks.
        user: String,
    },
    /// Access with a password.
    Password {
        /// Who asks.
        user: String,
        /// As typed; not necessarily UTF-8.
        password: Secret<Vec<u8>>,
    },
    /// Whether a signature by `key` would be worth making. Answer with [`ServerAuth::key_ok`] or
    /// [`ServerAuth::reject`].
    KeyQuery {
        /// Who asks.
        user: String,
        /// The key in question.
        key: PublicKey,
    },
    /// Access with a key that the client has.
    Key {
        /// Who asks.
        user: String,
        /// The key, proven.
        key: VerifiedKey,
    },
}

enum State {
    AwaitService,
    AwaitRequest,
    Asked {
        algorithm: Option<Signature>,
        free: bool,
    },
}

/// The server's side of one connection's authentication.
pub struct ServerAuth {
    methods: Methods,
    state: State,
    failures: u32,
    requests: u32,
}

impl ServerAuth {
    /// Begins with a transport whose first key exchange may still be going on.
    pub fn new(methods: Methods) -> Self {
        Self {
            methods,
            state: State::AwaitService,
            failures: 0,
            requests: 0,
        }
    }

    /// Deals with the packet that `transport` polled last. A request that comes out has to be
    /// answered; requests that no answer could let in are refused here.
    ///
    /// # Errors
    /// The client broke a rule or tried too often.
    pub fn handle(&mut self, transport: &mut Transport) -> Result<Option<Request>, Error> {
        let number = transport.packet().first().copied();
        match (&self.state, number) {
            (State::AwaitService, Some(msg::SERVICE_REQUEST)) => {
                self.on_service_request(transport)?;
                Ok(None)
            }
            (State::AwaitRequest, Some(msg::USERAUTH_REQUEST)) => {
                let request = self.on_request(transport);
                transport.wipe_packet();
                let request = request?;
                if request.is_none() {
                    self.reject(transport)?;
                }
                Ok(request)
            }
            _ => Err(Error::Misbehaved(
                "message out of order in user authentication",
            )),
        }
    }

    /// The client is in: sends USERAUTH_SUCCESS, behind which the connection protocol begins.
    pub fn accept(self, transport: &mut Transport) {
        transport.send(&[&[msg::USERAUTH_SUCCESS]]);
        transport.set_authenticated();
    }

    /// The client stays out for now: sends USERAUTH_FAILURE.
    ///
    /// # Errors
    /// It has tried too often.
    pub fn reject(&mut self, transport: &mut Transport) -> Result<(), Error> {
        let free = matches!(self.state, State::Asked { free: true, .. });
        if !free {
            self.failures += 1;
        }
        if self.failures >= MOST_FAILURES || self.requests >= MOST_REQUESTS {
            return Err(too_many());
        }
        let mut payload = vec![msg::USERAUTH_FAILURE];
        payload.put_name_list([self.methods.name()]);
        payload.put_bool(false);
        transport.send(&[&payload]);
        self.state = State::AwaitRequest;
        Ok(())
    }

    /// Answers a [`Request::KeyQuery`]: a signature by that key would be welcome.
    pub fn key_ok(&mut self, transport: &mut Transport, key: &PublicKey) {
        if let State::Asked {
            algorithm: Some(algorithm),
            ..
        } = self.state
        {
            let mut payload = vec![msg::USERAUTH_PK_OK];
            payload.put_string(algorithm.name().as_bytes());
            payload.put_string(key.blob());
            transport.send(&[&payload]);
            self.state = State::AwaitRequest;
        }
    }

    /// Shows `text` to the user (RFC 4252 section 5.4), cut where clients would cut it.
    pub fn banner(&self, transport: &mut Transport, text: &str) {
        let end = text.floor_char_boundary(LONGEST_BANNER);
        let mut payload = vec![msg::USERAUTH_BANNER];
        payload.put_string(text.get(..end).unwrap_or_default().as_bytes());
        payload.put_string(b"");
        transport.send(&[&payload]);
    }

    fn on_service_request(&mut self, transport: &mut Transport) -> Result<(), Error> {
        let mut reader = Reader::new(transport.packet());
        reader.u8()?;
        let service = reader.string()?;
        reader.finish()?;
        if service != USERAUTH.as_bytes() {
            return Err(no_such_service());
        }
        let mut payload = vec![msg::SERVICE_ACCEPT];
        payload.put_string(USERAUTH.as_bytes());
        transport.send(&[&payload]);
        self.state = State::AwaitRequest;
        Ok(())
    }

    /// Reads a request. `None` is one that is refused without asking anyone.
    fn on_request(&mut self, transport: &Transport) -> Result<Option<Request>, Error> {
        // Questions answered with yes never come by `reject`.
        if self.requests >= MOST_REQUESTS {
            return Err(too_many());
        }
        self.requests += 1;
        let mut reader = Reader::new(transport.packet());
        reader.u8()?;
        let user = reader.string()?;
        if reader.string()? != CONNECTION.as_bytes() {
            return Err(no_such_service());
        }
        let method = reader.string()?;
        let free = method == NONE && self.requests == 1;
        self.state = State::Asked {
            algorithm: None,
            free,
        };
        let Some(user) = user_name(user) else {
            return Ok(None);
        };
        if method == NONE {
            reader.finish()?;
            return Ok(Some(Request::None { user }));
        }
        if method == PASSWORD && self.methods == Methods::Password {
            return password(user, reader);
        }
        if method == PUBLICKEY && self.methods == Methods::PublicKey {
            return self.public_key(user, reader, transport.session_id());
        }
        Ok(None)
    }

    /// RFC 4252 section 7. A signature that does not hold fails like a key that nobody knows.
    fn public_key(
        &mut self,
        user: String,
        mut reader: Reader<'_>,
        session_id: &[u8],
    ) -> Result<Option<Request>, Error> {
        let signed = reader.bool()?;
        let algorithm = reader.string()?;
        let blob = reader.string()?;
        let signature = if signed { Some(reader.string()?) } else { None };
        reader.finish()?;
        let algorithm = std::str::from_utf8(algorithm)
            .ok()
            .and_then(Signature::from_name);
        let (Some(algorithm), Ok(key)) = (algorithm, PublicKey::from_blob(blob)) else {
            return Ok(None);
        };
        if !key.signatures().contains(&algorithm) {
            return Ok(None);
        }
        self.state = State::Asked {
            algorithm: Some(algorithm),
            free: false,
        };
        let Some(signature) = signature else {
            return Ok(Some(Request::KeyQuery { user, key }));
        };
        let data = signed_data(session_id, user.as_bytes(), algorithm, blob);
        Ok(key
            .verify(algorithm, &data, signature)
            .is_ok()
            .then(|| Request::Key {
                user,
                key: VerifiedKey(key),
            }))
    }
}

/// RFC 4252 section 8. Changing passwords is not supported.
fn password(user: String, mut reader: Reader<'_>) -> Result<Option<Request>, Error> {
    let change = reader.bool()?;
    let password = Secret::new(reader.string()?.to_vec());
    if change {
        let _new_password = reader.string()?;
    }
    reader.finish()?;
    Ok((!change).then_some(Request::Password { user, password }))
}

/// A user name that can be shown and looked up, or none.
fn user_name(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    (name.len() <= LONGEST_USER && !name.contains(char::is_control)).then(|| name.to_owned())
}

fn too_many() -> Error {
    Error::Closed {
        reason: Reason::ProtocolError,
        text: "too many authentication failures".into(),
    }
}

fn no_such_service() -> Error {
    Error::Closed {
        reason: Reason::ServiceNotAvailable,
        text: "service not available".into(),
    }
}
