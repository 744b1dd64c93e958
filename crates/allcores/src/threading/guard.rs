//! What a Condition needs of a guard: to let go of its lock for a while.

use lock_api::{GuardNoSend, RawMutex};

use super::lock::{LockGuard, RawLock};
use super::rlock::RLockGuard;
use crate::sync::{self, Deadline, Scope};

/// A guard that a [`Condition`](super::Condition) can wait with: [`LockGuard`] or [`RLockGuard`].
///
/// Sealed: only the guards of this module are.
pub trait Guard: Parting {}

/// How a guard parts from its lock and comes back. The guard is borrowed mutably from one to the other, so nobody uses it.
pub trait Parting {
    /// Where the lock lies, which tells it from all others.
    fn address(&self) -> usize;

    /// Frees the lock, and says how often it was held.
    fn part(&mut self) -> u32;

    /// Takes the lock as often as it was held, and says whether its owner since then is gone.
    fn come_back(&mut self, depth: u32) -> bool;
}

fn raw<'a, T: ?Sized>(guard: &LockGuard<'a, T>) -> &'a RawLock {
    // SAFETY: whoever lets go of the lock with it does so with the guard borrowed, and takes it again before that ends.
    unsafe { LockGuard::mutex(guard).raw() }
}

impl<T: ?Sized> Guard for LockGuard<'_, T> {}

impl<T: ?Sized> Parting for LockGuard<'_, T> {
    fn address(&self) -> usize {
        std::ptr::from_ref(raw(self)).addr()
    }

    fn part(&mut self) -> u32 {
        // SAFETY: the guard shows that the lock is held by this thread; it is not used before `come_back`.
        unsafe { raw(self).unlock(GuardNoSend::new()) };
        1
    }

    fn come_back(&mut self, _: u32) -> bool {
        raw(self).enter(Deadline::NEVER) != sync::Acquired::Yes
    }
}

impl<T: ?Sized> Guard for RLockGuard<'_, T> {}

// Other guards of this thread may exist while the lock is free, and borrows of the data through them. No two threads use
// the data at a time all the same, since this one does nothing until it has the lock back: to the data it looks as if this
// very thread had called a function meanwhile, which a type that is not Sync must bear anyway.
impl<T: ?Sized> Parting for RLockGuard<'_, T> {
    fn address(&self) -> usize {
        std::ptr::from_ref(RLockGuard::lock(self).core()).addr()
    }

    fn part(&mut self) -> u32 {
        // SAFETY: the lock is borrowed, hence live.
        unsafe { sync::RLock::release_all(RLockGuard::lock(self).core(), Scope::PRIVATE) }
            .unwrap_or(0)
    }

    fn come_back(&mut self, depth: u32) -> bool {
        let lock = RLockGuard::lock(self);
        let acquired = lock.enter(Deadline::NEVER);
        if depth > 0 {
            lock.core().restore_depth(Scope::PRIVATE, depth);
        }
        acquired != sync::Acquired::Yes
    }
}
