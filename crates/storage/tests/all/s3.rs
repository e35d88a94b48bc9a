//! A real S3 server.

use bytes::Bytes;
use storage::{Args, Error, Storage};
use testkit::S3;

/// Below which one call writes an object, and a part's length.
pub(crate) const PART_BYTES: usize = 8 << 20;

pub(crate) fn args(endpoint: &str) -> Args {
    Args {
        s3_endpoint: Some(endpoint.to_owned()),
        s3_region: Some(S3::REGION.to_owned()),
        s3_access_key_id: Some(S3::ACCESS_KEY_ID.to_owned()),
        s3_secret_access_key: Some(S3::SECRET_ACCESS_KEY.to_owned()),
        ..Args::default()
    }
}

pub(crate) fn reach(server: &S3) -> Storage {
    Storage::new(&args(&server.endpoint())).unwrap()
}

pub(crate) fn at(key: &str) -> String {
    format!("s3://{}/w{key}", S3::BUCKET)
}

/// Bytes that differ from part to part.
pub(crate) fn long(length: usize) -> Bytes {
    let bytes = (0..length).map(|n| (n % 249) as u8 ^ (n >> 20) as u8);
    bytes.collect::<Vec<u8>>().into()
}

#[tokio::test]
async fn what_was_written_is_read_under_every_form_of_its_location() {
    let server = S3::start().await;
    let storage = reach(&server);
    let location = at("/région=a%2Fb/x y+z&#?.bin");
    let bytes = Bytes::from_static(b"0123456789");
    storage.write_new(&location, bytes).await.unwrap();
    for scheme in ["s3", "s3a", "s3n", "S3"] {
        let form = location.replace("s3:", &format!("{scheme}:"));
        assert_eq!(storage.read(&form).await.unwrap(), "0123456789", "{form}");
        assert_eq!(storage.size(&form).await.unwrap(), 10, "{form}");
    }
    let files = server.files();
    assert_eq!(files[0].to_str().unwrap(), "w/région=a%2Fb/x y+z&#?.bin");
}

#[tokio::test]
async fn a_long_object_is_written_in_parts_and_read_back_equal() {
    let server = S3::start().await;
    let storage = reach(&server);
    let want = long(2 * PART_BYTES + 12_345);
    let mut upload = storage.upload(&at("/a")).await.unwrap();
    // Pieces that cross the borders of parts.
    for start in (0..want.len()).step_by(3_000_001) {
        let piece = want.slice(start..want.len().min(start + 3_000_001));
        upload.put(piece).await.unwrap();
    }
    let size = storage.size(&at("/a")).await;
    assert!(matches!(size, Err(Error::NotFound { .. })), "{size:?}");
    assert_eq!(upload.finish().await.unwrap(), want.len() as u64);
    assert_eq!(storage.read(&at("/a")).await.unwrap(), want);
    // In one piece, and exactly parts.
    let want = want.slice(..2 * PART_BYTES);
    storage.write_new(&at("/b"), want.clone()).await.unwrap();
    assert_eq!(storage.read(&at("/b")).await.unwrap(), want);
}

#[tokio::test]
async fn an_upload_in_parts_that_is_dropped_or_too_late_leaves_nothing() {
    let server = S3::start().await;
    let storage = reach(&server);
    let begin = async |location: &str| {
        let mut upload = storage.upload(location).await.unwrap();
        upload.put(long(2 * PART_BYTES + 1)).await.unwrap();
        upload
    };
    let first = Bytes::from_static(b"first");
    drop(begin(&at("/dropped")).await);
    let late = begin(&at("/late")).await;
    testkit::until("a part has arrived", async || !server.files().is_empty()).await;
    storage.write_new(&at("/late"), first).await.unwrap();
    let ended = late.finish().await;
    assert!(
        matches!(ended, Err(Error::AlreadyExists { .. })),
        "{ended:?}"
    );
    assert_eq!(storage.read(&at("/late")).await.unwrap(), "first");
    testkit::until("the unfinished parts are gone", async || {
        server.files().iter().all(|file| file.ends_with("late"))
    })
    .await;
}

