//! Putting: any number of messages by one store.

use std::ptr::NonNull;
use std::sync::atomic::Ordering::*;

use super::body::{CLOSED, Moved, Position};
use super::core::{Core, LONGEST, NoTurn, Turn};
use super::record::{
    self, Damaged, HEADER, HERE, Head, JUMP, LARGE, LONGEST_HERE, PINNED, SEGMENT,
};
use super::segments;
use crate::shm::ShmError;
use crate::shm::pins::Pin;
use crate::sync::Deadline;
use crate::sys;

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

impl From<Damaged> for NotPut {
    fn from(_: Damaged) -> NotPut {
        NotPut::Damaged
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

impl Core {
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
        if !record::may_begin_at(at.offset()) {
            return Err(NotPut::Damaged);
        }
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
                if body.items.patience.unshown.load(Relaxed) != 0 {
                    super::settle::remember(body);
                }
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

    /// Writes one record at `at`, where one may begin, or after a jump to a new segment; where the next one goes, which is such a place
    /// again. Nobody sees it yet.
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
                    // SAFETY: a record may begin at `at`, so there is room for this one; no consumer reads past the last message.
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
        // SAFETY: the segment has SEGMENT bytes, and the record fits behind `at`, which is aligned; no consumer reads past the last message.
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

    /// Puts those messages that do not lie among others into segments of their own, before any lock is taken.
    #[cold]
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
