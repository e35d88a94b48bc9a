//! Rounds of making and committing: what another writer made wrong meanwhile is planned again.

use async_trait::async_trait;
use catalog::Table;
use planner::Report;

use super::{Change, Committer, Outcome, summary};
use crate::Error;

/// Times it is planned again because another writer got in between.
const REPLANS_MAX: usize = 3;

/// What an action makes before it commits.
#[async_trait]
pub(crate) trait Maker: Send {
    type Change: Change<Stale = String>;

    /// Writes what is to be committed, after so many swaps tried.
    async fn make(&self, table: &Table, tried: u32) -> Result<Made<Self::Change>, Error>;

    /// Plans again on the table as it is now; false when nothing is left to do.
    async fn plan_again(&mut self, table: &Table) -> Result<bool, Error>;
}

/// What came of making.
#[derive(Debug)]
pub(crate) enum Made<C> {
    Change(C),
    /// Why it must be planned again.
    Again(String),
    /// Why there is nothing to commit.
    Nothing(String),
}

impl Committer<'_> {
    /// Makes and commits, on `table` or on what it became.
    pub(crate) async fn rounds<M: Maker>(
        &self,
        mut table: Table,
        mut maker: M,
    ) -> Result<Report, Error> {
        let signals = self.attempt.signals;
        let (mut tried, mut why) = (0, String::new());
        for _ in 0..=REPLANS_MAX {
            let made = tokio::select! {
                biased;
                () = signals.cancel.cancelled() => return Err(Error::Stopped),
                () = signals.drain.cancelled() => return Err(Error::Stopped),
                made = maker.make(&table, tried) => made,
            };
            why = match made {
                Ok(Made::Nothing(why)) => return Ok(Report::nothing(why)),
                Ok(Made::Again(why)) => why,
                Err(error) => self.gone(&table, error, &why).await?,
                Ok(Made::Change(mut change)) => match self.commit(&mut change, true).await? {
                    Outcome::Committed(report) | Outcome::Completed(report) => return Ok(report),
                    Outcome::Stale { stale, tried: more } => {
                        tried += more;
                        stale
                    }
                },
            };
            tracing::info!(table = %self.name, action = %self.action, why, "planned again");
            table = self.load().await?;
            // The writer may have been an earlier attempt of this very job.
            let earlier = summary::committed_by(&table.metadata, self.attempt.job, self.action);
            if let (Some(report), true) = earlier {
                return Ok(report);
            }
            match maker.plan_again(&table).await {
                Ok(true) => {}
                Ok(false) => {
                    return Ok(Report {
                        commit_attempts: tried,
                        ..Report::nothing(format!("{why}; nothing is left to do"))
                    });
                }
                Err(error) => why = self.gone(&table, error, &why).await?,
            }
        }
        Err(Error::Moved(why))
    }

    /// Why it must be looked at again, where a file of `base` is gone and the table has moved on;
    /// else the error itself. One that is missed again, `before` being what was said then, is lost.
    pub(super) async fn gone(
        &self,
        base: &Table,
        error: Error,
        before: &str,
    ) -> Result<String, Error> {
        let missing = error.missing().map(str::to_owned);
        // What this attempt writes is nobody else's to remove.
        let own = self.attempt.attempt.as_str();
        let why = missing.filter(|location| !location.contains(own));
        let why = why.map(|location| format!("another writer removed {location}"));
        match why.filter(|why| why != before) {
            Some(why) if self.load().await?.metadata_location != base.metadata_location => Ok(why),
            _ => Err(error),
        }
    }
}
