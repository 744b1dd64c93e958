//! Event count: a condition beside it, changed by some and waited for by others.

use super::{NEVER, S, check, check_deaths, explore, run};
use allcores::sync::EventCount;
use allcores::sync::model::{self, AtomicU32, Timer, be, killed_at};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// Items that are put and taken, and who waits for them.
struct Items {
    count: AtomicU32,
    changed: EventCount,
}

impl Items {
    fn new() -> Arc<Items> {
        Arc::new(Items {
            count: AtomicU32::new(0),
            changed: EventCount::new(),
        })
    }
    fn put(&self) {
        self.count.fetch_add(1, AcqRel);
        self.changed.notify(S, 1);
    }
    fn take(&self) -> bool {
        let mut count = self.count.load(Acquire);
        while count > 0 {
            match self
                .count
                .compare_exchange(count, count - 1, AcqRel, Relaxed)
            {
                Ok(_) => return true,
                Err(now) => count = now,
            }
        }
        false
    }
    /// Takes one, and waits for it. Where somebody may die, what is waited for is asked now and then, so it must change nothing.
    fn take_waiting(&self) {
        while !self.take() {
            let is_there = || self.count.load(Acquire) > 0;
            self.changed.wait_until(S, NEVER, is_there);
        }
    }
}

#[test]
fn eventcount_loses_no_item() {
    check(|| {
        let items = Items::new();
        let taker = {
            let items = items.clone();
            run(2, 2, move || {
                items.changed.wait_until(S, NEVER, || items.take())
            })
        };
        be(1, 1);
        items.put();
        assert!(taker.join().unwrap());
    });
}

#[test]
fn eventcount_of_two_sleepers_and_two_items() {
    check(|| {
        let items = Items::new();
        let takers = [2, 3].map(|owner| {
            let items = items.clone();
            run(owner, owner, move || {
                items.changed.wait_until(S, NEVER, || items.take())
            })
        });
        be(1, 1);
        items.put();
        items.put();
        assert_eq!(takers.map(|taker| taker.join().unwrap()), [true; 2]);
    });
}

#[test]
fn eventcount_of_one_sleeper_and_two_items() {
    // Two preemptions do not bring the second announcement between a notification and what follows it.
    explore(1, || {
        model::nobody_dies();
        let items = Items::new();
        let taker = {
            let items = items.clone();
            run(2, 2, move || {
                (0..2).all(|_| items.changed.wait_until(S, NEVER, || items.take()))
            })
        };
        be(1, 1);
        items.put();
        items.put();
        assert!(taker.join().unwrap());
    });
}

#[test]
fn eventcount_of_two_who_put() {
    check(|| {
        let items = Items::new();
        let takers = [2, 3].map(|owner| {
            let items = items.clone();
            run(owner, owner, move || {
                items.changed.wait_until(S, NEVER, || items.take())
            })
        });
        let putter = {
            let items = items.clone();
            run(4, 4, move || items.put())
        };
        be(1, 1);
        items.put();
        putter.join().unwrap();
        assert_eq!(takers.map(|taker| taker.join().unwrap()), [true; 2]);
    });
}

#[test]
fn eventcount_with_a_sleeper_that_times_out() {
    check(|| {
        let items = Items::new();
        let timer = Timer::new();
        let takers = [(2, timer.deadline()), (3, NEVER)].map(|(owner, deadline)| {
            let items = items.clone();
            run(owner, owner, move || {
                let taken = items.changed.wait_until(S, deadline, || items.take());
                if taken && owner == 2 {
                    items.put();
                }
                taken
            })
        });
        be(1, 1);
        timer.fire();
        items.put();
        let [_, patient] = takers.map(|taker| taker.join().unwrap());
        assert!(patient);
    });
}

#[test]
fn eventcount_notifier_killed_at_any_step() {
    // More steps than a put has.
    for point in 0..8 {
        check_deaths(move || {
            let items = Items::new();
            let taker = {
                let items = items.clone();
                run(2, 2, move || {
                    items
                        .changed
                        .wait_until(S, NEVER, || items.count.load(Acquire) == 1)
                })
            };
            be(1, 1);
            killed_at(point, || items.put());
            be(3, 3);
            if items.count.load(Acquire) == 0 {
                items.put();
            }
            assert!(taker.join().unwrap());
        });
    }
}

/// One waits and takes nothing, as those do who ask whether there is something: it passes on the wake-up that it used up.
#[test]
fn eventcount_passed_on_by_one_who_takes_nothing() {
    check(|| {
        let items = Items::new();
        let timer = Timer::new();
        let watcher = {
            let items = items.clone();
            run(2, 2, move || {
                let is_there = || items.count.load(Acquire) > 0;
                items.changed.wait_until(S, timer.deadline(), is_there);
                // `Core::pass_on` of the queues.
                if is_there() {
                    items.changed.notify(S, 1);
                }
            })
        };
        let taker = {
            let items = items.clone();
            run(3, 3, move || {
                items.changed.wait_until(S, NEVER, || items.take())
            })
        };
        be(1, 1);
        items.put();
        assert!(taker.join().unwrap());
        // It may not have seen what was there for a moment.
        timer.fire();
        watcher.join().unwrap();
    });
}

/// Who was woken is killed before it takes anything: another one that sleeps takes it.
#[test]
fn eventcount_sleeper_killed_at_any_step() {
    for point in 0..12 {
        check_deaths(move || {
            let items = Items::new();
            let victim = {
                let items = items.clone();
                run(2, 2, move || {
                    killed_at(point, || {
                        items.take_waiting();
                    })
                })
            };
            let other = {
                let items = items.clone();
                run(3, 3, move || items.take_waiting())
            };
            be(1, 1);
            items.put();
            // Or it would wait for ever where the other one was first.
            model::kill(2);
            victim.join().unwrap();
            // Taken, by one of the two: what the victim took is lost.
            if items.count.load(Acquire) == 0 {
                items.put();
            }
            other.join().unwrap();
        });
    }
}
