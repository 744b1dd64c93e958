//! Bare descriptors, as CPython's `multiprocessing.reduction` sends them.

use std::os::fd::{AsFd, OwnedFd};

use super::stream::Stream;
use super::turn::Turn;
use super::{Connection, RecvError, SendError};
use crate::multiprocessing::transfer::TransferError;
use crate::sys::clock::Deadline;
use crate::sys::fds::Channel;

/// What goes along with one descriptor: how many there are, modulo 256. Never in a frame.
const ONE: u8 = 1;

impl<S, R, C> Connection<S, R, C> {
    /// Sends a duplicate of a descriptor, outside of any message; `descriptor` itself stays as it is. The far end must be in
    /// [`Connection::recv_handle`], or in Python's `multiprocessing.reduction.recv_handle(conn)`: the two agree by their
    /// messages that this comes next.
    ///
    /// Between Rust ends, put handles into messages instead (see [`transfer`](crate::multiprocessing::transfer)).
    ///
    /// # Errors
    /// [`SendError::Transfer`] over TCP and one-way pipes, which carry none. Otherwise as [`Connection::send`].
    ///
    /// ```
    /// use allcores::multiprocessing::Pipe;
    /// let (a, b) = Pipe::<(), ()>()?;
    /// a.send_handle(std::fs::File::open("/dev/null")?)?;
    /// let null = std::fs::File::from(b.recv_handle()?);
    /// assert_eq!(std::io::read_to_string(null)?, "");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_handle(&self, descriptor: impl AsFd) -> Result<(), SendError> {
        carries_descriptors(&self.stream)?;
        self.stream.send(&[ONE], &[], &[descriptor.as_fd()])
    }

    /// Receives a descriptor that the far end sends by [`Connection::send_handle`], or Python by
    /// `multiprocessing.reduction.send_handle(conn, fd, pid)`. Waits for it. It is close-on-exec.
    ///
    /// # Errors
    /// [`RecvError::Transfer`]: over TCP and one-way pipes; [`TransferError::LostOnArrival`] if this process has too many
    /// open files; [`TransferError::NoHandle`] if something else came, after which nothing can be received any more.
    /// [`RecvError::Closed`] at the end of the stream.
    pub fn recv_handle(&self) -> Result<OwnedFd, RecvError> {
        carries_descriptors(&self.stream)?;
        let mut turn = Turn::take(&self.stream.receiving, Deadline::NEVER)
            .map_err(|_| RecvError::OutOfStep)?;
        let mut byte = [0];
        let mut descriptors = Vec::new();
        let received = self
            .stream
            .receive_once(&mut byte, &mut descriptors, Deadline::NEVER);
        let received = match received {
            Ok(Some(received)) if received.bytes > 1 => {
                return Err(no_handle(&mut turn, byte[0], descriptors.len()));
            }
            Ok(Some(received)) if received.bytes > 0 => received,
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => {
                return Err(error.into());
            }
            _ => return Err(RecvError::Closed),
        };
        let [byte] = byte;
        only_handle(&mut turn, byte, descriptors, received.cut_short)
    }
}

/// The descriptor that came with a byte outside of any message.
pub(super) fn only_handle(
    turn: &mut Turn<'_>,
    byte: u8,
    mut descriptors: Vec<OwnedFd>,
    cut_short: bool,
) -> Result<OwnedFd, RecvError> {
    match (descriptors.pop(), descriptors.len(), byte) {
        (Some(descriptor), 0, ONE) => Ok(descriptor),
        (None, _, ONE) if cut_short => Err(TransferError::LostOnArrival { index: 0 }.into()),
        (last, more, byte) => {
            let count = more + usize::from(last.is_some());
            Err(no_handle(turn, byte, count))
        }
    }
}

fn no_handle(turn: &mut Turn<'_>, byte: u8, count: usize) -> RecvError {
    turn.is_lost();
    TransferError::NoHandle { byte, count }.into()
}

pub(super) fn carries_descriptors(stream: &Stream) -> Result<(), TransferError> {
    match stream.channel() {
        Channel::Socket | Channel::Packets => Ok(()),
        Channel::Network => Err(TransferError::Network),
        Channel::Pipe => Err(TransferError::OneWayPipe),
    }
}
