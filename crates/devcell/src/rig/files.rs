//! Owns writing the cell's files, most of which hold keys.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::RigError;
use crate::certs::Identity;

/// Writes a file that only we may read.
pub(super) fn write(path: &Path, text: &str) -> Result<(), RigError> {
    let result = std::fs::write(path, text)
        .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(0o600)));
    result.map_err(|error| error_at(path, error))
}

/// Writes certificate and key of `identity` as `<name>.crt` and `<name>.key`; gives their paths.
pub(super) fn identity(
    dir: &Path,
    name: &str,
    identity: &Identity,
) -> Result<(PathBuf, PathBuf), RigError> {
    let certificate = dir.join(format!("{name}.crt"));
    let key = dir.join(format!("{name}.key"));
    write(&certificate, identity.certificate_pem())?;
    write(&key, &identity.key_pem())?;
    Ok((certificate, key))
}

pub(super) fn error_at(path: &Path, error: io::Error) -> RigError {
    RigError::File {
        what: path.display().to_string(),
        error,
    }
}
