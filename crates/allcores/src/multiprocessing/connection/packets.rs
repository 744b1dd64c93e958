//! Frames over a local socket that keeps packets apart: a small one is one packet, so that one receive brings all of it and
//! nothing of the next; of a larger one the first packet is the header alone, and the payload follows in pieces.

use std::io::IoSlice;
use std::mem::{self, MaybeUninit};
use std::ops::Range;
use std::os::fd::BorrowedFd;

use super::error::{RecvError, SendError};
use super::frame::{Frame, Header, Want};
use super::lane;
use super::stream::{Stream, some, unsent};
use crate::multiprocessing::transfer::Incoming;
use crate::sys::clock::Deadline;
use crate::sys::fds::Channel;
use crate::sys::packets::{self, MOST_PACKETS};

/// The longest frame that is one packet.
pub(super) const FIRST: usize = 8 << 10;

/// The longest piece of a payload. The kernel holds it in small pieces of memory (17 pages and 16 KiB), so that it finds them always.
pub(super) const PIECE: usize = 64 << 10;

/// Pieces are not made shorter than this where the socket or the kernel has little room.
const SHORTEST: usize = 1 << 10;

/// The first packet of a frame.
pub(super) struct First {
    bytes: [MaybeUninit<u8>; FIRST],
    payload: Range<usize>,
}

impl First {
    pub(super) fn new() -> First {
        First {
            bytes: [MaybeUninit::uninit(); FIRST],
            payload: 0..0,
        }
    }

    /// The whole payload, or nothing of it: then it is still to come.
    pub(super) fn payload(&self) -> &[u8] {
        // SAFETY: these have been received.
        unsafe { self.bytes[self.payload.clone()].assume_init_ref() }
    }

    /// Receives it, and the header in it. Descriptors that came with it are closed unless they are to be kept.
    pub(super) fn receive(
        &mut self,
        stream: &Stream,
        frame: &mut Frame,
        deadline: Deadline,
        keep: bool,
    ) -> Result<Incoming, RecvError> {
        let mut descriptors = Vec::new();
        let mut cut_short = false;
        let count = if keep {
            self.bytes.fill(MaybeUninit::new(0));
            // SAFETY: they have just been filled.
            let buffer = unsafe { self.bytes.assume_init_mut() };
            let received = stream.receive_once(buffer, &mut descriptors, deadline);
            received.map(|received| {
                received.map(|received| {
                    cut_short = received.cut_short;
                    received.bytes
                })
            })
        } else {
            stream.read_fresh(&mut self.bytes, deadline)
        };
        let length = match some(count, frame)? {
            0 => return Err(RecvError::Closed),
            length => length,
        };
        // SAFETY: the kernel has written so many.
        let there = unsafe { self.bytes[..length.min(FIRST)].assume_init_ref() };
        let mut taken = 0;
        while let Want::Header(most) = frame.wants() {
            let next = &there[taken..there.len().min(taken + most)];
            if next.is_empty() {
                return Err(RecvError::BadPacket { length });
            }
            frame.header(next)?;
            taken += next.len();
        }
        let payload = (length - taken) as u64;
        if length > FIRST || payload > 0 && frame.length() != Some(payload) {
            return Err(RecvError::BadPacket { length });
        }
        self.payload = taken..length;
        Ok(Incoming::new(descriptors, cut_short).of_stranger(stream.is_foreign()))
    }
}

/// How much of a message must fit where the next bytes of it go.
pub(super) fn least_room(channel: Channel) -> usize {
    match channel {
        Channel::Packets => PIECE,
        Channel::Socket | Channel::Network | Channel::Pipe => 1,
    }
}

/// `length` bytes came where there was room for `room`: the rest of a packet is gone.
pub(super) fn fits(length: usize, room: usize) -> Result<usize, RecvError> {
    match length <= room {
        true => Ok(length),
        false => Err(RecvError::BadPacket { length }),
    }
}

/// Sends a frame that is not one packet: its header, which may be all of it or lie at the front of `header`, and then its payload.
/// An error comes with whether a part of it was sent.
#[cold]
pub(super) fn send_pieces(
    stream: &Stream,
    header: &[u8],
    payload: &[u8],
    mut descriptors: &[BorrowedFd<'_>],
    deadline: Deadline,
) -> Result<(), (SendError, bool)> {
    let (header, mut rest) = match payload {
        [] => header.split_at(Header::length_in(header)),
        payload => (header, payload),
    };
    let mut header = Some(header);
    let mut piece = PIECE;
    // Whether it may go on a lane, which the next packet after the header has to tell.
    let mut large = rest.len() as u64 > lane::LONGER_THAN;
    while header.is_some() || !rest.is_empty() {
        let mut room = [IoSlice::new(&[]); MOST_PACKETS];
        let mut used = 0;
        let pieces = if large { &[] } else { rest }.chunks(piece);
        for (place, packet) in room.iter_mut().zip(header.into_iter().chain(pieces)) {
            *place = IoSlice::new(packet);
            used += 1;
        }
        match packets::send(stream.fd(), &room[..used], descriptors, deadline) {
            Ok(Some(sent)) => {
                descriptors = &[];
                let pieces = sent - usize::from(header.take().is_some() && sent > 0);
                rest = &rest[rest.len().min(pieces * piece)..];
                if mem::take(&mut large)
                    && lane::send(stream, rest, deadline).map_err(|error| (error, true))?
                {
                    return Ok(());
                }
            }
            Err(error) if packets::is_too_large(&error) && piece / 2 >= SHORTEST => piece /= 2,
            not => return Err((unsent(not, header.is_none()), header.is_none())),
        }
    }
    Ok(())
}
