//! What can go wrong with a message: one type for each operation.

use std::error::Error;
use std::io;

use super::frame::FrameError;
use super::turn::NoTurn;
use crate::multiprocessing::transfer::TransferError;

/// Why a value and its bytes do not turn into each other: the codec's own account.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CodecError(Box<dyn Error + Send + Sync>);

impl CodecError {
    /// What went wrong, as the codec says it; a text will do.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> CodecError {
        CodecError(error.into())
    }

    /// The codec's own error, to be looked at by type:
    /// `error.get_ref().downcast_ref::<`[`PickleError`](super::codec::PickleError)`>()`.
    pub fn get_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }

    pub(crate) fn left_over(bytes: usize) -> CodecError {
        CodecError(
            format!("{bytes} bytes are left over: the two ends disagree about the type").into(),
        )
    }
}

/// Why a message could not be sent. The value is the caller's still.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Nobody can receive it.
    #[error("the other end of the connection is closed")]
    Closed,
    /// The value does not serialise. Nothing was sent.
    #[error("the message does not serialise from {of}")]
    Encode {
        /// The type of the value.
        of: &'static str,
        /// What the codec says.
        #[source]
        reason: CodecError,
    },
    /// A handle in the value cannot travel. Nothing was sent.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// An earlier send failed in the middle of its message.
    #[error(
        "an earlier message was cut off in the middle, and nothing can follow it: make a new connection"
    )]
    OutOfStep,
    /// There was no room for the message within the time allowed. Nothing was sent.
    #[error(
        "the other end did not make room for the message within the time allowed: nothing was sent"
    )]
    TimedOut,
    /// There was room for a part of the message only within the time allowed. Nothing can follow it.
    #[error(
        "the other end took only a part of the message within the time allowed, and nothing can follow it: make a new connection"
    )]
    TooSlow,
    /// The system refused.
    #[error("the message could not be written")]
    Io(#[from] io::Error),
}

/// Why no message could be received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The stream has ended, between two messages: all ends that could send are closed.
    #[error("the other end of the connection is closed, and everything it sent has been received")]
    Closed,
    /// The stream ended inside a message: its sender died or gave up.
    #[error(
        "the connection ended in the middle of a message, {missing} bytes before its next mark"
    )]
    Truncated {
        /// How many bytes of the header or of the payload did not come.
        missing: u64,
    },
    /// The message is longer than the receiver allows. None of it was read, and nothing more can be received.
    #[error(
        "a message of {length} bytes is announced, and at most {most} are allowed: nothing more is read from this connection"
    )]
    TooLong {
        /// What its header announces, in bytes.
        length: u64,
        /// What was allowed, in bytes.
        most: u64,
    },
    /// The message began in time, but was not whole within the time allowed. Nothing more can be received.
    #[error(
        "a message began, but did not come whole within the time allowed: {missing} bytes before its next mark were missing, and nothing more is read from this connection"
    )]
    TooSlow {
        /// How many bytes of the header or of the payload had not come.
        missing: u64,
    },
    /// The peer does not speak this protocol.
    #[error("a message of {length} bytes is announced: the peer does not speak this protocol")]
    BadHeader {
        /// The length that the header announces.
        length: i32,
    },
    /// A packet came that is no part of a message, or of more than one. The peer does not speak this protocol.
    #[error(
        "a packet of {length} bytes came, which is not what belongs to the message: the peer does not speak this protocol"
    )]
    BadPacket {
        /// How long it was, in bytes.
        length: usize,
    },
    /// The bytes are no such value. The message is gone; the next one can be received.
    #[error("the message does not decode as {expected}")]
    Decode {
        /// The type that was to be received.
        expected: &'static str,
        /// What the codec says.
        #[source]
        reason: CodecError,
    },
    /// A handle in the message did not arrive whole. The message is gone; the next one can be received.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// An earlier message was refused or cut off.
    #[error(
        "an earlier message was refused or cut off in the middle, so the next one cannot be found: make a new connection"
    )]
    OutOfStep,
    /// There is not enough memory for what has been announced and partly come.
    #[error("no memory for a message of {length} bytes, of which {received} have come")]
    NoMemory {
        /// What its header announces, in bytes.
        length: u64,
        /// How much of it has come, in bytes.
        received: u64,
    },
    /// The system refused.
    #[error("the message could not be read")]
    Io(#[from] io::Error),
}

impl From<NoTurn> for SendError {
    fn from(reason: NoTurn) -> SendError {
        match reason {
            NoTurn::OutOfStep => SendError::OutOfStep,
            NoTurn::TimedOut => SendError::TimedOut,
        }
    }
}

impl From<FrameError> for RecvError {
    fn from(error: FrameError) -> RecvError {
        match error {
            FrameError::Negative(length) => RecvError::BadHeader { length },
            FrameError::TooLong { length, most } => RecvError::TooLong { length, most },
            FrameError::Truncated { missing } => RecvError::Truncated { missing },
        }
    }
}

/// The message did not fit into the buffer; here it is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {} bytes does not fit into a buffer of {room}; the error carries it", message.len())]
pub struct BufferTooShort {
    /// The whole message.
    pub message: Vec<u8>,
    /// The length of the buffer.
    pub room: usize,
}

/// Why a message was not received into a buffer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvIntoError {
    /// The message was received, but does not fit.
    #[error(transparent)]
    BufferTooShort(#[from] BufferTooShort),
    /// No message was received.
    #[error(transparent)]
    Recv(#[from] RecvError),
}
