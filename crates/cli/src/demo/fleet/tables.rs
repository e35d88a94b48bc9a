//! Makes the lakehouse's tables, each by a writer of its own, and breaks those that are to be.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use catalog::Catalog;
use futures::{StreamExt, TryStreamExt, stream};
use model::TableName;
use pg::Pool;
use policy::Defaults;

use super::kind::{DATABASE_PROPERTIES, ENROLLED, Kind, UNENROLLED};
use crate::demo::event::Fingerprint;
use crate::demo::read_back;
use crate::demo::steps::Steps;
use crate::demo::writer::Writer;
use crate::print;

/// Tables made or read side by side.
const AT_ONCE: usize = 4;
/// Every row counts as there before: nothing is told apart by its id.
const NO_BOUNDARY: i64 = i64::MAX;
const CACHE_AGE_MAX: Duration = Duration::from_hours(1);

/// A table with its writer.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) kind: Kind,
    pub(crate) writer: Writer,
    /// Its metadata file when it was made.
    pub(crate) metadata_location: String,
    /// The file that was broken, and what was in it.
    broken: Option<(PathBuf, Vec<u8>)>,
}

impl Made {
    pub(crate) fn name(&self) -> &TableName {
        self.writer.table()
    }
}

/// Makes a table of each of these kinds.
pub(crate) async fn make(
    catalog: &Arc<dyn Catalog>,
    kinds: &[Kind],
    seed: u64,
    steps: Steps<'_>,
) -> Result<Vec<Made>> {
    let properties = DATABASE_PROPERTIES.map(|(name, value)| (name.to_owned(), value.to_owned()));
    catalog
        .create_namespace(&[ENROLLED.to_owned()], &properties.into())
        .await?;
    catalog
        .create_namespace(&[UNENROLLED.to_owned()], &[].into())
        .await?;
    let step = steps.count("writers make the tables", kinds.len() as u64);
    let numbered = kinds.iter().enumerate().map(|(index, kind)| {
        let of_kind = kinds[..index].iter().filter(|other| *other == kind).count();
        (*kind, of_kind + 1, seed.wrapping_add(index as u64))
    });
    let bar = &step;
    let tables: Vec<Made> = stream::iter(numbered)
        .map(|(kind, number, seed)| async move {
            let made = one(Arc::clone(catalog), kind, number, seed).await;
            bar.advance(1);
            made
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let files: usize = tables.iter().map(|made| made.writer.files().len()).sum();
    step.done(&format!(
        "writers made {} of {} small files, and some were broken",
        print::counted(tables.len() as u64, "table"),
        print::count(files as u64)
    ))?;
    Ok(tables)
}

async fn one(catalog: Arc<dyn Catalog>, kind: Kind, number: usize, seed: u64) -> Result<Made> {
    let name = kind.table(number)?;
    let mut writer = Writer::create(Arc::clone(&catalog), name.clone(), kind.habit(seed)).await?;
    let written = kind.written();
    for _ in 0..written.checkpoints {
        writer.checkpoint(written.files).await?;
    }
    let table = catalog.load(&name).await?;
    if read_back::read(&table, NO_BOUNDARY).await?.before != writer.account() {
        bail!("{name} does not hold what its writer wrote; the demo stops before maintaining it");
    }
    let metadata_location = table.metadata_location;
    let broken = match kind {
        Kind::CorruptMetadata => Some(overwrite(&metadata_location)?),
        Kind::BrokenFile => {
            let file = writer.files().first();
            Some(overwrite(file.context("its writer made no file")?)?)
        }
        _ => None,
    };
    Ok(Made {
        kind,
        writer,
        metadata_location,
        broken,
    })
}

/// Leaves what a disk that went bad leaves of a file; gives back what was in it.
fn overwrite(location: &str) -> Result<(PathBuf, Vec<u8>)> {
    let path = PathBuf::from(location.strip_prefix("file://").unwrap_or(location));
    let broken = || format!("break {}", path.display());
    let held = std::fs::read(&path).with_context(broken)?;
    std::fs::write(&path, b"{\"this is neither metadata nor Parquet").with_context(broken)?;
    Ok((path, held))
}

/// Mends the broken files, where they are still there, and reads the rows of each table, in order.
pub(crate) async fn read(catalog: &dyn Catalog, tables: &[Made]) -> Result<Vec<Fingerprint>> {
    for (path, held) in tables.iter().filter_map(|made| made.broken.as_ref()) {
        let mend = || format!("mend {}", path.display());
        anyhow::ensure!(path.is_file(), "{} is gone", path.display());
        std::fs::write(path, held).with_context(mend)?;
    }
    stream::iter(tables)
        .map(|made| async move {
            let table = catalog.load(made.name()).await?;
            let contents = read_back::read(&table, NO_BOUNDARY).await;
            let contents = contents.with_context(|| format!("read {} back", made.name()))?;
            Ok(contents.before)
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// Where each table's metadata file is now, whether it can be read or not.
pub(crate) async fn locations(catalog: &dyn Catalog) -> Result<BTreeMap<TableName, String>> {
    let mut locations = BTreeMap::new();
    for database in [ENROLLED, UNENROLLED] {
        for listed in catalog.tables(&[database.to_owned()]).await? {
            let location = listed.metadata_location.unwrap_or_default();
            locations.insert(listed.name, location);
        }
    }
    Ok(locations)
}

/// What `snowpack explain` complains about in the properties of tables where something is
/// unreadable, in order.
pub(crate) async fn unread(pool: &Pool, tables: &[Made]) -> Result<Vec<Option<String>>> {
    let mut found = Vec::new();
    for made in tables {
        if made.kind != Kind::Unreadable {
            found.push(None);
            continue;
        }
        let told =
            steward::explain::explain(pool, &Defaults::default(), CACHE_AGE_MAX, made.name())
                .await?;
        let complaint = told
            .policy
            .and_then(|policy| policy.unreadable.into_iter().next());
        found.push(complaint.map(|one| {
            format!(
                "{}=`{}` cannot be read (allowed: {})",
                one.property, one.value, one.allowed
            )
        }));
    }
    Ok(found)
}
