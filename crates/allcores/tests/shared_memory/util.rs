//! Names, and turns.

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

/// A process that another test starts meanwhile has copies of all descriptors for a moment, and so holds what they stand
/// for: tests of one process take turns.
static TURN: Mutex<()> = Mutex::new(());

pub(crate) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A name that no other test has: at random, since others may have the same process number, in a namespace of their own or
/// long ago.
pub(crate) fn name(what: &str) -> String {
    format!("allcores-test-{:x}-{what}", RandomState::new().hash_one(0))
}

pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from("/dev/shm").join(name)
}

pub(crate) fn exists(name: &str) -> bool {
    path(name).symlink_metadata().is_ok()
}

/// Removes a file that a test has made by itself, however the test ends.
pub(crate) struct Cleared(pub(crate) String);

impl Drop for Cleared {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(path(&self.0));
        let _ = std::fs::remove_dir(path(&self.0));
    }
}
