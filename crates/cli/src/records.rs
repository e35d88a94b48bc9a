//! What is known of a table without Postgres: this machine's clock, and nothing else.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use catalog::{Catalog, Table};
use jiff::Timestamp;
use model::{Action, TableName};
use planner::{Due, LedgerError, OpenIntent, Records};

/// What this machine's clock may differ from the catalog's.
const SKEW_MS_MAX: i64 = 60_000;

#[derive(Debug)]
pub(crate) struct Local;

/// This machine's clock. Only work without a database asks it.
pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as i64)
}

/// Refuses actions that go by age when this machine's clock cannot be believed.
pub(crate) async fn check_clock(
    catalog: &dyn Catalog,
    table: &Table,
    actions: &[Action],
) -> Result<()> {
    let by_age = |action: &&Action| {
        matches!(
            action,
            Action::ExpireSnapshots | Action::RemoveOrphanFiles | Action::PurgePending
        )
    };
    let Some(action) = actions.iter().find(by_age) else {
        return Ok(());
    };
    let catalog_ms = catalog.clock_ms().await?;
    believe(
        *action,
        now_ms(),
        catalog_ms,
        table.metadata.last_updated_ms(),
    )
}

fn believe(
    action: Action,
    now_ms: i64,
    catalog_ms: Option<i64>,
    last_updated_ms: i64,
) -> Result<()> {
    if let Some(catalog_ms) = catalog_ms {
        let skew_ms = now_ms.abs_diff(catalog_ms);
        ensure!(
            skew_ms <= SKEW_MS_MAX.unsigned_abs(),
            "{action} goes by age, and this machine's clock ({}) differs from the catalog's ({}) by {} s; 60 s are \
             allowed; set the clock, or give SNOWPACK_DATABASE_URL to go by the database's",
            text(now_ms),
            text(catalog_ms),
            skew_ms / 1000
        );
    }
    ensure!(
        last_updated_ms <= now_ms,
        "{action} goes by age, and this machine's clock ({}) lies before the table's last change ({})",
        text(now_ms),
        text(last_updated_ms)
    );
    Ok(())
}

fn text(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |at| at.to_string())
}

#[async_trait]
impl Records for Local {
    async fn now_ms(&self) -> Result<i64, LedgerError> {
        Ok(now_ms())
    }

    async fn open_intents(&self, _: &str) -> Result<Vec<OpenIntent>, LedgerError> {
        Ok(Vec::new())
    }

    async fn due(&self, _: &str, _: Option<&str>, _: usize) -> Result<Vec<Due>, LedgerError> {
        Ok(Vec::new())
    }

    async fn listed_under(&self, _: &TableName) -> Result<Vec<String>, LedgerError> {
        Ok(Vec::new())
    }

    async fn accounted(&self, _: &str, _: &[String]) -> Result<Vec<String>, LedgerError> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_cannot_be_believed_is_refused() {
        let check = |now_ms, catalog_ms, last_updated_ms| {
            let believed = believe(Action::ExpireSnapshots, now_ms, catalog_ms, last_updated_ms);
            believed.err().map(|error| error.to_string())
        };
        assert_eq!(check(100_000, Some(160_000), 100_000), None);
        assert_eq!(check(100_000, Some(40_000), 0), None);
        assert_eq!(check(100_000, None, 0), None);
        for catalog_ms in [160_001, 39_999] {
            let why = check(100_000, Some(catalog_ms), 0).unwrap();
            assert!(
                why.contains("60 s") && why.contains("expire_snapshots"),
                "{why}"
            );
        }
        let why = check(100_000, None, 100_001).unwrap();
        assert!(why.contains("last change"), "{why}");
    }
}
