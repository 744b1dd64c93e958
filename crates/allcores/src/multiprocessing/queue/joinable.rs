//! JoinableQueue: a queue whose producers can wait until all is done.

use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::core::Core;
use super::done::{ItemsLost, Joined, TooManyDone};
use super::typed::Queue;
use crate::multiprocessing::{transfer, travel};
use crate::shm::{Arena, ShmError, arena};
use crate::sync::Deadline;

/// A [`Queue`] whose consumers say when they are done with a message, and whose producers can wait for that. Python's
/// `multiprocessing.JoinableQueue`.
///
/// It is a [`Queue`] in every other way, and derefs to it. Each message counts as unfinished from the moment it is put until
/// some process calls [`task_done`](JoinableQueue::task_done) for it.
///
/// *Death.* Of what a process has taken, nothing will be done after it has ended, whether it was killed or forgot. Then
/// [`join`](JoinableQueue::join) ends with [`ItemsLost`], as soon as everything has been taken and nobody alive has anything
/// left to do; so does every later one, until [`forget_lost`](JoinableQueue::forget_lost) is called. It also ends so when
/// there are items in the queue, but nobody is left to take them: no other process, no message that carries the queue, and
/// no other handle in this one.
///
/// ```
/// use allcores::multiprocessing::{JoinableQueue, Process};
///
/// fn worker(queue: JoinableQueue<u32>) {
///     while let Ok(_number) = queue.get() {
///         queue.task_done().unwrap();
///     }
/// }
///
/// let queue = JoinableQueue::new()?;
/// let child = Process::new(worker, queue.clone()).daemon(true).start()?;
/// queue.put_many(&[1, 2, 3])?;
/// queue.join()?;
/// assert_eq!(queue.unfinished_tasks(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JoinableQueue<T>(Queue<T>);

impl<T> JoinableQueue<T> {
    /// A queue for any number of messages, in the arena that this process shares with its children. Takes some 16 KiB, for
    /// the accounts of who is to do what.
    ///
    /// # Errors
    /// As for [`Queue::new`].
    #[track_caller]
    pub fn new() -> Result<JoinableQueue<T>, ShmError> {
        Queue::make(arena::common()?, None, true, Location::caller()).map(JoinableQueue)
    }

    /// A queue for `maxsize` messages at most.
    ///
    /// # Errors
    /// As for [`Queue::new`].
    ///
    /// # Panics
    /// If `maxsize` is 0, as [`Queue::bounded`].
    #[track_caller]
    pub fn bounded(maxsize: usize) -> Result<JoinableQueue<T>, ShmError> {
        Queue::make(arena::common()?, Some(maxsize), true, Location::caller()).map(JoinableQueue)
    }

    /// As [`JoinableQueue::new`], in a separate arena: see [`Arena`].
    ///
    /// # Errors
    /// As for [`Queue::new`].
    #[track_caller]
    pub fn new_in(arena: &Arena) -> Result<JoinableQueue<T>, ShmError> {
        Queue::make(arena.inner(), None, true, Location::caller()).map(JoinableQueue)
    }

    /// Says that a message that was taken is done with.
    ///
    /// # Errors
    /// If it was said as often as messages were put.
    pub fn task_done(&self) -> Result<(), TooManyDone> {
        self.0.core().task_done()
    }

    /// How many messages are not done yet: in the queue, or taken.
    pub fn unfinished_tasks(&self) -> usize {
        self.0.core().unfinished() as usize
    }

    /// Waits until everything that was put is done. Signals do not end the wait.
    ///
    /// # Errors
    /// [`ItemsLost`] if some of it never will be.
    pub fn join(&self) -> Result<(), ItemsLost> {
        self.join_until(Deadline::NEVER).map(|_| ())
    }

    /// Waits for that for `timeout` at most; whether everything is done.
    ///
    /// # Errors
    /// As for [`JoinableQueue::join`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, ItemsLost> {
        self.join_until(Deadline::after(timeout))
    }

    fn join_until(&self, deadline: Deadline) -> Result<bool, ItemsLost> {
        loop {
            match self.0.core().join(deadline, true) {
                Joined::AllDone => return Ok(true),
                Joined::TimedOut => return Ok(false),
                Joined::Lost(count) => return Err(ItemsLost { count }),
                Joined::Interrupted => {}
            }
        }
    }

    /// Takes note that messages are lost: they count as done from now on. How many there were.
    pub fn forget_lost(&self) -> usize {
        self.0.core().forget_lost() as usize
    }
}

impl<T> Deref for JoinableQueue<T> {
    type Target = Queue<T>;

    fn deref(&self) -> &Queue<T> {
        &self.0
    }
}

impl<T> Clone for JoinableQueue<T> {
    fn clone(&self) -> JoinableQueue<T> {
        JoinableQueue(self.0.clone())
    }
}

impl<T> fmt::Debug for JoinableQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinableQueue")
            .field("queue", &self.0)
            .field("unfinished_tasks", &self.unfinished_tasks())
            .finish()
    }
}

impl<T> Serialize for JoinableQueue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for JoinableQueue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (found_bytes, wanted_bytes) = Core::sizes();
        let refused = || ShmError::WrongKind {
            found: "Queue",
            found_bytes,
            wanted: "JoinableQueue",
            wanted_bytes,
        };
        let queue: Queue<T> = travel::unpack_queue(deserializer, |body| match body.counts_done {
            0 => Err(refused()),
            _ => Ok(()),
        })?;
        match queue.core().counts_done() {
            true => Ok(JoinableQueue(queue)),
            // It says so, but is too small for that.
            false => Err(de::Error::custom(transfer::fail(refused()))),
        }
    }
}
