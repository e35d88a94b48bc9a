//! Merges manifests of one kind: their live entries, sorted by partition and carried as the bytes
//! they are, in as few new manifests as the target size asks for.
//!
//! [`Shape::read`] tells which manifests can be merged, [`Gathered::read`] takes one apart,
//! [`Merge`] sorts what was gathered into blocks, which can be compressed side by side, and makes
//! manifests of them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use bytes::Bytes;
use storage::Storage;

use super::carry::{carry, numbered};
use super::count::hidden;
use super::partition::{SpecTypes, columns};
use super::read::{EntryReader, EntrySlot, decode, malformed, open};
use super::write::{ManifestWriter, Tally, codec};
use super::{Entry, EntryStatus, Fields, ManifestContent, ManifestFile, unwritable, writable};
use crate::avro::{BLOCK_BYTES, Codec, Container, ContainerWriter, Encoder, Malformed, SCHEMA};
use crate::scan::Known;
use crate::{Error, Literal, TableMetadata};

/// What a partition's value takes beside itself: a text has memory of its own.
const VALUE_BYTES: usize = 32;
/// What a manifest's header is hoped to fit into.
const HEADER_BYTES: u64 = 64 << 10;

/// What entries are encoded as: those of one shape may stand in one manifest as they are. Writers
/// differ in the fields they write, and one writer after the type of a partition's source changed.
/// A hash of the schema, for a plan holds one for each manifest; a merge compares schemas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape(u64);

impl Shape {
    /// The shape of what is carried out of `manifest`. Reads no more than its header.
    pub async fn read(
        storage: &Storage,
        manifest: &ManifestFile,
        table: &TableMetadata,
    ) -> Result<Self, Error> {
        let length = u64::try_from(manifest.manifest_length).unwrap_or(0);
        if length > HEADER_BYTES {
            let start = Range {
                start: 0,
                end: HEADER_BYTES,
            };
            let ranges = storage.read_ranges(&manifest.manifest_path, std::slice::from_ref(&start));
            let start = ranges.await?.pop().unwrap_or_default();
            if let Ok(container) = Container::open(&start) {
                return Self::of(&container, manifest, table);
            }
        }
        let bytes = storage.read(&manifest.manifest_path).await?;
        let container = open(&bytes, manifest).map_err(|why| malformed(manifest, why))?;
        Self::of(&container, manifest, table)
    }

    fn of(
        container: &Container<'_>,
        manifest: &ManifestFile,
        table: &TableMetadata,
    ) -> Result<Self, Error> {
        let types = SpecTypes::of(table);
        let lean = EntryReader::compile(container, manifest, &types, Fields::PLAN)
            .map_err(|why| malformed(manifest, why))?;
        if writable("manifest", table)? > 1 && !lean.has(EntrySlot::SequenceNumber) {
            let spec_id = manifest.partition_spec_id;
            return Ok(ManifestWriter::new(manifest.content, table, spec_id, 0)?.shape());
        }
        Ok(Self::of_header(&container.header))
    }

