//! Descriptors on their way: sendmsg and recvmsg with `SCM_RIGHTS`, duplicates, and bytes in an anonymous file.
//! See unix(7), cmsg(3), pipe(7).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::fs::{FileType, MemfdFlags};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use super::clock::Deadline;
use super::packets;

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

/// Lets a local socket hold large messages that nobody has read yet: with the usual 200 KiB the two ends would take turns at
/// every piece. As much as the system allows (`net.core.wmem_max`).
pub(crate) fn widen(socket: BorrowedFd<'_>) {
    // The kernel doubles it, for its own part.
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(socket, 4 << 20);
}

/// A connected pair of sockets that keep messages apart (`SOCK_SEQPACKET`).
pub(crate) fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// A kernel pipe, (reader, writer), neither of which ever waits.
pub(crate) fn pipe_without_waiting() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::pipe::PipeFlags;
    Ok(rustix::pipe::pipe_with(
        PipeFlags::CLOEXEC | PipeFlags::NONBLOCK,
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

/// Another descriptor for the same thing, which programs that are started inherit; and its number.
pub(crate) fn inheritable(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, i32)> {
    let copy = rustix::io::fcntl_dupfd_cloexec(fd, 3)?;
    rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty())?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&copy);
    Ok((copy, number))
}

/// What a descriptor stands for, as far as messages can pass through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    /// A local socket: both ways, descriptors too.
    Socket,
    /// A local socket that keeps packets apart (`SOCK_SEQPACKET`): both ways, descriptors too. Reading takes one packet; what of it
    /// does not fit into the buffer is gone.
    Packets,
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
            AddressFamily::UNIX => Some(match rustix::net::sockopt::socket_type(fd)? {
                SocketType::SEQPACKET => Channel::Packets,
                _ => Channel::Socket,
            }),
            _ => Some(Channel::Network),
        },
        FileType::Fifo => Some(Channel::Pipe),
        _ => None,
    })
}

