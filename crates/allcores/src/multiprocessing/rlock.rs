//! RLock: a lock that its thread may take again.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::Location;
use std::time::Duration;

use super::OwnerDied;
use crate::shm::cells::Kind;
use crate::shm::content::Content;
use crate::shm::handle::Handle;
use crate::shm::{Arena, Shareable, ShmError, arena};
use crate::sync::rlock::NotOwner;
use crate::sync::{self, Acquired, Deadline};

/// A reentrant lock in shared memory, around a `T` that lies there too and is given out by reference only.
///
/// Held by one thread of one process, any number of times over. It is lost with its *thread*: an owner thread that ends
/// while it holds the lock, or is killed with its process, leaves [`OwnerDied`] to the next one.
///
/// ```
/// use allcores::multiprocessing::RLock;
///
/// let lock = RLock::new(7u32)?;
/// let outer = lock.acquire().unwrap();
/// let inner = lock.acquire().unwrap(); // the same thread: no deadlock
/// assert_eq!(*outer + *inner, 14);
/// # Ok::<(), allcores::shm::ShmError>(())
/// ```
///
/// Its guards stay in their thread, and give no `&mut`:
///
/// ```compile_fail,E0277
/// let lock = allcores::multiprocessing::RLock::new(7u32).unwrap();
/// let guard = lock.acquire().unwrap();
/// std::thread::scope(|scope| { scope.spawn(move || drop(guard)); });
/// ```
/// ```compile_fail,E0594
/// let lock = allcores::multiprocessing::RLock::new(7u32).unwrap();
/// *lock.acquire().unwrap() = 8;
/// ```
pub struct RLock<T: Shareable = ()> {
    handle: Handle<Body<T>>,
}

#[repr(C)]
pub(super) struct Body<T> {
    lock: sync::RLock,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by the one thread that holds the lock alone.
unsafe impl<T: Send> Sync for Body<T> {}

impl<T: Shareable> Clone for RLock<T> {
    /// Another handle on the same lock.
    fn clone(&self) -> RLock<T> {
        RLock {
            handle: self.handle.clone(),
        }
    }
}

type Held<'a, T> = Result<Option<RLockGuard<'a, T>>, OwnerDied<RLockGuard<'a, T>>>;

impl<T: Shareable> RLock<T> {
    /// A free lock around `value`, in the arena that this process shares with its children.
    ///
    /// # Errors
    /// If shared memory cannot be had, or too many processes share it.
    #[track_caller]
    pub fn new(value: T) -> Result<RLock<T>, ShmError> {
        RLock::make(arena::common()?, value, Location::caller())
    }

    /// As [`RLock::new`], in a separate arena: see [`Arena`].
    ///
    /// # Errors
    /// As for [`RLock::new`].
    #[track_caller]
    pub fn new_in(arena: &Arena, value: T) -> Result<RLock<T>, ShmError> {
        RLock::make(arena.inner(), value, Location::caller())
    }

    fn make(
        arena: &'static arena::Arena,
        value: T,
        location: &Location<'_>,
    ) -> Result<RLock<T>, ShmError> {
        let handle = Handle::create_in(arena, Kind::RLock, 0, location, |body: *mut Body<T>| {
            // SAFETY: `body` points to zeroed memory for a Body that nobody else knows of.
            unsafe {
                body.write(Body {
                    lock: sync::RLock::new(),
                    value: UnsafeCell::new(value),
                })
            }
        })?;
        let handle = handle.made_of(Content::of::<T>());
        Ok(RLock { handle })
    }

    /// Takes the lock once more; waits while another thread holds it. Signals do not end the wait.
    ///
    /// # Errors
    /// [`OwnerDied`] if an owner died inside and nobody has recovered it: the error holds the lock.
    ///
    /// # Panics
    /// If this thread holds it 2^32 - 1 times, or the arena has no room to tell of this thread at its first lock.
    #[inline]
    pub fn acquire(&self) -> Result<RLockGuard<'_, T>, OwnerDied<RLockGuard<'_, T>>> {
        match self.lock().acquire(self.handle.scope(), Deadline::NEVER) {
            Acquired::Yes => Ok(RLockGuard::new(self)),
            other => self.acquired_otherwise(other),
        }
    }

