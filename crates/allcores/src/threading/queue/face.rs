//! Queue, LifoQueue and PriorityQueue: the same queue, with another item next.

use std::fmt;
use std::iter::FusedIterator;
use std::time::Duration;

use super::core::Core;
use super::error::{GetError, PutError, TooManyDone};
use super::store::{Fifo, Heap, Lifo};
use crate::sync::Deadline;

/// A queue between threads, first in, first out: Python's `queue.Queue`.
///
/// ```
/// use allcores::threading::{Queue, Thread};
///
/// static NUMBERS: Queue<u64> = Queue::bounded(2);
///
/// let adder = Thread::new(|| NUMBERS.iter().sum::<u64>());
/// adder.start()?;
/// for number in 1..=100 {
///     NUMBERS.put(number)?; // waits while there are two
/// }
/// NUMBERS.shutdown(false); // no more: the iteration ends when all has been got
/// assert_eq!(adder.result()?, 5050);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Any number of threads put and get, and what one thread puts is got in that order. Items go by value; a queue of items
/// that are `Send` may be shared by threads, in a `static`, an `Arc` or a [`scope`](super::super::scope()):
///
/// ```compile_fail,E0277
/// # use allcores::threading::{Queue, scope};
/// # use std::rc::Rc;
/// let queue: Queue<Rc<u32>> = Queue::new();
/// scope(|s| {
///     s.spawn(|| queue.put(Rc::new(5))); // an Rc belongs to one thread
/// });
/// ```
///
/// Memory grows with the items, and all but 64 KiB is given back whenever the queue is empty.
///
/// # Tasks
///
/// The queue counts the items that have been put and not been reported as done. [`Queue::join`] waits until there are none:
///
/// ```
/// use allcores::threading::{Lock, Queue, scope};
///
/// let (names, lengths) = (Queue::new(), Lock::new(Vec::new()));
/// scope(|s| {
///     for _ in 0..2 {
///         s.spawn(|| {
///             for name in &names {
///                 let name: &str = name;
///                 lengths.acquire().push(name.len());
///                 names.task_done().expect("one call for each item");
///             }
///         });
///     }
///     for name in ["lock", "event", "barrier"] {
///         names.put(name)?;
///     }
///     names.join(); // all three have been got *and* done
///     assert_eq!(lengths.acquire().iter().sum::<usize>(), 16);
///     names.shutdown(false); // the threads' loops end
///     Ok::<_, Box<dyn std::error::Error>>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A consumer that panics between `get` and `task_done` has not done its task; `join` waits on. Where that may happen, wait
/// with [`Queue::join_timeout`] or join the threads instead.
///
/// # What runs inside
///
/// A panic in an item's `Drop` passes through the call that dropped it, and nothing else notices. No item is dropped inside
/// the queue: its `Drop` may use the queue itself. All this is true of panics in an `Ord` as well (see [`PriorityQueue`]).
/// Not for signal handlers: the functions take a lock, and `put` may allocate memory.
///
/// # After fork(2)
///
/// The child has a copy of the queue with the items in it, and both go on by themselves; threads that were waiting did not
/// come along, nor did what other threads had just got. If another thread was in the middle of moving an item at that very
/// instant, the copy is half-changed: everything that needs it panics and says so, instead of waiting for ever.
pub struct Queue<T> {
    core: Core<Fifo<T>>,
}

/// A queue between threads, last in, first out: Python's `queue.LifoQueue`.
///
/// ```
/// use allcores::threading::LifoQueue;
///
/// let stack = LifoQueue::new();
/// for page in ["first", "second", "third"] {
///     stack.put(page)?;
/// }
/// assert_eq!(stack.get()?, "third");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Everything but the order is as in [`Queue`], which tells the rest.
pub struct LifoQueue<T> {
    core: Core<Lifo<T>>,
}

