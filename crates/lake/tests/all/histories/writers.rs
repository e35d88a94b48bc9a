//! Steps that change rows: PyIceberg's, and those of our own plain writer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use catalog::Table;
use lake::{Changes, FileWriter, arrow_schema, commit_changes, key_schema};
use metadata::{DataFile, Literal, PartitionSpec};
use serde_json::{Value, json};

use super::row::{self, Cell, Row};
use super::table::{History, State};

const ROWS_MAX: usize = 12;
/// Rows a step deletes, at most.
const DELETED_MAX: usize = 6;

/// The visible rows of one live data file.
struct Placed {
    path: String,
    spec_id: i32,
    /// Position and id.
    rows: Vec<(i64, i64)>,
}

/// id, k, region, amount, day, note, place.lat by their ids.
const KEYS: [&[i32]; 10] = [
    &[1],
    &[1],
    &[1],
    &[2],
    &[3],
    &[4],
    &[5, 6],
    &[9],
    &[2, 3],
    &[1, 3],
];

/// What an equality delete file is to hold.
struct Keys {
    ids: Vec<i32>,
    values: BTreeSet<Vec<Cell>>,
    spec: Arc<PartitionSpec>,
    partition: Vec<Option<Literal>>,
    /// The rows it may delete: those of its partition, or all.
    reach: BTreeSet<i64>,
    /// No row outside of its reach has one of the keys.
    strict: bool,
}

impl History {
    pub(super) async fn write(&mut self) {
        let kinds = if self.format == 1 { 5 } else { 7 };
        match self.number(0, kinds) {
            0 => self.append_theirs().await,
            1 | 2 => self.append_ours().await,
            3 => self.overwrite_theirs().await,
            4 => self.delete_theirs().await,
            5 => self.overwrite_ours().await,
            6 => self.position_deletes().await,
            _ => self.equality_deletes().await,
        }
    }

    /// What our own writer can do while a rewrite waits.
    pub(super) async fn write_meanwhile(&mut self) {
        let kinds = if self.format == 1 { 2 } else { 5 };
        match self.number(0, kinds) {
            0 => self.append_ours().await,
            1 => self.overwrite_ours().await,
            2 => self.append_theirs().await,
            3 | 4 => self.position_deletes().await,
            _ => self.equality_deletes().await,
        }
    }

    async fn new_rows(&mut self) -> Vec<(i64, Row)> {
        let table = self.table().await;
        let schema = table.metadata.current_schema();
        let count = self.number(1, ROWS_MAX);
        let ids = self.next_id..self.next_id + count as i64;
        self.next_id = ids.end;
        ids.map(|id| (id, row::random(&mut self.rng, schema, id)))
            .collect()
    }

    fn some_ids(&mut self) -> Vec<i64> {
        let ids: Vec<i64> = self.now.keys().copied().collect();
        if ids.is_empty() {
            return ids;
        }
        let count = self.number(1, DELETED_MAX);
        let some: BTreeSet<i64> = (0..count).map(|_| self.one(&ids)).collect();
        some.into_iter().collect()
    }

    fn json(table: &Table, rows: &[(i64, Row)]) -> Value {
        let fields = &table.metadata.current_schema().root.fields;
        rows.iter()
            .map(|(_, row)| row::to_json(fields, row))
            .collect()
    }

    fn without(&self, ids: &[i64]) -> State {
        let mut state = (*self.now).clone();
        state.retain(|id, _| !ids.contains(id));
        state
    }

    async fn append_theirs(&mut self) {
        let rows = self.new_rows().await;
        self.say(&format!("PyIceberg appends {} rows", rows.len()));
        let asked = json!({"rows": Self::json(&self.table().await, &rows)});
        self.ask("append", asked);
        let mut state = (*self.now).clone();
        state.extend(rows);
        self.note(state, true).await;
        self.count("append by PyIceberg");
    }

    async fn append_ours(&mut self) {
        let rows = self.new_rows().await;
        self.say(&format!("append of {} rows", rows.len()));
        let data = self.data_files(&rows).await;
        let mut state = (*self.now).clone();
        state.extend(rows);
        let changes = Changes {
            data,
            ..Changes::default()
        };
        self.commit(changes, state).await;
        self.count("append");
    }

    async fn overwrite_theirs(&mut self) {
        let ids = self.some_ids();
        if ids.is_empty() || self.equality_deletes {
            return self.append_theirs().await;
        }
        let rows = self.new_rows().await;
        self.say(&format!(
            "PyIceberg overwrites {ids:?} by {} rows",
            rows.len()
        ));
        let asked = json!({"rows": Self::json(&self.table().await, &rows), "ids": ids});
        self.ask("overwrite", asked);
        let mut state = self.without(&ids);
        state.extend(rows);
        self.note(state, false).await;
        self.count("overwrite by PyIceberg");
    }

