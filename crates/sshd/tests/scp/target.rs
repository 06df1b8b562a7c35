//! `scp -t`: where things go, and what a client cannot make it do.

use std::fs;
use std::os::unix::fs::symlink;

use tokio::io::AsyncWriteExt as _;

use super::{Outcome, Place, mode, modified, noise, run, set_mode, start, umask};

async fn to(place: &Place, target: &str, input: impl AsRef<[u8]>) -> Outcome {
    run(format!("scp -t {}", place.text(target)), input).await
}

async fn preserving(place: &Place, target: &str, input: impl AsRef<[u8]>) -> Outcome {
    run(format!("scp -p -t {}", place.text(target)), input).await
}

fn contents(place: &Place, name: &str) -> String {
    fs::read_to_string(place.path(name)).unwrap()
}

#[tokio::test]
async fn nothing_is_asked_for_nothing() {
    let place = Place::new();
    to(&place, "x", "").await.is("0", 0);
    assert!(!place.path("x").exists());
}

#[tokio::test]
async fn a_file_gets_the_name_of_the_target() {
    let place = Place::new();
    to(&place, "x", "C0644 5 other\nhello\0").await.is("000", 0);
    assert_eq!(contents(&place, "x"), "hello");
}

#[tokio::test]
async fn in_a_directory_files_get_their_own_names() {
    let place = Place::new();
    let outcome = to(&place, "", "C0644 5 a b\nhello\0C0600 0 y\n\0").await;
    outcome.is("00000", 0);
    assert_eq!(contents(&place, "a b"), "hello");
    assert_eq!(contents(&place, "y"), "");
}

#[tokio::test]
async fn names_are_bytes() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = Place::new();
    to(&place, "", b"C0644 2 \xff\xfe\nhi\0").await.is("000", 0);
    let name = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    assert_eq!(fs::read(place.path(name)).unwrap(), b"hi");
}

#[tokio::test]
async fn modes_are_cut_by_the_umask() {
    let place = Place::new();
    to(&place, "", "C0777 0 x\n\0C0400 0 y\n\0C7777 0 z\n\0")
        .await
        .is("0000000", 0);
    assert_eq!(mode(place.path("x")), 0o777 & !umask());
    assert_eq!(mode(place.path("y")), 0o400 & !umask());
    assert_eq!(mode(place.path("z")), 0o777 & !umask());
}

#[tokio::test]
async fn an_existing_file_keeps_its_mode() {
    let place = Place::new();
    place.file("x", b"longer than before", 0o604);
    to(&place, "x", "C0777 2 x\nhi\0").await.is("000", 0);
    assert_eq!(contents(&place, "x"), "hi");
    assert_eq!(mode(place.path("x")), 0o604);
}

#[tokio::test]
async fn with_p_modes_are_set() {
    let place = Place::new();
    place.file("x", b"longer than before", 0o604);
    preserving(&place, "", "C0777 2 x\nhi\0C4751 2 y\nhi\0")
        .await
        .is("00000", 0);
    assert_eq!(mode(place.path("x")), 0o777);
    assert_eq!(mode(place.path("y")), 0o4751);
}

#[tokio::test]
async fn times_are_set_even_without_p() {
    let place = Place::new();
    let input = "T1600000001 0 1600000002 0\nC0644 2 x\nhi\0C0644 2 y\nhi\0";
    to(&place, "", input).await.is("000000", 0);
    assert_eq!(modified(place.path("x")), 1_600_000_001);
    let metadata = fs::metadata(place.path("x")).unwrap();
    assert_eq!(
        std::os::unix::fs::MetadataExt::atime(&metadata),
        1_600_000_002
    );
    // They are the next file's, not those of all that follow.
    assert_ne!(modified(place.path("y")), 1_600_000_001);
}

#[tokio::test]
async fn directories_are_made_and_filled() {
    let place = Place::new();
    let input = "D0755 0 d\nC0644 2 x\nhi\0D0700 0 e\nE\nE\nC0644 0 z\n\0";
    to(&place, "", input).await.is("000000000", 0);
    assert_eq!(contents(&place, "d/x"), "hi");
    assert!(place.path("d/e").is_dir());
    assert_eq!(mode(place.path("d/e")), 0o700 & !umask());
    assert!(place.path("z").is_file());
}

#[tokio::test]
async fn a_missing_target_becomes_the_directory() {
    let place = Place::new();
    to(&place, "new", "D0755 0 d\nC0644 2 x\nhi\0E\n")
        .await
        .is("00000", 0);
    assert_eq!(contents(&place, "new/x"), "hi");
    assert!(!place.path("new/d").exists());
}

#[tokio::test]
async fn directories_without_rights_can_be_filled() {
    let place = Place::new();
    to(&place, "", "D0500 0 d\nC0644 2 x\nhi\0E\n")
        .await
        .is("00000", 0);
    assert_eq!(contents(&place, "d/x"), "hi");
    assert_eq!(mode(place.path("d")), 0o500);
    set_mode(&place.path("d"), 0o700);
}

