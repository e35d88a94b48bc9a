//! What local files and S3 promise alike.

use bytes::Bytes;
use storage::{Error, Location, Storage};

use crate::s3::{at, reach};

/// Runs the promise on a folder of this host and on a bucket.
async fn both(promise: impl AsyncFn(&Storage, &str)) {
    let folder = tempfile::tempdir().unwrap();
    promise(&Storage::local(), folder.path().to_str().unwrap()).await;
    let server = testkit::S3::start().await;
    promise(&reach(&server), &at("")).await;
}

fn content(length: u32) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

#[tokio::test]
async fn a_second_writer_is_refused_and_the_first_content_stays() {
    both(async |storage, root| {
        let location = format!("{root}/t/a");
        let writes = (0..8u8).map(|n| {
            let (storage, location) = (storage.clone(), location.clone());
            tokio::spawn(async move {
                let bytes = Bytes::from(vec![n; 1000]);
                storage.write_new(&location, bytes).await
            })
        });
        let mut won = 0;
        for write in writes.collect::<Vec<_>>() {
            match write.await.unwrap() {
                Ok(()) => won += 1,
                Err(Error::AlreadyExists { location: named }) => assert_eq!(named, location),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(won, 1, "{root}");
        let content = storage.read(&location).await.unwrap();
        assert!(content.len() == 1000 && content.iter().all(|b| *b == content[0]));
    })
    .await;
}

#[tokio::test]
async fn an_object_longer_than_its_reader_allows_is_not_read() {
    both(async |storage, root| {
        let location = format!("{root}/a");
        let bytes = Bytes::from(content(1000));
        storage.write_new(&location, bytes.clone()).await.unwrap();
        let read = storage.read_at_most(&location, 1000).await;
        assert_eq!(read.unwrap(), bytes);
        let error = storage.read_at_most(&location, 999).await.unwrap_err();
        assert!(
            matches!(
                &error,
                Error::TooLong { location: named, size: 1000, max: 999 } if *named == location
            ),
            "{error}"
        );
        assert_eq!(error.advice(), model::Advice::GiveUp);
    })
    .await;
}

/// What has no length may have no end.
#[tokio::test]
async fn a_file_without_an_end_is_not_read() {
    let storage = Storage::local();
    let error = storage
        .read_at_most("/dev/zero", 1 << 20)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TooLong { .. }), "{error}");
}

