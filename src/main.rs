//! The `runscribe` program.

fn main() {}
