//! What the person watching the demo sees while it runs: one line per step, with its time.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::out::Out;
use crate::print;
use crate::progress::style;

const TICK_EVERY: Duration = Duration::from_millis(100);
/// Of the longest time a step usually takes.
const TOOK_WIDTH: usize = 7;

/// Shows steps: finished ones as lines of standard output (unless that is for a program), the
/// current one as a moving line of standard error (when that is a terminal).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps<'a> {
    out: &'a Out,
}

/// The step under way.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    out: &'a Out,
    bar: ProgressBar,
    begun: Instant,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(out: &'a Out) -> Self {
        Self { out }
    }

    pub(crate) fn begin(self, doing: impl Into<String>) -> Step<'a> {
        let bar = bar("{spinner} {msg} {elapsed:.dim}", None);
        bar.set_message(doing.into());
        Step {
            out: self.out,
            bar,
            begun: Instant::now(),
        }
    }

    /// A step whose length is known.
    pub(crate) fn count(self, doing: impl Into<String>, total: u64) -> Step<'a> {
        let bar = bar(
            "{spinner} {msg} {wide_bar} {pos}/{len} {elapsed:.dim}",
            Some(total),
        );
        bar.set_message(doing.into());
        Step {
            out: self.out,
            bar,
            begun: Instant::now(),
        }
    }
}

impl Step<'_> {
    pub(crate) fn note(&self, doing: impl Into<String>) {
        self.bar.set_message(doing.into());
    }

    pub(crate) fn advance(&self, by: u64) {
        self.bar.inc(by);
    }

    /// Ends the step, saying what came of it.
    pub(crate) fn done(self, said: &str) -> Result<()> {
        self.bar.finish_and_clear();
        let took = print::seconds(self.begun.elapsed());
        self.out.text(&format!("  ✓ {took:>TOOK_WIDTH$}  {said}\n"))
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Hidden unless a person looks at standard error.
fn bar(template: &str, total: Option<u64>) -> ProgressBar {
    let target = if Out::watched() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(total, target);
    bar.set_style(style(template));
    bar.enable_steady_tick(TICK_EVERY);
    bar
}
