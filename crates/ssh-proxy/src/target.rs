//! Where an instance's SSH daemon is and how to log in there, from what BBS knows about it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use ssh_proto::Secret;
use thiserror::Error;

use crate::platform::bbs::{
    ActualLrpNetInfo, DynamicTag, Lrp, MetricTagValue, PortMapping, PreferredAddress,
};

/// Key of our data among a desired LRP's routes.
const ROUTE_KEY: &str = "diego-ssh";

/// Tags that every line of the app's log has: who it is about, and which instance.
const SOURCE_ID: &str = "source_id";
const INSTANCE_ID: &str = "instance_id";

/// The longest name that there can be (RFC 1035 section 2.3.4, without the length bytes).
const LONGEST_HOST: usize = 253;

/// An instance's daemon and what it takes to enter it.
#[derive(Debug)]
pub struct Target {
    /// The daemon itself; `None` where only TLS leads to it.
    pub plain: Option<Endpoint>,
    /// The daemon behind the TLS proxy of its instance, if it has one.
    pub tls: Option<TlsEndpoint>,
    /// User to log in as; the daemon of an app expects an empty one.
    pub user: String,
    /// Private key in PEM form to log in with.
    pub private_key: Option<Secret<String>>,
    /// Password to log in with; of use only if there is a user.
    pub password: Option<Secret<String>>,
    /// Fingerprint that the daemon's host key must have, in one of the forms that are told apart
    /// by their length.
    pub host_fingerprint: Option<String>,
    /// Which instance it is.
    pub instance: Instance,
    /// Tags of the app's log.
    pub log_tags: BTreeMap<String, String>,
}

/// What Diego calls an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The process that it is of.
    pub process_guid: String,
    /// Its place among the instances of the process.
    pub index: i32,
    /// Its own name, which no later instance has.
    pub guid: String,
}

/// Host and port to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an IP address without brackets; never empty, and no longer than names can be.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

/// A TLS server and the name to verify it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsEndpoint {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Guid of the instance, which is the name in its certificate.
    pub server_name: String,
}

/// Why an instance cannot be entered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TargetError {
    /// The app was desired without SSH.
    #[error("SSH routing info not found")]
    NoRoute,
    /// What was desired cannot be understood. The text never shows values: they are secrets.
    #[error("SSH routing info is invalid")]
    BadRoute,
    /// The instance does not have the port of the daemon.
    #[error("instance has no mapping for SSH port {0}")]
    NoPort(u32),
    /// The port is mapped, but to nothing that could be dialled.
    #[error("instance has no address for SSH port {0}")]
    NoAddress(u32),
}

/// The data under [`ROUTE_KEY`].
#[derive(Deserialize)]
struct Route {
    container_port: u32,
    host_fingerprint: Option<String>,
    host_256_fingerprint: Option<String>,
    user: Option<String>,
    password: Option<String>,
    private_key: Option<String>,
}

impl Target {
    /// Reads what BBS knows about an instance.
    ///
    /// `connect_to_instance` is the choice for instances that prefer neither of their addresses.
    pub(crate) fn new(lrp: &Lrp, connect_to_instance: bool) -> Result<Self, TargetError> {
        let route = Route::find(lrp)?;
        let port = route.container_port;
        let net = lrp
            .actual
            .net_info
            .as_ref()
            .ok_or(TargetError::NoPort(port))?;
        let mapping = net
            .ports
            .iter()
            .find(|mapping| mapping.container_port == port)
            .ok_or(TargetError::NoPort(port))?;
        let use_instance = match PreferredAddress::try_from(net.preferred_address) {
            Ok(PreferredAddress::Instance) => true,
            Ok(PreferredAddress::Host) => false,
            Ok(PreferredAddress::Unknown) | Err(_) => connect_to_instance,
        };
        let plain = plain_endpoint(net, mapping, use_instance);
        let tls = tls_endpoint(net, mapping, use_instance).map(|endpoint| TlsEndpoint {
            endpoint,
            server_name: instance_guid(lrp).to_owned(),
        });
        if plain.is_none() && tls.is_none() {
            return Err(TargetError::NoAddress(port));
        }
        let fingerprint = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(Self {
            plain,
            tls,
            user: route.user.unwrap_or_default(),
            private_key: secret(route.private_key),
            password: secret(route.password),
            host_fingerprint: fingerprint(route.host_256_fingerprint)
                .or_else(|| fingerprint(route.host_fingerprint)),
            instance: Instance::of(lrp),
            log_tags: log_tags(lrp),
        })
    }
}

