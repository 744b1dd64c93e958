//! scope: threads that may borrow, since they are all joined before the scope ends.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::time::Duration;

use super::event::Event;
use super::lock::Lock;
use super::record::{JoinError, Record, ThreadHandle};
use super::task::{ResultError, StartError, Task};

/// Threads of a [`scope()`] panicked, and nobody joined them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} of a scope's threads panicked and were not joined; the first: {}", .panics.len(), .panics[0])]
pub struct ScopeError {
    panics: Vec<JoinError>,
}

impl ScopeError {
    /// The panics, one [`JoinError::Panicked`] each, in the order in which the threads were started; at least one.
    pub fn panics(&self) -> &[JoinError] {
        &self.panics
    }
}

/// Runs `body` with threads that may borrow what lives longer than the scope; when it returns, all of them have ended.
///
/// ```
/// use allcores::threading::{self, Lock};
///
/// let words = ["lock", "event", "barrier"];
/// let total = Lock::new(0);
/// threading::scope(|s| {
///     for word in &words {
///         s.spawn(|| *total.acquire() += word.len());
///     }
/// })?;
/// assert_eq!(total.into_inner(), 16);
///
/// let longest = threading::scope(|s| {
///     let t = s.spawn(|| words.iter().map(|word| word.len()).max());
///     t.result() // joins, and takes what the thread returned
/// })??;
/// assert_eq!(longest, Some(7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ScopeError`] if threads panicked and nobody heard of it by [`ScopedThread::join`], `join_timeout` or `result`. What
/// `body` returned is dropped then.
///
/// # Panics
/// If `body` panics, after all threads have ended.
///
/// What the scope's threads borrow must live longer than the scope:
///
/// ```compile_fail,E0373
/// # use allcores::threading::scope;
/// scope(|s| {
///     let inner = 1;
///     s.spawn(|| inner); // `inner` is gone before the scope ends
/// });
/// ```
pub fn scope<'env, R, F>(body: F) -> Result<R, ScopeError>
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
{
    let scope = Scope {
        tally: Arc::default(),
        scope: PhantomData,
        env: PhantomData,
    };
    let result = catch_unwind(AssertUnwindSafe(|| body(&scope)));
    scope.tally.wait();
    // No panic of ours may come between the wait and here.
    let result = result.unwrap_or_else(|payload| resume_unwind(payload));
    let panics = scope.tally.unheard();
    if panics.is_empty() {
        Ok(result)
    } else {
        Err(ScopeError { panics })
    }
}

/// Where the threads of a [`scope()`] are started.
pub struct Scope<'scope, 'env: 'scope> {
    tally: Arc<Tally>,
    /// Invariant, as in std: a scope that could be taken for a shorter one would let borrows in that end too soon.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// How many threads run, and who panicked.
#[derive(Default)]
struct Tally {
    running: AtomicUsize,
    /// Somebody was the last to run, at some time.
    none_left: Event,
    started: Lock<Vec<(Arc<Record>, Arc<Heard>)>>,
}

/// Whether anybody was told of a thread's outcome.
#[derive(Default)]
struct Heard(std::sync::atomic::AtomicBool);

impl Tally {
    fn wait(&self) {
        loop {
            self.none_left.clear();
            if self.running.load(Acquire) == 0 {
                return;
            }
            self.none_left.wait();
        }
    }

    fn unheard(&self) -> Vec<JoinError> {
        let started = self.started.acquire();
        let unheard = started.iter().filter(|(_, heard)| !heard.0.load(Acquire));
        unheard
            .filter_map(|(record, _)| record.outcome().err())
            .collect()
    }
}

/// One thread that runs, or is about to. Dropped by that thread when nothing that it borrows is left.
struct Running(Arc<Tally>);

