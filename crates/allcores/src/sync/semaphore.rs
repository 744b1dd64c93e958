//! Semaphore: a number of permits that anybody takes and anybody returns.

use super::door::{AtomicU32, Deadline, Scope, Sleeper, Slept};
use super::spin::Spin;
use super::{Waited, const_fn};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Somebody sleeps, or did: a release must wake.
const WAITERS: u32 = 1 << 31;
const COUNT: u32 = WAITERS - 1;

const fn count(word: u32) -> u32 {
    word & COUNT
}
const fn has_waiters(word: u32) -> bool {
    word & WAITERS != 0
}

/// More permits than the semaphore may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "release of {released} would leave {count} permits with {released} more: the semaphore has at most {max}"
)]
pub struct TooManyPermits {
    /// How many were to be returned.
    pub released: u32,
    /// How many were there.
    pub count: u32,
    /// The most there may be.
    pub max: u32,
}

/// `[31 WAITERS][30..0 permits]`, and the most permits there may ever be.
///
/// Nobody owns a permit: this is the signalling kind. acquire and release may run in a signal handler of a thread that is
/// inside either of them.
#[repr(C)]
pub struct Semaphore {
    word: AtomicU32,
    max: AtomicU32,
}

impl Semaphore {
    /// The most permits any semaphore can have: 2^31 - 1.
    pub const MAX: u32 = COUNT;

    const_fn! {
        /// A semaphore with `permits`, which may grow to `max`; both at most [`Semaphore::MAX`].
        pub const fn new(permits: u32, max: u32) -> Semaphore {
            assert!(permits <= max && max <= COUNT, "a semaphore has at most 2^31 - 1 permits");
            Semaphore { word: AtomicU32::new(permits), max: AtomicU32::new(max) }
        }
    }

    /// Takes one permit, waiting until `deadline` at most.
    #[inline]
    pub fn acquire(&self, scope: Scope, deadline: Deadline) -> Waited {
        let word = self.word.load(Relaxed);
        // Acquire: what those who released wrote is seen.
        if count(word) > 0
            && self
                .word
                .compare_exchange(word, word - 1, Acquire, Relaxed)
                .is_ok()
        {
            return Waited::Yes;
        }
        self.acquire_slow(scope, deadline)
    }

    /// Takes one permit if there is one.
    #[inline]
    pub fn try_acquire(&self) -> bool {
        let word = self.word.load(Relaxed);
        if count(word) > 0 {
            return self
                .word
                .compare_exchange(word, word - 1, Acquire, Relaxed)
                .is_ok()
                || self.try_acquire_again();
        }
        false
    }

    /// Somebody was quicker, but may have left something.
    #[cold]
    fn try_acquire_again(&self) -> bool {
        let mut word = self.word.load(Relaxed);
        while count(word) > 0 {
            match self
                .word
                .compare_exchange_weak(word, word - 1, Acquire, Relaxed)
            {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    #[cold]
    fn acquire_slow(&self, scope: Scope, deadline: Deadline) -> Waited {
        let mut spin = Spin::new(scope);
        let mut sleeper = Sleeper::new(scope, deadline);
        // As in Lock, step "keep the bit".
        let mut keep = 0;
        loop {
            let word = self.word.load(Relaxed);
            if count(word) > 0 {
                if self
                    .word
                    .compare_exchange(word, (word - 1) | keep, Acquire, Relaxed)
                    .is_ok()
                {
                    // Step "pass it on": releases that found the bit cleared woke nobody, and left it to the one that had
                    // been woken, who is us.
                    if keep != 0 && count(word) > 1 {
                        scope.wake(&raw const self.word, 1);
                    }
                    return Waited::Yes;
                }
                continue;
            }
            if deadline.is_now() {
                return Waited::TimedOut;
            }
            if !has_waiters(word) && keep == 0 && spin.once_more() {
                continue;
            }
            if !has_waiters(word)
                && self
                    .word
                    .compare_exchange(word, word | WAITERS, Relaxed, Relaxed)
                    .is_err()
            {
                continue;
            }
            match sleeper.sleep(&self.word, word | WAITERS, || true) {
                Slept::Woken => keep = WAITERS,
                Slept::TimedOut => return Waited::TimedOut,
                Slept::Interrupted => return Waited::Interrupted,
            }
        }
    }

    /// Returns `permits`, and wakes as many waiters.
    ///
    /// # Safety
    /// `this` must point to a live semaphore; it may be gone when this returns.
    #[inline]
    pub unsafe fn release(
        this: *const Semaphore,
        scope: Scope,
        permits: u32,
    ) -> Result<(), TooManyPermits> {
        // SAFETY: as the caller promises.
        if unsafe { Semaphore::release_at_once(this, permits) } {
            return Ok(());
        }
        // SAFETY: nothing has been released.
        unsafe { Semaphore::release_slow(this, scope, permits) }
    }

    /// The fast half of [`Semaphore::release`]: for permits that nobody waits for. If it says no, nothing has changed.
    ///
    /// # Safety
    /// As for [`Semaphore::release`].
    #[inline]
    pub unsafe fn release_at_once(this: *const Semaphore, permits: u32) -> bool {
        // SAFETY: live at entry, as the caller promises; not touched after the permits are out.
        let semaphore = unsafe { &*this };
        let word = semaphore.word.load(Relaxed);
        // Nobody waits: with the bit set the word is more than any number of permits. A test for both keeps this short.
        // Release: whoever takes these permits sees what we wrote.
        u64::from(word) + u64::from(permits) <= u64::from(semaphore.max.load(Relaxed))
            && semaphore
                .word
                .compare_exchange(word, word + permits, Release, Relaxed)
                .is_ok()
    }

    /// Somebody waits, or is at the word this very moment, or there would be too many.
    ///
    /// # Safety
    /// As for [`Semaphore::release`].
    #[cold]
    unsafe fn release_slow(
        this: *const Semaphore,
        scope: Scope,
        permits: u32,
    ) -> Result<(), TooManyPermits> {
        // SAFETY: live at entry, as the caller promises; not touched after the permits are out.
        let semaphore = unsafe { &*this };
        let address = &raw const semaphore.word;
        let max = semaphore.max.load(Relaxed);
        let mut word = semaphore.word.load(Relaxed);
        loop {
            let had = count(word);
            let Some(sum) = had.checked_add(permits).filter(|sum| *sum <= max) else {
                return Err(TooManyPermits {
                    released: permits,
                    count: had,
                    max,
                });
            };
            if has_waiters(word) {
                scope.be_heard();
            }
            // Release: whoever takes these permits sees what we wrote. The bit is cleared: those we wake set it again.
            match semaphore
                .word
                .compare_exchange_weak(word, sum, Release, Relaxed)
            {
                Ok(_) => {
                    if has_waiters(word) && permits > 0 {
                        scope.wake(address, permits);
                    }
                    return Ok(());
                }
                Err(now) => word = now,
            }
        }
    }

    /// How many permits are left.
    #[inline]
    pub fn value(&self) -> u32 {
        count(self.word.load(Relaxed))
    }

    /// The most permits there may be.
    pub fn max(&self) -> u32 {
        self.max.load(Relaxed)
    }

    /// Starts anew with `permits`, which may grow to `max`, both at most [`Semaphore::MAX`]; before anybody else uses it.
    pub fn begin(&self, permits: u32, max: u32) {
        self.max.store(max.min(COUNT), Relaxed);
        self.word.store(permits.min(max) & COUNT, Release);
    }

    /// Starts anew with `permits`; for a forked child that knows nobody else uses it.
    pub fn reset(&self, permits: u32) {
        self.word.store(count(permits), Release);
    }
}
