//! Whole lines, with a clock that stands still.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::{debug, error, info, info_span, trace, warn};

use super::*;

/// A writer that remembers each write on its own.
#[derive(Clone, Default)]
struct Writes(Arc<Mutex<Vec<String>>>);

impl Writes {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl io::Write for Writes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap()
            .push(String::from_utf8(bytes.to_vec()).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::new(1_522_171_784, 100_530_624)
}

fn config() -> Config {
    Config {
        clock,
        ..Config::new("ssh-proxy")
    }
}

/// What `body` logs under `config`, line by line.
fn logged(config: Config, body: impl FnOnce(&Handle)) -> Vec<String> {
    let writes = Writes::default();
    let (layer, handle) = layer(config, writes.clone());
    let subscriber = Registry::default().with(layer);
    tracing::subscriber::with_default(subscriber, || body(&handle));
    for line in writes.lines() {
        serde_json::from_str::<serde_json::Value>(&line).expect("every line is JSON");
    }
    writes.lines()
}

#[test]
fn an_event_is_one_line_and_one_write() {
    let lines = logged(config(), |_| info!("started"));
    assert_eq!(
        lines,
        [concat!(
            r#"{"timestamp":"1522171784.100530624","source":"ssh-proxy","#,
            r#""message":"ssh-proxy.started","log_level":1,"data":{}}"#,
            "\n"
        )]
    );
}

#[test]
fn the_rfc3339_form_names_the_level() {
    let config = Config {
        time_format: TimeFormat::Rfc3339,
        ..config()
    };
    let lines = logged(config, |_| error!(error = "no", "dial-failed"));
    assert_eq!(
        lines,
        [concat!(
            r#"{"timestamp":"2018-03-27T17:29:44.100530624Z","level":"error","#,
            r#""source":"ssh-proxy","message":"ssh-proxy.dial-failed","data":{"error":"no"}}"#,
            "\n"
        )]
    );
}

/// The part of each line from the message on.
fn tails(lines: &[String]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line.split_once(r#""message":"#).unwrap().1.trim_end())
        .collect()
}

#[test]
fn spans_are_sessions_numbered_under_their_parents() {
    let lines = logged(config(), |_| {
        let _first = info_span!("handle-connection", from = "10.0.0.1:5");
        let second = info_span!("handle-connection", from = "10.0.0.2:6");
        second.in_scope(|| {
            info_span!("from-client").in_scope(|| info!("started"));
            info_span!("from-daemon", from = "daemon").in_scope(|| {
                info!("started");
                info_span!("copy").in_scope(|| info!(session = "mine", "completed"));
            });
            info!("done");
        });
        info!("exited");
    });
    assert_eq!(
        tails(&lines),
        [
            r#""ssh-proxy.handle-connection.from-client.started","log_level":1,"data":{"from":"10.0.0.2:6","session":"2.1"}}"#,
            r#""ssh-proxy.handle-connection.from-daemon.started","log_level":1,"data":{"from":"daemon","session":"2.2"}}"#,
            r#""ssh-proxy.handle-connection.from-daemon.copy.completed","log_level":1,"data":{"from":"daemon","session":"2.2.1"}}"#,
            r#""ssh-proxy.handle-connection.done","log_level":1,"data":{"from":"10.0.0.2:6","session":"2"}}"#,
            r#""ssh-proxy.exited","log_level":1,"data":{}}"#,
        ]
    );
}

#[test]
fn spans_without_a_name_are_sessions_that_the_message_does_not_tell() {
    let lines = logged(config(), |_| {
        info_span!("", from = "10.0.0.1:5").in_scope(|| {
            info!("attempted");
            info_span!("handle-connection").in_scope(|| info!("started"));
        });
    });
    assert_eq!(
        tails(&lines),
        [
            r#""ssh-proxy.attempted","log_level":1,"data":{"from":"10.0.0.1:5","session":"1"}}"#,
            r#""ssh-proxy.handle-connection.started","log_level":1,"data":{"from":"10.0.0.1:5","session":"1.1"}}"#,
        ]
    );
}

#[test]
fn sessions_are_forgotten_with_their_spans() {
    let (layer, _) = layer(config(), Writes::default());
    let dispatch = tracing::Dispatch::new(Registry::default().with(layer));
    let layer = dispatch.downcast_ref::<Layer<Writes>>().unwrap();
    let open = || lock(&layer.sessions).open.len();
    tracing::dispatcher::with_default(&dispatch, || {
        let above = info_span!("handle-connection");
        let below = info_span!(parent: &above, "from-client");
        drop(above);
        assert_eq!(open(), 2);
        drop(below);
        assert_eq!(open(), 0);
    });
}

#[test]
fn fields_recorded_later_join_the_session() {
    let lines = logged(config(), |_| {
        let span = info_span!("login", user = tracing::field::Empty);
        span.in_scope(|| info!("before"));
        span.record("user", "diego:x/0");
        span.in_scope(|| info!("after"));
    });
    assert_eq!(
        tails(&lines),
        [
            r#""ssh-proxy.login.before","log_level":1,"data":{"session":"1"}}"#,
            r#""ssh-proxy.login.after","log_level":1,"data":{"session":"1","user":"diego:x/0"}}"#,
        ]
    );
}

#[test]
fn data_keeps_its_types_and_is_sorted() {
    let lines = logged(config(), |_| {
        let failure = io::Error::other("out of luck");
        info!(
            zeta = 1u64,
            "backend-address" = "10.0.0.1:2222",
            negative = -5i64,
            ok = true,
            ratio = 0.25f64,
            payload = &b"\x00\xff"[..],
            shown = %"a<b",
            debugged = ?"q",
            error = &failure as &(dyn std::error::Error + 'static),
            "typed"
        );
    });
    assert_eq!(
        tails(&lines),
        [concat!(
            r#""ssh-proxy.typed","log_level":1,"data":{"backend-address":"10.0.0.1:2222","#,
            r#""debugged":"\"q\"","error":"out of luck","negative":-5,"ok":true,"payload":"AP8=","#,
            r#""ratio":0.25,"shown":"a\u003cb","zeta":1}}"#
        )]
    );
}

#[test]
fn what_a_peer_sent_stays_on_one_line() {
    let lines = logged(config(), |_| {
        info!(
            user = "a\n{\"message\":\"forged\"}\r\n\u{1b}[2J\0\u{2028}",
            "refused"
        );
    });
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].matches('\n').count(), 1);
    assert_eq!(
        tails(&lines),
        [concat!(
            r#""ssh-proxy.refused","log_level":1,"data":{"user":"#,
            r#""a\n{\"message\":\"forged\"}\r\n\u001b[2J\u0000\u2028"}}"#
        )]
    );
}

/// Message and level of each line.
fn levels(lines: &[String]) -> Vec<(String, u64)> {
    lines
        .iter()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let message = line["message"].as_str().unwrap().to_owned();
            (message, line["log_level"].as_u64().unwrap())
        })
        .collect()
}

