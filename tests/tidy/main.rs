//! tidy.

fn main() {}
