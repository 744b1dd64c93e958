//! `cargo xtask test`: the steps, in the order in which a mistake is cheapest to learn of.

use crate::bounded::{self, Failure};
use crate::python;
use crate::workspace::{cargo, root, target, targets_in};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// For building: a slow machine that has never built anything.
pub(crate) const BUILD: Duration = Duration::from_secs(45 * 60);
/// For running what is built. Nothing takes half of it.
pub(crate) const RUN: Duration = Duration::from_secs(15 * 60);

/// For running the library's tests, which take a minute.
const TESTS: Duration = Duration::from_secs(10 * 60);

/// A command and the time it may take.
pub(crate) type Task = (Command, Duration);

/// What a step does on this machine.
pub(crate) enum Plan {
    Run(Vec<Task>),
    /// Can run in part; what is not run, and why.
    Part(Vec<Task>, String),
    /// Cannot run here; why, and what would change that.
    Skip(String),
    /// Must not be possible; why.
    Fail(String),
}

impl Plan {
    /// All of it, unless something is left out.
    pub(crate) fn part(tasks: Vec<Task>, left_out: Option<String>) -> Plan {
        match left_out {
            Some(what) => Plan::Part(tasks, what),
            None => Plan::Run(tasks),
        }
    }
}

struct Step {
    name: &'static str,
    about: &'static str,
    plan: fn() -> Plan,
}

const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        about: "the code is formatted",
        plan: fmt,
    },
    Step {
        name: "clippy",
        about: "the compiler and clippy have nothing to say",
        plan: clippy,
    },
    Step {
        name: "tests",
        about: "unit and integration tests",
        plan: tests,
    },
    Step {
        name: "doctests",
        about: "examples in the documentation, and misuse that must not compile",
        plan: doc_tests,
    },
    Step {
        name: "docs",
        about: "the documentation builds and every link in it leads somewhere",
        plan: docs,
    },
    Step {
        name: "loom",
        about: "every schedule of the primitives' words (loom)",
        plan: || loom(2, None),
    },
    Step {
        name: "death",
        about: "processes that are killed in the middle",
        plan: || death(None, None),
    },
    Step {
        name: "polling",
        about: "the integration tests again, without FUTEX_WAITV",
        plan: polling,
    },
    Step {
        name: "start",
        about: "the tests of processes again: spawned, and with a fork server that tells by itself how they ended",
        plan: start_methods,
    },
    Step {
        name: "examples",
        about: "every program in crates/allcores/examples",
        plan: examples,
    },
    Step {
        name: "demo",
        about: "the demonstration, on a small folder",
        plan: demo,
    },
    Step {
        name: "python",
        about: "the wheel, in virtual environments: our own tests",
        plan: python::tests,
    },
    Step {
        name: "stubs",
        about: "the stubs say what the Python modules have",
        plan: python::stubs,
    },
    Step {
        name: "suites",
        about: "CPython's own tests on our types, the quick ones (all: cargo xtask conformance)",
        plan: python::sampled,
    },
];

/// Prints the steps.
pub(crate) fn list() -> ExitCode {
    for step in STEPS {
        println!("{:<10} {}", step.name, step.about);
    }
    ExitCode::SUCCESS
}

