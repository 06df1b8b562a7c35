//! The OpenSSH releases that we test with: their programs, files that these can see, and keys.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ssh_proto::algorithm::{Kex, Signature};
use ssh_proto::key::{PrivateKey, PublicKey};
use tempfile::TempDir;
use tokio::process::Command;

use crate::choice::Choice;
use crate::process;

/// What clients call our server in their files of known hosts.
const HOST: &str = "rig";

/// A release of OpenSSH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenSsh {
    /// The one of this system; 9.2 on Debian bookworm.
    Installed,
    /// OpenSSH 10, in the root file system that `scripts/test` prepares. It shares our network.
    Ten,
}

impl OpenSsh {
    /// All releases.
    pub const ALL: [Self; 2] = [Self::Installed, Self::Ten];

    /// One of its programs, in an environment that tells it nothing about this user.
    ///
    /// # Panics
    /// The release is not here, or this user may not use it.
    pub fn program(self, name: &str) -> Command {
        let mut command = match self.root() {
            None => Command::new(name),
            Some(root) => {
                let mut command = Command::new("chroot");
                command.arg(root).arg(name);
                command
            }
        };
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        command
    }

    /// True if the release knows all algorithms of `choice`.
    pub fn knows(self, choice: &Choice) -> bool {
        // It came with OpenSSH 9.9.
        self == Self::Ten || choice.kex != Kex::MlKem768X25519
    }

    /// Its `ssh` to `address`, with the files in `files` and nothing else. The caller adds options, the
    /// user by `-l`, then [`HOST_ARGUMENT`] and the command.
    pub fn client(self, address: SocketAddr, files: &Files) -> Command {
        let mut command = self.program("ssh");
        self.client_arguments(&mut command, address, files);
        command
    }

    /// The same by `sshpass`, which types `password` wherever it is asked for one.
    pub fn client_with_password(
        self,
        address: SocketAddr,
        files: &Files,
        password: &str,
    ) -> Command {
        assert_eq!(self, Self::Installed, "only this system has sshpass");
        let mut command = self.program("sshpass");
        command.env("SSHPASS", password).args(["-e", "ssh"]);
        self.client_arguments(&mut command, address, files);
        command.args(["-o", "NumberOfPasswordPrompts=1"]);
        command
    }

    fn client_arguments(self, command: &mut Command, address: SocketAddr, files: &Files) {
        command.args(["-F", "none", "-vvv", "-p", &address.port().to_string()]);
        let known_hosts = files.seen(KNOWN_HOSTS);
        let identity = files.seen(IDENTITY);
        for option in [
            &format!("HostName={}", address.ip()),
            &format!("HostKeyAlias={HOST}"),
            &format!("UserKnownHostsFile={known_hosts}"),
            &format!("IdentityFile={identity}"),
            "GlobalKnownHostsFile=none",
            "StrictHostKeyChecking=yes",
            "IdentitiesOnly=yes",
        ] {
            command.args(["-o", option]);
        }
    }

    /// The root file system that it is in, unless that is ours.
    fn root(self) -> Option<PathBuf> {
        if self == Self::Installed {
            return None;
        }
        let root = peers().join("trixie");
        let here = root.join("usr/bin/ssh").exists();
        assert!(here, "OpenSSH 10 is not in {root:?}: run scripts/test once");
        assert!(is_root(), "OpenSSH 10 runs by chroot, which needs root");
        Some(root)
    }
}

impl fmt::Display for OpenSsh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Installed => "OpenSSH as installed",
            Self::Ten => "OpenSSH 10",
        })
    }
}

/// The host to give to `ssh`. Where it is, and which key it has, is in the options.
pub const HOST_ARGUMENT: &str = HOST;

/// True for the super user.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The name of the user that runs the tests.
pub async fn user() -> String {
    let mut id = Command::new("id");
    id.arg("-un");
    let name = process::run(id, b"").await.stdout;
    String::from_utf8_lossy(&name).trim().to_owned()
}

/// The `-o` options with which `ssh` offers `choice` alone.
pub fn options(choice: Choice) -> Vec<String> {
    let options = [
        ("KexAlgorithms", choice.kex.name()),
        ("HostKeyAlgorithms", choice.host_key.name()),
        ("Ciphers", choice.cipher.name()),
        ("MACs", choice.mac.name()),
    ];
    let options = options.iter();
    options
        .map(|(name, value)| format!("-o{name}={value}"))
        .collect()
}

