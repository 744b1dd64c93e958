//! What can go wrong with a queue: one type for each operation.

use super::core::LONGEST;
use super::record::Damaged;
use crate::multiprocessing::connection::CodecError;
use crate::multiprocessing::transfer::TransferError;
use crate::shm::ShmError;

/// Why nothing was put. The value is the caller's still.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// The queue holds as many messages as it may, now or for the whole of the timeout.
    #[error("the queue is full")]
    Full,
    /// Somebody has closed the queue.
    #[error("the queue is closed: nothing more can be put")]
    Closed,
    /// The queue is full, and everybody else who held it is gone: nobody will ever take anything out.
    #[error("the queue is full, and all others who held it are gone: there will never be room")]
    Disconnected,
    /// The value does not serialise.
    #[error("the value does not serialise from {of}")]
    Encode {
        /// The type of the value.
        of: &'static str,
        /// What the codec says.
        #[source]
        reason: CodecError,
    },
    /// A handle in the value cannot travel in a queue.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The message is longer than any can be.
    #[error(
        "a message of {length} bytes does not fit into a queue, which takes {most} at most: send it through a Connection, or put it into a SharedMemory"
    )]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The bound in bytes.
        most: usize,
    },
    /// There is no shared memory for it.
    #[error(transparent)]
    Shm(#[from] ShmError),
    /// The queue is beyond use.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

/// Why nothing was got.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetError {
    /// The queue holds no messages, now or for the whole of the timeout.
    #[error("the queue is empty")]
    Empty,
    /// Somebody has closed the queue, and everything that was put before has been taken.
    #[error("the queue is closed, and everything that was put has been taken")]
    Closed,
    /// The queue is empty, and everybody else who held it is gone: nobody will ever put anything.
    #[error("the queue is empty, and all others who held it are gone: nothing will ever come")]
    Disconnected,
    /// The message was taken, but its bytes are no such value.
    #[error("the message does not decode as {expected}")]
    Decode {
        /// The type that was to be got.
        expected: &'static str,
        /// What the codec says.
        #[source]
        reason: CodecError,
    },
    /// The message was taken, but a handle in it cannot be opened.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The queue is beyond use.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

/// Not all of the values were put.
#[derive(Debug, thiserror::Error)]
#[error("{put} of the values were put, then one was not")]
pub struct PutManyError {
    /// How many were: the first ones.
    pub put: usize,
    /// Why the next one was not.
    #[source]
    pub reason: PutError,
}

impl PutError {
    pub(super) fn too_long(length: usize) -> PutError {
        PutError::TooLong {
            length,
            most: LONGEST,
        }
    }
}
