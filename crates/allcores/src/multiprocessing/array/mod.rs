//! Array: a fixed number of elements in shared memory, with their lock; `raw.rs` has those without.

mod raw;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::time::Duration;

pub use raw::RawArray;
pub(super) use raw::{Body, fits, make};

use super::owner_died::{HolderDied, OwnerDied};
use crate::shm::cells::Kind;
use crate::shm::handle::Handle;
use crate::shm::{Arena, Shareable, ShmError, arena};
use crate::sync::{self, Acquired, Deadline, Scope};

/// Elements in shared memory, with the lock that guards them all.
///
/// Clones and copies that were sent to other processes are handles on one array. The guard that
/// [`acquire`](Array::acquire) gives *is* the slice; [`get`](Array::get), [`set`](Array::set) and the other short forms take
/// the lock for a moment. All of them wait while anybody holds it, the calling thread included: with a guard in hand, use
/// the guard.
///
/// A process that dies holding the lock may leave elements half-written. Whoever comes next is told, until somebody has
/// looked at them: `acquire` by [`OwnerDied`], which holds the lock, the others by [`ArrayError::HolderDied`].
///
/// An array takes up to 1 GiB. From 64 KiB on its memory goes back to the system as soon as the last handle is dropped.
///
/// ```
/// use allcores::multiprocessing::{Array, Process};
///
/// fn halve(samples: Array<f64>) {
///     for sample in samples.acquire().unwrap().iter_mut() {
///         *sample /= 2.0;
///     }
/// }
///
/// let samples = Array::from_slice(&[1.0, 2.0, 3.0])?;
/// Process::new(halve, samples.clone()).start()?.join()?;
/// assert_eq!(samples.to_vec()?, [0.5, 1.0, 1.5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Only what means the same in every process can be shared:
///
/// ```compile_fail,E0277
/// let texts = allcores::multiprocessing::Array::<String>::new(3);
/// ```
/// ```compile_fail,E0277
/// let places = allcores::multiprocessing::Array::<&'static u8>::new(3);
/// ```
pub struct Array<T: Shareable> {
    raw: RawArray<T>,
}

/// Why an element could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArrayError {
    /// See [`HolderDied`].
    #[error(transparent)]
    HolderDied(#[from] HolderDied),
    /// There is no such element.
    #[error(
        "there is no element {index} in an array of {len}: indices go from 0 to its length, not included"
    )]
    OutOfBounds {
        /// What was asked for.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// The slice is not as long as the array.
    #[error(
        "a slice of {slice} elements cannot be copied to or from an array of {len}: make them equally long, or copy a part under the guard"
    )]
    Length {
        /// How many elements the slice has.
        slice: usize,
        /// How many the array has.
        len: usize,
    },
}

impl<T: Shareable> Clone for Array<T> {
    /// Another handle on the same array.
    fn clone(&self) -> Array<T> {
        Array {
            raw: self.raw.clone(),
        }
    }
}

type Held<'a, T> = Result<Option<ArrayGuard<'a, T>>, OwnerDied<ArrayGuard<'a, T>>>;

impl<T: Shareable> Array<T> {
    /// `len` elements of zero bytes, in the arena that this process shares with its children.
    ///
    /// # Errors
    /// If shared memory cannot be had, or the array is larger than 1 GiB, or too many processes share the arena.
    #[track_caller]
    pub fn new(len: usize) -> Result<Array<T>, ShmError> {
        let raw = RawArray::make(
            arena::common()?,
            Kind::Array,
            len,
            Location::caller(),
            |_| {},
        )?;
        Ok(Array { raw })
    }

    /// As [`Array::new`], in a separate arena: see [`Arena`].
    ///
    /// # Errors
    /// As for [`Array::new`].
    #[track_caller]
    pub fn new_in(arena: &Arena, len: usize) -> Result<Array<T>, ShmError> {
        let raw = RawArray::make(arena.inner(), Kind::Array, len, Location::caller(), |_| {})?;
        Ok(Array { raw })
    }

    /// A copy of `elements`, in the arena that this process shares with its children.
    ///
    /// # Errors
    /// As for [`Array::new`].
    #[track_caller]
    pub fn from_slice(elements: &[T]) -> Result<Array<T>, ShmError>
    where
        T: Copy,
    {
        let location = Location::caller();
        let raw = RawArray::copied(arena::common()?, Kind::Array, elements, location)?;
        Ok(Array { raw })
    }

    /// As [`Array::from_slice`], in a separate arena: see [`Arena`].
    ///
    /// # Errors
    /// As for [`Array::new`].
    #[track_caller]
    pub fn from_slice_in(arena: &Arena, elements: &[T]) -> Result<Array<T>, ShmError>
    where
        T: Copy,
    {
        let raw = RawArray::copied(arena.inner(), Kind::Array, elements, Location::caller())?;
        Ok(Array { raw })
    }

