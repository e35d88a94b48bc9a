//! CronJob: assesses every allowlisted table.

fn main() {}
