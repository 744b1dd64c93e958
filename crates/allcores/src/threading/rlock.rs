//! RLock: a lock that its owner may take again.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use super::owner_died::{OWNER_DIED, OwnerDied, Recover};
use crate::sync::{self, Acquired, Deadline, Scope};

pub use crate::sync::rlock::NotOwner;

/// A lock that its owner may take again: Python's `threading.RLock`, with what it protects inside.
///
/// Since one thread may have several guards at once they give `&T` only; put a [`Cell`](std::cell::Cell) or
/// [`RefCell`](std::cell::RefCell) inside to change what it protects.
///
/// ```
/// use std::cell::Cell;
/// use allcores::threading::RLock;
///
/// static ENTRIES: RLock<Cell<u32>> = RLock::new(Cell::new(0));
/// fn descend(levels: u32) {
///     let entries = ENTRIES.acquire(); // the same thread, once more on each level
///     entries.set(entries.get() + 1);
///     if levels > 1 {
///         descend(levels - 1);
///     }
/// }
/// descend(3);
/// assert_eq!(ENTRIES.acquire().get(), 3);
/// ```
///
/// ```compile_fail,E0594
/// # use allcores::threading::RLock;
/// let lock = RLock::new(1);
/// *lock.acquire() = 2; // a second guard could be reading
/// ```
///
/// A guard belongs to the thread that made it:
///
/// ```compile_fail,E0277
/// # use allcores::threading::{RLock, scope};
/// let lock = RLock::new(());
/// let guard = lock.acquire();
/// scope(|s| {
///     s.spawn(move || drop(guard)); // a guard is not Send
/// });
/// ```
///
/// # When the owner dies
///
/// Only its owner can release an RLock. So if that thread ends while it holds the lock (a leaked guard, a [`RLock::hold`]
/// without release), or stayed behind in a fork, nobody ever will: the acquiring methods panic instead of waiting for ever,
/// those that wait already do so within milliseconds of the owner's end, and [`RLock::acquire_or_died`] returns an error
/// that holds the guard.
pub struct RLock<T: ?Sized = ()> {
    core: sync::RLock,
    data: T,
}

// SAFETY: only the thread that holds the lock gets a `&T`, and a thread cannot end with such a reference in use: to hand
// `&T` from thread to thread is as good as sending `T`.
unsafe impl<T: ?Sized + Send> Sync for RLock<T> {}

impl<T> RLock<T> {
    /// A free lock around `value`.
    pub const fn new(value: T) -> RLock<T> {
        RLock {
            core: sync::RLock::new(),
            data: value,
        }
    }

    /// What the lock protected.
    pub fn into_inner(self) -> T {
        self.data
    }
}

impl<T: ?Sized> RLock<T> {
    /// Takes the lock, once more if this thread holds it already; else waiting as long as it takes. Signal handlers that
    /// run meanwhile do not end the wait.
    ///
    /// # Panics
    /// If the lock's owner is gone; see [`RLock::acquire_or_died`]. If this thread holds it 2^32 - 1 times already.
    #[inline]
    pub fn acquire(&self) -> RLockGuard<'_, T> {
        match self.core.acquire(Scope::PRIVATE, Deadline::NEVER) {
            Acquired::Yes => {}
            other => {
                self.finish(other, Deadline::NEVER);
            }
        }
        self.guard()
    }

    /// Takes the lock if it is free or held by this thread.
    ///
    /// # Panics
    /// As [`RLock::acquire`].
    #[inline]
    pub fn try_acquire(&self) -> Option<RLockGuard<'_, T>> {
        match self.core.acquire(Scope::PRIVATE, Deadline::NOW) {
            Acquired::Yes => true,
            other => self.finish(other, Deadline::NOW),
        }
        .then(|| self.guard())
    }

    /// Takes the lock, waiting for `timeout` at most; `None` if it could not be had in that time. Zero does not wait,
    /// centuries are fine.
    ///
    /// # Panics
    /// As [`RLock::acquire`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Option<RLockGuard<'_, T>> {
        match self.enter_within(timeout) {
            (Acquired::Yes, _) => true,
            (other, deadline) => self.finish(other, deadline),
        }
        .then(|| self.guard())
    }

    /// As [`RLock::acquire`], but a lock whose owner is gone is an error that holds the guard.
    pub fn acquire_or_died(&self) -> Result<RLockGuard<'_, T>, OwnerDied<RLockGuard<'_, T>>> {
        self.entered(self.enter(Deadline::NEVER))
            .map(|guard| guard.expect("a wait without deadline ends with the lock held"))
    }

    /// As [`RLock::acquire_timeout`], but a lock whose owner is gone is an error that holds the guard.
    pub fn acquire_timeout_or_died(
        &self,
        timeout: Duration,
    ) -> Result<Option<RLockGuard<'_, T>>, OwnerDied<RLockGuard<'_, T>>> {
        self.entered(self.enter_within(timeout).0)
    }

    /// Whether anybody holds the lock at this moment.
    pub fn locked(&self) -> bool {
        self.core.lock().is_held()
    }

    /// Whether the calling thread holds the lock.
    pub fn is_mine(&self) -> bool {
        self.core.is_mine(Scope::PRIVATE)
    }

    /// How often the calling thread holds the lock.
    pub fn depth(&self) -> u32 {
        self.core.depth(Scope::PRIVATE)
    }

    /// What the lock protects, without locking: `&mut self` shows that nobody else is here.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.data
    }

    /// For a thread that has taken the lock just now.
    #[inline]
    fn guard(&self) -> RLockGuard<'_, T> {
        RLockGuard {
            lock: self,
            not_send: PhantomData,
        }
    }

    fn entered(
        &self,
        acquired: Acquired,
    ) -> Result<Option<RLockGuard<'_, T>>, OwnerDied<RLockGuard<'_, T>>> {
        match acquired {
            Acquired::Yes => Ok(Some(self.guard())),
            Acquired::OwnerDied(_) => Err(OwnerDied::new(self.guard())),
            Acquired::TimedOut | Acquired::Interrupted => Ok(None),
        }
    }

    /// The clock is read only if the lock is not free. Never `Interrupted`.
    fn enter_within(&self, timeout: Duration) -> (Acquired, Deadline) {
        match self.enter(Deadline::NOW) {
            Acquired::TimedOut if !timeout.is_zero() => {
                let deadline = Deadline::after(timeout);
                (self.enter(deadline), deadline)
            }
            other => (other, Deadline::NOW),
        }
    }

    /// Acquires and goes on after signals. Never `Interrupted`.
    pub(super) fn enter(&self, deadline: Deadline) -> Acquired {
        loop {
            match self.core.acquire(Scope::PRIVATE, deadline) {
                Acquired::Interrupted => {}
                other => return other,
            }
        }
    }

    /// The rest of an acquisition that did not simply succeed: whether the lock is held in the end.
    #[cold]
    fn finish(&self, mut acquired: Acquired, deadline: Deadline) -> bool {
        if acquired == Acquired::Interrupted {
            acquired = self.enter(deadline);
        }
        if let Acquired::OwnerDied(_) = acquired {
            drop(self.guard());
            panic!("{OWNER_DIED}");
        }
        acquired == Acquired::Yes
    }

    pub(super) fn core(&self) -> &sync::RLock {
        &self.core
    }
}

