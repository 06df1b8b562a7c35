//! Owns the double's own view of the BBS protobuf messages: the fields an SSH proxy may look at and
//! those a realistic answer carries beside them.
//!
//! Written from the published field numbers and not shared with the proxy: if both sides used one
//! definition, a wrong number would be wrong on both sides and go unnoticed.

use std::collections::HashMap;

use prost::Message;

/// `ActualLRPsRequest`: which rows to list.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ActualLrpsRequest {
    /// Only this domain; empty means any.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// Only this cell; empty means any.
    #[prost(string, tag = "2")]
    pub cell_id: String,
    /// Only this process; empty means any.
    #[prost(string, tag = "3")]
    pub process_guid: String,
    /// Only this index. A oneof on the wire: `Some(0)` and `None` differ.
    #[prost(int32, optional, tag = "4")]
    pub index: Option<i32>,
}

/// `ActualLRPsResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ActualLrpsResponse {
    /// Why there is no answer.
    #[prost(message, optional, tag = "1")]
    pub error: Option<BbsError>,
    /// The rows found: every presence, every state.
    #[prost(message, repeated, tag = "2")]
    pub actual_lrps: Vec<ActualLrp>,
}

/// `DesiredLRPByProcessGuidRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DesiredLrpRequest {
    /// The process asked for.
    #[prost(string, tag = "1")]
    pub process_guid: String,
}

/// `DesiredLRPResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct DesiredLrpResponse {
    /// Why there is no answer.
    #[prost(message, optional, tag = "1")]
    pub error: Option<BbsError>,
    /// The process found.
    #[prost(message, optional, tag = "2")]
    pub desired_lrp: Option<DesiredLrp>,
}

/// `PingResponse`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct PingResponse {
    /// Always true.
    #[prost(bool, tag = "1")]
    pub available: bool,
}

/// `Error` of the BBS models.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct BbsError {
    /// The number of the error type, such as [`BbsError::RESOURCE_NOT_FOUND`].
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// A text for people.
    #[prost(string, tag = "2")]
    pub message: String,
}

impl BbsError {
    /// The request does not pass validation or cannot be decoded.
    pub const INVALID_REQUEST: i32 = 4;
    /// No such process.
    pub const RESOURCE_NOT_FOUND: i32 = 13;

    /// An error of type `kind` with a text.
    pub fn new(kind: i32, message: &str) -> Self {
        Self {
            kind,
            message: message.to_owned(),
        }
    }
}

/// `ActualLRP`: one instance of a process as it runs, or tries to.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ActualLrp {
    /// Which process and index.
    #[prost(message, optional, tag = "1")]
    pub key: Option<ActualLrpKey>,
    /// Which container on which cell.
    #[prost(message, optional, tag = "2")]
    pub instance_key: Option<ActualLrpInstanceKey>,
    /// Where it listens.
    #[prost(message, optional, tag = "3")]
    pub net_info: Option<NetInfo>,
    /// How often it crashed.
    #[prost(int32, tag = "4")]
    pub crash_count: i32,
    /// `UNCLAIMED`, `CLAIMED`, `RUNNING` or `CRASHED`.
    #[prost(string, tag = "6")]
    pub state: String,
    /// Nanoseconds since 1970 of the last change of state.
    #[prost(int64, tag = "8")]
    pub since: i64,
    /// Ordinary, evacuating or suspect.
    #[prost(enumeration = "Presence", tag = "10")]
    pub presence: i32,
    /// Tags for logs and metrics.
    #[prost(map = "string, string", tag = "12")]
    pub metric_tags: HashMap<String, String>,
    /// Whether requests are routed to it.
    #[prost(bool, optional, tag = "13")]
    pub routable: Option<bool>,
    /// The availability zone of the cell.
    #[prost(string, tag = "14")]
    pub availability_zone: String,
}

