//! Both our roles against russh, an implementation of SSH in Rust of other origin.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use interop::cases::each;
use interop::choice::{self, Choice, Rekeys};
use interop::client as ours;
use interop::openssh::{self, Key};
use interop::probe::{self, Answer};
use interop::server::{self, Door, Server, With};
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg};
use russh::{Channel, ChannelId, ChannelMsg, Limits, Preferred, cipher, client, kex, mac};
use ssh_proto::algorithm::{Cipher, Mac, Signature};
use ssh_proto::auth::Credential;
use ssh_proto::transport::Config;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const USER: &str = "user";

/// A choice, and who starts key exchanges; nobody does for `None`.
#[derive(Clone, Copy)]
struct Case(Choice, Option<Rekeys>);

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            None => write!(f, "{}", self.0),
            Some(rekeys) => write!(f, "{}, rekeys: {rekeys:?}", self.0),
        }
    }
}

impl Case {
    /// Every algorithm alone, and the ways to protect packets with rekeying.
    fn all() -> impl Iterator<Item = Self> {
        let alone = choice::all().into_iter().map(|choice| Self(choice, None));
        // Of russh, AES-CTR and HMAC take ten seconds a case in a test build; one of them will do,
        // and OpenSSH rekeys with them all.
        let hmac = Choice {
            cipher: Cipher::Aes128Ctr,
            mac: Mac::HmacSha256,
            ..choice::USUAL
        };
        let rekeying = choice::packets()
            .filter(move |choice| choice.cipher.is_aead() || *choice == hmac)
            .flat_map(|choice| Rekeys::ALL.map(|rekeys| Self(choice, Some(rekeys))));
        alone.chain(rekeying)
    }

    fn input(self) -> Vec<u8> {
        probe::data(self.1.map_or(100_000, |_| Rekeys::DATA))
    }

    fn limit(self, config: Config) -> Config {
        match self.1 {
            None => config,
            Some(rekeys) => rekeys.limit(config),
        }
    }

    /// What russh limits.
    fn limits(self) -> Limits {
        let mut limits = Limits::default();
        if let Some(bytes) = self.1.and_then(Rekeys::theirs) {
            let bytes = usize::try_from(bytes).expect("it is small");
            limits.rekey_write_limit = bytes;
            limits.rekey_read_limit = bytes;
        }
        limits
    }

    fn check_exchanges(self, exchanges: &AtomicUsize) {
        let exchanges = exchanges.load(Ordering::SeqCst);
        match self.1 {
            None => assert_eq!(exchanges, 1),
            Some(_) => assert!(exchanges >= Rekeys::LEAST, "{exchanges} key exchanges"),
        }
    }
}

