//! One instance: where it is, whether it proves itself, and whether its daemon lets the proxy in.

use std::sync::Arc;
use std::time::Duration;

use connector::{Files, Resolver};
use ssh_proto::Error;
use ssh_proto::connection::request::SESSION;
use ssh_proto::connection::{Event as Message, Limits};
use ssh_proto::error::Reason;
use ssh_tokio::Socket;
use ssh_tokio::session::{Event, Session};
use tokio::time::timeout;

use super::local::{Services, Wanted as Configured};
use super::report::Report;
use crate::config::File;
use crate::dial::Dialer;
use crate::metrics::Metrics;
use crate::platform::bbs::{Bbs, BbsError};
use crate::refusal::Refusal;
use crate::settings::BackendSettings;
use crate::target::{Target, TargetError};

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// The steps into an instance. One that fails leaves those behind it unknown.
const STEPS: [&str; 6] = [
    "instance",
    "instance-route",
    "instance-address",
    "instance-tls",
    "instance-host-key",
    "instance-login",
];

/// The instance that is asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    guid: String,
    index: i32,
}

/// Reads `GUID/INDEX`.
pub(super) fn parse(text: &str) -> Option<Wanted> {
    let (guid, index) = text.rsplit_once('/')?;
    let index = index.parse().ok().filter(|index| *index >= 0)?;
    let guid = guid.to_owned();
    (!guid.is_empty()).then_some(Wanted { guid, index })
}

/// Goes the way of a user from BBS on.
pub(super) async fn examine(
    file: &File,
    services: Services,
    bbs: Option<Bbs>,
    wanted: &Wanted,
    report: &mut Report,
) {
    let Some(bbs) = bbs else {
        return skip(report, 0, "bbs");
    };
    let tls = match services.instances {
        Configured::Broken => return skip(report, 0, "instance-tls-files"),
        Configured::No => None,
        Configured::Yes(tls) => Some(tls),
    };
    let found = timeout(PATIENCE, bbs.instance(&wanted.guid, wanted.index)).await;
    let lrp = match found {
        Ok(Ok(lrp)) => lrp,
        Ok(Err(error)) => return no_instance(&error, report),
        Err(_) => {
            return stop(
                report,
                0,
                "BBS does not answer in time",
                "Look at BBS's log.",
            );
        }
    };
    report.ok(
        "instance",
        format!("{}/{} is running", wanted.guid, wanted.index),
    );
    let target = match Target::new(&lrp, file.connect_to_instance_address) {
        Ok(target) => target,
        Err(error) => return no_route(&error, report),
    };
    report.ok("instance-route", "names a daemon and a key for it");
    let has_tls = tls.is_some() && target.tls.is_some();
    let settings = BackendSettings {
        connect_to_instance_address: file.connect_to_instance_address,
        tls,
        require_host_fingerprint: file.require_host_fingerprint,
    };
    let resolver = Arc::new(Resolver::new(Files::default()));
    let (dialer, metrics) = (Dialer::new(resolver, settings), Metrics::default());
    let dialled = timeout(PATIENCE, dialer.dial(&target, &metrics)).await;
    let refusal = match dialled {
        Ok(Ok(daemon)) => {
            passed(report, 5, has_tls, &target);
            let limits = Limits::default();
            return session(Session::new(daemon, limits), report).await;
        }
        Ok(Err(refusal)) => refusal,
        Err(_) => Refusal::Dial("no answer in time".to_owned()),
    };
    let (step, remedy) = match &refusal {
        Refusal::Tls(_) => (
            3,
            "See that backends_tls_ca_certificates signed the instance's certificate, and that its name \
             is the instance's guid; restart the instance if it shows another's.",
        ),
        Refusal::HostKey(_) => (
            4,
            "The daemon is not the one of the route: restart the app, and ask who else could answer there.",
        ),
        Refusal::Handshake(_) => (
            5,
            "The daemon refuses the route's key, or is no SSH daemon: restart the app.",
        ),
        _ => (
            2,
            "See that the daemon runs in the container, and that the proxy may reach the cell.",
        ),
    };
    passed(report, step - 1, has_tls, &target);
    stop(report, step, &refusal.to_string(), remedy);
}

/// The steps from the address to `last` have gone well.
fn passed(report: &mut Report, last: usize, has_tls: bool, target: &Target) {
    for step in STEPS.get(2..=last).unwrap_or_default() {
        let seen = match *step {
            "instance-address" => "reached".to_owned(),
            "instance-tls" if has_tls => "its certificate names it".to_owned(),
            "instance-tls" => "in clear: no TLS here".to_owned(),
            "instance-host-key" if target.host_fingerprint.is_some() => {
                "is the pinned one".to_owned()
            }
            "instance-host-key" => "is not pinned".to_owned(),
            _ => "the daemon lets us in".to_owned(),
        };
        report.ok(step, seen);
    }
}

/// The step breaks; those behind it are not known.
fn stop(report: &mut Report, step: usize, seen: &str, remedy: &'static str) {
    let Some(id) = STEPS.get(step) else { return };
    report.broken(id, seen, remedy);
    skip(report, step + 1, id);
}

fn skip(report: &mut Report, from: usize, because: &str) {
    for id in STEPS.get(from..).unwrap_or_default() {
        report.not_checked(id, because);
    }
    report.not_checked("instance-session", because);
}

fn no_instance(error: &BbsError, report: &mut Report) {
    let remedy = match error {
        BbsError::NotRunning { .. } => "Start the app, or see why it crashes.",
        BbsError::NotFound(_) | BbsError::NoInstance { .. } | BbsError::NoDesiredLrp { .. } => {
            "Give the process guid that BBS knows (cfdot desired-lrps) and an index below its instances."
        }
        BbsError::Ambiguous { .. } => "Wait: the instance is being moved.",
        _ => "Look at BBS's log.",
    };
    stop(report, 0, &error.to_string(), remedy);
}

fn no_route(error: &TargetError, report: &mut Report) {
    let remedy = match error {
        TargetError::NoRoute | TargetError::BadRoute => {
            "Enable SSH for the app and its space, and restart the app."
        }
        TargetError::NoPort(_) | TargetError::NoAddress(_) => "Restart the app.",
    };
    stop(report, 1, &error.to_string(), remedy);
}

/// A channel is opened, and nothing is run in it.
async fn session<S: Socket>(mut session: Session<S>, report: &mut Report) {
    const ID: &str = "instance-session";
    let remedy = "The daemon has no room for a session; see who uses the instance.";
    let opened = timeout(PATIENCE, open(&mut session)).await;
    session
        .close(Error::Closed {
            reason: Reason::ByApplication,
            text: "nothing more to ask".to_owned(),
        })
        .await;
    match opened {
        Ok(Ok(())) => report.ok(ID, "the daemon opens one"),
        Ok(Err(error)) => report.broken(ID, error, remedy),
        Err(_) => report.broken(ID, "no answer in time", remedy),
    }
}

async fn open<S: Socket>(session: &mut Session<S>) -> Result<(), String> {
    let (window, max_packet) = (Limits::WINDOW, Limits::MAX_PACKET);
    let opened = session.connection().open(SESSION, window, max_packet, b"");
    opened.map_err(|error| error.to_string())?;
    loop {
        match session.next().await.map_err(|error| error.to_string())? {
            Event::Connection(Message::OpenConfirmed { .. }) => return Ok(()),
            Event::Connection(Message::OpenFailed { text, .. }) => return Err(text),
            Event::Connection(Message::GlobalRequest {
                want_reply: true, ..
            }) => {
                session.connection().global_reply(false, b"");
            }
            _ => {}
        }
    }
}
