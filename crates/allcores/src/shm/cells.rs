//! Cells: pieces of an arena with a kind, a generation and a record of who holds them.
//!
//! All changes happen under the arena's guard, a robust mutex. What the guard protects is made so that the cells
//! themselves are the truth and everything else can be rebuilt from them:
//!
//! | killed | what the next one finds |
//! |---|---|
//! | between two words of an allocation | a cell still FREE: back on its list |
//! | between making a part and linking it | a part that nobody knows of: freed |
//! | after LIVE is written | a cell held by a dead participant: freed when its slot is settled |
//! | after LIVE, while a big cell is given memory | the same: what nobody else knows of, nobody touches |
//! | between dropping the last holder and freeing | a LIVE cell without holder or pin: freed |
//! | between FREE and giving a big cell's memory back | a free cell with memory: emptied by whoever takes it |
//! | while growing | memory beyond `unused` that nobody owns yet |

use std::panic::Location;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::*;

use super::arena::{self, Arena};
use super::layout::{CELLS_START, CLASSES, CellHeader, LABEL, LINE};
use super::room::{BIG, is_big};
use super::{ShmError, pins};
use crate::multiprocessing::queue;
use crate::sync::Scope;

pub(super) const FREE: u32 = 0;
pub(super) const LIVE: u32 = 1;
/// Belongs to another cell, and goes with it.
pub(super) const CHILD: u32 = 2;

/// The most bytes that a cell can hold: 1 GiB less its header.
pub(crate) const LONGEST_CELL: usize = (lines_of(CLASSES - 1) as usize - 1) * LINE;

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Kind {
    Lock = 1,
    RLock = 2,
    Semaphore = 3,
    OwnedSemaphore = 4,
    Event = 5,
    Condition = 6,
    Barrier = 7,
    /// Memory that belongs to another cell or to a participant.
    Part = 8,
    Value = 16,
    RawValue = 17,
    Array = 18,
    RawArray = 19,
    Queue = 9,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Lock => "Lock",
            Kind::RLock => "RLock",
            Kind::Semaphore => "Semaphore",
            Kind::OwnedSemaphore => "Semaphore with owned permits",
            Kind::Event => "Event",
            Kind::Condition => "Condition",
            Kind::Barrier => "Barrier",
            Kind::Part => "part",
            Kind::Value => "Value",
            Kind::RawValue => "RawValue",
            Kind::Array => "Array",
            Kind::RawArray => "RawArray",
            Kind::Queue => "Queue",
        }
    }

    pub(crate) fn from_number(number: u16) -> Option<Kind> {
        use Kind::*;
        [
            Lock,
            RLock,
            Semaphore,
            OwnedSemaphore,
            Event,
            Condition,
            Barrier,
            Part,
            Value,
            RawValue,
            Array,
            RawArray,
            Queue,
        ]
        .into_iter()
        .find(|kind| *kind as u16 == number)
    }
}

/// A cell, by the line it begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cell(pub(crate) u32);

/// The arena with its guard taken.
pub(crate) struct Guarded<'a> {
    pub(crate) arena: &'a Arena,
}

impl Arena {
    /// Takes the guard; what a dead holder left undone is done first.
    pub(crate) fn guard(&self) -> Guarded<'_> {
        let died = self.header().guard.mutex.lock();
        let guarded = Guarded { arena: self };
        if died {
            guarded.rebuild();
        }
        guarded
    }

    /// The header of a cell, if there can be a cell at that line.
    pub(crate) fn cell(&self, cell: Cell) -> Option<&'static CellHeader> {
        let offset = cell.0 as usize * LINE;
        if offset < CELLS_START || !self.covers(offset, LINE) {
            return None;
        }
        // SAFETY: aligned to a line, inside the provided part, and every pattern of bytes is a valid CellHeader.
        Some(unsafe { self.place(offset) })
    }

    /// What the cell holds: as many bytes as its header says, if all of them have memory.
    pub(crate) fn body(&self, cell: Cell) -> Option<NonNull<u8>> {
        let header = self.cell(cell)?;
        let offset = (cell.0 as usize + 1) * LINE;
        let room = (header.lines.load(Relaxed) as usize).checked_sub(1)? * LINE;
        let bytes = header.bytes.load(Relaxed) as usize;
        if bytes > room || !self.covers(offset, bytes) {
            return None;
        }
        // SAFETY: the range was checked just now.
        Some(unsafe { self.address(offset) })
    }
}

