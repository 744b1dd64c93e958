//! OwnedSemaphore: permits that belong to participants, so that those of a killed one come back, each exactly once.

use super::door::{AtomicU64, Deadline, Scope, Sleeper, Slept};
use super::spin::Spin;
use super::{Waited, const_fn};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// How many accounts a semaphore has: one for each slot of participants.
#[cfg(not(allcores_loom))]
pub const SLOTS: usize = 2048;
/// How many accounts a semaphore has: one for each slot of participants.
#[cfg(allcores_loom)]
pub const SLOTS: usize = 4;

/// Somebody sleeps, or did: whoever brings permits must wake.
const WAITERS: u32 = 1 << 31;
const COUNT: u32 = WAITERS - 1;

const TAG_BITS: u32 = 19;
const TAG: u32 = (1 << TAG_BITS) - 1;
const _: () = assert!(SLOTS <= 1 << 11);

/// What the last operation did to its actor's account.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    /// One permit more.
    Acquire = 1,
    /// One less.
    Release = 2,
    /// None left.
    Reclaim = 3,
}

const fn low(word: u64) -> u32 {
    word as u32
}
const fn count(word: u64) -> u32 {
    low(word) & COUNT
}
const fn has_waiters(word: u64) -> bool {
    low(word) & WAITERS != 0
}
/// What the word says of the last operation: who, what, and which of that actor's operations it was.
const fn last(word: u64) -> u32 {
    (word >> 32) as u32
}
const fn describe(op: Op, actor: usize, tag: u32) -> u32 {
    (op as u32) << 30 | (actor as u32) << TAG_BITS | tag & TAG
}

/// Operations so far, and permits held.
const fn account(tag: u32, held: u32) -> u64 {
    (tag as u64) << 32 | held as u64
}
const fn tag_of(account: u64) -> u32 {
    (account >> 32) as u32
}
const fn held_of(account: u64) -> u32 {
    account as u32
}

/// The participant holds no permit that it could return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "release of a permit that this process does not hold: each permit must be returned by the process that took it"
)]
pub struct NoPermit;

/// `[63..62 last operation][61..51 its actor][50..32 its tag][31 WAITERS][30..0 permits]`.
///
/// The accounts, `[63..32 operations so far][31..0 permits held]` for each slot of participants, lie elsewhere and are
/// passed to every call: [`SLOTS`] of them, zero at first, and always the same. An operation is one exchange of the word,
/// which changes the count and says who did what; whoever changes the word next writes that to the actor's account
/// *before*. So there is no instant in which a permit is in nobody's hands, and nobody has to come back to finish.
///
/// A participant is a process: permits are not lost with the thread that took them.
#[repr(C)]
pub struct OwnedSemaphore {
    word: AtomicU64,
}

impl OwnedSemaphore {
    /// The most permits: 2^31 - 1.
    pub const MAX: u32 = COUNT;

    const_fn! {
        /// A semaphore with `permits`, at most [`OwnedSemaphore::MAX`]; there will never be more.
        pub const fn new(permits: u32) -> OwnedSemaphore {
            assert!(permits <= COUNT, "a semaphore has at most 2^31 - 1 permits");
            OwnedSemaphore { word: AtomicU64::new(permits as u64) }
        }
    }

    /// Takes one permit, waiting until `deadline` at most. Permits of dead participants are taken back first.
    ///
    /// # Panics
    /// Here and below: if there are fewer than [`SLOTS`] accounts.
    #[inline]
    pub fn acquire(&self, scope: Scope, accounts: &[AtomicU64], deadline: Deadline) -> Waited {
        let word = self.word.load(Acquire);
        if count(word) > 0 && self.take(scope, accounts, word, 0) {
            return Waited::Yes;
        }
        self.acquire_slow(scope, accounts, deadline)
    }

    /// Takes one permit if there is one, or if the dead have left one.
    #[inline]
    pub fn try_acquire(&self, scope: Scope, accounts: &[AtomicU64]) -> bool {
        self.acquire(scope, accounts, Deadline::NOW) == Waited::Yes
    }

    #[cold]
    fn acquire_slow(&self, scope: Scope, accounts: &[AtomicU64], deadline: Deadline) -> Waited {
        let mut spin = Spin::new();
        let mut sleeper = Sleeper::new(scope, deadline);
        // As in Lock, step "keep the bit".
        let mut keep = 0;
        loop {
            let word = self.word.load(Acquire);
            if count(word) > 0 {
                if self.take(scope, accounts, word, keep) {
                    spin.ended();
                    // As in Semaphore, step "pass it on".
                    if keep != 0 && count(word) > 1 {
                        scope.wake_low(&raw const self.word, 1);
                    }
                    return Waited::Yes;
                }
                continue;
            }
            if !has_waiters(word) && keep == 0 && !deadline.is_now() && spin.once_more() {
                continue;
            }
            if self.reclaim_the_dead(scope, accounts) {
                continue;
            }
            if deadline.is_now() {
                return Waited::TimedOut;
            }
            if !has_waiters(word)
                && self
                    .word
                    .compare_exchange(word, word | u64::from(WAITERS), Relaxed, Relaxed)
                    .is_err()
            {
                continue;
            }
            match sleeper.sleep_low(&self.word, WAITERS, || !self.has_dead(scope, accounts)) {
                Slept::Woken => keep = WAITERS,
                Slept::TimedOut => return Waited::TimedOut,
                Slept::Interrupted => return Waited::Interrupted,
            }
        }
    }

