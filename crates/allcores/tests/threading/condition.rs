//! Condition.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use allcores::threading::{Condition, ForeignLock, Lock, RLock, Semaphore, WaitError, scope};

use crate::util::{CENTURIES, LONG, SHORT, until};

/// Returns once `n` wait: a waiter holds the lock until it does.
fn until_waiting(lock: &Lock<u32>, arrived: impl Fn(&u32) -> bool) {
    until(|| arrived(&lock.acquire()));
}

#[test]
fn as_many_go_on_as_are_notified_the_longest_waiting_first() {
    let lock = Lock::new(0);
    let condition = Condition::new();
    let order = Lock::new(Vec::new());
    scope(|s| {
        let (lock, condition, order) = (&lock, &condition, &order);
        let waiters: Vec<_> = (0..5)
            .map(|n| {
                let waiter = s.spawn(move || {
                    let mut guard = lock.acquire();
                    *guard += 1;
                    condition.wait(&mut guard).unwrap();
                    order.acquire().push(n);
                });
                until_waiting(lock, |waiting| *waiting == n + 1);
                waiter
            })
            .collect();
        assert_eq!(condition.notify(&lock.acquire(), 3), Ok(3));
        for waiter in &waiters[..3] {
            waiter.join().unwrap();
        }
        let mut gone = order.acquire().clone();
        gone.sort();
        assert_eq!(gone, [0, 1, 2]);
        assert!(waiters[3].is_alive() && waiters[4].is_alive());
        assert_eq!(condition.notify_one(&lock.acquire()), Ok(1));
        waiters[3].join().unwrap();
        assert!(waiters[4].is_alive());
        assert_eq!(condition.notify(&lock.acquire(), 5), Ok(1));
    })
    .unwrap();
    assert_eq!(condition.notify_all(&lock.acquire()), Ok(0));
}

#[test]
fn notify_all_leaves_nobody_behind() {
    let lock = Lock::new(0);
    let condition = Condition::new();
    // More than the places that a condition has in itself.
    const MANY: u32 = 40;
    scope(|s| {
        for _ in 0..MANY {
            s.spawn(|| {
                let mut guard = lock.acquire();
                *guard += 1;
                condition.wait(&mut guard).unwrap();
            });
        }
        until_waiting(&lock, |waiting| *waiting == MANY);
        assert_eq!(condition.notify_all(&lock.acquire()), Ok(MANY));
    })
    .unwrap();
}

#[test]
fn the_lock_is_free_during_the_wait_and_held_after_it() {
    let lock = Lock::new(0);
    let condition = Condition::new();
    scope(|s| {
        let waiter = s.spawn(|| {
            let mut guard = lock.acquire();
            *guard = 1;
            condition.wait(&mut guard).unwrap();
            assert!(lock.try_acquire().is_none());
            *guard
        });
        until_waiting(&lock, |n| *n == 1);
        let mut guard = lock.acquire();
        condition.notify_one(&guard).unwrap();
        // Notified, but it goes on only when we let it.
        assert_eq!(waiter.join_timeout(SHORT), Ok(false));
        *guard = 2;
        drop(guard);
        assert_eq!(waiter.result().unwrap(), 2);
    })
    .unwrap();
}

#[test]
fn a_timeout_ends_the_wait_and_not_too_early() {
    let lock = Lock::new(());
    let condition = Condition::new();
    let mut guard = lock.acquire();
    assert_eq!(
        condition.wait_timeout(&mut guard, Duration::ZERO),
        Ok(false)
    );
    let begun = Instant::now();
    assert_eq!(condition.wait_timeout(&mut guard, SHORT), Ok(false));
    assert!(begun.elapsed() >= SHORT);
    assert!(lock.locked());
    // One that has left is not notified.
    assert_eq!(condition.notify_all(&guard), Ok(0));
}

#[test]
fn a_notification_is_told_from_a_timeout() {
    let lock = Lock::new(0);
    let condition = Condition::new();
    scope(|s| {
        let waiters = [LONG, CENTURIES].map(|timeout| {
            let (lock, condition) = (&lock, &condition);
            s.spawn(move || {
                let mut guard = lock.acquire();
                *guard += 1;
                condition.wait_timeout(&mut guard, timeout)
            })
        });
        until_waiting(&lock, |n| *n == 2);
        condition.notify_all(&lock.acquire()).unwrap();
        for waiter in &waiters {
            assert_eq!(waiter.result().unwrap(), Ok(true));
        }
    })
    .unwrap();
}

#[test]
fn wait_for_asks_at_once_and_after_each_notification() {
    let lock = Lock::new(0);
    let condition = Condition::new();
    let mut guard = lock.acquire();
    condition.wait_for(&mut guard, |n| **n == 0).unwrap();
    drop(guard);
    let asked = Semaphore::new(0);
    scope(|s| {
        let (lock, condition, asked) = (&lock, &condition, &asked);
        let waiter = s.spawn(move || {
            let mut guard = lock.acquire();
            condition.wait_for(&mut guard, |n| {
                asked.release().unwrap();
                **n == 4
            })?;
            Ok::<_, WaitError>(*guard)
        });
        for _ in 0..4 {
            asked.acquire();
            let mut guard = lock.acquire();
            *guard += 1;
            condition.notify_one(&guard).unwrap();
        }
        assert_eq!(waiter.result().unwrap(), Ok(4));
        assert_eq!(asked.value(), 1);
    })
    .unwrap();
}

