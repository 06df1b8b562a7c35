//! The ways to the admin server.

use std::fs::{self, Permissions};
use std::future::pending;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use connector::os_text;
use rustls::ServerConfig;
use ssh_tokio::serve::{self, ACCEPT_PAUSE};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::info;

use super::Admin;
use super::settings::AdminSettings;
use crate::platform::reread::Reread;
use crate::server;
use crate::sessions::Sessions;

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The socket is for whoever runs the proxy alone.
const SOCKET_MODE: u32 = 0o600;

/// What a request over a Unix socket may name as its host.
pub(super) const UNIX_HOST: &str = "localhost";

/// A way to the server, ready to accept.
#[derive(Debug)]
pub(crate) enum Listener {
    /// From this machine.
    Loopback(TcpListener),
    /// Through a file.
    Unix(Socket),
    /// From anywhere, with a certificate.
    Tls(TcpListener, Arc<Reread<ServerConfig>>),
}

/// A Unix socket whose file goes with it.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Somebody may have tidied up already.
        let _ = fs::remove_file(&self.path);
    }
}

impl Listener {
    /// Binds what `settings` ask for; TCP by `bind`.
    ///
    /// # Errors
    /// It is not possible, said with the address.
    pub(crate) fn bind(
        settings: &AdminSettings,
        mut bind: impl FnMut(std::net::SocketAddr) -> Result<TcpListener, String>,
    ) -> Result<Self, String> {
        match settings {
            AdminSettings::Loopback(address) => Ok(Self::Loopback(bind(*address)?)),
            AdminSettings::Tls(address, files) => Ok(Self::Tls(bind(*address)?, Arc::clone(files))),
            AdminSettings::Unix(path) => socket(path)
                .map(Self::Unix)
                .map_err(|error| format!("listen unix {}: {}", path.display(), os_text(&error))),
        }
    }

    /// Serves; ends only by being dropped.
    pub(crate) async fn serve(self, sessions: Arc<Sessions>) {
        let told = match &self {
            Self::Loopback(listener) | Self::Tls(listener, _) => listener
                .local_addr()
                .map_or_else(|error| error.to_string(), |address| address.to_string()),
            Self::Unix(socket) => format!("unix:{}", socket.path.display()),
        };
        info!(address = told, "serving-admin");
        match self {
            Self::Loopback(listener) => {
                let admin = Admin::new(sessions, names(&listener));
                server::serve(listener, move |request| {
                    let admin = admin.clone();
                    async move { admin.answer(request).await }
                })
                .await;
            }
            Self::Unix(socket) => {
                let admin = Admin::new(sessions, vec![UNIX_HOST.to_owned()]);
                serve_socket(&socket.listener, &admin).await;
            }
            Self::Tls(listener, files) => {
                // The certificate says who may ask; a browser names whatever name it was given.
                let admin = Admin::new(sessions, Vec::new());
                serve_tls(listener, &files, &admin).await;
            }
        }
    }
}

/// What a browser on this machine may call the server at `listener`.
fn names(listener: &TcpListener) -> Vec<String> {
    let Ok(address) = listener.local_addr() else {
        return vec![UNIX_HOST.to_owned()];
    };
    let port = address.port();
    vec![address.to_string(), format!("localhost:{port}")]
}

async fn converse<S>(stream: S, admin: Admin)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let answer = |request| {
        let admin = admin.clone();
        async move { admin.answer(request).await }
    };
    server::converse(stream, answer).await;
}

async fn serve_tls(listener: TcpListener, files: &Reread<ServerConfig>, admin: &Admin) {
    serve::serve(
        listener,
        server::MAX_CONNECTIONS,
        pending(),
        |stream, _, _| {
            let acceptor = TlsAcceptor::from(files.config());
            let admin = admin.clone();
            async move {
                // Who has no certificate is told by TLS.
                if let Ok(Ok(stream)) = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                    converse(stream, admin).await;
                }
            }
        },
    )
    .await;
}

async fn serve_socket(listener: &UnixListener, admin: &Admin) {
    let permits = Arc::new(Semaphore::new(server::MAX_CONNECTIONS));
    let mut tasks = JoinSet::new();
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (listener.accept().await, permit)
        };
        tokio::select! {
            Some(_) = tasks.join_next() => {}
            (accepted, permit) = next => match accepted {
                Ok((stream, _)) => {
                    let admin = admin.clone();
                    tasks.spawn(async move {
                        converse(stream, admin).await;
                        drop(permit);
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

/// Binds `path`. The socket of a process that is gone is in nobody's use.
fn socket(path: &Path) -> io::Result<Socket> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket && StdUnixStream::connect(path).is_err() {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    let socket = Socket {
        listener,
        path: path.to_owned(),
    };
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    Ok(socket)
}
