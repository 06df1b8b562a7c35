//! What a transport keeps while nothing comes.

use std::time::Duration;

use crate::support::{CLIENT, ENDS, Pair, SERVER, payload};

const SECOND: Duration = Duration::from_secs(1);

/// Enough to make both buffers large.
fn much(pair: &mut Pair) {
    for _ in 0..40 {
        for number in 0..8 {
            pair.ends[SERVER].send(&[&payload(number, 30_000)]);
        }
        pair.drive();
    }
    assert_eq!(pair.take_got(CLIENT).len(), 320);
}

#[test]
fn large_buffers_stay_while_they_are_filled_and_go_after_a_silent_second() {
    let mut pair = Pair::authenticated();
    for end in ENDS {
        pair.ends[end].rest(pair.now);
        assert_eq!(pair.ends[end].poll_timeout(), None, "nothing has come yet");
    }
    for _ in 0..3 {
        much(&mut pair);
        for end in ENDS {
            pair.ends[end].rest(pair.now);
            assert_eq!(pair.ends[end].poll_timeout(), Some(pair.now + SECOND));
        }
        pair.advance(1);
        for end in ENDS {
            assert_eq!(pair.ends[end].handle_timeout(pair.now), Ok(()));
            assert_eq!(pair.ends[end].poll_timeout(), None);
        }
    }
    // In the second that has passed much has come: the next one decides.
    for end in ENDS {
        pair.ends[end].rest(pair.now);
        assert_eq!(pair.ends[end].poll_timeout(), Some(pair.now + SECOND));
    }
    pair.advance(1);
    for end in ENDS {
        assert_eq!(pair.ends[end].handle_timeout(pair.now), Ok(()));
        pair.ends[end].rest(pair.now);
        assert_eq!(pair.ends[end].poll_timeout(), None, "nothing is left");
    }
}
