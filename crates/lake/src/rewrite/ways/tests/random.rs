//! Inputs drawn at random, alike and mixed: whatever way is taken, the rows are those a transcode
//! writes.

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::WriterVersion;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::columns::{Content, column, types};
use super::*;

const CASES: usize = 150;

fn codec(rng: &mut StdRng) -> Compression {
    let zstd = Compression::ZSTD(ZstdLevel::default());
    // Mostly the same one.
    *[zstd, zstd, zstd, Compression::SNAPPY].choose(rng).unwrap()
}

fn written(rng: &mut StdRng) -> WriterPropertiesBuilder {
    let version = [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0];
    let written = WriterProperties::builder()
        .set_compression(codec(rng))
        .set_writer_version(*version.choose(rng).unwrap())
        .set_dictionary_enabled(rng.random_bool(0.6))
        .set_dictionary_page_size_limit(rng.random_range(100..5_000))
        .set_data_page_row_count_limit(rng.random_range(20..500))
        .set_data_page_size_limit(rng.random_range(200..20_000))
        .set_write_batch_size(rng.random_range(1..100))
        .set_max_row_group_row_count(Some(rng.random_range(100..2_000)));
    if rng.random_bool(0.8) {
        written.set_encoding(Encoding::PLAIN)
    } else {
        written
    }
}

#[test]
fn drawn_inputs_give_the_rows_a_transcode_gives() {
    let seed = testkit::seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let types = types();
    let mut ways = std::collections::BTreeMap::<String, usize>::new();
    for case in 0..CASES {
        let ty = types.choose(&mut rng).unwrap();
        let required = rng.random_bool(0.3);
        let output = small_pages()
            .set_compression(codec(&mut rng))
            .set_dictionary_page_size_limit(rng.random_range(50..8_000));
        let table = Table::new(ty, required, output);
        let nulls = if required {
            0.0
        } else {
            rng.random_range(0.0..=1.0)
        };
        let content = Content {
            rows: 0,
            start: 0,
            variety: rng.random_bool(0.7).then(|| rng.random_range(1..2_000)),
            nulls: *[0.0, nulls].choose(&mut rng).unwrap(),
            nans: *[0.0, 0.1].choose(&mut rng).unwrap(),
        };
        let same = rng.random_bool(0.7);
        let drawn = rng.random();
        let inputs: Vec<Bytes> = (0..rng.random_range(1..5))
            .map(|number| {
                let start = if content.variety.is_some() {
                    0
                } else {
                    number * 2_000
                };
                let rows = rng.random_range(1..2_000);
                let content = Content {
                    rows,
                    start,
                    ..content
                };
                let rows = column(table.schema.arrow.field(0).data_type(), content, &mut rng);
                let alike = &mut StdRng::seed_from_u64(drawn);
                let written = written(if same { alike } else { &mut rng });
                table.input(&rows, written)
            })
            .collect();
        println!("seed {seed}, case {case}: {ty:?} {required} {content:?}");
        let way = table.check(&inputs);
        *ways.entry(way.to_string()).or_default() += 1;
    }
    println!("{ways:?}");
}
