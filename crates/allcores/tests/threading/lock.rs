//! Lock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use allcores::threading::{Lock, LockGuard, NotHeld, RawLock, Thread, scope};

use crate::util::{CENTURIES, LONG, SHORT, until_asleep};

#[test]
fn a_free_lock_is_taken_and_released() {
    let lock = Lock::new(5);
    assert!(!lock.locked());
    let mut guard = lock.acquire();
    assert!(lock.locked());
    *guard += 1;
    drop(guard);
    assert!(!lock.locked());
    assert_eq!(lock.into_inner(), 6);
}

#[test]
fn a_held_lock_is_not_taken() {
    let lock = Lock::new(());
    let _guard = lock.acquire();
    assert!(lock.try_acquire().is_none());
    assert!(lock.acquire_timeout(Duration::ZERO).is_none());
    scope(|s| {
        s.spawn(|| assert!(lock.try_acquire().is_none()));
        s.spawn(|| assert!(lock.acquire_timeout(Duration::ZERO).is_none()));
    })
    .unwrap();
}

#[test]
fn all_who_wait_get_it_one_after_another() {
    let lock = Lock::new(0);
    scope(|s| {
        let mut guard = lock.acquire();
        let waiters: Vec<_> = (0..5).map(|_| s.spawn(|| *lock.acquire() += 1)).collect();
        for waiter in &waiters {
            until_asleep(&waiter.handle());
        }
        assert_eq!(*guard, 0);
        *guard = 10;
        drop(guard);
    })
    .unwrap();
    assert_eq!(*lock.acquire(), 15);
}

#[test]
fn no_two_are_inside_at_once() {
    let lock = Lock::new(0u64);
    scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for _ in 0..2_000 {
                    let mut guard = lock.acquire();
                    let seen = *guard;
                    std::hint::black_box(&guard);
                    *guard = seen + 1;
                }
            });
        }
    })
    .unwrap();
    assert_eq!(lock.into_inner(), 8_000);
}

#[test]
fn a_timeout_ends_the_wait_and_not_too_early() {
    let lock = Lock::new(());
    let guard = lock.acquire();
    let begun = Instant::now();
    assert!(lock.acquire_timeout(SHORT).is_none());
    assert!(begun.elapsed() >= SHORT);
    drop(guard);
    // And the lock is as good as before.
    assert!(!lock.locked());
    assert!(lock.try_acquire().is_some());
}

#[test]
fn centuries_are_a_timeout_like_any_other() {
    let lock = Lock::new(());
    drop(lock.acquire_timeout(CENTURIES).expect("free"));
    scope(|s| {
        let guard = lock.acquire();
        let waiter = s.spawn(|| lock.acquire_timeout(CENTURIES).is_some());
        until_asleep(&waiter.handle());
        drop(guard);
        assert!(waiter.result().unwrap());
    })
    .unwrap();
}

#[test]
fn a_lock_without_data_is_released_by_anybody() {
    static LOCK: Lock = Lock::new(());
    LOCK.hold();
    let waiter = Thread::new(|| {
        LOCK.hold();
        LOCK.release()
    });
    waiter.start().unwrap();
    until_asleep(&waiter.handle());
    let releaser = Thread::new(|| LOCK.release());
    releaser.start().unwrap();
    assert_eq!(releaser.result().unwrap(), Ok(()));
    assert_eq!(waiter.result().unwrap(), Ok(()));
    assert_eq!(LOCK.release(), Err(NotHeld));
}

#[test]
fn it_stays_held_when_its_thread_ends() {
    let lock = Arc::new(Lock::new(()));
    let holder = Thread::new({
        let lock = lock.clone();
        move || lock.hold()
    });
    holder.start().unwrap();
    holder.join().unwrap();
    assert!(!lock.try_hold());
    assert!(!lock.hold_timeout(SHORT));
    assert_eq!(lock.release(), Ok(()));
    assert!(lock.try_hold());
}

