//! Bytes that were read before they were asked for, and the descriptors that came with them.
//!
//! Whose descriptors they are: a sender gives them with the first byte of its frame. One receive from a local socket goes over
//! any number of writes, but ends with the first one that has descriptors with it. So they belong to the last frame that
//! begins in what that receive brought.

use std::ops::Range;
use std::os::fd::OwnedFd;

use super::error::RecvError;
use super::frame::{Frame, Want};
use super::landing::Landing;
use super::lane::Coming;
use super::packets::{fits, least_room};
use super::stream::{Stream, some};
use crate::multiprocessing::transfer::Incoming;
use crate::sys::clock::Deadline;
use crate::sys::fds::Channel;
use crate::sys::fork;

/// How much is read ahead at most.
const ROOM: usize = 16 << 10;

/// What misses so much is read to where it belongs at once, and nothing behind it.
const LARGE: u64 = 4 << 10;

/// Positions are counted from the first byte that was received this way.
pub(super) struct Ahead {
    buffer: Box<[u8]>,
    /// What of it has not been taken.
    there: Range<usize>,
    /// Of the first byte of `there`.
    position: u64,
    parcels: Vec<Descriptors>,
    /// Of the process that has read it; see [`fork::generation`].
    generation: u32,
}

/// What came in one receive.
struct Descriptors {
    with: Range<u64>,
    all: Vec<OwnedFd>,
    cut_short: bool,
}

impl Ahead {
    pub(super) fn new() -> Ahead {
        fork::watch();
        Ahead {
            buffer: vec![0; ROOM].into_boxed_slice(),
            there: 0..0,
            position: 0,
            parcels: Vec::new(),
            generation: fork::generation(),
        }
    }

    /// How many bytes there are that nobody has taken.
    pub(super) fn len(&self) -> usize {
        self.there.len()
    }

    /// False in a forked process whose parent had read ahead: that is the parent's, and what follows it makes no sense without.
    pub(super) fn belongs_here(&mut self) -> bool {
        let generation = fork::generation();
        if self.generation != generation && self.there.is_empty() {
            self.generation = generation;
        }
        self.generation == generation
    }

    /// Receives the header of a frame, and finds the descriptors that are its own.
    pub(super) fn header(
        &mut self,
        stream: &Stream,
        frame: &mut Frame,
        deadline: Deadline,
    ) -> Result<Incoming, RecvError> {
        let begin = self.position;
        while let Want::Header(most) = frame.wants() {
            if self.there.is_empty() && self.more(stream, frame, deadline)? == 0 {
                return Err(RecvError::Closed);
            }
            frame.header(self.take(most))?;
        }
        Ok(match self.parcels.is_empty() {
            true => Incoming::default(),
            false => self.parcels_of(begin, frame),
        }
        .of_stranger(stream.is_foreign()))
    }

    /// Receives the rest of a frame.
    pub(super) fn payload(
        &mut self,
        stream: &Stream,
        frame: &mut Frame,
        deadline: Deadline,
    ) -> Result<Vec<u8>, RecvError> {
        let length = frame.length().unwrap_or(0);
        if length <= self.there.len() as u64 {
            if length > 0 {
                frame.payload(length);
            }
            return Ok(self.take(length as usize).to_vec());
        }
        let mut landing = Landing::new(length, least_room(stream.channel()));
        let mut coming = Coming::new(stream, frame);
        while let Want::Payload(missing) = frame.wants() {
            if !self.there.is_empty() {
                let count = landing.put(self.bytes())?;
                self.take(count);
                frame.payload(count as u64);
            } else if missing >= LARGE || coming.by_lane() {
                let count = coming.read_fresh(frame, landing.room()?, deadline)?;
                // SAFETY: the kernel has written so many bytes to the front of the room.
                unsafe { landing.arrived(count) };
                self.passed(frame, count);
            } else {
                self.more(stream, frame, deadline)?;
            }
        }
        Ok(landing.into_message())
    }

