//! Messages between processes; see `README.md` beside this file.

mod address;
mod ahead;
#[doc(hidden)]
pub mod auth;
mod buffered;
mod client;
pub mod codec;
mod error;
#[doc(hidden)]
pub mod frame;
mod handle;
mod handshake;
mod landing;
mod lane;
mod listener;
pub(crate) mod looking;
mod packets;
mod pipe;
pub(crate) mod stream;
mod timed;
mod turn;
mod values;
mod wait;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::ser::{Error as _, Serializer};
use serde::{Deserialize, Serialize};

pub use address::Address;
pub use auth::AuthError;
pub use buffered::{BufferedConnection, StillBuffered};
pub use client::{Client, ConnectError};
pub use codec::{Codec, Compact, Pickle};
pub use error::{BufferTooShort, CodecError, RecvError, RecvIntoError, SendError};
pub use handshake::HandshakeError;
pub use listener::{AcceptError, BindError, Listener, ListenerBuilder};
pub use pipe::{Pipe, SimplexPipe, StreamPipe};
pub use wait::{Waitable, wait};

use super::transfer;
use crate::sys::clock::Deadline;
use crate::sys::fds::{self, Channel};
use frame::Header;
use stream::Stream;

/// Set in the index of a Connection's descriptor that travels: its far end may be an unrelated program's.
const FOREIGN: u32 = 1 << 31;

/// What the missing direction of a one-way [`Connection`] carries: there is no such value, so that call cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {}

/// One end of a channel to another process, or to another thread: it sends values of type `S` and receives values of
/// type `R`, as bytes that the codec `C` makes.
///
/// Framing is that of CPython's `multiprocessing.connection`, so over a stream [`send_bytes`](Connection::send_bytes) and
/// [`recv_bytes`](Connection::recv_bytes) talk to a Python peer (see [`StreamPipe`]). [`send`](Connection::send) and
/// [`recv`](Connection::recv) put a value into such a message with serde; in which bytes, the [`codec`] says.
///
/// All methods take `&self`, and an end may be shared by threads: each direction has a lock of its own, held for one
/// message, so that messages of two threads never mix. (Python's do.) Two *processes* that hold the same end have no
/// such lock.
///
/// A Connection is itself a value that can be sent, and an argument for a `Process`: a duplicate travels, and this end
/// stays usable until it is dropped. The stream ends for its receiver when every end that could send has been closed, in
/// every process: drop those that you do not need, as a `Process` does with its arguments once it has started.
///
/// When a peer dies, receiving ends with [`RecvError::Closed`] or [`RecvError::Truncated`], sending with
/// [`SendError::Closed`]; nothing hangs, and no SIGPIPE is raised.
pub struct Connection<S, R, C = Compact> {
    stream: Stream,
    carries: PhantomData<fn(&S, C) -> R>,
}

impl<S, R, C> Connection<S, R, C> {
    fn over(fd: OwnedFd, channel: Channel) -> Connection<S, R, C> {
        Connection::through(Stream::new(fd, channel))
    }

    fn through(stream: Stream) -> Connection<S, R, C> {
        Connection {
            stream,
            carries: PhantomData,
        }
    }

    /// A Connection over a descriptor from elsewhere: a connected stream socket, one end of a pipe, or one of a [`Pipe`], which
    /// is a socket that keeps packets apart. What the other side really sends, only decoding can tell.
    ///
    /// The far end of a local socket or pipe is taken for a relative's, who may have what all relatives share. To connect with
    /// unrelated programs use [`Listener`] and [`Client`].
    ///
    /// # Errors
    /// `InvalidInput` for anything but a socket or a pipe.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Connection<S, R, C>> {
        match fds::channel(fd.as_fd())? {
            Some(channel) => Ok(Connection::over(fd, channel)),
            None => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "descriptor {} is neither a socket nor a pipe",
                    fd.as_raw_fd()
                ),
            )),
        }
    }

    /// The same end with another codec: what is sent and received from now on is made of other bytes. The far end must
    /// change with it.
    ///
    /// ```
    /// use allcores::multiprocessing::connection::{Codec, Compact, Connection, Pipe};
    /// fn like_mine<C: Codec>() -> std::io::Result<(Connection<u8, u8, C>, Connection<u8, u8, C>)> {
    ///     let (one, other) = Pipe()?;
    ///     Ok((one.with_codec(), other.with_codec()))
    /// }
    /// let (a, b) = like_mine::<Compact>()?;
    /// a.send(&1)?;
    /// assert_eq!(b.recv()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_codec<D>(self) -> Connection<S, R, D> {
        Connection {
            stream: self.stream,
            carries: PhantomData,
        }
    }

    /// The descriptor's number, for logging and for foreign interfaces. Python's `fileno()`.
    pub fn fileno(&self) -> RawFd {
        self.stream.fd().as_raw_fd()
    }

    /// Closes this end; dropping it does the same. What was sent before can still be received.
    pub fn close(self) {}
}

