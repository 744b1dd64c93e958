//! Lock: held by one owner, released by anybody.

use super::door::{AtomicU32, Deadline, NOBODY, Scope, Sleeper, Slept};
use super::spin::Spin;
use super::{Acquired, const_fn};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Somebody sleeps, or did: a release must wake one.
const WAITERS: u32 = 1 << 31;
/// An owner died or panicked inside, and nobody has recovered what it left.
const MARKED: u32 = 1 << 30;
const OWNER: u32 = MARKED - 1;

const fn owner(word: u32) -> u32 {
    word & OWNER
}
const fn is_free(word: u32) -> bool {
    owner(word) == 0
}
const fn has_waiters(word: u32) -> bool {
    word & WAITERS != 0
}
const fn is_marked(word: u32) -> bool {
    word & MARKED != 0
}

/// The lock was not held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("release of a lock that is not held")]
pub struct NotHeld;

/// What became of the owner that a word names.
pub(super) enum Verdict {
    /// It may come back.
    Lives,
    /// It will not; whoever replaces it in the word has the lock.
    Gone,
    /// It will not, and is recorded like this elsewhere; whoever replaces it *there* has the lock.
    GoneAs(u64),
}

/// How a lock is inherited.
pub(super) trait Heirs {
    fn judge(&self, owner: u32) -> Verdict;
    /// Replaces a holder that is [`Verdict::GoneAs`]; false if somebody else was first.
    fn seize(&self, _holder: u64) -> bool {
        false
    }
    /// Whether the end of a thread of this process may change the verdict.
    fn heed_threads(&self) -> bool {
        false
    }
}

/// A plain lock: anybody may release it, hence only the end of the owner itself counts.
impl Heirs for Scope {
    fn judge(&self, owner: u32) -> Verdict {
        if self.is_gone(owner) {
            Verdict::Gone
        } else {
            Verdict::Lives
        }
    }
}

/// One word: `[31 WAITERS][30 MARKED][29..0 owner, 0 = free]`.
///
/// The word is the owner's record: there is no instant between taking the lock and being known to have it.
#[repr(C)]
pub struct Lock {
    word: AtomicU32,
}

impl Lock {
    const_fn! {
        /// A free lock.
        pub const fn new() -> Lock {
            Lock { word: AtomicU32::new(0) }
        }
    }

    /// Takes the lock, waiting until `deadline` at most.
    #[inline]
    pub fn acquire(&self, scope: Scope, deadline: Deadline) -> Acquired {
        let me = scope.me();
        if self.take_free(me) {
            return Acquired::Yes;
        }
        self.acquire_waiting(scope, me, deadline)
    }

    /// A call of its own: `scope` would have to lie in memory on the fast path otherwise.
    #[cold]
    fn acquire_waiting(&self, scope: Scope, me: u32, deadline: Deadline) -> Acquired {
        self.acquire_slow(scope, me, deadline, &scope)
    }

    /// Takes the lock if that needs no waiting.
    #[inline]
    pub fn try_acquire(&self, scope: Scope) -> Acquired {
        self.acquire(scope, Deadline::NOW)
    }

    /// The fast half of [`Lock::acquire`]: takes a free lock that nobody waits for. `me` is what the scope calls the caller.
    #[inline]
    pub fn take_free(&self, me: u32) -> bool {
        // Acquire: what the last owner wrote is seen.
        self.word.compare_exchange(0, me, Acquire, Relaxed).is_ok()
    }

    /// The rest of [`Lock::acquire`].
    #[cold]
    pub(super) fn acquire_slow(
        &self,
        scope: Scope,
        me: u32,
        deadline: Deadline,
        heirs: &dyn Heirs,
    ) -> Acquired {
        let mut spin = Spin::of_lock(scope);
        let mut sleeper = if heirs.heed_threads() {
            Sleeper::heeding_threads(scope, deadline)
        } else {
            Sleeper::new(scope, deadline)
        };
        // Step "keep the bit": one that has slept takes the lock with WAITERS set, since the release that woke it cleared
        // the bit and others may be asleep still.
        let mut keep = 0;
        loop {
            let word = self.word.load(Relaxed);
            if is_free(word) {
                let taken = word | keep | me;
                if self
                    .word
                    .compare_exchange(word, taken, Acquire, Relaxed)
                    .is_ok()
                {
                    return if is_marked(word) {
                        Acquired::OwnerDied(0)
                    } else {
                        Acquired::Yes
                    };
                }
                continue;
            }
            if !has_waiters(word) && keep == 0 && !deadline.is_now() && spin.once_more() {
                continue;
            }
            match heirs.judge(owner(word)) {
                Verdict::Lives => {}
                Verdict::Gone => {
                    // Nobody woke us for this, and nobody will wake the others: the bit stays.
                    if self
                        .word
                        .compare_exchange(word, WAITERS | MARKED | me, Acquire, Relaxed)
                        .is_ok()
                    {
                        return Acquired::OwnerDied(owner(word));
                    }
                    continue;
                }
                Verdict::GoneAs(holder) => {
                    if heirs.seize(holder) {
                        self.inherit(me);
                        return Acquired::OwnerDied((holder >> 32) as u32);
                    }
                    continue;
                }
            }
            if deadline.is_now() {
                return Acquired::TimedOut;
            }
            if !has_waiters(word)
                && self
                    .word
                    .compare_exchange(word, word | WAITERS, Relaxed, Relaxed)
                    .is_err()
            {
                continue;
            }
            // A waiter leaves only from here, with the bit set: one that was woken and finds the lock taken again must not
            // go without setting it for those who sleep on.
            let lives = || matches!(heirs.judge(owner(word)), Verdict::Lives);
            match sleeper.sleep(&self.word, word | WAITERS, lives) {
                Slept::Woken => keep = WAITERS,
                Slept::TimedOut => return Acquired::TimedOut,
                Slept::Interrupted => return Acquired::Interrupted,
            }
        }
    }

