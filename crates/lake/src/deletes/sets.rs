//! Deleted keys in memory, with the newest sequence number that deletes each.

use std::collections::HashMap;

/// What a key takes beside its own bytes: its slot, its length, the allocator's share.
const KEY_BYTES: u64 = 80;

/// Keys of one set of columns, in the form of `keys`.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    keys: HashMap<Box<[u8]>, i64>,
    bytes: u64,
}

impl KeySet {
    pub(crate) fn insert(&mut self, key: &[u8], sequence_number: i64) {
        if let Some(newest) = self.keys.get_mut(key) {
            *newest = sequence_number.max(*newest);
        } else {
            self.bytes += key.len() as u64 + KEY_BYTES;
            self.keys.insert(key.into(), sequence_number);
        }
    }

    /// Whether a row with this key in a data file of `sequence_number` is deleted.
    pub(crate) fn deletes(&self, key: &[u8], sequence_number: i64) -> bool {
        self.keys
            .get(key)
            .is_some_and(|newest| *newest > sequence_number)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Bytes held, estimated.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_delete_of_a_key_counts_and_only_for_older_rows() {
        let mut set = KeySet::default();
        assert!(set.is_empty());
        set.insert(b"k", 3);
        set.insert(b"k", 7);
        set.insert(b"k", 5);
        assert!(set.deletes(b"k", 6));
        assert!(!set.deletes(b"k", 7));
        assert!(!set.deletes(b"other", 1));
        assert_eq!(set.bytes(), 1 + KEY_BYTES);
    }
}
