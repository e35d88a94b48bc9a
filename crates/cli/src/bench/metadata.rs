//! `snowpack bench metadata`: how soon the metadata of a large table is read, a rewrite of it
//! planned, its manifests merged, its orphan files found, and a long history of snapshots expired,
//! each in a process of its own.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use catalog::{Catalog, Table};
use model::Action;
use pg::Pool;

use super::args::Metadata;
use super::ended::Spent;
use super::part::{self, Part, Took};
use super::peers::{self, ReadBy};
use super::report::{Figure, Report, Target, Unit};
use super::{Place, at_home, compact, maintained, manifests, warehouse_in};
use crate::demo::steps::Steps;
use crate::out::Out;
use crate::print;

const CONNECTIONS: usize = 2;
/// Of the large table's files and manifests one in so many is the small table's, and the peer's.
const ONE_IN: u32 = 10;

const NOTE: &str = "targets are for 1,000,000 files and 10,000 snapshots on 2 cores";
const MEGABYTES: f64 = 1e6;
const LARGE: [Target; 2] = [Target::Below(10.0), Target::Below(1_073.0 * MEGABYTES)];
const SMALL: [Target; 2] = [Target::Below(2.0), Target::Below(300.0 * MEGABYTES)];
const EXPIRY_SECONDS: Target = Target::Below(30.0);
const ORPHANS_BYTES: Target = Target::Below(536.0 * MEGABYTES);
const MERGED_PER_SECOND: Target = Target::AtLeast(200_000.0);

pub(super) async fn run(args: Metadata, out: &Out) -> Result<()> {
    let begun = Instant::now();
    let steps = Steps::new(out);
    let measured = at_home(&args.server, steps, async |url| {
        Box::pin(measure(&args, url, steps)).await
    })
    .await?;
    let absent = args.peers && measured.peer.is_none();
    let report = Report {
        of: vec![
            ("files", args.files),
            ("manifests", args.manifests),
            ("snapshots", args.snapshots),
        ],
        note: format!(
            "{NOTE}{}",
            if absent { "; not there: pyiceberg" } else { "" }
        ),
        figures: measured.figures(&args),
        took: begun.elapsed(),
    };
    let document = report.document();
    out.result(&document, || report.text())
}

/// All that was measured.
struct Measured {
    read: Took,
    peer: Option<ReadBy>,
    large: Took,
    small: Took,
    merge: Merge,
    orphans: Took,
    expiry: Spent,
    listed: u64,
}

/// A run of `rewrite_manifests`, planned and committed.
struct Merge {
    spent: Spent,
    entries: u64,
    did: String,
}

async fn measure(args: &Metadata, url: &str, steps: Steps<'_>) -> Result<Measured> {
    let folder = tempfile::Builder::new()
        .prefix("snowpack-bench-")
        .tempdir()?;
    let warehouse = warehouse_in(folder.path())?;
    let place = Place {
        database_url: url,
        warehouse: &warehouse,
    };
    let pool = Pool::connect(url, CONNECTIONS, "snowpack-bench").await?;
    maintenance::migrate(&pool).await?;
    let bench = Bench {
        catalog: &*compact::catalog(&pool, place).await?,
        place,
        folder: folder.path(),
        steps,
    };
    let (files, manifests) = (args.files, args.manifests);
    let large = bench.wide("large", (files, manifests)).await?;
    let read = bench.part(Part::ReadManifests, &large).await?;
    let said = format!("{files} entries");
    ensure!(read.did == said, "{} were read of {said}", read.did);
    let peer = if args.peers {
        let some = manifests / ONE_IN;
        bench.peer(&args.python.python, &large, some).await?
    } else {
        None
    };
    let plan = bench.part(Part::PlanRewrite, &large).await?;
    let merge = bench.merge(&large).await?;
    let orphans = bench.orphans(&large, files).await?;
    let small = bench.wide("small", (files / ONE_IN, (manifests / ONE_IN).max(1)));
    let small = bench.part(Part::PlanRewrite, &small.await?).await?;
    let (expiry, listed) = bench.expiry(args.snapshots).await?;
    Ok(Measured {
        read,
        peer,
        large: plan,
        small,
        merge,
        orphans,
        expiry,
        listed,
    })
}

struct Bench<'a> {
    catalog: &'a dyn Catalog,
    place: Place<'a>,
    folder: &'a Path,
    steps: Steps<'a>,
}

