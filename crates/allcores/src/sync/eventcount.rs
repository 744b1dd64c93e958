//! Event count: sleep until somebody says that something may have changed.
//!
//! The condition itself lies elsewhere (a queue's counters, say) and is no part of it. After Dmitry Vyukov's eventcount:
//! whoever waits announces itself, looks at the condition once more, and sleeps; whoever changes the condition looks for
//! announcements after that. One of the two sees the other.

use super::const_fn;
use super::door::{AtomicU32, Scope, Sleeper, Slept, fence};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// Somebody sleeps, or did, or is about to.
const SLEEPERS: u32 = 1;
/// One announcement, or one notification: the word moves with each.
const MOVE: u32 = 2;

/// One word: `[31..1 announcements and notifications, modulo 2^31][0 SLEEPERS]`.
#[repr(C)]
pub struct EventCount {
    word: AtomicU32,
}

impl EventCount {
    const_fn! {
        /// Nobody sleeps.
        pub const fn new() -> EventCount {
            EventCount { word: AtomicU32::new(0) }
        }
    }

    /// Announces that the caller is about to sleep. It must look at the condition after this and before
    /// [`EventCount::sleep`], to which it gives what is returned here.
    pub fn announce(&self) -> u32 {
        let mut seen = self.word.load(Relaxed);
        loop {
            let announced = seen.wrapping_add(MOVE) | SLEEPERS;
            match self
                .word
                .compare_exchange_weak(seen, announced, Relaxed, Relaxed)
            {
                Ok(_) => {
                    // The announcement before the caller's look at the condition; see `notify`.
                    fence(SeqCst);
                    return announced;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Sleeps unless the word has moved since `announced`: then, or when it is notified, or for no reason at all, the caller
    /// looks at the condition again. `worthwhile` is asked whether that is still to be waited for, after the signs of death
    /// have been noted.
    pub(crate) fn sleep(
        &self,
        sleeper: &mut Sleeper,
        announced: u32,
        worthwhile: impl Fn() -> bool,
    ) -> Slept {
        sleeper.sleep(&self.word, announced, worthwhile)
    }

    /// Wakes `count` of those who sleep. To be called after the condition has changed: costs a fence and a load if nobody
    /// sleeps.
    #[inline]
    pub fn notify(&self, scope: Scope, count: u32) {
        // The change of the condition before the look for announcements; see `announce`.
        fence(SeqCst);
        if self.word.load(Relaxed) & SLEEPERS != 0 {
            self.notify_sleepers(scope, count);
        }
    }

    #[cold]
    fn notify_sleepers(&self, scope: Scope, count: u32) {
        scope.be_heard();
        // Whoever has announced itself but does not sleep yet finds the word moved.
        let moved = self.word.fetch_add(MOVE, Relaxed).wrapping_add(MOVE);
        let woken = scope.wake(&self.word, count);
        if woken < count {
            // Nobody sleeps on. An announcement since then has moved the word, and the bit stays.
            let _ = self
                .word
                .compare_exchange(moved, moved & !SLEEPERS, Relaxed, Relaxed);
        }
    }
}

impl Default for EventCount {
    fn default() -> EventCount {
        EventCount::new()
    }
}

#[cfg(allcores_loom)]
impl EventCount {
    /// For the models: waits until `holds`; false if the deadline passes first.
    pub fn wait_until(
        &self,
        scope: Scope,
        deadline: super::door::Deadline,
        holds: impl Fn() -> bool,
    ) -> bool {
        let mut sleeper = Sleeper::new(scope, deadline);
        loop {
            if holds() {
                return true;
            }
            let announced = self.announce();
            if holds() {
                return true;
            }
            if self.sleep(&mut sleeper, announced, || !holds()) == Slept::TimedOut {
                return holds();
            }
        }
    }
}