/// Runs the steps named, or all; every step is run, whatever became of those before.
pub(crate) fn run(names: &[String]) -> ExitCode {
    if let Some(unknown) = names.iter().find(|n| STEPS.iter().all(|s| s.name != **n)) {
        eprintln!("xtask: there is no step '{unknown}'; `cargo xtask test --list` names them");
        return ExitCode::from(2);
    }
    let chosen: Vec<&Step> = STEPS
        .iter()
        .filter(|step| names.is_empty() || names.iter().any(|name| name == step.name))
        .collect();

    let mut lines = Vec::new();
    let (mut passed, mut failed) = (0, 0);
    for (number, step) in chosen.iter().enumerate() {
        println!(
            "\n=== {}/{} {}: {}",
            number + 1,
            chosen.len(),
            step.name,
            step.about
        );
        let began = Instant::now();
        let mut left_out = String::new();
        let outcome = match (step.plan)() {
            Plan::Run(tasks) => tasks.into_iter().try_for_each(run_task),
            Plan::Part(tasks, what) => {
                println!("{what}");
                left_out = format!("  {what}");
                tasks.into_iter().try_for_each(run_task)
            }
            Plan::Skip(why) => {
                println!("skipped: {why}");
                lines.push(format!("{:<10} skipped: {why}", step.name));
                continue;
            }
            Plan::Fail(why) => Err(why),
        };
        let seconds = began.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                passed += 1;
                lines.push(format!(
                    "{:<10} ok      {seconds:>7.1} s{left_out}",
                    step.name
                ));
            }
            Err(why) => {
                failed += 1;
                println!("FAILED {}: {why}", step.name);
                lines.push(format!("{:<10} FAILED  {seconds:>7.1} s  {why}", step.name));
            }
        }
    }
    println!("\n=== summary");
    for line in lines {
        println!("{line}");
    }
    println!("{passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}

/// Shows and runs one command; an error text names it and what became of it.
pub(crate) fn run_task((command, limit): Task) -> Result<(), String> {
    let shown = show(&command);
    println!("$ {shown}");
    bounded::run(command, limit).map_err(|failure: Failure| format!("{shown}: {failure}"))
}

/// The command as one would type it, with the variables it sets.
pub(crate) fn show(command: &Command) -> String {
    let mut words: Vec<String> = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!(
                "{}={:?}",
                name.display(),
                value.display().to_string()
            ));
        }
    }
    let program = std::path::Path::new(command.get_program());
    words.push(
        program
            .file_name()
            .map_or_else(String::new, |n| n.display().to_string()),
    );
    words.extend(command.get_args().map(|arg| arg.display().to_string()));
    words.join(" ")
}

/// A build that is followed by a run of what it built, so that a slow compiler is not taken for a hung test.
fn build_then_run(args: &[&str], run_args: &[&str], env: &[(&str, &str)]) -> Plan {
    let command = |more: &[&str]| {
        let mut command = cargo(args.iter().chain(more));
        command.envs(env.iter().copied());
        command
    };
    Plan::Run(vec![
        (command(&["--no-run"]), BUILD),
        (command(run_args), RUN),
    ])
}

/// A cargo subcommand that is a component of its own.
fn component(name: &str) -> Result<(), Plan> {
    let there = cargo([name, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if there {
        return Ok(());
    }
    let component = if name == "fmt" { "rustfmt" } else { name };
    Err(Plan::Skip(format!(
        "cargo {name} is not installed here; `rustup component add {component}` brings it"
    )))
}

fn fmt() -> Plan {
    match component("fmt") {
        Ok(()) => {
            let mut peers = cargo(["fmt", "--check"]);
            peers.current_dir(root().join("bench-peers"));
            let own = cargo(["fmt", "--all", "--check"]);
            Plan::Run(vec![(own, RUN), (peers, RUN)])
        }
        Err(skip) => skip,
    }
}

fn clippy() -> Plan {
    if let Err(skip) = component("clippy") {
        return skip;
    }
    let clippy = cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]);
    Plan::Run(vec![(clippy, BUILD)])
}

/// The integration tests of the library that are neither storms nor models.
fn ordinary_tests() -> Vec<String> {
    let mut names = targets_in("crates/allcores/tests");
    names.retain(|name| !name.starts_with("death") && !name.starts_with("loom"));
    names
}

fn tests() -> Plan {
    let names = ordinary_tests();
    let mut library = vec!["test", "-p", "allcores", "--no-fail-fast", "--lib"];
    for name in &names {
        library.extend(["--test", name]);
    }
    let mut tasks = Vec::new();
    let program = [
        "test",
        "-p",
        "allcores-cli",
        "-p",
        "xtask",
        "--no-fail-fast",
    ];
    for args in [&library[..], &program[..]] {
        let Plan::Run(both) = build_then_run(args, &[], &[]) else {
            unreachable!("build_then_run makes two tasks");
        };
        let bounded = |(command, limit)| (command, if limit == RUN { TESTS } else { limit });
        tasks.extend(both.into_iter().map(bounded));
    }
    Plan::Run(tasks)
}

fn doc_tests() -> Plan {
    // The compiler is run once for each of them, so this is a build as well.
    let test = cargo(["test", "-p", "allcores", "--doc", "--no-fail-fast"]);
    Plan::Run(vec![(test, BUILD)])
}

