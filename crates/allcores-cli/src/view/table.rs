//! The result for people.

use crate::cmd::demo::report::Report;
use std::io::{self, Write};
use unicode_width::UnicodeWidthStr;

/// Less than that changes little.
const DISTURBED: f64 = 0.05;

/// Prints the report on stdout.
pub(crate) fn print(report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let corpus = &report.corpus;
    let first = &report.outcomes[0].totals;
    let passes = first.passes;
    writeln!(
        out,
        "{}: {} of text in {} files; {} words, {} different ones; counted {passes} {}",
        corpus.folder.display(),
        mebibytes(first.bytes / passes),
        first.files / passes,
        first.words / passes,
        first.distinct(),
        if passes == 1 { "time" } else { "times" },
    )?;
    let skipped = &corpus.skipped;
    writeln!(
        out,
        "skipped: {} binary, {} unreadable, {} links and special files{}",
        skipped.binary,
        skipped.unreadable,
        skipped.special,
        if skipped.limit_reached {
            "; there is more text than --max-mib allows"
        } else {
            ""
        },
    )?;

    let mut ways = Table::new(&["way", "workers", "seconds", "speed-up", "CPU seconds"]);
    for outcome in &report.outcomes {
        ways.row([
            outcome.way.name().to_owned(),
            outcome.workers.to_string(),
            format!("{:.2}", outcome.seconds),
            report
                .speed_up(outcome)
                .map_or_else(|| "-".to_owned(), |times| format!("{times:.2}x")),
            format!("{:.2}", outcome.cpu_seconds),
        ]);
    }
    write!(out, "\n{ways}")?;
    if passes > 1 && report.outcomes.iter().any(|o| o.way.is_in_python()) {
        writeln!(
            out,
            "Python counted once: its times are multiplied by {passes}."
        )?;
    }
    if let Some(others) = report.others().filter(|others| *others >= DISTURBED) {
        let percent = others * 100.0;
        writeln!(
            out,
            "Others had up to {percent:.0} % of the processors meanwhile: times and speed-ups are not what a quiet machine gives."
        )?;
    }
    match report.differences().as_slice() {
        [] if report.outcomes.len() > 1 => writeln!(out, "All ways came to the same totals.")?,
        [] => {}
        _ => writeln!(out, "THE WAYS DIFFER: see below.")?,
    }

    if report.top > 0 {
        let mut words = Table::new(&["word", "count"]);
        for (word, count) in first.most_frequent(report.top) {
            words.row([word.to_owned(), count.to_string()]);
        }
        write!(out, "\n{words}")?;
    }
    out.flush()
}

fn mebibytes(bytes: u64) -> String {
    if bytes < 1 << 20 {
        format!("{:.1} KiB", bytes as f64 / 1024.0)
    } else {
        format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
    }
}

/// Columns under their headings: the first flush left, the others right.
struct Table<const COLUMNS: usize> {
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    fn new(heading: &[&str; COLUMNS]) -> Self {
        Table {
            rows: vec![heading.map(str::to_owned)],
        }
    }

    fn row(&mut self, row: [String; COLUMNS]) {
        self.rows.push(row);
    }
}

impl<const COLUMNS: usize> std::fmt::Display for Table<COLUMNS> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
            let cells = self.rows.iter().map(|row| row[column].width());
            cells.max().unwrap_or(0)
        });
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                // As wide as it looks, which is neither its bytes nor its characters.
                let space = " ".repeat(widths[column] - cell.width());
                match column {
                    0 => write!(f, "{cell}{space}")?,
                    _ => write!(f, "  {space}{cell}")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_what_is_seen() {
        let mut table = Table::new(&["word", "count"]);
        table.row(["東京".to_owned(), "12345678".to_owned()]);
        table.row(["é".to_owned(), "1".to_owned()]);
        assert_eq!(
            table.to_string(),
            "word     count\n東京  12345678\né            1\n"
        );
    }
}
