//! Local files.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use storage::{Error, Storage};

fn folder() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    (folder, path)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_was_written_is_read_under_every_form_of_its_location() {
    let (_folder, root) = folder();
    let storage = Storage::local();
    let location = format!("file://{root}/région=a%2Fb/x y.bin");
    let bytes = Bytes::from_static(b"0123456789");
    storage.write_new(&location, bytes).await.unwrap();
    for form in [
        location.clone(),
        location.replace("file://", "file:"),
        location.replace("file://", ""),
    ] {
        assert_eq!(storage.read(&form).await.unwrap(), "0123456789", "{form}");
    }
    assert_eq!(storage.size(&location).await.unwrap(), 10);
    let folder = Path::new(&root).join("région=a%2Fb");
    assert_eq!(names(&folder), ["x y.bin"]);
}

#[tokio::test]
async fn nothing_is_left_of_what_was_not_finished() {
    let (_folder, root) = folder();
    let storage = Storage::local();
    let location = format!("{root}/a");
    let mut dropped = storage.upload(&location).await.unwrap();
    dropped.put(Bytes::from_static(b"abc")).await.unwrap();
    drop(dropped);
    assert!(names(Path::new(&root)).is_empty());
    let late = storage.upload(&location).await.unwrap();
    storage.write_new(&location, Bytes::new()).await.unwrap();
    assert!(late.finish().await.is_err());
    assert_eq!(names(Path::new(&root)), ["a"]);
}

#[tokio::test]
async fn deleting_a_file_that_was_never_finished_deletes_what_was_left_of_writing_it() {
    let (_folder, root) = folder();
    let storage = Storage::local();
    let at = |name: &str| format!("{root}/{name}");
    // As a killed process leaves them: not dropped.
    for name in ["00000-0-a.parquet", "00000-0-a.parquet.crc"] {
        let mut upload = storage.upload(&at(name)).await.unwrap();
        upload.put(Bytes::from_static(b"half")).await.unwrap();
        std::mem::forget(upload);
    }
    for other in [
        ".00000-0-a.parquet.tmp",
        "00000-0-a.parquet.0123456789abcdef.tmp",
    ] {
        fs::write(at(other), "somebody's").unwrap();
    }
    assert_eq!(names(Path::new(&root)).len(), 4);
    let ends = storage.delete(&[at("00000-0-a.parquet")]).await;
    assert!(ends.iter().all(Result::is_ok), "{ends:?}");
    let left = names(Path::new(&root));
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left[0].starts_with(".00000-0-a.parquet.crc."), "{left:?}");
}

#[tokio::test]
async fn a_folder_is_never_deleted() {
    let (_folder, root) = folder();
    fs::create_dir(format!("{root}/empty")).unwrap();
    let ends = Storage::local()
        .delete(&[
            format!("{root}/empty"),
            format!("{root}/empty/"),
            format!("{root}/none/x"),
        ])
        .await;
    assert!(ends[0].is_err() && ends[1].is_err(), "{ends:?}");
    assert!(ends[2].is_ok(), "{ends:?}");
    assert_eq!(names(Path::new(&root)), ["empty"]);
}

#[tokio::test]
async fn what_cannot_be_reached_is_refused_by_name() {
    let storage = Storage::local();
    for location in ["s3://bucket/key", "gs://bucket/key"] {
        let error = storage.read(location).await.unwrap_err().to_string();
        assert!(
            error.contains(location) && error.contains("not built"),
            "{error}"
        );
    }
    let error = storage.read("/no/such/file").await.unwrap_err();
    assert!(matches!(&error, Error::NotFound { location } if location == "/no/such/file"));
}

#[tokio::test]
async fn links_are_not_followed_and_told() {
    let (_folder, root) = folder();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("theirs"), "x").unwrap();
    fs::create_dir(format!("{root}/t")).unwrap();
    fs::write(format!("{root}/t/ours"), "x").unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), format!("{root}/t/link")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("theirs"), format!("{root}/t/file")).unwrap();
    std::os::unix::fs::symlink("/nowhere", format!("{root}/t/broken")).unwrap();
    let mut listing = Storage::local().list(&format!("{root}/t")).unwrap();
    let mut found = Vec::new();
    while let Some(page) = listing.next().await.unwrap() {
        found.extend(page.into_iter().map(|file| file.location.to_string()));
    }
    assert_eq!(found, [format!("file://{root}/t/ours")]);
    let link = listing.link().unwrap();
    assert!(link.starts_with(&format!("{root}/t/")), "{link}");
}
