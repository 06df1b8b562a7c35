//! Random lists of operations for the model.

use proptest::prelude::*;
use ssh_proto::connection::Stream;

use super::model::{self, Operation};

fn operation() -> impl Strategy<Value = Operation> {
    let side = || 0..2usize;
    let link = || 0..8usize;
    let size = || prop_oneof![0u32..4, 1u32..300];
    let stream = || prop_oneof![Just(Stream::Data), Just(Stream::STDERR)];
    prop_oneof![
        2 => (side(), size(), size()).prop_map(|(s, w, p)| Operation::Open(s, w, p)),
        3 => (side(), size(), size()).prop_map(|(s, w, p)| Operation::Accept(s, w, p)),
        1 => side().prop_map(Operation::Refuse),
        6 => (side(), link(), stream(), 0..400usize)
            .prop_map(|(s, l, t, n)| Operation::Send(s, l, t, n)),
        6 => (side(), link(), stream(), 0..400usize)
            .prop_map(|(s, l, t, n)| Operation::SendWith(s, l, t, n)),
        6 => (side(), link(), 0..400usize).prop_map(|(s, l, n)| Operation::Consume(s, l, n)),
        1 => (side(), link()).prop_map(|(s, l)| Operation::Eof(s, l)),
        1 => (side(), link()).prop_map(|(s, l)| Operation::Close(s, l)),
        3 => (side(), link(), any::<bool>()).prop_map(|(s, l, w)| Operation::Request(s, l, w)),
        3 => (side(), link(), any::<bool>()).prop_map(|(s, l, y)| Operation::Reply(s, l, y)),
        1 => (side(), any::<bool>()).prop_map(|(s, w)| Operation::GlobalRequest(s, w)),
        1 => (side(), any::<bool>()).prop_map(|(s, y)| Operation::GlobalReply(s, y)),
        8 => side().prop_map(Operation::Poll),
        8 => Just(Operation::Pump),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn channels_deliver_what_the_model_says(
        operations in prop::collection::vec(operation(), 0..200),
    ) {
        model::run(operations);
    }
}
