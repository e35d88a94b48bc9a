//! What cron does to a lakehouse, in quick succession: a health sync, an orchestrator run, and
//! again, until a run finds nothing to do.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use maintenance::runs::{self, Decided, Filter, ReasonCount, Run};
use pg::Pool;

use super::standing::{self, Standings};
use super::tables::Made;
use crate::demo::WORKER;
use crate::demo::program::{Place, Program, Told};
use crate::demo::steps::{Step, Steps};
use crate::print;

pub(crate) const API: &str = "snowpack-api";
pub(crate) const HEALTH_SYNC: &str = "snowpack-health-sync";
pub(crate) const ORCHESTRATOR: &str = "snowpack-orchestrator";
/// All of them.
pub(crate) const PROGRAMS: [&str; 4] = [API, HEALTH_SYNC, ORCHESTRATOR, WORKER];

/// A lakehouse that needs more does not come to rest.
const ROUNDS_MAX: usize = 8;
/// Of one program, whatever the machine.
const ENDS_WITHIN: Duration = Duration::from_mins(30);
const WAIT_SECONDS: &str = "1500";
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Checkpoints of tables that are still written to, after the first round.
const GOES_ON: usize = 6;
const GOES_ON_FILES: usize = 4;
/// Exit codes of a health sync that looked at every table, or at all but some.
const LOOKED: [i32; 2] = [0, 1];

/// One run of the orchestrator after a health sync.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) health_sync_code: i32,
    pub(crate) run: Run,
    pub(crate) reasons: Vec<ReasonCount>,
    pub(crate) decisions: Vec<Decided>,
}

/// What became of the tables.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) before: Standings,
    pub(crate) after: Standings,
    pub(crate) rounds: Vec<Round>,
}

/// The programs that stay, and where those that come and go work.
#[derive(Debug)]
pub(crate) struct Lakehouse<'a> {
    pool: &'a Pool,
    place: Place<'a>,
    logs: &'a Path,
    api: Program,
    worker: Program,
    steps: Steps<'a>,
}

impl<'a> Lakehouse<'a> {
    pub(crate) fn start(
        pool: &'a Pool,
        place: Place<'a>,
        logs: &'a Path,
        steps: Steps<'a>,
    ) -> Result<Self> {
        let told = |settings: &'a [(&'a str, &'a str)], name: &str| Told {
            arguments: &[],
            settings,
            log: logs.join(format!("{name}.log")),
            output: None,
        };
        let api: &[(&str, &str)] = &[
            ("SNOWPACK_AUTH", "none"),
            // A free port of the loopback interface.
            ("SNOWPACK_API_ADDR", "127.0.0.1:0"),
            ("SNOWPACK_API_LINGER_SECONDS", "0"),
            ("SNOWPACK_CACHE_SYNC_SECONDS", "1"),
            ("SNOWPACK_LOG_FORMAT", "json"),
        ];
        let worker: &[(&str, &str)] = &[
            ("SNOWPACK_ADMIN_ADDR", "127.0.0.1:0"),
            ("SNOWPACK_LOG_FORMAT", "json"),
        ];
        let lakehouse = Self {
            pool,
            place,
            logs,
            api: Program::start(API, &place, told(api, API))?,
            worker: Program::start(WORKER, &place, told(worker, WORKER))?,
            steps,
        };
        steps
            .begin("starting")
            .done("snowpack-api keeps the table cache, snowpack-worker waits for jobs")?;
        Ok(lakehouse)
    }

    /// Goes round until a run finds nothing to do. Tables that stream are written to after the
    /// first round.
    pub(crate) async fn run(&mut self, tables: &mut [Made]) -> Result<Seen> {
        let mut rounds = Vec::new();
        let mut before = None;
        loop {
            let number = rounds.len() + 1;
            let health_sync_code = self.look(number).await?;
            if before.is_none() {
                before = Some(standing::all(self.pool).await?);
            }
            let round = self.decide(number, health_sync_code).await?;
            let idle = round.run.counts.jobs_submitted == 0;
            rounds.push(round);
            if idle || rounds.len() == ROUNDS_MAX {
                break;
            }
            if number == 1 {
                self.write_on(tables).await?;
            }
        }
        self.look(rounds.len() + 1).await?;
        let after = standing::all(self.pool).await?;
        Ok(Seen {
            before: before.unwrap_or_default(),
            after,
            rounds,
        })
    }

    /// Stops what stays, and gives back what all complained about.
    pub(crate) fn stop(self) -> Result<Vec<Complaint>> {
        self.worker.stop()?;
        self.api.stop()?;
        complaints(self.logs)
    }

    /// A health sync, by a table cache that knows what was committed until now.
    async fn look(&mut self, number: usize) -> Result<i32> {
        let step = self.steps.begin("the API reads the catalog");
        self.cached().await?;
        step.note("snowpack-health-sync looks at every table");
        let code = self.once(HEALTH_SYNC, &[], number).await?;
        let standings = standing::all(self.pool).await?;
        let healthy = standings
            .values()
            .filter(|standing| standing.healthy())
            .count();
        let failed = standings.values().filter(|one| one.error.is_some()).count();
        let failed = match failed {
            0 => String::new(),
            failed => format!(", {failed} could not be looked at"),
        };
        step.done(&format!(
            "snowpack-health-sync: {healthy} of {} are healthy{failed}",
            print::counted(standings.len() as u64, "table")
        ))?;
        if LOOKED.contains(&code) {
            Ok(code)
        } else {
            bail!("{HEALTH_SYNC} ended with code {code}")
        }
    }

    /// Waits for a cache that was read from the catalog after now.
    async fn cached(&mut self) -> Result<()> {
        let since = maintenance::health::now(&**self.pool.get().await?).await?;
        let begun = Instant::now();
        while begun.elapsed() < ENDS_WITHIN {
            self.check()?;
            let status = maintenance::inventory::status(&**self.pool.get().await?).await?;
            // Of a pass that began before, the end says nothing.
            let pass = status.last_synced_at.zip(status.elapsed);
            let from = pass.and_then(|(at, took)| at.checked_sub(took).ok());
            if from.is_some_and(|from| since < from) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("{API} has not synced its table cache")
    }

    /// An orchestrator's run, until its jobs have ended.
    async fn decide(&mut self, number: usize, health_sync_code: i32) -> Result<Round> {
        let step = self.steps.begin("snowpack-orchestrator decides");
        let code = self
            .once(
                ORCHESTRATOR,
                &["--wait", "--wait-seconds", WAIT_SECONDS],
                number,
            )
            .await?;
        if code != 0 {
            bail!("{ORCHESTRATOR} ended with code {code}");
        }
        let client = self.pool.get().await?;
        let run = runs::list(&**client, None, 1).await?;
        let run = run.into_iter().next().context("no run was recorded")?;
        let round = Round {
            health_sync_code,
            reasons: runs::reasons(&**client, run.id).await?,
            decisions: decisions(&client, &run).await?,
            run,
        };
        step.done(&told(&round))?;
        Ok(round)
    }

    async fn once(&mut self, name: &'static str, arguments: &[&str], number: usize) -> Result<i32> {
        let file = |ending: &str| self.logs.join(format!("{name}-{number}.{ending}"));
        let mut program = Program::start(
            name,
            &self.place,
            Told {
                arguments,
                settings: &[("SNOWPACK_LOG_FORMAT", "json")],
                log: file("log"),
                output: Some(file("out")),
            },
        )?;
        let status = program.ended(ENDS_WITHIN).await?;
        self.check()?;
        match status.code() {
            Some(2) | None => bail!(
                "{name} failed ({status}); its log ends\n{}",
                program.last_words()
            ),
            Some(code) => Ok(code),
        }
    }

    fn check(&mut self) -> Result<()> {
        self.api.check()?;
        self.worker.check()
    }

    /// The writers of tables that stream go on.
    async fn write_on(&self, tables: &mut [Made]) -> Result<()> {
        let step: Step<'_> = self.steps.begin("some writers go on");
        let mut wrote = 0;
        for made in tables.iter_mut().filter(|made| made.kind.streams()) {
            for _ in 0..GOES_ON {
                wrote += made.writer.checkpoint(GOES_ON_FILES).await?;
            }
        }
        step.done(&format!(
            "meanwhile streaming writers committed {} small files",
            print::count(wrote as u64)
        ))
    }
}

