//! How a health sync goes about it.

use std::time::Duration;

use runner::Memory;

use super::Syncing;

/// How a health sync goes about it
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Health sync")]
pub struct SyncArgs {
    /// Tables looked at side by side, 1 to 256, as far as the memory allows
    #[arg(
        long,
        env = "SNOWPACK_HEALTH_CONCURRENCY",
        default_value = "10",
        value_name = "COUNT",
        value_parser = runtime::number(1..=256)
    )]
    health_concurrency: u64,
    /// Time one table may take, 1 to 86400; one that takes longer counts as failed
    #[arg(
        long,
        env = "SNOWPACK_HEALTH_TABLE_SECONDS",
        default_value = "120",
        value_name = "SECONDS",
        value_parser = runtime::number(1..=86_400)
    )]
    health_table_seconds: u64,
    /// After so long no further table is begun; the next run begins with those that are left
    /// [default: none]
    #[arg(
        long,
        visible_alias = "deadline",
        env = "SNOWPACK_HEALTH_DEADLINE_SECONDS",
        value_name = "SECONDS",
        value_parser = runtime::number(0..=86_400)
    )]
    health_deadline_seconds: Option<u64>,
    /// Memory all looks together may use, in bytes, 64 MiB at least [default: three quarters of
    /// the container's limit or the machine]
    #[arg(
        long,
        env = "SNOWPACK_MEMORY_BYTES",
        value_name = "BYTES",
        value_parser = runtime::number(runner::MEMORY_BYTES_MIN..=u64::MAX)
    )]
    memory_bytes: Option<u64>,
}

impl SyncArgs {
    /// Tables looked at side by side.
    pub fn concurrency(&self) -> usize {
        usize::try_from(self.health_concurrency).unwrap_or(usize::MAX)
    }

    /// The settings of one pass by `holder`.
    pub fn syncing(&self, holder: String) -> Syncing {
        let memory_bytes = self.memory_bytes.unwrap_or_else(runner::memory_bytes);
        Syncing {
            concurrency: self.concurrency(),
            memory: Memory::new(memory_bytes),
            table_timeout: Duration::from_secs(self.health_table_seconds),
            deadline: self.health_deadline_seconds.map(Duration::from_secs),
            holder,
        }
    }
}
