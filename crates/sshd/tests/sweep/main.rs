//! The sweep of what the daemon reads beyond the messages of SSH: sftp packets, lines of scp, and the
//! payloads of requests and channels in a running daemon. The law of each case and the count of its
//! memory are those of the sweep in `ssh-proto`.

#[cfg(test)]
#[path = "../../../ssh-proto/tests/sweep/heap.rs"]
mod heap;
#[cfg(test)]
mod requests;
#[cfg(test)]
#[path = "../../../ssh-proto/tests/sweep/sample.rs"]
#[allow(dead_code, reason = "the sweep of ssh-proto uses the rest")]
mod sample;
#[cfg(test)]
mod scp;
#[cfg(test)]
mod sftp;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
