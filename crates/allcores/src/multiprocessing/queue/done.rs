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

/// Items will never be done: processes have taken them and ended before they were done, or all others who held the queue
/// are gone, and what is in it still is for the caller alone to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{count} items will never be done: the processes that took them, or all that could, are gone; forget_lost() takes note of those that were taken"
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
        // With nothing left to take, this may have been the last that anybody alive had to do.
        if count + 1 == put() || self.len() == 0 {
            done.changed.notify(self.scope(), u32::MAX);
        }
        Ok(())
    }

    /// How many are not done yet.
    pub(crate) fn unfinished(&self) -> u64 {
        let done = self.body().done.count.load(Acquire);
        Moved::count(self.body().put.moved.word.load(Acquire)).wrapping_sub(done)
    }

    /// What was put, taken and done so far.
    fn counts(&self) -> [u64; 3] {
        let body = self.body();
        [
            Moved::count(body.put.moved.word.load(Acquire)),
            Moved::count(body.get.moved.word.load(Acquire)),
            body.done.count.load(Acquire),
        ]
    }

    /// How many will never be done: everything was taken, and nobody alive has anything left to do.
    fn lost(&self) -> u64 {
        self.lost_of(self.counts())
    }

    /// The same, if the counts are still these.
    fn lost_of(&self, counts: [u64; 3]) -> u64 {
        let [put, taken, done] = counts;
        let unfinished = put.wrapping_sub(done);
        if unfinished == 0 || put != taken {
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
        // The accounts were not read at one moment. If anybody put, took or finished one meanwhile, the sum may be of
        // neither before nor after: but then somebody lives, and whoever joins is woken for what comes of that.
        if open_now > 0 || self.counts() != counts {
            0
        } else {
            unfinished
        }
    }

    /// The same, with what is in the queue still if there is nobody but the caller to take it.
    fn hopeless(&self) -> u64 {
        match self.lost() {
            0 if self.len() > 0 && self.is_alone() => self.unfinished(),
            lost => lost,
        }
    }

    /// Takes note that what is lost will not be done; how many that were.
    pub(crate) fn forget_lost(&self) -> u64 {
        let done = &self.body().done;
        loop {
            let counts = self.counts();
            let lost = self.lost_of(counts);
            if lost == 0 {
                return 0;
            }
            // Unless somebody else was faster, with these or with others.
            let [_, _, count] = counts;
            if done
                .count
                .compare_exchange(count, count + lost, AcqRel, Relaxed)
                .is_ok()
            {
                done.changed.notify(self.scope(), u32::MAX);
                return lost;
            }
        }
    }

    /// Waits until everything that was put is done, or cannot be. If it `heeds_holders`, what nobody else is left to take
    /// cannot.
    pub(crate) fn join(&self, deadline: Deadline, heeds_holders: bool) -> Joined {
        let hopeless = || {
            if heeds_holders {
                self.hopeless()
            } else {
                self.lost()
            }
        };
        let mut sleeper = Sleeper::new(self.scope(), deadline);
        let done = &self.body().done;
        let mut slept = false;
        loop {
            let announced = done.changed.announce();
            if self.unfinished() == 0 {
                return Joined::AllDone;
            }
            if slept {
                match hopeless() {
                    0 => {}
                    lost => return Joined::Lost(lost),
                }
            }
            if deadline.is_now() {
                return Joined::TimedOut;
            }
            slept = true;
            let worthwhile = || self.unfinished() > 0 && hopeless() == 0;
            match done.changed.sleep(&mut sleeper, announced, worthwhile) {
                Slept::Woken => {}
                Slept::TimedOut => return Joined::TimedOut,
                Slept::Interrupted => return Joined::Interrupted,
            }
        }
    }
}
