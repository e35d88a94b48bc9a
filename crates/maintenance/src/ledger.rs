//! Files an attempt writes, recorded before they are written, so that a crash leaks nothing.
//!
//! A file that was never committed waits in `pending_deletions` for a day before anyone may
//! delete it: a request of its attempt may still land at a catalog that cannot see the fence.

use std::collections::BTreeSet;

use queue::Fence;
use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Transaction};

use crate::Error;
use crate::statement::{one, read, run};

const RESERVE: &str = include_str!("../sql/ledger/reserve.sql");
const MARK: &str = include_str!("../sql/ledger/mark.sql");
const SWEEP: &str = include_str!("../sql/ledger/sweep.sql");

/// Paths in one statement; more are sent in batches.
const PATHS_MAX: usize = 1_000;

/// What one [`sweep`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Files that now wait for deletion.
    pub moved: u64,
    /// Committed files whose attempt is over: the table knows them, the ledger need not.
    pub forgotten: u64,
}

/// Records files (path and kind) of `table_uuid` while the attempt is proven current. The same
/// attempt may reserve a path again.
pub async fn reserve(
    tx: &Transaction<'_>,
    fence: &Fence,
    table_uuid: &str,
    files: &[(&str, &str)],
) -> Result<(), Error> {
    crate::queue().hold(tx, fence).await?;
    let distinct: BTreeSet<(&str, &str)> = files.iter().copied().collect();
    let distinct: Vec<(&str, &str)> = distinct.into_iter().collect();
    for batch in distinct.chunks(PATHS_MAX) {
        let (paths, kinds): (Vec<&str>, Vec<&str>) = batch.iter().copied().unzip();
        let reserved = run(
            tx,
            "reserve files",
            RESERVE,
            &[
                (&fence.job().as_str(), Type::TEXT),
                (&fence.attempt().as_str(), Type::TEXT),
                (&table_uuid, Type::TEXT),
                (&paths, Type::TEXT_ARRAY),
                (&kinds, Type::TEXT_ARRAY),
            ],
        )
        .await?;
        let taken = batch.len() as u64 - reserved.min(batch.len() as u64);
        if taken > 0 {
            return Err(Error::PathTaken(taken));
        }
    }
    Ok(())
}

/// Marks files of this attempt as committed, in the transaction that commits them. A path that
/// was never reserved is passed over: the mark only spares a later check.
pub async fn mark(tx: &Transaction<'_>, fence: &Fence, paths: &[String]) -> Result<u64, Error> {
    crate::queue().hold(tx, fence).await?;
    let mut marked = 0;
    for batch in paths.chunks(PATHS_MAX) {
        let batch: Vec<&str> = batch.iter().map(String::as_str).collect();
        marked += run(
            tx,
            "mark files committed",
            MARK,
            &[
                (&fence.attempt().as_str(), Type::TEXT),
                (&batch, Type::TEXT_ARRAY),
            ],
        )
        .await?;
    }
    Ok(marked)
}

/// Moves at most `bound` files of attempts that are over to `pending_deletions`, and forgets the
/// committed ones among them. Safe to run many at once.
pub async fn sweep<C: GenericClient + Sync>(
    client: &C,
    catalog: &str,
    bound: i64,
) -> Result<Swept, Error> {
    let row = one(
        client,
        "sweep the ledger",
        SWEEP,
        &[(&catalog, Type::TEXT), (&bound, Type::INT8)],
    )
    .await?;
    let count = |column| read::<i64>(&row, column).map(i64::unsigned_abs);
    Ok(Swept {
        moved: count("moved")?,
        forgotten: count("forgotten")?,
    })
}
