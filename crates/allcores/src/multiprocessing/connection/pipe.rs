//! Connected pairs.

use std::io;
use std::os::fd::AsFd;

use super::{Connection, Never};
use crate::sys::fds::{self, Channel};

/// Two connected ends: what one sends, the other receives. Python's `Pipe()`.
///
/// A socket pair underneath, so values may hold handles (other Connections among them).
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
    let (one, other) = fds::socket_pair()?;
    fds::widen(one.as_fd());
    fds::widen(other.as_fd());
    Ok((
        Connection::over(one, Channel::Socket),
        Connection::over(other, Channel::Socket),
    ))
}

/// A one-way pair, (reader, writer). Python's `Pipe(duplex=False)`.
///
/// A kernel pipe underneath: a little faster than [`Pipe`], but it carries no handles (sending one is
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
