//! A process is killed at every instruction of an operation, while others sleep and wait for what it was about to give.
//!
//! A debug build has many instructions, so by default some of them are chosen, from a random start;
//! `ALLCORES_STEP_ALL=1` takes them all. Seen red: with `ALLCORES_TEST_DEAF=1`, as the control checks; and as each says.

mod conditions;
#[path = "../death/mod.rs"]
mod death;
mod semaphores;

use std::sync::atomic::{AtomicU32, Ordering::*};

use allcores::multiprocessing::{
    Barrier, Condition, Event, Lock, OwnedSemaphore, RLock, Semaphore,
};
use allcores::shm;
use death::{NOBODY_OWES, NOTHING, Process, Scenario, Test, control, page, run, until};

const TESTS: &[Test] = &[
    ("lock_taken_and_released", lock_taken_and_released),
    ("lock_released_to_sleepers", lock_released_to_sleepers),
    ("lock_taken_after_a_sleep", lock_taken_after_a_sleep),
    ("first_lock_of_a_process", first_lock_of_a_process),
    ("first_lock_of_a_thread", first_lock_of_a_thread),
    (
        "rlock_taken_twice_and_released",
        rlock_taken_twice_and_released,
    ),
    (
        "semaphore_released_to_sleepers",
        semaphores::semaphore_released_to_sleepers,
    ),
    (
        "semaphore_taken_after_a_sleep",
        semaphores::semaphore_taken_after_a_sleep,
    ),
    (
        "semaphore_of_an_inherited_handle",
        semaphores::semaphore_of_an_inherited_handle,
    ),
    ("lock_released_for_another", lock_released_for_another),
    ("event_set", event_set),
    (
        "event_set_by_an_inherited_handle",
        event_set_by_an_inherited_handle,
    ),
    (
        "owned_permit_taken_and_returned",
        semaphores::owned_permit_taken_and_returned,
    ),
    ("condition_notified", conditions::condition_notified),
    ("condition_waited_for", conditions::condition_waited_for),
    ("barrier_reached", conditions::barrier_reached),
    ("cells_made_and_dropped", cells_made_and_dropped),
    ("lock_sees_a_hang", || control("lock_taken_and_released")),
    ("semaphore_sees_a_hang", || {
        control("semaphore_released_to_sleepers")
    }),
    ("condition_sees_a_hang", || control("condition_notified")),
];

fn main() {
    run(TESTS);
}

type Pair = [u64; 2];

fn change(lock: &Lock<Pair>) {
    let mut guard = match lock.acquire() {
        Ok(guard) => guard,
        Err(died) => {
            let mut guard = died.into_guard();
            guard[1] = guard[0];
            guard.recover();
            guard
        }
    };
    assert_eq!(guard[0], guard[1], "half a change, and nobody told");
    guard[0] += 1;
    guard[1] += 1;
}

/// Somebody can take the lock, at once.
#[track_caller]
fn is_free<T: shm::Shareable>(lock: &Lock<T>) {
    match lock.try_acquire() {
        Ok(guard) => assert!(guard.is_some(), "the lock is taken, and nobody has it"),
        Err(died) => died.into_guard().recover(),
    }
}

/// Seen red: `acquire_slow` does not ask whether the owner is gone.
fn lock_taken_and_released() {
    let lock = Lock::new([0; 2]).unwrap();
    Scenario {
        name: "lock, taken and released",
        before: &|| change(&lock),
        operation: &|| change(&lock),
        wait: &|| change(&lock),
        waiters_first: false,
        unblock: None,
        make_up: NOBODY_OWES,
        check: &|| is_free(&lock),
    }
    .play(200);
}

fn lock_released_to_sleepers() {
    let lock = Lock::new(()).unwrap();
    Scenario {
        name: "lock, released to sleepers",
        before: &|| {
            if lock.hold().is_err() {
                lock.recover();
            }
        },
        operation: &|| lock.release().unwrap(),
        wait: &|| {
            if lock.hold().is_err() {
                lock.recover();
            }
            lock.release().unwrap();
        },
        waiters_first: true,
        unblock: None,
        make_up: NOBODY_OWES,
        check: &|| is_free(&lock),
    }
    .play(200);
}

/// The victim is woken, and killed before or after it takes the lock: another must be woken in its place.
fn lock_taken_after_a_sleep() {
    let lock = Lock::new(()).unwrap();
    let take = || {
        if lock.hold().is_err() {
            lock.recover();
        }
    };
    take();
    Scenario {
        name: "lock, taken after a sleep",
        before: &|| {
            let _ = lock.try_hold();
        },
        operation: &take,
        wait: &|| {
            take();
            lock.release().unwrap();
        },
        waiters_first: true,
        unblock: Some(&|| lock.release().unwrap()),
        make_up: NOBODY_OWES,
        check: &|| {
            is_free(&lock);
            take();
        },
    }
    .play(200);
}

