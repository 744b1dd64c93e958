//! `allcores::threading` in the child of a fork(2): the forking thread keeps what it holds, and what threads held that did
//! not come along is reported and not waited for.

#[expect(
    dead_code,
    reason = "shared with other test programs, which use the rest"
)]
#[path = "threading/util.rs"]
mod util;

#[path = "threading/fork.rs"]
mod fork;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use allcores::threading::{
    Barrier, Condition, Event, JoinError, Lock, RLock, Semaphore, Thread, active_count,
    current_thread, enumerate, get_ident, main_thread, scope,
};

use fork::in_child;
use util::{LONG, SHORT, until};

/// Runs `body` while another thread does `hold`, which calls the closure it is given and returns after `body`.
fn while_another(hold: impl FnOnce(&dyn Fn()) + Send, body: impl FnOnce()) {
    let (held, done) = (Event::new(), Event::new());
    scope(|s| {
        s.spawn(|| {
            hold(&|| {
                held.set();
                done.wait();
            });
        });
        held.wait();
        body();
        done.set();
    })
    .unwrap();
}

fn panics<R>(f: impl FnOnce() -> R) -> bool {
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else {
        return false;
    };
    let message = payload.downcast_ref::<String>();
    message.is_some_and(|message| message.contains("never released it"))
}

#[test]
fn the_forking_thread_keeps_its_locks() {
    let lock = Lock::new(1);
    let recursive = RLock::new(Cell::new(1));
    let guard = lock.acquire();
    let (outer, inner) = (recursive.acquire(), recursive.acquire());
    in_child(|| {
        let held = lock.try_acquire().is_none() && recursive.is_mine() && recursive.depth() == 2;
        // SAFETY: a copy of the guard in the child; the parent's is its own.
        drop(unsafe { std::ptr::read(&guard) });
        // SAFETY: as above.
        drop(unsafe { std::ptr::read(&inner) });
        // SAFETY: as above.
        drop(unsafe { std::ptr::read(&outer) });
        held && lock.try_acquire().is_some() && !recursive.locked()
    });
    assert!(lock.locked() && recursive.depth() == 2, "untouched here");
    drop((guard, outer, inner));
}

#[test]
fn a_lock_of_a_thread_that_stayed_behind_is_reported_until_recovered() {
    let lock = Lock::new(5);
    while_another(
        |wait| {
            let mut guard = lock.acquire();
            *guard = 6;
            wait();
        },
        || {
            in_child(|| {
                let all_panic = panics(|| lock.acquire())
                    && panics(|| lock.try_acquire())
                    && panics(|| lock.acquire_timeout(Duration::ZERO))
                    && panics(|| lock.acquire_timeout(LONG));
                let shown = format!("{lock:?}") == "Lock { data: <owner died> }";
                let told_again = lock.acquire_or_died().is_err()
                    && lock.acquire_timeout_or_died(LONG).is_err()
                    && lock
                        .acquire_or_died()
                        .map_err(|died| *died.into_guard())
                        .is_err_and(|data| data == 6);
                let Err(died) = lock.acquire_or_died() else {
                    return false;
                };
                *died.recover() = 7;
                all_panic && shown && told_again && *lock.acquire() == 7
            });
        },
    );
    assert_eq!(*lock.acquire(), 6, "the parent's lock is its own");
}

#[test]
fn a_lock_without_data_can_simply_be_released() {
    let lock = Lock::new(());
    while_another(
        |wait| {
            lock.hold();
            wait();
            lock.release().unwrap();
        },
        || {
            in_child(|| {
                lock.locked()
                    && panics(|| lock.hold())
                    && panics(|| lock.try_hold())
                    && panics(|| lock.hold_timeout(SHORT))
            });
            in_child(|| {
                lock.release().is_ok()
                    && lock.try_hold()
                    && lock.release().is_ok()
                    && !lock.locked()
            });
        },
    );
    assert!(!lock.locked());
}

#[test]
fn an_rlock_of_a_thread_that_stayed_behind_is_reported_until_recovered() {
    let lock = RLock::new(Cell::new(5));
    while_another(
        |wait| {
            let _outer = lock.acquire();
            let _inner = lock.acquire();
            wait();
        },
        || {
            in_child(|| {
                let all_panic = panics(|| lock.acquire())
                    && panics(|| lock.try_acquire())
                    && panics(|| lock.acquire_timeout(LONG));
                let Err(died) = lock.acquire_or_died() else {
                    return false;
                };
                let guard = died.recover();
                let mine = lock.depth() == 1;
                drop(guard);
                all_panic && mine && !lock.locked() && lock.acquire().get() == 5
            });
        },
    );
    assert!(lock.try_acquire().is_some());
}

