//! Which rows of which inputs become which row group of which output: pure arithmetic.

use std::ops::Range;

use parquet::arrow::arrow_reader::{RowSelection, RowSelector};

/// Rows of one row group at most, as the Parquet libraries do.
pub(crate) const ROW_GROUP_ROWS_MAX: u64 = 1 << 20;
/// A file is not cut when it is smaller than this share of the part being filled.
const WHOLE_FILE_SHARE: f64 = 0.05;

/// What is known of an input's rows.
#[derive(Debug, Clone)]
pub(crate) struct InputRows {
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    /// Deleted positions, ascending, each once, all below `records`.
    pub(crate) deleted: Vec<u64>,
}

impl InputRows {
    fn deleted_in(&self, rows: &Range<u64>) -> &[u64] {
        let start = self.deleted.partition_point(|row| *row < rows.start);
        let end = self.deleted.partition_point(|row| *row < rows.end);
        &self.deleted[start..end]
    }

    /// Rows of `rows` that are not deleted.
    pub(crate) fn live(&self, rows: &Range<u64>) -> u64 {
        rows.end - rows.start - self.deleted_in(rows).len() as u64
    }

    fn weight(&self, rows: &Range<u64>) -> f64 {
        self.live(rows) as f64 * self.bytes as f64 / self.records.max(1) as f64
    }
}

/// Consecutive rows of one input, by position in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) input: usize,
    pub(crate) rows: Range<u64>,
}

/// One output row group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RowGroup {
    pub(crate) slices: Vec<Slice>,
    /// Rows it will hold.
    pub(crate) rows: u64,
    /// Estimated compressed bytes.
    pub(crate) bytes: u64,
}

/// The row groups of each output file. Outputs and row groups without rows are left out.
pub(crate) fn lay_out(
    inputs: &[InputRows],
    outputs: usize,
    row_group_bytes: u64,
) -> Vec<Vec<RowGroup>> {
    let all = inputs.iter().enumerate();
    let all: Vec<_> = all
        .map(|(input, rows)| Slice {
            input,
            rows: 0..rows.records,
        })
        .collect();
    cut(inputs, all, outputs)
        .into_iter()
        .map(|slices| row_groups(inputs, slices, row_group_bytes))
        .filter(|groups| !groups.is_empty())
        .collect()
}

fn row_groups(inputs: &[InputRows], slices: Vec<Slice>, row_group_bytes: u64) -> Vec<RowGroup> {
    let (rows, bytes) = measure(inputs, &slices);
    let parts = bytes
        .div_ceil(row_group_bytes.max(1))
        .max(rows.div_ceil(ROW_GROUP_ROWS_MAX))
        .max(1);
    cut(inputs, slices, parts as usize)
        .into_iter()
        .map(|mut slices| {
            slices.retain(|slice| inputs[slice.input].live(&slice.rows) > 0);
            let (rows, bytes) = measure(inputs, &slices);
            RowGroup {
                slices,
                rows,
                bytes,
            }
        })
        .filter(|group| group.rows > 0)
        .collect()
}

fn measure(inputs: &[InputRows], slices: &[Slice]) -> (u64, u64) {
    let rows = slices
        .iter()
        .map(|slice| inputs[slice.input].live(&slice.rows))
        .sum();
    let bytes: f64 = slices
        .iter()
        .map(|slice| inputs[slice.input].weight(&slice.rows))
        .sum();
    (rows, bytes as u64)
}

