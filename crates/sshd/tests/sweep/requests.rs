//! Requests and channels in a running daemon: what is malformed is refused, and the connection goes on.

use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;

use ssh_proto::connection::Event as Message;
use ssh_proto::connection::forward::{DirectStreamlocal, StreamlocalForward, Tcpip, TcpipForward};
use ssh_proto::connection::pty::encode_modes;
use ssh_proto::connection::request::{
    AUTH_AGENT, Env, Exec, PtyReq, SHELL, Signal, Size, Subsystem, WindowChange,
};
use tokio::runtime::{Builder, Runtime};

use crate::sample::{End, Sample, report, sweep};
use crate::support::{Client, Running, open_server};

const SIZE: Size = Size {
    columns: 80,
    rows: 24,
    width: 640,
    height: 480,
};

/// Buffers between a channel and what it is joined to, at both ends of the connection.
const BUFFERS: usize = 128 * 1024;

/// A valid payload, which begins something.
fn sample(name: &str, layout: &str, payload: Vec<u8>) -> Sample {
    Sample {
        work: BUFFERS,
        ..Sample::new(name, layout, payload)
    }
}

/// A daemon and one client of it, which lives through all that it says.
struct Rig {
    runtime: Runtime,
    client: Client,
    _daemon: Running,
}

impl Rig {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (daemon, client) = runtime.block_on(async {
            let daemon = Running::start(open_server()).await;
            let client = Client::log_in(daemon.address).await.unwrap();
            (daemon, client)
        });
        Self {
            runtime,
            client,
            _daemon: daemon,
        }
    }

    fn request(&mut self, name: &str, payload: &[u8]) -> End {
        let client = &mut self.client;
        let success = self.runtime.block_on(async {
            let channel = client.open_session().await.unwrap();
            let success = client.ask(channel, name, payload).await;
            client.close(channel).await;
            success
        });
        success.then_some(()).ok_or(()).into()
    }

    fn open(&mut self, kind: &str, payload: &[u8]) -> End {
        let client = &mut self.client;
        let opened = self.runtime.block_on(async {
            let opened = client.open(kind, payload).await;
            if let Ok(channel) = opened {
                client.close(channel).await;
            }
            opened
        });
        opened.into()
    }

    fn global(&mut self, name: &str, payload: &[u8]) -> End {
        let client = &mut self.client;
        let success = self.runtime.block_on(async {
            let connection = client.session.connection();
            connection.global_request(name, true, payload).unwrap();
            loop {
                if let Message::GlobalReply { success, .. } = client.next().await.unwrap() {
                    return success;
                }
            }
        });
        success.then_some(()).ok_or(()).into()
    }
}

#[test]
fn requests_on_a_session() {
    let mut rig = Rig::new();
    let pty = PtyReq {
        term: b"xterm-256color",
        size: SIZE,
        modes: &encode_modes([(129, 38_400), (53, 1)]),
    };
    let env = Env {
        name: b"LC_ALL",
        value: b"de_DE.UTF-8",
    };
    let mut cases = 0;
    for (name, layout, payload) in [
        (PtyReq::NAME, "swwwws", pty.encode()),
        (Env::NAME, "ss", env.encode()),
        (SHELL, "", Vec::new()),
        (Exec::NAME, "s", Exec { command: b"true" }.encode()),
        (Subsystem::NAME, "s", Subsystem { name: b"sftp" }.encode()),
        (
            WindowChange::NAME,
            "wwww",
            WindowChange { size: SIZE }.encode(),
        ),
        (Signal::NAME, "s", Signal { name: b"TERM" }.encode()),
        (AUTH_AGENT, "", Vec::new()),
    ] {
        let samples = [sample(name, layout, payload)];
        cases += sweep(&samples, |_| (), |(), bytes| rig.request(name, bytes));
    }
    report(cases, 190);
}

#[test]
fn channels_and_listeners() {
    let mut rig = Rig::new();
    let directory = tempfile::tempdir().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = directory.path().join("served");
    let _unix = UnixListener::bind(&path).unwrap();
    let direct = Tcpip {
        host: b"127.0.0.1",
        port: tcp.local_addr().unwrap().port(),
        originator: b"10.0.0.1",
        originator_port: 50_000,
    };
    let local = DirectStreamlocal {
        path: path.as_os_str().as_bytes(),
    };
    let mut cases = 0;
    for (name, layout, payload) in [
        (Tcpip::DIRECT, "kwsw", direct.encode()),
        (DirectStreamlocal::NAME, "ksw", local.encode()),
    ] {
        let samples = [sample(name, layout, payload)];
        cases += sweep(&samples, |_| (), |(), bytes| rig.open(name, bytes));
    }
    let listen = TcpipForward {
        address: b"127.0.0.1",
        port: 0,
    };
    let path = directory.path().join("listened");
    let unix = StreamlocalForward {
        path: path.as_os_str().as_bytes(),
    };
    for (name, layout, payload) in [
        (TcpipForward::NAME, "kw", listen.encode()),
        (StreamlocalForward::NAME, "k", unix.encode()),
    ] {
        let samples = [sample(name, layout, payload)];
        cases += sweep(&samples, |_| (), |(), bytes| rig.global(name, bytes));
    }
    report(cases, 150);
}
