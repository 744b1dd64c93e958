//! Every word of the primitives under loom: all interleavings with at most two preemptions (`LOOM_MAX_PREEMPTIONS`).
//!
//! `RUSTFLAGS="--cfg allcores_loom" CARGO_TARGET_DIR=target-loom cargo test -p allcores --test loom --release`
//!
//! A model is worth something if it can turn red. Each of these faults was put in by hand, and found by the models named
//! (and often by others):
//!
//! | fault | found by |
//! |---|---|
//! | Lock: step "keep the bit" dropped | `lock_excludes`, `lock_with_a_waiter_that_times_out` |
//! | Lock: a waiter that was woken leaves without setting the bit again | `lock_with_a_waiter_that_times_out` |
//! | Lock: release is Relaxed | `lock_excludes` |
//! | Lock: release drops the mark | `lock_is_marked_while_others_wait` |
//! | Lock: the owner is not judged between noting the bells and sleeping | `lock_whose_owner_is_killed_at_any_step` |
//! | Lock: leave drops WAITERS | `lock_left_taken_and_released_by_another`, `…_marked`, `lock_left_by_one_who_holds_it_no_more` |
//! | Lock: leave drops the mark | `lock_left_taken_and_marked` |
//! | Lock: leave is Relaxed; gives up when the word changes | `lock_left_taken_and_released_by_another`, the second also `…_killed_at_any_step` |
//! | Lock: leave stores, or leaves another's lock | `lock_left_by_one_who_holds_it_no_more` |
//! | Lock: leave frees it | all of `lock_left_*` |
//! | RLock: the word alone decides who inherits | `rlock_outlives_its_thread_*`, `rlock_whose_heir_is_killed_at_any_step` |
//! | RLock: depth ignored | `rlock_is_held_many_times_by_one` |
//! | Semaphore: "keep the bit", "pass it on" dropped | `semaphore_permits_come_one_by_one`, the first also `…_with_a_waiter_that_times_out` |
//! | Semaphore: the bound not looked at | `semaphore_is_bounded` |
//! | Semaphore: the one exchange of release does not see WAITERS | `semaphore_permits_come_one_by_one`, `…_released_by_two_at_once`, `…_releaser_killed_at_any_step` |
//! | Semaphore: that exchange is a load and a store, or the rest wakes nobody | the same |
//! | Semaphore: release is Relaxed, in that exchange or in the rest | `semaphore_released_by_two_at_once` |
//! | Event: the count not compared | `event_set_and_cleared_at_once_releases_a_sleeper` |
//! | Event: set does nothing if it is set | `event_cleared_then_looked_loses_nothing` |
//! | Event: set wakes one | `event_wakes_all` |
//! | EventCount: either fence weakened; a notification does not move the word | all of `eventcount_*` |
//! | EventCount: SLEEPERS cleared while some sleep on | `eventcount_of_two_sleepers_and_two_items` |
//! | EventCount: an announcement does not move the word | `eventcount_of_one_sleeper_and_two_items` |
//! | EventCount: a wake-up not passed on by one who took nothing | `eventcount_passed_on_by_one_who_takes_nothing` |
//! | Condition: a dead waiter's grant not handed on, or freed first | `condition_waiter_killed_at_any_step_hands_its_grant_on` |
//! | Condition: death judged before the grant only | the same |
//! | Condition: either fence between a grant and the look for deaths dropped | the same |
//! | Condition: the hint of a killed waiter never corrected | the same |
//! | Condition: a grant after the deadline denied | `condition_grants_are_neither_lost_nor_multiplied` |
//! | Condition: notify(1) notifies all; the wake-up dropped | `condition_wakes_those_it_notifies` |
//! | Condition: abandon swallows a grant | `condition_abandoned_while_it_is_notified` |
//! | Barrier: an arrival counted before it is named | `barrier_party_killed_at_any_step` |
//! | Barrier: the dead not looked for | the same |
//! | Barrier: a death breaks it for the finder only | `barrier_of_one_dead_and_two_that_live` |
//! | Barrier: resets leave no trace in the history | `barrier_reset_breaks_those_who_wait_however_late_they_wake` |
//! | Barrier: bell not rung, or read after the state | `barrier_lets_all_pass_again_and_again`, `barrier_of_three`, `barrier_abort_…` |
//! | Barrier: bell not rung by retract | `barrier_arrival_taken_back` |
//! | Barrier: a time-out not agreed on with the last arrival | `barrier_time_out_against_the_last_arrival` |
//! | Barrier: a time-out during the action; completion Relaxed | `barrier_action_is_over_when_the_others_pass` |
//! | Barrier: sleepers look at the bell only | `barrier_aborted_by_one_that_is_killed_at_any_step` |
//! | OwnedSemaphore: the last operation not recorded | `owned_semaphore_of_two_for_three` |
//! | OwnedSemaphore: recorded without another look at the word | the same |
//! | OwnedSemaphore: "keep the bit", "pass it on" dropped | `owned_semaphore_permits_come_one_by_one` |
//! | OwnedSemaphore: the dead not looked for, or not entered as empty | `owned_semaphore_holder_killed_*`, `…_two_heirs_take_back_once` |
//! | OwnedSemaphore: sleepers look at the accounts only | `owned_semaphore_holder_killed_while_it_releases` |
//!
//! Not found, because the model rings all bells at the instant of death and judges without a step: WAITERS dropped when a
//! dead owner's Lock is inherited, and an RLock's holder read before its owner is judged.
#![cfg(allcores_loom)]

