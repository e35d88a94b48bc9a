//! `snowpack bench compact`: a table of many small files, rewritten as `snowpack maintain` does it,
//! from the start of the process to its end, beside other programs that rewrite the same files.
//!
//! Every round has a new table of the same files, and afterwards the table is read: as many rows,
//! and in each column the same values in the same rows.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use catalog::Catalog;
use model::{Action, TableName};
use pg::Pool;
use serde_json::{Map, Value, json};
use storage::Storage;

use super::args::{Compact, Variants};
use super::ended::Spent;
use super::maintained;
use super::peers::{self, Peer};
use super::report::{Figure, Report, Target, Unit};
use super::small_files::{self, Files, Size, Variant};
use super::{Place, at_home, fleet, warehouse_in};
use crate::demo::steps::Steps;
use crate::out::Out;

const CONNECTIONS: usize = 2;
const REWRITE: Action = Action::RewriteDataFiles;
/// The smallest table that is rewritten unasked.
const FEW_FILES: u32 = 5;

const MEGABYTES: f64 = 1e6;
const MEMORY: Target = Target::Below(350.0 * MEGABYTES);
const Z_SECONDS: Target = Target::Below(10.0);
const N_SECONDS: Target = Target::Below(3.3);

pub(super) async fn run(args: Compact, out: &Out) -> Result<()> {
    let begun = Instant::now();
    let steps = Steps::new(out);
    let size = Size {
        seed: args.seed,
        files: args.files,
        rows_per_file: args.rows,
        position_percent: args.position_deletes,
        equality: args.equality_deletes,
    };
    let compacted = at_home(&args.server, steps, async |url| {
        Box::pin(measure(&args, size, url, steps)).await
    })
    .await?;
    let mut note = "targets are for 1,000 files without deletes on 2 cores".to_owned();
    if !compacted.absent.is_empty() {
        note = format!("{note}; not there: {}", compacted.absent.join(", "));
    }
    if args.peers && size.deletes() {
        note.push_str("; peers apply no deletes and were not asked");
    }
    let report = Report {
        of: vec![
            ("files", args.files),
            ("rows of each", args.rows),
            ("rounds", args.rounds),
        ],
        note,
        figures: compacted.figures(),
        took: begun.elapsed(),
    };
    let mut document = report.document();
    document["variants"] = compacted.variants().into();
    document["five_small_files"] = numbers(&Spent::median(&compacted.few.rounds));
    document["peers_absent"] = compacted.absent.clone().into();
    out.result(&document, || report.text())
}

async fn measure(args: &Compact, size: Size, url: &str, steps: Steps<'_>) -> Result<Compacted> {
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
    let (peers, absent) = if args.peers && !size.deletes() {
        peers::find(
            &args.python.python,
            args.spark_jar.as_deref(),
            folder.path(),
        )
        .await?
    } else {
        (Vec::new(), Vec::new())
    };
    let bench = Bench {
        catalog: catalog(&pool, place).await?,
        place,
        folder: folder.path(),
        rounds: args.rounds,
        steps,
    };
    let few = size.plain(FEW_FILES);
    let few = bench.rewrites("few", (Variant::Z, few), &[]).await?;
    let mut variants = Vec::new();
    for variant in [Variant::Z, Variant::N] {
        let asked = match args.variant {
            Variants::Z => variant == Variant::Z,
            Variants::N => variant == Variant::N,
            Variants::Both => true,
        };
        if asked {
            let of = (variant, size);
            let rewrites = bench.rewrites(variant.as_str(), of, &peers).await?;
            variants.push((variant, rewrites));
        }
    }
    Ok(Compacted {
        few,
        variants,
        absent,
    })
}

pub(super) async fn catalog(pool: &Pool, place: Place<'_>) -> Result<Arc<dyn Catalog>> {
    let (args, memory_bytes) = (catalog::Args::sql(fleet::CATALOG), runner::memory_bytes());
    let access = storage::Args::at(place.warehouse);
    let lake = (&Storage::local(), &access);
    Ok(catalog::open(&args, Some(pool), lake, memory_bytes).await?)
}

struct Bench<'a> {
    catalog: Arc<dyn Catalog>,
    place: Place<'a>,
    folder: &'a Path,
    rounds: u32,
    steps: Steps<'a>,
}

/// What the rewrites of one table took, round by round.
#[derive(Debug)]
struct Rewrites {
    rounds: Vec<Spent>,
    peers: Vec<Beside>,
    rows_in: u64,
    bytes_in: u64,
    /// What `maintain` said of the last round.
    result: Value,
}

/// What a peer took.
#[derive(Debug)]
struct Beside {
    peer: Peer,
    rounds: Vec<Spent>,
    bytes_out: u64,
}

