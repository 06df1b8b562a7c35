//! The ways to the admin server.

use std::fs;
use std::future::pending;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use connector::os_text;
use rustix::fs::{Mode, fchmod};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
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
const SOCKET_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Connections that wait to be accepted; operators come one by one.
const BACKLOG: i32 = 16;

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
    /// Which file it is, by device and number.
    file: Option<(u64, u64)>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Somebody may have tidied up, or put another in its place.
        if self.file.is_some() && identity(&self.path) == self.file {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino()))
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
                let admin = Admin::local(sessions);
                server::serve(listener, move |request| {
                    let admin = admin.clone();
                    async move { admin.answer(request).await }
                })
                .await;
            }
            Self::Unix(socket) => {
                let admin = Admin::local(sessions);
                serve_socket(&socket.listener, &admin).await;
            }
            Self::Tls(listener, files) => {
                let admin = Admin::proven(sessions);
                serve_tls(listener, &files, &admin).await;
            }
        }
    }
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
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Before there is a file that somebody else could open: it gets the mode of the socket.
    fchmod(&socket, SOCKET_MODE)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(Socket {
        listener: UnixListener::from_std(socket.into())?,
        path: path.to_owned(),
        file: identity(path),
    })
}