#[tokio::test]
async fn ranges_come_back_in_the_order_asked() {
    both(async |storage, root| {
        let (location, content) = (format!("{root}/a"), content(2_000_000));
        let bytes = Bytes::from(content.clone());
        storage.write_new(&location, bytes).await.unwrap();
        let ranges = [
            1_999_990..2_000_000,
            5..10,
            0..0,
            8..20,
            1_050_000..1_050_001,
        ];
        let read = storage.read_ranges(&location, &ranges).await.unwrap();
        for (range, bytes) in ranges.iter().zip(&read) {
            let want = &content[range.start as usize..range.end as usize];
            assert_eq!(bytes, want, "{range:?}");
        }
        let none = storage.read_ranges(&location, &[]).await.unwrap();
        assert!(none.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_range_outside_the_object_is_an_error_that_names_it() {
    both(async |storage, root| {
        let location = format!("{root}/a");
        let bytes = Bytes::from_static(b"0123");
        storage.write_new(&location, bytes).await.unwrap();
        #[expect(clippy::reversed_empty_ranges, reason = "the point of the test")]
        for (ranges, bad) in [
            (vec![0..2, 2..5], 2..5),
            (vec![0..2, 3..1], 3..1),
            (vec![7..9, 0..1], 7..9),
            (vec![0..4, 4..4, 5..5], 5..5),
        ] {
            let error = storage.read_ranges(&location, &ranges).await.unwrap_err();
            match &error {
                Error::OutOfRange {
                    start,
                    end,
                    size,
                    location: named,
                } => {
                    assert_eq!((*start..*end, *size, named), (bad, 4, &location));
                }
                other => panic!("{ranges:?}: {other:?}"),
            }
        }
        assert_eq!(
            storage.read_ranges(&location, &[4..4, 0..0]).await.unwrap(),
            ["", ""]
        );
        let missing = storage
            .read_ranges(&format!("{root}/b"), &[0..0, 0..0])
            .await;
        assert!(
            matches!(missing, Err(Error::NotFound { .. })),
            "{missing:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn an_upload_appears_whole_at_its_end_only() {
    both(async |storage, root| {
        let location = format!("{root}/data/a");
        let mut upload = storage.upload(&location).await.unwrap();
        upload.put(Bytes::from_static(b"abc")).await.unwrap();
        let size = storage.size(&location).await;
        assert!(matches!(size, Err(Error::NotFound { .. })), "{size:?}");
        upload.put(Bytes::from_static(b"defg")).await.unwrap();
        assert_eq!(upload.finish().await.unwrap(), 7);
        assert_eq!(storage.read(&location).await.unwrap(), "abcdefg");
        assert_eq!(storage.size(&location).await.unwrap(), 7);
        let empty = format!("{root}/data/b");
        let upload = storage.upload(&empty).await.unwrap();
        assert_eq!(upload.finish().await.unwrap(), 0);
        assert_eq!(storage.read(&empty).await.unwrap(), "");
    })
    .await;
}

#[tokio::test]
async fn an_upload_never_replaces_what_came_first() {
    both(async |storage, root| {
        let location = format!("{root}/a");
        let mut upload = storage.upload(&location).await.unwrap();
        upload.put(Bytes::from_static(b"second")).await.unwrap();
        let first = Bytes::from_static(b"first");
        storage.write_new(&location, first).await.unwrap();
        let ended = upload.finish().await;
        assert!(
            matches!(ended, Err(Error::AlreadyExists { .. })),
            "{ended:?}"
        );
        assert_eq!(storage.read(&location).await.unwrap(), "first");
    })
    .await;
}

#[tokio::test]
async fn deleting_says_of_each_object_what_became_of_it() {
    both(async |storage, root| {
        let at = |name: &str| format!("{root}/d/{name}");
        for name in ["a", "b", "größe=x&<y>/c d", "kept"] {
            let bytes = Bytes::from_static(b"x");
            storage.write_new(&at(name), bytes).await.unwrap();
        }
        let asked = [
            at("a"),
            at("never-there"),
            at("größe=x&<y>/c d"),
            "relative".to_owned(),
            at("b"),
            at("a"),
            "hdfs://h/x".to_owned(),
        ];
        let ends = storage.delete(&asked).await;
        for (location, end) in asked.iter().zip(&ends) {
            let bad = location.starts_with("relative") || location.starts_with("hdfs");
            assert_eq!(end.is_err(), bad, "{location}: {end:?}");
        }
        assert_eq!(ends.len(), asked.len());
        for gone in ["a", "b", "größe=x&<y>/c d"] {
            let size = storage.size(&at(gone)).await;
            assert!(
                matches!(size, Err(Error::NotFound { .. })),
                "{gone}: {size:?}"
            );
        }
        assert_eq!(storage.read(&at("kept")).await.unwrap(), "x");
        assert!(storage.delete(&[]).await.is_empty());
    })
    .await;
}

/// Everything below a folder: location and length, in order.
async fn listed(storage: &Storage, folder: &str) -> Vec<(String, u64)> {
    let mut listing = storage.list(folder).unwrap();
    let mut found = Vec::new();
    while let Some(page) = listing.next().await.unwrap() {
        for file in page {
            assert!(file.modified_ms.is_some_and(|at| at > 0), "{file:?}");
            found.push((file.location.to_string(), file.size_bytes));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn everything_below_a_folder_is_listed_once_and_nothing_beside_it() {
    both(async |storage, root| {
        // More than a page of S3's, in folders of every depth.
        let mut want = Vec::new();
        for number in 0..1_100 {
            let folder = ["", "/région=a%2Fb", "/x y+z&#?/deeper/still"][number % 3];
            let location = format!("{root}/t{folder}/{number:04}");
            let bytes = Bytes::from(content(1 + number as u32 % 7));
            storage.write_new(&location, bytes).await.unwrap();
            let location = Location::parse(&location).unwrap().to_string();
            want.push((location, 1 + number as u64 % 7));
        }
        for beside in ["t.old/a", "tt/a", "a"] {
            let location = format!("{root}/{beside}");
            storage
                .write_new(&location, Bytes::from("x"))
                .await
                .unwrap();
        }
        want.sort();
        assert_eq!(listed(storage, &format!("{root}/t")).await, want);
        assert_eq!(listed(storage, &format!("{root}/t/")).await, want);
        assert_eq!(listed(storage, &format!("{root}/nothing/there")).await, []);
    })
    .await;
}
