//! Waiting for the first of many.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use crate::sys::clock::Deadline;
use crate::sys::fds;

/// Waits until any of `objects` is ready, and returns the positions of those that are, in order.
///
/// A [`Connection`](super::Connection) is ready when a message or the end of the stream has come, a
/// [`Process`](crate::multiprocessing::Process) (or its sentinel) when it has ended, a [`Listener`](super::Listener) when a
/// client has come, any other descriptor when a read
/// would not block.
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
pub fn wait(objects: &[&dyn AsFd], timeout: impl Into<Option<Duration>>) -> io::Result<Vec<usize>> {
    if objects.is_empty() {
        return Ok(Vec::new());
    }
    let deadline = timeout.into().map_or(Deadline::NEVER, Deadline::after);
    let mut polled: Vec<_> = objects
        .iter()
        .map(|object| PollFd::from_borrowed_fd(object.as_fd(), PollFlags::IN))
        .collect();
    fds::poll(&mut polled, deadline)?;
    let mut ready = Vec::new();
    for (position, object) in polled.iter().enumerate() {
        if object.revents().contains(PollFlags::NVAL) {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        if !object.revents().is_empty() {
            ready.push(position);
        }
    }
    Ok(ready)
}
