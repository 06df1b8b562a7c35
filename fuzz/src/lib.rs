//! The fuzz targets: functions of bytes that panic when a promise is broken.
//!
//! They are run by cargo-fuzz, through the wrappers in `fuzz_targets/`, and over the committed seeds
//! by `tests/replay.rs`, which needs neither nightly nor a C++ compiler. Both compile the project's
//! crates with `cfg(fuzzing)`, where packets are not encrypted and signatures can be forged: see
//! `ssh_proto::transport::fuzzing`.
//!
//! A new target is a function in a module here, a line in [`TARGETS`], a wrapper, a `[[bin]]` and seeds.

#[cfg(not(fuzzing))]
compile_error!("start cargo in fuzz/: its configuration sets cfg(fuzzing)");

pub mod daemon;
pub mod input;
mod packets;
mod place;
pub mod proto;
pub mod proxy;
mod runtime;

/// What is fuzzed.
pub struct Target {
    /// The name of the wrapper and of the directory with the seeds.
    pub name: &'static str,
    /// The longest input that libFuzzer makes; a target ignores what is longer.
    pub max_len: usize,
    /// The target itself.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target("accounts", 8192, daemon::accounts),
    target("channels", 4096, proto::channels),
    target("client_role", 8192, proto::client_role),
    target("daemon_config", 4096, daemon::daemon_config),
    target("deframer_chacha", 8192, proto::deframer_chacha),
    target("deframer_clear", 8192, proto::deframer_clear),
    target("deframer_ctr", 8192, proto::deframer_ctr),
    target("deframer_gcm", 8192, proto::deframer_gcm),
    target("host_names", 4096, daemon::host_names),
    target("ident", 10240, proto::ident),
    target("kex_replies", 4096, proto::kex_replies),
    target("kexinit", 4096, proto::kexinit),
    target("keys", 4096, proto::keys),
    target("platform_answers", 8192, proxy::platform_answers),
    target("postauth_daemon", 8192, daemon::postauth_daemon),
    target("preauth_server", 8192, proto::preauth_server),
    target("proxy_config", 8192, proxy::proxy_config),
    target("proxy_protocol", 2400, proxy::proxy_protocol),
    target("pty_modes", 4096, proto::pty_modes),
    target("relay", 8192, proxy::relay),
    target("scp_command", 2048, daemon::scp_command),
    target("scp_sink", 8192, daemon::scp_sink),
    target("scp_source", 1024, daemon::scp_source),
    target("sftp", 8192, daemon::sftp),
    target("signatures", 4096, proto::signatures),
    target("target_names", 8192, proxy::target_names),
    target("userauth", 8192, proto::userauth),
];

const fn target(name: &'static str, max_len: usize, run: fn(&[u8])) -> Target {
    Target { name, max_len, run }
}
