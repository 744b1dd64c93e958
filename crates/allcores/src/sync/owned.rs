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
const WAITERS: u64 = 1 << 31;
const COUNT: u64 = (1 << 16) - 1;
/// Moves with every operation, so that a word does not come back as it was while somebody looks away (not within a million
/// operations). It fills what room there is, in two parts.
const TAG_LOW: u64 = (1 << 15) - 1;
const TAG_LOW_SHIFT: u32 = 16;
const TAG_HIGH_SHIFT: u32 = 59;
const HELD_SHIFT: u32 = 32;
const ACTOR_SHIFT: u32 = 48;

const _: () = assert!(SLOTS <= 1 << 11);

const fn count(word: u64) -> u32 {
    (word & COUNT) as u32
}
const fn has_waiters(word: u64) -> bool {
    word & WAITERS != 0
}
/// Whose operation made the word.
const fn actor(word: u64) -> usize {
    (word >> ACTOR_SHIFT) as usize % SLOTS
}
/// How many permits that one has since.
const fn held(word: u64) -> u32 {
    (word >> HELD_SHIFT) as u16 as u32
}
/// Which operation made the word, modulo 2^20.
const fn tag(word: u64) -> u64 {
    (word >> TAG_HIGH_SHIFT << 15) | (word >> TAG_LOW_SHIFT & TAG_LOW)
}
/// The word that an operation makes of `before`.
const fn made(before: u64, actor: usize, held: u32, count: u32, waiters: u64) -> u64 {
    let tag = tag(before) + 1;
    (tag >> 15) << TAG_HIGH_SHIFT
        | (actor as u64) << ACTOR_SHIFT
        | (held as u64) << HELD_SHIFT
        | waiters
        | (tag & TAG_LOW) << TAG_LOW_SHIFT
        | count as u64
}

