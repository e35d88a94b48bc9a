//! One history: its table, the model of its rows in every snapshot, and the checks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use catalog::Table;
use metadata::Schema;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::row::{self, Row, pick};
use super::{Counts, Log};
use crate::oracle::Oracle;
use crate::world::World;

/// The rows of a snapshot by their id.
pub(super) type State = BTreeMap<i64, Row>;

const READERS: [&str; 3] = ["files", "pyiceberg", "duckdb"];
/// The share of tables of format 1.
const FORMAT_1: f64 = 0.15;
const SPECS: [&[&str]; 6] = [
    &[],
    &["region"],
    &["bucket"],
    &["truncate"],
    &["day"],
    &["region", "bucket"],
];

pub(super) struct History {
    pub(super) world: Arc<World>,
    oracle: Oracle,
    /// Of the table: 1 has no delete files.
    pub(super) format: u8,
    pub(super) rng: StdRng,
    log: Log,
    pub(super) counts: Counts,
    /// What each snapshot holds. One that another program made on its way is not here.
    pub(super) states: HashMap<i64, Arc<State>>,
    pub(super) now: Arc<State>,
    pub(super) next_id: i64,
    /// Equality delete files DuckDB does not read as the specification says.
    pub(super) loose: Vec<String>,
    pub(super) equality_deletes: bool,
    pub(super) jobs: u64,
    pub(super) strays: u64,
    /// Numbers names that must be new.
    pub(super) names: u64,
}

impl History {
    pub(super) fn begin(world: Arc<World>, oracle: Oracle, rng: StdRng, log: Log) -> Self {
        let mut history = Self {
            world,
            oracle,
            format: 2,
            rng,
            log,
            counts: Counts::new(),
            states: HashMap::new(),
            now: Arc::default(),
            next_id: 1,
            loose: Vec::new(),
            equality_deletes: false,
            jobs: 0,
            strays: 0,
            names: 0,
        };
        let spec = SPECS[pick(&mut history.rng, SPECS.len())];
        history.format = if history.chance(FORMAT_1) { 1 } else { 2 };
        let format = history.format;
        history.say(&format!(
            "a table of format {format} partitioned by {spec:?}"
        ));
        let asked = json!({"spec": spec, "format": format, "properties": {}});
        history.ask("create", asked);
        history
    }

    pub(super) fn end(mut self) -> (Oracle, Counts) {
        if self.world.server.is_some() {
            self.count("through a REST server");
        }
        (self.oracle, self.counts)
    }

    pub(super) fn say(&self, step: &str) {
        self.log.lock().unwrap().push(step.to_owned());
    }

    pub(super) fn count(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    pub(super) fn number(&mut self, from: usize, to: usize) -> usize {
        self.rng.random_range(from..=to)
    }

    pub(super) fn chance(&mut self, of: f64) -> bool {
        self.rng.random_bool(of)
    }

    pub(super) fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[pick(&mut self.rng, of.len())].clone()
    }

    pub(super) fn name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind}{}", self.names)
    }

    pub(super) fn ask(&mut self, what: &str, more: Value) -> Value {
        let mut asked = self.world.place();
        asked["do"] = what.into();
        if let (Value::Object(asked), Value::Object(more)) = (&mut asked, more) {
            asked.extend(more);
        }
        tokio::task::block_in_place(|| self.oracle.answer(&asked))
    }

    pub(super) async fn table(&self) -> Table {
        self.world.table().await
    }

    /// The table's rows are `state` now; `all` says that no snapshot on the way held others.
    pub(super) async fn note(&mut self, state: State, all: bool) {
        self.now = Arc::new(state);
        let table = self.table().await;
        let Some(current) = table.metadata.current_snapshot() else {
            return;
        };
        let new: Vec<i64> = table
            .metadata
            .history(current.snapshot_id)
            .map(|snapshot| snapshot.snapshot_id)
            .take_while(|id| !self.states.contains_key(id))
            .collect();
        for (index, id) in new.into_iter().enumerate() {
            if index == 0 || all {
                self.states.insert(id, self.now.clone());
            }
        }
    }

    /// Every reader that can agrees with the model about the current snapshot.
    pub(super) async fn check(&mut self) {
        let asked = json!({"readers": READERS, "loose": self.loose});
        let read = self.ask("read", asked);
        self.equality_deletes = !read["equality_deletes"].as_array().unwrap().is_empty();
        let table = self.table().await;
        let current = table.metadata.current_snapshot();
        assert_eq!(
            read["snapshot_id"].as_i64(),
            current.map(|current| current.snapshot_id)
        );
        let now = self.now.clone();
        self.compare(&read, table.metadata.current_schema(), &now, "now");
    }

    fn compare(&mut self, read: &Value, schema: &Schema, state: &State, when: &str) {
        let rows = state.values();
        let want: Value = rows
            .map(|row| row::to_json(&schema.root.fields, row))
            .collect();
        if read.get("refused by duckdb").is_some() {
            self.count("refused by duckdb");
        }
        for reader in READERS {
            if let Some(found) = read.get(reader) {
                self.count(&format!("read by {reader}"));
                assert!(
                    *found == want,
                    "{reader} reads {when}\n{}",
                    difference(found, &want)
                );
            }
        }
    }

    /// Every retained snapshot reads as the model says.
    pub(super) async fn check_all(&mut self) {
        let table = self.table().await;
        let ids: Vec<i64> = table
            .metadata
            .snapshots()
            .iter()
            .map(|snapshot| snapshot.snapshot_id)
            .collect();
        for id in ids {
            let Some(state) = self.states.get(&id).cloned() else {
                continue;
            };
            let snapshot = table.metadata.snapshot(id).unwrap();
            let schema = snapshot.schema_id.and_then(|id| table.metadata.schema(id));
            let schema = schema.unwrap_or(table.metadata.current_schema()).clone();
            let asked = json!({"readers": ["pyiceberg"], "loose": [], "snapshot_id": id});
            let read = self.ask("read", asked);
            self.compare(&read, &schema, &state, &format!("snapshot {id}"));
            self.count("snapshots read again");
        }
        self.check_files();
    }

    /// No file the table needs is gone.
    pub(super) fn check_files(&mut self) -> HashSet<String> {
        let found = self.ask("on_disk", json!({}));
        assert_eq!(found["gone"], json!([]), "files are gone");
        let unreached = found["unreached"].as_array().unwrap().iter();
        unreached
            .map(|path| path.as_str().unwrap().to_owned())
            .collect()
    }
}

/// The rows only one of them has.
fn difference(found: &Value, want: &Value) -> String {
    let lines = |rows: &Value| -> Vec<String> {
        rows.as_array()
            .unwrap()
            .iter()
            .map(Value::to_string)
            .collect()
    };
    let (found, want) = (lines(found), lines(want));
    let mut text = vec![format!("{} rows, not {}", found.len(), want.len())];
    for line in found.iter().filter(|line| !want.contains(line)).take(5) {
        text.push(format!("  has   {line}"));
    }
    for line in want.iter().filter(|line| !found.contains(line)).take(5) {
        text.push(format!("  lacks {line}"));
    }
    text.join("\n")
}
