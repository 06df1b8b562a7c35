//! The object `loggregator` of the file: which agent, and who we are in what we tell it.

use std::time::Duration;

use super::{Exit, Problem, Problems, limit, positive};
use crate::config::{File, Loggregator};
use crate::platform::loggregator::agent::{self, Unusable};

/// Port of the agent unless told otherwise.
pub(crate) const DEFAULT_PORT: u16 = 3458;

/// Envelopes in a batch unless told otherwise.
pub(crate) const DEFAULT_BATCH_SIZE: usize = 100;

/// Time between batches unless told otherwise.
pub(crate) const DEFAULT_BATCH_INTERVAL: Duration = Duration::from_millis(100);

/// The reference's word for all that is wrong with the agent.
const ACTION: &str = "failed-to-initialize-metron-client";

/// The key of the agent's port, which stands for the agent.
const PORT: &str = "loggregator.loggregator_api_port";

/// The loggregator agent. Its files can be read now, and are read anew for each connection.
#[derive(Debug, Clone)]
pub(crate) struct LoggregatorSettings {
    /// Port of the agent on this machine.
    pub(crate) port: u16,
    /// Path of the CA certificates.
    pub(crate) ca_path: String,
    /// Path of our certificate.
    pub(crate) cert_path: String,
    /// Path of our key.
    pub(crate) key_path: String,
    /// The tag `origin`.
    pub(crate) origin: String,
    /// Source id of our own metrics.
    pub(crate) source_id: String,
    /// Instance id of our own metrics.
    pub(crate) instance_id: String,
    /// Envelopes in a batch, at least 1.
    pub(crate) batch_size: usize,
    /// Time between batches, not zero.
    pub(crate) batch_interval: Duration,
}

/// The agent of a file in which something else may be wrong.
pub(crate) fn of_any(file: &File) -> Option<LoggregatorSettings> {
    read(&file.loggregator, &mut Problems::default()).flatten()
}

/// What is wrong if the agent does not accept us.
pub(crate) fn refused(error: String) -> Problem {
    Problem {
        key: PORT,
        prelude: None,
        action: ACTION,
        error,
        exit: Exit::Failure,
    }
}

/// Reads what the file says about the agent, and whether its certificates are of use.
pub(crate) fn read(
    file: &Loggregator,
    found: &mut Problems,
) -> Option<Option<LoggregatorSettings>> {
    let paths = [
        &file.loggregator_ca_path,
        &file.loggregator_cert_path,
        &file.loggregator_key_path,
    ];
    let on = file
        .loggregator_use_v2_api
        .unwrap_or_else(|| paths.iter().all(|path| !path.is_empty()));
    if !on {
        return Some(None);
    }
    let port = match file.loggregator_api_port {
        0 => Ok(DEFAULT_PORT),
        port => u16::try_from(port).map_err(|_| format!("invalid port {port}")),
    };
    let port = found.check(PORT, ACTION, Exit::Failure, port);
    let interval = u64::try_from(file.batchflushinterval).unwrap_or(0);
    let interval = limit(Some(Duration::from_nanos(interval)));
    let settings = LoggregatorSettings {
        port: port.unwrap_or(DEFAULT_PORT),
        ca_path: file.loggregator_ca_path.clone(),
        cert_path: file.loggregator_cert_path.clone(),
        key_path: file.loggregator_key_path.clone(),
        origin: file.loggregator_job_origin.clone(),
        source_id: file.loggregator_source_id.clone(),
        instance_id: file.loggregator_instance_id.clone(),
        batch_size: positive(file.loggregator_batch_max_size).unwrap_or(DEFAULT_BATCH_SIZE),
        batch_interval: interval.unwrap_or(DEFAULT_BATCH_INTERVAL),
    };
    match agent::tls_config(&settings) {
        Ok(_) => port.map(|_| Some(settings)),
        Err(Unusable { key, error }) => {
            found.add(key, ACTION, error, Exit::Failure);
            None
        }
    }
}
