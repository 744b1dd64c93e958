//! A Connection that reads ahead.

use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ahead::Ahead;
use super::frame::Frame;
use super::handle::{carries_descriptors, only_handle};
use super::stream::{self, Stream};
use super::turn::{NoTurn, Turn};
use super::{BufferTooShort, Codec, Compact, Connection, RecvError, RecvIntoError, SendError};
use crate::multiprocessing::transfer::Incoming;
use crate::sys::clock::Deadline;
use crate::sys::fds;

/// A [`Connection`] that receives from a stream with one system call where a Connection needs two, or none: it reads whatever has
/// come, up to 16 KiB, and keeps what follows the message. [`Connection::buffered`] makes it, [`BufferedConnection::into_inner`]
/// unmakes it. (An end of a [`Pipe`](super::Pipe) needs one call for a small message as it is, and nothing is read ahead.)
///
/// Messages and their bytes are the same, so the far end need not know. What differs is who may receive. Messages that have been
/// read ahead are in this process, and nowhere else; so
/// - it has no descriptor to be polled, since that would not be readable while messages are there. Its own
///   [`poll`](BufferedConnection::poll) and [`wait`](super::wait) know of them;
/// - it cannot be sent to another process;
/// - other holders of the same end (a `Connection` that was sent from here before, a forked process) must not receive: what has
///   been read ahead is missing there. In a forked process, receiving is [`RecvError::OutOfStep`] if anything had been read
///   ahead before the fork.
///
/// Sending is as ever. All methods take `&self`, as those of Connection do, and threads may share it.
///
/// ```
/// use allcores::multiprocessing::StreamPipe;
/// let (client, server) = StreamPipe::<u32, String>()?;
/// let (client, server) = (client.buffered(), server.buffered());
/// client.send(&4)?;
/// client.send(&5)?;
/// server.send(&server.recv()?.to_string())?;
/// assert_eq!(client.recv()?, "4");
/// assert!(server.poll()?, "it has been read already, together with the first");
/// assert_eq!(server.recv()?, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It cannot be polled by its descriptor, nor travel:
///
/// ```compile_fail,E0277
/// # use allcores::multiprocessing::Pipe;
/// fn descriptor(of: impl std::os::fd::AsFd) {}
/// descriptor(Pipe::<u8, u8>().unwrap().0.buffered());
/// ```
///
/// ```compile_fail,E0277
/// # use allcores::multiprocessing::Pipe;
/// fn travels(value: impl serde::Serialize) {}
/// travels(Pipe::<u8, u8>().unwrap().0.buffered());
/// ```
pub struct BufferedConnection<S, R, C = Compact> {
    connection: Connection<S, R, C>,
    /// Whoever has the turn of receiving has this.
    ahead: UnsafeCell<Ahead>,
    /// How many bytes are there, for those who do not have the turn.
    unread: AtomicUsize,
}

// SAFETY: `ahead` is touched by the thread that has the turn of receiving alone, see `Receiving`; the rest is Sync by itself.
unsafe impl<S, R, C> Sync for BufferedConnection<S, R, C> where Connection<S, R, C>: Sync {}

/// Messages are left in a [`BufferedConnection`], which is given back.
#[derive(thiserror::Error)]
#[error(
    "{} bytes have been read ahead and not been received: receive them first, or they would be lost",
    connection.unread.load(Relaxed)
)]
pub struct StillBuffered<S, R, C = Compact> {
    /// As it was.
    pub connection: BufferedConnection<S, R, C>,
}

impl<S, R, C> fmt::Debug for StillBuffered<S, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StillBuffered")
            .field(&self.connection)
            .finish()
    }
}

impl<S, R, C> Connection<S, R, C> {
    /// Has this end read ahead, which makes receiving small messages faster.
    pub fn buffered(self) -> BufferedConnection<S, R, C> {
        BufferedConnection {
            connection: self,
            ahead: UnsafeCell::new(Ahead::new()),
            unread: AtomicUsize::new(0),
        }
    }
}

/// The turn of receiving, and what goes with it.
struct Receiving<'a> {
    turn: Turn<'a>,
    stream: &'a Stream,
    ahead: &'a mut Ahead,
    unread: &'a AtomicUsize,
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.unread.store(self.ahead.len(), Relaxed);
    }
}

