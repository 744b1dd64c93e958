//! All ways together.

use super::corpus::Corpus;
use super::totals::Totals;
use crate::args::Way;

/// What one way has come to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) way: Way,
    pub(crate) workers: u32,
    /// From the call to the finished totals: workers started, text counted, tables merged, workers ended.
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    /// The part of all processors' time that others had meanwhile, from 0 to 1, if that is known.
    pub(crate) others: Option<f64>,
    pub(crate) totals: Totals,
}

/// What the command prints.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) corpus: Corpus,
    /// At least one.
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) top: usize,
}

impl Report {
    /// How many times as fast as the serial way, if that was run.
    pub(crate) fn speed_up(&self, outcome: &Outcome) -> Option<f64> {
        let serial = self.outcomes.iter().find(|o| o.way == Way::Serial)?;
        Some(serial.seconds / outcome.seconds)
    }

    /// The most that others had of the processors while any way ran.
    pub(crate) fn others(&self) -> Option<f64> {
        let known = self.outcomes.iter().filter_map(|outcome| outcome.others);
        known.max_by(f64::total_cmp)
    }

    /// In what the ways differ from the first one; nothing if all came to the same totals.
    pub(crate) fn differences(&self) -> Vec<String> {
        let (first, others) = self
            .outcomes
            .split_first()
            .expect("at least one way is run");
        let mut lines = Vec::new();
        for other in others {
            let (here, there) = (first.way.name(), other.way.name());
            for line in first.totals.differences(&other.totals) {
                lines.push(format!("{there} and {here} differ: {line}"));
            }
        }
        lines
    }
}
