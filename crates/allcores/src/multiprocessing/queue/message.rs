//! Values in messages, and handles in values.

use std::cell::Cell;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::core::Core;
use super::error::{GetError, PutError};
use super::segments;
use super::take::{LargeMessage, Taken};
use crate::multiprocessing::connection::codec::{Codec, Compact};
use crate::multiprocessing::transfer::{self, Incoming, Outgoing, Parcels};
use crate::shm::pins::{self, Pin};

/// A buffer for one message is kept by each thread, up to this size.
const KEPT: usize = 64 << 10;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Runs `work` with an empty buffer. A value may use a queue while it is serialised itself: that one gets a fresh buffer.
pub(super) fn with_scratch<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    // No buffer while the thread comes to its end.
    let mut buffer = SCRATCH.try_with(Cell::take).unwrap_or_default();
    buffer.clear();
    let result = work(&mut buffer);
    if buffer.capacity() <= KEPT {
        let _ = SCRATCH.try_with(|scratch| scratch.set(buffer));
    }
    result
}

/// What a value's handles have handed over. Dropped without a word, they are taken back.
#[derive(Default)]
pub(super) struct Attached {
    parcels: Parcels,
    pub(super) pins: Vec<Pin>,
}

impl Attached {
    pub(super) fn delivered(self) {
        self.parcels.delivered();
    }
}

/// Writes `value` into an empty `buffer`.
#[inline]
pub(super) fn encode<T: Serialize>(
    core: &Core,
    value: &T,
    buffer: &mut Vec<u8>,
) -> Result<Attached, PutError> {
    debug_assert!(buffer.is_empty());
    // Most values hold no handle, and what handles need costs more than such a message. One that does hold a handle fails
    // outside a message, at once, and is serialised again inside one.
    if !transfer::is_open() {
        match Compact::encode(value, std::mem::take(buffer)) {
            Ok(bytes) => {
                *buffer = bytes;
                return Ok(Attached::default());
            }
            Err(_) => buffer.clear(),
        }
    }
    encode_with_handles(core, value, buffer)
}

#[cold]
fn encode_with_handles<T: Serialize>(
    core: &Core,
    value: &T,
    buffer: &mut Vec<u8>,
) -> Result<Attached, PutError> {
    let outgoing = Outgoing::in_queue(core.arena_id());
    let bytes = std::mem::take(buffer);
    let (encoded, mut outgoing, failure) =
        transfer::sending(outgoing, || Compact::encode(value, bytes));
    match (encoded, failure) {
        (Ok(bytes), None) => *buffer = bytes,
        (_, Some(failure)) => return Err(failure.into()),
        (Err(reason), None) => {
            return Err(PutError::Encode {
                of: std::any::type_name::<T>(),
                reason,
            });
        }
    }
    let parcels = outgoing.take_parcels();
    let pins = parcels.pins().into_iter().map(Pin::from_bytes).collect();
    Ok(Attached { parcels, pins })
}

/// The value of a message, all of it.
#[inline]
pub(super) fn decode<T: DeserializeOwned>(
    core: &Core,
    message: &[u8],
    pinned: bool,
) -> Result<T, GetError> {
    if !pinned && !transfer::is_open() {
        // No handle came with it. If one is looked for all the same, it is said below what is wrong.
        if let Ok(value) = Compact::decode(message) {
            return Ok(value);
        }
    }
    let (bytes, pins) = split(message, pinned);
    // Also if decoding panics.
    let _opened_or_given_up = Unpin { core, pins };
    let (decoded, failure) = transfer::receiving(Incoming::default(), || Compact::decode(bytes));
    match (decoded, failure) {
        (Ok(value), _) => Ok(value),
        (Err(_), Some(failure)) => Err(failure.into()),
        (Err(reason), None) => Err(GetError::Decode {
            expected: std::any::type_name::<T>(),
            reason,
        }),
    }
}

/// The bytes of a message; its handles are given up.
pub(super) fn raw<'m>(core: &Core, message: &'m [u8], pinned: bool) -> &'m [u8] {
    let (bytes, pins) = split(message, pinned);
    drop(Unpin { core, pins });
    bytes
}

fn split(message: &[u8], pinned: bool) -> (&[u8], Vec<Pin>) {
    if pinned {
        segments::pins_of(message)
    } else {
        (message, Vec::new())
    }
}

/// Takes back the pins that opening the handles has not taken back.
struct Unpin<'a> {
    core: &'a Core,
    pins: Vec<Pin>,
}

impl Drop for Unpin<'_> {
    fn drop(&mut self) {
        if !self.pins.is_empty() {
            let guarded = self.core.arena().guard();
            for pin in &self.pins {
                pins::unpin(&guarded, *pin);
            }
        }
    }
}

impl Taken<'_> {
    /// The message: the buffer that it was appended to, or its own segment.
    pub(super) fn bytes<'m>(&'m self, buffer: &'m [u8]) -> (&'m [u8], bool) {
        match self {
            Taken::Copied(pinned) => (buffer, *pinned),
            Taken::Large(message) => (LargeMessage::bytes(message), message.pinned),
        }
    }
}
