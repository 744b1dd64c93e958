//! Where the status of an ended child comes from.
//!
//! A child that was spawned is ours, and nobody else can know. One that the fork server made is the server's child. From
//! Linux 6.15 on the kernel tells everybody who holds its pidfd how it ended, once its parent has collected it, and the
//! server has the kernel do that at once. On older ones the server collects it and writes the status into a pipe that it
//! was given for this one child; if the server was killed, nobody can know.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::children::Exit;
use crate::sys::clock::Deadline;
use crate::sys::fds;
use crate::sys::pidfd::{self, Collected, Ending, Seen, Waited};

/// How long a child may stay a zombie when the server is no more: its new parent, the init of the system or of the
/// container, collects it when it comes to it. Some inits never do.
const FOSTERED: Duration = Duration::from_secs(1);

/// Who tells.
pub(crate) enum Teller {
    /// The kernel tells us alone: it is our child.
    Wait,
    /// The kernel tells whoever asks. The server's own pidfd, to see why nothing is told.
    Kernel(Arc<OwnedFd>),
    /// The server, by this pipe.
    Server { pipe: OwnedFd, server: Arc<OwnedFd> },
}

fn exit(ending: Ending) -> Exit {
    match ending {
        Ending::Code(code) => Exit::Code(code),
        Ending::Signal(signal) => Exit::Signal(signal),
    }
}

fn has_ended(process: BorrowedFd<'_>) -> io::Result<bool> {
    fds::wait_readable(process, Deadline::NOW)
}

impl Teller {
    /// Waits until the child has ended: false if the deadline passes first.
    pub(crate) fn wait_end(&self, child: BorrowedFd<'_>, deadline: Deadline) -> io::Result<bool> {
        // Where the kernel tells, its one answer comes a moment after the end. Waiting for that saves a second wait.
        if let Teller::Kernel(server) = self {
            match pidfd::wait_collected(child, Some(server.as_fd()), deadline)? {
                Waited::Collected => return Ok(true),
                Waited::TimedOut => return Ok(false),
                Waited::Other => {}
            }
        }
        fds::wait_readable(child, deadline)
    }

    /// How the child ended; `None` while it runs, or while a tracer holds it back, unless `wait` says to wait for that.
    pub(crate) fn collect(&self, child: BorrowedFd<'_>, wait: bool) -> io::Result<Option<Exit>> {
        match self {
            Teller::Wait => match pidfd::collect(child, wait)? {
                Collected::Running => Ok(None),
                Collected::Ended(ending) => Ok(Some(exit(ending))),
                Collected::NotOurs => Ok(has_ended(child)?.then_some(Exit::Unknown)),
            },
            Teller::Kernel(server) => ask_kernel(child, server.as_fd(), wait),
            Teller::Server { pipe, server } => {
                ask_server(child, pipe.as_fd(), server.as_fd(), wait)
            }
        }
    }
}

fn ask_kernel(
    child: BorrowedFd<'_>,
    server: BorrowedFd<'_>,
    wait: bool,
) -> io::Result<Option<Exit>> {
    loop {
        match pidfd::look(child) {
            Seen::Ended(ending) => return Ok(Some(exit(ending))),
            Seen::Gone => return Ok(Some(Exit::Unknown)),
            Seen::InTable => {}
        }
        if !has_ended(child)? {
            return Ok(None);
        }
        // A moment, if the server lives, unless a tracer has the first claim.
        let served = !has_ended(server)?;
        let deadline = patience(wait && served);
        let waited = pidfd::wait_collected(child, served.then_some(server), deadline)?;
        if waited == Waited::TimedOut {
            if !served {
                return Ok(Some(Exit::Unknown));
            }
            if pidfd::is_held(child) {
                return Ok(None);
            }
        }
    }
}

fn ask_server(
    child: BorrowedFd<'_>,
    pipe: BorrowedFd<'_>,
    server: BorrowedFd<'_>,
    wait: bool,
) -> io::Result<Option<Exit>> {
    loop {
        let mut told = [0; size_of::<i32>()];
        match fds::read_now(pipe, &mut told)? {
            Some(length) if length == told.len() => {
                return Ok(Some(exit(pidfd::ending(i32::from_ne_bytes(told)))));
            }
            // The server is gone, and has said nothing.
            Some(_) => return Ok(has_ended(child)?.then_some(Exit::Unknown)),
            None => {}
        }
        if !has_ended(child)? {
            return Ok(None);
        }
        let served = !has_ended(server)?;
        if fds::wait_either(pipe, server, patience(wait && served))?.is_none() {
            if !served {
                return Ok(Some(Exit::Unknown));
            }
            if pidfd::is_held(child) || pidfd::is_held(server) {
                return Ok(None);
            }
        }
        // A killed server's end of the pipe is closed a moment before its process is over, or a moment after.
        if !served && !fds::wait_readable(pipe, patience(false))? {
            return Ok(Some(Exit::Unknown));
        }
    }
}

/// Until one looks again, if not for ever: whether somebody holds back what must come, which a machine that stands still
/// for so long is no sign of.
fn patience(without_end: bool) -> Deadline {
    match without_end {
        true => Deadline::NEVER,
        false => Deadline::after(FOSTERED),
    }
}