/// A queue between threads, the smallest item first: Python's `queue.PriorityQueue`.
///
/// ```
/// use allcores::threading::PriorityQueue;
///
/// let chores = PriorityQueue::new();
/// chores.put((3, "water the plants"))?;
/// chores.put((1, "put out the fire"))?;
/// chores.put((2, "feed the cat"))?;
/// assert_eq!(chores.get()?.1, "put out the fire");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Everything but the order is as in [`Queue`], which tells the rest. [`std::cmp::Reverse`] makes it the largest first.
///
/// Equal items come in no particular order, as in Python. If it matters, number them: `(priority, number, item)`. What is
/// in the tuple is compared as well, so data that have no order of their own need a type that leaves them out:
///
/// ```
/// use allcores::threading::PriorityQueue;
/// use std::cmp::Ordering;
///
/// struct Chore {
///     priority: u32,
///     work: fn() -> u32,
/// }
/// impl Ord for Chore {
///     fn cmp(&self, other: &Chore) -> Ordering {
///         self.priority.cmp(&other.priority)
///     }
/// }
/// # impl PartialOrd for Chore {
/// #     fn partial_cmp(&self, other: &Chore) -> Option<Ordering> {
/// #         Some(self.cmp(other))
/// #     }
/// # }
/// # impl PartialEq for Chore {
/// #     fn eq(&self, other: &Chore) -> bool {
/// #         self.cmp(other).is_eq()
/// #     }
/// # }
/// # impl Eq for Chore {}
///
/// let chores = PriorityQueue::new();
/// chores.put(Chore { priority: 2, work: || 20 })?;
/// chores.put(Chore { priority: 1, work: || 10 })?;
/// assert_eq!((chores.get()?.work)(), 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What runs inside
///
/// The items' `Ord` runs with the queue locked, so it should be short. If it uses the same queue it panics instead of
/// waiting for itself. If it panics in a `put`, the item is dropped and was never in the queue; in a `get`, the item stays;
/// either way the queue is as it was before. An inconsistent `Ord` makes for a wrong order and nothing worse.
pub struct PriorityQueue<T> {
    core: Core<Heap<T>>,
}

/// The items of a queue as they come, until it has been shut down and is empty. From `iter()` of the queue.
///
/// Each step gets one item, so others may get theirs between; `task_done` is left to the loop.
#[derive(Debug)]
#[must_use = "it gets nothing until it is asked for the next item"]
pub struct QueueIter<'a, Q> {
    queue: &'a Q,
}

