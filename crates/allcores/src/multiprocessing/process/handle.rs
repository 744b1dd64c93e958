//! The handle of a process that has been started.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::children::{self, Child, Exit};
use super::wire::Report;
use super::{NewProcess, ProcessError};
use crate::multiprocessing::connection::stream;
use crate::sys::clock::Deadline;
use crate::sys::pidfd;

/// A function that runs in a process of its own, and its result of type `R`.
///
/// ```
/// use allcores::multiprocessing::{Connection, Pipe, Process};
///
/// fn greet((name, to): (String, Connection<String, ()>)) -> usize {
///     to.send(&format!("Hello, {name}!")).unwrap();
///     name.len()
/// }
///
/// let (there, here) = Pipe()?;
/// let p = Process::new(greet, ("World".to_owned(), there)).start()?;
/// assert_eq!(here.recv()?, "Hello, World!");
/// assert_eq!(p.result()?, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The child runs the same executable as this process and is caught before `main`, so nothing needs to be set up, in
/// tests and examples neither. Its memory is its own: what it shall know goes into the arguments, what it has found comes
/// back as the result, and handles (Connections, locks, queues) may be part of both.
///
/// The function is a plain `fn`, or a closure that captures nothing, since a function has to mean the same in both
/// processes; what a closure would capture goes into the arguments:
///
/// ```compile_fail,E0080
/// # use allcores::multiprocessing::Process;
/// let n = 3u64;
/// let p = Process::new(move |()| n * n, ()).start();
/// ```
///
/// and what cannot be serialised cannot be an argument:
///
/// ```compile_fail,E0277
/// # use allcores::multiprocessing::Process;
/// let p = Process::new(|_: std::thread::Thread| (), std::thread::current()).start();
/// ```
///
/// Dropping the handle lets the process go on by itself. Its status is collected all the same when it ends (by a thread
/// that is started for the first such process), so that no zombie stays.
pub struct Process<R> {
    child: Arc<Child>,
    result: PhantomData<fn() -> R>,
}

impl<R> Process<R> {
    /// A process that will run `function(arguments)`: give it a name if you like, then
    /// [`start`](NewProcess::start) it. Several arguments are one tuple.
    #[expect(
        clippy::new_ret_no_self,
        reason = "a handle exists once the process does; Python's two steps"
    )]
    pub fn new<F, A>(function: F, arguments: A) -> NewProcess<F, A, R>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        const {
            assert!(
                size_of::<F>() == 0,
                "the function of a Process captures something, or is a function pointer: pass what it needs as an argument"
            );
        }
        let _ = function;
        NewProcess::new(arguments)
    }

    pub(crate) fn of(child: Arc<Child>) -> Process<R> {
        Process {
            child,
            result: PhantomData,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.child.name
    }

    /// Its process number. Somebody else's, perhaps, once it has ended: the methods here never use it.
    pub fn pid(&self) -> u32 {
        self.child.pid
    }

    /// Whether it ends with this process.
    pub fn daemon(&self) -> bool {
        self.child.daemon
    }

    /// Whether it runs. Collects its status if it does not.
    pub fn is_alive(&self) -> bool {
        self.exit().is_none()
    }

    /// How it ended; `None` while it runs.
    pub fn exit(&self) -> Option<Exit> {
        self.child.exit().ok().flatten()
    }

    /// How it ended, as Python says it: its exit code, or −signal. `None` while it runs, and where the status is lost
    /// ([`Exit::Unknown`]).
    pub fn exitcode(&self) -> Option<i32> {
        exitcode(self.exit())
    }

    /// Asks it to end: SIGTERM. Nothing happens if it has ended.
    ///
    /// # Errors
    /// `PermissionDenied`, if it has changed its user.
    pub fn terminate(&self) -> io::Result<()> {
        self.child.signal(Signal::TERM)
    }

    /// Ends it: SIGKILL. Nothing happens if it has ended.
    ///
    /// # Errors
    /// `PermissionDenied`, if it has changed its user.
    pub fn kill(&self) -> io::Result<()> {
        self.child.signal(Signal::KILL)
    }

    /// A descriptor that can be read once it has ended, for [`wait`](crate::multiprocessing::wait) and for event loops.
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.child.pidfd.as_fd()
    }

    /// Lets go of it, once it has ended: its result is dropped if nobody has taken it.
    ///
    /// # Errors
    /// While it runs the handle comes back.
    pub fn close(self) -> Result<(), StillRunning<R>> {
        match self.exit() {
            Some(_) => Ok(()),
            None => Err(StillRunning(self)),
        }
    }
}

