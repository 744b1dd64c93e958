//! What has been taken and is not done yet: for queues that one can join.
//!
//! What is left to do is what was put less what is done, so no death can make it wrong. The accounts only tell whether
//! somebody alive may still do it: each process has one, and one that is gone does nothing more.

use std::sync::atomic::Ordering::*;

use super::body::Moved;
use super::core::Core;
use crate::registry;
use crate::shm::layout::SLOTS;
use crate::sync::sleep::Sleeper;
use crate::sync::{Deadline, Slept};

/// More was said to be done than was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task_done() was called more often than there were items in the queue")]
pub struct TooManyDone;

/// Items were taken by processes that ended before they were done with them: they will never be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{count} items were taken by processes that are gone and will never be done; forget_lost() takes note of that"
)]
pub struct ItemsLost {
    /// How many.
    pub count: u64,
}

/// How a join ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    AllDone,
    Lost(u64),
    TimedOut,
    Interrupted,
}

const fn account(incarnation: u32, open: i32) -> u64 {
    (incarnation as u64) << 32 | open as u32 as u64
}
const fn incarnation(account: u64) -> u32 {
    (account >> 32) as u32
}
const fn open(account: u64) -> i32 {
    account as u32 as i32
}

impl Core {
    /// This process has taken so many more than it has done. For the consumer whose turn it is, or one that is done.
    pub(super) fn account(&self, more: i32) {
        let me = self.scope().me();
        let mine = &self.accounts()[me as usize % SLOTS];
        let mut seen = mine.load(Relaxed);
        loop {
            let before = if incarnation(seen) == me {
                open(seen)
            } else {
                0
            };
            let now = account(me, before.wrapping_add(more));
            match mine.compare_exchange_weak(seen, now, AcqRel, Relaxed) {
                Ok(_) => break,
                Err(other) => seen = other,
            }
        }
        // What the last process in this slot did on behalf of others stays done.
        if incarnation(seen) != me && open(seen) < 0 {
            let helped = u64::from(open(seen).unsigned_abs());
            self.body().done.helped.fetch_add(helped, Relaxed);
        }
    }

    /// One that was put is done.
    pub(crate) fn task_done(&self) -> Result<(), TooManyDone> {
        let done = &self.body().done;
        let put = || Moved::count(self.body().put.moved.word.load(Acquire));
        let mut count = done.count.load(Relaxed);
        loop {
            if count == put() {
                return Err(TooManyDone);
            }
            match done
                .count
                .compare_exchange_weak(count, count + 1, AcqRel, Relaxed)
            {
                Ok(_) => break,
                Err(now) => count = now,
            }
        }
        self.account(-1);
        if count + 1 == put() {
            done.changed.notify(self.scope(), u32::MAX);
        }
        Ok(())
    }

    /// How many are not done yet.
    pub(crate) fn unfinished(&self) -> u64 {
        let done = self.body().done.count.load(Acquire);
        Moved::count(self.body().put.moved.word.load(Acquire)).wrapping_sub(done)
    }

    /// How many will never be done: everything was taken, and nobody alive has anything left to do.
    fn lost(&self) -> u64 {
        let unfinished = self.unfinished();
        if unfinished == 0 || self.len() > 0 {
            return 0;
        }
        let scope = self.scope();
        let mut open_now = 0i64;
        for word in self.accounts() {
            let seen = word.load(Acquire);
            let gone = incarnation(seen) != 0 && open(seen) > 0 && {
                registry::is_dead(scope, incarnation(seen))
            };
            if !gone {
                open_now += i64::from(open(seen));
            }
        }
        open_now -= self.body().done.helped.load(Acquire) as i64;
        // Somebody may have taken or put one since: then there was something to hope for.
        if open_now > 0 || self.len() > 0 {
            0
        } else {
            self.unfinished().min(unfinished)
        }
    }

    /// Takes note that what is lost will not be done; how many that were.
    pub(crate) fn forget_lost(&self) -> u64 {
        let lost = self.lost();
        let done = &self.body().done.count;
        let mut forgotten = 0;
        while forgotten < lost && self.unfinished() > 0 {
            done.fetch_add(1, AcqRel);
            forgotten += 1;
        }
        self.body().done.changed.notify(self.scope(), u32::MAX);
        forgotten
    }

    /// Waits until everything that was put is done, or cannot be.
    pub(crate) fn join(&self, deadline: Deadline) -> Joined {
        let mut sleeper = Sleeper::new(self.scope(), deadline);
        let done = &self.body().done;
        let mut slept = false;
        loop {
            let announced = done.changed.announce();
            if self.unfinished() == 0 {
                return Joined::AllDone;
            }
            if slept {
                match self.lost() {
                    0 => {}
                    lost => return Joined::Lost(lost),
                }
            }
            if deadline.is_now() {
                return Joined::TimedOut;
            }
            slept = true;
            let worthwhile = || self.unfinished() > 0 && self.lost() == 0;
            match done.changed.sleep(&mut sleeper, announced, worthwhile) {
                Slept::Woken => {}
                Slept::TimedOut => return Joined::TimedOut,
                Slept::Interrupted => return Joined::Interrupted,
            }
        }
    }
}
