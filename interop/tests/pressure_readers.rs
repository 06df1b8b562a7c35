//! Peers that let others work and remember for them: who asks without end and never reads, who is sent
//! to and never reads, and who begins new keys and does not finish. None costs either program more than
//! a few megabytes, whether it is a user or an instance.
//!
//! The full numbers are for `scripts/soak`; otherwise it is a tenth.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;
mod pressure;
mod support;

use std::fs::File;
use std::future::{Future, pending};
use std::net::Ipv4Addr;

use devcell::Cell;
use packets::impostor::Impostor;
use packets::*;
use pressure::flood::{Deaf, FLOODS, Taken, all_rest};
use pressure::gauge::Gauge;
use pressure::{plain_cell, user_gets_in};
use ssh_proto::msg;
use ssh_proto::wire::Put;
use ssh_tokio::Wire;
use support::user::until;
use support::{soak, tenth};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// Bytes of one flood in the long form.
const FLOOD: usize = 160 << 20;

/// Key exchanges that one user asks for in the long form.
const REKEYS: usize = 5_000;

/// What one connection may make a program hold, in kB.
const MOST_KB: u64 = 4 * 1024;

/// After so many bytes under one key, a program wants another; and a bit.
const REKEY_DUE: usize = (1 << 30) + (64 << 20);

/// A window that is never used up.
const ALL: u32 = u32::MAX;

/// Reads of a file that are asked for at a time, and their size.
const READS: u32 = 2_000;
const READ_BYTES: u32 = 256 * 1024;

/// A cell, and what its programs took before.
struct Place {
    cell: Cell,
    programs: [Gauge; 2],
    before: [u64; 2],
}

impl Place {
    async fn new() -> Self {
        let cell = Cell::start(plain_cell()).await.unwrap();
        for _ in 0..5 {
            user_gets_in(&proxy_door(&cell)).await;
        }
        let programs = [cell.proxy(), cell.daemon(0).unwrap()].map(Gauge::of);
        let before = programs.map(Gauge::memory_kb);
        Self {
            cell,
            programs,
            before,
        }
    }

    /// Checks what both programs take while `something` goes on, and have kept of what went on before;
    /// and that they serve others afterwards.
    async fn bears<T>(&self, what: &str, something: impl Future<Output = T>) -> T {
        let now = self.programs.map(Gauge::memory_kb);
        let [proxy, daemon] = self.programs;
        let (of_proxy, (of_daemon, outcome)) = proxy.peak_kb(daemon.peak_kb(something)).await;
        for (index, peak) in [of_proxy, of_daemon].into_iter().enumerate() {
            let grown = peak.saturating_sub(now[index]);
            let over_all = peak.saturating_sub(self.before[index]);
            let program = ["proxy", "daemon"][index];
            println!("{what}: {grown} kB more in the {program}, {over_all} over all");
            assert!(grown <= MOST_KB, "{what}: {grown} kB in the {program}");
            assert!(over_all <= 2 * MOST_KB, "{what}: kept in the {program}");
        }
        for door in doors(&self.cell) {
            user_gets_in(&door).await;
        }
        outcome
    }

    /// Waits until nothing more can happen.
    async fn rests(&self) {
        all_rest(&self.programs).await;
    }
}

/// A user with a session whose command prints without end.
async fn prints_without_end(door: &Door) -> Raw {
    let mut raw = Raw::login(door).await.unwrap();
    let peer = raw.open_session(0, ALL).await.unwrap();
    raw.send(&exec(peer, "exec cat /dev/zero"));
    raw.wait_for(msg::CHANNEL_SUCCESS).await.unwrap();
    raw
}

/// Users in the long form who were busy once, what each of them had, and what one may cost in silence, in
/// kB. While they are busy it is half a megabyte in each program.
const BUSY: usize = 1_000;
const BUSY_BYTES: usize = 4 << 20;
const SILENT_KB: u64 = 20;

/// What the allocator keeps for threads that had nothing to do before there were users. Without giving
/// back, a tenth of the users would hold forty times as much.
const ARENAS_KB: u64 = 1024;

