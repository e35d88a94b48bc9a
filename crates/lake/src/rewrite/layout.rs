//! Which rows of which inputs become which row group of which output: pure arithmetic.

use std::ops::Range;
use std::sync::Arc;

use parquet::arrow::arrow_reader::{RowSelection, RowSelector};

use crate::deletes::merge;

/// Rows of one row group at most, as the Parquet libraries do.
pub(crate) const ROW_GROUP_ROWS_MAX: u64 = 1 << 20;
/// A file is not cut when it is smaller than this share of the part being filled.
const WHOLE_FILE_SHARE: f64 = 0.05;

/// The rows of one input that go to one place.
#[derive(Debug, Clone)]
pub(crate) struct InputRows {
    /// Which input of the group.
    pub(crate) input: usize,
    /// Of the whole file.
    pub(crate) bytes: u64,
    /// Of the whole file.
    pub(crate) records: u64,
    live: Live,
}

/// Positions in a file, ascending, each once, all below its number of records.
#[derive(Debug, Clone)]
enum Live {
    /// All rows but these deleted ones.
    AllBut(Vec<u64>),
    /// These and no other: four bytes a row, since every row of a file that is split is in one such list.
    Only(Vec<u32>),
}

impl InputRows {
    /// All rows but `deleted`: ascending, each once. Positions past the end delete nothing.
    pub(crate) fn without(input: usize, bytes: u64, records: u64, mut deleted: Vec<u64>) -> Self {
        deleted.truncate(deleted.partition_point(|row| *row < records));
        let live = Live::AllBut(deleted);
        Self {
            input,
            bytes,
            records,
            live,
        }
    }

    /// The same rows without `more`: ascending, each once.
    pub(crate) fn also_without(&self, more: Vec<u64>) -> Self {
        match &self.live {
            Live::AllBut(deleted) => {
                let mut deleted = deleted.clone();
                merge(&mut deleted, more);
                Self::without(self.input, self.bytes, self.records, deleted)
            }
            Live::Only(positions) => {
                let kept = |row: &&u32| more.binary_search(&u64::from(**row)).is_err();
                self.only(positions.iter().filter(kept).copied().collect())
            }
        }
    }

    /// The rows at `positions` of the same input: ascending, each once, all below its records.
    pub(crate) fn only(&self, positions: Vec<u32>) -> Self {
        Self {
            live: Live::Only(positions),
            ..*self
        }
    }

    /// Rows of the file that are in none of its places.
    pub(crate) fn deleted_count(&self) -> u64 {
        self.records - self.live(&(0..self.records))
    }

    /// Estimated compressed bytes of its rows.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.weight(&(0..self.records)) as u64
    }

    /// How many of `rows` there are.
    pub(crate) fn live(&self, rows: &Range<u64>) -> u64 {
        match &self.live {
            Live::AllBut(deleted) => rows.end - rows.start - within(deleted, rows).len() as u64,
            Live::Only(positions) => within(positions, rows).len() as u64,
        }
    }

    /// Those of `rows` there are, as ascending runs.
    pub(crate) fn runs(&self, rows: &Range<u64>) -> Vec<Range<u64>> {
        let mut runs = Runs::default();
        match &self.live {
            Live::AllBut(deleted) => {
                let mut at = rows.start;
                for row in within(deleted, rows) {
                    runs.add(at..*row);
                    at = row + 1;
                }
                runs.add(at..rows.end);
            }
            Live::Only(positions) => {
                for row in within(positions, rows) {
                    runs.add(u64::from(*row)..u64::from(*row) + 1);
                }
            }
        }
        runs.0
    }

    /// Where the first `count` of `rows` end.
    fn end_of(&self, rows: &Range<u64>, count: u64) -> u64 {
        if count >= self.live(rows) {
            return rows.end;
        }
        let (mut low, mut high) = (rows.start, rows.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.live(&(rows.start..middle)) < count {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn weight(&self, rows: &Range<u64>) -> f64 {
        self.live(rows) as f64 * self.bytes as f64 / self.records.max(1) as f64
    }

    /// Estimated compressed bytes that are read for `rows`: all between the first and the last.
    fn touched(&self, rows: &Range<u64>) -> f64 {
        let span = match &self.live {
            Live::AllBut(_) => rows.end - rows.start,
            Live::Only(positions) => match within(positions, rows) {
                [] => 0,
                [first, .., last] => u64::from(last - first) + 1,
                [_] => 1,
            },
        };
        span as f64 * self.bytes as f64 / self.records.max(1) as f64
    }
}

fn within<'a, T: Copy + Into<u64>>(positions: &'a [T], rows: &Range<u64>) -> &'a [T] {
    let start = positions.partition_point(|row| (*row).into() < rows.start);
    let end = positions.partition_point(|row| (*row).into() < rows.end);
    &positions[start..end]
}