impl Instance {
    fn of(lrp: &Lrp) -> Self {
        Self {
            process_guid: lrp.desired.process_guid.clone(),
            index: lrp.actual.key.as_ref().map_or(0, |key| key.index),
            guid: instance_guid(lrp).to_owned(),
        }
    }
}

impl Route {
    fn find(lrp: &Lrp) -> Result<Self, TargetError> {
        let routes = lrp.desired.routes.as_ref().ok_or(TargetError::NoRoute)?;
        let text = routes.routes.get(ROUTE_KEY).ok_or(TargetError::NoRoute)?;
        match serde_json::from_slice::<Option<Self>>(text) {
            Ok(Some(route)) => Ok(route),
            Ok(None) => Err(TargetError::NoRoute),
            Err(_) => Err(TargetError::BadRoute),
        }
    }
}

impl Endpoint {
    /// `None` if there is no such address or no such port. What is too long for a name is none: it would
    /// only fill the log.
    fn new(host: &str, port: u32) -> Option<Self> {
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let port = u16::try_from(port).ok().filter(|port| *port != 0)?;
        let can_be = !host.is_empty() && host.len() <= LONGEST_HOST;
        can_be.then(|| Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn plain_endpoint(
    net: &ActualLrpNetInfo,
    mapping: &PortMapping,
    use_instance: bool,
) -> Option<Endpoint> {
    if use_instance {
        Endpoint::new(&net.instance_address, mapping.container_port)
    } else {
        // No host port: the cell lets nothing past the TLS proxy.
        Endpoint::new(&net.address, mapping.host_port)
    }
}

/// The TLS proxy at the instance's own address if that is wanted and exists; else through the cell.
fn tls_endpoint(
    net: &ActualLrpNetInfo,
    mapping: &PortMapping,
    use_instance: bool,
) -> Option<Endpoint> {
    use_instance
        .then(|| Endpoint::new(&net.instance_address, mapping.container_tls_proxy_port))
        .flatten()
        .or_else(|| Endpoint::new(&net.address, mapping.host_tls_proxy_port))
}

fn secret(text: Option<String>) -> Option<Secret<String>> {
    text.filter(|text| !text.is_empty()).map(Secret::new)
}

fn instance_guid(lrp: &Lrp) -> &str {
    let key = lrp.actual.instance_key.as_ref();
    key.map_or("", |key| key.instance_guid.as_str())
}

/// The tags of the desired LRP with the values for this instance, and those that every line needs.
fn log_tags(lrp: &Lrp) -> BTreeMap<String, String> {
    let key = lrp.actual.key.as_ref();
    let index = key.map_or(0, |key| key.index).to_string();
    let mut tags: BTreeMap<String, String> = lrp
        .desired
        .metric_tags
        .iter()
        .filter_map(|(name, value)| {
            tag(value, &index, instance_guid(lrp)).map(|value| (name.clone(), value))
        })
        .collect();
    // A tag that is there but of no known kind is left out, not replaced.
    let named = |name: &str| lrp.desired.metric_tags.contains_key(name);
    if !named(SOURCE_ID) {
        tags.insert(SOURCE_ID.to_owned(), lrp.desired.log_guid.clone());
    }
    if !named(INSTANCE_ID) {
        tags.insert(INSTANCE_ID.to_owned(), index);
    }
    tags
}

fn tag(value: &MetricTagValue, index: &str, instance_guid: &str) -> Option<String> {
    let text = match DynamicTag::try_from(value.dynamic) {
        Ok(DynamicTag::None) => value.fixed.as_str(),
        Ok(DynamicTag::Index) => index,
        Ok(DynamicTag::InstanceGuid) => instance_guid,
        Err(_) => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use crate::platform::bbs::models::{ActualLrpInstanceKey, ActualLrpKey, Routes};
    use crate::platform::bbs::{ActualLrp, DesiredLrp};

    use super::*;

    const HOST: &str = "10.0.0.1";
    const INSTANCE: &str = "10.255.0.2";

    fn lrp(route: &str) -> Lrp {
        Lrp {
            actual: ActualLrp {
                key: Some(ActualLrpKey {
                    process_guid: "guid".into(),
                    index: 3,
                }),
                instance_key: Some(ActualLrpInstanceKey {
                    instance_guid: "instance-guid".into(),
                    cell_id: "cell".into(),
                }),
                net_info: Some(ActualLrpNetInfo {
                    address: HOST.into(),
                    ports: vec![
                        mapping(8080, [61001, 61001, 61001]),
                        mapping(2222, [61002, 61003, 61004]),
                    ],
                    instance_address: INSTANCE.into(),
                    preferred_address: 0,
                }),
                state: "RUNNING".into(),
                presence: 0,
            },
            desired: DesiredLrp {
                process_guid: "guid".into(),
                routes: Some(Routes {
                    routes: HashMap::from([(ROUTE_KEY.to_owned(), route.as_bytes().to_vec())]),
                }),
                log_guid: "app-guid".into(),
                metric_tags: HashMap::new(),
            },
        }
    }

    /// Host port, container TLS port, host TLS port.
    fn mapping(port: u32, [host, container_tls, host_tls]: [u32; 3]) -> PortMapping {
        PortMapping {
            container_port: port,
            host_port: host,
            container_tls_proxy_port: container_tls,
            host_tls_proxy_port: host_tls,
        }
    }

    const ROUTE: &str = r#"{"container_port":2222}"#;

    #[test]
    fn addresses_are_chosen_as_the_instance_prefers() {
        use PreferredAddress::{Host, Instance, Unknown};
        let all = [61002, 61003, 61004];
        // Preference, configuration, ports, plain, TLS.
        let cases = [
            (
                Unknown,
                false,
                all,
                Some("10.0.0.1:61002"),
                Some("10.0.0.1:61004"),
            ),
            (
                Unknown,
                true,
                all,
                Some("10.255.0.2:2222"),
                Some("10.255.0.2:61003"),
            ),
            (
                Instance,
                false,
                all,
                Some("10.255.0.2:2222"),
                Some("10.255.0.2:61003"),
            ),
            (
                Host,
                true,
                all,
                Some("10.0.0.1:61002"),
                Some("10.0.0.1:61004"),
            ),
            // No TLS proxy.
            (Host, false, [61002, 0, 0], Some("10.0.0.1:61002"), None),
            (
                Instance,
                false,
                [61002, 0, 0],
                Some("10.255.0.2:2222"),
                None,
            ),
            // Mixed: the TLS proxy is reached through the cell only, or not at all.
            (
                Instance,
                false,
                [61002, 0, 61004],
                Some("10.255.0.2:2222"),
                Some("10.0.0.1:61004"),
            ),
            (Host, false, [61002, 61003, 0], Some("10.0.0.1:61002"), None),
            // Only TLS leads in.
            (Host, false, [0, 61003, 61004], None, Some("10.0.0.1:61004")),
            // A port that there cannot be.
            (Host, false, [65536, 0, 61004], None, Some("10.0.0.1:61004")),
        ];
        for (preferred, configured, ports, plain, tls) in cases {
            let mut lrp = lrp(ROUTE);
            let net = lrp.actual.net_info.as_mut().unwrap();
            net.preferred_address = preferred as i32;
            net.ports = vec![mapping(2222, ports)];
            let target = Target::new(&lrp, configured).unwrap();
            let case = format!("{preferred:?} {configured} {ports:?}");
            assert_eq!(
                target.plain.map(|at| at.to_string()).as_deref(),
                plain,
                "{case}"
            );
            let tls_at = target.tls.as_ref().map(|tls| tls.endpoint.to_string());
            assert_eq!(tls_at.as_deref(), tls, "{case}");
            assert!(
                target
                    .tls
                    .is_none_or(|tls| tls.server_name == "instance-guid")
            );
        }
    }

    #[test]
    fn the_first_mapping_of_the_port_counts() {
        let mut lrp = lrp(ROUTE);
        let net = lrp.actual.net_info.as_mut().unwrap();
        net.ports = vec![mapping(2222, [1, 0, 0]), mapping(2222, [2, 0, 0])];
        let target = Target::new(&lrp, false).unwrap();
        assert_eq!(target.plain.unwrap().port, 1);
    }

    #[test]
    fn ipv6_addresses_are_printed_in_brackets_and_kept_without() {
        for address in ["fd00::1", "[fd00::1]"] {
            let mut lrp = lrp(ROUTE);
            lrp.actual.net_info.as_mut().unwrap().address = address.into();
            let endpoint = Target::new(&lrp, false).unwrap().plain.unwrap();
            assert_eq!(endpoint.host, "fd00::1");
            assert_eq!(endpoint.to_string(), "[fd00::1]:61002");
        }
    }

    #[test]
    fn instances_without_a_way_in_are_refused() {
        let refusal = |change: &dyn Fn(&mut Lrp)| {
            let mut lrp = lrp(ROUTE);
            change(&mut lrp);
            Target::new(&lrp, false).unwrap_err()
        };
        let net = |change: fn(&mut ActualLrpNetInfo)| {
            refusal(&|lrp| change(lrp.actual.net_info.as_mut().unwrap()))
        };
        assert_eq!(
            refusal(&|lrp| lrp.desired.routes = None),
            TargetError::NoRoute
        );
        assert_eq!(
            refusal(&|lrp| lrp.desired.routes = Some(Routes::default())).to_string(),
            "SSH routing info not found"
        );
        assert_eq!(
            refusal(&|lrp| lrp.actual.net_info = None),
            TargetError::NoPort(2222)
        );
        assert_eq!(net(|net| net.ports.clear()), TargetError::NoPort(2222));
        assert_eq!(net(|net| net.ports.truncate(1)), TargetError::NoPort(2222));
        assert_eq!(net(|net| net.address.clear()), TargetError::NoAddress(2222));
        let too_long = |net: &mut ActualLrpNetInfo| net.address = "x.".repeat(127);
        assert_eq!(net(too_long), TargetError::NoAddress(2222));
        assert_eq!(
            net(|net| net.ports = vec![mapping(2222, [0, 5, 0])]),
            TargetError::NoAddress(2222)
        );
    }

    #[test]
    fn bad_routes_are_refused_without_showing_them() {
        for (route, error) in [
            ("null", TargetError::NoRoute),
            ("", TargetError::BadRoute),
            ("{}", TargetError::BadRoute),
            ("[]", TargetError::BadRoute),
            (r#"{"container_port":"hunter2"}"#, TargetError::BadRoute),
            (r#"{"container_port":-1}"#, TargetError::BadRoute),
            (
                r#"{"container_port":2222,"private_key":5}"#,
                TargetError::BadRoute,
            ),
            (r#"{"container_port":2223}"#, TargetError::NoPort(2223)),
        ] {
            let refused = Target::new(&lrp(route), false).unwrap_err();
            assert_eq!(refused, error, "{route}");
            assert!(!refused.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn the_route_tells_how_to_log_in() {
        let target = |route: &str| Target::new(&lrp(route), false).unwrap();
        let bare = target(ROUTE);
        assert_eq!((bare.user.as_str(), bare.host_fingerprint), ("", None));
        assert!(bare.private_key.is_none() && bare.password.is_none());

        let full = target(
            r#"{"container_port":2222,"user":"u","password":"p","private_key":"k",
                "host_fingerprint":"aa:bb","host_256_fingerprint":"sha","more":1}"#,
        );
        assert_eq!(full.user, "u");
        assert_eq!(full.password.unwrap().expose(), "p");
        assert_eq!(full.private_key.unwrap().expose(), "k");
        assert_eq!(full.host_fingerprint.as_deref(), Some("sha"));

        let empty = target(
            r#"{"container_port":2222,"user":null,"password":"","private_key":"",
                "host_fingerprint":"aa:bb","host_256_fingerprint":""}"#,
        );
        assert_eq!(empty.host_fingerprint.as_deref(), Some("aa:bb"));
        assert!(empty.private_key.is_none() && empty.password.is_none());
    }

    #[test]
    fn log_tags_name_the_app_and_the_instance() {
        let tags = |given: &[(&str, &str, i32)]| {
            let mut lrp = lrp(ROUTE);
            lrp.desired.metric_tags = given
                .iter()
                .map(|(name, fixed, dynamic)| {
                    let value = MetricTagValue {
                        fixed: (*fixed).into(),
                        dynamic: *dynamic,
                    };
                    ((*name).to_owned(), value)
                })
                .collect();
            let tags = Target::new(&lrp, false).unwrap().log_tags;
            tags.into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(tags(&[]), ["instance_id=3", "source_id=app-guid"]);
        assert_eq!(
            tags(&[
                ("source_id", "mine", 0),
                ("instance_id", "", 2),
                ("index", "ignored", 1),
                ("app_name", "dora", 0),
                ("future", "x", 9),
            ]),
            [
                "app_name=dora",
                "index=3",
                "instance_id=instance-guid",
                "source_id=mine"
            ]
        );
    }

    #[test]
    fn secrets_do_not_show_in_debug() {
        let target = Target::new(
            &lrp(r#"{"container_port":2222,"private_key":"k3y"}"#),
            false,
        );
        assert!(!format!("{target:?}").contains("k3y"));
    }
}
