//! What is known of a thread, whoever started it, and the handle that everybody may have.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::Duration;

use crate::sync::{self, Deadline, Scope, Waited};
use crate::sys::fork;
use crate::sys::identity::{self, Fate};
use crate::sys::known::Known;

/// Why waiting for a thread did not end with its success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// It has never been started, so it would never end.
    #[error("thread `{thread}` cannot be joined before it has been started")]
    NotStarted {
        /// The thread's name.
        thread: String,
    },
    /// A thread that waits for its own end waits for ever.
    #[error("thread `{thread}` cannot join itself: it would wait for ever")]
    Itself {
        /// The thread's name.
        thread: String,
    },
    /// It ran in the process that this one was forked from, and does not exist here.
    #[error("thread `{thread}` stayed behind in a fork: it does not run in this process")]
    Vanished {
        /// The thread's name.
        thread: String,
    },
    /// It has ended, by a panic.
    #[error("thread `{thread}` panicked: {message}")]
    Panicked {
        /// The thread's name.
        thread: String,
        /// What the panic said.
        message: String,
    },
}

/// What is known of a thread.
pub(super) struct Record {
    name: Known<Box<str>>,
    /// The name of the function that it runs, if it has one.
    function: Option<&'static str>,
    /// Its number; 0 until it is started.
    number: AtomicU32,
    /// The kernel's number; 0 until it runs.
    native_id: AtomicU32,
    /// Set at the thread's very end, after the destructors of its thread locals.
    ended: sync::Event,
    panic: Known<Box<str>>,
}

/// How many threads got a name from us.
static NAMED: AtomicU32 = AtomicU32::new(1);
/// How many foreign threads did.
static DUMMIES: AtomicU32 = AtomicU32::new(1);

impl Record {
    /// Of a thread that is to be started.
    pub(super) fn new(function: Option<&'static str>) -> Record {
        Record {
            name: Known::new(),
            function,
            number: AtomicU32::new(0),
            native_id: AtomicU32::new(0),
            ended: sync::Event::new(),
            panic: Known::new(),
        }
    }

    /// Of a thread that runs already, and was not started by us.
    pub(super) fn foreign(name: Option<&str>, number: u32) -> Record {
        let record = Record::new(None);
        let name = match name {
            Some(name) => name.to_owned(),
            None => format!("Dummy-{}", DUMMIES.fetch_add(1, Relaxed)),
        };
        record.name.get_or(|| name.into());
        record.number.store(number, Relaxed);
        record
    }

    /// A record like this one under another name; for a thread that has not been started.
    pub(super) fn renamed(&self, name: String) -> Record {
        let record = Record::new(self.function);
        record.name.get_or(|| name.into());
        record
    }

    /// The name; the default one is made when it is first asked for.
    pub(super) fn name(&self) -> &str {
        self.name.get_or(|| {
            let number = NAMED.fetch_add(1, Relaxed);
            match self.function {
                Some(function) => format!("Thread-{number} ({function})").into(),
                None => format!("Thread-{number}").into(),
            }
        })
    }

    pub(super) fn number(&self) -> u32 {
        self.number.load(Acquire)
    }

    pub(super) fn set_number(&self, number: u32) {
        self.number.store(number, Release);
    }

    /// The record's own thread says that it runs now.
    pub(super) fn runs(&self) {
        self.native_id.store(identity::native_id(), Relaxed);
    }

    pub(super) fn panicked(&self, message: &str) {
        self.panic.get_or(|| message.into());
    }

    /// The thread is at its very end.
    pub(super) fn ends(&self) {
        // SAFETY: `self` is live for the call.
        unsafe { sync::Event::set(&self.ended, Scope::PRIVATE) };
    }

    pub(super) fn is_started(&self) -> bool {
        self.number() != 0
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_set()
    }

    pub(super) fn is_alive(&self) -> bool {
        self.is_started() && !self.has_ended() && !self.is_vanished()
    }

    /// Whether it runs in the process that this one was forked from.
    pub(super) fn is_vanished(&self) -> bool {
        fork::generation() != 0
            && !self.has_ended()
            && identity::fate(self.number()) == Fate::Vanished
    }

    pub(super) fn is_current(&self) -> bool {
        self.number() == identity::thread_number() && !self.has_ended()
    }

