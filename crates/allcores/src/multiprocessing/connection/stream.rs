//! Frames over a descriptor: the I/O around [`frame`](super::frame).

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::BufferTooShort;
use super::error::{RecvError, RecvIntoError, SendError};
use super::frame::{Frame, MOST_HEADER, Want};
use super::landing::Landing;
use super::lane::Coming;
use super::looking::Looking;
use super::packets::{self, FIRST, First};
use super::turn::{Direction, NoTurn, Turn};
pub(crate) use super::values::{Encoded, decode, decode_with, encode, encode_with};
use crate::multiprocessing::transfer::{Incoming, Outgoing};
use crate::sys::clock::Deadline;
use crate::sys::fds::{self, Channel};

/// The longest frame that is copied into one piece before it is sent.
const SMALL: usize = 512;

/// What becomes of descriptors that come with a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Handles {
    Kept,
    Closed,
}

/// One end of a channel. Each direction has a lock, so that the frames of two threads do not mix.
#[derive(Debug)]
pub(crate) struct Stream {
    fd: OwnedFd,
    channel: Channel,
    /// The far end may be an unrelated program.
    foreign: bool,
    pub(super) sending: Direction,
    pub(super) receiving: Direction,
    looking: Looking,
}

impl Stream {
    pub(crate) fn new(fd: OwnedFd, channel: Channel) -> Stream {
        Stream {
            fd,
            channel,
            foreign: channel == Channel::Network,
            sending: Direction::default(),
            receiving: Direction::default(),
            looking: Looking::default(),
        }
    }

    /// Over a descriptor whose far end may be an unrelated program's, if `foreign` says so.
    pub(crate) fn with_stranger(fd: OwnedFd, channel: Channel, foreign: bool) -> Stream {
        let mut stream = Stream::new(fd, channel);
        stream.foreign |= foreign;
        stream
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel
    }

