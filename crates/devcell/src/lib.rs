//! A local Cloud Foundry for trying and testing: doubles of the platform's servers that speak the
//! real protocols, and a rig that starts the real `ssh-proxy` and `diego-sshd` against them.
//!
//! - [`bbs`], [`uaa`], [`cloud_controller`]: the platform's servers, with [`fault`]s at the push of a
//!   button.
//! - [`front`]: TLS before an instance, as Envoy has it.
//! - [`loggregator`]: the agent that takes app logs and metrics, alive, dead or stuck.
//! - [`rig`]: finds, starts and ends the real programs; its [`rig::Cell`] is what tests use.
//! - [`certs`], [`keys`]: throw-away certificates and SSH keys.
//!
//! Code here shares nothing with the programs under test, on purpose: an encoding used on both
//! sides could be wrong on both sides.

#![forbid(unsafe_code)]

mod answer;
pub mod bbs;
pub mod certs;
pub mod cloud_controller;
pub mod fault;
pub mod front;
pub mod keys;
pub mod loggregator;
pub mod rig;
mod server;
pub mod uaa;

pub use rig::{Cell, CellOptions};
pub use server::{Call, Server, StartError};
