//! Condition: processes wait until another says that something has changed.

use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::Duration;

use super::{ArrayGuard, LockGuard, RLockGuard};
use crate::shm::cells::Kind;
use crate::shm::handle::Handle;
use crate::shm::{Arena, Shareable, ShmError, arena};
use crate::sync::condition::NoRoom;
use crate::sync::{self, Acquired, Deadline, Scope, Waited};

/// A queue of processes and threads that wait for a notification, with a [`Lock`](super::Lock) or
/// [`RLock`](super::RLock) around what they wait for.
///
/// Waiters are notified in the order in which they came. One that is killed while it waits is passed over; one that is
/// killed after it was notified hands its notification on, so at worst somebody wakes up once too often.
///
/// While anybody waits, the condition belongs to the lock that they came with.
///
/// ```
/// use allcores::multiprocessing::{Condition, Lock};
///
/// let queue = Lock::new(0u32)?;
/// let changed = Condition::new()?;
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         let mut guard = queue.acquire().unwrap();
///         *guard += 1;
///         changed.notify_one(&guard).unwrap();
///     });
///     let mut guard = queue.acquire().unwrap();
///     changed.wait_for(&mut guard, |queue| **queue > 0).unwrap();
///     assert_eq!(*guard, 1);
/// });
/// # Ok::<(), allcores::shm::ShmError>(())
/// ```
#[derive(Clone)]
pub struct Condition {
    handle: Handle<Body>,
}

#[repr(C)]
pub(super) struct Body {
    /// First: the core finds its cell by its own address.
    condition: sync::Condition,
    /// The cell of the lock that waiters came with, or ANY_LOCK.
    bound: AtomicU32,
}

/// Some came with a lock that is not known here: with which, is for the face in their language to judge. A wrong one costs a
/// wake-up too many, no more.
const ANY_LOCK: u32 = u32::MAX;

pub use crate::threading::ForeignLock;

/// Why a wait ended without an answer. The lock is held all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// See [`ForeignLock`]. Nothing was released.
    #[error(transparent)]
    ForeignLock(#[from] ForeignLock),
    /// There is no memory for one more waiter. Nothing was released.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// While we waited, an owner of the lock died or panicked inside. The lock is held: mend what it protects and call
    /// `recover()` on the guard.
    #[error(
        "an owner of the lock died while it held it; the lock is held now: mend what it protects and call recover() on the guard"
    )]
    OwnerDied {
        /// The process that died, if this waiter was the first to find out.
        pid: Option<u32>,
        /// Whether there was a notification as well.
        notified: bool,
    },
}

/// A guard that a [`Condition`] can release and take again: [`LockGuard`] (also a Value's), [`RLockGuard`] and
/// [`ArrayGuard`].
pub trait ConditionGuard: sealed::Guard {}

impl<T: Shareable> ConditionGuard for LockGuard<'_, T> {}
impl<T: Shareable> ConditionGuard for RLockGuard<'_, T> {}
impl<T: Shareable> ConditionGuard for ArrayGuard<'_, T> {}

mod sealed {
    use super::*;

    pub trait Guard {
        /// The lock's cell, and where it is mapped.
        fn place(&self) -> (u32, Scope);
        /// Releases the lock altogether; how often it was held.
        fn release(&self) -> u32;
        /// Takes it again, as often: always.
        fn acquire(&self, depth: u32) -> Acquired;
    }

    impl<T: Shareable> Guard for LockGuard<'_, T> {
        fn place(&self) -> (u32, Scope) {
            let handle = self.lock().handle();
            (handle.line(), handle.scope())
        }

        fn release(&self) -> u32 {
            self.lock().release_for_wait();
            1
        }

