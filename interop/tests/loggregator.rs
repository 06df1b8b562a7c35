//! What arrives at the loggregator agent, and that an agent which is down, stuck or someone else
//! never keeps a user out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use devcell::bbs::messages::MetricTag;
use devcell::certs::{Authority, Request};
use devcell::loggregator::{Agent, Envelope, SERVER_NAME};
use devcell::rig::{RigError, Signal};
use devcell::{Cell, CellOptions};
use packets::*;
use serde_json::json;

fn nanoseconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_nanos()).unwrap()
}

fn agent(cell: &Cell) -> &Agent {
    cell.agent().unwrap()
}

async fn wait_for_line(cell: &Cell, line: &str) -> Envelope {
    agent(cell)
        .wait_for(|envelope| envelope.line().as_deref() == Some(line))
        .await
        .unwrap_or_else(|| {
            panic!(
                "{line} did not come; the proxy's log:\n{}",
                cell.proxy().log()
            )
        })
}

/// A visit that is told to the agent, end included.
async fn visit(cell: &Cell) {
    let mut raw = Raw::login(&proxy_door(cell)).await.unwrap();
    let peer = raw.local;
    assert_eq!(raw.run(0, "echo in").await.unwrap().stdout, b"in\n");
    drop(raw);
    wait_for_line(cell, &format!("Successful remote access by {peer}")).await;
    wait_for_line(cell, &format!("Remote access ended for {peer}")).await;
}

fn map<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
    entries.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

fn tag(fixed: &str, dynamic: i32) -> MetricTag {
    MetricTag {
        fixed: fixed.to_owned(),
        dynamic,
    }
}

#[tokio::test]
async fn a_visit_is_four_envelopes() {
    let cell = Cell::start(options()).await.unwrap();
    let tags = HashMap::from([
        ("app_name".to_owned(), tag("dora", 0)),
        (
            "process_instance_id".to_owned(),
            tag("", MetricTag::INSTANCE_GUID),
        ),
        ("instance_id".to_owned(), tag("", MetricTag::INDEX)),
    ]);
    let instance_guid = cell.bbs().update(|state| {
        state.desired[0].metric_tags = tags;
        let key = state.actual[0].instance_key.clone().unwrap();
        key.instance_guid
    });
    let app = cell.app_guid();
    let before = nanoseconds();
    let mut raw = Raw::login(&proxy_door(&cell)).await.unwrap();
    let peer = raw.local;
    let open = |envelope: &Envelope| envelope.gauge("ssh-connections") == Some(1.0);
    assert!(agent(&cell).wait_for(open).await.is_some());
    raw.run(0, "true").await.unwrap();
    drop(raw);
    wait_for_line(&cell, &format!("Remote access ended for {peer}")).await;
    let after = nanoseconds();

    // Those of the clock may come at any time.
    let mut envelopes = agent(&cell).envelopes();
    envelopes.retain(|e| e.log.is_some() || e.gauge("ssh-connections").is_some());
    let [begun, one, none, ended] = &envelopes[..] else {
        panic!("{envelopes:?}")
    };
    for (envelope, line) in [
        (begun, format!("Successful remote access by {peer}")),
        (ended, format!("Remote access ended for {peer}")),
    ] {
        assert_eq!(envelope.line(), Some(line));
        assert_eq!(envelope.log.as_ref().unwrap().kind, 0);
        assert_eq!(envelope.source_id, app);
        assert_eq!(envelope.instance_id, "0");
        let expected = [
            ("app_name", "dora"),
            ("instance_id", "0"),
            ("origin", "ssh_proxy"),
            ("process_instance_id", instance_guid.as_str()),
            ("source_id", app),
            ("source_type", "SSH"),
        ];
        assert_eq!(envelope.tags, map(expected));
        assert!(envelope.gauge.is_none() && envelope.counter.is_none());
    }
    for (envelope, value) in [(one, 1.0), (none, 0.0)] {
        let gauge = envelope.gauge.as_ref().unwrap();
        assert_eq!(gauge.metrics.len(), 1);
        assert_eq!(gauge.metrics["ssh-connections"].unit, "Metric");
        assert_eq!(gauge.metrics["ssh-connections"].value, value);
        assert_eq!(envelope.source_id, "ssh_proxy");
        assert_eq!(envelope.instance_id, "devcell-vm");
        assert_eq!(envelope.tags, map([("origin", "ssh_proxy")]));
        assert!(envelope.log.is_none() && envelope.counter.is_none());
    }
    let times: Vec<i64> = envelopes
        .iter()
        .map(|envelope| envelope.timestamp)
        .collect();
    assert!(times.is_sorted() && before <= times[0] && times[3] <= after);
    assert!(envelopes.iter().all(|e| e.deprecated_tags.is_empty()));
    assert_eq!(agent(&cell).streams(), 1);
    cell.stop().await;
}

