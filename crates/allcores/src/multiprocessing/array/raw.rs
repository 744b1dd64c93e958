//! RawArray: elements in shared memory without a lock.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::ArrayError;
use crate::shm::cells::Kind;
use crate::shm::content::Content;
use crate::shm::handle::Handle;
use crate::shm::{Arena, Atom, Shareable, ShmError, arena, copies};
use crate::sync;

/// Elements in shared memory without a lock.
///
/// Reading and writing are copies, element by element. Numbers of up to 8 bytes are read and written whole; a larger
/// element that somebody writes meanwhile may be read half old and half new. Nothing here waits, and nobody's death is
/// noticed. For counters and flags there are the elements as [`atomics`](RawArray::atomics); a slice is for those who know
/// by other means that nobody writes.
///
/// ```
/// use allcores::multiprocessing::RawArray;
/// use std::sync::atomic::Ordering;
///
/// let counts = RawArray::<u32>::new(3)?;
/// counts.set(1, 5)?;
/// counts.atomics()[1].fetch_add(1, Ordering::Relaxed);
/// assert_eq!(counts.to_vec(), [0, 6, 0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
/// ```compile_fail,E0277
/// let texts = allcores::multiprocessing::RawArray::<String>::new(3);
/// ```
/// A slice of what others may be writing is not safe:
///
/// ```compile_fail,E0133
/// let counts = allcores::multiprocessing::RawArray::<u32>::new(3).unwrap();
/// let slice = counts.as_slice();
/// ```
pub struct RawArray<T: Shareable> {
    handle: Handle<Body>,
    /// In elements.
    len: usize,
    _elements: PhantomData<T>,
}

/// What comes before the elements, with and without a lock.
#[repr(C, align(64))]
pub(in crate::multiprocessing) struct Body {
    pub(super) lock: sync::Lock,
    /// How large an element is. Written once.
    element: AtomicU32,
}

impl Body {
    /// How large an element is.
    pub(in crate::multiprocessing) fn element(&self) -> u32 {
        self.element.load(Relaxed)
    }

    /// Whether its elements are so large.
    pub(in crate::multiprocessing) fn holds(&self, bytes: usize) -> Result<(), ShmError> {
        let (found, wanted) = (self.element(), bytes as u32);
        if found == wanted {
            Ok(())
        } else {
            Err(ShmError::WrongElement { found, wanted })
        }
    }

    /// Says so anew, before anybody else has a handle.
    pub(in crate::multiprocessing) fn set_element(&self, size: u32) {
        self.element.store(size, Relaxed);
    }
}

/// A new array of `len` elements of that many bytes; `fill` gets the place of the first.
pub(in crate::multiprocessing) fn make(
    arena: &'static arena::Arena,
    kind: Kind,
    element: usize,
    len: usize,
    location: &Location<'_>,
    fill: impl FnOnce(*mut u8),
) -> Result<Handle<Body>, ShmError> {
    // More than memory can hold is refused as such.
    let tail = len
        .saturating_mul(element)
        .min(isize::MAX as usize - size_of::<Body>());
    Handle::create_in(arena, kind, tail, location, |body: *mut Body| {
        let fresh = Body {
            lock: sync::Lock::new(),
            element: AtomicU32::new(element as u32),
        };
        // SAFETY: `body` points to memory for a Body, and that many elements behind it, that nobody else knows of.
        unsafe { body.write(fresh) };
        // SAFETY: as above: one past the Body is where its elements begin.
        fill(unsafe { body.add(1) }.cast());
    })
}

/// Whether a cell of that size may be an array: how large its elements are is seen when it is opened.
pub(in crate::multiprocessing) fn fits(bytes: u32) -> bool {
    bytes as usize >= size_of::<Body>()
}

// SAFETY: a T may be sent to other threads, and is reached by copies that bear with others' writing, or under a lock.
unsafe impl<T: Shareable> Send for RawArray<T> {}
// SAFETY: as above.
unsafe impl<T: Shareable> Sync for RawArray<T> {}

