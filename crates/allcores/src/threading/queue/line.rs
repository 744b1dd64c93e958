//! A line of threads that wait for the same thing under a queue's lock, and how many of them there are.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::sync::Deadline;
use crate::threading::condition::Condition;
use crate::threading::lock::LockGuard;

/// Every function is for holders of the queue's lock, whose guard they show.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) condition: &'a Condition,
    /// Those that wait and have not been notified: the condition counts those as well that have been notified and did not
    /// run since, and there is no use in looking for them. In a child it may be too high, by those that stayed behind in
    /// the fork; it is never too low.
    pub(super) waiting: &'a AtomicUsize,
}

impl Line<'_> {
    /// Notifies the one that has waited longest.
    #[inline]
    pub(super) fn notify_one<S>(&self, inside: &LockGuard<'_, S>) {
        if self.waiting.load(Relaxed) > 0 {
            self.notify_waiter(inside);
        }
    }

    #[cold]
    fn notify_waiter<S>(&self, inside: &LockGuard<'_, S>) {
        match self.condition.notify_one(inside).expect(ONE_LOCK) {
            0 => self.waiting.store(0, Relaxed),
            _ => self.one_less(),
        }
    }

    /// Notifies all that wait.
    pub(super) fn notify_all<S>(&self, inside: &LockGuard<'_, S>) {
        self.waiting.store(0, Relaxed);
        self.condition.notify_all(inside).expect(ONE_LOCK);
    }

    /// Waits for a notification, until `deadline` at most, with the lock free meanwhile.
    ///
    /// # Panics
    /// Beyond some 130,000 waiters, or without memory for another.
    pub(super) fn wait<S>(&self, inside: &mut LockGuard<'_, S>, deadline: Deadline) {
        self.waiting.store(self.waiting.load(Relaxed) + 1, Relaxed);
        match self.condition.wait_until(inside, deadline) {
            Ok(true) => {}
            // Nobody has notified us, so nobody has counted us out.
            Ok(false) => self.one_less(),
            Err(error) => {
                self.one_less();
                panic!("{error}");
            }
        }
    }

    fn one_less(&self) {
        let waiting = self.waiting.load(Relaxed);
        self.waiting.store(waiting.saturating_sub(1), Relaxed);
    }
}

const ONE_LOCK: &str = "a queue has one lock only";