    pub(super) fn is_main(&self) -> bool {
        self.number() == identity::main_number()
    }

    pub(super) fn native_id(&self) -> Option<u32> {
        if self.is_started() && self.is_main() {
            // A forked child's main thread had another number in its parent.
            return Some(std::process::id());
        }
        Some(self.native_id.load(Relaxed)).filter(|id| *id != 0)
    }

    /// Refuses to wait for a thread that cannot end.
    pub(super) fn check_joinable(&self) -> Result<(), JoinError> {
        let thread = || self.name().to_owned();
        if !self.is_started() {
            Err(JoinError::NotStarted { thread: thread() })
        } else if self.is_current() {
            Err(JoinError::Itself { thread: thread() })
        } else if self.is_vanished() {
            Err(JoinError::Vanished { thread: thread() })
        } else {
            Ok(())
        }
    }

    /// Waits for the thread's end; whether it came in time.
    pub(super) fn wait(&self, deadline: Deadline) -> bool {
        loop {
            match self.ended.wait(Scope::PRIVATE, deadline) {
                Waited::Yes => return true,
                Waited::TimedOut => return false,
                Waited::Interrupted => {}
            }
        }
    }

    /// How the thread ended.
    pub(super) fn outcome(&self) -> Result<(), JoinError> {
        match self.panic.get() {
            None => Ok(()),
            Some(message) => Err(JoinError::Panicked {
                thread: self.name().to_owned(),
                message: message.to_string(),
            }),
        }
    }
}

/// A thread as everybody may see it: cheap to clone, and good for as long as you like.
///
/// From [`current_thread`](super::current_thread), [`main_thread`](super::main_thread),
/// [`enumerate`](super::enumerate()) and [`Thread::handle`](super::Thread::handle). Two handles are equal if they mean the same
/// thread.
#[derive(Clone)]
pub struct ThreadHandle {
    record: Arc<Record>,
}

impl ThreadHandle {
    pub(super) fn new(record: Arc<Record>) -> ThreadHandle {
        ThreadHandle { record }
    }

    /// The thread's name. Names need not be unique.
    pub fn name(&self) -> &str {
        self.record.name()
    }

    /// The thread's number in this process, as [`get_ident`](super::get_ident) gives it there; `None` before its start.
    pub fn ident(&self) -> Option<u64> {
        Some(u64::from(self.record.number())).filter(|number| *number != 0)
    }

    /// The kernel's number for the thread (its TID); `None` before it runs, which may be a moment after its start, and for
    /// a foreign thread that has never asked for itself.
    pub fn native_id(&self) -> Option<u32> {
        self.record.native_id()
    }

    /// Whether the thread has been started and has not ended. It ends after the destructors of its thread locals.
    pub fn is_alive(&self) -> bool {
        self.record.is_alive()
    }

    /// Whether it is the process's main thread: the one that `main` runs in, or that forked this process.
    pub fn is_main(&self) -> bool {
        self.record.is_started() && self.record.is_main()
    }

    /// Waits for the thread's end. Several threads may, and each may do it again.
    ///
    /// # Errors
    /// If the thread panicked (every time), and where waiting would never end: see [`JoinError`].
    pub fn join(&self) -> Result<(), JoinError> {
        self.record.check_joinable()?;
        self.record.wait(Deadline::NEVER);
        self.record.outcome()
    }

    /// Waits for the thread's end, for `timeout` at most; whether it came in that time.
    ///
    /// # Errors
    /// As [`ThreadHandle::join`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, JoinError> {
        self.record.check_joinable()?;
        if !self.record.wait(Deadline::after(timeout)) {
            return Ok(false);
        }
        self.record.outcome().map(|()| true)
    }
}

impl PartialEq for ThreadHandle {
    fn eq(&self, other: &ThreadHandle) -> bool {
        Arc::ptr_eq(&self.record, &other.record)
    }
}

impl Eq for ThreadHandle {}

impl std::hash::Hash for ThreadHandle {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.record).hash(state);
    }
}

impl fmt::Debug for ThreadHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadHandle")
            .field("name", &self.name())
            .field("ident", &self.ident())
            .field("alive", &self.is_alive())
            .finish()
    }
}
