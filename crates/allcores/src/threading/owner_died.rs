//! What an acquirer is told when the last owner of a lock can never release it.

use std::fmt;

/// The lock is yours, but the thread that held it is gone and never released it: what the lock protects may be half-done.
///
/// For a [`Lock`](super::Lock) that happens in the child of a `fork(2)` only: the thread that held it did not come along.
/// (The plain end of a thread is no death for a `Lock`, which anybody may release.) An [`RLock`](super::RLock) is lost as
/// well when its owner ends while it holds it, since nobody else may release it.
///
/// Dropping this error releases the lock; the next acquirer is told again. [`OwnerDied::recover`] ends that.
#[must_use = "the lock is held: recover() or into_guard() hands out the guard, and dropping this releases it"]
pub struct OwnerDied<G> {
    guard: G,
}

impl<G> OwnerDied<G> {
    pub(super) fn new(guard: G) -> OwnerDied<G> {
        OwnerDied { guard }
    }

    /// The guard, with the lock still marked: whoever acquires it next is told as well.
    pub fn into_guard(self) -> G {
        self.guard
    }

    /// Looks at what the lock protects without deciding anything.
    pub fn guard(&self) -> &G {
        &self.guard
    }
}

#[expect(
    private_bounds,
    reason = "only the guards of this module can be recovered"
)]
impl<G: Recover> OwnerDied<G> {
    /// Declares what the lock protects to be whole (look at it first, and repair or replace it), and hands out the guard.
    pub fn recover(self) -> G {
        self.guard.recover();
        self.guard
    }
}

/// A guard whose lock can be told that all is well again.
pub(super) trait Recover {
    fn recover(&self);
}

impl<G> fmt::Debug for OwnerDied<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnerDied").finish_non_exhaustive()
    }
}

impl<G> fmt::Display for OwnerDied<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(OWNER_DIED)
    }
}

impl<G> std::error::Error for OwnerDied<G> {}

pub(super) const OWNER_DIED: &str = "the thread that held this lock is gone and never released it (it ended, or stayed \
    behind in a fork): acquire_or_died() hands out the lock all the same";
