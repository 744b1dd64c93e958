//! Whether a participant is dead. Nothing here asks for a pid, waits, or takes a lock.

use std::sync::atomic::{Ordering::*, fence};

use crate::shm::arena::{self, Arena};
use crate::shm::cells::Cell;
use crate::shm::layout::{Participant, SLOTS, ThreadWord};
use crate::sync::Scope;
use crate::sys::robust::Sign;

/// The slot that an incarnation has or had.
pub(super) const fn slot_of(incarnation: u32) -> usize {
    incarnation as usize % SLOTS
}

/// Whether the process of this incarnation will never run again. Once true it stays true.
pub(crate) fn is_dead(scope: Scope, incarnation: u32) -> bool {
    let arena = arena::at(scope);
    let participant = arena.participant(slot_of(incarnation));
    is_over(arena, participant, incarnation)
}

/// The same for a participant at hand.
pub(super) fn is_over(arena: &Arena, participant: &Participant, incarnation: u32) -> bool {
    loop {
        // A slot gets its next incarnation only after the last one was found dead.
        if participant.incarnation.load(Acquire) != incarnation {
            return true;
        }
        let before = participant.changes.load(Acquire);
        if participant.life.sign() == Sign::Held
            || threads(arena, participant).any(|word| word.held.sign() == Sign::Held)
        {
            return false;
        }
        // Each word was silent when we looked, but not all at one moment: if anything was handed over meanwhile, look again.
        // Every hand-over counts itself before it lets go of a word; a death hands nothing over.
        fence(Acquire);
        if participant.changes.load(Relaxed) == before {
            return true;
        }
    }
}

/// The thread words of a participant: the first one's, then the others'.
pub(super) fn threads<'a>(
    arena: &'a Arena,
    participant: &'a Participant,
) -> impl Iterator<Item = &'a ThreadWord> {
    let mut next = participant.threads.load(Acquire);
    let more = std::iter::from_fn(move || {
        let word = thread_word(arena, next)?;
        next = word.next.load(Acquire);
        Some(word)
    });
    // More do not fit: in a damaged arena the list may lead back to itself.
    let more = more.take(arena.room_for(size_of::<ThreadWord>()));
    std::iter::once(&participant.first).chain(more)
}

/// The cells of a participant's further thread words.
pub(crate) fn thread_lines<'a>(
    arena: &'a Arena,
    participant: &'a Participant,
) -> impl Iterator<Item = u32> + 'a {
    let links = threads(arena, participant)
        .skip(1)
        .map(|word| word.next.load(Acquire));
    std::iter::once(participant.threads.load(Acquire))
        .chain(links)
        .filter(|line| *line != 0)
}

pub(super) fn thread_word(arena: &Arena, line: u32) -> Option<&'static ThreadWord> {
    let body = (line != 0)
        .then(|| arena.body_of(Cell(line), size_of::<ThreadWord>()))
        .flatten()?;
    // SAFETY: as large as a thread word, aligned to a line; any bytes are a valid one.
    Some(unsafe { body.cast().as_ref() })
}

/// Whether the thread with this number came to its end, of an incarnation that lives.
pub(crate) fn thread_has_ended(scope: Scope, incarnation: u32, number: u32) -> bool {
    let arena = arena::at(scope);
    let participant = arena.participant(slot_of(incarnation));
    loop {
        let before = participant.changes.load(Acquire);
        let lives = threads(arena, participant)
            .any(|word| word.number.load(Relaxed) == number && word.held.sign() == Sign::Held);
        if lives {
            return false;
        }
        fence(Acquire);
        if participant.changes.load(Relaxed) == before {
            return participant.incarnation.load(Acquire) == incarnation;
        }
    }
}

/// Which process an incarnation was, for messages to people.
pub(crate) fn pid_of(scope: Scope, incarnation: u32) -> Option<u32> {
    let participant = arena::at(scope).participant(slot_of(incarnation));
    let same = incarnation != 0 && participant.incarnation.load(Acquire) == incarnation;
    same.then(|| participant.pid.load(Relaxed))
}

/// The incarnation that a slot has, or had last; 0 if it never had any.
pub(crate) fn owner_at_slot(scope: Scope, slot: usize) -> u32 {
    arena::at(scope).participant(slot).incarnation.load(Acquire)
}
