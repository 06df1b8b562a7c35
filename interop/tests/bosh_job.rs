//! The BOSH job: what its templates make of a deployment's properties is a configuration with which the
//! proxy serves, and its drain script ends the proxy in good order.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use devcell::rig::{CcAccess, InstanceTls, LogLevel};
use devcell::{Cell, CellOptions};
use packets::*;
use serde_json::{Map, Value, json};
use ssh_proxy::config::reference;
use tempfile::TempDir;

/// Where a job finds itself on its machine.
const JOB_DIR: &str = "/var/vcap/jobs/ssh_proxy";

/// Every property of the job in diego-release, those included that only older or newer releases have.
const OF_DIEGO_RELEASE: &[&str] = &[
    "backends.tls.ca_certificates",
    "backends.tls.client_certificate",
    "backends.tls.client_private_key",
    "backends.tls.enabled",
    "bpm.enabled",
    "connect_to_instance_address",
    "diego.ssh_proxy.allowed_ciphers",
    "diego.ssh_proxy.allowed_host_key_algorithms",
    "diego.ssh_proxy.allowed_keyexchanges",
    "diego.ssh_proxy.allowed_macs",
    "diego.ssh_proxy.bbs.api_location",
    "diego.ssh_proxy.bbs.ca_cert",
    "diego.ssh_proxy.bbs.client_cert",
    "diego.ssh_proxy.bbs.client_key",
    "diego.ssh_proxy.bbs.client_session_cache_size",
    "diego.ssh_proxy.bbs.max_idle_conns_per_host",
    "diego.ssh_proxy.cc.ca_cert",
    "diego.ssh_proxy.cc.client_cert",
    "diego.ssh_proxy.cc.client_key",
    "diego.ssh_proxy.cc.external_port",
    "diego.ssh_proxy.cc.internal_service_hostname",
    "diego.ssh_proxy.cc.tls_port",
    "diego.ssh_proxy.debug_addr",
    "diego.ssh_proxy.diego_credentials",
    "diego.ssh_proxy.disable_healthcheck_server",
    "diego.ssh_proxy.enable_cf_auth",
    "diego.ssh_proxy.enable_diego_auth",
    "diego.ssh_proxy.healthcheck_listen_addr",
    "diego.ssh_proxy.host_key",
    "diego.ssh_proxy.idle_connection_timeout_in_seconds",
    "diego.ssh_proxy.listen_addr",
    "diego.ssh_proxy.log_level",
    "diego.ssh_proxy.max_connection_duration_in_seconds",
    "diego.ssh_proxy.uaa.ca_cert",
    "diego.ssh_proxy.uaa.port",
    "diego.ssh_proxy.uaa.url",
    "diego.ssh_proxy.uaa_secret",
    "diego.ssl.skip_cert_verify",
    "logging.format.timestamp",
    "loggregator.ca_cert",
    "loggregator.cert",
    "loggregator.key",
    "loggregator.use_v2_api",
    "loggregator.v2_api_port",
];

/// A machine's files for the job, in a directory of the test's.
struct Rendered(TempDir);

impl Rendered {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// What the proxy is told, with the paths of this directory.
    fn config(&self) -> Value {
        let text = self.read("config/ssh_proxy.json");
        let here = self.0.path().to_str().unwrap();
        serde_json::from_str(&text.replace(JOB_DIR, here)).unwrap()
    }
}

fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap().to_owned()
}

/// Has a director's work done by Ruby.
fn render(properties: &Value, links: &Value) -> Result<Rendered, String> {
    let out = tempfile::tempdir().unwrap();
    let mut ruby = Command::new("ruby")
        .arg(repository().join("interop/tests/bosh/render.rb"))
        .arg(repository().join("packaging/bosh/jobs/ssh_proxy"))
        .arg(out.path())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("ruby (Debian package ruby): {error}"));
    let deployment = json!({"properties": properties, "links": links, "id": "devcell-vm"});
    let mut stdin = ruby.stdin.take().unwrap();
    stdin.write_all(deployment.to_string().as_bytes()).unwrap();
    drop(stdin);
    let Output { status, stderr, .. } = ruby.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&stderr).into_owned();
    status.success().then_some(Rendered(out)).ok_or(complaint)
}