impl<T: Shareable> Clone for RawArray<T> {
    /// Another handle on the same array.
    fn clone(&self) -> RawArray<T> {
        RawArray {
            handle: self.handle.clone(),
            ..*self
        }
    }
}

impl<T: Shareable> RawArray<T> {
    /// `len` elements of zero bytes, in the arena that this process shares with its children.
    ///
    /// # Errors
    /// If shared memory cannot be had, or the array is larger than 1 GiB, or too many processes share the arena.
    #[track_caller]
    pub fn new(len: usize) -> Result<RawArray<T>, ShmError> {
        let location = Location::caller();
        RawArray::make(arena::common()?, Kind::RawArray, len, location, |_| {})
    }

    /// As [`RawArray::new`], in a separate arena: see [`Arena`].
    ///
    /// # Errors
    /// As for [`RawArray::new`].
    #[track_caller]
    pub fn new_in(arena: &Arena, len: usize) -> Result<RawArray<T>, ShmError> {
        let location = Location::caller();
        RawArray::make(arena.inner(), Kind::RawArray, len, location, |_| {})
    }

    /// A copy of `elements`, in the arena that this process shares with its children.
    ///
    /// # Errors
    /// As for [`RawArray::new`].
    #[track_caller]
    pub fn from_slice(elements: &[T]) -> Result<RawArray<T>, ShmError>
    where
        T: Copy,
    {
        let location = Location::caller();
        RawArray::copied(arena::common()?, Kind::RawArray, elements, location)
    }

    /// As [`RawArray::from_slice`], in a separate arena: see [`Arena`].
    ///
    /// # Errors
    /// As for [`RawArray::new`].
    #[track_caller]
    pub fn from_slice_in(arena: &Arena, elements: &[T]) -> Result<RawArray<T>, ShmError>
    where
        T: Copy,
    {
        let location = Location::caller();
        RawArray::copied(arena.inner(), Kind::RawArray, elements, location)
    }

    pub(super) fn copied(
        arena: &'static arena::Arena,
        kind: Kind,
        elements: &[T],
        location: &Location<'_>,
    ) -> Result<RawArray<T>, ShmError>
    where
        T: Copy,
    {
        RawArray::make(arena, kind, elements.len(), location, |place: *mut T| {
            // SAFETY: room for as many elements, which nobody else knows of.
            unsafe { place.copy_from_nonoverlapping(elements.as_ptr(), elements.len()) };
        })
    }

    pub(super) fn make(
        arena: &'static arena::Arena,
        kind: Kind,
        len: usize,
        location: &Location<'_>,
        fill: impl FnOnce(*mut T),
    ) -> Result<RawArray<T>, ShmError> {
        const {
            assert!(size_of::<T>() > 0, "elements of an array have a size");
            assert!(align_of::<T>() <= align_of::<Body>());
        };
        let handle = make(arena, kind, size_of::<T>(), len, location, |start| {
            fill(start.cast())
        })?;
        Ok(RawArray {
            handle: handle.made_of(Content::of::<T>()),
            len,
            _elements: PhantomData,
        })
    }

    /// How many elements there are: always the same number.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A copy of the element at `index`.
    ///
    /// # Errors
    /// If there is no such element.
    #[inline]
    pub fn get(&self, index: usize) -> Result<T, ArrayError>
    where
        T: Copy,
    {
        checked(index, self.len)?;
        // SAFETY: an element that there is, kept by our handle.
        Ok(unsafe { copies::load(self.as_ptr().add(index)) })
    }

    /// Writes the element at `index`.
    ///
    /// # Errors
    /// As for [`RawArray::get`].
    #[inline]
    pub fn set(&self, index: usize, value: T) -> Result<(), ArrayError> {
        checked(index, self.len)?;
        // SAFETY: as for `get`.
        unsafe { copies::store(self.as_ptr().add(index), value) };
        Ok(())
    }

