//! `snowpack tables`: what the catalog holds, each table with its facts.

use anyhow::Result;
use catalog::{Catalog, Listed};
use futures::{StreamExt, TryStreamExt, stream};
use model::TableName;
use serde_json::{Value, json};

use crate::args::Tables;
use crate::facts::Facts;
use crate::out::Out;
use crate::print::{self, Grid};
use crate::session;

/// Tables read at once.
const CONCURRENT_MAX: usize = 4;

pub(crate) async fn run(args: Tables, out: &Out) -> Result<()> {
    let pool = session::maybe_database(&args.database).await?;
    let catalog = session::catalog(&args.lakehouse, pool.as_ref()).await?;
    let names = names(catalog.as_ref(), args.namespace.as_deref()).await?;
    // One table whose files are gone must not hide the others.
    let found: Vec<(TableName, Result<Facts>)> = stream::iter(names)
        .map(|name| async {
            let facts = facts(catalog.as_ref(), &name).await;
            (name, facts)
        })
        .buffered(CONCURRENT_MAX)
        .collect()
        .await;
    let document = json!({
        "catalog": catalog.name(),
        "tables": found.iter().map(|(name, facts)| row(name, facts)).collect::<Vec<Value>>(),
    });
    out.result(&document, || grid(&found))
}

async fn names(catalog: &dyn Catalog, only: Option<&str>) -> Result<Vec<TableName>> {
    let mut namespaces = catalog.namespaces().await?;
    if let Some(only) = only {
        // Read the way a table's name is, so that quoted levels mean the same.
        let wanted: TableName =
            format!("{only}.t")
                .parse()
                .map_err(|error: model::BadTableName| {
                    runtime::Error::Usage(format!("--namespace = `{only}`: {}", error.why))
                })?;
        namespaces.retain(|namespace| namespace == wanted.namespace());
        if namespaces.is_empty() {
            anyhow::bail!("catalog {} has no namespace {only}", catalog.name());
        }
    }
    let each: Vec<Vec<Listed>> = stream::iter(&namespaces)
        .map(|namespace| catalog.tables(namespace))
        .buffered(CONCURRENT_MAX)
        .try_collect()
        .await?;
    let mut names: Vec<TableName> = each.into_iter().flatten().map(|one| one.name).collect();
    names.sort();
    Ok(names)
}

async fn facts(catalog: &dyn Catalog, name: &TableName) -> Result<Facts> {
    Facts::of(&catalog.load(name).await?).await
}

fn row(name: &TableName, facts: &Result<Facts>) -> Value {
    match facts {
        Ok(Facts { files, snapshots }) => json!({
            "table": name.key(),
            "data_files": files.data_files,
            "data_bytes": files.bytes,
            "records": files.records,
            "small_files": files.small_files,
            "small_file_share": files.small_file_share(),
            "delete_files": files.delete_files,
            "snapshots": snapshots,
        }),
        Err(error) => json!({ "table": name.key(), "error": runtime::chain(error.as_ref()) }),
    }
}

fn grid(found: &[(TableName, Result<Facts>)]) -> String {
    if found.is_empty() {
        return "no tables\n".to_owned();
    }
    let mut grid = Grid::new(&[
        "TABLE",
        ">FILES",
        ">BYTES",
        ">SMALL",
        ">DELETE FILES",
        ">RECORDS",
        ">SNAPSHOTS",
    ]);
    let mut unreadable = String::new();
    for (name, facts) in found {
        match facts {
            Ok(Facts { files, snapshots }) => grid.row([
                name.key(),
                print::count(files.data_files),
                print::bytes(files.bytes),
                print::share(files.small_files, files.data_files),
                print::count(files.delete_files),
                print::count(files.records),
                print::count(*snapshots),
            ]),
            Err(error) => {
                grid.row([name.key(), "-".to_owned()]);
                let why = runtime::chain(error.as_ref());
                unreadable.extend(["\n", &name.key(), ": ", &why, "\n"]);
            }
        }
    }
    grid.render() + &unreadable
}
