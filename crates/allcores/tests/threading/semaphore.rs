//! Semaphore and BoundedSemaphore.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use allcores::threading::{
    BoundedSemaphore, ReleaseManyError, Semaphore, Thread, TooManyPermits, scope,
};

use crate::util::{CENTURIES, SHORT, until, until_asleep};

/// The same behaviour of both kinds.
macro_rules! of_both_kinds {
    ($($name:ident($new:ident) $body:block)*) => {
        mod unbounded {
            use super::*;
            $(#[test] fn $name() { let $new = Semaphore::new; $body })*
        }
        mod bounded {
            use super::*;
            $(#[test] fn $name() { let $new = BoundedSemaphore::new; $body })*
        }
    };
}

of_both_kinds! {
    permits_are_counted(new) {
        let semaphore = new(2);
        semaphore.acquire();
        assert_eq!(semaphore.value(), 1);
        assert!(semaphore.try_acquire());
        assert!(!semaphore.try_acquire());
        assert!(!semaphore.acquire_timeout(Duration::ZERO));
        semaphore.release().unwrap();
        assert!(semaphore.acquire_timeout(CENTURIES));
        semaphore.release_many(2).unwrap();
        assert_eq!(semaphore.value(), 2);
    }

    a_timeout_ends_the_wait_and_not_too_early(new) {
        let semaphore = new(1);
        semaphore.acquire();
        let begun = Instant::now();
        assert!(!semaphore.acquire_timeout(SHORT));
        assert!(begun.elapsed() >= SHORT);
        assert!(semaphore.permit_timeout(SHORT).is_none());
        semaphore.release().unwrap();
        assert!(semaphore.try_acquire());
    }

    as_many_go_on_as_there_are_permits(new) {
        let semaphore = Arc::new(new(7));
        let taken = Arc::new(AtomicUsize::new(0));
        for _ in 0..7 {
            semaphore.acquire();
        }
        let threads: Vec<_> = (0..10)
            .map(|_| {
                let (semaphore, taken) = (semaphore.clone(), taken.clone());
                let t = Thread::new(move || {
                    semaphore.acquire();
                    taken.fetch_add(1, SeqCst);
                });
                t.start().unwrap();
                t
            })
            .collect();
        for t in &threads {
            until_asleep(&t.handle());
        }
        assert_eq!(taken.load(SeqCst), 0);
        semaphore.release().unwrap();
        until(|| taken.load(SeqCst) == 1);
        semaphore.release_many(6).unwrap();
        until(|| taken.load(SeqCst) == 7);
        assert!(!semaphore.try_acquire());
        assert!(threads.iter().filter(|t| t.is_alive()).count() >= 3);
        semaphore.release_many(3).unwrap();
        for t in &threads {
            t.join().unwrap();
        }
        assert_eq!(semaphore.value(), 0);
    }

    a_permit_returns_itself(new) {
        let semaphore = new(2);
        let first = semaphore.permit();
        let second = semaphore.try_permit().expect("one is left");
        assert!(semaphore.try_permit().is_none());
        assert!(semaphore.permit_timeout(Duration::ZERO).is_none());
        assert_eq!(semaphore.value(), 0);
        drop(first);
        assert_eq!(semaphore.value(), 1);
        std::mem::forget(second);
        assert_eq!(semaphore.value(), 1);
        scope(|s| {
            let t = s.spawn(|| {
                let _permit = semaphore.permit();
                std::panic::resume_unwind(Box::new("quietly"));
            });
            assert!(t.join().is_err());
        })
        .unwrap();
        assert_eq!(semaphore.value(), 1, "returned by unwinding");
    }

    a_permit_may_be_returned_by_another_thread(new) {
        let semaphore = new(1);
        let permit = semaphore.permit();
        scope(|s| {
            s.spawn(move || drop(permit));
        })
        .unwrap();
        assert_eq!(semaphore.value(), 1);
    }

    to_return_nothing_is_a_mistake(new) {
        let semaphore = new(1);
        semaphore.acquire();
        assert_eq!(semaphore.release_many(0), Err(ReleaseManyError::NoPermits));
        assert_eq!(semaphore.value(), 0);
    }

    without_permits_it_begins_taken(new) {
        assert!(!new(0).try_acquire());
    }

    never_more_inside_than_permits(new) {
        let semaphore = new(3);
        let inside = AtomicUsize::new(0);
        scope(|s| {
            for _ in 0..5 {
                s.spawn(|| {
                    for _ in 0..300 {
                        let _permit = semaphore.permit();
                        assert!(inside.fetch_add(1, SeqCst) < 3);
                        std::thread::yield_now();
                        inside.fetch_sub(1, SeqCst);
                    }
                });
            }
        })
        .unwrap();
        assert_eq!(semaphore.value(), 3);
    }
}

#[test]
fn an_unbounded_one_may_grow() {
    let semaphore = Semaphore::default();
    semaphore.release().unwrap();
    assert_eq!(semaphore.value(), 2);
    semaphore.release_many(Semaphore::MAX - 2).unwrap();
    let too_many = TooManyPermits {
        released: 1,
        count: Semaphore::MAX,
        max: Semaphore::MAX,
    };
    assert_eq!(semaphore.release(), Err(too_many));
    assert_eq!(semaphore.value(), Semaphore::MAX);
}

#[test]
fn a_bounded_one_refuses_more_than_it_began_with_and_changes_nothing() {
    let semaphore = BoundedSemaphore::new(3);
    semaphore.acquire();
    assert!(matches!(
        semaphore.release_many(2),
        Err(ReleaseManyError::TooMany(TooManyPermits {
            released: 2,
            count: 2,
            max: 3
        }))
    ));
    assert_eq!(semaphore.value(), 2);
    assert_eq!(semaphore.release(), Ok(()));
    assert!(semaphore.release().is_err());
    assert_eq!((semaphore.value(), semaphore.bound()), (3, 3));
    assert_eq!(BoundedSemaphore::default().bound(), 1);
}

#[test]
#[should_panic = "2^31 - 1"]
fn more_permits_than_any_semaphore_has() {
    Semaphore::new(Semaphore::MAX + 1);
}

#[test]
fn they_show_themselves() {
    static SEMAPHORE: Semaphore = Semaphore::new(3);
    assert_eq!(format!("{SEMAPHORE:?}"), "Semaphore { value: 3 }");
    let bounded = BoundedSemaphore::new(2);
    bounded.acquire();
    assert_eq!(
        format!("{bounded:?}"),
        "BoundedSemaphore { value: 1, bound: 2 }"
    );
}
