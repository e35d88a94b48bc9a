//! Tables in S3: PyIceberg writes and reads them with an S3 client of its own, the engine
//! rewrites them over a connection that loses and refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use storage::{Args, Storage};
use testkit::{Fate, Proxy, S3};

use crate::world::{ALL, World};

/// Requests of one call at most.
const TRIES_MAX: u32 = 7;

async fn world(server: &S3, endpoint: &str, scheme: &str) -> World {
    let storage = Storage::new(&Args {
        s3_endpoint: Some(endpoint.to_owned()),
        s3_region: Some(S3::REGION.to_owned()),
        s3_access_key_id: Some(S3::ACCESS_KEY_ID.to_owned()),
        s3_secret_access_key: Some(S3::SECRET_ACCESS_KEY.to_owned()),
        ..Args::default()
    });
    let warehouse = format!("{scheme}://{}/warehouse", S3::BUCKET);
    World::on(&storage.unwrap(), warehouse, server.oracle_properties()).await
}

/// Makes a table of `files` files, rewrites it, and compares what PyIceberg reads.
async fn rewritten(world: &World, scheme: &str, files: u32, rows: u32) -> Value {
    let made = json!({
        "schema": "plain", "spec": "none", "files": files, "rows": rows, "seed": 1,
        "properties": {"write.parquet.compression-codec": "uncompressed"},
    });
    world.oracle("make", made).await;
    let before = world.oracle("hashed", json!({})).await;
    assert_eq!(before["rows"], files * rows);
    world.maintain(ALL).await;
    let after = world.oracle("hashed", json!({})).await;
    assert_eq!(after["hash"], before["hash"]);
    assert_eq!(after["rows"], before["rows"]);
    assert_ne!(after["metadata_location"], before["metadata_location"]);
    let below = format!("{scheme}://{}/warehouse/", S3::BUCKET);
    let after_files = after["files"].as_array().unwrap();
    assert_eq!(after_files.len(), 1, "{after_files:?}");
    let path = after_files[0][0].as_str().unwrap();
    assert!(path.starts_with(&below), "{path}");
    let reserved = world.ledger.reserved.lock().unwrap();
    assert!(reserved.contains(path), "{path}");
    assert!(reserved.iter().all(|path| path.starts_with(&below)));
    after
}

#[tokio::test]
async fn a_table_in_s3_is_rewritten_over_a_bad_connection_without_a_false_conflict() {
    let server = S3::start().await;
    let refused = Arc::new(AtomicU32::new(0));
    let count = refused.clone();
    let mut lost: Vec<&str> = vec![
        "partNumber=2",
        ".metadata.json",
        ".avro",
        "uploads",
        "uploadId",
    ];
    let proxy = Proxy::start(server.address(), move |request| {
        if count.fetch_add(1, Ordering::Relaxed) < 3 {
            return Fate::Refuse(503, "SlowDown");
        }
        let writes = request.starts_with("PUT") || request.starts_with("POST");
        match lost.iter().position(|part| request.contains(part)) {
            // The server does it; we are not told.
            Some(at) if writes => {
                lost.remove(at);
                Fate::Lose
            }
            _ => Fate::Forward,
        }
    })
    .await;
    let world = world(&server, &proxy.endpoint(), "s3").await;
    let after = rewritten(&world, "s3", 6, 250_000).await;
    let bytes = after["files"][0][1].as_u64().unwrap();
    assert!(bytes > 16 << 20, "{bytes} bytes are no three parts");
    let seen = proxy.seen();
    for part in ["partNumber=1&", "partNumber=2&", "partNumber=3&"] {
        let sent = seen.iter().filter(|request| request.contains(part));
        assert!((1..=TRIES_MAX as usize).contains(&sent.count()), "{part}");
    }
    let mut writes: Vec<&String> = seen
        .iter()
        .filter(|request| request.starts_with("PUT") && !request.contains("partNumber"))
        .collect();
    let all = writes.len();
    writes.sort();
    writes.dedup();
    // One lost metadata file, one lost manifest or list, each written once more.
    assert_eq!(all, writes.len() + 2, "{seen:#?}");
}

#[tokio::test]
async fn a_table_registered_under_s3a_is_rewritten_under_s3a() {
    let server = S3::start().await;
    let world = world(&server, &server.endpoint(), "s3a").await;
    rewritten(&world, "s3a", 5, 100).await;
}