impl Running {
    fn new(tally: &Arc<Tally>) -> Running {
        tally.running.fetch_add(1, Relaxed);
        Running(tally.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Release: what the thread did is seen by whoever finds that none is left.
        if self.0.running.fetch_sub(1, AcqRel) == 1 {
            self.0.none_left.set();
        }
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a thread that runs `function`.
    ///
    /// # Panics
    /// If the system cannot start it; [`Scope::thread`] has an error for that.
    pub fn spawn<F, T>(&'scope self, function: F) -> ScopedThread<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        match self.thread(function).start() {
            Ok(thread) => thread,
            Err(error) => panic!("{error}"),
        }
    }

    /// A thread that will run `function` once it is started; until then it can be given a name.
    ///
    /// ```
    /// use allcores::threading::{current_thread, scope};
    ///
    /// let name = scope(|s| {
    ///     let t = s.thread(|| current_thread().name().to_owned()).name("w").start()?;
    ///     Ok::<_, Box<dyn std::error::Error>>(t.result()?)
    /// })??;
    /// assert_eq!(name, "w");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "a thread does nothing before start()"]
    pub fn thread<F, T>(&'scope self, function: F) -> ScopedBuilder<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        ScopedBuilder {
            task: Task::new(function),
            tally: &self.tally,
        }
    }
}

/// A scoped thread that has not been started: [`Scope::thread`].
#[must_use = "a thread does nothing before start()"]
pub struct ScopedBuilder<'scope, T> {
    task: Task<'scope, T>,
    tally: &'scope Arc<Tally>,
}

impl<'scope, T: Send + 'scope> ScopedBuilder<'scope, T> {
    /// Names the thread; see [`Thread::name`](super::Thread::name).
    pub fn name(mut self, name: impl Into<String>) -> ScopedBuilder<'scope, T> {
        self.task.rename(name.into());
        self
    }

    /// The size of the thread's stack in bytes.
    pub fn stack_size(mut self, bytes: usize) -> ScopedBuilder<'scope, T> {
        self.task.stack_size = Some(bytes);
        self
    }

    /// Starts the thread, and does not wait for it to run.
    ///
    /// # Errors
    /// [`StartError::System`] if there is no room for another thread.
    pub fn start(self) -> Result<ScopedThread<'scope, T>, StartError> {
        let heard = Arc::<Heard>::default();
        let record = self.task.record.clone();
        let running = Running::new(self.tally);
        // SAFETY: `scope` does not return, nor unwind, before every Running has been dropped, and 'scope lasts until then.
        unsafe { self.task.start(running) }?;
        self.tally.started.acquire().push((record, heard.clone()));
        Ok(ScopedThread {
            task: self.task,
            heard,
        })
    }
}

/// A thread of a [`scope()`]. Dropping it leaves the thread to be joined by the scope's end.
pub struct ScopedThread<'scope, T> {
    task: Task<'scope, T>,
    heard: Arc<Heard>,
}

impl<'scope, T: Send + 'scope> ScopedThread<'scope, T> {
    /// Waits for the thread's end; may be repeated.
    ///
    /// # Errors
    /// As [`Thread::join`](super::Thread::join).
    pub fn join(&self) -> Result<(), JoinError> {
        self.hears(self.task.join())
    }

    /// Waits for the thread's end, for `timeout` at most; whether it came in that time.
    ///
    /// # Errors
    /// As [`ScopedThread::join`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, JoinError> {
        self.hears(self.task.join_timeout(timeout))
    }

    /// Waits for the thread's end and takes what its function returned.
    ///
    /// # Errors
    /// As [`ScopedThread::join`], and [`ResultError::Taken`] from the second time on.
    pub fn result(&self) -> Result<T, ResultError> {
        self.join()?;
        self.task.result()
    }

    /// Takes what a panic carried; see [`Thread::take_panic`](super::Thread::take_panic).
    pub fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        self.task.take_payload()
    }

    /// Whether the thread has not ended.
    pub fn is_alive(&self) -> bool {
        self.task.record.is_alive()
    }

    /// The thread as [`current_thread`](super::current_thread) shows it to itself.
    pub fn handle(&self) -> ThreadHandle {
        self.task.handle()
    }

    fn hears<V>(&self, outcome: Result<V, JoinError>) -> Result<V, JoinError> {
        if let Err(JoinError::Panicked { .. }) = outcome {
            self.heard.0.store(true, Release);
        }
        outcome
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.tally.running.load(Relaxed);
        f.debug_struct("Scope").field("running", &running).finish()
    }
}

impl<T> fmt::Debug for ScopedBuilder<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedBuilder")
            .field("name", &self.task.record.name())
            .finish()
    }
}

impl<T> fmt::Debug for ScopedThread<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedThread")
            .field("name", &self.task.record.name())
            .field("alive", &self.task.record.is_alive())
            .finish()
    }
}