    /// How many elements there are: always the same number.
    #[inline]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until the lock is free and takes it; the guard is the slice of all elements. Signals do not end the wait.
    ///
    /// # Errors
    /// [`OwnerDied`] if an owner died or panicked inside and nobody has recovered it: the error holds the lock.
    ///
    /// # Panics
    /// If the arena has no room for the few bytes that tell of this thread, at its first lock.
    #[inline]
    pub fn acquire(&self) -> Result<ArrayGuard<'_, T>, OwnerDied<ArrayGuard<'_, T>>> {
        match self.lock().acquire(self.handle().scope(), Deadline::NEVER) {
            Acquired::Yes => Ok(ArrayGuard::new(self)),
            other => {
                let held = self.acquired(other, Deadline::NEVER)?;
                Ok(held.expect("a wait without end does not time out"))
            }
        }
    }

    /// Takes the lock if it is free, or its owner dead.
    ///
    /// # Errors
    /// As for [`Array::acquire`].
    #[inline]
    pub fn try_acquire(&self) -> Held<'_, T> {
        self.acquire_until(Deadline::NOW)
    }

    /// Waits for the lock for `timeout` at most; `None` if it passed.
    ///
    /// # Errors
    /// As for [`Array::acquire`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Held<'_, T> {
        self.acquire_until(Deadline::after(timeout))
    }

    #[inline]
    fn acquire_until(&self, deadline: Deadline) -> Held<'_, T> {
        let acquired = self.lock().acquire(self.handle().scope(), deadline);
        self.acquired(acquired, deadline)
    }

    #[cold]
    fn acquired(&self, mut acquired: Acquired, deadline: Deadline) -> Held<'_, T> {
        let scope = self.handle().scope();
        while let Acquired::Interrupted = acquired {
            acquired = self.lock().acquire(scope, deadline);
        }
        match acquired {
            Acquired::OwnerDied(owner) => Err(OwnerDied::new(ArrayGuard::new(self), scope, owner)),
            Acquired::TimedOut => Ok(None),
            _ => Ok(Some(ArrayGuard::new(self))),
        }
    }

    /// A copy of the element at `index`. Waits for the lock.
    ///
    /// # Errors
    /// If there is no such element, or a holder of the lock died inside.
    #[inline]
    pub fn get(&self, index: usize) -> Result<T, ArrayError>
    where
        T: Copy,
    {
        self.checked(index)?;
        Ok(self.acquire().map_err(HolderDied::from)?[index])
    }

    /// Writes the element at `index`. Waits for the lock.
    ///
    /// # Errors
    /// As for [`Array::get`]: nothing is written then.
    #[inline]
    pub fn set(&self, index: usize, value: T) -> Result<(), ArrayError> {
        self.checked(index)?;
        self.acquire().map_err(HolderDied::from)?[index] = value;
        Ok(())
    }

    /// Exchanges two elements. Waits for the lock.
    ///
    /// # Errors
    /// As for [`Array::get`]: nothing is changed then.
    pub fn swap(&self, a: usize, b: usize) -> Result<(), ArrayError> {
        self.checked(a.max(b))?;
        self.acquire().map_err(HolderDied::from)?.swap(a, b);
        Ok(())
    }

    /// Changes the elements under the lock, and gives back what `change` returns. Waits for the lock.
    ///
    /// # Errors
    /// If a holder of the lock died inside: `change` is not called then.
    ///
    /// # Panics
    /// If `change` does. Others are told of that as of a death.
    pub fn update<R>(&self, change: impl FnOnce(&mut [T]) -> R) -> Result<R, HolderDied> {
        Ok(change(&mut self.acquire()?))
    }

    /// Overwrites all elements with those of `elements`. Waits for the lock.
    ///
    /// # Errors
    /// If the slice is not as long as the array, or a holder of the lock died inside: nothing is written then.
    pub fn copy_from_slice(&self, elements: &[T]) -> Result<(), ArrayError>
    where
        T: Copy,
    {
        self.as_long_as(elements.len())?;
        let mut guard = self.acquire().map_err(HolderDied::from)?;
        guard.copy_from_slice(elements);
        Ok(())
    }

    /// Copies all elements into `elements`. Waits for the lock.
    ///
    /// # Errors
    /// As for [`Array::copy_from_slice`].
    pub fn copy_to_slice(&self, elements: &mut [T]) -> Result<(), ArrayError>
    where
        T: Copy,
    {
        self.as_long_as(elements.len())?;
        let guard = self.acquire().map_err(HolderDied::from)?;
        elements.copy_from_slice(&guard);
        Ok(())
    }

    /// A copy of all elements, as they were at one moment. Waits for the lock.
    ///
    /// # Errors
    /// If a holder of the lock died inside.
    pub fn to_vec(&self) -> Result<Vec<T>, HolderDied>
    where
        T: Copy,
    {
        Ok(self.acquire()?.to_vec())
    }

    /// Whether anybody holds the lock at this moment.
    pub fn locked(&self) -> bool {
        self.lock().is_held()
    }

    /// For tests: the same Array through another mapping of the arena. Not part of the API.
    ///
    /// # Errors
    /// If the scope maps another arena.
    #[doc(hidden)]
    pub fn through(&self, scope: Scope) -> Result<Array<T>, ShmError> {
        let handle = self.handle().through(Kind::Array, scope)?;
        Array::from_handle(handle)
    }

    /// Whether two handles name the same array.
    pub fn same(&self, other: &Array<T>) -> bool {
        self.raw.same(&other.raw)
    }

    fn checked(&self, index: usize) -> Result<(), ArrayError> {
        raw::checked(index, self.len())
    }

    fn as_long_as(&self, slice: usize) -> Result<(), ArrayError> {
        raw::as_long_as(slice, self.len())
    }

    #[inline]
    fn lock(&self) -> &sync::Lock {
        &self.handle().body().lock
    }

    #[inline]
    pub(super) fn handle(&self) -> &Handle<Body> {
        self.raw.handle()
    }

    pub(super) fn from_handle(handle: Handle<Body>) -> Result<Array<T>, ShmError> {
        let raw = RawArray::from_handle(handle)?;
        Ok(Array { raw })
    }

    /// Releases it for a condition's wait, by its holder.
    pub(super) fn release_for_wait(&self) {
        // SAFETY: the cell is held by our handle for the whole call.
        unsafe { sync::Lock::release_mine(self.lock(), self.handle().scope()) };
    }

    /// Takes it again after a condition's wait: always.
    pub(super) fn acquire_after_wait(&self) -> Acquired {
        loop {
            let acquired = self.lock().acquire(self.handle().scope(), Deadline::NEVER);
            if acquired.is_held() {
                return acquired;
            }
        }
    }
}