/// The process becomes a participant with this.
fn first_lock_of_a_process() {
    let lock = Lock::new([0; 2]).unwrap();
    Scenario {
        name: "first lock of a process",
        before: NOTHING,
        operation: &|| change(&lock),
        wait: &|| change(&lock),
        waiters_first: false,
        unblock: None,
        make_up: NOBODY_OWES,
        check: &|| {
            is_free(&lock);
            Process::start(|| change(&lock)).succeeds();
        },
    }
    .play(20);
}

/// Another thread of the process is a participant already, and has the row of bells.
///
/// Seen red: thread words that were linked after the guard had been given back, and so were left behind.
fn first_lock_of_a_thread() {
    let lock = Lock::new([0; 2]).unwrap();
    shm::settle_the_dead().unwrap();
    let (_, bytes, _) = shm::usage().unwrap();
    Scenario {
        name: "first lock of a thread",
        before: &|| {
            let (ready, is_ready) = std::sync::mpsc::channel();
            std::thread::spawn({
                let lock = lock.clone();
                move || {
                    change(&lock);
                    ready.send(()).unwrap();
                    loop {
                        std::thread::park();
                    }
                }
            });
            is_ready.recv().unwrap();
        },
        operation: &|| change(&lock),
        wait: &|| change(&lock),
        waiters_first: false,
        unblock: None,
        make_up: NOBODY_OWES,
        check: &|| is_free(&lock),
    }
    .play(200);
    shm::settle_the_dead().unwrap();
    assert_eq!(
        shm::usage().unwrap().1,
        bytes,
        "thread words are left behind"
    );
}

fn rlock_taken_twice_and_released() {
    let lock = RLock::new(()).unwrap();
    let twice = || {
        if lock.hold().is_err() {
            lock.recover();
        }
        lock.hold().unwrap();
        lock.release().unwrap();
        lock.release().unwrap();
    };
    Scenario {
        name: "rlock, taken twice and released",
        before: &twice,
        operation: &twice,
        wait: &twice,
        waiters_first: false,
        unblock: None,
        make_up: NOBODY_OWES,
        check: &twice,
    }
    .play(200);
}

/// A lock is released by a process that has never taken one, and was made by fork.
fn lock_released_for_another() {
    let lock = Lock::new(()).unwrap();
    lock.hold().unwrap();
    Scenario {
        name: "lock, released for another",
        before: NOTHING,
        operation: &|| lock.release().unwrap(),
        wait: &|| {
            if lock.hold().is_err() {
                lock.recover();
            }
            lock.release().unwrap();
        },
        waiters_first: true,
        unblock: None,
        // Killed too early, the victim has not released it.
        make_up: &|asleep| {
            if asleep && HELD_BY_PARENT.swap(0, SeqCst) == 1 {
                let _ = lock.release();
            }
        },
        check: &|| {
            is_free(&lock);
            lock.hold().unwrap();
            HELD_BY_PARENT.store(1, SeqCst);
        },
    }
    .play(150);
}

static HELD_BY_PARENT: AtomicU32 = AtomicU32::new(1);

fn event_set() {
    let event = Event::new().unwrap();
    play_event(&event, "event, set", &|| drop(Lock::new(()).unwrap()));
}

fn event_set_by_an_inherited_handle() {
    let event = Event::new().unwrap();
    play_event(&event, "event, set by an inherited handle", NOTHING);
}

fn play_event(event: &Event, name: &str, before: &dyn Fn()) {
    Scenario {
        name,
        before,
        operation: &|| event.set(),
        wait: &|| {
            drop(Lock::new(()).unwrap());
            event.wait();
        },
        waiters_first: true,
        unblock: None,
        make_up: &|asleep| {
            if asleep && !event.is_set() {
                event.set();
            }
        },
        check: &|| event.clear(),
    }
    .play(150);
}

/// What the victim made is given back, and what it was about to change is whole.
fn cells_made_and_dropped() {
    let keep = Lock::new([0; 2]).unwrap();
    let again = shm::map_common_again().unwrap();
    drop(keep.through(again).unwrap());
    let make = || {
        let lock = Lock::new([0; 2]).unwrap();
        let event = Event::new().unwrap();
        drop(lock);
        drop(event);
    };
    make();
    shm::settle_the_dead().unwrap();
    let (cells, bytes, _) = shm::usage().unwrap();
    Scenario {
        name: "cells, made and dropped",
        before: &make,
        operation: &make,
        wait: &make,
        waiters_first: false,
        unblock: None,
        make_up: NOBODY_OWES,
        check: &|| {
            shm::settle_the_dead().unwrap();
            let now = shm::usage().unwrap();
            assert_eq!((now.0, now.1), (cells, bytes), "cells are left behind");
        },
    }
    .play(200);
    until("everything is as before", || {
        shm::usage().unwrap().0 == cells
    });
}
