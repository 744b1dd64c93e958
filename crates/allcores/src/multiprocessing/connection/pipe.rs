//! Connected pairs.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::{Connection, Never};
use crate::sys::fds::{self, Channel};

/// Two connected ends: what one sends, the other receives. Python's `Pipe()`.
///
/// A socket pair underneath, so values may hold handles (other Connections among them). It keeps packets apart (`SOCK_SEQPACKET`), so
/// that a small message is received by one system call; and who waits for one looks for it for some microseconds before sleeping,
/// where that has paid before.
///
/// Sending more than 1 MiB waits until the other end has begun to receive it, as sending what the kernel has no room for does: the payload
/// goes over a socket of its own, whose one end the receiver gets with the message. Where either of them has no descriptor free, it goes with
/// the header all the same, a little slower.
///
/// Both ends are allcores', in this process or any other: a program of another kind that is given the bare descriptor, Python's
/// `multiprocessing` for instance, would read the length of a message and lose the rest of its packet. For such a one there is
/// [`StreamPipe`].
///
/// # Errors
/// What socketpair(2) reports: no free descriptors, as a rule.
///
/// ```
/// use allcores::multiprocessing::Pipe;
/// let (client, server) = Pipe::<String, usize>()?;
/// client.send(&"four".to_owned())?;
/// server.send(&server.recv()?.len())?;
/// assert_eq!(client.recv()?, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[expect(
    non_snake_case,
    reason = "it makes two objects, and Python spells it so"
)]
pub fn Pipe<A, B>() -> io::Result<(Connection<A, B>, Connection<B, A>)> {
    let (one, other) = fds::packet_pair()?;
    Ok(ends(one, other, Channel::Packets))
}

/// As [`Pipe`], over a stream: for an end that is given to another program as a bare descriptor, and read there as
/// CPython's `multiprocessing.connection` reads. Receiving takes two system calls; see [`Connection::buffered`].
///
/// # Errors
/// As [`Pipe`].
///
/// ```
/// use allcores::multiprocessing::{StreamPipe, connection::Pickle};
/// # use std::{os::fd::OwnedFd, process::Command};
/// const CHILD: &str = "
/// from multiprocessing.connection import Connection
/// Connection(0).send([2, 3])                  # stdin is the other end
/// ";
/// let (ours, theirs) = StreamPipe::<(), Vec<u8>>()?;
/// # if Command::new("python3").arg("-V").output().is_err() { return Ok(()); }
/// let theirs = OwnedFd::from(theirs);
/// let mut python = Command::new("python3").args(["-c", CHILD]).stdin(theirs).spawn()?;
/// assert_eq!(ours.with_codec::<Pickle>().recv()?, [2, 3]);
/// python.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[expect(non_snake_case, reason = "it makes two objects, as Pipe does")]
pub fn StreamPipe<A, B>() -> io::Result<(Connection<A, B>, Connection<B, A>)> {
    let (one, other) = fds::socket_pair()?;
    Ok(ends(one, other, Channel::Socket))
}

fn ends<A, B>(
    one: OwnedFd,
    other: OwnedFd,
    channel: Channel,
) -> (Connection<A, B>, Connection<B, A>) {
    fds::widen(one.as_fd());
    fds::widen(other.as_fd());
    (
        Connection::over(one, channel),
        Connection::over(other, channel),
    )
}

/// A one-way pair, (reader, writer). Python's `Pipe(duplex=False)`.
///
/// A kernel pipe underneath: it carries no handles (sending one is
/// [`TransferError::OneWayPipe`](crate::multiprocessing::transfer::TransferError::OneWayPipe)).
///
/// # Errors
/// What pipe2(2) reports: no free descriptors, as a rule.
///
/// ```
/// use allcores::multiprocessing::SimplexPipe;
/// let (reader, writer) = SimplexPipe::<u32>()?;
/// writer.send(&7)?;
/// assert_eq!(reader.recv()?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The other direction does not exist:
///
/// ```compile_fail,E0599
/// use allcores::multiprocessing::SimplexPipe;
/// let (reader, writer) = SimplexPipe::<u32>().unwrap();
/// reader.send_bytes(b"no");
/// ```
#[expect(non_snake_case, reason = "it makes two objects, as Pipe does")]
pub fn SimplexPipe<T>() -> io::Result<(Connection<Never, T>, Connection<T, Never>)> {
    let (reader, writer) = fds::pipe()?;
    Ok((
        Connection::over(reader, Channel::Pipe),
        Connection::over(writer, Channel::Pipe),
    ))
}
