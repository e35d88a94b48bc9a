//! The worker daemon: claims jobs, keeps their leases, runs their actions.

fn main() {}
