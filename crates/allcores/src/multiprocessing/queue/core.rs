//! The queue itself, for opaque bytes: messages in, messages out, each by one store. `README.md` beside this file tells why
//! that needs no repair after a death.

use std::mem::size_of;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use super::body::{ACCOUNTS, Body, CLOSED, DIRTY, Moved, Position, Side};
use super::record::{
    self, Damaged, HEADER, HERE, Head, JUMP, LARGE, LONGEST_HERE, PINNED, SEGMENT,
};
use super::{poll, segments};
use crate::shm::arena::Arena;
use crate::shm::cells::Kind;
use crate::shm::handle::Handle;
use crate::shm::layout::SLOTS;
use crate::shm::pins::Pin;
use crate::shm::{LONGEST_CELL, ShmError};
use crate::sync::{Acquired, Deadline, Lock, Scope};
use crate::sys;

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

/// Why nothing was put.
#[derive(Debug)]
pub(crate) enum NotPut {
    Full,
    Closed,
    Interrupted,
    /// It has so many bytes.
    TooLong(usize),
    Damaged,
    Shm(ShmError),
}

/// Why nothing was taken.
#[derive(Debug)]
pub(crate) enum NotTaken {
    Empty,
    Closed,
    Interrupted,
    Damaged,
}

impl From<Damaged> for NotPut {
    fn from(_: Damaged) -> NotPut {
        NotPut::Damaged
    }
}

impl From<Damaged> for NotTaken {
    fn from(_: Damaged) -> NotTaken {
        NotTaken::Damaged
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
    fn take(core: &'a Core, side: &'a Side, deadline: Deadline) -> Result<Turn<'a>, NoTurn> {
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

/// A message of its own segment, still there; gone, and the segment with it, when this is dropped.
pub(crate) struct LargeMessage<'a> {
    core: &'a Core,
    line: u32,
    bytes: NonNull<u8>,
    length: usize,
    /// Whether it ends with pins.
    pub(crate) pinned: bool,
}

impl LargeMessage<'_> {
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

