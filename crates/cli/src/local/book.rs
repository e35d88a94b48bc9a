//! What a journal's lines add up to: files that wait, intents that are open, files not committed.
//!
//! Pure: lines go in by [`Book::apply`], in their order, and never come out again.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use model::{AttemptId, JobId};
use planner::{Due, Intent, IntentId, OpenIntent, Purge, Reason};

use super::journal::{Became, Ended, Entry, Line};

/// How long files of a process that ended wait, and after how long nothing it sent to a catalog
/// can still land.
pub(crate) const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A file waiting for its deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) size_bytes: Option<u64>,
    pub(crate) reason: Reason,
    pub(crate) due_ms: i64,
    /// Its deletion failed in the attempt under way.
    failed: bool,
}

#[derive(Debug, Clone)]
struct Open {
    job: JobId,
    attempt: AttemptId,
    intent: Intent,
    at_ms: i64,
}

/// The sum of a journal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book {
    current: Option<(JobId, AttemptId)>,
    last_ms: i64,
    waiting: BTreeMap<String, Waiting>,
    /// Of the attempt under way, not committed.
    reserved: Vec<String>,
    intents: BTreeMap<i64, Open>,
    /// By the attempt under way.
    purged: Purge,
}

impl Book {
    pub(crate) fn apply(&mut self, line: &Line) -> Result<()> {
        let at_ms = line.at.as_millisecond();
        match &line.entry {
            Entry::Begun { job, attempt } => self.begin(job, attempt),
            entry => {
                ensure!(self.current.is_some(), "nothing has begun");
                self.count(entry, at_ms)?;
            }
        }
        // A clock set back must not make anything due earlier.
        self.last_ms = self.last_ms.max(at_ms);
        Ok(())
    }

    fn begin(&mut self, job: &JobId, attempt: &AttemptId) {
        // What the attempt before did not commit, a request of its may still land for a while.
        let due_ms = self.last_ms.saturating_add(DAY_MS);
        for path in std::mem::take(&mut self.reserved) {
            self.wait(path, None, Reason::Attempt, due_ms);
        }
        for file in self.waiting.values_mut() {
            file.failed = false;
        }
        self.current = Some((job.clone(), attempt.clone()));
        self.purged = Purge::default();
    }

    fn count(&mut self, entry: &Entry, at_ms: i64) -> Result<()> {
        match entry {
            Entry::Begun { .. } => {}
            Entry::Reserved { files } => {
                self.reserved
                    .extend(files.iter().map(|file| file.path.clone()));
            }
            Entry::Landed { paths } => {
                let landed: std::collections::HashSet<&String> = paths.iter().collect();
                self.reserved.retain(|path| !landed.contains(path));
            }
            Entry::Intended { id, intent } => {
                let (job, attempt) = self.current.clone().unzip();
                let open = Open {
                    job: job.unwrap_or_else(|| JobId::new("")),
                    attempt: attempt.unwrap_or_else(|| AttemptId::new("")),
                    intent: intent.clone(),
                    at_ms,
                };
                ensure!(
                    self.intents.insert(*id, open).is_none(),
                    "intent {id} is there already"
                );
            }
            Entry::Listed { grace_ms, files } => {
                let due_ms = at_ms.saturating_add(*grace_ms);
                for file in files {
                    self.wait(file.path.clone(), file.size_bytes, Reason::Expired, due_ms);
                }
            }
            Entry::Settled { id, open } => self.settle(*id, open),
            Entry::Purged { files } => files.iter().for_each(|file| self.end(file)),
        }
        Ok(())
    }

    /// One that waits already stays as it is.
    fn wait(&mut self, path: String, size_bytes: Option<u64>, reason: Reason, due_ms: i64) {
        self.waiting.entry(path).or_insert(Waiting {
            size_bytes,
            reason,
            due_ms,
            failed: false,
        });
    }

    fn settle(&mut self, id: i64, open: &[i64]) {
        if let Some(intent) = self.intents.get_mut(&id) {
            let ids = &mut intent.intent.ids;
            ids.retain(|expiring| open.contains(&expiring.snapshot_id));
            if ids.is_empty() {
                self.intents.remove(&id);
            }
        }
    }

