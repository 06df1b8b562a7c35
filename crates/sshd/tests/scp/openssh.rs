//! OpenSSH's scp on the other side of the protocol, over pipes.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use sshd::scp::{self, Streams};
use tokio::process::Command;

use super::{Place, mode, modified, noise, set_mode, set_modified};

/// Joins one of our commands to one of OpenSSH's. Returns both exit statuses, and both error texts.
async fn join(ours: &str, theirs: &[&str]) -> (u32, i32, String) {
    let mut child = Command::new("scp")
        .args(theirs)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("scp is in the package openssh-client");
    let mut errors = Vec::new();
    let streams = Streams {
        input: child.stdout.take().unwrap(),
        output: child.stdin.take().unwrap(),
        errors: &mut errors,
    };
    let (status, output) =
        tokio::join!(scp::run(ours.as_bytes(), streams), child.wait_with_output());
    let output = output.unwrap();
    errors.extend(output.stderr);
    let errors = String::from_utf8(errors).unwrap();
    (status, output.status.code().unwrap(), errors)
}

/// A tree with something of everything, and read-only parts.
fn tree(place: &Place) {
    place.file("from/empty", b"", 0o600);
    place.file("from/a b", b"hello", 0o644);
    place.file("from/large", &noise(3_000_000), 0o755);
    place.file("from/read only/x", b"x", 0o444);
    place.directory("from/none", 0o711);
    for number in 0..300 {
        place.file(
            &format!("from/many/{number}"),
            number.to_string().as_bytes(),
            0o640,
        );
    }
    set_modified(&place.path("from/large"), 1_600_000_001);
    set_modified(&place.path("from/read only"), 1_600_000_002);
    set_mode(&place.path("from/read only"), 0o555);
}

fn assert_same_trees(place: &Place) {
    let mut pending = vec![String::new()];
    while let Some(name) = pending.pop() {
        let (from, to) = (
            place.path(format!("from{name}")),
            place.path(format!("to{name}")),
        );
        assert_eq!(mode(&from), mode(&to), "{name}");
        assert_eq!(modified(&from), modified(&to), "{name}");
        if from.is_file() {
            assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap(), "{name}");
            continue;
        }
        let count = |path| fs::read_dir(path).unwrap().count();
        assert_eq!(count(&from), count(&to), "{name}");
        for entry in fs::read_dir(&from).unwrap() {
            let entry = entry.unwrap().file_name();
            pending.push(format!("{name}/{}", entry.to_str().unwrap()));
        }
    }
    // So that whoever is not root can remove it.
    for side in ["from", "to"] {
        set_mode(&place.path(side).join("read only"), 0o755);
    }
}

#[tokio::test]
async fn a_tree_goes_to_openssh() {
    let place = Place::new();
    tree(&place);
    let command = format!("scp -r -p -f {}", place.text("from"));
    let outcome = join(&command, &["-r", "-p", "-t", &place.text("to")]).await;
    assert_eq!(outcome, (0, 0, String::new()));
    assert_same_trees(&place);
}

#[tokio::test]
async fn a_tree_comes_from_openssh() {
    let place = Place::new();
    tree(&place);
    let command = format!("scp -r -p -t {}", place.text("to"));
    let outcome = join(&command, &["-r", "-p", "-f", &place.text("from")]).await;
    assert_eq!(outcome, (0, 0, String::new()));
    assert_same_trees(&place);
}

#[tokio::test]
async fn what_openssh_cannot_write_is_passed_over() {
    let place = Place::new();
    place.file("from/x", &noise(1_000_000), 0o644);
    place.file("from/y", b"hi", 0o644);
    place.directory("to/from/x", 0o755);
    let command = format!("scp -r -f {}", place.text("from"));
    let (ours, _, errors) = join(&command, &["-r", "-t", &place.text("to")]).await;
    assert_eq!(ours, 1);
    assert!(errors.contains("Is a directory"), "{errors}");
    assert_eq!(fs::read(place.path("to/from/y")).unwrap(), b"hi");
}

#[tokio::test]
async fn what_we_cannot_write_openssh_passes_over() {
    let place = Place::new();
    for name in ["a full", "b directory", "c file"] {
        place.file(&format!("from/{name}"), &noise(1_000_000), 0o644);
    }
    place.file("from/d directory/x", b"", 0o644);
    place.file("from/e", b"hi", 0o644);
    symlink(
        "/dev/full",
        place.directory("to/from", 0o755).join("a full"),
    )
    .unwrap();
    place.directory("to/from/b directory", 0o755);
    place.file("to/from/d directory", b"", 0o644);
    let command = format!("scp -r -t {}", place.text("to"));
    let (ours, theirs, _) = join(&command, &["-r", "-f", &place.text("from")]).await;
    assert_eq!((ours, theirs), (1, 1));
    assert!(fs::read(place.path("to/from/c file")).unwrap() == noise(1_000_000));
    assert_eq!(fs::read(place.path("to/from/e")).unwrap(), b"hi");
}

#[tokio::test]
async fn what_we_do_not_have_openssh_passes_over() {
    let place = Place::new();
    place.file("x", b"hi", 0o644);
    place.directory("to", 0o755);
    let (no, x) = (place.text("no"), place.text("x"));
    let (ours, _, _) = join(&format!("scp -f {no} {x}"), &["-t", &place.text("to")]).await;
    assert_eq!(ours, 1);
    assert_eq!(fs::read(place.path("to/x")).unwrap(), b"hi");
}

#[tokio::test]
async fn what_openssh_does_not_have_we_pass_over() {
    let place = Place::new();
    place.file("x", b"hi", 0o644);
    place.directory("to", 0o755);
    let (no, x) = (place.text("no"), place.text("x"));
    let (ours, theirs, _) =
        join(&format!("scp -d -t {}", place.text("to")), &["-f", &no, &x]).await;
    assert_eq!((ours, theirs), (1, 1));
    assert_eq!(fs::read(place.path("to/x")).unwrap(), b"hi");
}

#[tokio::test]
async fn a_newline_in_a_name_of_openssh_is_another_name() {
    let place = Place::new();
    place.file("from/a\nb", b"hi", 0o644);
    let command = format!("scp -r -t {}", place.text("to"));
    let outcome = join(&command, &["-r", "-f", &place.text("from")]).await;
    assert_eq!(outcome, (0, 0, String::new()));
    assert_eq!(fs::read(place.path("to/a\\^Jb")).unwrap(), b"hi");
}
