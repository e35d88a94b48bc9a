//! A small real table, as PyIceberg makes it and sees it.

use serde_json::Value;

use crate::oracle;

/// What the oracle `small_table` saw.
#[derive(Debug, Clone, PartialEq)]
pub struct SmallTable {
    pub rows: u64,
    /// Of all rows, whatever their order.
    pub fingerprint: String,
    /// Data files of the current snapshot.
    pub files: u64,
    /// Of every snapshot, the oldest first.
    pub operations: Vec<String>,
}

impl SmallTable {
    /// Has the oracle make a table or look at one; what it may be asked for stands in
    /// `tests/oracle/small_table.py`.
    pub async fn ask(asked: Value) -> Self {
        let run = move || oracle("small_table", &asked);
        let seen = tokio::task::spawn_blocking(run).await.expect("the oracle");
        Self::of(&seen)
    }

    /// What an oracle answered of one table.
    ///
    /// # Panics
    /// When that is something else.
    pub fn of(seen: &Value) -> Self {
        let operations = seen["operations"].as_array().expect("operations").iter();
        Self {
            rows: seen["rows"].as_u64().expect("rows"),
            fingerprint: seen["fingerprint"].as_str().expect("a text").to_owned(),
            files: seen["files"].as_u64().expect("files"),
            operations: operations
                .map(|name| name.as_str().expect("a text").to_owned())
                .collect(),
        }
    }

    /// Fails unless this is the table of `before`, rewritten exactly once into one file.
    #[track_caller]
    pub fn is_rewritten_once(&self, before: &Self) {
        let replaces = self.operations.iter().filter(|name| *name == "replace");
        assert_eq!((self.files, replaces.count()), (1, 1), "{self:?}");
        assert_eq!(
            (self.rows, &self.fingerprint),
            (before.rows, &before.fingerprint)
        );
    }
}
