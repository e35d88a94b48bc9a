//! The command line: demo, plan, maintain, submit, jobs.

fn main() {}
