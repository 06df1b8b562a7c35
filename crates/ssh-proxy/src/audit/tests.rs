use std::fs;
use std::net::IpAddr;

use ssh_proto::Error;
use tempfile::TempDir;

use super::*;
use crate::platform::loggregator::Tags;
use crate::relay::Side;
use crate::relay::policy::Capability;
use crate::sessions::{Live, Sessions};
use crate::target::Instance;

const SOURCE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5);

fn live() -> Live {
    Arc::<Sessions>::default().begin(Visitor {
        user: "cf:guid/0".to_owned(),
        who: None,
        address: SOURCE,
        instance: Instance {
            process_guid: "process".to_owned(),
            index: 3,
            guid: "instance".to_owned(),
        },
        tags: Tags::from([("app_name".to_owned(), "dora".to_owned())]),
    })
}

fn settings(file: &std::path::Path) -> AuditSettings {
    AuditSettings {
        file: Some(file.to_owned()),
        ..AuditSettings::default()
    }
}

/// The lines of `file` once everything is written.
async fn lines(
    audit: Audit,
    writer: Option<Writer>,
    file: &std::path::Path,
) -> Vec<serde_json::Value> {
    drop(audit);
    writer.unwrap().finish().await;
    let text = fs::read_to_string(file).unwrap();
    assert!(text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn what_is_told_of_a_session() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("audit.log");
    for details in [false, true] {
        let _ = fs::remove_file(&file);
        let settings = AuditSettings {
            details,
            ..settings(&file)
        };
        let (audit, writer) = Audit::start(settings).unwrap();
        let live = live();
        let session = live.session();
        audit.login_refused("x", SOURCE, "no_role");
        audit.login_accepted(session);
        audit.note(session, Note::Starting(Start::Exec(b"id\n\xff")));
        audit.note(session, Note::Opened(ChannelKind::Session));
        let target = Some(Target::Tcp(b"::1", 80));
        let kind = ChannelKind::DirectTcpip;
        audit.note(session, Note::Opening { kind, target });
        audit.note(session, Note::Listening(Target::Unix(b"/run/s")));
        audit.note(session, Note::Refused(Capability::Shell));
        let end = RelayEnd {
            side: Side::Client,
            reason: Error::Timeout("idle"),
            bytes_up: 1,
            bytes_down: 2,
        };
        audit.session_ended(session, &end);
        let id = session.id.to_string();
        let lines = lines(audit, writer, &file).await;
        let events: Vec<&str> = lines
            .iter()
            .map(|line| line["event"].as_str().unwrap())
            .collect();
        assert_eq!(
            events,
            [
                "login_refused",
                "login_accepted",
                "program_started",
                "channel_opened",
                "forward_requested",
                "refused_by_policy",
                "session_ended"
            ]
        );
        assert_eq!(lines[0]["code"], "no_role");
        assert!(lines[0].get("session_id").is_none());
        for line in &lines[1..] {
            assert_eq!(line["session_id"], id);
            assert_eq!(line["app_name"], "dora");
            assert_eq!(
                (&line["index"], &line["instance_guid"]),
                (&3.into(), &"instance".into())
            );
        }
        let told = |line: usize, key: &str| lines[line].get(key).map(|text| text.as_str().unwrap());
        assert_eq!(told(2, "program"), Some("exec"));
        assert_eq!(told(2, "command"), details.then_some("id\n\u{fffd}"));
        assert_eq!(told(3, "target"), details.then_some("[::1]:80"));
        assert_eq!(told(4, "target"), details.then_some("/run/s"));
        assert_eq!(told(5, "capability"), Some("shell"));
        assert_eq!(
            (&lines[6]["bytes_up"], &lines[6]["bytes_down"]),
            (&1.into(), &2.into())
        );
        assert_eq!(lines[6]["reason"], "timeout: idle");
        assert_eq!(lines[6]["side"], "client");
    }
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_made_anew() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("audit.log");
    let old = dir.path().join("audit.log.1");
    let mut writing = AuditFile::open(&file).unwrap();
    assert_eq!(writing.write(b"one\ntw").unwrap(), 4);
    // The line is told from its begin where the file is another one.
    fs::rename(&file, &old).unwrap();
    assert_eq!(writing.write(b"two\n").unwrap(), 4);
    assert_eq!(writing.write(b"three\n").unwrap(), 6);
    assert_eq!(fs::read_to_string(&old).unwrap(), "one\ntw");
    assert_eq!(fs::read_to_string(&file).unwrap(), "two\nthree\n");
    fs::remove_file(&file).unwrap();
    writing.write(b"four\n").unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "four\n");
}

