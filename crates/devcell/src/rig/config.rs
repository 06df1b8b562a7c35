//! Owns what the programs are given: the options a test chooses, the proxy's JSON file, the
//! daemon's command line and environment as Cloud Controller and a cell would make them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Binaries;
use super::instance_tls::InstanceTls;
use crate::bbs::messages::MetricTag;
use crate::keys::{KeyKind, SshKey};

/// The port of the SSH daemon inside every container.
pub(super) const CONTAINER_PORT: u32 = 2222;

const APP_NAME: &str = "devcell";
const SPACE_NAME: &str = "devcell-space";
const ORGANIZATION_NAME: &str = "devcell-org";

/// How much a program logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// The default of the proxy.
    #[default]
    Info,
    /// Errors.
    Error,
    /// What ends the program; Cloud Controller gives this to daemons.
    Fatal,
}

impl LogLevel {
    /// The text in flags and configuration files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }

    /// Whether a program prints that it has started.
    pub(super) fn tells_start(self) -> bool {
        matches!(self, Self::Debug | Self::Info)
    }
}

/// How the proxy reaches Cloud Controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CcAccess {
    /// In clear, as in old deployments.
    Http,
    /// By TLS.
    #[default]
    Https,
    /// By TLS with a certificate of its own.
    MutualTls,
}

/// What a cell is made of. Start from `CellOptions::default()`: two instances, free ports, RSA.
#[derive(Clone, Debug)]
pub struct CellOptions {
    /// How many instances of the one app run.
    pub instances: usize,
    /// The proxy's port on 127.0.0.1; `None` takes a free one.
    pub proxy_port: Option<u16>,
    /// The programs; `None` looks for them with [`Binaries::find`].
    pub binaries: Option<Binaries>,
    /// The kind of the proxy's host key.
    pub proxy_key: KeyKind,
    /// The kind of the key that the instances share.
    pub instance_key: KeyKind,
    /// The proxy's log level.
    pub proxy_log_level: LogLevel,
    /// The daemons' log level.
    pub daemon_log_level: LogLevel,
    /// The proxy serves the realm `cf:`.
    pub cf_auth: bool,
    /// The secret of the proxy's OAuth client.
    pub uaa_secret: String,
    /// How the proxy reaches Cloud Controller.
    pub cc_access: CcAccess,
    /// Instances have TLS fronts, and how.
    pub instance_tls: Option<InstanceTls>,
    /// Whether there is a loggregator agent, as in cf-deployment.
    pub loggregator: bool,
    /// A JSON object merged into the proxy's configuration; `null` removes a key.
    pub proxy_config: Value,
    /// A JSON object merged into the app's `diego-ssh` route; `null` removes a key.
    pub route: Value,
    /// The route pins a key that no instance has.
    pub wrong_host_fingerprint: bool,
    /// Flags after those of Cloud Controller; of two equal flags the last counts.
    pub daemon_flags: Vec<String>,
    /// Variables added to the app's environment.
    pub daemon_env: Vec<(String, String)>,
    /// Variables taken out of the app's environment.
    pub daemon_env_without: Vec<String>,
    /// The words of a command in place of the daemon's program, such as `chroot DIR /diego-sshd`: the
    /// daemon's flags follow them, and what it starts has to be the daemon. None for the program.
    pub daemon_command: Vec<OsString>,
    /// The daemons let anybody in, and the route has no key.
    pub unauthenticated_daemon: bool,
}

impl Default for CellOptions {
    fn default() -> Self {
        Self {
            instances: 2,
            proxy_port: None,
            binaries: None,
            proxy_key: KeyKind::default(),
            instance_key: KeyKind::default(),
            proxy_log_level: LogLevel::default(),
            daemon_log_level: LogLevel::default(),
            cf_auth: false,
            uaa_secret: "devcell-secret".to_owned(),
            cc_access: CcAccess::default(),
            instance_tls: None,
            loggregator: true,
            proxy_config: json!({}),
            route: json!({}),
            wrong_host_fingerprint: false,
            daemon_flags: Vec::new(),
            daemon_env: Vec::new(),
            daemon_env_without: Vec::new(),
            daemon_command: Vec::new(),
            unauthenticated_daemon: false,
        }
    }
}

