//! The KEDA-compatible ready count of every lane.

fn main() {}
