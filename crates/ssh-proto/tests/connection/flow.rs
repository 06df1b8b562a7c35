//! RFC 4254 section 5.2: windows, packet sizes, and the transport's room.

use std::time::Instant;

use ssh_proto::Error;
use ssh_proto::connection::{Connection, Event, Limits, Stream};
use ssh_proto::msg;

use super::wire::{
    Rig, data, extended, global_request, numbers, open, open_failure, pair, pump, request,
};

fn rig() -> Rig {
    Rig::new(Limits::default())
}

#[test]
fn data_go_out_in_pieces_that_window_and_packet_size_allow() {
    let mut rig = rig();
    let channel = rig.accepted(10, 4);
    assert_eq!(rig.connection.writable(channel), 4);
    let taken = rig
        .connection
        .send_data(channel, Stream::Data, b"0123456789ab");
    assert_eq!(taken, 10);
    assert_eq!(
        rig.heard(),
        [data(7, b"0123"), data(7, b"4567"), data(7, b"89")]
    );
    assert_eq!(rig.connection.writable(channel), 0);
}

#[test]
fn a_window_that_was_empty_is_told_when_it_opens() {
    let mut rig = rig();
    let channel = rig.accepted(0, 4);
    let adjust = |bytes| numbers(msg::CHANNEL_WINDOW_ADJUST, &[0, bytes]);
    assert_eq!(rig.event(&adjust(0)), Event::NeedInput);
    assert_eq!(rig.event(&adjust(3)), Event::WindowOpened { channel });
    assert_eq!(rig.event(&adjust(3)), Event::NeedInput);
    assert_eq!(
        rig.connection
            .send_data(channel, Stream::Data, b"0123456789"),
        6
    );
    rig.connection.send_eof(channel);
    assert_eq!(rig.event(&adjust(9)), Event::NeedInput);
}

#[test]
fn a_window_beyond_2_32_minus_1_cut() {
    let mut rig = rig();
    rig.accepted(u32::MAX - 5, 100);
    assert_eq!(rig.event(&numbers(93, &[0, 5])), Event::NeedInput);
    rig.cut(&numbers(93, &[0, 1]));
}

#[test]
fn data_beyond_the_window_cut_and_extended_data_count() {
    let mut rig = rig();
    let channel = rig.accepted(100, 100);
    let stream = Stream::Data;
    assert_eq!(
        rig.event(&data(0, &[1; 50])),
        Event::Data { channel, stream }
    );
    let stream = Stream::STDERR;
    assert_eq!(
        rig.event(&extended(0, 1, &[1; 50])),
        Event::Data { channel, stream }
    );
    assert_eq!(rig.connection.data(), [1; 50]);
    assert_eq!(
        rig.cut(&data(0, b"x")),
        Error::Misbehaved("data beyond the window")
    );
}

#[test]
fn data_beyond_the_packet_size_cut() {
    let mut rig = rig();
    rig.accepted(100, 100);
    rig.cut(&data(0, &[1; 51]));
}

#[test]
fn a_window_overrun_after_our_close_cut() {
    let mut rig = rig();
    let channel = rig.accepted(100, 100);
    rig.connection.close(channel);
    rig.heard();
    rig.say(&data(0, &[1; 50]));
    rig.say(&data(0, &[1; 50]));
    rig.cut(&data(0, b"x"));
}

#[test]
fn consumed_data_are_credited_once_a_quarter_of_the_window_is() {
    let mut rig = rig();
    let channel = rig.accepted(100, 100);
    rig.event(&data(0, &[1; 50]));
    rig.connection.consumed(channel, 24);
    assert_eq!(rig.heard(), Vec::<Vec<u8>>::new());
    rig.connection.consumed(channel, 1);
    assert_eq!(rig.heard(), [numbers(93, &[7, 25])]);
    rig.connection.consumed(channel, 1000);
    assert_eq!(rig.heard(), [numbers(93, &[7, 25])]);
}