/// A lock without data can be held without a guard, as in Python.
impl RLock<()> {
    /// Takes the lock without a guard, once more if this thread holds it already.
    ///
    /// # Panics
    /// As [`RLock::acquire`].
    #[inline]
    pub fn hold(&self) {
        std::mem::forget(self.acquire());
    }

    /// Takes the lock without a guard if it is free or held by this thread; whether it did.
    ///
    /// # Panics
    /// As [`RLock::acquire`].
    #[inline]
    pub fn try_hold(&self) -> bool {
        self.try_acquire().map(std::mem::forget).is_some()
    }

    /// Takes the lock without a guard, waiting for `timeout` at most; whether it did.
    ///
    /// # Panics
    /// As [`RLock::acquire`].
    pub fn hold_timeout(&self, timeout: Duration) -> bool {
        self.acquire_timeout(timeout)
            .map(std::mem::forget)
            .is_some()
    }

    /// Takes back one acquisition of this thread; the last one frees the lock.
    ///
    /// # Errors
    /// [`NotOwner`] if this thread does not hold it.
    #[inline]
    pub fn release(&self) -> Result<(), NotOwner> {
        // SAFETY: `self` is live for the call.
        unsafe { sync::RLock::release(&self.core, Scope::PRIVATE) }
    }
}

/// Gives access to what an [`RLock`] protects, and takes back one acquisition when dropped.
#[must_use = "if unused the RLock is released at once"]
pub struct RLockGuard<'a, T: ?Sized = ()> {
    lock: &'a RLock<T>,
    /// Only the owner can release.
    not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives out `&T` and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for RLockGuard<'_, T> {}

impl<'a, T: ?Sized> RLockGuard<'a, T> {
    /// The lock that this is a guard of.
    pub fn lock(guard: &RLockGuard<'a, T>) -> &'a RLock<T> {
        guard.lock
    }
}

impl<T: ?Sized> Deref for RLockGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.lock.data
    }
}

impl<T: ?Sized> Drop for RLockGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `self.lock` is live for the call. A lock without data may have been released already.
        let _ = unsafe { sync::RLock::release(&self.lock.core, Scope::PRIVATE) };
    }
}

impl<T: ?Sized> Recover for RLockGuard<'_, T> {
    fn recover(&self) {
        self.lock.core.lock().recover();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl<T: Default> Default for RLock<T> {
    fn default() -> RLock<T> {
        RLock::new(T::default())
    }
}

impl<T> From<T> for RLock<T> {
    fn from(value: T) -> RLock<T> {
        RLock::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("RLock");
        match self.acquire_timeout_or_died(Duration::ZERO) {
            Ok(Some(guard)) => f.field("data", &&*guard),
            Ok(None) => f.field("data", &format_args!("<locked>")),
            Err(_) => f.field("data", &format_args!("<owner died>")),
        };
        f.finish()
    }
}
