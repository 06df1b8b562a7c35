//! `scp -f`: what is sent, and what becomes of what cannot be.

use std::fs;
use std::os::unix::fs::symlink;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Place, noise, run, set_modified, start};

/// More answers than any of these tests needs.
const YES: [u8; 4096] = [0; 4096];

#[tokio::test]
async fn a_file_is_announced_sent_and_confirmed() {
    let place = Place::new();
    place.file("x", b"hello", 0o640);
    let outcome = run(format!("scp -f {}", place.text("x")), [0; 3]).await;
    outcome.is("C0640 5 x\nhello0", 0);
}

#[tokio::test]
async fn an_empty_file_has_a_confirmation_too() {
    let place = Place::new();
    place.file("x", b"", 0o4755);
    let outcome = run(format!("scp -f {}", place.text("x")), [0; 3]).await;
    outcome.is("C4755 0 x\n0", 0);
}

#[tokio::test]
async fn times_go_before_files_and_directories() {
    let place = Place::new();
    let file = place.file("d/x", b"hi", 0o600);
    let directory = place.directory("d", 0o750);
    set_modified(&file, 1_600_000_001);
    set_modified(&directory, 1_600_000_002);
    let outcome = run(format!("scp -rpf {}", place.text("d")), YES).await;
    let expected = "T1600000002 0 1600000002 0\nD0750 0 d\n\
                    T1600000001 0 1600000001 0\nC0600 2 x\nhi0E\n";
    outcome.is(expected, 0);
}

#[tokio::test]
async fn directories_are_sent_in_the_order_of_names() {
    let place = Place::new();
    for name in ["d/b", "d/a/x", "d/c"] {
        place.file(name, b"", 0o644);
    }
    place.directory("d", 0o755);
    place.directory("d/a", 0o700);
    let expected = "D0755 0 d\nD0700 0 a\nC0644 0 x\n0E\nC0644 0 b\n0C0644 0 c\n0E\n";
    for slash in ["", "/", "///"] {
        let command = format!("scp -r -f {}{slash}", place.text("d"));
        run(command, YES).await.is(expected, 0);
    }
}

#[tokio::test]
async fn large_directories_arrive_whole() {
    let place = Place::new();
    for number in 0..1000 {
        place.file(&format!("d/{number}"), b"", 0o644);
    }
    let outcome = run(format!("scp -r -f {}", place.text("d")), YES).await;
    let lines = outcome.output.split(|&byte| byte == b'\n');
    assert_eq!(lines.filter(|line| line.ends_with(b"C0644 0 0")).count(), 1);
    let output = String::from_utf8(outcome.output).unwrap();
    for number in 0..1000 {
        assert!(output.contains(&format!("C0644 0 {number}\n")), "{number}");
    }
    assert_eq!(outcome.status, 0);
}

#[tokio::test]
async fn what_is_missing_is_told_and_the_rest_is_sent() {
    let place = Place::new();
    place.file("x", b"", 0o644);
    let (missing, present) = (place.text("missing"), place.text("x"));
    let outcome = run(format!("scp -f {missing} {present}"), [0; 3]).await;
    let expected = format!("1scp: stat {missing}: no such file or directory\nC0644 0 x\n0");
    outcome.is(&expected, 1);
}

#[tokio::test]
async fn directories_are_sent_only_if_asked_for() {
    let place = Place::new();
    place.directory("d", 0o755);
    let outcome = run(format!("scp -f {}", place.text("d")), [0]).await;
    outcome.is("1scp: d: not a regular file\n", 1);
}

#[tokio::test]
async fn pipes_and_devices_are_no_files() {
    let place = Place::new();
    let fifo = place.fifo("fifo");
    let outcome = run(format!("scp -f {} /dev/zero", fifo.display()), [0]).await;
    let expected = "1scp: fifo: not a regular file\n1scp: zero: not a regular file\n";
    outcome.is(expected, 1);
}

#[tokio::test]
async fn patterns_are_expanded() {
    let place = Place::new();
    for name in ["a.log", "b.log", ".c.log", "d.txt"] {
        place.file(name, b"", 0o644);
    }
    let outcome = run(format!("scp -f {}", place.text("*.log")), YES).await;
    outcome.is("C0644 0 .c.log\n0C0644 0 a.log\n0C0644 0 b.log\n0", 0);
    let outcome = run(format!("scp -f '{}'", place.text("[b-d].t?t")), YES).await;
    outcome.is("C0644 0 d.txt\n0", 0);
}

