//! What an action writes to the ledger beside its swap: each in one transaction under the fence.

use maintenance::deletions::{self, FILES_MAX, Listed};
use maintenance::{ActionResult, ledger};
use model::Advice;
use pg::Transaction;
use planner::{Candidate, Fate, Intent, IntentId, LedgerError, Purged, Reason};

use crate::ledger::ActionLedger;
use crate::records::failed;
use crate::steady::steadily;

/// One transaction of the ledger. Each may be sent again when its answer was lost.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Write<'a> {
    Reserve {
        table_uuid: &'a str,
        files: &'a [(&'a str, &'a str)],
    },
    Intend(&'a deletions::Intent),
    /// At most [`FILES_MAX`] files.
    List {
        table_uuid: &'a str,
        files: &'a [Listed<'a>],
        why: (Reason, i64),
    },
    Settle {
        intent: IntentId,
        open: &'a [i64],
        result: Option<&'a ActionResult>,
    },
    /// At most [`FILES_MAX`] files.
    Purged {
        table_uuid: &'a str,
        files: &'a [deletions::Purged<'a>],
    },
}

impl Write<'_> {
    fn doing(&self) -> &'static str {
        match self {
            Self::Reserve { .. } => "reserve files",
            Self::Intend(_) => "store an intent",
            Self::List { .. } => "list files for deletion",
            Self::Settle { .. } => "settle an intent",
            Self::Purged { .. } => "record what was purged",
        }
    }
}

impl ActionLedger<'_> {
    /// Writes while the attempt is proven current, and says what the statement answered.
    pub(crate) async fn write(&self, write: Write<'_>) -> Result<i64, LedgerError> {
        let _turn = self.turn.lock().await;
        if !self.beat.trusted() {
            return Err(LedgerError::Replaced);
        }
        let written = steadily(self.patience(), |_| self.write_once(&write)).await;
        self.beat.moved();
        written.map_err(|error| match error.advice() {
            Advice::Stop => LedgerError::Replaced,
            _ => failed(write.doing(), error),
        })
    }

    async fn write_once(&self, write: &Write<'_>) -> Result<i64, maintenance::Error> {
        let doing = write.doing();
        let database = |source| maintenance::Error::Database { doing, source };
        let mut client = self.records.client(doing).await?;
        let tx = (**client).transaction().await.map_err(database)?;
        let answer = self.write_in(&tx, write).await?;
        tx.commit().await.map_err(database)?;
        client.give_back();
        Ok(answer)
    }

    async fn write_in(
        &self,
        tx: &Transaction<'_>,
        write: &Write<'_>,
    ) -> Result<i64, maintenance::Error> {
        let fence = self.fence;
        match *write {
            Write::Reserve { table_uuid, files } => {
                ledger::reserve(tx, fence, table_uuid, files).await?;
            }
            Write::Intend(intent) => return deletions::intend(tx, fence, intent).await,
            Write::List {
                table_uuid,
                files,
                why: (reason, grace_ms),
            } => {
                let table = (self.records.catalog(), table_uuid);
                let why = (reason.as_str(), grace_ms);
                deletions::list(tx, fence, table, files, why).await?;
            }
            Write::Settle {
                intent,
                open,
                result,
            } => {
                deletions::settle(tx, fence, intent.0, open).await?;
                if let Some(result) = result {
                    maintenance::actions::record(tx, fence, result).await?;
                }
            }
            Write::Purged { table_uuid, files } => {
                deletions::purged(tx, fence, table_uuid, files).await?;
            }
        }
        Ok(0)
    }

    pub(crate) async fn store_intent(&self, intent: &Intent) -> Result<IntentId, LedgerError> {
        let ids = serde_json::to_value(&intent.ids);
        let row = deletions::Intent {
            table_uuid: intent.table_uuid.clone(),
            planned_location: intent.planned_location.clone(),
            ids: ids.map_err(|error| failed("store an intent", error))?,
            grace_ms: intent.grace_ms,
        };
        self.write(Write::Intend(&row)).await.map(IntentId)
    }

    /// In batches: one that is listed before a crash is listed again and stays as it is.
    pub(crate) async fn list_files(
        &self,
        table_uuid: &str,
        files: &[Candidate],
        why: (Reason, i64),
    ) -> Result<(), LedgerError> {
        for batch in files.chunks(FILES_MAX) {
            let files: Vec<Listed<'_>> = batch
                .iter()
                .map(|file| Listed {
                    path: &file.path,
                    size_bytes: file.size_bytes.and_then(|size| i64::try_from(size).ok()),
                    modified_ms: file.modified_ms,
                })
                .collect();
            let files = files.as_slice();
            self.write(Write::List {
                table_uuid,
                files,
                why,
            })
            .await?;
        }
        Ok(())
    }

    pub(crate) async fn record_purged(
        &self,
        table_uuid: &str,
        files: &[Purged],
    ) -> Result<(), LedgerError> {
        for batch in files.chunks(FILES_MAX) {
            let files: Vec<deletions::Purged<'_>> = batch
                .iter()
                .map(|file| deletions::Purged {
                    path: &file.path,
                    fate: match &file.fate {
                        Fate::Deleted => deletions::Fate::Deleted,
                        Fate::Kept(why) => deletions::Fate::Kept(why),
                        Fate::Failed(why) => deletions::Fate::Failed(why),
                    },
                })
                .collect();
            let files = files.as_slice();
            self.write(Write::Purged { table_uuid, files }).await?;
        }
        Ok(())
    }
}
