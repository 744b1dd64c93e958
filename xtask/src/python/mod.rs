//! The Python package: building it, and the steps of `cargo xtask test` that show that it works.

mod environment;
mod interpreters;

use crate::commands::{WATCHED, carry_out};
use crate::steps::{self, BUILD, Plan, RUN, Task};
use crate::workspace::{cargo, root, target};
use clap::Args;
use environment::{Chosen, Purpose, choose, folder, prepare, python};
use interpreters::Interpreter;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Builds the extension module and puts it beside the Python files, so that `PYTHONPATH=python` finds the package.
pub(crate) fn develop() -> ExitCode {
    let build = cargo(["build", "-p", "allcores-python", "--profile", "develop"]);
    let made = steps::run_task((build, BUILD)).and_then(|()| put_in_place());
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

fn put_in_place() -> Result<(), String> {
    let from = target().join("develop/lib_allcores.so");
    let folder = root().join("python/allcores");
    // Renamed into place: a process that has the old one mapped keeps it.
    let new = folder.join(".new.so");
    std::fs::copy(&from, &new)
        .and_then(|_| std::fs::rename(&new, folder.join("_allcores.abi3.so")))
        .map_err(|error| format!("{}: {error}", from.display()))
}

/// A plan that prepares the environments of the chosen interpreters and then runs `commands` on each.
fn on_each(commands: impl Fn(&Interpreter) -> Vec<Task>) -> Plan {
    let Chosen {
        interpreters,
        left_out,
    } = match choose(&[], false) {
        Ok(chosen) => chosen,
        Err(plan) => return plan,
    };
    let mut tasks = prepare(&interpreters, Purpose::Test);
    tasks.extend(interpreters.iter().flat_map(commands));
    Plan::part(tasks, left_out)
}

/// pytest on our own tests, with the wheel as it is installed.
fn pytest(one: &Interpreter, tests: &str) -> Command {
    let mut pytest = python(one, Purpose::Test);
    // -P: the source tree must not be found before the wheel.
    pytest.args(["-P", "-m", "pytest", "-q", "-p", "no:cacheprovider"]);
    pytest.args(["--rootdir", "python", "-c", "python/pyproject.toml", tests]);
    pytest.env("ALLCORES_TEST_INSTALLED", "1");
    pytest
}

/// Our own tests.
pub(crate) fn tests() -> Plan {
    on_each(|one| {
        let mut metadata = python(one, Purpose::Test);
        // `pip install ./python` asks the build backend for this first.
        metadata.current_dir(root().join("python"));
        metadata.args([
            "-c",
            "import maturin; print(maturin.prepare_metadata_for_build_wheel('../target/python'))",
        ]);
        metadata.env("PATH", with_path(one));
        vec![(metadata, RUN), (pytest(one, "python/tests"), RUN)]
    })
}

/// PATH with the environment's programs first.
fn with_path(one: &Interpreter) -> std::ffi::OsString {
    let mut folders = vec![folder(one, Purpose::Test).join("bin")];
    folders.extend(
        std::env::var_os("PATH")
            .iter()
            .flat_map(std::env::split_paths),
    );
    std::env::join_paths(folders).expect("PATH's own folders fit into PATH")
}

/// The stubs say what the modules have (mypy.stubtest). Every public module has one; what is private need not.
pub(crate) fn stubs() -> Plan {
    let without = modules_without_stub(&root().join("python/allcores"), "allcores");
    let public: Vec<&str> = without
        .iter()
        .map(String::as_str)
        .filter(|module| !module.contains("._"))
        .collect();
    if !public.is_empty() {
        return Plan::Fail(format!(
            "no stubs (a .pyi beside the .py): {}",
            public.join(", ")
        ));
    }
    let config = target().join("python/mypy.ini");
    let allowed = target().join("python/stubtest.txt");
    // What is no stub is read all the same, for the names in it; its own errors are not asked for here.
    let mut settings = String::from("[mypy]\nignore_missing_imports = True\n");
    let mut unchecked =
        std::fs::read_to_string(root().join("python/stubtest.txt")).unwrap_or_default();
    for module in &without {
        settings.push_str(&format!("[mypy-{module}]\nignore_errors = True\n"));
        unchecked.push_str(&format!("{}(\\..*)?\n", module.replace('.', "\\.")));
    }
    let written = std::fs::create_dir_all(target().join("python"))
        .and_then(|()| std::fs::write(&config, settings))
        .and_then(|()| std::fs::write(&allowed, unchecked));
    if let Err(error) = written {
        return Plan::Fail(format!("{}: {error}", config.display()));
    }
    on_each(|one| {
        let mut stubtest = python(one, Purpose::Test);
        stubtest.args([
            "-P",
            "-m",
            "mypy.stubtest",
            "allcores",
            "--concise",
            "--ignore-unused-allowlist",
        ]);
        stubtest
            .arg("--mypy-config-file")
            .arg(&config)
            .arg("--allowlist")
            .arg(&allowed);
        vec![(stubtest, RUN)]
    })
}

/// The modules below a package's folder that have no `.pyi` beside them, by their full names.
fn modules_without_stub(folder: &Path, package: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && path.join("__init__.py").is_file() {
            found.extend(modules_without_stub(&path, &format!("{package}.{stem}")));
        } else if path.extension().is_some_and(|it| it == "py")
            && !path.with_extension("pyi").is_file()
        {
            found.push(if stem == "__init__" {
                package.to_owned()
            } else {
                format!("{package}.{stem}")
            });
        }
    }
    found.sort();
    found
}