mod barrier;
mod condition;
mod eventcount;
mod locks;
mod owned;
mod signals;

use allcores::sync::model::{self, be, mortal};
use allcores::sync::{Acquired, Deadline, Lock, Scope};
use loom::cell::UnsafeCell;
use loom::thread::{JoinHandle, spawn};
use std::sync::Arc;

const S: Scope = Scope::PRIVATE;
const NEVER: Deadline = Deadline::NEVER;

/// Nobody dies in `model`.
fn check(model: impl Fn() + Send + Sync + 'static) {
    explore(0, move || {
        model::nobody_dies();
        model();
    });
}

/// Somebody may die in `model`.
fn check_deaths(model: impl Fn() + Send + Sync + 'static) {
    explore(0, model);
}

/// With `more` preemptions than elsewhere: fewer where there is too much to see.
fn explore(more: isize, life: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    let usual = builder.preemption_bound.unwrap_or(2);
    builder.preemption_bound = Some(usual.saturating_add_signed(more));
    builder.max_branches = 20_000;
    builder.check(move || {
        model::begin();
        life();
    });
}

fn run<T: 'static>(
    owner: u32,
    thread: u32,
    life: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    spawn(move || {
        be(owner, thread);
        life()
    })
}

/// What a lock protects: loom reports two who touch it at once, or one who does not see what the last one wrote.
struct Data(UnsafeCell<u32>);

// SAFETY: loom checks the accesses.
unsafe impl Sync for Data {}
// SAFETY: as above.
unsafe impl Send for Data {}

impl Data {
    fn new() -> Data {
        Data(UnsafeCell::new(0))
    }
    fn add(&self) {
        // SAFETY: loom checks that nobody else has it.
        self.0.with_mut(|data| unsafe { *data += 1 });
    }
    fn get(&self) -> u32 {
        // SAFETY: as above.
        self.0.with(|data| unsafe { *data })
    }
}

fn release(lock: &Lock) {
    // SAFETY: borrowed, hence live.
    unsafe { Lock::release(lock, S) }.unwrap();
}

/// The model itself: a thread that is killed from outside makes no further step.
#[test]
fn model_the_dead_make_no_step() {
    check_deaths(|| {
        let lock = Arc::new(Lock::new());
        let victim = {
            let lock = lock.clone();
            run(2, 2, move || {
                mortal(|| {
                    let _ = lock.acquire(S, NEVER);
                    release(&lock);
                })
            })
        };
        be(1, 1);
        model::kill(2);
        let taken = lock.acquire(S, NEVER);
        let survived = victim.join().unwrap();
        assert!(lock.is_mine(S));
        assert!(!survived || taken == Acquired::Yes);
    });
}