/// Sends once (sendmsg(2)): some or all of `parts`, and `descriptors` with the first byte of them. Waits for room; `None`
/// if the deadline passed first.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    descriptors: &[BorrowedFd<'_>],
    deadline: Deadline,
) -> io::Result<Option<usize>> {
    let flags = match deadline.is_never() {
        true => SendFlags::empty(),
        false => SendFlags::DONTWAIT,
    };
    patiently(socket, PollFlags::OUT, deadline, || {
        send_with(socket, parts, descriptors, flags)
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

pub(super) fn send_with(
    socket: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<usize, Errno> {
    let flags = flags | SendFlags::NOSIGNAL;
    if let ([part], []) = (parts, descriptors) {
        // A tenth faster.
        return rustix::net::send(socket, part, flags);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOMANYREFS);
    }
    rustix::net::sendmsg(socket, parts, &mut control, flags)
}

/// What one [`receive`] brought.
pub(crate) struct Received {
    /// How many bytes; 0 at the end of the stream.
    pub(crate) bytes: usize,
    /// The kernel dropped descriptors: this process has no room for them.
    pub(crate) cut_short: bool,
}

/// Receives once (recvmsg(2)): some bytes, and whatever descriptors come with them, close-on-exec. Waits for bytes; `None`
/// if the deadline passed first.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
    deadline: Deadline,
) -> io::Result<Option<Received>> {
    let flags = match deadline.is_never() {
        true => RecvFlags::empty(),
        false => RecvFlags::DONTWAIT,
    };
    patiently(socket, PollFlags::IN, deadline, || {
        receive_with(socket, buffer, descriptors, flags)
    })
}

/// As [`receive`], but where nothing has arrived it fails with `WouldBlock`.
pub(crate) fn receive_now(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut impl Extend<OwnedFd>,
) -> io::Result<Received> {
    Ok(rustix::io::retry_on_intr(|| {
        receive_with(socket, buffer, descriptors, RecvFlags::DONTWAIT)
    })?)
}

pub(super) fn receive_with(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut impl Extend<OwnedFd>,
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

/// Reads once into the front of `buffer`: how many bytes, 0 at the end of the stream. Descriptors that come along on a socket
/// are closed by the kernel. Waits for bytes; `None` if the deadline passed first. Of a packet it is the whole length, even if
/// that is more than `buffer` has.
pub(crate) fn read(
    fd: BorrowedFd<'_>,
    channel: Channel,
    buffer: &mut [u8],
    deadline: Deadline,
) -> io::Result<Option<usize>> {
    reading(fd, channel, deadline, |flags| match flags {
        None => rustix::io::read(fd, &mut *buffer),
        Some(flags) => Ok(rustix::net::recv(fd, &mut *buffer, flags)?.1),
    })
}

/// As [`read`], into memory that holds nothing yet.
pub(crate) fn read_fresh(
    fd: BorrowedFd<'_>,
    channel: Channel,
    room: &mut [MaybeUninit<u8>],
    deadline: Deadline,
) -> io::Result<Option<usize>> {
    reading(fd, channel, deadline, |flags| match flags {
        None => Ok(rustix::io::read(fd, &mut *room)?.0.len()),
        Some(flags) => Ok(rustix::net::recv(fd, &mut *room, flags)?.1),
    })
}

/// `once` receives with these flags, or reads where there are none.
fn reading(
    fd: BorrowedFd<'_>,
    channel: Channel,
    deadline: Deadline,
    mut once: impl FnMut(Option<RecvFlags>) -> Result<usize, Errno>,
) -> io::Result<Option<usize>> {
    let flags = match channel {
        Channel::Packets => return packets::reading(fd, deadline, |flags| once(Some(flags))),
        _ if deadline.is_never() => None,
        Channel::Socket | Channel::Network => Some(RecvFlags::DONTWAIT),
        // A single read cannot be told not to wait. Somebody who shares the pipe may be faster than we are.
        Channel::Pipe if wait_readable(fd, deadline)? => None,
        Channel::Pipe => return Ok(None),
    };
    patiently(fd, PollFlags::IN, deadline, || once(flags))
}

/// Writes some or all of `parts` to a pipe, and never raises SIGPIPE. Waits for room; `None` if the deadline passed first.
pub(crate) fn write_pipe(
    pipe: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    deadline: Deadline,
) -> io::Result<Option<usize>> {
    if deadline.is_never() {
        return patiently(pipe, PollFlags::OUT, deadline, || {
            write_without_signal(pipe, parts)
        });
    }
    if poll(
        &mut [PollFd::from_borrowed_fd(pipe, PollFlags::OUT)],
        deadline,
    )? == 0
    {
        return Ok(None);
    }
    // What poll(2) promises room for.
    let next = parts.iter().find(|part| !part.is_empty());
    let piece = next.map_or(&[][..], |part| &part[..part.len().min(PIPE_BUF)]);
    write_pipe(pipe, &[IoSlice::new(piece)], Deadline::NEVER)
}

const PIPE_BUF: usize = rustix::pipe::PIPE_BUF;

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

/// Repeats `operation` after signals, and where it would block sleeps until it is worth another try: either it was told not
/// to wait, or somebody made the channel non-blocking. That flag belongs to all who share the channel, other processes
/// among them. `None` if the deadline passed first.
pub(super) fn patiently<T>(
    fd: BorrowedFd<'_>,
    ready: PollFlags,
    deadline: Deadline,
    mut operation: impl FnMut() -> Result<T, Errno>,
) -> io::Result<Option<T>> {
    loop {
        match operation() {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                if poll(&mut [PollFd::from_borrowed_fd(fd, ready)], deadline)? == 0 {
                    return Ok(None);
                }
            }
            answer => return Ok(Some(answer?)),
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

/// As [`read`], from a descriptor that never waits: `None` if there is nothing yet.
pub(crate) fn read_now(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut *buffer)) {
        Err(Errno::AGAIN) => Ok(None),
        answer => Ok(Some(answer?)),
    }
}

/// Writes to a pipe that never waits, if there is room for all of `bytes`. SIGPIPE must be ignored.
pub(crate) fn write_now(pipe: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| {
        rustix::io::write(pipe, bytes)
    })?)
}

/// Writes out what C's streams hold back (fflush(3)).
pub(crate) fn flush_c_streams() {
    // SAFETY: null means all output streams.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

/// Which of two descriptors can be read. If both can, the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    One,
    Other,
}

/// Waits until one of the two can be read: `None` if the deadline passed before.
pub(crate) fn wait_either(
    one: BorrowedFd<'_>,
    other: BorrowedFd<'_>,
    deadline: Deadline,
) -> io::Result<Option<First>> {
    let mut both = [
        PollFd::from_borrowed_fd(one, PollFlags::IN),
        PollFd::from_borrowed_fd(other, PollFlags::IN),
    ];
    if poll(&mut both, deadline)? == 0 {
        return Ok(None);
    }
    let first = !both[0].revents().is_empty();
    Ok(Some(if first { First::One } else { First::Other }))
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

/// A descriptor that is readable while it is raised.
pub(crate) fn event() -> io::Result<OwnedFd> {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    Ok(rustix::event::eventfd(0, flags)?)
}

/// Makes an [`event`] readable.
pub(crate) fn raise(event: BorrowedFd<'_>) {
    // Fails only where it would overflow: then it is readable.
    let _ = rustix::io::write(event, &1u64.to_ne_bytes());
}

/// Makes an [`event`] not readable.
pub(crate) fn lower(event: BorrowedFd<'_>) {
    // Fails only where it is not readable.
    let _ = rustix::io::read(event, &mut [0; 8]);
}
