//! What a run did, on standard output.

use std::io::Write;

use anyhow::{Context, Result};
use maintenance::runs::{self, Run};
use pg::Pool;
use serde_json::json;

use crate::args::Format;

/// Submissions a dry run shows at most.
const SHOWN_MAX: u32 = 1_000;

/// A short summary; of a dry run also what it would have submitted, the most wanted first.
pub(crate) async fn print(pool: &Pool, run: &Run, format: Format) -> Result<()> {
    let client = pool.get().await?;
    let reasons = runs::reasons(&**client, run.id).await?;
    let submitted = if run.dry_run {
        runs::submitted(&**client, run.id, SHOWN_MAX).await?
    } else {
        Vec::new()
    };
    let text = match format {
        Format::Json => {
            let mut document = json!({ "run": run, "reasons": reasons });
            if run.dry_run {
                document["submitted"] = json!(submitted);
            }
            format!("{document:#}\n")
        }
        Format::Text => {
            let mut lines: Vec<String> = submitted
                .iter()
                .map(|decided| {
                    let (database, table) = (&decided.database, &decided.table);
                    let actions = decided.actions.join(", ");
                    format!(
                        "would submit {database}.{table}: {actions} ({})",
                        decided.why
                    )
                })
                .collect();
            lines.extend(steward::orchestrate::summary(run, &reasons));
            lines.join("\n") + "\n"
        }
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("write to standard output")
}