    /// Overwrites all elements with those of `elements`, one after the other.
    ///
    /// # Errors
    /// If the slice is not as long as the array: nothing is written then.
    pub fn copy_from_slice(&self, elements: &[T]) -> Result<(), ArrayError>
    where
        T: Copy,
    {
        as_long_as(elements.len(), self.len)?;
        for (index, element) in elements.iter().enumerate() {
            // SAFETY: as for `get`.
            unsafe { copies::store(self.as_ptr().add(index), *element) };
        }
        Ok(())
    }

    /// Copies all elements into `elements`, one after the other.
    ///
    /// # Errors
    /// As for [`RawArray::copy_from_slice`].
    pub fn copy_to_slice(&self, elements: &mut [T]) -> Result<(), ArrayError>
    where
        T: Copy,
    {
        as_long_as(elements.len(), self.len)?;
        for (index, element) in elements.iter_mut().enumerate() {
            // SAFETY: as for `get`.
            *element = unsafe { copies::load(self.as_ptr().add(index)) };
        }
        Ok(())
    }

    /// Copies of the elements, each as it is when its turn comes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + '_
    where
        T: Copy,
    {
        // SAFETY: as for `get`.
        (0..self.len).map(|index| unsafe { copies::load(self.as_ptr().add(index)) })
    }

    /// Copies of all elements, one after the other.
    pub fn to_vec(&self) -> Vec<T>
    where
        T: Copy,
    {
        self.iter().collect()
    }

    /// The elements as atomics: for numbers.
    #[inline]
    pub fn atomics(&self) -> &[T::Atomic]
    where
        T: Atom,
    {
        // SAFETY: that many elements lie there, and an atomic lies in memory as its number does.
        unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), self.len) }
    }

    /// Where the elements lie in this process, as long as there is a handle on them here. Others may write them at any
    /// moment.
    #[inline]
    pub fn as_ptr(&self) -> *mut T {
        self.handle.tail_pointer()
    }

    /// The elements in place.
    ///
    /// # Safety
    /// Nobody, in any process, may write them while the slice is used.
    #[inline]
    pub unsafe fn as_slice(&self) -> &[T] {
        // SAFETY: that many elements lie there; the rest is the caller's word.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len) }
    }

    /// The elements in place, to be written.
    ///
    /// # Safety
    /// Nobody else, in any process, may read or write them while the slice is used.
    #[inline]
    #[allow(
        clippy::mut_from_ref,
        reason = "the caller vouches that nobody else has one"
    )]
    pub unsafe fn as_slice_mut(&self) -> &mut [T] {
        // SAFETY: that many elements lie there; the rest is the caller's word.
        unsafe { std::slice::from_raw_parts_mut(self.as_ptr(), self.len) }
    }

    /// Whether two handles name the same array.
    pub fn same(&self, other: &RawArray<T>) -> bool {
        self.handle.same(&other.handle)
    }

    #[inline]
    pub(in crate::multiprocessing) fn handle(&self) -> &Handle<Body> {
        &self.handle
    }

    /// What came with a message, if its elements are as large as a T.
    pub(in crate::multiprocessing) fn from_handle(
        handle: Handle<Body>,
    ) -> Result<RawArray<T>, ShmError> {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= align_of::<Body>()) };
        handle.body().holds(size_of::<T>())?;
        Ok(RawArray {
            len: (handle.bytes() - size_of::<Body>()) / size_of::<T>(),
            handle,
            _elements: PhantomData,
        })
    }
}

impl<T: Shareable> fmt::Debug for RawArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawArray")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

pub(super) fn checked(index: usize, len: usize) -> Result<(), ArrayError> {
    if index < len {
        Ok(())
    } else {
        Err(ArrayError::OutOfBounds { index, len })
    }
}

pub(super) fn as_long_as(slice: usize, len: usize) -> Result<(), ArrayError> {
    if slice == len {
        Ok(())
    } else {
        Err(ArrayError::Length { slice, len })
    }
}
