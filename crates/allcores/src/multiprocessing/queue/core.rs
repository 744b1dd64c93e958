//! The queue itself, for opaque bytes: messages in, messages out, each by one store. `README.md` beside this file tells why
//! that needs no repair after a death.

use std::mem::size_of;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use super::body::{ACCOUNTS, Body, CLOSED, DIRTY, Moved, Side};
use super::poll;
use super::record::{self, Damaged, SEGMENT};
use crate::shm::arena::Arena;
use crate::shm::cells::Kind;
use crate::shm::handle::Handle;
use crate::shm::layout::SLOTS;
use crate::shm::{LONGEST_CELL, ShmError};
use crate::sync::{Acquired, Deadline, Lock, Scope};

/// A handle on a queue of bytes.
pub(crate) struct Core {
    handle: Handle<Body>,
    /// The segments that this process has looked up last, for putting and for getting: they need not be looked up again.
    known: [AtomicU32; 2],
}

impl Clone for Core {
    fn clone(&self) -> Core {
        self.handle.one_more_user();
        Core::of(self.handle.clone())
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // Those of this process who sleep with the last handle but this one look whether they wait for anybody.
        if self.handle.one_user_less() == 1 + poll::handles(self) && self.was_shared() {
            self.wake_all();
        }
    }
}

/// The longest message, in bytes.
pub(crate) const LONGEST: usize = LONGEST_CELL;

/// A side's lock, held.
pub(super) struct Turn<'a> {
    lock: &'a Lock,
    scope: Scope,
}

/// Why a side's lock was not taken.
pub(super) enum NoTurn {
    TimedOut,
    Interrupted,
}

impl<'a> Turn<'a> {
    #[inline]
    pub(super) fn take(
        core: &'a Core,
        side: &'a Side,
        deadline: Deadline,
    ) -> Result<Turn<'a>, NoTurn> {
        let scope = core.scope();
        match side.lock.acquire(scope, deadline) {
            Acquired::Yes => {}
            Acquired::OwnerDied(_) => {
                // What it was about to move has not moved; a segment it had is nobody's.
                side.lock.recover();
                core.body().state.fetch_or(DIRTY, AcqRel);
            }
            Acquired::TimedOut => return Err(NoTurn::TimedOut),
            Acquired::Interrupted => return Err(NoTurn::Interrupted),
        }
        Ok(Turn {
            lock: &side.lock,
            scope,
        })
    }

    /// Waits for it; signals do not end that.
    pub(super) fn take_patiently(core: &'a Core, side: &'a Side) -> Result<Turn<'a>, NoTurn> {
        loop {
            match Turn::take(core, side, Deadline::NEVER) {
                Err(NoTurn::Interrupted) => {}
                taken => return taken,
            }
        }
    }
}

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the lock lies in a cell that is held by the handle that `take` borrowed.
        unsafe { Lock::release_mine(self.lock, self.scope) };
    }
}

impl Core {
    /// A queue for at most `limit` messages, in `arena`.
    pub(crate) fn create(
        arena: &'static Arena,
        limit: Option<u64>,
        counts_done: bool,
        location: &Location<'_>,
    ) -> Result<Core, ShmError> {
        let tail = if counts_done { ACCOUNTS } else { 0 };
        let limit = limit.unwrap_or(u64::MAX);
        let handle = Handle::create_in(arena, Kind::Queue, tail, location, |body: *mut Body| {
            // SAFETY: `body` points to zeroed memory for a Body that nobody else knows of; all the rest of it begins as zeros.
            unsafe {
                (*body).limit = limit;
                (*body).counts_done = u32::from(counts_done);
            }
        })?;
        Ok(Core::of(handle))
    }

    pub(crate) fn of(handle: Handle<Body>) -> Core {
        Core {
            handle,
            known: [const { AtomicU32::new(0) }; 2],
        }
    }

    /// How large the cell of a queue is, without accounts and with them.
    pub(super) const fn sizes() -> (u32, u32) {
        let plain = size_of::<Body>() as u32;
        (plain, plain + ACCOUNTS as u32)
    }

    /// Whether a cell of so many bytes can be a queue.
    pub(crate) fn fits(bytes: u32) -> bool {
        let (plain, counting) = Core::sizes();
        bytes == plain || bytes == counting
    }

    pub(crate) fn handle(&self) -> &Handle<Body> {
        &self.handle
    }
    #[inline]
    pub(super) fn body(&self) -> &Body {
        self.handle.body()
    }
    #[inline]
    pub(super) fn scope(&self) -> Scope {
        self.handle.scope()
    }
    #[inline]
    pub(super) fn arena(&self) -> &'static Arena {
        self.handle.arena()
    }

    pub(crate) fn arena_id(&self) -> [u8; 16] {
        self.arena().header().id
    }

    pub(crate) fn limit(&self) -> Option<u64> {
        Some(self.body().limit).filter(|limit| *limit != u64::MAX)
    }

    pub(crate) fn counts_done(&self) -> bool {
        self.body().counts_done != 0 && self.handle.bytes() == size_of::<Body>() + ACCOUNTS
    }

    /// The accounts of those who take, where it is counted what is done.
    pub(super) fn accounts(&self) -> &[AtomicU64] {
        self.handle.tail(SLOTS)
    }

    /// How many messages it holds.
    pub(crate) fn len(&self) -> u64 {
        // First what was taken: it can only have become more since, and the difference never less than nothing.
        let taken = Moved::count(self.body().get.moved.word.load(Acquire));
        Moved::count(self.body().put.moved.word.load(Acquire)).wrapping_sub(taken)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.body().limit
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.body().state.load(Acquire) & CLOSED != 0
    }

    /// From now on nothing is put; whoever waits is told. Waits for the producer whose turn it is, so that none puts a message
    /// that nobody will look for.
    pub(crate) fn close(&self) {
        if let Ok(turn) = Turn::take_patiently(self, &self.body().put) {
            self.body().state.fetch_or(CLOSED, AcqRel);
            drop(turn);
        }
        self.wake_all();
    }

    /// Has all who sleep look again.
    pub(super) fn wake_all(&self) {
        let body = self.body();
        for changes in [&body.items.changed, &body.room.changed, &body.done.changed] {
            changes.notify(self.scope(), u32::MAX);
        }
    }

    /// A segment of the ring, looked up unless it is the same as last time.
    #[inline]
    pub(super) fn known_segment(&self, side: usize, line: u32) -> Result<NonNull<u8>, Damaged> {
        if self.known[side].load(Relaxed) == line {
            let offset = (line as usize + 1) * crate::shm::layout::LINE;
            // SAFETY: looked up once with SEGMENT bytes; cells neither move nor shrink, and arenas are never unmapped.
            return Ok(NonNull::from(unsafe { self.arena().place::<u8>(offset) }));
        }
        let segment = record::segment(self.arena(), line, SEGMENT)?;
        self.known[side].store(line, Relaxed);
        Ok(segment)
    }
}