#[test]
fn a_line_that_was_written_in_part_is_written_to_its_end() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("audit.log");
    let mut writing = AuditFile::open(&file).unwrap();
    assert_eq!(writing.write(b"on").unwrap(), 0);
    assert_eq!(writing.write(b"one\ntwo\nth").unwrap(), 8);
    assert_eq!(writing.write(b"three\n").unwrap(), 6);
    assert_eq!(fs::read_to_string(&file).unwrap(), "one\ntwo\nthree\n");
    // Somebody else's is left as it is, on a line of its own.
    fs::write(&file, "one\ntw").unwrap();
    let mut writing = AuditFile::open(&file).unwrap();
    assert_eq!(writing.write(b"three\n").unwrap(), 6);
    assert_eq!(fs::read_to_string(&file).unwrap(), "one\ntw\nthree\n");
}

/// A disk that hangs gives no error: nobody takes lines out of the queue here.
#[test]
fn a_full_queue_is_a_file_that_cannot_be_written() {
    let (lines, _queue) = sync_channel(MOST_LINES);
    let audit = Audit {
        lines: Some(lines),
        settings: AuditSettings {
            refuses_unwritten: true,
            ..AuditSettings::default()
        },
        state: Arc::default(),
    };
    for _ in 0..MOST_LINES {
        audit.login_refused("x", SOURCE, "no_role");
    }
    // Strangers fill half of it.
    assert_eq!(
        audit.dropped(),
        u64::try_from(MOST_LINES - MOST_REFUSALS).unwrap()
    );
    assert!(audit.admits());
    let live = live();
    for _ in MOST_REFUSALS..MOST_LINES {
        audit.login_accepted(live.session());
    }
    assert!(audit.admits());
    audit.login_accepted(live.session());
    assert!(!audit.admits());
}

/// The disk is full from the begin on: `/dev/full` is such a disk.
#[test]
fn a_full_disk_costs_no_more_than_the_queue() {
    for refuses_unwritten in [false, true] {
        let settings = AuditSettings {
            refuses_unwritten,
            ..settings(std::path::Path::new("/dev/full"))
        };
        let (audit, _writer) = Audit::start(settings).unwrap();
        assert!(audit.admits());
        // The first lines are in the hands of the writer, the next fill the queue.
        let live = live();
        while audit.dropped() < 3 {
            audit.login_accepted(live.session());
        }
        while audit.state.writable.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        assert_eq!(audit.admits(), !refuses_unwritten);
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_told_with_its_key() {
    let error = Audit::start(settings(std::path::Path::new("/dev/null/x"))).unwrap_err();
    assert!(error.starts_with("audit_file: "), "{error}");
}

#[test]
fn long_names_are_cut_between_characters() {
    let dir = TempDir::new().unwrap();
    let (audit, _writer) = Audit::start(settings(&dir.path().join("a"))).unwrap();
    audit.login_refused(&"\u{e9}".repeat(LONGEST_DETAIL), SOURCE, "no_role");
    audit.login_refused(
        &format!("x{}", "\u{e9}".repeat(LONGEST_DETAIL)),
        SOURCE,
        "no_role",
    );
}