    /// Puts as many of the messages as there is room for, in order and all at once; how many.
    pub(crate) fn put_batch(
        &self,
        messages: &[Outbound<'_>],
        deadline: Deadline,
    ) -> Result<usize, NotPut> {
        let large = if messages
            .iter()
            .any(|message| message.length() > LONGEST_HERE)
        {
            self.write_large(messages, deadline)?
        } else {
            Vec::new()
        };
        let body = self.body();
        let side = &body.put;
        let turn = Turn::take(self, side, deadline).map_err(|missed| match missed {
            NoTurn::TimedOut => NotPut::Full,
            NoTurn::Interrupted => NotPut::Interrupted,
        })?;
        if body.state.load(Relaxed) & CLOSED != 0 {
            return Err(NotPut::Closed);
        }
        let word = side.moved.word.load(Relaxed);
        let room = self.room(word);
        if room == 0 {
            return Err(NotPut::Full);
        }
        let mut at = Position(side.at[Moved::parity(word)].load(Relaxed));
        let mut large = large.into_iter();
        let mut put = 0;
        let mut failed = None;
        for message in messages
            .iter()
            .take(usize::try_from(room).unwrap_or(usize::MAX))
        {
            let own = (message.length() > LONGEST_HERE)
                .then(|| large.next())
                .flatten();
            match self.write(&turn, at, message, own.as_ref()) {
                Ok(next) => at = next,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
            // Named by a record from here on, or by the next one at this place.
            own.into_iter().for_each(Kept::forget);
            put += 1;
        }
        if put > 0 {
            side.at[Moved::parity(word) ^ 1].store(at.0, Relaxed);
            side.moved.cpu.store(sys::current_cpu() + 1, Relaxed);
            // The one store by which all of them are in the queue.
            side.moved
                .word
                .store(Moved::next(word, put as u64), Release);
        }
        drop(turn);
        match (put, failed) {
            (0, Some(error)) => Err(error),
            (0, None) => Ok(0),
            _ => {
                body.items.changed.notify(self.scope(), put as u32);
                Ok(put)
            }
        }
    }

    /// How many more messages the queue may hold. For the producer whose turn it is.
    #[inline]
    fn room(&self, word: u64) -> u64 {
        let body = self.body();
        if body.limit == u64::MAX {
            return u64::MAX;
        }
        let put = Moved::count(word);
        let left = |taken| body.limit.saturating_sub(put.wrapping_sub(taken));
        let seen = left(body.put.seen.load(Relaxed));
        if seen > 0 {
            return seen;
        }
        let taken = Moved::count(body.get.moved.word.load(Acquire));
        body.put.seen.store(taken, Relaxed);
        left(taken)
    }

    /// Writes one record at `at`, or after a jump to a new segment; where the next one goes. Nobody sees it yet.
    #[inline]
    fn write(
        &self,
        turn: &Turn<'_>,
        mut at: Position,
        message: &Outbound<'_>,
        own: Option<&Kept<'_>>,
    ) -> Result<Position, NotPut> {
        let length = message.length();
        let flags = if message.pins.is_empty() { 0 } else { PINNED };
        let (kind, payload) = match own {
            Some(_) => (LARGE, 8),
            None => (HERE, length),
        };
        let room = record::room(payload);
        // Behind each record there is always room for a jump.
        let fits = at.offset() as usize + room + HEADER <= SEGMENT;
        let mut segment = match at.line() {
            line if line != 0 && fits => self.known_segment(0, line)?,
            line => {
                let next = self.ring_segment(turn).map_err(NotPut::Shm)?;
                if line == 0 {
                    self.body().first.store(Position::new(next, 0).0, Release);
                } else {
                    let full = self.known_segment(0, line)?;
                    let jump = Head {
                        length: next,
                        kind: JUMP,
                        flags: 0,
                    };
                    // SAFETY: every record leaves room for this one, and no consumer reads past the last message.
                    unsafe { record::write_head(full, at.offset(), jump) };
                }
                at = Position::new(next, 0);
                self.known_segment(0, next)?
            }
        };
        let head = Head {
            length: length as u32,
            kind,
            flags,
        };
        // SAFETY: the segment has SEGMENT bytes, and the record fits behind `at`; no consumer reads past the last message.
        unsafe {
            record::write_head(segment, at.offset(), head);
            segment = segment.add(at.offset() as usize + HEADER);
            match own {
                Some(own) => segment.cast::<u32>().write(own.line),
                None => message.copy_to(segment),
            }
        }
        Ok(Position::new(at.line(), at.offset() + room as u32))
    }

    #[cold]
    /// Puts those messages that do not lie among others into segments of their own, before any lock is taken.
    fn write_large(
        &self,
        messages: &[Outbound<'_>],
        deadline: Deadline,
    ) -> Result<Vec<Kept<'_>>, NotPut> {
        let mut kept = Vec::new();
        for message in messages {
            let length = message.length();
            if length <= LONGEST_HERE {
                continue;
            }
            if length > LONGEST {
                return Err(NotPut::TooLong(length));
            }
            if self.is_closed() {
                return Err(NotPut::Closed);
            }
            if self.is_full() {
                return Err(NotPut::Full);
            }
            let spare = match Turn::take(self, &self.body().put, deadline) {
                Ok(turn) => self.spare_large(&turn, length),
                Err(NoTurn::TimedOut) => return Err(NotPut::Full),
                Err(NoTurn::Interrupted) => return Err(NotPut::Interrupted),
            };
            let line = match spare {
                Some(line) => line,
                None => self.new_segment(length).map_err(NotPut::Shm)?,
            };
            let own = Kept { core: self, line };
            let segment = record::segment(self.arena(), line, length)?;
            // SAFETY: the segment has room for the message, and this process alone keeps it.
            unsafe { message.copy_to(segment) };
            kept.push(own);
        }
        Ok(kept)
    }

    /// A segment of the ring, looked up unless it is the same as last time.
    #[inline]
    fn known_segment(&self, side: usize, line: u32) -> Result<NonNull<u8>, Damaged> {
        if self.known[side].load(Relaxed) == line {
            let offset = (line as usize + 1) * crate::shm::layout::LINE;
            // SAFETY: looked up once with SEGMENT bytes; cells neither move nor shrink, and arenas are never unmapped.
            return Ok(NonNull::from(unsafe { self.arena().place::<u8>(offset) }));
        }
        let segment = record::segment(self.arena(), line, SEGMENT)?;
        self.known[side].store(line, Relaxed);
        Ok(segment)
    }

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

/// A message to be put.
pub(crate) struct Outbound<'a> {
    pub(crate) parts: &'a [&'a [u8]],
    pub(crate) pins: &'a [Pin],
}

impl Outbound<'_> {
    /// With its pins.
    #[inline]
    fn length(&self) -> usize {
        let pins = match self.pins.len() {
            0 => 0,
            pins => pins * 8 + 4,
        };
        self.parts.iter().map(|part| part.len()).sum::<usize>() + pins
    }

    /// # Safety
    /// `to` must point to room for [`Outbound::length`] bytes that nobody else uses.
    #[inline]
    unsafe fn copy_to(&self, mut to: NonNull<u8>) {
        for part in self.parts {
            // SAFETY: the caller's word.
            unsafe {
                part.as_ptr()
                    .copy_to_nonoverlapping(to.as_ptr(), part.len());
                to = to.add(part.len());
            }
        }
        if !self.pins.is_empty() {
            let mut tail = Vec::new();
            segments::append_pins(&mut tail, self.pins);
            // SAFETY: as above: the length counts them.
            unsafe {
                tail.as_ptr()
                    .copy_to_nonoverlapping(to.as_ptr(), tail.len())
            };
        }
    }
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

/// A segment with a message that no record names yet; given back unless one does.
struct Kept<'a> {
    core: &'a Core,
    line: u32,
}

impl Kept<'_> {
    fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.core.recycle(self.line, true);
    }
}

/// Segments of the ring that were left behind. Rarely more than one at a time.
struct Drained {
    lines: [u32; 1],
    more: Vec<u32>,
}

impl Drained {
    fn new() -> Drained {
        Drained {
            lines: [0],
            more: Vec::new(),
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
