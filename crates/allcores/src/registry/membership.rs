//! Joining an arena, as a process and as a thread, and leaving it.

use std::cell::Cell as ThreadCell;
use std::os::fd::AsFd;
use std::ptr::null;
use std::sync::atomic::Ordering::*;

use super::judge::{is_over, slot_of, thread_word, threads};
use super::warden;
use crate::shm::ShmError;
use crate::shm::arena::{self, Arena};
use crate::shm::cells::{Cell, Guarded};
use crate::shm::layout::{self, LOW_SLOTS, Participant, SLOTS, ThreadWord};
use crate::sync::Scope;
use crate::sys::identity::{self, SCOPES};
use crate::sys::robust::{self, Sign};
use crate::sys::{fork, futex, memory};

/// The first incarnations: above every thread id, so that no word can be mistaken for one of libc's.
const FIRST: u32 = 1 << 29;

/// This process's part in one arena.
#[derive(Default)]
pub(crate) struct Membership {
    /// The fork generation in which it joined.
    generation: u32,
    incarnation: u32,
    /// The thread that holds the life word and the row of bells; 0 while nobody does.
    row_holder: u32,
}

thread_local! {
    /// The thread word that this thread holds in each arena.
    static WORDS: [ThreadCell<*const ThreadWord>; SCOPES] = const { [const { ThreadCell::new(null()) }; SCOPES] };
}

/// This process's slot in the arena, if it has joined.
pub(crate) fn slot(arena: &Arena) -> Option<usize> {
    incarnation(arena).map(slot_of)
}

/// This process's incarnation in the arena, if it has joined since it was forked.
pub(super) fn incarnation(arena: &Arena) -> Option<u32> {
    let joined = arena.joined.load(Acquire);
    let current = (joined >> 32) as u32 == fork::generation() && joined as u32 != 0;
    current.then_some(joined as u32)
}

/// This process's incarnation in the scope's arena; 0 if it has not joined.
#[cold]
pub(crate) fn known(scope: Scope) -> u32 {
    incarnation(arena::at(scope)).unwrap_or(0)
}

/// Makes this process a participant, if it is none yet and has room. May run in a signal handler: if the very thread that
/// was interrupted is joining, or opens or drops a handle, nothing is done.
#[cold]
pub(crate) fn join_if_idle(scope: Scope) {
    let arena = arena::at(scope);
    if incarnation(arena).is_none() && !arena.membership.is_mine() && !arena.open.is_mine() {
        // Without room, its death is not heard: those who wait for it look round by themselves if it ever had a place.
        let _ = enter(arena);
    }
}

/// Makes this process a participant, if it is none yet; its slot.
pub(crate) fn join(arena: &'static Arena) -> Result<usize, ShmError> {
    if let Some(slot) = slot(arena) {
        return Ok(slot);
    }
    enter(arena).map(slot_of)
}

/// Makes the calling thread known, and its process if need be; the process's incarnation.
///
/// # Panics
/// If the arena has no room for one more thread or process. Those who create or open handles are told that by an error.
pub(crate) fn introduce_thread(scope: Scope) -> u32 {
    enter(arena::at(scope))
        .unwrap_or_else(|error| panic!("this thread cannot take locks in shared memory: {error}"))
}

fn enter(arena: &'static Arena) -> Result<u32, ShmError> {
    let number = identity::thread_number();
    identity::at_thread_end();
    let mut membership = arena.membership.lock();
    let generation = fork::generation();
    if membership.generation != generation {
        *membership = Membership {
            generation,
            ..Membership::default()
        };
    }
    let index = arena.scope().index();
    if identity::cached(index) != 0 {
        return Ok(membership.incarnation);
    }
    let fresh = membership.incarnation == 0;
    let word = if fresh {
        let (incarnation, word) = join_as_process(arena, number)?;
        *membership = Membership {
            generation,
            incarnation,
            row_holder: number,
        };
        arena.joined.store(
            u64::from(generation) << 32 | u64::from(incarnation),
            Release,
        );
        word
    } else {
        let participant = arena.participant(slot_of(membership.incarnation));
        let word = join_as_thread(arena, participant, number)?;
        if membership.row_holder == 0 {
            take_row(arena, &mut membership, number);
        }
        word
    };
    WORDS.with(|words| words[index].set(word));
    identity::remember(index, membership.incarnation);
    let (incarnation, slot) = (membership.incarnation, slot_of(membership.incarnation));
    drop(membership);
    if fresh {
        crate::shm::handle::hold_inherited(arena, slot);
    }
    Ok(incarnation)
}

