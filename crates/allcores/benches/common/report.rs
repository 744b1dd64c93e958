//! What a benchmark prints: text for people, a line of JSON a figure for programs, the tables of docs/benchmarks.md.

use serde_json::{Value, json};

use super::{Bound, ROUNDS, machine};

/// Median, least and most.
#[derive(Clone, Copy)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    pub(super) fn of(values: &[f64]) -> Spread {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (sorted[0], sorted[sorted.len() - 1]);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            1 => sorted[middle],
            _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
        };
        Spread { median, min, max }
    }

    fn json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

/// One figure.
pub(super) struct Row<'a> {
    pub(super) figure: &'a str,
    /// The sides, ours first.
    pub(super) names: &'a [&'static str],
    pub(super) spreads: &'a [Spread],
    /// The peer that ours is judged by.
    pub(super) best: Option<usize>,
    pub(super) ratio: Option<Spread>,
    pub(super) bound: Bound,
    /// Whether it keeps to its bound, if it has one.
    pub(super) verdict: Option<bool>,
    /// Others' CPU time, in per cent.
    pub(super) others: f64,
}

impl Row<'_> {
    fn verdict(&self) -> &'static str {
        match self.verdict {
            Some(true) => "ok",
            Some(false) => "MISSED",
            None => "reported only",
        }
    }

    fn ratio(&self) -> String {
        self.ratio.map_or_else(
            || "–".to_owned(),
            |r| format!("{:.2} ({:.2}–{:.2})", r.median, r.min, r.max),
        )
    }

    fn bound(&self) -> String {
        match self.bound {
            Bound::Ratio(most) => format!("≤ {most}x"),
            Bound::Faster(least) => format!("≥ {least}x faster"),
            Bound::Nanoseconds(most) => format!("≤ {}", time(most)),
            Bound::None => "–".to_owned(),
        }
    }

    fn text(&self) {
        println!("\n{}", self.figure);
        for (index, (name, s)) in self.names.iter().zip(self.spreads).enumerate() {
            let judge = if Some(index) == self.best { " <-" } else { "" };
            let (median, min, max) = (time(s.median), time(s.min), time(s.max));
            println!("    {name:<34} {median:>9}  ({min} .. {max}){judge}");
        }
        let (ratio, bound, verdict) = (self.ratio(), self.bound(), self.verdict());
        let others = self.others;
        println!("    ratio {ratio}   bound {bound}   {verdict}   others {others:.1} %");
    }

    fn json(&self) {
        let sides: Vec<_> = self
            .names
            .iter()
            .zip(self.spreads)
            .map(|(name, spread)| json!({ "name": name, "ns": spread.json() }))
            .collect();
        let (ratio, bound, verdict) = (self.ratio.map(Spread::json), self.bound(), self.verdict());
        println!(
            "{}",
            json!({ "figure": self.figure, "sides": sides, "ratio": ratio, "bound": bound, "verdict": verdict, "others_percent": self.others })
        );
    }

    fn markdown(&self) {
        let (median, most) = (time(self.spreads[0].median), time(self.spreads[0].max));
        let (ours, peer) = match self.best {
            None => (format!("{median} (most {most})"), "–".to_owned()),
            Some(best) => {
                let peer = time(self.spreads[best].median);
                (median, format!("{} {peer}", self.names[best]))
            }
        };
        let (ratio, bound, verdict) = (self.ratio(), self.bound(), self.verdict());
        let (figure, others) = (self.figure, self.others);
        println!("| {figure} | {ours} | {peer} | {ratio} | {bound} | {verdict} | {others:.0} % |");
    }
}

pub(super) enum Output {
    Text,
    Json,
    Markdown,
}

impl Output {
    pub(super) fn headline(&self, quick: bool) {
        let (cpu, kernel, cpus) = machine::describe();
        let warning = if quick {
            "; QUICK: these are no figures"
        } else {
            ""
        };
        match self {
            Output::Text => println!(
                "{cpu}, {cpus} CPUs, Linux {kernel}; medians of {ROUNDS} interleaved rounds (least..most){warning}"
            ),
            Output::Json => println!(
                "{}",
                json!({ "cpu": cpu, "kernel": kernel, "cpus": cpus, "rounds": ROUNDS, "quick": quick })
            ),
            Output::Markdown => {
                println!(
                    "{cpu}, {cpus} CPUs, Linux {kernel}; medians of {ROUNDS} rounds{warning}.\n"
                );
                println!("| figure | ours | peer | ratio (least–most) | bound | | others' CPU |");
                println!("|---|---:|---:|---:|---:|---|---:|");
            }
        }
    }

    pub(super) fn row(&self, row: &Row) {
        match self {
            Output::Text => row.text(),
            Output::Json => row.json(),
            Output::Markdown => row.markdown(),
        }
    }
}

/// Nanoseconds in the unit that reads best.
fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        n if n < 1e3 => format!("{n:.1} ns"),
        n if n < 1e6 => format!("{:.2} µs", n / 1e3),
        n => format!("{:.2} ms", n / 1e6),
    }
}
