//! The table of faults: each service of the platform that a login needs, in each kind of trouble.
//! Every login is refused with the reason, or served, before its time is up; sessions that are there go
//! on; users who do not need the service do not notice; and all is well when the trouble is over.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests are tests too"
)]

mod packets;

use std::time::Duration;

use devcell::bbs::LIST_PATH;
use devcell::certs::{Authority, Identity, Request, Validity};
use devcell::fault::Fault;
use devcell::uaa::TOKEN_PATH;
use devcell::{Cell, CellOptions, Server};
use packets::*;

/// A service that logins need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Uaa,
    CloudController,
    Bbs,
}

/// What is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    /// Nobody listens on its port.
    Down,
    /// It is there, and does this to connections and calls.
    Fault(Fault),
    /// It sends its callers to itself.
    RedirectLoop,
    /// Its certificate is by an authority that the proxy does not know.
    OtherAuthority,
    /// Its certificate is made out to another host.
    OtherName,
    /// Its certificate was good once.
    Expired,
}

/// How a login has to end meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Served,
    /// With the words for a service that does not answer.
    Refused,
    /// With this code.
    RefusedAs(&'static str),
}

const GIB: u64 = 1 << 30;

impl Service {
    fn server(self, cell: &Cell) -> &Server {
        match self {
            Self::Uaa => cell.uaa(),
            Self::CloudController => cell.cloud_controller(),
            Self::Bbs => cell.bbs(),
        }
    }

    fn show(self, cell: &Cell, identity: &Identity) {
        match self {
            Self::Uaa => cell.uaa().show(identity),
            Self::CloudController => cell.cloud_controller().show(identity, None),
            Self::Bbs => cell.bbs().show(identity, cell.authority()),
        }
        .unwrap();
    }

    /// A path that it serves, to be sent to again and again.
    fn path(self) -> &'static str {
        match self {
            Self::Uaa => TOKEN_PATH,
            Self::CloudController => "/",
            Self::Bbs => LIST_PATH,
        }
    }

    /// The most requests that one login may make of it: a code is used up by the first, each call to
    /// Cloud Controller is audited, and BBS is asked again.
    fn most_calls(self) -> usize {
        match self {
            Self::Uaa | Self::CloudController => 1,
            Self::Bbs => 3,
        }
    }
}

/// Lets the trouble begin.
async fn begin(cell: &Cell, service: Service, trouble: &Trouble) {
    let show = |authority: &Authority, request: Request| {
        service.show(cell, &authority.issue(&request).unwrap());
    };
    let good = Request::server(&["localhost"]);
    let server = service.server(cell);
    // Connections that the proxy kept are gone, so that it meets new ones.
    server.start_again().await.unwrap();
    match trouble {
        Trouble::Down => server.stop().await,
        Trouble::Fault(fault) => server.set_fault(fault.clone()),
        Trouble::RedirectLoop => {
            let to = format!("{}{}", server.url(), service.path());
            server.set_fault(Fault::Redirect { status: 307, to });
        }
        Trouble::OtherAuthority => show(&Authority::new("devcell CA").unwrap(), good),
        Trouble::OtherName => {
            let mut other = Request::server(&["elsewhere"]);
            other.ips.clear();
            show(cell.authority(), other);
        }
        Trouble::Expired => show(cell.authority(), good.valid(Validity::Expired)),
    }
}

/// Ends it.
async fn end(cell: &Cell, service: Service) {
    let server = service.server(cell);
    server.set_fault(Fault::None);
    let good = cell.authority().issue(&Request::server(&["localhost"]));
    service.show(cell, &good.unwrap());
    server.start_again().await.unwrap();
}

/// How a login with a new code ends.
async fn login(cell: &Cell) -> Result<(), String> {
    enter(cell, &cell.cf_login(1).unwrap()).await
}

/// The user is told `code`, and it is counted.
async fn is_told(cell: &Cell, ended: Result<(), String>, code: &str) {
    let told = ended.unwrap_err();
    assert!(told.ends_with(&format!("[{code}]")), "{told}");
    assert_eq!(metrics::refusals(cell, code).await, 1.0, "{code}");
}

