//! sshd
fn main() {}
