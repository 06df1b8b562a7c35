//! Our server role: a server in this process that lets in whom its [`Door`] says, and runs the probe.

use std::net::SocketAddr;
use std::sync::Arc;

use ssh_proto::Error;
use ssh_proto::algorithm::Algorithms;
use ssh_proto::auth::Methods;
use ssh_proto::connection::request::{ExitStatus, SessionRequest};
use ssh_proto::connection::{ChannelId, Event as Connection, Limits};
use ssh_proto::key::PublicKey;
use ssh_proto::transport::{Config, Negotiated};
use ssh_tokio::session::{Event, Pipes, Session};
use ssh_tokio::{Attempt, Authenticator, Denied};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cases::DEADLINE;
use crate::openssh::Key;
use crate::probe;

/// How we identify ourselves, in both roles.
pub const IDENTIFICATION: &str = "SSH-2.0-interop";

/// Room between the two ends of `cat`.
const PIPE: usize = 64 * 1024;

/// A server that knows every algorithm, with `host_keys`.
pub fn config(host_keys: &[Key]) -> Config {
    let host_keys = host_keys.iter().map(Key::private).collect();
    Config::server(IDENTIFICATION, Algorithms::everything(), host_keys)
}

/// Who is let in.
#[derive(Debug, Clone)]
pub enum Door {
    /// Everyone, without being asked for anything.
    Open,
    /// Who knows the password.
    Password(&'static str),
    /// Who has the key.
    Key(PublicKey),
    /// Nobody, for this reason.
    Closed(&'static str),
}

/// What a user was let in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum With {
    /// Nothing.
    Nothing,
    /// The password.
    Password,
    /// The key.
    Key,
}

/// How a connection went.
#[derive(Debug)]
pub struct Served {
    /// Who logged in.
    pub user: String,
    /// With what.
    pub with: With,
    /// What the last key exchange agreed on.
    pub negotiated: Negotiated,
    /// How it ended.
    pub end: Error,
}

/// A server on a port that the system chose. It ends with this.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    ended: mpsc::UnboundedReceiver<Result<Served, Error>>,
    /// Ends its tasks.
    _tasks: JoinSet<()>,
}

impl Server {
    /// Starts a server.
    pub async fn start(config: Arc<Config>, door: Door) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (sender, ended) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (config, door, sender) = (Arc::clone(&config), door.clone(), sender.clone());
                connections.spawn(async move {
                    let _ = sender.send(serve(stream, config, door).await);
                });
            }
        });
        Self {
            address,
            ended,
            _tasks: tasks,
        }
    }

    /// How the next connection went, after its end; an error where nobody was let in.
    pub async fn served(&mut self) -> Result<Served, Error> {
        self.ended.recv().await.expect("a server")
    }
}

async fn serve(stream: TcpStream, config: Arc<Config>, mut door: Door) -> Result<Served, Error> {
    ssh_tokio::serve::tune(&stream);
    let deadline = Instant::now() + DEADLINE;
    let (wire, (user, with)) = ssh_tokio::accept(
        stream,
        config,
        &mut door,
        ssh_tokio::login_deadline(deadline),
    )
    .await?;
    let mut session = Session::new(wire, Limits::default());
    let end = loop {
        if let Err(error) = step(&mut session).await {
            break error;
        }
    };
    let negotiated = session.connection().transport().negotiated().copied();
    Ok(Served {
        user,
        with,
        negotiated: negotiated.expect("a key exchange"),
        end: session.close(end).await,
    })
}

async fn step(session: &mut Session<TcpStream>) -> Result<(), Error> {
    match session.next().await? {
        Event::Connection(Connection::ChannelOpen { channel, .. }) => {
            let (window, max_packet) = (Limits::WINDOW, Limits::MAX_PACKET);
            session
                .connection()
                .accept(channel, window, max_packet, b"");
        }
        Event::Connection(Connection::Request {
            channel,
            request,
            payload,
            ..
        }) => {
            let good = start(session, channel, SessionRequest::parse(&request, &payload)?);
            session.connection().reply(channel, good);
        }
        Event::Connection(Connection::GlobalRequest { .. }) => {
            session.connection().global_reply(false, b"");
        }
        Event::Drained(channel) => {
            let status = ExitStatus {
                status: probe::STATUS,
            };
            let connection = session.connection();
            connection.request(channel, ExitStatus::NAME, false, &status.encode())?;
            connection.send_eof(channel);
            connection.close(channel);
        }
        Event::Connection(_) | Event::Sunk(_) => {}
    }
    Ok(())
}

/// Starts what is asked for; true if that could be done.
fn start(
    session: &mut Session<TcpStream>,
    channel: ChannelId,
    request: Option<SessionRequest<'_>>,
) -> bool {
    match request {
        // The probe would not know the difference.
        Some(SessionRequest::Pty(_) | SessionRequest::Env(_)) => true,
        Some(SessionRequest::Exec(exec)) if exec.command == probe::COMMAND.as_bytes() => {
            let (reader, writer) = tokio::io::simplex(PIPE);
            let pipes = Pipes {
                sink: Some(Box::new(writer)),
                source: Some(Box::new(reader)),
                errors: Some(Box::new(probe::STDERR.as_bytes())),
            };
            session.join(channel, pipes);
            true
        }
        _ => false,
    }
}

impl Authenticator for Door {
    type Grant = (String, With);

    fn methods(&self) -> Methods {
        match self {
            Self::Password(_) => Methods::Password,
            _ => Methods::PublicKey,
        }
    }

    fn knows_key(&self, key: &PublicKey) -> bool {
        matches!(self, Self::Key(known) if known == key)
    }

    async fn authenticate(&mut self, user: &str, attempt: Attempt) -> Result<Self::Grant, Denied> {
        let with = match (&*self, attempt) {
            (Self::Closed(reason), _) => return Err(Denied::Final((*reason).to_owned())),
            (Self::Open, _) => With::Nothing,
            (Self::Password(right), Attempt::Password(given))
                if given.expose() == right.as_bytes() =>
            {
                With::Password
            }
            (Self::Key(known), Attempt::Key(key)) if key.key() == known => With::Key,
            (_, Attempt::None) => return Err(Denied::Retry(None)),
            _ => return Err(Denied::Retry(Some("try another one\n".to_owned()))),
        };
        Ok((user.to_owned(), with))
    }
}
