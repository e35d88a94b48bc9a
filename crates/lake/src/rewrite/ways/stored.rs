//! Column chunks as the inputs store them, and their pages: unpacked, their checksums verified, as
//! long as they say.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{Page, PageReader};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;

use super::Odd;
use super::choice::Size;
use super::hybrid;
use super::value::{Kind, starts};
use crate::files::sound::{Head, heads};
use crate::files::source::Fetched;

/// Pages of one chunk that are kept in mind.
const PAGES_MAX: usize = 16 << 10;
/// Encodings, as pages' headers number them.
const PLAIN: i64 = 0;
const PLAIN_DICTIONARY: i64 = 2;
const RLE_DICTIONARY: i64 = 8;

/// One column chunk of one input, all of whose rows are wanted.
#[derive(Debug)]
pub(super) struct Stored<'a> {
    fetched: &'a Fetched,
    column: &'a ColumnChunkMetaData,
    heads: Vec<Head>,
    /// Its bytes are packed as the output's.
    pub(super) same_codec: bool,
}

/// How a page of data holds its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Plain,
    /// As indices into the dictionary.
    Indexed,
}

/// `None`: in an encoding that is left to the library.
pub(super) fn held(head: &Head) -> Option<Held> {
    match head.encoding {
        PLAIN => Some(Held::Plain),
        PLAIN_DICTIONARY | RLE_DICTIONARY => Some(Held::Indexed),
        _ => None,
    }
}

impl<'a> Stored<'a> {
    pub(super) fn new(
        fetched: &'a Fetched,
        column: &'a ColumnChunkMetaData,
        rows: i64,
        codec: Compression,
    ) -> Result<Self, Odd> {
        let mut found = Vec::new();
        heads(fetched, column, |head| {
            if found.len() == PAGES_MAX {
                return Err("it has too many pages".to_owned());
            }
            found.push(head);
            Ok(())
        })?;
        let dictionaries = found.iter().skip(1).any(|head| head.dictionary);
        let known = found.iter().all(|head| head.dictionary || head.data);
        let filled = found.iter().all(|head| head.dictionary || head.values > 0);
        if dictionaries || !known || !filled || column.num_values() != rows {
            return Err("its pages are not as writers write them".into());
        }
        Ok(Self {
            fetched,
            column,
            heads: found,
            same_codec: same_codec(column.compression(), codec),
        })
    }

    /// Of its pages, as the file has them.
    pub(super) fn bytes(&self) -> usize {
        let bodies = self
            .heads
            .iter()
            .map(|head| head.body.end - head.body.start);
        bodies.sum::<u64>() as usize
    }

    pub(super) fn data(&self) -> impl Iterator<Item = &Head> {
        self.heads.iter().filter(|head| !head.dictionary)
    }

    /// What the header of its dictionary says; nothing, if it has none.
    pub(super) fn dictionary_size(&self) -> Size {
        let first = self.heads.first().filter(|head| head.dictionary);
        first.map_or(Size::default(), |head| Size {
            values: head.values,
            bytes: head.unpacked,
        })
    }

    /// Its dictionary, if it has one: only that page is unpacked.
    pub(super) fn dictionary(&self, kind: Kind) -> Result<Option<Dictionary>, Odd> {
        let first = self.heads.first().filter(|head| head.dictionary);
        first.map_or(Ok(None), |head| {
            let page = Pages::of(self)?.unpacked(head)?;
            let Page::DictionaryPage { buf, encoding, .. } = page else {
                return Err("its dictionary is none".into());
            };
            // The older name says the same of a dictionary.
            if ![Encoding::PLAIN, Encoding::PLAIN_DICTIONARY].contains(&encoding) {
                return Err("its dictionary is encoded".into());
            }
            if head.values > self.column.num_values() as u64 {
                return Err("its dictionary has more values than there are rows".into());
            }
            Ok(Some(Dictionary {
                starts: starts(kind, &buf, head.values as usize)?,
                packed: body(self.fetched, head)?,
                bytes: buf,
            }))
        })
    }

    /// Its pages of data, one after the other.
    pub(super) fn pages(&self) -> Result<Pages<'_>, Odd> {
        let mut pages = Pages::of(self)?;
        let dictionaries = self.heads.iter().filter(|head| head.dictionary);
        for _ in dictionaries {
            pages.reader.skip_next_page()?;
        }
        Ok(pages)
    }
}

/// Levels are no part of it: a page says nothing of the level it was packed with.
fn same_codec(one: Compression, two: Compression) -> bool {
    std::mem::discriminant(&one) == std::mem::discriminant(&two)
}

fn body(fetched: &Fetched, head: &Head) -> Result<Bytes, Odd> {
    let length = head.body.end - head.body.start;
    Ok(fetched.get_bytes(head.body.start, length as usize)?)
}

/// A dictionary page.
#[derive(Debug)]
pub(super) struct Dictionary {
    /// Where each value begins, and where the last ends.
    starts: Vec<u32>,
    /// As the file has it.
    pub(super) packed: Bytes,
    /// Its values as a `PLAIN` page has them.
    pub(super) bytes: Bytes,
}

impl Dictionary {
    pub(super) fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// With its length, if that is another for each.
    pub(super) fn value(&self, index: u32) -> Option<&[u8]> {
        let index = index as usize;
        let (from, to) = (self.starts.get(index)?, self.starts.get(index + 1)?);
        self.bytes.get(*from as usize..*to as usize)
    }
}