#[tokio::test(flavor = "multi_thread")]
async fn who_was_busy_and_falls_silent_gives_the_memory_back() {
    let place = Place::new().await;
    let door = proxy_door(&place.cell);
    let mut users = Vec::new();
    for _ in 0..tenth(BUSY) {
        let mut user = Raw::login(&door).await.unwrap();
        let command = format!("head -c {BUSY_BYTES} /dev/zero");
        let finished = user.run(0, &command).await.unwrap();
        assert_eq!(finished.stdout.len(), BUSY_BYTES);
        users.push(user);
    }
    let most = ARENAS_KB + SILENT_KB * users.len() as u64;
    for (index, program) in place.programs.into_iter().enumerate() {
        until("memory is given back", || {
            program.memory_kb().saturating_sub(place.before[index]) <= most
        })
        .await;
    }
    for mut user in users {
        assert_eq!(user.run(1, "echo back").await.unwrap().stdout, b"back\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_without_end_and_reads_nothing_costs_little() {
    let place = Place::new().await;
    for (name, flood) in FLOODS {
        for door in doors(&place.cell) {
            let mut raw = Raw::login(&door).await.unwrap();
            let peer = raw.open_session(0, 1 << 20).await.unwrap();
            let mut deaf = Deaf::on(raw.into_wire());
            let floods = async {
                let taken = deaf.floods(&flood(peer), tenth(FLOOD)).await;
                place.rests().await;
                taken
            };
            let what = format!("{}, {name}", door.name);
            let taken = place.bears(&what, floods).await;
            println!("{what}: {taken:?} after {} bytes", deaf.sent);
        }
    }
    place.cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_what_a_command_prints_costs_little() {
    let place = Place::new().await;
    for door in doors(&place.cell) {
        let raw = prints_without_end(&door).await;
        let _deaf = Deaf::on(raw.into_wire());
        place
            .bears(&format!("{}, a command", door.name), place.rests())
            .await;
    }
    place.cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_what_comes_through_a_forward_costs_little() {
    let place = Place::new().await;
    let talker = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = talker.local_addr().unwrap().port();
    let talking = tokio::spawn(async move {
        loop {
            let (mut stream, _) = talker.accept().await.unwrap();
            tokio::spawn(async move { while stream.write_all(&[0; 65536]).await.is_ok() {} });
        }
    });
    for door in doors(&place.cell) {
        let mut raw = Raw::login(&door).await.unwrap();
        for number in 0..16 {
            let mut payload = open("direct-tcpip", number, ALL, 1 << 15);
            for (host, port) in [("127.0.0.1", port), ("127.0.0.1", 1)] {
                payload.put_string(host.as_bytes());
                payload.put_u32(port.into());
            }
            raw.send(&payload);
        }
        raw.flush().await.unwrap();
        let _deaf = Deaf::on(raw.into_wire());
        place
            .bears(&format!("{}, forwards", door.name), place.rests())
            .await;
    }
    talking.abort();
    place.cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_a_file_and_does_not_read_it_costs_little() {
    let place = Place::new().await;
    let path = place.cell.dir().join("large");
    File::create(&path).unwrap().set_len(1 << 30).unwrap();
    for door in doors(&place.cell) {
        let mut raw = Raw::login(&door).await.unwrap();
        let peer = raw.open_session(0, ALL).await.unwrap();
        raw.send(&request(peer, "subsystem", true, &[b"sftp"]));
        raw.wait_for(msg::CHANNEL_SUCCESS).await.unwrap();
        raw.send(&data(peer, &[0, 0, 0, 5, 1, 0, 0, 0, 3]));
        raw.wait_for(msg::CHANNEL_DATA).await.unwrap();
        let mut ask = vec![3, 0, 0, 0, 1];
        ask.put_string(path.to_str().unwrap().as_bytes());
        ask.put_u32(1);
        ask.put_u32(0);
        raw.send(&data(peer, &sftp_packet(&ask)));
        let answer = raw.wait_for(msg::CHANNEL_DATA).await.unwrap();
        // CHANNEL_DATA, the channel, a string, its packet: the handle is from its id on.
        let handle = &answer[18..];
        for number in 0..READS {
            let mut read = vec![5];
            read.put_u32(number);
            read.extend_from_slice(handle);
            read.extend_from_slice(&(u64::from(number) * u64::from(READ_BYTES)).to_be_bytes());
            read.put_u32(READ_BYTES);
            raw.send(&data(peer, &sftp_packet(&read)));
        }
        raw.flush().await.unwrap();
        let _deaf = Deaf::on(raw.into_wire());
        place
            .bears(&format!("{}, a file", door.name), place.rests())
            .await;
    }
    place.cell.stop().await;
}

/// A packet of sftp behind its length.
fn sftp_packet(packet: &[u8]) -> Vec<u8> {
    let mut framed = Vec::new();
    framed.put_string(packet);
    framed
}

#[tokio::test(flavor = "multi_thread")]
async fn who_begins_new_keys_and_does_not_finish_costs_little() {
    let place = Place::new().await;
    for reads in [true, false] {
        for door in doors(&place.cell) {
            let raw = prints_without_end(&door).await;
            let mut deaf = Deaf::on(raw.into_wire()).starts_keying().await;
            let stall = async {
                // Data flow meanwhile, up to the server's KEXINIT.
                if reads {
                    deaf.hears().await;
                }
                place.rests().await;
            };
            let what = format!("{}, new keys, reads: {reads}", door.name);
            place.bears(&what, stall).await;
        }
    }
    place.cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_new_keys_again_and_again_gets_them_and_costs_little() {
    let place = Place::new().await;
    for door in doors(&place.cell) {
        let mut raw = Raw::login(&door).await.unwrap();
        let mut question = string_message(msg::GLOBAL_REQUEST, "question@example.com");
        question.put_bool(true);
        let rekeys = async {
            for _ in 0..tenth(REKEYS) {
                raw.start_rekey();
                // It is held until the new keys are there.
                raw.send(&question);
                raw.wait_for(msg::REQUEST_FAILURE).await.unwrap();
            }
        };
        place
            .bears(&format!("{}, new keys", door.name), rekeys)
            .await;
    }
    place.cell.stop().await;
}

/// The long form alone has the bytes after which the programs want new keys.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_when_new_keys_are_due_is_cut_and_costs_little() {
    let place = Place::new().await;
    let bytes = if soak() { REKEY_DUE } else { tenth(FLOOD) };
    for door in doors(&place.cell) {
        let raw = Raw::login(&door).await.unwrap();
        let mut deaf = Deaf::on(raw.into_wire());
        let (_, ignore) = FLOODS[0];
        let payload = ignore(0);
        let floods = deaf.floods(&payload, bytes);
        let what = format!("{}, no answer", door.name);
        assert_ne!(place.bears(&what, floods).await, Taken::Cut);
        if soak() {
            deaf.is_ended().await;
        }
    }
    place.cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_asks_without_end_and_reads_nothing_costs_little() {
    let place = Place::new().await;
    let impostor = Impostor::instead_of_the_second(&place.cell).await;
    for (name, flood) in FLOODS {
        for user_reads in [true, false] {
            let (mut user, wire) = impostor.meet(&place.cell).await;
            // What the instance says is about this.
            user.send(&open("session", 0, ALL, 1 << 15));
            user.flush().await.unwrap();
            let mut deaf = Deaf::on(wire);
            let floods = async {
                let taken = deaf.floods(&flood(0), tenth(FLOOD)).await;
                place.rests().await;
                taken
            };
            let what = format!("instance, {name}, user reads: {user_reads}");
            let taken = if user_reads {
                place.bears(&what, during(user.into_wire(), floods)).await
            } else {
                place.bears(&what, floods).await
            };
            println!("{what}: {taken:?} after {} bytes", deaf.sent);
        }
    }
    place.cell.stop().await;
}

/// `user` takes whatever comes while `something` goes on.
async fn during<T>(mut user: Wire<TcpStream>, something: impl Future<Output = T>) -> T {
    let takes = async {
        while user.next().await.is_ok() {}
        pending().await
    };
    tokio::select! {
        outcome = something => outcome,
        never = takes => never,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_begins_new_keys_and_does_not_finish_costs_little() {
    let place = Place::new().await;
    let impostor = Impostor::instead_of_the_second(&place.cell).await;
    for hears in [true, false] {
        let (user, wire) = impostor.meet(&place.cell).await;
        let mut deaf = Deaf::on(wire).starts_keying().await;
        let mut user = Deaf::on(user.into_wire());
        let stall = async {
            // What the user sends meanwhile has to wait.
            let flood = data(0, &[0; 32 * 1024]);
            let taken = user.floods(&flood, tenth(FLOOD)).await;
            if hears {
                deaf.hears().await;
            }
            place.rests().await;
            taken
        };
        let what = format!("instance, new keys, hears: {hears}");
        assert_eq!(place.bears(&what, stall).await, Taken::Stuck);
    }
    place.cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_does_not_read_what_its_user_sends_costs_little() {
    let place = Place::new().await;
    let impostor = Impostor::instead_of_the_second(&place.cell).await;
    let (user, _wire) = impostor.meet(&place.cell).await;
    let mut user = Deaf::on(user.into_wire());
    let flood = data(0, &[0; 32 * 1024]);
    let floods = user.floods(&flood, tenth(FLOOD));
    let taken = place.bears("instance, user sends", floods).await;
    assert_eq!(taken, Taken::Stuck);
    place.cell.stop().await;
}