#[tokio::test]
async fn what_matches_nothing_is_a_name() {
    let place = Place::new();
    place.file("[x", b"", 0o644);
    place.file("a[0]", b"", 0o644);
    let outcome = run(
        format!("scp -f {} {}", place.text("[x"), place.text("a[0]")),
        YES,
    )
    .await;
    outcome.is("C0644 0 [x\n0C0644 0 a[0]\n0", 0);
    let missing = place.text("*.no");
    let outcome = run(format!("scp -f {missing}"), YES).await;
    outcome.is(
        &format!("1scp: stat {missing}: no such file or directory\n"),
        1,
    );
}

#[tokio::test]
async fn names_are_bytes() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = Place::new();
    let name = std::ffi::OsStr::from_bytes(b"\xff\xfe x");
    fs::write(place.path(name), "").unwrap();
    let command = [b"scp -f '", place.path(name).as_os_str().as_bytes(), b"'"].concat();
    let outcome = run(command, YES).await;
    assert!(outcome.output.ends_with(b" 0 \xff\xfe x\n\0"));
    assert_eq!(outcome.status, 0);
}

/// It would be two lines of the protocol.
#[tokio::test]
async fn a_newline_in_a_name_is_refused() {
    let place = Place::new();
    place.file("d/a\nC0644 5 b", b"", 0o644);
    place.directory("d", 0o755);
    let outcome = run(format!("scp -r -f {}", place.text("d")), YES).await;
    let expected = "D0755 0 d\n1scp: a?C0644 5 b: the name has a newline in it\nE\n";
    outcome.is(expected, 1);
}

#[tokio::test]
async fn a_newline_in_a_missing_name_does_not_end_the_warning() {
    let outcome = run("scp -f '/nothing\nhere'", [0]).await;
    outcome.is("1scp: stat /nothing?here: no such file or directory\n", 1);
}

#[tokio::test]
async fn links_are_followed() {
    let place = Place::new();
    place.file("d/x", b"hi", 0o644);
    symlink(place.path("d"), place.path("link")).unwrap();
    symlink("x", place.path("d/y")).unwrap();
    place.directory("d", 0o755);
    let outcome = run(format!("scp -rf {}", place.text("link")), YES).await;
    outcome.is("D0755 0 link\nC0644 2 x\nhi0C0644 2 y\nhi0E\n", 0);
}

#[tokio::test]
async fn a_directory_that_contains_itself_ends() {
    let place = Place::new();
    place.directory("d/e", 0o755);
    place.directory("d", 0o755);
    symlink(".", place.path("d/a")).unwrap();
    symlink("..", place.path("d/e/b")).unwrap();
    symlink("none", place.path("d/f")).unwrap();
    let outcome = run(format!("scp -rf {}", place.text("d")), YES).await;
    let d = place.text("d");
    let expected = format!(
        "D0755 0 d\n1scp: {d}/a: the directory contains itself\n\
         D0755 0 e\n1scp: {d}/e/b: the directory contains itself\nE\n\
         1scp: stat {d}/f: no such file or directory\nE\n"
    );
    outcome.is(&expected, 1);
}

#[tokio::test]
async fn depth_is_limited() {
    let place = Place::new();
    place.directory(&["d"; 600].join("/"), 0o755);
    let outcome = run(format!("scp -rf {}", place.text("d")), YES).await;
    let text = String::from_utf8(outcome.output).unwrap();
    assert_eq!(text.matches("D0755 0 d\n").count(), 512);
    assert_eq!(text.matches("E\n").count(), 512);
    assert_eq!(
        text.matches(": more than 512 directories inside each other\n")
            .count(),
        1
    );
    assert_eq!(outcome.status, 1);
}

#[tokio::test]
async fn a_refused_file_is_passed_over() {
    let place = Place::new();
    let (x, y) = (
        place.file("x", b"hello", 0o644),
        place.file("y", b"hi", 0o644),
    );
    let command = format!("scp -f {} {}", x.display(), y.display());
    let outcome = run(command, b"\0\x01scp: x: Is a directory\n\0\0").await;
    // Its contents are not sent, as with OpenSSH: the client takes what follows for a line.
    assert_eq!(outcome.output, b"C0644 5 x\nC0644 2 y\nhi\0");
    assert_eq!(outcome.errors, "scp: x: Is a directory\n");
    assert_eq!(outcome.status, 1);
}

#[tokio::test]
async fn a_refused_directory_is_passed_over() {
    let place = Place::new();
    place.file("d/e/x", b"", 0o644);
    place.directory("d", 0o755);
    let outcome = run(format!("scp -rf {}", place.text("d")), b"\0\0\x01no\n\0").await;
    assert_eq!(outcome.output, b"D0755 0 d\nD0755 0 e\nE\n");
    assert_eq!((outcome.errors.as_str(), outcome.status), ("no\n", 1));
}

