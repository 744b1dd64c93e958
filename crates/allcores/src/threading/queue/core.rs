//! What all queues do alike: one lock, and a line of waiters for each thing that one can wait for.
//!
//! Under the lock, nobody's code runs but the items' `Ord`; what is dropped is dropped when the lock is free again. So a
//! panic of an item leaves the queue as it was, and an item's `Drop` may use the queue.
//!
//! In the child of a fork, a thread that stayed behind may have been inside. Then the lock has no owner that could release
//! it, and [`State::changing`] tells whether the state is whole: the child goes on with it, or says why it cannot.

use std::mem::{self, ManuallyDrop};
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize, fence};

use super::error::{GetError, PutError, TooManyDone};
use super::line::Line;
use super::store::Store;
use crate::sync::spin::Spin;
use crate::sync::{Deadline, Scope};
use crate::threading::condition::Condition;
use crate::threading::lock::{Lock, LockGuard};

/// What every operation changes lies together, then what it reads, then what it needs for waiting only.
#[repr(C, align(64))]
pub(super) struct Core<S> {
    lock: Lock<State<S>>,
    /// The number of items: written by holders of the lock, read by anybody.
    len: AtomicUsize,

    maxsize: usize,
    /// See [`Line::waiting`].
    getters: AtomicUsize,
    putters: AtomicUsize,
    /// Written by holders of the lock, read by anybody; never taken back.
    shut: AtomicBool,

    not_empty: Condition,
    not_full: Condition,
    all_done: Condition,
}

struct State<S> {
    store: ManuallyDrop<S>,
    /// Items that were put, less the calls of `task_done`.
    unfinished: usize,
    /// Whether a thread is in the middle of a change.
    changing: AtomicBool,
}

type Inside<'a, S> = LockGuard<'a, State<S>>;

impl<S> State<S> {
    /// Every change of the items is made in here, with that of the numbers that must agree with it. It does not panic.
    #[inline]
    fn change<R>(&mut self, change: impl FnOnce(&mut S, &mut usize) -> R) -> R {
        self.changing.store(true, Relaxed);
        // What a fork copies is what this thread has written up to some point: the mark goes first, and is taken away last.
        fence(Release);
        let result = change(&mut self.store, &mut self.unfinished);
        self.changing.store(false, Release);
        result
    }
}

impl<S> Core<S> {
    pub(super) const UNBOUNDED: usize = usize::MAX;

    #[inline]
    pub(super) fn qsize(&self) -> usize {
        self.len.load(Relaxed)
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.qsize() >= self.maxsize
    }

    #[inline]
    pub(super) fn is_shutdown(&self) -> bool {
        self.shut.load(Relaxed)
    }

    pub(super) fn maxsize(&self) -> Option<usize> {
        (self.maxsize != Self::UNBOUNDED).then_some(self.maxsize)
    }
}

impl<S: Store> Core<S> {
    /// Memory for so many items stays when the last one has left; more than that is given back.
    const KEPT: usize = match size_of::<S::Item>() {
        0 => usize::MAX,
        size => 64 * 1024 / size,
    };

    pub(super) const fn new(maxsize: usize) -> Core<S> {
        Core {
            lock: Lock::new(State {
                store: ManuallyDrop::new(S::EMPTY),
                unfinished: 0,
                changing: AtomicBool::new(false),
            }),
            len: AtomicUsize::new(0),
            maxsize,
            getters: AtomicUsize::new(0),
            putters: AtomicUsize::new(0),
            shut: AtomicBool::new(false),
            not_empty: Condition::new(),
            not_full: Condition::new(),
            all_done: Condition::new(),
        }
    }

    /// Puts an item. The deadline is asked for only if there is no room.
    #[inline]
    pub(super) fn put(
        &self,
        item: S::Item,
        deadline: impl FnOnce() -> Deadline,
    ) -> Result<(), PutError<S::Item>> {
        // Made after `item`, hence dropped before it when an item's code panics.
        let mut inside = self.enter();
        if inside.store.len() >= self.maxsize && !self.is_shutdown() {
            inside = self.wait_for_room(inside, deadline());
        }
        if self.is_shutdown() {
            return Err(PutError::ShutDown(item));
        }
        if inside.store.len() >= self.maxsize {
            return Err(PutError::Full(item));
        }
        let place = or_pass_on(self.putters(), &inside, |store| store.place(&item));
        inside.change(|store, unfinished| {
            store.put(place, item);
            *unfinished += 1;
            self.len.store(store.len(), Relaxed);
        });
        self.getters().notify_one(&inside);
        Ok(())
    }

    /// Takes the next item. The deadline is asked for only if there is none.
    #[inline]
    pub(super) fn get(&self, deadline: impl FnOnce() -> Deadline) -> Result<S::Item, GetError> {
        // Made before `inside`, hence dropped after it.
        let mut unneeded = None;
        let mut inside = self.enter();
        if inside.store.len() == 0 && !self.is_shutdown() {
            inside = self.wait_for_item(inside, deadline());
        }
        let gap = or_pass_on(self.getters(), &inside, S::gap);
        let taken = inside.change(|store, _| {
            let taken = store.take(gap);
            let left = store.len();
            self.len.store(left, Relaxed);
            if left == 0 && store.capacity() > Self::KEPT {
                unneeded = Some(mem::replace(store, S::EMPTY));
            }
            taken
        });
        match taken {
            Some(item) => {
                self.putters().notify_one(&inside);
                Ok(item)
            }
            None if self.is_shutdown() => Err(GetError::ShutDown),
            None => Err(GetError::Empty),
        }
    }

