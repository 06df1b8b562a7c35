//! Where the proxy connects to, whatever users, instances and the platform's servers ask of it: the
//! platform's servers and the instances themselves, and nowhere else. It listens on its own two ports.
//!
//! The proxy runs under strace from its first moment on, so that nothing is missed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;
mod support;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use devcell::bbs::Fault;
use devcell::bbs::messages::NetInfo;
use devcell::rig::Login;
use devcell::{Cell, CellOptions};
use interop::process::require;
use packets::*;
use ssh_proto::msg;
use ssh_proto::wire::Put;
use support::user::until;
use support::wrapped::Wrapped;
use tokio::net::TcpListener;

/// The file of strace in the wrapping directory.
const TRACE: &str = "trace";

/// How strace's file ends when the proxy has.
const THE_END: &str = "+++ exited with";

/// Everything that names an address, of all threads. With -D it is the proxy that the cell has started, and
/// strace is beside it.
const STRACE: &str = "strace -D -f -q -o \"$DIR/trace\" \
    -e trace=socket,connect,bind,listen,sendto,sendmsg,sendmmsg -e signal=none";

/// A place where nobody has any business, and how often somebody came.
struct Elsewhere {
    listener: TcpListener,
    address: SocketAddr,
}

impl Elsewhere {
    async fn open() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    /// An URL, for those who would follow it.
    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The next one who comes here.
    async fn visited(&self) {
        within("a visitor", self.listener.accept()).await.unwrap();
    }
}

/// Every address in `trace` that one of these calls named, in strace's words for ports.
fn ports_of(trace: &str, calls: &[&str]) -> BTreeSet<u16> {
    let named = trace.lines().filter(|line| {
        let call = line.split_whitespace().nth(1).unwrap_or_default();
        calls
            .iter()
            .any(|name| call.starts_with(&format!("{name}(")))
    });
    let port = |line: &str| {
        let (_, rest) = line.split_once("_port=htons(")?;
        rest.split(')').next()?.parse().ok()
    };
    named.filter_map(port).collect()
}

fn channel_to(kind: &str, number: u32, place: &Elsewhere) -> Vec<u8> {
    let mut payload = open(kind, number, 1 << 20, 1 << 15);
    payload.put_string(place.address.ip().to_string().as_bytes());
    payload.put_u32(place.address.port().into());
    payload.put_string(b"127.0.0.1");
    payload.put_u32(1);
    payload
}

/// Everything a user can ask for that leads somewhere: the daemon goes there, and nobody else.
async fn goes_everywhere(door: &Door, elsewhere: &Elsewhere) {
    let mut raw = Raw::login(door).await.unwrap();
    raw.send(&channel_to("direct-tcpip", 0, elsewhere));
    raw.wait_for(msg::CHANNEL_OPEN_CONFIRMATION).await.unwrap();
    elsewhere.visited().await;
    for kind in ["forwarded-tcpip", "direct-future@example.com", "x11"] {
        raw.send(&channel_to(kind, 1, elsewhere));
        raw.wait_for(msg::CHANNEL_OPEN_FAILURE).await.unwrap();
    }
    let mut listen = string_message(msg::GLOBAL_REQUEST, "tcpip-forward");
    listen.put_bool(true);
    listen.put_string(b"127.0.0.1");
    listen.put_u32(0);
    raw.send(&listen);
    raw.wait_for(msg::REQUEST_SUCCESS).await.unwrap();
    let mut socket = open("direct-streamlocal@openssh.com", 2, 1 << 20, 1 << 15);
    socket.put_string(b"/run/nobody-is-here");
    socket.put_string(b"");
    socket.put_u32(0);
    raw.send(&socket);
    raw.wait_for(msg::CHANNEL_OPEN_FAILURE).await.unwrap();
    let peer = raw.open_session(3, 1 << 20).await.unwrap();
    for name in ["auth-agent-req@openssh.com", "x11-req"] {
        raw.send(&request(peer, name, true, &[]));
    }
    raw.send(&exec(peer, "echo in"));
    raw.wait_for(msg::CHANNEL_CLOSE).await.unwrap();
}

