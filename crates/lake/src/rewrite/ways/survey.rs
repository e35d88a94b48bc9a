//! What there is to choose from: the inputs' chunks of a column and what their headers say.

use parquet::file::metadata::ColumnChunkMetaData;
use parquet::schema::types::ColumnDescriptor;

use super::Stop;
use super::choice::{Facts, Reason, Size};
use super::dictionary::Merged;
use super::stored::{Held, Stored, held};
use super::wanted::Wanted;
use crate::files::shape::Shape;
use crate::files::sound::leaves;
use crate::rewrite::column::{Part, PartContent};

/// The chunks of all parts in order, and what is known of them.
#[derive(Debug)]
pub(super) struct Survey<'a> {
    pub(super) stored: Vec<Stored<'a>>,
    pub(super) facts: Facts,
    pub(super) merged: Option<Merged>,
}

impl<'a> Survey<'a> {
    /// Looks no further than the first thing that forbids every way.
    pub(super) fn of(
        wanted: &Wanted,
        parts: &'a [Part],
        rows: u64,
        stop: &Stop,
    ) -> Result<Self, Reason> {
        let mut survey = Self {
            stored: Vec::new(),
            facts: Facts::default(),
            merged: None,
        };
        survey.look_at_footers(wanted, parts);
        survey.forbidden(wanted)?;
        survey.look_at_headers(wanted, parts, rows)?;
        survey.forbidden(wanted)?;
        if survey.facts.indexed.count > 0 && survey.facts.plain.count == 0 {
            survey.merged = Merged::of(wanted, &survey.stored, stop)?;
            survey.facts.merged = survey.merged.as_ref().map(|merged| Size {
                values: merged.count() as u64,
                bytes: merged.bytes.len() as u64,
            });
        }
        Ok(survey)
    }

    fn forbidden(&self, wanted: &Wanted) -> Result<(), Reason> {
        self.facts.forbid(wanted).map_or(Ok(()), Err)
    }

    fn look_at_footers(&mut self, wanted: &Wanted, parts: &[Part]) {
        for part in parts {
            let PartContent::Column {
                footer,
                root,
                shape,
                selected,
                ..
            } = &part.content
            else {
                self.facts.not_stored = true;
                continue;
            };
            let schema = footer.parquet_schema();
            let mut leaves = leaves(schema, *root);
            let same = match (leaves.next(), leaves.next()) {
                (Some(leaf), None) => alike(&schema.column(leaf), &wanted.column),
                _ => false,
            };
            self.facts.other_type |= !same || *shape != Shape::Same;
            self.facts.not_all_rows |= selected.selection.is_some();
        }
    }

    fn look_at_headers(
        &mut self,
        wanted: &Wanted,
        parts: &'a [Part],
        rows: u64,
    ) -> Result<(), Reason> {
        let mut found = 0;
        for part in parts {
            let PartContent::Column {
                fetched,
                footer,
                root,
                selected,
                ..
            } = &part.content
            else {
                continue;
            };
            let leaf = leaves(footer.parquet_schema(), *root).start;
            for group in &selected.row_groups {
                let group = footer.metadata().row_group(*group);
                let column: &ColumnChunkMetaData = group.column(leaf);
                found += group.num_rows() as u64;
                if found > rows {
                    break;
                }
                let stored = Stored::new(fetched, column, group.num_rows(), wanted.codec)?;
                self.add(stored);
            }
        }
        if found != rows {
            self.facts.odd = Some("its row groups have other rows than were due".to_owned());
        }
        Ok(())
    }

    fn add(&mut self, stored: Stored<'a>) {
        self.facts.other_codec |= !stored.same_codec;
        let dictionary = stored.dictionary_size();
        let bytes = &mut self.facts.dictionaries_bytes;
        *bytes = bytes.saturating_add(dictionary.bytes);
        for head in stored.data() {
            let pages = match held(head) {
                Some(Held::Plain) => &mut self.facts.plain,
                Some(Held::Indexed) => {
                    let bytes = u128::from(head.values) * u128::from(dictionary.bytes);
                    let bytes = bytes / u128::from(dictionary.values.max(1));
                    let all = &mut self.facts.dissolved_bytes;
                    *all = all.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
                    &mut self.facts.indexed
                }
                None => {
                    self.facts.other_encoding = true;
                    continue;
                }
            };
            pages.add(head.values, head.unpacked);
        }
        self.stored.push(stored);
    }
}

/// Whether values and levels of one are those of the other. Logical types were matched before.
fn alike(one: &ColumnDescriptor, two: &ColumnDescriptor) -> bool {
    let of = |column: &ColumnDescriptor| {
        let levels = (column.max_def_level(), column.max_rep_level());
        (column.physical_type(), column.type_length(), levels)
    };
    of(one) == of(two)
}
