//! How those wait who find the queue empty, or full: first they look, then they offer their CPU, then they sleep.
//!
//! Looking pays only while the other side runs on another CPU: to wake a sleeper there takes longer than most answers. Where
//! it ran last stands beside what it moves. How long to look is learned: twice as long after it paid, half after it did not.

use std::sync::atomic::Ordering::*;

use super::body::{Changes, Moved, SHARED};
use super::core::Core;
use super::poll;
use crate::sync::sleep::Sleeper;
use crate::sync::{Deadline, Scope, Slept};
use crate::sys;
use crate::sys::clock::nanos_since_boot;

/// The longest look, in nanoseconds: about what it costs to wake an idle CPU.
const LONGEST_LOOK: u32 = 20_000;
const SHORTEST_LOOK: u32 = 500;
/// Now and then a long look is worth a try, or short ones would never learn that times have changed.
const TRY_AGAIN: u32 = 32;
/// How many pauses there are between two looks, at first and at last. Each look takes the line from whoever is about to
/// change it, and the line of the message after that: one that looks too eagerly is slower than one that comes back for
/// several messages.
const FIRST_PAUSES: u32 = 1;
const MOST_PAUSES: u32 = 16;
/// How long to let messages gather after the first, in nanoseconds.
const GATHERING: u64 = 1_000;
/// After how many waits that is tried again where it did not pay.
const GATHER_AGAIN: u32 = 256;
/// How often the CPU is offered to others before sleeping.
const OFFERS: u32 = 12;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    Items,
    Room,
}

/// How a wait ended that the other side did not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    TimedOut,
    Interrupted,
    /// Nobody is left who could end it.
    Disconnected,
}

/// A wait in progress: one operation may have to wait several times.
pub(crate) struct Wait {
    sleeper: Sleeper,
    deadline: Deadline,
    slept: bool,
    /// Whether it ends when nobody else holds the queue.
    heeds_holders: bool,
}

impl Wait {
    pub(crate) fn new(scope: Scope, deadline: Deadline, heeds_holders: bool) -> Wait {
        Wait {
            sleeper: Sleeper::new(scope, deadline),
            deadline,
            slept: false,
            heeds_holders,
        }
    }
}

impl Core {
    /// Returns when there may be something for `awaited`.
    #[cold]
    pub(crate) fn wait(&self, awaited: Awaited, wait: &mut Wait) -> Result<(), Ended> {
        let body = self.body();
        let (changes, other) = match awaited {
            Awaited::Items => (&body.items, &body.put.moved),
            Awaited::Room => (&body.room, &body.get.moved),
        };
        if wait.deadline.is_now() {
            return Err(Ended::TimedOut);
        }
        let come = || self.is_closed() || self.has_come(awaited);
        if !wait.slept {
            match look(changes, other, come) {
                Look::Here => return Ok(()),
                Look::FromAnotherCpu => {
                    if awaited == Awaited::Items {
                        self.gather();
                    }
                    return Ok(());
                }
                Look::InVain => {}
            }
        }
        let announced = changes.changed.announce();
        if come() {
            return Ok(());
        }
        // Rarely asked: nobody's going is missed for longer than a sleep that listens to nothing else.
        if wait.slept && wait.heeds_holders && self.is_alone() && !come() {
            return Err(Ended::Disconnected);
        }
        let worthwhile = || !(come() || wait.heeds_holders && self.is_alone());
        wait.slept = true;
        match changes
            .changed
            .sleep(&mut wait.sleeper, announced, worthwhile)
        {
            Slept::Woken => Ok(()),
            Slept::TimedOut => Err(Ended::TimedOut),
            Slept::Interrupted => Err(Ended::Interrupted),
        }
    }

    /// Lets a message that has come be followed by others, where the producers do not wait for an answer.
    ///
    /// A consumer that takes each message as soon as it is there takes the lines that the producer is about to write, one message after
    /// the other, and both are three times as slow as with some messages between them. Whether more would come is tried now and then: one
    /// that waits for answers sends none meanwhile.
    fn gather(&self) {
        let hints = &self.body().items.patience;
        let paid = hints.gathers.load(Relaxed) != 0;
        if !paid && !hints.waits.load(Relaxed).is_multiple_of(GATHER_AGAIN) {
            return;
        }
        let before = self.len();
        let until = nanos_since_boot() + GATHERING;
        while nanos_since_boot() < until {
            (0..MOST_PAUSES).for_each(|_| std::hint::spin_loop());
        }
        let pays = self.len() > before.saturating_add(2);
        hints.gathers.store(u32::from(pays), Relaxed);
    }

    #[inline]
    fn has_come(&self, awaited: Awaited) -> bool {
        match awaited {
            Awaited::Items => self.len() > 0,
            Awaited::Room => !self.is_full(),
        }
    }

    /// For one that was woken perhaps, and has moved nothing: another sleeper is woken in its place.
    #[cold]
    pub(crate) fn pass_on(&self, awaited: Awaited) {
        if self.has_come(awaited) {
            let changes = match awaited {
                Awaited::Items => &self.body().items,
                Awaited::Room => &self.body().room,
            };
            changes.changed.notify(self.scope(), 1);
        }
    }

    /// Whether others held the queue once and nobody does now: no other process, no message on its way, no other handle
    /// here.
    pub(crate) fn is_alone(&self) -> bool {
        self.was_shared() && self.handle().alone_with(poll::handles(self))
    }

    /// Whether anybody else ever held it, or was to.
    pub(super) fn was_shared(&self) -> bool {
        self.body().state.load(Relaxed) & SHARED != 0
    }
}

/// What came of a look.
enum Look {
    /// It came.
    Here,
    /// It came, from a CPU that goes on.
    FromAnotherCpu,
    InVain,
}

/// Looks for what is to come, as long as that promises something.
fn look(changes: &Changes, other: &Moved, come: impl Fn() -> bool) -> Look {
    if !sys::has_one_cpu() && other.cpu.load(Relaxed) != sys::current_cpu() + 1 {
        let hints = &changes.patience;
        let waits = hints.waits.fetch_add(1, Relaxed);
        let patience = match hints.length.load(Relaxed) {
            0 => LONGEST_LOOK,
            _ if waits.is_multiple_of(TRY_AGAIN) => LONGEST_LOOK,
            known => known.clamp(SHORTEST_LOOK, LONGEST_LOOK),
        };
        let until = nanos_since_boot() + u64::from(patience);
        let mut pauses = FIRST_PAUSES;
        loop {
            (0..pauses).for_each(|_| std::hint::spin_loop());
            if come() {
                let longer = patience.saturating_mul(2).min(LONGEST_LOOK);
                hints.length.store(longer, Relaxed);
                return Look::FromAnotherCpu;
            }
            if pauses < MOST_PAUSES {
                pauses *= 2;
            } else if nanos_since_boot() >= until {
                break;
            }
        }
        let shorter = (patience / 2).max(SHORTEST_LOOK);
        hints.length.store(shorter, Relaxed);
    }
    // For one that waits for this very CPU.
    for _ in 0..OFFERS {
        sys::offer_cpu();
        if come() {
            return Look::Here;
        }
    }
    Look::InVain
}
