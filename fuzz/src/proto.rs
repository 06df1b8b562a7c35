//! Targets of ssh-proto: what a peer can send to each of its layers.

mod channels;
pub(crate) mod clear;
mod deframer;
mod ident;
mod kex;
mod kexinit;
mod keys;
mod requests;
mod sample_keys;
pub mod seeds;
mod userauth;
mod whole;

pub use channels::channels;
pub use deframer::{deframer_chacha, deframer_clear, deframer_ctr, deframer_gcm};
pub use ident::ident;
pub use kex::kex_replies;
pub use kexinit::kexinit;
pub use keys::{keys, signatures};
pub use requests::pty_modes;
pub use userauth::userauth;
pub use whole::{client_role, preauth_server};
