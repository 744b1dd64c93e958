//! Lock: data that one thread at a time may touch.

use std::fmt;
use std::time::{Duration, Instant};

use lock_api::{GuardNoSend, RawMutex, RawMutexTimed};

use super::owner_died::{OWNER_DIED, OwnerDied, Recover};
use crate::sync::{self, Acquired, Deadline, Scope};

pub use crate::sync::lock::NotHeld;

/// The lock of [`Lock`] without data, for `lock_api`'s own types such as [`lock_api::Mutex`].
///
/// Its guards must be dropped in the thread that made them.
pub struct RawLock(sync::Lock);

// SAFETY: the core lock is held by one owner at a time, acquires with Acquire and releases with Release. A lock operation
// that unwinds has released what it took. Moving or dropping a held lock is harmless: it is one atomic word.
unsafe impl RawMutex for RawLock {
    const INIT: RawLock = RawLock(sync::Lock::new());

    // The word names the thread that took it, and only that thread's guard may free it.
    type Guard = GuardNoSend;

    #[inline]
    fn lock(&self) -> GuardNoSend {
        match self.0.acquire(Scope::PRIVATE, Deadline::NEVER) {
            Acquired::Yes => {}
            other => {
                self.finish(other, Deadline::NEVER);
            }
        }
        GuardNoSend::new()
    }

    #[inline]
    fn try_lock(&self) -> Option<GuardNoSend> {
        match self.0.try_acquire(Scope::PRIVATE) {
            Acquired::Yes => true,
            other => self.finish(other, Deadline::NOW),
        }
        .then(GuardNoSend::new)
    }

    #[inline]
    unsafe fn unlock(&self, _: GuardNoSend) {
        // SAFETY: `self` is live for the call. A lock without data may have been released by somebody else already.
        unsafe { sync::Lock::release_mine(&self.0, Scope::PRIVATE) };
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.0.is_held()
    }
}

// SAFETY: as for RawMutex.
unsafe impl RawMutexTimed for RawLock {
    type Duration = Duration;
    type Instant = Instant;

    fn try_lock_for(&self, timeout: Duration) -> Option<GuardNoSend> {
        match self.enter_within(timeout) {
            (Acquired::Yes, _) => true,
            (other, deadline) => self.finish(other, deadline),
        }
        .then(GuardNoSend::new)
    }

    fn try_lock_until(&self, timeout: Instant) -> Option<GuardNoSend> {
        self.try_lock_for(timeout.saturating_duration_since(Instant::now()))
    }
}

impl RawLock {
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
            match self.0.acquire(Scope::PRIVATE, deadline) {
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
            // SAFETY: `self` is live for the call.
            unsafe { sync::Lock::release_mine(&self.0, Scope::PRIVATE) };
            panic!("{OWNER_DIED}");
        }
        acquired == Acquired::Yes
    }

    pub(super) fn core(&self) -> &sync::Lock {
        &self.0
    }
}

impl fmt::Debug for RawLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawLock")
            .field("locked", &self.is_locked())
            .finish()
    }
}

/// Data that one thread at a time may touch: Python's `threading.Lock`, with what it protects inside.
///
/// ```
/// use allcores::threading::{Lock, Thread};
///
/// static TOTAL: Lock<u64> = Lock::new(0);
///
/// let adders: Vec<_> = (1..=4).map(|n| Thread::new(move || *TOTAL.acquire() += n)).collect();
/// for adder in &adders {
///     adder.start()?;
/// }
/// for adder in &adders {
///     adder.join()?;
/// }
/// assert_eq!(*TOTAL.acquire(), 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A guard belongs to the thread that made it:
///
/// ```compile_fail,E0277
/// # use allcores::threading::{Lock, scope};
/// let lock = Lock::new(0);
/// let guard = lock.acquire();
/// scope(|s| {
///     s.spawn(move || drop(guard)); // a guard is not Send
/// });
/// ```
///
/// A panic while the lock is held releases it and leaves no trace: private locks do not poison. Acquiring a lock twice in
/// one thread waits for ever (use [`RLock`](super::RLock) for that, or a timeout).
///
/// # Without data
///
/// A `Lock<()>` is Python's lock in full: it can be held without a guard, and released by anybody. See
/// [`Lock::hold`] and [`Lock::release`].
///
/// # After fork(2)
///
/// The forking thread keeps its locks. Locks of threads that did not come along can never be released by them: the
/// acquiring methods panic instead of waiting for ever, and [`Lock::acquire_or_died`] returns an error that holds the guard.
pub struct Lock<T: ?Sized = ()> {
    inner: lock_api::Mutex<RawLock, T>,
}

/// Gives access to what a [`Lock`] protects, and releases the lock when dropped.
///
/// This is `lock_api`'s guard, so [`LockGuard::map`], [`LockGuard::unlocked`] and the like work.
pub type LockGuard<'a, T = ()> = lock_api::MutexGuard<'a, RawLock, T>;

impl<T> Lock<T> {
    /// A free lock around `value`.
    pub const fn new(value: T) -> Lock<T> {
        Lock {
            inner: lock_api::Mutex::new(value),
        }
    }

    /// What the lock protected.
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }
}