impl ActualLrp {
    /// A running ordinary instance without an address.
    pub fn running(process_guid: &str, index: i32, instance_guid: &str) -> Self {
        Self {
            key: Some(ActualLrpKey {
                process_guid: process_guid.to_owned(),
                index,
                domain: "cf-apps".to_owned(),
            }),
            instance_key: Some(ActualLrpInstanceKey {
                instance_guid: instance_guid.to_owned(),
                cell_id: "cell-0".to_owned(),
            }),
            net_info: Some(NetInfo::default()),
            state: "RUNNING".to_owned(),
            since: 1_700_000_000_000_000_000,
            routable: Some(true),
            availability_zone: "z1".to_owned(),
            ..Self::default()
        }
    }

    /// The same, reachable under `net_info`.
    #[must_use]
    pub fn at(mut self, net_info: NetInfo) -> Self {
        self.net_info = Some(net_info);
        self
    }

    /// The same with another presence.
    #[must_use]
    pub fn present(mut self, presence: Presence) -> Self {
        self.presence = presence.into();
        self
    }

    /// Whether this row belongs to `process_guid` and `index`.
    pub fn is(&self, process_guid: &str, index: i32) -> bool {
        self.key
            .as_ref()
            .is_some_and(|key| key.process_guid == process_guid && key.index == index)
    }
}

/// `ActualLRP_Presence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Presence {
    /// The usual one.
    Ordinary = 0,
    /// On a cell that is being emptied.
    Evacuating = 1,
    /// On a cell that has not been heard of.
    Suspect = 2,
}

/// `ActualLRPKey`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ActualLrpKey {
    /// The process.
    #[prost(string, tag = "1")]
    pub process_guid: String,
    /// The instance's number.
    #[prost(int32, tag = "2")]
    pub index: i32,
    /// `cf-apps` for everything that Cloud Controller desires.
    #[prost(string, tag = "3")]
    pub domain: String,
}

/// `ActualLRPInstanceKey`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ActualLrpInstanceKey {
    /// The container; also the name in its TLS certificate.
    #[prost(string, tag = "1")]
    pub instance_guid: String,
    /// The cell it runs on.
    #[prost(string, tag = "2")]
    pub cell_id: String,
}

/// `ActualLRPNetInfo`: the addresses of an instance.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct NetInfo {
    /// The cell's address.
    #[prost(string, tag = "1")]
    pub address: String,
    /// How ports in the container map to ports of the cell.
    #[prost(message, repeated, tag = "2")]
    pub ports: Vec<PortMapping>,
    /// The container's address.
    #[prost(string, tag = "3")]
    pub instance_address: String,
    /// Which of the two to use.
    #[prost(enumeration = "PreferredAddress", tag = "4")]
    pub preferred_address: i32,
}

impl NetInfo {
    /// Container port `container` mapped to `host` on 127.0.0.1, without TLS ports.
    pub fn plain(container: u32, host: u16) -> Self {
        Self {
            address: "127.0.0.1".to_owned(),
            instance_address: "127.0.0.1".to_owned(),
            ports: vec![PortMapping {
                container_port: container,
                host_port: u32::from(host),
                ..PortMapping::default()
            }],
            ..Self::default()
        }
    }

    /// The same, and `tls` leads there by TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: u16) -> Self {
        for port in &mut self.ports {
            // The container and the cell are one machine here.
            port.container_tls_proxy_port = u32::from(tls);
            port.host_tls_proxy_port = u32::from(tls);
        }
        self
    }
}

/// `ActualLRPNetInfo_PreferredAddress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum PreferredAddress {
    /// The proxy's configuration decides.
    Unknown = 0,
    /// The container's address.
    Instance = 1,
    /// The cell's address.
    Host = 2,
}

/// `PortMapping`; zero means that there is no such port.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct PortMapping {
    /// The port inside the container.
    #[prost(uint32, tag = "1")]
    pub container_port: u32,
    /// The same port on the cell.
    #[prost(uint32, tag = "2")]
    pub host_port: u32,
    /// The TLS port inside the container.
    #[prost(uint32, tag = "3")]
    pub container_tls_proxy_port: u32,
    /// The TLS port on the cell.
    #[prost(uint32, tag = "4")]
    pub host_tls_proxy_port: u32,
}

