//! Asking name servers as resolv.conf says.
//!
//! Servers are asked one after the other in the order of the file, as libc and Go do, and the first that
//! knows whether there is such a name is believed. Hickory's own pool asks several at once and takes what
//! comes first; but servers need not know the same: in a BOSH deployment the first one knows
//! `bbs.service.cf.internal`, and the network's own, which may be quicker, is sure that there is none.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use hickory_resolver::config::{
    LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::{TokioResolver, system_conf};

use crate::etc::contents;
use crate::{no_such_host, timed_out};

/// What is asked where resolv.conf names nobody, as libc and Go do.
const DEFAULT_NAME_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Name servers that count, as in libc.
const MOST_SERVERS: usize = 3;

/// The longest that a server is waited for, whatever resolv.conf says: where the first one is down, the next
/// has to be reached within the five seconds that a connection is given.
const MOST_PATIENCE: Duration = Duration::from_secs(2);

/// The longest that a name is taken not to exist: services come up.
const MOST_ABSENCE: Duration = Duration::from_secs(5);

/// The name servers, in the order to ask them.
pub(crate) struct Dns {
    servers: Vec<TokioResolver>,
    /// How often to ask all of them.
    rounds: usize,
}

impl Dns {
    /// Those of a resolv.conf; where that says nothing, the one of this machine. `None` if there is no way to
    /// ask.
    pub(crate) fn read(resolv_conf: &Path) -> Option<Self> {
        let configured = contents(resolv_conf)
            .ok()
            .and_then(|text| system_conf::parse_resolv_conf(plain_lines(&text)).ok());
        let (config, options) = configured.unwrap_or_else(|| {
            let server = NameServerConfig::udp_and_tcp(DEFAULT_NAME_SERVER);
            (
                ResolverConfig::from_parts(None, Vec::new(), vec![server]),
                ResolverOpts::default(),
            )
        });
        Self::new(&config, options)
    }

    fn new(config: &ResolverConfig, mut options: ResolverOpts) -> Option<Self> {
        // The platform's own names are IPv4 nearly everywhere.
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // Looked at before, in the file that we were told.
        options.use_hosts_file = ResolveHosts::Never;
        options.timeout = options.timeout.min(MOST_PATIENCE);
        options.negative_max_ttl = Some(MOST_ABSENCE);
        let rounds = options.attempts.max(1);
        options.attempts = 0;
        let only = |server: &NameServerConfig| {
            let domain = config.domain().cloned();
            let search = config.search().to_vec();
            let config = ResolverConfig::from_parts(domain, search, vec![server.clone()]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
                .with_options(options.clone())
                .build()
        };
        let servers = config.name_servers().iter().take(MOST_SERVERS).map(only);
        let servers = servers.collect::<Result<_, _>>().ok()?;
        Some(Self { servers, rounds })
    }

    /// The addresses of a name.
    ///
    /// # Errors
    /// `NotFound` if a server says that there is none; otherwise what went wrong with the first.
    pub(crate) async fn lookup(&self, name: &Name) -> io::Result<Vec<IpAddr>> {
        let mut failure = None;
        for _ in 0..self.rounds {
            for server in &self.servers {
                match server.lookup_ip(name.clone()).await {
                    Ok(found) => return Ok(found.iter().collect()),
                    Err(error) if error.is_no_records_found() => return Err(no_such_host()),
                    Err(error) => failure.get_or_insert(error),
                };
            }
        }
        Err(match failure {
            None => io::Error::other("no name servers"),
            Some(NetError::Timeout) => timed_out(),
            Some(error) => io::Error::other(error),
        })
    }
}

/// The lines that are ASCII alone. Others are comments in some language, or names that are not translated
/// here, and must not reach a library that would.
fn plain_lines(text: &[u8]) -> Vec<u8> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines
        .filter(|line| line.is_ascii())
        .flatten()
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hickory_resolver::proto::op::{Message, ResponseCode};
    use hickory_resolver::proto::rr::rdata::A;
    use hickory_resolver::proto::rr::{RData, Record, RecordType};
    use tokio::net::UdpSocket;
    use tokio::task::AbortHandle;

