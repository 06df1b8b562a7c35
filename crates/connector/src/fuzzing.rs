//! What fuzz targets reach of looking names up, built for them alone (`--cfg fuzzing`): the files that
//! say how. In these builds no name server is asked, and nobody connected to.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use crate::dns::Dns;
use crate::hosts;

/// Addresses by name, as a hosts file has them.
pub fn hosts(text: &str) -> HashMap<String, Vec<IpAddr>> {
    hosts::parse(text)
}

/// A name as it is looked for.
pub fn normal(name: &str) -> String {
    hosts::normal(name)
}

/// Whether there is a way to ask for names, with this resolv.conf.
pub fn asks(resolv_conf: &Path) -> bool {
    Dns::read(resolv_conf).is_some()
}
