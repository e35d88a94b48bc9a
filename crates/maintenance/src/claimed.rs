//! What attempts begin with: their jobs, and what earlier attempts of those recorded.

use std::collections::HashMap;

use model::{AttemptId, JobId};
use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Row};

use crate::Error;
use crate::actions::{self, ActionRow};
use crate::jobs::{self, Job};
use crate::statement::{read, rows};

const CLAIMED: &str = include_str!("../sql/jobs/claimed.sql");

/// The job of one claim.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedJob {
    pub job: Job,
    /// Every result of earlier attempts, oldest first.
    pub results: Vec<ActionRow>,
}

/// The jobs of claims, in the order of these, however many at the price of one. For an attempt that
/// is not current there is the queue's `Replaced`, for a job of a newer version `Unreadable`.
pub async fn claimed_jobs<C: GenericClient + Sync>(
    client: &C,
    claims: &[(JobId, AttemptId)],
) -> Result<Vec<Result<ClaimedJob, Error>>, Error> {
    let ids: Vec<&str> = claims.iter().map(|(job, _)| job.as_str()).collect();
    let attempts: Vec<&str> = claims.iter().map(|(_, attempt)| attempt.as_str()).collect();
    let params = [
        (&ids as _, Type::TEXT_ARRAY),
        (&attempts as _, Type::TEXT_ARRAY),
    ];
    // Sent together: one round trip.
    let (found, results) = tokio::try_join!(
        rows(client, "load the claimed jobs", CLAIMED, &params),
        actions::of_jobs(client, &ids),
    )?;
    let mut current = HashMap::new();
    for row in &found {
        current.insert(read::<&str>(row, "claimed_as")?, row);
    }
    let mut recorded: HashMap<&str, Vec<&Row>> = HashMap::new();
    for row in &results {
        recorded.entry(read(row, "job_id")?).or_default().push(row);
    }
    let one = |(id, attempt): &(JobId, AttemptId)| {
        let row = current.get(attempt.as_str());
        let job = jobs::from_row(row.ok_or(queue::Error::Replaced)?)?;
        let results = recorded.get(id.as_str()).into_iter().flatten();
        let results = results.map(|row| actions::from_row(id, row));
        Ok(ClaimedJob {
            job,
            results: results.collect::<Result<_, Error>>()?,
        })
    };
    Ok(claims.iter().map(one).collect())
}
