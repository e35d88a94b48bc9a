//! The rows of the demo: made from a seed and a number, so that everybody can tell what row
//! `id` must be, and counted into a fingerprint that does not depend on order or files.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};
use sha2::{Digest, Sha256};

/// The partitions.
pub(crate) const REGIONS: [&str; 8] = [
    "africa",
    "asia",
    "europe",
    "gulf",
    "nordics",
    "north-america",
    "oceania",
    "south-america",
];

const KINDS: [&str; 6] = ["view", "click", "search", "cart", "purchase", "refund"];
const NOTES: [&str; 4] = [
    "first visit",
    "came by mail",
    "returning, logged in",
    "support asked to look",
];
const PAGES: u64 = 500;
/// Room for a row written as bytes.
const ROW_BYTES_USUAL: usize = 256;
const USERS: u64 = 200_000;
const EVENTS_PER_SESSION: i64 = 16;
/// 2026-01-01T00:00:00Z in microseconds; the events follow it.
const FIRST_AT: i64 = 1_767_225_600_000_000;
const BETWEEN_EVENTS: i64 = 730_000;

/// One row of the demo's table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: i64,
    /// Microseconds since the epoch.
    pub(crate) at: i64,
    pub(crate) region: String,
    pub(crate) user: i64,
    pub(crate) session: String,
    pub(crate) kind: String,
    pub(crate) page: String,
    pub(crate) amount: f64,
    pub(crate) note: Option<String>,
}

impl Event {
    /// Row `id` of the table with this seed. Neighbours share a session, as they do in streams.
    pub(crate) fn new(seed: u64, id: i64, region: &str) -> Self {
        let mut visit = Dice::new(seed, id / EVENTS_PER_SESSION);
        let mut event = Dice::new(!seed, id);
        let kind = event.pick(&KINDS);
        let paid = matches!(kind, "purchase" | "refund");
        let note = (event.below(10) == 0).then(|| event.pick(&NOTES).to_owned());
        Self {
            id,
            at: FIRST_AT + id * BETWEEN_EVENTS + event.below(BETWEEN_EVENTS as u64) as i64,
            region: region.to_owned(),
            user: visit.below(USERS) as i64,
            session: format!("{:016x}", visit.throw()),
            kind: kind.to_owned(),
            page: page(event.below(PAGES)),
            amount: if paid {
                event.below(1_000_000) as f64 / 100.0
            } else {
                0.0
            },
            note,
        }
    }

    /// Half of the SHA-256 of the row written as bytes that only this row has: fixed widths, and
    /// a length before what varies.
    fn hash(&self) -> u128 {
        let mut bytes = Vec::with_capacity(ROW_BYTES_USUAL);
        for number in [self.id, self.at, self.user, self.amount.to_bits() as i64] {
            bytes.extend(number.to_le_bytes());
        }
        let texts = [&self.region, &self.session, &self.kind, &self.page].map(Some);
        for text in texts.into_iter().chain([self.note.as_ref()]) {
            // A null is no empty text.
            bytes.extend(text.map_or(-1, |text| text.len() as i64).to_le_bytes());
            bytes.extend_from_slice(text.map_or(b"", |text| text.as_bytes()));
        }
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let half = digest.first_chunk().expect("32 bytes hold 16");
        u128::from_le_bytes(*half)
    }
}

fn page(number: u64) -> String {
    const WORDS: [&str; 7] = [
        "lamp", "chair", "kettle", "carpet", "mirror", "shelf", "blanket",
    ];
    let word = |n: u64| WORDS[(number / n % 7) as usize];
    format!(
        "/shop/{}-{}-{}/{}?from=home",
        word(1),
        word(7),
        word(49),
        10_000 + number
    )
}

/// Numbers that look random and follow from a seed and an id (SplitMix64).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64, id: i64) -> Self {
        let mut dice = Self(seed);
        dice.0 = dice.throw() ^ id as u64;
        dice
    }

    pub(crate) fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.throw() % bound
    }

    pub(crate) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

/// Counts rows and sums their hashes modulo 2^128: the same for the same multiset of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) rows: u64,
    sum: u128,
}

impl Fingerprint {
    pub(crate) fn add(&mut self, event: &Event) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(event.hash());
    }

    pub(crate) fn remove(&mut self, event: &Event) {
        self.rows -= 1;
        self.sum = self.sum.wrapping_sub(event.hash());
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// 32 hexadecimal digits.
    pub(crate) fn text(&self) -> String {
        format!("{:032x}", self.sum)
    }
}