/// Names that would be addresses, paths or headers if they were put together carelessly.
async fn names_that_lead_elsewhere(cell: &Cell, elsewhere: &Elsewhere) {
    let password = &cell.logins()[0].password;
    let guid = cell.process_guid();
    let place = elsewhere.address;
    let users = [
        format!("cf:{}/0", elsewhere.url()),
        format!("cf:../../{place}/0"),
        format!("cf:{guid}@{place}/0"),
        format!("cf:{guid}%0d%0aHost:%20{place}/0"),
        format!("diego:{place}/0"),
        format!("diego:{guid}/0@{place}"),
    ];
    for user in users {
        let mut raw = Raw::served(cell.proxy_address()).await;
        assert_ne!(raw.try_password(&user, password).await, Ok(true), "{user}");
    }
}

/// Servers of the platform that send the proxy away, and instances that are not where they were.
async fn servers_that_lead_elsewhere(cell: &Cell, elsewhere: &Elsewhere) {
    let redirects = [301, 302, 303, 307, 308].map(|status| Fault::Redirect {
        status,
        to: elsewhere.url(),
    });
    for redirect in redirects {
        cell.uaa().fail_next(1, redirect.clone());
        refused(cell, &cell.cf_login(0).unwrap()).await;
        cell.cloud_controller().fail_next(1, redirect.clone());
        refused(cell, &cell.cf_login(0).unwrap()).await;
        cell.bbs().set_fault(redirect);
        refused(cell, &cell.logins()[0]).await;
        cell.bbs().set_fault(Fault::None);
    }
    // An address that no instance has: of a name, it is not even asked for.
    cell.bbs().update(|state| {
        let port = cell.daemon_address(0).unwrap().port();
        let mut info = NetInfo::plain(2222, port);
        info.address = format!("{}/", elsewhere.address);
        state.actual[0].net_info = Some(info);
    });
    refused(cell, &cell.logins()[0]).await;
}

async fn refused(cell: &Cell, login: &Login) {
    assert!(enter(cell, login).await.is_err());
}

#[tokio::test]
async fn the_proxy_connects_to_the_platform_and_to_containers_alone() {
    require("strace");
    let elsewhere = Elsewhere::open().await;
    // What other programs take for a way out is none for it.
    let variables = [
        "http_proxy",
        "https_proxy",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "all_proxy",
    ];
    let setup: Vec<_> = variables
        .map(|name| format!("export {name}='{}'", elsewhere.url()))
        .into();
    let wrapped = Wrapped::proxy(&setup.join("; "), STRACE);
    let cell = Cell::start(CellOptions {
        cf_auth: true,
        binaries: Some(wrapped.binaries()),
        ..options()
    })
    .await
    .unwrap();
    let allowed = [
        cell.bbs().address().port(),
        cell.uaa().address().port(),
        cell.cloud_controller().address().port(),
        cell.agent().unwrap().port(),
        cell.daemon_address(0).unwrap().port(),
    ];
    let own = [cell.proxy_address(), cell.health_address()];

    goes_everywhere(&proxy_door(&cell), &elsewhere).await;
    let login = cell.cf_login(0).unwrap();
    goes_everywhere(&door_of(&cell, &login), &elsewhere).await;
    names_that_lead_elsewhere(&cell, &elsewhere).await;
    servers_that_lead_elsewhere(&cell, &elsewhere).await;
    cell.proxy().stop().await;
    until("strace ends", || wrapped.read(TRACE).contains(THE_END)).await;

    let trace = wrapped.read(TRACE);
    let sends = ["connect", "sendto", "sendmsg", "sendmmsg"];
    assert_eq!(ports_of(&trace, &sends), BTreeSet::from(allowed), "{trace}");
    let mut bound = BTreeSet::from(own.map(|address| address.port()));
    // Metrics are at any port.
    bound.insert(0);
    assert_eq!(ports_of(&trace, &["bind"]), bound, "{trace}");
    // Neither other ways of naming a place, nor sockets that need no name to be heard.
    for other in ["AF_UNIX", "AF_PACKET", "SOCK_RAW", "SOCK_DGRAM"] {
        assert!(!trace.contains(other), "{other}: {trace}");
    }
    cell.stop().await;
}
