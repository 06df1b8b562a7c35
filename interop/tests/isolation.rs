//! Sessions that must not notice each other: their environments, their bounds, and readers and
//! programs that stall.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;

use devcell::Cell;
use devcell::rig::Process;
use packets::*;
use ssh_proto::msg;
use ssh_proto::transport::Event;
use ssh_proto::wire::{Put, Reader};
use ssh_tokio::wire::now;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// 40 sessions on 4 connections, 200 variables each, all at once: the reference dies of it.
#[tokio::test]
async fn many_variables_at_once_reach_their_own_sessions_alone() {
    const CONNECTIONS: usize = 4;
    const SESSIONS: u32 = 10;
    const VARIABLES: usize = 200;
    let cell = Cell::start(options()).await.unwrap();
    for door in doors(&cell) {
        let mut bystander = Bystander::enter(&door).await;
        let connections = (0..CONNECTIONS).map(|connection| {
            let door = door.clone();
            async move {
                let mut raw = Raw::login(&door).await.unwrap();
                let mut peers = Vec::new();
                for number in 0..SESSIONS {
                    peers.push(raw.open_session(number, 1 << 20).await.unwrap());
                }
                // Everybody sets the same names, every other time without wanting to hear of it.
                for variable in 0..VARIABLES {
                    for (number, peer) in peers.iter().enumerate() {
                        let name = format!("V{variable}");
                        let value = format!("c{connection}s{number}");
                        let fields = [name.as_bytes(), value.as_bytes()];
                        raw.send(&request(*peer, "env", variable % 2 == 0, &fields));
                    }
                }
                raw.flush().await.unwrap();
                let mut replies = vec![0; peers.len()];
                while replies.iter().sum::<usize>() < peers.len() * VARIABLES / 2 {
                    let packet = raw.packet().await.unwrap();
                    assert_eq!(packet[0], msg::CHANNEL_SUCCESS);
                    replies[recipient(&packet) as usize] += 1;
                }
                assert!(replies.iter().all(|count| *count == VARIABLES / 2));
                for (number, peer) in (0..).zip(peers) {
                    raw.send(&exec(peer, "env | grep '^V[0-9]' | sort"));
                    let finished = raw.finish(number, peer).await.unwrap();
                    let mut expected: Vec<String> = (0..VARIABLES)
                        .map(|variable| format!("V{variable}=c{connection}s{number}\n"))
                        .collect();
                    expected.sort();
                    let seen = String::from_utf8(finished.stdout).unwrap();
                    let mut seen: Vec<String> = seen.lines().map(|l| format!("{l}\n")).collect();
                    seen.sort();
                    assert_eq!(seen, expected);
                }
                // Later sessions of this connection start without any.
                let finished = raw.run(99, "env | grep -c '^V[0-9]'").await.unwrap();
                assert_eq!(finished.stdout, b"0\n");
            }
        });
        let tasks: Vec<_> = connections.map(tokio::spawn).collect();
        for task in tasks {
            within("sessions with variables", task).await.unwrap();
        }
        // So do those of others.
        let mut other = Raw::login(&door).await.unwrap();
        let finished = other.run(0, "env | grep -c '^V[0-9]'").await.unwrap();
        assert_eq!(finished.stdout, b"0\n");
        bystander.all_is_well().await;
    }
    assert!(cell.daemon(0).unwrap().is_running());
    cell.stop().await;
}

#[tokio::test]
async fn too_many_variables_are_refused_and_the_session_works() {
    let cell = Cell::start(options()).await.unwrap();
    for door in doors(&cell) {
        let mut raw = Raw::login(&door).await.unwrap();

        // 1,024 names.
        let peer = raw.open_session(0, 1 << 20).await.unwrap();
        for variable in 0..1030 {
            let name = format!("V{variable}");
            raw.send(&request(peer, "env", true, &[name.as_bytes(), b"x"]));
            let answer = raw.packet().await.unwrap()[0];
            let expected = if variable < 1024 {
                msg::CHANNEL_SUCCESS
            } else {
                msg::CHANNEL_FAILURE
            };
            assert_eq!(answer, expected, "{}: {variable}", door.name);
        }
        raw.send(&exec(peer, "env | grep -c '^V[0-9]'"));
        let finished = raw.finish(0, peer).await.unwrap();
        assert_eq!(finished.stdout, b"1024\n");

        // 128 KiB.
        let peer = raw.open_session(1, 1 << 20).await.unwrap();
        let value = vec![b'x'; 30 * 1024];
        for variable in 0..6 {
            let name = format!("V{variable}");
            raw.send(&request(peer, "env", true, &[name.as_bytes(), &value]));
            let answer = raw.packet().await.unwrap()[0];
            let expected = if variable < 4 {
                msg::CHANNEL_SUCCESS
            } else {
                msg::CHANNEL_FAILURE
            };
            assert_eq!(answer, expected, "{}: {variable}", door.name);
        }
        raw.send(&exec(peer, "env | grep -c '^V[0-9]'"));
        let finished = raw.finish(1, peer).await.unwrap();
        assert_eq!(finished.stdout, b"4\n");
        let finished = raw.run(2, "env | grep -c '^V[0-9]'").await.unwrap();
        assert_eq!(finished.stdout, b"0\n");
    }
    cell.stop().await;
}

