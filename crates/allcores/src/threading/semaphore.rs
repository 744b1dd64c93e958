//! Semaphore and BoundedSemaphore: a number of permits.

use std::fmt;
use std::time::Duration;

use crate::sync::{self, Deadline, Scope, Waited};

pub use crate::sync::semaphore::TooManyPermits;

/// Why [`Semaphore::release_many`] returned nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseManyError {
    /// To return no permits is taken for a mistake, as in Python.
    #[error("release_many(0): return one permit at least")]
    NoPermits,
    /// More permits than the semaphore may have.
    #[error(transparent)]
    TooMany(#[from] TooManyPermits),
}

/// What both kinds do alike.
struct Permits(sync::Semaphore);

impl Permits {
    #[inline]
    fn acquire_until(&self, deadline: Deadline) -> bool {
        loop {
            match self.0.acquire(Scope::PRIVATE, deadline) {
                Waited::Yes => return true,
                Waited::TimedOut => return false,
                Waited::Interrupted => {}
            }
        }
    }

    fn acquire_timeout(&self, timeout: Duration) -> bool {
        self.0.try_acquire() || self.acquire_until(Deadline::after(timeout))
    }

    #[inline]
    fn release(&self, permits: u32) -> Result<(), TooManyPermits> {
        // SAFETY: `self` is live for the call.
        unsafe { sync::Semaphore::release(&self.0, Scope::PRIVATE, permits) }
    }

    fn release_many(&self, permits: u32) -> Result<(), ReleaseManyError> {
        if permits == 0 {
            return Err(ReleaseManyError::NoPermits);
        }
        Ok(self.release(permits)?)
    }

    #[inline]
    fn permit(&self, acquired: bool) -> Option<Permit<'_>> {
        // Not then_some: a permit that nobody took must not be made, since it would be returned.
        acquired.then(|| Permit { of: self })
    }
}

macro_rules! semaphore_methods {
    ($name:ident, $too_many:literal) => {
        impl $name {
            /// Takes one permit, waiting as long as it takes. Signal handlers that run meanwhile do not end the wait.
            ///
            /// A thread that ends with permits taken returns none; those of `permit()` return themselves.
            #[inline]
            pub fn acquire(&self) {
                self.permits.acquire_until(Deadline::NEVER);
            }

            /// Takes one permit if there is one; whether it did.
            #[inline]
            pub fn try_acquire(&self) -> bool {
                self.permits.0.try_acquire()
            }

            /// Takes one permit, waiting for `timeout` at most; whether it did. Zero does not wait, centuries are fine.
            pub fn acquire_timeout(&self, timeout: Duration) -> bool {
                self.permits.acquire_timeout(timeout)
            }

            /// Returns one permit, and wakes one waiter. Any thread may, whether it has taken one or not.
            ///
            /// # Errors
            #[doc = $too_many]
            #[inline]
            pub fn release(&self) -> Result<(), TooManyPermits> {
                self.permits.release(1)
            }

            /// Returns `permits` permits at once, and wakes as many waiters.
            ///
            /// # Errors
            /// [`ReleaseManyError::NoPermits`] if `permits` is 0.
            #[doc = $too_many]
            pub fn release_many(&self, permits: u32) -> Result<(), ReleaseManyError> {
                self.permits.release_many(permits)
            }

            /// How many permits are left at this moment.
            #[inline]
            pub fn value(&self) -> u32 {
                self.permits.0.value()
            }

            /// Takes one permit that returns itself when dropped, waiting as long as it takes.
            #[inline]
            pub fn permit(&self) -> Permit<'_> {
                self.acquire();
                Permit { of: &self.permits }
            }

            /// Takes one permit that returns itself when dropped, if there is one.
            #[inline]
            pub fn try_permit(&self) -> Option<Permit<'_>> {
                self.permits.permit(self.try_acquire())
            }

            /// Takes one permit that returns itself when dropped, waiting for `timeout` at most.
            pub fn permit_timeout(&self, timeout: Duration) -> Option<Permit<'_>> {
                self.permits.permit(self.acquire_timeout(timeout))
            }
        }
    };
}

/// A number of permits that any thread takes and any thread returns: Python's `threading.Semaphore`.
///
/// ```
/// use allcores::threading::Semaphore;
///
/// static CONNECTIONS: Semaphore = Semaphore::new(2);
/// let first = CONNECTIONS.permit();
/// let second = CONNECTIONS.permit();
/// assert!(CONNECTIONS.try_permit().is_none());
/// drop(first);
/// assert_eq!(CONNECTIONS.value(), 1);
/// # drop(second);
/// ```
///
/// Permits may also signal: one thread acquires what another releases. `acquire` and `release` may be called in a signal
/// handler, even one that interrupts a thread inside this very semaphore (a handler had better not wait, though).
pub struct Semaphore {
    permits: Permits,
}

impl Semaphore {
    /// The most permits any semaphore can have: 2^31 - 1.
    pub const MAX: u32 = sync::Semaphore::MAX;

    /// A semaphore with `permits`; more may be released later.
    ///
    /// # Panics
    /// If `permits` is above [`Semaphore::MAX`].
    pub const fn new(permits: u32) -> Semaphore {
        Semaphore {
            permits: Permits(sync::Semaphore::new(permits, Semaphore::MAX)),
        }
    }
}

semaphore_methods!(
    Semaphore,
    "[`TooManyPermits`] if there would be more than [`Semaphore::MAX`]; then nothing changes."
);

impl Default for Semaphore {
    /// One permit, as in Python.
    fn default() -> Semaphore {
        Semaphore::new(1)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("value", &self.value())
            .finish()
    }
}

/// A [`Semaphore`] that never has more permits than it began with: Python's `threading.BoundedSemaphore`.
///
/// ```
/// use allcores::threading::BoundedSemaphore;
///
/// let seats = BoundedSemaphore::new(1);
/// seats.acquire();
/// assert!(seats.release().is_ok());
/// assert!(seats.release().is_err()); // one too many: a mistake in the program
/// assert_eq!(seats.value(), 1);
/// ```
pub struct BoundedSemaphore {
    permits: Permits,
}

impl BoundedSemaphore {
    /// A semaphore with `permits`, which are the most it ever has.
    ///
    /// # Panics
    /// If `permits` is above [`Semaphore::MAX`].
    pub const fn new(permits: u32) -> BoundedSemaphore {
        BoundedSemaphore {
            permits: Permits(sync::Semaphore::new(permits, permits)),
        }
    }

    /// How many permits it began with.
    pub fn bound(&self) -> u32 {
        self.permits.0.max()
    }
}

semaphore_methods!(
    BoundedSemaphore,
    "[`TooManyPermits`] if there would be more than at the beginning; then nothing changes."
);

impl Default for BoundedSemaphore {
    /// One permit, as in Python.
    fn default() -> BoundedSemaphore {
        BoundedSemaphore::new(1)
    }
}

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedSemaphore")
            .field("value", &self.value())
            .field("bound", &self.bound())
            .finish()
    }
}

/// One permit of a [`Semaphore`] or [`BoundedSemaphore`], returned when dropped; [`std::mem::forget`] keeps it taken.
#[must_use = "if unused the permit is returned at once"]
pub struct Permit<'a> {
    of: &'a Permits,
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        // Too many only if somebody else returned what we held: then there is nothing left to return.
        let _ = self.of.release(1);
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
