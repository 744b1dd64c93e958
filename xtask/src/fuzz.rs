//! `cargo xtask fuzz`: the targets in `fuzz/`, each for some minutes.

use crate::steps::{BUILD, Plan, Task};
use crate::workspace::{root, target};
use std::process::{Command, Stdio};
use std::time::Duration;

/// As `fuzz/src/lib.rs` names them.
const TARGETS: [&str; 5] = ["frame", "auth", "codec", "handles", "arena"];
/// The longest input. What matters here is short.
const LONGEST: &str = "4096";
/// An input that takes longer than this has found a hang.
const HANG: &str = "20";
/// For starting, and for ending in time.
const SLACK: Duration = Duration::from_secs(120);

fn cargo_fuzz(args: &[&str]) -> Command {
    // Not the cargo that started us: that one is of a certain toolchain, and the subcommand may want another.
    let mut command = Command::new("cargo");
    command
        .current_dir(root().join("fuzz"))
        .arg("fuzz")
        .args(args);
    // Coverage and the address sanitizer are unstable flags, which a stable compiler takes as well if told so.
    command.env("RUSTC_BOOTSTRAP", "1");
    command.env_remove("RUSTUP_TOOLCHAIN");
    command
}

fn is_installed() -> bool {
    cargo_fuzz(&["--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Each target, or this one, for so many seconds. What is found is kept out of the committed corpus, and an input that
/// fails is named.
pub(crate) fn plan(only: Option<&str>, seconds: u64) -> Plan {
    let chosen: Vec<_> = TARGETS
        .into_iter()
        .filter(|name| only.is_none_or(|only| only == *name))
        .collect();
    if chosen.is_empty() {
        let only = only.unwrap_or_default();
        return Plan::Fail(format!(
            "there is no fuzz target '{only}', only {}",
            TARGETS.join(", ")
        ));
    }
    if !is_installed() {
        return Plan::Fail(
            "fuzzing needs cargo-fuzz, and a C++ compiler for libFuzzer: `cargo install cargo-fuzz`. Without it, `cargo xtask test --step tests` still replays the corpus".to_owned(),
        );
    }
    let mut tasks: Vec<Task> = vec![(cargo_fuzz(&["build"]), BUILD)];
    for name in chosen {
        let found = target().join("fuzz").join(name);
        if let Err(error) = std::fs::create_dir_all(&found) {
            return Plan::Fail(format!("{}: {error}", found.display()));
        }
        let committed = root().join("fuzz/corpus").join(name);
        // New inputs go to the first folder.
        let (found, committed) = (found.display().to_string(), committed.display().to_string());
        let mut run = cargo_fuzz(&["run", name, &found, &committed, "--"]);
        run.arg(format!("-max_total_time={seconds}"));
        run.arg(format!("-max_len={LONGEST}"));
        run.arg(format!("-timeout={HANG}"));
        run.arg("-rss_limit_mb=2048");
        tasks.push((run, Duration::from_secs(seconds) + SLACK));
    }
    Plan::Run(tasks)
}
