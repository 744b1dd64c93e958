//! Whose memory a word lies in: decides what "me" is called there, who can be gone, and how sleepers are woken.

use std::alloc::Layout;
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::registry;
use crate::sys::identity::{self, Fate};
use crate::sys::{fork, futex};

/// In an arena: the owner of a lock whose holder came to a normal end and left it taken. Lower than any incarnation, and never
/// gone.
pub(super) const NOBODY: u32 = 1;

/// Private memory, or one of the mapped arenas. A plain number beside the words, never a type: one machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope(u8);

impl Scope {
    /// This process's own memory.
    pub const PRIVATE: Scope = Scope(0);

    /// The arena mapped at this place of the process's table (1 to 15).
    pub(crate) const fn arena(index: u8) -> Scope {
        Scope(index)
    }

    /// The place in the process's table of arenas; 0 for private memory.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// Whether other processes see the words.
    #[inline]
    pub const fn is_shared(self) -> bool {
        self.0 != 0
    }

    /// What lock words call me: this thread's number, or this process's incarnation. Registers on first use.
    #[inline]
    pub(crate) fn me(self) -> u32 {
        match identity::cached(self.index()) {
            0 => self.introduce(),
            me => me,
        }
    }

    /// [`Scope::me`] without registering: 0 for one that has never been here, and so cannot hold anything.
    #[inline]
    pub(crate) fn known(self) -> u32 {
        match identity::cached(self.index()) {
            // This thread is new here, but its process may hold what another thread has taken.
            0 if self.is_shared() => registry::known(self),
            me => me,
        }
    }

    /// Whether this thread has made itself known: then [`Scope::me`] waits for nobody.
    pub(crate) fn knows_this_thread(self) -> bool {
        identity::cached(self.index()) != 0
    }

    /// To be called before taking it upon oneself to wake others, or to be woken in their place: whoever is killed in the
    /// midst of that must be heard to die. Nothing to do but in a forked child that has only used its parent's handles. May
    /// run in a signal handler.
    #[inline]
    pub(crate) fn be_heard(self) {
        if self.is_shared() && identity::cached(self.index()) == 0 {
            registry::join_if_idle(self);
        }
    }

    /// This thread among all threads of all processes in this scope: `what lock words call me << 32 | its number`.
    /// Registers on first use.
    ///
    /// # Panics
    /// If the arena has no room for one more thread or process.
    #[inline]
    pub fn me_and_thread(self) -> u64 {
        match identity::cached_with_thread(self.index()) {
            0 => u64::from(self.introduce()) << 32 | u64::from(identity::thread_number()),
            me => me,
        }
    }

    /// [`Scope::me_and_thread`] without registering: 0 for a thread that has never been here.
    #[inline]
    pub fn known_and_thread(self) -> u64 {
        identity::cached_with_thread(self.index())
    }

    #[cold]
    fn introduce(self) -> u32 {
        if self.is_shared() {
            registry::introduce_thread(self)
        } else {
            identity::thread_number()
        }
    }

    /// Whether the owner of a word can never come back to it: its process died, or it vanished in a fork. The plain end
    /// of a thread is no such thing.
    pub(crate) fn is_gone(self, owner: u32) -> bool {
        if self.is_shared() {
            owner != NOBODY && registry::is_dead(self, owner)
        } else {
            fork::generation() != 0 && identity::fate(owner) == Fate::Vanished
        }
    }

    /// Whether this thread of an owner that is not gone has come to its end.
    pub(crate) fn thread_has_ended(self, owner: u32, thread: u32) -> bool {
        if self.is_shared() {
            registry::thread_has_ended(self, owner, thread)
        } else {
            identity::fate(thread) != Fate::Alive
        }
    }

    /// The participant that uses this slot of the scope now, or used it last; 0 if none ever did.
    pub(crate) fn owner_at_slot(self, slot: usize) -> u32 {
        if self.is_shared() {
            registry::owner_at_slot(self, slot)
        } else {
            0
        }
    }

    /// Zeroed memory of the same kind for a primitive that outgrows its cell, as a link that means the same to all who
    /// see that cell. In an arena it is freed together with the cell at `near`.
    pub(crate) fn alloc_block(self, near: *const (), bytes: usize) -> Option<u64> {
        if self.is_shared() {
            return registry::alloc_child(self, near, bytes);
        }
        // SAFETY: the layout is not empty.
        let block = unsafe { std::alloc::alloc_zeroed(block_layout(bytes)) };
        (!block.is_null()).then_some(block as u64)
    }

    /// Where the block of a link lies; `None` for a link that no arena could have given out.
    pub(crate) fn resolve_block(self, link: u64, bytes: usize) -> Option<*const u8> {
        if self.is_shared() {
            registry::resolve(self, link, bytes)
        } else {
            Some(link as *const u8)
        }
    }

    /// Frees a block of private memory; those of an arena go with their cell.
    ///
    /// # Safety
    /// `link` must come from [`Scope::alloc_block`] with as many bytes, and nobody may use the block any more.
    pub(crate) unsafe fn free_block(self, link: u64, bytes: usize) {
        if !self.is_shared() {
            // SAFETY: allocated by `alloc_block` with this very layout, as the caller promises.
            unsafe { std::alloc::dealloc(link as *mut u8, block_layout(bytes)) };
        }
    }

    /// [`Scope::wake`] for those who sleep on the low half of a word.
    #[inline]
    pub(crate) fn wake_low(self, word: *const AtomicU64, count: u32) {
        // Little-endian: the low half comes first.
        self.wake(word.cast(), count);
    }

    /// Wakes at most `count` sleepers and says how many; see [`futex::wake`] about memory that is gone.
    #[inline]
    pub(crate) fn wake(self, word: *const AtomicU32, count: u32) -> u32 {
        futex::wake(word.cast(), self.is_shared(), count)
    }
}

fn block_layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 64).expect("a block is some kilobytes at most")
}
