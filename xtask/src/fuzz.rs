//! `cargo xtask fuzz`: the targets in `fuzz/`, each for some minutes.

use crate::bounded;
use crate::steps::{self, BUILD};
use crate::workspace::{root, target};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

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

/// Runs each target, or this one, for so many seconds, whatever became of those before, and sums up. What is found is kept
/// out of the committed corpus, and an input that fails is named.
pub(crate) fn run(only: Option<&str>, seconds: u64) -> ExitCode {
    let chosen = TARGETS.into_iter();
    let chosen: Vec<_> = chosen
        .filter(|name| only.is_none_or(|only| only == *name))
        .collect();
    let ready = match only {
        Some(only) if chosen.is_empty() => Err(format!(
            "there is no fuzz target '{only}', only {}",
            TARGETS.join(", ")
        )),
        _ if !is_installed() => Err(
            "fuzzing needs cargo-fuzz, and a C++ compiler for libFuzzer: `cargo install cargo-fuzz`. Without it, `cargo xtask test --step tests` still replays the corpus".to_owned(),
        ),
        _ => steps::run_task((cargo_fuzz(&["build"]), BUILD)),
    };
    if let Err(why) = ready {
        eprintln!("xtask: {why}");
        return ExitCode::FAILURE;
    }
    let mut ran = Vec::new();
    for (number, name) in chosen.iter().enumerate() {
        println!("\n=== {}/{} {name}", number + 1, chosen.len());
        ran.push(run_one(name, seconds));
    }
    println!("\n=== summary");
    for line in ran.iter().flat_map(Ran::lines) {
        println!("{line}");
    }
    let failed = ran.iter().filter(|ran| ran.outcome.is_err()).count();
    println!("{} passed, {failed} failed", ran.len() - failed);
    ExitCode::from(u8::from(failed > 0))
}

/// What became of a target.
#[derive(Debug)]
struct Ran {
    target: &'static str,
    seconds: f64,
    heard: Heard,
    outcome: Result<(), String>,
}

/// What libFuzzer has said of itself.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    inputs: Option<u64>,
    /// Files with an input that failed.
    artifacts: Vec<String>,
}

impl Heard {
    fn hear(&mut self, line: &str) {
        if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            self.inputs = count.trim().parse().ok();
        }
        if let Some((_, file)) = line.split_once("Test unit written to ") {
            self.artifacts.push(file.trim().to_owned());
        }
    }
}

impl Ran {
    /// For the summary: what became of it, and how each input that failed is tried again.
    fn lines(&self) -> Vec<String> {
        let (target, seconds) = (self.target, self.seconds);
        let inputs = self
            .heard
            .inputs
            .map_or_else(|| "?".to_owned(), |count| count.to_string());
        let outcome = match &self.outcome {
            Ok(()) => "ok".to_owned(),
            Err(why) => format!("FAILED  {why}"),
        };
        let mut lines = vec![format!(
            "{target:<10} {inputs:>12} inputs {seconds:>8.1} s  {outcome}"
        )];
        for file in &self.heard.artifacts {
            let path = Path::new(file);
            let file = path.strip_prefix(root()).unwrap_or(path).display();
            lines.push(format!("    {file}"));
            lines.push(format!(
                "    again: RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir fuzz {target} {file}"
            ));
            lines.push(format!(
                "    without cargo-fuzz: copy it into fuzz/corpus/{target}, then `cargo test -p allcores --test corpus {target}`"
            ));
        }
        lines
    }
}

fn run_one(target_name: &'static str, seconds: u64) -> Ran {
    let began = Instant::now();
    let mut heard = Heard::default();
    let outcome = start(target_name, seconds, &mut heard);
    Ran {
        target: target_name,
        seconds: began.elapsed().as_secs_f64(),
        heard,
        outcome,
    }
}

fn start(name: &str, seconds: u64, heard: &mut Heard) -> Result<(), String> {
    let found = target().join("fuzz").join(name);
    std::fs::create_dir_all(&found).map_err(|error| format!("{}: {error}", found.display()))?;
    let committed = root().join("fuzz/corpus").join(name);
    // New inputs go to the first folder.
    let (found, committed) = (found.display().to_string(), committed.display().to_string());
    let mut run = cargo_fuzz(&["run", name, &found, &committed, "--"]);
    run.arg(format!("-max_total_time={seconds}"));
    run.arg(format!("-max_len={LONGEST}"));
    run.arg(format!("-timeout={HANG}"));
    run.args(["-rss_limit_mb=2048", "-print_final_stats=1"]);
    let (reader, writer) = std::io::pipe().map_err(|error| format!("no pipe: {error}"))?;
    run.stderr(writer);
    // What it says is passed on at once; the command, and with it the pipe's other end, is gone when it has ended.
    thread::scope(|scope| {
        scope.spawn(|| pass_on(reader, heard));
        println!("$ {}", steps::show(&run));
        let ended = bounded::run(run, Duration::from_secs(seconds) + SLACK);
        ended.map_err(|failure| failure.to_string())
    })
}

/// Passes on what a command says, to its end.
fn pass_on(from: impl std::io::Read, heard: &mut Heard) {
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    while lines
        .read_until(b'\n', &mut line)
        .is_ok_and(|length| length > 0)
    {
        heard.hear(&String::from_utf8_lossy(&line));
        let _ = std::io::stderr().write_all(&line);
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(outcome: Result<(), String>, said: &str) -> Ran {
        let mut heard = Heard::default();
        pass_on(said.as_bytes(), &mut heard);
        Ran {
            target: "codec",
            seconds: 12.34,
            heard,
            outcome,
        }
    }

    #[test]
    fn a_target_that_found_nothing_is_one_line() {
        let said = "#2 INITED\nDone 12 runs\nstat::number_of_executed_units: 4711\n";
        let lines = ran(Ok(()), said).lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let words: Vec<_> = lines[0].split_whitespace().collect();
        assert_eq!(words, ["codec", "4711", "inputs", "12.3", "s", "ok"]);
    }

    #[test]
    fn an_input_that_failed_is_named_with_the_way_to_try_it_again() {
        let file = root().join("fuzz/artifacts/codec/crash-1234");
        let said = format!(
            "==1== ERROR: libFuzzer: deadly signal\nartifact_prefix='x/'; Test unit written to {}\nstat::number_of_executed_units: 7",
            file.display()
        );
        let lines = ran(Err("exit status 77".to_owned()), &said).lines();
        assert!(
            lines[0].contains(" 7 inputs") && lines[0].ends_with("FAILED  exit status 77"),
            "{lines:?}"
        );
        let again = "cargo fuzz run --fuzz-dir fuzz codec fuzz/artifacts/codec/crash-1234";
        assert_eq!(
            lines[1].trim(),
            "fuzz/artifacts/codec/crash-1234",
            "{lines:?}"
        );
        assert!(lines[2].ends_with(again), "{lines:?}");
    }

    #[test]
    fn one_that_ended_without_a_word_is_told_of_as_well() {
        let lines = ran(Err("killed by signal 9".to_owned()), "").lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("? inputs") && lines[0].contains("killed by signal 9"));
    }
}
