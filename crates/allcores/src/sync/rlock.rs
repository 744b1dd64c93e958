//! RLock: held by one thread, any number of times over, and released by that thread alone.

use super::door::{AtomicU32, AtomicU64, Deadline, Scope};
use super::lock::{Heirs, Lock, Verdict};
use super::{Acquired, const_fn};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// A [`Lock`]'s word, how often its owner holds it, and which thread that is.
#[repr(C)]
pub struct RLock {
    lock: Lock,
    depth: AtomicU32,
    /// `owner << 32 | thread`: no two threads of any processes have the same, so one who finds its own here holds the lock.
    holder: AtomicU64,
}

/// An RLock is lost with its thread, not only with its owner.
///
/// The word cannot settle who inherits from a thread: another thread of the same process would put there what there is
/// already. So while `holder` names anybody, that is the holder, and whoever replaces a dead one there has the lock, and
/// then puts the word right; killed in between, it is a dead holder like any other. Only where `holder` is empty (its owner
/// was about to fill it, or had just cleared it) does the word decide.
struct ThreadHeirs<'a> {
    lock: &'a RLock,
    scope: Scope,
    me: u64,
}

impl Heirs for ThreadHeirs<'_> {
    fn judge(&self, owner: u32) -> Verdict {
        // Before the holder is looked up: a dead owner cannot fill it any more.
        let owner_is_gone = self.scope.is_gone(owner);
        match self.lock.holder.load(Acquire) {
            0 if owner_is_gone => Verdict::Gone,
            0 => Verdict::Lives,
            holder => {
                let (owner, thread) = ((holder >> 32) as u32, holder as u32);
                if self.scope.is_gone(owner) || self.scope.thread_has_ended(owner, thread) {
                    Verdict::GoneAs(holder)
                } else {
                    Verdict::Lives
                }
            }
        }
    }

    fn seize(&self, holder: u64) -> bool {
        // The name of a thread that is gone never comes back. AcqRel: we see what the holder before us wrote, and the next
        // heir does.
        self.lock
            .holder
            .compare_exchange(holder, self.me, AcqRel, Relaxed)
            .is_ok()
    }

    fn heed_threads(&self) -> bool {
        true
    }
}

/// The calling thread does not hold the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("release of an RLock that the calling thread does not hold")]
pub struct NotOwner;

impl RLock {
    const_fn! {
        /// A free lock.
        pub const fn new() -> RLock {
            RLock { lock: Lock::new(), depth: AtomicU32::new(0), holder: AtomicU64::new(0) }
        }
    }

    /// Takes the lock once more, waiting until `deadline` at most if another thread holds it.
    ///
    /// # Panics
    /// If this thread holds it 2^32 - 1 times already.
    #[inline]
    pub fn acquire(&self, scope: Scope, deadline: Deadline) -> Acquired {
        let me = scope.me_and_thread();
        if self.take_free(me) {
            return Acquired::Yes;
        }
        let taken = self.acquire_waiting(scope, me, deadline);
        if taken.is_held() {
            self.hold_once(me);
        }
        taken
    }

    /// The fast half of [`RLock::acquire`]: takes the lock once more, or if it is free and nobody waits for it. `me` is what
    /// the scope calls the calling thread.
    ///
    /// # Panics
    /// As [`RLock::acquire`].
    #[inline]
    pub fn take_free(&self, me: u64) -> bool {
        // Relaxed everywhere but in the word: only I write my own name here, and only while I hold the word.
        if self.holder.load(Relaxed) == me {
            let depth = self.depth.load(Relaxed);
            self.depth.store(
                depth
                    .checked_add(1)
                    .expect("an RLock is held at most 2^32 - 1 times"),
                Relaxed,
            );
            return true;
        }
        if !self.lock.take_free((me >> 32) as u32) {
            return false;
        }
        self.hold_once(me);
        true
    }

    #[inline]
    fn hold_once(&self, me: u64) {
        self.holder.store(me, Relaxed);
        self.depth.store(1, Relaxed);
    }

    /// A call of its own: the heirs would have to lie in memory on the fast path otherwise.
    #[cold]
    fn acquire_waiting(&self, scope: Scope, me: u64, deadline: Deadline) -> Acquired {
        let lock = self;
        let heirs = ThreadHeirs { lock, scope, me };
        self.lock
            .acquire_slow(scope, (me >> 32) as u32, deadline, &heirs)
    }

    /// Takes back one acquisition; the last one frees the lock.
    ///
    /// # Safety
    /// `this` must point to a live lock; it may be gone when this returns.
    #[inline]
    pub unsafe fn release(this: *const RLock, scope: Scope) -> Result<(), NotOwner> {
        // SAFETY: live at entry, as the caller promises, and ours until the word is freed.
        let lock = unsafe { &*this };
        let holder = lock.holder.load(Relaxed);
        if holder == 0 || holder != scope.known_and_thread() {
            return Err(NotOwner);
        }
        let depth = lock.depth.load(Relaxed);
        if depth > 1 {
            lock.depth.store(depth - 1, Relaxed);
        } else {
            // The depth stays: it counts only while a holder is named.
            lock.holder.store(0, Relaxed);
            // SAFETY: still ours, hence live.
            unsafe { Lock::release_as(&raw const (*this).lock, scope, (holder >> 32) as u32) };
        }
        Ok(())
    }

    /// Frees the lock however often it is held, and tells how often that was: for Condition.
    ///
    /// # Safety
    /// As for [`RLock::release`].
    pub unsafe fn release_all(this: *const RLock, scope: Scope) -> Result<u32, NotOwner> {
        // SAFETY: as in `release`.
        let lock = unsafe { &*this };
        if !lock.is_mine(scope) {
            return Err(NotOwner);
        }
        let depth = lock.depth.swap(0, Relaxed);
        lock.holder.store(0, Relaxed);
        // SAFETY: still ours, hence live.
        unsafe { Lock::release_mine(&raw const (*this).lock, scope) };
        Ok(depth)
    }

    /// Sets how often the lock counts as held, after an acquisition that follows [`RLock::release_all`].
    pub fn restore_depth(&self, scope: Scope, depth: u32) {
        debug_assert!(self.is_mine(scope));
        self.depth.store(depth, Relaxed);
    }

    /// Whether the calling thread holds it.
    #[inline]
    pub fn is_mine(&self, scope: Scope) -> bool {
        let holder = self.holder.load(Relaxed);
        holder != 0 && holder == scope.known_and_thread()
    }

    /// How often the calling thread holds it.
    pub fn depth(&self, scope: Scope) -> u32 {
        if self.is_mine(scope) {
            self.depth.load(Relaxed)
        } else {
            0
        }
    }

    /// How often whoever holds it does, as far as one who does not can tell: for those who look in.
    pub fn depth_of_holder(&self) -> u32 {
        match self.holder.load(Relaxed) {
            0 => 0,
            _ => self.depth.load(Relaxed),
        }
    }

    /// The lock underneath: marks, recovery, who owns it.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Forgets everything; see [`Lock::reset`].
    pub fn reset(&self) {
        self.holder.store(0, Relaxed);
        self.depth.store(0, Relaxed);
        self.lock.reset();
    }
}

impl Default for RLock {
    fn default() -> RLock {
        RLock::new()
    }
}