    #[cold]
    fn acquired_otherwise(
        &self,
        acquired: Acquired,
    ) -> Result<RLockGuard<'_, T>, OwnerDied<RLockGuard<'_, T>>> {
        self.acquired(acquired, Deadline::NEVER)
            .map(|held| held.expect("a wait without end does not time out"))
    }

    /// Takes the lock if no other thread holds it, or its owner is dead.
    ///
    /// # Errors
    /// As for [`RLock::acquire`].
    #[inline]
    pub fn try_acquire(&self) -> Held<'_, T> {
        self.acquire_until(Deadline::NOW)
    }

    /// Waits for the lock for `timeout` at most; `None` if it passed.
    ///
    /// # Errors
    /// As for [`RLock::acquire`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Held<'_, T> {
        self.acquire_until(Deadline::after(timeout))
    }

    #[inline]
    fn acquire_until(&self, deadline: Deadline) -> Held<'_, T> {
        match self.lock().acquire(self.handle.scope(), deadline) {
            Acquired::Yes => Ok(Some(RLockGuard::new(self))),
            other => self.acquired(other, deadline),
        }
    }

    #[cold]
    fn acquired(&self, mut acquired: Acquired, deadline: Deadline) -> Held<'_, T> {
        loop {
            return match acquired {
                Acquired::Yes => Ok(Some(RLockGuard::new(self))),
                Acquired::OwnerDied(owner) => Err(OwnerDied::new(
                    RLockGuard::new(self),
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
        self.lock().lock().is_held()
    }

    /// Whether the calling thread holds it.
    pub fn is_mine(&self) -> bool {
        self.lock().is_mine(self.handle.scope())
    }

    /// For tests: the same RLock through another mapping of the arena. Not part of the API.
    ///
    /// # Errors
    /// If the scope maps another arena.
    #[doc(hidden)]
    pub fn through(&self, scope: sync::Scope) -> Result<RLock<T>, ShmError> {
        self.handle
            .through(Kind::RLock, scope)
            .map(RLock::from_handle)
    }

    /// The words and the scope they lie in, for faces in other languages. Not part of the API.
    #[doc(hidden)]
    #[inline]
    pub fn words(&self) -> (&sync::RLock, sync::Scope) {
        (&self.handle.body().lock, self.handle.scope())
    }

    /// Whether two handles name the same lock.
    pub fn same(&self, other: &RLock<T>) -> bool {
        self.handle.same(&other.handle)
    }

    #[inline]
    fn lock(&self) -> &sync::RLock {
        &self.handle.body().lock
    }

    #[inline]
    pub(super) fn handle(&self) -> &Handle<Body<T>> {
        &self.handle
    }

    pub(super) fn from_handle(handle: Handle<Body<T>>) -> RLock<T> {
        RLock { handle }
    }

    /// Releases it for a condition's wait, however often its thread holds it; how often that was.
    pub(super) fn release_for_wait(&self) -> u32 {
        // SAFETY: the cell is held by our handle for the whole call.
        unsafe { sync::RLock::release_all(self.lock(), self.handle.scope()) }
            .expect("a guard holds its lock")
    }

    /// Takes it again after a condition's wait, as often as before: always.
    pub(super) fn acquire_after_wait(&self, depth: u32) -> Acquired {
        loop {
            let acquired = self.lock().acquire(self.handle.scope(), Deadline::NEVER);
            if acquired.is_held() {
                self.lock().restore_depth(self.handle.scope(), depth);
                return acquired;
            }
        }
    }
}

/// Without data, the lock may also be used as Python's: held without a guard.
impl RLock<()> {
    /// Takes the lock once more, to be released by [`RLock::release`].
    ///
    /// # Errors
    /// [`OwnerDied`] if an owner died inside and nobody has called [`RLock::recover`]: *the lock is held* all the same.
    pub fn hold(&self) -> Result<(), OwnerDied<()>> {
        self.acquire()
            .map(std::mem::forget)
            .map_err(|died| died.map(std::mem::forget))
    }

    /// Takes the lock if no other thread holds it; whether it did.
    ///
    /// # Errors
    /// As for [`RLock::hold`].
    pub fn try_hold(&self) -> Result<bool, OwnerDied<()>> {
        self.hold_until(Deadline::NOW)
    }

    /// Waits for the lock for `timeout` at most; whether it was taken.
    ///
    /// # Errors
    /// As for [`RLock::hold`].
    pub fn hold_timeout(&self, timeout: Duration) -> Result<bool, OwnerDied<()>> {
        self.hold_until(Deadline::after(timeout))
    }

    fn hold_until(&self, deadline: Deadline) -> Result<bool, OwnerDied<()>> {
        match self.acquire_until(deadline) {
            Ok(guard) => Ok(guard.map(std::mem::forget).is_some()),
            Err(died) => Err(died.map(std::mem::forget)),
        }
    }

    /// Takes back one acquisition of the calling thread.
    ///
    /// # Errors
    /// If the calling thread does not hold the lock.
    pub fn release(&self) -> Result<(), NotOwner> {
        // SAFETY: the cell is held by our handle for the whole call.
        unsafe { sync::RLock::release(self.lock(), self.handle.scope()) }
    }

    /// Says that what the lock protects is whole again. For its holder.
    pub fn recover(&self) {
        self.lock().lock().recover();
    }
}

impl<T: Shareable> fmt::Debug for RLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLock")
            .field("locked", &self.locked())
            .finish_non_exhaustive()
    }
}

