//! Looking again before waiting.
//!
//! Another process that holds a lock has mostly done with it in less time than it takes to let go of the interpreter and to come back, and
//! who comes back with the lock in hand has the others wait for that, too: two processes that contend were half as fast. So who finds it taken looks
//! a few times more, interpreter in hand, for some hundred nanoseconds. Where that is in vain, because the holder takes its time or needs
//! this very CPU, so many waits pass without it, twice as many each time.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

/// Looks, and the pauses before each. A pause takes 26 ns on the machine of docs/benchmarks.md.
const LOOKS: u32 = 2;
const PAUSES: u32 = 16;
/// The most waits that pass without a look.
const MOST_WITHOUT: u16 = 256;

/// Whether looking pays. A hint: steps that are lost between threads do no harm.
#[derive(Default)]
pub(super) struct Soon {
    /// How many waits have to pass before the next look.
    without: AtomicU16,
    /// How many there were to pass after the last look.
    last: AtomicU16,
}

impl Soon {
    /// Tries to take what was taken a moment ago.
    #[cold]
    pub(super) fn look(&self, take: impl Fn() -> bool) -> bool {
        let without = self.without.load(Relaxed);
        if without > 0 {
            self.without.store(without - 1, Relaxed);
            return false;
        }
        for _ in 0..LOOKS {
            (0..PAUSES).for_each(|_| spin_loop());
            if take() {
                self.last.store(0, Relaxed);
                return true;
            }
        }
        let more = (self.last.load(Relaxed) * 2).clamp(1, MOST_WITHOUT);
        self.last.store(more, Relaxed);
        self.without.store(more, Relaxed);
        false
    }
}