impl<S: Serialize, R, C: Codec> Connection<S, R, C> {
    /// Sends a value as one message. Waits while the channel is full: from 200 KiB to 2 MiB unread, depending on the
    /// system's `net.core.wmem_max`; 64 KiB in a one-way pipe.
    ///
    /// Large byte strings go faster with [`Connection::send_bytes`]: serde takes a `Vec<u8>` byte by byte.
    ///
    /// # Errors
    /// [`SendError::Closed`] once no receiver is left; [`SendError::Encode`] and [`SendError::Transfer`] leave the
    /// connection as it was.
    pub fn send(&self, value: &S) -> Result<(), SendError> {
        let (encoded, mut outgoing) = stream::encode_with::<C, _>(value, self.stream.outgoing())?;
        // Lost, unless told otherwise.
        let parcels = outgoing.take_parcels();
        let (bytes, start) = encoded.into_frame();
        self.stream
            .send(&bytes[start..], &[], &outgoing.borrowed())?;
        parcels.delivered();
        Ok(())
    }

    /// Sends bytes as one message, as they are. Waits as [`Connection::send`] does.
    ///
    /// # Errors
    /// [`SendError::Closed`] once no receiver is left; [`SendError::Io`].
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), SendError> {
        self.stream
            .send(Header::new(bytes.len() as u64).as_bytes(), bytes, &[])
    }
}

impl<S, R: DeserializeOwned, C: Codec> Connection<S, R, C> {
    /// Receives the next message as a value. Waits for it.
    ///
    /// # Errors
    /// [`RecvError::Closed`] at the end of the stream. After [`RecvError::Decode`] and [`RecvError::Transfer`] the next
    /// message can be received; descriptors that came with the bad one are closed.
    pub fn recv(&self) -> Result<R, RecvError> {
        let (message, incoming) = self.stream.receive(None)?;
        stream::decode_with::<C, _>(&message, incoming)
    }

    /// Receives the next message as bytes. Waits for it. Descriptors that come with it are closed.
    ///
    /// # Errors
    /// [`RecvError::Closed`] at the end of the stream.
    pub fn recv_bytes(&self) -> Result<Vec<u8>, RecvError> {
        self.receive_bytes(None)
    }

    /// Receives the next message as bytes, unless it is longer than `most` bytes: for peers that are not trusted.
    ///
    /// # Errors
    /// [`RecvError::TooLong`] before memory is taken for it. The stream is out of step then:
    /// [`RecvError::OutOfStep`] is all that can still be received, while sending goes on.
    pub fn recv_bytes_max(&self, most: usize) -> Result<Vec<u8>, RecvError> {
        self.receive_bytes(Some(most as u64))
    }

    fn receive_bytes(&self, most: Option<u64>) -> Result<Vec<u8>, RecvError> {
        let received = self.stream.receive_bytes(most, Deadline::NEVER)?;
        Ok(received.expect("only a deadline ends without a message or an error"))
    }

    /// Receives the next message into the front of `buffer`, and returns its length. Waits for it.
    ///
    /// # Errors
    /// [`BufferTooShort`] carries the message that did not fit; nothing is lost, and `buffer` is as it was.
    pub fn recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, RecvIntoError> {
        self.stream.receive_into(buffer)
    }

    /// Whether a message, or the end of the stream, is there to be received now.
    ///
    /// # Errors
    /// What poll(2) reports: no memory.
    pub fn poll(&self) -> io::Result<bool> {
        fds::wait_readable(self.stream.fd(), Deadline::NOW)
    }

    /// Waits until [`Connection::poll`] is true, for `timeout` at most (`None`: for ever). False if it passed.
    ///
    /// # Errors
    /// What poll(2) reports: no memory.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use allcores::multiprocessing::Pipe;
    /// let (a, b) = Pipe::<u8, u8>()?;
    /// assert!(!b.poll_timeout(Duration::from_millis(1))?);
    /// a.send(&1)?;
    /// assert!(b.poll_timeout(None)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn poll_timeout(&self, timeout: impl Into<Option<Duration>>) -> io::Result<bool> {
        let deadline = timeout.into().map_or(Deadline::NEVER, Deadline::after);
        fds::wait_readable(self.stream.fd(), deadline)
    }
}

impl<S, R, C> Serialize for Connection<S, R, C> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let index = transfer::attach(self.as_fd()).map_err(Z::Error::custom)?;
        let mark = if self.stream.is_foreign() { FOREIGN } else { 0 };
        serializer.serialize_u32(index | mark)
    }
}

impl<'de, S, R, C> Deserialize<'de> for Connection<S, R, C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let marked = u32::deserialize(deserializer)?;
        let (fd, channel) = transfer::take_as(marked & !FOREIGN, "a socket or a pipe", |fd| {
            fds::channel(fd).ok().flatten()
        })
        .map_err(D::Error::custom)?;
        // Who holds the far end of a stranger's channel, nobody can tell.
        let foreign = marked & FOREIGN != 0 || transfer::from_stranger();
        let stream = Stream::with_stranger(fd, channel, foreign);
        Ok(Connection::through(stream))
    }
}

impl<S, R, C> AsFd for Connection<S, R, C> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.fd()
    }
}

impl<S, R, C> AsRawFd for Connection<S, R, C> {
    fn as_raw_fd(&self) -> RawFd {
        self.fileno()
    }
}

impl<S, R, C> From<Connection<S, R, C>> for OwnedFd {
    fn from(connection: Connection<S, R, C>) -> OwnedFd {
        connection.stream.into_fd()
    }
}

impl<S, R, C> fmt::Debug for Connection<S, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("fileno", &self.fileno())
            .field("channel", &self.stream.channel())
            .finish()
    }
}
