//! Who this process is, and who its parent.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::sys::clock::Deadline;
use crate::sys::fds;
use crate::sys::known::Known;

/// What a process was told at its start.
pub(crate) struct Me {
    pub(crate) name: String,
    /// Which child of which child of the first process.
    pub(crate) identity: Vec<u32>,
    pub(crate) daemon: bool,
    pub(crate) parent: Option<ParentProcess>,
}

static ME: Known<Me> = Known::new();

/// Called once in a child, before the function.
pub(crate) fn introduce(me: Me) {
    // A second caller does not exist: the door closes behind the first.
    ME.get_or(|| me);
}

pub(crate) fn me() -> &'static Me {
    // Not into `ME`: what a preload function asks is no answer for the children of its fork server.
    static FIRST: Known<Me> = Known::new();
    ME.get().unwrap_or_else(|| {
        FIRST.get_or(|| Me {
            name: "MainProcess".into(),
            identity: Vec::new(),
            daemon: false,
            parent: None,
        })
    })
}

/// The calling process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentProcess {
    name: &'static str,
    daemon: bool,
}

/// The calling process: its name is `MainProcess`, or what it was given.
///
/// ```
/// use allcores::multiprocessing::{Process, current_process};
/// assert_eq!(current_process().name(), "MainProcess");
/// let p = Process::new(|()| current_process().name().to_owned(), ()).name("worker").start()?;
/// assert_eq!(p.result()?, "worker");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn current_process() -> CurrentProcess {
    let me = me();
    CurrentProcess {
        name: &me.name,
        daemon: me.daemon,
    }
}

impl CurrentProcess {
    /// Its name.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Its process number.
    pub fn pid(self) -> u32 {
        std::process::id()
    }

    /// Whether it ends with its parent.
    pub fn daemon(self) -> bool {
        self.daemon
    }
}

/// The process that started this one.
#[derive(Debug)]
pub struct ParentProcess {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) pidfd: OwnedFd,
}

/// The process that started this one with a `Process`; `None` in a program's first process.
///
/// ```
/// use allcores::multiprocessing::{Process, parent_process};
/// assert!(parent_process().is_none());
/// let p = Process::new(|()| parent_process().map(|parent| parent.pid()), ()).start()?;
/// assert_eq!(p.result()?, Some(std::process::id()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn parent_process() -> Option<&'static ParentProcess> {
    me().parent.as_ref()
}

impl ParentProcess {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process number; somebody else's by now, perhaps, if it is not alive.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it runs.
    pub fn is_alive(&self) -> bool {
        !matches!(fds::wait_readable(&self.pidfd, Deadline::NOW), Ok(true))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// What poll(2) reports: no memory.
    pub fn join(&self) -> io::Result<()> {
        fds::wait_readable(&self.pidfd, Deadline::NEVER).map(drop)
    }

    /// Waits for its end, for `timeout` at most: whether it has ended.
    ///
    /// # Errors
    /// What poll(2) reports: no memory.
    pub fn join_timeout(&self, timeout: Duration) -> io::Result<bool> {
        fds::wait_readable(&self.pidfd, Deadline::after(timeout))
    }

    /// A descriptor that can be read once it has ended.
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl AsFd for ParentProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sentinel()
    }
}