fn one_of_each() {
    trace!("trace");
    debug!("debug");
    info!("info");
    warn!("warn");
    error!("error");
    fatal!("fatal");
}

#[test]
fn levels_are_mapped_and_changed_while_running() {
    let lines = logged(config(), |handle| {
        for level in [Level::Debug, Level::Info, Level::Error, Level::Fatal] {
            handle.set_level(level);
            assert_eq!(handle.level(), level);
            one_of_each();
        }
    });
    let all = [
        ("trace", 0),
        ("debug", 0),
        ("info", 1),
        ("warn", 2),
        ("error", 2),
        ("fatal", 3),
    ];
    let expected: Vec<(String, u64)> = [0, 2, 3, 5]
        .into_iter()
        .flat_map(|from| all[from..].iter())
        .map(|(name, level)| (format!("ssh-proxy.{name}"), *level))
        .collect();
    assert_eq!(levels(&lines), expected);
}

#[test]
fn sessions_exist_below_the_log_level() {
    let lines = logged(config(), |_| {
        tracing::trace_span!("quiet").in_scope(|| info!("loud"));
    });
    assert_eq!(
        tails(&lines),
        [r#""ssh-proxy.quiet.loud","log_level":1,"data":{"session":"1"}}"#]
    );
}

#[test]
fn a_fatal_line_tells_where_it_comes_from() {
    let lines = logged(config(), |_| {
        fatal!(error = "bbsAddress is required", "bbs-address-required")
    });
    let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["message"], "ssh-proxy.bbs-address-required");
    assert_eq!(line["data"]["error"], "bbsAddress is required");
    let trace = line["data"]["trace"].as_str().unwrap();
    assert!(trace.starts_with("lager::tests at "), "{trace}");
    assert_eq!(line["data"].as_object().unwrap().len(), 2);
}

#[test]
fn secrets_are_hidden_and_long_texts_cut_in_sessions_too() {
    let config = Config {
        redaction: Some(Redaction::new::<&str>(&[]).unwrap()),
        max_data_string_length: Some(20),
        ..config()
    };
    let lines = logged(config, |_| {
        let span = info_span!("login", key = "-----BEGIN RSA PRIVATE KEY-----\nMII");
        span.in_scope(|| info!(password = 5, text = "0123456789012345678901", "x"));
    });
    assert_eq!(
        tails(&lines),
        [concat!(
            r#""ssh-proxy.login.x","log_level":1,"data":{"key":"*REDACTED*","#,
            r#""password":"*REDACTED*","session":"1","text":"01234567-(truncated)"}}"#
        )]
    );
}

#[test]
fn other_crates_are_left_out_and_do_not_break_sessions() {
    let config = Config {
        crates: &["lager"],
        ..config()
    };
    let lines = logged(config, |_| {
        info_span!("ours").in_scope(|| {
            info_span!(target: "hyper::client", "theirs").in_scope(|| {
                info!("inside");
                error!(target: "hyper", "noise");
            });
        });
    });
    assert_eq!(
        tails(&lines),
        [r#""ssh-proxy.ours.inside","log_level":1,"data":{"session":"1"}}"#]
    );
}

#[test]
fn a_broken_writer_is_survived() {
    struct Broken;
    impl io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    let (layer, _) = layer(config(), Broken);
    tracing::subscriber::with_default(Registry::default().with(layer), || info!("x"));
}

#[test]
fn level_names_are_strict_in_configurations_and_lax_in_switches() {
    assert_eq!("debug".parse(), Ok(Level::Debug));
    assert_eq!("fatal".parse(), Ok(Level::Fatal));
    for bad in ["", "INFO", "warn", "1"] {
        let error = bad.parse::<Level>().unwrap_err();
        assert_eq!(error.to_string(), format!("unknown log level: {bad}"));
    }
    assert_eq!(Level::from_switch("INFO"), Some(Level::Info));
    assert_eq!(Level::from_switch("2"), Some(Level::Error));
    assert_eq!(Level::from_switch("2\n"), None);
}