    pub(super) fn task_done(&self) -> Result<(), TooManyDone> {
        let mut inside = self.enter();
        inside.unfinished = inside.unfinished.checked_sub(1).ok_or(TooManyDone)?;
        self.tell_if_all_done(&inside);
        Ok(())
    }

    /// Waits until every item has been done; whether that came before the deadline.
    pub(super) fn join(&self, deadline: impl FnOnce() -> Deadline) -> bool {
        let mut inside = self.enter();
        if inside.unfinished == 0 {
            return true;
        }
        let deadline = deadline();
        while inside.unfinished > 0 && !deadline.has_passed() {
            if let Err(error) = self.all_done.wait_until(&mut inside, deadline) {
                panic!("{error}");
            }
        }
        inside.unfinished == 0
    }

    pub(super) fn shutdown(&self, immediate: bool) {
        // Made before `inside`, hence dropped after it.
        let mut dropped = S::EMPTY;
        let mut inside = self.enter();
        self.shut.store(true, Relaxed);
        if immediate {
            inside.change(|store, unfinished| {
                mem::swap(store, &mut dropped);
                // There may be fewer: task_done may be called before the get.
                *unfinished = unfinished.saturating_sub(dropped.len());
                self.len.store(0, Relaxed);
            });
            self.tell_if_all_done(&inside);
        }
        self.getters().notify_all(&inside);
        self.putters().notify_all(&inside);
    }

    pub(super) fn unfinished_tasks(&self) -> usize {
        self.enter().unfinished
    }

    #[inline]
    fn enter(&self) -> Inside<'_, S> {
        match self.lock.acquire_at_once() {
            Some(inside) => inside,
            None => self.enter_late(),
        }
    }

    #[cold]
    fn enter_late(&self) -> Inside<'_, S> {
        assert!(
            !self.lock.is_mine(),
            "this thread is inside this queue already, and would wait for itself: the Ord of an item, or a signal \
             handler, must not use the queue"
        );
        match self.lock.acquire_or_died() {
            Ok(inside) => inside,
            Err(died) if died.guard().changing.load(Relaxed) => {
                drop(died);
                panic!(
                    "a thread that did not come along in a fork was moving an item of this queue at that instant: the \
                     child's copy cannot be used; make a new queue in the child, or fork while no thread uses it"
                );
            }
            Err(died) => died.recover(),
        }
    }

    fn getters(&self) -> Line<'_> {
        Line {
            condition: &self.not_empty,
            waiting: &self.getters,
        }
    }

    fn putters(&self) -> Line<'_> {
        Line {
            condition: &self.not_full,
            waiting: &self.putters,
        }
    }

    fn tell_if_all_done(&self, inside: &Inside<'_, S>) {
        if inside.unfinished == 0 {
            self.all_done
                .notify_all(inside)
                .expect("a queue has one lock only");
        }
    }

    /// Waits until there is an item, or the queue is shut down, or the deadline passes.
    #[cold]
    fn wait_for_item<'a>(&'a self, inside: Inside<'a, S>, deadline: Deadline) -> Inside<'a, S> {
        let is_over = || self.qsize() > 0 || self.is_shutdown();
        self.wait_in_line(inside, self.getters(), is_over, deadline)
    }

    /// Waits until there is room, or the queue is shut down, or the deadline passes.
    #[cold]
    fn wait_for_room<'a>(&'a self, inside: Inside<'a, S>, deadline: Deadline) -> Inside<'a, S> {
        let is_over = || !self.is_full() || self.is_shutdown();
        self.wait_in_line(inside, self.putters(), is_over, deadline)
    }

    fn wait_in_line<'a>(
        &'a self,
        mut inside: Inside<'a, S>,
        line: Line,
        is_over: impl Fn() -> bool,
        deadline: Deadline,
    ) -> Inside<'a, S> {
        if deadline.is_now() {
            return inside;
        }
        // Somebody may be about to end the wait: a look costs less than a sleep, and needs nobody to wake us.
        drop(inside);
        let mut spin = Spin::new(Scope::PRIVATE);
        while !is_over() && spin.once_more() {}
        inside = self.enter();
        while !is_over() && !deadline.has_passed() {
            line.wait(&mut inside, deadline);
        }
        inside
    }
}

/// Asks items where one of them belongs. If that panics, what this thread has been notified of is still there, and the
/// next in line is notified of it.
#[inline]
fn or_pass_on<S, R>(line: Line, inside: &Inside<'_, S>, ask: impl FnOnce(&S) -> R) -> R {
    struct PassOn<'a, S>(Line<'a>, &'a Inside<'a, S>);
    impl<S> Drop for PassOn<'_, S> {
        fn drop(&mut self) {
            self.0.notify_one(self.1);
        }
    }
    let pass_on = PassOn(line, inside);
    let answer = ask(&inside.store);
    mem::forget(pass_on);
    answer
}

impl<S> Drop for Core<S> {
    fn drop(&mut self) {
        let state = self.lock.get_mut();
        // In a child, what a thread that stayed behind left half-moved can be dropped no more than used.
        if !state.changing.load(Relaxed) {
            // SAFETY: `&mut self`: nobody uses the queue any more, and it is not dropped twice.
            unsafe { ManuallyDrop::drop(&mut state.store) };
        }
    }
}