/// `DesiredLRP`: a process as Cloud Controller wants it.
#[derive(Clone, PartialEq, Message)]
pub struct DesiredLrp {
    /// The process.
    #[prost(string, tag = "1")]
    pub process_guid: String,
    /// `cf-apps` for everything that Cloud Controller desires.
    #[prost(string, tag = "2")]
    pub domain: String,
    /// The root file system; here so that answers carry a field which proxies skip.
    #[prost(string, tag = "3")]
    pub root_fs: String,
    /// How many instances.
    #[prost(int32, tag = "4")]
    pub instances: i32,
    /// The container's ports; the BBS declares them unpacked.
    #[prost(uint32, repeated, packed = "false", tag = "14")]
    pub ports: Vec<u32>,
    /// The routes; SSH has the key `diego-ssh`.
    #[prost(message, optional, tag = "15")]
    pub routes: Option<Routes>,
    /// The source of log lines.
    #[prost(string, tag = "16")]
    pub log_source: String,
    /// The app's guid.
    #[prost(string, tag = "17")]
    pub log_guid: String,
    /// Tags for logs and metrics.
    #[prost(map = "string, message", tag = "35")]
    pub metric_tags: HashMap<String, MetricTag>,
}

impl DesiredLrp {
    /// The route key under which SSH is described.
    pub const SSH_ROUTE: &str = "diego-ssh";

    /// A process with an SSH route, which is a JSON text.
    pub fn with_ssh_route(process_guid: &str, log_guid: &str, route: &serde_json::Value) -> Self {
        let routes = HashMap::from([(Self::SSH_ROUTE.to_owned(), route.to_string().into_bytes())]);
        Self {
            process_guid: process_guid.to_owned(),
            domain: "cf-apps".to_owned(),
            root_fs: "preloaded:cflinuxfs4".to_owned(),
            instances: 1,
            ports: vec![8080, 2222],
            routes: Some(Routes { routes }),
            log_source: "CELL".to_owned(),
            log_guid: log_guid.to_owned(),
            metric_tags: HashMap::new(),
        }
    }

    /// Puts another JSON text into the SSH route.
    pub fn set_ssh_route(&mut self, route: &serde_json::Value) {
        self.routes
            .get_or_insert_default()
            .routes
            .insert(Self::SSH_ROUTE.to_owned(), route.to_string().into_bytes());
    }
}

/// `ProtoRoutes`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Routes {
    /// The raw JSON text of each router.
    #[prost(map = "string, bytes", tag = "1")]
    pub routes: HashMap<String, Vec<u8>>,
}

/// `MetricTagValue`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct MetricTag {
    /// The value itself, when `dynamic` is 0.
    #[prost(string, tag = "1")]
    pub fixed: String,
    /// Which value of the instance it is otherwise: [`INDEX`](Self::INDEX) or
    /// [`INSTANCE_GUID`](Self::INSTANCE_GUID).
    #[prost(int32, tag = "2")]
    pub dynamic: i32,
}

impl MetricTag {
    /// The instance's index.
    pub const INDEX: i32 = 1;
    /// The instance's guid.
    pub const INSTANCE_GUID: i32 = 2;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_zero_is_on_the_wire() {
        let request = ActualLrpsRequest {
            process_guid: "p".to_owned(),
            index: Some(0),
            ..ActualLrpsRequest::default()
        };
        assert_eq!(request.encode_to_vec(), [0x1a, 1, b'p', 0x20, 0]);
        let absent = ActualLrpsRequest {
            index: None,
            ..request
        };
        assert_eq!(absent.encode_to_vec(), [0x1a, 1, b'p']);
    }

    #[test]
    fn an_ssh_route_is_the_json_text_itself() {
        let route = serde_json::json!({"container_port": 2222});
        let lrp = DesiredLrp::with_ssh_route("p", "g", &route);
        let text = &lrp.routes.unwrap().routes["diego-ssh"];
        assert_eq!(text, br#"{"container_port":2222}"#);
    }
}