    async fn delete_theirs(&mut self) {
        let ids = self.some_ids();
        if ids.is_empty() || self.equality_deletes {
            return self.append_ours().await;
        }
        self.say(&format!("PyIceberg deletes {ids:?}"));
        self.ask("delete", json!({"ids": ids}));
        self.note(self.without(&ids), false).await;
        self.count("delete by PyIceberg");
    }

    /// Files written anew without some of their rows, or with others in their place.
    async fn overwrite_ours(&mut self) {
        let (ids, placed) = (self.some_ids(), self.placed());
        let hit = |file: &&Placed| file.rows.iter().any(|(_, id)| ids.contains(id));
        let hit: Vec<&Placed> = placed.iter().filter(hit).collect();
        let Some(current) = self.table().await.metadata.current_snapshot().cloned() else {
            return self.append_ours().await;
        };
        let mut rows: Vec<(i64, Row)> = hit
            .iter()
            .flat_map(|file| &file.rows)
            .filter(|(_, id)| !ids.contains(id))
            .map(|(_, id)| (*id, self.now[id].clone()))
            .collect();
        let mut state = self.without(&ids);
        if self.chance(0.5) {
            let new = self.new_rows().await;
            state.extend(new.iter().cloned());
            rows.extend(new);
        }
        self.say(&format!(
            "copy-on-write of {} files without {ids:?}",
            hit.len()
        ));
        let changes = Changes {
            data: self.data_files(&rows).await,
            removed: hit.iter().map(|file| file.path.clone()).collect(),
            based_on: Some(current.snapshot_id),
            ..Changes::default()
        };
        self.commit(changes, state).await;
        self.count("copy-on-write");
    }

    async fn position_deletes(&mut self) {
        let (ids, placed) = (self.some_ids(), self.placed());
        if ids.is_empty() {
            return self.append_ours().await;
        }
        let partitions = self.partitions().await;
        let scoped = self.chance(0.5);
        let mut by_place: BTreeMap<_, Vec<(String, i64)>> = BTreeMap::new();
        let mut must_exist = Vec::new();
        for (index, file) in placed.iter().enumerate() {
            let rows = file.rows.iter().filter(|(_, id)| ids.contains(id));
            let positions: Vec<_> = rows.map(|(at, _)| (file.path.clone(), *at)).collect();
            if !positions.is_empty() {
                must_exist.push(file.path.clone());
                let own = if scoped { index } else { 0 };
                let key = (file.spec_id, partitions[&file.path].clone(), own);
                by_place.entry(key).or_default().extend(positions);
            }
        }
        self.say(&format!(
            "{} position delete files of {ids:?}, one a data file: {scoped}",
            by_place.len()
        ));
        let table = self.table().await;
        let mut deletes = Vec::new();
        for ((spec_id, partition, _), positions) in by_place {
            let writer = FileWriter::new(&table, "deletes").unwrap();
            let writer = writer.with_spec(spec_id).unwrap();
            deletes.push(writer.position_deletes(partition, positions).await.unwrap());
        }
        let changes = Changes {
            deletes,
            must_exist,
            ..Changes::default()
        };
        self.commit(changes, self.without(&ids)).await;
        self.count("position deletes");
    }

    async fn equality_deletes(&mut self) {
        let table = self.table().await;
        let schema = table.metadata.current_schema().clone();
        let chosen = self.choose_keys(&table).await;
        let (ids, keys) = (&chosen.ids, &chosen.values);
        let key = |row: &Row| -> Vec<Cell> { ids.iter().map(|id| row::value(row, *id)).collect() };
        let mut state = (*self.now).clone();
        state.retain(|id, row| !(keys.contains(&key(row)) && chosen.reach.contains(id)));
        // DuckDB applies deletes of a partition to all of their spec, and deletes null keys always.
        let mut all_keys = keys.iter().cloned().chain(self.now.values().map(key));
        let loose = !chosen.strict || all_keys.any(|key| key.contains(&Cell::Null));
        self.say(&format!(
            "equality deletes by {ids:?} = {keys:?} under spec {} in {:?}: {} rows",
            chosen.spec.spec_id,
            chosen.partition,
            self.now.len() - state.len()
        ));
        let keys_schema = Arc::new(key_schema(&schema, ids));
        let arrow = arrow_schema(&keys_schema).unwrap();
        let rows = keys.iter().map(|key| {
            let key = ids.iter().copied().zip(key.iter().cloned()).collect();
            row::key_row(&keys_schema.root.fields, &key)
        });
        let rows: Vec<Row> = rows.collect();
        let batch = [row::batch(&arrow, &rows.iter().collect::<Vec<_>>())];
        let writer = FileWriter::new(&table, "keys").unwrap();
        let writer = writer.with_spec(chosen.spec.spec_id).unwrap();
        let written = writer.equality_deletes(chosen.partition, ids, &batch);
        let file = written.await.unwrap();
        if loose {
            self.loose.push(file.file_path.clone());
        }
        let changes = Changes {
            deletes: vec![file],
            ..Changes::default()
        };
        self.commit(changes, state).await;
        self.count("equality deletes");
    }

