//! Looking at all cells of an arena: to let go of what the dead held, and to put in order what somebody was killed in the
//! middle of.

use std::collections::HashSet;
use std::sync::atomic::Ordering::*;

use super::cells::{CHILD, Cell, FREE, Guarded, Kind, LIVE};
use super::layout::{CELLS_START, CellHeader, LINE, SLOTS};
use super::pins;
use crate::registry;

impl Guarded<'_> {
    /// All cells, free ones too, in the order in which they lie.
    pub(super) fn walk(&self, mut visit: impl FnMut(Cell, &'static CellHeader)) {
        let end = self.arena.header().unused.load(Acquire);
        let mut line = (CELLS_START / LINE) as u64;
        while line < end {
            // Whatever is said of where they end: forward, and no further than there can be cells.
            let Ok(cell) = u32::try_from(line).map(Cell) else {
                return;
            };
            let Some(header) = self.arena.cell(cell) else {
                return;
            };
            let lines = header.lines.load(Relaxed);
            if lines == 0 {
                return;
            }
            visit(cell, header);
            line += u64::from(lines);
        }
    }

    /// A participant is gone for good: what it held is let go.
    pub(crate) fn settle(&self, slot: usize) {
        self.walk(|cell, header| {
            if header.state.load(Relaxed) != LIVE {
                return;
            }
            if header.kind.load(Relaxed) == Kind::OwnedSemaphore as u16
                && let Some(body) = self.arena.body(cell)
            {
                crate::multiprocessing::reclaim(
                    self.arena.scope(),
                    body,
                    header.bytes.load(Relaxed),
                    slot,
                );
            }
            self.clear(header, slot);
            self.free_if_unused(cell);
            self.one_less(cell, true);
        });
    }

    /// Somebody was killed with the guard taken: lists are made anew, and what belongs to nobody is freed.
    pub(super) fn rebuild(&self) {
        for list in &self.arena.header().guard.free {
            list.store(0, Relaxed);
        }
        self.walk(|cell, header| {
            if header.state.load(Relaxed) == FREE {
                self.push(cell, header);
            }
        });
        // The arena's own parts hang on two kinds of lists.
        let mut known: HashSet<u32> = pins::lines(self).collect();
        let high = self.arena.header().high.load(Acquire) as usize;
        for slot in 0..high.min(SLOTS) {
            known.extend(registry::thread_lines(
                self.arena,
                self.arena.participant(slot),
            ));
        }
        // Children whose parent is gone, or was never told of them.
        self.walk(|cell, header| match header.state.load(Relaxed) {
            LIVE => self.free_if_unused(cell),
            CHILD => {
                let parent = header.link.load(Relaxed);
                let orphan = if parent == 0 {
                    !known.contains(&cell.0)
                } else {
                    self.arena
                        .cell(Cell(parent))
                        .is_none_or(|parent| parent.state.load(Relaxed) != LIVE)
                };
                if orphan {
                    self.free(cell);
                }
            }
            _ => {}
        });
    }

    /// How many cells live, and how many bytes they and their parts take.
    pub(crate) fn usage(&self) -> (usize, u64) {
        let (mut cells, mut bytes) = (0, 0);
        self.walk(|_, header| {
            let state = header.state.load(Relaxed);
            cells += usize::from(state == LIVE);
            bytes += if state == FREE {
                0
            } else {
                u64::from(header.lines.load(Relaxed)) * LINE as u64
            };
        });
        (cells, bytes)
    }
}