#[test]
fn only_the_forking_thread_is_listed() {
    // One that the library knows of beside us.
    let go = Arc::new(Event::new());
    let other = Thread::new({
        let go = go.clone();
        move || go.wait()
    });
    other.start().unwrap();
    let me = current_thread();
    let (ident, old_main) = (get_ident(), main_thread());
    assert!(!me.is_main());
    in_child(|| {
        let alone = active_count() == 1 && enumerate() == [me.clone()];
        let same = current_thread() == me && get_ident() == ident;
        let main =
            main_thread() == me && me.is_main() && me.native_id() == Some(std::process::id());
        let gone = !old_main.is_alive() && !old_main.is_main();
        alone && same && main && gone && me.is_alive()
    });
    // Asked in a thread of the child that is not the one that forked.
    in_child(|| {
        let listed = scope(|s| {
            s.spawn(|| (enumerate().len(), main_thread() == me, active_count()))
                .result()
        });
        matches!(listed, Ok(Ok((2, true, 2)))) && enumerate() == [me.clone()]
    });
    go.set();
    other.join().unwrap();
}

#[test]
fn a_thread_that_never_asked_becomes_the_main_thread() {
    // Not numbered before the fork: nothing of the library was used in it.
    std::thread::spawn(|| {
        in_child(|| {
            let seen_by_another = std::thread::spawn(|| main_thread().ident()).join().unwrap();
            let me = current_thread();
            me.is_main()
                && me.ident() == seen_by_another
                && active_count() == 1
                && !Lock::new(()).locked()
        });
    })
    .join()
    .unwrap();
}

#[test]
fn threads_that_stayed_behind_are_not_joined() {
    let go = Arc::new(Event::new());
    let t = Thread::new({
        let go = go.clone();
        move || go.wait()
    })
    .name("behind");
    t.start().unwrap();
    let ended = Thread::new(|| 7);
    ended.start().unwrap();
    ended.join().unwrap();
    in_child(|| {
        let vanished = Err(JoinError::Vanished {
            thread: "behind".into(),
        });
        let told = t.join() == vanished
            && t.join_timeout(LONG).is_err()
            && t.handle().join() == vanished
            && t.result().is_err()
            && !t.is_alive();
        // SAFETY: a copy in the child, dropped once there; the parent's is its own.
        drop(unsafe { std::ptr::read(&t) });
        // What had ended before the fork has ended here as well.
        told && ended.join().is_ok() && ended.result().is_ok_and(|seven| seven == 7)
    });
    assert!(t.is_alive());
    assert_eq!(ended.result().unwrap(), 7);
    go.set();
    t.join().unwrap();
}

#[test]
fn threads_and_primitives_work_in_the_child() {
    in_child(|| {
        let (lock, condition) = (Lock::new(0), Condition::new());
        let (event, semaphore) = (Event::new(), Semaphore::new(0));
        let barrier = Barrier::new(2).unwrap();
        let passed = scope(|s| {
            let t = s.spawn(|| {
                event.wait();
                semaphore.acquire();
                let mut guard = lock.acquire();
                condition.wait_for(&mut guard, |n| **n == 1).unwrap();
                drop(guard);
                barrier.wait().is_ok()
            });
            event.set();
            semaphore.release().unwrap();
            let mut guard = lock.acquire();
            *guard = 1;
            condition.notify_one(&guard).unwrap();
            drop(guard);
            barrier.wait().unwrap();
            t.result().unwrap()
        });
        let t = Thread::new(|| "child");
        t.start().unwrap();
        passed == Ok(true) && t.result().unwrap() == "child"
    });
}

#[test]
fn a_thread_of_ours_may_fork() {
    let t = Thread::new(|| {
        in_child(|| {
            let me = current_thread();
            me.name() == "forks" && me.is_main() && me.is_alive() && enumerate() == [me.clone()]
        });
    })
    .name("forks");
    t.start().unwrap();
    t.join().unwrap();
}

#[test]
fn a_party_that_stayed_behind_breaks_the_barrier() {
    let barrier = Barrier::new(2).unwrap();
    scope(|s| {
        s.spawn(|| barrier.wait().unwrap());
        until(|| barrier.n_waiting() == 1);
        in_child(|| barrier.wait().is_err() && barrier.broken());
        assert!(!barrier.broken());
        barrier.wait().unwrap();
    })
    .unwrap();
}

#[test]
fn a_waiter_that_stayed_behind_takes_no_notification() {
    let lock = Lock::new(0);
    let condition = Condition::new();
    scope(|s| {
        s.spawn(|| {
            let mut guard = lock.acquire();
            *guard = 1;
            condition.wait(&mut guard).unwrap();
        });
        until(|| *lock.acquire() == 1);
        in_child(|| {
            scope(|s| {
                let t = s.spawn(|| {
                    let mut guard = lock.acquire();
                    *guard = 2;
                    condition.wait_timeout(&mut guard, LONG)
                });
                until(|| *lock.acquire() == 2);
                let notified = condition.notify_one(&lock.acquire()) == Ok(1);
                notified && t.result().unwrap() == Ok(true)
            })
            .unwrap()
        });
        assert_eq!(condition.notify_one(&lock.acquire()), Ok(1));
    })
    .unwrap();
}
