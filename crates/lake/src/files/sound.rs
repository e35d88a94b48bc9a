//! What must hold of a Parquet file before the library reads it. What it announces is not
//! believed: a few bytes that announce a billion values, a page of 2 GiB or a schema as deep as the
//! footer is long would end the process, not only the job.

mod deltas;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::basic::Compression;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::ChunkReader;
use parquet::schema::types::SchemaDescriptor;

use self::deltas::{DELTA_BYTE_ARRAY, DELTA_LENGTH_BYTE_ARRAY};
use super::thrift::{Bad, Compact, Form, kind};
use crate::Error;

/// Groups a schema may have inside each other; a list counts two or three.
const SCHEMA_DEPTH_MAX: usize = 100;
/// Types of pages, as their headers number them.
const DATA_PAGE: i64 = 0;
const DICTIONARY_PAGE: i64 = 2;
const DATA_PAGE_V2: i64 = 3;
/// Bytes one value of a fixed length may have; a batch of nulls takes as many for each.
const FIXED_BYTES_MAX: i64 = 64 << 10;
/// What any page may unpack to, in bytes, and how many times its own length beyond that: more
/// than writers write, and what deflate reaches at most.
const PAGE_FREE_BYTES: i64 = 64 << 20;
const PAGE_RATIO_MAX: i64 = 1032;

/// Runs what decodes bytes of `location`. A panic is an error that names the file: the library was
/// not prepared for these bytes, and other tables' work goes on.
pub(crate) fn guarded<T>(
    location: &str,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(bad(
            location,
            format!("decoding it panicked: {}", said.unwrap_or("no reason")),
        ))
    })
}

fn bad(location: &str, why: impl Into<String>) -> Error {
    Error::BadFile {
        location: location.to_owned(),
        why: why.into(),
    }
}

/// An element of a schema, but for its field 2, the length of a value, and 5, the number of children.
const ELEMENT: &[(i16, Form)] = &[
    (1, Form::Int),
    (3, Form::Int),
    (4, Form::Binary),
    (6, Form::Int),
    (7, Form::Int),
    (8, Form::Int),
    (9, Form::Int),
    (10, Form::Struct(LOGICAL)),
];
const NOTHING: Form = Form::Struct(&[]);
const TIME: Form = Form::Struct(&[
    (1, Form::Flag),
    (2, Form::Struct(&[(1, NOTHING), (2, NOTHING), (3, NOTHING)])),
]);
/// The logical types: a union.
const LOGICAL: &[(i16, Form)] = &[
    (1, NOTHING),
    (2, NOTHING),
    (3, NOTHING),
    (4, NOTHING),
    (5, Form::Struct(&[(1, Form::Int), (2, Form::Int)])),
    (6, NOTHING),
    (7, TIME),
    (8, TIME),
    (10, Form::Struct(&[(1, Form::Byte), (2, Form::Flag)])),
    (11, NOTHING),
    (12, NOTHING),
    (13, NOTHING),
    (14, NOTHING),
    (15, NOTHING),
    (16, Form::Struct(&[(1, Form::Byte)])),
    (17, Form::Struct(&[(1, Form::Binary)])),
    (18, Form::Struct(&[(1, Form::Binary), (2, Form::Int)])),
];

/// Checks the encoded footer of `location`: the schema, which comes first but for a version.
pub(super) fn footer(location: &str, bytes: &[u8]) -> Result<(), Error> {
    let mut seen = false;
    Compact::new(bytes)
        .fields(|compact, id, kind| match (id, kind) {
            // The library takes the first one, and bounds what follows by the bytes there are.
            _ if seen => compact.skip(kind),
            (1, _) => compact.value(kind, &Form::Int),
            (2, kind::LIST) => {
                seen = true;
                schema(compact)
            }
            _ => Err("its schema does not come first"),
        })
        .map_err(|why| bad(location, format!("its footer is malformed: {why}")))
}

/// Walks over the schema, a list of elements in which each group is followed by its children.
fn schema(compact: &mut Compact<'_>) -> Result<(), Bad> {
    let (kind, count) = compact.list()?;
    if kind != kind::STRUCT {
        return Err("its schema is no list of elements");
    }
    // Children still to come of each group that is open.
    let mut open: Vec<u64> = Vec::new();
    for _ in 0..count {
        let mut children = 0;
        let mut fixed = 0;
        compact.fields(|compact, id, kind| {
            match id {
                2 => fixed = compact.int(kind)?,
                5 => children = compact.int(kind)?,
                _ => known(compact, ELEMENT, id, kind)?,
            }
            Ok(())
        })?;
        if fixed > FIXED_BYTES_MAX {
            return Err("a value of fixed length is too long");
        }
        if let Some(last) = open.last_mut() {
            *last -= 1;
        }
        let children = u64::try_from(children).map_err(|_| "a group has fewer than no fields")?;
        if children > count {
            return Err("a group has more fields than the schema");
        }
        if children > 0 {
            open.push(children);
        }
        while open.last() == Some(&0) {
            open.pop();
        }
        if open.len() > SCHEMA_DEPTH_MAX {
            return Err("its schema nests too deep");
        }
    }
    Ok(())
}