/// One row of the table.
async fn meets(service: Service, trouble: Trouble, expected: End) {
    let cell = Cell::start(CellOptions {
        cf_auth: true,
        ..options()
    })
    .await
    .unwrap();
    // One user of each realm is there before; both realms need BBS to come in.
    let mut operator = Bystander::enter(&proxy_door(&cell)).await;
    let mut developer = {
        let login = cell.cf_login(0).unwrap();
        Bystander::enter(&door_of(&cell, &login)).await
    };
    begin(&cell, service, &trouble).await;
    let before = service.server(&cell).calls().len();

    let attempt = async {
        let ended = login(&cell).await;
        match expected {
            End::Served => assert_eq!(ended, Ok(())),
            // Not for the deadline of the login: what is wrong was known before.
            End::Refused => is_told(&cell, ended, "platform_unavailable").await,
            End::RefusedAs(code) => is_told(&cell, ended, code).await,
        }
    };
    let meanwhile = async {
        operator.is_undisturbed().await;
        developer.is_undisturbed().await;
        if service != Service::Bbs {
            operator.all_is_well().await;
        }
    };
    tokio::join!(attempt, meanwhile);
    let calls = service.server(&cell).calls().len() - before;
    assert!(calls <= service.most_calls(), "{calls} calls");

    end(&cell, service).await;
    assert_eq!(login(&cell).await, Ok(()));
    operator.all_is_well().await;
    developer.is_undisturbed().await;
    cell.stop().await;
}

/// The rows of one service: the name of the test, the trouble, and how a login ends.
macro_rules! rows {
    ($service:expr, $($name:ident: $trouble:expr => $end:expr,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                meets($service, $trouble, $end).await;
            }
        )*
    };
}

/// The table: rows that are the same for each service, and those of its own.
macro_rules! table {
    ($($module:ident: $service:expr, { $($own:tt)* })*) => {
        $(
            mod $module {
                use devcell::fault::Fault::*;

                use super::End::*;
                use super::Trouble::*;
                use super::*;

                rows!(
                    $service,
                    down: Down => Refused,
                    closes: Fault(CloseAfterAccept) => Refused,
                    resets: Fault(Reset) => Refused,
                    closes_after_the_request: Fault(CloseAfterRequest) => Refused,
                    hangs_before_tls: Fault(HangBeforeTls) => Refused,
                    hangs: Fault(Hang) => Refused,
                    slow_but_in_time: Fault(Slow(Duration::from_millis(100))) => Served,
                    too_slow: Fault(Slow(Duration::from_secs(60))) => Refused,
                    drips: Fault(Drip(Duration::from_millis(50))) => Refused,
                    answers_500: Fault(Status(500)) => Refused,
                    answers_503: Fault(Status(503)) => Refused,
                    garbage: Fault(Garbage) => Refused,
                    half_a_body: Fault(Truncated) => Refused,
                    a_gibibyte: Fault(HugeBody(GIB)) => Refused,
                    redirects_for_ever: RedirectLoop => Refused,
                    certificate_of_another_authority: OtherAuthority => Refused,
                    certificate_of_another_host: OtherName => Refused,
                    expired_certificate: Expired => Refused,
                    $($own)*
                );
            }
        )*
    };
}

table! {
    uaa: Service::Uaa, {
        something_else_got_the_port: Fault(NotProtobuf) => Refused,
        nothing_in_it: Fault(EmptyOk) => Refused,
    }
    cloud_controller: Service::CloudController, {
        something_else_got_the_port: Fault(NotProtobuf) => Refused,
        nothing_in_it: Fault(EmptyOk) => Refused,
    }
    bbs: Service::Bbs, {
        something_else_got_the_port: Fault(NotProtobuf) => Refused,
        // The clients of BBS take it for an empty list.
        nothing_in_it: Fault(EmptyOk) => RefusedAs("instance_not_found"),
    }
}