    /// As [`Ahead::payload`], into a buffer that is just as long.
    pub(super) fn fill(
        &mut self,
        stream: &Stream,
        frame: &mut Frame,
        buffer: &mut [u8],
    ) -> Result<(), RecvError> {
        let mut filled = 0;
        let mut coming = Coming::new(stream, frame);
        while let Want::Payload(missing) = frame.wants() {
            let rest = &mut buffer[filled..];
            let count = if !self.there.is_empty() {
                let taken = self.take(rest.len());
                rest[..taken.len()].copy_from_slice(taken);
                frame.payload(taken.len() as u64);
                taken.len()
            } else if missing >= LARGE || coming.by_lane() {
                let count = coming.read(frame, rest, Deadline::NEVER)?;
                self.passed(frame, count);
                count
            } else {
                self.more(stream, frame, Deadline::NEVER)?;
                0
            };
            filled += count;
        }
        Ok(())
    }

    /// Receives one byte that is no frame, and what came with it: `None` at the end of the stream.
    pub(super) fn bare_byte(
        &mut self,
        stream: &Stream,
    ) -> Result<Option<(u8, Vec<OwnedFd>, bool)>, RecvError> {
        let begin = self.position;
        let frame = Frame::new(None);
        if self.there.is_empty() && self.more(stream, &frame, Deadline::NEVER)? == 0 {
            return Ok(None);
        }
        let [byte] = *self.take(1) else {
            unreachable!("some bytes have come");
        };
        let (all, cut_short) = self.parcels_within(begin, begin + 1);
        Ok(Some((byte, all, cut_short)))
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.there.clone()]
    }

    /// Takes the next bytes, at most so many.
    fn take(&mut self, most: usize) -> &[u8] {
        let count = most.min(self.there.len());
        let taken = self.there.start..self.there.start + count;
        self.there.start = taken.end;
        self.position += count as u64;
        &self.buffer[taken]
    }

    /// So many bytes of the payload have come, and not by way of the buffer.
    fn passed(&mut self, frame: &mut Frame, count: usize) {
        self.position += count as u64;
        frame.payload(count as u64);
    }

    /// Receives once, when everything that was there has been taken. `frame` is the one that is being received.
    fn more(
        &mut self,
        stream: &Stream,
        frame: &Frame,
        deadline: Deadline,
    ) -> Result<usize, RecvError> {
        debug_assert!(self.there.is_empty());
        let mut all = Vec::new();
        let mut cut_short = false;
        let buffer = &mut self.buffer[..];
        let count = match stream.channel() {
            Channel::Socket | Channel::Packets => stream
                .receive_once(buffer, &mut all, deadline)
                .map(|received| {
                    received.map(|received| {
                        cut_short = received.cut_short;
                        received.bytes
                    })
                }),
            Channel::Network | Channel::Pipe => stream.read(buffer, deadline),
        };
        let count = fits(some(count, frame)?, self.buffer.len())?;
        self.there = 0..count;
        if !all.is_empty() || cut_short {
            let end = self.position + count as u64;
            // No frame begins in bytes that are all of this one's payload.
            let payload =
                matches!(frame.wants(), Want::Payload(missing) if missing >= count as u64);
            if !payload {
                self.parcels.push(Descriptors {
                    with: self.position..end,
                    all,
                    cut_short,
                });
            }
        }
        Ok(count)
    }

    #[cold]
    fn parcels_of(&mut self, begin: u64, frame: &Frame) -> Incoming {
        // The header is whole, so this is where the payload begins.
        let end = self.position + frame.length().unwrap_or(0);
        let (all, cut_short) = self.parcels_within(begin, end);
        Incoming::new(all, cut_short)
    }

    /// What belongs to that which lies between two positions. What came with its middle is nobody's.
    fn parcels_within(&mut self, begin: u64, end: u64) -> (Vec<OwnedFd>, bool) {
        let mut mine = (Vec::new(), false);
        self.parcels.retain_mut(|parcel| {
            if parcel.with.end > end {
                return true;
            }
            if parcel.with.contains(&begin) {
                mine.0.append(&mut parcel.all);
                mine.1 |= parcel.cut_short;
            }
            false
        });
        mine
    }
}
