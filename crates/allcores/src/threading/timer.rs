//! Timer: a call that comes later, unless it is cancelled.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::*};
use std::time::Duration;

use super::event::Event;
use super::record::JoinError;
use super::task::{ResultError, StartError};
use super::thread::Thread;

/// A call in a thread of its own that comes `delay` after the start, unless it is cancelled before: Python's
/// `threading.Timer`.
///
/// ```
/// use std::time::Duration;
/// use allcores::threading::Timer;
///
/// let alarm = Timer::new(Duration::from_secs(3600), || println!("wake up"));
/// alarm.start()?;
/// assert!(alarm.cancel()); // in time
/// alarm.join()?; // the thread ends without the call
///
/// let soon = Timer::new(Duration::from_millis(1), || 6 * 7);
/// soon.start()?;
/// assert_eq!(soon.result()?, Some(42));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Dropping a `Timer` does not cancel it.
pub struct Timer<T> {
    thread: Thread<Option<T>>,
    fuse: Arc<Fuse>,
}

/// Decides once whether the call is made.
struct Fuse {
    decided: AtomicU8,
    cancelled: Event,
}

const UNDECIDED: u8 = 0;
const CALLS: u8 = 1;
const CANCELLED: u8 = 2;

impl Fuse {
    /// Decides for `wish` unless that is decided already; what is decided now.
    fn decide(&self, wish: u8) -> u8 {
        match self
            .decided
            .compare_exchange(UNDECIDED, wish, AcqRel, Acquire)
        {
            Ok(_) => wish,
            Err(decided) => decided,
        }
    }
}

impl<T: Send + 'static> Timer<T> {
    /// A timer that will call `function` when `delay` has passed since its thread began to run. Zero is at once; centuries
    /// are fine.
    #[must_use = "a timer does nothing before start()"]
    pub fn new<F: FnOnce() -> T + Send + 'static>(delay: Duration, function: F) -> Timer<T> {
        let fuse = Arc::new(Fuse {
            decided: AtomicU8::new(UNDECIDED),
            cancelled: Event::new(),
        });
        let thread = Thread::new({
            let fuse = fuse.clone();
            move || {
                let cancelled = fuse.cancelled.wait_timeout(delay);
                (!cancelled && fuse.decide(CALLS) == CALLS).then(function)
            }
        });
        Timer { thread, fuse }
    }

    /// Names the timer's thread; see [`Thread::name`].
    #[must_use = "a timer does nothing before start()"]
    pub fn name(self, name: impl Into<String>) -> Timer<T> {
        Timer {
            thread: self.thread.name(name),
            ..self
        }
    }

    /// Starts to count.
    ///
    /// # Errors
    /// As [`Thread::start`].
    pub fn start(&self) -> Result<(), StartError> {
        self.thread.start()
    }

    /// Prevents the call if it has not begun, and ends the timer's thread: whether the call will never come. Before the
    /// start it works as well. Does not wait.
    pub fn cancel(&self) -> bool {
        let prevented = self.fuse.decide(CANCELLED) == CANCELLED;
        self.fuse.cancelled.set();
        prevented
    }

    /// Waits until the call has returned, or was cancelled.
    ///
    /// # Errors
    /// As [`Thread::join`]: also if the function panicked.
    pub fn join(&self) -> Result<(), JoinError> {
        self.thread.join()
    }

    /// Waits until the call has returned or was cancelled, for `timeout` at most; whether that came in time.
    ///
    /// # Errors
    /// As [`Timer::join`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, JoinError> {
        self.thread.join_timeout(timeout)
    }

    /// Waits for the end and takes what the function returned; `None` if it was cancelled.
    ///
    /// # Errors
    /// As [`Thread::result`].
    pub fn result(&self) -> Result<Option<T>, ResultError> {
        self.thread.result()
    }

    /// Whether the timer has been started, and is neither done nor cancelled.
    pub fn is_alive(&self) -> bool {
        self.thread.is_alive()
    }

    /// The timer's thread.
    pub fn thread(&self) -> &Thread<Option<T>> {
        &self.thread
    }
}

impl<T> fmt::Debug for Timer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cancelled = self.fuse.decided.load(Acquire) == CANCELLED;
        f.debug_struct("Timer")
            .field("thread", &self.thread)
            .field("cancelled", &cancelled)
            .finish()
    }
}