#[test]
fn nothing_is_credited_to_a_peer_that_sent_its_eof() {
    let mut rig = rig();
    let channel = rig.accepted(100, 100);
    rig.event(&data(0, &[1; 50]));
    rig.event(&numbers(msg::CHANNEL_EOF, &[0]));
    rig.connection.consumed(channel, 50);
    assert_eq!(rig.heard(), Vec::<Vec<u8>>::new());
}

#[test]
fn unknown_extended_data_are_the_applications() {
    let mut rig = rig();
    let channel = rig.accepted(100, 100);
    let stream = Stream::Extended(u32::MAX);
    assert_eq!(
        rig.event(&extended(0, u32::MAX, b"?")),
        Event::Data { channel, stream }
    );
    assert_eq!(rig.connection.data(), b"?");
    rig.connection.send_data(channel, Stream::Extended(2), b"!");
    assert_eq!(rig.heard(), [extended(7, 2, b"!")]);
}

#[test]
fn empty_data_are_swallowed_and_a_flood_of_them_cut() {
    let mut rig = rig();
    rig.accepted(100, 100);
    for _ in 0..65_536 {
        assert_eq!(rig.event(&data(0, b"")), Event::NeedInput);
    }
    assert!(matches!(rig.cut(&extended(0, 1, b"")), Error::Limit(_)));
}

#[test]
fn data_with_bytes_end_a_run_of_empty_ones() {
    let mut rig = rig();
    let channel = rig.accepted(100, 100);
    for round in 0..70_000 {
        let full = round % 30_000 == 0;
        let event = rig.event(&data(0, if full { b"x" } else { b"" }));
        assert_eq!(event != Event::NeedInput, full);
        rig.connection.consumed(channel, 1);
    }
}

#[test]
fn data_stop_where_the_transport_has_no_room_and_answers_do_not() {
    let mut rig = rig();
    let channel = rig.accepted(u32::MAX, u32::MAX);
    let much = vec![7; 4 << 20];
    let taken = rig.connection.send_data(channel, Stream::Data, &much);
    assert!(taken > 0 && taken < much.len());
    assert_eq!(rig.connection.writable(channel), 0);
    assert_eq!(
        rig.connection
            .send_data_with(channel, Stream::Data, |_| (1, ())),
        None
    );
    rig.connection.send_eof(channel);
    let heard = rig.heard();
    let (last, sent) = heard.split_last().unwrap();
    assert_eq!(*last, numbers(msg::CHANNEL_EOF, &[7]));
    assert_eq!(
        sent.iter().map(|payload| payload.len() - 9).sum::<usize>(),
        taken
    );
    assert!(sent.iter().all(|payload| payload.len() - 9 <= 32 * 1024));
}

#[test]
fn data_can_be_written_into_the_packet_itself() {
    let mut rig = rig();
    let channel = rig.accepted(10, 6);
    let write = |buffer: &mut [u8]| {
        assert_eq!(buffer.len(), 6);
        buffer[..3].copy_from_slice(b"abc");
        (3, "result")
    };
    let sent = rig
        .connection
        .send_data_with(channel, Stream::STDERR, write);
    assert_eq!(sent, Some("result"));
    assert_eq!(rig.heard(), [extended(7, 1, b"abc")]);
    let nothing = rig
        .connection
        .send_data_with(channel, Stream::Data, |_| (0, 5));
    assert_eq!(nothing, Some(5));
    assert_eq!(rig.heard(), Vec::<Vec<u8>>::new());
    let too_much = |buffer: &mut [u8]| {
        buffer.fill(b'z');
        (usize::MAX, ())
    };
    rig.connection
        .send_data_with(channel, Stream::Data, too_much);
    assert_eq!(rig.heard(), [data(7, b"zzzzzz")]);
    assert_eq!(rig.connection.writable(channel), 1);
    rig.connection.send_eof(channel);
    let closed = rig
        .connection
        .send_data_with(channel, Stream::Data, |_| (1, ()));
    assert_eq!(closed, None);
}

