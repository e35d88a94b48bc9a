//! A chunk of `PLAIN` pages: those of the inputs are copied, dictionaries dissolved. A dictionary
//! that the rows refer to as 0, 1, 2 .. is the body of such a page as it is.
//!
//! A copied page keeps the level it was packed with: a level is how hard a writer tries, nothing a
//! reader sees, and to unpack and pack again costs more than all else a rewrite does.

use parquet::basic::Encoding;

use super::assembly::{Assembled, Assembly, Told};
use super::compress::Packer;
use super::paging::{Levels, around, put};
use super::stored::{Dictionary, Held, Stored, Unpacked};
use super::value::look;
use super::wanted::{Pages, Wanted};
use super::{Odd, Stop};

/// The chunk, and whether values were gathered for it one by one.
pub(super) fn make(
    wanted: &Wanted,
    stored: &[Stored<'_>],
    rows: u64,
    stop: &Stop<'_>,
) -> Result<(Assembled, bool), Odd> {
    let bytes = stored.iter().map(Stored::bytes).sum();
    let mut chunk = Chunk {
        wanted,
        packer: Packer::new(wanted.codec)?,
        assembly: Assembly::new(wanted, bytes),
        levels: Levels::default(),
        values: Vec::new(),
        gathered: false,
    };
    for stored in stored {
        stop.look()?;
        chunk.add(stored)?;
    }
    chunk.flush()?;
    Ok((chunk.assembly.finish(rows)?, chunk.gathered))
}

/// The output's chunk, and the page being filled.
struct Chunk<'a> {
    wanted: &'a Wanted,
    packer: Packer,
    assembly: Assembly<'a>,
    levels: Levels,
    values: Vec<u8>,
    gathered: bool,
}

/// The rows of one input's chunk so far, as long as they refer to the values of its dictionary one
/// after the other.
#[derive(Default)]
struct InOrder {
    /// Of a nullable column.
    levels: Vec<u32>,
    values: u32,
}

impl InOrder {
    fn rows(&self) -> usize {
        self.levels.len().max(self.values as usize)
    }
}

impl Chunk<'_> {
    fn add(&mut self, stored: &Stored<'_>) -> Result<(), Odd> {
        let dictionary = stored.dictionary(self.wanted.kind)?;
        let (dictionary, same_codec) = (dictionary.as_ref(), stored.same_codec);
        let mut before = Some(InOrder::default());
        let mut indices = Vec::new();
        let mut pages = stored.pages()?;
        while let Some(page) = pages.next(self.wanted.nullable())? {
            if page.held == Held::Plain {
                self.end(before.take(), dictionary, same_codec)?;
                self.copy(page)?;
                continue;
            }
            indices.clear();
            page.indices(&mut indices)?;
            let levels = page.levels.as_deref().unwrap_or_default();
            if let Some(before) = &mut before
                && before.rows() + page.rows <= self.wanted.page_rows_max()
                && indices
                    .iter()
                    .zip(before.values..)
                    .all(|(index, at)| *index == at)
            {
                before.levels.extend_from_slice(levels);
                before.values += indices.len() as u32;
                continue;
            }
            if let Some(before) = before.take() {
                self.gather(dictionary, &before.levels, 0..before.values)?;
            }
            self.gather(dictionary, levels, indices.iter().copied())?;
        }
        self.end(before, dictionary, same_codec)
    }

    fn copy(&mut self, page: Unpacked) -> Result<(), Odd> {
        self.flush()?;
        let present = page.present();
        let told = Told {
            rows: page.rows,
            nulls: page.rows - present,
            seen: look(self.wanted.kind, &page.values, present)?,
        };
        let (page, unpacked) = page.packed;
        self.assembly.data(page, unpacked, told)
    }

    /// No more rows come that refer to the dictionary.
    fn end(
        &mut self,
        rows: Option<InOrder>,
        dictionary: Option<&Dictionary>,
        same_codec: bool,
    ) -> Result<(), Odd> {
        let Some(rows) = rows else {
            return Ok(());
        };
        match dictionary {
            Some(dictionary) if same_codec && self.is_page(dictionary, &rows) => {
                self.transplant(dictionary, &rows)
            }
            _ => self.gather(dictionary, &rows.levels, 0..rows.values),
        }
    }

    /// Whether the dictionary is a page of these rows, and of some size.
    fn is_page(&self, dictionary: &Dictionary, rows: &InOrder) -> bool {
        let mut page = Pages::default();
        page.add(rows.rows() as u64, dictionary.bytes.len() as u64);
        let every = rows.values > 0 && rows.values as usize == dictionary.count();
        every && !self.wanted.tiny(&page) && !self.wanted.huge(&page)
    }

    fn transplant(&mut self, dictionary: &Dictionary, rows: &InOrder) -> Result<(), Odd> {
        self.flush()?;
        let present = rows.values as usize;
        let told = Told {
            rows: rows.rows(),
            nulls: rows.rows() - present,
            seen: look(self.wanted.kind, &dictionary.bytes, present)?,
        };
        let values = (&dictionary.packed, dictionary.bytes.len());
        let (page, unpacked) = around(self.wanted, &rows.levels, values, present);
        self.assembly.data(page, unpacked, told)
    }

    /// Adds the values of rows one by one. A required column has no levels.
    fn gather(
        &mut self,
        dictionary: Option<&Dictionary>,
        levels: &[u32],
        mut indices: impl ExactSizeIterator<Item = u32>,
    ) -> Result<(), Odd> {
        let rows = levels.len().max(indices.len());
        self.gathered |= rows > 0;
        for row in 0..rows {
            let defined = levels.get(row).is_none_or(|level| *level == 1);
            if defined {
                let index = indices.next().ok_or("an index is missing")?;
                let value = dictionary.and_then(|dictionary| dictionary.value(index));
                let value = value.ok_or("an index is beyond the dictionary")?;
                self.values.extend_from_slice(value);
            }
            self.levels.add(self.wanted, defined);
            if self.levels.rows >= self.wanted.page_rows
                || self.values.len() >= self.wanted.page_bytes
            {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Ends the page being filled.
    fn flush(&mut self) -> Result<(), Odd> {
        if self.levels.rows == 0 {
            return Ok(());
        }
        let present = self.levels.rows - self.levels.nulls;
        let seen = look(self.wanted.kind, &self.values, present)?;
        put(
            &mut self.assembly,
            (self.wanted, &mut self.packer),
            &mut self.levels,
            Encoding::PLAIN,
            seen,
            |page| page.append(&mut self.values),
        )
    }
}
