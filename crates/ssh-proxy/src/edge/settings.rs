//! The keys of the configuration that are about the edge. All of them are ours.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::{self, File};
use crate::relay::policy::{Capability, Policy};
use crate::relay::targets::Targets;
use crate::settings::{Exit, Problems};

/// Logins at one time unless told otherwise. One takes up to 35,000 bytes while it is read, 140 MiB for
/// all of them; whoever wants to keep others out has to open 68 connections a second; and all users of
/// a proxy that is gone may come back at once.
pub(crate) const DEFAULT_MOST_LOGINS: usize = 4096;

/// Logins of one source at one time unless told otherwise. Many users can have one address, but a login
/// takes less than a second.
pub(crate) const DEFAULT_MOST_LOGINS_OF_SOURCE: usize = 64;

/// Who may begin a login.
#[derive(Debug, Clone)]
pub(crate) struct EdgeSettings {
    /// Balancers, which begin each connection with a header of the PROXY protocol.
    pub(crate) balancers: Vec<IpNet>,
    /// Whoever connects is a user.
    pub(crate) source_is_user: bool,
    /// Logins at one time.
    pub(crate) most_logins: usize,
    /// Logins of one source at one time.
    pub(crate) most_logins_of_source: usize,
    /// Sources without bounds and penalties.
    pub(crate) exempt: Vec<IpNet>,
}

impl EdgeSettings {
    /// Makes sense of `file`.
    pub(crate) fn new(file: &File, found: &mut Problems) -> Option<Self> {
        let mut nets = |key, entries: &[String]| {
            let nets = entries.iter().map(|entry| parse_net(entry));
            check(found, key, nets.collect::<Result<Vec<_>, _>>())
        };
        let balancers = nets("proxy_protocol_sources", &file.proxy_protocol_sources);
        let exempt = nets("penalty_exempt_sources", &file.penalty_exempt_sources);
        let mut number = |key, value: i64, default| {
            let number = match usize::try_from(value) {
                Ok(0) => Ok(default),
                Ok(number) if number <= tokio::sync::Semaphore::MAX_PERMITS => Ok(number),
                _ => Err("must be zero, for the default, or a number above".to_owned()),
            };
            check(found, key, number)
        };
        let most_logins = number(
            "max_unauthenticated_connections",
            file.max_unauthenticated_connections,
            DEFAULT_MOST_LOGINS,
        );
        let most_logins_of_source = number(
            "max_unauthenticated_connections_per_source",
            file.max_unauthenticated_connections_per_source,
            DEFAULT_MOST_LOGINS_OF_SOURCE,
        );
        Some(Self {
            balancers: balancers?,
            source_is_user: file.source_is_user,
            most_logins: most_logins?,
            most_logins_of_source: most_logins_of_source?,
            exempt: exempt?,
        })
    }
}

/// What users may do.
pub(crate) fn policy(file: &config::Policy, found: &mut Problems) -> Option<Policy> {
    let mut policy = Policy::default();
    for (allowed, capability) in [
        (file.shell, Capability::Shell),
        (file.exec, Capability::Exec),
        (file.files, Capability::Files),
        (file.local_forwarding, Capability::LocalForwarding),
        (file.remote_forwarding, Capability::RemoteForwarding),
        (
            file.streamlocal_forwarding,
            Capability::StreamlocalForwarding,
        ),
        (file.agent_forwarding, Capability::AgentForwarding),
        (file.x11_forwarding, Capability::X11Forwarding),
    ] {
        if allowed == Some(false) {
            policy.deny(capability);
        }
    }
    if !file.forward_targets.is_empty() {
        let targets = Targets::parse(&file.forward_targets);
        policy.restrict_targets(check(found, "policy.forward_targets", targets)?);
    }
    Some(policy)
}

fn check<T>(found: &mut Problems, key: &'static str, result: Result<T, String>) -> Option<T> {
    let result = result.map_err(|error| format!("{key}: {error}"));
    found.check(key, "configure-failed", Exit::Failure, result)
}

/// A network, or a single address.
fn parse_net(text: &str) -> Result<IpNet, String> {
    let single = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let net = text.parse().ok().or_else(single);
    net.ok_or_else(|| format!("{text:?} is not a network, such as \"10.0.0.0/8\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> File {
        File::parse(text.as_bytes()).unwrap()
    }

    fn edge(text: &str) -> Option<EdgeSettings> {
        EdgeSettings::new(&file(text), &mut Problems::default())
    }

    fn problems(text: &str) -> Vec<String> {
        let (file, mut found) = (file(text), Problems::default());
        EdgeSettings::new(&file, &mut found);
        policy(&file.policy, &mut found);
        found.0.into_iter().map(|problem| problem.error).collect()
    }

    #[test]
    fn nothing_is_restricted_by_default() {
        let settings = edge("{}").unwrap();
        assert!(settings.balancers.is_empty() && settings.exempt.is_empty());
        assert!(!settings.source_is_user);
        assert_eq!(settings.most_logins, DEFAULT_MOST_LOGINS);
        assert_eq!(settings.most_logins_of_source, 64);
    }

    #[test]
    fn everything_can_be_set() {
        let settings = edge(
            r#"{"proxy_protocol_sources": ["10.0.0.0/8", "fd00::1"], "source_is_user": true,
                "max_unauthenticated_connections": 7,
                "max_unauthenticated_connections_per_source": 3,
                "penalty_exempt_sources": ["192.0.2.0/24"]}"#,
        )
        .unwrap();
        let nets = [
            "10.0.0.0/8".parse().unwrap(),
            "fd00::1/128".parse().unwrap(),
        ];
        assert_eq!(settings.balancers, nets);
        assert_eq!(settings.exempt, ["192.0.2.0/24".parse().unwrap()]);
        assert!(settings.source_is_user);
        assert_eq!(
            (settings.most_logins, settings.most_logins_of_source),
            (7, 3)
        );
    }

    #[test]
    fn every_problem_is_told_with_its_key() {
        let problems = problems(
            r#"{"proxy_protocol_sources": ["10.0.0.0/33"], "penalty_exempt_sources": ["lb"],
                "max_unauthenticated_connections": -1,
                "max_unauthenticated_connections_per_source": 9223372036854775807,
                "policy": {"forward_targets": ["db"]}}"#,
        );
        let keys = [
            "proxy_protocol_sources: \"10.0.0.0/33\" is not a network",
            "penalty_exempt_sources: \"lb\" is not a network",
            "max_unauthenticated_connections: must be",
            "max_unauthenticated_connections_per_source: must be",
            "policy.forward_targets: \"db\" is not host:port",
        ];
        assert_eq!(problems.len(), keys.len());
        for (problem, start) in problems.iter().zip(keys) {
            assert!(problem.starts_with(start), "{problem}");
        }
    }
}
