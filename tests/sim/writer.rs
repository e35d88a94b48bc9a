//! One table's writer: it appends, deletes by position and by key, rewrites files of its own and now and
//! then the whole table, while workers do what they do, and notes what it committed.
//!
//! What it knows of a commit is one of three things. One that landed is in the reference, one
//! that was refused is not, and one whose answer was lost is in doubt until a later commit of the
//! same writer has landed: a catalog that compares and swaps lets nothing older land after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use catalog::{NewTable, Table};
use lake::{Changes, FileWriter, arrow_schema, commit_changes};
use metadata::{DataFile, Fields, live_files};
use model::TableName;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio_util::sync::CancellationToken;

use crate::history::{History, MARK};
use crate::house::House;
use crate::reference::{KEY_ID, REGIONS, Reference, Row, batch, keys, partition, schema, spec};
use crate::steady::steadily;

/// A commit without an answer for so long is in doubt.
const COMMIT_WITHIN: Duration = Duration::from_secs(15);
const PAUSE_MS: std::ops::Range<u64> = 100..1_500;
/// Files a new table has, each in a commit of its own.
const FILES_FIRST: usize = 4;
const ROWS_PER_FILE: std::ops::Range<usize> = 5..40;
/// A table with more rows is written anew, with some of them.
const ROWS_MAX: usize = 1_500;
const ROWS_KEPT: usize = 300;
/// Of its files the newest so many are changed later.
const FILES_KNOWN_MAX: usize = 12;
const FILES_PER_COMMIT_MAX: usize = 3;

/// A file it wrote, with the rows that are still there.
#[derive(Debug, Clone)]
struct Made {
    path: String,
    rows: Vec<Option<Row>>,
}

/// What a commit does to the rows.
#[derive(Debug, Clone, Default)]
struct Change {
    mark: String,
    plus: Vec<Row>,
    minus: Vec<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Landed,
    Refused,
    Doubt,
}

/// How its commits went.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) landed: u64,
    pub(crate) refused: u64,
    pub(crate) doubted: u64,
    /// Commits with delete files of this kind that landed.
    pub(crate) position_deletes: u64,
    pub(crate) equality_deletes: u64,
}

pub(crate) struct Writer {
    house: Arc<House>,
    pub(crate) table: TableName,
    partitioned: bool,
    /// It deletes by key, too: what that leaves, fewer readers understand.
    by_key: bool,
    rng: StdRng,
    pub(crate) reference: Reference,
    /// The commits that are there, by their marks.
    pub(crate) landed: BTreeSet<String>,
    pub(crate) tally: Tally,
    files: Vec<Made>,
    doubts: Vec<Change>,
    next_row: i64,
    next_mark: u64,
}

impl Writer {
    /// Makes the table with its first files.
    pub(crate) async fn create(house: &Arc<House>, number: usize) -> Result<Self> {
        let table = House::table(number)?;
        let mut rng = StdRng::seed_from_u64(house.seed ^ ((number as u64 + 1) << 32));
        let partitioned = rng.random_bool(0.5);
        let by_key = rng.random_bool(0.4);
        let properties = [
            ("write.target-file-size-bytes", "65536"),
            ("write.metadata.compression-codec", "gzip"),
            // Nothing of the history is forgotten.
            ("write.metadata.previous-versions-max", "1000000"),
        ];
        let new = NewTable {
            schema: schema(),
            spec: spec(partitioned),
            properties: properties
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            location: None,
        };
        house.catalog.create_table(&table, new).await?;
        let mut writer = Self {
            house: Arc::clone(house),
            table,
            partitioned,
            by_key,
            rng,
            reference: Reference::default(),
            landed: BTreeSet::new(),
            tally: Tally::default(),
            files: Vec::new(),
            doubts: Vec::new(),
            next_row: 0,
            next_mark: 0,
        };
        for _ in 0..FILES_FIRST {
            writer.append().await?;
        }
        ensure!(
            writer.tally.landed == FILES_FIRST as u64,
            "a first commit failed"
        );
        Ok(writer)
    }

