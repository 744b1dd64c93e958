//! Barrier: processes that go on only when all have come.

use std::fmt;
use std::panic::Location;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::shm::cells::Kind;
use crate::shm::handle::Handle;
use crate::shm::{Arena, ShmError, arena};
use crate::sync::barrier::{Arrived, BarrierWaited};
use crate::sync::{self, Deadline};

pub use crate::threading::{BarrierWaitResult, BrokenBarrier, InvalidParties};

/// A number of parties that wait for each other, again and again.
///
/// A party that is killed while it waits breaks the barrier for all others at once, and so does one that times out, or
/// whose action panics; [`Barrier::reset`] makes it whole.
///
/// ```
/// use allcores::multiprocessing::Barrier;
///
/// let barrier = Barrier::new(2)?;
/// std::thread::scope(|scope| {
///     let other = scope.spawn(|| barrier.wait().unwrap().index());
///     let mine = barrier.wait().unwrap().index();
///     assert_eq!(mine + other.join().unwrap(), 1); // 0 and 1, in either order
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Barrier {
    handle: Handle<sync::Barrier>,
}

/// Why a barrier could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BarrierError {
    /// The number of parties makes no sense.
    #[error(transparent)]
    Parties(#[from] InvalidParties),
    /// There is no shared memory for it.
    #[error(transparent)]
    Shm(#[from] ShmError),
}

impl Barrier {
    /// A barrier for `parties`, 1 to 65,535, in the arena that this process shares with its children.
    ///
    /// # Errors
    /// For another number of parties, or if shared memory cannot be had.
    #[track_caller]
    pub fn new(parties: u32) -> Result<Barrier, BarrierError> {
        Barrier::make(arena::common()?, parties, Location::caller())
    }

    /// As [`Barrier::new`], in a separate arena: see [`Arena`].
    ///
    /// # Errors
    /// As for [`Barrier::new`].
    #[track_caller]
    pub fn new_in(arena: &Arena, parties: u32) -> Result<Barrier, BarrierError> {
        Barrier::make(arena.inner(), parties, Location::caller())
    }

    fn make(
        arena: &'static arena::Arena,
        parties: u32,
        location: &Location<'_>,
    ) -> Result<Barrier, BarrierError> {
        if parties == 0 || parties > sync::Barrier::MAX {
            return Err(InvalidParties { parties }.into());
        }
        let tail = parties as usize * size_of::<AtomicU64>();
        let handle = Handle::create_in(
            arena,
            Kind::Barrier,
            tail,
            location,
            |body: *mut sync::Barrier| {
                // SAFETY: `body` points to zeroed memory for a Barrier that nobody else knows of.
                unsafe { body.write(sync::Barrier::new(parties)) }
            },
        )?;
        Ok(Barrier { handle })
    }

    /// Waits until all parties have come. Signals do not end the wait.
    ///
    /// # Errors
    /// If the barrier is broken, or breaks.
    pub fn wait(&self) -> Result<BarrierWaitResult, BrokenBarrier> {
        self.wait_until(Deadline::NEVER, || {})
    }

    /// Waits for `timeout` at most; if it passes, the barrier breaks for all.
    ///
    /// # Errors
    /// As for [`Barrier::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<BarrierWaitResult, BrokenBarrier> {
        self.wait_until(Deadline::after(timeout), || {})
    }

    /// As [`Barrier::wait`]; the party that comes last runs `action` while the others still wait. Every party brings the
    /// action along, since a closure of one process means nothing in another.
    ///
    /// # Errors
    /// As for [`Barrier::wait`].
    ///
    /// # Panics
    /// If the action panics: the barrier is broken for the others then.
    pub fn wait_with(&self, action: impl FnOnce()) -> Result<BarrierWaitResult, BrokenBarrier> {
        self.wait_until(Deadline::NEVER, action)
    }

    /// [`Barrier::wait_with`], for `timeout` at most.
    ///
    /// # Errors
    /// As for [`Barrier::wait`].
    ///
    /// # Panics
    /// As for [`Barrier::wait_with`].
    pub fn wait_timeout_with(
        &self,
        timeout: Duration,
        action: impl FnOnce(),
    ) -> Result<BarrierWaitResult, BrokenBarrier> {
        self.wait_until(Deadline::after(timeout), action)
    }

    fn wait_until(
        &self,
        deadline: Deadline,
        action: impl FnOnce(),
    ) -> Result<BarrierWaitResult, BrokenBarrier> {
        let (barrier, who, scope) = self.words();
        let arrival = loop {
            match barrier.arrive(scope, who, deadline) {
                Arrived::Yes(arrival) => break arrival,
                Arrived::Interrupted => {}
                Arrived::TimedOut => return Err(BrokenBarrier::TIMED_OUT),
                Arrived::Broken => return Err(BrokenBarrier::BROKEN),
            }
        };
        let result = BarrierWaitResult::new(arrival.index);
        if arrival.last {
            let broken_unless_done = OnUnwind(|| barrier.abort(scope));
            action();
            std::mem::forget(broken_unless_done);
            return barrier
                .complete(scope, arrival)
                .map(|()| result)
                .map_err(|_| BrokenBarrier::BROKEN);
        }
        loop {
            match barrier.sleep(scope, who, &arrival, deadline) {
                BarrierWaited::Passed => return Ok(result),
                BarrierWaited::Interrupted => {}
                BarrierWaited::Broken => return Err(BrokenBarrier::BROKEN),
                BarrierWaited::TimedOut => return Err(BrokenBarrier::TIMED_OUT),
            }
        }
    }

    /// Breaks the barrier: all who wait, and all who come, get an error until it is reset.
    pub fn abort(&self) {
        self.handle.body().abort(self.handle.scope());
    }

    /// Makes the barrier whole and empty. Those who wait get an error.
    pub fn reset(&self) {
        self.handle.body().reset(self.handle.scope());
    }

    /// How many parties must come.
    pub fn parties(&self) -> u32 {
        self.handle.body().parties()
    }

    /// How many wait at this moment; 0 if it is broken.
    pub fn n_waiting(&self) -> u32 {
        self.handle.body().n_waiting()
    }

    /// Whether it is broken.
    pub fn broken(&self) -> bool {
        self.handle.body().broken()
    }

    /// For tests: the same barrier through another mapping of the arena. Not part of the API.
    ///
    /// # Errors
    /// If the scope maps another arena.
    #[doc(hidden)]
    pub fn through(&self, scope: sync::Scope) -> Result<Barrier, ShmError> {
        self.handle
            .through(Kind::Barrier, scope)
            .map(|handle| Barrier { handle })
    }

    /// The words, the parties' entries, and the scope they lie in, for faces in other languages. Not part of the API.
    #[doc(hidden)]
    pub fn words(&self) -> (&sync::Barrier, &[AtomicU64], sync::Scope) {
        let barrier = self.handle.body();
        let who = self.handle.tail::<AtomicU64>(barrier.parties() as usize);
        (barrier, who, self.handle.scope())
    }

    pub(super) fn handle(&self) -> &Handle<sync::Barrier> {
        &self.handle
    }

    pub(super) fn from_handle(handle: Handle<sync::Barrier>) -> Barrier {
        Barrier { handle }
    }

    /// Whether two handles name the same barrier.
    pub fn same(&self, other: &Barrier) -> bool {
        self.handle.same(&other.handle)
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("n_waiting", &self.n_waiting())
            .field("broken", &self.broken())
            .finish_non_exhaustive()
    }
}

struct OnUnwind<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnUnwind<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