/// The columns in the order of [`COLUMNS`].
pub(crate) fn columns(events: &[Event]) -> Vec<ArrayRef> {
    let longs = |get: fn(&Event) -> i64| Int64Array::from_iter_values(events.iter().map(get));
    let texts = |get: fn(&Event) -> &str| StringViewArray::from_iter_values(events.iter().map(get));
    let at = TimestampMicrosecondArray::from_iter_values(events.iter().map(|event| event.at));
    vec![
        Arc::new(longs(|event| event.id)),
        Arc::new(at.with_timezone("UTC")),
        Arc::new(texts(|event| &event.region)),
        Arc::new(longs(|event| event.user)),
        Arc::new(texts(|event| &event.session)),
        Arc::new(texts(|event| &event.kind)),
        Arc::new(texts(|event| &event.page)),
        Arc::new(Float64Array::from_iter_values(
            events.iter().map(|event| event.amount),
        )),
        Arc::new(
            events
                .iter()
                .map(|event| event.note.as_deref())
                .collect::<StringViewArray>(),
        ),
    ]
}

/// Names and Iceberg types; field ids count from 1 in this order. Only the last may be null.
pub(crate) const COLUMNS: [(&str, &str); 9] = [
    ("id", "long"),
    ("at", "timestamptz"),
    ("region", "string"),
    ("user", "long"),
    ("session", "string"),
    ("kind", "string"),
    ("page", "string"),
    ("amount", "double"),
    ("note", "string"),
];

/// Reads rows back out of a batch as some Parquet reader gave it.
pub(crate) fn events(batch: &RecordBatch) -> Result<Vec<Event>> {
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .with_context(|| format!("column `{name}` is missing"))
    };
    let text = |name: &str| {
        column(name)?
            .as_string_opt::<i32>()
            .with_context(|| format!("`{name}` is no text"))
    };
    let long = |name: &str| {
        column(name)?
            .as_primitive_opt::<Int64Type>()
            .with_context(|| format!("`{name}` is no long"))
    };
    let (id, user) = (long("id")?, long("user")?);
    let at = column("at")?
        .as_primitive_opt::<TimestampMicrosecondType>()
        .context("`at` is no timestamp")?;
    let amount = column("amount")?
        .as_primitive_opt::<Float64Type>()
        .context("`amount` is no double")?;
    let (region, session) = (text("region")?, text("session")?);
    let (kind, note) = (text("kind")?, text("note")?);
    let page = text("page")?;
    let event = |row: usize| Event {
        id: id.value(row),
        at: at.value(row),
        region: region.value(row).to_owned(),
        user: user.value(row),
        session: session.value(row).to_owned(),
        kind: kind.value(row).to_owned(),
        page: page.value(row).to_owned(),
        amount: amount.value(row),
        note: note.is_valid(row).then(|| note.value(row).to_owned()),
    };
    Ok((0..batch.num_rows()).map(event).collect())
}

#[cfg(test)]
mod tests {
    use arrow_array::StringArray;

    use super::*;

    fn some(count: i64) -> Vec<Event> {
        (0..count)
            .map(|id| Event::new(7, id, REGIONS[(id % 8) as usize]))
            .collect()
    }

    fn fingerprint<'a>(events: impl IntoIterator<Item = &'a Event>) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        events.into_iter().for_each(|event| fingerprint.add(event));
        fingerprint
    }

    #[test]
    fn rows_survive_the_way_through_a_batch() {
        let events = some(100);
        assert!(
            events.iter().any(|event| event.note.is_some())
                && events.iter().any(|event| event.note.is_none())
        );
        // As a reader that goes by the Parquet schema gives them.
        let plain = |column: ArrayRef| match column.as_string_view_opt() {
            Some(text) => Arc::new(text.iter().collect::<StringArray>()),
            None => column,
        };
        let columns = columns(&events).into_iter().map(plain);
        let named = COLUMNS.iter().map(|(name, _)| *name).zip(columns);
        let batch = RecordBatch::try_from_iter(named).unwrap();
        assert_eq!(super::events(&batch).unwrap(), events);
    }

    #[test]
    fn the_order_does_not_matter_and_every_change_does() {
        let events = some(50);
        let want = fingerprint(&events);
        assert_eq!(fingerprint(events.iter().rev()), want);
        let changes: [fn(&mut Event); 9] = [
            |event| event.id += 1,
            |event| event.at += 1,
            |event| event.region.push('x'),
            |event| event.user += 1,
            |event| event.session.push('x'),
            |event| event.kind.push('x'),
            |event| event.page.push('x'),
            |event| event.amount += 0.01,
            |event| {
                event.note = if event.note.is_some() {
                    None
                } else {
                    Some(String::new())
                }
            },
        ];
        for change in changes {
            let mut other = events.clone();
            change(&mut other[17]);
            assert_ne!(fingerprint(&other), want, "{:?}", other[17]);
        }
        assert_ne!(fingerprint(&events[1..]), want, "a row was lost");
        assert_ne!(
            fingerprint(events.iter().chain(&events[..1])),
            want,
            "a row was doubled"
        );
    }

    #[test]
    fn removing_undoes_adding() {
        let events = some(10);
        let mut whole = fingerprint(&events);
        whole.remove(&events[3]);
        let mut parts = fingerprint(&events[..3]);
        parts.join(fingerprint(&events[4..]));
        assert_eq!(whole, parts);
    }
}
