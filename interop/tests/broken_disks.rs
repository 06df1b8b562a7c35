//! Disks that are full, read-only or not the user's: each copy is told what is wrong, and the daemon
//! and all that is in order go on.

mod support;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use devcell::CellOptions;
use devcell::rig::Binaries;
use interop::process::{self, Output};
use support::files;
use support::target::{Target, remote};

/// What a daemon finds in its directory: a disk of 1 MiB, one that cannot be written to, and what
/// belongs to somebody else. The daemon itself is nobody's: root would be refused nothing.
const DISKS: &str = r#"
    set -e
    umask 022
    mkdir small fixed theirs
    mount -t tmpfs -o size=1m,mode=777 tmpfs small
    mount -t tmpfs -o mode=777 tmpfs fixed
    echo there >fixed/file
    mount -o remount,ro fixed
    echo there >theirs/file
    chmod 600 theirs/file
    chown 65534:65534 .
    chmod 711 ..
    exec setpriv --reuid 65534 --regid 65534 --clear-groups "$0" "$@"
"#;

/// A daemon with these disks, in a mount namespace that ends with it.
async fn target() -> Target {
    let programs = Binaries::find().expect("programs");
    // The way to it may be closed for others; a copy in a place of its own is not.
    let place = tempfile::tempdir().expect("a directory");
    files::set_mode(place.path(), 0o755);
    let daemon = place.path().join("diego-sshd");
    fs::copy(&programs.diego_sshd, &daemon).expect("the daemon");
    let words = ["unshare", "--mount", "sh", "-c", DISKS];
    let words = words.into_iter().map(OsString::from);
    let target = Target::proxied_with(CellOptions {
        instances: 1,
        daemon_command: words.chain([daemon.into()]).collect(),
        ..CellOptions::default()
    });
    target.await
}

async fn scp(target: &Target, words: &[&str]) -> Output {
    let mut scp = target.scp();
    scp.args(words);
    process::run(scp, b"").await
}

async fn sftp(target: &Target, batch: &str) -> Output {
    process::run(target.sftp(), batch.as_bytes()).await
}

/// The copy fails, with this in what the user sees.
fn assert_refused(output: &Output, told: &str) {
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    assert!(output.stderr.contains(told), "{}", output.stderr);
}

/// Copies work in both protocols, on the disk that was full too.
async fn assert_works(target: &Target, there: &str) {
    files::file(&target.dir.join("good"), 100_000);
    for protocol in ["-O", "-s"] {
        let up = scp(target, &[protocol, "good", &remote(there)]).await;
        assert!(up.status.success(), "{}", up.stderr);
        let back = scp(target, &[protocol, &remote(there), "back"]).await;
        assert!(back.status.success(), "{}", back.stderr);
        files::assert_same(&target.dir.join("good"), &target.dir.join("back"));
        target.sh(&format!("rm {there}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_takes_files_again_when_there_is_room() {
    let target = target().await;
    files::file(&target.dir.join("large"), 3 << 20);
    let put = scp(&target, &["-O", "large", &remote("small/file")]).await;
    assert_refused(&put, "scp: small/file: no space left on device");
    // The others of the same command still come.
    target.sh("rm small/file").await;
    fs::write(target.dir.join("little"), "little").expect("a file");
    let both = scp(&target, &["-O", "large", "little", &remote("small")]).await;
    assert_refused(&both, "no space left on device");
    target.sh("rm small/large").await;
    let put = sftp(&target, "put large small/file\n").await;
    assert_refused(&put, "small/file\": Failure");
    // What fitted is there, as it would be on any machine.
    let size = target.sh("wc -c <small/file").await;
    assert!((1..=1 << 20).contains(&size.trim().parse::<u32>().expect("a number")));
    // The session of a batch goes on.
    let batch = "-put large small/more\nrm small/file\n-rm small/more\nput little small/little\n";
    let put = sftp(&target, batch).await;
    assert!(put.status.success(), "{}", put.stderr);
    assert_eq!(target.sh("cat small/little").await, "little");
    assert_works(&target, "small/good").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_be_written_to_is_told_and_can_be_read() {
    let target = target().await;
    files::file(&target.dir.join("new"), 1000);
    for path in ["fixed/new", "fixed/file"] {
        let put = scp(&target, &["-O", "new", &remote(path)]).await;
        assert_refused(&put, &format!("scp: {path}: read-only file system"));
        let put = sftp(&target, &format!("put new {path}\n")).await;
        assert_refused(&put, "Failure");
    }
    for command in ["mkdir fixed/d", "rm fixed/file", "chmod 600 fixed/file"] {
        assert_refused(&sftp(&target, &format!("{command}\n")).await, "Failure");
    }
    for protocol in ["-O", "-s"] {
        let get = scp(&target, &[protocol, &remote("fixed/file"), "back"]).await;
        assert!(get.status.success(), "{}", get.stderr);
        assert_eq!(read(&target.dir.join("back")), "there\n");
    }
    assert_works(&target, "good").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_others_are_refused() {
    let target = target().await;
    files::file(&target.dir.join("new"), 1000);
    for path in ["theirs/new", "theirs/file"] {
        let put = scp(&target, &["-O", "new", &remote(path)]).await;
        assert_refused(&put, &format!("scp: {path}: permission denied"));
        let put = sftp(&target, &format!("put new {path}\n")).await;
        assert_refused(&put, "Permission denied");
    }
    let get = scp(&target, &["-O", &remote("theirs/file"), "back"]).await;
    assert_refused(&get, "theirs/file");
    assert_refused(&get, "permission denied");
    let get = sftp(&target, "get theirs/file\n").await;
    assert_refused(&get, "Permission denied");
    for command in ["rm theirs/file", "rename theirs/file x", "mkdir theirs/d"] {
        let refused = sftp(&target, &format!("{command}\n")).await;
        assert_refused(&refused, "Permission denied");
    }
    let missing = sftp(&target, "put new nowhere/new\n").await;
    assert_refused(&missing, "No such file or directory");
    assert_works(&target, "good").await;
}

/// The kernel tells a process of a file that is too long by a signal that ends it. The limit counts the
/// output of commands too.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_longer_than_the_process_may_write_is_told() {
    let program = Binaries::find().expect("programs").diego_sshd;
    let limit = ["prlimit", "--fsize=1000000"].map(OsString::from);
    let target = Target::proxied_with(CellOptions {
        instances: 1,
        daemon_command: limit.into_iter().chain([program.into()]).collect(),
        ..CellOptions::default()
    });
    let target = target.await;
    files::file(&target.dir.join("large"), 3 << 20);
    let put = scp(&target, &["-O", "large", &remote("file")]).await;
    assert_refused(&put, "scp: file: file too large");
    let put = sftp(&target, "put large file\n").await;
    assert_refused(&put, "file\": Failure");
    assert_works(&target, "good").await;
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a text")
}