#[tokio::test]
async fn directories_get_times_and_modes_only_with_p() {
    let place = Place::new();
    place.directory("d", 0o700);
    let input = "T1600000001 0 1600000002 0\nD0751 0 d\nC0644 0 x\n\0E\n";
    to(&place, "", input).await.is("000000", 0);
    assert_ne!(modified(place.path("d")), 1_600_000_001);
    assert_eq!(mode(place.path("d")), 0o700);
    preserving(&place, "", input).await.is("000000", 0);
    assert_eq!(modified(place.path("d")), 1_600_000_001);
    assert_eq!(mode(place.path("d")), 0o751);
}

#[tokio::test]
async fn d_wants_a_directory() {
    let place = Place::new();
    place.file("x", b"", 0o644);
    for (name, reason) in [
        ("no", "no such file or directory"),
        ("x", "not a directory"),
    ] {
        let outcome = run(format!("scp -d -t {}", place.text(name)), "C0644 0 x\n\0").await;
        outcome.is(&format!("1scp: {}: {reason}\n", place.text(name)), 1);
    }
    run(format!("scp -td {}", place.text("")), "")
        .await
        .is("0", 0);
}

#[tokio::test]
async fn unknown_messages_end_it() {
    let place = Place::new();
    for (input, text) in [
        ("Z", "Z"),
        ("E\n", "E"),
        ("\nC0644 0 x\n", "\\n"),
        ("T1 0 1 0\nE\n", "E"),
        ("T1 0 1 0\nT1 0 1 0\n", "T"),
    ] {
        let yes = if input.starts_with('T') { "00" } else { "0" };
        let expected = format!("{yes}1scp: unexpected message type: {text}\n");
        to(&place, "", input).await.is(&expected, 1);
    }
    let outcome = to(&place, "", b"\xff").await;
    assert_eq!(
        outcome.output,
        "\0\x01scp: unexpected message type: ÿ\n".as_bytes()
    );
}

#[tokio::test]
async fn names_that_lead_elsewhere_end_it() {
    let place = Place::new();
    place.directory("d", 0o755);
    let names: [&[u8]; 9] = [
        b"../x",
        b"/etc/x",
        b"..",
        b".",
        b"",
        b"x/",
        b"a/../../x",
        b"x\0y",
        b"\0",
    ];
    for kind in ["C0644 0 ", "D0755 0 "] {
        for name in names {
            let input = [kind.as_bytes(), name, b"\n\0C0644 0 y\n\0E\n"].concat();
            for target in ["d", "new"] {
                let expected = "01scp: protocol error: \
                                a name leads to another place or is no name at all\n";
                to(&place, target, &input).await.is(expected, 1);
            }
        }
    }
    assert_eq!(fs::read_dir(place.path("d")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 1);
}

#[tokio::test]
async fn malformed_lines_end_it() {
    let place = Place::new();
    for (line, error) in [
        ("C0644 -1 x\n", "a size is not a number of bytes"),
        (
            "C0644 99999999999999999999 x\n",
            "a size is not a number of bytes",
        ),
        (
            "C0644 9223372036854775808 x\n",
            "a size is not a number of bytes",
        ),
        ("C0844 1 x\n", "a mode is not octal"),
        ("C0644\n", "a name is missing"),
        ("C\n", "a name is missing"),
        ("T1 2 3\n", "times are not four numbers"),
    ] {
        let outcome = to(&place, "", line).await;
        outcome.is(&format!("01scp: protocol error: {error}\n"), 1);
    }
    let outcome = to(&place, "", "D0755 0 d\nE?\n").await;
    outcome.is(
        "001scp: protocol error: the end of a directory has more to it\n",
        1,
    );
}

#[tokio::test]
async fn long_lines_end_it() {
    let place = Place::new();
    let line = ["C0644 0 ", &"x".repeat(1 << 20)].concat();
    to(&place, "", &line)
        .await
        .is("01scp: protocol error: a line is too long\n", 1);
    // A name can be too long for the disk only, which is no fault of the protocol.
    let name = "x".repeat(10_000);
    let path = place.text(&name);
    let outcome = to(&place, "", format!("C0644 0 {name}\nC0644 0 y\n\0")).await;
    outcome.is(&format!("01scp: {path}: file name too long\n00"), 1);
}

#[tokio::test]
async fn lines_that_do_not_end_are_not_obeyed() {
    let place = Place::new();
    for line in ["C0644 0 x", "C", "D0755 0 x", "T1 0 1 0", "T1 0 1 0\n"] {
        assert_eq!(to(&place, "", line).await.status, 1);
    }
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 0);
}

#[tokio::test]
async fn depth_is_limited() {
    let place = Place::new();
    let outcome = to(&place, "", "D0755 0 d\n".repeat(10_000)).await;
    assert_eq!(outcome.status, 1);
    let yes = outcome.output.iter().take_while(|&&byte| byte == 0);
    assert_eq!(yes.count(), 1 + 512);
    let warnings = outcome.output.iter().filter(|&&byte| byte == 1);
    assert_eq!(warnings.count(), 10_000 - 512);
}

