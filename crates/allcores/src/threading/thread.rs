//! Thread: a function that runs beside its caller.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use super::record::{JoinError, ThreadHandle};
use super::task::{ResultError, StartError, Task};

/// A function that runs beside its caller, in Python's two steps: make it, then start it.
///
/// ```
/// use allcores::threading::Thread;
///
/// let words = "one two three";
/// let counter = Thread::new(move || words.split(' ').count()).name("counter");
/// counter.start()?;
/// counter.join()?; // may be repeated, by any thread
/// assert_eq!(counter.result()?, 3); // once: it is a value
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A panic in the thread is an error value of [`Thread::join`] and [`Thread::result`]. Dropping a `Thread` leaves the thread
/// running by itself. As with [`std::thread`], all threads end when `main` returns.
///
/// What the function uses must be its own: a borrow could end before the thread does. [`scope`](super::scope()) allows borrows.
///
/// ```compile_fail,E0373
/// # use allcores::threading::Thread;
/// let numbers = vec![1, 2, 3];
/// let t = Thread::new(|| numbers.len()); // borrows: needs `move`
/// ```
///
/// ```compile_fail,E0597
/// # use allcores::threading::Thread;
/// let numbers = vec![1, 2, 3];
/// let borrowed = &numbers;
/// let t = Thread::new(move || borrowed.len());
/// ```
pub struct Thread<T> {
    task: Task<'static, T>,
}

impl<T: Send + 'static> Thread<T> {
    /// A thread that will run `function` once it is started.
    ///
    /// Its name is `Thread-N (function)`, or `Thread-N` for a closure, until [`Thread::name`] says otherwise.
    #[must_use = "a thread does nothing before start()"]
    pub fn new<F: FnOnce() -> T + Send + 'static>(function: F) -> Thread<T> {
        Thread {
            task: Task::new(function),
        }
    }

    /// Names the thread, for [`current_thread`](super::current_thread), panic messages and debuggers (the system keeps the
    /// first 15 bytes, and a NUL becomes a space there). Changes nothing once the thread has been started.
    #[must_use = "a thread does nothing before start()"]
    pub fn name(mut self, name: impl Into<String>) -> Thread<T> {
        if !self.task.record.is_started() {
            self.task.rename(name.into());
        }
        self
    }

    /// The size of the thread's stack in bytes, instead of [`std::thread`]'s 2 MiB. The system has a minimum, and rounds up.
    #[must_use = "a thread does nothing before start()"]
    pub fn stack_size(mut self, bytes: usize) -> Thread<T> {
        self.task.stack_size = Some(bytes);
        self
    }

    /// Starts the thread, and does not wait for it to run.
    ///
    /// # Errors
    /// [`StartError::AlreadyStarted`], or [`StartError::System`] if there is no room for another thread; then it can be
    /// tried again.
    pub fn start(&self) -> Result<(), StartError> {
        // SAFETY: what the function borrows and what it returns live for ever.
        unsafe { self.task.start(()) }
    }

    /// Waits for the thread's end, which comes after the destructors of its thread locals. Several threads may wait for
    /// the same one, and each may do so again. Signal handlers that run meanwhile do not end the wait.
    ///
    /// # Errors
    /// [`JoinError::Panicked`] if the thread panicked, every time. [`JoinError::NotStarted`], [`JoinError::Itself`] and
    /// [`JoinError::Vanished`] where the wait would never end.
    pub fn join(&self) -> Result<(), JoinError> {
        self.task.join()
    }

    /// Waits for the thread's end, for `timeout` at most; whether it came in that time. Zero does not wait.
    ///
    /// # Errors
    /// As [`Thread::join`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, JoinError> {
        self.task.join_timeout(timeout)
    }

    /// Waits for the thread's end and takes what its function returned.
    ///
    /// # Errors
    /// As [`Thread::join`], and [`ResultError::Taken`] from the second time on.
    pub fn result(&self) -> Result<T, ResultError> {
        self.task.result()
    }

    /// Takes what a panic carried, once, for [`std::panic::resume_unwind`] or to look inside. `None` if the thread has not
    /// ended by a panic (yet).
    pub fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        self.task.take_payload()
    }

    /// Whether the thread has been started and has not ended.
    pub fn is_alive(&self) -> bool {
        self.task.record.is_alive()
    }

    /// The thread's number in this process, as [`get_ident`](super::get_ident) gives it there; `None` before its start.
    pub fn ident(&self) -> Option<u64> {
        self.handle().ident()
    }

    /// The kernel's number for the thread (its TID); `None` until it runs, which may be a moment after its start.
    pub fn native_id(&self) -> Option<u32> {
        self.task.record.native_id()
    }

    /// The thread as [`current_thread`](super::current_thread) shows it to itself.
    pub fn handle(&self) -> ThreadHandle {
        self.task.handle()
    }
}

impl<T> fmt::Debug for Thread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = &self.task.record;
        f.debug_struct("Thread")
            .field("name", &record.name())
            .field("started", &record.is_started())
            .field("alive", &record.is_alive())
            .finish()
    }
}
