//! A process as a descriptor: no number that may be somebody else's by now. See pidfd_open(2), waitid(2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

/// How a process ended, as its parent learns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Code(i32),
    Signal(i32),
}

/// A descriptor for the process that has this number now. Readable once the process has ended, all its threads included.
pub(crate) fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(Errno::SRCH)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// A descriptor for this process.
pub(crate) fn open_self() -> io::Result<OwnedFd> {
    open(std::process::id())
}

/// Sends a signal; false if the process has ended.
pub(crate) fn signal(process: BorrowedFd<'_>, signal: Signal) -> io::Result<bool> {
    match rustix::process::pidfd_send_signal(process, signal) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What [`collect`] found.
pub(crate) enum Collected {
    /// It has ended like this, and its entry in the process table is free.
    Ended(Ending),
    /// It runs, or a tracer holds it back.
    Running,
    /// It is no child of this process, or somebody has collected it before.
    NotOurs,
}

/// Collects the status of a child that has ended (`waitid(P_PIDFD)`), waiting for it if `wait` says so.
pub(crate) fn collect(child: BorrowedFd<'_>, wait: bool) -> io::Result<Collected> {
    let mut options = WaitIdOptions::EXITED;
    if !wait {
        options |= WaitIdOptions::NOHANG;
    }
    let answer = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(child.as_fd()), options)
    });
    match answer {
        Ok(None) => Ok(Collected::Running),
        Ok(Some(status)) => Ok(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Collected::Ended(Ending::Code(code)),
            (None, Some(signal)) => Collected::Ended(Ending::Signal(signal)),
            (None, None) => Collected::Running,
        }),
        Err(Errno::CHILD) => Ok(Collected::NotOurs),
        Err(error) => Err(error.into()),
    }
}
