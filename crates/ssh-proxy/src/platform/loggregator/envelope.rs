//! The messages of the package `loggregator.v2` that are sent from here: the fields that we fill in,
//! under their published numbers.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

/// Tags of an envelope.
pub(crate) type Tags = BTreeMap<String, String>;

/// `EnvelopeBatch`: one message of a stream.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EnvelopeBatch {
    /// What happened, in order.
    #[prost(message, repeated, tag = "1")]
    pub(super) batch: Vec<Envelope>,
}

/// `BatchSenderResponse`: the agent's answer to the end of a stream.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct BatchSenderResponse {}

/// `Envelope`: a line of a log or a value, and who it is about.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Envelope {
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "1")]
    pub(crate) timestamp: i64,
    /// An app, or a component.
    #[prost(string, tag = "2")]
    pub(crate) source_id: String,
    /// Which instance of it.
    #[prost(string, tag = "8")]
    pub(crate) instance_id: String,
    /// Everything else that is known.
    #[prost(btree_map = "string, string", tag = "9")]
    pub(crate) tags: Tags,
    /// What happened.
    #[prost(oneof = "Content", tags = "4, 5, 6")]
    pub(crate) message: Option<Content>,
}

/// The oneof `message` of an envelope.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Content {
    /// A line of a log.
    #[prost(message, tag = "4")]
    Log(Log),
    /// How often something happened.
    #[prost(message, tag = "5")]
    Counter(Counter),
    /// Values of this moment.
    #[prost(message, tag = "6")]
    Gauge(Gauge),
}

/// `Log`; its type stays 0, which is OUT.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Log {
    /// The line.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) payload: Vec<u8>,
}

/// `Counter`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Counter {
    /// What is counted.
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// How often since the last envelope.
    #[prost(uint64, tag = "2")]
    pub(crate) delta: u64,
}

/// `Gauge`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Gauge {
    /// Values by their names.
    #[prost(btree_map = "string, message", tag = "1")]
    pub(crate) metrics: BTreeMap<String, GaugeValue>,
}

/// `GaugeValue`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GaugeValue {
    /// What the number counts.
    #[prost(string, tag = "1")]
    pub(crate) unit: String,
    /// The number.
    #[prost(double, tag = "2")]
    pub(crate) value: f64,
}

impl Envelope {
    /// An envelope of this moment.
    pub(super) fn now(
        source_id: String,
        instance_id: String,
        tags: Tags,
        content: Content,
    ) -> Self {
        // A clock before 1970 or after 2262 is broken; the agent's own times then have to do.
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let timestamp = since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(0));
        Self {
            timestamp,
            source_id,
            instance_id,
            tags,
            message: Some(content),
        }
    }
}
