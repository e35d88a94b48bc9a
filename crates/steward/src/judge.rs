//! One table's decision, from what the database knows of it: no catalog is asked.

use maintenance::candidates::Candidate;
use maintenance::inventory::Content;
use maintenance::past::Past;
use model::TableName;
use model::health::Facts;
use policy::{Assessment, Decision, Defaults, Effective, History, Reason, Situation};

/// A table as far as it is known.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) table: TableName,
    pub(crate) content: Content,
    pub(crate) effective: Effective,
    /// Judged anew by what applies now.
    pub(crate) health: Option<(Facts, Assessment)>,
    pub(crate) assessed_at_ms: Option<i64>,
}

/// Why nothing can be decided about a table; `policy` never sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unusable {
    /// One word, beside [`policy::Reason`]'s.
    pub(crate) reason: &'static str,
    pub(crate) why: String,
}

/// Reads what is known of a table. The newest facts are judged again: a policy may have changed
/// since they were measured.
pub(crate) fn known(defaults: &Defaults, candidate: &Candidate) -> Result<Known, Unusable> {
    let unreadable = |why: String| Unusable {
        reason: "unreadable",
        why,
    };
    if candidate.stale {
        return Err(Unusable {
            reason: "stale",
            why: format!(
                "last seen in the catalog at {}: its namespace cannot be listed",
                candidate.synced_at.strftime("%Y-%m-%d %H:%M:%S")
            ),
        });
    }
    let table = TableName::from_columns(&candidate.database, &candidate.table)
        .map_err(|error| unreadable(error.to_string()))?;
    let text = candidate.content.as_deref().unwrap_or("{}");
    let content: Content = serde_json::from_str(text)
        .map_err(|error| unreadable(format!("its entry in the table cache: {error}")))?;
    // What is known of it is from before: its owner may have opted out since.
    if let Some(error) = &content.error {
        return Err(unreadable(format!("its metadata cannot be read: {error}")));
    }
    let effective = policy::effective(defaults, &content.database_properties, &content.properties);
    // What another version wrote in another shape is as good as nothing.
    let facts: Option<Facts> = candidate
        .health
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok())
        .filter(|facts: &Facts| 0 < facts.format_version && of_this_table(facts, &content));
    let health = facts.map(|facts| {
        let assessment = policy::assess(&facts, &effective);
        (facts, assessment)
    });
    Ok(Known {
        table,
        content,
        effective,
        assessed_at_ms: health.as_ref().and(candidate.assessed_at_ms),
        health,
    })
}

/// A table that was dropped and made again under its name is another one.
fn of_this_table(facts: &Facts, content: &Content) -> bool {
    match &content.table_uuid {
        Some(uuid) if !facts.table_uuid.is_empty() => *uuid == facts.table_uuid,
        _ => true,
    }
}

impl Known {
    /// Its deletions wait under this.
    pub(crate) fn table_uuid(&self) -> Option<&str> {
        let measured = self
            .health
            .as_ref()
            .map(|(facts, _)| facts.table_uuid.as_str());
        self.content.table_uuid.as_deref().or(measured)
    }

    pub(crate) fn score(&self) -> Option<f64> {
        self.health.as_ref().map(|(_, assessment)| assessment.score)
    }

    /// The decision that no past could change, if there is one.
    pub(crate) fn barred(&self, now_ms: i64) -> Option<Decision> {
        let decision = policy::decide(&self.situation(&History::default(), now_ms));
        let for_good = matches!(
            decision,
            Decision::Skip {
                reason: Reason::OptedOut | Reason::SkipFlag,
                ..
            }
        );
        for_good.then_some(decision)
    }

    pub(crate) fn history(&self, past: &Past) -> History {
        History {
            last_ended_ms: past.last_ended_ms,
            last_completed_ms: past.last_completed_ms,
            failures_in_a_row: past.failures_in_a_row,
            last_failure_ms: past.last_failure_ms,
            locked_by: past.locked_by.clone(),
            due_deletion_count: past.due_deletion_count,
            assessed_at_ms: self.assessed_at_ms,
            put_off_since_ms: past.put_off_since_ms,
        }
    }

    pub(crate) fn situation<'a>(&'a self, history: &'a History, now_ms: i64) -> Situation<'a> {
        Situation {
            policy: &self.effective,
            health: self
                .health
                .as_ref()
                .map(|(facts, assessment)| (facts, assessment)),
            history,
            now_ms,
        }
    }
}
