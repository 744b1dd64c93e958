//! A mutex for this process's own bookkeeping that a forked child can always take: a holder that did not come along in
//! the fork is no obstacle.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};

use crate::sync::{Acquired, Deadline, Lock, Scope};

/// A value behind a private [`Lock`].
pub(crate) struct Local<T> {
    lock: Lock,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through the lock alone, by one thread at a time.
unsafe impl<T: Send> Sync for Local<T> {}

pub(crate) struct LocalGuard<'a, T> {
    local: &'a Local<T>,
}

impl<T> Local<T> {
    pub(crate) const fn new(value: T) -> Local<T> {
        Local {
            lock: Lock::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// Whether the calling thread is inside: it may be a signal handler's.
    pub(crate) fn is_mine(&self) -> bool {
        self.lock.is_mine(Scope::PRIVATE)
    }
}

impl<T: Default> Local<T> {
    /// The value that a vanished thread was in the middle of changing is given up, undropped, for a fresh one.
    fn mend(&self) -> LocalGuard<'_, T> {
        self.lock.recover();
        // SAFETY: we hold the lock; `write` does not look at what was there.
        unsafe { self.value.get().write(T::default()) };
        LocalGuard { local: self }
    }

    pub(crate) fn lock(&self) -> LocalGuard<'_, T> {
        loop {
            match self.lock.acquire(Scope::PRIVATE, Deadline::NEVER) {
                Acquired::Yes => return LocalGuard { local: self },
                Acquired::OwnerDied(_) => return self.mend(),
                Acquired::TimedOut | Acquired::Interrupted => {}
            }
        }
    }

    pub(crate) fn try_lock(&self) -> Option<LocalGuard<'_, T>> {
        match self.lock.try_acquire(Scope::PRIVATE) {
            Acquired::Yes => Some(LocalGuard { local: self }),
            Acquired::OwnerDied(_) => Some(self.mend()),
            Acquired::TimedOut | Acquired::Interrupted => None,
        }
    }
}

impl<T> Deref for LocalGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: we hold the lock.
        unsafe { &*self.local.value.get() }
    }
}

impl<T> DerefMut for LocalGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: we hold the lock, and `self` is borrowed mutably.
        unsafe { &mut *self.local.value.get() }
    }
}

impl<T> Drop for LocalGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the lock is borrowed, hence live. In a forked child a copied guard of a vanished thread is never dropped.
        let _ = unsafe { Lock::release(&raw const self.local.lock, Scope::PRIVATE) };
    }
}
