//! The result for programs.

use crate::args::Way;
use crate::cmd::demo::report::{Outcome, Report};
use serde::Serialize;
use std::io::{self, Write};

/// All counts are of one pass.
#[derive(Serialize)]
struct Document<'a> {
    folder: String,
    passes: u64,
    skipped: &'a crate::cmd::demo::Skipped,
    ways: Vec<WayResult>,
    /// Whether all ways came to the same totals.
    identical: bool,
    /// The most frequent words, most frequent first.
    words: Vec<Word<'a>>,
}

#[derive(Serialize)]
struct WayResult {
    way: Way,
    workers: u32,
    seconds: f64,
    cpu_seconds: f64,
    /// The part of all processors' time that others had meanwhile, from 0 to 1; null if that is not known.
    others: Option<f64>,
    /// Over the serial way; null if that was not run.
    speed_up: Option<f64>,
    totals: WayTotals,
}

#[derive(Serialize)]
struct WayTotals {
    files: u64,
    bytes: u64,
    words: u64,
    distinct: u64,
}

#[derive(Serialize)]
struct Word<'a> {
    word: &'a str,
    count: u64,
}

/// Prints the report on stdout.
pub(crate) fn print(report: &Report) -> io::Result<()> {
    let first = &report.outcomes[0].totals;
    let way = |outcome: &Outcome| {
        let totals = &outcome.totals;
        WayResult {
            way: outcome.way,
            workers: outcome.workers,
            seconds: outcome.seconds,
            cpu_seconds: outcome.cpu_seconds,
            others: outcome.others,
            speed_up: report.speed_up(outcome),
            totals: WayTotals {
                files: totals.files / totals.passes,
                bytes: totals.bytes / totals.passes,
                words: totals.words / totals.passes,
                distinct: totals.distinct(),
            },
        }
    };
    let words = first.most_frequent(report.top).into_iter();
    let document = Document {
        folder: report.corpus.folder.display().to_string(),
        passes: first.passes,
        skipped: &report.corpus.skipped,
        ways: report.outcomes.iter().map(way).collect(),
        identical: report.differences().is_empty(),
        words: words.map(|(word, count)| Word { word, count }).collect(),
    };
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &document)?;
    writeln!(out)?;
    out.flush()
}
