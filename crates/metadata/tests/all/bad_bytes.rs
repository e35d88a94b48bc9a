//! Documents, lists and manifests that Spark wrote, cut at every length and changed at every byte:
//! read, or refused with the name of what it was.

use std::path::{Path, PathBuf};

use metadata::{
    Fields, ManifestContent, ManifestFile, Snapshot, TableMetadata, read_manifest,
    read_manifest_list,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use storage::Storage;

/// The smallest file of the fixtures whose name begins and ends so: every place of it is tried.
fn smallest(begin: &str, end: &str) -> (PathBuf, Vec<u8>) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/spark");
    let folder = fixtures.join("deletes/metadata");
    let found = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let found = found.filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with(begin) && name.ends_with(end)
    });
    let path = found.min_by_key(|path| (path.metadata().unwrap().len(), path.clone()));
    let path = path.expect("a fixture");
    let bytes = std::fs::read(&path).unwrap();
    (path, bytes)
}

/// Calls `read` with every beginning of `whole`, and with every byte changed in one bit.
fn every_damage(whole: &[u8], mut read: impl FnMut(&[u8], &str)) {
    for cut in 0..whole.len() {
        read(&whole[..cut], &format!("cut at {cut}"));
    }
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let mut damaged = whole.to_vec();
    for at in 0..whole.len() {
        let bit = rng.random_range(0..8u8);
        damaged[at] ^= 1 << bit;
        read(&damaged, &format!("bit {bit} of byte {at} flipped"));
        damaged[at] = whole[at];
    }
}

fn words(error: &metadata::Error) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string);
    format!("{error}: {}", source.unwrap_or_default())
}

#[test]
fn a_document_with_any_byte_wrong_is_read_or_named() {
    let (_, whole) = smallest("00", ".metadata.json");
    let mut sound = 0;
    every_damage(&whole, |bytes, how| match TableMetadata::parse(bytes) {
        Ok(_) => sound += 1,
        Err(error) => {
            let words = words(&error);
            assert!(words.contains("table metadata"), "{how}: {words}");
        }
    });
    // A bit of a name or a number makes another name or number.
    assert!(sound > 0);
}

#[tokio::test]
async fn a_manifest_list_with_any_byte_wrong_is_read_or_named() {
    let (_, whole) = smallest("snap-", ".avro");
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("list.avro").display().to_string();
    let snapshot = Snapshot {
        manifest_list: place.clone(),
        ..Snapshot::default()
    };
    let storage = Storage::local();
    let mut damages = Vec::new();
    every_damage(&whole, |bytes, how| {
        damages.push((bytes.to_vec(), how.to_owned()));
    });
    for (bytes, how) in damages {
        std::fs::write(&place, bytes).unwrap();
        if let Err(error) = read_manifest_list(&storage, &snapshot).await {
            let words = words(&error);
            assert!(words.contains(&place), "{how}: {words}");
        }
    }
}

/// What a list would say of the manifest at `place`: the first of what it may say with which it is
/// read.
async fn listed(
    storage: &Storage,
    table: &TableMetadata,
    place: &str,
    length: usize,
) -> ManifestFile {
    for (spec, content) in [
        (0, ManifestContent::Data),
        (1, ManifestContent::Data),
        (2, ManifestContent::Data),
    ] {
        let manifest = ManifestFile {
            manifest_path: place.to_owned(),
            manifest_length: length as i64,
            partition_spec_id: spec,
            content,
            sequence_number: 1,
            min_sequence_number: 1,
            added_snapshot_id: 1,
            ..ManifestFile::blank()
        };
        let read = read_manifest(storage, &manifest, table, Fields::ALL).await;
        if read.is_ok_and(|entries| !entries.is_empty()) {
            return manifest;
        }
    }
    panic!("the manifest is not read as it is");
}

#[tokio::test]
async fn a_manifest_with_any_byte_wrong_is_read_or_named_and_a_cut_one_never_read() {
    let (_, document) = smallest("0001", ".metadata.json");
    let table = TableMetadata::parse(&document).unwrap();
    let (_, whole) = smallest("", "-m0.avro");
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("m0.avro").display().to_string();
    std::fs::write(&place, &whole).unwrap();
    let storage = Storage::local();
    let manifest = listed(&storage, &table, &place, whole.len()).await;
    let mut damages = Vec::new();
    every_damage(&whole, |bytes, how| {
        damages.push((bytes.to_vec(), how.to_owned()));
    });
    for (bytes, how) in damages {
        std::fs::write(&place, &bytes).unwrap();
        let read = read_manifest(&storage, &manifest, &table, Fields::ALL).await;
        if let Err(error) = read {
            let words = words(&error);
            assert!(words.contains(&place), "{how}: {words}");
        } else {
            assert_eq!(bytes.len(), whole.len(), "{how}");
        }
    }
}
