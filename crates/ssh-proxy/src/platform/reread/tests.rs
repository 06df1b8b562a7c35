//! Files that change, become broken, and go away; and what connections make of them.

use http_body_util::Full;
use hyper::Request;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::time::{advance, pause, resume};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::platform::http::client;
use crate::platform::testing::{Lines, Reply, Server, resolver};
use crate::platform::with_causes;

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        files.renew();
        files
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Replaces a file as deployments do it: another one takes its name.
    fn put(&self, name: &str, text: &str) {
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    /// A new certificate with its key.
    fn renew(&self) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["x".to_owned()]).unwrap();
        self.put("crt", &params.self_signed(&key).unwrap().pem());
        self.put("key", &key.serialize_pem());
    }

    fn recipe(&self) -> Recipe {
        Recipe {
            policy: Policy::Internal,
            roots: vec![KeyedFile::new("ca", &self.path("crt"))],
            identity: Some((
                KeyedFile::new("crt", &self.path("crt")),
                KeyedFile::new("key", &self.path("key")),
            )),
            sessions: 1,
            verify: true,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn files_that_change_are_reread_after_a_while() {
    let files = Files::new();
    let tls = Reread::<ClientConfig>::new(files.recipe()).unwrap();
    let first = tls.config();
    files.renew();
    assert!(Arc::ptr_eq(&first, &tls.config()));
    advance(RECHECK).await;
    let second = tls.config();
    assert!(!Arc::ptr_eq(&first, &second));
    advance(RECHECK).await;
    assert!(Arc::ptr_eq(&second, &tls.config()), "nothing has changed");
}

#[tokio::test(start_paused = true)]
async fn broken_files_leave_everything_as_it_was_and_are_told_once() {
    let (lines, _guard) = Lines::capture();
    let files = Files::new();
    let tls = Reread::<ClientConfig>::new(files.recipe()).unwrap();
    let first = tls.config();
    let key = fs::read_to_string(files.path("key")).unwrap();
    files.put("key", "junk");
    for _ in 0..3 {
        advance(RECHECK).await;
        assert!(Arc::ptr_eq(&first, &tls.config()));
    }
    let told = lines.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["message"], "ssh-proxy.certificates-not-reread");
    assert_eq!(told[0]["data"]["key"], "crt");
    files.put("key", &key);
    advance(RECHECK).await;
    assert!(!Arc::ptr_eq(&first, &tls.config()));
}

#[tokio::test(start_paused = true)]
async fn files_that_go_away_and_come_back_are_taken_over() {
    let files = Files::new();
    let tls = Reread::<ClientConfig>::new(files.recipe()).unwrap();
    let first = tls.config();
    fs::remove_file(files.path("crt")).unwrap();
    advance(RECHECK).await;
    assert!(Arc::ptr_eq(&first, &tls.config()));
    files.renew();
    advance(RECHECK).await;
    assert!(!Arc::ptr_eq(&first, &tls.config()));
}

#[test]
fn at_the_start_every_broken_file_is_told_with_its_key() {
    let files = Files::new();
    let mut recipe = files.recipe();
    recipe.roots.push(KeyedFile::new("ca2", "/does/not/exist"));
    recipe.identity = Some((
        KeyedFile::new("crt", &files.path("key")),
        KeyedFile::new("key", &files.path("key")),
    ));
    let broken = Reread::<ClientConfig>::new(recipe).unwrap_err();
    let keys: Vec<&str> = broken.iter().map(|broken| broken.key).collect();
    assert_eq!(keys, ["ca2", "crt"]);

    let mut recipe = files.recipe();
    let other = KeyPair::generate().unwrap();
    files.put("other", &other.serialize_pem());
    recipe.identity = Some((
        KeyedFile::new("crt", &files.path("crt")),
        KeyedFile::new("key", &files.path("other")),
    ));
    assert_eq!(
        Reread::<ClientConfig>::new(recipe).unwrap_err()[0].key,
        "key"
    );
}

/// A server that expired long ago, and its certificate.
async fn expired_server(replies: usize) -> (Server, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    server(&key, params, replies).await
}

/// A server with a certificate of its own.
async fn server(key: &KeyPair, params: CertificateParams, replies: usize) -> (Server, String) {
    let certificate = params.self_signed(key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let replies = vec![Reply::Json(200, "{}".to_owned()); replies];
    let server = Server::tls(TlsAcceptor::from(Arc::new(tls)), replies).await;
    (server, certificate.pem())
}

/// Whether `server` is spoken to.
async fn get(server: &Server, tls: &Arc<Reread>) -> Result<(), String> {
    let client = client(resolver(), Arc::clone(tls), 0);
    let request = Request::get(&server.url).body(Full::default()).unwrap();
    let response = client.request(request).await;
    response.map(|_| ()).map_err(|error| with_causes(&error))
}

fn trusting(path: &str, verify: bool) -> Arc<Reread> {
    let recipe = Recipe {
        policy: Policy::General,
        roots: vec![KeyedFile::new("ca", path)],
        identity: None,
        sessions: 1,
        verify,
    };
    Arc::new(Reread::new(recipe).unwrap())
}

#[tokio::test]
async fn servers_prove_their_name_unless_nobody_wants_to_know() {
    let (server, own) = expired_server(1).await;
    let files = Files::new();
    let stranger = trusting(&files.path("crt"), true);
    let error = get(&server, &stranger).await.unwrap_err();
    assert!(error.contains("invalid peer certificate"), "{error}");
    files.put("own", &own);
    let error = get(&server, &trusting(&files.path("own"), true)).await;
    assert!(error.unwrap_err().contains("xpired"));
    get(&server, &trusting(&files.path("crt"), false))
        .await
        .unwrap();
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_new_ca_is_trusted_by_the_next_connection() {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let (server, own) = server(&key, params, 1).await;
    let files = Files::new();
    let tls = trusting(&files.path("crt"), true);
    get(&server, &tls).await.unwrap_err();
    files.put("crt", &own);
    pause();
    advance(RECHECK).await;
    resume();
    get(&server, &tls).await.unwrap();
}
