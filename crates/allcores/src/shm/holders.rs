//! Who holds a cell: a bit for each participant. The first 128 are in the cell's header, the others in a part of its own.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::*};

use super::cells::{Cell, Guarded, Kind, LIVE};
use super::layout::{CellHeader, SLOTS};
use super::{ShmError, pins};
use crate::multiprocessing::queue;
use crate::registry;

impl Guarded<'_> {
    /// The word with the bit of participant `slot`; makes room for high slots.
    pub(super) fn bit(&self, cell: Cell, slot: usize) -> Result<&'static AtomicU64, ShmError> {
        let header = self.header(cell);
        if slot < 128 {
            return Ok(&header.holders[slot / 64]);
        }
        let mut more = header.more_holders.load(Relaxed);
        if more == 0 {
            more = self.allocate_child(cell.0, (SLOTS - 128) / 8)?.0;
            header.more_holders.store(more, Release);
        }
        Ok(&self.high_bits(Cell(more))[(slot - 128) / 64])
    }

    fn high_bits(&self, more: Cell) -> &'static [AtomicU64] {
        static NOBODYS: [AtomicU64; (SLOTS - 128) / 64] =
            [const { AtomicU64::new(0) }; (SLOTS - 128) / 64];
        match self.arena.body_of(more, size_of_val(&NOBODYS)) {
            // SAFETY: as large as that, aligned to a line, and any bytes are valid.
            Some(body) => unsafe {
                std::slice::from_raw_parts(body.as_ptr().cast(), NOBODYS.len())
            },
            // The arena is damaged.
            None => &NOBODYS,
        }
    }

    pub(super) fn has_holders(&self, header: &CellHeader) -> bool {
        let more = header.more_holders.load(Relaxed);
        header.holders.iter().any(|word| word.load(Relaxed) != 0)
            || more != 0
                && self
                    .high_bits(Cell(more))
                    .iter()
                    .any(|word| word.load(Relaxed) != 0)
    }

    /// Participant `slot` holds the cell from now on.
    pub(crate) fn hold(&self, cell: Cell, slot: usize) -> Result<(), ShmError> {
        self.bit(cell, slot)?.fetch_or(1 << (slot % 64), Relaxed);
        self.is_given_away(cell);
        Ok(())
    }

    /// Somebody else is to hold the cell, or does. If he dies before he knows of it, he was a holder all the same.
    pub(super) fn is_given_away(&self, cell: Cell) {
        if let Some(contents) = self.queue_in(cell) {
            queue::one_more_holds(contents);
        }
    }

    /// Whether anybody who lives holds the cell but participant `slot`, or a message carries it.
    pub(crate) fn others_hold(&self, cell: Cell, slot: usize) -> bool {
        let header = self.header(cell);
        let scope = self.arena.scope();
        let holds = |other: usize| {
            let word = match other {
                0..128 => header.holders[other / 64].load(Relaxed),
                _ => match header.more_holders.load(Relaxed) {
                    0 => 0,
                    more => self.high_bits(Cell(more))[(other - 128) / 64].load(Relaxed),
                },
            };
            word & 1 << (other % 64) != 0
        };
        let high = self.arena.header().high.load(Acquire) as usize;
        (0..high.min(SLOTS)).any(|other| {
            other != slot
                && holds(other)
                && !registry::is_dead(scope, registry::owner_at_slot(scope, other))
        }) || pins::pinned(self, cell)
    }

    /// The contents of a cell that lives, if it is a queue.
    pub(super) fn queue_in(&self, cell: Cell) -> Option<NonNull<u8>> {
        let header = self.header(cell);
        let queue =
            header.kind.load(Relaxed) == Kind::Queue as u16 && header.state.load(Relaxed) == LIVE;
        queue
            .then(|| self.arena.body_of(cell, queue::LEAST_BYTES))
            .flatten()
    }

    /// If the cell is a queue: one of those who held it does not, or a message that carried it is gone.
    pub(super) fn one_less(&self, cell: Cell, died: bool) {
        if let Some(contents) = self.queue_in(cell) {
            queue::one_less_holds(self, cell.0, contents, self.arena.scope(), died);
        }
    }

    /// Participant `slot` holds the cell no longer.
    pub(crate) fn let_go(&self, cell: Cell, slot: usize) {
        self.clear(self.header(cell), slot);
        self.free_if_unused(cell);
        self.one_less(cell, false);
    }

    pub(super) fn clear(&self, header: &CellHeader, slot: usize) {
        let mask = !(1 << (slot % 64));
        if slot < 128 {
            header.holders[slot / 64].fetch_and(mask, Relaxed);
        } else {
            let more = header.more_holders.load(Relaxed);
            if more != 0 {
                self.high_bits(Cell(more))[(slot - 128) / 64].fetch_and(mask, Relaxed);
            }
        }
    }
}
