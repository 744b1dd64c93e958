//! What lies where in an arena. Everything is `repr(C)`, sized, and found by offset.
//!
//! ```text
//! 0         Header                    one page
//! 4 KiB     low participants          126 blocks of 8 KiB: participant, its thread word, its row of bells
//! 1 MiB     high participants         1,922 of 256 bytes, without bells: their deaths are polled for
//! 2 MiB     cells                     up to the end of the file, which grows
//! ```
//! The file has holes where no participant ever was.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

use crate::sys::robust::Robust;

/// Moves with every change of what is written here.
pub(crate) const VERSION: u32 = 1;
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"allcores");

/// Places for processes.
pub(crate) const SLOTS: usize = 2048;
/// How many of them have bells: as many as one FUTEX_WAITV can listen to, beside the word and `members`.
pub(crate) const LOW_SLOTS: usize = 126;

const LOW_START: usize = 4096;
pub(crate) const LOW_BLOCK: usize = 8192;
const HIGH_START: usize = 1 << 20;
pub(crate) const HIGH_BLOCK: usize = 256;
/// Where cells begin; also the least length of an arena's file.
pub(crate) const CELLS_START: usize = 2 << 20;

/// Cells are counted in lines of this many bytes.
pub(crate) const LINE: usize = 64;
/// Sizes of cells: 2, 4, 8 … lines.
pub(crate) const CLASSES: usize = 24;

/// The first page.
#[repr(C, align(64))]
pub(crate) struct Header {
    pub(crate) magic: u64,
    pub(crate) version: u32,
    pub(crate) slots: u32,
    pub(crate) id: [u8; 16],
    /// How much address space every participant maps.
    pub(crate) reserve: u64,
    /// How far the file has memory behind it.
    pub(crate) provided: AtomicU64,
    /// The first line that was never part of a cell.
    pub(crate) unused: AtomicU64,
    /// Moves with each registration and each end of a registered thread; part of every armed sleep.
    pub(crate) members: AtomicU32,
    /// One more than the highest slot ever used.
    pub(crate) high: AtomicU32,
    /// Taken by whoever allocates, frees, opens, pins or registers.
    pub(crate) guard: Guarded,
}

/// The guard and what it guards.
#[repr(C, align(64))]
pub(crate) struct Guarded {
    pub(crate) mutex: Robust,
    /// First free cell of each class, as a line; 0 for none. Can always be rebuilt from the cells.
    pub(crate) free: [AtomicU32; CLASSES],
    /// First block of pins, as a line.
    pub(crate) pins: AtomicU32,
}

/// One process that takes part.
#[repr(C, align(64))]
pub(crate) struct Participant {
    /// Held by one thread of the process while the process is a participant.
    pub(crate) life: Robust,
    /// Which process this is: never the same twice.
    pub(crate) incarnation: AtomicU32,
    /// For people only: nothing is decided by a pid.
    pub(crate) pid: AtomicU32,
    /// Moves when a thread comes or goes or the row changes hands, so that who judges does not judge a mixture.
    pub(crate) changes: AtomicU32,
    /// The last incarnation whose cells were let go of after its death.
    pub(crate) settled: AtomicU32,
    /// First further thread word, as a line.
    pub(crate) threads: AtomicU32,
    /// The thread word of the thread that registered.
    pub(crate) first: ThreadWord,
}

/// One thread that takes locks in the arena.
#[repr(C, align(64))]
pub(crate) struct ThreadWord {
    /// Held by the thread until it ends.
    pub(crate) held: Robust,
    /// Its number in its process.
    pub(crate) number: AtomicU32,
    /// The kernel's number for it, for people only.
    pub(crate) native: AtomicU32,
    /// The next thread word of the same process, as a line.
    pub(crate) next: AtomicU32,
    _spare: AtomicU32,
}

/// How a cell begins. What it holds follows in the next line.
#[repr(C, align(64))]
pub(crate) struct CellHeader {
    /// Its size in lines, this one included. Written once, when the cell is first made.
    pub(crate) lines: AtomicU32,
    pub(crate) state: AtomicU32,
    /// Moves whenever the cell is freed: a handle names a cell *and* a generation.
    pub(crate) generation: AtomicU32,
    /// Free: the next free cell of the class. Child: its parent.
    pub(crate) link: AtomicU32,
    /// A bit for each participant that holds the cell, slots 0 to 127.
    pub(crate) holders: [AtomicU64; 2],
    /// A child cell with the bits of slots 128 and up; 0 while none of them came.
    pub(crate) more_holders: AtomicU32,
    pub(crate) kind: AtomicU16,
    /// What its data is, as far as that has a name: see `content.rs`. 0 where it has none, or there is no data.
    pub(crate) content: AtomicU16,
    /// How many bytes it holds.
    pub(crate) bytes: AtomicU32,
    /// A name, or where it was made: for people.
    pub(crate) label: UnsafeCell<[u8; LABEL]>,
}

// SAFETY: all but the label are atomics; a label is written by whoever has taken the arena's guard, before the cell lives.
unsafe impl Sync for CellHeader {}

impl CellHeader {
    /// A free cell of no size, in no arena.
    pub(crate) const fn nobodys() -> CellHeader {
        CellHeader {
            lines: AtomicU32::new(0),
            state: AtomicU32::new(0),
            generation: AtomicU32::new(0),
            link: AtomicU32::new(0),
            holders: [const { AtomicU64::new(0) }; 2],
            more_holders: AtomicU32::new(0),
            kind: AtomicU16::new(0),
            content: AtomicU16::new(0),
            bytes: AtomicU32::new(0),
            label: UnsafeCell::new([0; LABEL]),
        }
    }

    /// How many bytes it could hold.
    pub(crate) fn room(&self) -> usize {
        (self.lines.load(std::sync::atomic::Ordering::Relaxed) as usize).saturating_sub(1) * LINE
    }
}

pub(crate) const LABEL: usize = 20;

const _: () = {
    assert!(size_of::<Header>() <= LOW_START);
    assert!(LOW_START + LOW_SLOTS * LOW_BLOCK <= HIGH_START);
    assert!(HIGH_START + (SLOTS - LOW_SLOTS) * HIGH_BLOCK <= CELLS_START);
    assert!(size_of::<Participant>() <= HIGH_BLOCK);
    assert!(HIGH_BLOCK + LOW_SLOTS * size_of::<Robust>() <= LOW_BLOCK);
    assert!(size_of::<CellHeader>() == LINE);
    assert!(SLOTS.is_power_of_two());
};

/// Where a participant lies.
pub(crate) const fn participant(slot: usize) -> usize {
    if slot < LOW_SLOTS {
        LOW_START + slot * LOW_BLOCK
    } else {
        HIGH_START + (slot - LOW_SLOTS) * HIGH_BLOCK
    }
}

/// Where the bell lies that `slot` rings for `hearer`; both below [`LOW_SLOTS`].
pub(crate) const fn bell(slot: usize, hearer: usize) -> usize {
    LOW_START + slot * LOW_BLOCK + HIGH_BLOCK + hearer * size_of::<Robust>()
}

/// The pages that a participant's slot needs.
pub(crate) const fn pages(slot: usize) -> (u64, u64) {
    if slot < LOW_SLOTS {
        ((LOW_START + slot * LOW_BLOCK) as u64, LOW_BLOCK as u64)
    } else {
        ((participant(slot) & !4095) as u64, 4096)
    }
}
