//! The connection protocol from the outside: rules one by one against a scripted peer, and two
//! connections back to back against a model.

#[cfg(test)]
mod flow;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod model;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod rules;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod table;
#[cfg(test)]
mod wire;
