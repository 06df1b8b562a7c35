//! The keys of the configuration for the audit.

use std::path::PathBuf;

use crate::config::File;
use crate::settings::{Exit, Problems};

/// What becomes of lines that cannot be written, unless told otherwise.
pub(crate) const DROP: &str = "drop";

/// What is recorded, and where.
#[derive(Debug, Clone, Default)]
pub(crate) struct AuditSettings {
    /// A line for each event goes here.
    pub(crate) file: Option<PathBuf>,
    /// A line for each event goes into the log.
    pub(crate) log: bool,
    /// Commands and targets are told too.
    pub(crate) details: bool,
    /// Nobody is let in while the file cannot be written.
    pub(crate) refuses_unwritten: bool,
}

impl AuditSettings {
    /// Reads the keys of `file`.
    pub(crate) fn new(file: &File, found: &mut Problems) -> Option<Self> {
        let refuses_unwritten = match file.audit_when_unwritable.as_str() {
            "" | DROP => Ok(false),
            "refuse" => Ok(true),
            _ => Err("expected \"drop\" or \"refuse\"".to_owned()),
        };
        let refuses_unwritten = found.check(
            "audit_when_unwritable",
            "failed-to-configure-audit",
            Exit::Failure,
            refuses_unwritten,
        )?;
        if refuses_unwritten && file.audit_file.is_empty() {
            let error = "\"refuse\" needs an audit_file".to_owned();
            found.check::<()>(
                "audit_when_unwritable",
                "failed-to-configure-audit",
                Exit::Failure,
                Err(error),
            )?;
        }
        Some(Self {
            file: (!file.audit_file.is_empty()).then(|| PathBuf::from(&file.audit_file)),
            log: file.audit_log,
            details: file.audit_details,
            refuses_unwritten,
        })
    }
}
