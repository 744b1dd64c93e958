//! `allcores demo`: word frequencies over real text, three ways with one result.

mod corpus;
mod count;
mod cpu;
mod error;
mod processes;
mod python;
pub(crate) mod report;
mod serial;
mod threads;
mod totals;
mod wire;

use crate::args::{DemoArgs, MOST_WORKERS, Way};
use crate::view::progress::Progress;
use crate::view::{json, table};
use allcores::multiprocessing::cpu_count;
pub(crate) use corpus::Skipped;
use corpus::{Corpus, Work};
use error::DemoError;
use python::{Kind, Library};
use report::{Outcome, Report};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Long enough for the start of processes, and the merging of their tables, to be small against it.
const SERIAL_TAKES: Duration = Duration::from_secs(3);

/// Workers tell of their progress when they have counted so much.
const REPORT_EVERY: u64 = 1 << 20;

/// Runs the command and says on stderr what went wrong.
pub(crate) fn main(args: &DemoArgs) -> ExitCode {
    match run(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("allcores: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}

fn run(args: &DemoArgs) -> Result<ExitCode, DemoError> {
    if let Some(python) = args.interpreter() {
        python::check(python)?;
    }
    let limit = args.max_mib << 20;
    let corpus = match &args.folder {
        Some(folder) => corpus::survey(folder, limit)?,
        None => corpus::survey_default(limit)?,
    };
    for name in &corpus.skipped.unreadable_examples {
        eprintln!("allcores: skipped, cannot be read: {name}");
    }
    let report = count_all_ways(args, corpus)?;

    let printed = if args.json {
        json::print(&report)
    } else {
        table::print(&report)
    };
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        // Whoever reads has read enough.
        _ => {}
    }
    let differences = report.differences();
    for line in &differences {
        writeln!(io::stderr(), "allcores: {line}")?;
    }
    Ok(ExitCode::from(u8::from(!differences.is_empty())))
}

fn count_all_ways(args: &DemoArgs, corpus: Corpus) -> Result<Report, DemoError> {
    let ways: Vec<Way> = Way::ALL
        .iter()
        .copied()
        .filter(|way| match args.way.as_slice() {
            [] => args.python.is_some() || !way.is_in_python(),
            chosen => chosen.contains(way),
        })
        .collect();
    let (mut passes, mut outcomes) = (args.passes, Vec::new());
    for way in ways {
        let outcome = count_one_way(way, args, &corpus.work, passes)?;
        // The serial way has found out how many passes it takes; the others make as many.
        passes = Some(outcome.totals.passes);
        outcomes.push(outcome);
    }
    Ok(Report {
        corpus,
        outcomes,
        top: args.top,
    })
}

/// As many workers as can run at the same time.
fn usable_cpus() -> u32 {
    cpu_count().min(MOST_WORKERS as usize) as u32
}

/// Counts the text so often; if that is not said, serially for three seconds, and otherwise once, as there is nothing to be
/// measured against.
fn count_one_way(
    way: Way,
    args: &DemoArgs,
    work: &Arc<Work>,
    passes: Option<u64>,
) -> Result<Outcome, DemoError> {
    let workers = match way {
        Way::Serial => 1,
        Way::Threads | Way::PythonStockThreads | Way::PythonAllcoresThreads => {
            args.threads.unwrap_or_else(usable_cpus)
        }
        Way::Processes | Way::PythonStockProcesses | Way::PythonAllcoresProcesses => {
            args.processes.unwrap_or_else(usable_cpus)
        }
    };
    let fixed = passes.unwrap_or(1);
    let open_ended = way == Way::Serial && passes.is_none();
    let bytes = (!open_ended).then(|| fixed.saturating_mul(work.bytes()));
    let progress = Progress::start(way.name(), bytes);
    let machine = cpu::Machine::now();
    if let Some((library, kind)) = in_python(way) {
        let python = args
            .interpreter()
            .expect("checked before anything was counted");
        let counted = python::count(python, library, kind, work, fixed, workers)?;
        return Ok(Outcome {
            way,
            workers,
            seconds: counted.seconds,
            cpu_seconds: counted.cpu_seconds,
            others: machine.others(),
            totals: counted.totals,
        });
    }
    let (cpu, clock) = (cpu::used(), Instant::now());
    let totals = match way {
        Way::Serial => serial::count(work, passes, SERIAL_TAKES, &progress),
        Way::Threads => threads::count(work, fixed, workers, &progress),
        _ => processes::count(work, fixed, workers, &progress),
    }?;
    let (seconds, cpu_seconds) = (clock.elapsed().as_secs_f64(), cpu::used() - cpu);
    let others = machine.others();
    drop(progress);
    Ok(Outcome {
        way,
        workers,
        seconds,
        cpu_seconds,
        others,
        totals,
    })
}

/// Which way in Python it is, if it is one.
fn in_python(way: Way) -> Option<(Library, Kind)> {
    match way {
        Way::Serial | Way::Threads | Way::Processes => None,
        Way::PythonStockThreads => Some((Library::Stock, Kind::Threads)),
        Way::PythonStockProcesses => Some((Library::Stock, Kind::Processes)),
        Way::PythonAllcoresThreads => Some((Library::Allcores, Kind::Threads)),
        Way::PythonAllcoresProcesses => Some((Library::Allcores, Kind::Processes)),
    }
}