#[tokio::test]
async fn tags_of_the_app_win_over_those_of_the_proxy() {
    let cell = Cell::start(options()).await.unwrap();
    let tags = [
        ("source_id", "mine"),
        ("origin", "elsewhere"),
        ("source_type", "OTHER"),
    ];
    cell.bbs().update(|state| {
        state.desired[0].metric_tags = tags
            .map(|(name, value)| (name.to_owned(), tag(value, 0)))
            .into();
    });
    let raw = Raw::login(&proxy_door(&cell)).await.unwrap();
    let line = format!("Successful remote access by {}", raw.local);
    let envelope = wait_for_line(&cell, &line).await;
    assert_eq!(envelope.source_id, "mine");
    let mut expected = map(tags);
    expected.extend(map([("instance_id", "0")]));
    assert_eq!(envelope.tags, expected);
    cell.stop().await;
}

#[tokio::test]
async fn nothing_is_said_of_those_who_do_not_get_in_but_how_many_and_why() {
    let cell = Cell::start(options()).await.unwrap();
    let login = cell.logins()[0].clone();
    let mut raw = Raw::served(cell.proxy_address()).await;
    for _ in 0..2 {
        assert_eq!(raw.try_password(&login.user, "wrong").await, Ok(false));
    }
    drop(raw);
    cell.daemon(0).unwrap().kill();
    let mut raw = Raw::served(cell.proxy_address()).await;
    let refused = raw.try_password(&login.user, &login.password).await;
    assert!(refused.is_err());

    // Counted now and then; when the last is there, so are the others once the proxy has ended.
    let is_last = |e: &Envelope| {
        e.tags
            .get("code")
            .is_some_and(|c| c == "instance_unreachable")
    };
    assert!(agent(&cell).wait_for(is_last).await.is_some());
    cell.proxy().stop().await;
    let envelopes = agent(&cell).envelopes();
    for (code, times) in [("invalid_credentials", 2), ("instance_unreachable", 1)] {
        let tags = map([("code", code), ("origin", "ssh_proxy")]);
        let mut counted = 0;
        for envelope in envelopes.iter().filter(|envelope| envelope.tags == tags) {
            let counter = envelope.counter.as_ref().unwrap();
            assert_eq!(counter.name, "ssh-refusals");
            assert_eq!(envelope.source_id, "ssh_proxy");
            counted += counter.delta;
        }
        assert_eq!(counted, times, "{code}");
    }
    // The same round has told how the proxy does.
    for (name, unit, least) in [
        ("memoryStats.numBytesAllocatedHeap", "Bytes", 1.0),
        ("memoryStats.numBytesAllocatedStack", "Bytes", 1.0),
        ("memoryStats.lastGCPauseTimeNS", "ns", 0.0),
        ("numGoRoutines", "Count", 1.0),
    ] {
        let mut found = envelopes.iter().filter(|e| e.gauge(name).is_some());
        let envelope = found.next().unwrap();
        let value = &envelope.gauge.as_ref().unwrap().metrics[name];
        assert_eq!(value.unit, unit);
        assert!(value.value >= least, "{name}: {}", value.value);
        assert_eq!(envelope.instance_id, "devcell-vm");
    }
    assert!(envelopes.iter().all(|envelope| envelope.log.is_none()));
    assert!(
        envelopes
            .iter()
            .all(|e| e.gauge("ssh-connections").is_none())
    );
    cell.stop().await;
}

#[tokio::test]
async fn batches_are_as_large_as_the_file_says() {
    let cell = Cell::start(CellOptions {
        proxy_config: json!({"loggregator": {
            "loggregator_batch_max_size": 3, "BatchFlushInterval": 3_600_000_000_000_u64,
        }}),
        ..options()
    })
    .await
    .unwrap();
    // Two envelopes each, and no time at which less than three would go.
    let door = proxy_door(&cell);
    let visitors = [(); 3].map(|()| Raw::login(&door));
    let [one, two, three] = visitors;
    let visitors = tokio::join!(one, two, three);
    let last = |envelope: &Envelope| envelope.gauge("ssh-connections") == Some(3.0);
    assert!(agent(&cell).wait_for(last).await.is_some());
    assert_eq!(agent(&cell).largest_batch(), 3);
    drop(visitors);
    cell.stop().await;
}

