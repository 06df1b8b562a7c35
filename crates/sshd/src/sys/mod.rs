//! System calls that need `unsafe`, behind functions that do not.
//!
//! The only modules of this crate that may use `unsafe`; everything that rustix or std offer safely
//! is called where it is needed.

pub(crate) mod child;
pub(crate) mod close;
pub(crate) mod epoll;
pub(crate) mod init;
pub(crate) mod startup;