/// How often it was written, and permits held.
const fn account(version: u32, held: u32) -> u64 {
    (version as u64) << 32 | held as u64
}
const fn version_of(account: u64) -> u32 {
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

/// `[63..59 tag][58..48 last actor][47..32 permits it holds][31 WAITERS][30..16 tag][15..0 permits left]`.
///
/// The accounts, `[63..32 version][31..0 permits held]` for each slot of participants, lie elsewhere and are passed to
/// every call: [`SLOTS`] of them, zero at first, and always the same. An operation is one exchange of the word, which
/// changes the count and says who holds how many now. The word speaks for its last actor, the accounts for all others: so
/// whoever takes the word over from another actor writes that one's account first (step "record"), and whoever goes on
/// after itself writes nothing. There is no instant in which a permit is in nobody's hands, and nobody has to come back to
/// finish.
///
/// A participant is a process: permits are not lost with the thread that took them.
#[repr(C)]
pub struct OwnedSemaphore {
    word: AtomicU64,
}

impl OwnedSemaphore {
    /// The most permits: 65,535.
    pub const MAX: u32 = COUNT as u32;

    const_fn! {
        /// A semaphore with `permits`, at most [`OwnedSemaphore::MAX`]; there will never be more.
        pub const fn new(permits: u32) -> OwnedSemaphore {
            assert!(permits <= OwnedSemaphore::MAX, "a semaphore with owned permits has at most 65,535");
            OwnedSemaphore { word: AtomicU64::new(permits as u64) }
        }
    }

    /// Takes one permit, waiting until `deadline` at most. Permits of dead participants are taken back first.
    ///
    /// # Panics
    /// Here and below: if there are fewer than [`SLOTS`] accounts.
    #[inline]
    pub fn acquire(&self, scope: Scope, accounts: &[AtomicU64], deadline: Deadline) -> Waited {
        let me = slot_of(scope.me());
        let word = self.word.load(Acquire);
        if count(word) > 0 && self.take(accounts, me, word, 0) {
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
        let me = slot_of(scope.me());
        let mut spin = Spin::new(scope);
        let mut sleeper = Sleeper::new(scope, deadline);
        // As in Lock, step "keep the bit".
        let mut keep = 0;
        loop {
            let word = self.word.load(Acquire);
            if count(word) > 0 {
                if self.take(accounts, me, word, keep) {
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
            let expected = word | WAITERS;
            if !has_waiters(word)
                && self
                    .word
                    .compare_exchange(word, expected, Relaxed, Relaxed)
                    .is_err()
            {
                continue;
            }
            match sleeper.sleep_low(&self.word, expected as u32, || {
                !self.has_dead(scope, accounts)
            }) {
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
            let mine = self.holding(accounts, me, word);
            if mine == 0 {
                // Unless the word has moved: another thread of ours may have had a hand in it.
                if self.word.load(Acquire) == word {
                    return Err(NoPermit);
                }
                continue;
            }
            if self.change(word, made(word, me, mine - 1, count(word) + 1, 0)) {
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
            if let Some(held) = self.try_reclaim(scope, accounts, slot, self.word.load(Acquire)) {
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
        loop {
            let word = self.word.load(Acquire);
            let held = if actor(word) == slot {
                held(word)
            } else {
                held_of(accounts[slot].load(Acquire))
            };
            if self.word.load(Acquire) == word {
                return held;
            }
        }
    }

    /// The exchange that is the acquisition.
    #[inline]
    fn take(&self, accounts: &[AtomicU64], me: usize, word: u64, keep: u64) -> bool {
        let mine = self.holding(accounts, me, word);
        // The bit that is set stays set, as in Lock.
        self.change(
            word,
            made(word, me, mine + 1, count(word) - 1, word & WAITERS | keep),
        )
    }

    #[inline]
    fn change(&self, word: u64, to: u64) -> bool {
        self.word
            .compare_exchange(word, to, AcqRel, Relaxed)
            .is_ok()
    }

    /// How many permits the participant in `slot` has, and step "record", if another made the word: after this the word may
    /// be changed in the name of `slot`. True only if the word is still the same when it is changed.
    #[inline]
    fn holding(&self, accounts: &[AtomicU64], slot: usize, word: u64) -> u32 {
        if actor(word) == slot {
            return held(word);
        }
        self.record(accounts, word);
        held_of(accounts[slot].load(Acquire))
    }

    /// Step "record": writes down what the word says of its actor. Many may do so at once; the version moves each time, even
    /// if nothing else does, so that one who read the account long ago cannot write what is no longer true.
    fn record(&self, accounts: &[AtomicU64], word: u64) {
        let place = &accounts[actor(word)];
        loop {
            let seen = place.load(Acquire);
            // Read after the account: if the word still stands, the account is no newer than it. If it does not, whoever
            // changed it has recorded this, and our own exchange of the word will fail.
            if self.word.load(Acquire) & !WAITERS != word & !WAITERS {
                return;
            }
            let entry = account(version_of(seen).wrapping_add(1), held(word));
            if place.compare_exchange(seen, entry, AcqRel, Relaxed).is_ok() {
                return;
            }
        }
    }

    /// Whether anything was taken back from the dead.
    fn reclaim_the_dead(&self, scope: Scope, accounts: &[AtomicU64]) -> bool {
        // Not stopped after the first: its permits may all be gone before we come to take one.
        let mut any = false;
        for slot in 0..SLOTS {
            loop {
                let word = self.word.load(Acquire);
                let theirs = if actor(word) == slot {
                    held(word)
                } else {
                    held_of(accounts[slot].load(Acquire))
                };
                // Judged after the word was read: if the slot is given to another in between, that has changed the word.
                if theirs == 0 || !is_dead(scope, slot) {
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
        let theirs = self.holding(accounts, slot, word);
        if theirs == 0 {
            return (self.word.load(Acquire) == word).then_some(0);
        }
        if !self.change(word, made(word, slot, 0, count(word) + theirs, 0)) {
            return None;
        }
        if has_waiters(word) {
            scope.wake_low(&raw const self.word, theirs);
        }
        Some(theirs)
    }

    fn has_dead(&self, scope: Scope, accounts: &[AtomicU64]) -> bool {
        let word = self.word.load(Acquire);
        (0..SLOTS).any(|slot| {
            let theirs = if actor(word) == slot {
                held(word)
            } else {
                held_of(accounts[slot].load(Acquire))
            };
            theirs != 0 && is_dead(scope, slot)
        })
    }
}

fn slot_of(participant: u32) -> usize {
    participant as usize % SLOTS
}

fn is_dead(scope: Scope, slot: usize) -> bool {
    let owner = scope.owner_at_slot(slot);
    owner != 0 && scope.is_gone(owner)
}