    /// Returns one permit of this participant, and wakes a waiter.
    #[inline]
    pub fn release(&self, scope: Scope, accounts: &[AtomicU64]) -> Result<(), NoPermit> {
        let me = slot_of(scope.me());
        loop {
            let word = self.word.load(Acquire);
            self.record(accounts, word);
            let mine = accounts[me].load(Acquire);
            // An operation of ours that has not been recorded would be the word's last, and that has just been done. If
            // the word has changed since, another thread of ours may have had a hand in it.
            if held_of(mine) == 0 && last(self.word.load(Acquire)) == last(word) {
                return Err(NoPermit);
            }
            let operation = describe(Op::Release, me, tag_of(mine).wrapping_add(1));
            if held_of(mine) != 0 && self.change(word, operation, count(word) + 1) {
                if has_waiters(word) {
                    scope.wake_low(&raw const self.word, 1);
                }
                return Ok(());
            }
        }
    }

    /// Takes back what the participant in `slot` holds; says how much that was. Only for one that is dead, before its slot
    /// is given to another.
    pub fn reclaim_slot(&self, scope: Scope, accounts: &[AtomicU64], slot: usize) -> u32 {
        loop {
            let word = self.word.load(Acquire);
            self.record(accounts, word);
            if let Some(held) = self.try_reclaim(scope, accounts, slot, word) {
                return held;
            }
        }
    }

    /// How many permits are left.
    #[inline]
    pub fn value(&self) -> u32 {
        count(self.word.load(Relaxed))
    }

    /// How many permits the participant in `slot` holds.
    pub fn held_by_slot(&self, accounts: &[AtomicU64], slot: usize) -> u32 {
        self.record(accounts, self.word.load(Acquire));
        held_of(accounts[slot].load(Acquire))
    }

    /// The exchange that is the acquisition.
    #[inline]
    fn take(&self, scope: Scope, accounts: &[AtomicU64], word: u64, keep: u32) -> bool {
        let me = slot_of(scope.me());
        self.record(accounts, word);
        let tag = tag_of(accounts[me].load(Acquire)).wrapping_add(1);
        // The bit that is set stays set, as in Lock.
        let low = (low(word) - 1) | keep;
        self.change(word, describe(Op::Acquire, me, tag), low)
    }

    /// Valid only if [`OwnedSemaphore::record`] was called with this `word`, and the account looked up after that: then no
    /// account has moved if the word has not.
    #[inline]
    fn change(&self, word: u64, operation: u32, low: u32) -> bool {
        let to = u64::from(operation) << 32 | u64::from(low);
        self.word
            .compare_exchange(word, to, AcqRel, Relaxed)
            .is_ok()
    }

    /// Step "record": enters the last operation in its actor's account, unless that has been done. Many may do so at once.
    #[inline]
    fn record(&self, accounts: &[AtomicU64], word: u64) {
        let last = last(word);
        let actor = (last >> TAG_BITS) as usize % SLOTS;
        let place = &accounts[actor];
        let seen = place.load(Acquire);
        let tag = tag_of(seen).wrapping_add(1);
        let held = match last >> 30 {
            op if op == Op::Acquire as u32 => held_of(seen).wrapping_add(1),
            op if op == Op::Release as u32 => held_of(seen).wrapping_sub(1),
            op if op == Op::Reclaim as u32 => 0,
            // The very first word.
            _ => return,
        };
        // The account may be far ahead of a word that is long gone, by a whole round of the word's short tags even. While
        // the word stands it is at most one behind.
        if tag & TAG == last & TAG && self::last(self.word.load(Acquire)) == last {
            let _ = place.compare_exchange(seen, account(tag, held), AcqRel, Relaxed);
        }
    }

    /// Whether anything was taken back from the dead.
    fn reclaim_the_dead(&self, scope: Scope, accounts: &[AtomicU64]) -> bool {
        // Not stopped after the first: its permits may all be gone before we come to take one.
        let mut any = false;
        self.record(accounts, self.word.load(Acquire));
        for slot in 0..SLOTS {
            while held_of(accounts[slot].load(Acquire)) != 0 {
                let word = self.word.load(Acquire);
                self.record(accounts, word);
                // Judged after the word was read: if the slot is given to another in between, that has changed the word.
                if !is_dead(scope, slot) {
                    break;
                }
                any |= self
                    .try_reclaim(scope, accounts, slot, word)
                    .is_some_and(|held| held > 0);
            }
        }
        any
    }

    /// `None` if the word has changed.
    fn try_reclaim(
        &self,
        scope: Scope,
        accounts: &[AtomicU64],
        slot: usize,
        word: u64,
    ) -> Option<u32> {
        let theirs = accounts[slot].load(Acquire);
        let held = held_of(theirs);
        if held == 0 {
            return Some(0);
        }
        let operation = describe(Op::Reclaim, slot, tag_of(theirs).wrapping_add(1));
        if !self.change(word, operation, count(word) + held) {
            return None;
        }
        if has_waiters(word) {
            scope.wake_low(&raw const self.word, held);
        }
        Some(held)
    }

    fn has_dead(&self, scope: Scope, accounts: &[AtomicU64]) -> bool {
        // The last acquisition as well, which is in the word only.
        self.record(accounts, self.word.load(Acquire));
        (0..SLOTS).any(|slot| held_of(accounts[slot].load(Acquire)) != 0 && is_dead(scope, slot))
    }
}

fn slot_of(participant: u32) -> usize {
    participant as usize % SLOTS
}

fn is_dead(scope: Scope, slot: usize) -> bool {
    let owner = scope.owner_at_slot(slot);
    owner != 0 && scope.is_gone(owner)
}