/// Checks where the columns of a file of `size` bytes lie: in it, and none in another.
pub(super) fn places(location: &str, size: u64, footer: &ParquetMetaData) -> Result<(), Error> {
    let mut ranges = Vec::new();
    for (number, group) in footer.row_groups().iter().enumerate() {
        for column in group.columns() {
            let start = column
                .dictionary_page_offset()
                .unwrap_or(column.data_page_offset());
            let range = (|| {
                let (start, length) = (
                    u64::try_from(start).ok()?,
                    u64::try_from(column.compressed_size()).ok()?,
                );
                let end = start.checked_add(length)?;
                (end <= size && column.num_values() >= 0).then_some((start, end))
            })();
            let Some(range) = range else {
                return Err(bad(
                    location,
                    format!(
                        "column {} of row group {number} is said to have {} values in {} bytes at {start}, the file has {size} bytes",
                        column.column_path(),
                        column.num_values(),
                        column.compressed_size()
                    ),
                ));
            };
            if range.0 < range.1 {
                ranges.push(range);
            }
        }
    }
    ranges.sort_unstable();
    match ranges.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        Some(pair) => Err(bad(
            location,
            format!(
                "two of its columns lie in each other, at bytes {} and {}",
                pair[0].0, pair[1].0
            ),
        )),
        None => Ok(()),
    }
}

/// Walks over a field of a structure with these known ones.
fn known(compact: &mut Compact<'_>, forms: &[(i16, Form)], id: i16, kind: u8) -> Result<(), Bad> {
    match forms.iter().find(|(known, _)| *known == id) {
        Some((_, form)) => compact.value(kind, form),
        None => compact.skip(kind),
    }
}

const STATISTICS: Form = Form::Struct(&[
    (1, Form::Binary),
    (2, Form::Binary),
    (3, Form::Long),
    (4, Form::Long),
    (5, Form::Binary),
    (6, Form::Binary),
    (7, Form::Flag),
    (8, Form::Flag),
    (9, Form::Long),
]);
/// The rest of a header of data, of a dictionary, and of data of the second kind.
const DATA: &[(i16, Form)] = &[(3, Form::Int), (4, Form::Int), (5, STATISTICS)];
const DICTIONARY: &[(i16, Form)] = &[(3, Form::Flag)];
const SECOND: &[(i16, Form)] = &[
    (2, Form::Int),
    (3, Form::Int),
    (5, Form::Int),
    (6, Form::Int),
    (7, Form::Flag),
    (8, STATISTICS),
];

/// What a page's header says of its values.
#[derive(Debug, Default, Clone, Copy)]
struct Values {
    count: i64,
    encoding: i64,
}

/// What a page's header says.
#[derive(Debug, Default)]
struct Header {
    ty: i64,
    unpacked_bytes: i64,
    packed_bytes: i64,
    data: Values,
    dictionary: Values,
    second: Values,
    length: u64,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, Bad> {
        let mut header = Self::default();
        let mut compact = Compact::new(bytes);
        compact.fields(|compact, id, kind| {
            match id {
                1 => header.ty = compact.int(kind)?,
                2 => header.unpacked_bytes = compact.int(kind)?,
                3 => header.packed_bytes = compact.int(kind)?,
                4 => drop(compact.int(kind)?),
                5 => header.data = Values::read(compact, kind, 2, DATA)?,
                6 => compact.value(kind, &NOTHING)?,
                7 => header.dictionary = Values::read(compact, kind, 2, DICTIONARY)?,
                8 => header.second = Values::read(compact, kind, 4, SECOND)?,
                _ => compact.skip(kind)?,
            }
            Ok(())
        })?;
        header.length = compact.position() as u64;
        Ok(header)
    }

    /// Those of its own type; it may say something of others.
    fn values(&self) -> Values {
        match self.ty {
            DICTIONARY_PAGE => self.dictionary,
            DATA_PAGE_V2 => self.second,
            _ => self.data,
        }
    }
}

impl Values {
    fn read(
        compact: &mut Compact<'_>,
        kind: u8,
        encoding: i16,
        forms: &[(i16, Form)],
    ) -> Result<Self, Bad> {
        if kind != kind::STRUCT {
            return Err("a part of it is no structure");
        }
        let mut values = Self::default();
        compact.fields(|compact, id, kind| {
            match id {
                1 => values.count = compact.int(kind)?,
                id if id == encoding => values.encoding = compact.int(kind)?,
                _ => known(compact, forms, id, kind)?,
            }
            Ok(())
        })?;
        Ok(values)
    }
}