    /// Commits one thing after the other until told to stop; then makes sure of what is in doubt.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<Self> {
        while !stop.is_cancelled() {
            // Without the catalog or the store nothing was committed; the next try is as good.
            let _ = self.something().await;
            let pause = Duration::from_millis(self.rng.random_range(PAUSE_MS));
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        let landed = self.tally.landed;
        let what = format!("say the last word on {}", self.table);
        while self.tally.landed == landed || !self.doubts.is_empty() {
            steadily(&what, async || self.append().await).await?;
        }
        Ok(self)
    }

    async fn something(&mut self) -> Result<()> {
        if !self.doubts.is_empty() {
            return self.append().await;
        }
        if ROWS_MAX < self.reference.len() {
            return self.write_anew().await;
        }
        match self.rng.random_range(0..10) {
            0..6 => self.append().await,
            6..9 => self.delete().await,
            _ => self.rewrite_one().await,
        }
    }

    /// New rows in a few files.
    async fn append(&mut self) -> Result<()> {
        let table = self.load().await?;
        let mut change = Change::default();
        let mut changes = Changes::default();
        let mut made = Vec::new();
        for _ in 0..self.rng.random_range(1..=FILES_PER_COMMIT_MAX) {
            let region = self.rng.random_range(0..REGIONS.len()) as i64;
            let count = self.rng.random_range(ROWS_PER_FILE) as i64;
            let first = self.next_row;
            self.next_row += count;
            let rows = (first..first + count).map(|number| Row {
                id: number * REGIONS.len() as i64 + region,
                version: 0,
            });
            let rows: Vec<Row> = rows.collect();
            let file = self.file(&table, &rows).await?;
            made.push(known(&file, &rows));
            changes.data.push(file);
            change.plus.extend(rows);
        }
        if self.commit(changes, change).await? == Fate::Landed {
            self.files.extend(made);
            let over = self.files.len().saturating_sub(FILES_KNOWN_MAX);
            self.files.drain(..over);
        }
        Ok(())
    }

    /// Some rows of a file of its own go, by position or by their keys.
    async fn delete(&mut self) -> Result<()> {
        let Some((at, mut made)) = self.pick() else {
            return self.append().await;
        };
        let there = made.rows.iter().enumerate();
        let there = there.filter_map(|(position, row)| row.map(|row| (position, row)));
        let hit: Vec<(usize, Row)> = there.filter(|_| self.rng.random_bool(0.3)).collect();
        let Some((_, first)) = hit.first() else {
            return Ok(());
        };
        let table = self.load().await?;
        let place = partition(self.partitioned, first.region());
        let writer = FileWriter::new(&table, crate::NAME)?;
        let by_key = self.by_key && self.rng.random_bool(0.5);
        let mut changes = Changes::default();
        let file = if by_key {
            let rows: Vec<Row> = hit.iter().map(|(_, row)| *row).collect();
            // It hits the rows wherever a worker has put them meanwhile.
            writer
                .equality_deletes(place, &[KEY_ID], &[keys(&rows)?])
                .await?
        } else {
            changes.must_exist = vec![made.path.clone()];
            let positions = hit.iter().map(|(position, _)| *position as i64);
            let deletes = positions.map(|position| (made.path.clone(), position));
            writer.position_deletes(place, deletes.collect()).await?
        };
        changes.deletes = vec![file];
        let change = Change {
            minus: hit.iter().map(|(_, row)| row.id).collect(),
            ..Change::default()
        };
        self.files.remove(at);
        if self.commit(changes, change).await? == Fate::Landed {
            for (position, _) in hit {
                made.rows[position] = None;
            }
            self.files.push(made);
            if by_key {
                self.tally.equality_deletes += 1;
            } else {
                self.tally.position_deletes += 1;
            }
        }
        Ok(())
    }

    /// A file of its own is replaced by one with new versions of its rows: copy on write.
    async fn rewrite_one(&mut self) -> Result<()> {
        let Some((at, old)) = self.pick() else {
            return self.append().await;
        };
        let rows: Vec<Row> = old.rows.iter().flatten().map(next_version).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let table = self.load().await?;
        let file = self.file(&table, &rows).await?;
        let made = known(&file, &rows);
        let changes = Changes {
            data: vec![file],
            removed: vec![old.path],
            ..Changes::default()
        };
        let change = Change {
            plus: rows,
            ..Change::default()
        };
        self.files.remove(at);
        if self.commit(changes, change).await? == Fate::Landed {
            self.files.push(made);
        }
        Ok(())
    }

