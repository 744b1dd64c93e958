//! Queue, LifoQueue, PriorityQueue and SimpleQueue. Much of it follows CPython's `test_queue`, with handshakes where that
//! sleeps.

mod order;
mod panics;
mod shutdown;
mod simple;
mod stress;
mod tasks;
mod waits;

use std::time::Duration;

use allcores::threading::queue::{GetError, PutError, TooManyDone};
use allcores::threading::{LifoQueue, PriorityQueue, Queue, Scope, ScopedThread, ThreadHandle};

use crate::util::{is_asleep, until};

/// What the three have in common, so that a test is written once.
pub(crate) trait AnyQueue: Sync + Sized {
    /// What comes out when 111, 333 and 222 are put.
    const ORDER: [u32; 3];

    fn new() -> Self;
    fn bounded(maxsize: usize) -> Self;
    fn put(&self, item: u32) -> Result<(), PutError<u32>>;
    fn try_put(&self, item: u32) -> Result<(), PutError<u32>>;
    fn put_timeout(&self, item: u32, timeout: Duration) -> Result<(), PutError<u32>>;
    fn get(&self) -> Result<u32, GetError>;
    fn try_get(&self) -> Result<u32, GetError>;
    fn get_timeout(&self, timeout: Duration) -> Result<u32, GetError>;
    fn items(&self) -> impl Iterator<Item = u32>;
    fn qsize(&self) -> usize;
    fn is_empty(&self) -> bool;
    fn is_full(&self) -> bool;
    fn task_done(&self) -> Result<(), TooManyDone>;
    fn join(&self);
    fn join_timeout(&self, timeout: Duration) -> bool;
    fn unfinished_tasks(&self) -> usize;
    fn shutdown(&self, immediate: bool);
    fn is_shutdown(&self) -> bool;
}

macro_rules! any_queue {
    ($Queue:ident, $order:expr) => {
        impl AnyQueue for $Queue<u32> {
            const ORDER: [u32; 3] = $order;

            fn new() -> Self {
                $Queue::new()
            }
            fn bounded(maxsize: usize) -> Self {
                $Queue::bounded(maxsize)
            }
            fn put(&self, item: u32) -> Result<(), PutError<u32>> {
                self.put(item)
            }
            fn try_put(&self, item: u32) -> Result<(), PutError<u32>> {
                self.try_put(item)
            }
            fn put_timeout(&self, item: u32, timeout: Duration) -> Result<(), PutError<u32>> {
                self.put_timeout(item, timeout)
            }
            fn get(&self) -> Result<u32, GetError> {
                self.get()
            }
            fn try_get(&self) -> Result<u32, GetError> {
                self.try_get()
            }
            fn get_timeout(&self, timeout: Duration) -> Result<u32, GetError> {
                self.get_timeout(timeout)
            }
            fn items(&self) -> impl Iterator<Item = u32> {
                self.iter()
            }
            fn qsize(&self) -> usize {
                self.qsize()
            }
            fn is_empty(&self) -> bool {
                self.is_empty()
            }
            fn is_full(&self) -> bool {
                self.is_full()
            }
            fn task_done(&self) -> Result<(), TooManyDone> {
                self.task_done()
            }
            fn join(&self) {
                self.join();
            }
            fn join_timeout(&self, timeout: Duration) -> bool {
                self.join_timeout(timeout)
            }
            fn unfinished_tasks(&self) -> usize {
                self.unfinished_tasks()
            }
            fn shutdown(&self, immediate: bool) {
                self.shutdown(immediate);
            }
            fn is_shutdown(&self) -> bool {
                self.is_shutdown()
            }
        }
    };
}
any_queue!(Queue, [111, 333, 222]);
any_queue!(LifoQueue, [222, 333, 111]);
any_queue!(PriorityQueue, [111, 222, 333]);

/// Makes a test for each kind of queue from functions that are generic over it.
macro_rules! for_each_kind {
    ($($test:ident)*) => {
        mod fifo {
            $(#[test] fn $test() { super::$test::<allcores::threading::Queue<u32>>(); })*
        }
        mod lifo {
            $(#[test] fn $test() { super::$test::<allcores::threading::LifoQueue<u32>>(); })*
        }
        mod priority {
            $(#[test] fn $test() { super::$test::<allcores::threading::PriorityQueue<u32>>(); })*
        }
    };
}
pub(crate) use for_each_kind;

/// Returns once the thread sleeps, which must be in the queue; fails if it ends instead.
pub(crate) fn until_blocked(thread: &ThreadHandle) {
    until(|| thread.native_id().is_some_and(is_asleep) || has_ended(thread));
    assert!(!has_ended(thread), "it did not block");
}

fn has_ended(thread: &ThreadHandle) -> bool {
    thread.native_id().is_some() && !thread.is_alive()
}

/// Starts `block`, which must block until `trigger` has been called, and gives what it returns.
pub(crate) fn blocks_until<'scope, 'env, R: Send + 'scope>(
    s: &'scope Scope<'scope, 'env>,
    block: impl FnOnce() -> R + Send + 'scope,
    trigger: impl FnOnce(),
) -> R {
    let blocked: ScopedThread<'_, R> = s.spawn(block);
    until_blocked(&blocked.handle());
    trigger();
    blocked.result().unwrap()
}
