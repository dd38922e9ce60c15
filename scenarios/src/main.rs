//! The `sanbench` command.

fn main() {}
