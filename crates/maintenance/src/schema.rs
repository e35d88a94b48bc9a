//! The lane and the migrations that make it.

use std::borrow::Cow;
use std::sync::OnceLock;

use pg::{Migrated, Migration, Pool};
use queue::{IdType, Queue};

/// The lane's schema.
pub const SCHEMA: &str = "snowpack";

/// What [`migrate`] brings a database to.
pub const SCHEMA_VERSION: i32 = 9;

/// The maintenance lane's queue.
pub fn queue() -> Queue {
    static LANE: OnceLock<Queue> = OnceLock::new();
    LANE.get_or_init(|| Queue::in_lane(SCHEMA, IdType::Text))
        .clone()
}

/// Every migration of the schema, in order: records, then the queue's part, then the rest.
pub fn migrations() -> Vec<Migration> {
    let migration = |number, name, sql| Migration {
        number,
        name,
        sql,
        oldest_binary_schema: 1,
    };
    vec![
        migration(
            1,
            "jobs",
            Cow::Borrowed(include_str!("../../../migrations/snowpack/0001_jobs.sql")),
        ),
        migration(
            2,
            "lane",
            Cow::Owned(queue::lane_migration(SCHEMA, IdType::Text, "jobs")),
        ),
        migration(
            3,
            "tables",
            Cow::Borrowed(include_str!("../../../migrations/snowpack/0003_tables.sql")),
        ),
        migration(
            4,
            "deletions",
            Cow::Borrowed(include_str!(
                "../../../migrations/snowpack/0004_deletions.sql"
            )),
        ),
        migration(
            5,
            "control_plane",
            Cow::Borrowed(include_str!(
                "../../../migrations/snowpack/0005_control_plane.sql"
            )),
        ),
        migration(
            6,
            "listings",
            Cow::Borrowed(include_str!(
                "../../../migrations/snowpack/0006_listings.sql"
            )),
        ),
        migration(
            7,
            "retention",
            Cow::Borrowed(include_str!(
                "../../../migrations/snowpack/0007_retention.sql"
            )),
        ),
        migration(
            8,
            "orphans",
            Cow::Borrowed(include_str!(
                "../../../migrations/snowpack/0008_orphans.sql"
            )),
        ),
        migration(
            9,
            "planned_once",
            Cow::Borrowed(include_str!(
                "../../../migrations/snowpack/0009_planned_once.sql"
            )),
        ),
    ]
}

/// Brings the database to [`SCHEMA_VERSION`]. Twice changes nothing; two at once are safe.
pub async fn migrate(pool: &Pool) -> Result<Migrated, pg::Error> {
    pg::migrate(pool, SCHEMA, &migrations()).await
}
