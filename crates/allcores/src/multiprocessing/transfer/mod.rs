//! How handles travel inside messages.
//!
//! A handle is a value that stands for something outside the bytes: a [`Connection`](super::Connection) and its
//! descriptor, a lock and its cell in an arena. It implements serde's traits like any other value, and its `Serialize`
//! hands the descriptor over here; what goes into the bytes is an index. That works only while a message is on its way:
//! inside `Connection::send` and `recv`, and in the arguments and the result of a `Process`. Elsewhere it is an error.
//!
//! ```
//! use allcores::multiprocessing::{Pipe, transfer};
//! use serde::{Deserialize, Deserializer, Serialize, Serializer};
//! use std::os::fd::{AsFd, OwnedFd};
//!
//! /// An open file that can be sent to another process.
//! struct SharedFile(OwnedFd);
//!
//! impl Serialize for SharedFile {
//!     fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
//!         let index = transfer::attach(self.0.as_fd()).map_err(serde::ser::Error::custom)?;
//!         serializer.serialize_u32(index)
//!     }
//! }
//! impl<'de> Deserialize<'de> for SharedFile {
//!     fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
//!         let index = u32::deserialize(deserializer)?;
//!         transfer::take(index).map(SharedFile).map_err(serde::de::Error::custom)
//!     }
//! }
//!
//! let (a, b) = Pipe::<SharedFile, ()>()?;
//! a.send(&SharedFile(std::fs::File::open("/dev/null")?.into()))?;
//! let file: SharedFile = b.recv()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod asked;
mod codecs;
mod context;
mod error;
mod incoming;
mod outgoing;
mod parcel;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::fds;
use context::{in_context, incoming, outgoing};

pub use asked::{carries_descriptors, from_stranger, is_open, to_stranger};
pub use error::TransferError;
pub use parcel::Parcel;

pub(crate) use asked::{admits_handles, handed_over_by_face, in_queue_of, in_ticket, is_in_queue};
pub(crate) use context::{receiving, sending};
pub(crate) use incoming::Incoming;
pub(crate) use outgoing::Outgoing;
pub(crate) use parcel::Parcels;

/// The most descriptors that one message carries: the kernel's own bound.
pub const MOST_DESCRIPTORS: usize = fds::MOST_DESCRIPTORS;

fn duplicate(descriptor: BorrowedFd<'_>) -> Result<OwnedFd, TransferError> {
    fds::duplicate(descriptor, 0).map_err(|error| TransferError::Duplicate {
        errno: error.raw_os_error().unwrap_or(0),
    })
}

/// Sends a duplicate of `descriptor` with the message that is being serialised on this thread, and returns the index by
/// which its receiver [`take`]s it. `descriptor` itself stays as it is.
///
/// # Errors
/// Outside a message, over a one-way pipe or TCP, beyond [`MOST_DESCRIPTORS`], or without a free descriptor for the duplicate.
pub fn attach(descriptor: BorrowedFd<'_>) -> Result<u32, TransferError> {
    outgoing(|out| {
        out.has_room()?;
        Ok(out.push(duplicate(descriptor)?))
    })
}

/// As [`attach`], for a descriptor that is not needed here any more.
///
/// # Errors
/// As [`attach`]; the descriptor is closed then.
pub fn attach_owned(descriptor: OwnedFd) -> Result<u32, TransferError> {
    outgoing(|out| {
        out.has_room()?;
        Ok(out.push(descriptor))
    })
}

/// As [`attach`], for a descriptor that many handles of one message share: all calls with the same `key` send it once.
/// Its receivers use [`lend`].
///
/// # Errors
/// As [`attach`].
pub fn attach_shared(key: u64, descriptor: BorrowedFd<'_>) -> Result<u32, TransferError> {
    outgoing(|out| {
        if let Some((_, index)) = out.shared.iter().find(|(known, _)| *known == key) {
            return Ok(*index);
        }
        out.has_room()?;
        let index = out.push(duplicate(descriptor)?);
        out.shared.push((key, index));
        Ok(index)
    })
}

/// Has `parcel` told what becomes of the message that is being serialised on this thread.
///
/// # Errors
/// Outside a message; the parcel is told that it is lost.
pub fn accompany(parcel: Box<dyn Parcel + Send>) -> Result<(), TransferError> {
    let mut parcel = Some(parcel);
    let result = outgoing(|out| {
        out.parcels.0.extend(parcel.take());
        Ok(())
    });
    if let Some(parcel) = parcel {
        parcel.lost();
    }
    result
}

/// Takes a descriptor that came with the message that is being deserialised on this thread.
///
/// # Errors
/// Outside a message, and for an index that did not come with it or has been taken.
pub fn take(index: u32) -> Result<OwnedFd, TransferError> {
    incoming(|incoming| {
        let place = incoming.place(index)?;
        Ok(place.take().expect("places that are empty are errors"))
    })
}

/// As [`take`], for a descriptor that must be what `expected` says: `judge` tells what it is.
pub(crate) fn take_as<K>(
    index: u32,
    expected: &'static str,
    judge: impl FnOnce(BorrowedFd<'_>) -> Option<K>,
) -> Result<(OwnedFd, K), TransferError> {
    let descriptor = take(index)?;
    match judge(descriptor.as_fd()) {
        Some(kind) => Ok((descriptor, kind)),
        None => incoming(|_| Err(TransferError::Unsuitable { index, expected })),
    }
}

/// Looks at a descriptor that came with the message, without taking it: it is closed at the end of the message unless
/// somebody takes it.
///
/// # Errors
/// As [`take`].
pub fn lend<T>(index: u32, look: impl FnOnce(BorrowedFd<'_>) -> T) -> Result<T, TransferError> {
    // Out of its place meanwhile, so that `look` may use this module.
    let descriptor = take(index)?;
    let result = look(descriptor.as_fd());
    incoming(|incoming| {
        incoming.descriptors[index as usize] = Some(descriptor);
        Ok(result)
    })
}

/// Has the message that is being sent or received on this thread fail for what is wrong with one of its handles: codecs
/// tend to lose the reason. Gives the reason back.
pub(crate) fn fail(reason: impl ToString) -> TransferError {
    fail_by(TransferError::Handle {
        reason: reason.to_string(),
    })
}

/// As [`fail`], for a failure that has a name. Gives it back.
pub(crate) fn fail_by(error: TransferError) -> TransferError {
    let _ = in_context::<()>(error.clone(), |_| Some(Err(error.clone())));
    error
}