/// Claims a slot for this process, and the calling thread's word in it.
fn join_as_process(
    arena: &'static Arena,
    number: u32,
) -> Result<(u32, &'static ThreadWord), ShmError> {
    let header = arena.header();
    let guarded = arena.guard();
    let slot = free_slot(arena).ok_or(ShmError::TooManyProcesses { limit: SLOTS })?;
    let participant = arena.participant(slot);
    if slot >= header.high.load(Relaxed) as usize {
        let (offset, length) = layout::pages(slot);
        memory::provide(arena.as_fd(), offset, length).map_err(|source| ShmError::NoSpace {
            wanted: length,
            source,
        })?;
        participant.life.init();
        participant.first.held.init();
        if slot < LOW_SLOTS {
            (0..LOW_SLOTS).for_each(|hearer| arena.bell(slot, hearer).init());
        }
        header.high.store(slot as u32 + 1, Release);
    }
    let last = participant.incarnation.load(Relaxed);
    settle(&guarded, participant, slot);
    let incarnation = match last {
        0 => FIRST + slot as u32,
        last if last.saturating_add(SLOTS as u32) >= FIRST * 2 => FIRST + slot as u32,
        last if slot_of(last) == slot => last + SLOTS as u32,
        _ => return Err(DAMAGED_SLOT),
    };
    participant.pid.store(std::process::id(), Relaxed);
    participant.changes.fetch_add(1, Release);
    // Before the life word is taken: the last incarnation must not seem to live again for even a moment. Nobody knows the
    // new one yet, so nobody can find it dead.
    participant.incarnation.store(incarnation, Release);
    // A free slot's life word is free, and slots are claimed under the guard.
    if !participant.life.try_lock() {
        return Err(DAMAGED_SLOT);
    }
    participant.life.ring_on_death();
    occupy(&participant.first, number)?;
    ring_row(arena, slot);
    header.members.fetch_add(1, Release);
    drop(guarded);
    futex::wake(header.members.as_ptr(), true, u32::MAX);
    Ok((incarnation, &participant.first))
}

/// The lowest slot without a living participant: low ones have bells.
fn free_slot(arena: &Arena) -> Option<usize> {
    let high = arena.header().high.load(Acquire) as usize;
    (0..SLOTS).find(|slot| {
        let participant = arena.participant(*slot);
        *slot >= high
            || participant.life.sign() != Sign::Held
                && is_over(arena, participant, participant.incarnation.load(Acquire))
    })
}

/// The last participant of the slot is dead: what it held is let go, and its thread words are freed.
fn settle(guarded: &Guarded<'_>, participant: &Participant, slot: usize) {
    let incarnation = participant.incarnation.load(Relaxed);
    if participant.settled.load(Relaxed) == incarnation {
        return;
    }
    guarded.settle(slot);
    for _ in 0..guarded.arena.room_for(size_of::<ThreadWord>()) {
        let line = participant.threads.load(Acquire);
        let Some(word) = thread_word(guarded.arena, line) else {
            break;
        };
        participant.threads.store(word.next.load(Relaxed), Release);
        guarded.free_child(Cell(line));
    }
    participant.settled.store(incarnation, Release);
}

const DAMAGED_SLOT: ShmError = ShmError::Damaged {
    reason: "the words of a participant that is none are taken",
};

fn occupy(word: &ThreadWord, number: u32) -> Result<(), ShmError> {
    // Only this process's threads, one at a time, take its thread words.
    if !word.held.try_lock() {
        return Err(DAMAGED_SLOT);
    }
    word.number.store(number, Relaxed);
    word.native.store(identity::native_id(), Relaxed);
    Ok(())
}

/// Rings for all who may listen, in the calling thread's name.
fn ring_row(arena: &Arena, slot: usize) {
    if slot < LOW_SLOTS {
        for hearer in 0..LOW_SLOTS {
            let bell = arena.bell(slot, hearer);
            if bell.try_lock() {
                bell.ring_on_death();
            }
        }
    }
}

/// A word for one more thread: one that an ended thread left, or a new one.
fn join_as_thread(
    arena: &'static Arena,
    participant: &'static Participant,
    number: u32,
) -> Result<&'static ThreadWord, ShmError> {
    // Counted before and after: see `judge`.
    participant.changes.fetch_add(1, AcqRel);
    let left = threads(arena, participant).find(|word| word.held.sign() != Sign::Held);
    let word = match left {
        Some(word) => word,
        None => {
            // Linked under the guard: a word that is in no list when the guard's holder has died belongs to nobody.
            let guarded = arena.guard();
            let cell = guarded.allocate_child(0, size_of::<ThreadWord>())?;
            let word = thread_word(arena, cell.0).expect("a new cell lies inside its arena");
            word.held.init();
            word.next.store(participant.threads.load(Relaxed), Relaxed);
            participant.threads.store(cell.0, Release);
            word
        }
    };
    occupy(word, number)?;
    participant.changes.fetch_add(1, AcqRel);
    Ok(word)
}

