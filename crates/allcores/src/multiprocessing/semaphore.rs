//! Semaphore and BoundedSemaphore: permits that processes take and return.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use crate::shm::cells::Kind;
use crate::shm::handle::Handle;
use crate::shm::{Arena, ShmError, arena};
use crate::sync::semaphore::TooManyPermits;
use crate::sync::{self, Deadline, Waited};

pub use crate::threading::ReleaseManyError;

/// A number of permits in shared memory. Nobody owns a permit: this is the signalling kind, and a process that is killed
/// takes the permits it had along.
///
/// acquire and release may run in a signal handler of a thread that is inside either of them.
///
/// ```
/// use allcores::multiprocessing::Semaphore;
///
/// let slots = Semaphore::new(2)?;
/// slots.acquire();
/// assert!(slots.try_acquire());
/// assert!(!slots.try_acquire());
/// slots.release()?;
/// assert_eq!(slots.value(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Semaphore {
    handle: Handle<sync::Semaphore>,
}

impl Semaphore {
    /// A semaphore with `permits`, 2^31 - 1 at most, in the arena that this process shares with its children.
    ///
    /// # Errors
    /// If shared memory cannot be had, or too many processes share it.
    ///
    /// # Panics
    /// If `permits` is more than 2^31 - 1.
    #[track_caller]
    pub fn new(permits: u32) -> Result<Semaphore, ShmError> {
        let words = sync::Semaphore::new(permits, sync::Semaphore::MAX);
        Semaphore::make(arena::common()?, words, Location::caller())
    }

    /// As [`Semaphore::new`], in a separate arena: see [`Arena`].
    ///
    /// # Errors
    /// As for [`Semaphore::new`].
    ///
    /// # Panics
    /// As for [`Semaphore::new`].
    #[track_caller]
    pub fn new_in(arena: &Arena, permits: u32) -> Result<Semaphore, ShmError> {
        let words = sync::Semaphore::new(permits, sync::Semaphore::MAX);
        Semaphore::make(arena.inner(), words, Location::caller())
    }

    /// For faces in other languages: `permits` that may grow to `most`. Not part of the API.
    ///
    /// # Errors
    /// As for [`Semaphore::new`].
    ///
    /// # Panics
    /// If `permits` is more than `most`, or that more than 2^31 - 1.
    #[doc(hidden)]
    #[track_caller]
    pub fn with_most(permits: u32, most: u32) -> Result<Semaphore, ShmError> {
        let words = sync::Semaphore::new(permits, most);
        Semaphore::make(arena::common()?, words, Location::caller())
    }

    fn make(
        arena: &'static arena::Arena,
        words: sync::Semaphore,
        location: &Location<'_>,
    ) -> Result<Semaphore, ShmError> {
        let handle = Handle::create_in(
            arena,
            Kind::Semaphore,
            0,
            location,
            |body: *mut sync::Semaphore| {
                // SAFETY: `body` points to zeroed memory for a Semaphore that nobody else knows of.
                unsafe { body.write(words) }
            },
        )?;
        Ok(Semaphore { handle })
    }

    /// Waits for a permit and takes it. Signals do not end the wait.
    #[inline]
    pub fn acquire(&self) {
        self.acquire_until(Deadline::NEVER);
    }

    /// Takes a permit if there is one.
    #[inline]
    pub fn try_acquire(&self) -> bool {
        self.handle.body().try_acquire()
    }

    /// Waits for a permit for `timeout` at most; whether one was taken.
    pub fn acquire_timeout(&self, timeout: Duration) -> bool {
        self.acquire_until(Deadline::after(timeout))
    }

    #[inline]
    fn acquire_until(&self, deadline: Deadline) -> bool {
        loop {
            match self.handle.body().acquire(self.handle.scope(), deadline) {
                Waited::Yes => return true,
                Waited::TimedOut => return false,
                Waited::Interrupted => {}
            }
        }
    }

    /// Returns a permit and wakes one who waits.
    ///
    /// # Errors
    /// If there would be more than 2^31 - 1; nothing is changed then.
    #[inline]
    pub fn release(&self) -> Result<(), TooManyPermits> {
        // SAFETY: the cell is held by our handle for the whole call.
        unsafe { sync::Semaphore::release(self.handle.pointer(), self.handle.scope(), 1) }
    }

    /// Returns `permits` at once, and wakes as many who wait.
    ///
    /// # Errors
    /// As for [`Semaphore::release`], and for 0 permits.
    pub fn release_many(&self, permits: u32) -> Result<(), ReleaseManyError> {
        if permits == 0 {
            return Err(ReleaseManyError::NoPermits);
        }
        // SAFETY: the cell is held by our handle for the whole call.
        unsafe { sync::Semaphore::release(self.handle.pointer(), self.handle.scope(), permits)? };
        Ok(())
    }

