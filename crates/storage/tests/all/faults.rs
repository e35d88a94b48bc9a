//! Answers lost, connections dropped, a server that is busy.

use bytes::Bytes;
use model::Advice;
use storage::{Error, Storage};
use testkit::{Fate, Proxy, S3};

use crate::s3::{PART_BYTES, args, at, long, reach};

/// A proxy that does this to the first `times` requests that `hit`, and forwards the rest.
async fn first(server: &S3, times: u32, fate: Fate, hit: fn(&str) -> bool) -> (Proxy, Storage) {
    let mut left = times;
    let proxy = Proxy::start(server.address(), move |request| {
        if left == 0 || !hit(request) {
            return Fate::Forward;
        }
        left -= 1;
        fate
    })
    .await;
    let storage = Storage::new(&args(&proxy.endpoint())).unwrap();
    (proxy, storage)
}

#[tokio::test]
async fn what_passes_is_outlived() {
    let server = S3::start().await;
    for (n, fate) in [
        Fate::Refuse(503, "SlowDown"),
        Fate::Refuse(500, "InternalError"),
        Fate::Refuse(409, "ConditionalRequestConflict"),
        Fate::Drop,
    ]
    .into_iter()
    .enumerate()
    {
        let (proxy, storage) = first(&server, 2, fate, |_| true).await;
        let location = at(&format!("/{n}"));
        let bytes = Bytes::from_static(b"abc");
        storage.write_new(&location, bytes).await.unwrap();
        assert_eq!(storage.read(&location).await.unwrap(), "abc");
        assert_eq!(proxy.seen().len(), 4, "{fate:?}: {:?}", proxy.seen());
    }
}

#[tokio::test]
async fn tries_are_bounded_and_the_error_says_that_it_may_pass() {
    let server = S3::start().await;
    let busy = Fate::Refuse(503, "SlowDown");
    let (proxy, storage) = first(&server, u32::MAX, busy, |_| true).await;
    let error = storage.read(&at("/a")).await.unwrap_err();
    assert_eq!(error.advice(), Advice::RetryLater);
    let told = std::error::Error::source(&error).unwrap().to_string();
    assert!(told.contains("503 SlowDown"), "{told}");
    assert_eq!(proxy.seen().len(), 7);
    let ends = storage.delete(&[at("/a"), at("/b")]).await;
    assert!(
        ends.iter()
            .all(|end| matches!(end, Err(e) if e.advice() == Advice::RetryLater))
    );
    assert_eq!(proxy.seen().len(), 14);
}

#[tokio::test]
async fn a_lost_answer_is_no_conflict() {
    let server = S3::start().await;
    let lose = |hit| first(&server, 2, Fate::Lose, hit);
    let (proxy, storage) = lose(|call| call.starts_with("PUT")).await;
    let bytes = Bytes::from_static(b"abc");
    storage.write_new(&at("/a"), bytes.clone()).await.unwrap();
    assert!(proxy.seen().len() > 3, "{:?}", proxy.seen());
    // What somebody else wrote stays somebody else's, be it equal byte for byte.
    let again = storage.write_new(&at("/a"), bytes).await;
    assert!(
        matches!(again, Err(Error::AlreadyExists { .. })),
        "{again:?}"
    );

    // The end of an upload in parts, and every other step of it.
    for (name, hit) in [
        (
            "end",
            (|call| call.starts_with("POST") && call.contains("uploadId")) as fn(&str) -> bool,
        ),
        ("begin", |call| {
            call.starts_with("POST") && call.contains("uploads")
        }),
        ("part", |call| {
            call.starts_with("PUT") && call.contains("partNumber=2")
        }),
    ] {
        let (proxy, storage) = lose(hit).await;
        let (location, want) = (at(&format!("/{name}")), long(PART_BYTES + 1));
        let written = storage.write_new(&location, want.clone()).await;
        assert!(written.is_ok(), "{name}: {written:?} {:?}", proxy.seen());
        assert_eq!(storage.read(&location).await.unwrap(), want, "{name}");
    }

    let (_proxy, storage) = lose(|call| call.contains("?delete")).await;
    let ends = storage.delete(&[at("/a"), at("/end")]).await;
    assert!(ends.iter().all(Result::is_ok), "{ends:?}");
    let size = reach(&server).size(&at("/a")).await;
    assert!(matches!(size, Err(Error::NotFound { .. })), "{size:?}");
}

#[tokio::test]
async fn calls_at_once_are_bounded() {
    let server = S3::start().await;
    let (proxy, storage) = first(&server, 0, Fate::Forward, |_| true).await;
    let bytes = Bytes::from_static(b"abc");
    storage.write_new(&at("/a"), bytes).await.unwrap();
    let location = at("/a");
    let reads = (0..200).map(|_| storage.read(&location));
    for read in futures::future::join_all(reads).await {
        assert_eq!(read.unwrap(), "abc");
    }
    let most = proxy.open_most();
    assert!((8..=64).contains(&most), "{most} at once");
}

/// An object of this many bytes at `w/a`.
const LENGTH: usize = 10_000;
/// Parts of it, which are read together.
const PARTS: [std::ops::Range<u64>; 2] = [5..9, 9_000..9_995];

#[tokio::test]
async fn an_answer_that_ends_early_is_asked_for_again_and_never_taken_for_the_whole() {
    let server = S3::start().await;
    let (location, want) = (at("/a"), long(LENGTH));
    let reads = |call: &str| call.starts_with("GET");
    reach(&server)
        .write_new(&location, want.clone())
        .await
        .unwrap();
    for length in [0, LENGTH - 1] {
        let cut = Fate::Cut(length);
        let (_proxy, storage) = first(&server, 1, cut, reads).await;
        assert_eq!(storage.read(&location).await.unwrap(), want);
        let (_proxy, storage) = first(&server, 1, cut, reads).await;
        let parts = storage.read_ranges(&location, &PARTS).await.unwrap();
        assert_eq!(parts, [want.slice(5..9), want.slice(9_000..9_995)]);
    }
    let (proxy, storage) = first(&server, u32::MAX, Fate::Cut(LENGTH - 1), reads).await;
    let error = storage.read(&location).await.unwrap_err();
    assert_eq!(error.advice(), Advice::RetryLater, "{error:?}");
    assert!(error.to_string().contains(&location), "{error}");
    assert_eq!(proxy.seen().len(), 7);
}

#[tokio::test]
async fn a_slow_answer_arrives_whole() {
    let server = S3::start().await;
    let (location, want) = (at("/a"), long(LENGTH));
    let (proxy, storage) = first(&server, u32::MAX, Fate::Trickle(100), |_| true).await;
    storage.write_new(&location, want.clone()).await.unwrap();
    assert_eq!(storage.read(&location).await.unwrap(), want);
    let parts = storage.read_ranges(&location, &PARTS).await.unwrap();
    assert_eq!(parts, [want.slice(5..9), want.slice(9_000..9_995)]);
    assert_eq!(proxy.seen().len(), 3, "{:?}", proxy.seen());
}

/// Bytes of another place would become rows of the table.
#[tokio::test]
async fn an_answer_for_another_range_is_never_taken() {
    let server = S3::start().await;
    let (location, want) = (at("/a"), long(LENGTH));
    reach(&server).write_new(&location, want).await.unwrap();
    for fate in [Fate::Misplace, Fate::Whole] {
        let (_proxy, storage) = first(&server, u32::MAX, fate, |_| true).await;
        let error = storage.read_ranges(&location, &PARTS).await.unwrap_err();
        assert!(error.to_string().contains(&location), "{fate:?}: {error}");
    }
}
