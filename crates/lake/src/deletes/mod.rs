//! Delete files: which rows of which data files they delete.
//!
//! Reads only: what is deleted is a list of positions for each data file, ascending, each once.
//! Position deletes say it outright (`positions`); equality deletes are looked up in the data
//! files' key columns (`equality`, with the keys in `keys` and `sets`).

pub(crate) mod equality;
pub(crate) mod keys;
mod positions;
mod sets;

pub(crate) use positions::{
    Bounds, DataFiles, DeleteScope, FILE_PATH_ID, Numbers, POSITION_BYTES, POSITION_ID, Positions,
    Wanted, positions_in, read_positions,
};

/// Adds `more` to `rows`; both ascending, each once, and so is the result.
pub(crate) fn merge(rows: &mut Vec<u64>, more: Vec<u64>) {
    if rows.is_empty() {
        *rows = more;
    } else if !more.is_empty() {
        rows.extend(more);
        rows.sort_unstable();
        rows.dedup();
    }
}