/// What is known of the app before any instance runs.
#[derive(Clone, Debug)]
pub(super) struct App {
    pub(super) guid: String,
    pub(super) process_guid: String,
    pub(super) key: SshKey,
}

/// Where the proxy finds what it needs.
pub(super) struct ProxyPlace<'a> {
    pub(super) address: SocketAddr,
    pub(super) health_address: SocketAddr,
    pub(super) bbs_url: &'a str,
    /// Port of the loggregator agent, if there is one.
    pub(super) agent: Option<u16>,
    pub(super) dir: &'a Path,
    pub(super) host_key: &'a SshKey,
    pub(super) password: &'a str,
    /// Keys for the services of the platform beside the BBS.
    pub(super) services: &'a [Value],
}

/// The names of the proxy's certificate files in its directory.
pub(super) const BBS_FILES: [&str; 3] = ["bbs-ca.crt", "bbs-client.crt", "bbs-client.key"];

/// The same for the loggregator agent.
pub(super) const AGENT_FILES: [&str; 3] = ["agent-ca.crt", "agent-client.crt", "agent-client.key"];

/// The proxy's configuration as the BOSH template renders it, with `diego:` users switched on.
pub(super) fn proxy(place: &ProxyPlace<'_>, options: &CellOptions) -> Value {
    let [ca, certificate, key] = BBS_FILES.map(|file| place.dir.join(file));
    let mut config = json!({
        "address": place.address.to_string(),
        "health_check_address": place.health_address.to_string(),
        "disable_health_check_server": false,
        "host_key": place.host_key.private_pem(),
        "bbs_address": place.bbs_url,
        "bbs_ca_cert": ca,
        "bbs_client_cert": certificate,
        "bbs_client_key": key,
        "bbs_client_session_cache_size": 0,
        "bbs_max_idle_conns_per_host": 0,
        "enable_diego_auth": true,
        "diego_credentials": place.password,
        "communication_timeout": "10s",
        "idle_connection_timeout": "300s",
        "connect_to_instance_address": false,
        "backends_tls_enabled": false,
        "skip_cert_verify": false,
        "debug_address": "",
        "log_level": options.proxy_log_level.as_str(),
        "time_format": "unix-epoch",
        "loggregator": loggregator(place),
    });
    for keys in place.services {
        merge(&mut config, keys);
    }
    merge(&mut config, &options.proxy_config);
    config
}

fn loggregator(place: &ProxyPlace<'_>) -> Value {
    let Some(port) = place.agent else {
        return json!({"loggregator_use_v2_api": false});
    };
    let [ca, certificate, key] = AGENT_FILES.map(|file| place.dir.join(file));
    json!({
        "loggregator_use_v2_api": true,
        "loggregator_api_port": port,
        "loggregator_ca_path": ca,
        "loggregator_cert_path": certificate,
        "loggregator_key_path": key,
        "loggregator_job_origin": "ssh_proxy",
        "loggregator_source_id": "ssh_proxy",
        "loggregator_instance_id": "devcell-vm",
    })
}

/// The `diego-ssh` route as Cloud Controller writes it: one key is the host key and the login key.
pub(super) fn route(app: &App, other: &SshKey, options: &CellOptions) -> Value {
    let pinned = if options.wrong_host_fingerprint {
        other
    } else {
        &app.key
    };
    let mut route = json!({
        "container_port": CONTAINER_PORT,
        "host_fingerprint": pinned.fingerprint_sha1(),
        "host_256_fingerprint": pinned.fingerprint_sha256_padded(),
    });
    if !options.unauthenticated_daemon {
        merge(&mut route, &json!({"private_key": app.key.private_pem()}));
    }
    merge(&mut route, &options.route);
    route
}

