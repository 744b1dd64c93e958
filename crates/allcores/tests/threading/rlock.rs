//! RLock.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use allcores::threading::{NotOwner, RLock, RLockGuard, Thread, scope};

use crate::util::{CENTURIES, SHORT, until_asleep};

#[test]
fn its_owner_takes_it_again_and_again() {
    let lock = RLock::new(Cell::new(0));
    let first = lock.acquire();
    let second = lock.try_acquire().expect("mine already");
    let third = lock.acquire_timeout(Duration::ZERO).expect("mine already");
    assert_eq!(lock.depth(), 3);
    third.set(3);
    drop(first);
    drop(third);
    assert!(lock.locked(), "held as long as one guard is left");
    assert_eq!(second.get(), 3);
    drop(second);
    assert!(!lock.locked());
}

#[test]
fn it_is_free_for_others_only_when_every_guard_is_gone() {
    let lock = RLock::new(());
    let outer = lock.acquire();
    let inner = lock.acquire();
    scope(|s| {
        let waiter = s.spawn(|| {
            let _mine = lock.acquire();
            lock.depth()
        });
        until_asleep(&waiter.handle());
        drop(inner);
        assert!(waiter.is_alive());
        assert_eq!(waiter.join_timeout(SHORT), Ok(false));
        drop(outer);
        assert_eq!(waiter.result().unwrap(), 1);
    })
    .unwrap();
}

#[test]
fn others_do_not_get_it_and_do_not_count_as_owners() {
    let lock = RLock::new(());
    assert!(!lock.is_mine());
    let _guard = lock.acquire();
    assert!(lock.is_mine());
    scope(|s| {
        s.spawn(|| {
            assert!(!lock.is_mine());
            assert_eq!(lock.depth(), 0);
            assert!(lock.try_acquire().is_none());
            let begun = Instant::now();
            assert!(lock.acquire_timeout(SHORT).is_none());
            assert!(begun.elapsed() >= SHORT);
        });
    })
    .unwrap();
}

#[test]
fn only_its_owner_releases_it() {
    let lock = RLock::new(());
    assert_eq!(lock.release(), Err(NotOwner));
    lock.hold();
    assert!(lock.try_hold());
    assert!(lock.hold_timeout(CENTURIES));
    scope(|s| {
        s.spawn(|| assert_eq!(lock.release(), Err(NotOwner)));
    })
    .unwrap();
    assert_eq!(lock.depth(), 3);
    for _ in 0..3 {
        assert_eq!(lock.release(), Ok(()));
    }
    assert_eq!(lock.release(), Err(NotOwner));
    assert!(!lock.locked());
}

#[test]
fn an_owner_that_ends_while_holding_it_is_reported() {
    let lock = Arc::new(RLock::new(RefCell::new(1)));
    let holder = Thread::new({
        let lock = lock.clone();
        move || {
            *lock.acquire().borrow_mut() = 2;
            std::mem::forget(lock.acquire());
        }
    });
    holder.start().unwrap();
    holder.join().unwrap();
    assert!(lock.locked());

    let panics = |f: &(dyn Fn() + Sync)| {
        let outcome = scope(|s| s.spawn(f).join()).unwrap();
        let message = outcome.expect_err("a panic").to_string();
        assert!(message.contains("never released it"), "{message}");
    };
    panics(&|| drop(lock.acquire()));
    panics(&|| drop(lock.try_acquire()));
    panics(&|| drop(lock.acquire_timeout(SHORT)));

    let died = lock.acquire_or_died().expect_err("nobody has recovered it");
    assert_eq!(*died.guard().borrow(), 2);
    drop(died.into_guard());
    let died = lock
        .acquire_timeout_or_died(Duration::ZERO)
        .expect_err("into_guard leaves the mark");
    let guard = died.recover();
    assert_eq!(*guard.borrow(), 2);
    drop(guard);
    drop(lock.acquire());
    assert!(lock.acquire_or_died().is_ok());
}

#[test]
fn those_who_wait_hear_of_their_owners_end() {
    let lock = Arc::new(RLock::new(()));
    let go = Arc::new(allcores::threading::Event::new());
    let holding = Arc::new(allcores::threading::Event::new());
    let holder = Thread::new({
        let (lock, go, holding) = (lock.clone(), go.clone(), holding.clone());
        move || {
            lock.hold();
            holding.set();
            go.wait();
        }
    });
    holder.start().unwrap();
    holding.wait();
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let lock = lock.clone();
            let waiter = Thread::new(move || match lock.acquire_or_died() {
                Ok(guard) => {
                    drop(guard);
                    false
                }
                Err(died) => {
                    drop(died);
                    true
                }
            });
            waiter.start().unwrap();
            waiter
        })
        .collect();
    for waiter in &waiters {
        until_asleep(&waiter.handle());
    }
    go.set();
    // Without the report this waits for ever.
    for waiter in &waiters {
        assert!(waiter.result().unwrap(), "nobody has recovered it");
    }
}

#[test]
fn a_panic_releases_it_and_leaves_no_poison() {
    let lock = RLock::new(());
    scope(|s| {
        let t = s.spawn(|| {
            let _outer = lock.acquire();
            let _inner = lock.acquire();
            std::panic::resume_unwind(Box::new("quietly"));
        });
        assert!(t.join().is_err());
    })
    .unwrap();
    assert!(lock.try_acquire().is_some());
}

#[test]
fn it_shows_itself() {
    let lock = RLock::new(7);
    assert_eq!(format!("{lock:?}"), "RLock { data: 7 }");
    let guard = lock.acquire();
    assert_eq!(format!("{guard:?} {guard}"), "7 7");
    assert_eq!(format!("{lock:?}"), "RLock { data: 7 }", "it is mine");
    scope(|s| {
        s.spawn(|| assert_eq!(format!("{lock:?}"), "RLock { data: <locked> }"));
    })
    .unwrap();
    assert!(std::ptr::eq(RLockGuard::lock(&guard), &lock));
}

#[test]
fn it_is_made_in_all_the_usual_ways() {
    static IN_A_STATIC: RLock<Cell<u8>> = RLock::new(Cell::new(1));
    IN_A_STATIC.acquire().set(2);
    assert_eq!(IN_A_STATIC.acquire().get(), 2);
    assert_eq!(*RLock::<String>::default().acquire(), "");
    let mut lock = RLock::from(1);
    *lock.get_mut() += 1;
    assert_eq!(lock.into_inner(), 2);
}
