//! Queue: messages of one type between processes.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::core::Core;
use super::error::{GetError, PutError};
use super::message;
use super::put::Outbound;
use super::take::Taken;
use crate::shm::pins::Pin;
use crate::shm::{Arena, ShmError, arena};
use crate::sync::Deadline;

/// A first-in, first-out queue of messages in shared memory, for any number of producers and consumers in any number of
/// processes and threads. Python's `multiprocessing.Queue`, without its feeder thread.
///
/// A handle: cheap to clone, and sent to other processes like any value, in the arguments of a `Process` or through a
/// Connection. [`put`](Queue::put) serialises in the caller (serde and [postcard](https://docs.rs/postcard)) and copies into
/// shared memory; when it returns, the message is in the queue, and its producer may end. Messages of one producer are
/// got in the order in which it put them.
///
/// *Room.* A queue made by [`Queue::new`] takes any number of messages, and [`put`](Queue::put) never waits for room; one
/// made by [`Queue::bounded`] takes so many. A message has 1 GiB at most. Memory grows by segments of 64 KiB as messages
/// wait, and goes back to the system when they have been taken, but for a few segments that are kept for the next ones; a
/// message beyond 16 KiB has a segment of its own.
///
/// *Death.* Whoever is killed, at whatever instant, the others go on: what it had put is in the queue; what it was putting
/// is not; what it was getting is in the queue still, or gone with it. Nothing is got twice, and nobody waits for the dead.
/// When a call would wait, but every other process that held the queue is gone, and there is no other handle in this one
/// and no message that carries one, it ends with `Disconnected`. So threads that share a queue after its processes have gone
/// should each have a clone of it.
///
/// *Cost.* One lock and two copies a message; no system call unless somebody sleeps. A consumer that finds the queue empty
/// looks for up to 20 µs (less where that has not paid, and not at all if the last producer ran on its own CPU), then
/// sleeps.
///
/// ```
/// use allcores::multiprocessing::{Process, Queue};
///
/// fn square((work, results): (Queue<u64>, Queue<u64>)) {
///     while let Ok(n) = work.get() {
///         results.put(&(n * n)).unwrap();
///     }
/// }
///
/// let (work, results) = (Queue::new()?, Queue::new()?);
/// let child = Process::new(square, (work.clone(), results.clone())).start()?;
/// for n in 1..=10 {
///     work.put(&n)?;
/// }
/// work.close(); // the child gets all of them, then the end
/// child.join()?;
/// assert_eq!((0..10).map(|_| results.get().unwrap()).sum::<u64>(), 385);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Queue<T> {
    core: Core,
    carries: PhantomData<fn(&T) -> T>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Queue<T> {
        Queue::from_core(self.core.clone())
    }
}

impl<T> Queue<T> {
    /// A queue for any number of messages, in the arena that this process shares with its children.
    ///
    /// # Errors
    /// If shared memory cannot be had, or too many processes share it.
    #[track_caller]
    pub fn new() -> Result<Queue<T>, ShmError> {
        Queue::make(arena::common()?, None, false, Location::caller())
    }

    /// A queue for `maxsize` messages at most.
    ///
    /// # Errors
    /// As for [`Queue::new`].
    ///
    /// # Panics
    /// If `maxsize` is 0: Python takes that for no limit, which is [`Queue::new`] here.
    #[track_caller]
    pub fn bounded(maxsize: usize) -> Result<Queue<T>, ShmError> {
        Queue::make(arena::common()?, Some(maxsize), false, Location::caller())
    }

    /// As [`Queue::new`], in a separate arena: see [`Arena`].
    ///
    /// # Errors
    /// As for [`Queue::new`].
    #[track_caller]
    pub fn new_in(arena: &Arena) -> Result<Queue<T>, ShmError> {
        Queue::make(arena.inner(), None, false, Location::caller())
    }

    /// As [`Queue::bounded`], in a separate arena: see [`Arena`].
    ///
    /// # Errors
    /// As for [`Queue::new`].
    #[track_caller]
    pub fn bounded_in(arena: &Arena, maxsize: usize) -> Result<Queue<T>, ShmError> {
        Queue::make(arena.inner(), Some(maxsize), false, Location::caller())
    }

    pub(super) fn make(
        arena: &'static arena::Arena,
        limit: Option<usize>,
        counts_done: bool,
        location: &Location<'_>,
    ) -> Result<Queue<T>, ShmError> {
        assert!(
            limit != Some(0),
            "a queue with room for nothing: Queue::new() makes one without a limit"
        );
        let limit = limit.map(|limit| limit as u64);
        Core::create(arena, limit, counts_done, location).map(Queue::from_core)
    }

