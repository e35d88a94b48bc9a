//! The REST API, and the loops that keep the control plane fresh.

fn main() {}
