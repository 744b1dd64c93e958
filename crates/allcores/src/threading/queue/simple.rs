//! SimpleQueue: nothing to configure, nothing that fails.

use std::fmt;
use std::time::Duration;

use super::core::Core;
use super::error::PutError;
use super::store::Fifo;
use crate::sync::Deadline;

/// A queue without limit, first in, first out, whose `put` never blocks: Python's `queue.SimpleQueue`.
///
/// ```
/// use allcores::threading::{SimpleQueue, Thread};
///
/// static LINES: SimpleQueue<Option<String>> = SimpleQueue::new();
///
/// let counter = Thread::new(|| {
///     let mut words = 0;
///     while let Some(line) = LINES.get() {
///         words += line.split_whitespace().count();
///     }
///     words
/// });
/// counter.start()?;
/// LINES.put(Some("to be or not".to_owned()));
/// LINES.put(Some("to be".to_owned()));
/// LINES.put(None);
/// assert_eq!(counter.result()?, 6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// There is no limit, no shutdown and no count of tasks, so `put` and `get` have nothing to fail with.
///
/// # Where it may be used
///
/// No code of an item runs inside the queue, so every function may be called from any `Drop`, also from that of an item of
/// this very queue, and while a thread panics or ends. Python's may be used in a signal handler as well; ours may not: `put`
/// takes a lock and may allocate memory. To tell a thread something from a handler, use a
/// [`Semaphore`](super::super::Semaphore) or an [`Event`](super::super::Event).
///
/// # After fork(2)
///
/// As for [`Queue`](super::Queue#after-fork2).
pub struct SimpleQueue<T> {
    core: Core<Fifo<T>>,
}

impl<T> SimpleQueue<T> {
    /// An empty queue.
    pub const fn new() -> SimpleQueue<T> {
        SimpleQueue {
            core: Core::new(Core::<Fifo<T>>::UNBOUNDED),
        }
    }

    /// Puts an item at the end, and wakes one thread that waits for one. Does not block.
    #[inline]
    pub fn put(&self, item: T) {
        let put: Result<(), PutError<T>> = self.core.put(item, || Deadline::NEVER);
        debug_assert!(put.is_ok(), "it is never full, and nobody can shut it down");
    }

    /// Takes the first item, waiting for one as long as it takes. Signal handlers that run meanwhile do not end the wait.
    ///
    /// # Panics
    /// If some 130,000 threads wait already.
    #[inline]
    pub fn get(&self) -> T {
        loop {
            if let Ok(item) = self.core.get(|| Deadline::NEVER) {
                return item;
            }
        }
    }

    /// Takes the first item, if there is one.
    #[inline]
    pub fn try_get(&self) -> Option<T> {
        self.core.get(|| Deadline::NOW).ok()
    }

    /// Takes the first item, waiting for `timeout` at most. Zero does not wait, centuries are fine.
    ///
    /// # Panics
    /// As [`SimpleQueue::get`].
    pub fn get_timeout(&self, timeout: Duration) -> Option<T> {
        self.core.get(|| Deadline::after(timeout)).ok()
    }

    /// How many items there are at this moment. Others may put and get before the answer is used.
    #[inline]
    pub fn qsize(&self) -> usize {
        self.core.qsize()
    }

    /// Whether there is no item at this moment.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.qsize() == 0
    }
}

impl<T> Default for SimpleQueue<T> {
    fn default() -> SimpleQueue<T> {
        SimpleQueue::new()
    }
}

impl<T> FromIterator<T> for SimpleQueue<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> SimpleQueue<T> {
        let mut queue = SimpleQueue::new();
        queue.extend(items);
        queue
    }
}

impl<T> Extend<T> for SimpleQueue<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        (&*self).extend(items);
    }
}

/// Puts one item after the other; others may put theirs between them.
impl<T> Extend<T> for &SimpleQueue<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.put(item));
    }
}

impl<T> fmt::Debug for SimpleQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimpleQueue")
            .field("qsize", &self.qsize())
            .finish()
    }
}
