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

pub mod proto;

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
pub const TARGETS: &[Target] = &[target("ident", 2048, proto::ident)];

const fn target(name: &'static str, max_len: usize, run: fn(&[u8])) -> Target {
    Target { name, max_len, run }
}
