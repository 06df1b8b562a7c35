//! Clients written in other languages, from `interop/clients`, on libraries that `scripts/peers`
//! prepares. Each does one operation after the other and prints a line about every one.
//!
//! What the operations are is in the clients; which of them there have to be is left to the tests.

use std::fs;
use std::path::{Path, PathBuf};

use interop::openssh::peers;
use interop::process::Process;
use serde_json::json;
use tokio::process::Command;

use super::target::{HOST, Target};

/// Starts `command`, a client of `target`, and checks that it did `operations`, in this order, all of
/// them well and no others.
///
/// # Panics
/// It did not. The message names those that failed, and why.
pub async fn all_succeed(target: &Target, mut command: Command, operations: &[&str]) {
    command.arg(write_login(target));
    let client = Process::start(command);
    for name in operations {
        // Each has its own time; what hangs is given up by the client itself. Clients that end early
        // are found out below.
        let _ = client.stdout.has(&format!("{name}: ")).await;
    }
    let output = client.finish().await;
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let (names, verdicts): (Vec<_>, Vec<_>) = (lines.lines())
        .map(|line| line.split_once(": ").unwrap_or((line, "")))
        .unzip();
    if verdicts.iter().any(|verdict| *verdict != "ok") || names != operations {
        eprintln!("{}{}", output.stderr, target.cell().proxy().log());
        let failed = lines.lines().filter(|line| !line.ends_with(": ok"));
        let failed: Vec<_> = failed.collect();
        let missing = operations.iter().filter(|name| !names.contains(name));
        let missing: Vec<_> = missing.collect();
        panic!("failed: {failed:#?}, missing: {missing:?}, done: {names:?}");
    }
    assert!(output.status.success(), "{}", output.stderr);
}

/// A program of `scripts/peers`, or a file in it.
///
/// # Panics
/// It is not there.
pub fn prepared(path: &str) -> PathBuf {
    let path = peers().join(path);
    assert!(path.exists(), "{path:?} is missing: run scripts/peers once");
    path
}

/// A file of `interop/clients`.
pub fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(path)
}

/// Writes what a client is told: where to log in and how, and where its files are.
fn write_login(target: &Target) -> PathBuf {
    let dir = target.dir.join("operations");
    fs::create_dir(&dir).expect("a directory");
    let login = json!({
        "host": HOST,
        "port": target.port,
        "user": target.user,
        "host_key": target.host_key().authorized_line(),
        "password": target.password(),
        "key": target.key(),
        "dir": dir,
    });
    let path = target.dir.join("login.json");
    fs::write(&path, login.to_string()).expect("a file");
    path
}
