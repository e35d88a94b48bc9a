//! Damaged inputs end as those of a transcode: with the same error, or the same rows.

use parquet::file::properties::WriterProperties;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::columns::{Content, column};
use super::*;

const FLIPS: usize = 60;

/// What became of an input: its rows, or why there are none.
fn fate(table: &Table, input: &Bytes, cheap: bool) -> Result<ArrayRef, String> {
    parse(PLACE, input).map_err(|error| error.to_string())?;
    let made = produce(table.task(std::slice::from_ref(input), cheap));
    let made = made.map_err(|error| format!("{error:?}"))?;
    let file = table.file(made);
    sound(&file);
    Ok(read(&file, None))
}

/// Flips bits of every input, anywhere before the footer.
fn flipped(table: &Table, content: Content, written: fn() -> WriterPropertiesBuilder) {
    let seed = testkit::seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let rows = column(table.schema.arrow.field(0).data_type(), content, &mut rng);
    let input = table.input(&rows, written());
    let footer = metadata(&input);
    let chunk = footer.row_group(0).column(0).byte_range();
    let (mut refused, mut taken) = (0, 0);
    for _ in 0..FLIPS {
        let mut bytes = input.to_vec();
        let at = rng.random_range(chunk.0..chunk.0 + chunk.1) as usize;
        bytes[at] ^= 1 << rng.random_range(0..8);
        let bytes = Bytes::from(bytes);
        match (fate(table, &bytes, true), fate(table, &bytes, false)) {
            (Ok(one), Ok(two)) => {
                taken += 1;
                // Written as it is unpacked: NaN has many forms.
                assert_eq!(
                    format!("{one:?}"),
                    format!("{two:?}"),
                    "seed {seed}, byte {at}"
                );
            }
            (Err(one), Err(two)) => {
                refused += 1;
                assert_eq!(one, two, "seed {seed}, byte {at}");
            }
            (one, two) => panic!("seed {seed}, byte {at}: {one:?}, transcoded {two:?}"),
        }
    }
    println!("{refused} refused, {taken} taken");
}

fn plain() -> WriterPropertiesBuilder {
    small_pages().set_dictionary_enabled(false)
}

fn loose() -> WriterPropertiesBuilder {
    small_pages().set_compression(parquet::basic::Compression::UNCOMPRESSED)
}

fn dictionary() -> WriterPropertiesBuilder {
    loose().set_dictionary_page_size_limit(1 << 20)
}

fn flat() -> WriterPropertiesBuilder {
    loose().set_dictionary_enabled(false)
}

#[test]
fn flipped_bits_end_alike_in_every_way() {
    let content = Content {
        rows: 400,
        start: 0,
        variety: None,
        nulls: 0.1,
        nans: 0.0,
    };
    let few = Content {
        variety: Some(10),
        ..content
    };
    for ty in [Primitive::String, Primitive::Long, Primitive::Boolean] {
        let table = |written: fn() -> WriterPropertiesBuilder| Table::new(&ty, false, written());
        flipped(&table(plain), content, plain);
        flipped(&table(flat), content, flat);
        flipped(&table(dictionary), content, dictionary);
        flipped(&table(dictionary), few, dictionary);
        flipped(&table(loose), content, dictionary);
    }
}

#[test]
fn an_index_beyond_its_dictionary_is_found() {
    let table = Table::new(&Primitive::Long, true, loose());
    let content = Content {
        rows: 200,
        start: 0,
        variety: Some(5),
        nulls: 0.0,
        nans: 0.0,
    };
    let rows = column(
        table.schema.arrow.field(0).data_type(),
        content,
        &mut StdRng::seed_from_u64(1),
    );
    let input = table.input(&rows, dictionary());
    // The last page ends with a group of eight indices of three bits, half of them none.
    let (start, length) = metadata(&input).row_group(0).column(0).byte_range();
    let mut bytes = input.to_vec();
    bytes[(start + length) as usize - 3] = 0xff;
    let bytes = Bytes::from(bytes);
    let (cheap, transcoded) = (fate(&table, &bytes, true), fate(&table, &bytes, false));
    assert!(cheap.is_err(), "{cheap:?}");
    assert_eq!(cheap, transcoded);
}

#[test]
fn a_task_that_was_stopped_makes_nothing() {
    let table = Table::new(&Primitive::Long, true, small_pages());
    let content = Content {
        rows: 500,
        start: 0,
        variety: None,
        nulls: 0.0,
        nans: 0.0,
    };
    let rows = column(
        table.schema.arrow.field(0).data_type(),
        content,
        &mut StdRng::seed_from_u64(1),
    );
    let input = table.input(&rows, WriterProperties::builder());
    let task = table.task(&[input], true);
    task.stop.cancel();
    assert!(matches!(produce(task), Err(crate::Error::Stopped)));
}
