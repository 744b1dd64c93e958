//! How long to look at a held lock before sleeping.
//!
//! A few looks with ever more pauses between them come first, for a holder that runs on another CPU: each look takes the
//! cache line from whoever is about to release, so they grow rare quickly. Then the CPU is offered to others between two
//! looks: if the holder waits for *this* CPU, it can go on at once, and neither of us needs a sleep or a wake-up. The same
//! in outline as parking_lot's `SpinWait`.

use super::door::Scope;

/// Looks with pauses between them: 2, 4 and 8.
#[cfg(not(allcores_loom))]
const PAUSING: u32 = 3;
/// Looks with an offer of the CPU between them; each costs half a microsecond if nobody wants it.
#[cfg(not(allcores_loom))]
const OFFERING: u32 = 7;
/// The same in an arena, where a sleep costs more: it is timed, and the kernel looks pages up for it. Some 15 µs in all.
#[cfg(not(allcores_loom))]
const OFFERING_SHARED: u32 = 30;
/// Offers of one who waits for a Lock in an arena, and the pauses between them: see [`Spin::of_lock`]. Some 20 µs in all.
#[cfg(not(allcores_loom))]
const OFFERING_LOCK: u32 = 15;
#[cfg(not(allcores_loom))]
const PAUSES_LOCK: u32 = 80;

/// A budget of looks at a word.
pub(crate) struct Spin {
    #[cfg(not(allcores_loom))]
    turn: u32,
    #[cfg(not(allcores_loom))]
    last: u32,
    /// Pauses after each offer but the first.
    #[cfg(not(allcores_loom))]
    pauses: u32,
}

#[cfg(not(allcores_loom))]
impl Spin {
    pub(crate) fn new(scope: Scope) -> Spin {
        let offering = if scope.is_shared() {
            OFFERING_SHARED
        } else {
            OFFERING
        };
        Spin {
            pauses: 0,
            last: PAUSING + offering,
            // With one CPU whoever holds the lock cannot run while we look.
            turn: if crate::sys::has_one_cpu() {
                PAUSING
            } else {
                0
            },
        }
    }

    /// For a Lock, which is mostly held for a moment by one who soon wants it again. Who looks at once finds it free as often
    /// as not, takes it, and has the other look at once: then the line goes to and fro for each acquisition, and two are
    /// slower than one alone. So in an arena, where sleeping is no answer, the looks are rare from the beginning; whoever
    /// holds the lock gets many turns done between two of them. The first offer has no pauses behind it: if both have one CPU,
    /// the lock is free when we are back.
    pub(crate) fn of_lock(scope: Scope) -> Spin {
        if !scope.is_shared() {
            return Spin::new(scope);
        }
        Spin {
            turn: PAUSING,
            last: PAUSING + OFFERING_LOCK,
            pauses: PAUSES_LOCK,
        }
    }

    /// Whether to look once more.
    #[inline]
    pub(crate) fn once_more(&mut self) -> bool {
        if self.turn == self.last {
            return false;
        }
        self.turn += 1;
        if self.turn <= PAUSING {
            (0..1 << self.turn).for_each(|_| std::hint::spin_loop());
        } else {
            crate::sys::offer_cpu();
            if self.turn > PAUSING + 1 {
                (0..self.pauses).for_each(|_| std::hint::spin_loop());
            }
        }
        true
    }
}

#[cfg(allcores_loom)]
impl Spin {
    pub(crate) fn new(_: Scope) -> Spin {
        Spin {}
    }

    pub(crate) fn of_lock(_: Scope) -> Spin {
        Spin {}
    }

    pub(crate) fn once_more(&mut self) -> bool {
        false
    }
}
