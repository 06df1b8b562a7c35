//! The messages of BBS (protobuf package `models`), as far as the proxy needs their fields.
//!
//! Field numbers are those of cloudfoundry/bbs; what is not listed is skipped when decoding.

use std::collections::HashMap;
use std::fmt;

use zeroize::Zeroize;

/// Asks for actual LRPs that match all that is set.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ActualLrpsRequest {
    /// Guid of the process.
    #[prost(string, tag = "3")]
    pub(crate) process_guid: String,
    /// Index of the instance. Optional so that index 0 is sent; without it the request would match
    /// every instance.
    #[prost(int32, optional, tag = "4")]
    pub(crate) index: Option<i32>,
}

/// Answer to [`ActualLrpsRequest`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ActualLrpsResponse {
    /// Set if the request failed.
    #[prost(message, optional, tag = "1")]
    pub(crate) error: Option<Error>,
    /// The rows that match, of every presence and state.
    #[prost(message, repeated, tag = "2")]
    pub(crate) actual_lrps: Vec<ActualLrp>,
}

/// Asks for a desired LRP.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct DesiredLrpRequest {
    /// Guid of the process.
    #[prost(string, tag = "1")]
    pub(crate) process_guid: String,
}

/// Answer to [`DesiredLrpRequest`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct DesiredLrpResponse {
    /// Set if the request failed.
    #[prost(message, optional, tag = "1")]
    pub(crate) error: Option<Error>,
    /// The desired LRP.
    #[prost(message, optional, tag = "2")]
    pub(crate) desired_lrp: Option<DesiredLrp>,
}

/// Why BBS did not do as asked.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Error {
    /// One of the error types of BBS; see [`RESOURCE_NOT_FOUND`].
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

/// Error type of a guid that nobody desires.
pub(crate) const RESOURCE_NOT_FOUND: i32 = 13;

/// One instance, as some cell sees it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ActualLrp {
    /// Which instance it is.
    #[prost(message, optional, tag = "1")]
    pub(crate) key: Option<ActualLrpKey>,
    /// Which incarnation of it.
    #[prost(message, optional, tag = "2")]
    pub(crate) instance_key: Option<ActualLrpInstanceKey>,
    /// Where it is.
    #[prost(message, optional, tag = "3")]
    pub(crate) net_info: Option<ActualLrpNetInfo>,
    /// `UNCLAIMED`, `CLAIMED`, `RUNNING` or `CRASHED`.
    #[prost(string, tag = "6")]
    pub(crate) state: String,
    /// What the row stands for while instances move between cells.
    #[prost(enumeration = "Presence", tag = "10")]
    pub(crate) presence: i32,
}

/// Which instance.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ActualLrpKey {
    /// Guid of the process.
    #[prost(string, tag = "1")]
    pub(crate) process_guid: String,
    /// Index of the instance.
    #[prost(int32, tag = "2")]
    pub(crate) index: i32,
}

/// Which incarnation of an instance.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ActualLrpInstanceKey {
    /// Guid of the container; the name in its certificate.
    #[prost(string, tag = "1")]
    pub(crate) instance_guid: String,
    /// The cell that runs it.
    #[prost(string, tag = "2")]
    pub(crate) cell_id: String,
}

/// Where an instance is.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ActualLrpNetInfo {
    /// Address of the cell.
    #[prost(string, tag = "1")]
    pub(crate) address: String,
    /// Ports of the instance and what leads to them.
    #[prost(message, repeated, tag = "2")]
    pub(crate) ports: Vec<PortMapping>,
    /// Address of the container.
    #[prost(string, tag = "3")]
    pub(crate) instance_address: String,
    /// Which of both addresses to use.
    #[prost(enumeration = "PreferredAddress", tag = "4")]
    pub(crate) preferred_address: i32,
}

/// What leads to a port of an instance; 0 for what does not exist.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PortMapping {
    /// Port in the container.
    #[prost(uint32, tag = "1")]
    pub(crate) container_port: u32,
    /// Port of the cell.
    #[prost(uint32, tag = "2")]
    pub(crate) host_port: u32,
    /// Port of the container where its TLS proxy listens.
    #[prost(uint32, tag = "3")]
    pub(crate) container_tls_proxy_port: u32,
    /// Port of the cell that leads to the TLS proxy.
    #[prost(uint32, tag = "4")]
    pub(crate) host_tls_proxy_port: u32,
}

/// What a row stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Presence {
    /// The instance itself.
    Ordinary = 0,
    /// One that is leaving its cell.
    Evacuating = 1,
    /// One whose cell is not heard of.
    Suspect = 2,
}

/// Which address of an instance to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum PreferredAddress {
    /// As the caller is configured.
    Unknown = 0,
    /// That of the container.
    Instance = 1,
    /// That of the cell.
    Host = 2,
}

/// What somebody wants to run.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct DesiredLrp {
    /// Guid of the process.
    #[prost(string, tag = "1")]
    pub(crate) process_guid: String,
    /// How to get in, by router. Holds the private key for the instance.
    #[prost(message, optional, tag = "15")]
    pub(crate) routes: Option<Routes>,
    /// Source id of the app's log.
    #[prost(string, tag = "17")]
    pub(crate) log_guid: String,
    /// Tags of the app's log and metrics.
    #[prost(map = "string, message", tag = "35")]
    pub(crate) metric_tags: HashMap<String, MetricTagValue>,
}

/// Data of routers. Not printed, and wiped when dropped, since it holds private keys.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct Routes {
    /// JSON text by the router's key.
    #[prost(map = "string, bytes", tag = "1")]
    pub(crate) routes: HashMap<String, Vec<u8>>,
}

impl Drop for Routes {
    fn drop(&mut self) {
        self.routes.values_mut().for_each(Zeroize::zeroize);
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.routes.keys()).finish()
    }
}

/// Value of a tag.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MetricTagValue {
    /// The value, if it is the same for every instance.
    #[prost(string, tag = "1")]
    pub(crate) fixed: String,
    /// A [`DynamicTag`], if it is not.
    #[prost(int32, tag = "2")]
    pub(crate) dynamic: i32,
}

/// Values of tags that differ between instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum DynamicTag {
    /// None: the fixed value counts.
    None = 0,
    /// Index of the instance.
    Index = 1,
    /// Guid of the container.
    InstanceGuid = 2,
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn index_zero_is_sent() {
        let request = ActualLrpsRequest {
            process_guid: "g".into(),
            index: Some(0),
        };
        assert_eq!(request.encode_to_vec(), [0x1a, 1, b'g', 0x20, 0]);
    }

    #[test]
    fn fields_we_do_not_know_are_skipped() {
        // Field 4 (crash_count) = 7, field 6 (state) = "RUNNING", field 12 = 2 bytes.
        let bytes = b"\x20\x07\x32\x07RUNNING\x62\x02xx";
        assert_eq!(ActualLrp::decode(&bytes[..]).unwrap().state, "RUNNING");
    }
}