#[tokio::test]
async fn the_end_of_a_visit_is_told_when_the_proxy_stops() {
    let cell = Cell::start(options()).await.unwrap();
    let raw = Raw::login(&proxy_door(&cell)).await.unwrap();
    let peer = raw.local;
    cell.proxy().signal(Signal::TERM);
    let status = cell.proxy().exited().await.unwrap();
    assert!(status.success(), "{status}");
    // Before it ended: nothing can come any more.
    let lines: Vec<_> = agent(&cell)
        .envelopes()
        .iter()
        .filter_map(Envelope::line)
        .collect();
    assert_eq!(
        lines,
        [
            format!("Successful remote access by {peer}"),
            format!("Remote access ended for {peer}")
        ]
    );
    drop(raw);
    cell.stop().await;
}

#[tokio::test]
async fn an_agent_that_dies_is_found_again_and_nobody_notices() {
    let cell = Cell::start(options()).await.unwrap();
    let mut bystander = Bystander::enter(&proxy_door(&cell)).await;
    visit(&cell).await;
    agent(&cell).stop().await;
    cell.proxy()
        .wait_for_log("loggregator-agent-lost")
        .await
        .unwrap();
    let mut raw = Raw::login(&proxy_door(&cell)).await.unwrap();
    let peer = raw.local;
    assert_eq!(raw.run(0, "echo in").await.unwrap().stdout, b"in\n");
    drop(raw);
    bystander.all_is_well().await;
    agent(&cell).start_again().await.unwrap();
    // What happened meanwhile is told late.
    wait_for_line(&cell, &format!("Successful remote access by {peer}")).await;
    wait_for_line(&cell, &format!("Remote access ended for {peer}")).await;
    visit(&cell).await;
    bystander.all_is_well().await;
    cell.stop().await;
}

/// Starts `together` visitors who come `times` times each; the set ends when all of them are done.
fn visitors(cell: &Cell, together: usize, times: usize) -> tokio::task::JoinSet<()> {
    let mut visitors = tokio::task::JoinSet::new();
    for _ in 0..together {
        let door = proxy_door(cell);
        visitors.spawn(async move {
            for _ in 0..times {
                let mut raw = Raw::login(&door).await.unwrap();
                assert_eq!(raw.run(0, "echo in").await.unwrap().stdout, b"in\n");
            }
        });
    }
    visitors
}

async fn all_done(mut visitors: tokio::task::JoinSet<()>) {
    while let Some(visitor) = visitors.join_next().await {
        visitor.unwrap();
    }
}

#[tokio::test]
async fn an_agent_that_dies_again_and_again_is_in_nobodys_way() {
    let cell = Cell::start(options()).await.unwrap();
    let visitors = visitors(&cell, 10, 5);
    for streams in 1..=3 {
        // Each time the proxy has found it.
        agent(&cell).wait_for_streams(streams).await.unwrap();
        agent(&cell).stop().await;
        agent(&cell).start_again().await.unwrap();
    }
    all_done(visitors).await;
    agent(&cell).wait_for_streams(4).await.unwrap();
    visit(&cell).await;
    cell.stop().await;
}

