//! The children of this process, whoever has their handles.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use super::children::{self, Child, Exit};
use super::handle::{describe, exitcode};
use crate::sys::clock::Deadline;

/// A child of this process, whatever its result.
#[derive(Clone)]
pub struct ActiveChild(Arc<Child>);

impl ActiveChild {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its process number. Somebody else's, perhaps, once it has ended: the methods here never use it.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Whether it ends with this process.
    pub fn daemon(&self) -> bool {
        self.0.daemon
    }

    /// How it ended; `None` while it runs.
    pub fn exit(&self) -> Option<Exit> {
        self.0.exit().ok().flatten()
    }

    /// As [`Process::exitcode`](super::Process::exitcode).
    pub fn exitcode(&self) -> Option<i32> {
        exitcode(self.exit())
    }

    /// As [`Process::is_alive`](super::Process::is_alive).
    pub fn is_alive(&self) -> bool {
        self.exit().is_none()
    }

    /// Waits until it has ended. Its result stays with its [`Process`](super::Process).
    ///
    /// # Errors
    /// What poll(2) reports: no memory.
    pub fn join(&self) -> io::Result<()> {
        self.0.wait(Deadline::NEVER).map(drop)
    }

    /// Waits until it has ended, for `timeout` at most: whether it has.
    ///
    /// # Errors
    /// What poll(2) reports: no memory.
    pub fn join_timeout(&self, timeout: Duration) -> io::Result<bool> {
        Ok(self.0.wait(Deadline::after(timeout))?.is_some())
    }

    /// As [`Process::terminate`](super::Process::terminate).
    ///
    /// # Errors
    /// As [`Process::terminate`](super::Process::terminate).
    pub fn terminate(&self) -> io::Result<()> {
        self.0.signal(Signal::TERM)
    }

    /// As [`Process::kill`](super::Process::kill).
    ///
    /// # Errors
    /// As [`Process::kill`](super::Process::kill).
    pub fn kill(&self) -> io::Result<()> {
        self.0.signal(Signal::KILL)
    }
}

impl AsFd for ActiveChild {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.pidfd.as_fd()
    }
}

impl fmt::Debug for ActiveChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(&self.0, "ActiveChild", f)
    }
}

/// The children of this process that run now, whether or not anybody has kept their handles. Collects the status of those
/// that have ended.
///
/// ```
/// use allcores::multiprocessing::{Pipe, Process, active_children};
/// use allcores::multiprocessing::Connection;
/// let (there, here) = Pipe::<(), ()>()?;
/// let p = Process::new(|end: Connection<(), ()>| end.recv().unwrap(), there).start()?;
/// assert!(active_children().iter().any(|child| child.pid() == p.pid()));
/// here.send(&())?;
/// p.join()?;
/// assert!(active_children().iter().all(|child| child.pid() != p.pid()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn active_children() -> Vec<ActiveChild> {
    children::running().into_iter().map(ActiveChild).collect()
}

/// Waits for all children that run now, as Python does when a program ends. Those started meanwhile are not waited for.
///
/// # Errors
/// What poll(2) reports: no memory.
pub fn join_all() -> io::Result<()> {
    active_children().iter().try_for_each(ActiveChild::join)
}
