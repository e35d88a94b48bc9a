//! The object container: header, blocks, sync markers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use super::{Codec, Cursor, Encoder, Malformed, Node};

const MAGIC: &[u8] = b"Obj\x01";
const SYNC_BYTES: usize = 16;
/// The header's entry that holds the schema.
pub(crate) const SCHEMA: &str = "avro.schema";
const CODEC: &str = "avro.codec";
/// A block is closed once it holds this many uncompressed bytes (Java's default interval).
pub(crate) const BLOCK_BYTES: usize = 64_000;

/// Values any file may hold, and bytes of the file each further one needs: a value takes far more
/// memory than its bytes, and packed ones that are all alike next to none.
const VALUES_FREE: u64 = 1 << 16;
const BYTES_PER_VALUE: u64 = 4;
/// What any file may unpack to, and how many times its own length beyond that. Deflate cannot
/// pack tighter.
const UNPACKED_FREE_BYTES: u64 = 64 << 20;
const UNPACKED_RATIO_MAX: u64 = 1032;

/// What a file may still hold.
#[derive(Debug, Clone, Copy)]
struct Room {
    values: u64,
    bytes: u64,
}

impl Room {
    fn of(file: &[u8]) -> Self {
        let length = file.len() as u64;
        Self {
            values: VALUES_FREE + length / BYTES_PER_VALUE,
            bytes: UNPACKED_FREE_BYTES.saturating_add(length.saturating_mul(UNPACKED_RATIO_MAX)),
        }
    }

    fn take(&mut self, values: u64, bytes: u64) -> Result<(), Malformed> {
        match (
            self.values.checked_sub(values),
            self.bytes.checked_sub(bytes),
        ) {
            (Some(values), Some(bytes)) => {
                *self = Self { values, bytes };
                Ok(())
            }
            (None, _) => Err(Malformed::new(
                "it holds more values than its length allows",
            )),
            (_, None) => Err(Malformed::new("it unpacks to more than its length allows")),
        }
    }
}

/// One container being read.
#[derive(Debug)]
pub(crate) struct Container<'a> {
    /// The header's entries, Avro's own included.
    pub(crate) header: BTreeMap<String, Vec<u8>>,
    pub(crate) codec: Codec,
    pub(crate) root: Arc<Node>,
    sync: &'a [u8],
    cursor: Cursor<'a>,
    room: Room,
}

/// One decompressed block.
#[derive(Debug)]
struct Block<'a> {
    /// How many values it holds.
    count: u64,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Container<'a> {
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes);
        if cursor.take(MAGIC.len()).ok() != Some(MAGIC) {
            return Err(Malformed::new("not an Avro file"));
        }
        let mut header = BTreeMap::new();
        cursor.items(|cursor| {
            let key = cursor.string()?.to_owned();
            header.insert(key, cursor.bytes()?.to_vec());
            Ok(())
        })?;
        let sync = cursor.take(SYNC_BYTES)?;
        let codec = match header.get(CODEC) {
            None => Codec::Null,
            Some(name) => {
                let name = String::from_utf8_lossy(name);
                Codec::from_name(&name)
                    .ok_or_else(|| Malformed::new(format!("codec {name:?} is not supported")))?
            }
        };
        let schema = header
            .get(SCHEMA)
            .ok_or_else(|| Malformed::new("the header lacks avro.schema"))?;
        let schema = crate::json::parse(schema)
            .map_err(|error| Malformed::new(format!("avro.schema: {error}")))?;
        Ok(Self {
            root: Node::parse(&schema)?,
            header,
            codec,
            sync,
            cursor,
            room: Room::of(bytes),
        })
    }

    /// A header entry as text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.header
            .get(key)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The next block; `None` at the end of the file.
    fn next_block(&mut self) -> Result<Option<Block<'a>>, Malformed> {
        if self.cursor.remaining() == 0 {
            return Ok(None);
        }
        let count = self.cursor.long()?;
        let count = u64::try_from(count)
            .map_err(|_| Malformed::new(format!("a block announces {count} values")))?;
        let bytes = self.codec.decompress(self.cursor.bytes()?)?;
        if self.cursor.take(SYNC_BYTES)? != self.sync {
            return Err(Malformed::new(
                "a block does not end with the file's sync marker",
            ));
        }
        if count > bytes.len() as u64 {
            return Err(Malformed::new(format!(
                "a block announces {count} values in {} bytes",
                bytes.len()
            )));
        }
        self.room.take(count, bytes.len() as u64)?;
        Ok(Some(Block { count, bytes }))
    }

    /// Calls `read` for every value of the file, with the cursor at its start.
    pub(crate) fn each(
        &mut self,
        mut read: impl FnMut(&mut Cursor<'_>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        while let Some(Block { count, bytes }) = self.next_block()? {
            let mut cursor = Cursor::new(&bytes);
            for _ in 0..count {
                read(&mut cursor)?;
            }
            if cursor.remaining() > 0 {
                return Err(Malformed::new(format!(
                    "{} bytes are left behind the last value of a block",
                    cursor.remaining()
                )));
            }
        }
        Ok(())
    }
}

/// A header with `schema` and `entries`, to which [`ContainerWriter`] adds its codec.
pub(crate) fn header(schema: &Value, entries: &[(&str, String)]) -> BTreeMap<String, Vec<u8>> {
    let entries = entries.iter();
    let entries = entries.map(|(key, value)| ((*key).to_owned(), value.clone().into_bytes()));
    entries
        .chain([(SCHEMA.to_owned(), schema.to_string().into_bytes())])
        .collect()
}

/// One container being written, in memory.
#[derive(Debug)]
pub(crate) struct ContainerWriter {
    out: Encoder,
    codec: Codec,
    sync: [u8; SYNC_BYTES],
    block: Encoder,
    count: usize,
}

impl ContainerWriter {
    /// A container of `schema` whose header also holds `entries`.
    pub(crate) fn new(schema: &Value, codec: Codec, entries: &[(&str, String)]) -> Self {
        Self::with_header(&header(schema, entries), codec)
    }

    /// A container with this header, but for the codec it names.
    pub(crate) fn with_header(header: &BTreeMap<String, Vec<u8>>, codec: Codec) -> Self {
        let mut header = header.clone();
        header.insert(CODEC.to_owned(), codec.name().as_bytes().to_vec());
        let sync = *Uuid::new_v4().as_bytes();
        let mut out = Encoder::default();
        out.raw(MAGIC);
        out.array(header.iter(), |out, (key, value)| {
            out.string(key);
            out.bytes(value);
        });
        out.raw(&sync);
        Self {
            out,
            codec,
            sync,
            block: Encoder::default(),
            count: 0,
        }
    }

    /// Adds one encoded value.
    pub(crate) fn push(&mut self, encoded: &[u8]) {
        self.block.raw(encoded);
        self.count += 1;
        if self.block.as_bytes().len() >= BLOCK_BYTES {
            self.flush();
        }
    }

    /// Adds a block that is compressed already.
    pub(crate) fn push_block(&mut self, count: usize, compressed: &[u8]) {
        self.flush();
        self.out.long(count as i64);
        self.out.bytes(compressed);
        self.out.raw(&self.sync);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.flush();
        self.out.into_bytes()
    }

    fn flush(&mut self) {
        if self.count == 0 {
            return;
        }
        let (count, compressed) = (
            std::mem::take(&mut self.count),
            self.codec.compress(self.block.as_bytes()).into_owned(),
        );
        self.block.clear();
        self.push_block(count, &compressed);
    }
}
