//! The two directions of a channel, each used by one thread at a time.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::sync::{Acquired, Lock, Scope};
use crate::sys::clock::Deadline;

/// One of our own locks and not std's: in a forked process, one that another thread held at the fork is free.
#[derive(Default)]
pub(super) struct Direction {
    lock: Lock,
    /// Out of step for good.
    lost: AtomicBool,
}

impl fmt::Debug for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.lost.load(Relaxed) {
            "lost"
        } else {
            "open"
        })
    }
}

/// A direction, for as long as one message takes.
pub(super) struct Turn<'a> {
    direction: &'a Direction,
    orphaned: bool,
}

/// Why there is no turn.
pub(super) enum NoTurn {
    OutOfStep,
    TimedOut,
}

impl<'a> Turn<'a> {
    pub(super) fn take(direction: &'a Direction, deadline: Deadline) -> Result<Turn<'a>, NoTurn> {
        let orphaned = loop {
            match direction.lock.acquire(Scope::PRIVATE, deadline) {
                Acquired::Yes => break false,
                Acquired::OwnerDied(_) => {
                    direction.lock.recover();
                    break true;
                }
                Acquired::TimedOut => return Err(NoTurn::TimedOut),
                Acquired::Interrupted => {}
            }
        };
        let turn = Turn {
            direction,
            orphaned,
        };
        match direction.lost.load(Relaxed) {
            true => Err(NoTurn::OutOfStep),
            false => Ok(turn),
        }
    }

    /// This process was forked while another thread had the turn, and was in the middle of something.
    pub(super) fn is_orphaned(&self) -> bool {
        self.orphaned
    }

    /// The next frame cannot be found any more.
    pub(super) fn is_lost(&mut self) {
        self.direction.lost.store(true, Relaxed);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // SAFETY: the lock lives in the stream that is borrowed here.
        unsafe { Lock::release_mine(&self.direction.lock, Scope::PRIVATE) };
    }
}