        fn acquire(&self, _: u32) -> Acquired {
            self.lock().acquire_after_wait()
        }
    }

    impl<T: Shareable> Guard for ArrayGuard<'_, T> {
        fn place(&self) -> (u32, Scope) {
            let handle = self.array().handle();
            (handle.line(), handle.scope())
        }

        fn release(&self) -> u32 {
            self.array().release_for_wait();
            1
        }

        fn acquire(&self, _: u32) -> Acquired {
            self.array().acquire_after_wait()
        }
    }

    impl<T: Shareable> Guard for RLockGuard<'_, T> {
        fn place(&self) -> (u32, Scope) {
            let handle = self.lock().handle();
            (handle.line(), handle.scope())
        }

        fn release(&self) -> u32 {
            self.lock().release_for_wait()
        }

        fn acquire(&self, depth: u32) -> Acquired {
            self.lock().acquire_after_wait(depth)
        }
    }
}

impl Condition {
    /// A condition that nobody waits for, in the arena that this process shares with its children.
    ///
    /// # Errors
    /// If shared memory cannot be had, or too many processes share it.
    #[track_caller]
    pub fn new() -> Result<Condition, ShmError> {
        Condition::make(arena::common()?, Location::caller())
    }

    /// As [`Condition::new`], in a separate arena: see [`Arena`]. Its lock must lie there too.
    ///
    /// # Errors
    /// As for [`Condition::new`].
    #[track_caller]
    pub fn new_in(arena: &Arena) -> Result<Condition, ShmError> {
        Condition::make(arena.inner(), Location::caller())
    }

    fn make(arena: &'static arena::Arena, location: &Location<'_>) -> Result<Condition, ShmError> {
        let handle = Handle::create_in(arena, Kind::Condition, 0, location, |body: *mut Body| {
            // SAFETY: `body` points to zeroed memory for a Body that nobody else knows of.
            unsafe {
                body.write(Body {
                    condition: sync::Condition::new(),
                    bound: AtomicU32::new(0),
                })
            }
        })?;
        Ok(Condition { handle })
    }

    /// Releases the lock, waits for a notification, and takes the lock again. An RLock is released however often its
    /// thread holds it. Signals do not end the wait; a death may cause a spurious end.
    ///
    /// # Errors
    /// See [`WaitError`]; the lock is held then as well.
    pub fn wait<G: ConditionGuard>(&self, guard: &mut G) -> Result<(), WaitError> {
        self.wait_until(guard, Deadline::NEVER).map(|_| ())
    }

    /// As [`Condition::wait`], for `timeout` at most; whether there was a notification.
    ///
    /// # Errors
    /// As for [`Condition::wait`].
    pub fn wait_timeout<G: ConditionGuard>(
        &self,
        guard: &mut G,
        timeout: Duration,
    ) -> Result<bool, WaitError> {
        self.wait_until(guard, Deadline::after(timeout))
    }

    /// Waits until `predicate` holds; it is asked with the lock held, before the first wait and after each.
    ///
    /// # Errors
    /// As for [`Condition::wait`].
    pub fn wait_for<G: ConditionGuard>(
        &self,
        guard: &mut G,
        mut predicate: impl FnMut(&mut G) -> bool,
    ) -> Result<(), WaitError> {
        while !predicate(guard) {
            self.wait(guard)?;
        }
        Ok(())
    }

    /// As [`Condition::wait_for`], for `timeout` at most in all; what the predicate said last.
    ///
    /// # Errors
    /// As for [`Condition::wait`].
    pub fn wait_for_timeout<G: ConditionGuard>(
        &self,
        guard: &mut G,
        timeout: Duration,
        mut predicate: impl FnMut(&mut G) -> bool,
    ) -> Result<bool, WaitError> {
        let deadline = Deadline::after(timeout);
        loop {
            if predicate(guard) {
                return Ok(true);
            }
            if deadline.has_passed() {
                return Ok(false);
            }
            self.wait_until(guard, deadline)?;
        }
    }

    fn wait_until<G: ConditionGuard>(
        &self,
        guard: &mut G,
        deadline: Deadline,
    ) -> Result<bool, WaitError> {
        let scope = self.handle.scope();
        let condition = &self.handle.body().condition;
        self.bind(guard)?;
        let ticket = condition.enlist(scope)?;
        let depth = guard.release();
        while condition.sleep(scope, &ticket, deadline) == Waited::Interrupted {}
        let acquired = guard.acquire(depth);
        let notified = condition.finish(scope, ticket);
        match acquired {
            Acquired::OwnerDied(owner) => Err(WaitError::OwnerDied {
                pid: crate::registry::pid_of(scope, owner),
                notified,
            }),
            _ => Ok(notified),
        }
    }

