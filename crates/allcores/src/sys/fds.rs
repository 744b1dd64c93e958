//! Descriptors on their way: sendmsg and recvmsg with `SCM_RIGHTS`, duplicates, and bytes in an anonymous file.
//! See unix(7), cmsg(3), pipe(7).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, MemfdFlags};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use super::clock::Deadline;

/// The most descriptors that the kernel carries in one message (`SCM_MAX_FD`).
pub(crate) const MOST_DESCRIPTORS: usize = 253;

/// A connected pair of stream sockets (socketpair(2)).
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Opens /dev/null where a standard stream is closed, as std does before `main`: or the next file would take its number,
/// and what is printed would land there.
pub(crate) fn fill_standard_streams() {
    for number in 0..=2 {
        // SAFETY: asks whether the number is in use, and nothing else.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0 {
            continue;
        }
        let flags = rustix::fs::OFlags::RDWR;
        if let Ok(null) = rustix::fs::open(c"/dev/null", flags, rustix::fs::Mode::empty()) {
            // The lowest free number is the one that was found closed. It stays open.
            let _ = std::os::fd::IntoRawFd::into_raw_fd(null);
        }
    }
}

/// A kernel pipe, (reader, writer) (pipe2(2)).
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// Another descriptor for the same thing, numbered `least` or higher.
pub(crate) fn duplicate(fd: BorrowedFd<'_>, least: i32) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, least)?)
}

/// What a descriptor stands for, as far as messages can pass through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    /// A local socket: both ways, descriptors too.
    Socket,
    /// A socket of any other family: both ways, bytes only, and perhaps to another machine.
    Network,
    /// A pipe: one way, bytes only.
    Pipe,
}

/// Which kind of channel this is; `None` if it is neither.
pub(crate) fn channel(fd: BorrowedFd<'_>) -> io::Result<Option<Channel>> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
    Ok(match kind {
        FileType::Socket => match rustix::net::sockopt::socket_domain(fd)? {
            AddressFamily::UNIX => Some(Channel::Socket),
            _ => Some(Channel::Network),
        },
        FileType::Fifo => Some(Channel::Pipe),
        _ => None,
    })
}

/// Sends once (sendmsg(2)): some or all of `parts`, and `descriptors` with the first byte of them. Waits for room.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    patiently(socket, PollFlags::OUT, || {
        send_with(socket, parts, descriptors, SendFlags::empty())
    })
}

/// As [`send`], but where there is no room it fails with `WouldBlock`.
pub(crate) fn send_now(
    socket: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| {
        send_with(socket, parts, descriptors, SendFlags::DONTWAIT)
    })?)
}

fn send_with(
    socket: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOMANYREFS);
    }
    rustix::net::sendmsg(socket, parts, &mut control, flags | SendFlags::NOSIGNAL)
}

/// What one [`receive`] brought.
pub(crate) struct Received {
    /// How many bytes; 0 at the end of the stream.
    pub(crate) bytes: usize,
    /// The kernel dropped descriptors: this process has no room for them.
    pub(crate) cut_short: bool,
}

/// Receives once (recvmsg(2)): some bytes, and whatever descriptors come with them, close-on-exec. Waits for bytes.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<Received> {
    patiently(socket, PollFlags::IN, || {
        receive_with(socket, buffer, descriptors, RecvFlags::empty())
    })
}

/// As [`receive`], but where nothing has arrived it fails with `WouldBlock`.
pub(crate) fn receive_now(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<Received> {
    Ok(rustix::io::retry_on_intr(|| {
        receive_with(socket, buffer, descriptors, RecvFlags::DONTWAIT)
    })?)
}

fn receive_with(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
    flags: RecvFlags,
) -> Result<Received, Errno> {
    // Room for all that can come, always: what does not fit would be lost without a word.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(buffer)],
        &mut control,
        flags | RecvFlags::CMSG_CLOEXEC,
    )?;
    for extra in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = extra {
            descriptors.extend(passed);
        }
    }
    Ok(Received {
        bytes: message.bytes,
        cut_short: message.flags.contains(ReturnFlags::CTRUNC),
    })
}