/// The least that a deployment gives.
fn least() -> Value {
    json!({
        "diego.ssh_proxy.host_key": "KEY",
        "diego.ssh_proxy.bbs.ca_cert": "CA",
        "diego.ssh_proxy.bbs.client_cert": "CERTIFICATE",
        "diego.ssh_proxy.bbs.client_key": "CLIENT KEY",
    })
}

/// [`least`] and more.
fn with(more: Value) -> Value {
    let mut properties = least();
    let keys: Map<String, Value> = serde_json::from_value(more).unwrap();
    properties.as_object_mut().unwrap().extend(keys);
    properties
}

/// The host and the port of a URL.
fn place(url: &Value) -> (String, u16) {
    let rest = url.as_str().unwrap().split_once("://").unwrap().1;
    let (host, rest) = rest.split_once(':').unwrap();
    let port = rest.split('/').next().unwrap().parse().unwrap();
    (host.to_owned(), port)
}

/// The properties of a deployment with the services of `config`, and with all that watches the proxy.
fn deployment(config: &Value, audit: &Path) -> Value {
    let pem = |key: &str| fs::read_to_string(config[key].as_str().unwrap()).unwrap();
    let agent = &config["loggregator"];
    let agent_pem = |key: &str| fs::read_to_string(agent[key].as_str().unwrap()).unwrap();
    let (uaa, uaa_port) = place(&config["uaa_token_url"]);
    let (cc, cc_port) = place(&config["cc_api_url"]);
    let bbs = config["bbs_address"].as_str().unwrap();
    json!({
        "diego.ssh_proxy.listen_addr": config["address"],
        "diego.ssh_proxy.healthcheck_listen_addr": config["health_check_address"],
        "diego.ssh_proxy.debug_addr": "",
        "diego.ssh_proxy.log_level": config["log_level"],
        "diego.ssh_proxy.host_key": config["host_key"],
        "diego.ssh_proxy.enable_cf_auth": true,
        "diego.ssh_proxy.enable_diego_auth": true,
        "diego.ssh_proxy.diego_credentials": config["diego_credentials"],
        "diego.ssh_proxy.uaa.url": format!("https://{uaa}"),
        "diego.ssh_proxy.uaa.port": uaa_port,
        "diego.ssh_proxy.uaa_secret": config["uaa_password"],
        "diego.ssh_proxy.uaa.ca_cert": pem("uaa_ca_cert"),
        "diego.ssh_proxy.cc.internal_service_hostname": cc,
        "diego.ssh_proxy.cc.tls_port": cc_port,
        "diego.ssh_proxy.cc.ca_cert": pem("cc_api_ca_cert"),
        "diego.ssh_proxy.cc.client_cert": pem("cc_api_client_cert"),
        "diego.ssh_proxy.cc.client_key": pem("cc_api_client_key"),
        "diego.ssh_proxy.bbs.api_location": bbs.strip_prefix("https://").unwrap(),
        "diego.ssh_proxy.bbs.ca_cert": pem("bbs_ca_cert"),
        "diego.ssh_proxy.bbs.client_cert": pem("bbs_client_cert"),
        "diego.ssh_proxy.bbs.client_key": pem("bbs_client_key"),
        "backends.tls.enabled": true,
        "backends.tls.ca_certificates": [pem("backends_tls_ca_certificates")],
        "backends.tls.client_certificate": pem("backends_tls_client_certificate"),
        "backends.tls.client_private_key": pem("backends_tls_client_private_key"),
        "loggregator.v2_api_port": agent["loggregator_api_port"],
        "loggregator.ca_cert": agent_pem("loggregator_ca_path"),
        "loggregator.cert": agent_pem("loggregator_cert_path"),
        "loggregator.key": agent_pem("loggregator_key_path"),
        "fairlead.drain_timeout_in_seconds": 1,
        "fairlead.metrics_address": "127.0.0.1:0",
        "fairlead.admin.address": "127.0.0.1:0",
        "fairlead.audit.file": audit,
        "fairlead.audit.details": true,
        "fairlead.config": {"policy": {"x11_forwarding": false}},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_serves_and_drains() {
    let options = CellOptions {
        cc_access: CcAccess::MutualTls,
        instance_tls: Some(InstanceTls::default()),
        proxy_log_level: LogLevel::Info,
        proxy_config: json!({}),
        ..options()
    };
    let cell = Cell::start(CellOptions {
        loggregator: true,
        ..options
    })
    .await
    .unwrap();
    let own: Value = serde_json::from_slice(&fs::read(cell.proxy_config()).unwrap()).unwrap();
    let audit = cell.dir().join("audit.log");
    let rendered = render(&deployment(&own, &audit), &json!({})).unwrap();
    let config = rendered.config();
    fs::write(cell.proxy_config(), config.to_string()).unwrap();
    cell.proxy().stop().await;
    cell.proxy().restart().await.unwrap();

    let mut session = None;
    for login in [cell.logins()[0].clone(), cell.cf_login(0).unwrap()] {
        let mut raw = Raw::login(&door_of(&cell, &login)).await.unwrap();
        assert_eq!(raw.run(0, "echo in").await.unwrap().stdout, b"in\n");
        session = Some(raw);
    }

    let pidfile = rendered.path("pid");
    fs::write(&pidfile, cell.proxy().pid().unwrap().to_string()).unwrap();
    let mut drain = tokio::process::Command::new("/bin/sh");
    drain
        .arg(rendered.path("bin/drain"))
        .env("PIDFILE", pidfile);
    let draining = tokio::spawn(async move { drain.output().await.unwrap() });
    let (reason, text) = session.unwrap().disconnect().await;
    assert_eq!(reason, 11);
    assert_eq!(text, "the SSH proxy is shutting down; connect again");
    let status = cell.proxy().exited().await.unwrap();
    assert_eq!(status.code(), Some(0));
    let said = within("drain", draining).await.unwrap();
    assert!(said.status.success(), "{said:?}");
    assert_eq!(said.stdout, b"0\n", "BOSH has nothing to wait for");
    let audit = fs::read_to_string(audit).unwrap();
    assert!(audit.contains("echo in"), "{audit}");
    cell.stop().await;
}

/// There is a time between the end of a process and that of its file.
#[test]
fn draining_what_is_gone_is_no_failure() {
    let rendered = render(&least(), &json!({})).unwrap();
    for content in [None, Some(""), Some("999999999")] {
        let pidfile = rendered.path("pid");
        if let Some(content) = content {
            fs::write(&pidfile, content).unwrap();
        }
        let mut drain = Command::new("/bin/sh");
        drain
            .arg(rendered.path("bin/drain"))
            .env("PIDFILE", pidfile);
        let said = drain.output().unwrap();
        assert!(said.status.success(), "{said:?}");
        assert_eq!(said.stdout, b"0\n");
    }
}

#[test]
fn defaults_are_those_of_diego_release() {
    let rendered = render(&least(), &json!({})).unwrap();
    let certs = rendered.path("config/certs/bbs");
    assert_eq!(
        rendered.config(),
        json!({
            "address": "0.0.0.0:2222",
            "health_check_address": "0.0.0.0:2223",
            "disable_health_check_server": false,
            "debug_address": "127.0.0.1:17016",
            "log_level": "info",
            "time_format": "unix-epoch",
            "host_key": "KEY",
            "communication_timeout": "10s",
            "idle_connection_timeout": "300s",
            "connect_to_instance_address": false,
            "skip_cert_verify": false,
            "bbs_address": "https://bbs.service.cf.internal:8889",
            "bbs_ca_cert": certs.join("ca.crt"),
            "bbs_client_cert": certs.join("client.crt"),
            "bbs_client_key": certs.join("client.key"),
            "enable_cf_auth": false,
            "enable_diego_auth": false,
            "drain_timeout": "900s",
            "drain_delay": "0s",
            "loggregator": {"loggregator_use_v2_api": false},
        })
    );
    for (file, content) in [
        ("ca.crt", "CA"),
        ("client.crt", "CERTIFICATE"),
        ("client.key", "CLIENT KEY"),
    ] {
        assert_eq!(
            fs::read_to_string(certs.join(file)).unwrap().trim(),
            content
        );
    }
}

#[test]
fn lists_and_limits_are_passed_on() {
    let properties = with(json!({
        "diego.ssh_proxy.allowed_ciphers": "aes128-gcm@openssh.com",
        "diego.ssh_proxy.allowed_macs": "hmac-sha2-256",
        "diego.ssh_proxy.allowed_keyexchanges": "curve25519-sha256",
        "diego.ssh_proxy.allowed_host_key_algorithms": "rsa-sha2-256",
        "diego.ssh_proxy.bbs.client_session_cache_size": 7,
        "diego.ssh_proxy.bbs.max_idle_conns_per_host": 8,
        "diego.ssh_proxy.max_connection_duration_in_seconds": 3600,
        "loggregator.use_v2_api": false,
    }));
    let config = render(&properties, &json!({})).unwrap().config();
    for (key, value) in [
        ("allowed_ciphers", json!("aes128-gcm@openssh.com")),
        ("allowed_macs", json!("hmac-sha2-256")),
        ("allowed_key_exchanges", json!("curve25519-sha256")),
        ("allowed_host_key_algorithms", json!("rsa-sha2-256")),
        ("bbs_client_session_cache_size", json!(7)),
        ("bbs_max_idle_conns_per_host", json!(8)),
        ("max_connection_duration", json!("3600s")),
        ("loggregator", json!({"loggregator_use_v2_api": false})),
    ] {
        assert_eq!(config[key], value, "{key}");
    }
}

#[test]
fn what_watches_the_proxy_is_passed_on() {
    let properties = with(json!({
        "fairlead.metrics_address": "127.0.0.1:17017",
        "fairlead.admin.address": "192.0.2.1:17018",
        "fairlead.admin.ca_cert": "ADMIN CA",
        "fairlead.admin.server_cert": "ADMIN CERTIFICATE",
        "fairlead.admin.server_key": "ADMIN KEY",
        "fairlead.audit.file": "/var/vcap/sys/log/ssh_proxy/audit.log",
        "fairlead.audit.log": true,
        "fairlead.audit.details": true,
        "fairlead.audit.when_unwritable": "refuse",
    }));
    let rendered = render(&properties, &json!({})).unwrap();
    let config = rendered.config();
    for (key, value) in [
        ("metrics_address", json!("127.0.0.1:17017")),
        ("admin_address", json!("192.0.2.1:17018")),
        ("audit_file", json!("/var/vcap/sys/log/ssh_proxy/audit.log")),
        ("audit_log", json!(true)),
        ("audit_details", json!(true)),
        ("audit_when_unwritable", json!("refuse")),
    ] {
        assert_eq!(config[key], value, "{key}");
    }
    for (key, pem) in [
        ("admin_ca_cert", "ADMIN CA"),
        ("admin_server_cert", "ADMIN CERTIFICATE"),
        ("admin_server_key", "ADMIN KEY"),
    ] {
        let content = fs::read_to_string(config[key].as_str().unwrap()).unwrap();
        assert_eq!(content.trim(), pem);
    }
    assert_eq!(
        rendered.read("config/prom_scraper_config.yml"),
        "---\nport: 17017\nsource_id: ssh_proxy\ninstance_id: devcell-vm\nscheme: http\n"
    );

    // A scraper has nothing to read where there are no metrics.
    let without = render(&least(), &json!({})).unwrap();
    assert_eq!(without.read("config/prom_scraper_config.yml"), "");

    let half = with(json!({"fairlead.admin.ca_cert": "ADMIN CA"}));
    let complaint = render(&half, &json!({})).err().unwrap();
    assert!(complaint.contains("belong together"), "{complaint}");
}

#[test]
fn the_package_puts_the_program_where_bpm_looks_for_it() {
    let (files, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let package = repository().join("packaging/bosh/packages/ssh_proxy");
    let spec = fs::read_to_string(package.join("spec")).unwrap();
    let (_, names) = spec.split_once("\nfiles:\n").unwrap();
    for name in names.lines().filter_map(|line| line.strip_prefix("  - ")) {
        fs::write(files.path().join(name), name).unwrap();
    }
    let made = Command::new("bash")
        .arg(package.join("packaging"))
        .current_dir(files.path())
        .env("BOSH_INSTALL_TARGET", target.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let bpm = render(&least(), &json!({})).unwrap().read("config/bpm.yml");
    let executable = bpm
        .lines()
        .find_map(|line| {
            line.trim()
                .strip_prefix("executable: /var/vcap/packages/ssh_proxy/")
        })
        .unwrap();
    let program = target.path().join(executable);
    assert_eq!(fs::read_to_string(&program).unwrap(), "ssh-proxy");
    let mode = fs::metadata(&program).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111);
}

/// bpm shows a job nothing to write to but its logs, unless it asks for it.
#[test]
fn bpm_makes_room_for_a_socket() {
    let usual = render(&least(), &json!({})).unwrap();
    let usual = usual.read("config/bpm.yml");
    assert!(usual.contains("open_files: 100000\n"), "{usual}");
    assert!(!usual.contains("ephemeral_disk"), "{usual}");
    let socket = "unix:/var/vcap/data/ssh_proxy/admin.sock";
    let properties = with(json!({"fairlead.admin.address": socket}));
    let rendered = render(&properties, &json!({})).unwrap();
    let expected =
        format!("{usual}    # For the admin server's socket.\n    ephemeral_disk: true\n");
    assert_eq!(rendered.read("config/bpm.yml"), expected);
}

#[test]
fn every_property_of_diego_release_is_taken() {
    let spec = repository().join("packaging/bosh/jobs/ssh_proxy/spec");
    let spec = fs::read_to_string(spec).unwrap();
    let (_, properties) = spec.split_once("\nproperties:\n").unwrap();
    for name in OF_DIEGO_RELEASE {
        let heading = format!("  {name}:");
        assert!(properties.lines().any(|line| line == heading), "{name}");
    }
}

/// The proxy ignores keys that it does not know, so that a misspelt one would be noticed by nobody.
#[test]
fn every_key_that_is_rendered_is_one_of_the_proxy() {
    let all = with(json!({
        "diego.ssh_proxy.allowed_ciphers": "x",
        "diego.ssh_proxy.allowed_macs": "x",
        "diego.ssh_proxy.allowed_keyexchanges": "x",
        "diego.ssh_proxy.allowed_host_key_algorithms": "x",
        "diego.ssh_proxy.bbs.client_session_cache_size": 1,
        "diego.ssh_proxy.bbs.max_idle_conns_per_host": 1,
        "diego.ssh_proxy.max_connection_duration_in_seconds": 1,
        "diego.ssh_proxy.diego_credentials": "x",
        "diego.ssh_proxy.enable_cf_auth": true,
        "diego.ssh_proxy.uaa_secret": "x",
        "diego.ssh_proxy.uaa.ca_cert": "x",
        "diego.ssh_proxy.cc.tls_port": 1,
        "diego.ssh_proxy.cc.ca_cert": "x",
        "diego.ssh_proxy.cc.client_cert": "x",
        "diego.ssh_proxy.cc.client_key": "x",
        "backends.tls.enabled": true,
        "backends.tls.ca_certificates": ["x"],
        "backends.tls.client_certificate": "x",
        "backends.tls.client_private_key": "x",
        "loggregator.ca_cert": "x",
        "loggregator.cert": "x",
        "loggregator.key": "x",
        "fairlead.metrics_address": ":1",
        "fairlead.admin.address": ":1",
        "fairlead.admin.ca_cert": "x",
        "fairlead.admin.server_cert": "x",
        "fairlead.admin.server_key": "x",
        "fairlead.audit.file": "x",
        "fairlead.audit.log": true,
        "fairlead.audit.details": true,
        "fairlead.audit.when_unwritable": "drop",
    }));
    let config = render(&all, &json!({})).unwrap().config();
    ssh_proxy::config::File::parse(config.to_string().as_bytes()).unwrap();
    let keys = reference::keys();
    let is_known = |name: &str| keys.iter().any(|key| key.name == name);
    let mut seen = 0;
    for (name, value) in config.as_object().unwrap() {
        assert!(is_known(name), "{name}");
        for inner in value.as_object().into_iter().flat_map(Map::keys) {
            assert!(is_known(&format!("{name}.{inner}")), "{name}.{inner}");
        }
        seen += 1;
    }
    assert!(seen > 45, "{seen}");
}

#[test]
fn cloud_controller_is_asked_as_the_deployment_says() {
    let cf = json!({
        "diego.ssh_proxy.enable_cf_auth": true,
        "diego.ssh_proxy.uaa_secret": "secret",
    });
    let link = json!({"cloud_controller_https_endpoint": {
        "cc.internal_service_hostname": "cc.example.com",
        "cc.public_tls.port": 9024,
        "cc.public_tls.ca_cert": "CA OF THE LINK",
    }});
    let plain = render(&with(cf.clone()), &json!({})).unwrap().config();
    let default = "http://cloud-controller-ng.service.cf.internal:9022";
    assert_eq!(plain["cc_api_url"], default);
    assert_eq!(
        plain["uaa_token_url"],
        "https://uaa.service.cf.internal:8443/oauth/token"
    );
    assert_eq!(plain["uaa_username"], "ssh-proxy");
    assert_eq!(plain.get("cc_api_ca_cert"), None);
    assert_eq!(plain.get("uaa_ca_cert"), None);

    let rendered = render(&with(cf.clone()), &link).unwrap();
    let linked = rendered.config();
    assert_eq!(linked["cc_api_url"], "https://cc.example.com:9024");
    let ca = fs::read_to_string(linked["cc_api_ca_cert"].as_str().unwrap()).unwrap();
    assert_eq!(ca.trim(), "CA OF THE LINK");

    let mut incomplete = with(cf);
    incomplete["diego.ssh_proxy.cc.tls_port"] = 9023.into();
    let complaint = render(&incomplete, &link).err().unwrap();
    assert!(complaint.contains("belong together"), "{complaint}");
}

#[test]
fn what_cannot_be_is_told_to_who_deploys() {
    let timeout = "diego.ssh_proxy.idle_connection_timeout_in_seconds";
    for (properties, told) in [
        (json!({}), "no property diego.ssh_proxy.host_key"),
        (with(json!({timeout: "5m"})), "must be a whole number"),
        (with(json!({timeout: -1})), "must be a whole number"),
        (
            with(json!({"backends.tls.enabled": true})),
            "ca_certificates is empty",
        ),
        (
            with(json!({"diego.ssh_proxy.enable_cf_auth": true})),
            "no property diego.ssh_proxy.uaa_secret",
        ),
    ] {
        let complaint = render(&properties, &json!({})).err().unwrap();
        assert!(complaint.contains(told), "{complaint}");
    }
}
