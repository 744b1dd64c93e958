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
