//! Threads, and the primitives in private memory, as Python's `threading` has them.
//!
//! | here | what |
//! |---|---|
//! | [`Thread`] | a function that runs beside its caller, and its result |
//! | [`Timer`] | a call that comes later, unless it is cancelled |
//! | [`scope()`] | threads that may borrow |
//! | [`current_thread`], [`main_thread`], [`enumerate()`], [`active_count`], [`get_ident`], [`get_native_id`] | who runs |
//! | [`set_excepthook`] | what happens when a panic ends a thread |
//! | [`Lock`] | data that one thread at a time may touch; without data, Python's lock |
//! | [`RLock`] | the same, for a thread that takes it again |
//! | [`Semaphore`], [`BoundedSemaphore`] | a number of permits |
//! | [`Event`] | a flag that threads wait for |
//! | [`Condition`] | waiting, with a lock, until somebody says that things have changed |
//! | [`Barrier`] | a place where threads wait until all have come |
//! | [`Queue`], [`LifoQueue`], [`PriorityQueue`], [`SimpleQueue`] | items that go from thread to thread |
//!
//! ```
//! use allcores::threading::{Event, Lock, Semaphore, Thread};
//!
//! static PAGES: Semaphore = Semaphore::new(0);
//! static PRINTED: Lock<Vec<u32>> = Lock::new(Vec::new());
//! static CLOSING: Event = Event::new();
//!
//! let printer = Thread::new(|| {
//!     let mut pages = 0;
//!     loop {
//!         PAGES.acquire();
//!         if CLOSING.is_set() {
//!             return pages;
//!         }
//!         pages += 1;
//!         PRINTED.acquire().push(pages);
//!     }
//! })
//! .name("printer");
//! printer.start()?;
//! PAGES.release_many(3)?;
//! while PRINTED.acquire().len() < 3 {
//!     std::thread::yield_now();
//! }
//! CLOSING.set();
//! PAGES.release()?;
//! printer.join()?;
//! assert_eq!(printer.result()?, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! All waits take a [`Duration`](std::time::Duration) in their `_timeout` form, measured on `CLOCK_MONOTONIC` from the call;
//! zero does not wait, and lengths of centuries are fine. Signal handlers that run during a wait do not end it.
//!
//! In the child of a `fork(2)` only the forking thread exists: it keeps what it holds, and locks of the others are reported
//! (see [`OwnerDied`]) instead of waited for. Forks made by a bare `clone(2)` are not seen.

mod barrier;
mod condition;
mod event;
mod guard;
mod hook;
mod lock;
mod owner_died;
pub mod queue;
mod record;
mod rlock;
mod roster;
mod scope;
mod semaphore;
mod task;
mod thread;
mod timer;

pub use crate::sync::condition::NoRoom;
pub use barrier::{Barrier, BarrierWaitResult, BrokenBarrier, InvalidParties};
pub use condition::{Condition, ForeignLock, WaitError};
pub use event::Event;
pub use guard::Guard;
pub use hook::{ExceptHookArgs, PanicLocation, reset_excepthook, set_excepthook};
pub use lock::{Lock, LockGuard, NotHeld, RawLock};
pub use owner_died::OwnerDied;
pub use queue::{LifoQueue, PriorityQueue, Queue, SimpleQueue};
pub use record::{JoinError, ThreadHandle};
pub use rlock::{NotOwner, RLock, RLockGuard};
pub use roster::{active_count, current_thread, enumerate, get_ident, get_native_id, main_thread};
pub use scope::{Scope, ScopeError, ScopedBuilder, ScopedThread, scope};
pub use semaphore::{BoundedSemaphore, Permit, ReleaseManyError, Semaphore, TooManyPermits};
pub use task::{ResultError, StartError};
pub use thread::Thread;
pub use timer::Timer;

pub(crate) use roster::this_thread_ends;
