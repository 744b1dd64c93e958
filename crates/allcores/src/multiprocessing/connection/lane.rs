//! A stream for one large message over a socket that keeps packets apart.
//!
//! Packets have to be whole before they can be read, and a sender and a receiver of many of them take turns; a stream flows. So after
//! the header of a large message the sender gives the receiver an end of a socket pair of its own, which carries the payload and nothing else.
//! Where one of the two has no descriptor left, the payload follows in packets: a receiver says on the lane that it has taken it, and a lane
//! that ends before that was not.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use super::error::{RecvError, SendError};
use super::frame::Frame;
use super::packets::{PIECE, fits};
use super::stream::{Stream, some, unsent};
use crate::sys::attached::Attached;
use crate::sys::clock::Deadline;
use crate::sys::fds::{self, Channel};
use crate::sys::packets;

/// Payloads that are longer than this may go on a lane.
pub(super) const LONGER_THAN: u64 = 1 << 20;

/// What the end of a lane comes with, and what its receiver answers.
const MARK: [u8; 1] = *b"L";

/// Sends the payload of a message whose header has been sent. False if it did not go this way: then all of it is to follow in packets.
///
/// # Errors
/// As [`Stream::send_by`].
pub(super) fn send(stream: &Stream, payload: &[u8], deadline: Deadline) -> Result<bool, SendError> {
    let Ok((ours, theirs)) = fds::socket_pair() else {
        return Ok(false);
    };
    let mark = [IoSlice::new(&MARK)];
    match packets::send(stream.fd(), &mark, &[theirs.as_fd()], deadline) {
        Ok(Some(_)) => {}
        // More descriptors are on their way than this user may have open.
        Err(error) if error.raw_os_error() == Some(libc::ETOOMANYREFS) => return Ok(false),
        not => return Err(unsent(not, true)),
    }
    // Or nobody would tell us that there is no receiver any more.
    drop(theirs);
    fds::widen(ours.as_fd());
    let lane = Attached::new(ours.as_fd(), stream.fd());
    let mut rest = payload;
    while !rest.is_empty() {
        match lane.send(rest, deadline) {
            Ok(Some(sent)) => rest = &rest[sent..],
            // If the receiver itself is gone, the next packet meets that.
            Err(error) if is_let_go(&error) && !was_taken(lane, deadline)? => return Ok(false),
            not => return Err(unsent(not, true)),
        }
    }
    was_taken(lane, deadline)
}

/// Waits until the receiver has taken its end of a lane, or let go of it, or is gone.
fn was_taken(lane: Attached<'_>, deadline: Deadline) -> Result<bool, SendError> {
    match lane.read(&mut [0], deadline) {
        Ok(Some(count)) => Ok(count > 0),
        Err(error) if is_let_go(&error) => Ok(false),
        not => Err(unsent(not, true)),
    }
}

fn is_let_go(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset)
}

/// What comes after a header: the payload, by whatever way its sender chose.
pub(super) struct Coming<'a> {
    stream: &'a Stream,
    way: Way,
}

enum Way {
    /// The next packet tells.
    Unknown,
    Stream,
    Lane(OwnedFd),
}

impl<'a> Coming<'a> {
    /// For a frame whose header has come, and nothing else of it.
    pub(super) fn new(stream: &'a Stream, frame: &Frame) -> Coming<'a> {
        let large = frame.length() > Some(LONGER_THAN);
        let way = match large && stream.channel() == Channel::Packets {
            true => Way::Unknown,
            false => Way::Stream,
        };
        Coming { stream, way }
    }

    /// The stream has nothing of this payload.
    pub(super) fn by_lane(&self) -> bool {
        matches!(self.way, Way::Lane(_))
    }

    /// Receives some of it to the front of `room`: how many bytes. Of [`frame`](Frame) something must be missing.
    pub(super) fn read(
        &mut self,
        frame: &Frame,
        room: &mut [u8],
        deadline: Deadline,
    ) -> Result<usize, RecvError> {
        if let Some(count) = self.first(frame, room, deadline)? {
            return Ok(count);
        }
        let most = room.len();
        let count = match &self.way {
            Way::Lane(lane) => self.attached(lane).read(room, deadline),
            Way::Stream | Way::Unknown => self.stream.read(room, deadline),
        };
        fits(some(count, frame)?, most)
    }

    /// As [`Coming::read`], where nothing has been written yet.
    pub(super) fn read_fresh(
        &mut self,
        frame: &Frame,
        room: &mut [MaybeUninit<u8>],
        deadline: Deadline,
    ) -> Result<usize, RecvError> {
        let most = room.len();
        if matches!(self.way, Way::Unknown) {
            let front = &mut room[..most.min(PIECE)];
            front.fill(MaybeUninit::new(0));
            // SAFETY: all of it has just been filled.
            let front = unsafe { front.assume_init_mut() };
            if let Some(count) = self.first(frame, front, deadline)? {
                return Ok(count);
            }
        }
        let count = match &self.way {
            Way::Lane(lane) => self.attached(lane).read_fresh(room, deadline),
            Way::Stream | Way::Unknown => self.stream.read_fresh(room, deadline),
        };
        fits(some(count, frame)?, most)
    }

    fn attached<'b>(&'b self, lane: &'b OwnedFd) -> Attached<'b> {
        Attached::new(lane.as_fd(), self.stream.fd())
    }

    /// Receives the packet that tells the way, unless it is known: if that is a piece of the payload, how long it is.
    fn first(
        &mut self,
        frame: &Frame,
        room: &mut [u8],
        deadline: Deadline,
    ) -> Result<Option<usize>, RecvError> {
        if !matches!(self.way, Way::Unknown) {
            return Ok(None);
        }
        let most = room.len();
        let mut descriptors = Vec::new();
        let mut cut_short = false;
        let received = self.stream.receive_once(room, &mut descriptors, deadline);
        let count = received.map(|received| {
            received.map(|received| {
                cut_short = received.cut_short;
                received.bytes
            })
        });
        let length = some(count, frame)?;
        self.way = Way::Stream;
        match (descriptors.pop(), &descriptors[..]) {
            (None, _) if !cut_short => return Ok(Some(fits(length, most)?)),
            // There was no descriptor free for it here, and the kernel has closed it.
            (None, _) if length == MARK.len() => {}
            (Some(lane), []) if length == MARK.len() && is_a_lane(&lane) => {
                // If it cannot be said, nobody waits for it any more: the payload may be there all the same.
                let _ = fds::send_now(lane.as_fd(), &[IoSlice::new(&MARK)], &[]);
                self.way = Way::Lane(lane);
            }
            _ => return Err(RecvError::BadPacket { length }),
        }
        Ok(None)
    }
}

fn is_a_lane(fd: &OwnedFd) -> bool {
    matches!(fds::channel(fd.as_fd()), Ok(Some(Channel::Socket)))
}