    pub(crate) fn is_foreign(&self) -> bool {
        self.foreign
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Receives once from a local socket, with whatever descriptors come along: of packets the next one's whole length, which may be
    /// more than `buffer` has.
    pub(super) fn receive_once(
        &self,
        buffer: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
        deadline: Deadline,
    ) -> io::Result<Option<fds::Received>> {
        match self.channel {
            Channel::Packets => self.looking.receive(deadline, |deadline| {
                crate::sys::packets::receive(self.fd(), buffer, descriptors, deadline)
            }),
            _ => fds::receive(self.fd(), buffer, descriptors, deadline),
        }
    }

    /// Reads once: how many bytes; of packets the next one's whole length, which may be more than `buffer` has.
    pub(super) fn read(&self, buffer: &mut [u8], deadline: Deadline) -> io::Result<Option<usize>> {
        let mut once = |deadline| fds::read(self.fd(), self.channel, &mut *buffer, deadline);
        match self.channel {
            Channel::Packets => self.looking.receive(deadline, once),
            _ => once(deadline),
        }
    }

    /// As [`Stream::read`], into memory that holds nothing yet.
    pub(super) fn read_fresh(
        &self,
        room: &mut [MaybeUninit<u8>],
        deadline: Deadline,
    ) -> io::Result<Option<usize>> {
        let mut once = |deadline| fds::read_fresh(self.fd(), self.channel, &mut *room, deadline);
        match self.channel {
            Channel::Packets => self.looking.receive(deadline, once),
            _ => once(deadline),
        }
    }

    /// What a value that goes out here may hand over.
    pub(crate) fn outgoing(&self) -> Outgoing {
        match self.channel {
            Channel::Socket | Channel::Packets => Outgoing::with_room(fds::MOST_DESCRIPTORS),
            Channel::Network => Outgoing::over_network(),
            Channel::Pipe => Outgoing::over_pipe(),
        }
        .for_stranger(self.foreign)
    }

    /// Sends `header` and `payload` in one write, and `descriptors` with their first byte.
    pub(crate) fn send(
        &self,
        header: &[u8],
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SendError> {
        self.send_by(header, payload, descriptors, Deadline::NEVER)
    }

    /// As [`Stream::send`], until the deadline.
    pub(crate) fn send_by(
        &self,
        header: &[u8],
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> Result<(), SendError> {
        let mut turn = Turn::take(&self.sending, deadline)?;
        let in_pieces = |turn: &mut Turn<'_>| {
            let sent = packets::send_pieces(self, header, payload, descriptors, deadline);
            sent.map_err(|(error, begun)| {
                if begun {
                    turn.is_lost();
                }
                error
            })
        };
        if self.channel == Channel::Packets && header.len() + payload.len() > FIRST {
            return in_pieces(&mut turn);
        }
        // A small message is cheaper in one piece.
        let mut piece = [0; SMALL];
        let length = header.len() + payload.len();
        let mut parts = match piece.get_mut(..length) {
            Some(piece) => {
                piece[..header.len()].copy_from_slice(header);
                piece[header.len()..].copy_from_slice(payload);
                [IoSlice::new(piece), IoSlice::new(&[])]
            }
            None => [IoSlice::new(header), IoSlice::new(payload)],
        };
        let used = 2 - usize::from(parts[1].is_empty());
        let mut parts = &mut parts[..used];
        let mut descriptors = descriptors;
        let mut begun = false;
        while !parts.is_empty() {
            let written = match self.channel {
                Channel::Socket | Channel::Packets | Channel::Network => {
                    fds::send(self.fd(), parts, descriptors, deadline)
                }
                Channel::Pipe => fds::write_pipe(self.fd(), parts, deadline),
            };
            let error = match written {
                Ok(Some(bytes)) => {
                    begun = true;
                    descriptors = &[];
                    IoSlice::advance_slices(&mut parts, bytes);
                    continue;
                }
                // None of it was sent.
                Err(error)
                    if self.channel == Channel::Packets
                        && crate::sys::packets::is_too_large(&error) =>
                {
                    return in_pieces(&mut turn);
                }
                written => unsent(written, begun),
            };
            if begun {
                turn.is_lost();
            }
            return Err(error);
        }
        Ok(())
    }

    /// Receives a whole message, and the descriptors that came with its first byte.
    pub(crate) fn receive(&self, most: Option<u64>) -> Result<(Vec<u8>, Incoming), RecvError> {
        let received = self.receive_by(most, Deadline::NEVER)?;
        Ok(received.expect("only a deadline ends without a message or an error"))
    }

    /// As [`Stream::receive`], until the deadline: `None` if nothing of a message had come by then.
    pub(crate) fn receive_by(
        &self,
        most: Option<u64>,
        deadline: Deadline,
    ) -> Result<Option<(Vec<u8>, Incoming)>, RecvError> {
        self.receive_as(most, deadline, Handles::Kept)
    }

    /// As [`Stream::receive_by`], for one who has no use for descriptors: they are closed.
    pub(crate) fn receive_bytes(
        &self,
        most: Option<u64>,
        deadline: Deadline,
    ) -> Result<Option<Vec<u8>>, RecvError> {
        let received = self.receive_as(most, deadline, Handles::Closed)?;
        Ok(received.map(|(message, _)| message))
    }

    fn receive_as(
        &self,
        most: Option<u64>,
        deadline: Deadline,
        handles: Handles,
    ) -> Result<Option<(Vec<u8>, Incoming)>, RecvError> {
        let mut turn = match Turn::take(&self.receiving, deadline) {
            Ok(turn) => turn,
            Err(NoTurn::TimedOut) => return Ok(None),
            Err(NoTurn::OutOfStep) => return Err(RecvError::OutOfStep),
        };
        let mut frame = Frame::new(most);
        let mut first = First::new();
        let received = self
            .receive_header(&mut frame, &mut first, deadline, handles)
            .and_then(|incoming| {
                let message = self.receive_payload(&mut frame, first.payload(), deadline)?;
                Ok((message, incoming))
            });
        match received {
            Ok(message) => Ok(Some(message)),
            Err(_) if frame.has_begun() => {
                turn.is_lost();
                received.map(Some)
            }
            Err(RecvError::TooSlow { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Receives a whole message into `buffer`. Descriptors that come with it are closed.
    pub(crate) fn receive_into(&self, buffer: &mut [u8]) -> Result<usize, RecvIntoError> {
        let mut turn =
            Turn::take(&self.receiving, Deadline::NEVER).map_err(|_| RecvError::OutOfStep)?;
        let mut frame = Frame::new(None);
        let mut first = First::new();
        let received = self
            .receive_header(&mut frame, &mut first, Deadline::NEVER, Handles::Closed)
            .and_then(|_| {
                let length = usize::try_from(frame.length().unwrap_or(0)).unwrap_or(usize::MAX);
                match buffer.get_mut(..length) {
                    Some(exact) => self
                        .fill(&mut frame, first.payload(), exact)
                        .map(|()| Ok(length)),
                    None => self
                        .receive_payload(&mut frame, first.payload(), Deadline::NEVER)
                        .map(Err),
                }
            });
        match received {
            Ok(Ok(length)) => Ok(length),
            Ok(Err(message)) => Err(RecvIntoError::BufferTooShort(BufferTooShort {
                message,
                room: buffer.len(),
            })),
            Err(error) => {
                if frame.has_begun() {
                    turn.is_lost();
                }
                Err(error.into())
            }
        }
    }

    fn receive_header(
        &self,
        frame: &mut Frame,
        first: &mut First,
        deadline: Deadline,
        handles: Handles,
    ) -> Result<Incoming, RecvError> {
        if self.channel == Channel::Packets {
            return first.receive(self, frame, deadline, handles == Handles::Kept);
        }
        let mut bytes = [0; MOST_HEADER];
        let mut descriptors = Vec::new();
        let mut cut_short = false;
        while let Want::Header(most) = frame.wants() {
            let room = &mut bytes[..most];
            let count = match (self.channel, handles) {
                (Channel::Socket, Handles::Kept) => self
                    .receive_once(room, &mut descriptors, deadline)
                    .map(|received| {
                        received.map(|received| {
                            cut_short |= received.cut_short;
                            received.bytes
                        })
                    }),
                // Half as much work for the kernel.
                _ => self.read(room, deadline),
            };
            match some(count, frame)? {
                0 => return Err(RecvError::Closed),
                count => frame.header(&bytes[..count])?,
            }
        }
        Ok(Incoming::new(descriptors, cut_short).of_stranger(self.foreign))
    }

    /// `here` is all of it, or nothing.
    fn receive_payload(
        &self,
        frame: &mut Frame,
        here: &[u8],
        deadline: Deadline,
    ) -> Result<Vec<u8>, RecvError> {
        if !here.is_empty() {
            frame.payload(here.len() as u64);
            return Ok(here.to_vec());
        }
        let least = packets::least_room(self.channel);
        let mut landing = Landing::new(frame.length().unwrap_or(0), least);
        let mut coming = Coming::new(self, frame);
        while let Want::Payload(_) = frame.wants() {
            let count = coming.read_fresh(frame, landing.room()?, deadline)?;
            // SAFETY: the kernel has written so many bytes to the front of the room.
            unsafe { landing.arrived(count) };
            frame.payload(count as u64);
        }
        Ok(landing.into_message())
    }

    /// As long as `buffer`. `here` is all of it, or nothing.
    fn fill(&self, frame: &mut Frame, here: &[u8], buffer: &mut [u8]) -> Result<(), RecvError> {
        if !here.is_empty() {
            frame.payload(here.len() as u64);
            buffer.copy_from_slice(here);
            return Ok(());
        }
        let mut filled = 0;
        let mut coming = Coming::new(self, frame);
        while let Want::Payload(_) = frame.wants() {
            let count = coming.read(frame, &mut buffer[filled..], Deadline::NEVER)?;
            frame.payload(count as u64);
            filled += count;
        }
        Ok(())
    }
}

/// Why a frame, or the rest of one that has begun, was not sent.
pub(super) fn unsent(written: io::Result<Option<usize>>, begun: bool) -> SendError {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotConnected};
    match written {
        Ok(_) if begun => SendError::TooSlow,
        Ok(_) => SendError::TimedOut,
        Err(error) => match error.kind() {
            // The latter two until Linux 6.4, where packets meet the closing of the far end.
            BrokenPipe | ConnectionReset | ConnectionRefused | NotConnected => SendError::Closed,
            _ => SendError::Io(error),
        },
    }
}

/// How many bytes came: 0 between two frames only.
pub(super) fn some(count: io::Result<Option<usize>>, frame: &Frame) -> Result<usize, RecvError> {
    match count {
        Ok(Some(0)) => {
            frame.end_of_stream()?;
            Ok(0)
        }
        Ok(Some(count)) => Ok(count),
        Ok(None) => Err(RecvError::TooSlow {
            missing: frame.missing(),
        }),
        // The peer closed its end with unread messages in it. Nothing more will come.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            frame.end_of_stream()?;
            Ok(0)
        }
        Err(error) => Err(error.into()),
    }
}
