//! A lane: one schema with its own record table and its own `job_queue` of the common shape.

use std::sync::Arc;

use crate::sql::{Statements, fill};

const LANE: &str = include_str!("../../../migrations/queue/0001_lane.sql");

/// What the lane's record is keyed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdType {
    Text,
    Uuid,
}

impl IdType {
    /// The SQL type's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Uuid => "uuid",
        }
    }
}

/// One lane's queue. Cheap to clone; holds no connection.
#[derive(Debug, Clone)]
pub struct Queue {
    lane: Arc<Lane>,
}

#[derive(Debug)]
struct Lane {
    name: String,
    statements: Statements,
}

impl Queue {
    /// The queue of schema `lane`. The schema itself is made by [`lane_migration`].
    pub fn in_lane(lane: &str, id: IdType) -> Self {
        let statements = Statements::new(lane, id);
        Self {
            lane: Arc::new(Lane {
                name: lane.to_owned(),
                statements,
            }),
        }
    }

    /// The schema's name.
    pub fn lane(&self) -> &str {
        &self.lane.name
    }

    /// The channel its wake-ups and cancels are sent on.
    pub fn channel(&self) -> String {
        format!("{}_queue", self.lane.name)
    }

    pub(crate) fn sql(&self) -> &Statements {
        &self.lane.statements
    }

    /// One number for KEDA's `postgresql` trigger: jobs ready plus jobs running.
    pub fn keda_query(&self) -> &str {
        &self.sql().keda
    }
}

/// The queue's part of a lane whose records are in `record`, keyed by `id`. The record table must
/// exist; the four `record_*` functions may come later.
pub fn lane_migration(lane: &str, id: IdType, record: &str) -> String {
    fill(LANE, lane, id).replace("{record}", &format!("\"{record}\""))
}

/// Every statement of `sql/` for one lane, as (name, text).
pub fn statements(lane: &str, id: IdType) -> Vec<(&'static str, String)> {
    Statements::new(lane, id).list()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in() {
        for (name, text) in statements("lane", IdType::Uuid) {
            assert!(!text.contains('{'), "{name}: {text}");
        }
        let migration = lane_migration("lane", IdType::Uuid, "jobs");
        for placeholder in ["{lane}", "{id}", "{record}"] {
            assert!(!migration.contains(placeholder), "{placeholder}");
        }
    }
}