impl<T: Shareable> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Array")
            .field("len", &self.len())
            .field("locked", &self.locked())
            .finish_non_exhaustive()
    }
}

/// Holds the lock of an [`Array`] until it is dropped, and is the slice of its elements.
///
/// If it is dropped by a panic, the lock is marked: the next acquirers get [`OwnerDied`] until one recovers it.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ArrayGuard<'a, T: Shareable> {
    array: &'a Array<T>,
    panicking: bool,
    /// Shared between threads as a `&mut [T]` would be.
    _elements: std::marker::PhantomData<&'a mut [T]>,
}

impl<'a, T: Shareable> ArrayGuard<'a, T> {
    #[inline]
    fn new(array: &'a Array<T>) -> ArrayGuard<'a, T> {
        ArrayGuard {
            array,
            panicking: std::thread::panicking(),
            _elements: std::marker::PhantomData,
        }
    }

    /// Says that the elements are whole again: acquirers are told of no death any more.
    pub fn recover(&self) {
        self.array.lock().recover();
    }

    /// A panic drops this: the elements may be half-changed.
    #[cold]
    fn mark(&self) {
        let lock = self.array.lock();
        if lock.is_mine(self.array.handle().scope()) {
            lock.mark();
        }
    }

    pub(super) fn array(&self) -> &'a Array<T> {
        self.array
    }
}

impl<'a, T: Shareable> OwnerDied<ArrayGuard<'a, T>> {
    /// Says that the elements are whole (look at them first, and mend them), and hands out the guard.
    pub fn recover(self) -> ArrayGuard<'a, T> {
        let guard = self.into_guard();
        guard.recover();
        guard
    }
}

impl<T: Shareable> Deref for ArrayGuard<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        let raw = &self.array.raw;
        // SAFETY: that many elements lie there, every pattern of bytes is a valid T, and whoever holds the lock, as we do,
        // is alone with them: an Array hands them out in no other way.
        unsafe { std::slice::from_raw_parts(raw.as_ptr(), raw.len()) }
    }
}

impl<T: Shareable> DerefMut for ArrayGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        let raw = &self.array.raw;
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(raw.as_ptr(), raw.len()) }
    }
}

impl<T: Shareable> Drop for ArrayGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if std::thread::panicking() && !self.panicking {
            self.mark();
        }
        self.array.release_for_wait();
    }
}

impl<T: Shareable + fmt::Debug> fmt::Debug for ArrayGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