#[tokio::test]
async fn a_warning_after_the_contents_is_no_end() {
    let place = Place::new();
    let (x, y) = (place.file("x", b"hi", 0o644), place.file("y", b"", 0o644));
    let command = format!("scp -f {} {}", x.display(), y.display());
    let outcome = run(command, b"\0\0\x01disk full\n\0\0").await;
    assert_eq!(outcome.output, b"C0644 2 x\nhi\0C0644 0 y\n\0");
    assert_eq!(
        (outcome.errors.as_str(), outcome.status),
        ("disk full\n", 1)
    );
}

#[tokio::test]
async fn a_warning_before_everything_is_no_end() {
    let place = Place::new();
    let x = place.file("x", b"", 0o644);
    let outcome = run(format!("scp -f {}", x.display()), b"\x01hm\n\0\0").await;
    assert_eq!(outcome.output, b"C0644 0 x\n\0");
    assert_eq!((outcome.errors.as_str(), outcome.status), ("hm\n", 1));
}

#[tokio::test]
async fn other_answers_end_it() {
    let place = Place::new();
    let x = place.file("x", b"hello", 0o644);
    let command = format!("scp -f {0} {0}", x.display());
    for (answer, errors) in [
        (&b"\0\x02enough\n\0\0\0"[..], "enough\n"),
        (b"\0Z\0\0\0", "scp: unexpected answer: Z\n"),
        (b"\0\xff\0\0\0", "scp: unexpected answer: \\xff\n"),
        (b"\0", ""),
        (b"\0\x01no newline", ""),
    ] {
        let outcome = run(&command, answer).await;
        assert_eq!(outcome.output, b"C0644 5 x\n");
        assert_eq!((outcome.errors.as_str(), outcome.status), (errors, 1));
    }
    let outcome = run(&command, "").await;
    outcome.is("", 1);
}

#[tokio::test]
async fn a_text_without_end_ends_it() {
    let place = Place::new();
    let x = place.file("x", b"hello", 0o644);
    let answer = [&[0, 1], noise(1 << 20).as_slice()].concat();
    let answer: Vec<u8> = answer.into_iter().filter(|&byte| byte != b'\n').collect();
    let outcome = run(format!("scp -f {}", x.display()), answer).await;
    outcome.is("C0644 5 x\n1scp: protocol error: a line is too long\n", 1);
}

#[tokio::test]
async fn large_files_arrive_as_they_are() {
    let place = Place::new();
    for size in [256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 3_000_000] {
        let contents = noise(size);
        let x = place.file("x", &contents, 0o644);
        let outcome = run(format!("scp -f {}", x.display()), [0; 3]).await;
        let line = format!("C0644 {size} x\n");
        assert_eq!(outcome.status, 0);
        assert!(
            outcome.output == [line.as_bytes(), &contents, b"\0"].concat(),
            "{size}"
        );
    }
}

#[tokio::test]
async fn a_file_that_shrinks_is_sent_in_full_and_told() {
    let place = Place::new();
    let path = place.file("x", &noise(3_000_000), 0o644);
    let mut running = start(format!("scp -f {}", path.display()));
    running.client.write_all(&[0]).await.unwrap();
    running.expect(b"C0644 3000000 x\n").await;
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(300_000)
        .unwrap();
    running.client.write_all(&[0]).await.unwrap();
    let mut contents = vec![1; 3_000_000];
    running.client.read_exact(&mut contents).await.unwrap();
    assert!(contents[..300_000] == noise(300_000));
    assert!(contents[300_000..].iter().all(|&byte| byte == 0));
    running
        .expect(b"\x01scp: x: the file has become shorter\n")
        .await;
    running.client.write_all(&[0]).await.unwrap();
    assert_eq!(running.task.await.unwrap(), 1);
}

/// Log files do; whoever copies one gets what was there.
#[tokio::test]
async fn a_file_that_grows_is_sent_as_it_was() {
    let place = Place::new();
    let path = place.file("x", b"hello", 0o644);
    let mut running = start(format!("scp -f {}", path.display()));
    running.client.write_all(&[0]).await.unwrap();
    running.expect(b"C0644 5 x\n").await;
    fs::write(&path, "hello world").unwrap();
    running.client.write_all(&[0, 0]).await.unwrap();
    running.expect(b"hello\0").await;
    assert_eq!(running.task.await.unwrap(), 0);
}

#[tokio::test]
async fn it_ends_with_its_client() {
    let place = Place::new();
    let path = place.file("x", &noise(3_000_000), 0o644);
    // While it waits for an answer.
    let running = start(format!("scp -f {}", path.display()));
    drop(running.client);
    assert_eq!(running.task.await.unwrap(), 1);
    // While it waits for its output to be taken.
    let mut running = start(format!("scp -f {}", path.display()));
    running.client.write_all(&[0, 0]).await.unwrap();
    running.expect(b"C0644 3000000 x\n").await;
    drop(running.client);
    assert_eq!(running.task.await.unwrap(), 1);
}
