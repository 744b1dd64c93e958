//! Looking for a message, before sleeping until it comes.
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

/// After how many waits in a row that were none, how many pass without a try.
const OFTEN: u32 = 8;

/// What a look has found.
#[derive(Debug)]
pub enum Looked<T> {
    /// It was there already: that says nothing about looking.
    AtOnce(T),
    /// It came while we looked.
    Found(T),
    /// It did not come.
    InVain,
}

/// When something was found.
#[derive(Debug, Clone, Copy)]
pub struct Sighting(u64);

impl Sighting {
    /// It was found now.
    pub fn now() -> Sighting {
        Sighting(nanos_since_boot())
    }
}

/// Tries, without waiting, until it is there or a look's length has passed.
///
/// # Errors
/// Those of a try, which end the look.
pub fn look<T, E>(mut once: impl FnMut() -> Result<Option<T>, E>) -> Result<Looked<T>, E> {
    if let Some(at_once) = once()? {
        return Ok(Looked::AtOnce(at_once));
    }
    let until = nanos_since_boot() + LONGEST_LOOK;
    loop {
        if let Some(found) = once()? {
            return Ok(Looked::Found(found));
        }
        if nanos_since_boot() >= until {
            return Ok(Looked::InVain);
        }
    }
}

/// Whether looking pays. A hint: whoever shares it, or has a copy of it after a fork, loses a look at most.
#[derive(Debug, Default)]
pub struct Looking {
    /// How many waits have to pass before the next look.
    without: AtomicU32,
    /// How many there were to pass after the last look.
    last: AtomicU32,
    /// How often in a row it was there at once.
    there: AtomicU32,
}

impl Looking {
    /// Receives by `once`, which waits until a deadline: before it sleeps, if that promises something, it looks for a while.
    pub(super) fn receive<T>(
        &self,
        deadline: Deadline,
        mut once: impl FnMut(Deadline) -> io::Result<Option<T>>,
    ) -> io::Result<Option<T>> {
        if deadline.is_never() && self.is_worthwhile() {
            match look(|| once(Deadline::NOW))? {
                Looked::AtOnce(received) => return Ok(Some(received)),
                Looked::Found(received) => {
                    self.paid();
                    return Ok(Some(received));
                }
                Looked::InVain => self.was_in_vain(),
            }
        }
        once(deadline)
    }

    /// Whether to look before this wait.
    pub fn is_worthwhile(&self) -> bool {
        let without = self.without.load(Relaxed);
        if without > 0 {
            self.without.store(without - 1, Relaxed);
        }
        without == 0 && !sys::has_one_cpu()
    }

    fn paid(&self) {
        self.there.store(0, Relaxed);
        self.last.store(self.last.load(Relaxed) / 2, Relaxed);
    }

    /// Nothing came while we looked.
    pub fn was_in_vain(&self) {
        self.there.store(0, Relaxed);
        let more = self.last.load(Relaxed).saturating_mul(2);
        let more = more.clamp(1, MOST_WITHOUT);
        self.last.store(more, Relaxed);
        self.without.store(more, Relaxed);
    }

    /// It was there at once. Where that is so again and again nobody looks for some waits: for whom a try costs more than a call that waits.
    pub fn was_there(&self) {
        let there = self.there.load(Relaxed);
        if there < OFTEN {
            self.there.store(there + 1, Relaxed);
        } else {
            self.without.store(OFTEN, Relaxed);
        }
    }

    /// What was found can be used from now on. Where it could not be for longer than a look takes, to look gained nothing.
    pub fn is_of_use(&self, found: Sighting) {
        if nanos_since_boot() - found.0 <= LONGEST_LOOK {
            self.paid();
        } else {
            self.was_in_vain();
        }
    }
}
