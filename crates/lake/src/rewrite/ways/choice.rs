//! Which way a column's chunk is made: the cheapest one that yields the same values.

use std::fmt;

use planner::ColumnChunks;

use super::hybrid::width_of;
use super::wanted::{Pages, Wanted};

/// A dictionary is not dissolved where its values, one for each row, take more than so many times
/// the bytes of it and the indices.
const SWELLS_TIMES: u64 = 4;

/// Rows of an indexed page, which are unpacked at once into 8 bytes each. Some writers bound pages
/// only by their bytes, so that a row group's million of rows is one.
const INDEXED_ROWS_MAX: u64 = 1 << 20;

/// How a column chunk is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// The inputs' pages of data as they are.
    Copy,
    /// The inputs' dictionaries become one, indices are translated.
    Remap,
    /// Dictionaries are dissolved into `PLAIN` pages; one that holds every value once and in the
    /// order of the rows is such a page already. `PLAIN` pages are copied.
    Unpack,
    /// The same, where no value had to be touched.
    Transplant,
    /// Every value is decoded and encoded again.
    Transcode(Reason),
}

/// Why nothing cheaper will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    Nested,
    BloomFilter,
    /// Not every part stores the column.
    NotStored,
    /// Not every row of the row groups that are read is kept.
    NotAllRows,
    /// The inputs have the column as a narrower or otherwise other type.
    OtherType,
    OtherEncoding,
    OtherCodec,
    TinyPages,
    HugePages,
    /// Its values, one for each row, would take many times the bytes that dictionaries hold them in.
    Swells,
    /// Something no writer is known to do; the library says whether it is an error.
    Odd(String),
}

/// What footers and the headers of pages say of one column in all the inputs of a row group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "facts, not a state")]
pub(super) struct Facts {
    pub(super) not_stored: bool,
    pub(super) not_all_rows: bool,
    pub(super) other_type: bool,
    pub(super) other_encoding: bool,
    pub(super) other_codec: bool,
    pub(super) odd: Option<String>,
    pub(super) plain: Pages,
    pub(super) indexed: Pages,
    /// Of all dictionaries, one after the other.
    pub(super) dictionaries_bytes: u64,
    /// What the values of indexed pages take, one for each row; about, for a row may have none.
    pub(super) dissolved_bytes: u64,
    /// All dictionaries in one; `None`: there are none, or they do not fit into one.
    pub(super) merged: Option<Size>,
}

/// What a dictionary holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) values: u64,
    pub(super) bytes: u64,
}

impl Facts {
    /// What forbids every way but one, as far as known.
    pub(super) fn forbid(&self, wanted: &Wanted) -> Option<Reason> {
        if wanted.bloom_filter {
            Some(Reason::BloomFilter)
        } else if self.not_stored {
            Some(Reason::NotStored)
        } else if self.not_all_rows {
            Some(Reason::NotAllRows)
        } else if self.other_type {
            Some(Reason::OtherType)
        } else if let Some(why) = &self.odd {
            Some(Reason::Odd(why.clone()))
        } else if self.other_encoding {
            Some(Reason::OtherEncoding)
        } else if self.indexed.rows_max > INDEXED_ROWS_MAX {
            Some(Reason::HugePages)
        } else if self.plain.count == 0 {
            None
        } else if self.other_codec {
            Some(Reason::OtherCodec)
        } else if wanted.huge(&self.plain) {
            Some(Reason::HugePages)
        } else if wanted.tiny(&self.plain) {
            Some(Reason::TinyPages)
        } else {
            None
        }
    }

    fn swells(&self) -> bool {
        let held = self.indexed.bytes.saturating_add(self.dictionaries_bytes);
        self.dissolved_bytes > held.saturating_mul(SWELLS_TIMES)
    }
}

/// The cheapest way that is allowed.
pub(super) fn choose(facts: &Facts, wanted: &Wanted) -> Way {
    if let Some(reason) = facts.forbid(wanted) {
        return Way::Transcode(reason);
    }
    match (facts.plain.count, facts.indexed.count, facts.merged) {
        (_, 0, _) => Way::Copy,
        (0, _, Some(merged)) if pays(merged, facts.indexed.rows) => Way::Remap,
        _ if facts.swells() => Way::Transcode(Reason::Swells),
        _ => Way::Unpack,
    }
}

/// Whether a dictionary and its indices take less than the values one after the other.
fn pays(merged: Size, rows: u64) -> bool {
    let (rows, values) = (u128::from(rows), u128::from(merged.values.max(1)));
    let bytes = u128::from(merged.bytes);
    let width = u128::from(width_of(merged.values as usize));
    bytes + rows * width / 8 < rows * bytes / values
}

impl Way {
    /// What was done to the inputs' chunks, without the reason.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Copy => "copied",
            Self::Remap => "remapped",
            Self::Unpack => "unpacked",
            Self::Transplant => "transplanted",
            Self::Transcode(_) => "transcoded",
        }
    }
}

impl Way {
    /// Counts so many chunks that were made this way.
    pub(crate) fn count(&self, chunks: u64, counts: &mut ColumnChunks) {
        let count = match self {
            Self::Copy => &mut counts.copied,
            Self::Remap => &mut counts.remapped,
            Self::Unpack => &mut counts.unpacked,
            Self::Transplant => &mut counts.transplanted,
            Self::Transcode(reason) => {
                counts.because(reason.as_str(), chunks);
                &mut counts.transcoded
            }
        };
        *count += chunks;
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transcode(reason) => write!(f, "{}: {reason}", self.as_str()),
            Self::Copy | Self::Remap | Self::Unpack | Self::Transplant => {
                f.write_str(self.as_str())
            }
        }
    }
}

impl Reason {
    /// A word for it, without what was found.
    fn as_str(&self) -> &'static str {
        match self {
            Self::Nested => "nested",
            Self::BloomFilter => "bloom_filter",
            Self::NotStored => "not_stored",
            Self::NotAllRows => "not_all_rows",
            Self::OtherType => "other_type",
            Self::OtherEncoding => "other_encoding",
            Self::OtherCodec => "other_codec",
            Self::TinyPages => "tiny_pages",
            Self::HugePages => "huge_pages",
            Self::Swells => "swells",
            Self::Odd(_) => "odd",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nested => "it is nested",
            Self::BloomFilter => "a bloom filter needs every value",
            Self::NotStored => "an input does not store it",
            Self::NotAllRows => "not all rows of an input's row group are kept",
            Self::OtherType => "an input has it as another type",
            Self::OtherEncoding => "an input's pages are neither PLAIN nor indices",
            Self::OtherCodec => "an input's pages are packed with another codec",
            Self::TinyPages => "its pages are tiny",
            Self::HugePages => "one of its pages is huge",
            Self::Swells => "it would be many times as large without dictionaries",
            Self::Odd(why) => why,
        })
    }
}

#[cfg(test)]
mod tests;