impl<T: ?Sized> Lock<T> {
    /// Takes the lock, waiting as long as it takes. Signal handlers that run meanwhile do not end the wait.
    ///
    /// # Panics
    /// In the child of a fork, if the thread that held the lock did not come along; see [`Lock::acquire_or_died`].
    #[inline]
    pub fn acquire(&self) -> LockGuard<'_, T> {
        self.inner.lock()
    }

    /// Takes the lock if it is free.
    ///
    /// # Panics
    /// As [`Lock::acquire`].
    #[inline]
    pub fn try_acquire(&self) -> Option<LockGuard<'_, T>> {
        self.inner.try_lock()
    }

    /// Takes the lock, waiting for `timeout` at most; `None` if it could not be had in that time. Zero does not wait,
    /// centuries are fine.
    ///
    /// # Panics
    /// As [`Lock::acquire`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Option<LockGuard<'_, T>> {
        self.inner.try_lock_for(timeout)
    }

    /// As [`Lock::acquire`], but a lock whose owner is gone is an error that holds the guard.
    pub fn acquire_or_died(&self) -> Result<LockGuard<'_, T>, OwnerDied<LockGuard<'_, T>>> {
        let acquired = self.raw().enter(Deadline::NEVER);
        self.entered(acquired)
            .map(|guard| guard.expect("a wait without deadline ends with the lock held"))
    }

    /// As [`Lock::acquire_timeout`], but a lock whose owner is gone is an error that holds the guard.
    pub fn acquire_timeout_or_died(
        &self,
        timeout: Duration,
    ) -> Result<Option<LockGuard<'_, T>>, OwnerDied<LockGuard<'_, T>>> {
        self.entered(self.raw().enter_within(timeout).0)
    }

    fn entered(
        &self,
        acquired: Acquired,
    ) -> Result<Option<LockGuard<'_, T>>, OwnerDied<LockGuard<'_, T>>> {
        if !acquired.is_held() {
            return Ok(None);
        }
        // SAFETY: this thread took the lock just now, and this is the guard for it.
        let guard = unsafe { self.inner.make_guard_unchecked(GuardNoSend::new()) };
        match acquired {
            Acquired::OwnerDied(_) => Err(OwnerDied::new(guard)),
            _ => Ok(Some(guard)),
        }
    }

    /// Whether anybody holds the lock at this moment.
    pub fn locked(&self) -> bool {
        self.inner.is_locked()
    }

    /// What the lock protects, without locking: `&mut self` shows that nobody else is here.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }

    /// Takes the lock if that is a matter of one compare-and-swap: free, and nobody waits for it.
    #[inline]
    pub(super) fn acquire_at_once(&self) -> Option<LockGuard<'_, T>> {
        let taken = self.raw().core().take_free(Scope::PRIVATE.me());
        // SAFETY: this thread took the lock just now, and this is the guard for it.
        taken.then(|| unsafe { self.inner.make_guard_unchecked(GuardNoSend::new()) })
    }

    /// Whether this thread holds the lock.
    pub(super) fn is_mine(&self) -> bool {
        self.raw().core().is_mine(Scope::PRIVATE)
    }

    fn raw(&self) -> &RawLock {
        // SAFETY: used to take the lock, and to release it where no guard exists.
        unsafe { self.inner.raw() }
    }
}

/// A lock without data: held by one, released by anybody.
///
/// ```
/// use allcores::threading::{Lock, Thread};
///
/// static ARRIVED: Lock = Lock::new(());
/// ARRIVED.hold();
/// let other = Thread::new(|| ARRIVED.release());
/// other.start()?;
/// ARRIVED.hold(); // until the other thread has released it
/// assert_eq!(other.result()?, Ok(()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Data would not be safe behind such a release, so there is none for it:
///
/// ```compile_fail,E0599
/// # use allcores::threading::Lock;
/// let lock = Lock::new(5);
/// let guard = lock.acquire();
/// lock.release(); // no such method: the guard releases
/// ```
impl Lock<()> {
    /// Takes the lock without a guard: it stays taken until somebody calls [`Lock::release`], even when this thread ends.
    ///
    /// # Panics
    /// As [`Lock::acquire`].
    #[inline]
    pub fn hold(&self) {
        std::mem::forget(self.acquire());
    }

    /// Takes the lock without a guard if it is free; whether it did.
    ///
    /// # Panics
    /// As [`Lock::acquire`].
    #[inline]
    pub fn try_hold(&self) -> bool {
        self.try_acquire().map(std::mem::forget).is_some()
    }

    /// Takes the lock without a guard, waiting for `timeout` at most; whether it did.
    ///
    /// # Panics
    /// As [`Lock::acquire`].
    pub fn hold_timeout(&self, timeout: Duration) -> bool {
        self.acquire_timeout(timeout)
            .map(std::mem::forget)
            .is_some()
    }

    /// Releases the lock, whoever holds it. If that was a guard, the guard does nothing more.
    ///
    /// # Errors
    /// [`NotHeld`] if nobody does.
    #[inline]
    pub fn release(&self) -> Result<(), NotHeld> {
        // SAFETY: `self` is live for the call.
        unsafe { sync::Lock::release(self.raw().core(), Scope::PRIVATE) }
    }
}

impl<T: ?Sized> Recover for LockGuard<'_, T> {
    fn recover(&self) {
        // SAFETY: clearing the mark changes nothing about who holds the lock.
        unsafe { LockGuard::mutex(self).raw() }.core().recover();
    }
}

impl<T: Default> Default for Lock<T> {
    fn default() -> Lock<T> {
        Lock::new(T::default())
    }
}

impl<T> From<T> for Lock<T> {
    fn from(value: T) -> Lock<T> {
        Lock::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Lock");
        match self.acquire_timeout_or_died(Duration::ZERO) {
            Ok(Some(guard)) => f.field("data", &&*guard),
            Ok(None) => f.field("data", &format_args!("<locked>")),
            Err(_) => f.field("data", &format_args!("<owner died>")),
        };
        f.finish()
    }
}
