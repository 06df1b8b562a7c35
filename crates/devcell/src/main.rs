//! devcell
fn main() {}
