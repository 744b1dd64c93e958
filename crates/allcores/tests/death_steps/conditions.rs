//! Conditions and Barriers.

use super::*;

/// Two wait; the victim notifies both, one after the other, and may do neither. The count says what was to come.
pub(super) fn condition_notified() {
    let lock = Lock::new([0; 2]).unwrap();
    let changed = Condition::new().unwrap();
    play_condition(&lock, &changed, "condition, notified", &|| {
        let mut guard = acquire(&lock);
        guard[0] += 2;
        changed.notify_one(&guard).unwrap();
        changed.notify_one(&guard).unwrap();
    });
}

/// The victim waits too, and one notification may be its own when it is killed.
///
/// Seen red: `hand_on_orphans` that hands nothing on.
pub(super) fn condition_waited_for() {
    let lock = Lock::new([0; 2]).unwrap();
    let changed = Condition::new().unwrap();
    let give = || {
        let mut guard = acquire(&lock);
        guard[0] += 1;
        changed.notify_one(&guard).unwrap();
    };
    let take = || take_one(&lock, &changed);
    Scenario {
        name: "condition, waited for",
        before: &|| drop(acquire(&lock)),
        operation: &take,
        wait: &take,
        waiters_first: true,
        unblock: Some(&give),
        make_up: &|asleep| {
            if !asleep {
                return;
            }
            match lock.acquire() {
                // What the victim took is missing.
                Ok(guard) if guard[0] == 0 => {
                    drop(guard);
                    give();
                }
                Ok(_) => {}
                // It had taken note of its notification: whoever is told of the death passes that on.
                Err(died) => {
                    let guard = died.into_guard();
                    guard.recover();
                    changed.notify_one(&guard).unwrap();
                }
            }
        },
        check: &|| acquire(&lock)[0] = 0,
    }
    .play(60);
}

fn acquire(lock: &Lock<Pair>) -> allcores::multiprocessing::LockGuard<'_, Pair> {
    lock.acquire().unwrap_or_else(|died| {
        let guard = died.into_guard();
        guard.recover();
        guard
    })
}

fn take_one(lock: &Lock<Pair>, changed: &Condition) {
    let mut guard = acquire(lock);
    while guard[0] == 0 {
        if changed.wait(&mut guard).is_err() {
            guard.recover();
        }
    }
    guard[0] -= 1;
}

fn play_condition(lock: &Lock<Pair>, changed: &Condition, name: &str, operation: &dyn Fn()) {
    Scenario {
        name,
        before: &|| drop(acquire(lock)),
        operation,
        wait: &|| take_one(lock, changed),
        waiters_first: true,
        unblock: None,
        // Killed between the count and the notifications: whoever is told of the death would look. Nobody is, so the hand
        // that killed does what a new producer does.
        make_up: &|_| {
            let mut guard = acquire(lock);
            if guard[0] == 0 {
                guard[0] = 2;
            }
            changed.notify_all(&guard).unwrap();
        },
        check: &|| acquire(lock)[0] = 0,
    }
    .play(100);
}

/// Three parties: two sleep, the third is killed at any instant of its arrival. They pass, or are told that it is broken.
pub(super) fn barrier_reached() {
    let barrier = Barrier::new(3).unwrap();
    // SAFETY: atomics.
    let come = unsafe { page::<AtomicU32>() };
    Scenario {
        name: "barrier, reached",
        before: &|| drop(Lock::new(()).unwrap()),
        operation: &|| {
            let _ = barrier.wait();
        },
        wait: &|| {
            if barrier.wait().is_ok() {
                come.fetch_add(1, SeqCst);
            }
        },
        waiters_first: true,
        unblock: None,
        // Killed before it came: then it was no party yet, and somebody else has to say so.
        make_up: &|asleep| {
            if asleep && barrier.n_waiting() == 2 && !barrier.broken() {
                barrier.abort();
            }
        },
        check: &|| {
            let come = come.swap(0, SeqCst);
            assert!(come == 0 || come == 2, "{come} of two have passed");
            barrier.reset();
            assert!(!barrier.broken() && barrier.n_waiting() == 0);
        },
    }
    .play(200);
}