impl<R> Process<R> {
    /// Waits until it has ended. May be called any number of times, by several threads too.
    ///
    /// # Errors
    /// See [`ProcessError`]: it panicked, was ended by a signal, exited on the way, or never started; each time it is asked.
    pub fn join(&self) -> Result<(), ProcessError> {
        self.join_until(Deadline::NEVER).map(|_| ())
    }

    /// As [`join`](Process::join), for `timeout` at most; whether it has ended. Zero does not wait.
    ///
    /// # Errors
    /// As [`join`](Process::join), if it has ended.
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, ProcessError> {
        self.join_until(Deadline::after(timeout))
    }

    fn join_until(&self, deadline: Deadline) -> Result<bool, ProcessError> {
        let name = || self.child.name.clone();
        if !self.child.is_ours() {
            return Err(ProcessError::NotOurChild { name: name() });
        }
        let ended = self
            .child
            .wait(deadline)
            .map_err(|reason| self.io_error(reason))?;
        let left = self
            .child
            .legacy(|legacy| (legacy.exit, legacy.started, legacy.report.clone()));
        let (Some(_), Some((exit, started, report))) = (ended, left) else {
            return Ok(false);
        };
        Err(match (report, exit) {
            (Some(Report::Returned), _) => return Ok(true),
            (Some(Report::Panicked { message, location }), _) => ProcessError::Panicked {
                name: name(),
                message,
                location,
            },
            (Some(Report::NotRun { reason }), _) => ProcessError::NotRun {
                name: name(),
                reason,
            },
            (Some(Report::ResultNotSent { reason }), _) => ProcessError::ResultNotSent {
                name: name(),
                reason,
            },
            (_, Exit::Signal(signal)) => ProcessError::Signaled {
                name: name(),
                signal,
            },
            (_, Exit::Code(code)) if started => ProcessError::Exited { name: name(), code },
            (_, Exit::Code(code)) => ProcessError::NeverStarted { name: name(), code },
            (_, Exit::Unknown) => ProcessError::StatusLost { name: name() },
        })
    }

    fn io_error(&self, reason: io::Error) -> ProcessError {
        let name = self.child.name.clone();
        ProcessError::Io { name, reason }
    }
}

impl<R: DeserializeOwned> Process<R> {
    /// Waits until it has ended, and takes what its function returned.
    ///
    /// # Errors
    /// As [`join`](Process::join); and [`ProcessError::ResultTaken`] the second time, since a result is taken once.
    pub fn result(&self) -> Result<R, ProcessError> {
        match self.result_until(Deadline::NEVER) {
            Ok(Some(result)) => Ok(result),
            Err(error) => Err(error),
            Ok(None) => Err(self.io_error(io::ErrorKind::TimedOut.into())),
        }
    }

    /// As [`result`](Process::result), for `timeout` at most; `None` if it runs still.
    ///
    /// # Errors
    /// As [`result`](Process::result).
    pub fn result_timeout(&self, timeout: Duration) -> Result<Option<R>, ProcessError> {
        self.result_until(Deadline::after(timeout))
    }

    fn result_until(&self, deadline: Deadline) -> Result<Option<R>, ProcessError> {
        if !self.join_until(deadline)? {
            return Ok(None);
        }
        let name = || self.child.name.clone();
        match self.child.legacy(|legacy| legacy.result.take()).flatten() {
            Some((body, handles)) => match stream::decode(&body, handles) {
                Ok(result) => Ok(Some(result)),
                Err(reason) => Err(ProcessError::ResultNotReceived {
                    name: name(),
                    reason,
                }),
            },
            None => Err(ProcessError::ResultTaken { name: name() }),
        }
    }
}

impl<R> AsFd for Process<R> {
    /// The [`sentinel`](Process::sentinel).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sentinel()
    }
}

impl<R> Drop for Process<R> {
    fn drop(&mut self) {
        children::detach(self.child.clone());
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(&self.child, "Process", f)
    }
}

pub(super) fn describe(child: &Child, what: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.debug_struct(what)
        .field("name", &child.name)
        .field("pid", &child.pid)
        .field("daemon", &child.daemon)
        .field("exit", &child.exit().ok().flatten())
        .finish()
}

pub(super) fn exitcode(exit: Option<Exit>) -> Option<i32> {
    match exit? {
        Exit::Code(code) => Some(code),
        Exit::Signal(signal) => Some(-signal),
        Exit::Unknown => None,
    }
}

impl Child {
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        pidfd::signal(self.pidfd.as_fd(), signal).map(drop)
    }
}

/// The process runs still, so its handle cannot be closed; here it is.
#[derive(thiserror::Error)]
#[error("process {} runs still: join it, or end it, before its handle is closed (or drop the handle)", .0.name())]
pub struct StillRunning<R>(pub Process<R>);

impl<R> fmt::Debug for StillRunning<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StillRunning").field(&self.0).finish()
    }
}