#[tokio::test]
async fn what_cannot_be_opened_is_told_and_the_rest_arrives() {
    let place = Place::new();
    place.directory("x", 0o755);
    place.file("d", b"", 0o644);
    let (x, d) = (place.text("x"), place.text("d"));
    let outcome = to(&place, "", "C0644 5 x\nD0755 0 d\nC0644 2 y\nhi\0").await;
    let expected = format!("01scp: {x}: is a directory\n1scp: {d}: not a directory\n00");
    outcome.is(&expected, 1);
    assert_eq!(contents(&place, "y"), "hi");
}

#[tokio::test]
async fn a_missing_directory_is_told() {
    let place = Place::new();
    let path = place.text("no/x");
    let outcome = to(&place, "no/x", "C0644 5 x\n").await;
    outcome.is(&format!("01scp: {path}: no such file or directory\n"), 1);
    let outcome = to(&place, "no/x", "D0755 0 x\n").await;
    outcome.is(&format!("01scp: {path}: no such file or directory\n"), 1);
}

#[tokio::test]
async fn what_cannot_be_written_is_read_to_its_end() {
    let place = Place::new();
    symlink("/dev/full", place.path("full")).unwrap();
    let full = place.text("full");
    for size in [1, 1_000_000] {
        let contents = noise(size);
        let line = format!("C0644 {size} full\n");
        let input = [line.as_bytes(), &contents, b"\0C0644 2 y\nhi\0"].concat();
        let outcome = to(&place, "", input).await;
        outcome.is(&format!("001scp: {full}: no space left on device\n00"), 1);
    }
    assert_eq!(contents(&place, "y"), "hi");
}

#[tokio::test]
async fn devices_are_written_to_and_left_as_they_are() {
    let before = mode("/dev/null");
    let outcome = run("scp -p -t /dev/null", "T1 0 1 0\nC0600 5 x\nhello\0").await;
    outcome.is("0000", 0);
    assert_eq!(mode("/dev/null"), before);
}

#[tokio::test]
async fn a_fifo_is_not_waited_for() {
    let place = Place::new();
    let fifo = place.fifo("fifo");
    let expected = format!("01scp: {}: not a regular file\n", fifo.display());
    to(&place, "fifo", "C0644 5 x\n").await.is(&expected, 1);
}

#[tokio::test]
async fn large_files_arrive_as_they_are() {
    let place = Place::new();
    for size in [
        256 * 1024 - 1,
        256 * 1024,
        256 * 1024 + 1,
        3_000_000,
        2_000_000,
    ] {
        let contents = noise(size);
        let line = format!("C0644 {size} x\n");
        let input = [line.as_bytes(), &contents, b"\0"].concat();
        to(&place, "x", input).await.is("000", 0);
        assert!(fs::read(place.path("x")).unwrap() == contents, "{size}");
    }
}

#[tokio::test]
async fn what_came_before_a_disconnect_is_kept() {
    let place = Place::new();
    let contents = noise(300_000);
    let input = [b"C0644 400000 x\n", contents.as_slice()].concat();
    to(&place, "x", input).await.is("00", 1);
    assert!(fs::read(place.path("x")).unwrap() == contents);
}

#[tokio::test]
async fn the_clients_own_trouble_is_a_failure() {
    let place = Place::new();
    // A file that it could not read at all, and one that it could not read to its end.
    let outcome = to(
        &place,
        "",
        "\x01scp: z: denied\nC0644 2 x\nhi\x01scp: x: lost\n",
    )
    .await;
    assert_eq!(outcome.output, [0; 3]);
    assert_eq!(
        (outcome.errors.as_str(), outcome.status),
        ("scp: x: lost\n", 1)
    );
    let outcome = to(&place, "", "\x02scp: lost\nC0644 2 y\nhi\0").await;
    outcome.is("0", 1);
    assert!(!place.path("y").exists());
}

#[tokio::test]
async fn more_bytes_than_announced_end_it() {
    let place = Place::new();
    let outcome = to(&place, "x", "C0644 2 x\nhello\0").await;
    assert_eq!(outcome.output, [0; 2]);
    assert_eq!(
        (outcome.errors.as_str(), outcome.status),
        ("scp: unexpected answer: l\n", 1)
    );
}

#[tokio::test]
async fn a_directory_that_does_not_end_is_a_failure() {
    let place = Place::new();
    to(&place, "", "D0755 0 d\nC0644 0 x\n\0")
        .await
        .is("0000", 1);
}

#[tokio::test]
async fn it_ends_with_its_client() {
    let place = Place::new();
    let mut running = start(format!("scp -t {}", place.text("")));
    running.expect(&[0]).await;
    running
        .client
        .write_all(b"C0644 10 x\nhello")
        .await
        .unwrap();
    running.expect(&[0]).await;
    drop(running.client);
    assert_eq!(running.task.await.unwrap(), 1);
    assert_eq!(contents(&place, "x"), "hello");
}
