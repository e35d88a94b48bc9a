//! What we read and write of Iceberg's metadata, judged by PyIceberg and DuckDB.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "all/bad_bytes.rs"]
mod bad_bytes;
#[path = "all/document.rs"]
mod document;
#[path = "all/manifest.rs"]
mod manifest;
#[path = "all/manifest_v1.rs"]
mod manifest_v1;
#[path = "all/measure.rs"]
mod measure;
#[path = "all/transform.rs"]
mod transform;
