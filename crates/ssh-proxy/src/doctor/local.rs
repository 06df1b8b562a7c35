//! What can be told without asking anybody: what the file says, the files that it names, the ports.

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use ssh_proto::algorithm::{Algorithms, Lists};
use ssh_proto::key::PrivateKey;

use super::report::Report;
use crate::admin::settings::{AdminSettings, UNIX};
use crate::audit::settings::AuditSettings;
use crate::config::File;
use crate::edge::settings as edge;
use crate::platform::bbs::BbsSettings;
use crate::platform::{tls, validity};
use crate::settings::loggregator::{self, LoggregatorSettings};
use crate::settings::{self, BackendTls, CfSettings, Problems};

/// Days before the end of a certificate when its operator should know.
const SOON: i64 = 30;

/// Shorter RSA keys are below what auditors ask for today.
const LEAST_RSA_BITS: usize = 3072;

/// How proxies of Diego begin.
const IDENTIFICATION: &[u8; 23] = b"SSH-2.0-diego-ssh-proxy";

/// How long one may take to say so.
const GREETING: Duration = Duration::from_secs(2);

/// What else has to be asked, as far as it can be.
#[derive(Default)]
pub(super) struct Services {
    pub(super) uaa_and_cc: Wanted<CfSettings>,
    pub(super) bbs: Wanted<BbsSettings>,
    pub(super) loggregator: Wanted<LoggregatorSettings>,
    pub(super) instances: Wanted<BackendTls>,
}

/// Something that the file may want.
#[derive(Debug, Default)]
pub(super) enum Wanted<T> {
    /// It does not.
    #[default]
    No,
    /// It does, but not in a way that could work.
    Broken,
    /// It does.
    Yes(T),
}

/// Looks at everything that the file says and names.
pub(super) async fn examine(file: &File, report: &mut Report) -> Services {
    let key = part(
        report,
        "host-key",
        "Set host_key to a private key in PEM form.",
        |found| settings::host_key(file, found),
    );
    if let Some(key) = key {
        host_key(&key, report);
    }
    let remedy = "Correct these keys; `ssh-proxy config` explains each.";
    let rest = part(report, "settings", remedy, |found| {
        let logging = settings::logging(file);
        let logging = logging.map_err(|problems| problems.join("; "));
        let logging = found.check("log_level", "", settings::Exit::Fatal, logging);
        let edge = edge::EdgeSettings::new(file, found);
        let policy = edge::policy(&file.policy, found);
        let audit = AuditSettings::new(file, found);
        let admin = file.admin_address.is_empty() || AdminSettings::new(file, found).is_some();
        (logging.is_some() && edge.is_some() && policy.is_some() && audit.is_some() && admin)
            .then_some(())
    });
    if rest.is_some() {
        report.ok(
            "settings",
            "log, limits, policy, audit and admin server make sense",
        );
    }
    algorithms(file, report);
    let services = services(file, report);
    certificates(file, report);
    addresses(file, report);
    services
}

/// Tells of lists that leave something out, or everything.
fn algorithms(file: &File, report: &mut Report) {
    let (algorithms, dropped) = Algorithms::from_lists(Lists {
        kex: &file.allowed_key_exchanges,
        host_key: &file.allowed_host_key_algorithms,
        cipher: &file.allowed_ciphers,
        mac: &file.allowed_macs,
    });
    let lacking = algorithms.lacking();
    if !lacking.is_empty() {
        let seen = format!("no algorithm is left for {}", lacking.join(", "));
        let remedy = "Add one that is known to the allowed_* list; docs/operate.md has them.";
        report.broken("algorithms", seen, remedy);
    } else if !dropped.is_empty() {
        let names: Vec<&str> = dropped.iter().map(|it| it.name.as_str()).collect();
        let seen = format!("not used: {}", names.join(", "));
        let remedy = "Take these out of the allowed_* lists: unknown here, or too weak.";
        report.warning("algorithms", seen, remedy);
    }
}

fn services(file: &File, report: &mut Report) -> Services {
    let remedy =
        "Put the right files in place; certificate and key have to be a pair, and valid now.";
    let mut wanted = Services::default();
    if file.enable_cf_auth {
        let cf = part(report, "cf-files", remedy, |found| {
            settings::cf::settings(file, found)
        });
        wanted.uaa_and_cc = told(report, "cf-files", cf);
    }
    if !file.enable_cf_auth && !file.enable_diego_auth {
        let remedy = "Set enable_cf_auth, enable_diego_auth, or both.";
        report.warning("realms", "nobody can log in: no realm is enabled", remedy);
    }
    let bbs = part(report, "bbs-files", remedy, |found| {
        settings::bbs(file, found)
    });
    wanted.bbs = told(report, "bbs-files", bbs);
    if file.backends_tls_enabled {
        let tls = part(report, "instance-tls-files", remedy, |found| {
            settings::backend_tls(file, found)
        });
        wanted.instances = told(report, "instance-tls-files", tls);
    }
    let agent = part(report, "loggregator-files", remedy, |found| {
        loggregator::read(&file.loggregator, found)
    });
    wanted.loggregator = match agent {
        None => Wanted::Broken,
        Some(None) => Wanted::No,
        Some(Some(agent)) => told(report, "loggregator-files", Some(agent)),
    };
    wanted
}