impl Arena {
    /// What the cell holds, if that is at least so many bytes.
    pub(crate) fn body_of(&self, cell: Cell, least: usize) -> Option<NonNull<u8>> {
        let bytes = self.cell(cell)?.bytes.load(Relaxed) as usize;
        (bytes >= least).then(|| self.body(cell)).flatten()
    }
}

impl Drop for Guarded<'_> {
    fn drop(&mut self) {
        self.arena.header().guard.mutex.unlock();
    }
}

fn class_of(bytes: usize) -> usize {
    let lines = 1 + bytes.div_ceil(LINE);
    lines.next_power_of_two().trailing_zeros().max(1) as usize - 1
}

const fn lines_of(class: usize) -> u32 {
    2 << class
}

impl Guarded<'_> {
    /// The header of a cell that the arena itself names. Where that is no place in it, because the arena is damaged, a
    /// header that is nobody's.
    pub(super) fn header(&self, cell: Cell) -> &'static CellHeader {
        static NOWHERE: CellHeader = CellHeader::nobodys();
        self.arena.cell(cell).unwrap_or(&NOWHERE)
    }

    /// A new cell with zeroed contents, held by participant `holder`. A big one has no contents yet: [`Arena::furnish`]
    /// gives it memory, which may take long and needs no guard.
    pub(crate) fn allocate(
        &self,
        kind: Kind,
        bytes: usize,
        holder: usize,
        label: &str,
    ) -> Result<Cell, ShmError> {
        let cell = self.take(bytes)?;
        let header = self.describe(cell, kind, bytes, label);
        self.bit(cell, holder)?
            .fetch_or(1 << (holder % 64), Relaxed);
        // Last: from here on the cell belongs to somebody.
        header.state.store(LIVE, Release);
        Ok(cell)
    }

    /// A new part of `parent`, freed with it. Line 0 stands for the arena itself.
    pub(crate) fn allocate_child(&self, parent: u32, bytes: usize) -> Result<Cell, ShmError> {
        let cell = self.take(bytes)?;
        let header = self.describe(cell, Kind::Part, bytes, "");
        self.furnish_part(cell, bytes)?;
        header.link.store(parent, Relaxed);
        header.state.store(CHILD, Release);
        Ok(cell)
    }

    /// A new part of `parent` with whatever contents, freed with it; `keeper` is noted in it before it is part of anything.
    /// It has no contents yet: see [`Arena::furnish_segment`].
    pub(crate) fn allocate_segment(
        &self,
        parent: u32,
        bytes: usize,
        keeper: u32,
    ) -> Result<Cell, ShmError> {
        let cell = self.take(bytes)?;
        let header = self.outline(cell, Kind::Part, bytes);
        header.holders[0].store(u64::from(keeper), Relaxed);
        header.link.store(parent, Relaxed);
        header.state.store(CHILD, Release);
        Ok(cell)
    }

    fn outline(&self, cell: Cell, kind: Kind, bytes: usize) -> &'static CellHeader {
        let header = self.header(cell);
        header.kind.store(kind as u16, Relaxed);
        header.content.store(0, Relaxed);
        header.bytes.store(bytes as u32, Relaxed);
        for word in &header.holders {
            word.store(0, Relaxed);
        }
        header.more_holders.store(0, Relaxed);
        header
    }

    fn describe(&self, cell: Cell, kind: Kind, bytes: usize, label: &str) -> &'static CellHeader {
        let header = self.outline(cell, kind, bytes);
        let mut short = [0; LABEL];
        let tail = &label.as_bytes()[label.len().saturating_sub(LABEL)..];
        short[..tail.len()].copy_from_slice(tail);
        // SAFETY: the guard is ours and the cell is free, so nobody else writes the label; readers of it take any bytes.
        unsafe { header.label.get().write_volatile(short) };
        if !is_big(header) {
            let body = self
                .arena
                .body(cell)
                .expect("a cell is as large as its class");
            // SAFETY: the body lies inside the cell, which is ours alone while it is free.
            unsafe { body.as_ptr().write_bytes(0, bytes) };
        }
        header
    }

    /// A free cell of the right size, on no list any more.
    fn take(&self, bytes: usize) -> Result<Cell, ShmError> {
        let class = class_of(bytes);
        if class >= CLASSES {
            return Err(ShmError::TooLarge {
                wanted: bytes as u64,
                most: LONGEST_CELL as u64,
            });
        }
        let lines = lines_of(class);
        let list = &self.arena.header().guard.free[class];
        let first = list.load(Relaxed);
        if first != 0 {
            if self.is_free(Cell(first), lines) {
                list.store(self.header(Cell(first)).link.load(Relaxed), Relaxed);
                return Ok(Cell(first));
            }
            // The arena is damaged: whatever may hang on that list is given up.
            list.store(0, Relaxed);
        }
        let arena = self.arena.header();
        let start = arena.unused.load(Relaxed);
        // Memory comes before cells do, and after the participants.
        let provided = arena.provided.load(Relaxed) / LINE as u64;
        if !((CELLS_START / LINE) as u64..=provided).contains(&start) {
            return Err(ShmError::Damaged {
                reason: "its cells do not end where they can",
            });
        }
        let end = start.saturating_add(u64::from(lines));
        let end = end.saturating_mul(LINE as u64);
        if end > self.arena.reserve() as u64 {
            return Err(ShmError::Full {
                wanted: bytes as u64,
                reserve: self.arena.reserve() as u64,
            });
        }
        self.reach(end, lines >= BIG)?;
        let cell = Cell(start as u32);
        if !self.has_memory(cell, lines) {
            return Err(ShmError::Damaged {
                reason: "its file is shorter than it says",
            });
        }
        let header = self.header(cell);
        header.lines.store(lines, Relaxed);
        header.state.store(FREE, Relaxed);
        header.generation.store(1, Relaxed);
        // The cell has a size before anybody who walks the arena can come across it.
        arena.unused.store(start + u64::from(lines), Release);
        Ok(cell)
    }

    /// Whether there is a free cell of that size.
    fn is_free(&self, cell: Cell, lines: u32) -> bool {
        self.has_memory(cell, lines)
            && self.arena.cell(cell).is_some_and(|header| {
                header.state.load(Relaxed) == FREE && header.lines.load(Relaxed) == lines
            })
    }

    /// Whether there can be a cell of that size; a big one gets the memory for its contents later.
    fn has_memory(&self, cell: Cell, lines: u32) -> bool {
        let lines = if lines >= BIG { 1 } else { lines };
        self.arena
            .covers(cell.0 as usize * LINE, lines as usize * LINE)
    }

    /// Whether the cell lives in that generation.
    pub(crate) fn is_live(&self, cell: Cell, generation: u32) -> bool {
        self.arena.cell(cell).is_some_and(|header| {
            header.state.load(Acquire) == LIVE && header.generation.load(Relaxed) == generation
        })
    }

    /// Frees the cell if nobody holds it and no message carries it; and what only messages in it carried.
    pub(crate) fn free_if_unused(&self, cell: Cell) {
        let mut carried = self.free_one_if_unused(cell);
        // One after the other: queues may lie in queues to any depth.
        while let Some(cell) = carried.pop() {
            carried.extend(self.free_one_if_unused(cell));
            self.one_less(cell, false);
        }
    }

    /// The cells that messages in it carried.
    fn free_one_if_unused(&self, cell: Cell) -> Vec<Cell> {
        let mut carried = Vec::new();
        let header = self.header(cell);
        if header.state.load(Relaxed) == LIVE
            && !self.has_holders(header)
            && !pins::pinned(self, cell)
        {
            // First: what was unpinned and not looked at is found by whoever inherits the guard.
            if let Some(contents) = self.queue_in(cell) {
                queue::abandon(self, contents, |pin| {
                    carried.extend(pins::take_back(self, pin))
                });
            }
            self.free(cell);
            self.free_children(cell);
        }
        carried
    }

    pub(super) fn free(&self, cell: Cell) {
        let header = self.header(cell);
        header.generation.fetch_add(1, Relaxed);
        header.state.store(FREE, Release);
        self.push(cell, header);
        if is_big(header) {
            // If that fails, whoever takes the cell next does it.
            let _ = self.arena.empty(cell, header);
        }
    }

    pub(super) fn push(&self, cell: Cell, header: &CellHeader) {
        if self.arena.cell(cell).is_none() {
            return;
        }
        let list = &self.arena.header().guard.free[class_of_lines(header.lines.load(Relaxed))];
        header.link.store(list.load(Relaxed), Relaxed);
        list.store(cell.0, Relaxed);
    }

    /// Frees a child cell that its owner has unlinked.
    pub(crate) fn free_child(&self, cell: Cell) {
        if self.header(cell).state.load(Relaxed) == CHILD {
            self.free(cell);
        }
    }

    fn free_children(&self, parent: Cell) {
        let header = self.header(parent);
        let kind = Kind::from_number(header.kind.load(Relaxed));
        let more = header.more_holders.swap(0, Relaxed);
        if more != 0 {
            self.free_child(Cell(more));
        }
        // A Condition has parts of its own only after a crowd, a queue once it was used: looking for them is worth a walk then.
        let (has_parts, least): (fn(_) -> _, _) = match kind {
            Some(Kind::Condition) => (
                crate::multiprocessing::has_overflow,
                crate::multiprocessing::CONDITION_BYTES,
            ),
            Some(Kind::Queue) => (queue::has_segments, queue::LEAST_BYTES),
            _ => return,
        };
        if self.arena.body_of(parent, least).is_some_and(has_parts) {
            self.free_children_of(parent.0, |_, _| true);
        }
    }

    /// Frees those parts of a cell of which `unwanted`, given the part and its keeper, says so.
    pub(crate) fn free_children_of(&self, parent: u32, unwanted: impl Fn(Cell, u64) -> bool) {
        self.walk(|cell, header| {
            if header.state.load(Relaxed) == CHILD
                && header.link.load(Relaxed) == parent
                && header.kind.load(Relaxed) == Kind::Part as u16
                && unwanted(cell, header.holders[0].load(Acquire))
            {
                self.free(cell);
            }
        });
    }
}

