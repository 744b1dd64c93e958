//! Local sockets that keep packets apart (`SOCK_SEQPACKET`): what one send gives, one receive takes. See unix(7).

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::slice;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    MMsgHdr, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmmsg,
};

use super::clock::Deadline;
use super::fds::{MOST_DESCRIPTORS, Received, patiently, receive_with};

/// The most packets that one [`send`] gives.
pub(crate) const MOST_PACKETS: usize = 16;

/// Receives one packet, and whatever descriptors come with it, close-on-exec: how long it was, even if that is more than `buffer`
/// has, and 0 at the end. Waits for it; `None` if the deadline passed first.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
    deadline: Deadline,
) -> io::Result<Option<Received>> {
    reading(socket, deadline, |flags| {
        receive_with(socket, &mut *buffer, descriptors, flags)
    })
}

/// `once` receives with these flags.
pub(super) fn reading<T>(
    socket: BorrowedFd<'_>,
    deadline: Deadline,
    mut once: impl FnMut(RecvFlags) -> Result<T, Errno>,
) -> io::Result<Option<T>> {
    let flags = match deadline.is_never() {
        true => RecvFlags::TRUNC,
        false => RecvFlags::TRUNC | RecvFlags::DONTWAIT,
    };
    patiently(socket, PollFlags::IN, deadline, || match once(flags) {
        // Told once, and before what has been sent: the far end was closed with unread packets in it.
        Err(Errno::CONNRESET) => once(flags),
        // Until Linux 6.4, after a send that met the closing of the far end.
        Err(Errno::NOTCONN) => Err(Errno::CONNRESET),
        answer => answer,
    })
}

/// Sends some or all of `packets`, [`MOST_PACKETS`] at most, and `descriptors` with the first of them: how many. Waits for room for
/// one; `None` if the deadline passed first.
///
/// # Errors
/// Where [`is_too_large`] is true of it, the first packet is more than the socket takes.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    packets: &[IoSlice<'_>],
    descriptors: &[BorrowedFd<'_>],
    deadline: Deadline,
) -> io::Result<Option<usize>> {
    let flags = match deadline.is_never() {
        true => SendFlags::NOSIGNAL,
        false => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    };
    patiently(socket, PollFlags::OUT, deadline, || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut controls: [_; MOST_PACKETS] =
            std::array::from_fn(|_| SendAncillaryBuffer::default());
        if !descriptors.is_empty() {
            controls[0] = SendAncillaryBuffer::new(&mut space);
            if !controls[0].push(SendAncillaryMessage::ScmRights(descriptors)) {
                return Err(Errno::TOOMANYREFS);
            }
        }
        let mut messages: Vec<_> = packets
            .iter()
            .zip(&mut controls)
            .map(|(packet, control)| MMsgHdr::new(slice::from_ref(packet), control))
            .collect();
        sendmmsg(socket, &mut messages, flags)
    })
}

/// Whether a packet was refused for its size: the socket's buffer is smaller, or the kernel's memory is in too small pieces.
pub(crate) fn is_too_large(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMSGSIZE | libc::ENOBUFS | libc::ENOMEM)
    )
}
