//! `snowpack maintain` without a database: the catalog alone, and a [`journal`] for what Postgres
//! would record.
//!
//! Expiry deletes nothing: it notes what may go. [`delete_listed`] deletes that later, through the
//! engine's own purge.

mod book;
mod journal;
mod ledger;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use catalog::{Catalog, Table};
use jiff::Timestamp;
use model::Action;
use planner::{Attempt, Engine, EngineError, Progress, Records, Report, Signals, Task};
use runner::Config;
use runtime::Shutdown;
use serde_json::{Value, json};

use self::book::Book;
use self::journal::{Header, Journal};
use self::ledger::LocalLedger;
use crate::args::{Lakehouse, Maintain};
use crate::done::{self, Done};
use crate::out::Out;
use crate::progress::Bar;
use crate::records::{self, check_clock};
use crate::{dry_run, print, session};

/// Does the actions, noting everything in a new journal.
pub(crate) async fn run(args: &Maintain, tasks: &[Task], out: &Out) -> Result<()> {
    if tasks
        .iter()
        .any(|task| task.action() == Action::PurgePending)
    {
        let why = "purge_pending: without SNOWPACK_DATABASE_URL nothing is recorded to purge; \
                   `--delete-listed FILE` deletes what a journal lists";
        return Err(runtime::Error::Usage(why.to_owned()).into());
    }
    let orphans = |task: &Task| task.action() == Action::RemoveOrphanFiles;
    if tasks.iter().any(orphans) && !args.dry_run {
        let why = "remove_orphan_files: without SNOWPACK_DATABASE_URL nobody knows what running jobs \
                   have written, so orphans are only listed; give --dry-run, or the database";
        return Err(runtime::Error::Usage(why.to_owned()).into());
    }
    let catalog = session::catalog(&args.lakehouse, None).await?;
    let table = catalog.load(&args.table).await?;
    check_clock(&*catalog, &table, &args.actions).await?;
    if args.dry_run {
        return dry_run::alone(args, tasks, &*catalog, out).await;
    }
    let engine = session::engine(Arc::clone(&catalog));
    // Before anything is noted: whoever reads that may tell it to stop.
    let shutdown = Shutdown::on_signals(Duration::MAX)?;
    let header = header(&*catalog, args, &table);
    let path = args.journal.clone().unwrap_or_else(|| default_path(args));
    let journal = Journal::create(&path, &header)?;
    let ledger = LocalLedger::begin(journal, header, Book::default())?;
    let work = Work::begin(args, &*engine, (&ledger, shutdown));
    let (done, failure) = work.all(tasks).await;
    let book = ledger.book();
    let kept = args.journal.is_some() || !book.is_settled();
    if !kept {
        std::fs::remove_file(&path)
            .with_context(|| format!("remove the journal {}", path.display()))?;
    }
    let document = json!({
        "table": args.table.key(),
        "job_id": ledger.job,
        "journal": kept.then(|| path.display().to_string()),
        "success": failure.is_none(),
        "message": failure,
        "actions": done.iter().map(Done::document).collect::<Vec<Value>>(),
        "waiting": waiting(&book),
    });
    out.result(&document, || {
        done::grid(&done).render() + &advice(args, kept.then_some(&*path), &book)
    })?;
    failure.map_or(Ok(()), |why| Err(anyhow!(why)))
}

