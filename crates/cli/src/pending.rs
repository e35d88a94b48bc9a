//! `snowpack pending`: files waiting for their deletion, and what became of those that waited.

use anyhow::Result;
use maintenance::deletions::{self, PendingFile, PendingFilter, PendingTotal};
use serde_json::{Value, json};

use crate::args::Pending;
use crate::jobs::moment;
use crate::out::Out;
use crate::print::{self, Grid};
use crate::session;

/// After the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  snowpack pending                              per table: files, bytes, due now, first due
  snowpack pending db.events                    every file: size, reason, found, due
  snowpack pending db.events --state kept       what was not deleted, and why

Files wait because only expired snapshots referred to them (expired) or because an attempt that
ended never committed them (attempt). Any job of the table that does well deletes what is due;
`snowpack maintain db.events purge_pending` does it now. Times are UTC.";

pub(crate) async fn run(args: Pending, out: &Out) -> Result<()> {
    let pool = session::migrated(&args.database).await?;
    let client = pool.get().await?;
    let filter = PendingFilter {
        state: args.state,
        table: args.table,
    };
    let totals = deletions::totals(&**client, &filter, args.limit).await?;
    let mut document = json!({
        "state": filter.state.as_str(),
        "tables": totals.iter().map(total).collect::<Vec<Value>>(),
    });
    if filter.table.is_none() {
        return out.result(&document, || summary(&filter, &totals));
    }
    let files = deletions::pending(&**client, &filter, None, args.limit).await?;
    document["files"] = files.iter().map(file).collect();
    out.result(&document, || {
        if files.is_empty() {
            return summary(&filter, &totals);
        }
        let shown = files.len() as u64;
        let all: u64 = totals.iter().map(|total| total.files).sum();
        let more = if shown < all {
            format!(
                "\n{} more; --limit shows them\n",
                print::counted(all - shown, "file")
            )
        } else {
            String::new()
        };
        format!(
            "{}\n{}{more}",
            summary(&filter, &totals),
            rows(&filter, &files)
        )
    })
}

fn name(table: Option<&(String, String)>) -> String {
    table.map_or_else(
        || "-".to_owned(),
        |(database, table)| format!("{database}.{table}"),
    )
}

fn total(total: &PendingTotal) -> Value {
    json!({
        "catalog": total.catalog,
        "table": total.table.as_ref().map(|table| name(Some(table))),
        "table_uuid": total.table_uuid,
        "files": total.files,
        "bytes": total.bytes,
        "files_of_unknown_size": total.files_of_unknown_size,
        "due": total.due,
        "failing": total.failing,
        "due_first_at": total.due_first_at.map(|at| at.to_string()),
    })
}

fn file(file: &PendingFile) -> Value {
    json!({
        "catalog": file.catalog,
        "table": file.table.as_ref().map(|table| name(Some(table))),
        "table_uuid": file.table_uuid,
        "path": file.path,
        "size_bytes": file.size_bytes,
        "reason": file.reason,
        "job_id": file.job,
        "found_at": file.found_at.to_string(),
        "delete_after": file.delete_after.to_string(),
        "due": file.due,
        "state": file.state,
        "note": file.note,
        "changed_at": file.changed_at.map(|at| at.to_string()),
        "changed_by": file.changed_by,
        "failed_count": file.failed_count,
    })
}

fn summary(filter: &PendingFilter, totals: &[PendingTotal]) -> String {
    use deletions::State;
    if totals.is_empty() {
        return match filter.state {
            State::Pending => "no file waits for its deletion\n",
            State::Deleted => "no file was deleted\n",
            State::Kept => "no file was kept\n",
        }
        .to_owned();
    }
    let waits = filter.state == State::Pending;
    let mut grid = if waits {
        Grid::new(&[
            "TABLE",
            ">FILES",
            ">BYTES",
            ">UNKNOWN SIZE",
            ">DUE NOW",
            ">FAILED BEFORE",
            "FIRST DUE",
        ])
    } else {
        Grid::new(&["TABLE", ">FILES", ">BYTES", ">UNKNOWN SIZE"])
    };
    for total in totals {
        let mut cells = vec![
            name(total.table.as_ref()),
            print::count(total.files),
            print::bytes(total.bytes),
            print::count(total.files_of_unknown_size),
        ];
        if waits {
            cells.extend([
                print::count(total.due),
                print::count(total.failing),
                total.due_first_at.map_or_else(|| "-".to_owned(), moment),
            ]);
        }
        grid.row(cells);
    }
    grid.render()
}

fn rows(filter: &PendingFilter, files: &[PendingFile]) -> String {
    let when = match filter.state {
        deletions::State::Pending => "DUE",
        deletions::State::Deleted => "DELETED",
        deletions::State::Kept => "KEPT",
    };
    let mut grid = Grid::new(&["FOUND", when, ">SIZE", "REASON", "PATH", "~NOTE"]);
    for file in files {
        let at = match (filter.state, file.due) {
            (deletions::State::Pending, true) => "now".to_owned(),
            (deletions::State::Pending, false) => moment(file.delete_after),
            _ => file.changed_at.map_or_else(|| "-".to_owned(), moment),
        };
        let size = file.size_bytes.and_then(|size| u64::try_from(size).ok());
        grid.row([
            moment(file.found_at),
            at,
            size.map_or_else(|| "-".to_owned(), print::bytes),
            file.reason.clone(),
            file.path.clone(),
            file.note.clone().unwrap_or_default(),
        ]);
    }
    grid.render()
}
