//! The commands other than `test`.

use crate::fuzz;
use crate::steps::{self, Plan, RUN, Task};
use crate::workspace::{cargo, root};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// For what a person starts and watches: a working day.
pub(crate) const WATCHED: Duration = Duration::from_secs(8 * 3600);

pub(crate) fn carry_out(plan: Plan) -> ExitCode {
    let outcome = match plan {
        Plan::Run(tasks) => tasks.into_iter().try_for_each(steps::run_task),
        Plan::Part(tasks, left_out) => {
            println!("{left_out}");
            tasks.into_iter().try_for_each(steps::run_task)
        }
        Plan::Skip(why) | Plan::Fail(why) => Err(why),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The same tasks with more time.
fn for_a_day(plan: Plan) -> Plan {
    match plan {
        Plan::Run(tasks) => {
            let longer =
                |(command, limit): Task| (command, if limit == RUN { WATCHED } else { limit });
            Plan::Run(tasks.into_iter().map(longer).collect())
        }
        other => other,
    }
}

pub(crate) fn demo(args: Vec<String>) -> ExitCode {
    let mut run = cargo(["run", "--release", "-p", "allcores-cli", "--", "demo"]);
    run.args(args);
    become_it(run)
}

pub(crate) fn loom(preemptions: u32, filter: Option<String>) -> ExitCode {
    carry_out(for_a_day(steps::loom(preemptions, filter.as_deref())))
}

pub(crate) fn storm(rounds: u32, filter: Option<String>) -> ExitCode {
    let rounds = rounds.to_string();
    carry_out(for_a_day(steps::death(Some(&rounds), filter.as_deref())))
}

pub(crate) fn fuzz(target: Option<String>, seconds: u64) -> ExitCode {
    fuzz::run(target.as_deref(), seconds)
}

pub(crate) fn docs() -> ExitCode {
    carry_out(steps::docs())
}

pub(crate) fn ci() -> ExitCode {
    let mut script = Command::new(root().join(".ci/run"));
    script.current_dir(root());
    become_it(script)
}

/// Runs a command in our place: it has the terminal, and Ctrl-C is its own affair.
fn become_it(mut command: Command) -> ExitCode {
    let error = command.exec();
    eprintln!("xtask: {}: {error}", command.get_program().display());
    ExitCode::FAILURE
}