/// Deletes what a journal lists and is due, if by now still nothing refers to it.
pub(crate) async fn delete_listed(args: &Maintain, path: &Path, out: &Out) -> Result<()> {
    // The catalog is opened as one that lies elsewhere: no queue fences what is done here.
    let mut lakehouse: Lakehouse = args.lakehouse.clone();
    let uri = &mut lakehouse.catalog.catalog_uri;
    *uri = uri.take().filter(|uri| !uri.is_empty());
    *uri = uri.take().or_else(|| args.database.database_url.clone());
    let catalog = session::catalog(&lakehouse, None).await?;
    let (journal, found, book) = Journal::open(path)?;
    let table = catalog.load(&args.table).await?;
    same(path, &found, &header(&*catalog, args, &table))?;
    check_clock(&*catalog, &table, &[Action::PurgePending]).await?;
    if args.dry_run {
        return list(args, &book, out);
    }
    let shutdown = Shutdown::on_signals(Duration::MAX)?;
    let ledger = LocalLedger::begin(journal, found, book)?;
    let uuid = table.metadata.uuid();
    let idle =
        ledger.due(uuid, None, 1).await?.is_empty() && ledger.open_intents(uuid).await?.is_empty();
    if idle {
        return nothing_due(args, path, &ledger.book(), out);
    }
    let engine = session::engine(Arc::clone(&catalog));
    let task = Task::parse(Action::PurgePending, &std::collections::BTreeMap::new())?;
    let work = Work::begin(args, &*engine, (&ledger, shutdown));
    let (done, mut failure) = work.all(&[task]).await;
    let book = ledger.book();
    let purged = book.purged();
    if failure.is_none() && purged.failed > 0 {
        let files = print::counted(purged.failed, "file");
        failure = Some(format!("{files} could not be deleted; run it again"));
    }
    let document = json!({
        "table": args.table.key(),
        "journal": path.display().to_string(),
        "success": failure.is_none(),
        "message": failure,
        "actions": done.iter().map(Done::document).collect::<Vec<Value>>(),
        "waiting": waiting(&book),
    });
    out.result(&document, || {
        done::grid(&done).render() + &advice(args, Some(path), &book)
    })?;
    failure.map_or(Ok(()), |why| Err(anyhow!(why)))
}

fn header(catalog: &dyn Catalog, args: &Maintain, table: &Table) -> Header {
    Header::new(catalog.name(), &args.table.key(), table.metadata.uuid())
}

/// In the current folder, named after the table and the time.
fn default_path(args: &Maintain) -> PathBuf {
    let at = Timestamp::from_millisecond(records::now_ms()).unwrap_or_default();
    let plain = |c: char| {
        if c.is_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '_'
        }
    };
    let table: String = args.table.key().chars().map(plain).collect();
    PathBuf::from(format!(
        "snowpack-{table}-{}.jsonl",
        at.strftime("%Y%m%dT%H%M%S%3fZ")
    ))
}

/// A journal of another table must not decide about this one's files.
fn same(path: &Path, found: &Header, ours: &Header) -> Result<()> {
    let path = path.display();
    ensure!(
        found.catalog == ours.catalog && found.table == ours.table,
        "{path} is of table {} in catalog {}, not of {} in {}; nothing is deleted",
        found.table,
        found.catalog,
        ours.table,
        ours.catalog
    );
    ensure!(
        found.table_uuid == ours.table_uuid,
        "{path} is of a table {} that is gone: it had the uuid {}, the one there now has {}; nothing is deleted",
        ours.table,
        found.table_uuid,
        ours.table_uuid
    );
    Ok(())
}

fn nothing_due(args: &Maintain, path: &Path, book: &Book, out: &Out) -> Result<()> {
    let now_ms = records::now_ms();
    if let Some(due_ms) = book.next_due_ms(now_ms) {
        bail!(
            "{} listed in {}, none due yet: the first may be deleted from {}; nothing is deleted",
            print::counted(book.waiting().count() as u64, "file"),
            path.display(),
            moment(due_ms)
        );
    }
    let why = "nothing the journal lists is left to delete";
    let document = json!({
        "table": args.table.key(),
        "journal": path.display().to_string(),
        "success": true,
        "skipped": why,
        "waiting": waiting(book),
    });
    out.result(&document, || format!("nothing to do: {why}\n"))
}

/// What would be looked at, without looking at the table.
fn list(args: &Maintain, book: &Book, out: &Out) -> Result<()> {
    let now_ms = records::now_ms();
    let mut grid = print::Grid::new(&["PATH", ">SIZE", "REASON", "DUE"]);
    let mut files = Vec::new();
    for (path, file) in book.waiting() {
        let due = file.due_ms <= now_ms;
        grid.row([
            path.clone(),
            file.size_bytes.map_or_else(|| "-".to_owned(), print::bytes),
            file.reason.as_str().to_owned(),
            if due {
                "now".to_owned()
            } else {
                moment(file.due_ms)
            },
        ]);
        files.push(json!({
            "path": path,
            "size_bytes": file.size_bytes,
            "reason": file.reason,
            "due_at": moment(file.due_ms),
            "due": due,
        }));
    }
    let document = json!({
        "table": args.table.key(),
        "dry_run": true,
        "success": true,
        "files": files,
        "waiting": waiting(book),
    });
    out.result(&document, || grid.render())
}

