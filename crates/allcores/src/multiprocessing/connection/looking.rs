//! Looking for a packet, before sleeping until it comes.
//!
//! An idle CPU takes longer to wake than most answers take to be made, and waking it costs the sender, too. So who waits for an answer
//! from another CPU looks for it for a while. Where the sender needs this very CPU, or takes its time, that is lost; so it is
//! not tried again until so many waits have passed, twice as many each time.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::sys;
use crate::sys::clock::{Deadline, nanos_since_boot};

/// The longest look, in nanoseconds: about what it costs to wake an idle CPU there, and to be woken by it.
const LONGEST_LOOK: u64 = 40_000;

/// The most waits that pass without a look.
const MOST_WITHOUT: u32 = 256;

/// Whether looking pays; changed by whoever has the turn of receiving.
#[derive(Debug, Default)]
pub(super) struct Looking {
    /// How many waits have to pass before the next look.
    without: AtomicU32,
    /// How many there were to pass after the last look.
    last: AtomicU32,
}

impl Looking {
    /// Receives by `once`, which waits until a deadline: before it sleeps, if that promises something, it looks for a while.
    pub(super) fn receive<T>(
        &self,
        deadline: Deadline,
        mut once: impl FnMut(Deadline) -> io::Result<Option<T>>,
    ) -> io::Result<Option<T>> {
        if deadline.is_never() && self.is_worthwhile() {
            if let Some(at_once) = once(Deadline::NOW)? {
                return Ok(Some(at_once));
            }
            let until = nanos_since_boot() + LONGEST_LOOK;
            loop {
                if let Some(received) = once(Deadline::NOW)? {
                    self.last.store(self.last.load(Relaxed) / 2, Relaxed);
                    return Ok(Some(received));
                }
                if nanos_since_boot() >= until {
                    break;
                }
            }
            let more = (self.last.load(Relaxed) * 2).clamp(1, MOST_WITHOUT);
            self.last.store(more, Relaxed);
            self.without.store(more, Relaxed);
        }
        once(deadline)
    }

    fn is_worthwhile(&self) -> bool {
        let without = self.without.load(Relaxed);
        if without > 0 {
            self.without.store(without - 1, Relaxed);
        }
        without == 0 && !sys::has_one_cpu()
    }
}
