//! How far an action is, as a bar on standard error when a person looks at it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use planner::Progress;

use crate::out::Out;

const TICK_EVERY: Duration = Duration::from_millis(100);
const WAITING: &str = "{spinner} {msg} {elapsed:.dim}";
const MOVING: &str = "{spinner} {msg} {wide_bar} {percent}% {elapsed:.dim} (about {eta} left)";

/// The bar of one job. Begins as a spinner: how much there is to do is known once it is planned.
#[derive(Debug)]
pub(crate) struct Bar {
    bar: ProgressBar,
    moving: AtomicBool,
}

impl Bar {
    pub(crate) fn new(doing: String) -> Self {
        let target = if Out::watched() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target).with_style(style(WAITING));
        bar.set_message(doing);
        bar.enable_steady_tick(TICK_EVERY);
        Self {
            bar,
            moving: AtomicBool::new(false),
        }
    }

    pub(crate) fn say(&self, doing: &'static str) {
        self.bar.set_message(doing);
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Bar {
    fn total(&self, units: u64) {
        self.bar.set_length(units);
        if !self.moving.swap(true, Ordering::Relaxed) {
            self.bar.set_style(style(MOVING));
        }
    }

    fn advance(&self, units: u64) {
        self.bar.inc(units);
    }

    fn alive(&self) {
        self.bar.tick();
    }
}

pub(crate) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are constants and well formed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_counts_what_it_is_told() {
        let bar = Bar::new("working".to_owned());
        bar.total(10);
        bar.advance(4);
        bar.alive();
        assert_eq!((bar.bar.position(), bar.bar.length()), (4, Some(10)));
    }
}