/// Where `scripts/test` keeps what it prepares: `PEERS_DIR`, or `target/peers` in the workspace.
pub fn peers() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let standard = || workspace.expect("a workspace").join("target/peers");
    std::env::var_os("PEERS_DIR").map_or_else(standard, PathBuf::from)
}

const KNOWN_HOSTS: &str = "known_hosts";
const IDENTITY: &str = "identity";

/// A folder for files of one program; it goes with this.
pub struct Files {
    folder: TempDir,
    root: Option<PathBuf>,
}

impl Files {
    /// An empty folder that programs of `release` can see.
    pub fn new(release: OpenSsh) -> Self {
        let root = release.root();
        let place = root
            .as_ref()
            .map_or_else(std::env::temp_dir, |root| root.join("tmp"));
        let folder = tempfile::Builder::new()
            .prefix("interop-")
            .tempdir_in(place);
        Self {
            folder: folder.expect("a temporary folder"),
            root,
        }
    }

    /// A folder for a client that knows the server by `hosts` and logs in with `key`.
    pub fn of_client(release: OpenSsh, hosts: &[Key], key: Option<&Key>) -> Self {
        let files = Self::new(release);
        let lines = hosts.iter().map(|host| format!("{HOST} {}\n", host.line));
        files.write(KNOWN_HOSTS, lines.collect::<String>());
        if let Some(key) = key {
            files.write(IDENTITY, &key.pem);
        }
        files
    }

    /// Writes a file that only its owner may read; gives its path as programs see it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.place(name);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its permissions");
        self.seen(name)
    }

    /// The path of a file as we see it.
    pub fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The path of a file as programs see it.
    pub fn seen(&self, name: &str) -> String {
        let path = self.place(name);
        let seen = match &self.root {
            None => path,
            Some(root) => Path::new("/").join(path.strip_prefix(root).expect("inside")),
        };
        seen.into_os_string().into_string().expect("UTF-8")
    }
}

/// A key pair made by `ssh-keygen`.
#[derive(Debug, Clone)]
pub struct Key {
    /// The file of the private key.
    pub pem: String,
    /// The line of the public key, without its end.
    pub line: String,
}

impl Key {
    /// One key of each type that we know: Ed25519, ECDSA on three curves, RSA.
    pub async fn of_each_type() -> Vec<Self> {
        let (a, b, c, d, e) = tokio::join!(
            Self::generate(&["-t", "ed25519"]),
            Self::generate(&["-t", "ecdsa", "-b", "256"]),
            Self::generate(&["-t", "ecdsa", "-b", "384"]),
            Self::generate(&["-t", "ecdsa", "-b", "521"]),
            Self::generate(&["-t", "rsa", "-b", "2048"]),
        );
        vec![a, b, c, d, e]
    }

    /// A new key of the type that `arguments` say.
    ///
    /// # Panics
    /// `ssh-keygen` does not make it.
    pub async fn generate(arguments: &[&str]) -> Self {
        let files = Files::new(OpenSsh::Installed);
        let mut command = OpenSsh::Installed.program("ssh-keygen");
        command.args(["-q", "-N", "", "-C", "", "-f"]);
        command.arg(files.seen("key")).args(arguments);
        let output = process::run(command, b"").await;
        assert!(output.status.success(), "ssh-keygen: {}", output.stderr);
        let read = |name| fs::read_to_string(files.seen(name)).expect("a key");
        Self {
            pem: read("key"),
            line: read("key.pub").trim().to_owned(),
        }
    }

    /// The private key as our library reads it.
    pub fn private(&self) -> PrivateKey {
        PrivateKey::from_pem(&self.pem).expect("a private key")
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        self.private().public().clone()
    }
}

/// Each of `keys` with each signature that it can make.
pub fn signatures(keys: &[Key]) -> impl Iterator<Item = (&Key, Signature)> {
    keys.iter().flat_map(|key| {
        let signatures = key.public().signatures().iter();
        signatures.map(move |signature| (key, *signature))
    })
}

/// The one of `keys` that can make `signature`.
///
/// # Panics
/// There is none.
pub fn key_for(keys: &[Key], signature: Signature) -> &Key {
    let mut able = signatures(keys).filter(|(_, other)| *other == signature);
    able.next().expect("a key of each type").0
}
