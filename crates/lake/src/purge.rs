//! `purge_pending`: deletes files whose grace is over and that nothing refers to (`lake.md`
//! section 7).
//!
//! Every batch is checked against the table as it is just then: a file goes only when no snapshot
//! of any ref, no statistics and no metadata file reaches it, and when it can be nobody else's.
//! Whatever is doubtful is kept, with the reason; a failure to read leaves everything due.
//!
//! Between that check and the delete a writer may commit. What protects its files: writers name
//! files uniquely, so nothing new lies at an old path, and an orphan, whose name may be anybody's, is
//! looked at once more: one written since it was found stays; a file gets here only after its grace, so
//! whoever planned on the snapshot that held it has had that time; and bringing an expired
//! snapshot back is a job of ours: it holds the table's lock, so no purge runs beside it, and
//! marks the rows kept before it commits. Adding a file again by its old path while it waits
//! (`add_files`) is seen up to the last check, and lost in the instant after it.
//!
//! A crash anywhere is harmless: what was deleted and not recorded is deleted again.

mod standing;

use catalog::Catalog;
use futures::{StreamExt, stream};
use model::TableName;
use planner::purge::{PAGE, Plan};
use planner::{Attempt, Due, Fate, Purge, Purged, Report};
use survey::find;

use crate::Error;
use crate::commit::named;
use crate::expire::settle_open;
use standing::{Standing, said};

/// Files in one delete and one record of it.
const BATCH: usize = 1_000;
/// Orphans looked at once more at a time, each with a request of its own.
const LOOKS_AT_ONCE: usize = 16;

/// Deletes what may go and records what became of each file.
pub(crate) async fn execute(
    catalog: &dyn Catalog,
    plan: &Plan,
    attempt: &Attempt<'_>,
) -> Result<Report, Error> {
    let purging = Purging {
        catalog,
        name: named(&plan.table)?,
        uuid: &plan.table_uuid,
        attempt,
    };
    attempt.progress.total(plan.files);
    for uuid in &plan.gone {
        purging.keep_all(uuid).await?;
    }
    purging.settle().await?;
    purging.run().await?;
    let purge = attempt.ledger.purged_so_far().await?;
    if purge == Purge::default() {
        return Ok(Report::nothing("no file is due for deletion"));
    }
    Ok(Report {
        purge: Some(purge),
        ..Report::default()
    })
}

struct Purging<'a> {
    catalog: &'a dyn Catalog,
    name: TableName,
    uuid: &'a str,
    attempt: &'a Attempt<'a>,
}

impl Purging<'_> {
    fn go_on(&self) -> Result<(), Error> {
        let signals = self.attempt.signals;
        if signals.cancel.is_cancelled() || signals.drain.is_cancelled() {
            return Err(Error::Stopped);
        }
        Ok(())
    }

    /// Keeps every due file of a table that is gone: nobody can say what still needs it.
    async fn keep_all(&self, uuid: &str) -> Result<(), Error> {
        let why = format!("table {uuid} does not exist any more");
        loop {
            self.go_on()?;
            let due = self.attempt.ledger.due(uuid, None, BATCH).await?;
            if due.is_empty() {
                return Ok(());
            }
            let kept: Vec<Purged> = due
                .into_iter()
                .map(|due| Purged {
                    path: due.path,
                    fate: Fate::Kept(why.clone()),
                })
                .collect();
            self.record(uuid, &kept).await?;
        }
    }

    /// Lists what earlier expiries freed and could not list.
    async fn settle(&self) -> Result<(), Error> {
        let Some(table) = find(self.catalog, &self.name).await? else {
            return Ok(());
        };
        if table.metadata.uuid() == self.uuid {
            let settled = settle_open(self.catalog, &table, self.attempt).await?;
            if settled > 0 {
                tracing::info!(table = %self.name, settled, "earlier expiries settled");
            }
        }
        Ok(())
    }

    /// Takes what is due page by page. A file that fails is passed over: it is due again later.
    async fn run(&self) -> Result<(), Error> {
        let (mut after, mut standing) = (None::<String>, None);
        loop {
            self.go_on()?;
            let ledger = self.attempt.ledger;
            let page = ledger.due(self.uuid, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.path.clone());
            standing = Some(self.page(&page, standing).await?);
        }
    }

    async fn page(&self, page: &[Due], before: Option<Standing>) -> Result<Standing, Error> {
        let mut standing = self.look(page, before.as_ref()).await?;
        for (index, batch) in page.chunks(BATCH).enumerate() {
            self.go_on()?;
            // What was checked holds for the metadata file and the neighbours it was checked on.
            if !standing.current(self.catalog, &self.name).await? {
                standing = self.look(&page[index * BATCH..], Some(&standing)).await?;
            }
            let fates = self.delete(&standing, batch).await;
            self.record(self.uuid, &fates).await?;
        }
        Ok(standing)
    }

    async fn look(&self, files: &[Due], before: Option<&Standing>) -> Result<Standing, Error> {
        let (named, files) = ((&self.name, self.uuid), (files, before));
        Standing::of(self.catalog, named, files, self.attempt.progress).await
    }

    async fn delete(&self, standing: &Standing, batch: &[Due]) -> Vec<Purged> {
        let looked = batch.iter().map(|due| async move {
            let held = standing.held(&due.path).cloned();
            match held {
                Some(fate) => (due, Some(fate)),
                None => (due, standing.written_again(due).await),
            }
        });
        let looked: Vec<_> = looked.collect();
        let looked: Vec<_> = stream::iter(looked).buffered(LOOKS_AT_ONCE).collect().await;
        let free = looked.iter().filter(|(_, fate)| fate.is_none());
        let paths: Vec<String> = free.map(|(due, _)| due.path.clone()).collect();
        let results = standing.delete(&paths).await;
        self.attempt.progress.alive();
        let deleted = paths.into_iter().zip(results).map(|(path, result)| Purged {
            path,
            fate: match result {
                Ok(()) => Fate::Deleted,
                Err(error) => Fate::Failed(said(&error)),
            },
        });
        let held = looked.into_iter().filter_map(|(due, fate)| {
            let path = due.path.clone();
            fate.map(|fate| Purged { path, fate })
        });
        deleted.chain(held).collect()
    }

    async fn record(&self, uuid: &str, fates: &[Purged]) -> Result<(), Error> {
        self.attempt.ledger.purged(uuid, fates).await?;
        self.attempt.progress.advance(fates.len() as u64);
        Ok(())
    }
}
