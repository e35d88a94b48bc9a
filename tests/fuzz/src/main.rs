//! Feeds broken bytes to whatever reads a table's files: `snowpack-fuzz --target footer --seconds 600`.
//!
//! Every input is made from a seed file, by the seed of the run and its own number, so that
//! `--seed S --from N --inputs 1` makes it again. Whatever it is fed, a reader must not panic, must
//! not take memory without a bound (run it under `ulimit -v`: an input that ends the process lies in
//! the folder given by `--found` as `current`), and must name the file in its error. A panic inside
//! the Parquet library that was turned into such an error is counted and is no finding.

mod avro;
mod json;
mod parquet;
mod raw;
mod target;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use target::{End, Feeder, Seed, Target};

/// Keeps the random numbers of neighbouring inputs apart.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// Findings after which a run ends.
const FINDINGS_MAX: usize = 20;

/// Feeds broken files to what reads them.
#[derive(Debug, Parser)]
struct Args {
    /// What is fed
    #[arg(long)]
    target: Target,
    /// Ends after so long; without it and --inputs, when something is found often enough
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Ends after so many inputs
    #[arg(long, value_name = "COUNT")]
    inputs: Option<u64>,
    /// Number of the first input
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    from: u64,
    /// What every input is made from, with its number
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// Folders with the files to begin with
    #[arg(long, required = true, value_name = "FOLDER")]
    corpus: Vec<PathBuf>,
    /// Where inputs with a finding are put
    #[arg(long, value_name = "FOLDER")]
    found: PathBuf,
    /// Feeds the files of the corpus as they are, and nothing else
    #[arg(long)]
    replay: bool,
}

/// Panics since they were last asked for: where, and what was said.
type Panics = Arc<Mutex<Vec<(String, String)>>>;

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let panics = Panics::default();
    let seen = Arc::clone(&panics);
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map_or(String::new(), ToString::to_string);
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push((place, panic.to_string()));
    }));
    let mut run = Run::new(&args, panics)?;
    let end = if args.replay {
        run.replay()
    } else {
        run.fuzz()
    };
    println!("{}", run.told());
    end?;
    Ok(if run.findings == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct Run<'a> {
    args: &'a Args,
    seeds: Vec<Seed>,
    feeder: Feeder,
    panics: Panics,
    fed: u64,
    read: u64,
    findings: usize,
    /// Panics of the library that became errors, by place.
    caught: BTreeMap<String, u64>,
    slowest: (Duration, u64),
}

impl<'a> Run<'a> {
    fn new(args: &'a Args, panics: Panics) -> Result<Self> {
        std::fs::create_dir_all(&args.found).context("make the folder of findings")?;
        let place = args.found.canonicalize()?.join("current");
        let seeds = args.target.seeds(&args.corpus)?;
        if seeds.is_empty() {
            bail!("no file of the corpus is one of {:?}", args.target);
        }
        let feeder = Feeder::new(args.target, &args.corpus, place)?;
        // Those of making ready: a file of the corpus may be one that once led to a finding.
        panics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        Ok(Self {
            args,
            seeds,
            feeder,
            panics,
            fed: 0,
            read: 0,
            findings: 0,
            caught: BTreeMap::new(),
            slowest: (Duration::ZERO, 0),
        })
    }

    fn replay(&mut self) -> Result<()> {
        for at in 0..self.seeds.len() {
            let input = self.seeds[at].bytes.clone();
            self.feed(at, at as u64, &input)?;
        }
        Ok(())
    }

    fn fuzz(&mut self) -> Result<()> {
        let until = self
            .args
            .seconds
            .map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let last = self
            .args
            .inputs
            .map_or(u64::MAX, |count| self.args.from.saturating_add(count));
        for number in self.args.from..last {
            if until.is_some_and(|until| Instant::now() > until) {
                break;
            }
            let seed = self.args.seed.wrapping_add(number.wrapping_mul(STEP));
            let mut rng = StdRng::seed_from_u64(seed);
            let at = rng.random_range(0..self.seeds.len());
            let other = rng.random_range(0..self.seeds.len());
            let mut input = self.seeds[at].bytes.clone();
            let target = self.args.target;
            target.damage(&mut rng, &mut input, &self.seeds[other].bytes);
            self.feed(at, number, &input)?;
            if self.findings >= FINDINGS_MAX {
                break;
            }
        }
        Ok(())
    }

    fn feed(&mut self, at: usize, number: u64, input: &[u8]) -> Result<()> {
        let started = Instant::now();
        let feeder = &self.feeder;
        let (seed, fed) = (&self.seeds[at], input.to_vec());
        let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| feeder.feed(seed, fed)));
        self.fed += 1;
        self.slowest = self.slowest.max((started.elapsed(), number));
        let panics =
            std::mem::take(&mut *self.panics.lock().unwrap_or_else(PoisonError::into_inner));
        let why = match end {
            Err(_) => Some(said(&panics)),
            Ok(end) => match end? {
                End::Read if panics.is_empty() => {
                    self.read += 1;
                    None
                }
                End::Refused(words) if !words.contains(&feeder.name()) => {
                    Some(format!("an error that does not name the file: {words}"))
                }
                End::Refused(_)
                    if panics.is_empty()
                        || (self.args.target.of_parquet() && all_of_libraries(&panics)) =>
                {
                    for (place, _) in panics {
                        *self.caught.entry(place).or_default() += 1;
                    }
                    None
                }
                End::Read | End::Refused(_) => Some(said(&panics)),
            },
        };
        if let Some(why) = why {
            self.find(number, input, &why)?;
        }
        Ok(())
    }

    fn find(&mut self, number: u64, input: &[u8], why: &str) -> Result<()> {
        self.findings += 1;
        let (target, seed) = (self.args.target, self.args.seed);
        let file = self.args.found.join(format!("{target:?}-{seed}-{number}"));
        std::fs::write(&file, input).context("keep the input of a finding")?;
        println!("FOUND {}: {why}", file.display());
        Ok(())
    }

    fn told(&self) -> String {
        let Self {
            args,
            fed,
            read,
            findings,
            caught,
            slowest,
            ..
        } = self;
        let caught: u64 = caught.values().sum();
        let mut told = format!(
            "{:?}: {fed} inputs from {} files with seed {}: {read} read, {} refused, {findings} findings, {caught} panics of libraries caught; the slowest took {} ms ({})",
            args.target,
            self.seeds.len(),
            args.seed,
            fed - read,
            slowest.0.as_millis(),
            slowest.1,
        );
        for (place, count) in &self.caught {
            told = format!("{told}\n  caught {count} at {place}");
        }
        told
    }
}

/// Whether none of them was in code of ours, whose paths are relative.
fn all_of_libraries(panics: &[(String, String)]) -> bool {
    panics
        .iter()
        .all(|(place, _)| Path::new(place).is_absolute())
}

fn said(panics: &[(String, String)]) -> String {
    let said: Vec<&str> = panics.iter().map(|(_, said)| said.as_str()).collect();
    said.join("; ")
}
