//! Single calls to the kernel: some bytes out, some bytes in.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

/// From this size on, memory that is about to be filled is asked to be made of huge pages: it is the first touch of fresh
/// pages that costs, not the copying.
const HUGE_PAGE: usize = 2 << 20;

/// What a duplex Pipe may hold on its way, as in the Rust face.
static SEND_BUFFER: libc::c_int = 4 << 20;

/// How one attempt ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// All of it is done.
    Done,
    /// Nothing can be done without waiting. Of a blocking descriptor only if that was asked for.
    Later,
    /// A signal handler ran.
    Interrupted,
    /// The other side has closed.
    End,
    /// An error number.
    Failed(i32),
}

/// What is behind a descriptor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Socket,
    Pipe,
    /// Something else, or a pipe of which nothing can be received without waiting.
    Other,
}

impl Channel {
    /// Whether something can be received without waiting, whatever the descriptor's flags say.
    pub(super) fn can_try(self) -> bool {
        self != Channel::Other
    }
}

/// A descriptor's [`Channel`], found out when it is first used.
pub(super) struct Known(AtomicU8);

impl Known {
    pub(super) const fn unknown() -> Known {
        Known(AtomicU8::new(0))
    }

    pub(super) fn forget(&self) {
        self.0.store(0, Relaxed);
    }

    /// To receive from a pipe without waiting has failed: not to be tried again.
    #[cold]
    pub(super) fn cannot_try(&self) {
        // The object may have got another descriptor meanwhile.
        let _ = self.0.compare_exchange(2, 3, Relaxed, Relaxed);
    }

    #[inline]
    pub(super) fn get(&self, fd: i32) -> Channel {
        match self.0.load(Relaxed) {
            1 => Channel::Socket,
            2 => Channel::Pipe,
            3 => Channel::Other,
            _ => self.find(fd),
        }
    }

    #[cold]
    fn find(&self, fd: i32) -> Channel {
        let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
        // SAFETY: fstat(2) writes a stat to where there is room for one, and says whether it did.
        let kind = match unsafe { libc::fstat(fd, stat.as_mut_ptr()) } {
            // SAFETY: it did.
            0 => unsafe { stat.assume_init() }.st_mode & libc::S_IFMT,
            _ => 0,
        };
        let (number, channel) = match kind {
            libc::S_IFSOCK => (1, Channel::Socket),
            libc::S_IFIFO => (2, Channel::Pipe),
            _ => (3, Channel::Other),
        };
        self.0.store(number, Relaxed);
        channel
    }
}

/// The error number that the last call left.
fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// The exception of an error number: OSError, or the subclass that belongs to the number.
pub(super) fn os_error(number: i32) -> PyErr {
    let text = std::io::Error::from_raw_os_error(number).to_string();
    let text = match text.rfind(" (os error") {
        Some(at) => text[..at].to_owned(),
        None => text,
    };
    PyOSError::new_err((number, text))
}

fn failed(waiting: bool) -> Step {
    match errno() {
        libc::EINTR => Step::Interrupted,
        libc::EAGAIN if !waiting => Step::Later,
        number => Step::Failed(number),
    }
}

/// Pieces of memory that are to be sent one after the other, and how far that has come.
pub(super) struct Pieces<'a> {
    list: &'a mut [libc::iovec],
}

// SAFETY: it is a slice of memory that is read only, and whoever makes it vouches that it stays while it is being sent.
unsafe impl Send for Pieces<'_> {}

/// One piece.
pub(super) fn piece(bytes: *const u8, length: usize) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.cast_mut().cast(),
        iov_len: length,
    }
}

impl<'a> Pieces<'a> {
    /// # Safety
    /// The memory that they name can be read as long as this exists.
    pub(super) unsafe fn new(list: &'a mut [libc::iovec]) -> Pieces<'a> {
        Pieces { list }
    }

    /// Sends as much as goes; with `waiting`, all of it. Of a file that is no socket nothing can be sent without that.
    pub(super) fn send(&mut self, fd: i32, channel: Channel, waiting: bool) -> Step {
        loop {
            let over = self.list.iter().take_while(|piece| piece.iov_len == 0);
            let over = over.count();
            self.list = &mut std::mem::take(&mut self.list)[over..];
            if self.list.is_empty() {
                return Step::Done;
            }
            // IOV_MAX
            let count = self.list.len().min(1024);
            let sent = match channel {
                Channel::Socket if count == 1 => {
                    let piece = &self.list[0];
                    let patience = if waiting { 0 } else { libc::MSG_DONTWAIT };
                    let flags = libc::MSG_NOSIGNAL | patience;
                    // SAFETY: send(2) reads the piece, which is there by the word of `new`.
                    unsafe { libc::send(fd, piece.iov_base, piece.iov_len, flags) }
                }
                Channel::Socket => {
                    // SAFETY: zeroes are a msghdr: no address, nothing beside the data.
                    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
                    message.msg_iov = self.list.as_mut_ptr();
                    message.msg_iovlen = count as _;
                    let patience = if waiting { 0 } else { libc::MSG_DONTWAIT };
                    // SAFETY: sendmsg(2) reads the pieces, which are there by the word of `new`.
                    unsafe { libc::sendmsg(fd, &message, libc::MSG_NOSIGNAL | patience) }
                }
                // Less work than a list, for the kernel as well.
                _ if waiting && count == 1 => {
                    let piece = &self.list[0];
                    // SAFETY: as above.
                    unsafe { libc::write(fd, piece.iov_base, piece.iov_len) }
                }
                _ if waiting => {
                    // SAFETY: as above.
                    unsafe { libc::writev(fd, self.list.as_ptr(), count as i32) }
                }
                _ => return Step::Later,
            };
            if sent < 0 {
                return failed(waiting);
            }
            let all: usize = self.list[..count].iter().map(|piece| piece.iov_len).sum();
            self.pass(sent as usize);
            if waiting && (sent as usize) < all {
                // That may be a signal's doing, and its handler wants its turn before the next wait.
                return Step::Interrupted;
            }
        }
    }

    /// Notes that so many bytes are gone.
    fn pass(&mut self, mut bytes: usize) {
        for piece in self.list.iter_mut() {
            let here = bytes.min(piece.iov_len);
            // SAFETY: inside the piece, or one past its end.
            piece.iov_base = unsafe { piece.iov_base.cast::<u8>().add(here) }.cast();
            piece.iov_len -= here;
            bytes -= here;
            if bytes == 0 {
                break;
            }
        }
    }
}

/// A piece of memory that is to be filled, and how far that has come.
pub(super) struct Room {
    start: *mut u8,
    length: usize,
    filled: usize,
}

// SAFETY: whoever makes it vouches that the memory stays, and is nobody else's, while it is being filled.
unsafe impl Send for Room {}

impl Room {
    /// # Safety
    /// The memory can be written as long as this exists.
    pub(super) unsafe fn new(start: *mut u8, length: usize) -> Room {
        Room {
            start,
            length,
            filled: 0,
        }
    }

