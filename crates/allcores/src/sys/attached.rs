//! A stream socket that belongs to a connection of local sockets. Its far end may have been copied by whoever forked at the wrong moment,
//! and does not tell then that its holder has gone; so whoever waits for it watches the connection, too.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::clock::Deadline;
use super::fds::{poll, send_with};

/// The socket, and the connection's.
#[derive(Clone, Copy)]
pub(crate) struct Attached<'a> {
    socket: BorrowedFd<'a>,
    connection: BorrowedFd<'a>,
}

impl<'a> Attached<'a> {
    pub(crate) fn new(socket: BorrowedFd<'a>, connection: BorrowedFd<'a>) -> Attached<'a> {
        Attached { socket, connection }
    }

    /// Sends some or all of `bytes`. Waits for room; `None` if the deadline passed first.
    ///
    /// # Errors
    /// `ConnectionReset` where the connection has ended and there is no room.
    pub(crate) fn send(self, bytes: &[u8], deadline: Deadline) -> io::Result<Option<usize>> {
        self.patiently(PollFlags::OUT, deadline, || {
            send_with(
                self.socket,
                &[IoSlice::new(bytes)],
                &[],
                SendFlags::DONTWAIT,
            )
        })
    }

    /// Reads some bytes into the front of `buffer`: how many, 0 at the end. Descriptors that come along are closed by the kernel. Waits
    /// for bytes; `None` if the deadline passed first.
    ///
    /// # Errors
    /// `ConnectionReset` where the connection has ended and there is nothing.
    pub(crate) fn read(self, buffer: &mut [u8], deadline: Deadline) -> io::Result<Option<usize>> {
        self.patiently(PollFlags::IN, deadline, || {
            Ok(rustix::net::recv(self.socket, &mut *buffer, RecvFlags::DONTWAIT)?.1)
        })
    }

    /// As [`Attached::read`], into memory that holds nothing yet.
    pub(crate) fn read_fresh(
        self,
        room: &mut [MaybeUninit<u8>],
        deadline: Deadline,
    ) -> io::Result<Option<usize>> {
        self.patiently(PollFlags::IN, deadline, || {
            Ok(rustix::net::recv(self.socket, &mut *room, RecvFlags::DONTWAIT)?.1)
        })
    }

    /// Repeats `operation`, which does not wait, when it is worth another try.
    fn patiently<T>(
        self,
        ready: PollFlags,
        deadline: Deadline,
        mut operation: impl FnMut() -> Result<T, Errno>,
    ) -> io::Result<Option<T>> {
        let mut has_ended = false;
        loop {
            match operation() {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if has_ended => return Err(Errno::CONNRESET.into()),
                Err(Errno::AGAIN) => {
                    // Of the connection nothing but its end.
                    let mut both = [
                        PollFd::from_borrowed_fd(self.socket, ready),
                        PollFd::from_borrowed_fd(self.connection, PollFlags::empty()),
                    ];
                    if poll(&mut both, deadline)? == 0 {
                        return Ok(None);
                    }
                    // What was done before the end is here by now: one more try.
                    has_ended = !both[1].revents().is_empty();
                }
                answer => return Ok(Some(answer?)),
            }
        }
    }
}