    pub(super) fn of_header(header: &BTreeMap<String, Vec<u8>>) -> Self {
        let mut hasher = DefaultHasher::new();
        header.get(SCHEMA).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// The live entries of one manifest, encoded as they will be carried.
#[derive(Debug)]
pub struct Gathered {
    manifest: ManifestFile,
    header: BTreeMap<String, Vec<u8>>,
    partition_fields: usize,
    places: Vec<Place>,
    encoded: Vec<u8>,
}

/// Where an entry ends in what is encoded, and what a manifest's own entry counts of it.
#[derive(Debug)]
struct Place {
    partition: Vec<Option<Literal>>,
    sequence_number: i64,
    records: u64,
    end: usize,
}

impl Gathered {
    /// Takes the live entries out of `manifest`, whose content is `bytes`. Refuses sequence numbers
    /// the table never gave: a merge would make them last.
    pub fn read(
        bytes: &Bytes,
        manifest: &ManifestFile,
        table: &TableMetadata,
    ) -> Result<Self, Error> {
        let version = writable("manifest", table)?;
        if manifest.first_row_id.is_some() {
            let why = "row lineage (first_row_id) needs format version 3";
            return Err(unwritable(&manifest.manifest_path, why));
        }
        let known = Known::of(table);
        known
            .check(manifest)
            .map_err(|why| malformed(manifest, why))?;
        let types = SpecTypes::of(table);
        let numbered = numbered(bytes, manifest, &types).map_err(|why| malformed(manifest, why))?;
        let gathered = match (version, numbered) {
            (1, true) => {
                let why = "it has sequence numbers, its table is of format version 1";
                Err(unwritable(&manifest.manifest_path, why))
            }
            (2.., false) => Self::upgraded((bytes, manifest), table, &types),
            _ => Self::carried(bytes, manifest, &types, known)
                .map_err(|why| malformed(manifest, why)),
        }?;
        hidden(manifest, gathered.entries() as u64).map_err(|why| malformed(manifest, why))?;
        Ok(gathered)
    }

    fn carried(
        bytes: &Bytes,
        manifest: &ManifestFile,
        types: &SpecTypes,
        known: Known,
    ) -> Result<Self, Malformed> {
        let mut source = open(bytes, manifest)?;
        let lean = EntryReader::compile(&source, manifest, types, Fields::PLAN)?;
        let fields = lean.partition().columns().len();
        let mut gathered = Self::new(manifest, source.header.clone(), fields);
        let mut copy = Encoder::default();
        source.each(|cursor| {
            if let Some(entry) = carry(&lean, cursor, manifest, &mut copy)? {
                known.check_entry(&entry)?;
                gathered.push(entry, copy.as_bytes());
            }
            Ok(())
        })?;
        Ok(gathered)
    }

    /// A manifest of format v1 in a table of v2 has no place for numbers: as format v2.
    fn upgraded(
        (bytes, manifest): (&Bytes, &ManifestFile),
        table: &TableMetadata,
        types: &SpecTypes,
    ) -> Result<Self, Error> {
        let entries = decode(bytes, manifest, types, Fields::ALL);
        let entries = entries.map_err(|why| malformed(manifest, why))?;
        let spec_id = manifest.partition_spec_id;
        let mut writer = ManifestWriter::new(manifest.content, table, spec_id, 0)?;
        let fields = table
            .spec(spec_id)
            .map_or(0, |spec| columns(spec, table).len());
        let mut gathered = Self::new(manifest, writer.header().clone(), fields);
        for entry in entries {
            if entry.status != EntryStatus::Deleted {
                let encoded = writer.encode_existing(&entry)?;
                gathered.push(entry, encoded);
            }
        }
        Ok(gathered)
    }

    fn new(manifest: &ManifestFile, header: BTreeMap<String, Vec<u8>>, fields: usize) -> Self {
        Self {
            manifest: manifest.clone(),
            header,
            partition_fields: fields,
            places: Vec::new(),
            encoded: Vec::new(),
        }
    }

    fn push(&mut self, entry: Entry, encoded: &[u8]) {
        self.encoded.extend_from_slice(encoded);
        self.places.push(Place {
            partition: entry.file.partition,
            sequence_number: entry.sequence_number,
            records: entry.file.record_count,
            end: self.encoded.len(),
        });
    }

    /// How many live entries it holds.
    pub fn entries(&self) -> usize {
        self.places.len()
    }

    /// Memory it takes, in bytes.
    pub fn bytes(&self) -> u64 {
        let header = self
            .header
            .iter()
            .map(|(key, value)| key.len() + value.len());
        let header: usize = header.sum();
        let values = self.partition_fields * (size_of::<Option<Literal>>() + VALUE_BYTES);
        let places = self.places.capacity() * (size_of::<Place>() + values);
        (header + self.encoded.capacity() + places + size_of::<Self>()) as u64
    }

    /// What its entries are encoded as.
    pub fn shape(&self) -> Shape {
        Shape::of_header(&self.header)
    }

    fn encoded(&self, at: usize) -> &[u8] {
        let start = at
            .checked_sub(1)
            .map_or(0, |before| self.places[before].end);
        &self.encoded[start..self.places[at].end]
    }
}

/// An entry of one of the manifests gathered.
#[derive(Debug, Clone, Copy)]
struct At {
    manifest: u32,
    entry: u32,
}

/// Entries in the order of their new manifests, cut into blocks.
#[derive(Debug)]
pub struct Merge {
    gathered: Vec<Gathered>,
    order: Vec<At>,
    /// Of `order`.
    blocks: Vec<Range<usize>>,
    /// Which of `gathered` the header is taken from.
    newest: usize,
    codec: Codec,
    target_bytes: u64,
}

impl Merge {
    /// Sorts by partition; within one, entries stay in the order gathered. Manifests of about
    /// `target_bytes` can be made of the blocks. Refuses manifests of several shapes, contents or
    /// specs.
    pub fn new(
        gathered: Vec<Gathered>,
        table: &TableMetadata,
        target_bytes: u64,
    ) -> Result<Self, Error> {
        let kind = |one: &Gathered| (one.manifest.content, one.manifest.partition_spec_id);
        if let Some(other) = gathered.windows(2).find(|two| {
            kind(&two[0]) != kind(&two[1]) || two[0].header.get(SCHEMA) != two[1].header.get(SCHEMA)
        }) {
            let why = format!(
                "{} holds entries of another kind",
                other[1].manifest.manifest_path
            );
            return Err(unwritable(&other[0].manifest.manifest_path, why));
        }
        let mut order: Vec<At> = (0u32..)
            .zip(&gathered)
            .flat_map(|(manifest, one)| {
                let entries = 0..u32::try_from(one.entries()).unwrap_or(u32::MAX);
                entries.map(move |entry| At { manifest, entry })
            })
            .collect();
        let place = |at: At| &gathered[at.manifest as usize].places[at.entry as usize];
        order.sort_by(|a, b| place(*a).partition.cmp(&place(*b).partition));
        let block_bytes = BLOCK_BYTES.min(usize::try_from(target_bytes).unwrap_or(BLOCK_BYTES));
        let mut blocks = Vec::new();
        let (mut start, mut bytes) = (0, 0);
        for (at, entry) in order.iter().enumerate() {
            bytes += gathered[entry.manifest as usize]
                .encoded(entry.entry as usize)
                .len();
            if bytes >= block_bytes {
                blocks.push(start..at + 1);
                (start, bytes) = (at + 1, 0);
            }
        }
        if start < order.len() {
            blocks.push(start..order.len());
        }
        // Of several as new, the first listed; in format v1 that is all there is.
        let newest = (0..gathered.len())
            .rev()
            .max_by_key(|at| gathered[*at].manifest.sequence_number);
        Ok(Self {
            newest: newest.unwrap_or(0),
            codec: codec(table)?,
            target_bytes,
            gathered,
            order,
            blocks,
        })
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// How many entries there are.
    pub fn entries(&self) -> usize {
        self.order.len()
    }

    /// Some of the blocks, compressed.
    pub fn compress(&self, blocks: Range<usize>) -> Vec<Vec<u8>> {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        let compress = |entries: &Range<usize>| {
            block.clear();
            for at in &self.order[entries.clone()] {
                block.extend_from_slice(self.encoded(*at));
            }
            self.codec.compress(&block).into_owned()
        };
        self.blocks[blocks].iter().map(compress).collect()
    }

    /// New manifests of about equal length, none much above the target, written by `snapshot_id` at
    /// the paths given; `compressed` are all blocks.
    pub fn manifests(
        &self,
        compressed: &[Vec<u8>],
        snapshot_id: i64,
        mut path: impl FnMut() -> String,
    ) -> Vec<(String, Bytes, ManifestFile)> {
        let total: u64 = compressed.iter().map(|block| block.len() as u64).sum();
        let parts = total.div_ceil(self.target_bytes.max(1)).max(1);
        let mut manifests = Vec::new();
        let (mut start, mut bytes) = (0, 0);
        for (at, block) in compressed.iter().enumerate() {
            bytes += block.len() as u64;
            let due = total * (manifests.len() as u64 + 1) / parts;
            if bytes >= due || at + 1 == compressed.len() {
                let path = path();
                let made = self.manifest(start..at + 1, compressed, &path, snapshot_id);
                manifests.push((path, made.0, made.1));
                start = at + 1;
            }
        }
        manifests
    }

    fn manifest(
        &self,
        blocks: Range<usize>,
        compressed: &[Vec<u8>],
        path: &str,
        snapshot_id: i64,
    ) -> (Bytes, ManifestFile) {
        let newest = &self.gathered[self.newest];
        let mut container = ContainerWriter::with_header(&newest.header, self.codec);
        let mut tally = Tally::new(newest.partition_fields);
        for at in blocks {
            let entries = &self.order[self.blocks[at].clone()];
            container.push_block(entries.len(), &compressed[at]);
            for entry in entries {
                let place = self.place(*entry);
                let number = Some(place.sequence_number);
                tally.add(
                    EntryStatus::Existing,
                    number,
                    place.records,
                    &place.partition,
                );
            }
        }
        let bytes = Bytes::from(container.finish());
        let (content, spec_id): (ManifestContent, i32) =
            (newest.manifest.content, newest.manifest.partition_spec_id);
        let manifest = tally.finish(path, bytes.len(), content, spec_id, snapshot_id);
        (bytes, manifest)
    }

    fn place(&self, at: At) -> &Place {
        &self.gathered[at.manifest as usize].places[at.entry as usize]
    }

    fn encoded(&self, at: At) -> &[u8] {
        self.gathered[at.manifest as usize].encoded(at.entry as usize)
    }
}
