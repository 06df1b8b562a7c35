//! A program in a container that has the daemon's key, and does to the proxy what it likes.
//!
//! Owns its way into a user's session. What it says there is left to the tests.

use std::net::Ipv4Addr;
use std::sync::Arc;

use devcell::Cell;
use devcell::bbs::messages::NetInfo;
use ssh_proto::algorithm::Algorithms;
use ssh_proto::auth::Methods;
use ssh_proto::key::PublicKey;
use ssh_proto::transport::Config;
use ssh_tokio::{Attempt, Authenticator, Denied, Wire, accept};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::{PATIENCE, Raw, instance_key, within};

/// Lets in whoever knocks.
struct Welcome;

impl Authenticator for Welcome {
    type Grant = ();

    fn methods(&self) -> Methods {
        Methods::PublicKey
    }

    fn knows_key(&self, _: &PublicKey) -> bool {
        true
    }

    async fn authenticate(&mut self, _: &str, attempt: Attempt) -> Result<(), Denied> {
        match attempt {
            Attempt::Key(_) => Ok(()),
            _ => Err(Denied::Retry(None)),
        }
    }
}

/// A program in the container that has the instance's key and got hold of its port.
pub struct Impostor(TcpListener);

impl Impostor {
    /// Takes the place of the second instance's daemon.
    pub async fn instead_of_the_second(cell: &Cell) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        cell.bbs()
            .update(|state| state.actual[1].net_info = Some(NetInfo::plain(2222, port)));
        Self(listener)
    }

    /// A user who logs in through the proxy, and the impostor's end.
    pub async fn meet(&self, cell: &Cell) -> (Raw, Wire<TcpStream>) {
        let user = async {
            let login = &cell.logins()[1];
            let mut raw = Raw::served(cell.proxy_address()).await;
            let tried = raw.try_password(&login.user, &login.password).await;
            assert_eq!(tried, Ok(true));
            raw
        };
        let impostor = async {
            let (stream, _) = self.0.accept().await.unwrap();
            let key = instance_key(cell);
            let config = Config::server("SSH-2.0-x", Algorithms::default(), vec![key]);
            let deadline = Instant::now() + PATIENCE;
            let accepted = accept(
                stream,
                Arc::new(config),
                &mut Welcome,
                ssh_tokio::login_deadline(deadline),
            )
            .await;
            let (authenticated, ()) = accepted.unwrap();
            authenticated.into_wire()
        };
        within("the meeting", async { tokio::join!(user, impostor) }).await
    }
}
