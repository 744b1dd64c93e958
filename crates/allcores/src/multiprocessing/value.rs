//! Value: one number or struct in shared memory, with its lock or without.

use std::cell::UnsafeCell;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use super::lock::{self, Lock, LockGuard};
use super::owner_died::{HolderDied, OwnerDied};
use crate::shm::cells::Kind;
use crate::shm::content::Content;
use crate::shm::copies;
use crate::shm::handle::Handle;
use crate::shm::{Arena, Atom, Shareable, ShmError, arena};
use crate::sync;

/// A value in shared memory, with the lock that guards it.
///
/// Clones and copies that were sent to other processes are handles on one value. [`get`](Value::get), [`set`](Value::set)
/// and [`update`](Value::update) take the lock for a moment; [`acquire`](Value::acquire) gives it out together with the
/// value, exactly as a [`Lock`](super::Lock) does. All of them wait while anybody holds it, the calling thread included:
/// with a guard in hand, use the guard.
///
/// A process that dies holding the lock may leave the value half-written. Whoever comes next is told, until somebody has
/// looked at it: `acquire` by [`OwnerDied`], which holds the lock, the others by [`HolderDied`], which does not.
///
/// ```
/// use allcores::multiprocessing::{Process, Value};
///
/// fn count(total: Value<u64>) {
///     for _ in 0..1_000 {
///         total.update(|n| *n += 1).unwrap();
///     }
/// }
///
/// let total = Value::new(0u64)?;
/// let children = [(); 2].map(|()| Process::new(count, total.clone()).start().unwrap());
/// children.iter().for_each(|child| child.join().unwrap());
/// assert_eq!(total.get()?, 2_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Only what means the same in every process can be shared:
///
/// ```compile_fail,E0277
/// let text = allcores::multiprocessing::Value::new(String::new());
/// ```
/// ```compile_fail,E0277
/// let flag = allcores::multiprocessing::Value::new(true); // only two of its 256 patterns are values: use a u8
/// ```
pub struct Value<T: Shareable> {
    lock: Lock<T>,
}

impl<T: Shareable> Clone for Value<T> {
    /// Another handle on the same value.
    fn clone(&self) -> Value<T> {
        Value {
            lock: self.lock.clone(),
        }
    }
}

impl<T: Shareable> Value<T> {
    /// A new value, in the arena that this process shares with its children.
    ///
    /// # Errors
    /// If shared memory cannot be had, or too many processes share it.
    #[track_caller]
    pub fn new(value: T) -> Result<Value<T>, ShmError> {
        let lock = Lock::make(arena::common()?, Kind::Value, value, Location::caller())?;
        Ok(Value { lock })
    }

    /// As [`Value::new`], in a separate arena: see [`Arena`].
    ///
    /// # Errors
    /// As for [`Value::new`].
    #[track_caller]
    pub fn new_in(arena: &Arena, value: T) -> Result<Value<T>, ShmError> {
        let lock = Lock::make(arena.inner(), Kind::Value, value, Location::caller())?;
        Ok(Value { lock })
    }

    /// Waits until the lock is free and takes it; the guard gives the value. Signals do not end the wait.
    ///
    /// # Errors
    /// As for [`Lock::acquire`](super::Lock::acquire): the error holds the lock.
    ///
    /// # Panics
    /// As for [`Lock::acquire`](super::Lock::acquire).
    #[inline]
    pub fn acquire(&self) -> Result<LockGuard<'_, T>, OwnerDied<LockGuard<'_, T>>> {
        self.lock.acquire()
    }

    /// Takes the lock if it is free, or its owner dead.
    ///
    /// # Errors
    /// As for [`Value::acquire`].
    #[inline]
    pub fn try_acquire(&self) -> Result<Option<LockGuard<'_, T>>, OwnerDied<LockGuard<'_, T>>> {
        self.lock.try_acquire()
    }

    /// Waits for the lock for `timeout` at most; `None` if it passed.
    ///
    /// # Errors
    /// As for [`Value::acquire`].
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Option<LockGuard<'_, T>>, OwnerDied<LockGuard<'_, T>>> {
        self.lock.acquire_timeout(timeout)
    }

    /// A copy of the value. Waits for the lock.
    ///
    /// # Errors
    /// [`HolderDied`] if a holder died or panicked inside and nobody has recovered it.
    #[inline]
    pub fn get(&self) -> Result<T, HolderDied>
    where
        T: Copy,
    {
        Ok(*self.lock.acquire()?)
    }

    /// Writes the value. Waits for the lock.
    ///
    /// # Errors
    /// As for [`Value::get`]: nothing is written then.
    #[inline]
    pub fn set(&self, value: T) -> Result<(), HolderDied> {
        *self.lock.acquire()? = value;
        Ok(())
    }

    /// Changes the value under its lock, and gives back what `change` returns. Waits for the lock.
    ///
    /// # Errors
    /// As for [`Value::get`]: `change` is not called then.
    ///
    /// # Panics
    /// If `change` does. Others are told of that as of a death.
    #[inline]
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> Result<R, HolderDied> {
        Ok(change(&mut *self.lock.acquire()?))
    }

