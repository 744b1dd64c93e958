//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};

/// More would not be quicker on any machine of today, and each process takes some descriptors.
pub(crate) const MOST_WORKERS: u32 = 128;

/// Threads and processes with the same primitives.
///
/// Without a command, `allcores` runs `allcores demo` on text that is already on this machine.
#[derive(Debug, Parser)]
#[command(name = "allcores", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Count the words of real text serially, with threads and with processes, and compare
    Demo(DemoArgs),
}

impl Default for Command {
    fn default() -> Self {
        let Command::Demo(args) = Cli::parse_from(["allcores", "demo"])
            .command
            .expect("the command is in the words that are parsed");
        Command::Demo(args)
    }
}

/// Counts the word frequencies of all text below a folder, three ways: serially, with Threads and with Processes.
/// With --python also in Python, with its own threads and processes and with those of the package allcores.
///
/// Each way reads the same files from disk and counts them as often as the serial way could in three seconds. All ways
/// must come to the same totals: it is checked, and they are then compared by the time they took.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  allcores demo                      text that comes with Rust, on all usable CPUs
  allcores demo ~/notes              your own text
  allcores demo ~/notes --threads 4 --passes 10
  allcores demo ~/notes --json       the same for programs
  allcores demo ~/notes --python     the same job in Python beside it

Exit status: 0 all ways agree; 1 they do not, or one failed; 2 wrong usage, or no text there; 130 Ctrl-C.")]
pub(crate) struct DemoArgs {
    /// The folder [default: the sources cargo has downloaded, else Rust's documentation, else /usr/share]
    #[arg(value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,

    /// Print JSON on stdout instead of tables
    #[arg(long)]
    pub(crate) json: bool,

    /// How many threads count [default: the CPUs this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_WORKERS.into()))]
    pub(crate) threads: Option<u32>,

    /// How many processes count [default: the CPUs this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_WORKERS.into()))]
    pub(crate) processes: Option<u32>,

    /// How often each way counts the text [default: as often as the serial way can in three seconds]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) passes: Option<u64>,

    /// Run this way only (may be given several times); speed-ups need the serial one
    #[arg(long, value_name = "WAY")]
    pub(crate) way: Vec<Way>,

    /// Do the same job in Python as well, by this interpreter, which has the package allcores [default: python3]. It counts
    /// once, and its times are multiplied by the number of passes.
    #[arg(long, value_name = "PROGRAM", num_args = 0..=1, require_equals = true, default_missing_value = "python3")]
    pub(crate) python: Option<PathBuf>,

    /// Use the first N MiB of text below DIR
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub(crate) max_mib: u64,

    /// How many of the most frequent words to print
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) top: usize,
}

impl DemoArgs {
    /// The interpreter that is needed, if one is.
    pub(crate) fn interpreter(&self) -> Option<&Path> {
        let asked = self.way.iter().any(|way| way.is_in_python());
        let default = asked.then_some(Path::new("python3"));
        self.python.as_deref().or(default)
    }
}

/// A way of counting.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    /// One piece after another, in the main thread
    Serial,
    /// With Threads
    Threads,
    /// With Processes
    Processes,
    /// In Python, with `threading`
    PythonStockThreads,
    /// In Python, with `multiprocessing`
    PythonStockProcesses,
    /// In Python, with `allcores.threading`
    PythonAllcoresThreads,
    /// In Python, with `allcores.multiprocessing`
    PythonAllcoresProcesses,
}

impl Way {
    pub(crate) const ALL: &[Way] = &[
        Way::Serial,
        Way::Threads,
        Way::Processes,
        Way::PythonStockThreads,
        Way::PythonAllcoresThreads,
        Way::PythonStockProcesses,
        Way::PythonAllcoresProcesses,
    ];

    /// Whether it takes an interpreter.
    pub(crate) fn is_in_python(self) -> bool {
        !matches!(self, Way::Serial | Way::Threads | Way::Processes)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Serial => "serial",
            Way::Threads => "threads",
            Way::Processes => "processes",
            Way::PythonStockThreads => "python, stock threads",
            Way::PythonStockProcesses => "python, stock processes",
            Way::PythonAllcoresThreads => "python, allcores threads",
            Way::PythonAllcoresProcesses => "python, allcores processes",
        }
    }
}
