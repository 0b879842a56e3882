//! The lsm program.
fn main() {}
