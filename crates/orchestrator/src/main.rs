//! CronJob: decides what every table needs and submits it.

fn main() {}
