//! Keeps the table cache like the catalog.
//!
//! One pass lists every namespace, compares it with what the cache holds, loads only tables whose
//! metadata moved, and swaps the differences in at once. Memory is bounded by the listings of the
//! few namespaces under way, not by the number of tables. Start at [`sync`].

use std::collections::HashSet;

use catalog::Catalog;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use maintenance::inventory::{self as cache, FailedNamespace, Next, Outcome, Swap};
use model::TableName;

use crate::Error;

mod namespace;
mod rules;

pub use rules::{Allow, Patterns, Rule, TablesArgs, Verdict};

use namespace::{Found, Look};

/// Namespaces looked at at once.
const NAMESPACES_AT_ONCE: usize = 4;

/// What one pass found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Synced {
    pub outcome: Option<Outcome>,
    /// Another pass that ran meanwhile swapped its set in; this one's was dropped.
    pub superseded: bool,
    /// Why nothing was swapped in.
    pub error: Option<String>,
    /// Tables in the cache now, whether or not they are of this pass.
    pub tables: u64,
    /// Tables whose metadata was read.
    pub loaded: u64,
    /// Entries that are new or other than before.
    pub changed: u64,
    /// Entries that are there no more.
    pub gone: u64,
    /// Listed, but no rule lets them in.
    pub left_out: u64,
    /// Entries whose metadata could not be read.
    pub unreadable: u64,
    /// They kept their old entries.
    pub failed_namespaces: Vec<FailedNamespace>,
}

/// Brings the cache up to date with the catalog. A set that loses more than half of the tables is
/// held back unless `force`; tables that a rule leaves out now are no loss.
///
/// A catalog that fails is part of the result; an error is one of Postgres. The old set stands
/// until the new one is whole, wherever this ends.
pub async fn sync(
    pool: &pg::Pool,
    catalog: &dyn Catalog,
    allow: &Allow,
    force: bool,
) -> Result<Synced, Error> {
    let base = cache::begin(&**pool.get().await?).await?;
    let look = Look {
        pool,
        catalog,
        allow,
        base: &base,
    };
    let before = cache::databases(&**pool.get().await?).await?;
    let (mut synced, swapped) = match Box::pin(everything(&look, &before)).await? {
        Ok(found) => {
            let swapped = end(&look, &found, force).await?;
            (told(found), swapped)
        }
        Err(error) => (Synced::default(), Err((Outcome::Failed, error))),
    };
    synced.tables = count(&before);
    match swapped {
        Ok(Swap::In(tables)) => {
            synced.tables = u64::try_from(tables).unwrap_or(0);
            synced.outcome = Some(match synced.failed_namespaces[..] {
                [] => Outcome::Synced,
                [..] => Outcome::Partial,
            });
        }
        Ok(Swap::Superseded) => synced.superseded = true,
        Ok(Swap::Lost) => not_swapped(&look, &mut synced, Outcome::Failed, LOST.to_owned()).await?,
        Err((outcome, error)) => not_swapped(&look, &mut synced, outcome, error).await?,
    }
    log(&synced);
    Ok(synced)
}

fn count(databases: &[(String, i64)]) -> u64 {
    let tables = databases.iter().map(|(_, tables)| tables.unsigned_abs());
    tables.sum()
}

const LOST: &str = "Postgres lost what was found before it could be swapped in";

async fn not_swapped(
    look: &Look<'_>,
    synced: &mut Synced,
    outcome: Outcome,
    error: String,
) -> Result<(), Error> {
    let client = look.pool.get().await?;
    cache::note(&**client, look.base, outcome, &error).await?;
    synced.outcome = Some(outcome);
    synced.error = Some(error);
    Ok(())
}

/// What is different everywhere, staged; or why nothing could be listed.
async fn everything(
    look: &Look<'_>,
    before: &[(String, i64)],
) -> Result<Result<Found, String>, Error> {
    let namespaces = match look.catalog.namespaces().await {
        Ok(namespaces) => namespaces,
        Err(error) => return Ok(Err(runtime::chain(&error))),
    };
    let mut named = Vec::new();
    for namespace in namespaces {
        match TableName::new(&namespace, "t") {
            Ok(table) => named.push((table.database(), namespace)),
            Err(error) => tracing::warn!(%error, "namespace left out"),
        }
    }
    let listed: HashSet<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
    let mut found = Found {
        before: count(before),
        ..Found::default()
    };
    for (database, _) in before {
        if !listed.contains(database.as_str()) {
            found.add(look.dropped(database).await?);
        }
    }
    let mut waiting = named.iter();
    let mut looking = FuturesUnordered::new();
    loop {
        let free = NAMESPACES_AT_ONCE - looking.len();
        for (database, namespace) in waiting.by_ref().take(free) {
            looking.push(look.namespace(database, namespace).boxed());
        }
        match looking.next().await {
            Some(one) => found.add(one?),
            None => break,
        }
    }
    let failed = &mut found.failed_namespaces;
    failed.sort_by(|one, other| one.namespace.cmp(&other.namespace));
    match failed.first() {
        Some(first) if failed.len() == named.len() => Ok(Err(format!(
            "no namespace could be listed; {}: {}",
            first.namespace, first.error
        ))),
        _ => Ok(Ok(found)),
    }
}

/// Swaps in what was found, or says why not.
async fn end(
    look: &Look<'_>,
    found: &Found,
    force: bool,
) -> Result<Result<Swap, (Outcome, String)>, Error> {
    // Entries a rule puts out now were not lost.
    let counted = found.before - found.gone.min(found.before) + found.lost;
    if found.lost * 2 > counted && !force {
        let why = format!(
            "{} of {counted} tables are gone from the catalog at once; the old set stands until              they are back or a refresh is forced",
            found.lost
        );
        return Ok(Err((Outcome::HeldBack, why)));
    }
    let next = Next {
        staged: found.staged,
        failed_namespaces: found.failed_namespaces.clone(),
        unreadable_count: found.unreadable,
    };
    let doing = |doing| move |source| Error::Database { doing, source };
    let mut client = look.pool.get().await?;
    let tx = client
        .transaction()
        .await
        .map_err(doing("begin the swap of the table cache"))?;
    let swapped = cache::swap(&tx, look.base, &next).await?;
    tx.commit()
        .await
        .map_err(doing("commit the swap of the table cache"))?;
    Ok(Ok(swapped))
}

fn told(found: Found) -> Synced {
    Synced {
        loaded: found.loaded,
        changed: found.changed,
        gone: found.gone,
        left_out: found.left_out,
        unreadable: found.unreadable,
        failed_namespaces: found.failed_namespaces,
        ..Synced::default()
    }
}

fn log(synced: &Synced) {
    for FailedNamespace {
        namespace, error, ..
    } in &synced.failed_namespaces
    {
        tracing::warn!(
            namespace,
            error,
            "namespace could not be listed; its old entries stay"
        );
    }
    if let (Some(outcome), Some(error)) = (synced.outcome, &synced.error) {
        let outcome = outcome.as_str();
        tracing::warn!(outcome, error, "table cache not replaced");
        return;
    }
    let outcome = synced.outcome.map_or("superseded", Outcome::as_str);
    tracing::info!(
        event = "table_cache_synced",
        outcome,
        tables = synced.tables,
        loaded = synced.loaded,
        changed = synced.changed,
        gone = synced.gone,
        left_out = synced.left_out,
        unreadable = synced.unreadable,
        failed_namespaces = synced.failed_namespaces.len(),
        "table cache synced"
    );
}