#[tokio::test]
async fn the_65th_session_is_refused_and_the_others_go_on() {
    let cell = Cell::start(options()).await.unwrap();
    for door in doors(&cell) {
        let mut raw = Raw::login(&door).await.unwrap();
        let mut peers = Vec::new();
        for number in 0..64 {
            peers.push(raw.open_session(number, 1 << 20).await.unwrap());
        }
        raw.send(&open("session", 64, 1 << 20, 1 << 15));
        let packet = raw.packet().await.unwrap();
        assert_eq!(packet[0], msg::CHANNEL_OPEN_FAILURE);
        // Resource shortage.
        assert_eq!((u32_at(&packet, 1), u32_at(&packet, 5)), (64, 4));
        let text = Reader::new(&packet[9..]).string().unwrap();
        assert_eq!(text, b"too many sessions on this connection");
        for (number, peer) in (0..).zip(peers) {
            raw.send(&exec(peer, "echo fine"));
            let finished = raw.finish(number, peer).await.unwrap();
            assert_eq!(finished.stdout, b"fine\n");
        }
        // There is room again.
        let finished = raw.run(64, "echo again").await.unwrap();
        assert_eq!(finished.stdout, b"again\n");
    }
    cell.stop().await;
}

/// A client that never gives one channel more window, while it uses others of the connection.
#[tokio::test]
async fn a_channel_that_nobody_reads_delays_no_other() {
    const WINDOW: u32 = 256 * 1024;
    let cell = Cell::start(options()).await.unwrap();
    for door in doors(&cell) {
        for flood in [
            "exec yes",
            "exec head -c 50000000 /dev/zero",
            "exec yes >&2",
        ] {
            let mut raw = Raw::login(&door).await.unwrap();
            let stalled = raw.open_session(0, WINDOW).await.unwrap();
            raw.send(&exec(stalled, flood));
            let mut received = 0;
            while received < WINDOW {
                let packet = raw.packet().await.unwrap();
                received += match packet[0] {
                    msg::CHANNEL_DATA => u32_at(&packet, 5),
                    msg::CHANNEL_EXTENDED_DATA => u32_at(&packet, 9),
                    _ => 0,
                };
            }
            assert_eq!(received, WINDOW);
            for number in 1..=30 {
                let finished = raw.run(number, "echo on time").await.unwrap();
                assert_eq!(finished.stdout, b"on time\n", "{}: {flood}", door.name);
            }
            let finished = raw.run(31, "head -c 5000000 /dev/zero").await.unwrap();
            assert_eq!(finished.stdout.len(), 5_000_000);
            // And it is not lost: with more window there is more.
            raw.send(&window_adjust(stalled, 10));
            loop {
                let packet = raw.packet().await.unwrap();
                if recipient(&packet) == 0 {
                    assert!(matches!(
                        packet[0],
                        msg::CHANNEL_DATA | msg::CHANNEL_EXTENDED_DATA
                    ));
                    break;
                }
            }
        }
    }
    cell.stop().await;
}

