//! Waiting for the first of many.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use super::BufferedConnection;
use crate::sys::clock::Deadline;
use crate::sys::fds;

/// What [`wait`] can wait for: everything that has a descriptor, and a [`BufferedConnection`].
pub trait Waitable {
    /// What poll(2) says about it.
    #[doc(hidden)]
    fn polled(&self) -> BorrowedFd<'_>;
    /// It is ready, whatever poll(2) says.
    #[doc(hidden)]
    fn is_ready(&self) -> bool;
}

impl<T: AsFd + ?Sized> Waitable for T {
    fn polled(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn is_ready(&self) -> bool {
        false
    }
}

impl<S, R, C> Waitable for BufferedConnection<S, R, C> {
    fn polled(&self) -> BorrowedFd<'_> {
        self.stream().fd()
    }

    fn is_ready(&self) -> bool {
        self.unread() > 0
    }
}

/// Waits until any of `objects` is ready, and returns the positions of those that are, in order.
///
/// A [`Connection`](super::Connection) is ready when a message or the end of the stream has come, a
/// [`Process`](crate::multiprocessing::Process) (or its sentinel) when it has ended, a [`Listener`](super::Listener) when a
/// client has come, any other descriptor when a read would not block. A [`BufferedConnection`] is ready like a Connection, and
/// while messages have been read ahead; but what another thread reads ahead after the wait has begun is not noticed.
///
/// `timeout` is `None` to wait for ever; an empty result says that it passed. Without any objects the answer is empty at
/// once, whatever the timeout.
///
/// # Errors
/// A descriptor that is not open, or more objects than this process may have open files.
///
/// ```
/// use allcores::multiprocessing::{Pipe, wait};
/// let (a, b) = Pipe::<u8, u8>()?;
/// let (c, d) = Pipe::<u8, u8>()?;
/// c.send(&1)?;
/// assert_eq!(wait(&[&b, &d], None)?, [1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn wait(
    objects: &[&dyn Waitable],
    timeout: impl Into<Option<Duration>>,
) -> io::Result<Vec<usize>> {
    if objects.is_empty() {
        return Ok(Vec::new());
    }
    let ready_now = objects.iter().any(|object| object.is_ready());
    let deadline = match ready_now {
        true => Deadline::NOW,
        false => timeout.into().map_or(Deadline::NEVER, Deadline::after),
    };
    let mut polled: Vec<_> = objects
        .iter()
        .map(|object| PollFd::from_borrowed_fd(object.polled(), PollFlags::IN))
        .collect();
    fds::poll(&mut polled, deadline)?;
    let mut ready = Vec::new();
    for (position, (object, polled)) in objects.iter().zip(&polled).enumerate() {
        if polled.revents().contains(PollFlags::NVAL) {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        if !polled.revents().is_empty() || object.is_ready() {
            ready.push(position);
        }
    }
    Ok(ready)
}
