//! `purge_pending`: deletes what waited long enough and is still unreferenced (`lake.md` section 7).

use std::collections::BTreeMap;

use model::Action;
use serde::{Deserialize, Serialize};

use crate::option::unknown;
use crate::{BadOption, Due};

/// Due files looked at for a plan; more are said to be at least so many.
pub const FILES_PLANNED_MAX: u64 = 100_000;
/// Due files asked for at once.
pub const PAGE: usize = 1_000;
/// What a purge holds at most, beside the paths of one page: reading a table's manifests.
const MEMORY_BYTES: u64 = 64 << 20;

/// It has no options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {}

impl Options {
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, BadOption> {
        match options.keys().next() {
            None => Ok(Self {}),
            Some(key) => Err(unknown(Action::PurgePending, &[], key)),
        }
    }
}

/// How much is due. Which of it may really go is decided when it is executed, on the table as it
/// is by then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The table's full key (`namespace.table`).
    pub table: String,
    /// Empty when the catalog has no such table any more.
    pub table_uuid: String,
    /// Files due now, of the table and of `gone`; at least so many when there are many.
    pub files: u64,
    /// What they hold, as far as it is known.
    pub bytes: u64,
    /// Earlier expiries to settle first.
    pub open_intents: u64,
    /// Tables that had the name when files of theirs were listed and do not exist any more: their
    /// files are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<String>,
    /// Tables that have another name by now: a job for that name deletes their files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renamed: Vec<String>,
    /// Estimated peak memory, in bytes.
    pub memory_bytes: u64,
}

impl Plan {
    /// A plan for the table of this key before anything was counted.
    pub fn of(table: String, table_uuid: String, open_intents: u64) -> Self {
        Self {
            table,
            table_uuid,
            open_intents,
            memory_bytes: MEMORY_BYTES,
            ..Self::default()
        }
    }

    /// Counts a page of what is due. Says whether another page is worth asking for.
    pub fn count(&mut self, page: &[Due]) -> bool {
        self.files += page.len() as u64;
        self.bytes += page.iter().filter_map(|due| due.size_bytes).sum::<u64>();
        page.len() == PAGE && self.files < FILES_PLANNED_MAX
    }

    /// Why there is nothing to do, when there is nothing.
    pub fn nothing(&self) -> Option<&str> {
        (self.files == 0 && self.open_intents == 0).then_some("no file is due for deletion")
    }

    pub(crate) fn message(&self) -> String {
        format!(
            "would delete those of {} due files ({} bytes as far as known) that nothing refers to, \
             and settle {} earlier expiries",
            self.files, self.bytes, self.open_intents
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;

    fn page(files: usize, size_bytes: Option<u64>) -> Vec<Due> {
        let due = |number| Due {
            path: format!("file:/t/{number:06}"),
            size_bytes,
            reason: Reason::Expired,
            modified_ms: None,
        };
        (0..files).map(due).collect()
    }

    #[test]
    fn what_is_due_is_counted_page_by_page_up_to_a_bound() {
        let mut plan = Plan::of("db.t".to_owned(), "uuid".to_owned(), 0);
        assert_eq!(plan.nothing(), Some("no file is due for deletion"));
        assert!(plan.count(&page(PAGE, Some(3))));
        assert!(!plan.count(&page(7, None)), "a short page is the last");
        assert_eq!((plan.files, plan.bytes), (1_007, 3_000));
        assert_eq!(plan.nothing(), None);
        let pages = (0..1_000).take_while(|_| plan.count(&page(PAGE, None)));
        assert!(pages.count() as u64 <= FILES_PLANNED_MAX / PAGE as u64);
    }

    #[test]
    fn an_open_intent_alone_is_work() {
        assert_eq!(
            Plan::of("db.t".to_owned(), String::new(), 1).nothing(),
            None
        );
    }

    #[test]
    fn options_are_refused() {
        let options = BTreeMap::from([("force".to_owned(), "true".to_owned())]);
        let refused = Options::parse(&options).unwrap_err().to_string();
        assert_eq!(
            refused,
            "purge_pending: unknown option `force`; allowed: none"
        );
        assert!(Options::parse(&BTreeMap::new()).is_ok());
    }
}
