//! Condition: wait until somebody says that things have changed.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::guard::Guard;
use super::owner_died::OWNER_DIED;
use crate::sync::condition::NoRoom;
use crate::sync::{self, Deadline, Scope, Waited};

/// The guard belongs to another lock than the one that others wait with at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this condition is in use with another lock: all that wait for a condition, and all that notify it, hold the same lock"
)]
pub struct ForeignLock;

/// Why a thread did not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// Others wait with another lock.
    #[error(transparent)]
    ForeignLock(#[from] ForeignLock),
    /// There is no room for another waiter.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

/// Waiting until somebody says that things have changed: Python's `threading.Condition`, beside the lock and not around it.
///
/// ```
/// use allcores::threading::{Condition, Lock, Thread};
///
/// static QUEUE: Lock<Vec<u32>> = Lock::new(Vec::new());
/// static FILLED: Condition = Condition::new();
///
/// let consumer = Thread::new(|| {
///     let mut queue = QUEUE.acquire();
///     FILLED.wait_for(&mut queue, |queue| !queue.is_empty())?;
///     Ok::<_, allcores::threading::WaitError>(queue.pop())
/// });
/// consumer.start()?;
/// let mut queue = QUEUE.acquire();
/// queue.push(7);
/// FILLED.notify_one(&queue)?;
/// drop(queue);
/// assert_eq!(consumer.result()??, Some(7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It works with the guard of a [`Lock`](super::Lock) or an [`RLock`](super::RLock), which is borrowed during the wait, and
/// free meanwhile: an `RLock` is fully released, however often the thread holds it, and held as often afterwards.
/// While anybody waits the condition belongs to that one lock, and guards of others are refused. Whoever notifies shows a
/// guard as well, so that no notification falls between a waiter's look at the data and its sleep.
///
/// Waiters are notified in the order in which they came, and `true` from a wait means that there was a notification.
/// Still, by the time the waiter has the lock again things may have changed once more: [`Condition::wait_for`] looks again.
pub struct Condition {
    core: sync::Condition,
    /// Where the lock lies that those who wait have released; 0 if nobody waits. Changed by holders of that lock only: from
    /// 0 to its address before the first enlists, and back after the last has left.
    lock: AtomicUsize,
}

impl Condition {
    /// A condition that nobody waits for.
    pub const fn new() -> Condition {
        Condition {
            core: sync::Condition::new(),
            lock: AtomicUsize::new(0),
        }
    }

    /// Releases the guard's lock, waits for a notification as long as it takes, and takes the lock again. Signal handlers
    /// that run meanwhile do not end the wait.
    ///
    /// # Errors
    /// [`WaitError::ForeignLock`] if others wait with another lock; [`WaitError::NoRoom`] beyond some 130,000 waiters or
    /// without memory. Then the lock has not been released.
    ///
    /// # Panics
    /// If the lock's next owner dies, as [`Lock::acquire`](super::Lock::acquire) does. The guard is valid again by then.
    pub fn wait<G: Guard>(&self, guard: &mut G) -> Result<(), WaitError> {
        self.wait_until(guard, Deadline::NEVER).map(|_| ())
    }

    /// As [`Condition::wait`], for `timeout` at most, not counting the time until the lock is free again: whether there
    /// was a notification. Zero releases and takes the lock without waiting.
    ///
    /// # Errors
    /// As [`Condition::wait`].
    pub fn wait_timeout<G: Guard>(
        &self,
        guard: &mut G,
        timeout: Duration,
    ) -> Result<bool, WaitError> {
        self.wait_until(guard, Deadline::after(timeout))
    }

    /// Waits until `predicate` holds; it is asked with the lock held, first at once and then after each notification. If it
    /// panics the guard is as valid as ever.
    ///
    /// # Errors
    /// As [`Condition::wait`].
    pub fn wait_for<G: Guard>(
        &self,
        guard: &mut G,
        mut predicate: impl FnMut(&mut G) -> bool,
    ) -> Result<(), WaitError> {
        while !predicate(guard) {
            self.wait_until(guard, Deadline::NEVER)?;
        }
        Ok(())
    }

    /// As [`Condition::wait_for`], for `timeout` at most: what `predicate` said last.
    ///
    /// # Errors
    /// As [`Condition::wait`].
    pub fn wait_for_timeout<G: Guard>(
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

    /// Notifies the one that has waited longest; how many that were: 1, or 0 if nobody waits.
    ///
    /// # Errors
    /// [`ForeignLock`] if the guard is not of the lock that others wait with.
    #[inline]
    pub fn notify_one<G: Guard>(&self, guard: &G) -> Result<u32, ForeignLock> {
        self.notify(guard, 1)
    }

    /// Notifies the `n` that have waited longest, or all if there are fewer; how many that were.
    ///
    /// # Errors
    /// As [`Condition::notify_one`].
    #[inline]
    pub fn notify<G: Guard>(&self, guard: &G, n: u32) -> Result<u32, ForeignLock> {
        if self.core.waiting() == 0 {
            return Ok(0);
        }
        self.notify_waiters(guard.address(), n)
    }

    /// Notifies all that wait; how many that were.
    ///
    /// # Errors
    /// As [`Condition::notify_one`].
    #[inline]
    pub fn notify_all<G: Guard>(&self, guard: &G) -> Result<u32, ForeignLock> {
        self.notify(guard, u32::MAX)
    }

    #[cold]
    fn notify_waiters(&self, lock: usize, n: u32) -> Result<u32, ForeignLock> {
        let bound = self.lock.load(Relaxed);
        if bound != 0 && bound != lock {
            return Err(ForeignLock);
        }
        let notified = self.core.notify(Scope::PRIVATE, n);
        self.part_from_lock();
        Ok(notified)
    }

    /// Whether there was a notification before the deadline.
    pub(super) fn wait_until<G: Guard>(
        &self,
        guard: &mut G,
        deadline: Deadline,
    ) -> Result<bool, WaitError> {
        let lock = guard.address();
        if let Err(bound) = self.lock.compare_exchange(0, lock, Relaxed, Relaxed)
            && bound != lock
        {
            return Err(ForeignLock.into());
        }
        let ticket = match self.core.enlist(Scope::PRIVATE) {
            Ok(ticket) => ticket,
            Err(no_room) => {
                self.part_from_lock();
                return Err(no_room.into());
            }
        };
        let depth = guard.part();
        while self.core.sleep(Scope::PRIVATE, &ticket, deadline) == Waited::Interrupted {}
        let died = guard.come_back(depth);
        let notified = self.core.finish(Scope::PRIVATE, ticket);
        self.part_from_lock();
        if died {
            panic!("{OWNER_DIED}");
        }
        Ok(notified)
    }

    /// If nobody waits any more the condition belongs to no lock. For a holder of the lock.
    fn part_from_lock(&self) {
        if self.core.waiting() == 0 {
            self.lock.store(0, Relaxed);
        }
    }
}

impl Drop for Condition {
    fn drop(&mut self) {
        // SAFETY: `&mut self`: nobody else uses it, and it is used no more.
        unsafe { self.core.dispose(Scope::PRIVATE) };
    }
}

impl Default for Condition {
    fn default() -> Condition {
        Condition::new()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition")
            .field("waiting", &self.core.waiting())
            .finish()
    }
}
