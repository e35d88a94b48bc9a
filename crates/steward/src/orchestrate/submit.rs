//! Wishes are ranked, cut at the budget, and submitted, each with its decision in one transaction.

use maintenance::runs::{self, Choice, Decision};
use maintenance::{Submission, Submitted, past};
use policy::{Ranking, Reason};

use super::pass::{Wanted, Wishes};
use super::{SUBMITTER, Work};
use crate::Error;

/// Decisions recorded in one statement.
const BATCH: usize = 1_000;
/// Submissions between two signs of life.
const BEAT_EVERY: usize = 50;

/// What became of one submission.
enum Done {
    Decided,
    /// New jobs are refused, and why.
    Drained(String),
}

impl Work<'_> {
    /// Submits what the budget grants, the most wanted first. Answers what cut it short, if
    /// anything did; every decision is recorded either way.
    pub(super) async fn submit_all(&self, wishes: Wishes) -> Result<Option<String>, Error> {
        let Wishes {
            wanted, ranked_by, ..
        } = wishes;
        let live_jobs = match self.settings.budget.running_max {
            Some(max) => past::live_count(&**self.pool.get().await?, max).await?,
            None => 0,
        };
        let Ranking { granted, refused } =
            policy::rank(&ranked_by, &self.settings.budget, live_jobs);
        drop(ranked_by);
        self.record(&refused, |(index, why)| {
            let wanted = &wanted[*index];
            let why = format!("{why}; {}", wanted.why);
            skip(wanted, Reason::OverBudget.as_str(), why)
        })
        .await?;
        if self.settings.dry_run {
            self.record(&granted, |index| submit(&wanted[*index]))
                .await?;
            return Ok(None);
        }
        let mut note = None;
        for (place, index) in granted.iter().enumerate() {
            if let Done::Drained(why) = self.submit(&wanted[*index], place).await? {
                self.record(&granted[place..], |index| {
                    let wanted = &wanted[*index];
                    skip(wanted, "draining", format!("{why}; {}", wanted.why))
                })
                .await?;
                note = Some(why);
                break;
            }
        }
        self.wake().await;
        Ok(note)
    }

    async fn record<T: Sync>(
        &self,
        items: &[T],
        decision: impl Fn(&T) -> Decision + Send + Sync,
    ) -> Result<(), Error> {
        for batch in items.chunks(BATCH) {
            let client = self.pool.get().await?;
            self.beat(&client).await?;
            let batch: Vec<Decision> = batch.iter().map(&decision).collect();
            runs::record(&**client, self.id, &batch).await?;
        }
        Ok(())
    }

    /// Job, lock and decision, or none of them.
    async fn submit(&self, wanted: &Wanted, place: usize) -> Result<Done, Error> {
        let mut client = self.pool.get().await?;
        if place.is_multiple_of(BEAT_EVERY) || self.stop.is_cancelled() {
            self.beat(&client).await?;
        }
        let tx = (**client).transaction().await.map_err(database)?;
        let submission = Submission {
            options: wanted.options.as_ref().clone(),
            priority: wanted.priority,
            ..Submission::new(wanted.table.clone(), wanted.actions.clone(), SUBMITTER)
        };
        let skipped = match maintenance::submit(&tx, &submission).await {
            Ok(Submitted::New(job)) => {
                let seen = wanted.last_job.as_ref();
                if past::unchanged(&tx, &wanted.table, seen, &job).await? {
                    let decision = Decision {
                        job: Some(job),
                        ..submit(wanted)
                    };
                    runs::record(&tx, self.id, &[decision]).await?;
                    tx.commit().await.map_err(database)?;
                    return Ok(Done::Decided);
                }
                let why = "somebody else's job came since it was read";
                skip(wanted, Reason::Locked.as_str(), why.to_owned())
            }
            Ok(Submitted::Existing(job)) => skip(
                wanted,
                Reason::Locked.as_str(),
                format!("job {job} is at work on it"),
            ),
            Err(maintenance::Error::Locked { holder, .. }) => skip(
                wanted,
                Reason::Locked.as_str(),
                format!("job {holder} came first"),
            ),
            Err(error @ maintenance::Error::Draining { .. }) => {
                return Ok(Done::Drained(error.to_string()));
            }
            // One table's fault must not stop the others.
            Err(
                error @ (maintenance::Error::BadSubmission { .. }
                | maintenance::Error::StrayOptions(_)
                | maintenance::Error::NoActions),
            ) => skip(wanted, "refused", error.to_string()),
            Err(error) => return Err(error.into()),
        };
        tx.rollback().await.map_err(database)?;
        runs::record(&**client, self.id, &[skipped]).await?;
        Ok(Done::Decided)
    }

    /// Workers that wait would else find out at their next poll.
    async fn wake(&self) {
        let woken = async {
            let client = self.pool.get().await?;
            let queue = maintenance::queue();
            queue
                .notify(&**client)
                .await
                .map_err(maintenance::Error::from)?;
            Ok::<_, Error>(())
        };
        if let Err(error) = woken.await {
            tracing::debug!(%error, "workers will see the jobs at their next poll");
        }
    }
}

fn submit(wanted: &Wanted) -> Decision {
    Decision {
        database: wanted.table.database(),
        table: wanted.table.table().to_owned(),
        choice: Choice::Submit,
        reason: "due".to_owned(),
        why: wanted.why.clone(),
        actions: wanted.actions.clone(),
        job: None,
        score: wanted.score,
    }
}

fn skip(wanted: &Wanted, reason: &str, why: String) -> Decision {
    Decision {
        choice: Choice::Skip,
        reason: reason.to_owned(),
        why,
        actions: Vec::new(),
        ..submit(wanted)
    }
}

fn database(source: tokio_postgres::Error) -> Error {
    Error::Database {
        doing: "submit a job",
        source,
    }
}
