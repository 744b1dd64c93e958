//! Virtual environments with the wheel in them, below `target/python`.

use super::interpreters::{self, Interpreter};
use crate::steps::{BUILD, Plan, RUN, Task};
use crate::workspace::{root, target};
use std::path::PathBuf;
use std::process::Command;

/// Which interpreters to take: versions such as `3.11,3.13`, or `all`.
const CHOICE: &str = "ALLCORES_PYTHONS";

/// What is made for the tests, or for measuring.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Fast to build: no link-time optimisation.
    Test,
    /// As a user's build; with the packages that it is compared with.
    Bench,
}

/// The interpreters chosen, and in a sentence what was found and left out.
pub(super) struct Chosen {
    pub(super) interpreters: Vec<Interpreter>,
    pub(super) left_out: Option<String>,
}

/// The interpreters that can make environments: those asked for, or else the oldest and the newest.
pub(super) fn choose(wanted: &[String], everything: bool) -> Result<Chosen, Plan> {
    let mut usable = interpreters::found();
    usable.retain(|one| one.venv);
    if usable.is_empty() {
        return Err(Plan::Skip(
            "no CPython 3.11 or newer with the modules venv and ensurepip was found, in PATH or among pyenv's versions \
             (on Debian: apt-get install python3 python3-venv)"
                .to_owned(),
        ));
    }
    let variable = std::env::var(CHOICE).unwrap_or_default();
    let mut wanted: Vec<String> = wanted.to_vec();
    if wanted.is_empty() && !variable.is_empty() {
        wanted = variable.split(',').map(|it| it.trim().to_owned()).collect();
    }
    let all = everything && wanted.is_empty() || wanted.iter().any(|it| it == "all");
    let newest = usable.len() - 1;
    let is_in = |number: usize, one: &Interpreter| {
        all || if wanted.is_empty() {
            number == 0 || number == newest
        } else {
            wanted.contains(&one.short()) || wanted.contains(&one.to_string())
        }
    };
    if let Some(missing) = wanted.iter().find(|it| {
        *it != "all"
            && !usable
                .iter()
                .any(|one| **it == one.short() || **it == one.to_string())
    }) {
        return Err(Plan::Fail(format!(
            "Python {missing} is wanted, and not among those found: {}",
            listed(&usable)
        )));
    }
    let (chosen, others): (Vec<_>, Vec<_>) = usable
        .into_iter()
        .enumerate()
        .partition(|(number, one)| is_in(*number, one));
    let without =
        |pairs: Vec<(usize, Interpreter)>| pairs.into_iter().map(|(_, one)| one).collect();
    let (interpreters, others): (Vec<_>, Vec<_>) = (without(chosen), without(others));
    println!("interpreters: {}", listed(&interpreters));
    let left_out =
        (!others.is_empty()).then(|| format!("not run on {} ({CHOICE}=all does)", listed(&others)));
    Ok(Chosen {
        interpreters,
        left_out,
    })
}

fn listed(interpreters: &[Interpreter]) -> String {
    let names: Vec<String> = interpreters.iter().map(Interpreter::to_string).collect();
    names.join(", ")
}

/// The folder of one interpreter's environment.
pub(super) fn folder(of: &Interpreter, purpose: Purpose) -> PathBuf {
    let suffix = if purpose == Purpose::Bench {
        "-bench"
    } else {
        ""
    };
    target().join(format!("python/{of}{suffix}"))
}

/// Python in an environment.
pub(super) fn python(of: &Interpreter, purpose: Purpose) -> Command {
    let mut command = Command::new(folder(of, purpose).join("bin/python"));
    command.current_dir(root());
    command.env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    command
}

/// Makes the environments, builds the wheel once, and installs it in each. Quick where nothing has changed.
pub(super) fn prepare(interpreters: &[Interpreter], purpose: Purpose) -> Vec<Task> {
    let mut tasks = Vec::new();
    for one in interpreters {
        let folder = folder(one, purpose);
        // pip comes last: an environment whose making was interrupted has none.
        if !folder.join("bin/pip").is_file() {
            let mut make = Command::new(&one.path);
            make.args(["-m", "venv", "--clear"]).arg(&folder);
            tasks.push((make, RUN));
        }
        let mut tools = python(one, purpose);
        tools.args(["-m", "pip", "install", "-q", "--prefer-binary", "-r"]);
        tools.arg(root().join(match purpose {
            Purpose::Test => "python/tests/requirements.txt",
            Purpose::Bench => "python/bench/requirements.txt",
        }));
        tasks.push((tools, RUN));
    }
    let (profile, wheels) = match purpose {
        Purpose::Test => ("develop", target().join("python/wheels")),
        Purpose::Bench => ("release", target().join("python/wheels-bench")),
    };
    if let Some(first) = interpreters.first() {
        // One wheel fits all versions. Those of before would be taken for it.
        let _ = std::fs::remove_dir_all(&wheels);
        let mut build = python(first, purpose);
        build.args(["-m", "maturin", "build", "--quiet", "--profile", profile]);
        build
            .arg("--manifest-path")
            .arg(root().join("python/Cargo.toml"));
        build.arg("--out").arg(&wheels);
        build
            .arg("--interpreter")
            .arg(folder(first, purpose).join("bin/python"));
        tasks.push((build, BUILD));
    }
    for one in interpreters {
        let mut install = python(one, purpose);
        install.args([
            "-m",
            "pip",
            "install",
            "-q",
            "--no-index",
            "--no-deps",
            "--force-reinstall",
        ]);
        install.arg("--find-links").arg(&wheels).arg("allcores");
        tasks.push((install, RUN));
    }
    tasks
}