/// The reference's queue of 100 fills, and from then on nobody gets in.
#[tokio::test]
async fn two_hundred_users_get_in_while_the_agent_does_not_read() {
    let cell = Cell::start(CellOptions {
        // Little is on its way when the agent stops to read.
        proxy_config: json!({"loggregator": {"loggregator_batch_max_size": 1}}),
        ..options()
    })
    .await
    .unwrap();
    visit(&cell).await;
    agent(&cell).set_reading(false);
    agent(&cell).forget();
    all_done(visitors(&cell, 10, 20)).await;
    let dropped = cell
        .proxy()
        .wait_for_log("loggregator-envelopes-dropped")
        .await
        .unwrap();
    assert!(dropped.contains(r#""dropped":"#), "{dropped}");
    assert!(agent(&cell).envelopes().is_empty());
    // The proxy tries a new connection, which is no better.
    assert!(agent(&cell).wait_for_streams(2).await.is_some());
    // It wakes up, and hears of the last ones and of the next.
    agent(&cell).set_reading(true);
    visit(&cell).await;
    assert!(agent(&cell).envelopes().len() > 400);
    cell.stop().await;
}

/// The last words are worth a second, not more.
#[tokio::test]
async fn an_agent_that_does_not_read_does_not_keep_the_proxy_from_ending() {
    let cell = Cell::start(options()).await.unwrap();
    visit(&cell).await;
    agent(&cell).set_reading(false);
    let raw = Raw::login(&proxy_door(&cell)).await.unwrap();
    cell.proxy().signal(Signal::TERM);
    assert!(cell.proxy().exited().await.unwrap().success());
    drop(raw);
    let log = cell.proxy().log();
    let end = log.lines().rev().take(2).collect::<Vec<_>>();
    assert!(end[0].contains("ssh-proxy.exited"), "{end:?}");
    assert!(end[1].contains("loggregator-not-flushed"), "{end:?}");
    cell.stop().await;
}

/// Ends the proxy, starts it again, and gives the line that it ended with.
async fn fails_to_start(cell: &Cell) -> String {
    match cell.proxy().restart().await {
        Err(RigError::Ended {
            status, last_line, ..
        }) => {
            assert_eq!(status.code(), Some(1), "{last_line}");
            last_line
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn without_an_agent_that_accepts_it_the_proxy_does_not_start() {
    let cell = Cell::start(options()).await.unwrap();
    let message = r#""message":"ssh-proxy.failed-to-initialize-metron-client","log_level":2"#;
    let fails = async |cause: &str| {
        let line = fails_to_start(&cell).await;
        assert!(line.contains(message), "{line}");
        assert!(line.contains("context deadline exceeded"), "{line}");
        assert!(line.contains(cause), "{line}");
    };
    agent(&cell).stop().await;
    fails("connection refused").await;

    // It is someone else, in two ways.
    let other_name = cell.authority().issue(&Request::server(&["localhost"]));
    agent(&cell)
        .set_identity(&other_name.unwrap(), cell.authority())
        .unwrap();
    agent(&cell).start_again().await.unwrap();
    fails("not valid for name").await;
    let stranger = Authority::new("another CA").unwrap();
    let other_authority = stranger.issue(&Request::server(&[SERVER_NAME])).unwrap();
    agent(&cell)
        .set_identity(&other_authority, cell.authority())
        .unwrap();
    agent(&cell).start_again().await.unwrap();
    fails("UnknownIssuer").await;

    // It takes us for someone else.
    let good = cell.authority().issue(&Request::server(&[SERVER_NAME]));
    let good = good.unwrap();
    agent(&cell).set_identity(&good, &stranger).unwrap();
    agent(&cell).start_again().await.unwrap();
    fails("does it accept our certificate?").await;

    // It takes connections and says nothing at all.
    agent(&cell).stop().await;
    let silent = std::net::TcpListener::bind(("127.0.0.1", agent(&cell).port())).unwrap();
    fails("does not answer").await;
    drop(silent);

    agent(&cell).set_identity(&good, cell.authority()).unwrap();
    agent(&cell).start_again().await.unwrap();
    cell.proxy().restart().await.unwrap();
    visit(&cell).await;
    cell.stop().await;
}

/// Certificates are replaced while the proxy runs: it shows the new one the next time.
#[tokio::test]
async fn certificates_are_read_anew_for_each_connection() {
    let cell = Cell::start(options()).await.unwrap();
    let next = Authority::new("the next CA").unwrap();
    let client = next.issue(&Request::client("ssh_proxy")).unwrap();
    let server = next.issue(&Request::server(&[SERVER_NAME])).unwrap();
    agent(&cell).stop().await;
    for (name, text) in [
        ("agent-ca.crt", next.certificate_pem()),
        ("agent-client.crt", client.certificate_pem().to_owned()),
        ("agent-client.key", client.key_pem()),
    ] {
        std::fs::write(cell.dir().join(name), text).unwrap();
    }
    agent(&cell).set_identity(&server, &next).unwrap();
    agent(&cell).start_again().await.unwrap();
    visit(&cell).await;
    cell.stop().await;
}

#[tokio::test]
async fn switched_off_nothing_is_sent() {
    let cell = Cell::start(CellOptions {
        proxy_config: json!({"loggregator": {"loggregator_use_v2_api": false}}),
        ..options()
    })
    .await
    .unwrap();
    let mut raw = Raw::login(&proxy_door(&cell)).await.unwrap();
    raw.run(0, "true").await.unwrap();
    drop(raw);
    cell.proxy().wait_for_log("relay-ended").await.unwrap();
    cell.proxy().signal(Signal::TERM);
    assert!(cell.proxy().exited().await.unwrap().success());
    assert_eq!(agent(&cell).streams(), 0);
    cell.stop().await;
}

/// A file of the newest jobs has no switch, only the paths.
#[tokio::test]
async fn without_the_switch_the_paths_decide() {
    let cell = Cell::start(CellOptions {
        proxy_config: json!({"loggregator": {"loggregator_use_v2_api": null}}),
        ..options()
    })
    .await
    .unwrap();
    visit(&cell).await;
    cell.stop().await;
}
