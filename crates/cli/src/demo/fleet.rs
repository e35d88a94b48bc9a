//! `snowpack demo --fleet N`: a lakehouse that runs by itself.
//!
//! Tables of every kind ([`kind`]), most of them neglected and some hostile, are made by writers
//! ([`tables`]); then the real programs run as a cluster would run them, with nobody's help
//! ([`rounds`]). [`promises`] says what must have become of each table, [`report`] shows it.

mod kind;
mod promises;
mod report;
mod rounds;
mod standing;
mod tables;

use std::time::Instant;

use anyhow::{Result, bail};

use self::kind::Kind;
use self::promises::Looked;
use self::report::Report;
use self::rounds::{Lakehouse, PROGRAMS};
use super::program::{self, Place};
use super::steps::Steps;
use super::{CATALOG_NAME, Warehouse, at_home, migrated, open_catalog};
use crate::args::Demo;
use crate::out::Out;
use crate::print;

pub(crate) async fn run(args: &Demo, tables: u16, out: &Out) -> Result<()> {
    let begun = Instant::now();
    let steps = Steps::new(out);
    out.text(&format!(
        "\nSnowpack runs a lakehouse by itself: {tables} tables, most of them neglected, some \
         broken. Watch:\n\n"
    ))?;
    // Nobody should wait for tables that cannot be maintained.
    for name in PROGRAMS {
        program::find(name)?;
    }
    let kinds = Kind::of_fleet(usize::from(tables));
    let mut report = at_home(args, steps, async |url| {
        story(args, &kinds, url, steps).await
    })
    .await?;
    report.took = begun.elapsed();
    out.result(&report.document(), || report.text())?;
    match report.fault() {
        Some(fault) => bail!("{fault}"),
        None => Ok(()),
    }
}

/// From an empty database to the report.
async fn story(
    args: &Demo,
    kinds: &[Kind],
    database_url: &str,
    steps: Steps<'_>,
) -> Result<Report> {
    let pool = migrated(database_url, steps).await?;
    let warehouse = Warehouse::make(args.keep.as_deref())?;
    let catalog = open_catalog(&pool, &warehouse).await?;
    let mut made = tables::make(&catalog, kinds, args.seed, steps).await?;
    let place = Place {
        database_url,
        catalog_name: CATALOG_NAME,
        warehouse: warehouse.text()?,
    };
    let logs = warehouse.log("logs");
    std::fs::create_dir(&logs)?;
    let mut lakehouse = Lakehouse::start(&pool, place, &logs, steps)?;
    let seen = lakehouse.run(&mut made).await?;
    let complaints = lakehouse.stop()?;
    // The broken files are mended first: what they hold must still be part of their tables.
    let step = steps.begin("reading every row back");
    let rows = tables::read(&*catalog, &made).await?;
    let counted: u64 = rows.iter().map(|rows| rows.rows).sum();
    step.done(&format!("read {} rows back", print::count(counted)))?;
    let locations = tables::locations(&*catalog).await?;
    let unread = tables::unread(&pool, &made).await?;
    let looked = made.into_iter().zip(rows).zip(unread);
    let looked = looked.map(|((made, rows), unread)| {
        let untouched = locations.get(made.name()) == Some(&made.metadata_location);
        Looked::new(&made, (rows, untouched, unread), &seen)
    });
    Ok(Report::new(
        looked.collect(),
        seen,
        complaints,
        warehouse.kept(),
    ))
}
