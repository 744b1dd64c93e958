//! An arena as mere words: for tests that damage it. Not part of the API.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering::*};

use super::arena::{self, Arena};
use super::layout::{CELLS_START, Guarded, Header, LINE};
use super::{ShmError, layout};
use crate::registry;

/// The words of the common arena that are nobody's lock.
#[doc(hidden)]
#[derive(Clone)]
pub struct Image {
    arena: &'static Arena,
    /// Places of words that may be damaged while this process is a participant: its own locks, which hang in a list of
    /// libc's, are not among them.
    ranges: Vec<Range<usize>>,
}

const WORD: usize = size_of::<AtomicU32>();

fn words(start: usize, bytes: usize) -> Range<usize> {
    start / WORD..(start + bytes) / WORD
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image of {:?}", self.ranges)
    }
}

impl Image {
    /// The common arena as it is now, with what has been allocated so far.
    ///
    /// # Errors
    /// If there is no common arena yet and none can be made.
    pub fn of_common() -> Result<Image, ShmError> {
        use std::mem::offset_of;
        let arena = arena::common()?;
        let mine = registry::join(arena)?;
        let unused = arena.header().unused.load(Acquire) as usize * LINE;
        let mut ranges = vec![
            words(offset_of!(Header, provided), 16),
            words(offset_of!(Header, high), 4),
            words(
                offset_of!(Header, guard) + offset_of!(Guarded, free),
                4 * (layout::CLASSES + 1),
            ),
            words(CELLS_START, unused - CELLS_START),
        ];
        // The words of two further participants that do not live.
        for slot in (0..4).filter(|slot| *slot != mine).take(2) {
            let start = layout::participant(slot);
            ranges.push(words(
                start + offset_of!(layout::Participant, incarnation),
                5 * WORD,
            ));
        }
        Ok(Image { arena, ranges })
    }

    /// The words, in the order in which they lie.
    pub fn words(&self) -> Vec<&'static AtomicU32> {
        let places = self.ranges.iter().cloned().flatten();
        // SAFETY: a word of the first page, of a participant or of a cell: mapped for ever, aligned, and accessed atomically
        // or as any bytes.
        let word = |place| unsafe { self.arena.place(place * WORD) };
        places.map(word).collect()
    }
}
