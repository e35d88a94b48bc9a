//! Sorted runs of rows: in memory, or in a file that has no name.
//!
//! A row is its key and its values, both in the Arrow row format: bytes that are compared and moved
//! as they are. Runs are numbered in the order their rows were read, which is what rows of equal keys
//! stay in. A file is unlinked before anything is written to it: the system frees it with the process,
//! however that ends.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;
use std::vec::IntoIter;

use arrow_row::Rows;
use snap::read::FrameDecoder;
use snap::write::FrameEncoder;

/// What reading one file takes in memory beside the row at hand, in bytes.
pub(super) const READ_BYTES: u64 = 256 << 10;
/// Bytes of a file read or written at once.
const BUFFER_BYTES: usize = 64 << 10;
/// What [`Place`] takes of memory for each row, in bytes.
const PLACE_BYTES: usize = size_of::<Place>();

/// Rows that were read together.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) keys: Rows,
    pub(super) values: Rows,
}

impl Block {
    /// What it takes of memory until it is written, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let rows = self.keys.num_rows() * PLACE_BYTES;
        (self.keys.size() + self.values.size() + rows) as u64
    }
}

/// Where a row lies, with the first bytes of its key: most comparisons need no more.
#[derive(Debug, Clone, Copy)]
struct Place {
    prefix: u64,
    block: u32,
    row: u32,
}

/// The row that a run is at.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) key: Vec<u8>,
    pub(super) values: Vec<u8>,
}

/// Rows in order.
#[derive(Debug)]
pub(super) enum Run {
    Held(Held),
    Spilled(Spilled),
}

impl Run {
    /// Puts the next row into `row`; false: there is none.
    pub(super) fn next(&mut self, row: &mut Row) -> io::Result<bool> {
        match self {
            Self::Held(held) => Ok(held.next(row)),
            Self::Spilled(spilled) => spilled.next(row),
        }
    }
}

#[derive(Debug)]
pub(super) struct Held {
    blocks: Vec<Block>,
    order: IntoIter<Place>,
}

impl Held {
    /// Sorts the rows of blocks.
    pub(super) fn new(blocks: Vec<Block>) -> Self {
        let rows = blocks.iter().map(|block| block.keys.num_rows()).sum();
        let mut order = Vec::with_capacity(rows);
        for (block, of) in (0..).zip(&blocks) {
            let keys = (0..).zip(of.keys.iter());
            order.extend(keys.map(|(row, key)| Place {
                prefix: prefix(key.data()),
                block,
                row,
            }));
        }
        let key = |place: &Place| blocks[place.block as usize].keys.row(place.row as usize);
        order.sort_unstable_by(|a, b| {
            let prefixes = a.prefix.cmp(&b.prefix);
            prefixes
                .then_with(|| key(a).data().cmp(key(b).data()))
                .then((a.block, a.row).cmp(&(b.block, b.row)))
        });
        let order = order.into_iter();
        Self { blocks, order }
    }

    fn next(&mut self, into: &mut Row) -> bool {
        let Some(Place { block, row, .. }) = self.order.next() else {
            return false;
        };
        let block = &self.blocks[block as usize];
        replace(&mut into.key, block.keys.row(row as usize).data());
        replace(&mut into.values, block.values.row(row as usize).data());
        true
    }
}

/// Eight bytes that compare as the keys they begin do; a shorter key is filled up with zeros.
fn prefix(key: &[u8]) -> u64 {
    let mut first = [0; 8];
    let length = key.len().min(first.len());
    first[..length].copy_from_slice(&key[..length]);
    u64::from_be_bytes(first)
}

fn replace(into: &mut Vec<u8>, bytes: &[u8]) {
    into.clear();
    into.extend_from_slice(bytes);
}

pub(super) struct Spilled {
    from: FrameDecoder<BufReader<File>>,
    /// Rows that were not read yet.
    left: u64,
}

impl std::fmt::Debug for Spilled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spilled")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Spilled {
    fn next(&mut self, into: &mut Row) -> io::Result<bool> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        for bytes in [&mut into.key, &mut into.values] {
            let mut length = [0; 4];
            self.from.read_exact(&mut length)?;
            bytes.resize(u32::from_le_bytes(length) as usize, 0);
            self.from.read_exact(bytes)?;
        }
        Ok(true)
    }
}

/// A run being written. Each row is its two lengths and bytes, packed with Snappy, whose frames have
/// checksums.
pub(super) struct Spill {
    to: FrameEncoder<BufWriter<File>>,
    rows: u64,
}

impl std::fmt::Debug for Spill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spill")
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl Spill {
    pub(super) fn begin(folder: &Path) -> io::Result<Self> {
        let file = tempfile::tempfile_in(folder)?;
        let to = FrameEncoder::new(BufWriter::with_capacity(BUFFER_BYTES, file));
        Ok(Self { to, rows: 0 })
    }

    pub(super) fn add(&mut self, row: &Row) -> io::Result<()> {
        for bytes in [&row.key, &row.values] {
            let length = u32::try_from(bytes.len());
            let length = length.map_err(|_| io::Error::other("a row takes more than 4 GiB"))?;
            self.to.write_all(&length.to_le_bytes())?;
            self.to.write_all(bytes)?;
        }
        self.rows += 1;
        Ok(())
    }

    /// The run, to be read, and its bytes.
    pub(super) fn finish(self) -> io::Result<(Run, u64)> {
        let buffered = self
            .to
            .into_inner()
            .map_err(snap::write::IntoInnerError::into_error)?;
        let mut file = buffered
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        let bytes = file.stream_position()?;
        file.rewind()?;
        let from = BufReader::with_capacity(BUFFER_BYTES, file);
        let run = Spilled {
            from: FrameDecoder::new(from),
            left: self.rows,
        };
        Ok((Run::Spilled(run), bytes))
    }
}