/// What `read` makes of the file; its problems are told under `id`.
fn part<T>(
    report: &mut Report,
    id: &'static str,
    remedy: &'static str,
    read: impl FnOnce(&mut Problems) -> Option<T>,
) -> Option<T> {
    let mut found = Problems::default();
    let part = read(&mut found);
    if found.0.is_empty() {
        return part;
    }
    let problems: Vec<String> = (found.0.iter())
        .map(|problem| format!("{}: {}", problem.key, problem.error.trim_end()))
        .collect();
    report.broken(id, problems.join("; "), remedy);
    None
}

fn told<T>(report: &mut Report, id: &'static str, part: Option<T>) -> Wanted<T> {
    match part {
        None => Wanted::Broken,
        Some(part) => {
            report.ok(id, "all there, and valid now");
            Wanted::Yes(part)
        }
    }
}

fn host_key(key: &PrivateKey, report: &mut Report) {
    let public = key.public();
    let fingerprint = format!(
        "{} SHA256:{}",
        public.key_type(),
        public.fingerprint_sha256()
    );
    match public.rsa_bits() {
        Some(bits) if bits < LEAST_RSA_BITS => {
            let remedy =
                "Use an Ed25519 key or RSA with 3072 bits or more, and publish its fingerprint.";
            report.warning(
                "host-key",
                format!("{fingerprint}, only {bits} bits"),
                remedy,
            );
        }
        _ => report.ok("host-key", fingerprint),
    }
}

/// Until when the certificates are good. Whether they are now is told elsewhere.
fn certificates(file: &File, report: &mut Report) {
    let named = [
        ("bbs_ca_cert", &file.bbs_ca_cert),
        ("bbs_client_cert", &file.bbs_client_cert),
        ("uaa_ca_cert", &file.uaa_ca_cert),
        ("cc_api_ca_cert", &file.cc_api_ca_cert),
        ("cc_api_client_cert", &file.cc_api_client_cert),
        (
            "backends_tls_ca_certificates",
            &file.backends_tls_ca_certificates,
        ),
        (
            "backends_tls_client_certificate",
            &file.backends_tls_client_certificate,
        ),
        ("loggregator_ca_path", &file.loggregator.loggregator_ca_path),
        (
            "loggregator_cert_path",
            &file.loggregator.loggregator_cert_path,
        ),
        ("admin_ca_cert", &file.admin_ca_cert),
        ("admin_server_cert", &file.admin_server_cert),
    ];
    let ends: Vec<(i64, String)> = (named.into_iter())
        .filter_map(|(key, path)| {
            let certificates = tls::certificates(path).ok()?;
            let first_to_end = certificates.iter().filter_map(validity::expiry).min()?;
            Some((first_to_end.0, format!("{key} until {}", first_to_end.1)))
        })
        .collect();
    let list = |ends: &mut dyn Iterator<Item = &(i64, String)>| {
        ends.map(|(_, text)| text.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let soon = list(&mut ends.iter().filter(|(days, _)| *days < SOON));
    if !soon.is_empty() {
        report.warning(
            "certificates",
            soon,
            "Renew them; the proxy takes new files by itself.",
        );
    } else if !ends.is_empty() {
        report.ok("certificates", list(&mut ends.iter()));
    }
}

/// Whether the ports can be had. That they are taken is right where the proxy runs, and by it alone.
fn addresses(file: &File, report: &mut Report) {
    let mut wanted = vec![("address", &file.address)];
    if !file.disable_health_check_server {
        wanted.push(("health_check_address", &file.health_check_address));
    }
    for (key, address) in [
        ("debug_address", &file.debug_address),
        ("metrics_address", &file.metrics_address),
        ("admin_address", &file.admin_address),
    ] {
        if !address.is_empty() && !address.starts_with(UNIX) {
            wanted.push((key, address));
        }
    }
    let remedy = "Give addresses of this machine that the proxy may listen on.";
    let addresses = part(report, "addresses", remedy, |found| {
        (wanted.iter())
            .map(|(key, address)| Some((*key, found.listen(key, address)?)))
            .collect::<Option<Vec<_>>>()
    });
    let Some(addresses) = addresses else { return };
    let (mut told, mut taken, mut broken) = (Vec::new(), false, Vec::new());
    for (key, address) in addresses {
        match TcpListener::bind(address) {
            Ok(_) => told.push(format!("{key} {address} is free")),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let is_ours = key != "address" || is_a_proxy(address);
                taken |= !is_ours;
                let by = if is_ours { "" } else { " by something else" };
                told.push(format!("{key} {address} is in use{by}"));
            }
            Err(error) => broken.push(format!("{key}: {address}: {error}")),
        }
    }
    if !broken.is_empty() {
        report.broken("addresses", broken.join(", "), remedy);
    } else if taken {
        let remedy = "See what listens there (`ss -ltnp`): the proxy cannot start beside it.";
        report.warning("addresses", told.join(", "), remedy);
    } else {
        report.ok("addresses", told.join(", "));
    }
}

/// Whether who listens at `address` says that it is an SSH proxy of Diego, ours or another.
fn is_a_proxy(address: SocketAddr) -> bool {
    let here = match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        _ => address,
    };
    let mut said = [0; IDENTIFICATION.len()];
    let heard = TcpStream::connect_timeout(&here, GREETING).and_then(|mut stream| {
        stream.set_read_timeout(Some(GREETING))?;
        stream.read_exact(&mut said)
    });
    heard.is_ok() && said == *IDENTIFICATION
}
