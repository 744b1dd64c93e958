//! One run of a function in a thread of its own: what [`Thread`](super::Thread) and scoped threads share.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::lock::{Lock, LockGuard};
use super::record::{JoinError, Record, ThreadHandle};
use super::{hook, roster};
use crate::sync::Deadline;
use crate::sys::identity;

/// Why a thread was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A thread runs once.
    #[error("thread `{thread}` has been started before: a thread runs once, make a new one")]
    AlreadyStarted {
        /// The thread's name.
        thread: String,
    },
    /// The system refused. The thread can be started again later.
    #[error(
        "thread `{thread}` could not be started: {source} (limits: ulimit -u, pids.max of the cgroup, memory for its stack)"
    )]
    System {
        /// The thread's name.
        thread: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResultError {
    /// The thread did not end with success, or cannot be waited for.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// A result is a value, handed out once.
    #[error("the result of thread `{thread}` has been taken before")]
    Taken {
        /// The thread's name.
        thread: String,
    },
}

/// What a panic carried.
pub(super) type Payload = Box<dyn Any + Send>;

type Function<'a, T> = Box<dyn FnOnce() -> T + Send + 'a>;

/// What starter and started thread pass each other.
struct Packet<'a, T> {
    function: Lock<Option<Function<'a, T>>>,
    result: Lock<Option<Result<T, Payload>>>,
}

pub(super) struct Task<'a, T> {
    pub(super) record: Arc<Record>,
    pub(super) stack_size: Option<usize>,
    packet: Arc<Packet<'a, T>>,
    /// To be joined by whoever comes first, who holds the lock meanwhile. `None` before the start and after the join.
    system: Lock<Option<JoinHandle<()>>>,
}

/// In the child of a fork the last owner may have stayed behind. None of our fields is ever left half-done.
fn undaunted<T>(lock: &Lock<T>) -> LockGuard<'_, T> {
    lock.acquire_or_died().unwrap_or_else(|died| died.recover())
}

impl<'a, T: Send + 'a> Task<'a, T> {
    pub(super) fn new<F: FnOnce() -> T + Send + 'a>(function: F) -> Task<'a, T> {
        Task {
            record: Arc::new(Record::new(function_name::<F>())),
            stack_size: None,
            packet: Arc::new(Packet {
                function: Lock::new(Some(Box::new(function))),
                result: Lock::new(None),
            }),
            system: Lock::new(None),
        }
    }

    /// For a task that has not been started.
    pub(super) fn rename(&mut self, name: String) {
        self.record = Arc::new(self.record.renamed(name));
    }

    /// Starts the thread. `when_done` is dropped there when nothing is left of the function, nor of its result unless
    /// `self` still exists.
    ///
    /// # Safety
    /// The caller keeps `'a` alive until `when_done` is dropped.
    pub(super) unsafe fn start<D: Send + 'a>(&self, when_done: D) -> Result<(), StartError> {
        let thread = || self.record.name().to_owned();
        // Asked before locking as well: somebody may hold the lock until the thread has ended.
        let started = || StartError::AlreadyStarted { thread: thread() };
        if self.record.is_started() {
            return Err(started());
        }
        let mut system = undaunted(&self.system);
        if self.record.is_started() {
            return Err(started());
        }
        let mut builder = Builder::new().name(self.record.name().replace('\0', " "));
        if let Some(bytes) = self.stack_size {
            // What no address space could hold is refused by the system, in an error and not by an overflow.
            builder = builder.stack_size(bytes.min(isize::MAX as usize / 2));
        }
        let number = identity::reserve();
        self.record.set_number(number);
        roster::enter(self.record.clone());
        let record = self.record.clone();
        let packet = self.packet.clone();
        let main = move || {
            let _when_done = when_done;
            run(record, packet);
        };
        // SAFETY: the caller keeps what `main` borrows alive until `when_done` is dropped, which is the last thing that
        // `main` does with anything of that lifetime.
        match unsafe { builder.spawn_unchecked(main) } {
            Ok(handle) => {
                *system = Some(handle);
                Ok(())
            }
            Err(source) => {
                roster::leave(number);
                self.record.set_number(0);
                identity::give_back(number);
                Err(StartError::System {
                    thread: thread(),
                    source,
                })
            }
        }
    }

    /// Waits for the end of the thread as the system sees it.
    pub(super) fn join(&self) -> Result<(), JoinError> {
        self.record.check_joinable()?;
        // The first to come waits as the system does, and the others for it.
        reap(&mut undaunted(&self.system));
        // In a forked child the first may have stayed behind, with the system's handle.
        self.record.wait(Deadline::NEVER);
        self.record.outcome()
    }

    pub(super) fn join_timeout(&self, timeout: Duration) -> Result<bool, JoinError> {
        self.record.check_joinable()?;
        if !self.record.wait(Deadline::after(timeout)) {
            return Ok(false);
        }
        // The thread is past its last destructor: this takes no time.
        reap(&mut undaunted(&self.system));
        self.record.outcome().map(|()| true)
    }

    pub(super) fn result(&self) -> Result<T, ResultError> {
        self.join()?;
        let mut result = undaunted(&self.packet.result);
        if let Some(Ok(_)) = *result
            && let Some(Ok(value)) = result.take()
        {
            return Ok(value);
        }
        Err(ResultError::Taken {
            thread: self.record.name().to_owned(),
        })
    }

    pub(super) fn take_payload(&self) -> Option<Payload> {
        if !self.record.has_ended() {
            return None;
        }
        let mut result = undaunted(&self.packet.result);
        match *result {
            Some(Err(_)) => result.take().and_then(Result::err),
            _ => None,
        }
    }

    pub(super) fn handle(&self) -> ThreadHandle {
        ThreadHandle::new(self.record.clone())
    }
}