    /// Wakes the one that has waited longest, if anybody waits; how many that were.
    ///
    /// # Errors
    /// If those who wait came with another lock than `guard` holds.
    #[inline]
    pub fn notify_one<G: ConditionGuard>(&self, guard: &G) -> Result<u32, ForeignLock> {
        self.notify(guard, 1)
    }

    /// Wakes the `n` that have waited longest; how many that were.
    ///
    /// # Errors
    /// As for [`Condition::notify_one`].
    #[inline]
    pub fn notify<G: ConditionGuard>(&self, guard: &G, n: u32) -> Result<u32, ForeignLock> {
        let condition = &self.handle.body().condition;
        if condition.waiting() == 0 {
            return Ok(0);
        }
        let ((line, scope), bound) = (guard.place(), self.handle.body().bound.load(Relaxed));
        if scope != self.handle.scope() || line != bound && bound != ANY_LOCK {
            return Err(ForeignLock);
        }
        Ok(condition.notify(self.handle.scope(), n))
    }

    /// Wakes all who wait; how many that were.
    ///
    /// # Errors
    /// As for [`Condition::notify_one`].
    pub fn notify_all<G: ConditionGuard>(&self, guard: &G) -> Result<u32, ForeignLock> {
        self.notify(guard, u32::MAX)
    }

    /// While anybody waits the condition belongs to the lock that they came with.
    fn bind<G: ConditionGuard>(&self, guard: &G) -> Result<(), ForeignLock> {
        let (line, scope) = guard.place();
        let Body { condition, bound } = self.handle.body();
        if scope != self.handle.scope() {
            return Err(ForeignLock);
        }
        let seen = bound.load(Relaxed);
        if seen == line {
            return Ok(());
        }
        let waiting = condition.waiting() != 0;
        if waiting && seen == ANY_LOCK {
            return Ok(());
        }
        let free = seen == 0 || !waiting;
        if free && bound.compare_exchange(seen, line, Relaxed, Relaxed).is_ok() {
            Ok(())
        } else {
            Err(ForeignLock)
        }
    }

    /// Somebody is about to wait with a lock that a face in another language judges. Not part of the API.
    #[doc(hidden)]
    #[inline]
    pub fn waits_with_any_lock(&self) {
        self.handle.body().bound.store(ANY_LOCK, Relaxed);
    }

    /// For tests: the same condition through another mapping of the arena. Not part of the API.
    ///
    /// # Errors
    /// If the scope maps another arena.
    #[doc(hidden)]
    pub fn through(&self, scope: Scope) -> Result<Condition, ShmError> {
        self.handle
            .through(Kind::Condition, scope)
            .map(|handle| Condition { handle })
    }

    /// The words and the scope they lie in, for faces in other languages. Not part of the API.
    #[doc(hidden)]
    pub fn words(&self) -> (&sync::Condition, Scope) {
        (&self.handle.body().condition, self.handle.scope())
    }

    pub(super) fn handle(&self) -> &Handle<Body> {
        &self.handle
    }

    pub(super) fn from_handle(handle: Handle<Body>) -> Condition {
        Condition { handle }
    }

    /// Whether two handles name the same condition.
    pub fn same(&self, other: &Condition) -> bool {
        self.handle.same(&other.handle)
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition")
            .field("waiting", &self.handle.body().condition.waiting())
            .finish_non_exhaustive()
    }
}

/// How many bytes the cell of a Condition has.
pub(crate) const CONDITION_BYTES: usize = size_of::<Body>();

/// Whether a condition whose cell is about to be freed has parts of its own.
pub(crate) fn has_overflow(body: std::ptr::NonNull<u8>) -> bool {
    // SAFETY: the caller found a cell that holds a Condition; any bytes are a valid Body.
    unsafe { body.cast::<Body>().as_ref() }
        .condition
        .has_overflow()
}
