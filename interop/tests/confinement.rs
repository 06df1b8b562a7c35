//! What the programs need of the kernel, which is no privilege at all, and what one session sees of
//! another, which is nothing.
//!
//! Variables that are set within the bounds are isolation.rs's; users without a name and empty root file
//! systems are container.rs's.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;
mod rooms;
mod support;

use std::ffi::OsString;

use devcell::rig::Binaries;
use devcell::{Cell, CellOptions};
use interop::process::require;
use packets::*;
use rooms::{is_root, status};
use ssh_proto::msg;
use ssh_proto::wire::Put;
use support::soak;
use support::wrapped::Wrapped;

/// The words that take every right away that a process can have beyond those of its user, and the way back
/// to them. Without root's rights there are none to take.
fn without_rights() -> Vec<&'static str> {
    require("setpriv");
    let mut words = vec!["setpriv", "--no-new-privs", "--inh-caps=-all"];
    if is_root() {
        words.push("--bounding-set=-all");
    }
    words
}

#[tokio::test]
async fn both_programs_do_all_they_do_without_any_privilege() {
    let wrapped = Wrapped::proxy("", &without_rights().join(" "));
    let mut daemon: Vec<OsString> = without_rights().into_iter().map(Into::into).collect();
    daemon.push(Binaries::find().unwrap().diego_sshd.into());
    let cell = Cell::start(CellOptions {
        binaries: Some(wrapped.binaries()),
        daemon_command: daemon,
        ..options()
    })
    .await
    .unwrap();
    for program in [cell.proxy(), cell.daemon(0).unwrap()] {
        let pid = program.pid().unwrap();
        assert_eq!(status(pid, "NoNewPrivs"), "1", "{}", program.name());
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status(pid, set), "0000000000000000", "{}", program.name());
        }
    }
    for door in doors(&cell) {
        let mut raw = Raw::login(&door).await.unwrap();
        let finished = raw.run(0, "grep NoNewPrivs /proc/self/status").await;
        assert_eq!(finished.unwrap().stdout, b"NoNewPrivs:\t1\n");
        let peer = raw.open_session(1, 1 << 20).await.unwrap();
        raw.send(&terminal(peer, "xterm"));
        assert_eq!(raw.packet().await.unwrap()[0], msg::CHANNEL_SUCCESS);
        raw.send(&exec(peer, "tty && echo done"));
        let finished = raw.finish(1, peer).await.unwrap();
        assert_eq!(finished.status, Some(0), "{finished:?}");

        let peer = raw.open_session(2, 1 << 20).await.unwrap();
        raw.send(&request(peer, "subsystem", true, &[b"sftp"]));
        raw.send(&data(peer, &[0, 0, 0, 5, 1, 0, 0, 0, 3]));
        raw.send(&plain(msg::CHANNEL_EOF, peer));
        let finished = raw.finish(2, peer).await.unwrap();
        assert_eq!(finished.status, Some(0), "{finished:?}");
        assert!(!finished.stdout.is_empty());

        let mut listen = string_message(msg::GLOBAL_REQUEST, "tcpip-forward");
        listen.put_bool(true);
        listen.put_string(b"127.0.0.1");
        listen.put_u32(0);
        raw.send(&listen);
        raw.wait_for(msg::REQUEST_SUCCESS).await.unwrap();

        let peer = raw.open_session(3, 1 << 20).await.unwrap();
        raw.send(&request(peer, "auth-agent-req@openssh.com", true, &[]));
        assert_eq!(raw.packet().await.unwrap()[0], msg::CHANNEL_SUCCESS);
        raw.send(&exec(peer, "test -S \"$SSH_AUTH_SOCK\""));
        assert_eq!(raw.finish(3, peer).await.unwrap().status, Some(0));

        let peer = raw.open_session(4, 1 << 20).await.unwrap();
        raw.send(&exec(peer, "echo up; exec sleep 1000"));
        raw.wait_for(msg::CHANNEL_DATA).await.unwrap();
        raw.send(&request(peer, "signal", false, &[b"KILL"]));
        assert_eq!(raw.finish(4, peer).await.unwrap().status, None);
    }
    cell.stop().await;
}

/// A pty-req without modes.
fn terminal(channel: u32, name: &str) -> Vec<u8> {
    let mut payload = request(channel, "pty-req", true, &[name.as_bytes()]);
    for number in [80, 24, 0, 0] {
        payload.put_u32(number);
    }
    payload.put_string(b"");
    payload
}