    /// For tests: the same Value through another mapping of the arena. Not part of the API.
    ///
    /// # Errors
    /// If the scope maps another arena.
    #[doc(hidden)]
    pub fn through(&self, scope: sync::Scope) -> Result<Value<T>, ShmError> {
        self.handle()
            .through(Kind::Value, scope)
            .map(Value::from_handle)
    }

    /// Whether two handles name the same value.
    pub fn same(&self, other: &Value<T>) -> bool {
        self.lock.same(&other.lock)
    }

    pub(super) fn handle(&self) -> &Handle<lock::Body<T>> {
        self.lock.handle()
    }

    pub(super) fn from_handle(handle: Handle<lock::Body<T>>) -> Value<T> {
        Value {
            lock: Lock::from_handle(handle),
        }
    }
}

impl<T: Shareable> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value")
            .field("locked", &self.lock.locked())
            .finish_non_exhaustive()
    }
}

/// A value in shared memory without a lock.
///
/// Reading and writing are copies. Numbers of up to 8 bytes are read and written whole; a larger value that somebody writes
/// meanwhile may be read half old and half new. Nothing here waits, and nobody's death is noticed.
///
/// ```
/// use allcores::multiprocessing::RawValue;
/// use std::sync::atomic::Ordering;
///
/// let progress = RawValue::new(0u64)?;
/// progress.set(7);
/// assert_eq!(progress.get(), 7);
/// progress.atomic().fetch_add(1, Ordering::Relaxed);
/// assert_eq!(progress.get(), 8);
/// # Ok::<(), allcores::shm::ShmError>(())
/// ```
/// ```compile_fail,E0277
/// let text = allcores::multiprocessing::RawValue::new(String::new());
/// ```
pub struct RawValue<T: Shareable> {
    handle: Handle<Raw<T>>,
}

#[repr(transparent)]
pub(super) struct Raw<T>(UnsafeCell<T>);

// SAFETY: the value is reached by copies that bear with others' writing, or by atomics.
unsafe impl<T: Send> Sync for Raw<T> {}

impl<T: Shareable> Clone for RawValue<T> {
    /// Another handle on the same value.
    fn clone(&self) -> RawValue<T> {
        RawValue {
            handle: self.handle.clone(),
        }
    }
}

impl<T: Shareable> RawValue<T> {
    /// A new value, in the arena that this process shares with its children.
    ///
    /// # Errors
    /// If shared memory cannot be had, or too many processes share it.
    #[track_caller]
    pub fn new(value: T) -> Result<RawValue<T>, ShmError> {
        RawValue::make(arena::common()?, value, Location::caller())
    }

    /// As [`RawValue::new`], in a separate arena: see [`Arena`].
    ///
    /// # Errors
    /// As for [`RawValue::new`].
    #[track_caller]
    pub fn new_in(arena: &Arena, value: T) -> Result<RawValue<T>, ShmError> {
        RawValue::make(arena.inner(), value, Location::caller())
    }

    fn make(
        arena: &'static arena::Arena,
        value: T,
        location: &Location<'_>,
    ) -> Result<RawValue<T>, ShmError> {
        let init = |body: *mut Raw<T>| {
            // SAFETY: `body` points to zeroed memory for a Raw that nobody else knows of.
            unsafe { body.write(Raw(UnsafeCell::new(value))) }
        };
        let handle = Handle::create_in(arena, Kind::RawValue, 0, location, init)?;
        let handle = handle.made_of(Content::of::<T>());
        Ok(RawValue { handle })
    }

    /// A copy of the value.
    #[inline]
    pub fn get(&self) -> T
    where
        T: Copy,
    {
        // SAFETY: the cell holds a T and is kept by our handle.
        unsafe { copies::load(self.as_ptr()) }
    }

    /// Writes the value.
    #[inline]
    pub fn set(&self, value: T) {
        // SAFETY: as for `get`.
        unsafe { copies::store(self.as_ptr(), value) }
    }

    /// Where it lies in this process, as long as there is a handle on it here. Others may write it at any moment.
    #[inline]
    pub fn as_ptr(&self) -> *mut T {
        self.handle.body().0.get()
    }

    /// The value as an atomic: for numbers.
    #[inline]
    pub fn atomic(&self) -> &T::Atomic
    where
        T: Atom,
    {
        // SAFETY: an atomic lies in memory as its number does, and cells are aligned to 64 bytes.
        unsafe { &*self.as_ptr().cast() }
    }

    /// Whether two handles name the same value.
    pub fn same(&self, other: &RawValue<T>) -> bool {
        self.handle.same(&other.handle)
    }

    pub(super) fn handle(&self) -> &Handle<Raw<T>> {
        &self.handle
    }

    pub(super) fn from_handle(handle: Handle<Raw<T>>) -> RawValue<T> {
        RawValue { handle }
    }
}

impl<T: Shareable + Copy + fmt::Debug> fmt::Debug for RawValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawValue").field(&self.get()).finish()
    }
}