/// Runs in the making: neighbours become one, empty ones are left out.
#[derive(Debug, Default)]
struct Runs(Vec<Range<u64>>);

impl Runs {
    fn add(&mut self, run: Range<u64>) {
        match self.0.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ if run.start < run.end => self.0.push(run),
            _ => {}
        }
    }
}

/// Consecutive rows of one input, by position in its file.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    pub(crate) of: Arc<InputRows>,
    pub(crate) rows: Range<u64>,
}

impl Slice {
    /// Rows it gives.
    pub(crate) fn live(&self) -> u64 {
        self.of.live(&self.rows)
    }

    /// Whether no other slice has later rows of the file: slices of a file whose rows all go to one
    /// place follow one another.
    pub(crate) fn ends_the_file(&self) -> bool {
        matches!(self.of.live, Live::AllBut(_)) && self.rows.end == self.of.records
    }
}

/// One output row group.
#[derive(Debug, Clone)]
pub(crate) struct RowGroup {
    pub(crate) slices: Vec<Slice>,
    /// Rows it will hold.
    pub(crate) rows: u64,
    /// Estimated compressed bytes.
    pub(crate) bytes: u64,
    /// Estimated compressed bytes read for it.
    pub(crate) touched: u64,
}

/// What bounds a row group, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// It holds, compressed.
    pub(crate) row_group: u64,
    /// Are read to make it.
    pub(crate) touched: u64,
}

/// The row groups of each output file. Outputs and row groups without rows are left out.
pub(crate) fn lay_out(
    inputs: &[Arc<InputRows>],
    outputs: usize,
    limits: Limits,
) -> Vec<Vec<RowGroup>> {
    let all = inputs.iter().map(|input| Slice {
        of: Arc::clone(input),
        rows: 0..input.records,
    });
    cut(all.collect(), outputs)
        .into_iter()
        .map(|slices| row_groups(slices, limits))
        .filter(|groups| !groups.is_empty())
        .collect()
}

fn row_groups(slices: Vec<Slice>, limits: Limits) -> Vec<RowGroup> {
    let whole = measured(slices);
    let parts = whole
        .bytes
        .div_ceil(limits.row_group.max(1))
        .max(whole.touched.div_ceil(limits.touched.max(1)))
        .max(whole.rows.div_ceil(ROW_GROUP_ROWS_MAX))
        .max(1);
    cut(whole.slices, parts as usize)
        .into_iter()
        .map(measured)
        .filter(|group| group.rows > 0)
        .collect()
}

fn measured(mut slices: Vec<Slice>) -> RowGroup {
    slices.retain(|slice| slice.live() > 0);
    let sum = |of: fn(&InputRows, &Range<u64>) -> f64| -> u64 {
        let bytes: f64 = slices.iter().map(|slice| of(&slice.of, &slice.rows)).sum();
        bytes as u64
    };
    RowGroup {
        rows: slices.iter().map(Slice::live).sum(),
        bytes: sum(InputRows::weight),
        touched: sum(InputRows::touched),
        slices,
    }
}

/// Cuts `slices` into at most `parts` runs of about the same weight, order kept.
fn cut(slices: Vec<Slice>, parts: usize) -> Vec<Vec<Slice>> {
    let weigh = |slice: &Slice| slice.of.weight(&slice.rows);
    let total: f64 = slices.iter().map(weigh).sum();
    if parts <= 1 || total <= 0.0 {
        return vec![slices];
    }
    let share = total / parts as f64;
    let mut done = Vec::with_capacity(parts);
    let mut filling = Vec::new();
    let mut filled = 0.0;
    for mut slice in slices {
        loop {
            let weight = weigh(&slice);
            let room = share * (done.len() + 1) as f64 - filled;
            let last = done.len() + 1 == parts;
            let fits = weight <= room + share * WHOLE_FILE_SHARE;
            let end = if last || fits {
                slice.rows.end
            } else {
                let count = (slice.live() as f64 * room / weight).round() as u64;
                slice.of.end_of(&slice.rows, count)
            };
            if end > slice.rows.start {
                let taken = Slice {
                    of: Arc::clone(&slice.of),
                    rows: slice.rows.start..end,
                };
                filled += weigh(&taken);
                filling.push(taken);
                slice.rows.start = end;
            }
            if slice.rows.start == slice.rows.end {
                break;
            }
            done.push(std::mem::take(&mut filling));
        }
    }
    done.push(filling);
    done
}