/// The tags of the app's logs as Cloud Controller writes them: values, and numbers in place of those
/// that only Diego knows.
pub(super) fn metric_tags(app: &App) -> HashMap<String, MetricTag> {
    let tags = [
        ("source_id", app.guid.as_str(), 0),
        ("process_id", &app.guid, 0),
        ("process_type", "web", 0),
        ("app_id", &app.guid, 0),
        ("app_name", APP_NAME, 0),
        ("space_name", SPACE_NAME, 0),
        ("organization_name", ORGANIZATION_NAME, 0),
        ("instance_id", "", MetricTag::INDEX),
        ("process_instance_id", "", MetricTag::INSTANCE_GUID),
    ];
    let tag = |(name, fixed, dynamic): (&str, &str, i32)| {
        let fixed = fixed.to_owned();
        (name.to_owned(), MetricTag { fixed, dynamic })
    };
    tags.map(tag).into()
}

/// The program to start for a daemon, and the words that come before its flags.
pub(super) fn daemon_program(found: &Path, options: &CellOptions) -> (PathBuf, Vec<OsString>) {
    match options.daemon_command.split_first() {
        Some((program, words)) => (program.into(), words.to_vec()),
        None => (found.to_owned(), Vec::new()),
    }
}

/// The command line as Cloud Controller writes it.
pub(super) fn daemon_args(address: SocketAddr, app: &App, options: &CellOptions) -> Vec<OsString> {
    let admission = if options.unauthenticated_daemon {
        "-allowUnauthenticatedClients=true".to_owned()
    } else {
        format!("-authorizedKey={}", app.key.authorized_line())
    };
    let given = [
        format!("-address={address}"),
        format!("-hostKey={}", app.key.private_pem()),
        admission,
        "-inheritDaemonEnv".to_owned(),
        format!("-logLevel={}", options.daemon_log_level.as_str()),
    ];
    let extra = options.daemon_flags.iter().cloned();
    given.into_iter().chain(extra).map(OsString::from).collect()
}

/// The environment of an app in its container, with `home` in place of `/home/vcap`, and `web` where
/// the app is served.
pub(super) fn daemon_env(
    index: usize,
    instance_guid: &str,
    web: SocketAddr,
    app: &App,
    home: &Path,
    options: &CellOptions,
) -> Vec<(String, OsString)> {
    let application = json!({
        "application_id": app.guid,
        "application_name": APP_NAME,
        "application_uris": ["devcell.example.com"],
        "instance_id": instance_guid,
        "instance_index": index,
        "limits": {"disk": 1024, "fds": 16384, "mem": 256},
        "name": APP_NAME,
        "organization_name": ORGANIZATION_NAME,
        "process_id": app.guid,
        "process_type": "web",
        "space_name": SPACE_NAME,
    });
    let texts = [
        ("CF_INSTANCE_ADDR", web.to_string()),
        ("CF_INSTANCE_GUID", instance_guid.to_owned()),
        ("CF_INSTANCE_INDEX", index.to_string()),
        ("CF_INSTANCE_INTERNAL_IP", "127.0.0.1".to_owned()),
        ("CF_INSTANCE_IP", "127.0.0.1".to_owned()),
        ("CF_INSTANCE_PORTS", "[]".to_owned()),
        ("INSTANCE_GUID", instance_guid.to_owned()),
        ("INSTANCE_INDEX", index.to_string()),
        ("LANG", "en_US.UTF-8".to_owned()),
        ("MEMORY_LIMIT", "256m".to_owned()),
        ("PORT", web.port().to_string()),
        ("USER", "vcap".to_owned()),
        ("VCAP_APPLICATION", application.to_string()),
        ("VCAP_SERVICES", "{}".to_owned()),
    ];
    let mut env: Vec<(String, OsString)> = texts
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    env.push(("HOME".to_owned(), home.into()));
    env.push(("TMPDIR".to_owned(), home.join("tmp").into()));
    env.push(path_variable());
    let extra = options.daemon_env.iter().cloned();
    env.extend(extra.map(|(name, value)| (name, value.into())));
    env.retain(|(name, _)| !options.daemon_env_without.contains(name));
    env
}

