//! Owns the cell as a whole: one app with its instances, the proxy before them and the platform
//! doubles around them, in one private directory that disappears with it.

use std::fs::Permissions;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::task::Poll;

use serde::Serialize;
use serde_json::Value;
use tempfile::TempDir;

use super::cf::{CF_CA, Cf};
use super::config::{self, App, CONTAINER_PORT, CellOptions, ProxyPlace};
use super::files::{error_at, write};
use super::instance_tls::Fronts;
use super::ports::{ensure_free, free_port, local};
use super::process::{Launch, Process, Ready};
use super::web::Web;
use super::{Binaries, RigError};
use crate::bbs::Bbs;
use crate::bbs::messages::{ActualLrp, DesiredLrp, NetInfo};
use crate::certs::{Authority, Identity, Request};
use crate::cloud_controller::{AppSsh, CloudController};
use crate::front::{Front, PROXY_NAME};
use crate::keys::{SshKey, random_guid, random_hex};
use crate::loggregator::{self, Agent};
use crate::uaa::{Uaa, User};

/// How often a program is started anew because someone else took the port picked for it.
const PORT_ATTEMPTS: usize = 5;

/// What to type to reach one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Login {
    /// The SSH user name, `diego:<process guid>/<index>` or `cf:<app guid>/<index>`.
    pub user: String,
    /// The password, or the one-time code.
    pub password: String,
}

/// A running cell. Dropping it kills and reaps every program and removes its directory.
#[derive(Debug)]
pub struct Cell {
    // Fields drop in this order: programs first, the directory they use last.
    proxy: Process,
    daemons: Vec<Daemon>,
    bbs: Bbs,
    cf: Cf,
    agent: Option<Agent>,
    proxy_address: SocketAddr,
    health_address: SocketAddr,
    host_key: SshKey,
    app: App,
    logins: Vec<Login>,
    authority: Authority,
    dir: TempDir,
}

#[derive(Debug)]
struct Daemon {
    process: Process,
    address: SocketAddr,
    /// TLS before it.
    front: Option<Front>,
    /// What the app is for.
    web: Web,
}

impl Cell {
    /// Starts everything and returns when all of it serves.
    pub async fn start(options: CellOptions) -> Result<Self, RigError> {
        options.check_port()?;
        let binaries = match &options.binaries {
            Some(binaries) => binaries.clone(),
            None => Binaries::find()?,
        };
        let dir = private_dir()?;
        let app = new_app(&options)?;
        let host_key = SshKey::generate(options.proxy_key)?;
        let password = random_hex(16)?;

        let authority = Authority::new("devcell CA")?;
        let bbs = start_bbs(&authority, dir.path()).await?;
        let cf = Cf::start(&authority, &app, &options).await?;
        let mut services = vec![cf.proxy_config(&authority, dir.path(), &options)?];
        let fronts = options.instance_tls.map(Fronts::new).transpose()?;
        if let Some(fronts) = &fronts {
            services.push(fronts.proxy_config(&authority, dir.path())?);
        }
        let surroundings = Surroundings {
            binaries: &binaries,
            dir: dir.path(),
            bbs: &bbs,
            authority: &authority,
            fronts: fronts.as_ref(),
        };
        let daemons = start_app(&app, &surroundings, &host_key, &options).await?;
        let agent = match options.loggregator {
            true => Some(start_agent(&authority, dir.path()).await?),
            false => None,
        };
        let place = Place {
            binaries: &binaries,
            dir: dir.path(),
            host_key: &host_key,
            password: &password,
            bbs_url: &bbs.url(),
            services: &services,
            agent: agent.as_ref().map(Agent::port),
        };
        let (proxy, proxy_address, health_address) = start_proxy(&place, &options).await?;
        write_known_hosts(dir.path(), proxy_address, &host_key)?;
        cf.cloud_controller.update(|state| {
            state.app_ssh = AppSsh {
                endpoint: proxy_address.to_string(),
                host_key_fingerprint: host_key.fingerprint_sha256(),
            };
        });
        let logins = (0..options.instances).map(|index| Login {
            user: format!("diego:{}/{index}", app.process_guid),
            password: password.clone(),
        });
        Ok(Self {
            logins: logins.collect(),
            proxy,
            daemons,
            bbs,
            cf,
            agent,
            proxy_address,
            health_address,
            host_key,
            app,
            authority,
            dir,
        })
    }

    /// Where clients connect to.
    pub fn proxy_address(&self) -> SocketAddr {
        self.proxy_address
    }

    /// Where the proxy answers health checks.
    pub fn health_address(&self) -> SocketAddr {
        self.health_address
    }

    /// Where the proxy serves metrics, if its configuration has a `metrics_address`.
    pub async fn metrics_address(&self) -> Result<String, RigError> {
        self.serves("serving-metrics").await
    }

