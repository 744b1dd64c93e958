//! Handles: how a process names and keeps a cell, and how that travels.

use std::collections::HashMap;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, Weak};

use serde::{Deserialize, Serialize};

use super::arena::{self, Arena};
use super::cells::{self, Cell, Kind};
use super::content::Content;
use super::pins::{self, Pin};
use super::{ShmError, forks, layout};
use crate::registry;
use crate::sync::Scope;

/// The cells that a process holds: one entry however many handles there are.
#[derive(Default)]
pub(crate) struct OpenCells(HashMap<(Cell, u32), Weak<Held>>);

/// A cell held by this process; letting go of the last copy lets go of the cell.
struct Held {
    arena: &'static Arena,
    cell: Cell,
    generation: u32,
    /// How many forks there had been.
    born: u32,
    /// How many of the copies stand for somebody who may use it, where that is counted.
    users: AtomicUsize,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut open = self.arena.open.lock();
        // Somebody may have opened it again since the last copy went: then a new entry stands in our place.
        if open
            .0
            .get(&(self.cell, self.generation))
            .is_none_or(|entry| entry.strong_count() == 0)
        {
            open.0.remove(&(self.cell, self.generation));
            if !forks::keep(self.arena, self.cell, self.generation, self.born) {
                let_go(self.arena, self.cell, self.generation);
            }
        }
        drop(open);
        forks::settle();
    }
}

/// This process has no handle on the cell any more. In a forked child that has not joined there is nothing to let go of.
fn let_go(arena: &'static Arena, cell: Cell, generation: u32) {
    if let Some(slot) = registry::slot(arena) {
        let guarded = arena.guard();
        if guarded.is_live(cell, generation) {
            guarded.let_go(cell, slot);
        }
    }
}

/// The same later, unless the cell has been opened again.
pub(super) fn let_go_of(arena: &'static Arena, cell: Cell, generation: u32) {
    let open = arena.open.lock();
    let entry = open.0.get(&(cell, generation));
    if entry.is_none_or(|entry| entry.strong_count() == 0) {
        let_go(arena, cell, generation);
    }
}

/// Whether this process has any handle into the arena.
pub(super) fn holds_any(arena: &Arena) -> bool {
    let open = arena.open.lock();
    open.0.values().any(|held| held.strong_count() > 0)
}

/// This process comes to its normal end: locks that it holds stay taken, and are nobody's. `false` if somebody else of this
/// process is at the list of handles.
pub(crate) fn leave_locks(arena: &Arena) -> bool {
    if registry::slot(arena).is_none() {
        return true;
    }
    let Some(open) = arena.open.try_lock() else {
        return false;
    };
    for ((cell, _), held) in &open.0 {
        let kind = arena.cell(*cell).map(|header| header.kind.load(Relaxed));
        if held.strong_count() > 0
            && kind == Some(Kind::Lock as u16)
            && let Some(body) = arena.body(*cell)
        {
            // SAFETY: held by this process, and a cell of that kind begins with a lock's word; any bits will do for it.
            unsafe { body.cast::<crate::sync::Lock>().as_ref() }.leave(arena.scope());
        }
    }
    true
}

/// A typed handle on a cell that holds a `B`.
pub(crate) struct Handle<B> {
    body: NonNull<B>,
    scope: Scope,
    held: Arc<Held>,
}

// SAFETY: a handle gives `&B` only, and every body is made of atomics or guarded by them.
unsafe impl<B: Sync> Send for Handle<B> {}
// SAFETY: as above.
unsafe impl<B: Sync> Sync for Handle<B> {}

impl<B> Clone for Handle<B> {
    fn clone(&self) -> Handle<B> {
        Handle {
            body: self.body,
            scope: self.scope,
            held: self.held.clone(),
        }
    }
}

/// What travels: which arena, which cell in which generation, what it should hold, and the pin that keeps it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Wire {
    arena: [u8; 16],
    line: u32,
    generation: u32,
    kind: u32,
    pin: Pin,
}

impl<B> Handle<B> {
    /// A new cell in an arena, `tail` bytes larger than a `B`, made by `init` from zeroed memory.
    pub(crate) fn create_in(
        arena: &'static Arena,
        kind: Kind,
        tail: usize,
        location: &Location<'_>,
        init: impl FnOnce(*mut B),
    ) -> Result<Handle<B>, ShmError> {
        const {
            assert!(
                align_of::<B>() <= layout::LINE,
                "what lies in an arena is aligned to 64 bytes at most"
            )
        };
        let slot = registry::join(arena)?;
        forks::settle();
        let bytes = size_of::<B>() + tail;
        let label = cells::site(location);
        let allocate = || {
            let cell = arena.guard().allocate(kind, bytes, slot, &label)?;
            arena
                .furnish(cell, bytes)
                .inspect_err(|_| arena.guard().let_go(cell, slot))?;
            Ok(cell)
        };
        let cell = match allocate() {
            Err(ShmError::NoSpace { .. } | ShmError::Full { .. }) => {
                registry::reap(arena);
                allocate()?
            }
            made => made?,
        };
        let body = arena
            .body(cell)
            .expect("a new cell lies inside its arena")
            .cast();
        init(body.as_ptr());
        let generation = arena
            .cell(cell)
            .map_or(0, |header| header.generation.load(Relaxed));
        let held = Arc::new(Held {
            arena,
            cell,
            generation,
            born: forks::moment(),
            users: AtomicUsize::new(1),
        });
        arena
            .open
            .lock()
            .0
            .insert((cell, generation), Arc::downgrade(&held));
        Ok(Handle {
            body,
            scope: arena.scope(),
            held,
        })
    }