impl Bench<'_> {
    /// Ours and the peers' in turn.
    async fn rewrites(
        &self,
        name: &'static str,
        (variant, size): (Variant, Size),
        peers: &[Peer],
    ) -> Result<Rewrites> {
        let making = format!("writing {} files, variant {}", size.files, variant.as_str());
        let step = self.steps.count(&making, size.files.into());
        let files = Files::write(&*self.catalog, name, (variant, size), &step).await?;
        step.done(&format!("{} files written, variant {name}", size.files))?;
        let list = self.folder.join(format!("{name}.list"));
        std::fs::write(&list, files.list()?)?;
        let beside = |peer: &Peer| Beside {
            peer: peer.clone(),
            rounds: Vec::new(),
            bytes_out: 0,
        };
        let mut rewrites = Rewrites {
            rounds: Vec::new(),
            peers: peers.iter().map(beside).collect(),
            rows_in: files.rows,
            bytes_in: files.bytes,
            result: Value::Null,
        };
        for round in 1..=self.rounds {
            let step = self.steps.begin(format!("rewriting {name}, round {round}"));
            let table = files.table(&*self.catalog, round).await?;
            let measured = maintained::measure(self.place, self.folder, (&table, REWRITE)).await;
            let (spent, result) = measured?;
            rewrites.rounds.push(spent);
            rewrites.result = result;
            step.note(format!("reading {name}, round {round}"));
            self.check(&table, &files).await?;
            let mut said = format!("{name} rewritten in {:.2} s", spent.seconds);
            for beside in &mut rewrites.peers {
                let name = beside.peer.name;
                step.note(format!("rewriting with {name}, round {round}"));
                let spent = self.theirs(beside, &list, &files).await?;
                said = format!("{said}, by {name} in {:.2} s", spent.seconds);
            }
            step.done(&said)?;
        }
        Ok(rewrites)
    }

    /// Fails unless the table holds the rows it was made with, and no others; then it is removed.
    async fn check(&self, table: &TableName, files: &Files) -> Result<()> {
        let table = self.catalog.load(table).await?;
        let read = small_files::read(&table).await?;
        ensure!(
            read == files.sums,
            "{} rows were to be kept and {} are there; these columns differ: {:?}",
            files.sums.rows,
            read.rows,
            files.sums.differing(&read)
        );
        small_files::remove(&table)
    }

    async fn theirs(&self, beside: &mut Beside, list: &Path, files: &Files) -> Result<Spent> {
        let name = beside.peer.name;
        let output = self.folder.join(format!("{name}.parquet"));
        let spent = beside.peer.rewrite(list, &output, self.folder).await?;
        let rows = small_files::rows_in(&output)?;
        ensure!(
            rows == files.rows,
            "{name} wrote {rows} of {} rows",
            files.rows
        );
        beside.bytes_out = std::fs::metadata(&output)?.len();
        beside.rounds.push(spent);
        std::fs::remove_file(&output)?;
        Ok(spent)
    }
}

/// All that was measured.
struct Compacted {
    few: Rewrites,
    variants: Vec<(Variant, Rewrites)>,
    /// Peers that are not there.
    absent: Vec<&'static str>,
}

impl Compacted {
    fn variants(&self) -> Map<String, Value> {
        let variants = self.variants.iter();
        let variants =
            variants.map(|(variant, rewrites)| (variant.as_str().to_owned(), rewrites.document()));
        variants.collect()
    }

    fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        for (variant, rewrites) in &self.variants {
            figures.extend(rewrites.figures(*variant));
        }
        let few = Spent::median(&self.few.rounds);
        let did = format!("{FEW_FILES} files, from the start of the process to its end");
        let new = |what, value, unit| Figure::new(format!("small table, {what}"), value, unit);
        figures.push(new("seconds", few.seconds, Unit::Seconds).did(did));
        figures.push(new("memory", few.peak_bytes as f64, Unit::Bytes));
        figures
    }
}

impl Rewrites {
    fn document(&self) -> Value {
        let ours = Spent::median(&self.rounds);
        let mut document = numbers(&ours);
        let rounds: Vec<Value> = self.rounds.iter().map(numbers).collect();
        let peers = self.peers.iter().map(|beside| {
            let theirs = Spent::median(&beside.rounds);
            let mut document = numbers(&theirs);
            document["name"] = beside.peer.name.into();
            document["version"] = beside.peer.version.clone().into();
            document["bytes_out"] = beside.bytes_out.into();
            document["ratio"] = (ours.seconds / theirs.seconds).into();
            document
        });
        let peers: Vec<Value> = peers.collect();
        document["rows_in"] = self.rows_in.into();
        document["bytes_in"] = self.bytes_in.into();
        for told in ["rows_out", "bytes_out", "files_out", "deletes_applied"] {
            document[told] = self.result[told].clone();
        }
        document["rounds"] = rounds.into();
        document["peers"] = peers.into();
        document
    }

    fn figures(&self, variant: Variant) -> Vec<Figure> {
        let ours = Spent::median(&self.rounds);
        let (name, seconds) = match variant {
            Variant::Z => ("Z", Z_SECONDS),
            Variant::N => ("N", N_SECONDS),
        };
        let megabytes = |bytes: u64| format!("{:.0} MB", bytes as f64 / MEGABYTES);
        let did = |spent: &Spent, out: u64| {
            let (cpu, out) = (spent.cpu_seconds, megabytes(out));
            format!(
                "{cpu:.1} s on the CPU, {} -> {out}",
                megabytes(self.bytes_in)
            )
        };
        let new = |what: &str, value, unit| Figure::new(format!("{name}, {what}"), value, unit);
        let out = self.result["bytes_out"].as_u64().unwrap_or_default();
        let mut figures = vec![
            new("seconds", ours.seconds, Unit::Seconds)
                .target(seconds)
                .did(did(&ours, out)),
            new("memory", ours.peak_bytes as f64, Unit::Bytes).target(MEMORY),
        ];
        for Beside {
            peer,
            rounds,
            bytes_out,
        } in &self.peers
        {
            let theirs = Spent::median(rounds);
            let did = did(&theirs, *bytes_out);
            let beside = |what: &str| format!("{what} beside {} {}", peer.name, peer.version);
            figures.push(
                new(&beside("seconds"), ours.seconds, Unit::Seconds)
                    .peer(peer.name, theirs.seconds)
                    .did(format!("it: {did}")),
            );
            figures.push(
                new(&beside("memory"), ours.peak_bytes as f64, Unit::Bytes)
                    .peer(peer.name, theirs.peak_bytes as f64),
            );
        }
        figures
    }
}

fn numbers(spent: &Spent) -> Value {
    json!({
        "seconds": spent.seconds,
        "cpu_seconds": spent.cpu_seconds,
        "peak_bytes": spent.peak_bytes,
    })
}
