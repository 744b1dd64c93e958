//! The framing of CPython's `multiprocessing.connection`, as a pure state machine: no I/O, no memory, only lengths.
//!
//! | payload of n bytes | on the wire (big-endian) |
//! |---|---|
//! | n ≤ 0x7FFFFFFF | n as a signed 4-byte number, payload |
//! | larger | −1 as a signed 4-byte number, n as an unsigned 8-byte number, payload |
//!
//! Hidden from the documentation and without promise of stability.

/// The longest header.
pub const MOST_HEADER: usize = 12;
const SHORT: usize = 4;
const LONGEST_SHORT: u64 = i32::MAX as u64;
const LONG_MARK: i32 = -1;

/// The header of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    bytes: [u8; MOST_HEADER],
    length: usize,
}

impl Header {
    /// The header of a payload of `length` bytes.
    pub fn new(length: u64) -> Header {
        let mut bytes = [0; MOST_HEADER];
        let used = match i32::try_from(length) {
            Ok(short) => {
                bytes[..SHORT].copy_from_slice(&short.to_be_bytes());
                SHORT
            }
            Err(_) => {
                bytes[..SHORT].copy_from_slice(&LONG_MARK.to_be_bytes());
                bytes[SHORT..].copy_from_slice(&length.to_be_bytes());
                MOST_HEADER
            }
        };
        Header {
            bytes,
            length: used,
        }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// How many bytes of the front of a frame are its header.
    pub fn length_in(frame: &[u8]) -> usize {
        match frame.starts_with(&LONG_MARK.to_be_bytes()) {
            true => MOST_HEADER,
            false => SHORT.min(frame.len()),
        }
    }
}

/// A frame that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A length below zero that is not the mark of a long frame.
    #[error(
        "a frame announces a length of {0} bytes: only −1 has a meaning below zero, so the peer does not speak this protocol"
    )]
    Negative(i32),
    /// Longer than the receiver allows, or than memory can be addressed.
    #[error("a message of {length} bytes is announced, and at most {most} are allowed")]
    TooLong {
        /// What the header says.
        length: u64,
        /// What is allowed.
        most: u64,
    },
    /// The stream ended inside the frame.
    #[error("the stream ended inside a frame, {missing} bytes before its next mark")]
    Truncated {
        /// How many bytes of the header or of the payload did not come.
        missing: u64,
    },
}

/// What a [`Frame`] asks for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// At most so many bytes, given to [`Frame::header`]. More would belong to the payload.
    Header(usize),
    /// So many bytes of payload, reported by [`Frame::payload`]. Never 0.
    Payload(u64),
    /// The frame is whole.
    Nothing,
}

/// How far the reading of one frame has come.
#[derive(Clone, Debug)]
pub struct Frame {
    most: u64,
    bytes: [u8; MOST_HEADER],
    have: usize,
    /// Known once the header is whole.
    length: Option<u64>,
    received: u64,
}

/// No `Vec` holds more.
const ADDRESSABLE: u64 = isize::MAX as u64;

impl Frame {
    /// A frame of which nothing has come yet, with a payload of at most `most` bytes.
    pub fn new(most: Option<u64>) -> Frame {
        Frame {
            most: most.unwrap_or(ADDRESSABLE).min(ADDRESSABLE),
            bytes: [0; MOST_HEADER],
            have: 0,
            length: None,
            received: 0,
        }
    }

    /// What must come next.
    pub fn wants(&self) -> Want {
        match self.length {
            None if self.have < SHORT => Want::Header(SHORT - self.have),
            None => Want::Header(MOST_HEADER - self.have),
            Some(length) if self.received < length => Want::Payload(length - self.received),
            Some(_) => Want::Nothing,
        }
    }

    /// Takes bytes of the header.
    ///
    /// # Panics
    /// If there are more than [`Frame::wants`] says.
    pub fn header(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        assert!(
            matches!(self.wants(), Want::Header(most) if bytes.len() <= most),
            "{} bytes of header given, {:?} wanted",
            bytes.len(),
            self.wants()
        );
        self.bytes[self.have..self.have + bytes.len()].copy_from_slice(bytes);
        self.have += bytes.len();
        let announced = match self.have {
            SHORT => match self.short_length() {
                LONG_MARK => return Ok(()),
                negative @ ..0 => return Err(FrameError::Negative(negative)),
                length => u64::from(length.unsigned_abs()),
            },
            MOST_HEADER => self.long_length(),
            _ => return Ok(()),
        };
        if announced > self.most {
            return Err(FrameError::TooLong {
                length: announced,
                most: self.most,
            });
        }
        self.length = Some(announced);
        Ok(())
    }

    fn short_length(&self) -> i32 {
        let [a, b, c, d, ..] = self.bytes;
        i32::from_be_bytes([a, b, c, d])
    }

    fn long_length(&self) -> u64 {
        let [_, _, _, _, a, b, c, d, e, f, g, h] = self.bytes;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// Notes that `count` bytes of the payload have come.
    ///
    /// # Panics
    /// If there are more than [`Frame::wants`] says.
    pub fn payload(&mut self, count: u64) {
        assert!(
            matches!(self.wants(), Want::Payload(most) if count <= most),
            "{count} bytes of payload given, {:?} wanted",
            self.wants()
        );
        self.received += count;
    }

    /// The length of the payload, once the header is whole.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether anything of the frame has come.
    pub fn has_begun(&self) -> bool {
        self.have > 0
    }

    /// How many bytes there are to the next mark: the end of the header, or of the payload.
    pub fn missing(&self) -> u64 {
        match self.wants() {
            Want::Header(missing) => missing as u64,
            Want::Payload(missing) => missing,
            Want::Nothing => 0,
        }
    }

    /// The stream is at its end: false if that is between two frames, an error if it is inside one.
    pub fn end_of_stream(&self) -> Result<bool, FrameError> {
        match self.wants() {
            Want::Nothing => Ok(true),
            _ if !self.has_begun() => Ok(false),
            Want::Header(_) | Want::Payload(_) => Err(FrameError::Truncated {
                missing: self.missing(),
            }),
        }
    }
}

const _: () = assert!(LONGEST_SHORT == 0x7FFF_FFFF);