    /// Says what the data is, before anybody else has a handle.
    pub(crate) fn made_of(self, content: Content) -> Handle<B> {
        if let Some(header) = self.held.arena.cell(self.held.cell) {
            header.content.store(content.number(), Relaxed);
        }
        self
    }

    /// What the data is.
    pub(crate) fn content(&self) -> Content {
        let header = self.held.arena.cell(self.held.cell);
        header.map_or(Content::UNNAMED, |header| {
            Content::from_number(header.content.load(Relaxed))
        })
    }

    /// The same handle on what lies at the cell's start as something else.
    ///
    /// # Safety
    /// The cell must begin with a `C`.
    pub(crate) unsafe fn cast<C>(self) -> Handle<C> {
        Handle {
            body: self.body.cast(),
            scope: self.scope,
            held: self.held,
        }
    }

    #[inline]
    pub(crate) fn body(&self) -> &B {
        // SAFETY: the cell is held as long as `held` lives, was made with room for a `B` of this kind, and is never moved.
        unsafe { self.body.as_ref() }
    }

    #[inline]
    pub(crate) fn pointer(&self) -> *const B {
        self.body.as_ptr()
    }

    #[inline]
    pub(crate) fn scope(&self) -> Scope {
        self.scope
    }

    /// What follows the `B`.
    pub(crate) fn tail<T>(&self, count: usize) -> &[T] {
        let bytes = self.bytes();
        assert!(
            size_of::<B>() + count * size_of::<T>() <= bytes && align_of::<T>() <= align_of::<B>()
        );
        // SAFETY: inside the cell, aligned (a `T` needs no more than a `B`), zeroed at first; `T`s are atomics.
        unsafe { std::slice::from_raw_parts(self.body.as_ptr().add(1).cast(), count) }
    }

    /// Where what follows the `B` begins.
    #[inline]
    pub(crate) fn tail_pointer<T>(&self) -> *mut T {
        const { assert!(align_of::<T>() <= align_of::<B>()) };
        // SAFETY: a cell holds a whole `B`, so this is its end at the furthest.
        unsafe { self.body.as_ptr().add(1).cast() }
    }

    /// What follows the `B`, known to be there.
    ///
    /// # Safety
    /// The cell must have been made with a tail of that many zeroed `T`s, which are atomics and aligned no more than a `B`.
    #[inline]
    pub(crate) unsafe fn tail_unchecked<T>(&self, count: usize) -> &[T] {
        // SAFETY: the caller's word.
        unsafe { std::slice::from_raw_parts(self.body.as_ptr().add(1).cast(), count) }
    }

    /// How many bytes the cell holds.
    pub(crate) fn bytes(&self) -> usize {
        self.held
            .arena
            .cell(self.held.cell)
            .map_or(0, |header| header.bytes.load(Relaxed) as usize)
    }

    /// Whether two handles name one cell.
    pub(crate) fn same(&self, other: &Handle<B>) -> bool {
        self.body == other.body
    }

    /// The same cell through another mapping of the same arena.
    pub(crate) fn through(&self, kind: Kind, scope: Scope) -> Result<Handle<B>, ShmError> {
        let (wire, pinned) = self.pack(kind)?;
        let bytes = self.bytes() as u32;
        let same = |found| found == bytes;
        wire.open(arena::at(scope), kind, Content::UNNAMED, same, |_| Ok(()))
            .inspect_err(|_| pinned.undo())
    }

    /// Counts one more user of this process, beside the one for whom the handle was made or opened.
    pub(crate) fn one_more_user(&self) {
        self.held.users.fetch_add(1, Relaxed);
    }

    /// The last of that; how many are left.
    pub(crate) fn one_user_less(&self) -> usize {
        self.held.users.fetch_sub(1, AcqRel) - 1
    }

    /// Whether nobody else who lives has a handle on the cell: no other process, no message on its way, no other user here
    /// but `others`.
    pub(crate) fn alone_with(&self, others: usize) -> bool {
        let Held { arena, cell, .. } = *self.held;
        registry::slot(arena).is_some_and(|slot| {
            // Under the guard: no message becomes a user meanwhile.
            let guarded = arena.guard();
            self.held.users.load(Acquire) <= 1 + others && !guarded.others_hold(cell, slot)
        })
    }

    /// The line at which the cell begins.
    pub(crate) fn line(&self) -> u32 {
        self.held.cell.0
    }

