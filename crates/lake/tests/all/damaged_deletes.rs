//! Position delete files that do not hold what their manifest says, or more than fits. Read as
//! shorter than they are, they would bring deleted rows back for good.

use std::path::{Path, PathBuf};

use lake::{Changes, FileWriter, commit_changes};
use metadata::{ColumnMap, DataFile};
use parquet::file::metadata::{
    FileMetaData, ParquetMetaDataBuilder, ParquetMetaDataReader, ParquetMetaDataWriter,
    RowGroupMetaData,
};

use crate::rewrite::delete_rows;
use crate::world::{ALL, World, chain};

/// What a footer says of its rows, and its row groups.
type Rows = (i64, Vec<RowGroupMetaData>);

type Lie = (&'static str, fn(Rows) -> Rows);

fn local(location: &str) -> &Path {
    Path::new(location.trim_start_matches("file://"))
}

/// The file with another footer.
fn with_footer(whole: &[u8], lie: impl FnOnce(Rows) -> Rows) -> Vec<u8> {
    let (rest, tail) = whole.split_at(whole.len() - 8);
    let length = u32::from_le_bytes(*tail.first_chunk().unwrap()) as usize;
    let (pages, footer) = rest.split_at(rest.len() - length);
    let footer = ParquetMetaDataReader::decode_metadata(footer).unwrap();
    let said = footer.file_metadata();
    let (rows, groups) = lie((said.num_rows(), footer.row_groups().to_vec()));
    // The library writes how many rows the groups have: it is written over.
    let added: i64 = groups.iter().map(RowGroupMetaData::num_rows).sum();
    let said = FileMetaData::new(
        said.version(),
        added,
        None,
        None,
        said.schema_descr_ptr(),
        None,
    );
    let footer = ParquetMetaDataBuilder::new(said)
        .set_row_groups(groups)
        .build();
    let mut lying = Vec::new();
    ParquetMetaDataWriter::new(&mut lying, &footer)
        .finish()
        .unwrap();
    let field = [ROWS_FIELD, zigzag(added), GROUPS_FIELD];
    let at = lying.windows(3).position(|bytes| bytes == field).unwrap();
    lying[at + 1] = zigzag(rows);
    [pages, &lying].concat()
}

/// What comes before the rows and the row groups in a footer: one more than the last field, and
/// the type of a long number or a list.
const ROWS_FIELD: u8 = 0x16;
const GROUPS_FIELD: u8 = 0x19;

/// A small number in Thrift's compact form.
fn zigzag(rows: i64) -> u8 {
    u8::try_from(rows * 2).unwrap()
}

/// Footers that say less than there is, each in its own way.
const LIES: [Lie; 5] = [
    ("no rows", |(_, groups)| (0, groups)),
    ("no row groups", |(rows, _)| (rows, Vec::new())),
    ("nothing", |_| (0, Vec::new())),
    ("one row less", |(rows, groups)| (rows - 1, groups)),
    ("a row group without rows", |(rows, groups)| {
        let empty = |group: RowGroupMetaData| group.into_builder().set_num_rows(0).build();
        let groups = groups.into_iter().map(|group| empty(group).unwrap());
        (rows, groups.collect())
    }),
];

async fn newest_delete(world: &World) -> String {
    let live = world.live().await;
    let newest = live.deletes.iter().max_by_key(|file| file.sequence_number);
    newest.unwrap().file.file_path.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_delete_file_that_says_less_than_its_manifest_is_refused() {
    for scoped in [true, false] {
        let world = World::with("plain", "none", 2, 40).await;
        delete_rows(&world, &[1, 2, 3, 5], scoped).await;
        let path = newest_delete(&world).await;
        let before = world.rows().await;
        let whole = std::fs::read(local(&path)).unwrap();
        std::fs::write(local(&path), with_footer(&whole, |rows| rows)).unwrap();
        assert_eq!(world.rows().await, before, "the footer is written rightly");
        for (lie, change) in LIES {
            std::fs::write(local(&path), with_footer(&whole, change)).unwrap();
            let plan = world.plan(ALL).await;
            let ended = world.execute(&plan).await;
            let why = chain(&ended.expect_err(lie));
            assert!(why.contains(&path), "{lie}: {why}");
            assert_eq!(*world.ledger.swaps.lock().unwrap(), 0, "{lie}: {why}");
        }
        std::fs::write(local(&path), whole).unwrap();
        let report = world.maintain(ALL).await;
        assert_eq!(report.deletes_applied, 8);
        assert_eq!(world.rows().await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_arrives_before_the_swap_and_says_less_is_refused() {
    for (lie, change) in LIES {
        let world = World::with("plain", "none", 2, 40).await;
        let meanwhile = async {
            delete_rows(&world, &[1, 2, 3, 5], false).await;
            let path = newest_delete(&world).await;
            let whole = std::fs::read(local(&path)).unwrap();
            std::fs::write(local(&path), with_footer(&whole, change)).unwrap();
        };
        let ended = world.interrupted(ALL, meanwhile).await;
        let why = chain(&ended.expect_err(lie));
        let path = newest_delete(&world).await;
        assert!(why.contains(&path), "{lie}: {why}");
        assert_eq!(world.live().await.data.len(), 2, "{lie}: {why}");
    }
}

/// One deletion, repeated two thousand million times in less than a thousand bytes.
fn repeated() -> PathBuf {
    let corpus = "../../tests/fuzz/corpus/parquet/repeated-deletes.parquet";
    Path::new(env!("CARGO_MANIFEST_DIR")).join(corpus)
}

#[tokio::test(flavor = "multi_thread")]
async fn position_deletes_beyond_the_memory_are_refused_before_they_are_read() {
    let records = i32::MAX as u64;
    for (arrives, said) in [(false, "do not fit"), (true, "needs more memory")] {
        let world = World::with("plain", "none", 2, 40).await;
        let add = async {
            let table = world.table().await;
            let data = world.live().await.data[0].file.file_path.clone();
            let writer = FileWriter::new(&table, "test").unwrap();
            let real = writer.position_deletes(vec![], vec![(data, 1)]).await;
            let real = real.unwrap();
            std::fs::copy(repeated(), local(&real.file_path)).unwrap();
            let delete = DataFile {
                record_count: records,
                file_size_in_bytes: std::fs::metadata(repeated()).unwrap().len(),
                referenced_data_file: None,
                lower_bounds: ColumnMap::new(),
                upper_bounds: ColumnMap::new(),
                ..real
            };
            let changes = Changes {
                deletes: vec![delete],
                ..Changes::default()
            };
            let now = world.now_ms().await;
            commit_changes(&*world.catalog, &world.name, &changes, now)
                .await
                .unwrap();
        };
        let ended = if arrives {
            world.interrupted(ALL, add).await
        } else {
            add.await;
            let plan = world.plan(ALL).await;
            world.execute(&plan).await
        };
        let why = chain(&ended.unwrap_err());
        let path = newest_delete(&world).await;
        assert!(why.contains(&path) && why.contains(said), "{why}");
        assert_eq!(world.live().await.data.len(), 2);
    }
}
