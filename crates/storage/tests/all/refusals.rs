//! What a person reads when S3 is set up wrong: the location, the bucket, and what to set.

use bytes::Bytes;
use model::Advice;
use storage::{Args, Storage};
use testkit::S3;

use crate::s3::{args, at, reach};

/// All of read, size, write and delete say so.
async fn check(storage: &Storage, location: &str, advice: Advice, words: &[&str]) {
    let mut errors = vec![
        storage.read(location).await.map(drop).unwrap_err(),
        storage
            .read_ranges(location, &[0..1, 0..0])
            .await
            .map(drop)
            .unwrap_err(),
        storage.size(location).await.map(drop).unwrap_err(),
        storage.write_new(location, Bytes::new()).await.unwrap_err(),
    ];
    let deleted = storage.delete(&[location.to_owned()]).await;
    errors.extend(deleted.into_iter().map(Result::unwrap_err));
    for error in errors {
        let text = error.to_string();
        for word in words.iter().chain(&[location]) {
            assert!(text.contains(word), "`{word}` is not in: {text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(error.advice(), advice, "{text}");
    }
}

#[tokio::test]
async fn a_missing_bucket_is_named() {
    let server = S3::start().await;
    let words = [
        "`no-such-bucket`",
        &server.endpoint(),
        "SNOWPACK_S3_ENDPOINT",
    ];
    let location = "s3://no-such-bucket/t/a";
    check(&reach(&server), location, Advice::GiveUp, &words).await;
}

#[tokio::test]
async fn a_refused_key_is_told_with_what_to_set() {
    let server = S3::start().await;
    let wrong_id = Args {
        s3_access_key_id: Some("nobody".into()),
        ..args(&server.endpoint())
    };
    let wrong_secret = Args {
        s3_secret_access_key: Some("not-hunter2".into()),
        ..args(&server.endpoint())
    };
    for (args, said) in [
        (wrong_id, "access key ID; check"),
        (wrong_secret, "signing method; check"),
    ] {
        let storage = Storage::new(&args).unwrap();
        let words = [S3::BUCKET, said, "SNOWPACK_S3_ACCESS_KEY_ID"];
        check(&storage, &at("/a"), Advice::GiveUp, &words).await;
    }
}

#[tokio::test]
async fn a_wrong_region_is_told_with_the_right_one() {
    let server = S3::start().await;
    let args = Args {
        s3_region: Some("mars-north-1".into()),
        ..args(&server.endpoint())
    };
    let words = ["mars-north-1", "SNOWPACK_S3_REGION", S3::REGION, S3::BUCKET];
    let storage = Storage::new(&args).unwrap();
    check(&storage, &at("/a"), Advice::GiveUp, &words).await;
}

#[tokio::test]
async fn an_endpoint_nobody_listens_at_is_named() {
    let server = S3::start().await;
    let endpoint = server.endpoint();
    drop(server);
    let storage = Storage::new(&args(&endpoint)).unwrap();
    let error = storage.read(&at("/a")).await.unwrap_err();
    assert_eq!(error.advice(), Advice::RetryLater);
    let text = error.to_string();
    for word in [
        &at("/a"),
        &endpoint,
        S3::BUCKET,
        "SNOWPACK_S3_ENDPOINT",
        "refused",
    ] {
        assert!(text.contains(word), "{text}");
    }
}