/// What a command sees of its surroundings.
const LOOK: &str = "echo \"${TERM-none} $SSH_AUTH_SOCK $(tty)\"; pwd; umask; ls /proc/self/fd; \
    env | sort; grep -E '^(Sig(Blk|Ign)|Cap|Seccomp|Umask)' /proc/self/status; ulimit -a";

/// A session that has all there is, and changes all that it can.
async fn spread_out(raw: &mut Raw, marker: &str) {
    let peer = raw.open_session(10, u32::MAX).await.unwrap();
    raw.send(&terminal(peer, marker));
    raw.send(&request(peer, "env", true, &[b"MARKER", marker.as_bytes()]));
    raw.send(&request(peer, "auth-agent-req@openssh.com", true, &[]));
    for _ in 0..3 {
        assert_eq!(raw.packet().await.unwrap()[0], msg::CHANNEL_SUCCESS);
    }
    let command = "cd /; umask 0; export LEAKS=1; trap '' HUP INT; ulimit -n 40; \
        exec 7</etc/passwd; echo $TERM; exec cat";
    raw.send(&exec(peer, command));
    raw.wait_for(msg::CHANNEL_DATA).await.unwrap();

    // A file that stays open in the daemon itself, and a listener.
    let peer = raw.open_session(11, u32::MAX).await.unwrap();
    raw.send(&request(peer, "subsystem", true, &[b"sftp"]));
    let mut open_file = vec![3];
    open_file.put_u32(1);
    open_file.put_string(b"/etc/passwd");
    open_file.put_u32(1);
    open_file.put_u32(0);
    let mut packets = Vec::new();
    packets.put_string(&[1, 0, 0, 0, 3]);
    packets.put_string(&open_file);
    raw.send(&data(peer, &packets));
    let mut listen = string_message(msg::GLOBAL_REQUEST, "tcpip-forward");
    listen.put_bool(true);
    listen.put_string(b"127.0.0.1");
    listen.put_u32(0);
    raw.send(&listen);
    raw.wait_for(msg::REQUEST_SUCCESS).await.unwrap();
}

#[tokio::test]
async fn a_session_sees_nothing_of_others() {
    let cell = Cell::start(options()).await.unwrap();
    for door in doors(&cell) {
        let mut before = Raw::login(&door).await.unwrap();
        let alone = before.run(0, LOOK).await.unwrap();
        let text = String::from_utf8(alone.stdout.clone()).unwrap();
        // The three streams, and the directory that `ls` reads.
        assert!(text.contains("\n0\n1\n2\n3\n"), "{text}");
        assert!(!text.contains("\n4\n"), "{text}");

        let mut others = Vec::new();
        for number in 0..3 {
            let mut raw = Raw::login(&door).await.unwrap();
            spread_out(&mut raw, &format!("marker-{number}")).await;
            others.push(raw);
        }
        // On a connection of others, on one that was there before, and on a new one.
        let mut after = Raw::login(&door).await.unwrap();
        for raw in [&mut others[0], &mut before, &mut after] {
            let seen = raw.run(20, LOOK).await.unwrap();
            assert_eq!(
                String::from_utf8(seen.stdout).unwrap(),
                text,
                "{}",
                door.name
            );
        }
    }
    cell.stop().await;
}

/// One map of variables for all connections, without a lock, was the end of the reference's daemon.
#[tokio::test(flavor = "multi_thread")]
async fn variables_of_sixteen_connections_race() {
    const CONNECTIONS: u32 = 16;
    let variables: u32 = if soak() { 1_000_000 } else { 5_000 };
    let cell = Cell::start(options()).await.unwrap();
    let door = daemon_door(&cell);
    let racers = (0..CONNECTIONS).map(|connection| {
        let door = door.clone();
        tokio::spawn(async move {
            let mut raw = Raw::login(&door).await.unwrap();
            let peer = raw.open_session(0, 1 << 20).await.unwrap();
            for variable in 0..variables {
                let name = format!("V{}", variable % 100);
                let value = format!("{connection}-{variable}");
                raw.send(&request(
                    peer,
                    "env",
                    false,
                    &[name.as_bytes(), value.as_bytes()],
                ));
                if variable % 1000 == 0 {
                    raw.flush().await.unwrap();
                }
            }
            raw.send(&exec(peer, "env | grep -c '^V[0-9]'; echo $V99"));
            let finished = raw.finish(0, peer).await.unwrap();
            let expected = format!("100\n{connection}-{}\n", variables - 1);
            assert_eq!(String::from_utf8(finished.stdout).unwrap(), expected);
        })
    });
    let racers: Vec<_> = racers.collect();
    for racer in racers {
        racer.await.unwrap();
    }
    Bystander::enter(&door).await.all_is_well().await;
    cell.stop().await;
}
