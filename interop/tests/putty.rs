//! PuTTY's clients: `plink`, `pscp` and `psftp`.

mod support;

use std::fs;
use std::path::Path;

use devcell::CellOptions;
use interop::probe;
use interop::process::{self, Output, Process};
use support::files;
use support::network::{Peer, Port, Stream};
use support::target::{Auth, HOST, Target, both, remote, succeeds};
use tokio::net::TcpStream;
use tokio::process::Command;

/// One of PuTTY's programs, which knows the host and how to get in. It asks nobody anything.
async fn putty(target: &Target, name: &str) -> Command {
    let mut command = target.program(name);
    let host_key = format!("SHA256:{}", target.host_key().fingerprint_sha256());
    command.args(["-batch", "-hostkey", &host_key]);
    command.args(["-P", &target.port.to_string(), "-l", &target.user]);
    match &target.auth {
        Auth::Key(key) => command.arg("-i").arg(ppk(target, key).await),
        Auth::Password(password) => command.args(["-pw", password]),
    };
    command
}

/// The key in PuTTY's own format.
async fn ppk(target: &Target, key: &Path) -> String {
    let path = target.dir.join("key.ppk").display().to_string();
    let mut puttygen = target.program("puttygen");
    puttygen.arg(key).args(["-O", "private", "-o", &path]);
    succeeds(process::run(puttygen, b"").await);
    path
}

async fn plink(target: &Target, arguments: &[&str], input: &[u8]) -> Output {
    let mut plink = putty(target, "plink").await;
    plink.arg("-ssh").args(arguments);
    process::run(plink, input).await
}

async fn pscp(target: &Target, arguments: &[&str]) -> Output {
    let mut pscp = putty(target, "pscp").await;
    pscp.arg("-q").args(arguments);
    process::run(pscp, b"").await
}

async fn psftp(target: &Target, batch: &str) -> Output {
    let mut psftp = putty(target, "psftp").await;
    let script = target.dir.join("batch");
    fs::write(&script, batch).expect("a file");
    psftp.arg("-b").arg(script).arg(HOST);
    process::run(psftp, b"").await
}

both! {
    async fn plink_runs_commands(target: Target) {
        let input = probe::data(500_000);
        let output = plink(&target, &[HOST, probe::COMMAND], &input).await;
        let answer = probe::Answer {
            status: output.status.code().and_then(|code| u32::try_from(code).ok()),
            stdout: output.stdout,
            stderr: Some(output.stderr),
        };
        answer.check(&input);
    }

    async fn plink_forwards_ports(target: Target) {
        let echo = Peer::echoes().await;
        let port = Port::reserved();
        let mut plink = putty(&target, "plink").await;
        let spec = format!("{}:{}", port.address, echo.address);
        plink.args(["-ssh", "-L", &spec, HOST, "echo ready; cat"]);
        let plink = Process::start(plink);
        assert!(plink.stdout.has("ready").await, "{}", plink.stderr.text());
        let stream = TcpStream::connect(port.address).await.unwrap();
        Stream::of(stream).echoed(&probe::data(1_000_000)).await;
        succeeds(plink.finish().await);
    }

    async fn plink_is_a_connection(target: Target) {
        let counts = Peer::reads_then_answers().await;
        let to = counts.address.to_string();
        let output = plink(&target, &["-nc", &to, HOST], &probe::data(500_000)).await;
        assert_eq!(succeeds(output), "500000 bytes");
    }

    async fn pscp_copies_by_both_protocols(target: Target) {
        let file = target.dir.join("file");
        files::file(&file, 1_000_000);
        files::make_old(&file);
        fs::create_dir_all(target.dir.join("tree/below")).unwrap();
        files::file(&target.dir.join("tree/below/file"), 1000);
        files::file(&target.dir.join("tree/nothing"), 0);
        for protocol in ["-scp", "-sftp"] {
            let up = target.home().join("up");
            succeeds(pscp(&target, &[protocol, "-p", "file", &remote("up")]).await);
            files::assert_same(&file, &up);
            assert_eq!(files::modified(&up), files::modified(&file));
            let back = target.dir.join("back");
            succeeds(pscp(&target, &[protocol, "-p", &remote("up"), "back"]).await);
            files::assert_same(&file, &back);
            assert_eq!(files::modified(&back), files::modified(&file));
            let trees = [target.home().join("tree"), target.dir.join("copies/tree")];
            succeeds(pscp(&target, &[protocol, "-r", "tree", &remote("")]).await);
            fs::create_dir(target.dir.join("copies")).unwrap();
            succeeds(pscp(&target, &[protocol, "-r", &remote("tree"), "copies"]).await);
            for tree in trees {
                files::assert_same_tree(&target.dir.join("tree"), &tree, files::Look::Contents);
                fs::remove_dir_all(tree).unwrap();
            }
            fs::remove_dir(target.dir.join("copies")).unwrap();
            let missing = pscp(&target, &[protocol, &remote("missing"), "back"]).await;
            assert_eq!(missing.status.code(), Some(1), "{protocol}");
            let told = missing.stderr.to_lowercase();
            assert!(told.contains("no such file or directory"), "{protocol}: {told}");
        }
    }

    async fn psftp_does_what_it_can(target: Target) {
        files::file(&target.dir.join("file"), 1_000_000);
        let batch = "pwd\nmkdir dir\ncd dir\nput file\nls\nmv file named\nget named back\n\
                     reget named back\nput file second\nchmod 640 second\nmget *\ndel named\ncd ..\npwd\nquit\n";
        let said = succeeds(psftp(&target, batch).await);
        let home = target.home().display().to_string();
        assert!(said.contains(&format!("Remote directory is {home}\n")), "{said}");
        assert!(said.contains("-rw-r--r--"), "{said}");
        for copy in ["back", "named", "second"] {
            files::assert_same(&target.dir.join("file"), &target.dir.join(copy));
        }
        let dir = target.home().join("dir");
        files::assert_same(&target.dir.join("file"), &dir.join("second"));
        assert_eq!(files::mode(&dir.join("second")), 0o640);
        assert!(!dir.join("named").exists());
        let missing = psftp(&target, "get missing\nmkdir after\n").await;
        assert_eq!(missing.status.code(), Some(2));
        let told = String::from_utf8_lossy(&missing.stdout) + missing.stderr.as_str();
        assert!(told.contains("no such file or directory"), "{told}");
        assert!(!target.home().join("after").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_with_an_rsa_key_is_known() {
    let target = Target::proxied_with(CellOptions::default()).await;
    let output = plink(&target, &[HOST, "echo hello"], b"").await;
    assert_eq!(succeeds(output), "hello\n");
}
