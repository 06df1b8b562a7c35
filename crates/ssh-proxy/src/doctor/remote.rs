//! The services of the platform, each asked something that changes nothing.

use std::sync::Arc;
use std::time::Duration;

use connector::{Files, Resolver};
use hyper::header::HeaderValue;
use tokio::time::timeout;

use super::local::{Services, Wanted};
use super::report::Report;
use crate::platform::bbs::{Bbs, BbsError};
use crate::platform::call::CallError;
use crate::platform::cloud_controller::{CloudController, CloudControllerError};
use crate::platform::loggregator::Loggregator;
use crate::platform::uaa::{Uaa, UaaError};
use crate::settings::loggregator::LoggregatorSettings;

/// How long one service may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// What is shown to UAA: never a code, so that none is used up.
const NO_CODE: &[u8] = b"not-a-code";

/// What is asked for: there is no such process.
const NO_PROCESS: &str = "00000000-0000-4000-8000-000000000000";

const LATE: &str = "no answer in time";

const REACH: &str =
    "See that it runs, that its name resolves here, and that no firewall is in between.";
const TRUST: &str = "Give the CA certificates that signed this server's certificate, and the host name \
    that is in it; renew it if it has expired.";

/// Asks all of them; gives BBS if it answers.
pub(super) async fn examine(services: &Services, report: &mut Report) -> Option<Bbs> {
    let resolver = Arc::new(Resolver::new(Files::default()));
    match &services.uaa_and_cc {
        Wanted::No => {}
        Wanted::Broken => {
            for id in ["uaa", "uaa-client", "cc"] {
                report.not_checked(id, "cf-files");
            }
        }
        Wanted::Yes(cf) => {
            if cf.skip_cert_verify {
                let remedy = "Set skip_cert_verify to false, and name the CA certificates.";
                report.warning(
                    "cf-verification",
                    "UAA and Cloud Controller are not verified",
                    remedy,
                );
            }
            uaa(&Uaa::new(&cf.uaa, Arc::clone(&resolver)), report).await;
            let cc = CloudController::new(&cf.cloud_controller, Arc::clone(&resolver));
            cloud_controller(&cc, report).await;
        }
    }
    let found = match &services.bbs {
        Wanted::Yes(settings) => bbs(Bbs::new(settings, Arc::clone(&resolver)), report).await,
        _ => {
            report.not_checked("bbs", "bbs-files");
            None
        }
    };
    match &services.loggregator {
        Wanted::No => {}
        Wanted::Broken => report.not_checked("loggregator", "loggregator-files"),
        Wanted::Yes(settings) => loggregator(settings.clone(), report).await,
    }
    found
}

/// A code that is none: UAA tells apart whether it is the code that is wrong or who shows it.
async fn uaa(uaa: &Uaa, report: &mut Report) {
    let answer = timeout(PATIENCE, uaa.exchange(NO_CODE)).await;
    match answer {
        Ok(Ok(_) | Err(UaaError::InvalidCode)) => {
            report.ok("uaa", "answers");
            report.ok("uaa-client", "uaa_username and uaa_password are accepted");
        }
        Ok(Err(UaaError::Client)) => {
            report.ok("uaa", "answers");
            let remedy =
                "Compare uaa_username and uaa_password with the client of the SSH proxy in UAA.";
            report.broken("uaa-client", "UAA does not accept the client", remedy);
        }
        other => {
            let (seen, remedy) = match other {
                Ok(Err(UaaError::Call(error))) => of_call(&error),
                Ok(Err(error)) => (
                    error.to_string(),
                    "See what listens at uaa_token_url: it does not answer as UAA does.",
                ),
                _ => (LATE.to_owned(), REACH),
            };
            report.broken("uaa", seen, remedy);
            report.not_checked("uaa-client", "uaa");
        }
    }
}

/// A token that is none, for a process that is none: 401 and 404 are good answers.
async fn cloud_controller(cc: &CloudController, report: &mut Report) {
    let token = HeaderValue::from_static("bearer not-a-token");
    let answer = timeout(PATIENCE, cc.ssh_access(token, NO_PROCESS, 0)).await;
    let (seen, remedy) = match answer {
        Ok(
            Ok(_)
            | Err(
                CloudControllerError::TokenRefused
                | CloudControllerError::NoRole
                | CloudControllerError::NoSuchProcess
                | CloudControllerError::SshDisabled,
            ),
        ) => return report.ok("cc", "answers"),
        Ok(Err(CloudControllerError::Call(error))) => of_call(&error),
        Ok(Err(error)) => (
            error.to_string(),
            "See what listens at cc_api_url: it does not answer as Cloud Controller does.",
        ),
        Err(_) => (LATE.to_owned(), REACH),
    };
    report.broken("cc", seen, remedy);
}

/// An instance that is none.
async fn bbs(bbs: Bbs, report: &mut Report) -> Option<Bbs> {
    let answer = timeout(PATIENCE, bbs.instance(NO_PROCESS, 0)).await;
    let (seen, remedy) = match answer {
        Ok(Ok(_) | Err(BbsError::NotFound(_) | BbsError::NoInstance { .. })) => {
            report.ok("bbs", "answers, and accepts our certificate");
            return Some(bbs);
        }
        Ok(Err(error @ (BbsError::Unavailable(_) | BbsError::Timeout))) => {
            let text = error.to_string();
            let remedy = remedy(&text);
            (text, remedy)
        }
        Ok(Err(error)) => (
            error.to_string(),
            "See what listens at bbs_address: it does not answer as BBS does.",
        ),
        Err(_) => (LATE.to_owned(), REACH),
    };
    report.broken("bbs", seen, remedy);
    None
}

async fn loggregator(settings: LoggregatorSettings, report: &mut Report) {
    let port = settings.port;
    match Loggregator::start(Some(settings)).await {
        Ok((emitter, loggregator)) => {
            report.ok(
                "loggregator",
                format!("the agent at 127.0.0.1:{port} accepts us"),
            );
            drop(emitter);
            loggregator.finish().await;
        }
        Err(error) => {
            let remedy =
                "See that the agent runs on this machine, and that its CA signed our certificate.";
            report.broken("loggregator", error, remedy);
        }
    }
}

fn of_call(error: &CallError) -> (String, &'static str) {
    let text = error.to_string();
    let remedy = match error {
        CallError::Redirect(_) => {
            "Give the URL that the service redirects to: redirects are not followed."
        }
        CallError::Router => "See that the service runs: only the router before it answers.",
        _ => remedy(&text),
    };
    (text, remedy)
}

/// What helps with a connection that fails with `text`.
fn remedy(text: &str) -> &'static str {
    if text.contains("received fatal alert") || text.contains("CertificateRequired") {
        return "Show a client certificate that this server accepts: signed by its CA, and of the right name.";
    }
    match text.contains("certificate") {
        true => TRUST,
        false => REACH,
    }
}
