//! The same job in Python: with the interpreter's own `threading` and `multiprocessing`, and with the package `allcores`.

use super::corpus::{Piece, Work};
use super::error::DemoError;
use super::totals::{Totals, WordMap};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = include_str!("python.py");

/// What the workers are, and whose.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Library {
    Stock,
    Allcores,
}

/// What the workers are.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Threads,
    Processes,
}

#[derive(Serialize)]
struct Job<'a> {
    library: Library,
    kind: Kind,
    workers: u32,
    /// Their bytes, as hexadecimal digits: a name need not be UTF-8.
    files: Vec<String>,
    batches: Vec<Vec<(u32, u64, u32)>>,
    /// What a letter is and how it is folded are sent along: Python's idea of both is another.
    letters: &'a [(char, char)],
    lower: &'a [(char, String)],
}

#[derive(Deserialize)]
struct Answer {
    seconds: f64,
    cpu_seconds: f64,
    files: u64,
    bytes: u64,
    words: u64,
    counts: HashMap<String, u64>,
}

/// Totals, seconds and CPU seconds as if there had been so many passes.
pub(crate) struct Counted {
    pub(crate) totals: Totals,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
}

/// Whether the interpreter is there and has the package.
///
/// # Errors
/// If not, with what can be done.
pub(crate) fn check(python: &Path) -> Result<(), DemoError> {
    let mut command = Command::new(python);
    command.args(["-c", "import allcores.multiprocessing, allcores.queue"]);
    let output = command.stdin(Stdio::null()).output();
    let said = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => last_line(&output),
        Err(error) => error.to_string(),
    };
    Err(DemoError::NoPython {
        python: python.to_owned(),
        said,
    })
}

/// Counts once, and multiplies: Python is too slow for as many passes as the others make.
pub(crate) fn count(
    python: &Path,
    library: Library,
    kind: Kind,
    work: &Work,
    passes: u64,
    workers: u32,
) -> Result<Counted, DemoError> {
    let (letters, lower) = alphabet();
    let job = Job {
        library,
        kind,
        workers,
        files: work.files().map(hexadecimal).collect(),
        batches: batches(work),
        letters: &letters,
        lower: &lower,
    };
    let answer = run(python, &job)?;
    let times = passes as f64;
    let table: WordMap = answer
        .counts
        .into_iter()
        .map(|(word, count)| (word.into_boxed_str(), count * passes))
        .collect();
    Ok(Counted {
        totals: Totals {
            tables: vec![table],
            passes,
            files: answer.files * passes,
            bytes: answer.bytes * passes,
            words: answer.words * passes,
        },
        seconds: answer.seconds * times,
        cpu_seconds: answer.cpu_seconds * times,
    })
}

fn run(python: &Path, job: &Job<'_>) -> Result<Answer, DemoError> {
    let failed = |why: String| DemoError::Worker(format!("{}: {why}", python.display()));
    let mut child = Command::new(python)
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let job = serde_json::to_vec(job).map_err(|error| failed(error.to_string()))?;
    let mut stdin = child.stdin.take().expect("it is a pipe");
    // It reads all of it before it writes anything. If it has ended, that is said below.
    let _ = stdin.write_all(&job);
    drop(stdin);
    let output = child
        .wait_with_output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(last_line(&output)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
}

/// What an interpreter says last is what is wrong.
fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.map_or_else(|| output.status.to_string(), str::to_owned)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn batches(work: &Work) -> Vec<Vec<(u32, u64, u32)>> {
    let mut batches = Vec::new();
    let mut from = 0;
    loop {
        let numbers = work.batch(from, 1);
        if numbers.is_empty() {
            return batches;
        }
        from = numbers.end;
        let pieces = numbers.map(|number| work.piece(number));
        batches.push(
            pieces
                .map(|Piece { file, offset, len }| (file, offset, len))
                .collect(),
        );
    }
}

/// Ranges of letters; letters with what they are folded to.
type Alphabet = (Vec<(char, char)>, Vec<(char, String)>);

/// The ranges of letters, and the letters that are not in lower case with what they become.
fn alphabet() -> Alphabet {
    let (mut ranges, mut lower) = (Vec::<(char, char)>::new(), Vec::new());
    for letter in ('\0'..=char::MAX).filter(|c| c.is_alphabetic()) {
        match ranges.last_mut() {
            Some((_, end)) if *end as u32 + 1 == letter as u32 => *end = letter,
            _ => ranges.push((letter, letter)),
        }
        let folded: String = letter.to_lowercase().collect();
        if !folded.chars().eq([letter]) {
            lower.push((letter, folded));
        }
    }
    (ranges, lower)
}