    /// What has come.
    pub(super) fn filled(&self) -> &[u8] {
        // SAFETY: so many bytes have been written, by the kernel, to memory that is there as long as this.
        unsafe { std::slice::from_raw_parts(self.start, self.filled) }
    }

    /// How many bytes have still to come.
    pub(super) fn missing(&self) -> usize {
        self.length - self.filled
    }

    /// Makes it so long, while it is empty: its maker knows that there is as much.
    pub(super) fn lengthen(&mut self, length: usize) {
        debug_assert!(self.filled == 0);
        self.length = length;
    }

    /// Receives what there is, by one call, which may leave some of it; with `waiting`, until it is full. From what is neither a
    /// socket nor a pipe nothing can be received without that, nor from a pipe on older kernels, which say EOPNOTSUPP.
    pub(super) fn receive(&mut self, fd: i32, channel: Channel, waiting: bool) -> Step {
        while self.filled < self.length {
            // SAFETY: not past the end.
            let place = unsafe { self.start.add(self.filled) }.cast();
            let missing = self.length - self.filled;
            let got = match channel {
                Channel::Socket => {
                    // Not for less than all of it, where all of it is coming: that saves calls.
                    let patience = if waiting {
                        libc::MSG_WAITALL
                    } else {
                        libc::MSG_DONTWAIT
                    };
                    // SAFETY: there is room for as much, by the word of `new`.
                    unsafe { libc::recv(fd, place, missing, patience) }
                }
                // SAFETY: as above.
                _ if waiting => unsafe { libc::read(fd, place, missing) },
                Channel::Pipe => {
                    let piece = libc::iovec {
                        iov_base: place,
                        iov_len: missing,
                    };
                    // SAFETY: as above; from where the file stands, if it stands anywhere.
                    unsafe { libc::preadv2(fd, &piece, 1, -1, libc::RWF_NOWAIT) }
                }
                Channel::Other => return Step::Later,
            };
            match got {
                0 => return Step::End,
                1.. => {
                    self.filled += got as usize;
                    if self.filled < self.length {
                        // As in `send`.
                        return if waiting {
                            Step::Interrupted
                        } else {
                            Step::Later
                        };
                    }
                }
                _ => return failed(waiting),
            }
        }
        Step::Done
    }
}

/// Asks that memory which is about to be filled consist of huge pages, if it is large.
pub(super) fn prefer_huge_pages(start: *mut u8, length: usize) {
    if length < HUGE_PAGE {
        return;
    }
    let first = (start as usize).next_multiple_of(4096);
    let end = (start as usize + length) & !4095;
    if first < end {
        // SAFETY: advice on whole pages inside of what belongs to the caller. It changes nothing that can be read, and a
        // refusal is as good.
        unsafe { libc::madvise(first as *mut _, end - first, libc::MADV_HUGEPAGE) };
    }
}

/// A size, rounded up so that the allocator's mapping for a large object consists of huge pages from its first byte on.
pub(super) fn in_huge_pages(size: usize) -> usize {
    const OVERHEAD: usize = 4096;
    if size < HUGE_PAGE {
        return size;
    }
    size.saturating_add(OVERHEAD)
        .checked_next_multiple_of(HUGE_PAGE)
        .map_or(size, |whole| whole - OVERHEAD)
}

/// Gives a socket room for large messages on their way.
///
/// As much as the system allows: a refusal leaves it as it was.
#[pyfunction]
pub(super) fn widen(fd: i32) {
    // SAFETY: setsockopt(2) reads an int.
    unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_SNDBUF,
            (&raw const SEND_BUFFER).cast(),
            size_of::<libc::c_int>() as u32,
        );
    }
}
