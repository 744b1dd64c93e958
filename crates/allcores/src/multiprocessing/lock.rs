//! Lock: mutual exclusion between processes, with data if wanted.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::time::Duration;

use super::OwnerDied;
use crate::shm::cells::Kind;
use crate::shm::content::Content;
use crate::shm::handle::Handle;
use crate::shm::{Arena, Shareable, ShmError, arena};
use crate::sync::lock::NotHeld;
use crate::sync::{self, Acquired, Deadline};

/// A lock in shared memory, around a `T` that lies there too.
///
/// Clones and copies that were sent to other processes are handles on one lock. A process that dies holding it does not
/// take it along: the next one to acquire it is told, with the lock in its hands ([`OwnerDied`]). The end of a thread is no
/// death: what it held stays held until somebody releases it or the process ends. In a child made by `fork(2)` the lock
/// is its parent's, whatever guards were copied.
///
/// What to do about a death is the program's to say; the data is there to be looked at:
///
/// ```
/// # let lock = allcores::multiprocessing::Lock::new([0u64; 2])?;
/// let guard = lock.acquire().unwrap_or_else(|died| {
///     let mut guard = died.into_guard();
///     guard[1] = guard[0]; // mend what was left half-done
///     guard.recover();
///     guard
/// });
/// # drop(guard);
/// # Ok::<(), allcores::shm::ShmError>(())
/// ```
///
/// Acquiring a free lock is one compare-and-exchange; nothing is allocated and no system call made.
///
/// ```
/// use allcores::multiprocessing::Lock;
///
/// let total = Lock::new(0u64)?;
/// *total.acquire().unwrap() += 1;
/// assert_eq!(*total.acquire().unwrap(), 1);
/// # Ok::<(), allcores::shm::ShmError>(())
/// ```
///
/// Data that owns memory of one process, or that has invalid patterns of bytes, is refused by the compiler:
///
/// ```compile_fail,E0277
/// let lock = allcores::multiprocessing::Lock::new(String::new());
/// ```
///
/// A lock with data is released by its guard alone:
///
/// ```compile_fail,E0599
/// let lock = allcores::multiprocessing::Lock::new(0u64).unwrap();
/// lock.release();
/// ```
pub struct Lock<T: Shareable = ()> {
    handle: Handle<Body<T>>,
}

/// How much of a body comes before its value, if nothing wants the value farther on.
pub(super) const LOCK_SIZE: usize = size_of::<sync::Lock>();

#[repr(C)]
pub(super) struct Body<T> {
    lock: sync::Lock,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by whoever holds the lock alone.
unsafe impl<T: Send> Sync for Body<T> {}

impl<T: Shareable> Clone for Lock<T> {
    /// Another handle on the same lock.
    fn clone(&self) -> Lock<T> {
        Lock {
            handle: self.handle.clone(),
        }
    }
}

impl<T: Shareable> Lock<T> {
    /// A free lock around `value`, in the arena that this process shares with its children.
    ///
    /// # Errors
    /// If shared memory cannot be had, or too many processes share it.
    #[track_caller]
    pub fn new(value: T) -> Result<Lock<T>, ShmError> {
        Lock::make(arena::common()?, Kind::Lock, value, Location::caller())
    }

    /// As [`Lock::new`], in a separate arena: see [`Arena`].
    ///
    /// # Errors
    /// As for [`Lock::new`].
    #[track_caller]
    pub fn new_in(arena: &Arena, value: T) -> Result<Lock<T>, ShmError> {
        Lock::make(arena.inner(), Kind::Lock, value, Location::caller())
    }

    /// Of another `kind` if something else is made of it.
    pub(super) fn make(
        arena: &'static arena::Arena,
        kind: Kind,
        value: T,
        location: &Location<'_>,
    ) -> Result<Lock<T>, ShmError> {
        let handle = Handle::create_in(arena, kind, 0, location, |body: *mut Body<T>| {
            // SAFETY: `body` points to zeroed memory for a Body that nobody else knows of.
            unsafe {
                body.write(Body {
                    lock: sync::Lock::new(),
                    value: UnsafeCell::new(value),
                })
            }
        })?;
        let handle = handle.made_of(Content::of::<T>());
        Ok(Lock { handle })
    }

