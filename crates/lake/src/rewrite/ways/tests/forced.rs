//! Each way where it must be taken.

use arrow_array::ArrayRef;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterVersion};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::columns::{Content, column, types};
use super::*;

const UNIQUE: Content = Content {
    rows: 1_000,
    start: 0,
    variety: None,
    nulls: 0.0,
    nans: 0.0,
};
const FEW: Content = Content {
    variety: Some(20),
    ..UNIQUE
};

fn codecs() -> Vec<Compression> {
    vec![
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::try_new(1).unwrap()),
    ]
}

fn plain() -> WriterPropertiesBuilder {
    small_pages()
        .set_dictionary_enabled(false)
        .set_encoding(parquet::basic::Encoding::PLAIN)
}

/// One dictionary that fits, whatever it holds.
fn dictionary() -> WriterPropertiesBuilder {
    small_pages().set_dictionary_page_size_limit(1 << 20)
}

fn rows(table: &Table, content: Content) -> ArrayRef {
    let ty = table.schema.arrow.field(0).data_type();
    column(ty, content, &mut StdRng::seed_from_u64(7 + content.start))
}

/// Three inputs of this content, one after the other.
fn inputs(
    table: &Table,
    content: Content,
    properties: impl Fn() -> WriterPropertiesBuilder,
) -> Vec<Bytes> {
    let starts = (0..3).map(|number| content.start + number * content.rows as u64);
    starts
        .map(|start| {
            let start = if content.variety.is_some() { 0 } else { start };
            table.input(&rows(table, Content { start, ..content }), properties())
        })
        .collect()
}

#[test]
fn plain_pages_of_every_type_are_copied() {
    for ty in types() {
        for (required, nulls) in [(true, 0.0), (false, 0.0), (false, 0.3), (false, 1.0)] {
            let table = Table::new(&ty, required, small_pages());
            let content = Content {
                nulls,
                nans: 0.1,
                ..UNIQUE
            };
            let way = table.check(&inputs(&table, content, plain));
            assert_eq!(way, Way::Copy, "{ty:?} {required} {nulls}");
        }
    }
}

#[test]
fn every_codec_and_both_kinds_of_pages_are_copied() {
    for codec in codecs() {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for required in [true, false] {
                let table = Table::new(
                    &Primitive::String,
                    required,
                    small_pages().set_compression(codec),
                );
                let written = || plain().set_compression(codec).set_writer_version(version);
                let nulls = if required { 0.0 } else { 0.2 };
                let content = Content { nulls, ..UNIQUE };
                let way = table.check(&inputs(&table, content, written));
                assert_eq!(way, Way::Copy, "{codec} {version:?}");
            }
        }
    }
}

#[test]
fn dictionaries_of_few_values_become_one() {
    for ty in types() {
        for (required, nulls) in [(true, 0.0), (false, 0.0), (false, 0.3)] {
            let table = Table::new(&ty, required, small_pages());
            let content = Content { nulls, ..FEW };
            let way = table.check(&inputs(&table, content, dictionary));
            match ty {
                // Never in a dictionary.
                Primitive::Boolean => assert_eq!(way, Way::Copy),
                _ => assert_eq!(way, Way::Remap, "{ty:?} {required} {nulls}"),
            }
        }
    }
}

#[test]
fn dictionaries_are_merged_whatever_their_codec_and_pages() {
    for codec in codecs() {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let table = Table::new(&Primitive::String, false, small_pages());
            let written = || {
                let written = dictionary().set_compression(codec);
                written.set_writer_version(version)
            };
            let content = Content { nulls: 0.1, ..FEW };
            let way = table.check(&inputs(&table, content, written));
            assert_eq!(way, Way::Remap, "{codec} {version:?}");
        }
    }
}

#[test]
fn one_value_for_all_rows_is_a_dictionary_too() {
    let table = Table::new(&Primitive::String, true, small_pages());
    let content = Content {
        variety: Some(1),
        ..UNIQUE
    };
    let way = table.check(&inputs(&table, content, dictionary));
    assert_eq!(way, Way::Remap);
}

