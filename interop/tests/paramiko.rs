//! Everything that users of paramiko can do (`interop/clients/python/paramiko_client.py`).

mod support;

use support::languages::{self, prepared, source};
use support::target::both;

/// What the client does, in this order.
const OPERATIONS: &[&str] = &[
    "other_host_key_is_refused",
    "streams_and_status",
    "megabytes_both_ways",
    "killed_by_a_signal",
    "environment",
    "terminal",
    "hundred_commands",
    "keepalives_are_answered",
    "unknown_global_request_is_refused",
    "unknown_channel_type_is_refused",
    "rekeying_during_a_transfer",
    "sftp_transfer",
    "sftp_directories",
    "sftp_attributes",
    "sftp_links",
    "sftp_renames",
    "sftp_truncate_and_append",
    "sftp_odd_names",
    "sftp_errors",
    "local_forward",
    "hundred_forwarded_connections",
    "refused_forward_is_told",
    "remote_forward",
];

both! {
    async fn every_operation(target: Target) {
        let python = prepared("python/bin/python");
        let mut command = target.program(python.to_str().expect("UTF-8"));
        // Nothing is to be left among the sources.
        command.arg("-B").arg(source("python/paramiko_client.py"));
        languages::all_succeed(&target, command, OPERATIONS).await;
    }
}