    /// Where the proxy's admin server is, if its configuration has an `admin_address`: `unix:` and a
    /// path, if it has that.
    pub async fn admin_address(&self) -> Result<String, RigError> {
        self.serves("serving-admin").await
    }

    /// The address that the proxy logs with this message.
    async fn serves(&self, message: &str) -> Result<String, RigError> {
        let line = self.proxy.wait_for_log(message).await?;
        let told = serde_json::from_str::<Value>(&line).unwrap_or_default();
        let address = told.pointer("/data/address").and_then(Value::as_str);
        address.map(str::to_owned).ok_or_else(|| RigError::Silent {
            name: self.proxy.name().to_owned(),
            expected: format!("{message} with an address"),
            last_line: line.clone(),
        })
    }

    /// The guid of the app's one process.
    pub fn process_guid(&self) -> &str {
        &self.app.process_guid
    }

    /// The guid of the app, which is also the source of its logs.
    pub fn app_guid(&self) -> &str {
        &self.app.guid
    }

    /// User names of the realm `diego:` and their passwords, by instance index.
    pub fn logins(&self) -> &[Login] {
        &self.logins
    }

    /// The user name of the realm `cf:` for one instance, and a new code, which is good for one login.
    pub fn cf_login(&self, index: usize) -> Result<Login, RigError> {
        Ok(Login {
            user: format!("cf:{}/{index}", self.app.guid),
            password: self.cf.uaa.new_code(&self.cf.developer)?,
        })
    }

    /// The certificates to verify UAA and Cloud Controller with.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join(CF_CA)
    }

    /// The UAA double.
    pub fn uaa(&self) -> &Uaa {
        &self.cf.uaa
    }

    /// The Cloud Controller double.
    pub fn cloud_controller(&self) -> &CloudController {
        &self.cf.cloud_controller
    }

    /// The user who may enter the app.
    pub fn developer(&self) -> &User {
        &self.cf.developer
    }

    /// The proxy's host key.
    pub fn host_key(&self) -> &SshKey {
        &self.host_key
    }

    /// The proxy's host key fingerprint as OpenSSH prints it, `SHA256:` included.
    pub fn host_key_sha256(&self) -> String {
        format!("SHA256:{}", self.host_key.fingerprint_sha256())
    }

    /// The key that all instances use as host key and accept as login key.
    pub fn instance_key(&self) -> &SshKey {
        &self.app.key
    }

    /// A `known_hosts` file that has the proxy's host key and nothing else.
    pub fn known_hosts(&self) -> PathBuf {
        self.dir.path().join(KNOWN_HOSTS)
    }

    /// The cell's private directory, for a test's own files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The proxy's configuration file; it is read again at [`Process::restart`].
    pub fn proxy_config(&self) -> PathBuf {
        self.dir.path().join(PROXY_CONFIG)
    }

    /// The authority behind all certificates.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The BBS double.
    pub fn bbs(&self) -> &Bbs {
        &self.bbs
    }

    /// The double of the loggregator agent, if there is to be one.
    pub fn agent(&self) -> Option<&Agent> {
        self.agent.as_ref()
    }

    /// The proxy.
    pub fn proxy(&self) -> &Process {
        &self.proxy
    }

    /// The daemon of one instance.
    pub fn daemon(&self, index: usize) -> Option<&Process> {
        self.daemons.get(index).map(|daemon| &daemon.process)
    }

    /// Where the daemon of one instance listens, for clients that go around the proxy.
    pub fn daemon_address(&self, index: usize) -> Option<SocketAddr> {
        self.daemons.get(index).map(|daemon| daemon.address)
    }

    /// Where one instance serves the app, a page that says which instance it is.
    pub fn app_address(&self, index: usize) -> Option<SocketAddr> {
        self.daemons.get(index).map(|daemon| daemon.web.address())
    }

    /// Where the TLS front of one instance listens, if it has one.
    pub fn front_address(&self, index: usize) -> Option<SocketAddr> {
        let front = self.daemons.get(index)?.front.as_ref()?;
        Some(front.address())
    }

    /// Waits until some program ends that nobody asked to, and says which and how.
    pub async fn program_ended(&self) -> RigError {
        let mut waits: Vec<_> = self
            .programs()
            .map(|program| Box::pin(async move { (program, program.exited().await) }))
            .collect();
        let (program, status) = poll_fn(|context| {
            for wait in &mut waits {
                if let Poll::Ready(done) = wait.as_mut().poll(context) {
                    return Poll::Ready(done);
                }
            }
            Poll::Pending
        })
        .await;
        RigError::Ended {
            name: program.name().to_owned(),
            status: status.unwrap_or_default(),
            last_line: program.last_log_line(),
            port_taken: false,
        }
    }

    /// Ends everything in good order: clients are told, the directory is removed.
    pub async fn stop(self) {
        self.proxy.stop().await;
        for daemon in &self.daemons {
            daemon.process.stop().await;
        }
        self.bbs.stop().await;
        self.cf.uaa.stop().await;
        self.cf.cloud_controller.stop().await;
        if let Some(agent) = &self.agent {
            agent.stop().await;
        }
    }

    fn programs(&self) -> impl Iterator<Item = &Process> {
        let daemons = self.daemons.iter().map(|daemon| &daemon.process);
        std::iter::once(&self.proxy).chain(daemons)
    }
}