    pub(crate) fn from_core(core: Core) -> Queue<T> {
        Queue {
            core,
            carries: PhantomData,
        }
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// How many messages it holds now.
    pub fn qsize(&self) -> usize {
        self.core.len() as usize
    }

    /// Whether it holds none now.
    pub fn is_empty(&self) -> bool {
        self.core.len() == 0
    }

    /// Whether it holds as many as it may now.
    pub fn is_full(&self) -> bool {
        self.core.is_full()
    }

    /// How many messages it may hold; `None` for any number.
    pub fn maxsize(&self) -> Option<usize> {
        self.core.limit().map(|limit| limit as usize)
    }

    /// Closes the queue for all who hold it: nothing more is put, what is there can still be got, and whoever waits is
    /// woken. Closing it again does nothing.
    pub fn close(&self) {
        self.core.close();
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.core.is_closed()
    }

    /// Whether two handles name the same queue.
    pub fn same(&self, other: &Queue<T>) -> bool {
        self.core.handle().same(other.core.handle())
    }

    pub(super) fn put_message(
        &self,
        parts: &[&[u8]],
        pins: &[Pin],
        deadline: Deadline,
    ) -> Result<(), PutError> {
        self.put_messages(&[Outbound { parts, pins }], deadline)
            .map(|_| ())
    }

    pub(super) fn get_message<R>(
        &self,
        deadline: Deadline,
        work: impl FnOnce(&[u8], bool) -> R,
    ) -> Result<R, GetError> {
        message::with_scratch(|buffer| {
            let taken = self.take(buffer, deadline)?;
            let (bytes, pinned) = taken.bytes(buffer);
            Ok(work(bytes, pinned))
        })
    }

    #[inline]
    pub(super) fn take(
        &self,
        buffer: &mut Vec<u8>,
        deadline: Deadline,
    ) -> Result<Taken<'_>, GetError> {
        self.when_there(deadline, |turn| self.core.take(buffer, turn))
    }

    /// For tests: the same queue through another mapping of the arena. Not part of the API.
    ///
    /// # Errors
    /// If the scope maps another arena.
    #[doc(hidden)]
    pub fn through(&self, scope: crate::sync::Scope) -> Result<Queue<T>, ShmError> {
        let handle = self.core.handle();
        let through = handle.through(crate::shm::cells::Kind::Queue, scope)?;
        Ok(Queue::from_core(Core::of(through)))
    }
}

impl<T: Serialize> Queue<T> {
    /// Puts a value. Waits for room if the queue is bounded and full; signals do not end that.
    ///
    /// # Errors
    /// See [`PutError`]; nothing was put then. A value that does not serialise is reported here, and not to whoever gets.
    #[inline]
    pub fn put(&self, value: &T) -> Result<(), PutError> {
        self.put_until(value, Deadline::NEVER)
    }

    /// Puts a value if there is room.
    ///
    /// # Errors
    /// As for [`Queue::put`], and [`PutError::Full`].
    #[inline]
    pub fn try_put(&self, value: &T) -> Result<(), PutError> {
        self.put_until(value, Deadline::NOW)
    }

    /// Puts a value, waiting for room for `timeout` at most.
    ///
    /// # Errors
    /// As for [`Queue::put`], and [`PutError::Full`] if the timeout passes.
    pub fn put_timeout(&self, value: &T, timeout: Duration) -> Result<(), PutError> {
        self.put_until(value, Deadline::after(timeout))
    }

    fn put_until(&self, value: &T, deadline: Deadline) -> Result<(), PutError> {
        message::with_scratch(|buffer| {
            let attached = message::encode(&self.core, value, buffer)?;
            self.put_message(&[buffer], &attached.pins, deadline)?;
            attached.delivered();
            Ok(())
        })
    }
}

impl<T: DeserializeOwned> Queue<T> {
    /// Gets the next value, and waits for one if there is none; signals do not end that.
    ///
    /// # Errors
    /// [`GetError::Closed`] and [`GetError::Disconnected`] once there is nothing more to come. If the message is no such
    /// value, it has been taken, and the next can be got.
    #[inline]
    pub fn get(&self) -> Result<T, GetError> {
        self.get_until(Deadline::NEVER)
    }

    /// Gets the next value if there is one.
    ///
    /// # Errors
    /// As for [`Queue::get`], and [`GetError::Empty`].
    #[inline]
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_until(Deadline::NOW)
    }

    /// Gets the next value, waiting for one for `timeout` at most.
    ///
    /// # Errors
    /// As for [`Queue::get`], and [`GetError::Empty`] if the timeout passes.
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_until(Deadline::after(timeout))
    }

    fn get_until(&self, deadline: Deadline) -> Result<T, GetError> {
        self.get_message(deadline, |bytes, pinned| {
            message::decode(&self.core, bytes, pinned)
        })?
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("qsize", &self.qsize())
            .field("maxsize", &self.maxsize())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
