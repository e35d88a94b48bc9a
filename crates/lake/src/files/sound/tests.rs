//! Footers and page headers no honest writer writes: refused with the file's name before the
//! library sees them, for it would end the process.

use bytes::Bytes;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use super::*;
use crate::files::footer::parse;
use crate::inspect;

const SOUND: &[u8] = include_bytes!("../../../../../tests/fuzz/corpus/parquet/flat-plain.parquet");
const PACKED: &[u8] = include_bytes!("../../../../../tests/fuzz/corpus/parquet/flat-zstd.parquet");
/// The largest number of 31 bits, as Thrift writes it.
const LARGEST: [u8; 5] = [0xfe, 0xff, 0xff, 0xff, 0x0f];

#[track_caller]
fn refused<T>(read: Result<T, Error>, why: &str) {
    let Err(error) = read else {
        panic!("it was read, though {why}");
    };
    let text = error.to_string();
    assert!(
        text.contains("/t/f.parquet") && text.contains(why),
        "{text}"
    );
}

fn file(footer: &[u8]) -> Bytes {
    let length = (footer.len() as u32).to_le_bytes();
    [b"PAR1", footer, &length, b"PAR1"].concat().into()
}

/// A footer whose schema is `count` groups, each said to have these fields.
fn groups(count: u64, children: &[u8]) -> Vec<u8> {
    let mut footer = vec![0x15, 0x02, 0x19, 0xfc];
    let mut left = count;
    while left > 0x7f {
        footer.push(left as u8 | 0x80);
        left >>= 7;
    }
    footer.push(left as u8);
    for _ in 0..count {
        footer.extend([&[0x48, 0x00, 0x15], children, &[0x00]].concat());
    }
    footer.push(0);
    footer
}

#[test]
fn a_schema_as_deep_as_the_footer_is_long_is_refused() {
    let deep = file(&groups(1_000_000, &[0x02]));
    refused(parse("/t/f.parquet", &deep), "nests too deep");
    let deep = file(&groups(101, &[0x02]));
    refused(parse("/t/f.parquet", &deep), "nests too deep");
}

#[test]
fn announced_fields_and_elements_need_bytes() {
    let wide = file(&groups(3, &LARGEST));
    refused(parse("/t/f.parquet", &wide), "more fields than the schema");
    let negative = file(&groups(3, &[0x01]));
    refused(parse("/t/f.parquet", &negative), "fewer than no fields");
    let long = file(&[0x15, 0x02, 0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00]);
    refused(
        parse("/t/f.parquet", &long),
        "more elements than there are bytes",
    );
    let endless = file(&[
        0x15, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ]);
    refused(parse("/t/f.parquet", &endless), "longer than 64 bits");
}

#[test]
fn a_footer_lies_in_its_file() {
    for (tail, why) in [
        ([0xff, 0xff, 0xff, 0x7f], "longer than the file"),
        ([0xff, 0xff, 0xff, 0xff], "longer than the file"),
    ] {
        let long = [b"PAR1", &tail[..], b"PAR1"].concat().into();
        refused(parse("/t/f.parquet", &long), why);
    }
    let sealed = [b"PAR1", &[0; 4][..], b"PARE"].concat().into();
    refused(parse("/t/f.parquet", &sealed), "encrypted");
    refused(
        parse("/t/f.parquet", &Bytes::from_static(b"PAR1")),
        "too short",
    );
}

/// The sound file's footer with its first column changed.
fn with(change: impl FnOnce(ColumnChunkMetaData) -> ColumnChunkMetaData) -> ParquetMetaData {
    let sound = parse("/t/f.parquet", &Bytes::from_static(SOUND)).unwrap();
    let sound = sound.metadata();
    let mut columns = sound.row_group(0).columns().to_vec();
    let first = columns.remove(0);
    columns.insert(0, change(first));
    let group = sound.row_group(0).clone().into_builder();
    let group = group.set_column_metadata(columns).build().unwrap();
    ParquetMetaData::new(sound.file_metadata().clone(), vec![group])
}

#[test]
fn columns_lie_in_the_file_and_not_in_each_other() {
    let size = SOUND.len() as u64;
    places("/t/f.parquet", size, &with(|column| column)).unwrap();
    for (start, length) in [
        (-1, 10),
        (4, -1),
        (4, i64::MAX),
        (i64::MAX, 1),
        (i64::MIN, i64::MIN),
        (size as i64, 1),
    ] {
        let footer = with(|column| {
            let column = column.into_builder().set_data_page_offset(start);
            column.set_total_compressed_size(length).build().unwrap()
        });
        refused(places("/t/f.parquet", size, &footer), "the file has");
    }
    let negative = with(|column| column.into_builder().set_num_values(-1).build().unwrap());
    refused(places("/t/f.parquet", size, &negative), "-1 values");
    let longer = with(|column| {
        let length = column.compressed_size() + 1;
        let column = column.into_builder().set_total_compressed_size(length);
        column.build().unwrap()
    });
    refused(places("/t/f.parquet", size, &longer), "lie in each other");
}

/// A file with another header of its first page.
fn headed(file: &[u8], header: &[&[u8]]) -> Bytes {
    let (mut file, header) = (file.to_vec(), header.concat());
    file[4..4 + header.len()].copy_from_slice(&header);
    file.into()
}

#[test]
fn no_page_is_unpacked_beyond_reason() {
    inspect("/t/f.parquet", &Bytes::from_static(SOUND), Some(24)).unwrap();
    inspect("/t/f.parquet", &Bytes::from_static(PACKED), Some(24)).unwrap();
    let look = |file: &Bytes| inspect("/t/f.parquet", file, Some(24));
    let data = [
        0x2c, 0x15, 0x30, 0x15, 0x00, 0x15, 0x06, 0x15, 0x06, 0x00, 0x00,
    ];
    let page = headed(
        PACKED,
        &[&[0x15, 0x00, 0x15], &LARGEST, &[0x15, 0x04], &data],
    );
    refused(look(&page), "is said to unpack from 2 bytes to 2147483647");
    let page = headed(PACKED, &[&[0x15, 0x00, 0x15, 0x04, 0x15], &LARGEST, &data]);
    refused(look(&page), "reaches beyond its column");
    let page = headed(PACKED, &[&[0x15, 0x00, 0x15, 0x04, 0x15, 0x01], &data]);
    refused(look(&page), "a length below 0");
    let many = [&[0x4c, 0x15], &LARGEST[..], &[0x15, 0x00, 0x00, 0x00]].concat();
    let page = headed(PACKED, &[&[0x15, 0x04, 0x15, 0x20, 0x15, 0x20], &many]);
    refused(
        look(&page),
        "is a dictionary of 2147483647 values in 16 bytes",
    );
}

#[test]
fn values_of_pages_are_those_of_the_footer() {
    let fewer = with(|column| column.into_builder().set_num_values(23).build().unwrap());
    let file = Bytes::from_static(SOUND);
    let read = pages("/t/f.parquet", &file, &fewer, &[0], &[0]);
    refused(read, "its pages hold 24 values, the footer says 23");
}

#[test]
fn a_panic_is_an_error_that_names_the_file() {
    let said = guarded::<()>("/t/f.parquet", || panic!("no dictionary: {}", 7));
    refused(said, "decoding it panicked: no dictionary: 7");
    let said = guarded::<()>("/t/f.parquet", || panic!("no dictionary"));
    refused(said, "decoding it panicked: no dictionary");
    assert_eq!(guarded("/t/f.parquet", || Ok(7)).unwrap(), 7);
}