/// What russh offers.
fn preferred(choice: Choice) -> Preferred {
    let kex = kex::Name::try_from(choice.kex.name()).expect("a kex");
    let markers = [
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    let host_key = choice.host_key.name().parse().expect("an algorithm");
    let cipher = cipher::Name::try_from(choice.cipher.name()).expect("a cipher");
    let mac = mac::Name::try_from(choice.mac.name()).expect("a MAC");
    Preferred {
        kex: [kex].into_iter().chain(markers).collect(),
        key: Cow::Owned(vec![host_key]),
        cipher: Cow::Owned(vec![cipher]),
        mac: Cow::Owned(vec![mac]),
        ..Preferred::DEFAULT
    }
}

fn private(key: &Key) -> PrivateKey {
    russh::keys::decode_secret_key(&key.pem, None).expect("a private key")
}

/// The client's side of russh: trusts one key, and counts key exchanges.
struct Trust {
    host: Key,
    exchanges: Arc<AtomicUsize>,
}

impl client::Handler for Trust {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let russh::keys::PublicKeyOrCertificate::PublicKey { key, .. } = key else {
            return Ok(false);
        };
        Ok(key.key_data() == private(&self.host).public_key().key_data())
    }

    async fn kex_done(
        &mut self,
        _: Option<&[u8]>,
        names: &russh::Names,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        assert!(names.strict_kex(), "no strict key exchange");
        self.exchanges.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Connects russh to `server`.
async fn connect(
    server: &Server,
    case: Case,
    host: Key,
    exchanges: &Arc<AtomicUsize>,
) -> client::Handle<Trust> {
    let config = client::Config {
        preferred: preferred(case.0),
        limits: case.limits(),
        nodelay: true,
        ..client::Config::default()
    };
    let trust = Trust {
        host,
        exchanges: Arc::clone(exchanges),
    };
    let connected = client::connect(Arc::new(config), server.address, trust).await;
    connected.expect("a connection")
}

/// Runs the probe on a connection of russh.
async fn run_probe(client: &client::Handle<Trust>, input: &[u8]) -> Answer {
    let channel = client.channel_open_session().await.expect("a channel");
    channel.exec(true, probe::COMMAND).await.expect("a command");
    let (mut reader, writer) = channel.split();
    let feed = async {
        writer.data(input).await.expect("input");
        writer.eof().await.expect("its end");
    };
    let read = async {
        let mut answer = Answer {
            stdout: Vec::new(),
            stderr: Some(String::new()),
            status: None,
        };
        let stderr = answer.stderr.as_mut().expect("it was just made");
        while let Some(message) = reader.wait().await {
            match message {
                ChannelMsg::Data { data } => answer.stdout.extend_from_slice(&data),
                ChannelMsg::ExtendedData { data, ext: 1 } => {
                    stderr.push_str(&String::from_utf8_lossy(&data));
                }
                ChannelMsg::ExitStatus { exit_status } => answer.status = Some(exit_status),
                _ => {}
            }
        }
        answer
    };
    tokio::join!(feed, read).1
}

#[tokio::test(flavor = "multi_thread")]
async fn our_server_serves_russh() {
    let hosts = Key::of_each_type().await;
    each(Case::all(), |case| {
        let hosts = hosts.clone();
        async move {
            let user = &hosts[0];
            let config = Arc::new(case.limit(server::config(&hosts)));
            let mut server = Server::start(config, Door::Key(user.public())).await;
            let host = openssh::key_for(&hosts, case.0.host_key).clone();
            let exchanges = Arc::default();
            let mut client = connect(&server, case, host, &exchanges).await;
            let key = PrivateKeyWithHashAlg::new(Arc::new(private(user)), None);
            let login = client.authenticate_publickey(USER, key).await;
            assert!(login.expect("an answer").success());
            let input = case.input();
            run_probe(&client, &input).await.check(&input);
            case.check_exchanges(&exchanges);
            client.send_ping().await.expect("a pong");
            drop(client);
            case.0
                .check(&server.served().await.expect("let in").negotiated);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_server_takes_russhs_signatures_and_passwords() {
    struct KeyCase(Key, Signature);
    impl fmt::Display for KeyCase {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.1.name())
        }
    }
    let keys = Key::of_each_type().await;
    let usual = Case(choice::USUAL, None);
    let cases = openssh::signatures(&keys).map(|(key, signature)| KeyCase(key.clone(), signature));
    each(cases, |KeyCase(key, signature)| {
        let hosts = keys.clone();
        async move {
            let config = Arc::new(server::config(&hosts));
            let mut server = Server::start(config, Door::Key(key.public())).await;
            let mut client = connect(&server, usual, hosts[0].clone(), &Arc::default()).await;
            let best = client.best_supported_rsa_hash().await.expect("extensions");
            assert_eq!(best, Some(Some(HashAlg::Sha512)), "server-sig-algs");
            let hash = match signature.name().parse() {
                Ok(Algorithm::Rsa { hash }) => hash,
                _ => None,
            };
            let key = PrivateKeyWithHashAlg::new(Arc::new(private(&key)), hash);
            let login = client.authenticate_publickey(USER, key).await;
            assert!(login.expect("an answer").success());
            drop(client);
            assert_eq!(server.served().await.expect("let in").with, With::Key);
        }
    })
    .await;

    let config = Arc::new(server::config(&keys));
    let mut server = Server::start(config, Door::Password("open sesame")).await;
    let mut client = connect(&server, usual, keys[0].clone(), &Arc::default()).await;
    for (password, right) in [("open barley", false), ("open sesame", true)] {
        let login = client.authenticate_password(USER, password).await;
        assert_eq!(login.expect("an answer").success(), right);
    }
    drop(client);
    assert_eq!(server.served().await.expect("let in").with, With::Password);
}

/// The server's side of russh: knows one key or password, and runs the probe.
struct Peer {
    user: PrivateKey,
    channels: HashMap<ChannelId, Channel<russh::server::Msg>>,
    probes: JoinSet<()>,
}

const PASSWORD: &str = "open sesame";

impl russh::server::Handler for Peer {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        key: russh::server::VerifiedPublicKey<'_>,
    ) -> Result<russh::server::Auth, Self::Error> {
        Ok(
            if key.public_key.key_data() == self.user.public_key().key_data() {
                russh::server::Auth::Accept
            } else {
                russh::server::Auth::reject()
            },
        )
    }

    async fn auth_password(
        &mut self,
        _: &str,
        password: &str,
    ) -> Result<russh::server::Auth, Self::Error> {
        Ok(if password == PASSWORD {
            russh::server::Auth::Accept
        } else {
            russh::server::Auth::reject()
        })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<russh::server::Msg>,
        reply: russh::server::ChannelOpenHandle,
        _: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        assert_eq!(command, probe::COMMAND.as_bytes());
        session.channel_success(channel)?;
        let channel = self.channels.remove(&channel).expect("it was opened");
        self.probes.spawn(async move {
            let (mut reader, writer) = channel.split();
            let (sender, mut data) = mpsc::unbounded_channel();
            // russh takes no output during a key exchange, and no input while a channel has much that
            // nobody reads: the two together are for ever. So reading never waits for writing.
            let read = async move {
                while let Some(message) = reader.wait().await {
                    match message {
                        ChannelMsg::Data { data } => sender.send(data).expect("a writer"),
                        ChannelMsg::Eof => break,
                        _ => {}
                    }
                }
            };
            let mut stdout = writer.make_writer();
            let write = async {
                while let Some(data) = data.recv().await {
                    stdout.write_all(&data).await.expect("output");
                }
            };
            tokio::join!(read, write);
            let stderr = writer.extended_data(1, probe::STDERR.as_bytes()).await;
            stderr.expect("standard error");
            writer.exit_status(probe::STATUS).await.expect("a status");
            writer.eof().await.expect("the end");
            writer.close().await.expect("the end");
        });
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_uses_russh() {
    let hosts = Key::of_each_type().await;
    each(Case::all(), |case| {
        let hosts = hosts.clone();
        async move {
            let user = Credential::Key(hosts[0].private());
            visit(case, &hosts, &hosts[0], user).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn russh_takes_our_keys_and_passwords() {
    struct KeyCase(Key);
    impl fmt::Display for KeyCase {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.0.line)
        }
    }
    let keys = Key::of_each_type().await;
    let usual = Case(choice::USUAL, None);
    each(keys.iter().cloned().map(KeyCase), |KeyCase(key)| {
        let hosts = keys.clone();
        async move {
            let user = Credential::Key(key.private());
            visit(usual, &hosts, &key, user).await;
        }
    })
    .await;
    let user = Credential::Password(ssh_proto::Secret::new(PASSWORD.to_owned()));
    visit(usual, &keys, &keys[0], user).await;
}

/// Logs in on a server of russh that knows `key`, and runs the probe there.
async fn visit(case: Case, hosts: &[Key], key: &Key, credential: Credential) {
    let mut config = russh::server::Config {
        keys: hosts.iter().map(private).collect(),
        preferred: preferred(case.0),
        limits: case.limits(),
        nodelay: true,
        ..russh::server::Config::default()
    };
    config.auth_rejection_time = std::time::Duration::ZERO;
    let peer = Peer {
        user: private(key),
        channels: HashMap::new(),
        probes: JoinSet::new(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut server = JoinSet::new();
    server.spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let running = russh::server::run_stream(Arc::new(config), stream, peer).await;
        running.expect("a session").await
    });
    let config = case.limit(ours::config(case.0.algorithms()));
    let host = openssh::key_for(hosts, case.0.host_key).clone();
    let session = ours::login(address, config, USER, credential, &[host]).await;
    let mut session = session.expect("a session");
    let input = case.input();
    let answer = ours::exec(&mut session, probe::COMMAND, input.clone()).await;
    answer.expect("an answer").check(&input);
    let negotiated = session.connection().transport().negotiated();
    case.0.check(negotiated.expect("a key exchange"));
}