/// What is left in a journal, for programs.
fn waiting(book: &Book) -> Value {
    let now_ms = records::now_ms();
    let bytes = book.waiting().filter_map(|(_, file)| file.size_bytes);
    let first = book.waiting().map(|(_, file)| file.due_ms).min();
    json!({
        "files": book.waiting().count(),
        "bytes": bytes.sum::<u64>(),
        "due_first_at": first.map(moment),
        "open_intents": book.open_intents(now_ms).len(),
    })
}

/// What is left in a journal, for people, and what to do about it.
fn advice(args: &Maintain, path: Option<&Path>, book: &Book) -> String {
    let Some(path) = path else {
        return String::new();
    };
    let path = path.display();
    let command = format!("snowpack maintain {} --delete-listed {path}", args.table);
    let first = book.waiting().map(|(_, file)| file.due_ms).min();
    match first {
        Some(due_ms) => format!(
            "\n{} listed in {path}; from {} on, this deletes what is due by then:\n  {command}\n",
            print::counted(book.waiting().count() as u64, "file"),
            moment(due_ms),
        ),
        None if book.is_settled() => format!("\nNothing listed in {path} is left to delete.\n"),
        None => format!(
            "\nWhat was written and not committed, or not settled yet, is noted in {path}; later, this clears it:\n  {command}\n"
        ),
    }
}

fn moment(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(
        |_| "a time too far away to name".to_owned(),
        |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

/// What actions are done with.
struct Work<'a> {
    args: &'a Maintain,
    engine: &'a dyn Engine,
    ledger: &'a LocalLedger,
    shutdown: Shutdown,
    signals: Signals,
    bar: Arc<Bar>,
}

impl<'a> Work<'a> {
    fn begin(
        args: &'a Maintain,
        engine: &'a dyn Engine,
        (ledger, shutdown): (&'a LocalLedger, Shutdown),
    ) -> Self {
        Self {
            args,
            engine,
            ledger,
            shutdown,
            signals: Signals::default(),
            bar: Arc::new(Bar::new(format!("maintaining {}", args.table))),
        }
    }

    /// Does one after the other, up to the first that fails; gives back why.
    async fn all(&self, tasks: &[Task]) -> (Vec<Done>, Option<String>) {
        let (mut done, mut failure) = (Vec::new(), None);
        for task in tasks {
            let action = task.action();
            if failure.is_some() {
                done.push(Done::not_run(action));
                continue;
            }
            let started = Instant::now();
            let outcome = self.interruptible(self.one(task)).await;
            let elapsed = started.elapsed();
            match outcome {
                Ok(report) => done.push(Done::reported(action, Ok(&report), elapsed)),
                Err(error) => {
                    let why = if self.shutdown.drain.is_cancelled() {
                        "cancelled".to_owned()
                    } else {
                        runtime::chain(&error)
                    };
                    done.push(Done::reported(action, Err(why.clone()), elapsed));
                    failure = Some(format!("{action}: {why}"));
                }
            }
        }
        self.bar.finish();
        (done, failure)
    }

    async fn one(&self, task: &Task) -> Result<Report, EngineError> {
        let plan = self
            .engine
            .plan(&self.args.table, task, self.ledger, &*self.bar)
            .await?;
        if let Some(why) = plan.nothing() {
            return Ok(Report::nothing(why));
        }
        let budget = self.args.memory_bytes.unwrap_or_else(runner::memory_bytes);
        let attempt = Attempt {
            job: &self.ledger.job,
            attempt: &self.ledger.attempt,
            ledger: self.ledger,
            progress: &*self.bar as &dyn Progress,
            signals: &self.signals,
            memory_bytes: plan.memory_bytes().min(budget),
        };
        self.engine.execute(&plan, &attempt).await
    }

    /// Ctrl-C asks for the next safe point; a second one, or the end of the runner's patience,
    /// does not wait for it.
    async fn interruptible(
        &self,
        work: impl Future<Output = Result<Report, EngineError>>,
    ) -> Result<Report, EngineError> {
        tokio::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = self.shutdown.drain.cancelled() => {
                self.bar.say("stopping at the next safe point");
                self.signals.cancel.cancel();
            }
        }
        tokio::select! {
            biased;
            done = work => done,
            () = self.shutdown.stop.cancelled() => Err(EngineError::Stopped),
            () = tokio::time::sleep(Config::STOPS_WITHIN_DEFAULT) => Err(EngineError::Stopped),
        }
    }
}
