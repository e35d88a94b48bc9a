//! A table Spark made, each kind of its files damaged in every way: a rewrite is refused with the
//! file's name, or writes the very rows it would have written; a damaged manifest may have it leave
//! some as they are, or name another partition for them. Spark's pages have checksums.

use std::collections::HashSet;
use std::fmt::Write as _;

use bytes::Bytes;
use lake::{Held, inspect};
use metadata::{TableMetadata, read_manifest_list};
use planner::{Engine, Unwatched};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};

use crate::fixtures::Fixture;
use crate::ledger::Break;
use crate::world::{ALL, World, chain};

/// Of each kind of damage that is not done everywhere, to each file.
const FLIPS: usize = 24;
const CUTS: usize = 4;
const ZEROED: usize = 4;
const NUMBERS: usize = 6;

fn local(location: &str) -> &str {
    location
        .trim_start_matches("file:")
        .trim_start_matches("//")
}

/// What became of a rewrite that was stopped just before its swap.
#[derive(Debug, PartialEq)]
enum Fate {
    Refused(String),
    /// What its files hold, in the order of their partitions.
    Written(Vec<Held>),
}

struct Damaged {
    fixture: Fixture,
    runs: usize,
    sound: Vec<Held>,
}

impl Damaged {
    async fn new(name: &str) -> Self {
        let mut damaged = Self {
            fixture: Fixture::take(name).await,
            runs: 0,
            sound: Vec::new(),
        };
        match damaged.run().await {
            Fate::Written(sound) => damaged.sound = sound,
            Fate::Refused(why) => panic!("{why}"),
        }
        assert!(!damaged.sound.is_empty());
        damaged
    }

    fn world(&self) -> &World {
        &self.fixture.world
    }

    /// Plans and rewrites, and reads what was written.
    async fn run(&mut self) -> Fate {
        self.runs += 1;
        let world = &self.fixture.world;
        let task = World::task(ALL);
        let planned = world
            .engine
            .plan(&world.name, &task, &world.ledger, &Unwatched)
            .await;
        let plan = match planned {
            Ok(plan) => plan,
            Err(error) => return Fate::Refused(chain(&error)),
        };
        if let Some(nothing) = plan.nothing() {
            return Fate::Refused(format!("nothing to do: {nothing}"));
        }
        let swaps = *world.ledger.swaps.lock().unwrap();
        world.ledger.break_next(Break::Before);
        let attempt = format!("run-{}-", self.runs);
        let ended = world.execute_as(&attempt, &attempt, &plan).await;
        let stopped = *world.ledger.swaps.lock().unwrap() > swaps;
        world.ledger.forget_breaks();
        if !stopped {
            return match ended {
                Err(error) => Fate::Refused(chain(&error)),
                Ok(report) => panic!("nothing was swapped, and yet: {report:?}"),
            };
        }
        let mut written = world.ledger.reserved_paths(&attempt);
        written.retain(|path| path.ends_with(".parquet"));
        let content = |path: &String| {
            let bytes = Bytes::from(std::fs::read(local(path)).unwrap());
            inspect(path, &bytes, None).unwrap()
        };
        // Groups that run side by side number their files as they come.
        let mut held: Vec<(String, String, Held)> = written
            .iter()
            .map(|path| (path.rsplit_once('/').unwrap().0.to_owned(), content(path)))
            .map(|(folder, held)| (folder, format!("{held:?}"), held))
            .collect();
        for path in &written {
            std::fs::remove_file(local(path)).unwrap();
        }
        held.sort_by(|one, two| (&one.0, &one.1).cmp(&(&two.0, &two.1)));
        Fate::Written(held.into_iter().map(|(.., held)| held).collect())
    }

    /// The fate of a rewrite while `bytes` lie at `path`.
    async fn with(&mut self, path: &str, bytes: &[u8]) -> Fate {
        let whole = std::fs::read(local(path)).unwrap();
        std::fs::write(local(path), bytes).unwrap();
        let fate = self.run().await;
        std::fs::write(local(path), whole).unwrap();
        fate
    }

