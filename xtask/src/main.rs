//! Every developer command: `cargo xtask --help`.

mod bench;
mod bounded;
mod commands;
mod fuzz;
mod python;
mod steps;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Every developer command of allcores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every test, step by step; the last line counts the steps that passed and failed
    Test {
        /// Run this step alone (may be given several times)
        #[arg(long, value_name = "NAME")]
        step: Vec<String>,
        /// List the steps and run nothing
        #[arg(long, conflicts_with = "step")]
        list: bool,
    },
    /// Run the demonstration as a user would: `cargo run --release -- demo …`
    Demo {
        /// What to pass on to `allcores demo`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run the benchmarks, all of them or one
    Bench(bench::Bench),
    /// Model-check the primitives' words with loom
    Loom {
        /// How many times a schedule may preempt a running thread
        #[arg(long, default_value_t = 2)]
        preemptions: u32,
        /// Only the models whose name contains this
        filter: Option<String>,
    },
    /// Kill processes at random points for longer than `test` does
    Storm {
        /// Rounds of each storm
        #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        /// Only the death tests whose name contains this
        filter: Option<String>,
    },
    /// Look for inputs that panic, hang or take too much memory, for some minutes (needs cargo-fuzz)
    Fuzz {
        /// Only this target: frame, auth, codec, handles or arena
        target: Option<String>,
        /// How long to run each target, in seconds
        #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u64).range(1..))]
        seconds: u64,
    },
    /// Build the Python package in place: `PYTHONPATH=python python3` finds it
    Develop,
    Conformance(python::Conformance),
    Finalisation(python::Finalisation),
    /// Build the documentation; a warning is an error
    Docs,
    /// What continuous integration runs: the script .ci/run
    Ci,
}

fn main() -> ExitCode {
    bounded::end_children_with_us();
    match Cli::parse().command {
        Command::Test { list: true, .. } => steps::list(),
        Command::Test { step, .. } => steps::run(&step),
        Command::Demo { args } => commands::demo(args),
        Command::Bench(bench) => bench::run(&bench),
        Command::Loom {
            preemptions,
            filter,
        } => commands::loom(preemptions, filter),
        Command::Storm { rounds, filter } => commands::storm(rounds, filter),
        Command::Fuzz { target, seconds } => commands::fuzz(target, seconds),
        Command::Develop => python::develop(),
        Command::Conformance(conformance) => conformance.run(),
        Command::Finalisation(finalisation) => finalisation.run(),
        Command::Docs => commands::docs(),
        Command::Ci => commands::ci(),
    }
}
