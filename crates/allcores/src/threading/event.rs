//! Event: a flag that threads wait for.

use std::fmt;
use std::time::Duration;

use crate::sync::{self, Deadline, Scope, Waited};

/// A flag that threads wait for: Python's `threading.Event`.
///
/// ```
/// use allcores::threading::{Event, Thread};
///
/// static READY: Event = Event::new();
/// let waiter = Thread::new(|| READY.wait());
/// waiter.start()?;
/// READY.set();
/// waiter.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `set`, `clear` and `is_set` may be called in a signal handler, even one that interrupts a thread inside this very event.
/// What a thread wrote before `set` is seen by whoever finds the event set.
pub struct Event {
    core: sync::Event,
}

impl Event {
    /// An event that is not set.
    pub const fn new() -> Event {
        Event {
            core: sync::Event::new(),
        }
    }

    /// Sets the flag and wakes all who wait.
    #[inline]
    pub fn set(&self) {
        // SAFETY: `self` is live for the call.
        unsafe { sync::Event::set(&self.core, Scope::PRIVATE) };
    }

    /// Clears the flag. Those who were waiting when it was set go on all the same, even if they have not run since.
    #[inline]
    pub fn clear(&self) {
        self.core.clear();
    }

    /// Whether the flag is set.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.core.is_set()
    }

    /// Waits until the flag is set, as long as it takes. Signal handlers that run meanwhile do not end the wait.
    #[inline]
    pub fn wait(&self) {
        self.wait_until(Deadline::NEVER);
    }

    /// Waits until the flag is set, for `timeout` at most; whether it was. Zero does not wait, centuries are fine.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.is_set() || self.wait_until(Deadline::after(timeout))
    }

    #[inline]
    fn wait_until(&self, deadline: Deadline) -> bool {
        // A set() that is followed by clear() counts, also between an interruption and what goes on after it.
        let moment = self.core.moment();
        loop {
            match self.core.wait_since(Scope::PRIVATE, deadline, moment) {
                Waited::Yes => return true,
                Waited::TimedOut => return false,
                Waited::Interrupted => {}
            }
        }
    }
}

impl Default for Event {
    fn default() -> Event {
        Event::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("set", &self.is_set())
            .finish()
    }
}
