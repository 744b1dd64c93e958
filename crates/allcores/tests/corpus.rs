//! What fuzzing has found worth keeping, and the seeds it starts from, once more: `fuzz/corpus` through the fuzz targets.
//!
//! `cargo xtask fuzz` looks for more.

#[path = "../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "it is a library of its own as well")]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The corpus of a target, in a fixed order.
fn corpus(target: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let folder = root.join(target);
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Tells which file it was that a target did not return from.
struct Replaying<'a>(&'a Path);

impl Drop for Replaying<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("while replaying {}", self.0.display());
        }
    }
}

/// Descriptors and the arena belong to the whole process.
static TURN: Mutex<()> = Mutex::new(());

fn replay(target: &str) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, run) = targets::TARGETS
        .into_iter()
        .find(|(name, _)| *name == target)
        .expect("a target of that name");
    let files = corpus(target);
    assert!(files.len() >= 5, "{target} has a corpus of {}", files.len());
    for file in files {
        let _replaying = Replaying(&file);
        run(&fs::read(&file).unwrap());
    }
}

#[test]
fn frame() {
    replay("frame");
}

#[test]
fn auth() {
    replay("auth");
}

#[test]
fn codec() {
    replay("codec");
}

#[test]
fn handles() {
    replay("handles");
}

#[test]
fn arena() {
    replay("arena");
}

#[test]
fn every_target_is_replayed_here_and_run_by_the_command() {
    let source = include_str!("corpus.rs");
    let command = include_str!("../../../xtask/src/fuzz.rs");
    for (name, _) in targets::TARGETS {
        assert!(source.contains(&format!("replay(\"{name}\")")), "{name}");
        assert!(command.contains(&format!("\"{name}\"")), "{name}");
    }
}
