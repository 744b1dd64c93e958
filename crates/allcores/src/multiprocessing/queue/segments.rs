//! Where segments come from and where they go.
//!
//! A segment is a part of the queue's cell. Whoever has one that no record and no spare place names stands in its header as
//! its keeper; when that process dies, the segment belongs to nobody and is found by [`Core::put_in_order`]. A keeper is
//! entered before the last reference goes, and references are made before the keeper forgets: a segment always has one or
//! the other.

use std::collections::HashSet;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering::*};

use super::body::{Body, CLOSED, DIRTY, GROWN, SHARED};
use super::core::{Core, Turn};
use super::record::{self, PINNED, SEGMENT, Step};
use crate::registry;
use crate::shm::ShmError;
use crate::shm::arena::Arena;
use crate::shm::cells::{Cell, Guarded};
use crate::shm::layout::CellHeader;
use crate::shm::pins::Pin;
use crate::sync::{Lock, Scope};

/// Spare segments for large messages are kept up to this size, 8 MiB and what is wrapped around them; larger ones cost more
/// than making them.
const LARGEST_SPARE: usize = (8 << 20) + (64 << 10);

impl Core {
    /// A segment for the ring. For the producer whose turn it is.
    pub(super) fn ring_segment(&self, turn: &Turn<'_>) -> Result<u32, ShmError> {
        if self.body().state.load(Relaxed) & DIRTY != 0 {
            self.put_in_order(turn);
        }
        for place in &self.body().spare.ring {
            let line = place.load(Acquire);
            if line != 0 && self.keep(line, SEGMENT) {
                // Consumers only ever fill empty places.
                place.store(0, Relaxed);
                return Ok(line);
            }
        }
        self.new_segment(SEGMENT)
    }

    /// A segment of its own for a message of `bytes`. For the producer whose turn it is.
    pub(super) fn spare_large(&self, _turn: &Turn<'_>, bytes: usize) -> Option<u32> {
        self.body().spare.large.iter().find_map(|place| {
            let line = place.load(Acquire);
            (line != 0 && self.keep(line, bytes)).then(|| {
                place.store(0, Relaxed);
                line
            })
        })
    }

    /// A segment that nobody has used yet, kept by this process.
    pub(super) fn new_segment(&self, bytes: usize) -> Result<u32, ShmError> {
        let (arena, keeper) = (self.arena(), self.scope().me());
        let make = |arena: &Arena| {
            let guarded = arena.guard();
            // Before there is one, whatever becomes of it and of this process.
            self.body().state.fetch_or(GROWN, Relaxed);
            guarded.allocate_segment(self.handle().line(), bytes, keeper)
        };
        let cell = match make(arena) {
            Err(ShmError::NoSpace { .. } | ShmError::Full { .. }) => {
                registry::reap(arena);
                make(arena)?
            }
            made => made?,
        };
        // Not under the guard: that may take long.
        if let Err(error) = arena.furnish_segment(cell, bytes) {
            arena.guard().free_child(cell);
            return Err(error);
        }
        Ok(cell.0)
    }

    /// Enters this process as the keeper of a segment, if that is large enough for `bytes`.
    pub(super) fn keep(&self, line: u32, bytes: usize) -> bool {
        match self.arena().cell(Cell(line)) {
            // What it has memory for, and not what it could have.
            Some(header) if header.holders[1].load(Acquire) >= bytes as u64 => {
                header.bytes.store(bytes as u32, Relaxed);
                header.holders[0].store(u64::from(self.scope().me()), Release);
                true
            }
            _ => false,
        }
    }

    /// Gives back a segment of which this process is the keeper: for the next message, or to the system.
    pub(super) fn recycle(&self, line: u32, large: bool) {
        // In a forked child what its parent had taken is the parent's still.
        let keeper = |header: &CellHeader| header.holders[0].load(Relaxed) as u32;
        let header = self.arena().cell(Cell(line));
        if header.map(keeper) != Some(self.scope().known()) {
            return;
        }
        let spare = &self.body().spare;
        let places: &[AtomicU32] = if large { &spare.large } else { &spare.ring };
        // What it has memory for; a message that is slightly longer than a power of two has room for twice that.
        let memory = |header: &CellHeader| header.holders[1].load(Relaxed) as usize;
        let room = header.map_or(usize::MAX, memory);
        let kept = room <= LARGEST_SPARE
            && places
                .iter()
                .any(|place| place.compare_exchange(0, line, Release, Relaxed).is_ok());
        if !kept {
            self.arena().guard().free_child(Cell(line));
        }
    }

    /// Frees what the dead have left: segments that nothing names and that nobody alive keeps. For the producer whose turn
    /// it is; waits for the consumer whose turn it is.
    #[cold]
    pub(super) fn put_in_order(&self, _turn: &Turn<'_>) {
        // Before looking: whoever dies from now on sets it again.
        self.body().state.fetch_and(!DIRTY, AcqRel);
        if let Ok(_consumers) = Turn::take_patiently(self, &self.body().get) {
            let guarded = self.arena().guard();
            sweep(&guarded, self.handle().line(), self.body());
        }
    }
}