fn class_of_lines(lines: u32) -> usize {
    (lines.trailing_zeros().max(1) as usize - 1).min(CLASSES - 1)
}

/// What a cell made here is labelled with.
pub(crate) fn site(location: &Location<'_>) -> String {
    let file = location.file().rsplit('/').next().unwrap_or("");
    format!("{file}:{}", location.line())
}

/// A further part, of `bytes` zeroed bytes, of the cell whose contents begin at `body`; freed with it.
pub(crate) fn alloc_child(scope: Scope, body: *const (), bytes: usize) -> Option<u64> {
    let arena = arena::at(scope);
    let line = arena.line_of(body)?.checked_sub(1)?;
    arena.cell(Cell(line))?;
    arena
        .guard()
        .allocate_child(line, bytes)
        .ok()
        .map(|part| u64::from(part.0))
}

/// Where such a part lies, if it lies in the arena and is large enough.
pub(crate) fn resolve(scope: Scope, part: u64, bytes: usize) -> Option<*const u8> {
    let arena = arena::at(scope);
    let cell = Cell(u32::try_from(part).ok()?);
    let fits = arena.cell(cell)?.bytes.load(Relaxed) as usize >= bytes;
    fits.then(|| arena.body(cell))
        .flatten()
        .map(|body| body.as_ptr().cast_const())
}
