//! Barrier: threads that go on together.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::sync::barrier::{Arrival, Arrived, BarrierWaited};
use crate::sync::{self, Deadline, Scope};

/// A number of parties that no barrier has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a barrier has 1 to {} parties, not {parties}", Barrier::MAX)]
pub struct InvalidParties {
    /// What was asked for.
    pub parties: u32,
}

/// The parties did not all come: the barrier is broken, or was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", if *.timed_out {
    "not all parties came to the barrier in time"
} else {
    "the barrier is broken: a party gave up, or somebody called abort or reset; reset makes it whole"
})]
pub struct BrokenBarrier {
    timed_out: bool,
}

impl BrokenBarrier {
    pub(crate) const BROKEN: BrokenBarrier = BrokenBarrier { timed_out: false };
    pub(crate) const TIMED_OUT: BrokenBarrier = BrokenBarrier { timed_out: true };

    /// Whether it was the time of this very call that ran out.
    pub fn timed_out(&self) -> bool {
        self.timed_out
    }
}

/// A party that has passed a [`Barrier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult {
    index: u32,
}

impl BarrierWaitResult {
    pub(crate) fn new(index: u32) -> BarrierWaitResult {
        BarrierWaitResult { index }
    }

    /// From 0 to one less than the number of parties, and another for each that passes together.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Whether this is the one party of all that pass together which may do what is to be done once.
    pub fn is_leader(&self) -> bool {
        self.index == 0
    }
}

/// A place where a number of threads wait until all of them have come: Python's `threading.Barrier`.
///
/// ```
/// use allcores::threading::{self, Barrier};
///
/// let barrier = Barrier::new(3)?;
/// let leaders = threading::scope(|s| {
///     let threads: Vec<_> = (0..3).map(|_| s.spawn(|| barrier.wait())).collect();
///     threads.iter().filter(|t| matches!(t.result(), Ok(Ok(passed)) if passed.is_leader())).count()
/// })?;
/// assert_eq!(leaders, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It can be used any number of times over. One party that gives up (by a timeout, or because the action panicked) breaks
/// it for all: those that wait and those that come get [`BrokenBarrier`] at once, until [`Barrier::reset`]. In the child
/// of a fork, a party that stayed behind while it waited breaks the barrier when the last one comes.
pub struct Barrier {
    core: sync::Barrier,
    who: Box<[AtomicU64]>,
    action: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Barrier {
    /// The most parties of any barrier: 65,535.
    pub const MAX: u32 = sync::Barrier::MAX;

    /// A barrier for as many threads.
    ///
    /// # Errors
    /// [`InvalidParties`] if `parties` is 0 or above [`Barrier::MAX`].
    pub fn new(parties: u32) -> Result<Barrier, InvalidParties> {
        if parties == 0 || parties > Barrier::MAX {
            return Err(InvalidParties { parties });
        }
        Ok(Barrier {
            core: sync::Barrier::new(parties),
            who: (0..parties).map(|_| AtomicU64::new(0)).collect(),
            action: None,
        })
    }

    /// A barrier for as many threads, the last of which calls `action` each time before all go on. If that panics, the
    /// barrier is broken for the others, and the panic goes on in the thread that called it.
    ///
    /// # Errors
    /// As [`Barrier::new`].
    pub fn with_action(
        parties: u32,
        action: impl Fn() + Send + Sync + 'static,
    ) -> Result<Barrier, InvalidParties> {
        Ok(Barrier {
            action: Some(Box::new(action)),
            ..Barrier::new(parties)?
        })
    }

    /// Waits for the other parties, as long as it takes. Signal handlers that run meanwhile do not end the wait.
    ///
    /// # Errors
    /// [`BrokenBarrier`] if the barrier is broken or breaks, or is reset.
    ///
    /// # Panics
    /// If this is the last party, and the action panics.
    pub fn wait(&self) -> Result<BarrierWaitResult, BrokenBarrier> {
        self.wait_until(Deadline::NEVER)
    }

    /// Waits for the other parties, for `timeout` at most. If they have not all come by then, that breaks the barrier.
    /// Zero does not wait.
    ///
    /// # Errors
    /// As [`Barrier::wait`]; [`BrokenBarrier::timed_out`] tells which.
    ///
    /// # Panics
    /// As [`Barrier::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<BarrierWaitResult, BrokenBarrier> {
        self.wait_until(Deadline::after(timeout))
    }

    fn wait_until(&self, deadline: Deadline) -> Result<BarrierWaitResult, BrokenBarrier> {
        let arrival = loop {
            match self.core.arrive(Scope::PRIVATE, &self.who, deadline) {
                Arrived::Yes(arrival) => break arrival,
                Arrived::Broken => return Err(BrokenBarrier { timed_out: false }),
                Arrived::TimedOut => return Err(BrokenBarrier { timed_out: true }),
                Arrived::Interrupted => {}
            }
        };
        if arrival.last {
            self.act(arrival)
        } else {
            self.sleep(arrival, deadline)
        }
    }

    fn act(&self, arrival: Arrival) -> Result<BarrierWaitResult, BrokenBarrier> {
        /// Breaks the barrier unless it is forgotten.
        struct Breaks<'a>(&'a Barrier);
        impl Drop for Breaks<'_> {
            fn drop(&mut self) {
                self.0.abort();
            }
        }
        if let Some(action) = &self.action {
            let breaks = Breaks(self);
            action();
            std::mem::forget(breaks);
        }
        let index = arrival.index;
        match self.core.complete(Scope::PRIVATE, arrival) {
            Ok(()) => Ok(BarrierWaitResult { index }),
            Err(_) => Err(BrokenBarrier { timed_out: false }),
        }
    }

    fn sleep(
        &self,
        arrival: Arrival,
        deadline: Deadline,
    ) -> Result<BarrierWaitResult, BrokenBarrier> {
        let index = arrival.index;
        loop {
            let slept = self
                .core
                .sleep(Scope::PRIVATE, &self.who, &arrival, deadline);
            match slept {
                BarrierWaited::Passed => return Ok(BarrierWaitResult { index }),
                BarrierWaited::Broken => return Err(BrokenBarrier { timed_out: false }),
                BarrierWaited::TimedOut => return Err(BrokenBarrier { timed_out: true }),
                BarrierWaited::Interrupted => {}
            }
        }
    }

    /// Breaks the barrier, for those that wait and those that will come.
    pub fn abort(&self) {
        self.core.abort(Scope::PRIVATE);
    }

    /// Makes the barrier whole and empty again. Those that wait get [`BrokenBarrier`].
    pub fn reset(&self) {
        self.core.reset(Scope::PRIVATE);
    }

    /// How many threads pass together.
    pub fn parties(&self) -> u32 {
        self.core.parties()
    }

    /// How many wait at this moment; none if the barrier is broken.
    pub fn n_waiting(&self) -> u32 {
        self.core.n_waiting()
    }

    /// Whether the barrier is broken.
    pub fn broken(&self) -> bool {
        self.core.broken()
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("waiting", &self.n_waiting())
            .field("broken", &self.broken())
            .finish()
    }
}
