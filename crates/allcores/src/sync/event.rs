//! Event: a flag that many wait for.

use super::door::{AtomicU32, Deadline, Scope, Sleeper, Slept};
use super::spin::Spin;
use super::{Waited, const_fn};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// Somebody sleeps, or did: set() must wake.
const WAITERS: u32 = 1 << 31;
const SET: u32 = 1 << 30;
/// How often set() was called, modulo 2^30: a sleeper sees that it was set even if it was cleared again at once.
const COUNT: u32 = SET - 1;

const fn is_set(word: u32) -> bool {
    word & SET != 0
}
const fn has_waiters(word: u32) -> bool {
    word & WAITERS != 0
}

/// One lock-free word: `[31 WAITERS][30 SET][29..0 count of set()s]`.
///
/// set, clear, is_set and wait may run in a signal handler of a thread that is inside any of them.
#[repr(C)]
pub struct Event {
    word: AtomicU32,
}

impl Event {
    const_fn! {
        /// An event that is not set.
        pub const fn new() -> Event {
            Event { word: AtomicU32::new(0) }
        }
    }

    /// Whether it is set: one load.
    #[inline]
    pub fn is_set(&self) -> bool {
        is_set(self.word.load(Acquire))
    }

    /// Sets it and wakes all who wait.
    ///
    /// The word is written even if it was set: a waiter that clears the event and then looks at what it guards must either
    /// see what we wrote before, or find the event set again.
    ///
    /// # Safety
    /// `this` must point to a live event; it may be gone when this returns.
    #[inline]
    pub unsafe fn set(this: *const Event, scope: Scope) {
        // SAFETY: live at entry, as the caller promises; not touched after the store.
        let word = unsafe { &(*this).word };
        let address = std::ptr::from_ref(word);
        let mut seen = word.load(Relaxed);
        loop {
            if has_waiters(seen) {
                scope.be_heard();
            }
            match word.compare_exchange_weak(
                seen,
                SET | (seen.wrapping_add(1) & COUNT),
                AcqRel,
                Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        if has_waiters(seen) {
            scope.wake(address, u32::MAX);
        }
    }

    /// Clears it.
    #[inline]
    pub fn clear(&self) {
        self.word.fetch_and(!SET, AcqRel);
    }

    /// Waits until it is set, or has been set since the call, or `deadline` passes.
    #[inline]
    pub fn wait(&self, scope: Scope, deadline: Deadline) -> Waited {
        let word = self.word.load(Acquire);
        if is_set(word) {
            Waited::Yes
        } else {
            self.wait_slow(scope, deadline, word)
        }
    }

    /// Now, for [`Event::wait_since`].
    #[inline]
    pub fn moment(&self) -> u32 {
        self.word.load(Acquire)
    }

    /// Waits until it is set, or has been set since a [`Event::moment`], or `deadline` passes: a wait that goes on after an
    /// interruption misses nothing that happened meanwhile.
    pub fn wait_since(&self, scope: Scope, deadline: Deadline, moment: u32) -> Waited {
        self.wait_slow(scope, deadline, moment)
    }

    #[cold]
    fn wait_slow(&self, scope: Scope, deadline: Deadline, first: u32) -> Waited {
        let mut spin = Spin::new(scope);
        let mut sleeper = Sleeper::new(scope, deadline);
        loop {
            let word = self.word.load(Acquire);
            if is_set(word) || (word ^ first) & COUNT != 0 {
                return Waited::Yes;
            }
            if deadline.is_now() {
                return Waited::TimedOut;
            }
            if !has_waiters(word) && spin.once_more() {
                continue;
            }
            if !has_waiters(word)
                && self
                    .word
                    .compare_exchange(word, word | WAITERS, Relaxed, Relaxed)
                    .is_err()
            {
                continue;
            }
            match sleeper.sleep(&self.word, word | WAITERS, || true) {
                Slept::Woken => {}
                Slept::TimedOut => return Waited::TimedOut,
                Slept::Interrupted => return Waited::Interrupted,
            }
        }
    }

    /// Not set, nobody waiting; for a forked child that knows nobody else uses it.
    pub fn reset(&self) {
        self.word.store(0, Relaxed);
    }
}

impl Default for Event {
    fn default() -> Event {
        Event::new()
    }
}