/// Cuts `slices` into at most `parts` runs of about the same weight, order kept.
fn cut(inputs: &[InputRows], slices: Vec<Slice>, parts: usize) -> Vec<Vec<Slice>> {
    let total: f64 = slices
        .iter()
        .map(|slice| inputs[slice.input].weight(&slice.rows))
        .sum();
    if parts <= 1 || total <= 0.0 {
        return vec![slices];
    }
    let share = total / parts as f64;
    let mut done = Vec::with_capacity(parts);
    let mut filling = Vec::new();
    let mut filled = 0.0;
    for mut slice in slices {
        loop {
            let weight = inputs[slice.input].weight(&slice.rows);
            let room = share * (done.len() + 1) as f64 - filled;
            let last = done.len() + 1 == parts;
            let length = slice.rows.end - slice.rows.start;
            let fits = weight <= room + share * WHOLE_FILE_SHARE;
            let take = if last || fits {
                length
            } else {
                (length as f64 * room / weight).round() as u64
            };
            let take = take.min(length);
            if take > 0 {
                let rows = slice.rows.start..slice.rows.start + take;
                filled += inputs[slice.input].weight(&rows);
                filling.push(Slice {
                    input: slice.input,
                    rows,
                });
                slice.rows.start += take;
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

/// Finds the row groups that `rows` touch and selects the rows that are wanted and not deleted.
pub(crate) fn select(group_rows: &[u64], rows: &Range<u64>, input: &InputRows) -> Selected {
    let mut row_groups = Vec::new();
    let mut touched: Option<Range<u64>> = None;
    let mut start = 0;
    for (index, count) in group_rows.iter().enumerate() {
        let end = start + count;
        if start < rows.end && rows.start < end {
            row_groups.push(index);
            touched = Some(touched.map_or(start, |touched| touched.start)..end);
        }
        start = end;
    }
    let touched = touched.unwrap_or(rows.clone());
    let deleted = input.deleted_in(rows);
    if deleted.is_empty() && touched == *rows {
        return Selected {
            row_groups,
            selection: None,
        };
    }
    let mut selectors = Vec::with_capacity(2 * deleted.len() + 3);
    let mut at = touched.start;
    skip_to(&mut selectors, &mut at, rows.start);
    for row in deleted {
        select_to(&mut selectors, &mut at, *row);
        skip_to(&mut selectors, &mut at, row + 1);
    }
    select_to(&mut selectors, &mut at, rows.end);
    skip_to(&mut selectors, &mut at, touched.end);
    Selected {
        row_groups,
        selection: Some(selectors.into()),
    }
}

fn skip_to(selectors: &mut Vec<RowSelector>, at: &mut u64, to: u64) {
    if *at < to {
        selectors.push(RowSelector::skip((to - *at) as usize));
        *at = to;
    }
}

fn select_to(selectors: &mut Vec<RowSelector>, at: &mut u64, to: u64) {
    if *at < to {
        selectors.push(RowSelector::select((to - *at) as usize));
        *at = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: u64, records: u64, deleted: &[u64]) -> InputRows {
        InputRows {
            bytes,
            records,
            deleted: deleted.to_vec(),
        }
    }

    /// Every live row is in exactly one row group, in order.
    fn check(inputs: &[InputRows], outputs: usize, row_group_bytes: u64) -> Vec<Vec<RowGroup>> {
        let laid = lay_out(inputs, outputs, row_group_bytes);
        let live = |slice: &Slice| {
            let input = &inputs[slice.input];
            slice
                .rows
                .clone()
                .filter(|row| !input.deleted.contains(row))
                .map(|row| (slice.input, row))
                .collect()
        };
        let got: Vec<(usize, u64)> = laid
            .iter()
            .flatten()
            .flat_map(|group| &group.slices)
            .flat_map(|slice| -> Vec<_> { live(slice) })
            .collect();
        let all = inputs.iter().enumerate().map(|(input, rows)| Slice {
            input,
            rows: 0..rows.records,
        });
        let want: Vec<(usize, u64)> = all.flat_map(|slice| -> Vec<_> { live(&slice) }).collect();
        assert_eq!(got, want);
        for group in laid.iter().flatten() {
            let rows: u64 = group
                .slices
                .iter()
                .map(|slice| inputs[slice.input].live(&slice.rows))
                .sum();
            assert_eq!(group.rows, rows);
            assert!(rows > 0);
        }
        laid
    }

    #[test]
    fn every_live_row_lands_once_and_in_order() {
        let many: Vec<_> = (0..40).map(|n| input(1_000, 100, &[n, n + 40])).collect();
        assert_eq!(check(&many, 1, 1 << 30).len(), 1);
        assert_eq!(check(&many, 4, 1 << 30).len(), 4);
        assert_eq!(check(&many, 3, 3_000)[0].len(), 5);
        let large = [input(1_000_000, 1_000, &[0, 999]), input(10, 1, &[])];
        assert_eq!(check(&large, 5, 1 << 30).len(), 5);
    }

    #[test]
    fn outputs_of_deleted_rows_only_are_left_out() {
        let gone: Vec<u64> = (0..100).collect();
        assert!(check(&[input(1_000, 100, &gone)], 2, 1 << 30).is_empty());
        assert_eq!(
            check(&[input(1_000, 100, &gone), input(500, 10, &[])], 1, 1 << 30).len(),
            1
        );
    }

    #[test]
    fn outputs_are_about_the_same_size() {
        let laid = check(
            &[input(1_000, 1_000, &[]), input(2_000, 1_000, &[])],
            3,
            1 << 30,
        );
        let bytes: Vec<u64> = laid
            .iter()
            .map(|groups| groups.iter().map(|group| group.bytes).sum())
            .collect();
        assert_eq!(bytes, [1_000, 1_000, 1_000]);
    }

    #[test]
    fn row_groups_are_bounded_in_rows() {
        let laid = lay_out(&[input(10, 3 * ROW_GROUP_ROWS_MAX, &[])], 1, 1 << 30);
        assert_eq!(
            laid[0].iter().map(|group| group.rows).collect::<Vec<_>>(),
            [ROW_GROUP_ROWS_MAX; 3]
        );
    }

    #[test]
    fn a_selection_skips_deletes_and_other_rows_of_the_row_groups() {
        let rows = input(0, 30, &[3, 12, 13, 25]);
        let selected = select(&[10, 10, 10], &(5..22), &rows);
        assert_eq!(selected.row_groups, [0, 1, 2]);
        let want = vec![
            RowSelector::skip(5),
            RowSelector::select(7),
            RowSelector::skip(2),
            RowSelector::select(8),
            RowSelector::skip(8),
        ];
        assert_eq!(selected.selection, Some(want.into()));
        let all = select(&[10, 10, 10], &(10..20), &input(0, 30, &[3]));
        assert_eq!(
            all,
            Selected {
                row_groups: vec![1],
                selection: None
            }
        );
    }
}
