//! OwnedSemaphore: permits that come back when the process that has them dies.

use std::fmt;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::shm::cells::Kind;
use crate::shm::handle::Handle;
use crate::shm::layout::SLOTS;
use crate::shm::{Arena, ShmError, arena};
use crate::sync::owned::{self, NoPermit};
use crate::sync::{Deadline, Scope, Waited};

/// A number of permits in shared memory, each of which belongs to the process that took it: if that process dies, its
/// permits come back, exactly once.
///
/// The price is an account for each process, and about twice the time of the signalling [`Semaphore`](super::Semaphore).
/// A permit is returned by the process that has it, by whichever thread; permits never exceed their first number.
///
/// ```
/// use allcores::multiprocessing::OwnedSemaphore;
///
/// let connections = OwnedSemaphore::new(2)?;
/// let one = connections.permit();
/// assert_eq!(connections.value(), 1);
/// drop(one);
/// assert_eq!(connections.value(), 2);
/// assert!(connections.release().is_err()); // this process has none
/// # Ok::<(), allcores::shm::ShmError>(())
/// ```
#[derive(Clone)]
pub struct OwnedSemaphore {
    handle: Handle<owned::OwnedSemaphore>,
}

/// What the accounts of all slots take.
pub(super) const TAIL: usize = SLOTS * size_of::<AtomicU64>();

impl OwnedSemaphore {
    /// A semaphore with `permits`, 65,535 at most, in the arena that this process shares with its children. Takes some
    /// 16 KiB, for the accounts.
    ///
    /// # Errors
    /// If shared memory cannot be had, or too many processes share it.
    ///
    /// # Panics
    /// If `permits` is more than 65,535.
    #[track_caller]
    pub fn new(permits: u32) -> Result<OwnedSemaphore, ShmError> {
        let words = owned::OwnedSemaphore::new(permits);
        OwnedSemaphore::make(arena::common()?, words, Location::caller())
    }

    /// As [`OwnedSemaphore::new`], in a separate arena: see [`Arena`].
    ///
    /// # Errors
    /// As for [`OwnedSemaphore::new`].
    ///
    /// # Panics
    /// As for [`OwnedSemaphore::new`].
    #[track_caller]
    pub fn new_in(arena: &Arena, permits: u32) -> Result<OwnedSemaphore, ShmError> {
        let words = owned::OwnedSemaphore::new(permits);
        OwnedSemaphore::make(arena.inner(), words, Location::caller())
    }

    fn make(
        arena: &'static arena::Arena,
        words: owned::OwnedSemaphore,
        location: &Location<'_>,
    ) -> Result<OwnedSemaphore, ShmError> {
        let handle = Handle::create_in(
            arena,
            Kind::OwnedSemaphore,
            TAIL,
            location,
            |body: *mut owned::OwnedSemaphore| {
                // SAFETY: `body` points to zeroed memory for an OwnedSemaphore that nobody else knows of.
                unsafe { body.write(words) }
            },
        )?;
        Ok(OwnedSemaphore { handle })
    }

    #[inline]
    fn accounts(&self) -> &[AtomicU64] {
        // SAFETY: `new` made room for them, `travel` lets no smaller cell pass, and a cell never changes its size.
        unsafe { self.handle.tail_unchecked(SLOTS) }
    }

    /// Waits for a permit and takes it for this process. Signals do not end the wait.
    #[inline]
    pub fn acquire(&self) {
        self.acquire_until(Deadline::NEVER);
    }

    /// Takes a permit for this process if there is one, or a dead process left one.
    #[inline]
    pub fn try_acquire(&self) -> bool {
        self.handle
            .body()
            .try_acquire(self.handle.scope(), self.accounts())
    }

    /// Waits for a permit for `timeout` at most; whether one was taken.
    pub fn acquire_timeout(&self, timeout: Duration) -> bool {
        self.acquire_until(Deadline::after(timeout))
    }

