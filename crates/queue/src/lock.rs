//! Locks: one key, one live job, from submission to the terminal state.

use std::collections::{BTreeMap, BTreeSet};

use model::JobId;
use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use crate::sql::rows;
use crate::{Error, Queue};

/// What became of asking for a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lock {
    Taken,
    /// A live job has it, even if that job's lease has run out.
    Held {
        by: JobId,
    },
}

/// A key may vanish between two statements because its holder ended; then it is tried again.
const TRIES_MAX: usize = 5;

impl Queue {
    /// Takes `key` for `holder`, whose record and queue row follow in the same transaction. Taken
    /// over only from a holder that is not live.
    pub async fn lock(
        &self,
        tx: &Transaction<'_>,
        key: &str,
        holder: &JobId,
    ) -> Result<Lock, Error> {
        let mut answers = self
            .lock_all(tx, &[(key.to_owned(), holder.clone())])
            .await?;
        Ok(answers.pop().unwrap_or(Lock::Taken))
    }

    /// Takes many keys, sorted, so that two batches in opposite orders do not deadlock. One answer
    /// for each, in the order asked; of several askers of one key in a batch the first gets it.
    pub async fn lock_all(
        &self,
        tx: &Transaction<'_>,
        wanted: &[(String, JobId)],
    ) -> Result<Vec<Lock>, Error> {
        let mut open: BTreeMap<&str, &JobId> = BTreeMap::new();
        for (key, holder) in wanted {
            open.entry(key).or_insert(holder);
        }
        let mut answers: BTreeMap<String, JobId> = BTreeMap::new();
        for _ in 0..TRIES_MAX {
            for key in self.insert_locks(tx, &open).await? {
                settle(&mut open, &mut answers, &key);
            }
            if open.is_empty() {
                break;
            }
            let seen = self.lock_holders(tx, &open).await?;
            for key in self.take_over(tx, &open, &seen).await? {
                settle(&mut open, &mut answers, &key);
            }
            for (key, by) in &seen {
                if open.remove(key.as_str()).is_some() {
                    answers.insert(key.clone(), by.clone());
                }
            }
            if open.is_empty() {
                break;
            }
        }
        let mut given = BTreeSet::new();
        wanted
            .iter()
            .map(|(key, holder)| match answers.get(key) {
                Some(by) if by == holder && given.insert(key) => Ok(Lock::Taken),
                Some(by) => Ok(Lock::Held { by: by.clone() }),
                None => Err(Error::LockContended { key: key.clone() }),
            })
            .collect()
    }

    async fn insert_locks(
        &self,
        tx: &Transaction<'_>,
        open: &BTreeMap<&str, &JobId>,
    ) -> Result<Vec<String>, Error> {
        let (keys, holders) = columns(open.iter().map(|(key, holder)| (*key, *holder)));
        let params = &[
            (&keys as _, Type::TEXT_ARRAY),
            (&holders as _, Type::TEXT_ARRAY),
        ];
        let taken = rows(tx, "take locks", &self.sql().lock_insert, params).await?;
        Ok(taken.iter().map(|row| row.get(0)).collect())
    }

    /// Locks the rows of keys that others have, and says who that is.
    async fn lock_holders(
        &self,
        tx: &Transaction<'_>,
        open: &BTreeMap<&str, &JobId>,
    ) -> Result<Vec<(String, JobId)>, Error> {
        let keys: Vec<&str> = open.keys().copied().collect();
        let params = &[(&keys as _, Type::TEXT_ARRAY)];
        let held = rows(tx, "look who holds locks", &self.sql().lock_holder, params).await?;
        Ok(held
            .iter()
            .map(|row| (row.get(0), JobId::new(row.get::<_, String>(1))))
            .collect())
    }

    /// Judges the holders in a statement of its own, so by a snapshot taken after their rows were
    /// locked: an older one would not see a job committed meanwhile, and steal its lock.
    async fn take_over(
        &self,
        tx: &Transaction<'_>,
        open: &BTreeMap<&str, &JobId>,
        seen: &[(String, JobId)],
    ) -> Result<Vec<String>, Error> {
        let new: Vec<&str> = seen
            .iter()
            .filter_map(|(key, _)| open.get(key.as_str()))
            .map(|id| id.as_str())
            .collect();
        let (keys, old) = columns(seen.iter().map(|(key, holder)| (key.as_str(), holder)));
        let params = &[
            (&keys as _, Type::TEXT_ARRAY),
            (&old as _, Type::TEXT_ARRAY),
            (&new as _, Type::TEXT_ARRAY),
        ];
        let taken = rows(tx, "take over locks", &self.sql().lock_take_over, params).await?;
        Ok(taken.iter().map(|row| row.get(0)).collect())
    }
}

fn settle(open: &mut BTreeMap<&str, &JobId>, answers: &mut BTreeMap<String, JobId>, key: &str) {
    if let Some(holder) = open.remove(key) {
        answers.insert(key.to_owned(), holder.clone());
    }
}

fn columns<'a>(pairs: impl Iterator<Item = (&'a str, &'a JobId)>) -> (Vec<&'a str>, Vec<&'a str>) {
    pairs.map(|(key, holder)| (key, holder.as_str())).unzip()
}
