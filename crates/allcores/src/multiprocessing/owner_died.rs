//! What a lock reports whose owner died.

use std::fmt;

use super::{LockGuard, RLockGuard};
use crate::registry;
use crate::shm::Shareable;
use crate::sync::Scope;

/// You hold the lock, but what it protects may be half-changed: its last owner was killed, or panicked, while it held it.
///
/// Look at the data, mend it, and say so with `recover()` on the guard; until somebody does, every acquirer is told again.
/// Dropping this error releases the lock, still marked.
#[must_use = "the lock is held: take the guard out, or drop this to release it"]
pub struct OwnerDied<G> {
    guard: G,
    pid: Option<u32>,
}

impl<G> OwnerDied<G> {
    pub(crate) fn new(guard: G, scope: Scope, owner: u32) -> OwnerDied<G> {
        OwnerDied {
            guard,
            pid: registry::pid_of(scope, owner),
        }
    }

    /// The guard: the lock is held as after any other acquisition.
    pub fn into_guard(self) -> G {
        self.guard
    }

    /// Looks at what the lock protects without deciding anything.
    pub fn guard(&self) -> &G {
        &self.guard
    }

    /// The process that died, where this acquisition was the one that found it. `None` where an earlier one did, or where
    /// the owner panicked and lives. A pid may belong to another process by now: it is for messages to people only.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    pub(crate) fn map<H>(self, with: impl FnOnce(G) -> H) -> OwnerDied<H> {
        OwnerDied {
            guard: with(self.guard),
            pid: self.pid,
        }
    }
}

impl<'a, T: Shareable> OwnerDied<LockGuard<'a, T>> {
    /// Says that the data is whole (look at it first, and mend it), and hands out the guard.
    pub fn recover(self) -> LockGuard<'a, T> {
        self.guard.recover();
        self.guard
    }
}

impl<'a, T: Shareable> OwnerDied<RLockGuard<'a, T>> {
    /// Says that the data is whole (look at it first, and mend it), and hands out the guard.
    pub fn recover(self) -> RLockGuard<'a, T> {
        self.guard.recover();
        self.guard
    }
}

impl<G> fmt::Debug for OwnerDied<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnerDied")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

impl<G> fmt::Display for OwnerDied<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid} died while it held the lock")?,
            None => f.write_str("an owner of the lock died or panicked while it held it, and nobody has recovered it")?,
        }
        f.write_str("; the lock is held now: mend what it protects and call recover() on the guard")
    }
}

impl<G> std::error::Error for OwnerDied<G> {}

/// Nothing was done, since what the lock protects may be half-changed: a holder was killed, or panicked, while it held it,
/// and nobody has recovered it.
///
/// [`Value::acquire`](super::Value::acquire) and [`Array::acquire`](super::Array::acquire) give the lock out all the same:
/// look at the data, mend it, and call `recover()` on the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderDied {
    pid: Option<u32>,
}

impl HolderDied {
    /// As [`OwnerDied::pid`].
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }
}

/// The lock is released, still marked.
impl<G> From<OwnerDied<G>> for HolderDied {
    fn from(died: OwnerDied<G>) -> HolderDied {
        HolderDied { pid: died.pid }
    }
}

impl fmt::Display for HolderDied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid} died while it held the lock")?,
            None => f.write_str(
                "a holder of the lock died or panicked inside, and nobody has recovered it",
            )?,
        }
        f.write_str("; the data may be half-written: acquire() it, mend it, and call recover() on the guard")
    }
}

impl std::error::Error for HolderDied {}