/// Builds the documentation; a warning is an error.
pub(crate) fn docs() -> Plan {
    let mut doc = cargo(["doc", "--workspace", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    Plan::Run(vec![(doc, BUILD)])
}

/// The models, with a bound on the preemptions of a schedule.
pub(crate) fn loom(preemptions: u32, filter: Option<&str>) -> Plan {
    if !targets_in("crates/allcores/tests")
        .iter()
        .any(|name| name == "loom")
    {
        return Plan::Fail("crates/allcores/tests/loom/main.rs is missing".to_owned());
    }
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    let flags = format!("{flags} --cfg allcores_loom");
    // A folder of its own, or the two sets of flags would throw out each other's builds.
    let folder = target().join("loom").display().to_string();
    let preemptions = preemptions.to_string();
    let env = [
        ("RUSTFLAGS", flags.trim()),
        ("CARGO_TARGET_DIR", &folder),
        ("LOOM_MAX_PREEMPTIONS", &preemptions),
        // Models need the optimiser, not the long link of a release.
        ("CARGO_PROFILE_RELEASE_LTO", "off"),
        ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
        ("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true"),
    ];
    let args = [
        "test",
        "-p",
        "allcores",
        "--release",
        "--no-fail-fast",
        "--test",
        "loom",
    ];
    build_then_run(&args, filter.as_slice(), &env)
}

/// The death tests, each storm with its default number of rounds or with this one.
pub(crate) fn death(rounds: Option<&str>, filter: Option<&str>) -> Plan {
    let names = targets_in("crates/allcores/tests");
    if !names.iter().any(|name| name.starts_with("death")) {
        return Plan::Fail("crates/allcores/tests has no death*.rs".to_owned());
    }
    let env: Vec<(&str, &str)> = rounds
        .iter()
        .map(|rounds| ("ALLCORES_STORM_ROUNDS", *rounds))
        .collect();
    let args = [
        "test",
        "-p",
        "allcores",
        "--no-fail-fast",
        "--test",
        "death*",
    ];
    build_then_run(&args, filter.as_slice(), &env)
}

fn polling() -> Plan {
    let names = ordinary_tests();
    let mut args = vec!["test", "-p", "allcores", "--no-fail-fast"];
    for name in &names {
        args.extend(["--test", name]);
    }
    if names.is_empty() {
        return Plan::Fail("crates/allcores/tests has no integration tests".to_owned());
    }
    build_then_run(&args, &[], &[("ALLCORES_NO_WAITV", "1")])
}

/// By default they are forked, and the kernel tells how they ended if it can.
fn start_methods() -> Plan {
    let names = ordinary_tests();
    let names = names
        .iter()
        .filter(|name| name.starts_with("process") || name.starts_with("forkserver"));
    let mut args = vec!["test", "-p", "allcores", "--no-fail-fast"];
    for name in names {
        args.extend(["--test", name]);
    }
    let both = [
        ("ALLCORES_START_METHOD", "spawn"),
        ("ALLCORES_NO_PIDFD_INFO", "1"),
    ];
    let mut tasks = Vec::new();
    for variable in both {
        if let Plan::Run(these) = build_then_run(&args, &[], &[variable]) {
            tasks.extend(these);
        }
    }
    Plan::Run(tasks)
}

fn examples() -> Plan {
    let names = targets_in("crates/allcores/examples");
    if names.is_empty() {
        return Plan::Fail("crates/allcores/examples has no programs".to_owned());
    }
    let mut tasks = vec![(cargo(["build", "-p", "allcores", "--examples"]), BUILD)];
    for name in &names {
        let run = cargo(["run", "-q", "-p", "allcores", "--example", name]);
        tasks.push((run, RUN));
    }
    Plan::Run(tasks)
}

fn demo() -> Plan {
    let small = root().join("docs").display().to_string();
    let program = ["-q", "-p", "allcores-cli"];
    Plan::Run(vec![
        (cargo(["build"].iter().chain(&program)), BUILD),
        (
            cargo(
                ["run"]
                    .iter()
                    .chain(&program)
                    .chain(&["--", "demo", &small]),
            ),
            RUN,
        ),
    ])
}
