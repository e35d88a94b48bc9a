//! What was measured, each figure beside its target and its peer.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::print::{self, Grid};

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
    Bytes,
    PerSecond,
}

impl Unit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Bytes => "bytes",
            Self::PerSecond => "1/s",
        }
    }

    fn shown(self, value: f64) -> String {
        match self {
            Self::Seconds => format!("{value:.2} s"),
            Self::Milliseconds => format!("{value:.2} ms"),
            Self::Bytes => format!("{:.0} MB", value / 1e6),
            Self::PerSecond if value < 10.0 => format!("{value:.1}/s"),
            Self::PerSecond => format!("{}/s", print::count(value as u64)),
        }
    }
}

/// What the figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Target {
    Below(f64),
    AtLeast(f64),
}

impl Target {
    fn met(self, value: f64) -> bool {
        match self {
            Self::Below(limit) => value < limit,
            Self::AtLeast(limit) => limit <= value,
        }
    }

    fn shown(self, unit: Unit) -> String {
        match self {
            Self::Below(limit) => format!("< {}", unit.shown(limit)),
            Self::AtLeast(limit) => format!(">= {}", unit.shown(limit)),
        }
    }
}

/// The same work done plainly, in the same run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Peer {
    pub(super) what: &'static str,
    pub(super) value: f64,
}

/// One number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    pub(super) what: String,
    pub(super) value: f64,
    pub(super) unit: Unit,
    pub(super) target: Option<Target>,
    pub(super) peer: Option<Peer>,
    /// What was done, where the name does not say it.
    pub(super) did: String,
}

impl Figure {
    pub(super) fn new(what: impl Into<String>, value: f64, unit: Unit) -> Self {
        Self {
            what: what.into(),
            value,
            unit,
            target: None,
            peer: None,
            did: String::new(),
        }
    }

    pub(super) fn target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    pub(super) fn peer(mut self, what: &'static str, value: f64) -> Self {
        self.peer = Some(Peer { what, value });
        self
    }

    pub(super) fn did(mut self, did: impl Into<String>) -> Self {
        self.did = did.into();
        self
    }

    fn document(&self) -> Value {
        let peer = self.peer.as_ref().map(|peer| {
            json!({ "what": peer.what, "value": peer.value, "ratio": self.value / peer.value })
        });
        json!({
            "what": self.what,
            "value": self.value,
            "unit": self.unit.as_str(),
            "target": self.target.map(|target| target.shown(self.unit)),
            "target_met": self.target.map(|target| target.met(self.value)),
            "peer": peer,
            "did": self.did,
        })
    }

    fn row(&self) -> [String; 6] {
        let unit = self.unit;
        let target = self.target.map(|target| {
            let miss = if target.met(self.value) {
                ""
            } else {
                "  missed"
            };
            format!("{}{miss}", target.shown(unit))
        });
        let peer = self
            .peer
            .as_ref()
            .map(|peer| format!("{} {}", peer.what, unit.shown(peer.value)));
        let ratio = self
            .peer
            .as_ref()
            .map(|peer| format!("{:.1}", self.value / peer.value));
        [
            self.what.clone(),
            unit.shown(self.value),
            target.unwrap_or_default(),
            ratio.unwrap_or_default(),
            peer.unwrap_or_default(),
            self.did.clone(),
        ]
    }
}

/// All of it.
#[derive(Debug, Clone)]
pub(super) struct Report {
    /// What it was measured on, and how much of each.
    pub(super) of: Vec<(&'static str, u32)>,
    pub(super) note: String,
    pub(super) figures: Vec<Figure>,
    pub(super) took: Duration,
}

impl Report {
    pub(super) fn document(&self) -> Value {
        let figures: Vec<Value> = self.figures.iter().map(Figure::document).collect();
        let of: Map<String, Value> = self
            .of
            .iter()
            .map(|&(what, count)| (what.replace(' ', "_"), count.into()))
            .collect();
        json!({
            "success": true,
            "of": of,
            "figures": figures,
            "seconds": self.took.as_secs_f64(),
        })
    }

    pub(super) fn text(&self) -> String {
        let mut grid = Grid::new(&[
            "MEASURED",
            ">FIGURE",
            "TARGET",
            ">TIMES",
            "PEER",
            "WHAT IT DID",
        ]);
        for figure in &self.figures {
            grid.row(figure.row());
        }
        let of: Vec<String> = self
            .of
            .iter()
            .map(|&(what, count)| format!("{} {what}", print::count(count.into())))
            .collect();
        format!(
            "\n{}\n{}; {}. Done in {}.\n",
            grid.render(),
            of.join(", "),
            self.note,
            print::seconds(self.took),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_shown_beside_its_target_and_its_peer() {
        let figure = Figure::new("sync", 30.0, Unit::Seconds)
            .target(Target::Below(20.0))
            .peer("COPY", 10.0);
        let row = figure.row();
        assert_eq!(row[1..4], ["30.00 s", "< 20.00 s  missed", "3.0"]);
        let document = figure.document();
        assert_eq!(document["target_met"], false);
        assert_eq!(document["peer"]["ratio"], 3.0);
        let reads = Figure::new("reads", 3000.0, Unit::PerSecond).target(Target::AtLeast(3000.0));
        assert_eq!(reads.row()[1..3], ["3,000/s", ">= 3,000/s"]);
    }
}