    fn end(&mut self, file: &Ended) {
        match file.fate {
            Became::Failed => {
                self.purged.failed += 1;
                if let Some(waiting) = self.waiting.get_mut(&file.path) {
                    waiting.failed = true;
                }
            }
            Became::Deleted => {
                let gone = self.waiting.remove(&file.path);
                self.purged.deleted += 1;
                self.purged.bytes += gone.and_then(|file| file.size_bytes).unwrap_or(0);
            }
            Became::Kept => {
                self.waiting.remove(&file.path);
                self.purged.kept += 1;
            }
        }
    }

    /// What waits, by path.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (&String, &Waiting)> {
        self.waiting.iter()
    }

    /// Those of `paths` that wait, or that the attempt under way has not committed.
    pub(crate) fn accounted(&self, paths: &[String]) -> Vec<String> {
        let known =
            |path: &&String| self.waiting.contains_key(*path) || self.reserved.contains(path);
        paths.iter().filter(known).cloned().collect()
    }

    /// At most `limit` files that are due, those after `after`.
    pub(crate) fn due(&self, now_ms: i64, after: Option<&str>, limit: usize) -> Vec<Due> {
        self.waiting
            .iter()
            .filter(|(path, _)| after.is_none_or(|after| after < path.as_str()))
            .filter(|(_, file)| file.due_ms <= now_ms && !file.failed)
            .take(limit)
            .map(|(path, file)| Due {
                path: path.clone(),
                size_bytes: file.size_bytes,
                reason: file.reason,
                // Orphans are not listed without a database.
                modified_ms: None,
            })
            .collect()
    }

    pub(crate) fn open_intents(&self, now_ms: i64) -> Vec<OpenIntent> {
        let open = |(id, open): (&i64, &Open)| OpenIntent {
            id: IntentId(*id),
            job: open.job.clone(),
            attempt: open.attempt.clone(),
            intent: open.intent.clone(),
            // Whoever holds the journal knows that no other process does.
            attempt_over: self
                .current
                .as_ref()
                .is_none_or(|(_, current)| *current != open.attempt),
            old: open.at_ms.saturating_add(DAY_MS) <= now_ms,
        };
        self.intents.iter().map(open).collect()
    }

    pub(crate) fn next_intent(&self) -> i64 {
        self.intents.keys().next_back().map_or(1, |last| last + 1)
    }

    /// When the first file is due that is not due yet.
    pub(crate) fn next_due_ms(&self, now_ms: i64) -> Option<i64> {
        let later = self.waiting.values().map(|file| file.due_ms);
        later.filter(|due| *due > now_ms).min()
    }

    pub(crate) fn purged(&self) -> Purge {
        self.purged.clone()
    }

    /// Nothing waits, nothing is open, and every file written is part of the table.
    pub(crate) fn is_settled(&self) -> bool {
        self.waiting.is_empty() && self.reserved.is_empty() && self.intents.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use planner::Expiring;

    use super::super::journal::{Waits, Written};
    use super::*;

    fn book(entries: impl IntoIterator<Item = (i64, Entry)>) -> Book {
        let mut book = Book::default();
        for (at_ms, entry) in entries {
            let at = Timestamp::from_millisecond(at_ms).unwrap();
            book.apply(&Line { at, entry }).unwrap();
        }
        book
    }

    fn begun(name: &str) -> Entry {
        Entry::Begun {
            job: JobId::new(name),
            attempt: AttemptId::new(name),
        }
    }

    fn listed(paths: &[&str], grace_ms: i64) -> Entry {
        let file = |path: &&str| Waits {
            path: (*path).to_owned(),
            size_bytes: Some(10),
        };
        Entry::Listed {
            grace_ms,
            files: paths.iter().map(file).collect(),
        }
    }

    fn reserved(paths: &[&str]) -> Entry {
        let file = |path: &&str| Written {
            path: (*path).to_owned(),
            kind: "data".to_owned(),
        };
        Entry::Reserved {
            files: paths.iter().map(file).collect(),
        }
    }

    fn ended(path: &str, fate: Became) -> Entry {
        let path = path.to_owned();
        Entry::Purged {
            files: vec![Ended {
                path,
                fate,
                why: None,
            }],
        }
    }

    fn paths(due: &[Due]) -> Vec<&str> {
        due.iter().map(|due| due.path.as_str()).collect()
    }

    #[test]
    fn files_are_due_after_their_grace_page_by_page() {
        let book = book([(0, begun("a")), (100, listed(&["x", "y", "z"], 50))]);
        assert!(book.due(149, None, 10).is_empty());
        assert_eq!(book.next_due_ms(149), Some(150));
        assert_eq!(paths(&book.due(150, None, 2)), ["x", "y"]);
        assert_eq!(paths(&book.due(150, Some("y"), 2)), ["z"]);
        assert_eq!(book.next_due_ms(150), None);
    }

    #[test]
    fn what_an_attempt_did_not_commit_waits_a_day_from_its_last_word() {
        let landed = Entry::Landed {
            paths: vec!["x".to_owned()],
        };
        let first = [
            (0, begun("a")),
            (10, reserved(&["x", "y"])),
            (20, landed),
            (30, reserved(&["z"])),
        ];
        assert!(
            book(first.clone()).due(i64::MAX, None, 10).is_empty(),
            "it may still run"
        );
        let book = book(first.into_iter().chain([(40, begun("b"))]));
        assert_eq!(book.next_due_ms(0), Some(30 + DAY_MS));
        let due = book.due(30 + DAY_MS, None, 10);
        assert_eq!(paths(&due), ["y", "z"]);
        assert_eq!(due[0].reason, Reason::Attempt);
    }

    #[test]
    fn a_file_ends_once_and_a_failed_one_waits_for_the_next_attempt() {
        let mut entries = vec![
            (0, begun("a")),
            (0, listed(&["x", "y", "z"], 0)),
            (1, ended("x", Became::Deleted)),
            (1, ended("y", Became::Kept)),
            (1, ended("z", Became::Failed)),
        ];
        let first = book(entries.clone());
        assert!(first.due(1, None, 10).is_empty());
        let want = Purge {
            deleted: 1,
            bytes: 10,
            kept: 1,
            failed: 1,
        };
        assert_eq!(first.purged(), want);
        entries.push((2, begun("b")));
        let second = book(entries);
        assert_eq!(paths(&second.due(2, None, 10)), ["z"]);
        assert_eq!(second.purged(), Purge::default());
    }

    #[test]
    fn an_intent_is_open_until_its_last_id_is_settled() {
        let expiring = |snapshot_id| Expiring {
            snapshot_id,
            manifest_list: "l".to_owned(),
            manifests: Vec::new(),
            statistics: Vec::new(),
        };
        let intent = Intent {
            table_uuid: "u".to_owned(),
            planned_location: "m".to_owned(),
            ids: vec![expiring(1), expiring(2)],
            grace_ms: 0,
        };
        let mut entries = vec![(0, begun("a")), (5, Entry::Intended { id: 1, intent })];
        let open = book(entries.clone()).open_intents(5);
        assert_eq!((open[0].attempt_over, open[0].old), (false, false));
        entries.push((6, begun("b")));
        let open = book(entries.clone()).open_intents(5 + DAY_MS);
        assert_eq!((open[0].attempt_over, open[0].old), (true, true));
        entries.push((
            7,
            Entry::Settled {
                id: 1,
                open: vec![2],
            },
        ));
        let book = |entries: &[(i64, Entry)]| book(entries.to_vec());
        assert_eq!(book(&entries).open_intents(8)[0].intent.ids, [expiring(2)]);
        assert_eq!(book(&entries).next_intent(), 2);
        entries.push((
            8,
            Entry::Settled {
                id: 1,
                open: Vec::new(),
            },
        ));
        assert!(book(&entries).open_intents(9).is_empty() && book(&entries).is_settled());
    }
}