/// The pages of data of a chunk.
pub(super) struct Pages<'a> {
    reader: SerializedPageReader<Fetched>,
    stored: &'a Stored<'a>,
    heads: std::slice::Iter<'a, Head>,
}

/// A page of data.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) rows: usize,
    pub(super) held: Held,
    /// For each row whether there is a value, 0 or 1; of a required column none.
    pub(super) levels: Option<Vec<u32>>,
    /// What follows the levels.
    pub(super) values: Bytes,
    /// All of it, as the file has it, and its length unpacked.
    pub(super) packed: (Page, usize),
}

impl Unpacked {
    /// Rows with a value.
    pub(super) fn present(&self) -> usize {
        match &self.levels {
            None => self.rows,
            Some(levels) => levels.iter().filter(|level| **level == 1).count(),
        }
    }

    /// The indices of an indexed page, appended.
    pub(super) fn indices(&self, to: &mut Vec<u32>) -> Result<(), Odd> {
        let present = self.present();
        if present == 0 {
            return Ok(());
        }
        let (width, runs) = self.values.split_first().ok_or("a page has no indices")?;
        hybrid::unpack(runs, u32::from(*width), present, to)
    }
}

impl<'a> Pages<'a> {
    fn of(stored: &'a Stored<'a>) -> Result<Self, Odd> {
        let fetched = Arc::new(stored.fetched.clone());
        Ok(Self {
            reader: SerializedPageReader::new(fetched, stored.column, 0, None)?,
            stored,
            heads: stored.heads.iter(),
        })
    }

    /// The next page of the reader, which must be the one of this head.
    fn unpacked(&mut self, head: &Head) -> Result<Page, Odd> {
        let page = self.reader.get_next_page()?.ok_or("a page is missing")?;
        if page.buffer().len() as u64 != head.unpacked
            || page.is_dictionary_page() != head.dictionary
            || u64::from(page.num_values()) != head.values
        {
            return Err("a page is not what its header says".into());
        }
        Ok(page)
    }

    /// A column of one level at most is what this is for: `nullable` or required.
    pub(super) fn next(&mut self, nullable: bool) -> Result<Option<Unpacked>, Odd> {
        let head = self.heads.by_ref().find(|head| !head.dictionary);
        let Some(head) = head else {
            return Ok(None);
        };
        let page = self.unpacked(head)?;
        let rows = page.num_values() as usize;
        let (levels, values) = split(&page, nullable)?;
        let data = Unpacked {
            rows,
            held: held(head).ok_or("a page has another encoding")?,
            levels,
            values,
            packed: (
                packed(page, body(self.stored.fetched, head)?),
                head.unpacked as usize,
            ),
        };
        data.counted()?;
        Ok(Some(data))
    }
}

impl Unpacked {
    /// A page of the second kind says itself what its levels say.
    fn counted(&self) -> Result<(), Odd> {
        let Page::DataPageV2 {
            num_nulls,
            num_rows,
            ..
        } = &self.packed.0
        else {
            return Ok(());
        };
        let nulls = self.rows - self.present();
        if *num_nulls as usize == nulls && *num_rows as usize == self.rows {
            Ok(())
        } else {
            Err("a page has other rows or nulls than it says".into())
        }
    }
}

/// Takes the levels off a page.
fn split(page: &Page, nullable: bool) -> Result<(Option<Vec<u32>>, Bytes), Odd> {
    const CUT: &str = "the levels of a page are longer than it";
    let count = page.num_values() as usize;
    let (levels, values) = match page {
        Page::DataPage { buf, .. } if !nullable => return Ok((None, buf.clone())),
        Page::DataPage {
            buf,
            def_level_encoding: Encoding::RLE,
            ..
        } => {
            let (length, rest) = buf.split_first_chunk().ok_or(CUT)?;
            let length = u32::from_le_bytes(*length) as usize;
            let levels = rest.get(..length).ok_or(CUT)?;
            (levels, buf.slice(size_of::<u32>() + length..))
        }
        Page::DataPageV2 {
            buf,
            def_levels_byte_len,
            rep_levels_byte_len: 0,
            ..
        } => {
            let length = *def_levels_byte_len as usize;
            let levels = buf.get(..length).ok_or(CUT)?;
            if !nullable {
                return match length {
                    0 => Ok((None, buf.clone())),
                    _ => Err("a required column has levels".into()),
                };
            }
            (levels, buf.slice(length..))
        }
        _ => return Err("a page has levels of another kind".into()),
    };
    let mut unpacked = Vec::with_capacity(count);
    hybrid::unpack(levels, 1, count, &mut unpacked)?;
    if unpacked.iter().any(|level| *level > 1) {
        return Err("a page has levels beyond the column's".into());
    }
    Ok((Some(unpacked), values))
}

/// The page with the bytes the file has, and without statistics, which nothing has proven.
fn packed(mut page: Page, bytes: Bytes) -> Page {
    match &mut page {
        Page::DataPage {
            buf, statistics, ..
        }
        | Page::DataPageV2 {
            buf, statistics, ..
        } => {
            *buf = bytes;
            *statistics = None;
        }
        Page::DictionaryPage { buf, .. } => *buf = bytes,
    }
    page
}
