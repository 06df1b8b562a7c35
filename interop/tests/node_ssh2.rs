//! Everything that users of ssh2 for Node.js can do (`interop/clients/node/ssh2_client.js`).

mod support;

use support::languages::{self, prepared, source};
use support::target::both;

/// What the client does, in this order.
const OPERATIONS: &[&str] = &[
    "other_host_key_is_refused",
    "streams_and_status",
    "megabytes_both_ways",
    "killed_by_a_signal",
    "signal_is_delivered",
    "environment",
    "terminal",
    "hundred_commands",
    "keepalives_are_answered",
    "unknown_global_request_is_refused",
    "rekeying_during_a_transfer",
    "sftp_transfer",
    "sftp_directories",
    "sftp_attributes",
    "sftp_links",
    "sftp_renames",
    "sftp_truncate_and_append",
    "sftp_file_system",
    "sftp_odd_names",
    "sftp_errors",
    "local_forward",
    "hundred_forwarded_connections",
    "refused_forward_is_told",
    "remote_forward",
    "unix_local_forward",
    "unix_remote_forward",
    "agent_forwarding",
];

both! {
    async fn every_operation(target: Target) {
        let mut command = target.program("node");
        command.arg(source("node/ssh2_client.js")).arg(prepared("node"));
        languages::all_succeed(&target, command, OPERATIONS).await;
    }
}
