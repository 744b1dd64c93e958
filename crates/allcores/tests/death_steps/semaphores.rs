//! Semaphores, and permits that are owned.

use super::*;

/// A permit that died with its holder is nobody's debt; one that was returned must wake a sleeper.
pub(super) fn semaphore_released_to_sleepers() {
    let permits = Semaphore::new(0).unwrap();
    play_semaphore(&permits, "semaphore, released to sleepers", &|| {
        Lock::new(()).unwrap().hold().unwrap();
    });
}

/// The process has used shared memory through handles alone that it got from its parent.
///
/// Seen red: `release` as it was, which did not make its process a participant before it took it upon itself to wake.
pub(super) fn semaphore_of_an_inherited_handle() {
    let permits = Semaphore::new(0).unwrap();
    play_semaphore(&permits, "semaphore, inherited", NOTHING);
}

fn play_semaphore(permits: &Semaphore, name: &str, before: &dyn Fn()) {
    Scenario {
        name,
        before,
        operation: &|| permits.release_many(2).unwrap(),
        wait: &|| {
            drop(Lock::new(()).unwrap());
            permits.acquire();
        },
        waiters_first: true,
        unblock: None,
        make_up: &|asleep| {
            if asleep && permits.value() == 0 {
                permits.release().unwrap();
            }
        },
        check: &|| while permits.try_acquire() {},
    }
    .play(150);
}

pub(super) fn semaphore_taken_after_a_sleep() {
    let permits = Semaphore::new(0).unwrap();
    Scenario {
        name: "semaphore, taken after a sleep",
        before: &|| drop(Lock::new(()).unwrap()),
        operation: &|| permits.acquire(),
        wait: &|| {
            drop(Lock::new(()).unwrap());
            permits.acquire();
        },
        waiters_first: true,
        unblock: Some(&|| permits.release().unwrap()),
        make_up: &|asleep| {
            if asleep && permits.value() == 0 {
                permits.release().unwrap();
            }
        },
        check: &|| while permits.try_acquire() {},
    }
    .play(150);
}

/// All permits come back, whenever their holder is killed.
pub(super) fn owned_permit_taken_and_returned() {
    let permits = OwnedSemaphore::new(1).unwrap();
    Scenario {
        name: "owned permit, taken and returned",
        before: &|| drop(permits.permit()),
        operation: &|| drop(permits.permit()),
        wait: &|| drop(permits.permit()),
        waiters_first: false,
        unblock: None,
        make_up: NOBODY_OWES,
        check: &|| {
            assert!(permits.try_acquire(), "the permit is lost");
            assert!(!permits.try_acquire(), "a permit out of nothing");
            permits.release().unwrap();
        },
    }
    .play(200);
}
