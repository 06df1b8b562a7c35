//! Unix sockets and their files (OpenSSH PROTOCOL section 2.4).

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener as StdUnixListener;

use ssh_proto::connection::forward::{ForwardedStreamlocal, StreamlocalForward};
use tokio::net::UnixStream;

use crate::rig::{Rig, assert_joined, bytes};

#[tokio::test]
async fn a_forwarded_unix_socket_is_the_users_own() {
    let mut rig = Rig::new();
    let path = rig.path("socket");
    assert!(rig.listen_unix(&path).await);
    let found = fs::symlink_metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o7777, 0o600);

    let client = UnixStream::connect(&path).await.unwrap();
    let incoming = rig.incoming().await;
    assert_eq!(incoming.kind, ForwardedStreamlocal::NAME);
    let fields = ForwardedStreamlocal::parse(&incoming.payload).unwrap();
    assert_eq!(fields.path, bytes(&path));
    assert_joined(incoming.stream, client).await;

    assert!(rig.cancel_unix(&path).await);
    assert!(fs::symlink_metadata(&path).is_err());
    assert!(!rig.cancel_unix(&path).await);
}

#[tokio::test]
async fn nothing_is_overwritten_by_a_forward() {
    let mut rig = Rig::new();
    let file = rig.path("file");
    fs::write(&file, "precious").unwrap();
    let link = rig.path("link");
    symlink("nowhere", &link).unwrap();
    let dead = rig.path("dead");
    drop(StdUnixListener::bind(&dead).unwrap());
    for path in [&file, &link, &dead] {
        assert!(!rig.listen_unix(path).await, "{path:?}");
        assert!(fs::symlink_metadata(path).is_ok(), "{path:?}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"precious");
}

#[tokio::test]
async fn paths_that_are_none_fail() {
    let mut rig = Rig::new();
    for path in [&b""[..], b"\0abstract", b"a\0b", &[b'x'; 108]] {
        let payload = StreamlocalForward { path }.encode();
        assert_eq!(rig.request(StreamlocalForward::NAME, &payload).await, None);
    }
    assert!(!rig.listen_unix(&rig.path("no/such/directory")).await);
}

#[tokio::test]
async fn what_took_the_place_of_a_socket_stays() {
    let mut rig = Rig::new();
    let path = rig.path("socket");
    assert!(rig.listen_unix(&path).await);
    fs::remove_file(&path).unwrap();
    let _other = StdUnixListener::bind(&path).unwrap();
    assert!(rig.cancel_unix(&path).await);
    assert!(path.exists());
}
