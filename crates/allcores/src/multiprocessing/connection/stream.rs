//! Frames over a descriptor: the I/O around [`frame`](super::frame).

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::BufferTooShort;
use super::codec::{Codec, Compact};
use super::error::{RecvError, RecvIntoError, SendError};
use super::frame::{Frame, Header, MOST_HEADER, Want};
use super::landing::Landing;
use super::turn::{Direction, NoTurn, Turn};
use crate::multiprocessing::transfer::{self, Incoming, Outgoing};
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
}

impl Stream {
    pub(crate) fn new(fd: OwnedFd, channel: Channel) -> Stream {
        Stream {
            fd,
            channel,
            foreign: channel == Channel::Network,
            sending: Direction::default(),
            receiving: Direction::default(),
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

    /// What a value that goes out here may hand over.
    pub(crate) fn outgoing(&self) -> Outgoing {
        match self.channel {
            Channel::Socket => Outgoing::with_room(fds::MOST_DESCRIPTORS),
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
                Channel::Socket | Channel::Network => {
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
                Ok(None) if begun => SendError::TooSlow,
                Ok(None) => SendError::TimedOut,
                Err(error) => match error.kind() {
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => SendError::Closed,
                    _ => SendError::Io(error),
                },
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
        let received = self
            .receive_header(&mut frame, deadline, handles)
            .and_then(|incoming| {
                let message = self.receive_payload(&mut frame, deadline)?;
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
        let received = self
            .receive_header(&mut frame, Deadline::NEVER, Handles::Closed)
            .and_then(|_| {
                let length = usize::try_from(frame.length().unwrap_or(0)).unwrap_or(usize::MAX);
                match buffer.get_mut(..length) {
                    Some(exact) => self.fill(&mut frame, exact).map(|()| Ok(length)),
                    None => self.receive_payload(&mut frame, Deadline::NEVER).map(Err),
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
        deadline: Deadline,
        handles: Handles,
    ) -> Result<Incoming, RecvError> {
        let mut bytes = [0; MOST_HEADER];
        let mut descriptors = Vec::new();
        let mut cut_short = false;
        while let Want::Header(most) = frame.wants() {
            let room = &mut bytes[..most];
            let count = match (self.channel, handles) {
                (Channel::Socket, Handles::Kept) => {
                    fds::receive(self.fd(), room, &mut descriptors, deadline).map(|received| {
                        received.map(|received| {
                            cut_short |= received.cut_short;
                            received.bytes
                        })
                    })
                }
                // Half as much work for the kernel.
                (Channel::Network | Channel::Pipe, _) | (Channel::Socket, Handles::Closed) => {
                    fds::read(self.fd(), self.channel, room, deadline)
                }
            };
            match some(count, frame)? {
                0 => return Err(RecvError::Closed),
                count => frame.header(&bytes[..count])?,
            }
        }
        Ok(Incoming::new(descriptors, cut_short).of_stranger(self.foreign))
    }

    fn receive_payload(&self, frame: &mut Frame, deadline: Deadline) -> Result<Vec<u8>, RecvError> {
        let mut landing = Landing::new(frame.length().unwrap_or(0));
        while let Want::Payload(_) = frame.wants() {
            let room = landing.room()?;
            let count = fds::read_fresh(self.fd(), self.channel, room, deadline);
            let count = some(count, frame)?;
            // SAFETY: the kernel has written so many bytes to the front of the room.
            unsafe { landing.arrived(count) };
            frame.payload(count as u64);
        }
        Ok(landing.into_message())
    }

    fn fill(&self, frame: &mut Frame, buffer: &mut [u8]) -> Result<(), RecvError> {
        let mut filled = 0;
        while let Want::Payload(_) = frame.wants() {
            let rest = &mut buffer[filled..];
            let count = fds::read(self.fd(), self.channel, rest, Deadline::NEVER);
            let count = some(count, frame)?;
            frame.payload(count as u64);
            filled += count;
        }
        Ok(())
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

/// Serialises `value` into a frame of its own, header included, while its handles hand over what they stand for: between
/// relatives, who run the same program.
pub(crate) fn encode<T: Serialize>(
    value: &T,
    outgoing: Outgoing,
) -> Result<(Encoded, Outgoing), SendError> {
    encode_with::<Compact, T>(value, outgoing)
}

/// As [`encode`], with a codec.
pub(crate) fn encode_with<C: Codec, T: Serialize>(
    value: &T,
    outgoing: Outgoing,
) -> Result<(Encoded, Outgoing), SendError> {
    // Room for the longest header, so that header and payload are one piece in the end.
    let bytes = vec![0; MOST_HEADER];
    let outgoing = outgoing.in_codec::<C>();
    let (result, outgoing, failure) = transfer::sending(outgoing, || C::encode(value, bytes));
    match (result, failure) {
        (Ok(bytes), _) => Ok((Encoded { bytes }, outgoing)),
        (Err(_), Some(failure)) => Err(failure.into()),
        (Err(reason), None) => Err(SendError::Encode {
            of: std::any::type_name::<T>(),
            reason,
        }),
    }
}

/// A value as bytes, with room in front for a header.
pub(crate) struct Encoded {
    bytes: Vec<u8>,
}

impl Encoded {
    /// Without the header.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[MOST_HEADER..]
    }

    /// With it.
    pub(crate) fn into_frame(mut self) -> (Vec<u8>, usize) {
        let header = Header::new(self.payload().len() as u64);
        let start = MOST_HEADER - header.as_bytes().len();
        self.bytes[start..MOST_HEADER].copy_from_slice(header.as_bytes());
        (self.bytes, start)
    }
}

/// The value that a message holds, all of it; its handles take what came along. Between relatives.
pub(crate) fn decode<T: DeserializeOwned>(
    message: &[u8],
    incoming: Incoming,
) -> Result<T, RecvError> {
    decode_with::<Compact, T>(message, incoming)
}

/// As [`decode`], with a codec.
pub(crate) fn decode_with<C: Codec, T: DeserializeOwned>(
    message: &[u8],
    incoming: Incoming,
) -> Result<T, RecvError> {
    let incoming = incoming.in_codec::<C>();
    let (result, failure) = transfer::receiving(incoming, || C::decode(message));
    match (result, failure) {
        (Ok(value), _) => Ok(value),
        (Err(_), Some(failure)) => Err(failure.into()),
        (Err(reason), None) => Err(RecvError::Decode {
            expected: std::any::type_name::<T>(),
            reason,
        }),
    }
}
