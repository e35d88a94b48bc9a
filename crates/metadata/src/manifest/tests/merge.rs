//! Merged manifests: what is in them, in which order, and what may not be merged.

use super::*;

/// All the blocks of a merge, as one thread would make them.
fn merged(gathered: Vec<Gathered>, target_bytes: u64) -> Vec<(Bytes, ManifestFile)> {
    let merge = Merge::new(gathered, &table(&json!({})), target_bytes).unwrap();
    let compressed = merge.compress(0..merge.blocks());
    let mut number = 0;
    let made = merge.manifests(&compressed, 8, || {
        number += 1;
        format!("/n{number}.avro")
    });
    made.into_iter()
        .map(|(_, bytes, manifest)| (bytes, manifest))
        .collect()
}

/// A manifest of added files with these buckets, written by a commit of this number.
fn added(number: i64, buckets: &[Option<i32>]) -> (Bytes, ManifestFile) {
    let mut writer = ManifestWriter::new(ManifestContent::Data, &table(&json!({})), 0, 7).unwrap();
    for (at, bucket) in buckets.iter().enumerate() {
        let file = file(&format!("/{number}-{at}"), *bucket, None, 10);
        writer.add(&file, None).unwrap();
    }
    let (bytes, mut manifest) = writer.finish("/m.avro").unwrap();
    manifest.sequence_number = number;
    (bytes, manifest)
}

fn gathered((bytes, manifest): &(Bytes, ManifestFile)) -> Gathered {
    Gathered::read(bytes, manifest, &table(&json!({}))).unwrap()
}

fn same(entry: &Entry) -> Entry {
    let status = EntryStatus::Existing;
    let entry = entry.clone();
    Entry { status, ..entry }
}

#[test]
fn live_entries_are_those_there_were_with_their_numbers() {
    let (bytes, manifest) = written(&table(&json!({})));
    let other = added(5, &[Some(2), Some(0)]);
    let mut want: Vec<Entry> = [
        read(&bytes, &manifest, Fields::ALL),
        read(&other.0, &other.1, Fields::ALL),
    ]
    .concat();
    want.retain(|entry| entry.status != EntryStatus::Deleted);
    let made = merged(
        vec![gathered(&(bytes, manifest)), gathered(&other)],
        8 << 20,
    );
    let [(bytes, manifest)] = &made[..] else {
        panic!("{} manifests", made.len())
    };
    assert_eq!(manifest.existing_files_count, Some(5));
    assert_eq!(manifest.existing_rows_count, Some(90));
    assert_eq!(manifest.min_sequence_number, 2);
    let entries = read(bytes, manifest, Fields::ALL);
    want.sort_by(|a, b| a.file.partition.cmp(&b.file.partition));
    assert_eq!(entries, want.iter().map(same).collect::<Vec<_>>());
}

#[test]
fn entries_of_a_partition_stay_in_the_order_they_came() {
    let one = added(1, &[Some(3), None, Some(1)]);
    let two = added(2, &[Some(1), Some(3), None]);
    let made = merged(vec![gathered(&one), gathered(&two)], 8 << 20);
    let entries = read(&made[0].0, &made[0].1, Fields::PLAN);
    let paths: Vec<&str> = entries
        .iter()
        .map(|one| one.file.file_path.as_str())
        .collect();
    assert_eq!(paths, ["/1-1", "/2-2", "/1-2", "/2-0", "/1-0", "/2-1"]);
}

#[test]
fn more_than_the_target_becomes_several_of_about_one_length() {
    let all: Vec<_> = (0..40).map(|at| Some(at % 4)).collect();
    let inputs: Vec<_> = (1..=9)
        .map(|number| gathered(&added(number, &all)))
        .collect();
    let whole = merged(inputs, 8 << 20);
    assert_eq!(whole.len(), 1);
    let inputs: Vec<_> = (1..=9)
        .map(|number| gathered(&added(number, &all)))
        .collect();
    let parts = merged(inputs, 800);
    assert!(parts.len() > 2, "{}", parts.len());
    let entries: Vec<Entry> = parts
        .iter()
        .flat_map(|(bytes, manifest)| read(bytes, manifest, Fields::ALL))
        .collect();
    assert_eq!(entries, read(&whole[0].0, &whole[0].1, Fields::ALL));
    let lengths = parts.iter().map(|part| part.1.manifest_length);
    let (least, most) = (lengths.clone().min().unwrap(), lengths.max().unwrap());
    assert!(most < 2 * least, "{least} to {most}");
}

#[test]
fn manifests_without_live_files_become_none() {
    let (bytes, manifest) = added(1, &[Some(1)]);
    let gone = HashSet::from(["/1-0".to_owned()]);
    let table = table(&json!({}));
    let mut writer = ManifestWriter::new(ManifestContent::Data, &table, 0, 7).unwrap();
    let removed = rewrite_manifest(&bytes, &manifest, &table, &gone, 8, "/n")
        .unwrap()
        .removed;
    writer.add_deleted(&removed[0]).unwrap();
    let (bytes, mut manifest) = writer.finish("/m").unwrap();
    manifest.sequence_number = 8;
    assert!(merged(vec![gathered(&(bytes, manifest))], 8 << 20).is_empty());
}

#[test]
fn fields_nobody_knows_survive_a_merge_and_are_not_mixed_with_others() {
    let (plain, manifest) = written(&table(&json!({})));
    let bytes = with_unknown_fields(&plain);
    let length = bytes.len() as i64;
    let listed = ManifestFile {
        manifest_length: length,
        ..manifest.clone()
    };
    let strange = || gathered(&(bytes.clone(), listed.clone()));
    let made = merged(vec![strange(), strange()], 8 << 20);
    let reader = Reader::new(&made[0].0[..]).unwrap();
    assert_eq!(reader.user_metadata()["from-the-future"], b"kept");
    let mut found = 0;
    for value in reader {
        let Value::Record(entry) = value.unwrap() else {
            panic!("no record")
        };
        let Value::Record(file) = &entry.last().unwrap().1 else {
            panic!("no file")
        };
        let unknown = |text: &str| Value::Union(1, Box::new(Value::String(text.to_owned())));
        assert_eq!(
            (&entry[1].1, &file[3].1),
            (&unknown("entry"), &unknown("file"))
        );
        found += 1;
    }
    assert_eq!(found, 6);
    let mixed = vec![strange(), gathered(&(plain, manifest))];
    assert_ne!(mixed[0].shape(), mixed[1].shape());
    let refused = Merge::new(mixed, &table(&json!({})), 8 << 20).unwrap_err();
    assert!(refused.to_string().contains("of another kind"), "{refused}");
}