/// CPython's suites on our types: those that are quick. On every version, since each has its own.
pub(crate) fn sampled() -> Plan {
    let Chosen {
        interpreters,
        left_out,
    } = match choose(&[], true) {
        Ok(chosen) => chosen,
        Err(plan) => return plan,
    };
    suites(&interpreters, left_out, &["--sample".to_owned()], RUN)
}

/// A plan that runs CPython's suites, on those interpreters that have them.
fn suites(
    interpreters: &[Interpreter],
    left_out: Option<String>,
    args: &[String],
    limit: std::time::Duration,
) -> Plan {
    let (with, without): (Vec<_>, Vec<_>) =
        interpreters.iter().cloned().partition(|one| one.suites);
    let mut not_run: Vec<String> = left_out.into_iter().collect();
    for one in &without {
        not_run.push(format!("{one} has no test package"));
    }
    if with.is_empty() {
        return Plan::Skip(format!(
            "{}; CPython's tests come with a CPython that was built from source (pyenv), on Debian with libpython3-testsuite",
            not_run.join("; ")
        ));
    }
    let mut tasks = prepare(&with, Purpose::Test);
    for one in &with {
        let mut run = python(one, Purpose::Test);
        run.arg("-P").arg(root().join("python/tests/stdlib/run.py"));
        run.args(args);
        tasks.push((run, limit));
    }
    Plan::part(tasks, (!not_run.is_empty()).then(|| not_run.join("; ")))
}

/// Run CPython's own tests of threading, queue and multiprocessing on our types, all of them
#[derive(Args)]
pub(crate) struct Conformance {
    /// Only on this version, such as 3.13 (may be given several times); otherwise on every one found
    #[arg(long, value_name = "VERSION")]
    python: Vec<String>,
    /// What to hand on to python/tests/stdlib/run.py: see its --help
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Conformance {
    pub(crate) fn run(&self) -> ExitCode {
        match choose(&self.python, true) {
            Ok(chosen) => carry_out(suites(
                &chosen.interpreters,
                chosen.left_out,
                &self.args,
                WATCHED,
            )),
            Err(plan) => carry_out(plan),
        }
    }
}

/// End the interpreter while daemon threads wait on each primitive, queue and connection, more often than `test` does
#[derive(Args)]
pub(crate) struct Finalisation {
    /// How often for each kind of wait; a tenth of it for children, each of which is an interpreter
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only on this version, such as 3.13 (may be given several times); otherwise on every one found
    #[arg(long, value_name = "VERSION")]
    python: Vec<String>,
    /// Only this kind
    #[arg(value_parser = ["threading", "queue", "synchronize", "mp_queues", "connection", "process", "children"])]
    kind: Option<String>,
}

impl Finalisation {
    pub(crate) fn run(&self) -> ExitCode {
        let chosen = match choose(&self.python, true) {
            Ok(chosen) => chosen,
            Err(plan) => return carry_out(plan),
        };
        let mut tasks = prepare(&chosen.interpreters, Purpose::Test);
        for one in &chosen.interpreters {
            let mut run = pytest(one, "python/tests/test_finalisation.py");
            // -s: it tells of every hundredth round.
            run.args(["-v", "-s"]);
            if let Some(kind) = &self.kind {
                run.args(["-k", &format!("[{kind}]")]);
            }
            run.env("ALLCORES_FINALISATION_ROUNDS", self.rounds.to_string());
            tasks.push((run, WATCHED));
        }
        carry_out(Plan::part(tasks, chosen.left_out))
    }
}

/// `cargo xtask bench python`: the release wheel against stock and other packages.
pub(crate) fn bench(args: &[String]) -> Plan {
    let chosen = match choose(&[], false) {
        Ok(chosen) => chosen,
        Err(plan) => return plan,
    };
    let mut tasks = prepare(&chosen.interpreters, Purpose::Bench);
    for one in &chosen.interpreters {
        let mut run = python(one, Purpose::Bench);
        run.args(["-P", "python/bench/run.py"]).args(args);
        tasks.push((run, WATCHED));
    }
    let has = |option: &str| args.iter().any(|arg| arg == option);
    if let Some(first) = chosen.interpreters.first().filter(|_| !has("--quick")) {
        let mut report = python(first, Purpose::Bench);
        report.args(["-P", "python/bench/report.py"]);
        if has("--write") {
            report.arg("--write");
        }
        tasks.push((report, RUN));
    }
    Plan::Run(tasks)
}
