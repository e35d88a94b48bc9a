//! Where a page ended: opaque to callers, checked when it comes back.
//!
//! A cursor names its version, its listing and a digest of the filter and of itself: one that
//! was cut, changed, made for another filter or by another version is refused rather than
//! read as some other place. The digest is no secret: a cursor only ever says where to go on in
//! a listing its caller may read anyway.

use std::fmt::Write as _;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::extract::nul;
use crate::problem::{Kind, Problem};

const VERSION: &str = "v1";
/// Longest cursor taken; ours are shorter.
const BYTES_MAX: usize = 8 * 1024;
/// Bytes of the digest a cursor carries.
const DIGEST_BYTES: usize = 8;

/// Writes the cursor that goes on behind `place` in `listing` under `filter`.
pub(crate) fn write(listing: &str, filter: &impl Serialize, place: &impl Serialize) -> String {
    // Strings, numbers and times can always be written.
    let place = serde_json::to_vec(place).unwrap_or_default();
    let digest = digest(listing, filter, &place);
    format!("{VERSION}.{}.{digest}", hex(&place))
}

/// Reads a cursor of this listing and filter.
pub(crate) fn read<P: DeserializeOwned>(
    listing: &str,
    filter: &impl Serialize,
    cursor: &str,
) -> Result<P, Problem> {
    let refused = |why: &str| {
        let allowed = "use `next_cursor` of the page before, with the same filter, or leave it out";
        Problem::field(Kind::BadCursor, "query.cursor", format!("{why}; {allowed}"))
    };
    if cursor.len() > BYTES_MAX {
        return Err(refused("it is too long"));
    }
    let mut parts = cursor.splitn(3, '.');
    let (Some(version), Some(place), Some(sum)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(refused("it is no cursor"));
    };
    if version != VERSION {
        return Err(refused("it is of another version"));
    }
    let place = unhex(place).ok_or_else(|| refused("it is no cursor"))?;
    if digest(listing, filter, &place) != sum {
        return Err(refused("it is changed, or of another listing or filter"));
    }
    let other = |_| refused("it is of another version");
    let place: Value = serde_json::from_slice(&place).map_err(other)?;
    // The digest is no secret, so what is in it may be anybody's.
    if nul(&place, "").is_some() {
        return Err(refused("it holds the character U+0000"));
    }
    serde_json::from_value(place).map_err(other)
}

fn digest(listing: &str, filter: &impl Serialize, place: &[u8]) -> String {
    let filter = serde_json::to_vec(filter).unwrap_or_default();
    let mut hash = Sha256::new();
    for part in [VERSION.as_bytes(), listing.as_bytes(), &filter, place] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex(&hash.finalize()[..DIGEST_BYTES])
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of an even number of hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks_exact(2);
    if !digits.remainder().is_empty() {
        return None;
    }
    digits
        .map(|pair| {
            let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
            u8::try_from(high? * 16 + low?).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Place = (i64, String);

    fn place() -> Place {
        (1_700_000_000_000_001, "job-\"1\".é".to_owned())
    }

    #[test]
    fn m29_a_cursor_is_read_back_where_it_was_made() {
        let cursor = write("jobs", &("db", 1), &place());
        let back: Place = read("jobs", &("db", 1), &cursor).unwrap();
        assert_eq!(back, place());
    }

    #[test]
    fn m29_a_cursor_that_postgres_cannot_read_is_refused() {
        let cursor = write("jobs", &("db", 1), &(1, "a\0b"));
        assert!(read::<Place>("jobs", &("db", 1), &cursor).is_err());
        let cursor = write("jobs", &("db", 1), &(1, "a\\u0000b"));
        assert!(read::<Place>("jobs", &("db", 1), &cursor).is_ok());
    }

    #[test]
    fn m29_a_cursor_of_elsewhere_or_changed_in_any_letter_is_refused() {
        let cursor = write("jobs", &("db", 1), &place());
        assert!(read::<Place>("jobs", &("db", 2), &cursor).is_err());
        assert!(read::<Place>("tables", &("db", 1), &cursor).is_err());
        assert!(read::<(i64, i64)>("jobs", &("db", 1), &cursor).is_err());
        for at in 0..cursor.len() {
            let mut changed = cursor.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(read::<Place>("jobs", &("db", 1), &changed).is_err(), "{at}");
            let cut = &cursor[..at];
            assert!(read::<Place>("jobs", &("db", 1), cut).is_err(), "{cut}");
        }
        for odd in [
            "",
            ".",
            "..",
            "v1",
            "v2.00.00",
            "v1.0.00",
            "v1.é.00",
            &"v1.".repeat(9_000),
        ] {
            assert!(read::<Place>("jobs", &("db", 1), odd).is_err());
        }
    }
}
