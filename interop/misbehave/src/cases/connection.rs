//! What rows of the connection protocol (RFC 4254) have in common: steps on the open channel, and
//! what comes of them.

use crate::case::{Answer, Expect, Step};
use crate::end::{BY_APPLICATION, End, PROTOCOL_ERROR};
use crate::payload::request;
use ssh_proto::msg;

/// What the proxy makes of an end that the instance has put to the connection. It forwards data and
/// windows unseen, so that only the instance can tell that they break a rule.
pub(super) const TOLD: Expect = Expect::Cut(&[BY_APPLICATION]);

/// DISCONNECT by whoever sees it first.
pub(super) const CUT: Expect = Expect::Cut(&[PROTOCOL_ERROR, BY_APPLICATION]);

/// A message is answered with UNIMPLEMENTED (RFC 4253 section 11.4).
pub(super) fn unimplemented() -> Expect {
    Expect::answer(msg::UNIMPLEMENTED)
}

/// A channel request is done.
pub(super) fn done() -> Expect {
    Expect::answer(msg::CHANNEL_SUCCESS)
}

/// A channel request is refused.
pub(super) fn refused() -> Expect {
    Expect::answer(msg::CHANNEL_FAILURE)
}

/// A channel is refused.
pub(super) fn not_opened() -> Expect {
    Expect::answer(msg::CHANNEL_OPEN_FAILURE)
}

/// A global request is refused.
pub(super) fn refused_globally() -> Expect {
    Expect::answer(msg::REQUEST_FAILURE)
}

/// Messages of these numbers in this order.
pub(super) fn answers(numbers: &[u8]) -> Expect {
    Expect::Answered(numbers.iter().copied().map(Answer::Number).collect())
}

/// One of these.
pub(super) fn either(all: impl IntoIterator<Item = Expect>) -> Expect {
    Expect::Either(all.into_iter().collect())
}

/// A message about the user who may log in: some servers hear of one user only.
pub(super) fn for_user(make: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Step {
    Step::act(move |peer| {
        let payload = make(&peer.user());
        peer.say(&payload)
    })
}

/// A message for the open channel, by the server's number of it.
pub(super) fn to_channel(make: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> Step {
    Step::act(move |peer| {
        let channel = peer.channel.ok_or(End::Garbled("no channel"))?;
        peer.say(&make(channel))
    })
}

/// A request on the open channel that wants a reply, with these bytes behind want_reply.
pub(super) fn ask(name: impl AsRef<[u8]>, fields: impl AsRef<[u8]>) -> Step {
    let (name, fields) = (name.as_ref().to_vec(), fields.as_ref().to_vec());
    to_channel(move |channel| {
        let mut payload = request(channel, &name, true, &[]);
        payload.extend_from_slice(&fields);
        payload
    })
}

/// A request on the open channel that wants no reply, with these bytes behind want_reply.
pub(super) fn tell(name: impl AsRef<[u8]>, fields: impl AsRef<[u8]>) -> Step {
    let (name, fields) = (name.as_ref().to_vec(), fields.as_ref().to_vec());
    to_channel(move |channel| {
        let mut payload = request(channel, &name, false, &[]);
        payload.extend_from_slice(&fields);
        payload
    })
}

/// These steps, all of whose bytes leave in one piece.
pub(super) fn at_once(steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let mut all = vec![Step::Cork];
    all.extend(steps);
    all.push(Step::Uncork);
    all
}

/// Strings, each with its length.
pub(super) fn strings<'a>(all: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    use ssh_proto::wire::Put;
    let mut bytes = Vec::new();
    for one in all {
        bytes.put_string(one);
    }
    bytes
}

/// Numbers of 32 bits.
pub(super) fn numbers(all: impl IntoIterator<Item = u32>) -> Vec<u8> {
    all.into_iter().flat_map(u32::to_be_bytes).collect()
}

/// The first `length` bytes.
pub(super) fn cut(bytes: &[u8], length: usize) -> Vec<u8> {
    bytes.get(..length).unwrap_or(bytes).to_vec()
}

/// All but the last `length` bytes.
pub(super) fn short_by(bytes: &[u8], length: usize) -> Vec<u8> {
    cut(bytes, bytes.len().saturating_sub(length))
}

/// One byte more.
pub(super) fn longer(bytes: &[u8]) -> Vec<u8> {
    [bytes, &[0]].concat()
}
