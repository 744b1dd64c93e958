//! Absolute deadlines on the monotonic clock, counted in nanoseconds so that a retry needs no arithmetic.

use std::time::Duration;

/// The moment at which a wait gives up. Absolute, on `CLOCK_MONOTONIC` (which stands still while the machine sleeps).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(u64);

/// A number of seconds that is no length of time.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq)]
#[error("a timeout must be a number of seconds, not {0}")]
pub struct InvalidSeconds(pub f64);

impl Deadline {
    /// Do not wait at all.
    pub const NOW: Deadline = Deadline(0);
    /// Wait for ever.
    pub const NEVER: Deadline = Deadline(u64::MAX);

    /// `length` from now. Zero is [`Deadline::NOW`]; what lies beyond some 580 years after boot is [`Deadline::NEVER`].
    pub fn after(length: Duration) -> Deadline {
        if length.is_zero() {
            return Deadline::NOW;
        }
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Deadline(nanos_since_boot().saturating_add(nanos))
    }

    /// `seconds` from now: negative lengths are [`Deadline::NOW`], infinity and centuries are far away, NaN is an error.
    pub fn after_seconds(seconds: f64) -> Result<Deadline, InvalidSeconds> {
        if seconds.is_nan() {
            return Err(InvalidSeconds(seconds));
        }
        if seconds <= 0.0 {
            return Ok(Deadline::NOW);
        }
        Ok(Duration::try_from_secs_f64(seconds).map_or(Deadline::NEVER, Deadline::after))
    }

    /// Whether this deadline forbids any waiting.
    #[inline]
    pub fn is_now(self) -> bool {
        self == Deadline::NOW
    }

    /// Whether this deadline never comes.
    #[inline]
    pub fn is_never(self) -> bool {
        self == Deadline::NEVER
    }

    /// Whether the moment has come.
    pub fn has_passed(self) -> bool {
        !self.is_never() && self.0 <= nanos_since_boot()
    }

    /// What is left of it: zero once it has passed, `None` if it never comes.
    pub fn remaining(self) -> Option<Duration> {
        (!self.is_never()).then(|| Duration::from_nanos(self.0.saturating_sub(nanos_since_boot())))
    }

    /// The earlier of this deadline and `length` from now.
    pub(crate) fn at_most(self, length: Duration) -> Deadline {
        self.min(Deadline::after(length))
    }

    pub(crate) fn timespec(self) -> Option<libc::timespec> {
        (!self.is_never()).then_some(libc::timespec {
            tv_sec: (self.0 / 1_000_000_000) as libc::time_t,
            tv_nsec: (self.0 % 1_000_000_000) as libc::c_long,
        })
    }
}

/// Nanoseconds on `CLOCK_MONOTONIC`.
pub(crate) fn nanos_since_boot() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_negative_lengths_do_not_wait() {
        assert!(Deadline::after(Duration::ZERO).is_now());
        assert!(Deadline::after_seconds(0.0).unwrap().is_now());
        assert!(Deadline::after_seconds(-3.5).unwrap().is_now());
        assert!(Deadline::after_seconds(f64::NEG_INFINITY).unwrap().is_now());
        assert!(Deadline::NOW.has_passed());
    }

    #[test]
    fn centuries_do_not_overflow() {
        let century = Duration::from_secs(100 * 365 * 86_400);
        for wait in [century, century * 5, century * 60, Duration::MAX] {
            let at = Deadline::after(wait);
            assert!(!at.has_passed());
            assert!(at.remaining().is_none_or(|left| left > century / 2));
        }
        assert!(Deadline::after_seconds(f64::INFINITY).unwrap().is_never());
        assert!(Deadline::after_seconds(1e300).unwrap().is_never());
    }

    #[test]
    fn not_a_number_is_an_error() {
        assert!(Deadline::after_seconds(f64::NAN).is_err());
    }

    #[test]
    fn a_deadline_is_absolute() {
        let at = Deadline::after(Duration::from_nanos(1));
        while nanos_since_boot() <= at.0 {}
        assert!(at.has_passed());
        assert_eq!(at.remaining(), Some(Duration::ZERO));
    }
}