#[test]
fn windows_and_packet_sizes_stay_within_the_limits() {
    let limits = Limits {
        window: 1000,
        max_packet: 30,
        ..Limits::default()
    };
    let mut rig = Rig::new(limits);
    rig.connection
        .open("session", u32::MAX, u32::MAX, b"")
        .unwrap();
    rig.connection.open("session", 0, 0, b"").unwrap();
    assert_eq!(rig.heard(), [open(0, 1000, 30), open(1, 0, 1)]);
}

#[test]
fn all_windows_together_stay_within_a_total() {
    let mut rig = rig();
    let mut total = 0;
    for _ in 0..Limits::CHANNELS {
        rig.connection
            .open("session", Limits::WINDOW, 1, b"")
            .unwrap();
    }
    for payload in rig.heard() {
        let window = payload[16..20].try_into().unwrap();
        total += u64::from(u32::from_be_bytes(window));
    }
    assert!(total <= 12 << 20, "{total}");
}

#[test]
fn the_window_of_a_channel_that_is_gone_is_free_again() {
    let mut rig = rig();
    for _ in 0..100 {
        let window = Limits::WINDOW;
        rig.connection.open("session", window, 1, b"").unwrap();
        assert_eq!(rig.heard(), [open(0, window, 1)]);
        rig.event(&open_failure(0, 1, b""));
        let Event::ChannelOpen { channel, .. } = rig.event(&open(7, 1, 1)) else {
            panic!();
        };
        rig.connection.accept(channel, window, 1, b"");
        let confirmation = numbers(msg::CHANNEL_OPEN_CONFIRMATION, &[7, 0, window, 1]);
        assert_eq!(rig.heard(), [confirmation]);
        rig.event(&numbers(msg::CHANNEL_CLOSE, &[0]));
        rig.connection.close(channel);
        rig.heard();
    }
}

#[test]
fn data_are_there_only_with_the_event_that_tells_of_them() {
    let mut rig = rig();
    let channel = rig.accepted(100, 100);
    rig.event(&data(0, b"hello"));
    assert_eq!(rig.connection.data(), b"hello");
    rig.event(&request(0, b"a-name-that-is-longer-than-the-data", false));
    assert_eq!(rig.connection.data(), b"");
    rig.connection.close(channel);
    rig.say(&data(0, b"dropped"));
    rig.event(&global_request(
        b"a-name-that-is-longer-than-the-data",
        false,
    ));
    assert_eq!(rig.connection.data(), b"");
}

/// More than 4 GiB would take minutes; that much arithmetic is tested in `window`.
#[test]
fn many_windows_go_through_one_channel() {
    let (mut a, mut b) = pair(&Limits::default());
    let kind = "session";
    let out = a
        .open(kind, Limits::WINDOW, Limits::MAX_PACKET, b"")
        .unwrap();
    pump(&mut a, &mut b);
    let Ok(Event::ChannelOpen { channel, .. }) = b.poll(Instant::now()) else {
        panic!();
    };
    b.accept(channel, Limits::WINDOW, Limits::MAX_PACKET, b"");
    let (mut sent, mut received) = (0u64, 0u64);
    while received <= 32 * u64::from(Limits::WINDOW) {
        while let Some(count) = a.send_data_with(out, Stream::Data, |it| (it.len(), it.len())) {
            sent += count as u64;
        }
        pump(&mut a, &mut b);
        received += take_data(&mut b);
        take_data(&mut a);
        pump(&mut a, &mut b);
    }
    assert_eq!(sent, received);
}

/// Polls until there is no more, and consumes what comes.
fn take_data(connection: &mut Connection) -> u64 {
    let mut taken = 0;
    loop {
        match connection.poll(Instant::now()).unwrap() {
            Event::NeedInput => return taken,
            Event::Data { channel, .. } => {
                let length = connection.data().len();
                taken += length as u64;
                connection.consumed(channel, length);
            }
            _ => {}
        }
    }
}