    async fn choose_keys(&mut self, table: &Table) -> Keys {
        let schema = table.metadata.current_schema();
        let known = |ids: &&&[i32]| ids.iter().all(|id| schema.field(*id).is_some());
        let sets: Vec<&[i32]> = KEYS.iter().filter(known).copied().collect();
        let mut ids = self.one(&sets).to_vec();
        let spec = self.one(table.metadata.specs());
        let live = self.placed_in(spec.spec_id).await;
        let partitions: Vec<_> = live.keys().cloned().collect();
        let partition = if partitions.is_empty() {
            vec![None; spec.fields.len()]
        } else {
            self.one(&partitions)
        };
        let within = live.get(&partition).cloned().unwrap_or_default();
        let global = spec.fields.is_empty();
        // As Flink does: keys name the partition, and are those of its rows.
        let strict = !within.is_empty() && self.chance(0.5);
        let everywhere: BTreeSet<i64> = self.now.keys().copied().collect();
        let of = if strict { &within } else { &everywhere };
        let of: Vec<i64> = of.iter().copied().collect();
        if strict {
            let sources = spec.fields.iter().map(|field| field.source_id);
            ids.extend(sources.filter(|id| schema.field(*id).is_some()));
            ids.sort_unstable();
            ids.dedup();
        }
        let keys = self.some_keys(schema, &ids, &of, strict);
        let reach = if global { everywhere } else { within };
        Keys {
            ids,
            values: keys,
            spec,
            partition,
            reach,
            strict: strict || global,
        }
    }

    /// Keys of rows there are, and others unless `strict`.
    fn some_keys(
        &mut self,
        schema: &metadata::Schema,
        ids: &[i32],
        of: &[i64],
        strict: bool,
    ) -> BTreeSet<Vec<Cell>> {
        let rows = self.now.clone();
        let count = self.number(1, 3);
        (0..count)
            .map(|_| {
                if !of.is_empty() && (strict || self.chance(0.7)) {
                    let row = &rows[&self.one(of)];
                    ids.iter().map(|id| row::value(row, *id)).collect()
                } else {
                    let ty = |id: &i32| schema.field(*id).unwrap().ty.clone();
                    ids.iter()
                        .map(|id| row::random_cell(&mut self.rng, &ty(id)))
                        .collect()
                }
            })
            .collect()
    }

    fn placed(&mut self) -> Vec<Placed> {
        let placed = self.ask("locate", json!({}));
        let files = placed.as_array().unwrap().iter();
        files
            .map(|file| {
                let rows = file["rows"].as_array().unwrap().iter();
                let number = |value: &Value| value.as_i64().unwrap();
                Placed {
                    path: file["path"].as_str().unwrap().to_owned(),
                    spec_id: number(&file["spec_id"]) as i32,
                    rows: rows.map(|row| (number(&row[0]), number(&row[1]))).collect(),
                }
            })
            .collect()
    }

    /// The partition of every live data file.
    async fn partitions(&self) -> HashMap<String, Vec<Option<Literal>>> {
        let live = self.world.live().await.data.into_iter();
        live.map(|file| (file.file.file_path, file.file.partition))
            .collect()
    }

    /// The ids of the visible rows by partition of a spec.
    async fn placed_in(&mut self, spec_id: i32) -> BTreeMap<Vec<Option<Literal>>, BTreeSet<i64>> {
        let partitions = self.partitions().await;
        let mut found: BTreeMap<_, BTreeSet<i64>> = BTreeMap::new();
        for file in self
            .placed()
            .into_iter()
            .filter(|file| file.spec_id == spec_id)
        {
            let ids = file.rows.iter().map(|(_, id)| *id);
            found
                .entry(partitions[&file.path].clone())
                .or_default()
                .extend(ids);
        }
        found
    }

    /// One data file for each partition of the rows, under the current spec.
    async fn data_files(&self, rows: &[(i64, Row)]) -> Vec<DataFile> {
        let table = self.table().await;
        let (schema, spec) = (
            table.metadata.current_schema(),
            table.metadata.default_spec(),
        );
        let arrow = arrow_schema(schema).unwrap();
        let mut by_partition: BTreeMap<_, Vec<&Row>> = BTreeMap::new();
        for (_, row) in rows {
            let partition = row::partition(schema, spec, row);
            by_partition.entry(partition).or_default().push(row);
        }
        let writer = FileWriter::new(&table, "data").unwrap();
        let mut files = Vec::new();
        for (partition, rows) in by_partition {
            let batch = row::batch(&arrow, &rows);
            files.push(writer.data_file(partition, &[batch]).await.unwrap());
        }
        files
    }

    async fn commit(&mut self, changes: Changes, state: State) {
        let now_ms = self.world.now_ms().await;
        let (catalog, name) = (&*self.world.catalog, &self.world.name);
        commit_changes(catalog, name, &changes, now_ms)
            .await
            .expect("our writer commits");
        self.note(state, true).await;
    }
}