    /// Waits until the lock is free and takes it. Signals do not end the wait.
    ///
    /// # Errors
    /// [`OwnerDied`] if an owner died or panicked inside and nobody has recovered it: the error holds the lock.
    ///
    /// # Panics
    /// If the arena has no room for the few bytes that tell of this thread, at its first lock.
    #[inline]
    pub fn acquire(&self) -> Result<LockGuard<'_, T>, OwnerDied<LockGuard<'_, T>>> {
        match self.lock().acquire(self.handle.scope(), Deadline::NEVER) {
            Acquired::Yes => Ok(LockGuard::new(self)),
            other => self.acquired_otherwise(other),
        }
    }

    #[cold]
    fn acquired_otherwise(
        &self,
        acquired: Acquired,
    ) -> Result<LockGuard<'_, T>, OwnerDied<LockGuard<'_, T>>> {
        self.acquired(acquired, Deadline::NEVER)
            .map(|held| held.expect("a wait without end does not time out"))
    }

    /// Takes the lock if it is free, or its owner dead.
    ///
    /// # Errors
    /// As for [`Lock::acquire`].
    #[inline]
    pub fn try_acquire(&self) -> Result<Option<LockGuard<'_, T>>, OwnerDied<LockGuard<'_, T>>> {
        self.acquire_until(Deadline::NOW)
    }

    /// Waits for the lock for `timeout` at most; `None` if it passed. Any length will do, zero and centuries too.
    ///
    /// # Errors
    /// As for [`Lock::acquire`].
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Option<LockGuard<'_, T>>, OwnerDied<LockGuard<'_, T>>> {
        self.acquire_until(Deadline::after(timeout))
    }

    #[inline]
    fn acquire_until(
        &self,
        deadline: Deadline,
    ) -> Result<Option<LockGuard<'_, T>>, OwnerDied<LockGuard<'_, T>>> {
        match self.lock().acquire(self.handle.scope(), deadline) {
            Acquired::Yes => Ok(Some(LockGuard::new(self))),
            other => self.acquired(other, deadline),
        }
    }

    #[cold]
    fn acquired(
        &self,
        mut acquired: Acquired,
        deadline: Deadline,
    ) -> Result<Option<LockGuard<'_, T>>, OwnerDied<LockGuard<'_, T>>> {
        loop {
            return match acquired {
                Acquired::Yes => Ok(Some(LockGuard::new(self))),
                Acquired::OwnerDied(owner) => Err(OwnerDied::new(
                    LockGuard::new(self),
                    self.handle.scope(),
                    owner,
                )),
                Acquired::TimedOut => Ok(None),
                Acquired::Interrupted => {
                    acquired = self.lock().acquire(self.handle.scope(), deadline);
                    continue;
                }
            };
        }
    }

    /// Whether anybody holds it at this moment.
    pub fn locked(&self) -> bool {
        self.lock().is_held()
    }

    /// For tests: the same Lock through another mapping of the arena. Not part of the API.
    ///
    /// # Errors
    /// If the scope maps another arena.
    #[doc(hidden)]
    pub fn through(&self, scope: sync::Scope) -> Result<Lock<T>, ShmError> {
        self.handle
            .through(Kind::Lock, scope)
            .map(Lock::from_handle)
    }

    /// The words and the scope they lie in, for faces in other languages. Not part of the API.
    #[doc(hidden)]
    #[inline]
    pub fn words(&self) -> (&sync::Lock, sync::Scope) {
        (&self.handle.body().lock, self.handle.scope())
    }

    /// Whether two handles name the same lock.
    pub fn same(&self, other: &Lock<T>) -> bool {
        self.handle.same(&other.handle)
    }

    #[inline]
    fn lock(&self) -> &sync::Lock {
        &self.handle.body().lock
    }

    #[inline]
    pub(super) fn handle(&self) -> &Handle<Body<T>> {
        &self.handle
    }

    pub(super) fn from_handle(handle: Handle<Body<T>>) -> Lock<T> {
        Lock { handle }
    }

    /// Releases it for a condition's wait, by its holder.
    pub(super) fn release_for_wait(&self) {
        // SAFETY: the cell is held by our handle for the whole call.
        unsafe { sync::Lock::release_mine(self.lock(), self.handle.scope()) };
    }

