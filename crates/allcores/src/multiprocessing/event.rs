//! Event: a flag that processes wait for.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use crate::shm::cells::Kind;
use crate::shm::handle::Handle;
use crate::shm::{Arena, ShmError, arena};
use crate::sync::{self, Deadline, Waited};

/// A flag in shared memory that many wait for.
///
/// One lock-free word: every method may run in a signal handler of a thread that is inside any of them. Nobody owns an
/// event, so nobody can die holding it; one that is killed between setting and waking leaves no sleeper behind.
///
/// ```
/// use allcores::multiprocessing::Event;
///
/// let ready = Event::new()?;
/// assert!(!ready.is_set());
/// ready.set();
/// ready.wait();
/// # Ok::<(), allcores::shm::ShmError>(())
/// ```
#[derive(Clone)]
pub struct Event {
    handle: Handle<sync::Event>,
}

impl Event {
    /// An event that is not set, in the arena that this process shares with its children.
    ///
    /// # Errors
    /// If shared memory cannot be had, or too many processes share it.
    #[track_caller]
    pub fn new() -> Result<Event, ShmError> {
        Event::make(arena::common()?, Location::caller())
    }

    /// As [`Event::new`], in a separate arena: see [`Arena`].
    ///
    /// # Errors
    /// As for [`Event::new`].
    #[track_caller]
    pub fn new_in(arena: &Arena) -> Result<Event, ShmError> {
        Event::make(arena.inner(), Location::caller())
    }

    fn make(arena: &'static arena::Arena, location: &Location<'_>) -> Result<Event, ShmError> {
        let handle =
            Handle::create_in(arena, Kind::Event, 0, location, |body: *mut sync::Event| {
                // SAFETY: `body` points to zeroed memory for an Event that nobody else knows of.
                unsafe { body.write(sync::Event::new()) }
            })?;
        Ok(Event { handle })
    }

    /// Whether it is set: one load.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.handle.body().is_set()
    }

    /// Sets it and wakes all who wait. What this process wrote before is seen by whoever finds it set.
    #[inline]
    pub fn set(&self) {
        // SAFETY: the cell is held by our handle for the whole call.
        unsafe { sync::Event::set(self.handle.pointer(), self.handle.scope()) };
    }

    /// Clears it.
    #[inline]
    pub fn clear(&self) {
        self.handle.body().clear();
    }

    /// Waits until it is set, or has been set since the call began. Signals do not end the wait.
    pub fn wait(&self) {
        self.wait_until(Deadline::NEVER);
    }

    /// Waits for `timeout` at most; whether it was set.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Deadline::after(timeout))
    }

    fn wait_until(&self, deadline: Deadline) -> bool {
        // A set() that is followed by clear() counts, also between an interruption and what goes on after it.
        let moment = self.handle.body().moment();
        loop {
            match self
                .handle
                .body()
                .wait_since(self.handle.scope(), deadline, moment)
            {
                Waited::Yes => return true,
                Waited::TimedOut => return false,
                Waited::Interrupted => {}
            }
        }
    }

    /// For tests: the same Event through another mapping of the arena. Not part of the API.
    ///
    /// # Errors
    /// If the scope maps another arena.
    #[doc(hidden)]
    pub fn through(&self, scope: sync::Scope) -> Result<Event, ShmError> {
        self.handle
            .through(Kind::Event, scope)
            .map(Event::from_handle)
    }

    /// The words and the scope they lie in, for faces in other languages. Not part of the API.
    #[doc(hidden)]
    #[inline]
    pub fn words(&self) -> (&sync::Event, sync::Scope) {
        (self.handle.body(), self.handle.scope())
    }

    /// Whether two handles name the same event.
    pub fn same(&self, other: &Event) -> bool {
        self.handle.same(&other.handle)
    }

    pub(super) fn handle(&self) -> &Handle<sync::Event> {
        &self.handle
    }

    pub(super) fn from_handle(handle: Handle<sync::Event>) -> Event {
        Event { handle }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("set", &self.is_set())
            .finish_non_exhaustive()
    }
}