#[test]
fn a_dictionary_of_unique_values_is_a_page() {
    for ty in types() {
        // Flags have none, and of three bytes there are not so many.
        if matches!(ty, Primitive::Boolean | Primitive::Fixed(_)) {
            continue;
        }
        for (required, nulls) in [(true, 0.0), (false, 0.0), (false, 0.3)] {
            let content = Content {
                nulls,
                rows: 500,
                ..UNIQUE
            };
            let table = Table::new(&ty, required, small_pages());
            let way = table.check(&inputs(&table, content, dictionary));
            let floating = matches!(ty, Primitive::Float | Primitive::Double);
            if floating {
                // The zeros and infinities come again.
                assert_eq!(way, Way::Unpack);
            } else {
                assert_eq!(way, Way::Transplant, "{ty:?} {required} {nulls}");
            }
        }
    }
}

#[test]
fn dictionaries_are_pages_in_every_codec() {
    for codec in codecs() {
        for required in [true, false] {
            let output = small_pages().set_compression(codec);
            let table = Table::new(&Primitive::String, required, output);
            let written = || dictionary().set_compression(codec);
            let content = Content {
                rows: 300,
                nulls: if required { 0.0 } else { 0.1 },
                ..UNIQUE
            };
            let way = table.check(&inputs(&table, content, written));
            assert_eq!(way, Way::Transplant, "{codec} {required}");
            // Packed otherwise, they are unpacked.
            let output = match codec {
                Compression::SNAPPY => Compression::UNCOMPRESSED,
                _ => Compression::SNAPPY,
            };
            let table = Table::new(
                &Primitive::String,
                required,
                small_pages().set_compression(output),
            );
            let way = table.check(&inputs(&table, content, written));
            assert_eq!(way, Way::Unpack, "{codec} {required}");
        }
    }
}

#[test]
fn dictionaries_too_large_to_merge_are_dissolved() {
    for ty in types() {
        for (required, nulls) in [(true, 0.0), (false, 0.3)] {
            // 24 different values would fit for certain, some hundred of many bytes do not.
            let output = small_pages().set_dictionary_page_size_limit(60);
            let table = Table::new(&ty, required, output);
            let content = Content {
                variety: Some(300),
                nulls,
                nans: 0.2,
                ..UNIQUE
            };
            let way = table.check(&inputs(&table, content, dictionary));
            match ty {
                Primitive::Boolean => assert_eq!(way, Way::Copy),
                _ => assert_eq!(way, Way::Unpack, "{ty:?}"),
            }
        }
    }
}

#[test]
fn not_a_number_is_no_obstacle() {
    // Dictionaries with it do not become one: the column stays small by being transcoded.
    let swells = || Way::Transcode(Reason::Swells);
    for (few, nans, want) in [
        (UNIQUE, 0.1, Way::Unpack),
        (FEW, 0.1, swells()),
        (UNIQUE, 1.0, swells()),
    ] {
        let content = Content {
            nans,
            nulls: 0.1,
            ..few
        };
        let table = Table::new(&Primitive::Double, false, small_pages());
        let way = table.check(&inputs(&table, content, dictionary));
        assert_eq!(way, want);
    }
}

#[test]
fn what_a_writer_leaves_when_its_dictionary_is_full_is_copied_and_the_rest_dissolved() {
    for (required, nulls) in [(true, 0.0), (false, 0.2)] {
        let table = Table::new(&Primitive::String, required, small_pages());
        let content = Content { nulls, ..UNIQUE };
        let way = table.check(&inputs(&table, content, small_pages));
        assert!(matches!(way, Way::Unpack | Way::Transplant), "{way}");
        // One input of each kind.
        for (other, want) in [(UNIQUE, Way::Unpack), (FEW, Way::Transcode(Reason::Swells))] {
            let mut both = inputs(&table, content, plain);
            both.extend(inputs(&table, other, dictionary));
            assert_eq!(table.check(&both), want);
        }
    }
}

#[test]
fn nulls_only_need_no_dictionary() {
    for ty in [Primitive::Long, Primitive::String, Primitive::Double] {
        let table = Table::new(&ty, false, small_pages());
        let content = Content {
            nulls: 1.0,
            ..UNIQUE
        };
        let way = table.check(&inputs(&table, content, dictionary));
        assert_eq!(way, Way::Unpack);
        let mut both = inputs(&table, content, dictionary);
        both.extend(inputs(&table, FEW, dictionary));
        assert_eq!(table.check(&both), Way::Remap);
    }
}