impl Bench<'_> {
    async fn wide(&self, name: &str, (files, manifests): (u32, u32)) -> Result<Table> {
        let doing = format!(
            "writing the metadata of {} files",
            print::count(files.into())
        );
        let step = self.steps.count(&doing, files.into());
        let table = manifests::wide(self.catalog, name, (files, manifests), &step).await?;
        step.done(&format!(
            "{} files in {manifests} manifests",
            print::count(files.into())
        ))?;
        Ok(table)
    }

    async fn part(&self, part: Part, table: &Table) -> Result<Took> {
        let what = match part {
            Part::PlanRewrite => "planning a rewrite",
            Part::PlanOrphans => "looking for orphan files",
            _ => "reading manifests",
        };
        let step = self.steps.begin(what);
        let took = part::measure(part, Some(&table.name), self.place, self.folder).await?;
        step.done(&format!("{what}: {} in {:.2} s", took.did, took.seconds))?;
        Ok(took)
    }

    async fn peer(&self, python: &Path, table: &Table, manifests: u32) -> Result<Option<ReadBy>> {
        let step = self.steps.begin("reading manifests with PyIceberg");
        let of = (table.metadata_location.as_str(), manifests.max(1));
        let read = peers::read_manifests(python, self.folder, of).await?;
        step.done(&match &read {
            None => "PyIceberg is not there".to_owned(),
            Some(read) => {
                let (entries, seconds) = (read.entries, read.seconds);
                format!("PyIceberg: {entries} entries in {seconds:.2} s")
            }
        })?;
        Ok(read)
    }

    async fn merge(&self, table: &Table) -> Result<Merge> {
        let step = self.steps.begin("merging manifests");
        let of = (&table.name, Action::RewriteManifests);
        let (spent, result) = maintained::measure(self.place, self.folder, of).await?;
        let count = |value: &serde_json::Value| value.as_u64().unwrap_or_default();
        let entries = count(&result["manifest_entries"]["moved"]);
        let (had, has) = (count(&result["files_in"]), count(&result["files_out"]));
        ensure!(has > 0, "no manifest was written: {result}");
        let did = format!("{} manifests -> {}", print::count(had), print::count(has));
        step.done(&format!("{did} in {:.2} s", spent.seconds))?;
        let merge = Merge {
            spent,
            entries,
            did,
        };
        Ok(merge)
    }

    /// Every file of the table is there to be listed, and some that nothing refers to.
    async fn orphans(&self, table: &Table, files: u32) -> Result<Took> {
        let step = self.steps.count("writing empty files", files.into());
        let orphans = manifests::litter(table, files, &step)?;
        step.done(&format!("{} orphan files", print::count(orphans)))?;
        let took = self.part(Part::PlanOrphans, table).await?;
        let said = format!("{orphans} orphans");
        ensure!(took.did == said, "{} were found of {said}", took.did);
        Ok(took)
    }

    async fn expiry(&self, snapshots: u32) -> Result<(Spent, u64)> {
        let step = self.steps.count("writing snapshots", snapshots.into());
        let table = manifests::long(self.catalog, "long", snapshots, &step).await?;
        step.done(&format!("{} snapshots", print::count(snapshots.into())))?;
        let step = self.steps.begin("expiring them");
        let of = (&table.name, Action::ExpireSnapshots);
        let (spent, result) = maintained::measure(self.place, self.folder, of).await?;
        let after = self.catalog.load(&table.name).await?;
        let left = after.metadata.snapshots().len();
        ensure!(left == 1, "{left} snapshots are left");
        let listed = result["expired"]["files"].as_u64().unwrap_or_default();
        step.done(&format!(
            "{snapshots} snapshots expired in {:.2} s",
            spent.seconds
        ))?;
        Ok((spent, listed))
    }
}

impl Measured {
    fn figures(&self, args: &Metadata) -> Vec<Figure> {
        let rate = f64::from(args.files) / self.read.seconds;
        let mut read = Figure::new("entries read a second", rate, Unit::PerSecond);
        let mut read_memory =
            Figure::new("reading, memory", self.read.peak_bytes as f64, Unit::Bytes);
        if let Some(peer) = &self.peer {
            read = read
                .peer("PyIceberg", peer.entries as f64 / peer.seconds)
                .did(format!(
                    "PyIceberg {}: {} entries in {:.2} s",
                    peer.version, peer.entries, peer.seconds
                ));
            read_memory = read_memory.peer("PyIceberg", peer.peak_bytes as f64);
        }
        let mut figures = vec![read, read_memory];
        for (files, took, [seconds, bytes]) in [
            (args.files, &self.large, LARGE),
            (args.files / ONE_IN, &self.small, SMALL),
        ] {
            let what = format!("plan of {} files", print::count(files.into()));
            let plan = Figure::new(format!("{what}, seconds"), took.seconds, Unit::Seconds);
            figures.push(plan.target(seconds).did(&took.did));
            let memory = Figure::new(
                format!("{what}, memory"),
                took.peak_bytes as f64,
                Unit::Bytes,
            );
            figures.push(memory.target(bytes));
        }
        let Merge {
            spent,
            entries,
            did,
        } = &self.merge;
        let rate = *entries as f64 / spent.seconds;
        let merged = Figure::new("entries merged a second", rate, Unit::PerSecond);
        figures.push(merged.target(MERGED_PER_SECOND).did(did));
        let memory = Figure::new("merge, memory", spent.peak_bytes as f64, Unit::Bytes);
        figures.push(memory);
        figures.extend(self.orphans(args.files));
        figures.extend(self.expiry(args.snapshots));
        figures
    }

    fn orphans(&self, files: u32) -> [Figure; 2] {
        let what = format!("orphans among {} files", print::count(files.into()));
        let took = &self.orphans;
        let seconds = Figure::new(format!("{what}, seconds"), took.seconds, Unit::Seconds);
        let memory = format!("{what}, memory");
        let memory = Figure::new(memory, took.peak_bytes as f64, Unit::Bytes);
        [seconds.did(&took.did), memory.target(ORPHANS_BYTES)]
    }

    fn expiry(&self, snapshots: u32) -> [Figure; 2] {
        let what = format!("expiry of {} snapshots", print::count(snapshots.into()));
        let spent = &self.expiry;
        let seconds = Figure::new(format!("{what}, seconds"), spent.seconds, Unit::Seconds);
        let listed = print::count(self.listed);
        let seconds = seconds.did(format!("{listed} files listed for deletion"));
        let memory = format!("{what}, memory");
        let memory = Figure::new(memory, spent.peak_bytes as f64, Unit::Bytes);
        [seconds.target(EXPIRY_SECONDS), memory]
    }
}
