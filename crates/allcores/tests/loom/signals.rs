//! Semaphore and Event.

use super::{Data, NEVER, S, check, check_deaths, run};
use allcores::sync::model::{self, Timer, be, killed_at};
use allcores::sync::{Event, Semaphore, Waited};
use loom::thread::yield_now;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

#[test]
fn semaphore_permits_come_one_by_one() {
    check(|| {
        let semaphore = Arc::new(Semaphore::new(0, 2));
        let sleepers = [2, 3].map(|owner| {
            let semaphore = semaphore.clone();
            run(owner, owner, move || semaphore.acquire(S, NEVER))
        });
        be(1, 1);
        for _ in 0..2 {
            // SAFETY: borrowed, hence live.
            unsafe { Semaphore::release(&*semaphore, S, 1) }.unwrap();
        }
        assert_eq!(
            sleepers.map(|sleeper| sleeper.join().unwrap()),
            [Waited::Yes; 2]
        );
        assert_eq!(semaphore.value(), 0);
    });
}

#[test]
fn semaphore_with_a_waiter_that_times_out() {
    check(|| {
        let semaphore = Arc::new(Semaphore::new(0, 1));
        let timer = Timer::new();
        let sleepers = [(2, timer.deadline()), (3, NEVER)].map(|(owner, deadline)| {
            let semaphore = semaphore.clone();
            run(owner, owner, move || {
                let waited = semaphore.acquire(S, deadline);
                if waited == Waited::Yes {
                    // SAFETY: borrowed, hence live.
                    unsafe { Semaphore::release(&*semaphore, S, 1) }.unwrap();
                }
                waited
            })
        });
        be(1, 1);
        timer.fire();
        // SAFETY: borrowed, hence live.
        unsafe { Semaphore::release(&*semaphore, S, 1) }.unwrap();
        let [_, patient] = sleepers.map(|sleeper| sleeper.join().unwrap());
        assert_eq!(patient, Waited::Yes);
        assert_eq!(semaphore.value(), 1);
    });
}

#[test]
fn semaphore_is_bounded() {
    check(|| {
        let semaphore = Arc::new(Semaphore::new(0, 1));
        // SAFETY: borrowed, hence live.
        let give = |semaphore: &Semaphore| unsafe { Semaphore::release(semaphore, S, 1) }.is_ok();
        let other = {
            let semaphore = semaphore.clone();
            run(2, 2, move || give(&semaphore))
        };
        be(1, 1);
        let mine = give(&semaphore);
        assert!(mine != other.join().unwrap());
        assert_eq!(semaphore.value(), 1);
    });
}

/// A release is one exchange where nobody waits: somebody may begin to wait at that moment.
#[test]
fn semaphore_released_by_two_at_once() {
    check(|| {
        let shared = Arc::new((Semaphore::new(0, 2), Data::new()));
        let give = |semaphore: &Semaphore| {
            // SAFETY: borrowed, hence live.
            unsafe { Semaphore::release(semaphore, S, 1) }.unwrap();
        };
        let other = {
            let shared = shared.clone();
            run(2, 2, move || give(&shared.0))
        };
        let taker = {
            let shared = shared.clone();
            run(3, 3, move || {
                for _ in 0..2 {
                    assert_eq!(shared.0.acquire(S, NEVER), Waited::Yes);
                }
                // Both have released, so all that was done before is seen.
                shared.1.add();
            })
        };
        be(1, 1);
        shared.1.add();
        give(&shared.0);
        taker.join().unwrap();
        other.join().unwrap();
        assert_eq!((shared.0.value(), shared.1.get()), (0, 2));
    });
}

/// Killed on the way, it has released the permit or not; whoever sleeps is not left with a permit that is there.
#[test]
fn semaphore_releaser_killed_at_any_step() {
    for point in 0..7 {
        check_deaths(move || {
            let semaphore = Arc::new(Semaphore::new(0, 2));
            // SAFETY: borrowed, hence live.
            let give = |semaphore: &Semaphore| unsafe { Semaphore::release(semaphore, S, 1) };
            let taker = {
                let semaphore = semaphore.clone();
                run(2, 2, move || semaphore.acquire(S, NEVER))
            };
            let victim = {
                let semaphore = semaphore.clone();
                run(3, 3, move || killed_at(point, || give(&semaphore).unwrap()))
            };
            be(1, 1);
            let survived = victim.join().unwrap();
            // Not if it is on its way to the taker, or with it.
            if !survived && semaphore.value() == 0 {
                give(&semaphore).unwrap();
            }
            assert_eq!(taker.join().unwrap(), Waited::Yes);
            assert!(semaphore.value() <= u32::from(!survived));
        });
    }
}

/// Who was woken is killed before it takes the permit: another one that sleeps takes it.
#[test]
fn semaphore_sleeper_killed_at_any_step() {
    for point in 0..9 {
        check_deaths(move || {
            let semaphore = Arc::new(Semaphore::new(0, 2));
            // SAFETY: borrowed, hence live.
            let give = |semaphore: &Semaphore| unsafe { Semaphore::release(semaphore, S, 1) };
            let victim = {
                let semaphore = semaphore.clone();
                run(2, 2, move || {
                    killed_at(point, || {
                        let _ = semaphore.acquire(S, NEVER);
                    })
                })
            };
            let other = {
                let semaphore = semaphore.clone();
                run(3, 3, move || semaphore.acquire(S, NEVER))
            };
            be(1, 1);
            give(&semaphore).unwrap();
            // Or it would wait for ever where the other one was first.
            model::kill(2);
            victim.join().unwrap();
            // Taken, by one of the two: the victim's is lost.
            if semaphore.value() == 0 {
                give(&semaphore).unwrap();
            }
            assert_eq!(other.join().unwrap(), Waited::Yes);
        });
    }
}

#[test]
fn event_wakes_all() {
    check(|| {
        let event = Arc::new(Event::new());
        let sleepers = [2, 3].map(|owner| {
            let event = event.clone();
            run(owner, owner, move || event.wait(S, NEVER))
        });
        be(1, 1);
        // SAFETY: borrowed, hence live.
        unsafe { Event::set(&*event, S) };
        assert_eq!(
            sleepers.map(|sleeper| sleeper.join().unwrap()),
            [Waited::Yes; 2]
        );
    });
}

#[test]
fn event_set_and_cleared_at_once_releases_a_sleeper() {
    check(|| {
        let event = Arc::new(Event::new());
        let sleeper = {
            let event = event.clone();
            run(2, 2, move || event.wait(S, NEVER))
        };
        be(1, 1);
        while model::sleepers() == 0 {
            yield_now();
        }
        // SAFETY: borrowed, hence live.
        unsafe { Event::set(&*event, S) };
        event.clear();
        assert_eq!(sleeper.join().unwrap(), Waited::Yes);
    });
}

#[test]
fn event_cleared_then_looked_loses_nothing() {
    check(|| {
        let shared = Arc::new((Event::new(), loom::sync::atomic::AtomicU32::new(0)));
        // SAFETY: borrowed, hence live.
        unsafe { Event::set(&shared.0, S) };
        let producer = {
            let shared = shared.clone();
            run(2, 2, move || {
                shared.1.store(1, Relaxed);
                // SAFETY: borrowed, hence live.
                unsafe { Event::set(&shared.0, S) };
            })
        };
        be(1, 1);
        shared.0.clear();
        let seen = shared.1.load(Relaxed);
        producer.join().unwrap();
        assert!(seen == 1 || shared.0.is_set());
    });
}
