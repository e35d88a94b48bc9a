//! Every fact that decides, alone and before others.

use std::sync::Arc;

use parquet::basic::{Compression, Type};
use parquet::schema::types::{ColumnDescriptor, ColumnPath, Type as ParquetType};

use super::super::value::Kind;
use super::*;

fn wanted() -> Wanted {
    let ty = ParquetType::primitive_type_builder("a", Type::INT64);
    let column = ColumnDescriptor::new(Arc::new(ty.build().unwrap()), 1, 0, ColumnPath::from("a"));
    Wanted {
        column: Arc::new(column),
        kind: Kind::Long,
        codec: Compression::SNAPPY,
        page_rows: 1_000,
        page_bytes: 16_000,
        dictionary_bytes: 1_000,
        bloom_filter: false,
        statistics_bytes: None,
        index_bytes: None,
    }
}

fn pages(pages: &[(u64, u64)]) -> Pages {
    let mut all = Pages::default();
    for (rows, bytes) in pages {
        all.add(*rows, *bytes);
    }
    all
}

fn plain() -> Facts {
    Facts {
        plain: pages(&[(1_000, 8_000); 3]),
        ..Facts::default()
    }
}

fn indexed(merged: Option<Size>) -> Facts {
    Facts {
        indexed: pages(&[(1_000, 1_000); 3]),
        merged,
        ..Facts::default()
    }
}

const SMALL: Size = Size {
    values: 100,
    bytes: 800,
};

#[track_caller]
fn check(facts: &Facts, want: &Way) {
    assert_eq!(choose(facts, &wanted()), *want, "{facts:?}");
}

#[test]
fn what_pages_hold_decides() {
    check(&plain(), &Way::Copy);
    check(&indexed(Some(SMALL)), &Way::Remap);
    check(&indexed(None), &Way::Unpack);
    let both = Facts {
        plain: plain().plain,
        ..indexed(Some(SMALL))
    };
    check(&both, &Way::Unpack);
    // No rows at all: nothing is copied.
    check(&Facts::default(), &Way::Copy);
}

#[test]
fn a_dictionary_is_kept_where_it_pays() {
    let of = |values| {
        indexed(Some(Size {
            values,
            bytes: values * 8,
        }))
    };
    // 3,000 rows of 8 bytes: 24,000, against the dictionary and indices of 12 bits.
    check(&of(2_000), &Way::Remap);
    check(&of(2_437), &Way::Remap);
    check(&of(2_438), &Way::Unpack);
    check(&of(3_000), &Way::Unpack);
    check(&of(1), &Way::Remap);
    // Nulls only.
    check(&of(0), &Way::Unpack);
}

#[test]
fn a_dictionary_is_not_dissolved_where_the_column_would_swell() {
    // 3,000 bytes of indices and 1,000 of the dictionary.
    let of = |dissolved_bytes, merged| Facts {
        dictionaries_bytes: 1_000,
        dissolved_bytes,
        ..indexed(merged)
    };
    let swells = Way::Transcode(Reason::Swells);
    check(&of(16_000, None), &Way::Unpack);
    check(&of(16_001, None), &swells);
    check(&of(16_001, Some(SMALL)), &Way::Remap);
    let beside_a_plain_page = Facts {
        plain: plain().plain,
        ..of(16_001, None)
    };
    check(&beside_a_plain_page, &swells);
}

#[test]
fn each_obstacle_has_its_reason() {
    type Obstacle = fn(&mut Facts);
    let obstacles: [(Obstacle, Reason); 5] = [
        (|facts| facts.not_stored = true, Reason::NotStored),
        (|facts| facts.not_all_rows = true, Reason::NotAllRows),
        (|facts| facts.other_type = true, Reason::OtherType),
        (
            |facts| facts.odd = Some("strange".to_owned()),
            Reason::Odd("strange".to_owned()),
        ),
        (|facts| facts.other_encoding = true, Reason::OtherEncoding),
    ];
    for facts in [plain(), indexed(Some(SMALL)), indexed(None)] {
        for (index, (obstacle, reason)) in obstacles.iter().enumerate() {
            let mut facts = facts.clone();
            obstacle(&mut facts);
            check(&facts, &Way::Transcode(reason.clone()));
            let filtered = Wanted {
                bloom_filter: true,
                ..wanted()
            };
            let way = choose(&facts, &filtered);
            assert_eq!(way, Way::Transcode(Reason::BloomFilter));
            // The first reason is said.
            obstacles[index..]
                .iter()
                .for_each(|(obstacle, _)| obstacle(&mut facts));
            check(&facts, &Way::Transcode(reason.clone()));
        }
    }
}

#[test]
fn pages_are_copied_only_as_they_are_packed() {
    let other = |facts: Facts| Facts {
        other_codec: true,
        ..facts
    };
    check(&other(plain()), &Way::Transcode(Reason::OtherCodec));
    // Indices are packed anew.
    check(&other(indexed(Some(SMALL))), &Way::Remap);
    check(&other(indexed(None)), &Way::Unpack);
}

#[test]
fn tiny_and_huge_pages_are_not_copied() {
    let of = |sizes: &[(u64, u64)]| Facts {
        plain: pages(sizes),
        ..Facts::default()
    };
    let tiny = Way::Transcode(Reason::TinyPages);
    check(&of(&[(249, 999)]), &tiny);
    check(&of(&[(250, 999)]), &Way::Copy);
    check(&of(&[(249, 1_000)]), &Way::Copy);
    check(&of(&[(1_000, 8_000), (1, 8)]), &Way::Copy);
    check(&of(&[(400, 0), (1, 8)]), &tiny);
    let huge = Way::Transcode(Reason::HugePages);
    check(&of(&[(8_000, 64_000)]), &Way::Copy);
    check(&of(&[(8_001, 64_000), (1_000, 1_000)]), &huge);
    check(&of(&[(1_000, 128_000)]), &Way::Copy);
    check(&of(&[(1_000, 128_001)]), &huge);
    let of = |rows| Facts {
        indexed: pages(&[(1, 1), (rows, 1)]),
        ..indexed(Some(SMALL))
    };
    check(&of(1 << 20), &Way::Remap);
    check(&of((1 << 20) + 1), &huge);
}

#[test]
fn ways_are_shown_with_their_reason() {
    assert_eq!(Way::Copy.to_string(), "copied");
    let way = Way::Transcode(Reason::TinyPages);
    assert_eq!(way.to_string(), "transcoded: its pages are tiny");
    let way = Way::Transcode(Reason::Odd("its levels are cut off".to_owned()));
    assert_eq!(way.to_string(), "transcoded: its levels are cut off");
}
