//! The proxy inside another program, such as one that watches its system calls or takes rights from it.
//!
//! Owns the script that stands in the place of the program. What the wrapping program does is the tests'.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use devcell::rig::Binaries;
use tempfile::TempDir;

/// Programs of which the proxy is wrapped; what is in the directory goes with it.
pub struct Wrapped {
    dir: TempDir,
    real: Binaries,
}

impl Wrapped {
    /// The proxy as the last words of a shell command: `setup; exec words ssh-proxy ...`. In both, `$DIR`
    /// is [`Wrapped::dir`]. The command has to become the proxy, since the cell signals what it started.
    pub fn proxy(setup: &str, words: &str) -> Self {
        let real = Binaries::find();
        let real = real.unwrap_or_else(|error| panic!("no programs: {error}"));
        let wrapped = Self {
            dir: tempfile::tempdir().expect("a directory"),
            real,
        };
        let script = format!(
            "#!/bin/sh\nDIR='{}'\n{setup}\nexec {words} '{}' \"$@\"\n",
            wrapped.dir.path().display(),
            wrapped.real.ssh_proxy.display()
        );
        let path = wrapped.dir.path().join(Binaries::SSH_PROXY);
        fs::write(&path, script).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("its permissions");
        wrapped
    }

    /// For the options of a cell.
    pub fn binaries(&self) -> Binaries {
        Binaries {
            ssh_proxy: self.dir.path().join(Binaries::SSH_PROXY),
            ..self.real.clone()
        }
    }

    /// A file that the wrapping program has written.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }
}