macro_rules! queue_face {
    ($Queue:ident, $Store:ident $(, $bound:ident)?) => {
        impl<T $(: $bound)?> $Queue<T> {
            /// An empty queue without limit.
            pub const fn new() -> Self {
                $Queue { core: Core::new(Core::<$Store<T>>::UNBOUNDED) }
            }

            /// An empty queue with room for `maxsize` items.
            ///
            /// # Panics
            /// If `maxsize` is 0: Python takes that for no limit, which is `new()` here. In a `static` it does not compile.
            pub const fn bounded(maxsize: usize) -> Self {
                assert!(
                    maxsize > 0,
                    "a queue with room for 0 items could never be put to: new() makes one without limit"
                );
                $Queue { core: Core::new(maxsize) }
            }

            /// Puts an item, waiting for room as long as it takes, and wakes one thread that waits for an item. Without a
            /// limit it does not block. Signal handlers that run meanwhile do not end the wait.
            ///
            /// # Errors
            /// [`PutError::ShutDown`], with the item, if the queue has been shut down, also during the wait.
            ///
            /// # Panics
            /// If some 130,000 threads wait for room already.
            #[inline]
            pub fn put(&self, item: T) -> Result<(), PutError<T>> {
                self.core.put(item, || Deadline::NEVER)
            }

            /// Puts an item if there is room.
            ///
            /// # Errors
            /// [`PutError::Full`] or [`PutError::ShutDown`], with the item.
            #[inline]
            pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
                self.core.put(item, || Deadline::NOW)
            }

            /// Puts an item, waiting for room for `timeout` at most. Zero does not wait, centuries are fine.
            ///
            /// # Errors
            /// [`PutError::Full`] if there was no room in that time, or [`PutError::ShutDown`], with the item.
            ///
            /// # Panics
            /// As `put`.
            pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError<T>> {
                self.core.put(item, || Deadline::after(timeout))
            }

            /// Takes the next item, waiting for one as long as it takes. Signal handlers that run meanwhile do not end the
            /// wait.
            ///
            /// # Errors
            /// [`GetError::ShutDown`] if the queue is empty and has been shut down, also during the wait.
            ///
            /// # Panics
            /// If some 130,000 threads wait for an item already.
            #[inline]
            pub fn get(&self) -> Result<T, GetError> {
                self.core.get(|| Deadline::NEVER)
            }

            /// Takes the next item, if there is one.
            ///
            /// # Errors
            /// [`GetError::Empty`], or [`GetError::ShutDown`] if none will ever come.
            #[inline]
            pub fn try_get(&self) -> Result<T, GetError> {
                self.core.get(|| Deadline::NOW)
            }

            /// Takes the next item, waiting for one for `timeout` at most. Zero does not wait, centuries are fine.
            ///
            /// # Errors
            /// [`GetError::Empty`] if none came in that time, or [`GetError::ShutDown`] if none will ever come.
            ///
            /// # Panics
            /// As `get`.
            pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
                self.core.get(|| Deadline::after(timeout))
            }

            /// The items as they come, until the queue has been shut down and is empty. Each step waits as `get` does.
            pub fn iter(&self) -> QueueIter<'_, Self> {
                QueueIter { queue: self }
            }

            /// Reports that an item which was got has been done, and wakes those in `join` if it was the last.
            ///
            /// # Errors
            /// [`TooManyDone`] if every item that was put has been reported already.
            #[inline]
            pub fn task_done(&self) -> Result<(), TooManyDone> {
                self.core.task_done()
            }

            /// Waits until every item that was put has been got and reported by `task_done`, as long as it takes. Signal
            /// handlers that run meanwhile do not end the wait.
            ///
            /// # Panics
            /// If some 130,000 threads wait for that already.
            pub fn join(&self) {
                self.core.join(|| Deadline::NEVER);
            }

            /// As `join`, for `timeout` at most; whether all was done. Zero does not wait, centuries are fine.
            ///
            /// # Panics
            /// As `join`.
            pub fn join_timeout(&self, timeout: Duration) -> bool {
                self.core.join(|| Deadline::after(timeout))
            }

            /// How many items have been put and not been reported by `task_done`.
            pub fn unfinished_tasks(&self) -> usize {
                self.core.unfinished_tasks()
            }

            /// Ends the queue: from now on nothing can be put, and what is there can still be got. With `immediate`, what
            /// is there is dropped, after the queue has been unlocked, and counts as done.
            ///
            /// All who wait in `put` are woken with [`PutError::ShutDown`], those in `get` with [`GetError::ShutDown`] once
            /// nothing is left for them, and those in `join` if all is done. An immediate shutdown may follow a gentle
            /// one; nothing takes either of them back.
            ///
            /// # Panics
            /// As the `Drop` of the items that are dropped does; the queue is shut down by then, and all are dropped.
            pub fn shutdown(&self, immediate: bool) {
                self.core.shutdown(immediate);
            }

            /// Whether the queue has been shut down; there may be items left.
            #[inline]
            pub fn is_shutdown(&self) -> bool {
                self.core.is_shutdown()
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

            /// Whether there is no room at this moment; never if there is no limit.
            #[inline]
            pub fn is_full(&self) -> bool {
                self.core.is_full()
            }

            /// For how many items there is room, or `None` if there is no limit.
            pub fn maxsize(&self) -> Option<usize> {
                self.core.maxsize()
            }
        }

        impl<T $(: $bound)?> Default for $Queue<T> {
            fn default() -> Self {
                Self::new()
            }
        }

        /// A queue without limit; every item counts as a task.
        impl<T $(: $bound)?> FromIterator<T> for $Queue<T> {
            fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
                let queue = Self::new();
                for item in items {
                    queue.put(item).expect("nobody has shut it down");
                }
                queue
            }
        }

        impl<'a, T $(: $bound)?> IntoIterator for &'a $Queue<T> {
            type Item = T;
            type IntoIter = QueueIter<'a, $Queue<T>>;

            fn into_iter(self) -> Self::IntoIter {
                self.iter()
            }
        }

        impl<T $(: $bound)?> Iterator for QueueIter<'_, $Queue<T>> {
            type Item = T;

            #[inline]
            fn next(&mut self) -> Option<T> {
                self.queue.get().ok()
            }
        }

        impl<T $(: $bound)?> FusedIterator for QueueIter<'_, $Queue<T>> {}

        impl<T> fmt::Debug for $Queue<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($Queue))
                    .field("qsize", &self.core.qsize())
                    .field("maxsize", &self.core.maxsize())
                    .field("shutdown", &self.core.is_shutdown())
                    .finish()
            }
        }
    };
}

queue_face!(Queue, Fifo);
queue_face!(LifoQueue, Lifo);
queue_face!(PriorityQueue, Heap, Ord);
