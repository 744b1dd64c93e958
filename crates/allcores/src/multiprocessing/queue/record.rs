//! Messages as they lie in segments.
//!
//! A record is 8 bytes of header, then the payload, padded to 8:
//!
//! | kind | length in the header | payload |
//! |---|---|---|
//! | HERE | of the message, at most [`LONGEST_HERE`] | the message |
//! | LARGE | of the message | the line of the segment that is the message |
//! | JUMP | the line of the next segment | none: the next record stands at its beginning |
//!
//! Flag PINNED: the message ends with the pins of the handles in it, and their number.

use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::body::{Body, Moved, Position};
use crate::shm::arena::Arena;
use crate::shm::cells::Cell;

/// What a segment of the ring holds: 64 KiB less the header of its cell.
pub(super) const SEGMENT: usize = (64 << 10) - 64;
/// The longest message that lies among others. A longer one has a segment of its own.
pub(super) const LONGEST_HERE: usize = 16 << 10;
pub(super) const HEADER: usize = 8;

pub(super) const HERE: u8 = 1;
pub(super) const LARGE: u8 = 2;
pub(super) const JUMP: u8 = 3;
/// In the flags.
pub(super) const PINNED: u8 = 1;

/// The head of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
}

/// What the queue's memory says cannot be: some process has written where it should not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue's memory is damaged: a process that shares it has written where it should not")]
pub struct Damaged;

/// How much room a record with so much payload takes.
pub(super) const fn room(payload: usize) -> usize {
    HEADER + payload.next_multiple_of(8)
}

/// Whether a record may begin at this offset of a segment of the ring: offsets are read in shared memory.
#[inline]
pub(super) const fn may_begin_at(offset: u32) -> bool {
    offset.is_multiple_of(8) && offset as usize + HEADER <= SEGMENT
}

/// The contents of a segment with at least `bytes`.
#[inline]
pub(super) fn segment(arena: &Arena, line: u32, bytes: usize) -> Result<NonNull<u8>, Damaged> {
    let cell = Cell(line);
    let header = arena.cell(cell).ok_or(Damaged)?;
    if (header.bytes.load(Relaxed) as usize) < bytes {
        return Err(Damaged);
    }
    arena.body(cell).ok_or(Damaged)
}

/// Reads the head at an offset of a segment of the ring.
///
/// # Safety
/// `segment` must point to [`SEGMENT`] bytes that nobody writes there now.
#[inline]
pub(super) unsafe fn head(segment: NonNull<u8>, offset: u32) -> Result<Head, Damaged> {
    if !may_begin_at(offset) {
        return Err(Damaged);
    }
    let offset = offset as usize;
    // SAFETY: inside the segment and aligned, as was checked.
    let word = unsafe { segment.as_ptr().add(offset).cast::<u64>().read() };
    let head = Head {
        length: word as u32,
        kind: (word >> 32) as u8,
        flags: (word >> 40) as u8,
    };
    let payload = match head.kind {
        HERE => head.length as usize,
        LARGE => 8,
        JUMP => 0,
        _ => return Err(Damaged),
    };
    if offset + room(payload) > SEGMENT {
        return Err(Damaged);
    }
    Ok(head)
}

/// Writes a head.
///
/// # Safety
/// `segment` must point to [`SEGMENT`] bytes, a record must be allowed to begin at `offset` ([`may_begin_at`]), and nobody may
/// read there now.
#[inline]
pub(super) unsafe fn write_head(segment: NonNull<u8>, offset: u32, head: Head) {
    let word = u64::from(head.length) | u64::from(head.kind) << 32 | u64::from(head.flags) << 40;
    // SAFETY: the caller's word.
    unsafe {
        segment
            .as_ptr()
            .add(offset as usize)
            .cast::<u64>()
            .write(word)
    };
}

/// How often a walk over records has gone on to another segment.
pub(super) struct Jumps(usize);

impl Jumps {
    pub(super) const fn none() -> Jumps {
        Jumps(0)
    }

    /// Fails where there are more segments than the arena has room for: they go in a circle. It would end when the count of messages does,
    /// which is read in shared memory as well.
    #[inline]
    pub(super) fn one_more(&mut self, arena: &Arena) -> Result<(), Damaged> {
        self.0 += 1;
        // One alone, as when a single message is taken, is no circle.
        match self.0 == 1 || self.0 < arena.room_for(SEGMENT) {
            true => Ok(()),
            false => Err(Damaged),
        }
    }
}

/// One step of a walk over records.
pub(super) enum Step {
    /// On to another segment of the ring.
    Segment(u32),
    /// A message: its bytes, its head, and the line of the segment that is its own, if it has one.
    Message(NonNull<u8>, Head, Option<u32>),
}

/// Visits every record between the consumers and the producers, none of whom may move meanwhile.
pub(super) fn walk(arena: &Arena, body: &Body, mut visit: impl FnMut(Step)) -> Result<(), Damaged> {
    let (from, to) = (
        body.get.moved.word.load(Acquire),
        body.put.moved.word.load(Acquire),
    );
    let mut at = body.next_message();
    let mut left = Moved::count(to).wrapping_sub(Moved::count(from));
    if at.line() != 0 {
        visit(Step::Segment(at.line()));
    }
    let mut jumped = false;
    let mut jumps = Jumps::none();
    while left > 0 {
        let ring = segment(arena, at.line(), SEGMENT)?;
        // SAFETY: the segment was looked up with that size; nobody moves, as the caller promises.
        let head = unsafe { head(ring, at.offset()) }?;
        if head.kind == JUMP {
            // Somewhere there is a message, or the walk would not end.
            if std::mem::replace(&mut jumped, true) {
                return Err(Damaged);
            }
            jumps.one_more(arena)?;
            at = Position::new(head.length, 0);
            visit(Step::Segment(at.line()));
            continue;
        }
        jumped = false;
        // SAFETY: `head` has checked that the payload lies inside the segment.
        let payload = unsafe { ring.add(at.offset() as usize + HEADER) };
        let taken = if head.kind == LARGE {
            // SAFETY: as above; a LARGE record has 8 bytes of payload.
            let line = unsafe { payload.cast::<u32>().read() };
            let own = segment(arena, line, head.length as usize)?;
            visit(Step::Message(own, head, Some(line)));
            8
        } else {
            visit(Step::Message(payload, head, None));
            head.length as usize
        };
        at = Position::new(at.line(), at.offset() + room(taken) as u32);
        left -= 1;
    }
    Ok(())
}