/// What to read of one input file: its row groups and, unless that is every row of them, which.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Selected {
    pub(crate) row_groups: Vec<usize>,
    pub(crate) selection: Option<RowSelection>,
}

/// Finds the row groups that hold rows of `slice` and selects those rows.
pub(crate) fn select(group_rows: &[u64], slice: &Slice) -> Selected {
    let mut row_groups = Vec::new();
    let mut selectors = Selectors::default();
    let mut start = 0;
    for (index, count) in group_rows.iter().enumerate() {
        let end = start + count;
        let wanted = slice.rows.start.max(start)..slice.rows.end.min(end);
        if wanted.start < wanted.end {
            let runs = slice.of.runs(&wanted);
            if !runs.is_empty() {
                row_groups.push(index);
                selectors.add(&(start..end), &runs);
            }
        }
        start = end;
    }
    let all = selectors.0.iter().all(|selector| !selector.skip);
    Selected {
        row_groups,
        selection: (!all).then(|| selectors.0.into()),
    }
}

#[derive(Debug, Default)]
struct Selectors(Vec<RowSelector>);

impl Selectors {
    /// One row group that is read, and the runs of it that are wanted.
    fn add(&mut self, group: &Range<u64>, runs: &[Range<u64>]) {
        let mut at = group.start;
        for run in runs {
            self.skip(run.start - at);
            self.0
                .push(RowSelector::select((run.end - run.start) as usize));
            at = run.end;
        }
        self.skip(group.end - at);
    }

