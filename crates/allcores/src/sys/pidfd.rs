//! A process as a descriptor: no number that may be somebody else's by now. See pidfd_open(2), waitid(2).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use super::clock::Deadline;
use super::fds;

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

/// As the kernel writes it: `code << 8 | signal`.
pub(crate) fn ending(status: i32) -> Ending {
    match status & 0x7f {
        0 => Ending::Code(status >> 8 & 0xff),
        signal => Ending::Signal(signal),
    }
}

/// What [`look`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It has ended like this, and its parent has collected it.
    Ended(Ending),
    /// It is in the process table: it runs, or nobody has collected it yet.
    InTable,
    /// It has gone, and the kernel does not know how.
    Gone,
}

/// `struct pidfd_info` of Linux 6.13, which later ones have only added to.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    processes: [u32; 3],
    credentials: [u32; 8],
    exit_code: i32,
}

const INFO_PID: u64 = 1 << 0;
const INFO_EXIT: u64 = 1 << 3;
/// `_IOWR(0xFF, 11, struct pidfd_info)`
const GET_INFO: libc::Ioctl = (3 << 30 | size_of::<Info>() << 16 | 0xff << 8 | 11) as libc::Ioctl;

fn info(process: BorrowedFd<'_>) -> io::Result<Info> {
    let mut info = Info {
        mask: INFO_EXIT,
        ..Info::default()
    };
    // SAFETY: a descriptor, and room for as much as the request's number says.
    match unsafe { libc::ioctl(process.as_raw_fd(), GET_INFO, &raw mut info) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(info),
    }
}

/// A descriptor for the child of this process that has this number, if it is there: it may have ended, and the number be
/// somebody else's. For a process that makes its children one after the other, where [`tells_endings`].
pub(crate) fn open_child(pid: u32) -> io::Result<Option<OwnedFd>> {
    let process = match open(pid) {
        Ok(process) => process,
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
        Err(error) => return Err(error),
    };
    let ours = info(process.as_fd()).is_ok_and(|info| {
        let [_, _, parent] = info.processes;
        info.mask & INFO_PID != 0 && parent == std::process::id()
    });
    Ok(ours.then_some(process))
}

/// Looks at any process, whoever's child it is (`PIDFD_GET_INFO`, where [`tells_endings`]).
pub(crate) fn look(process: BorrowedFd<'_>) -> Seen {
    // The kernel looks how it ended, and then whether it is in the table: one that leaves the table in between is neither,
    // for once.
    match info(process).or_else(|_| info(process)) {
        Ok(info) if info.mask & INFO_EXIT != 0 => Seen::Ended(ending(info.exit_code)),
        Ok(_) => Seen::InTable,
        Err(_) => Seen::Gone,
    }
}

/// What [`ending`] takes apart.
pub(crate) fn status(ending: Ending) -> i32 {
    match ending {
        Ending::Code(code) => code << 8,
        Ending::Signal(signal) => signal,
    }
}

/// Whether the kernel tells how processes ended that are no children of who asks: since Linux 6.15.
pub(crate) fn tells_endings() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    is_since_6_15(&release) && open_self().is_ok_and(|me| info(me.as_fd()).is_ok())
}

fn is_since_6_15(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    matches!((number(), number()), (Some(major), Some(minor)) if (major, minor) >= (6, 15))
}

/// Collects a child of this process that has ended, any: for a process that has no children but those it knows of.
pub(crate) fn collect_any() -> Option<(u32, Ending)> {
    let mut status = 0;
    // SAFETY: room for the status. Without WNOHANG it would wait.
    match unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) } {
        pid @ 1.. => Some((pid.unsigned_abs(), ending(status))),
        _ => None,
    }
}

/// Waits until the process has gone from the process table (its parent has collected it), or `other` can be read. Only
/// where [`tells_endings`].
pub(crate) fn wait_collected(
    process: BorrowedFd<'_>,
    other: Option<BorrowedFd<'_>>,
    deadline: Deadline,
) -> io::Result<Waited> {
    // A hang-up is told always. The end alone, which comes a moment before, is not listened for.
    let mut of = vec![PollFd::from_borrowed_fd(process, PollFlags::empty())];
    of.extend(other.map(|other| PollFd::from_borrowed_fd(other, PollFlags::IN)));
    fds::poll(&mut of, deadline)?;
    let mut ready = of.iter().map(|fd| !fd.revents().is_empty());
    Ok(match (ready.next(), ready.next()) {
        (Some(true), _) => Waited::Collected,
        (_, Some(true)) => Waited::Other,
        _ => Waited::TimedOut,
    })
}

/// Whether somebody keeps the process from going on, or its parent from collecting it: it is stopped, or has a tracer. Also
/// where there is no /proc to tell. False once it has gone from the process table.
pub(crate) fn is_held(process: BorrowedFd<'_>) -> bool {
    let text = |path: String| std::fs::read_to_string(path).ok();
    let field = |text: &str, name| -> Option<String> {
        let mut lines = text.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    };
    // -1 for one that has gone.
    let number = || {
        let own = text(format!("/proc/self/fdinfo/{}", process.as_raw_fd()))?;
        field(&own, "Pid:")
    };
    let Some(pid) = number() else { return true };
    let status = text(format!("/proc/{pid}/status"));
    // If it has gone meanwhile, that was nobody's status, or another one's.
    if number().as_ref() != Some(&pid) || pid == "-1" {
        return false;
    }
    let Some(status) = status else { return true };
    let stopped = field(&status, "State:").is_some_and(|state| state.starts_with(['T', 't']));
    stopped || field(&status, "TracerPid:").is_none_or(|tracer| tracer != "0")
}

/// What [`wait_collected`] has seen first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    Collected,
    Other,
    TimedOut,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        for (release, since) in [
            ("6.15.0", true),
            ("6.18.44-fc-v595", true),
            ("7.0", true),
            ("10.2-rc1", true),
            ("6.14.99", false),
            ("5.15.0-1", false),
            ("6", false),
            ("", false),
        ] {
            assert_eq!(is_since_6_15(release), since, "{release}");
        }
    }

    #[test]
    fn a_status_is_taken_apart() {
        assert_eq!(ending(7 << 8), Ending::Code(7));
        assert_eq!(ending(255 << 8), Ending::Code(255));
        assert_eq!(ending(9), Ending::Signal(9));
        assert_eq!(ending(6 | 0x80), Ending::Signal(6));
        for both in [Ending::Code(255), Ending::Signal(64)] {
            assert_eq!(ending(status(both)), both);
        }
    }
}
