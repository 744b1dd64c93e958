//! The built program, on folders made up for it.

mod counts;
mod endings;
mod python;
mod refusals;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

const WAYS: &[&str] = &["serial", "threads", "processes"];

fn allcores(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_allcores"));
    command.args(args).stdin(Stdio::null());
    command
}

/// `allcores demo FOLDER` with so many passes that it is quick, and these options.
fn demo(folder: &Path, options: &[&str]) -> Output {
    let mut command = allcores(&["demo"]);
    command.arg(folder).args(["--passes", "3"]).args(options);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A folder of these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

/// Counts words by the plain definition.
fn counted(texts: &[&str]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for text in texts {
        for word in text
            .split(|c: char| !c.is_alphabetic())
            .filter(|w| !w.is_empty())
        {
            let word = word.chars().flat_map(char::to_lowercase).collect();
            *counts.entry(word).or_default() += 1;
        }
    }
    counts
}

/// Text of many words, some of them not ASCII, in no particular order.
fn made_up(words: usize, seed: u64) -> String {
    let stems = ["Wort", "word", "mot", "слово", "żółw", "Ödland", "x", "THE"];
    let mut state = seed;
    let mut text = String::new();
    for number in 0..words {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let stem = stems[(state >> 33) as usize % stems.len()];
        // Letters that spell a number: many different words, each of them more than once.
        let suffix: String = ((state >> 40) % 997)
            .to_string()
            .bytes()
            .map(|b| char::from(b + 49))
            .collect();
        text.push_str(stem);
        text.push_str(&suffix);
        text.push_str([" ", "\n", ", ", " — ", "1"][number % 5]);
    }
    text
}
