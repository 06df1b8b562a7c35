//! The transport layer from the outside: two real ends on a wire in memory, and one end against a
//! peer that breaks rules.

#[cfg(test)]
mod framing;
#[cfg(test)]
mod handshake;
#[cfg(test)]
mod kex_attacks;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod rekey;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod strict;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tampering;
