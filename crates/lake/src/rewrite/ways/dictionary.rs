//! A chunk with one dictionary made of the inputs': each value of each dictionary is looked up once,
//! rows only have their indices translated.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};
use parquet::basic::Encoding;

use super::assembly::{Assembled, Assembly};
use super::compress::Packer;
use super::hybrid::{pack, width_of};
use super::paging::{Levels, put};
use super::stored::Stored;
use super::value::{Kind, Seen, bare, look};
use super::wanted::Wanted;
use super::{Odd, Stop};

/// The dictionaries of some chunks as one.
#[derive(Debug)]
pub(super) struct Merged {
    /// Its values as a dictionary page has them, and where each begins.
    pub(super) bytes: Vec<u8>,
    starts: Vec<u32>,
    /// For each chunk, by its own index: the index in here.
    indices: Vec<Vec<u32>>,
}

/// Values of which there are fewer say too little of how many others there are.
const TOLD_BY: u64 = 4096;

/// What one dictionary had in common with those before it.
#[derive(Debug, Clone, Copy)]
struct Met {
    /// Values of those before it, each counted once.
    before: u64,
    values: u64,
    new: u64,
}

impl Met {
    /// Whether the values all are taken from seem to be more than so many. Drawn by chance from n,
    /// a share of before / n of a dictionary's values would be known. Wrong where dictionaries
    /// differ at first and are alike later, and then no harm is done: to merge them is the cheaper
    /// way, not the only one.
    fn out_of_more_than(self, count: u64) -> bool {
        let known = u128::from(self.values - self.new);
        TOLD_BY <= self.before.min(self.values)
            && known * u128::from(count) < u128::from(self.values) * u128::from(self.before)
    }
}

impl Merged {
    /// `None`: it would be larger than the output's may be, or its values have no simple order.
    pub(super) fn of(
        wanted: &Wanted,
        stored: &[Stored<'_>],
        stop: &Stop<'_>,
    ) -> Result<Option<Self>, Odd> {
        let kind = wanted.kind;
        let (hasher, mut known) = (DefaultHashBuilder::default(), HashTable::<u32>::new());
        let mut merged = Self {
            bytes: Vec::new(),
            starts: vec![0],
            indices: Vec::new(),
        };
        // Values of dictionaries not yet looked at.
        let sizes = stored.iter().map(|stored| stored.dictionary_size().values);
        let mut left = sizes.fold(0, u64::saturating_add);
        for stored in stored {
            stop.look()?;
            let Some(dictionary) = stored.dictionary(kind)? else {
                merged.indices.push(Vec::new());
                continue;
            };
            if look(kind, &dictionary.bytes, dictionary.count())?.nans > 0 {
                return Ok(None);
            }
            let before = known.len();
            left = left.saturating_sub(stored.dictionary_size().values);
            let mut indices = Vec::with_capacity(dictionary.count());
            for value in (0..).map_while(|index| dictionary.value(index)) {
                let hash = hasher.hash_one(value);
                let same = |index: &u32| merged.stored(*index as usize) == value;
                if let Some(index) = known.find(hash, same) {
                    indices.push(*index);
                    continue;
                }
                merged.bytes.extend_from_slice(value);
                if merged.bytes.len() >= wanted.dictionary_bytes {
                    return Ok(None);
                }
                let index = known.len() as u32;
                merged.starts.push(merged.bytes.len() as u32);
                let hash_of = |index: &u32| hasher.hash_one(merged.stored(*index as usize));
                known.insert_unique(hash, index, hash_of);
                indices.push(index);
            }
            let met = Met {
                before: before as u64,
                values: indices.len() as u64,
                new: (known.len() - before) as u64,
            };
            let fit = (wanted.dictionary_bytes * known.len()).div_ceil(merged.bytes.len().max(1));
            if known.len() as u64 + left > fit as u64 && met.out_of_more_than(2 * fit as u64) {
                return Ok(None);
            }
            merged.indices.push(indices);
        }
        Ok(Some(merged))
    }

    pub(super) fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// With its length, if that is another for each.
    fn stored(&self, index: usize) -> &[u8] {
        &self.bytes[self.starts[index] as usize..self.starts[index + 1] as usize]
    }

    fn value(&self, kind: Kind, index: usize) -> &[u8] {
        bare(kind, self.stored(index))
    }

    /// The place of each value in their order, and the value at each place.
    fn ranked(&self, kind: Kind) -> (Vec<u32>, Vec<u32>) {
        let mut sorted: Vec<u32> = (0..self.count() as u32).collect();
        let value = |index: &u32| self.value(kind, *index as usize);
        sorted.sort_unstable_by(|one, two| kind.order(value(one), value(two)));
        let mut ranks = vec![0; sorted.len()];
        for (rank, index) in sorted.iter().enumerate() {
            ranks[*index as usize] = rank as u32;
        }
        (ranks, sorted)
    }
}

pub(super) fn remap(
    wanted: &Wanted,
    stored: &[Stored<'_>],
    (merged, rows): (&Merged, u64),
    stop: &Stop<'_>,
) -> Result<Assembled, Odd> {
    let mut packer = Packer::new(wanted.codec)?;
    let dictionary = packer.pack(merged.bytes.clone())?;
    let mut assembly = Assembly::new(wanted, dictionary.len());
    assembly.dictionary(dictionary, merged.count(), merged.bytes.len())?;
    let (ranks, sorted) = merged.ranked(wanted.kind);
    let mut chunk = Chunk {
        wanted,
        packer,
        assembly,
        merged,
        ranks,
        sorted,
        width: width_of(merged.count()),
        levels: Levels::default(),
        indices: Vec::new(),
    };
    for (stored, translated) in stored.iter().zip(&merged.indices) {
        stop.look()?;
        chunk.add(stored, translated)?;
    }
    chunk.flush()?;
    chunk.assembly.finish(rows)
}

/// The output's chunk, and the page being filled.
struct Chunk<'a> {
    wanted: &'a Wanted,
    packer: Packer,
    assembly: Assembly<'a>,
    merged: &'a Merged,
    ranks: Vec<u32>,
    sorted: Vec<u32>,
    /// Bits of each index.
    width: u32,
    levels: Levels,
    indices: Vec<u32>,
}

impl Chunk<'_> {
    fn add(&mut self, stored: &Stored<'_>, translated: &[u32]) -> Result<(), Odd> {
        let mut pages = stored.pages()?;
        let mut own = Vec::new();
        while let Some(page) = pages.next(self.wanted.nullable())? {
            own.clear();
            page.indices(&mut own)?;
            let mut own = own.iter();
            for row in 0..page.rows {
                let levels = page.levels.as_deref();
                let defined = levels.is_none_or(|levels| levels[row] == 1);
                if defined {
                    let index = *own.next().ok_or("an index is missing")? as usize;
                    let index = translated.get(index);
                    self.indices
                        .push(*index.ok_or("an index is beyond the dictionary")?);
                }
                self.levels.add(self.wanted, defined);
                if self.full() {
                    self.flush()?;
                }
            }
        }
        Ok(())
    }