/// The environment of the proxy: as good as none.
pub(super) fn proxy_env() -> Vec<(String, OsString)> {
    vec![path_variable()]
}

fn path_variable() -> (String, OsString) {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    ("PATH".to_owned(), path)
}

/// Puts the keys of one JSON object over those of another, objects inside likewise.
pub(super) fn merge(base: &mut Value, over: &Value) {
    let (Some(base), Some(over)) = (base.as_object_mut(), over.as_object()) else {
        return;
    };
    for (key, value) in over {
        match value {
            Value::Null => {
                base.remove(key);
            }
            Value::Object(_) if base.get(key).is_some_and(Value::is_object) => {
                let inner = base.entry(key).or_insert_with(|| Map::new().into());
                merge(inner, value);
            }
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> App {
        App {
            guid: "app".to_owned(),
            process_guid: "app-version".to_owned(),
            key: SshKey::generate(KeyKind::Ed25519).unwrap(),
        }
    }

    #[test]
    fn merging_adds_replaces_and_removes() {
        let mut base = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": 4});
        merge(
            &mut base,
            &json!({"a": 9, "b": {"c": null}, "e": null, "f": {}}),
        );
        assert_eq!(base, json!({"a": 9, "b": {"d": 3}, "f": {}}));
    }

    #[test]
    fn the_daemon_is_started_as_cloud_controller_does_it() {
        let app = app();
        let address = SocketAddr::from(([127, 0, 0, 1], 4000));
        let options = CellOptions {
            daemon_flags: vec!["-allowedCiphers=aes128-ctr".to_owned()],
            ..CellOptions::default()
        };
        let args = daemon_args(address, &app, &options);
        let args: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
        assert_eq!(args[0], "-address=127.0.0.1:4000");
        assert!(args[1].starts_with("-hostKey=-----BEGIN "));
        assert!(args[2].starts_with("-authorizedKey=ssh-ed25519 "));
        assert_eq!(args[3], "-inheritDaemonEnv");
        assert_eq!(args[4], "-logLevel=info");
        assert_eq!(args[5], "-allowedCiphers=aes128-ctr");
    }

    #[test]
    fn a_command_takes_the_place_of_the_program() {
        let mut options = CellOptions::default();
        let found = Path::new("/bin/diego-sshd");
        assert_eq!(daemon_program(found, &options), (found.to_owned(), vec![]));
        options.daemon_command = vec!["chroot".into(), "/tmp/x".into(), "/diego-sshd".into()];
        let words = vec!["/tmp/x".into(), "/diego-sshd".into()];
        assert_eq!(daemon_program(found, &options), ("chroot".into(), words));
    }

    #[test]
    fn variables_can_be_taken_away() {
        let options = CellOptions {
            daemon_env_without: vec!["HOME".to_owned()],
            ..CellOptions::default()
        };
        let web = SocketAddr::from(([127, 0, 0, 1], 8080));
        let env = daemon_env(0, "guid", web, &app(), Path::new("/home/vcap"), &options);
        assert!(env.iter().all(|(name, _)| name != "HOME"));
        assert!(env.iter().any(|(name, _)| name == "USER"));
    }

    #[test]
    fn a_wrong_fingerprint_is_another_keys() {
        let (app, other) = (app(), SshKey::generate(KeyKind::Ed25519).unwrap());
        let mut options = CellOptions::default();
        let right = route(&app, &other, &options);
        assert_eq!(right["host_fingerprint"], app.key.fingerprint_sha1());
        options.wrong_host_fingerprint = true;
        let wrong = route(&app, &other, &options);
        assert_eq!(wrong["host_fingerprint"], other.fingerprint_sha1());
        assert_eq!(wrong["private_key"], app.key.private_pem());
    }
}