impl<S, R, C> BufferedConnection<S, R, C> {
    /// The Connection again, if nothing has been read ahead.
    ///
    /// # Errors
    /// [`StillBuffered`] has this value in it, unchanged.
    ///
    /// ```
    /// use allcores::multiprocessing::StreamPipe;
    /// let (a, b) = StreamPipe::<u8, u8>()?;
    /// let b = b.buffered();
    /// a.send(&1)?;
    /// a.send(&2)?;
    /// assert_eq!(b.recv()?, 1);
    /// let b = b.into_inner().unwrap_err().connection; // 2 is there
    /// assert_eq!(b.recv()?, 2);
    /// let b = b.into_inner()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_inner(self) -> Result<Connection<S, R, C>, StillBuffered<S, R, C>> {
        match self.unread.load(Relaxed) {
            0 => Ok(self.connection),
            _ => Err(StillBuffered { connection: self }),
        }
    }

    /// How many bytes have been read and not been received, headers among them.
    pub fn unread(&self) -> usize {
        self.unread.load(Relaxed)
    }

    /// Closes this end; dropping it does the same. What was sent before can still be received.
    pub fn close(self) {}

    pub(super) fn stream(&self) -> &Stream {
        &self.connection.stream
    }

    fn turn(&self, deadline: Deadline) -> Result<Turn<'_>, NoTurn> {
        let mut turn = Turn::take(&self.stream().receiving, deadline)?;
        if turn.is_orphaned() {
            // In the middle of what only the parent knows.
            turn.is_lost();
            return Err(NoTurn::OutOfStep);
        }
        Ok(turn)
    }

    fn receiving(&self, deadline: Deadline) -> Result<Receiving<'_>, NoTurn> {
        let mut turn = self.turn(deadline)?;
        // SAFETY: the turn is ours until it is dropped, together with this reference, and nobody looks without it.
        let ahead = unsafe { &mut *self.ahead.get() };
        if !ahead.belongs_here() {
            turn.is_lost();
            return Err(NoTurn::OutOfStep);
        }
        Ok(Receiving {
            turn,
            stream: self.stream(),
            ahead,
            unread: &self.unread,
        })
    }

    /// A whole message, by `body`: `None` if nothing of it had come by the deadline.
    fn receive<T>(
        &self,
        most: Option<u64>,
        deadline: Deadline,
        body: impl FnOnce(&mut Ahead, &Stream, &mut Frame) -> Result<T, RecvError>,
    ) -> Result<Option<(T, Incoming)>, RecvError> {
        let mut receiving = match self.receiving(deadline) {
            Ok(receiving) => receiving,
            Err(NoTurn::TimedOut) => return Ok(None),
            Err(NoTurn::OutOfStep) => return Err(RecvError::OutOfStep),
        };
        let mut frame = Frame::new(most);
        let Receiving { stream, ahead, .. } = &mut receiving;
        let received = ahead
            .header(stream, &mut frame, deadline)
            .and_then(|incoming| Ok((body(ahead, stream, &mut frame)?, incoming)));
        match received {
            Ok(message) => Ok(Some(message)),
            Err(error) if frame.has_begun() || matches!(error, RecvError::BadPacket { .. }) => {
                receiving.turn.is_lost();
                Err(error)
            }
            Err(RecvError::TooSlow { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn receive_whole(
        &self,
        most: Option<u64>,
        deadline: Deadline,
    ) -> Result<Option<(Vec<u8>, Incoming)>, RecvError> {
        self.receive(most, deadline, |ahead, stream, frame| {
            ahead.payload(stream, frame, deadline)
        })
    }

    fn receive_now(&self, most: Option<u64>) -> Result<(Vec<u8>, Incoming), RecvError> {
        let received = self.receive_whole(most, Deadline::NEVER)?;
        Ok(received.expect("only a deadline ends without a message or an error"))
    }

    /// As [`Connection::send_handle`].
    ///
    /// # Errors
    /// As [`Connection::send_handle`].
    pub fn send_handle(&self, descriptor: impl AsFd) -> Result<(), SendError> {
        self.connection.send_handle(descriptor)
    }

    /// As [`Connection::recv_handle`].
    ///
    /// # Errors
    /// As [`Connection::recv_handle`].
    pub fn recv_handle(&self) -> Result<OwnedFd, RecvError> {
        carries_descriptors(self.stream())?;
        let mut receiving = self
            .receiving(Deadline::NEVER)
            .map_err(|_| RecvError::OutOfStep)?;
        let Receiving { stream, ahead, .. } = &mut receiving;
        let Some((byte, descriptors, cut_short)) = ahead.bare_byte(stream)? else {
            return Err(RecvError::Closed);
        };
        only_handle(&mut receiving.turn, byte, descriptors, cut_short)
    }

    /// Whether a message, or the end of the stream, is there to be received now.
    ///
    /// # Errors
    /// What poll(2) reports: no memory.
    pub fn poll(&self) -> io::Result<bool> {
        self.poll_by(Deadline::NOW)
    }

    /// Waits until [`BufferedConnection::poll`] is true, for `timeout` at most (`None`: for ever). False if it passed. Meanwhile
    /// other threads that would receive wait as well: what one of them read ahead would be news that nobody tells.
    ///
    /// # Errors
    /// What poll(2) reports: no memory.
    pub fn poll_timeout(&self, timeout: impl Into<Option<Duration>>) -> io::Result<bool> {
        self.poll_by(timeout.into().map_or(Deadline::NEVER, Deadline::after))
    }

    fn poll_by(&self, deadline: Deadline) -> io::Result<bool> {
        let turn = self.turn(deadline);
        let deadline = match turn {
            // Somebody receives. Nothing is left for us, or it is there.
            Err(NoTurn::TimedOut) => Deadline::NOW,
            _ => deadline,
        };
        Ok(self.unread() > 0 || fds::wait_readable(self.stream().fd(), deadline)?)
    }
}

impl<S: Serialize, R, C: Codec> BufferedConnection<S, R, C> {
    /// As [`Connection::send`].
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn send(&self, value: &S) -> Result<(), SendError> {
        self.connection.send(value)
    }

    /// As [`Connection::send_timeout`].
    ///
    /// # Errors
    /// As [`Connection::send_timeout`].
    pub fn send_timeout(&self, value: &S, timeout: Duration) -> Result<(), SendError> {
        self.connection.send_timeout(value, timeout)
    }

    /// As [`Connection::send_bytes`].
    ///
    /// # Errors
    /// As [`Connection::send_bytes`].
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), SendError> {
        self.connection.send_bytes(bytes)
    }

    /// As [`Connection::send_bytes_timeout`].
    ///
    /// # Errors
    /// As [`Connection::send_bytes_timeout`].
    pub fn send_bytes_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<(), SendError> {
        self.connection.send_bytes_timeout(bytes, timeout)
    }
}

impl<S, R: DeserializeOwned, C: Codec> BufferedConnection<S, R, C> {
    /// As [`Connection::recv`].
    ///
    /// # Errors
    /// As [`Connection::recv`].
    pub fn recv(&self) -> Result<R, RecvError> {
        let (message, incoming) = self.receive_now(None)?;
        stream::decode_with::<C, _>(&message, incoming)
    }

    /// As [`Connection::recv_timeout`].
    ///
    /// # Errors
    /// As [`Connection::recv_timeout`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<R>, RecvError> {
        let received = self.receive_whole(None, Deadline::after(timeout))?;
        received
            .map(|(message, incoming)| stream::decode_with::<C, _>(&message, incoming))
            .transpose()
    }

    /// As [`Connection::recv_bytes`].
    ///
    /// # Errors
    /// As [`Connection::recv_bytes`].
    pub fn recv_bytes(&self) -> Result<Vec<u8>, RecvError> {
        Ok(self.receive_now(None)?.0)
    }

    /// As [`Connection::recv_bytes_max`].
    ///
    /// # Errors
    /// As [`Connection::recv_bytes_max`]; a part of the message may have been read.
    pub fn recv_bytes_max(&self, most: usize) -> Result<Vec<u8>, RecvError> {
        Ok(self.receive_now(Some(most as u64))?.0)
    }

    /// As [`Connection::recv_bytes_timeout`].
    ///
    /// # Errors
    /// As [`Connection::recv_bytes_timeout`].
    pub fn recv_bytes_timeout(
        &self,
        most: usize,
        timeout: Duration,
    ) -> Result<Option<Vec<u8>>, RecvError> {
        let received = self.receive_whole(Some(most as u64), Deadline::after(timeout))?;
        Ok(received.map(|(message, _)| message))
    }

    /// As [`Connection::recv_bytes_into`].
    ///
    /// # Errors
    /// As [`Connection::recv_bytes_into`].
    pub fn recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, RecvIntoError> {
        let room = buffer.len();
        let received = self.receive(None, Deadline::NEVER, |ahead, stream, frame| {
            let length = usize::try_from(frame.length().unwrap_or(0)).unwrap_or(usize::MAX);
            match buffer.get_mut(..length) {
                Some(exact) => ahead.fill(stream, frame, exact).map(|()| Ok(length)),
                None => ahead.payload(stream, frame, Deadline::NEVER).map(Err),
            }
        })?;
        let (received, _) = received.expect("only a deadline ends without a message or an error");
        received.map_err(|message| BufferTooShort { message, room }.into())
    }
}

impl<S, R, C> fmt::Debug for BufferedConnection<S, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferedConnection")
            .field("fileno", &self.connection.fileno())
            .field("channel", &self.stream().channel())
            .field("unread", &self.unread())
            .finish()
    }
}
