//! Key exchanges in great number against OpenSSH, which computes everything by itself: a secret that begins
//! with a zero byte, or with a bit that makes an `mpint` longer, comes once in 256 or in 2 of them, and with
//! it keys that only one side has if it is encoded wrongly.
//!
//! The long form (`scripts/soak`) does 100,000 of each method. What each of them has to be in numbers is
//! tested in `ssh-proto`.

mod support;

use std::sync::Arc;

use interop::choice::Rekeys;
use interop::openssh::{Files, HOST_ARGUMENT, Key, OpenSsh};
use interop::probe;
use interop::process;
use interop::server::{self, Door, Server};
use ssh_proto::algorithm::Kex;
use support::soak;

/// What a client says when a key exchange is through.
const NEWKEYS: &str = "SSH2_MSG_NEWKEYS received";

/// Bytes after which OpenSSH wants new keys: after each packet.
const EACH_PACKET: &str = "-oRekeyLimit=16";

/// What goes both ways on one connection, and the least number of key exchanges that it takes.
const DATA: usize = 2 * 1024 * 1024;
const LEAST: usize = 32;

async fn many(release: OpenSsh, kex: Kex) {
    let wanted = if soak() { 100_000 } else { 1_000 };
    let hosts = [Key::generate(&["-t", "ed25519"]).await];
    let config = Arc::new(Rekeys::Theirs.limit(server::config(&hosts)));
    let input = probe::data(DATA);
    let mut done = 0;
    while done < wanted {
        let mut server = Server::start(Arc::clone(&config), Door::Open).await;
        let files = Files::of_client(release, &hosts, None);
        let mut ssh = release.client(server.address, &files);
        ssh.args([EACH_PACKET, &format!("-oKexAlgorithms={}", kex.name())]);
        ssh.args(["-l", "user", HOST_ARGUMENT, probe::COMMAND]);
        let output = process::run(ssh, &input).await;
        let status = output.status.code();
        assert_eq!(status, i32::try_from(probe::STATUS).ok(), "{done} done");
        assert!(output.stdout == input, "other data after {done}");
        let exchanges = output.stderr.matches(NEWKEYS).count();
        assert!(exchanges >= LEAST, "{exchanges} key exchanges");
        done += exchanges;
        let served = server.served().await.expect("let in");
        assert_eq!(served.negotiated.kex, kex);
    }
    println!("{}: {done} key exchanges", kex.name());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_curve25519() {
    many(OpenSsh::Installed, Kex::Curve25519).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_ml_kem() {
    many(OpenSsh::Ten, Kex::MlKem768X25519).await;
}
