//! Cheaper ways to make a column's chunk than to decode and encode every value: pages of the inputs
//! are copied, dictionaries merged or dissolved.
//!
//! [`assemble`] surveys the inputs, lets [`choice`] decide and makes the chunk. It never makes an
//! error: where anything is odd, the column is transcoded, and the library finds the error or the
//! values. Bytes are copied only after they were unpacked, counted and looked at.

mod assembly;
mod choice;
mod compress;
mod dictionary;
mod hybrid;
mod paging;
mod plain;
mod statistics;
mod stored;
mod survey;
mod value;
mod wanted;

use std::borrow::Cow;

use parquet::errors::ParquetError;
use tokio_util::sync::CancellationToken;

pub(crate) use self::assembly::Assembled;
pub(crate) use self::choice::{Reason, Way};
use self::survey::Survey;
pub(crate) use self::wanted::Wanted;
use super::column::{ColumnTask, Part};
use crate::files::sound::guarded;

/// Why a way that was taken leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Odd(Cow<'static, str>);

impl From<&'static str> for Odd {
    fn from(why: &'static str) -> Self {
        Self(Cow::Borrowed(why))
    }
}

impl From<String> for Odd {
    fn from(why: String) -> Self {
        Self(Cow::Owned(why))
    }
}

impl From<ParquetError> for Odd {
    fn from(error: ParquetError) -> Self {
        Self(Cow::Owned(error.to_string()))
    }
}

impl From<Odd> for Reason {
    fn from(odd: Odd) -> Self {
        Self::Odd(odd.0.into_owned())
    }
}

/// Looked at before each input's chunk.
struct Stop<'a>(&'a CancellationToken);

impl Stop<'_> {
    /// To transcode, which is what follows, looks at it as well, and ends.
    fn look(&self) -> Result<(), Odd> {
        if self.0.is_cancelled() {
            return Err("the attempt is to stop".into());
        }
        Ok(())
    }
}

/// Makes the chunk of a column whose parts are all there, in the cheapest way but transcoding; else
/// says why it must be that.
pub(super) fn assemble(task: &ColumnTask) -> Result<(Way, Assembled), Reason> {
    let wanted = task.wanted.as_ref().ok_or(Reason::Nested)?;
    let made = guarded(task.field.name(), || {
        Ok(made(wanted, &task.parts, task.rows, &Stop(&task.stop)))
    });
    made.unwrap_or_else(|panicked| Err(Reason::Odd(panicked.to_string())))
}

/// Which way the chunk of a column would be made of these parts. Makes nothing.
pub(super) fn look(
    (column, wanted): (&str, Option<&Wanted>),
    parts: &[Part],
    rows: u64,
    stop: &CancellationToken,
) -> Way {
    let Some(wanted) = wanted else {
        return Way::Transcode(Reason::Nested);
    };
    let looked = guarded(column, || Ok(Survey::of(wanted, parts, rows, &Stop(stop))));
    let looked = looked.unwrap_or_else(|panicked| Err(Reason::Odd(panicked.to_string())));
    match looked {
        Ok(survey) => choice::choose(&survey.facts, wanted),
        Err(reason) => Way::Transcode(reason),
    }
}

fn made(
    wanted: &Wanted,
    parts: &[Part],
    rows: u64,
    stop: &Stop<'_>,
) -> Result<(Way, Assembled), Reason> {
    let survey = Survey::of(wanted, parts, rows, stop)?;
    let way = choice::choose(&survey.facts, wanted);
    let stored = &survey.stored;
    match (way, &survey.merged) {
        (Way::Transcode(reason), _) => Err(reason),
        (Way::Remap, Some(merged)) => {
            let assembled = dictionary::remap(wanted, stored, (merged, rows), stop)?;
            Ok((Way::Remap, assembled))
        }
        (way, _) => {
            let (assembled, gathered) = plain::make(wanted, stored, rows, stop)?;
            let way = match way {
                Way::Unpack if !gathered => Way::Transplant,
                way => way,
            };
            Ok((way, assembled))
        }
    }
}

#[cfg(test)]
mod tests;
