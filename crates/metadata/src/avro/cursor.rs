//! A bounded walk over encoded values: every length is checked against what is left.

use super::{Kind, Malformed, Node};

/// A position in encoded bytes.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The bytes walked since `start`, a position of this cursor.
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        if count > self.remaining() {
            return Err(Malformed::new(format!(
                "{count} bytes expected at byte {} where {} are left",
                self.at,
                self.remaining()
            )));
        }
        let taken = &self.bytes[self.at..self.at + count];
        self.at += count;
        Ok(taken)
    }

    /// A zigzag variable-length number: Avro's `int` and `long`.
    #[inline]
    pub(crate) fn long(&mut self) -> Result<i64, Malformed> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let Some(&byte) = self.bytes.get(self.at) else {
                return Err(Malformed::new(format!(
                    "a number is cut off at byte {}",
                    self.at
                )));
            };
            self.at += 1;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Malformed::new(format!(
            "a number before byte {} is longer than 64 bits",
            self.at
        )))
    }

    pub(crate) fn int(&mut self) -> Result<i32, Malformed> {
        let value = self.long()?;
        i32::try_from(value)
            .map_err(|_| Malformed::new(format!("{value} does not fit an int of 32 bits")))
    }

    pub(crate) fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            other => Err(Malformed::new(format!("{other:?} is no boolean"))),
        }
    }

    pub(crate) fn float(&mut self) -> Result<f32, Malformed> {
        self.array().map(f32::from_le_bytes)
    }

    pub(crate) fn double(&mut self) -> Result<f64, Malformed> {
        self.array().map(f64::from_le_bytes)
    }

    /// Length-prefixed bytes.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.long()?;
        let length = usize::try_from(length)
            .map_err(|_| Malformed::new(format!("length {length} is negative")))?;
        self.take(length)
    }

    pub(crate) fn string(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::new("text is not UTF-8"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// The type of the next value: follows the branch of a union, if it is one.
    #[inline]
    pub(crate) fn branch<'n>(&mut self, node: &'n Node) -> Result<&'n Node, Malformed> {
        let Kind::Union(branches) = &node.kind else {
            return Ok(node);
        };
        let branch = self.long()?;
        let found = usize::try_from(branch)
            .ok()
            .and_then(|branch| branches.get(branch));
        let found =
            found.ok_or_else(|| Malformed::new(format!("a union has no branch {branch}")))?;
        match found.kind {
            Kind::Union(_) => Err(Malformed::new("a union holds a union")),
            _ => Ok(found),
        }
    }

    /// How many items the first block of an array (or a map) says it has, if not too many to make
    /// room for unseen.
    pub(crate) fn items_ahead(&self) -> usize {
        const MAX: u64 = 64;
        let count = self.clone().long().unwrap_or_default().unsigned_abs();
        count.min(MAX) as usize
    }

    /// Calls `read` for every item of an array (or every key and value of a map).
    pub(crate) fn items(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        loop {
            let (count, _) = self.block()?;
            if count == 0 {
                return Ok(());
            }
            self.fits(count)?;
            for _ in 0..count {
                read(self)?;
            }
        }
    }

    /// The head of one block of an array or map: how many items, and how many bytes if told.
    fn block(&mut self) -> Result<(u64, Option<usize>), Malformed> {
        let count = self.long()?;
        if count >= 0 {
            return Ok((count as u64, None));
        }
        let size = self.long()?;
        match usize::try_from(size) {
            Ok(size) if size <= self.remaining() => Ok((count.unsigned_abs(), Some(size))),
            _ => Err(Malformed::new(format!(
                "a block of {size} bytes is longer than the file"
            ))),
        }
    }

    /// Refuses counts no bytes can back. Every item this crate reads takes at least one.
    fn fits(&self, count: u64) -> Result<(), Malformed> {
        if count > self.remaining() as u64 {
            return Err(Malformed::new(format!(
                "{count} items announced where {} bytes are left",
                self.remaining()
            )));
        }
        Ok(())
    }

    /// Walks over one value without decoding it.
    pub(crate) fn skip(&mut self, node: &Node) -> Result<(), Malformed> {
        match &node.kind {
            Kind::Null => {}
            Kind::Int | Kind::Long | Kind::Enum => {
                self.long()?;
            }
            Kind::Boolean => {
                self.take(1)?;
            }
            Kind::Float => {
                self.take(4)?;
            }
            Kind::Double => {
                self.take(8)?;
            }
            Kind::Bytes | Kind::String => {
                self.bytes()?;
            }
            Kind::Fixed(size) => {
                self.take(*size)?;
            }
            Kind::Union(_) => {
                let branch = self.branch(node)?;
                self.skip(branch)?;
            }
            Kind::Record(columns) => {
                for column in columns {
                    self.skip(&column.node)?;
                }
            }
            Kind::Array(item) => self.skip_blocks(None, item)?,
            Kind::Map(value) => self.skip_blocks(Some(()), value)?,
        }
        Ok(())
    }

    fn skip_blocks(&mut self, key: Option<()>, item: &Node) -> Result<(), Malformed> {
        loop {
            let (count, size) = self.block()?;
            if count == 0 {
                return Ok(());
            }
            if let Some(size) = size {
                self.take(size)?;
            } else if key.is_some() || !item.empty {
                self.fits(count)?;
                for _ in 0..count {
                    if key.is_some() {
                        self.bytes()?;
                    }
                    self.skip(item)?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_longer_than_64_bits_are_refused() {
        assert!(Cursor::new(&[0xff; 11]).long().is_err());
        let largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Cursor::new(&largest).long().unwrap(), i64::MIN);
    }

    #[test]
    fn an_array_of_nothing_takes_no_time_however_long_it_says_it_is() {
        let node = Node::parse(&json!({"type": "array", "items": "null"})).unwrap();
        // 2^62 nulls, then the end.
        let mut encoder = super::super::Encoder::default();
        encoder.long(1 << 62);
        encoder.long(0);
        let bytes = encoder.into_bytes();
        Cursor::new(&bytes).skip(&node).unwrap();
    }

    #[test]
    fn a_count_no_bytes_can_back_is_refused() {
        let node = Node::parse(&json!({"type": "array", "items": "long"})).unwrap();
        let mut encoder = super::super::Encoder::default();
        encoder.long(1 << 40);
        let bytes = encoder.into_bytes();
        assert!(Cursor::new(&bytes).skip(&node).is_err());
        assert!(
            Cursor::new(&bytes)
                .items(|cursor| cursor.long().map(drop))
                .is_err()
        );
    }

    #[test]
    fn blocks_that_tell_their_size_are_read_and_skipped() {
        let node = Node::parse(&json!({"type": "array", "items": "long"})).unwrap();
        let mut encoder = super::super::Encoder::default();
        for number in [-2, 2, 7, -8, 1, 9, 0] {
            encoder.long(number);
        }
        let bytes = encoder.into_bytes();
        let mut items = Vec::new();
        Cursor::new(&bytes)
            .items(|cursor| {
                items.push(cursor.long()?);
                Ok(())
            })
            .unwrap();
        assert_eq!(items, [7, -8, 9]);
        let mut cursor = Cursor::new(&bytes);
        cursor.skip(&node).unwrap();
        assert_eq!(cursor.remaining(), 0);
    }

    #[test]
    fn a_block_size_beyond_the_end_is_refused() {
        let node = Node::parse(&json!({"type": "array", "items": "long"})).unwrap();
        for size in [-1, 3, i64::MAX] {
            let mut encoder = super::super::Encoder::default();
            encoder.long(-2);
            encoder.long(size);
            encoder.long(0);
            encoder.long(0);
            let bytes = encoder.into_bytes();
            assert!(Cursor::new(&bytes).skip(&node).is_err(), "size {size}");
        }
        assert!(Cursor::new(&[1]).skip(&node).is_err(), "i64::MIN items");
    }
}