    #[inline]
    fn acquire_until(&self, deadline: Deadline) -> bool {
        loop {
            match self.acquire_once(deadline) {
                Waited::Yes => return true,
                Waited::TimedOut => return false,
                Waited::Interrupted => {}
            }
        }
    }

    /// One wait that a signal ends as well, for faces in other languages. Not part of the API.
    #[doc(hidden)]
    #[inline]
    pub fn acquire_once(&self, deadline: Deadline) -> Waited {
        self.handle
            .body()
            .acquire(self.handle.scope(), self.accounts(), deadline)
    }

    /// Returns a permit of this process and wakes one who waits.
    ///
    /// # Errors
    /// If this process has none.
    #[inline]
    pub fn release(&self) -> Result<(), NoPermit> {
        self.handle
            .body()
            .release(self.handle.scope(), self.accounts())
    }

    /// How many permits are left; those of the dead are not counted until somebody needs them.
    pub fn value(&self) -> u32 {
        self.handle.body().value()
    }

    /// Waits for a permit that is returned when the value is dropped, or the process dies.
    pub fn permit(&self) -> OwnedPermit<'_> {
        self.acquire();
        OwnedPermit { semaphore: self }
    }

    /// Takes a permit if there is one, to be returned when the value is dropped.
    pub fn try_permit(&self) -> Option<OwnedPermit<'_>> {
        self.try_acquire().then(|| OwnedPermit { semaphore: self })
    }

    /// Waits for a permit for `timeout` at most, to be returned when the value is dropped.
    pub fn permit_timeout(&self, timeout: Duration) -> Option<OwnedPermit<'_>> {
        self.acquire_timeout(timeout)
            .then(|| OwnedPermit { semaphore: self })
    }

    pub(super) fn handle(&self) -> &Handle<owned::OwnedSemaphore> {
        &self.handle
    }

    pub(super) fn from_handle(handle: Handle<owned::OwnedSemaphore>) -> OwnedSemaphore {
        OwnedSemaphore { handle }
    }

    /// For tests: the same semaphore through another mapping of the arena. Not part of the API.
    ///
    /// # Errors
    /// If the scope maps another arena.
    #[doc(hidden)]
    pub fn through(&self, scope: Scope) -> Result<OwnedSemaphore, ShmError> {
        self.handle
            .through(Kind::OwnedSemaphore, scope)
            .map(OwnedSemaphore::from_handle)
    }

    /// Whether two handles name the same semaphore.
    pub fn same(&self, other: &OwnedSemaphore) -> bool {
        self.handle.same(&other.handle)
    }
}

impl fmt::Debug for OwnedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedSemaphore")
            .field("value", &self.value())
            .finish_non_exhaustive()
    }
}

/// A permit of an [`OwnedSemaphore`], returned when it is dropped.
#[must_use = "the permit is returned when this is dropped"]
#[derive(Debug)]
pub struct OwnedPermit<'a> {
    semaphore: &'a OwnedSemaphore,
}

impl Drop for OwnedPermit<'_> {
    fn drop(&mut self) {
        // In a forked child this is a copy, and the child has no permit to return.
        let _ = self.semaphore.release();
    }
}

/// A process is gone for good: the permits it had are returned. For the cell of such a semaphore whose contents begin at
/// `body` and are `bytes` long.
pub(crate) fn reclaim(scope: Scope, body: NonNull<u8>, bytes: u32, slot: usize) {
    if (bytes as usize) < size_of::<owned::OwnedSemaphore>() + TAIL {
        return;
    }
    // SAFETY: the cell is as large as a semaphore with all its accounts, and any bytes are valid ones.
    let (semaphore, accounts) = unsafe {
        let semaphore = body.cast::<owned::OwnedSemaphore>();
        (
            semaphore.as_ref(),
            std::slice::from_raw_parts(semaphore.add(1).cast().as_ptr(), SLOTS),
        )
    };
    semaphore.reclaim_slot(scope, accounts, slot);
}
