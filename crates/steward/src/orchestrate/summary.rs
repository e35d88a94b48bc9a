//! A run in a few lines.

use maintenance::runs::{Choice, ReasonCount, Run, Status};

/// What a run did: how it ended, what it submitted, why it left the others alone.
pub fn summary(run: &Run, reasons: &[ReasonCount]) -> Vec<String> {
    let counts = &run.counts;
    let kind = if run.dry_run { "dry run" } else { "run" };
    let took = run.completed_at.map_or_else(String::new, |at| {
        let seconds = at.duration_since(run.started_at).as_secs_f64();
        format!(" in {seconds:.1} s")
    });
    let mut lines = vec![format!(
        "{kind} {} {}{took}: {} tables assessed",
        run.id,
        run.status.as_str(),
        counts.tables_assessed
    )];
    lines.extend(
        run.error
            .iter()
            .map(|error| format!("  error      {error}")),
    );
    lines.extend(run.note.iter().map(|note| format!("  cut short  {note}")));
    let due: u64 = of(reasons, Choice::Submit)
        .map(|reason| reason.tables)
        .sum();
    lines.push(if run.dry_run {
        format!("  due        {due}, none submitted")
    } else {
        let ended = match (counts.jobs_completed, counts.jobs_failed) {
            (0, 0) => String::new(),
            (completed, failed) => format!(" ({completed} completed, {failed} failed so far)"),
        };
        format!("  submitted  {}{ended}", counts.jobs_submitted)
    });
    let skipped: Vec<String> = of(reasons, Choice::Skip)
        .map(|reason| format!("{} {}", reason.tables, reason.reason))
        .collect();
    if !skipped.is_empty() {
        lines.push(format!("  left alone {}", skipped.join(", ")));
    }
    if run.status == Status::Running {
        lines.push("  still running".to_owned());
    }
    lines
}

fn of(reasons: &[ReasonCount], choice: Choice) -> impl Iterator<Item = &ReasonCount> {
    reasons.iter().filter(move |reason| reason.choice == choice)
}