    fn full(&self) -> bool {
        let bytes = self.indices.len() * self.width as usize / 8;
        self.levels.rows >= self.wanted.page_rows || bytes >= self.wanted.page_bytes
    }

    /// Ends the page being filled.
    fn flush(&mut self) -> Result<(), Odd> {
        if self.levels.rows == 0 {
            return Ok(());
        }
        let seen = self.seen();
        let (width, indices) = (self.width, std::mem::take(&mut self.indices));
        put(
            &mut self.assembly,
            (self.wanted, &mut self.packer),
            &mut self.levels,
            Encoding::RLE_DICTIONARY,
            seen,
            |page| {
                page.push(width as u8);
                pack(&indices, width, page);
            },
        )
    }

    fn seen(&self) -> Seen {
        let kind = self.wanted.kind;
        let ranks = self.indices.iter().map(|index| self.ranks[*index as usize]);
        let ends = ranks.fold(None, |ends, rank| match ends {
            None => Some((rank, rank)),
            Some((min, max)) => Some((rank.min(min), rank.max(max))),
        });
        let value = |rank: u32| {
            let index = self.sorted[rank as usize];
            self.merged.value(kind, index as usize).to_vec()
        };
        let lengths = self.indices.iter().map(|index| {
            let value = self.merged.value(kind, *index as usize);
            value.len() as u64
        });
        Seen {
            bounds: ends.map(|(min, max)| (value(min), value(max))),
            nans: 0,
            variable_bytes: if kind.variable() { lengths.sum() } else { 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dictionaries_have_in_common_tells_how_many_values_there_are() {
        let met = |before: u64, known: u64| Met {
            before,
            values: 10_000,
            new: 10_000 - known,
        };
        assert!(met(10_000, 0).out_of_more_than(250_000));
        // Of 100,000 values a tenth was known.
        assert!(!met(10_000, 1_000).out_of_more_than(250_000));
        assert!(!met(10_000, 1_000).out_of_more_than(100_000));
        assert!(met(10_000, 1_000).out_of_more_than(99_000));
        assert!(!met(1_000, 0).out_of_more_than(250_000), "too few to tell");
    }
}
