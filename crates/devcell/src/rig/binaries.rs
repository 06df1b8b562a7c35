//! Owns where the programs under test are found.

use std::path::{Path, PathBuf};

use super::RigError;

/// The environment variable that names the directory with the programs; it wins over any search.
pub const BIN_DIR_VARIABLE: &str = "DEVCELL_BIN_DIR";

/// The paths of the two programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The proxy.
    pub ssh_proxy: PathBuf,
    /// The daemon.
    pub diego_sshd: PathBuf,
}

impl Binaries {
    /// The proxy's file name.
    pub const SSH_PROXY: &str = "ssh-proxy";
    /// The daemon's file name.
    pub const DIEGO_SSHD: &str = "diego-sshd";

    /// Looks in `$DEVCELL_BIN_DIR` if that is set, otherwise beside the running executable and in
    /// the directory above it: cargo puts tests one level below the programs, into `deps`.
    pub fn find() -> Result<Self, RigError> {
        if let Some(dir) = std::env::var_os(BIN_DIR_VARIABLE) {
            return Self::in_any_of(&[PathBuf::from(dir)]);
        }
        let spawn = |error| RigError::Spawn {
            what: "anything beside the running executable".to_owned(),
            error,
        };
        let own = std::env::current_exe().map_err(spawn)?;
        let dirs: Vec<PathBuf> = own
            .ancestors()
            .skip(1)
            .take(2)
            .map(Path::to_owned)
            .collect();
        Self::in_any_of(&dirs)
    }

    /// Takes each program from the first directory that has it.
    pub fn in_any_of(dirs: &[PathBuf]) -> Result<Self, RigError> {
        let find = |name: &'static str| {
            let mut candidates = dirs.iter().map(|dir| dir.join(name));
            candidates
                .find(|path| path.is_file())
                .ok_or_else(|| RigError::NotBuilt {
                    name,
                    searched: dirs.to_vec(),
                })
        };
        Ok(Self {
            ssh_proxy: find(Self::SSH_PROXY)?,
            diego_sshd: find(Self::DIEGO_SSHD)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_comes_from_the_first_directory_that_has_it() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(two.path().join("ssh-proxy"), "").unwrap();
        std::fs::write(two.path().join("diego-sshd"), "").unwrap();
        std::fs::write(one.path().join("diego-sshd"), "").unwrap();
        let dirs = [one.path().to_owned(), two.path().to_owned()];
        let found = Binaries::in_any_of(&dirs).unwrap();
        assert_eq!(found.ssh_proxy, two.path().join("ssh-proxy"));
        assert_eq!(found.diego_sshd, one.path().join("diego-sshd"));
    }

    #[test]
    fn a_missing_program_is_named_together_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = Binaries::in_any_of(&[dir.path().to_owned()]).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("ssh-proxy is not in /"), "{text}");
        assert!(text.contains("cargo build -p sshd -p ssh-proxy"), "{text}");
        assert!(!text.contains('\n'));
    }
}