    /// Everything goes, and some of it comes back.
    async fn write_anew(&mut self) -> Result<()> {
        let table = self.load().await?;
        let current = table.metadata.current_snapshot().context("no snapshot")?;
        let id = current.snapshot_id;
        let live = live_files(&table.storage, &table.metadata, id, Fields::PLAN).await?;
        let kept: Vec<Row> = self.reference.rows().take(ROWS_KEPT).collect();
        let mut changes = Changes {
            removed: live
                .data
                .iter()
                .chain(&live.deletes)
                .map(|file| file.file.file_path.clone())
                .collect(),
            based_on: Some(id),
            ..Changes::default()
        };
        let mut change = Change {
            minus: self.reference.rows().map(|row| row.id).collect(),
            ..Change::default()
        };
        for region in REGIONS {
            let rows = kept.iter().filter(|row| row.region() == region);
            let rows: Vec<Row> = rows.map(next_version).collect();
            if !rows.is_empty() {
                changes.data.push(self.file(&table, &rows).await?);
                change.plus.extend(rows);
            }
        }
        self.files.clear();
        self.commit(changes, change).await?;
        Ok(())
    }

    /// Commits, and says what is known of it. A landed one settles those in doubt.
    async fn commit(&mut self, mut changes: Changes, mut change: Change) -> Result<Fate> {
        self.next_mark += 1;
        change.mark = format!("{}-{}", self.table.table(), self.next_mark);
        changes.summary = BTreeMap::from([(MARK.to_owned(), change.mark.clone())]);
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
        let committed = commit_changes(&*self.house.catalog, &self.table, &changes, now_ms);
        let fate = match tokio::time::timeout(COMMIT_WITHIN, committed).await {
            Ok(Ok(_)) => Fate::Landed,
            Ok(Err(lake::Error::Moved(_) | lake::Error::Contended { .. })) => Fate::Refused,
            Ok(Err(_)) | Err(_) => Fate::Doubt,
        };
        match fate {
            Fate::Landed => {
                self.tally.landed += 1;
                self.apply(change);
                self.settle().await?;
            }
            Fate::Refused => self.tally.refused += 1,
            Fate::Doubt => {
                self.tally.doubted += 1;
                self.doubts.push(change);
            }
        }
        Ok(fate)
    }

    fn apply(&mut self, change: Change) {
        for id in change.minus {
            self.reference.remove(id);
        }
        for row in change.plus {
            self.reference.insert(row);
        }
        self.landed.insert(change.mark);
    }

    /// Looks in the table's history for what was in doubt.
    async fn settle(&mut self) -> Result<()> {
        if self.doubts.is_empty() {
            return Ok(());
        }
        let marks = History::read(&self.house, &self.table).await?.marks();
        for doubt in std::mem::take(&mut self.doubts) {
            if marks.contains_key(&doubt.mark) {
                self.apply(doubt);
            }
        }
        Ok(())
    }

    async fn load(&self) -> Result<Table> {
        Ok(self.house.catalog.load(&self.table).await?)
    }

    /// One file of rows of one region.
    async fn file(&self, table: &Table, rows: &[Row]) -> Result<DataFile> {
        let schema = arrow_schema(table.metadata.current_schema())?;
        let region = rows.first().context("a file has rows")?.region();
        let place = partition(self.partitioned, region);
        let writer = FileWriter::new(table, crate::NAME)?;
        Ok(writer.data_file(place, &[batch(rows, schema)?]).await?)
    }

    fn pick(&mut self) -> Option<(usize, Made)> {
        let all: Vec<usize> = (0..self.files.len()).collect();
        let at = *all.choose(&mut self.rng)?;
        Some((at, self.files[at].clone()))
    }
}

fn next_version(row: &Row) -> Row {
    Row {
        version: row.version + 1,
        ..*row
    }
}

fn known(file: &DataFile, rows: &[Row]) -> Made {
    Made {
        path: file.file_path.clone(),
        rows: rows.iter().copied().map(Some).collect(),
    }
}
