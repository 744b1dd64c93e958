//! Pins: a message on its way keeps the cell that it names alive until it is opened, or is known to be lost.
//!
//! A pin is a record and not a count, so that the receiver's opening and the sender's clearing up after a dead receiver
//! each take it back exactly once, whoever comes first. A pin that neither ever does stays until the arena ends.

use std::sync::atomic::{AtomicU32, Ordering::*};

use super::ShmError;
use super::cells::{Cell, Guarded};

/// How many pins a block has.
const BLOCK: usize = 62;

#[repr(C)]
struct Block {
    next: AtomicU32,
    _spare: [u32; 3],
    pins: [PinWord; BLOCK],
}

#[repr(C)]
struct PinWord {
    /// The cell's line; 0 for a pin not in use.
    cell: AtomicU32,
    generation: AtomicU32,
    /// Moves at each use, so that a late hand does not take back somebody else's pin.
    tag: AtomicU32,
    /// Who sent it, for people.
    sender: AtomicU32,
}

/// A pin in use: which, and in which of its uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Pin {
    index: u32,
    tag: u32,
}

impl Pin {
    /// As it lies in memory.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        (u64::from(self.tag) << 32 | u64::from(self.index)).to_le_bytes()
    }

    /// From what lay in memory.
    pub(crate) fn from_bytes(bytes: [u8; 8]) -> Pin {
        let word = u64::from_le_bytes(bytes);
        Pin {
            index: word as u32,
            tag: (word >> 32) as u32,
        }
    }
}

fn blocks<'a>(guarded: &'a Guarded<'_>) -> impl Iterator<Item = &'static Block> + 'a {
    let mut line = guarded.arena.header().guard.pins.load(Acquire);
    let blocks = std::iter::from_fn(move || {
        let body = (line != 0)
            .then(|| guarded.arena.body_of(Cell(line), size_of::<Block>()))
            .flatten()?;
        // SAFETY: blocks are allocated with the size of a Block, zeroed and aligned to a line; any bytes are a valid one.
        let block = unsafe { body.cast::<Block>().as_ref() };
        line = block.next.load(Acquire);
        Some(block)
    });
    // More do not fit: in a damaged arena the list may lead back to itself.
    blocks.take(guarded.arena.room_for(size_of::<Block>()))
}

/// The cells that hold pins.
pub(super) fn lines<'a>(guarded: &'a Guarded<'_>) -> impl Iterator<Item = u32> + 'a {
    let first = guarded.arena.header().guard.pins.load(Acquire);
    let links = blocks(guarded).map(|block| block.next.load(Acquire));
    std::iter::once(first)
        .chain(links)
        .filter(|line| *line != 0)
}

/// Whether a message carries the cell.
pub(super) fn pinned(guarded: &Guarded<'_>, cell: Cell) -> bool {
    blocks(guarded)
        .flat_map(|block| &block.pins)
        .any(|pin| pin.cell.load(Acquire) == cell.0)
}

/// How many messages carry cells.
pub(crate) fn count(guarded: &Guarded<'_>) -> usize {
    blocks(guarded)
        .flat_map(|block| &block.pins)
        .filter(|pin| pin.cell.load(Relaxed) != 0)
        .count()
}

/// Pins a cell that the caller holds.
pub(crate) fn pin(
    guarded: &Guarded<'_>,
    cell: Cell,
    generation: u32,
    sender: u32,
) -> Result<Pin, ShmError> {
    let mut last = None;
    for (number, block) in blocks(guarded).enumerate() {
        if let Some(index) = block
            .pins
            .iter()
            .position(|pin| pin.cell.load(Relaxed) == 0)
        {
            return Ok(set(
                &block.pins[index],
                number * BLOCK + index,
                cell,
                generation,
                sender,
            ));
        }
        last = Some((number, block));
    }
    let fresh = guarded.allocate_child(0, size_of::<Block>())?;
    let link = last.map_or(&guarded.arena.header().guard.pins, |(_, block)| &block.next);
    link.store(fresh.0, Release);
    let number = last.map_or(0, |(number, _)| number + 1);
    let block = blocks(guarded).nth(number).ok_or(ShmError::Damaged {
        reason: "its list of pins leads back to itself",
    })?;
    Ok(set(
        &block.pins[0],
        number * BLOCK,
        cell,
        generation,
        sender,
    ))
}

fn set(word: &PinWord, index: usize, cell: Cell, generation: u32, sender: u32) -> Pin {
    let tag = word.tag.load(Relaxed).wrapping_add(1);
    word.tag.store(tag, Relaxed);
    word.generation.store(generation, Relaxed);
    word.sender.store(sender, Relaxed);
    word.cell.store(cell.0, Release);
    Pin {
        index: index as u32,
        tag,
    }
}

/// Whether the pin still holds that cell in that generation.
pub(crate) fn is_set(guarded: &Guarded<'_>, pin: Pin, cell: Cell, generation: u32) -> bool {
    find(guarded, pin).is_some_and(|word| {
        word.cell.load(Acquire) == cell.0 && word.generation.load(Relaxed) == generation
    })
}

/// Takes the pin back; `false` if somebody else did.
pub(crate) fn unpin(guarded: &Guarded<'_>, pin: Pin) -> bool {
    let Some(cell) = take_back(guarded, pin) else {
        return false;
    };
    guarded.free_if_unused(cell);
    guarded.one_less(cell, false);
    true
}

/// The same, but leaves it to the caller to look what becomes of the cell.
pub(super) fn take_back(guarded: &Guarded<'_>, pin: Pin) -> Option<Cell> {
    let cell = find(guarded, pin)?.cell.swap(0, AcqRel);
    (cell != 0).then_some(Cell(cell))
}

fn find(guarded: &Guarded<'_>, pin: Pin) -> Option<&'static PinWord> {
    let block = blocks(guarded).nth(pin.index as usize / BLOCK)?;
    let word = &block.pins[pin.index as usize % BLOCK];
    (word.tag.load(Relaxed) == pin.tag && word.cell.load(Relaxed) != 0).then_some(word)
}