#[test]
fn all_row_groups_of_an_input_are_taken() {
    let groups =
        |properties: WriterPropertiesBuilder| properties.set_max_row_group_row_count(Some(300));
    let table = Table::new(&Primitive::String, false, small_pages());
    for (content, properties, way) in [
        (UNIQUE, plain as fn() -> WriterPropertiesBuilder, Way::Copy),
        (UNIQUE, dictionary, Way::Transplant),
        (FEW, dictionary, Way::Remap),
    ] {
        let inputs = inputs(&table, content, || groups(properties()));
        assert_eq!(table.check(&inputs), way);
    }
}

#[test]
fn inputs_need_no_statistics_of_their_own() {
    let table = Table::new(&Primitive::Long, false, small_pages());
    let silent = |properties: WriterPropertiesBuilder| {
        properties
            .set_statistics_enabled(EnabledStatistics::None)
            .set_offset_index_disabled(true)
    };
    let way = table.check(&inputs(&table, UNIQUE, || silent(plain())));
    assert_eq!(way, Way::Copy);
    let way = table.check(&inputs(&table, FEW, || silent(dictionary())));
    assert_eq!(way, Way::Remap);
}

#[test]
fn what_must_be_transcoded_is() {
    let check = |table: &Table, content, written: &dyn Fn() -> WriterPropertiesBuilder, reason| {
        let way = table.check(&inputs(table, content, written));
        assert_eq!(way, Way::Transcode(reason));
    };
    let table = Table::new(&Primitive::Long, false, small_pages());
    let snappy = || plain().set_compression(Compression::SNAPPY);
    check(&table, UNIQUE, &snappy, Reason::OtherCodec);
    let delta = || plain().set_encoding(parquet::basic::Encoding::DELTA_BINARY_PACKED);
    check(&table, UNIQUE, &delta, Reason::OtherEncoding);
    let tiny = || plain().set_data_page_row_count_limit(20);
    check(&table, UNIQUE, &tiny, Reason::TinyPages);
    let huge = || {
        let huge = plain().set_data_page_row_count_limit(1 << 20);
        huge.set_data_page_size_limit(1 << 20)
    };
    check(&table, UNIQUE, &huge, Reason::HugePages);
    let bloom = small_pages().set_bloom_filter_enabled(true);
    let table = Table::new(&Primitive::Long, false, bloom);
    check(&table, UNIQUE, &plain, Reason::BloomFilter);
    check(&table, FEW, &dictionary, Reason::BloomFilter);
    // Levels that the other does not have.
    let required = Table::new(&Primitive::Long, true, small_pages());
    let inputs = inputs(&required, UNIQUE, plain);
    let table = Table::new(&Primitive::Long, false, small_pages());
    assert_eq!(table.check(&inputs), Way::Transcode(Reason::OtherType));
}

#[test]
fn rows_left_out_and_values_not_stored_are_transcoded() {
    let table = Table::new(&Primitive::Long, false, small_pages());
    let inputs = inputs(&table, UNIQUE, plain);
    let mut task = table.task(&inputs, true);
    task.rows -= 1;
    task.parts[1].rows -= 1;
    if let PartContent::Column { selected, .. } = &mut task.parts[1].content {
        let selection = vec![RowSelector::skip(1), RowSelector::select(999)];
        *selected = Arc::new(Selected {
            row_groups: vec![0],
            selection: Some(selection.into()),
        });
    }
    let made = produce(task).unwrap();
    assert_eq!(made.way, Way::Transcode(Reason::NotAllRows));
    assert_eq!(read(&table.file(made), None).len(), 2_999);
    let mut task = table.task(&inputs, true);
    task.parts[2].content = PartContent::Same(None);
    let made = produce(task).unwrap();
    assert_eq!(made.way, Way::Transcode(Reason::NotStored));
    assert_eq!(read(&table.file(made), None).null_count(), 1_000);
}