/// Frees the queue's segments that nothing names and nobody alive keeps. Neither side may move.
fn sweep(guarded: &Guarded<'_>, line: u32, body: &Body) {
    let mut named: HashSet<u32> = body
        .spare
        .ring
        .iter()
        .chain(&body.spare.large)
        .map(|place| place.load(Acquire))
        .collect();
    // An empty queue's positions name a segment too.
    named.insert(body.put.position().line());
    named.insert(body.next_message().line());
    let walked = record::walk(guarded.arena, body, |step| match step {
        Step::Segment(line) | Step::Message(_, _, Some(line)) => {
            named.insert(line);
        }
        Step::Message(..) => {}
    });
    // A damaged queue keeps what it has.
    if walked.is_ok() {
        let scope = guarded.arena.scope();
        let is_spare = |part: Cell| {
            let spare = body.spare.ring.iter().chain(&body.spare.large);
            spare.into_iter().any(|place| place.load(Acquire) == part.0)
        };
        guarded.free_children_of(line, |part, keeper| {
            // Parts without a keeper are no segments.
            keeper != 0
                && !named.contains(&part.0)
                && registry::is_dead(scope, keeper as u32)
                // Consumers give segments back without a lock: it may have done so before it died and after we looked.
                && !is_spare(part)
        });
    }
}

/// A queue's cell is about to be freed: the messages in it will never be received. Its segments are freed with it.
/// `lose` is told of every pin that keeps one of the handles in them.
pub(crate) fn abandon(guarded: &Guarded<'_>, contents: NonNull<u8>, lose: impl FnMut(Pin)) {
    // SAFETY: the cell is of this kind, so it was made with a Body; any bytes are a valid one.
    let body = unsafe { contents.cast::<Body>().as_ref() };
    let mut lost = Vec::new();
    let _ = record::walk(guarded.arena, body, |step| {
        if let Step::Message(bytes, head, _) = step
            && head.flags & PINNED != 0
        {
            // SAFETY: the walk has checked that so many bytes lie there.
            let message =
                unsafe { std::slice::from_raw_parts(bytes.as_ptr(), head.length as usize) };
            lost.extend(pins_of(message).1);
        }
    });
    lost.into_iter().for_each(lose);
}

/// Whether a queue whose cell has these contents has ever had a segment.
pub(crate) fn has_segments(contents: NonNull<u8>) -> bool {
    // SAFETY: as in `abandon`.
    let body = unsafe { contents.cast::<Body>().as_ref() };
    body.state.load(Relaxed) & GROWN != 0
}

/// Appends pins to a message.
pub(super) fn append_pins(message: &mut Vec<u8>, pins: &[Pin]) {
    for pin in pins {
        message.extend(pin.to_bytes());
    }
    message.extend((pins.len() as u32).to_le_bytes());
}

/// A message without its pins, and the pins.
pub(super) fn pins_of(message: &[u8]) -> (&[u8], Vec<Pin>) {
    let Some((rest, count)) = message.split_last_chunk::<4>() else {
        return (message, Vec::new());
    };
    let bytes = (u32::from_le_bytes(*count) as usize).saturating_mul(8);
    let Some(start) = rest.len().checked_sub(bytes) else {
        return (message, Vec::new());
    };
    let (rest, pins) = rest.split_at(start);
    let pins = pins.as_chunks().0.iter().map(|pin| Pin::from_bytes(*pin));
    (rest, pins.collect())
}

/// One more process holds the queue.
pub(crate) fn one_more_holds(contents: NonNull<u8>) {
    // SAFETY: as in `abandon`.
    let body = unsafe { contents.cast::<Body>().as_ref() };
    body.state.fetch_or(SHARED, Relaxed);
}

/// A process does not hold the queue any more, or a message that carried it is gone: those who wait look whether they wait
/// for anybody. `died` says that it may have left segments behind.
pub(crate) fn one_less_holds(
    guarded: &Guarded<'_>,
    line: u32,
    contents: NonNull<u8>,
    scope: Scope,
    died: bool,
) {
    // SAFETY: as in `abandon`.
    let body = unsafe { contents.cast::<Body>().as_ref() };
    if died {
        body.state.fetch_or(DIRTY, AcqRel);
        sweep_if_idle(guarded, line, body, scope);
    }
    if body.state.load(Relaxed) & (SHARED | CLOSED) != 0 {
        for changes in [&body.items.changed, &body.room.changed, &body.done.changed] {
            changes.notify(scope, u32::MAX);
        }
    }
}

/// Puts an idle queue in order at once; a busy one does it when it next needs a segment. Under the arena's guard nobody may
/// be waited for.
fn sweep_if_idle(guarded: &Guarded<'_>, line: u32, body: &Body, scope: Scope) {
    let locks = [&body.put.lock, &body.get.lock];
    // A thread that is new here would have to make itself known, and wait for the guard.
    if !scope.knows_this_thread() {
        return;
    }
    let taken = locks.map(|lock| lock.try_acquire(scope).is_held());
    if taken == [true, true] {
        locks.iter().for_each(|lock| lock.recover());
        body.state.fetch_and(!DIRTY, AcqRel);
        sweep(guarded, line, body);
    }
    for (lock, taken) in locks.into_iter().zip(taken) {
        if taken {
            // SAFETY: the lock lies in the queue's cell, which the caller's guard keeps.
            unsafe { Lock::release_mine(lock, scope) };
        }
    }
}