/// The calling thread, which holds a thread word, takes the life word and the row that nobody holds.
fn take_row(arena: &'static Arena, membership: &mut Membership, number: u32) {
    let slot = slot_of(membership.incarnation);
    let participant = arena.participant(slot);
    // Somebody may be looking whether the slot is free: not for long.
    if participant.life.lock() {
        participant.changes.fetch_add(1, AcqRel);
    }
    participant.life.ring_on_death();
    ring_row(arena, slot);
    membership.row_holder = number;
    participant.changes.fetch_add(1, AcqRel);
    announce(arena);
}

fn announce(arena: &Arena) {
    let members = &arena.header().members;
    members.fetch_add(1, Release);
    futex::wake(members.as_ptr(), true, u32::MAX);
}

/// For the warden: the calling thread becomes known and takes over the row.
pub(super) fn succeed(arena: &'static Arena) -> Result<(), ShmError> {
    enter(arena).map(|_| ())
}

/// For the warden: takes the row as soon as it is free.
pub(super) fn take_free_row(arena: &'static Arena) {
    let mut membership = arena.membership.lock();
    if membership.row_holder == 0 && membership.generation == fork::generation() {
        take_row(arena, &mut membership, identity::thread_number());
    }
}

/// Takes the row if nobody of this process holds it and that needs no waiting: for those who are about to sleep, perhaps in
/// a signal handler.
pub(super) fn take_free_row_if_idle(arena: &'static Arena) {
    if identity::cached(arena.scope().index()) == 0 || robust::is_at_the_list() {
        return;
    }
    if let Some(mut membership) = arena.membership.try_lock()
        && membership.row_holder == 0
        && membership.incarnation != 0
        && membership.generation == fork::generation()
    {
        take_row(arena, &mut membership, identity::thread_number());
    }
}

/// The calling thread comes to its end: its words say so, and the row goes to another thread of this process.
pub(crate) fn this_thread_ends() {
    for arena in arena::all() {
        let index = arena.scope().index();
        let word = WORDS.with(|words| words[index].replace(null()));
        if identity::cached(index) == 0 || word.is_null() {
            continue;
        }
        // SAFETY: thread words lie in an arena, which is never unmapped.
        leave(arena, unsafe { &*word });
        identity::remember(index, 0);
    }
}

fn leave(arena: &'static Arena, word: &'static ThreadWord) {
    let mut membership = arena.membership.lock();
    if membership.generation != fork::generation() {
        return;
    }
    let slot = slot_of(membership.incarnation);
    let participant = arena.participant(slot);
    // At any moment at least one word of a living process is held: what a thread that has ended still owns stays owned.
    let others = threads(arena, participant)
        .any(|other| !std::ptr::eq(other, word) && other.held.sign() == Sign::Held);
    let warden = if others {
        None
    } else {
        drop(membership);
        let warden = warden::hire(arena);
        membership = arena.membership.lock();
        Some(warden)
    };
    participant.changes.fetch_add(1, AcqRel);
    if membership.row_holder == identity::cached(0) {
        if slot < LOW_SLOTS {
            (0..LOW_SLOTS).for_each(|hearer| arena.bell(slot, hearer).unlock());
        }
        participant.life.unlock();
        membership.row_holder = 0;
    }
    // Before the word is free: whoever takes it next holds it for a moment before its own number is written, and must not
    // seem to be us meanwhile.
    word.number.store(0, Relaxed);
    word.held.unlock();
    participant.changes.fetch_add(1, AcqRel);
    drop(membership);
    if let Some(warden) = warden {
        warden.take_over();
    }
    announce(arena);
}

/// Settles the slots of all who died, so that what they held is free again.
pub(crate) fn reap(arena: &'static Arena) {
    if slot(arena).is_none() {
        return;
    }
    let guarded = arena.guard();
    let high = arena.header().high.load(Acquire) as usize;
    for slot in 0..high.min(SLOTS) {
        let participant = arena.participant(slot);
        let incarnation = participant.incarnation.load(Acquire);
        // The life word is left alone: while we held it, the dead would seem to live.
        if participant.settled.load(Acquire) != incarnation
            && is_over(arena, participant, incarnation)
        {
            settle(&guarded, participant, slot);
        }
    }
}

/// [`reap`] in every arena of this process: after a child has ended.
pub(crate) fn reap_all() {
    arena::all().for_each(reap);
}
