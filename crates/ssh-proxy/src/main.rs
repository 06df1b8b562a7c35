//! ssh-proxy
fn main() {}