/// A program that never reads, while its client sends all that the window takes.
#[tokio::test]
async fn a_program_that_reads_nothing_delays_no_other() {
    let cell = Cell::start(options()).await.unwrap();
    for door in doors(&cell) {
        let mut raw = Raw::login(&door).await.unwrap();
        let number = 0;
        raw.send(&open("session", number, 1 << 20, 1 << 15));
        let packet = raw.wait_for(msg::CHANNEL_OPEN_CONFIRMATION).await.unwrap();
        let (stalled, window) = (u32_at(&packet, 5), u32_at(&packet, 9));
        raw.send(&exec(stalled, "exec sleep 1000"));
        raw.wait_for(msg::CHANNEL_SUCCESS).await.unwrap();
        let mut left = window;
        while left > 0 {
            let some = left.min(32 * 1024);
            raw.send(&data(stalled, &vec![b'x'; some as usize]));
            raw.flush().await.unwrap();
            left -= some;
        }
        for number in 1..=30 {
            let finished = raw.run(number, "echo on time").await.unwrap();
            assert_eq!(finished.stdout, b"on time\n", "{}", door.name);
        }
        let mut input = vec![b'x'; 500_000];
        input.push(b'\n');
        let peer = raw.open_session(31, 1 << 20).await.unwrap();
        raw.send(&exec(peer, "exec wc -c"));
        for chunk in input.chunks(32 * 1024) {
            raw.send(&data(peer, chunk));
        }
        raw.send(&plain(msg::CHANNEL_EOF, peer));
        let finished = raw.finish(31, peer).await.unwrap();
        assert_eq!(finished.stdout, b"500001\n", "{}", door.name);
        // The client can still end the program.
        raw.send(&request(stalled, "signal", false, &[b"TERM"]));
        let finished = raw.finish(0, stalled).await.unwrap();
        assert_eq!(finished.status, None, "ended by a signal");
    }
    cell.stop().await;
}

/// A client that has an endless window and reads nothing from its socket at all.
#[tokio::test]
async fn a_connection_that_nobody_reads_delays_no_other() {
    let cell = Cell::start(options()).await.unwrap();
    for door in doors(&cell) {
        let mut bystander = Bystander::enter(&door).await;
        let mut stalled = Vec::new();
        for _ in 0..4 {
            let mut raw = Raw::login(&door).await.unwrap();
            let peer = raw.open_session(0, u32::MAX).await.unwrap();
            raw.send(&exec(peer, "exec yes"));
            raw.flush().await.unwrap();
            stalled.push(raw);
        }
        for _ in 0..10 {
            bystander.all_is_well().await;
        }
        drop(stalled);
        bystander.all_is_well().await;
    }
    cell.stop().await;
}

/// A client that asks and asks and reads no answer is made to wait instead of being remembered; when
/// it reads at last, it gets them all.
#[tokio::test]
async fn answers_that_nobody_reads_are_bounded_and_complete() {
    const PINGS: usize = 40_000;
    /// A quarter of what the answers take.
    const MOST_KB: u64 = 10 * 1024;
    let cell = Cell::start(options()).await.unwrap();
    for door in doors(&cell) {
        let mut bystander = Bystander::enter(&door).await;
        let process = match door.name {
            "proxy" => cell.proxy(),
            _ => cell.daemon(0).unwrap(),
        };
        let before = resident_kb(process);

        let mut raw = Raw::login(&door).await.unwrap();
        let mut ping = vec![msg::PING];
        ping.put_string(&[b'x'; 1024]);
        for _ in 0..PINGS {
            raw.send(&ping);
        }
        let mut last = string_message(msg::GLOBAL_REQUEST, "last@example.com");
        last.put_bool(true);
        raw.send(&last);
        let (stream, mut transport) = raw.into_wire().into_parts();
        let (mut reader, mut writer) = stream.into_split();
        let bytes = transport.output().to_vec();
        transport.sent(bytes.len());
        let writing = tokio::spawn(async move { writer.write_all(&bytes).await.map(|()| writer) });

        for _ in 0..5 {
            bystander.all_is_well().await;
        }
        assert!(!writing.is_finished(), "{}: took it all", door.name);
        let grown = resident_kb(process).saturating_sub(before);
        assert!(grown < MOST_KB, "{}: {grown} kB", door.name);

        while transport.poll(now()).unwrap() == Event::NeedInput {
            let count = within("answers", reader.read(transport.input())).await;
            let count = count.unwrap();
            assert!(count > 0, "{}: closed", door.name);
            transport.filled(count);
        }
        assert_eq!(transport.packet(), [msg::REQUEST_FAILURE]);
        writing.await.unwrap().unwrap();
        bystander.all_is_well().await;
    }
    cell.stop().await;
}

fn resident_kb(process: &Process) -> u64 {
    let path = format!("/proc/{}/status", process.pid().unwrap());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.unwrap().split_whitespace().nth(1);
    number.unwrap().parse().unwrap()
}