#[test]
fn wait_for_with_a_timeout_says_what_the_predicate_said_last() {
    let lock = Lock::new(0);
    let condition = Condition::new();
    let mut guard = lock.acquire();
    let begun = Instant::now();
    let never = condition.wait_for_timeout(&mut guard, SHORT, |_| false);
    assert_eq!(never, Ok(false));
    assert!(begun.elapsed() >= SHORT);
    let at_once = condition.wait_for_timeout(&mut guard, Duration::ZERO, |_| true);
    assert_eq!(at_once, Ok(true));
    let mut asked = 0;
    let not_at_once = condition.wait_for_timeout(&mut guard, Duration::ZERO, |_| {
        asked += 1;
        false
    });
    assert_eq!((not_at_once, asked), (Ok(false), 1));
}

#[test]
fn a_predicate_that_panics_leaves_the_guard_as_it_was() {
    let lock = Lock::new(1);
    let condition = Condition::new();
    let mut guard = lock.acquire();
    let result = catch_unwind(AssertUnwindSafe(|| {
        condition.wait_for(&mut guard, |_| {
            std::panic::resume_unwind(Box::new("quietly"))
        })
    }));
    assert!(result.is_err());
    assert!(lock.try_acquire().is_none(), "still held");
    *guard += 1;
    drop(guard);
    assert_eq!(*lock.try_acquire().expect("released"), 2);
}

#[test]
fn an_rlock_is_released_however_deep_and_held_as_deep_again() {
    let lock = RLock::new(Cell::new(0));
    let condition = Condition::new();
    scope(|s| {
        let waiter = s.spawn(|| {
            let outer = lock.acquire();
            let middle = lock.acquire();
            let mut inner = lock.acquire();
            inner.set(1);
            condition.wait(&mut inner).unwrap();
            assert_eq!((lock.depth(), inner.get()), (3, 2));
            drop((outer, middle, inner));
            assert!(!lock.is_mine());
        });
        until(|| lock.acquire().get() == 1);
        let guard = lock.acquire();
        guard.set(2);
        assert_eq!(condition.notify_one(&guard), Ok(1));
        drop(guard);
        waiter.join().unwrap();
    })
    .unwrap();
    assert!(!lock.locked());
}

#[test]
fn a_guard_of_another_lock_is_refused_while_anybody_waits() {
    let lock = Lock::new(0);
    let other = Lock::new(0);
    let recursive = RLock::new(());
    let condition = Condition::new();
    scope(|s| {
        s.spawn(|| {
            let mut guard = lock.acquire();
            *guard = 1;
            condition.wait(&mut guard).unwrap();
        });
        until_waiting(&lock, |n| *n == 1);
        let foreign = Err(WaitError::ForeignLock(ForeignLock));
        let mut guard = other.acquire();
        assert_eq!(condition.wait(&mut guard), foreign);
        assert_eq!(condition.wait_for(&mut guard, |_| false), foreign);
        assert!(other.try_acquire().is_none(), "not released for that");
        assert_eq!(condition.notify_one(&guard), Err(ForeignLock));
        assert_eq!(condition.notify_all(&recursive.acquire()), Err(ForeignLock));
        assert_eq!(condition.notify_one(&lock.acquire()), Ok(1));
    })
    .unwrap();
    // Nobody waits any more: it is free for another lock.
    let mut guard = other.acquire();
    assert_eq!(
        condition.wait_timeout(&mut guard, Duration::ZERO),
        Ok(false)
    );
    assert_eq!(condition.notify_one(&recursive.acquire()), Ok(0));
    assert_eq!(
        condition.wait_timeout(&mut recursive.acquire(), SHORT),
        Ok(false)
    );
}

#[test]
fn nothing_is_lost_between_producers_and_consumers() {
    const EACH: u32 = 500;
    let queue = Lock::new(Vec::new());
    let filled = Condition::new();
    let sum = scope(|s| {
        let (queue, filled) = (&queue, &filled);
        for producer in 0..3 {
            s.spawn(move || {
                for n in 0..EACH {
                    let mut queue = queue.acquire();
                    queue.push(producer * EACH + n);
                    filled.notify_one(&queue).unwrap();
                }
            });
        }
        let consumers: Vec<_> = (0..3)
            .map(|_| {
                s.spawn(move || {
                    let mut sum = 0u64;
                    for _ in 0..EACH {
                        let mut queue = queue.acquire();
                        filled
                            .wait_for(&mut queue, |queue| !queue.is_empty())
                            .unwrap();
                        sum += u64::from(queue.pop().unwrap());
                    }
                    sum
                })
            })
            .collect();
        consumers.iter().map(|c| c.result().unwrap()).sum::<u64>()
    })
    .unwrap();
    let total = u64::from(3 * EACH);
    assert_eq!(sum, total * (total - 1) / 2);
}

#[test]
fn it_shows_itself() {
    static CONDITION: Condition = Condition::new();
    assert_eq!(format!("{CONDITION:?}"), "Condition { waiting: 0 }");
}
