//! The memory behind cells.
//!
//! A *big* cell, one of 64 KiB or more, has memory only while it is used, and only as much as its contents need: its size
//! is a power of two, which may be twice that. Whoever takes one provides its memory, so that a system without any says so
//! then and not by SIGBUS later; whoever frees it punches a hole.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering::*;

use super::ShmError;
use super::arena::Arena;
use super::cells::{Cell, Guarded};
use super::layout::{CellHeader, LINE};
use crate::sys::memory;

/// The least by which an arena grows.
const GROWTH: u64 = 256 << 10;

const PAGE: u64 = 4096;

/// From this size on, in lines, a cell has memory only while it is used.
pub(super) const BIG: u32 = (64 << 10) / LINE as u32;

/// Whether a cell is a big one.
pub(super) fn is_big(header: &CellHeader) -> bool {
    header.lines.load(Relaxed) >= BIG
}

/// Where a cell's contents begin.
fn contents(cell: Cell) -> u64 {
    (u64::from(cell.0) + 1) * LINE as u64
}

impl Arena {
    /// Gives a big cell `wanted` bytes of memory, all zero. For whoever has just allocated it.
    pub(crate) fn furnish(&self, cell: Cell, wanted: usize) -> Result<(), ShmError> {
        let Some(header) = self.cell(cell).filter(|header| is_big(header)) else {
            return Ok(());
        };
        let wanted = wanted.min(header.room()) as u64;
        self.empty(cell, header)
            .and_then(|()| memory::provide(self.as_fd(), contents(cell), wanted))
            .map_err(|source| ShmError::NoSpace { wanted, source })
    }

    /// Gives a part that the caller keeps `wanted` bytes of memory with whatever contents, and notes how many it has. What
    /// is new is mapped in this process at once: to fault in page by page takes longer than to write it.
    pub(crate) fn furnish_segment(&self, cell: Cell, wanted: usize) -> Result<(), ShmError> {
        let Some(header) = self.cell(cell) else {
            return Ok(());
        };
        let start = contents(cell);
        let end = (start + wanted as u64).next_multiple_of(PAGE);
        let bytes = (end - start).min(header.room() as u64);
        if is_big(header) {
            memory::provide(self.as_fd(), start, bytes).map_err(|source| ShmError::NoSpace {
                wanted: bytes,
                source,
            })?;
            // SAFETY: the cell lies inside the mapping, and the caller keeps it.
            unsafe { memory::populate(self.address(start as usize), bytes as usize) };
        }
        header.holders[1].store(bytes, Release);
        Ok(())
    }

    /// Gives a big cell's memory back.
    pub(super) fn empty(&self, cell: Cell, header: &CellHeader) -> std::io::Result<()> {
        memory::punch(self.as_fd(), contents(cell), header.room() as u64)
    }
}

impl Guarded<'_> {
    /// As [`Arena::furnish`], for a part that is not linked to anything yet; without memory it is free again.
    pub(super) fn furnish_part(&self, cell: Cell, wanted: usize) -> Result<(), ShmError> {
        self.arena
            .furnish(cell, wanted)
            .inspect_err(|_| self.free(cell))
    }

    /// Makes the file reach to `end`, and gives what is new of it memory. A `big` cell that is to lie there gets its own
    /// later: only its header's page, and what it shares with the next one, must have some.
    pub(super) fn reach(&self, end: u64, big: bool) -> Result<(), ShmError> {
        let (arena, file) = (self.arena.header(), self.arena.as_fd());
        let provided = arena.provided.load(Relaxed);
        if end <= provided {
            return Ok(());
        }
        let least = if big { end } else { end.max(provided + GROWTH) };
        let until = least
            .next_multiple_of(PAGE)
            .min(self.arena.reserve() as u64);
        let made = if big {
            memory::lengthen(file, until)
                .and_then(|()| memory::provide(file, provided, PAGE))
                .and_then(|()| memory::provide(file, until - PAGE, PAGE))
        } else {
            memory::provide(file, provided, until - provided)
        };
        made.map_err(|source| ShmError::NoSpace {
            wanted: until - provided,
            source,
        })?;
        arena.provided.store(until, Release);
        Ok(())
    }
}
