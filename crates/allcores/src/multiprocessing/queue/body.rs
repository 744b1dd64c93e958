//! What a queue is in memory: a cell of counters, and segments that hold the messages.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Acquire};

use crate::shm::layout::SLOTS;
use crate::sync::{EventCount, Lock};

/// The cell of a queue. Each line is written by one side only, or rarely.
#[repr(C, align(64))]
pub(crate) struct Body {
    /// How many messages it holds at most; `u64::MAX` for no limit.
    pub(super) limit: u64,
    /// [`CLOSED`], [`DIRTY`], [`SHARED`], [`GROWN`].
    pub(super) state: AtomicU32,
    /// Whether it counts what is done: then the accounts of all slots follow.
    pub(super) counts_done: u32,
    /// Held by a process that alone may take messages.
    pub(super) reserved: Lock,
    /// The first segment ever, once there is one.
    pub(super) first: AtomicU64,
    pub(super) put: Side,
    pub(super) get: Side,
    pub(super) items: Changes,
    pub(super) room: Changes,
    pub(super) spare: Spare,
    pub(super) done: Done,
}

/// No more messages may be put.
pub(super) const CLOSED: u32 = 1;
/// Somebody died: some of the segments may belong to nobody.
pub(super) const DIRTY: u32 = 2;
/// Somebody else has held it, or was sent a handle.
pub(super) const SHARED: u32 = 4;
/// It has had segments.
pub(super) const GROWN: u32 = 8;

/// What the producers, or the consumers, write.
#[repr(C, align(64))]
pub(super) struct Side {
    /// Held for one message, or one batch.
    pub(super) lock: Lock,
    /// How many messages the other side had moved when last looked at. Under the lock.
    pub(super) seen: AtomicU64,
    /// Where the next message goes to, or comes from, for either parity of `moved`. Under the lock.
    pub(super) at: [AtomicU64; 2],
    pub(super) moved: Moved,
}

/// On a line of its own, since the other side looks at it.
#[repr(C, align(64))]
pub(super) struct Moved {
    /// `[63..1 how many messages][0 which of the two positions is valid]`: one store of it makes a message visible, or takes
    /// it out.
    pub(super) word: AtomicU64,
    /// The CPU on which that was done last, plus one.
    pub(super) cpu: AtomicU32,
}

/// What the other side waits for.
#[repr(C, align(64))]
pub(super) struct Changes {
    pub(super) changed: EventCount,
    pub(super) patience: Patience,
}

/// Hints. On a line of its own: whoever makes changes looks at the event count each time.
#[repr(C, align(64))]
pub(super) struct Patience {
    /// How long it pays to look before sleeping, in nanoseconds.
    pub(super) length: AtomicU32,
    /// How many waits there have been.
    pub(super) waits: AtomicU32,
    /// Whether messages are let gather, where it is items that are waited for.
    pub(super) gathers: AtomicU32,
    /// How many descriptors do not show that there is something, where it is items that are waited for. One that a killed
    /// process had stays counted.
    pub(super) unshown: AtomicU32,
}

/// Segments that wait for their next use, as lines; 0 for none.
#[repr(C, align(64))]
pub(super) struct Spare {
    pub(super) ring: [AtomicU32; 2],
    pub(super) large: [AtomicU32; 4],
}

/// For queues whose consumers say when they are done.
#[repr(C, align(64))]
pub(super) struct Done {
    pub(super) count: AtomicU64,
    pub(super) changed: EventCount,
    /// What processes that are gone did on behalf of others.
    pub(super) helped: AtomicU64,
}

/// The accounts of all slots: `[63..32 incarnation][31..0 taken and not done yet, signed]`.
pub(super) const ACCOUNTS: usize = SLOTS * size_of::<AtomicU64>();

impl Side {
    /// The valid position.
    pub(super) fn position(&self) -> Position {
        let word = self.moved.word.load(Acquire);
        Position(self.at[Moved::parity(word)].load(Acquire))
    }
}

impl Body {
    /// Where the next message to be got stands, or will.
    pub(super) fn next_message(&self) -> Position {
        match self.get.position() {
            // Before the first put, `first` may be what one that died has left: the next producer writes it anew.
            at if at.line() == 0 && self.put.position().line() != 0 => {
                Position(self.first.load(Acquire))
            }
            at => at,
        }
    }
}

impl Moved {
    pub(super) const fn count(word: u64) -> u64 {
        word >> 1
    }
    pub(super) const fn parity(word: u64) -> usize {
        (word & 1) as usize
    }
    /// The word after `more` messages.
    pub(super) const fn next(word: u64, more: u64) -> u64 {
        ((word >> 1).wrapping_add(more) << 1) | (!word & 1)
    }
}

/// A place in a segment: `[63..32 line of the segment's cell][31..0 offset in bytes]`; 0 before the first segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position(pub(super) u64);

impl Position {
    pub(super) const fn new(line: u32, offset: u32) -> Position {
        Position((line as u64) << 32 | offset as u64)
    }
    pub(super) const fn line(self) -> u32 {
        (self.0 >> 32) as u32
    }
    pub(super) const fn offset(self) -> u32 {
        self.0 as u32
    }
}
