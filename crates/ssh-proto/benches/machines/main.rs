//! What the machines cost in time: `seal` and `open` of packets, `parse` of what is in them, `handshake`.
//! Two ends in memory, as in the tests; no stream, no kernel. What both programs cost as a whole is
//! measured by `scripts/bench`, and what the proxy spends on a packet, in instructions, by `scripts/count`.
//!
//!     cargo bench -p ssh-proto                        # all
//!     cargo bench -p ssh-proto -- seal/aes128-gcm     # some
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what is free in tests is free here"
)]

use criterion::{criterion_group, criterion_main};

mod cipher;
mod handshake;
mod parse;
#[path = "../../tests/support/mod.rs"]
mod support;

criterion_group!(
    benches,
    cipher::seal,
    cipher::open,
    parse::packets,
    parse::messages,
    handshake::handshake
);
criterion_main!(benches);