    /// Takes it again after a condition's wait: always.
    pub(super) fn acquire_after_wait(&self) -> Acquired {
        loop {
            let acquired = self.lock().acquire(self.handle.scope(), Deadline::NEVER);
            if acquired.is_held() {
                return acquired;
            }
        }
    }
}

/// Without data, the lock may also be used as Python's: held without a guard, and released by anybody.
impl Lock<()> {
    /// Waits until the lock is free and takes it, to be released by [`Lock::release`].
    ///
    /// # Errors
    /// [`OwnerDied`] if an owner died inside and nobody has called [`Lock::recover`]: *the lock is held* all the same.
    pub fn hold(&self) -> Result<(), OwnerDied<()>> {
        self.acquire()
            .map(std::mem::forget)
            .map_err(|died| died.map(std::mem::forget))
    }

    /// Takes the lock if it is free, to be released by [`Lock::release`]; whether it did.
    ///
    /// # Errors
    /// As for [`Lock::hold`].
    pub fn try_hold(&self) -> Result<bool, OwnerDied<()>> {
        self.hold_until(Deadline::NOW)
    }

    /// Waits for the lock for `timeout` at most; whether it was taken.
    ///
    /// # Errors
    /// As for [`Lock::hold`].
    pub fn hold_timeout(&self, timeout: Duration) -> Result<bool, OwnerDied<()>> {
        self.hold_until(Deadline::after(timeout))
    }

    fn hold_until(&self, deadline: Deadline) -> Result<bool, OwnerDied<()>> {
        match self.acquire_until(deadline) {
            Ok(guard) => Ok(guard.map(std::mem::forget).is_some()),
            Err(died) => Err(died.map(std::mem::forget)),
        }
    }

    /// Releases the lock, whichever thread of whichever process holds it.
    ///
    /// # Errors
    /// If nobody does.
    pub fn release(&self) -> Result<(), NotHeld> {
        // SAFETY: the cell is held by our handle for the whole call.
        unsafe { sync::Lock::release(self.lock(), self.handle.scope()) }
    }

    /// Says that what the lock protects is whole again. For its holder.
    pub fn recover(&self) {
        self.lock().recover();
    }
}

impl<T: Shareable> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("locked", &self.locked())
            .finish_non_exhaustive()
    }
}

/// Holds a [`Lock`] until it is dropped, and gives its data.
///
/// If it is dropped by a panic, the lock is marked: the next acquirers get [`OwnerDied`] until one recovers it.
#[must_use = "the lock is released when the guard is dropped"]
pub struct LockGuard<'a, T: Shareable> {
    lock: &'a Lock<T>,
    /// The lock's own words, and the scope below: the handle need not be read again for them, after an exchange that reads
    /// have to wait for.
    body: &'a Body<T>,
    scope: sync::Scope,
    panicking: bool,
    /// Shared between threads as a `&mut T` would be.
    _value: PhantomData<&'a mut T>,
}

impl<'a, T: Shareable> LockGuard<'a, T> {
    #[inline]
    fn new(lock: &'a Lock<T>) -> LockGuard<'a, T> {
        LockGuard {
            lock,
            body: lock.handle.body(),
            scope: lock.handle.scope(),
            panicking: std::thread::panicking(),
            _value: PhantomData,
        }
    }

    /// Says that the data is whole again: acquirers are told of no death any more.
    pub fn recover(&self) {
        self.body.lock.recover();
    }

    /// A panic drops this: what the lock protects may be half-changed.
    #[cold]
    fn mark(&self) {
        if self.body.lock.is_mine(self.scope) {
            self.body.lock.mark();
        }
    }

    /// The lock that this holds.
    pub(super) fn lock(&self) -> &'a Lock<T> {
        self.lock
    }
}

impl<T: Shareable> Deref for LockGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: we hold the lock, and every pattern of bytes is a valid T.
        unsafe { &*self.body.value.get() }
    }
}

impl<T: Shareable> DerefMut for LockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { &mut *self.body.value.get() }
    }
}

impl<T: Shareable> Drop for LockGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if std::thread::panicking() && !self.panicking {
            self.mark();
        }
        // Compare-and-exchange from me to free: in a forked child this guard is a copy, and not the lock's owner.
        // SAFETY: the cell is held by the handle that we borrow.
        unsafe { sync::Lock::release_mine(&self.body.lock, self.scope) };
    }
}

impl<T: Shareable + fmt::Debug> fmt::Debug for LockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