    /// Puts my name in the word of a lock that is mine already; others may set the bit meanwhile.
    fn inherit(&self, me: u32) {
        let mut word = self.word.load(Relaxed);
        while let Err(now) =
            self.word
                .compare_exchange(word, WAITERS | MARKED | me, Acquire, Relaxed)
        {
            word = now;
        }
    }

    /// Releases the lock, whoever holds it.
    ///
    /// # Safety
    /// `this` must point to a live lock. It may be gone when this returns: the next owner may have freed it.
    #[inline]
    pub unsafe fn release(this: *const Lock, scope: Scope) -> Result<(), NotHeld> {
        // SAFETY: live at entry, as the caller promises; not touched after the word has been freed.
        let word = unsafe { &(*this).word };
        let address = std::ptr::from_ref(word);
        loop {
            let seen = word.load(Relaxed);
            if is_free(seen) {
                return Err(NotHeld);
            }
            if has_waiters(seen) {
                scope.be_heard();
            }
            // Release: the next owner sees what we wrote.
            if word
                .compare_exchange(seen, seen & MARKED, Release, Relaxed)
                .is_ok()
            {
                if has_waiters(seen) {
                    scope.wake(address, 1);
                }
                return Ok(());
            }
        }
    }

    /// Releases the lock if it is mine, and says whether it was: a copy of a guard in a forked child changes nothing.
    ///
    /// # Safety
    /// As for [`Lock::release`].
    #[inline]
    pub unsafe fn release_mine(this: *const Lock, scope: Scope) -> bool {
        // SAFETY: the caller's word.
        unsafe { Lock::release_as(this, scope, scope.known()) }
    }

    /// [`Lock::release_mine`] for one who knows what the scope calls it.
    ///
    /// # Safety
    /// As for [`Lock::release`].
    #[inline]
    pub(super) unsafe fn release_as(this: *const Lock, scope: Scope, me: u32) -> bool {
        // SAFETY: live at entry, as the caller promises.
        let word = unsafe { &(*this).word };
        if word.compare_exchange(me, 0, Release, Relaxed).is_ok() {
            return me != 0;
        }
        // SAFETY: the exchange failed, so the word has not been freed by us.
        unsafe { Lock::release_if_owner(this, scope, me) }
    }

    /// Somebody waits, or the lock is marked, or is not mine.
    ///
    /// # Safety
    /// As for [`Lock::release`].
    #[cold]
    unsafe fn release_if_owner(this: *const Lock, scope: Scope, me: u32) -> bool {
        // SAFETY: live at entry, as the caller promises.
        let word = unsafe { &(*this).word };
        // SAFETY: as above; if it is ours, it has not been freed.
        owner(word.load(Relaxed)) == me && unsafe { Lock::release(this, scope) }.is_ok()
    }

    /// Leaves a lock that I hold taken for good, for anybody to release: its holder comes to an end that is not to be found out
    /// as a death. In an arena only.
    pub fn leave(&self, scope: Scope) {
        let me = scope.known();
        let mut word = self.word.load(Relaxed);
        while scope.is_shared() && me != 0 && owner(word) == me {
            let left = word & !OWNER | NOBODY;
            // Release: as if it were handed over to whoever releases it.
            match self.word.compare_exchange(word, left, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// Whether it is taken, and [was left](Lock::leave) so.
    pub fn is_left(&self) -> bool {
        self.owner() == NOBODY
    }

    /// Whether anybody holds it.
    #[inline]
    pub fn is_held(&self) -> bool {
        !is_free(self.word.load(Relaxed))
    }

    /// Who holds it, as its scope names owners; 0 if it is free.
    pub fn owner(&self) -> u32 {
        owner(self.word.load(Relaxed))
    }

    /// Whether I hold it: this thread in private memory, this process in an arena.
    pub fn is_mine(&self, scope: Scope) -> bool {
        self.owner() == scope.known() && self.owner() != 0
    }

    /// Marks what the lock protects as left half-done: every acquirer is told until [`Lock::recover`]. For its holder.
    pub fn mark(&self) {
        self.word.fetch_or(MARKED, Relaxed);
    }

    /// Declares what the lock protects to be whole again. For its holder.
    pub fn recover(&self) {
        self.word.fetch_and(!MARKED, Relaxed);
    }

    /// Whether the lock is marked.
    pub fn is_marked(&self) -> bool {
        is_marked(self.word.load(Relaxed))
    }

    /// Forgets everything: free, unmarked, nobody waiting. For a forked child that knows nobody else uses it.
    pub fn reset(&self) {
        self.word.store(0, Release);
    }
}

impl Default for Lock {
    fn default() -> Lock {
        Lock::new()
    }
}