#[tokio::test]
async fn more_keys_than_one_bulk_delete_takes_are_deleted_in_several() {
    let server = S3::start().await;
    let proxy = testkit::Proxy::start(server.address(), |_| testkit::Fate::Forward).await;
    let storage = Storage::new(&args(&proxy.endpoint())).unwrap();
    let there = [at("/d/0"), at("/d/1500"), at("/d/2100")];
    for location in &there {
        storage.write_new(location, Bytes::new()).await.unwrap();
    }
    let asked: Vec<String> = (0..2_101).map(|n| at(&format!("/d/{n}"))).collect();
    let ends = storage.delete(&asked).await;
    assert_eq!(ends.len(), 2_101);
    assert!(ends.iter().all(Result::is_ok));
    assert!(server.files().is_empty(), "{:?}", server.files());
    let calls = proxy
        .seen()
        .iter()
        .filter(|call| call.contains("?delete"))
        .count();
    assert_eq!(calls, 3);
}

#[tokio::test]
async fn a_folder_or_a_bucket_is_never_deleted() {
    let server = S3::start().await;
    let storage = reach(&server);
    storage.write_new(&at("/t/a"), Bytes::new()).await.unwrap();
    let bucket = format!("s3://{}", S3::BUCKET);
    let asked = [
        at("/t/"),
        bucket.clone(),
        format!("{bucket}/"),
        format!("{bucket}//w/t/a"),
    ];
    for (location, end) in asked.iter().zip(storage.delete(&asked).await) {
        assert!(
            matches!(end, Err(Error::BadLocation { .. })),
            "{location}: {end:?}"
        );
    }
    assert_eq!(storage.size(&at("/t/a")).await.unwrap(), 0);
}

#[tokio::test]
async fn close_ranges_are_one_call_and_a_small_object_is_one() {
    let server = S3::start().await;
    let proxy = testkit::Proxy::start(server.address(), |_| testkit::Fate::Forward).await;
    let storage = Storage::new(&args(&proxy.endpoint())).unwrap();
    let want = long(3_000_000);
    storage.write_new(&at("/a"), want.clone()).await.unwrap();
    assert_eq!(storage.read(&at("/a")).await.unwrap(), want);
    let ranges = [2_900_000..3_000_000, 0..10, 400_000..500_000];
    let read = storage.read_ranges(&at("/a"), &ranges).await.unwrap();
    assert_eq!(read[0], want.slice(2_900_000..));
    assert_eq!(read[2], want.slice(400_000..500_000));
    let seen = proxy.seen();
    let methods: Vec<&str> = seen
        .iter()
        .filter_map(|call| call.split(' ').next())
        .collect();
    assert_eq!(methods, ["PUT", "GET", "GET", "GET"], "{seen:?}");
}

/// Nobody resolves the server's domain. So this test runs once more, as a program whose HTTP
/// proxy is the server itself: it is asked for `http://lake-test.s3.test/..` and knows the name.
#[tokio::test]
async fn the_bucket_may_be_part_of_the_hosts_name() {
    const INNER: &str = "SNOWPACK_TEST_VIRTUAL_HOST";
    if std::env::var_os(INNER).is_some() {
        let storage = Storage::new(&Args {
            s3_path_style: Some("false".to_owned()),
            ..args(&format!("http://{}", S3::DOMAIN))
        })
        .unwrap();
        let want = long(PART_BYTES + 1);
        storage.write_new(&at("/a b"), want.clone()).await.unwrap();
        assert_eq!(storage.read(&at("/a b")).await.unwrap(), want);
        return;
    }
    let server = S3::start().await;
    let again = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "s3::the_bucket_may_be_part_of_the_hosts_name"])
        .env(INNER, "true")
        .env("http_proxy", server.endpoint())
        .output()
        .await
        .unwrap();
    assert!(
        again.status.success(),
        "{}",
        String::from_utf8_lossy(&again.stdout)
    );
    let storage = reach(&server);
    assert_eq!(
        storage.size(&at("/a b")).await.unwrap(),
        PART_BYTES as u64 + 1
    );
    let ends = storage.delete(&[at("/a b")]).await;
    assert!(ends[0].is_ok(), "{ends:?}");
}