async fn decisions(client: &tokio_postgres::Client, run: &Run) -> Result<Vec<Decided>> {
    let filter = Filter {
        limit: runs::PAGE_MAX,
        ..Filter::default()
    };
    Ok(runs::decisions(client, run.id, &filter).await?)
}

/// A run in a line.
fn told(round: &Round) -> String {
    let counts = &round.run.counts;
    let left = counts.tables_assessed - counts.jobs_submitted;
    let jobs = match counts.jobs_submitted {
        0 => "nothing to do".to_owned(),
        jobs => {
            let failed = match counts.jobs_failed {
                0 => String::new(),
                failed => format!(", {failed} failed"),
            };
            let jobs = print::counted(u64::from(jobs), "job");
            format!("{jobs} ({} completed{failed})", counts.jobs_completed)
        }
    };
    format!(
        "snowpack-orchestrator: run {}: {jobs}, {left} left alone",
        round.run.id
    )
}

/// A line of a log above INFO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// The log's name without its ending.
    pub(crate) program: String,
    pub(crate) line: String,
}

fn complaints(logs: &Path) -> Result<Vec<Complaint>> {
    let reading = || format!("read the logs in {}", logs.display());
    let mut paths = std::fs::read_dir(logs)
        .with_context(reading)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<PathBuf>>>()
        .with_context(reading)?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "log"));
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let program = path.file_stem().unwrap_or_default().to_string_lossy();
        let text = std::fs::read_to_string(&path).with_context(reading)?;
        let lines = text.lines().filter(|line| complains(line));
        found.extend(lines.map(|line| Complaint {
            program: program.to_string(),
            line: line.to_owned(),
        }));
    }
    Ok(found)
}

/// What is no JSON is no log line: a panic, most likely.
fn complains(line: &str) -> bool {
    let entry: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let level = entry.as_ref().and_then(|entry| entry["level"].as_str());
    !line.trim().is_empty() && !matches!(level, Some("INFO" | "DEBUG" | "TRACE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_errors_and_panics_are_complaints() {
        assert!(!complains(r#"{"level":"INFO","message":"fine"}"#));
        assert!(!complains(""));
        assert!(complains(r#"{"level":"WARN","message":"hm"}"#));
        assert!(complains("thread 'main' panicked at src/main.rs:1"));
    }
}
