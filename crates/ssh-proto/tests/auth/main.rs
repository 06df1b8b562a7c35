//! User authentication from the outside: both roles over real transports.

#[cfg(test)]
mod client;
#[cfg(test)]
mod server;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod table;