/// Holds an [`RLock`] once until it is dropped, and gives its data by reference.
///
/// If the last guard is dropped by a panic, the lock is marked: the next acquirers get [`OwnerDied`] until one recovers it.
#[must_use = "the lock is released when the guard is dropped"]
pub struct RLockGuard<'a, T: Shareable> {
    lock: &'a RLock<T>,
    /// As in Lock's guard: what the handle need not be read again for.
    body: &'a Body<T>,
    scope: sync::Scope,
    panicking: bool,
    /// The thread is the owner: a guard that left it could not release.
    _stays: PhantomData<*const T>,
}

impl<'a, T: Shareable> RLockGuard<'a, T> {
    #[inline]
    fn new(lock: &'a RLock<T>) -> RLockGuard<'a, T> {
        RLockGuard {
            lock,
            body: lock.handle.body(),
            scope: lock.handle.scope(),
            panicking: std::thread::panicking(),
            _stays: PhantomData,
        }
    }

    /// Says that the data is whole again: acquirers are told of no death any more.
    pub fn recover(&self) {
        self.body.lock.lock().recover();
    }

    /// A panic drops this: what the lock protects may be half-changed.
    #[cold]
    fn mark(&self) {
        if self.body.lock.is_mine(self.scope) {
            self.body.lock.lock().mark();
        }
    }

    /// The lock that this holds.
    pub(super) fn lock(&self) -> &'a RLock<T> {
        self.lock
    }
}

impl<T: Shareable> Deref for RLockGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this thread holds the lock, nobody hands out a `&mut`, and every pattern of bytes is a valid T.
        unsafe { &*self.body.value.get() }
    }
}

impl<T: Shareable> Drop for RLockGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if std::thread::panicking() && !self.panicking {
            self.mark();
        }
        // In a forked child this guard is a copy, and the release finds another owner.
        // SAFETY: the cell is held by the handle that we borrow.
        let _ = unsafe { sync::RLock::release(&self.body.lock, self.scope) };
    }
}

impl<T: Shareable + fmt::Debug> fmt::Debug for RLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