    /// How many permits are left.
    pub fn value(&self) -> u32 {
        self.handle.body().value()
    }

    /// Waits for a permit that is returned when the value is dropped. A process that is killed returns nothing.
    #[inline]
    pub fn permit(&self) -> Permit<'_> {
        self.acquire();
        Permit::new(self)
    }

    /// Takes a permit if there is one, to be returned when the value is dropped.
    #[inline]
    pub fn try_permit(&self) -> Option<Permit<'_>> {
        self.try_acquire().then(|| Permit::new(self))
    }

    /// Waits for a permit for `timeout` at most, to be returned when the value is dropped.
    pub fn permit_timeout(&self, timeout: Duration) -> Option<Permit<'_>> {
        self.acquire_timeout(timeout).then(|| Permit::new(self))
    }

    /// For tests: the same Semaphore through another mapping of the arena. Not part of the API.
    ///
    /// # Errors
    /// If the scope maps another arena.
    #[doc(hidden)]
    pub fn through(&self, scope: sync::Scope) -> Result<Semaphore, ShmError> {
        self.handle
            .through(Kind::Semaphore, scope)
            .map(Semaphore::from_handle)
    }

    /// The words and the scope they lie in, for faces in other languages. Not part of the API.
    #[doc(hidden)]
    #[inline]
    pub fn words(&self) -> (&sync::Semaphore, sync::Scope) {
        (self.handle.body(), self.handle.scope())
    }

    /// Whether two handles name the same semaphore.
    pub fn same(&self, other: &Semaphore) -> bool {
        self.handle.same(&other.handle)
    }

    pub(super) fn handle(&self) -> &Handle<sync::Semaphore> {
        &self.handle
    }

    pub(super) fn from_handle(handle: Handle<sync::Semaphore>) -> Semaphore {
        Semaphore { handle }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("value", &self.value())
            .finish_non_exhaustive()
    }
}

/// A permit of a [`Semaphore`], returned when it is dropped.
#[must_use = "the permit is returned when this is dropped"]
pub struct Permit<'a> {
    /// One word, and the one that the release needs: what is read or written between two exchanges takes as long as it looks.
    words: &'a sync::Semaphore,
}

impl<'a> Permit<'a> {
    #[inline]
    fn new(semaphore: &'a Semaphore) -> Permit<'a> {
        Permit {
            words: semaphore.handle.body(),
        }
    }

    /// Somebody waits, perhaps.
    #[cold]
    fn return_slowly(&self) {
        let scope = arena::scope_of(std::ptr::from_ref(self.words).cast());
        // More permits than there may be means that somebody returned ours: nothing is left to do.
        // SAFETY: the cell is held by the handle that we borrow.
        let _ = unsafe { sync::Semaphore::release(self.words, scope, 1) };
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the cell is held by the handle that we borrow.
        if !unsafe { sync::Semaphore::release_at_once(self.words, 1) } {
            self.return_slowly();
        }
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

/// A [`Semaphore`] that never has more permits than at its start: returning one too many is an error.
///
/// ```
/// use allcores::multiprocessing::BoundedSemaphore;
///
/// let one = BoundedSemaphore::new(1)?;
/// assert!(one.release().is_err());
/// # Ok::<(), allcores::shm::ShmError>(())
/// ```
#[derive(Clone, Debug)]
pub struct BoundedSemaphore(Semaphore);

impl BoundedSemaphore {
    /// A semaphore with `permits`, now and at most, in the arena that this process shares with its children.
    ///
    /// # Errors
    /// If shared memory cannot be had, or too many processes share it.
    ///
    /// # Panics
    /// If `permits` is more than 2^31 - 1.
    #[track_caller]
    pub fn new(permits: u32) -> Result<BoundedSemaphore, ShmError> {
        let words = sync::Semaphore::new(permits, permits);
        Semaphore::make(arena::common()?, words, Location::caller()).map(BoundedSemaphore)
    }

    /// As [`BoundedSemaphore::new`], in a separate arena: see [`Arena`].
    ///
    /// # Errors
    /// As for [`BoundedSemaphore::new`].
    ///
    /// # Panics
    /// As for [`BoundedSemaphore::new`].
    #[track_caller]
    pub fn new_in(arena: &Arena, permits: u32) -> Result<BoundedSemaphore, ShmError> {
        let words = sync::Semaphore::new(permits, permits);
        Semaphore::make(arena.inner(), words, Location::caller()).map(BoundedSemaphore)
    }

    pub(super) fn from_handle(handle: Handle<sync::Semaphore>) -> BoundedSemaphore {
        BoundedSemaphore(Semaphore { handle })
    }
}

/// Everything but the constructor is the Semaphore's; its `release` refuses to go above the start.
impl std::ops::Deref for BoundedSemaphore {
    type Target = Semaphore;

    fn deref(&self) -> &Semaphore {
        &self.0
    }
}