impl CellOptions {
    /// Whether the port asked for can be had; better known early than from a program's log.
    pub fn check_port(&self) -> Result<(), RigError> {
        self.proxy_port.map_or(Ok(()), ensure_free)
    }
}

const KNOWN_HOSTS: &str = "known_hosts";
const PROXY_CONFIG: &str = "ssh-proxy.json";

fn private_dir() -> Result<TempDir, RigError> {
    tempfile::Builder::new()
        .prefix("devcell-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .map_err(|error| RigError::File {
            what: "a temporary directory".to_owned(),
            error,
        })
}

fn write_known_hosts(dir: &Path, proxy: SocketAddr, key: &SshKey) -> Result<(), RigError> {
    let (port, key) = (proxy.port(), key.authorized_line());
    let text = format!("[127.0.0.1]:{port},[localhost]:{port} {key}\n");
    write(&dir.join(KNOWN_HOSTS), &text)
}

/// An app as Cloud Controller names it: the process guid is the guids of process and version.
fn new_app(options: &CellOptions) -> Result<App, RigError> {
    let guid = random_guid()?;
    Ok(App {
        process_guid: format!("{guid}-{}", random_guid()?),
        guid,
        key: SshKey::generate(options.instance_key)?,
    })
}

/// Starts the BBS and leaves what its client needs in `dir`.
async fn start_bbs(authority: &Authority, dir: &Path) -> Result<Bbs, RigError> {
    let names = ["localhost", "bbs.service.cf.internal"];
    let server = authority.issue(&Request::server(&names))?;
    let client = authority.issue(&Request::client(PROXY_NAME))?;
    write_identity(dir, config::BBS_FILES, authority, &client)?;
    Ok(Bbs::start(&server, authority).await?)
}

/// Starts the loggregator agent and leaves what its client needs in `dir`.
async fn start_agent(authority: &Authority, dir: &Path) -> Result<Agent, RigError> {
    let server = authority.issue(&Request::server(&[loggregator::SERVER_NAME]))?;
    let client = authority.issue(&Request::client("ssh_proxy"))?;
    write_identity(dir, config::AGENT_FILES, authority, &client)?;
    Ok(Agent::start(&server, authority).await?)
}

/// Writes whom a client trusts and who it is.
fn write_identity(
    dir: &Path,
    files: [&str; 3],
    authority: &Authority,
    client: &Identity,
) -> Result<(), RigError> {
    let texts = [
        authority.certificate_pem(),
        client.certificate_pem().to_owned(),
        client.key_pem(),
    ];
    for (name, text) in files.iter().zip(texts) {
        write(&dir.join(name), &text)?;
    }
    Ok(())
}

/// What starting the app needs beside the options.
struct Surroundings<'a> {
    binaries: &'a Binaries,
    dir: &'a Path,
    bbs: &'a Bbs,
    /// Signs for the platform, the proxy included.
    authority: &'a Authority,
    fronts: Option<&'a Fronts>,
}

/// Starts the daemons of all instances and tells the BBS about them.
async fn start_app(
    app: &App,
    around: &Surroundings<'_>,
    other_key: &SshKey,
    options: &CellOptions,
) -> Result<Vec<Daemon>, RigError> {
    let route = config::route(app, other_key, options);
    let mut desired = DesiredLrp::with_ssh_route(&app.process_guid, &app.guid, &route);
    desired.metric_tags = config::metric_tags(app);
    desired.instances = i32::try_from(options.instances).unwrap_or(i32::MAX);
    around.bbs.update(|state| state.desired.push(desired));

    let mut daemons = Vec::new();
    for index in 0..options.instances {
        let guid = random_guid()?;
        let home = around.dir.join(format!("instance-{index}"));
        let tmp = home.join("tmp");
        std::fs::create_dir_all(&tmp).map_err(|error| error_at(&tmp, error))?;
        let web = Web::start(index).await?;
        let env = config::daemon_env(index, &guid, web.address(), app, &home, options);
        let (program, words) = config::daemon_program(&around.binaries.diego_sshd, options);
        let (process, address) = start_daemon(|address| Launch {
            name: format!("{} of instance {index}", Binaries::DIEGO_SSHD),
            program: program.clone(),
            args: [words.clone(), config::daemon_args(address, app, options)].concat(),
            env: env.clone(),
            dir: home.clone(),
            ready: ready(options.daemon_log_level, "sshd.started", address),
            mark: Some(format!("INSTANCE_GUID={guid}")),
        })
        .await?;
        let front = match around.fronts {
            Some(fronts) => Some(fronts.start(&guid, address, around.authority).await?),
            None => None,
        };
        let daemon = Daemon {
            process,
            address,
            front,
            web,
        };
        let row_index = i32::try_from(index).unwrap_or(i32::MAX);
        let row = ActualLrp::running(&app.process_guid, row_index, &guid)
            .at(net_info(&daemon, around.fronts));
        around.bbs.update(|state| state.actual.push(row));
        daemons.push(daemon);
    }
    Ok(daemons)
}