/// Reads into the spare room of `buffer`, which must have some: 0 at the end of the stream. Descriptors that come along
/// on a socket are closed by the kernel.
pub(crate) fn read_spare(fd: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> io::Result<usize> {
    patiently(fd, PollFlags::IN, || {
        rustix::io::read(fd, rustix::buffer::spare_capacity(buffer))
    })
}

/// Reads into `buffer`: 0 at the end of the stream. Descriptors are closed as in [`read_spare`].
pub(crate) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    patiently(fd, PollFlags::IN, || rustix::io::read(fd, &mut *buffer))
}

/// Writes some or all of `parts` to a pipe, and never raises SIGPIPE.
pub(crate) fn write_pipe(pipe: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    patiently(pipe, PollFlags::OUT, || write_without_signal(pipe, parts))
}

/// `RWF_NOSIGNAL`, since Linux 6.18.
const NO_SIGNAL: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x100);
static NO_SIGNAL_IS_UNKNOWN: AtomicBool = AtomicBool::new(false);
const END_OF_FILE: u64 = u64::MAX;

fn write_without_signal(pipe: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
    if !NO_SIGNAL_IS_UNKNOWN.load(Relaxed) {
        match rustix::io::pwritev2(pipe, parts, END_OF_FILE, NO_SIGNAL) {
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                NO_SIGNAL_IS_UNKNOWN.store(true, Relaxed);
            }
            answer => return answer,
        }
    }
    // Rust programs ignore SIGPIPE from the start; those that asked for the default, and foreign hosts, may not.
    let _held = super::signals::HeldSigpipe::new();
    rustix::io::writev(pipe, parts)
}

/// Repeats `operation` after signals, and where somebody made the channel non-blocking sleeps until it is worth another
/// try: that flag belongs to all who share the channel, other processes among them.
fn patiently<T>(
    fd: BorrowedFd<'_>,
    ready: PollFlags,
    mut operation: impl FnMut() -> Result<T, Errno>,
) -> io::Result<T> {
    loop {
        match operation() {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::from_borrowed_fd(fd, ready)], Deadline::NEVER)?;
            }
            answer => return Ok(answer?),
        }
    }
}

/// poll(2) with an absolute deadline, repeated after signals: how many are ready.
pub(crate) fn poll(of: &mut [PollFd<'_>], deadline: Deadline) -> io::Result<usize> {
    loop {
        let left = deadline.remaining().map(|left| rustix::time::Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        match rustix::event::poll(of, left.as_ref()) {
            Err(Errno::INTR) => {}
            answer => return Ok(answer?),
        }
    }
}

/// Waits until `fd` can be read without blocking, or is at its end: false if the deadline passed first.
pub(crate) fn wait_readable(fd: impl AsFd, deadline: Deadline) -> io::Result<bool> {
    let fd = fd.as_fd();
    Ok(poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], deadline)? != 0)
}

/// An anonymous file (memfd_create(2)) that holds `bytes`.
pub(crate) fn file_holding(bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create(c"allcores-message", MemfdFlags::CLOEXEC)?;
    let mut written = 0;
    while written < bytes.len() {
        let rest = &bytes[written..];
        written += rustix::io::retry_on_intr(|| rustix::io::pwrite(&file, rest, written as u64))?;
    }
    Ok(file)
}

/// The first `length` bytes of a file; it is an error if there are fewer.
pub(crate) fn contents(file: BorrowedFd<'_>, length: usize) -> io::Result<Vec<u8>> {
    let held = u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0);
    if held < length as u64 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut bytes = vec![0; length];
    let mut read = 0;
    while read < length {
        let rest = &mut bytes[read..];
        match rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *rest, read as u64))? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => read += more,
        }
    }
    Ok(bytes)
}