    use super::*;

    /// What a server says to each question.
    #[derive(Clone, Copy)]
    enum Says {
        Address(Ipv4Addr),
        Code(ResponseCode),
    }

    /// A name server that always says the same, until it is dropped.
    struct Server {
        address: SocketAddr,
        asked: Arc<AtomicUsize>,
        task: AbortHandle,
    }

    impl Server {
        async fn that(says: Says) -> Self {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = socket.local_addr().unwrap();
            let asked = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&asked);
            let serve = async move {
                let mut packet = [0; 1024];
                while let Ok((length, client)) = socket.recv_from(&mut packet).await {
                    count.fetch_add(1, Ordering::Relaxed);
                    let query = Message::from_vec(&packet[..length]).unwrap();
                    let reply = answer(query, says).to_vec().unwrap();
                    socket.send_to(&reply, client).await.unwrap();
                }
            };
            let task = tokio::spawn(serve).abort_handle();
            Self {
                address,
                asked,
                task,
            }
        }

        fn was_asked(&self) -> bool {
            self.asked.load(Ordering::Relaxed) > 0
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    fn answer(query: Message, says: Says) -> Message {
        let mut reply = query.into_response();
        match says {
            Says::Address(address) => {
                let asked = reply.queries[0].clone();
                if asked.query_type() == RecordType::A {
                    let data = RData::A(A(address));
                    reply.add_answer(Record::from_rdata(asked.name().clone(), 0, data));
                }
            }
            Says::Code(code) => reply.metadata.response_code = code,
        }
        reply
    }

    /// Asks these, in this order.
    async fn ask(servers: &[SocketAddr]) -> io::Result<Vec<IpAddr>> {
        let configured = servers.iter().map(|server| {
            let mut config = NameServerConfig::udp(server.ip());
            config.connections[0].port = server.port();
            config
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), configured.collect());
        let dns = Dns::new(&config, ResolverOpts::default()).unwrap();
        dns.lookup(&Name::from_ascii("bbs.test.").unwrap()).await
    }

    const HERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    #[tokio::test]
    async fn the_first_server_is_believed_and_no_other_asked() {
        let yes = Server::that(Says::Address(HERE)).await;
        let no = Server::that(Says::Code(ResponseCode::NXDomain)).await;
        assert_eq!(ask(&[yes.address, no.address]).await.unwrap(), [HERE]);
        assert!(!no.was_asked());

        let yes = Server::that(Says::Address(HERE)).await;
        let error = ask(&[no.address, yes.address]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!yes.was_asked());
    }

    #[tokio::test]
    async fn who_cannot_tell_leaves_it_to_the_next() {
        let next = Server::that(Says::Address(ELSEWHERE)).await;
        for code in [ResponseCode::ServFail, ResponseCode::Refused] {
            let first = Server::that(Says::Code(code)).await;
            let found = ask(&[first.address, next.address]).await.unwrap();
            assert_eq!(found, [ELSEWHERE], "{code}");
            assert!(first.was_asked());
        }
        let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let gone = nobody.local_addr().unwrap();
        drop(nobody);
        assert_eq!(ask(&[gone, next.address]).await.unwrap(), [ELSEWHERE]);
    }

    #[tokio::test]
    async fn where_nobody_can_tell_the_name_may_exist_all_the_same() {
        let broken = Server::that(Says::Code(ResponseCode::ServFail)).await;
        let error = ask(&[broken.address, broken.address]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Other, "{error}");
    }

    #[test]
    fn lines_of_other_letters_do_not_count() {
        let text = "# \u{e4}\ndomain B\u{416}.example\nnameserver 127.0.0.1\n";
        assert_eq!(plain_lines(text.as_bytes()), b"nameserver 127.0.0.1\n");
    }
}