/// Checks the pages of some top-level columns in some row groups of `location`; `bytes` has them.
pub(crate) fn pages<R>(
    location: &str,
    bytes: &R,
    footer: &ParquetMetaData,
    roots: &[usize],
    row_groups: &[usize],
) -> Result<(), Error>
where
    R: ChunkReader + Clone + 'static,
{
    let schema = footer.file_metadata().schema_descr();
    for group in row_groups {
        let columns = footer.row_group(*group).columns();
        for leaf in roots.iter().flat_map(|root| leaves(schema, *root)) {
            chunk(bytes, &columns[leaf]).map_err(|why| {
                let path = columns[leaf].column_path();
                bad(
                    location,
                    format!("column {path} of row group {group}: {why}"),
                )
            })?;
        }
    }
    Ok(())
}

/// The leaves of a top-level column: neighbours, found without looking at thousands of others.
pub(crate) fn leaves(schema: &SchemaDescriptor, root: usize) -> std::ops::Range<usize> {
    let first = |root: usize| {
        let (mut low, mut high) = (0, schema.num_columns());
        while low < high {
            let middle = low.midpoint(high);
            if schema.get_column_root_idx(middle) < root {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    };
    first(root)..first(root + 1)
}

/// Where a page lies in its file, and what its header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) dictionary: bool,
    /// Of data, in either form.
    pub(crate) data: bool,
    /// As the format numbers it.
    pub(crate) encoding: i64,
    pub(crate) values: u64,
    /// Bytes.
    pub(crate) unpacked: u64,
    /// What follows the header.
    pub(crate) body: Range<u64>,
}

/// Checks the pages of one column chunk, and shows the head of each to `look` as it comes; what
/// is read of pages in delta encodings is not looked at.
pub(crate) fn heads<R>(
    bytes: &R,
    column: &ColumnChunkMetaData,
    mut look: impl FnMut(Head) -> Result<(), String>,
) -> Result<(), String>
where
    R: ChunkReader,
{
    let (start, length) = column.byte_range();
    let (mut at, end) = (start, start + length);
    let mut values = 0i64;
    while at < end {
        let rest = bytes.get_bytes(at, (end - at) as usize);
        let rest = rest.map_err(|error| error.to_string())?;
        let header = Header::read(&rest)
            .map_err(|why| format!("the header of the page at byte {at} is malformed: {why}"))?;
        let body = at + header.length;
        fits(&header, column, end.saturating_sub(body))
            .map_err(|what| format!("the page at byte {at} {what}"))?;
        at = body + header.packed_bytes as u64;
        let (held, dictionary) = (header.values(), header.ty == DICTIONARY_PAGE);
        if !dictionary {
            values = values.saturating_add(held.count);
        }
        look(Head {
            dictionary,
            data: [DATA_PAGE, DATA_PAGE_V2].contains(&header.ty),
            encoding: held.encoding,
            values: held.count as u64,
            unpacked: header.unpacked_bytes as u64,
            body: body..at,
        })?;
    }
    if values == column.num_values() {
        return Ok(());
    }
    Err(format!(
        "its pages hold {values} values, the footer says {}",
        column.num_values()
    ))
}

/// Whether a page is no larger than the `left` bytes of its column and than its bytes can unpack to.
fn fits(header: &Header, column: &ColumnChunkMetaData, left: u64) -> Result<(), String> {
    let Header {
        unpacked_bytes,
        packed_bytes,
        ..
    } = *header;
    let count = header.values().count;
    if packed_bytes < 0 || unpacked_bytes < 0 || count < 0 {
        return Err("has a length below 0".to_owned());
    }
    if packed_bytes as u64 > left {
        return Err("reaches beyond its column".to_owned());
    }
    let most = PAGE_FREE_BYTES.max(packed_bytes.saturating_mul(PAGE_RATIO_MAX));
    if unpacked_bytes > most && column.compression() != Compression::UNCOMPRESSED {
        return Err(format!(
            "is said to unpack from {packed_bytes} bytes to {unpacked_bytes}"
        ));
    }
    // Every value of a dictionary takes a byte at least.
    if header.ty == DICTIONARY_PAGE && count > unpacked_bytes.max(packed_bytes) {
        return Err(format!(
            "is a dictionary of {count} values in {unpacked_bytes} bytes"
        ));
    }
    Ok(())
}

fn chunk<R>(bytes: &R, column: &ColumnChunkMetaData) -> Result<(), String>
where
    R: ChunkReader + Clone + 'static,
{
    let mut delta = false;
    heads(bytes, column, |head| {
        let encodings = [DELTA_LENGTH_BYTE_ARRAY, DELTA_BYTE_ARRAY];
        delta |= !head.dictionary && encodings.contains(&head.encoding);
        Ok(())
    })?;
    if delta {
        deltas::check(bytes, column)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