fn reap(system: &mut Option<JoinHandle<()>>) {
    if let Some(handle) = system.take() {
        // An error is a result's destructor that panicked after we had let go of it: the panic hook has told of it.
        let _ = handle.join();
    }
}

/// The thread's life.
fn run<T>(record: Arc<Record>, packet: Arc<Packet<'_, T>>) {
    roster::begin(record.clone());
    let function = packet.function.acquire().take();
    let function =
        function.expect("a function is taken once, by the thread that was started for it");
    let result = catch_unwind(AssertUnwindSafe(function));
    if let Err(payload) = &result {
        let message = hook::message(&**payload);
        record.panicked(message);
        hook::call(ThreadHandle::new(record), message, &**payload);
    }
    *packet.result.acquire() = Some(result);
}

impl<T> Drop for Task<'_, T> {
    fn drop(&mut self) {
        if let Some(handle) = self.system.get_mut().take()
            && self.record.is_vanished()
        {
            // The system's thread belongs to our parent: there is nothing to detach here.
            std::mem::forget(handle);
        }
    }
}

/// The name that a function was declared with; closures and function pointers have none.
fn function_name<F>() -> Option<&'static str> {
    if size_of::<F>() != 0 {
        return None;
    }
    let path = std::any::type_name::<F>();
    // Without type arguments at the end: `module::function<Vec<u8>>`.
    let mut depth = 0;
    let end = path.char_indices().rev().find(|(_, c)| {
        depth += i32::from(*c == '>') - i32::from(*c == '<');
        depth == 0 && *c != '<'
    });
    let path = &path[..=end?.0];
    let name = path.rsplit("::").next()?;
    let plain = |c: char| c.is_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() {}
    fn generic<T>() {}
    struct Wrapper<T>(T);
    impl<T> Wrapper<T> {
        fn method() {}
    }
    fn name_of<F>(_: F) -> Option<&'static str> {
        function_name::<F>()
    }

    #[test]
    fn functions_are_named_and_closures_are_not() {
        assert_eq!(name_of(plain), Some("plain"));
        assert_eq!(name_of(generic::<Vec<u8>>), Some("generic"));
        assert_eq!(name_of(Wrapper::<Vec<u8>>::method), Some("method"));
        assert_eq!(name_of(<u8 as Default>::default), Some("default"));
        assert_eq!(name_of(|| 1), None);
        let seven = 7;
        assert_eq!(name_of(move || seven), None);
        assert_eq!(name_of(plain as fn()), None);
    }
}
