//! What a forked child has copied handles of is kept until it holds that itself.
//!
//! A child that was just forked has handles and no slot of its own: let its parent drop the same handles now, and their cells
//! would be freed under its feet. So a face whose programs fork as they please frames each fork by [`before`], [`in_parent`]
//! and [`in_child`]: a pipe is open in the child until it has joined, and the parent keeps what existed at the fork until then.
//! If the child dies first, or becomes another program, the pipe says so as well.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::arena::{self, Arena};
use super::cells::Cell;
use super::handle;
use crate::registry;
use crate::sys::clock::Deadline;
use crate::sys::local::Local;
use crate::sys::{fds, identity};

static FORKS: Local<Forks> = Local::new(Forks {
    awaited: Vec::new(),
    kept: Vec::new(),
});
/// The number of the last fork.
static LAST: AtomicU32 = AtomicU32::new(0);
/// How many children have not joined yet, or things been kept for one.
static UNSETTLED: AtomicU32 = AtomicU32::new(0);

#[derive(Default)]
struct Forks {
    /// Forks that are happening, or whose children have not joined yet.
    awaited: Vec<Awaited>,
    /// What this process has let go of since.
    kept: Vec<Kept>,
}

struct Awaited {
    /// What was made later is unknown to the child. While the fork is happening, everything may be known to it.
    number: u32,
    /// At its end when the child has joined, or is gone.
    child: OwnedFd,
    /// While the fork is happening: which thread forks, and the end that is to be the child's.
    begun: Option<(u32, OwnedFd)>,
}

struct Kept {
    arena: &'static Arena,
    cell: Cell,
    generation: u32,
    born: u32,
}

impl Forks {
    /// Whether a child that has not joined yet may have a handle that was made after so many forks.
    fn awaits(&self, born: u32) -> bool {
        self.awaited.iter().any(|fork| fork.number > born)
    }

    /// The fork that the calling thread has begun.
    fn begun(&mut self) -> Option<&mut Awaited> {
        let me = identity::thread_number();
        let is_mine =
            |fork: &&mut Awaited| matches!(&fork.begun, Some((thread, _)) if *thread == me);
        self.awaited.iter_mut().find(is_mine)
    }

    fn note(&self) {
        UNSETTLED.store((self.awaited.len() + self.kept.len()) as u32, Relaxed);
    }
}

/// How many forks there have been: what is made now is known to the children of later ones.
pub(super) fn moment() -> u32 {
    LAST.load(Relaxed)
}

/// Keeps a cell that this process lets go of, if a child that has not joined yet may have a handle on it; whether it does.
pub(super) fn keep(arena: &'static Arena, cell: Cell, generation: u32, born: u32) -> bool {
    if UNSETTLED.load(Relaxed) == 0 {
        return false;
    }
    let mut forks = FORKS.lock();
    let known = forks.kept.iter().any(|kept| {
        (kept.cell, kept.generation) == (cell, generation) && std::ptr::eq(kept.arena, arena)
    });
    if known || !forks.awaits(born) {
        return known;
    }
    forks.kept.push(Kept {
        arena,
        cell,
        generation,
        born,
    });
    forks.note();
    true
}

/// Lets go of what was kept for children that have joined since, or are gone.
pub(super) fn settle() {
    if UNSETTLED.load(Relaxed) == 0 {
        return;
    }
    let settled: Vec<Kept> = {
        let mut forks = FORKS.lock();
        forks
            .awaited
            .retain(|fork| !matches!(fds::wait_readable(&fork.child, Deadline::NOW), Ok(true)));
        let kept = std::mem::take(&mut forks.kept);
        let (still, settled) = kept.into_iter().partition(|kept| forks.awaits(kept.born));
        forks.kept = still;
        forks.note();
        settled
    };
    for Kept {
        arena,
        cell,
        generation,
        ..
    } in settled
    {
        handle::let_go_of(arena, cell, generation);
    }
}

/// This thread is about to fork.
pub(crate) fn before() {
    settle();
    if arena::all().any(handle::holds_any) {
        // Without a pipe the child is on its own: it joins as soon as it can.
        if let Ok((child, childs)) = fds::pipe() {
            let begun = Some((identity::thread_number(), childs));
            let mut forks = FORKS.lock();
            // From here on: another thread may let go of something before this one is back.
            forks.awaited.push(Awaited {
                number: u32::MAX,
                child,
                begun,
            });
            forks.note();
        }
    }
}

/// It has forked, or failed to.
pub(crate) fn in_parent() {
    let mut forks = FORKS.lock();
    if let Some(fork) = forks.begun() {
        fork.number = LAST.fetch_add(1, Relaxed) + 1;
        fork.begun = None;
    }
}

/// This is the child: it joins whatever it has handles in.
pub(crate) fn in_child() {
    let childs = {
        let mut forks = FORKS.lock();
        let childs = forks.begun().and_then(|fork| fork.begun.take());
        // The rest is the parent's business.
        forks.awaited.clear();
        forks.kept.clear();
        forks.note();
        childs
    };
    let joined = arena::all()
        .filter(|arena| handle::holds_any(arena))
        .all(|arena| registry::join(arena).is_ok());
    if !joined {
        // Not before this process ends.
        std::mem::forget(childs);
    }
}
