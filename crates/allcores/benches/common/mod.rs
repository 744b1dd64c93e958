//! The harness: sides of a comparison run in turn, in one program and one run, and every figure stands beside the bound it
//! is to keep.
//!
//! A figure runs ours, the peer, ours, the peer … for [`ROUNDS`] rounds, so that whatever disturbs the machine disturbs
//! both. The ratio is taken in each round; its median is judged, and its extremes are shown.

// Each benchmark uses a part of this.
#![allow(dead_code)]

pub(crate) mod machine;
pub(crate) mod messages;
pub(crate) mod pair;
pub(crate) mod peers;
mod report;

use std::time::{Duration, Instant};

use report::{Output, Row, Spread};

/// Rounds of each side.
pub(crate) const ROUNDS: usize = 9;
/// How long a side runs in each round: time enough for the scheduler to be fair.
const ROUND: Duration = Duration::from_millis(100);
/// With `--quick`: shows that everything runs; no figure.
const QUICK_ROUND: Duration = Duration::from_millis(2);

/// What a figure is to keep to.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    /// Ours takes at most this many times the peer's time.
    Ratio(f64),
    /// Ours is at least this many times faster.
    Faster(f64),
    /// Ours takes at most this many nanoseconds, whatever the peer.
    Nanoseconds(f64),
    /// Reported only.
    None,
}

/// One side of a comparison: runs for about the time it is given, and says how many nanoseconds an operation took.
pub(crate) struct Side<'a> {
    name: &'static str,
    run: Box<dyn FnMut(Duration) -> f64 + 'a>,
}

impl Side<'_> {
    fn round(&mut self, time: Duration) -> f64 {
        // A round that fails says so itself, and not whose it was.
        struct Turn(&'static str);
        impl Drop for Turn {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    eprintln!("it was the turn of: {}", self.0);
                }
            }
        }
        let _turn = Turn(self.name);
        (self.run)(time)
    }
}

pub(crate) fn side<'a>(name: &'static str, run: impl FnMut(Duration) -> f64 + 'a) -> Side<'a> {
    let run = Box::new(run);
    Side { name, run }
}

/// A side that does the same operation over and over in this thread, `slice` times between two looks at the clock.
///
/// The time of a round is its median slice: one in which the scheduler took the CPU away tells nothing of the operation.
pub(crate) fn repeated<'a>(
    name: &'static str,
    slice: u32,
    mut operation: impl FnMut() + 'a,
) -> Side<'a> {
    side(name, move |round| {
        let mut slices = Vec::new();
        let (start, mut before) = (Instant::now(), Duration::ZERO);
        while before < round {
            for _ in 0..slice {
                operation();
            }
            let now = start.elapsed();
            slices.push((now - before).as_nanos() as f64 / f64::from(slice));
            before = now;
        }
        Spread::of(&slices).median
    })
}

/// A run of one benchmark program.
pub(crate) struct Bench {
    output: Output,
    quick: bool,
    filters: Vec<String>,
    missed: u32,
}

impl Bench {
    /// Reads the command line: `[--json | --markdown] [--quick] [FILTER…]`. A figure runs if its name contains a filter.
    ///
    /// Without the `--bench` that `cargo bench` passes it is quick: `cargo test --all-targets` runs benchmarks as well.
    pub(crate) fn from_args() -> Bench {
        let mut bench = Bench {
            output: Output::Text,
            quick: true,
            filters: Vec::new(),
            missed: 0,
        };
        let args: Vec<String> = std::env::args().skip(1).collect();
        bench.quick = !args.iter().any(|arg| arg == "--bench");
        for arg in args {
            match arg.as_str() {
                "--json" => bench.output = Output::Json,
                "--markdown" => bench.output = Output::Markdown,
                "--quick" => bench.quick = true,
                "--bench" => {}
                // What a test runner asks to learn which tests there are: none.
                "--list" => std::process::exit(0),
                other if other.starts_with('-') => {
                    eprintln!("unknown option {other}; known: --json --markdown --quick [FILTER…]");
                    std::process::exit(2);
                }
                filter => bench.filters.push(filter.to_owned()),
            }
        }
        bench.output.headline(bench.quick);
        bench
    }

    /// Whether a figure is to be run: to ask before something costly is set up for it.
    pub(crate) fn wants(&self, figure: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| figure.contains(filter))
    }

    pub(crate) fn is_quick(&self) -> bool {
        self.quick
    }

    /// Runs ours and its peers in turn. Judged against the fastest of the peers.
    pub(crate) fn compare(&mut self, figure: &str, bound: Bound, ours: Side, peers: Vec<Side>) {
        if !self.wants(figure) {
            return;
        }
        let mut sides = vec![ours];
        sides.extend(peers);
        let round = if self.quick { QUICK_ROUND } else { ROUND };
        // Warm-up: threads get their numbers, pages their memory, branches their history.
        for side in &mut sides {
            side.round(round / 4);
        }
        let load = machine::Load::new();
        let mut times = vec![Vec::with_capacity(ROUNDS); sides.len()];
        for _ in 0..ROUNDS {
            for (side, times) in sides.iter_mut().zip(&mut times) {
                times.push(side.round(round));
            }
        }
        let others = load.others();
        let spreads: Vec<_> = times.iter().map(|times| Spread::of(times)).collect();
        let names: Vec<_> = sides.iter().map(|side| side.name).collect();
        let best = (1..sides.len())
            .min_by(|a, b| f64::total_cmp(&spreads[*a].median, &spreads[*b].median));
        let ratio = best.map(|best| {
            let pairs = times[0].iter().zip(&times[best]);
            Spread::of(&match bound {
                Bound::Faster(_) => pairs.map(|(ours, peer)| peer / ours).collect::<Vec<_>>(),
                _ => pairs.map(|(ours, peer)| ours / peer).collect(),
            })
        });
        let verdict = match (bound, ratio) {
            (Bound::Ratio(most), Some(ratio)) => Some(ratio.median <= most),
            (Bound::Faster(least), Some(ratio)) => Some(ratio.median >= least),
            (Bound::Nanoseconds(most), _) => Some(spreads[0].median <= most),
            _ => None,
        };
        self.report(&Row {
            figure,
            names: &names,
            spreads: &spreads,
            best,
            ratio,
            bound,
            verdict,
            others,
        });
    }

    /// Reports single times in nanoseconds, the *longest* of which is judged.
    pub(crate) fn latencies(&mut self, figure: &str, bound: Bound, times: &[f64], others: f64) {
        let spread = Spread::of(times);
        let verdict = match bound {
            Bound::Nanoseconds(most) => Some(spread.max <= most),
            _ => None,
        };
        self.report(&Row {
            figure,
            names: &["allcores"],
            spreads: &[spread],
            best: None,
            ratio: None,
            bound,
            verdict,
            others,
        });
    }

    fn report(&mut self, row: &Row) {
        self.missed += u32::from(row.verdict == Some(false));
        self.output.row(row);
    }

    /// The last line of the text.
    pub(crate) fn end(self) {
        if let Output::Text = self.output {
            println!("\nbounds missed: {}", self.missed);
        }
    }
}
