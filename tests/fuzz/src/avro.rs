//! Damage inside an Avro container, which stays one: its blocks are unpacked, its lengths made to
//! fit again, so that the damage is met behind them.

use std::io::Read as _;

use flate2::read::DeflateDecoder;
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::json;
use crate::raw::{self, zigzag};

const MAGIC: &[u8] = b"Obj\x01";
const SYNC_BYTES: usize = 16;

/// A container taken apart.
struct Container {
    header: Vec<(Vec<u8>, Vec<u8>)>,
    sync: Vec<u8>,
    /// How many values, and their bytes.
    blocks: Vec<(i64, Vec<u8>)>,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn long(&mut self) -> Option<i64> {
        let mut value = 0u64;
        for group in 0..10 {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << (7 * group);
            if byte & 0x80 == 0 {
                return Some((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        self.take(length)
    }
}

impl Container {
    fn open(file: &[u8]) -> Option<Self> {
        let mut reader = Reader(file.strip_prefix(MAGIC)?);
        let mut header = Vec::new();
        loop {
            let count = reader.long()?;
            if count <= 0 {
                break;
            }
            for _ in 0..count {
                header.push((reader.bytes()?.to_vec(), reader.bytes()?.to_vec()));
            }
        }
        let sync = reader.take(SYNC_BYTES)?.to_vec();
        let packed = header
            .iter()
            .any(|(key, value)| key == b"avro.codec" && value == b"deflate");
        let mut blocks = Vec::new();
        while !reader.0.is_empty() {
            let (count, bytes) = (reader.long()?, reader.bytes()?);
            let mut plain = bytes.to_vec();
            if packed {
                plain.clear();
                DeflateDecoder::new(bytes).read_to_end(&mut plain).ok()?;
            }
            blocks.push((count, plain));
            reader.take(SYNC_BYTES)?;
        }
        header.retain(|(key, _)| key != b"avro.codec");
        Some(Self {
            header,
            sync,
            blocks,
        })
    }

    fn close(&self) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend(zigzag(self.header.len() as i64));
        for part in self.header.iter().flat_map(|(key, value)| [key, value]) {
            file.extend(zigzag(part.len() as i64));
            file.extend(part);
        }
        file.extend(zigzag(0));
        file.extend(&self.sync);
        for (count, bytes) in &self.blocks {
            file.extend(zigzag(*count));
            file.extend(zigzag(bytes.len() as i64));
            file.extend(bytes);
            file.extend(&self.sync);
        }
        file
    }
}

/// Damages the header, its schemas or the values; what is no container is left alone.
pub(crate) fn damage(rng: &mut StdRng, file: &mut Vec<u8>, other: &[u8]) {
    let Some(mut container) = Container::open(file) else {
        return;
    };
    let donor = Container::open(other);
    let entry = rng.random_range(0..container.header.len().max(1));
    match rng.random_range(0..8) {
        0 => {
            if let Some((_, value)) = container.header.get_mut(entry) {
                json::damage(rng, value);
            }
        }
        1 => {
            if let Some((_, value)) = container.header.get_mut(entry) {
                raw::damage(rng, value, other);
            }
        }
        2 => {
            let donor = donor.and_then(|donor| donor.header.get(entry).cloned());
            if rng.random() && !container.header.is_empty() {
                container.header.remove(entry);
            } else {
                container.header.extend(donor);
            }
        }
        3 => {
            let donor = donor.map(|donor| donor.blocks).unwrap_or_default();
            container.blocks.extend(donor);
        }
        _ => {
            let at = rng.random_range(0..container.blocks.len().max(1));
            if let Some((count, values)) = container.blocks.get_mut(at) {
                raw::damage(rng, values, other);
                if rng.random_range(0..8) == 0 {
                    *count = raw::number(rng);
                }
            }
        }
    }
    *file = container.close();
}
