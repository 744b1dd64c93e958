//! The serial way: what the others are measured against.

use super::corpus::Work;
use super::count::Counter;
use super::error::DemoError;
use super::totals::Totals;
use crate::view::progress::Progress;
use std::time::{Duration, Instant};

/// Counts every piece so many times; if that is not said, for as many passes as are begun within `time`.
pub(crate) fn count(
    work: &Work,
    passes: Option<u64>,
    time: Duration,
    progress: &Progress,
) -> Result<Totals, DemoError> {
    let began = Instant::now();
    let mut counter = Counter::default();
    let mut made = 0;
    while match passes {
        Some(passes) => made < passes,
        None => made == 0 || began.elapsed() < time,
    } {
        for number in 0..work.pieces() {
            progress.add(counter.count(work, number)?);
        }
        made += 1;
    }
    Ok(counter.finish(made))
}
