//! Memory for a message that is arriving.

use std::mem::MaybeUninit;

use super::error::RecvError;
use crate::sys::memory::{self, HUGE_PAGE};

/// The most memory that is reserved on the word of a header, before anything of the payload has come.
const STEP: u64 = 1 << 20;

/// After that, so many times as much as has come, but no more than [`MOST_AHEAD`]. It is address space: a page of it costs memory
/// when the bytes for it come, or the others of its huge page.
const AHEAD: u64 = 64;
const MOST_AHEAD: u64 = 256 << 20;

/// What glibc adds to a piece of memory that it maps for itself, rounded up to a page.
const OVERHEAD: u64 = 4096;

/// A message of known length, of which a part has come.
pub(super) struct Landing {
    bytes: Vec<u8>,
    length: u64,
    /// How much room there is at least, if so much is missing.
    least: u64,
}

impl Landing {
    /// With room for `least` bytes at a time, if so many are still to come.
    pub(super) fn new(length: u64, least: usize) -> Landing {
        Landing {
            bytes: Vec::new(),
            length,
            least: least as u64,
        }
    }

    /// Room for bytes that are still to come, and for none that follow the message. Empty once it is whole.
    pub(super) fn room(&mut self) -> Result<&mut [MaybeUninit<u8>], RecvError> {
        let received = self.bytes.len() as u64;
        let missing = self.length - received;
        let spare = (self.bytes.capacity() - self.bytes.len()) as u64;
        if spare < missing.min(self.least) {
            self.reserve(received, missing)?;
        }
        let missing = usize::try_from(missing).unwrap_or(usize::MAX);
        let room = self.bytes.spare_capacity_mut();
        let most = room.len().min(missing);
        Ok(&mut room[..most])
    }

    /// Takes as much of `bytes` as there is room for now: how many.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<usize, RecvError> {
        let count = self.room()?.len().min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn reserve(&mut self, received: u64, missing: u64) -> Result<(), RecvError> {
        // A header alone is not believed. Where address space is counted (a limit on it, overcommit switched off), as much
        // again as has come will do.
        let as_much_again = STEP.max(received);
        // As much as there was room for has come, but for a part of a packet.
        let come = received.max(self.bytes.capacity() as u64);
        let ahead = come.saturating_mul(AHEAD).min(MOST_AHEAD);
        for wish in [as_much_again.max(ahead), as_much_again] {
            let most = received + missing.min(wish);
            if self.grow(in_huge_pages(most)) {
                let wanted = usize::try_from(missing.min(wish)).unwrap_or(usize::MAX);
                let room = self.bytes.spare_capacity_mut();
                let wanted = wanted.min(room.len());
                memory::prefer_huge_pages(&mut room[..wanted]);
                return Ok(());
            }
        }
        Err(RecvError::NoMemory {
            length: self.length,
            received,
        })
    }

    /// In a new place, where huge pages fit: moving the old one would take them apart.
    fn grow(&mut self, size: u64) -> bool {
        let mut grown = Vec::new();
        let Ok(size) = usize::try_from(size) else {
            return false;
        };
        if grown.try_reserve_exact(size).is_err() {
            return false;
        }
        grown.extend_from_slice(&self.bytes);
        self.bytes = grown;
        true
    }

    /// Notes that the first `count` bytes of the room have been filled.
    ///
    /// # Safety
    /// They have.
    pub(super) unsafe fn arrived(&mut self, count: usize) {
        let length = self.bytes.len() + count;
        assert!(length <= self.bytes.capacity() && length as u64 <= self.length);
        // SAFETY: the bytes up to the old length are filled, and by the caller's word the next `count` of them.
        unsafe { self.bytes.set_len(length) };
    }

    pub(super) fn into_message(self) -> Vec<u8> {
        self.bytes
    }
}

/// Rounds a large size up, so that the allocator's mapping for it consists of huge pages from its first byte on.
fn in_huge_pages(size: u64) -> u64 {
    if size < HUGE_PAGE as u64 {
        return size;
    }
    size.saturating_add(OVERHEAD)
        .next_multiple_of(HUGE_PAGE as u64)
        - OVERHEAD
}