    fn skip(&mut self, rows: u64) {
        if rows > 0 {
            self.0.push(RowSelector::skip(rows as usize));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn input(bytes: u64, records: u64, deleted: &[u64]) -> Arc<InputRows> {
        Arc::new(InputRows::without(0, bytes, records, deleted.to_vec()))
    }

    fn bytes(row_group: u64) -> Limits {
        Limits {
            row_group,
            touched: u64::MAX,
        }
    }

    fn rows_of(slice: &Slice) -> Vec<(usize, u64)> {
        let runs = slice.of.runs(&slice.rows).into_iter();
        runs.flatten().map(|row| (slice.of.input, row)).collect()
    }

    /// Every live row is in exactly one row group, in order.
    fn check(inputs: &[Arc<InputRows>], outputs: usize, limits: Limits) -> Vec<Vec<RowGroup>> {
        let laid = lay_out(inputs, outputs, limits);
        let slices = laid.iter().flatten().flat_map(|group| &group.slices);
        let got: Vec<(usize, u64)> = slices.flat_map(rows_of).collect();
        let all = inputs.iter().map(|input| Slice {
            of: Arc::clone(input),
            rows: 0..input.records,
        });
        let want: Vec<(usize, u64)> = all.flat_map(|slice| rows_of(&slice)).collect();
        assert_eq!(got, want);
        for group in laid.iter().flatten() {
            assert_eq!(
                group.rows,
                group.slices.iter().map(Slice::live).sum::<u64>()
            );
            assert!(group.rows > 0);
        }
        laid
    }

    #[test]
    fn every_live_row_lands_once_and_in_order() {
        let many: Vec<_> = (0..40).map(|n| input(1_000, 100, &[n, n + 40])).collect();
        assert_eq!(check(&many, 1, bytes(1 << 30)).len(), 1);
        assert_eq!(check(&many, 4, bytes(1 << 30)).len(), 4);
        assert_eq!(check(&many, 3, bytes(3_000))[0].len(), 5);
        let large = [input(1_000_000, 1_000, &[0, 999]), input(10, 1, &[])];
        assert_eq!(check(&large, 5, bytes(1 << 30)).len(), 5);
    }

    #[test]
    fn outputs_of_deleted_rows_only_are_left_out() {
        let gone: Vec<u64> = (0..100).collect();
        assert!(check(&[input(1_000, 100, &gone)], 2, bytes(1 << 30)).is_empty());
        let one = [input(1_000, 100, &gone), input(500, 10, &[])];
        assert_eq!(check(&one, 1, bytes(1 << 30)).len(), 1);
    }

    #[test]
    fn outputs_are_about_the_same_size() {
        let of = |laid: Vec<Vec<RowGroup>>| -> Vec<u64> {
            let sum = |groups: &Vec<RowGroup>| groups.iter().map(|group| group.bytes).sum();
            laid.iter().map(sum).collect()
        };
        let inputs = [input(1_000, 1_000, &[]), input(2_000, 1_000, &[])];
        assert_eq!(of(check(&inputs, 3, bytes(1 << 30))), [1_000; 3]);
        // Also when all the rows lie at the end of their file.
        let end = input(10_000, 10_000, &[]).only((9_000..10_000).collect());
        assert_eq!(of(check(&[Arc::new(end)], 2, bytes(1 << 30))), [500; 2]);
    }

    #[test]
    fn row_groups_are_bounded_in_rows() {
        let laid = lay_out(&[input(10, 3 * ROW_GROUP_ROWS_MAX, &[])], 1, bytes(1 << 30));
        assert_eq!(
            laid[0].iter().map(|group| group.rows).collect::<Vec<_>>(),
            [ROW_GROUP_ROWS_MAX; 3]
        );
    }

    #[test]
    fn row_groups_are_bounded_in_what_is_read_for_them() {
        // Every tenth row: all bytes are read for a tenth of them.
        let spread = input(1_000, 1_000, &[]).only((0..1_000).step_by(10).collect());
        let limits = Limits {
            row_group: 1_000,
            touched: 250,
        };
        let laid = check(&[Arc::new(spread)], 1, limits);
        let rows: Vec<u64> = laid[0].iter().map(|group| group.rows).collect();
        assert_eq!(rows, [25; 4]);
        assert!(laid[0].iter().all(|group| group.touched <= 250));
    }

    #[track_caller]
    fn selects(of: &Arc<InputRows>, rows: Range<u64>, groups: &[usize], want: Option<&[i64]>) {
        let slice = Slice {
            of: Arc::clone(of),
            rows,
        };
        let selected = select(&[10, 10, 10], &slice);
        assert_eq!(selected.row_groups, groups);
        let selector = |rows: &i64| match usize::try_from(*rows) {
            Ok(rows) => RowSelector::select(rows),
            Err(_) => RowSelector::skip(rows.unsigned_abs() as usize),
        };
        let want = want.map(|want| want.iter().map(selector).collect::<Vec<_>>().into());
        assert_eq!(selected.selection, want);
    }

    #[test]
    fn a_selection_skips_deletes_other_rows_and_row_groups_without_rows() {
        let rows = input(0, 30, &[3, 12, 13, 25]);
        selects(&rows, 5..22, &[0, 1, 2], Some(&[-5, 7, -2, 8, -8]));
        selects(&input(0, 30, &[3]), 10..20, &[1], None);
        let gone = input(0, 30, &(10..20).collect::<Vec<_>>());
        selects(&gone, 0..30, &[0, 2], None);
        let only = Arc::new(gone.only(vec![1, 21, 22, 29]));
        selects(&only, 0..30, &[0, 2], Some(&[-1, 1, -9, 2, -6, 1]));
    }

    proptest! {
        /// Whatever is deleted, and whatever way the rest is split.
        #[test]
        fn rows_split_among_places_are_laid_out_once(
            gone in proptest::collection::vec(any::<bool>(), 1..200),
            places in proptest::collection::vec(0_usize..4, 200),
            outputs in 1_usize..5,
            limit in 1_u64..300,
        ) {
            let records = gone.len() as u64;
            let deleted: Vec<u64> = (0..records).filter(|row| gone[*row as usize]).collect();
            let whole = input(1_000, records, &deleted);
            let limits = Limits { row_group: limit, touched: limit };
            check(std::slice::from_ref(&whole), outputs, limits);
            let mut seen = 0;
            for place in 0..4 {
                let mine = (0..records as u32)
                    .filter(|row| !gone[*row as usize] && places[*row as usize] == place);
                let rows = Arc::new(whole.only(mine.collect()));
                let laid = check(&[rows], outputs, limits);
                seen += laid.iter().flatten().map(|group| group.rows).sum::<u64>();
            }
            prop_assert_eq!(seen + deleted.len() as u64, records);
        }
    }
}