#[test]
fn a_thread_that_takes_it_twice_waits_for_somebody_else() {
    static LOCK: Lock = Lock::new(());
    let twice = Thread::new(|| {
        LOCK.hold();
        LOCK.hold();
    });
    twice.start().unwrap();
    until_asleep(&twice.handle());
    assert!(twice.is_alive());
    LOCK.release().unwrap();
    twice.join().unwrap();
}

#[test]
fn a_guard_does_not_release_what_somebody_else_took_meanwhile() {
    let lock = Lock::new(());
    let guard = lock.acquire();
    lock.release().unwrap();
    scope(|s| {
        s.spawn(|| lock.hold());
    })
    .unwrap();
    drop(guard);
    assert!(lock.locked());
}

#[test]
fn a_panic_releases_it_and_leaves_no_poison() {
    let lock = Lock::new(1);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut guard = lock.acquire();
        *guard = 2;
        std::panic::resume_unwind(Box::new("quietly"));
    }));
    assert!(result.is_err());
    assert_eq!(*lock.try_acquire().expect("released by unwinding"), 2);
}

#[test]
fn what_a_holder_wrote_is_seen_by_the_next() {
    let lock = Arc::new(Lock::new(Vec::new()));
    for n in 0..50 {
        let t = Thread::new({
            let lock = lock.clone();
            move || lock.acquire().push(n)
        });
        t.start().unwrap();
        // Not joined: the lock alone orders it.
        while lock.acquire().len() <= n {
            std::thread::yield_now();
        }
    }
    assert_eq!(*lock.acquire(), (0..50).collect::<Vec<_>>());
}

#[test]
fn it_shows_itself() {
    let lock = Lock::new(7);
    assert_eq!(format!("{lock:?}"), "Lock { data: 7 }");
    let guard = lock.acquire();
    assert_eq!(format!("{lock:?}"), "Lock { data: <locked> }");
    drop(guard);
    assert!(!lock.locked(), "looking releases it again");
}

#[test]
fn it_is_made_in_all_the_usual_ways() {
    static IN_A_STATIC: Lock<[u8; 3]> = Lock::new([1, 2, 3]);
    assert_eq!(IN_A_STATIC.acquire()[2], 3);
    assert_eq!(*Lock::<String>::default().acquire(), "");
    assert_eq!(*Lock::from(4).acquire(), 4);
    let mut lock = Lock::new(1);
    *lock.get_mut() += 1;
    assert_eq!(lock.into_inner(), 2);
    let unsized_lock: &Lock<[i32]> = &Lock::new([1, 2]);
    assert_eq!(unsized_lock.acquire().len(), 2);
}

#[test]
fn guards_are_those_of_lock_api() {
    let lock = Lock::new((1, 2));
    let mut second = LockGuard::map(lock.acquire(), |pair| &mut pair.1);
    *second = 5;
    drop(second);
    let mut guard = lock.acquire();
    LockGuard::unlocked(&mut guard, || lock.acquire().0 = 4);
    assert_eq!(*guard, (4, 5));

    let plain = lock_api::Mutex::<RawLock, u8>::new(3);
    let held = plain.lock();
    assert!(plain.try_lock().is_none());
    assert!(plain.try_lock_until(Instant::now() + SHORT).is_none());
    drop(held);
    assert!(plain.try_lock_for(LONG).is_some());
}

#[test]
fn a_lock_may_go_away_as_soon_as_it_is_taken() {
    // The releaser must not touch the lock once the next owner may have freed it.
    for _ in 0..200 {
        let lock = Arc::new(Lock::new(()));
        lock.hold();
        let other = Thread::new({
            let lock = lock.clone();
            move || {
                lock.hold();
                drop(lock);
            }
        });
        other.start().unwrap();
        lock.release().unwrap();
        drop(lock);
        other.join().unwrap();
    }
}
