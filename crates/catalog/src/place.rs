//! Where metadata files lie and what they are called.

use metadata::TableMetadata;
use model::TableName;
use storage::Location;
use uuid::Uuid;

use crate::Error;

/// How a gzipped metadata file's name ends; readers go by it.
const GZIP_SUFFIX: &str = ".gz.metadata.json";
const PLAIN_SUFFIX: &str = ".metadata.json";

/// A new metadata file for `metadata`: `{version:05}-{uuid}.metadata.json`.
pub(crate) fn metadata_location(metadata: &TableMetadata, version: u64) -> String {
    let folder = match metadata.property("write.metadata.path") {
        Some(path) => path.trim_end_matches('/').to_owned(),
        None => format!("{}/metadata", metadata.location().trim_end_matches('/')),
    };
    let gzip = metadata
        .property("write.metadata.compression-codec")
        .is_some_and(|codec| codec.eq_ignore_ascii_case("gzip"));
    let suffix = if gzip { GZIP_SUFFIX } else { PLAIN_SUFFIX };
    format!("{folder}/{version:05}-{}{suffix}", Uuid::new_v4())
}

/// The folder of the table whose metadata file lies at `location`: above `metadata/`, or the
/// file's own folder when it lies elsewhere (`write.metadata.path`).
pub(crate) fn folder(location: &str) -> String {
    let folder = location
        .rsplit_once('/')
        .map_or(location, |(folder, _)| folder);
    folder
        .strip_suffix("/metadata")
        .unwrap_or(folder)
        .to_owned()
}

/// The document as the file at `location` holds it.
pub(crate) fn file_bytes(metadata: &TableMetadata, location: &str) -> Vec<u8> {
    if location.ends_with(GZIP_SUFFIX) {
        metadata.to_gzip()
    } else {
        metadata.to_json()
    }
}

/// The version after that of the file at `location`; 0 when its name tells none.
pub(crate) fn next_version(location: &str) -> u64 {
    let name = location.rsplit('/').next().unwrap_or(location);
    let version = name
        .split_once('-')
        .and_then(|(version, _)| version.parse::<u64>().ok());
    version
        .and_then(|version| version.checked_add(1))
        .unwrap_or(0)
}

/// Where a table lies that was given no location: `{root}/{namespace}/{table}`, as PyIceberg's.
pub(crate) fn below(
    root: &str,
    namespace: Option<&str>,
    table: &TableName,
) -> Result<String, Error> {
    let levels = namespace.into_iter().chain([table.table()]);
    let mut location = root.trim_end_matches('/').to_owned();
    for level in levels {
        if level.contains('/') {
            return Err(Error::Unsupported(format!(
                "{table}: `{level}` holds a slash, so it cannot name a folder; give a location"
            )));
        }
        location.push('/');
        location.push_str(level);
    }
    check(&location)?;
    Ok(location)
}

/// Refuses what no file can lie below.
pub(crate) fn check(location: &str) -> Result<(), Error> {
    Location::parse(location)
        .map(drop)
        .map_err(|error| Error::Unsupported(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_on_from_the_files_name() {
        for (location, want) in [
            (
                "file:/w/t/metadata/00007-6c97e413-d51b-4538-ac70-12fe2a85cb83.metadata.json",
                8,
            ),
            ("/w/00000-x.gz.metadata.json", 1),
            ("/w/v3.metadata.json", 0),
            ("/w/99999-x.metadata.json", 100_000),
            ("/w/18446744073709551615-x.metadata.json", 0),
            ("", 0),
        ] {
            assert_eq!(next_version(location), want, "{location}");
        }
    }

    #[test]
    fn a_table_never_lies_outside_its_warehouse() {
        let table = |name: &str| TableName::new(["db"], name).unwrap();
        assert_eq!(
            below("file:///w/", Some("a.b"), &table("t")).unwrap(),
            "file:///w/a.b/t"
        );
        assert_eq!(
            below("s3://bucket/w/", Some("a.b"), &table("t")).unwrap(),
            "s3://bucket/w/a.b/t"
        );
        assert!(below("/w", Some("a"), &table("x/y")).is_err());
        assert!(below("/w", Some(".."), &table("t")).is_err());
        assert!(below("relative", Some("a"), &table("t")).is_err());
    }
}