/// Where an instance can be reached, as the cell's rep reports it.
fn net_info(daemon: &Daemon, fronts: Option<&Fronts>) -> NetInfo {
    match (&daemon.front, fronts) {
        (Some(front), Some(fronts)) => {
            let plain = fronts.plain_port(daemon.address);
            NetInfo::plain(CONTAINER_PORT, plain).with_tls(front.address().port())
        }
        _ => NetInfo::plain(CONTAINER_PORT, daemon.address.port()),
    }
}

async fn start_daemon(
    launch: impl Fn(SocketAddr) -> Launch,
) -> Result<(Process, SocketAddr), RigError> {
    let mut attempt = 1;
    loop {
        let address = local(free_port()?);
        match Process::start(launch(address)).await {
            Ok(process) => return Ok((process, address)),
            Err(error) if attempt < PORT_ATTEMPTS && is_worth_another(&error) => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

/// What starting the proxy needs beside the options.
struct Place<'a> {
    binaries: &'a Binaries,
    dir: &'a Path,
    host_key: &'a SshKey,
    password: &'a str,
    bbs_url: &'a str,
    services: &'a [Value],
    agent: Option<u16>,
}

async fn start_proxy(
    place: &Place<'_>,
    options: &CellOptions,
) -> Result<(Process, SocketAddr, SocketAddr), RigError> {
    let mut attempt = 1;
    loop {
        // Again, since starting the rest took a while: its message is the better one.
        options.check_port()?;
        let address = local(match options.proxy_port {
            Some(port) => port,
            None => free_port()?,
        });
        let health_address = local(free_port()?);
        let launch = proxy_launch(place, address, health_address, options)?;
        match Process::start(launch).await {
            Ok(process) => return Ok((process, address, health_address)),
            Err(error) if attempt < PORT_ATTEMPTS && is_worth_another(&error) => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

fn proxy_launch(
    place: &Place<'_>,
    address: SocketAddr,
    health_address: SocketAddr,
    options: &CellOptions,
) -> Result<Launch, RigError> {
    let config = config::proxy(
        &ProxyPlace {
            address,
            health_address,
            bbs_url: place.bbs_url,
            agent: place.agent,
            dir: place.dir,
            host_key: place.host_key,
            password: place.password,
            services: place.services,
        },
        options,
    );
    let path = place.dir.join(PROXY_CONFIG);
    write(&path, &format!("{config:#}\n"))?;
    Ok(Launch {
        name: Binaries::SSH_PROXY.to_owned(),
        program: place.binaries.ssh_proxy.clone(),
        args: vec![format!("-config={}", path.display()).into()],
        env: config::proxy_env(),
        dir: place.dir.to_owned(),
        ready: ready(options.proxy_log_level, "ssh-proxy.started", address),
        mark: None,
    })
}

fn ready(level: super::LogLevel, line: &'static str, address: SocketAddr) -> Ready {
    if level.tells_start() {
        Ready::Line(line)
    } else {
        Ready::Port(address)
    }
}

/// Whether another start may go better: somebody else was faster at the port, or the agent, which has one
/// second at the start of a proxy, was too slow on a machine that does too much at once.
fn is_worth_another(error: &RigError) -> bool {
    match error {
        RigError::Ended {
            port_taken,
            last_line,
            ..
        } => *port_taken || last_line.contains("failed-to-initialize-metron-client"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hosts_has_the_port_in_brackets() {
        let dir = private_dir().unwrap();
        let key = SshKey::generate(crate::keys::KeyKind::Ed25519).unwrap();
        write_known_hosts(dir.path(), local(2222), &key).unwrap();
        let text = std::fs::read_to_string(dir.path().join(KNOWN_HOSTS)).unwrap();
        let names = "[127.0.0.1]:2222,[localhost]:2222 ssh-ed25519 ";
        assert!(text.starts_with(names), "{text}");
    }
}
