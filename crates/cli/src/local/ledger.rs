//! The port [`Ledger`] over a journal: what Postgres records of a job, on lines of a file.
//!
//! There is no fence: nobody else can have the journal, and the catalog's compare-and-swap decides
//! between two processes on one table.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use async_trait::async_trait;
use jiff::Timestamp;
use model::{AttemptId, JobId, TableName};
use planner::{
    Candidate, Due, Intent, IntentId, Ledger, LedgerError, OpenIntent, Orphans, Purge, Purged,
    Reason, Records, Report, Reserved, Swap, SwapError,
};

use super::book::Book;
use super::journal::{Ended, Entry, Header, Journal, Line, Waits, Written};
use crate::records;

/// A journal and its sum.
#[derive(Debug)]
pub(crate) struct LocalLedger {
    header: Header,
    pub(crate) job: JobId,
    pub(crate) attempt: AttemptId,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    journal: Journal,
    book: Book,
}

impl Kept {
    fn append(&mut self, entry: Entry) -> Result<()> {
        let at = Timestamp::from_millisecond(records::now_ms())?;
        let line = Line { at, entry };
        self.journal.append(&line)?;
        self.book.apply(&line)
    }
}

impl LocalLedger {
    /// Takes the journal: from here on its lines are of a new attempt.
    pub(crate) fn begin(journal: Journal, header: Header, book: Book) -> Result<Self> {
        let job = JobId::new(uuid::Uuid::now_v7().to_string());
        let attempt = AttemptId::new(uuid::Uuid::new_v4().to_string());
        let mut kept = Kept { journal, book };
        kept.append(Entry::Begun {
            job: job.clone(),
            attempt: attempt.clone(),
        })?;
        Ok(Self {
            header,
            job,
            attempt,
            kept: Mutex::new(kept),
        })
    }

    pub(crate) fn book(&self) -> Book {
        self.kept().book.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, doing: &'static str, entry: Entry) -> Result<(), LedgerError> {
        let appended = self.kept().append(entry);
        appended.map_err(|error| failed(doing, error))
    }

    fn ours(&self, doing: &'static str, table_uuid: &str) -> Result<(), LedgerError> {
        let ours = &self.header.table_uuid;
        if table_uuid == ours {
            return Ok(());
        }
        let why = format!("the journal is of the table with uuid {ours}, not {table_uuid}");
        Err(failed(doing, anyhow::Error::msg(why)))
    }
}

fn failed(doing: &'static str, error: anyhow::Error) -> LedgerError {
    LedgerError::Failed {
        doing,
        source: error.into(),
    }
}

#[async_trait]
impl Records for LocalLedger {
    async fn now_ms(&self) -> Result<i64, LedgerError> {
        Ok(records::now_ms())
    }

    async fn open_intents(&self, table_uuid: &str) -> Result<Vec<OpenIntent>, LedgerError> {
        self.ours("read open intents", table_uuid)?;
        Ok(self.kept().book.open_intents(records::now_ms()))
    }

    async fn due(
        &self,
        table_uuid: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Due>, LedgerError> {
        self.ours("read what is due", table_uuid)?;
        Ok(self.kept().book.due(records::now_ms(), after, limit))
    }

    async fn listed_under(&self, table: &TableName) -> Result<Vec<String>, LedgerError> {
        let due = !self.kept().book.due(records::now_ms(), None, 1).is_empty();
        let ours = due && table.key() == self.header.table;
        Ok(ours
            .then(|| self.header.table_uuid.clone())
            .into_iter()
            .collect())
    }

    async fn accounted(
        &self,
        table_uuid: &str,
        paths: &[String],
    ) -> Result<Vec<String>, LedgerError> {
        self.ours("look for files in the journal", table_uuid)?;
        Ok(self.kept().book.accounted(paths))
    }
}

#[async_trait]
impl Ledger for LocalLedger {
    async fn reserve(&self, table_uuid: &str, files: &[Reserved]) -> Result<(), LedgerError> {
        let doing = "reserve files";
        self.ours(doing, table_uuid)?;
        let file = |file: &Reserved| Written {
            path: file.path.clone(),
            kind: file.kind.to_owned(),
        };
        let files = files.iter().map(file).collect();
        self.append(doing, Entry::Reserved { files })
    }

    async fn commit(
        &self,
        swap: &dyn Swap,
        landed: &[String],
        _: Option<&Report>,
    ) -> Result<(), SwapError> {
        swap.swap(None).await?;
        let paths = landed.to_vec();
        // The commit is made. Without the mark its files are only checked once more.
        if let Err(error) = self.append("mark files committed", Entry::Landed { paths }) {
            tracing::warn!(
                error = runtime::chain(&error),
                "could not mark files committed"
            );
        }
        Ok(())
    }

    async fn intend(&self, intent: &Intent) -> Result<IntentId, LedgerError> {
        let doing = "store an intent";
        self.ours(doing, &intent.table_uuid)?;
        let id = self.kept().book.next_intent();
        let intent = intent.clone();
        self.append(doing, Entry::Intended { id, intent })?;
        Ok(IntentId(id))
    }

    async fn list(
        &self,
        table_uuid: &str,
        files: &[Candidate],
        (reason, grace_ms): (Reason, i64),
    ) -> Result<(), LedgerError> {
        let doing = "list files for deletion";
        self.ours(doing, table_uuid)?;
        if reason != Reason::Expired {
            let why = "a journal knows nothing of other jobs' files: orphans need Postgres";
            return Err(failed(doing, anyhow::Error::msg(why)));
        }
        let file = |file: &Candidate| Waits {
            path: file.path.clone(),
            size_bytes: file.size_bytes,
        };
        let files = files.iter().map(file).collect();
        self.append(doing, Entry::Listed { grace_ms, files })
    }

    async fn settle(
        &self,
        intent: IntentId,
        open: &[i64],
        _: Option<&Report>,
    ) -> Result<(), LedgerError> {
        let (id, open) = (intent.0, open.to_vec());
        self.append("settle an intent", Entry::Settled { id, open })
    }

    async fn purged(&self, table_uuid: &str, files: &[Purged]) -> Result<(), LedgerError> {
        let doing = "record what was purged";
        self.ours(doing, table_uuid)?;
        let ended = |file: &Purged| Ended::new(&file.path, &file.fate);
        let files = files.iter().map(ended).collect();
        self.append(doing, Entry::Purged { files })
    }

    async fn orphans_so_far(&self, _: &str) -> Result<Orphans, LedgerError> {
        Ok(Orphans::default())
    }

    async fn purged_so_far(&self) -> Result<Purge, LedgerError> {
        Ok(self.kept().book.purged())
    }
}
