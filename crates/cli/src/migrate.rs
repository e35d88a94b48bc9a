//! `snowpack migrate`: brings the database's schema to this version.

use anyhow::Result;
use serde_json::json;

use crate::args::Migrate;
use crate::out::Out;
use crate::session;

pub(crate) async fn run(args: Migrate, out: &Out) -> Result<()> {
    let pool = session::database(&args.database).await?;
    let migrated = maintenance::migrate(&pool).await?;
    let document = json!({
        "schema": maintenance::SCHEMA,
        "version": migrated.version,
        "applied": migrated.applied,
    });
    out.result(&document, || match migrated.applied.len() {
        0 => format!(
            "schema {} is at version {} already\n",
            maintenance::SCHEMA,
            migrated.version
        ),
        count => format!(
            "schema {} is now at version {} ({count} migrations applied)\n",
            maintenance::SCHEMA,
            migrated.version
        ),
    })
}
