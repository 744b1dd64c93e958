//! Taking: any number of messages by one store.

use std::ptr::NonNull;
use std::sync::atomic::Ordering::*;

use super::body::{CLOSED, Moved, Position};
use super::core::{Core, NoTurn, Turn};
use super::record::{self, Damaged, HEADER, HERE, JUMP, Jumps, LARGE, PINNED, SEGMENT};
use crate::sync::Deadline;
use crate::sys;

/// Why nothing was taken.
#[derive(Debug)]
pub(crate) enum NotTaken {
    Empty,
    Closed,
    Interrupted,
    /// Another process has [reserved](Core::reserve) the messages for itself.
    Reserved,
    Damaged,
}

impl From<Damaged> for NotTaken {
    fn from(_: Damaged) -> NotTaken {
        NotTaken::Damaged
    }
}

/// A message of its own segment, still there; gone, and the segment with it, when this is dropped.
pub(crate) struct LargeMessage<'a> {
    core: &'a Core,
    line: u32,
    bytes: NonNull<u8>,
    length: usize,
    /// Whether it ends with pins.
    pub(crate) pinned: bool,
}

impl<'a> LargeMessage<'a> {
    pub(super) fn core(&self) -> &'a Core {
        self.core
    }

    pub(super) fn line(&self) -> u32 {
        self.line
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `take` checked that the segment has so many bytes. Nobody else knows the segment any more.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr(), self.length) }
    }
}

impl Drop for LargeMessage<'_> {
    fn drop(&mut self) {
        self.core.recycle(self.line, true);
    }
}

/// A message that was taken out.
pub(crate) enum Taken<'a> {
    /// Its bytes were appended to the buffer; whether it ends with pins.
    Copied(bool),
    /// It is where it was.
    Large(LargeMessage<'a>),
}

/// A message that is being taken.
pub(crate) enum Found<'m, 'q> {
    /// Its bytes, and whether it ends with pins.
    Here(&'m [u8], bool),
    Large(LargeMessage<'q>),
}

/// Says of a closure that it may keep the large messages.
pub(super) fn finding<'q, F: FnMut(Found<'_, 'q>)>(each: F) -> F {
    each
}

impl Core {
    /// Takes one message; a short one is appended to `buffer`.
    #[inline]
    pub(crate) fn take(
        &self,
        buffer: &mut Vec<u8>,
        deadline: Deadline,
    ) -> Result<Taken<'_>, NotTaken> {
        let mut taken = Taken::Copied(false);
        let each = finding(|message| match message {
            Found::Here(bytes, pinned) => {
                buffer.extend_from_slice(bytes);
                taken = Taken::Copied(pinned);
            }
            Found::Large(message) => taken = Taken::Large(message),
        });
        self.take_batch(1, each, deadline)?;
        Ok(taken)
    }

    /// Takes as many messages as there are, `most` at most, all at once, and gives each to `each`, which must not panic nor
    /// use this queue; how many.
    #[inline]
    pub(crate) fn take_batch<'a>(
        &'a self,
        most: u64,
        mut each: impl FnMut(Found<'_, 'a>),
        deadline: Deadline,
    ) -> Result<u64, NotTaken> {
        let body = self.body();
        let side = &body.get;
        let turn = Turn::take(self, side, deadline).map_err(|missed| match missed {
            NoTurn::TimedOut => NotTaken::Empty,
            NoTurn::Interrupted => NotTaken::Interrupted,
        })?;
        if self.is_reserved_by_another() {
            return Err(NotTaken::Reserved);
        }
        let word = side.moved.word.load(Relaxed);
        let count = Moved::count(word);
        let mut seen = side.seen.load(Relaxed);
        if seen == count {
            // Closed before empty: what was put before the closing is found.
            let closed = body.state.load(Acquire) & CLOSED != 0;
            seen = Moved::count(body.put.moved.word.load(Acquire));
            side.seen.store(seen, Relaxed);
            if seen == count {
                return Err(if closed {
                    NotTaken::Closed
                } else {
                    NotTaken::Empty
                });
            }
        }
        let taken = most.min(seen.wrapping_sub(count));
        let mut at = Position(side.at[Moved::parity(word)].load(Relaxed));
        // Kept before they are out of the queue, given back after.
        let mut drained = Drained::new();
        for _ in 0..taken {
            at = self.read(at, &mut drained, &mut each)?;
        }
        if self.counts_done() {
            self.account(taken as i32);
        }
        side.at[Moved::parity(word) ^ 1].store(at.0, Relaxed);
        side.moved.cpu.store(sys::current_cpu() + 1, Relaxed);
        // The one store by which all of them are out of the queue.
        side.moved.word.store(Moved::next(word, taken), Release);
        drop(turn);
        drained
            .lines
            .into_iter()
            .chain(drained.more)
            .filter(|line| *line != 0)
            .for_each(|line| self.recycle(line, false));
        if body.limit != u64::MAX {
            body.room.changed.notify(self.scope(), taken as u32);
        }
        Ok(taken)
    }

    /// Reads the record at `at`, or after a jump; where the next one is.
    #[inline]
    fn read<'a>(
        &'a self,
        mut at: Position,
        drained: &mut Drained,
        each: &mut impl FnMut(Found<'_, 'a>),
    ) -> Result<Position, Damaged> {
        if at.line() == 0 {
            at = Position(self.body().first.load(Acquire));
        }
        let mut segment = self.known_segment(1, at.line())?;
        // SAFETY: looked up with SEGMENT bytes; producers do not write before the last message that is visible.
        let mut head = unsafe { record::head(segment, at.offset()) }?;
        if head.kind == JUMP {
            let next = head.length;
            drained.jumps.one_more(self.arena())?;
            self.keep(at.line(), SEGMENT);
            drained.push(at.line());
            at = Position::new(next, 0);
            segment = self.known_segment(1, next)?;
            // SAFETY: as above.
            head = unsafe { record::head(segment, 0) }?;
        }
        let length = head.length as usize;
        // SAFETY: `head` checked that the payload lies inside the segment.
        let payload = unsafe { segment.add(at.offset() as usize + HEADER) };
        let room = match head.kind {
            HERE => {
                // SAFETY: as above; the record is not written again before `moved` says that it is taken.
                let bytes = unsafe { std::slice::from_raw_parts(payload.as_ptr(), length) };
                each(Found::Here(bytes, head.flags & PINNED != 0));
                record::room(length)
            }
            LARGE => {
                // SAFETY: as above; a LARGE record has 8 bytes of payload.
                let line = unsafe { payload.cast::<u32>().read() };
                let bytes = record::segment(self.arena(), line, length)?;
                self.keep(line, length);
                each(Found::Large(LargeMessage {
                    core: self,
                    line,
                    bytes,
                    length,
                    pinned: head.flags & PINNED != 0,
                }));
                record::room(8)
            }
            _ => return Err(Damaged),
        };
        Ok(Position::new(at.line(), at.offset() + room as u32))
    }
}

/// Segments of the ring that were left behind. Rarely more than one at a time.
struct Drained {
    lines: [u32; 1],
    more: Vec<u32>,
    jumps: Jumps,
}

impl Drained {
    fn new() -> Drained {
        Drained {
            lines: [0],
            more: Vec::new(),
            jumps: Jumps::none(),
        }
    }
    fn push(&mut self, line: u32) {
        if self.lines[0] == 0 {
            self.lines[0] = line;
        } else {
            self.more.push(line);
        }
    }
}