    /// One file of each kind: the document, the list, manifests, data files, delete files.
    async fn files(&self) -> Vec<(&'static str, String)> {
        let world = self.world();
        let table = world.table().await;
        let current = table.metadata.current_snapshot().unwrap();
        let manifests = read_manifest_list(&table.storage, current).await.unwrap();
        let live = world.live().await;
        let mut files = vec![
            ("document", table.metadata_location.clone()),
            ("list", current.manifest_list.clone()),
        ];
        for content in [
            metadata::ManifestContent::Data,
            metadata::ManifestContent::Deletes,
        ] {
            let used: HashSet<usize> = live
                .data
                .iter()
                .chain(&live.deletes)
                .map(|live| live.manifest)
                .collect();
            let found = live.manifests.iter().enumerate();
            let found =
                found.filter(|(at, manifest)| used.contains(at) && manifest.content == content);
            files.extend(
                found
                    .take(1)
                    .map(|(_, manifest)| ("manifest", manifest.manifest_path.clone())),
            );
        }
        assert_eq!(manifests.len(), live.manifests.len());
        files.push(("data", live.data[0].file.file_path.clone()));
        files.push(("deletes", live.deletes[0].file.file_path.clone()));
        files
    }
}

/// Damaged forms of a file, with what was done to it.
fn forms(rng: &mut StdRng, whole: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut forms = Vec::new();
    let length = whole.len();
    let mut at = || rng.random_range(0..length);
    let cuts = [0, 1, length - 1].into_iter();
    for cut in cuts.chain((0..CUTS).map(|_| at())).collect::<Vec<_>>() {
        forms.push((format!("cut at {cut}"), whole[..cut].to_vec()));
    }
    for place in (0..FLIPS).map(|_| at()).collect::<Vec<_>>() {
        let mut flipped = whole.to_vec();
        let bit = rng.random_range(0..8u8);
        flipped[place] ^= 1 << bit;
        forms.push((format!("bit {bit} of byte {place} flipped"), flipped));
    }
    for _ in 0..ZEROED {
        let start = rng.random_range(0..length);
        let end = (start + rng.random_range(1..64)).min(length);
        let mut zeroed = whole.to_vec();
        zeroed[start..end].fill(0);
        forms.push((format!("bytes {start}..{end} zeroed"), zeroed));
    }
    // Lengths and counts of 31 and of 63 bits, as Avro and Thrift write them.
    for number in [&[0xfe, 0xff, 0xff, 0xff, 0x0f][..], &[0xff; 9], &[0xfe; 4]] {
        for _ in 0..NUMBERS {
            let start = rng.random_range(0..length);
            let end = (start + number.len()).min(length);
            let mut large = whole.to_vec();
            large[start..end].copy_from_slice(&number[..end - start]);
            forms.push((format!("a large number at {start}"), large));
        }
    }
    forms.push(("as long, and nothing of it".to_owned(), {
        let mut other = vec![0; length];
        rng.fill_bytes(&mut other);
        other
    }));
    forms
}

fn rows(held: &[Held]) -> u64 {
    held.iter().map(|file| file.records).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_damaged_a_rewrite_names_it_or_writes_the_same_rows() {
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let mut damaged = Damaged::new("deletes").await;
    let mut failures = String::new();
    for (kind, path) in damaged.files().await {
        let whole = std::fs::read(local(&path)).unwrap();
        let (mut refused, mut same, mut other) = (0, 0, 0);
        for (how, bytes) in forms(&mut rng, &whole) {
            let name = path.rsplit('/').next().unwrap();
            match damaged.with(&path, &bytes).await {
                Fate::Refused(why) => {
                    refused += 1;
                    let named = match kind {
                        "data" | "deletes" => why.contains(name),
                        // One that is sound by itself may ask for what is not supported.
                        "document" if TableMetadata::parse(&bytes).is_ok() => true,
                        // What a list or a manifest says of others is found wrong at these.
                        _ => why.contains("/db/deletes"),
                    };
                    if !named {
                        writeln!(failures, "{kind}, {how}: does not name it: {why}").unwrap();
                    }
                }
                Fate::Written(held) if held == damaged.sound => same += 1,
                // What deletes reach that are no longer understood is left as it is; and a manifest has
                // no checksum: rows are of the partition that it names.
                Fate::Written(held)
                    if kind == "manifest" && rows(&held) <= rows(&damaged.sound) =>
                {
                    other += 1;
                }
                // A group one of whose files is of no use, as one that lost a field id, is left as it is
                // and the others are written.
                Fate::Written(held)
                    if ["data", "deletes"].contains(&kind)
                        && held.iter().all(|file| damaged.sound.contains(file)) =>
                {
                    other += 1;
                }
                Fate::Written(_) => {
                    writeln!(failures, "{kind} {path}, {how}: other rows").unwrap();
                }
            }
        }
        println!("{kind}: {refused} refused, {same} written the same, {other} otherwise");
    }
    assert!(failures.is_empty(), "\n{failures}");
    assert_eq!(
        damaged.run().await,
        Fate::Written(std::mem::take(&mut damaged.sound))
    );
}
