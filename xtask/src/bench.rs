//! `cargo xtask bench`: runs the benchmarks, and puts their tables into the documentation.

use crate::bounded;
use crate::commands::{WATCHED, carry_out};
use crate::python;
use crate::steps::{self, BUILD, Plan};
use crate::workspace::{cargo, root, target, targets_in};
use clap::Args;
use std::fs::{self, File};
use std::process::{Command, ExitCode};

/// What is compared with other crates has a workspace of its own in this folder.
const PEERS: &str = "peers";
/// The Python package has a harness of its own, in Python.
const PYTHON: &str = "python";
const PEERS_FOLDER: &str = "bench-peers";
const TABLES: &str = "docs/benchmarks.md";

#[derive(Args)]
pub(crate) struct Bench {
    /// The benchmark: a file name of crates/allcores/benches without `.rs`, or `peers` for those against other crates, which
    /// are built for this alone, or `python` for the Python package against stock. Otherwise all but those two
    name: Option<String>,
    /// Only the figures whose name contains one of these
    filter: Vec<String>,
    /// With `python`: only this task, such as T1 (may be given several times)
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Ask the benchmarks for JSON on stdout
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Ask the benchmarks for the tables of docs/benchmarks.md on stdout
    #[arg(long)]
    markdown: bool,
    /// Show that everything runs; no figures
    #[arg(long)]
    quick: bool,
    /// Put the tables into docs/benchmarks.md, in place of those that are there
    #[arg(long, conflicts_with_all = ["json", "filter", "quick"])]
    write: bool,
}

pub(crate) fn run(bench: &Bench) -> ExitCode {
    if bench.name.as_deref() == Some(PYTHON) {
        return carry_out(python::bench(&python_args(bench)));
    }
    if bench.write {
        return write(bench);
    }
    let name = bench.name.as_deref();
    let mut run = command(name, &[]);
    run.arg("--");
    for (wanted, option) in [
        (bench.json, "--json"),
        (bench.markdown, "--markdown"),
        (bench.quick, "--quick"),
    ] {
        if wanted {
            run.arg(option);
        }
    }
    run.args(&bench.filter);
    let build = command(name, &["--no-run"]);
    carry_out(Plan::Run(vec![(build, BUILD), (run, WATCHED)]))
}

/// What of our arguments is for `python/bench/run.py`; the filters are ids such as `T1`.
fn python_args(bench: &Bench) -> Vec<String> {
    let mut args: Vec<String> = Vec::new();
    for (wanted, option) in [(bench.quick, "--quick"), (bench.write, "--write")] {
        if wanted {
            args.push(option.to_owned());
        }
    }
    for id in bench.filter.iter().chain(&bench.only) {
        args.extend(["--only".to_owned(), id.clone()]);
    }
    args
}

/// `cargo bench` for one benchmark, or for all of the library's.
fn command(name: Option<&str>, options: &[&str]) -> Command {
    let mut command = match name {
        Some(PEERS) => {
            let mut command = cargo(["bench", "--bin", "peers"]);
            command.current_dir(root().join(PEERS_FOLDER));
            command.env("CARGO_TARGET_DIR", target());
            command
        }
        Some(name) => cargo(["bench", "-p", "allcores", "--bench", name]),
        None => cargo(["bench", "-p", "allcores", "--benches"]),
    };
    command.args(options);
    command
}

fn write(bench: &Bench) -> ExitCode {
    let names = match &bench.name {
        Some(name) => vec![name.clone()],
        None => targets_in("crates/allcores/benches"),
    };
    // One table that cannot be made does not throw away the others.
    let mut outcome = ExitCode::SUCCESS;
    for name in names {
        if let Err(why) = write_one(&name) {
            eprintln!("xtask: {name}: {why}");
            outcome = ExitCode::FAILURE;
        }
    }
    outcome
}

/// Runs one benchmark and puts its table where the marks for it are.
fn write_one(name: &str) -> Result<(), String> {
    let page = root().join(TABLES);
    let read = |path| fs::read_to_string(path).map_err(|error| error.to_string());
    // Before the benchmark has taken its minutes.
    replaced(&read(page.clone())?, name, "")?;

    steps::run_task((command(Some(name), &["--no-run"]), BUILD))?;
    let output = target().join(format!("bench-{name}.md"));
    let file = File::create(&output).map_err(|error| format!("{}: {error}", output.display()))?;
    let mut run = command(Some(name), &["--", "--markdown"]);
    run.stdout(file);
    println!(
        "$ cargo xtask bench {name} --markdown > {}",
        output.display()
    );
    bounded::run(run, WATCHED).map_err(|failure| failure.to_string())?;

    let table = read(output)?;
    let text = replaced(&read(page.clone())?, name, table.trim())?;
    fs::write(&page, text).map_err(|error| error.to_string())?;
    println!("{TABLES}: the table of {name} is new");
    Ok(())
}

/// `page` with `table` between the marks of this name.
fn replaced(page: &str, name: &str, table: &str) -> Result<String, String> {
    let (begin, end) = (format!("<!-- table {name} -->"), "<!-- end of table -->");
    let missing = || format!("{TABLES} has no '{begin}' with an '{end}' after it");
    let (before, rest) = page.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(end).ok_or_else(missing)?;
    Ok(format!("{before}{begin}\n{table}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "a\n<!-- table x -->\nold\n<!-- end of table -->\nb\n<!-- table y -->\n\
                        other\n<!-- end of table -->\nc\n";

    #[test]
    fn a_table_takes_the_place_of_its_own_predecessor() {
        let page = replaced(PAGE, "y", "new").unwrap();
        assert_eq!(page, PAGE.replace("other", "new"));
        assert_eq!(replaced(&page, "y", "other").unwrap(), PAGE);
    }

    #[test]
    fn a_page_without_the_marks_is_an_error() {
        assert!(replaced(PAGE, "z", "new").unwrap_err().contains("table z"));
        assert!(replaced("<!-- table x -->", "x", "new").is_err());
    }

    #[test]
    fn every_benchmark_has_a_place_for_its_table() {
        let page = fs::read_to_string(root().join(TABLES)).unwrap();
        let mut names = targets_in("crates/allcores/benches");
        names.push(PEERS.to_owned());
        for name in names {
            replaced(&page, &name, "").unwrap();
        }
    }
}
