//! Memory for a message that is arriving.

use std::mem::MaybeUninit;

use super::error::RecvError;
use crate::sys::memory::{self, HUGE_PAGE};

/// The most memory that is reserved on the word of a header, before anything of the payload has come.
const STEP: u64 = 1 << 20;

/// After that, so many times as much as has come. It is address space: a page costs memory when the bytes for it come.
const AHEAD: u64 = 16;

/// What glibc adds to a piece of memory that it maps for itself, rounded up to a page.
const OVERHEAD: u64 = 4096;

/// A message of known length, of which a part has come.
pub(super) struct Landing {
    bytes: Vec<u8>,
    length: u64,
}

impl Landing {
    pub(super) fn new(length: u64) -> Landing {
        Landing {
            bytes: Vec::new(),
            length,
        }
    }

    /// Room for bytes that are still to come, and for none that follow the message. Empty once it is whole.
    pub(super) fn room(&mut self) -> Result<&mut [MaybeUninit<u8>], RecvError> {
        let received = self.bytes.len() as u64;
        let missing = self.length - received;
        if missing > 0 && self.bytes.len() == self.bytes.capacity() {
            self.reserve(received, missing)?;
        }
        let missing = usize::try_from(missing).unwrap_or(usize::MAX);
        let room = self.bytes.spare_capacity_mut();
        let most = room.len().min(missing);
        Ok(&mut room[..most])
    }

    fn reserve(&mut self, received: u64, missing: u64) -> Result<(), RecvError> {
        // A header alone is not believed. Where address space is counted (overcommit is off), as much again as has come will do.
        let wishes = [STEP.max(received.saturating_mul(AHEAD)), STEP.max(received)];
        for wish in wishes {
            let more = in_huge_pages(received + missing.min(wish)) - received;
            let more = usize::try_from(more).unwrap_or(usize::MAX);
            if self.bytes.try_reserve_exact(more).is_ok() {
                memory::prefer_huge_pages(self.bytes.spare_capacity_mut());
                return Ok(());
            }
        }
        Err(RecvError::NoMemory {
            length: self.length,
            received,
        })
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
