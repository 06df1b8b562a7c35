//! Owns getting the two programs for the `devcell` command: cargo builds only what a program
//! links, so `cargo run -p devcell` alone would start stale programs or none.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use devcell::rig::{BIN_DIR_VARIABLE, Binaries, RigError};
use serde::Deserialize;

/// The programs could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    #[error("cannot run cargo ({}): {error}", cargo.display())]
    Spawn { cargo: OsString, error: io::Error },
    #[error("cargo could not build ssh-proxy and diego-sshd ({0}); its messages are above")]
    Failed(ExitStatus),
    #[error("cargo built, but said nothing of {0}")]
    Unnamed(&'static str),
    #[error(transparent)]
    Search(#[from] RigError),
}

/// Builds the programs when cargo runs us, otherwise takes those beside our own executable.
/// `$DEVCELL_BIN_DIR` wins over both.
pub(crate) fn binaries() -> Result<Binaries, CompileError> {
    match std::env::var_os("CARGO") {
        Some(cargo) if std::env::var_os(BIN_DIR_VARIABLE).is_none() => build(cargo),
        _ => Ok(Binaries::find()?),
    }
}

fn build(cargo: OsString) -> Result<Binaries, CompileError> {
    let mut command = Command::new(&cargo);
    command
        .args(["build", "-p", "sshd", "-p", "ssh-proxy"])
        // Cargo itself says where the programs are, whatever target directory is in use; its
        // progress and the compiler's messages still go to standard error.
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    // Set by `cargo run`, which may have been called from anywhere with `--manifest-path`.
    if let Some(dir) = std::env::var_os("CARGO_MANIFEST_DIR") {
        command.current_dir(dir);
    }
    let output = command
        .output()
        .map_err(|error| CompileError::Spawn { cargo, error })?;
    if !output.status.success() {
        return Err(CompileError::Failed(output.status));
    }
    artifacts(&String::from_utf8_lossy(&output.stdout))
}

/// The part of cargo's messages that names a program.
#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

fn artifacts(messages: &str) -> Result<Binaries, CompileError> {
    let artifacts: Vec<Artifact> = messages
        .lines()
        // Other kinds of message have other fields and are skipped.
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let path_of = |name: &'static str| {
        artifacts
            .iter()
            .filter(|artifact| artifact.target.name == name)
            .find_map(|artifact| artifact.executable.clone())
            .ok_or(CompileError::Unnamed(name))
    };
    Ok(Binaries {
        ssh_proxy: path_of(Binaries::SSH_PROXY)?,
        diego_sshd: path_of(Binaries::DIEGO_SSHD)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_from_cargos_messages() {
        let messages = r#"{"reason":"build-script-executed","package_id":"x"}
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"lager"},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"ssh-proxy"},"executable":"/t/ssh-proxy"}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"diego-sshd"},"executable":"/t/diego-sshd"}
{"reason":"build-finished","success":true}"#;
        let found = artifacts(messages).unwrap();
        assert_eq!(found.ssh_proxy, PathBuf::from("/t/ssh-proxy"));
        assert_eq!(found.diego_sshd, PathBuf::from("/t/diego-sshd"));
        let error = artifacts("").unwrap_err().to_string();
        assert_eq!(error, "cargo built, but said nothing of ssh-proxy");
    }
}