    pub(crate) fn arena(&self) -> &'static Arena {
        self.held.arena
    }

    /// Writes the handle for a message. The pin must be undone if the message is lost: see [`Handle::unpin`].
    pub(crate) fn pack(&self, kind: Kind) -> Result<(Wire, Pinned), ShmError> {
        let Held {
            arena,
            cell,
            generation,
            ..
        } = *self.held;
        let sender = registry::join(arena)?;
        let guarded = arena.guard();
        let pin = pins::pin(&guarded, cell, generation, sender as u32)?;
        guarded.is_given_away(cell);
        drop(guarded);
        let wire = Wire {
            arena: arena.header().id,
            line: cell.0,
            generation,
            kind: kind as u32,
            pin,
        };
        Ok((wire, Pinned { arena, pin }))
    }
}

/// A pin that this process set.
pub(crate) struct Pinned {
    arena: &'static Arena,
    pin: Pin,
}

impl Pinned {
    pub(crate) fn pin(&self) -> Pin {
        self.pin
    }

    /// The message was not sent, or nobody will ever open it.
    pub(crate) fn undo(&self) {
        pins::unpin(&self.arena.guard(), self.pin);
    }
}

/// What a cell that is to be opened says of itself.
pub(crate) struct Found {
    pub(crate) kind: Option<Kind>,
    pub(crate) content: Content,
    pub(crate) bytes: u32,
}

impl Found {
    /// It is something else.
    pub(crate) fn is_not(&self, wanted: &'static str, wanted_bytes: u32) -> ShmError {
        ShmError::WrongKind {
            found: self.kind.map_or("unknown thing", Kind::name),
            found_bytes: self.bytes,
            wanted,
            wanted_bytes,
        }
    }
}

impl Wire {
    pub(crate) fn arena_id(&self) -> [u8; 16] {
        self.arena
    }

    /// Opens what a message named: `fits` says how many bytes a cell of that kind must have, and `look` whether what is there
    /// will do.
    pub(crate) fn open<B>(
        &self,
        arena: &'static Arena,
        kind: Kind,
        content: Content,
        fits: impl FnOnce(u32) -> bool,
        look: impl FnOnce(&B) -> Result<(), ShmError>,
    ) -> Result<Handle<B>, ShmError> {
        self.open_as(arena, |cell, body| {
            if cell.kind == Some(kind)
                && let (Some(found), Some(wanted)) = (cell.content.name(), content.name())
                && !cell.content.fits(content)
            {
                return Err(ShmError::WrongContent {
                    kind: kind.name(),
                    found,
                    wanted,
                });
            }
            if cell.kind != Some(kind) || self.kind != kind as u32 || !fits(cell.bytes) {
                return Err(cell.is_not(kind.name(), size_of::<B>() as u32));
            }
            // SAFETY: a cell of that kind and size holds one, and is not freed while we have the arena's guard.
            look(unsafe { body.cast().as_ref() })
        })
    }

    /// Opens what a message named if `judge`, who sees what it is, has nothing against it. Whoever asks vouches that a `B`
    /// lies there then.
    pub(crate) fn open_as<B>(
        &self,
        arena: &'static Arena,
        judge: impl FnOnce(&Found, NonNull<u8>) -> Result<(), ShmError>,
    ) -> Result<Handle<B>, ShmError> {
        let slot = registry::join(arena)?;
        let (cell, generation) = (Cell(self.line), self.generation);
        let mut open = arena.open.lock();
        let guarded = arena.guard();
        if !pins::is_set(&guarded, self.pin, cell, generation) || !guarded.is_live(cell, generation)
        {
            return Err(ShmError::Stale);
        }
        let header = arena.cell(cell).ok_or(ShmError::Stale)?;
        let body = arena.body(cell).ok_or(ShmError::Stale)?;
        let found = Found {
            kind: Kind::from_number(header.kind.load(Relaxed)),
            content: Content::from_number(header.content.load(Relaxed)),
            bytes: header.bytes.load(Relaxed),
        };
        judge(&found, body)?;
        let body = body.cast();
        guarded.hold(cell, slot)?;
        let entry = open.0.entry((cell, generation)).or_default();
        let held = entry.upgrade().unwrap_or_else(|| {
            Arc::new(Held {
                arena,
                cell,
                generation,
                born: forks::moment(),
                users: AtomicUsize::new(0),
            })
        });
        *entry = Arc::downgrade(&held);
        // A user before the message is none: see `alone_with`.
        held.users.fetch_add(1, Relaxed);
        pins::unpin(&guarded, self.pin);
        drop(guarded);
        drop(open);
        Ok(Handle {
            body,
            scope: arena.scope(),
            held,
        })
    }
}

/// A forked child that joins holds what its parent's handles, copied into it, name, as far as that still lives.
pub(crate) fn hold_inherited(arena: &'static Arena, slot: usize) {
    let open = arena.open.lock();
    let guarded = arena.guard();
    for (cell, generation) in open
        .0
        .iter()
        .filter(|(_, held)| held.strong_count() > 0)
        .map(|(key, _)| *key)
    {
        if guarded.is_live(cell, generation) {
            // Without room for the bit the cell is as unprotected as it was a moment ago.
            let _ = guarded.hold(cell, slot);
        }
    }
}
