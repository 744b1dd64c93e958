//! task_done and join.

use std::time::Duration;

use allcores::threading::queue::TooManyDone;
use allcores::threading::{Lock, scope};

use super::{AnyQueue, blocks_until, for_each_kind, until_blocked};
use crate::util::{CENTURIES, LONG, SHORT};

for_each_kind!(
    join_returns_when_all_is_done
    one_task_done_too_many_is_an_error
    join_waits_for_what_has_been_got_and_not_done
    join_has_a_timeout
    all_who_join_go_on
    who_joins_looks_again
    tasks_may_be_done_before_they_are_got
);

fn join_returns_when_all_is_done<Q: AnyQueue>() {
    let q = Q::new();
    for _ in 0..2 {
        let sum = Lock::new(0);
        scope(|s| {
            for _ in 0..2 {
                s.spawn(|| {
                    loop {
                        let item = q.get().unwrap();
                        *sum.acquire() += item;
                        q.task_done().unwrap();
                        if item == 0 {
                            return;
                        }
                    }
                });
            }
            (1..=100).for_each(|item| q.put(item).unwrap());
            q.join();
            assert_eq!(*sum.acquire(), 5050, "not all was done");
            (0..2).for_each(|_| q.put(0).unwrap());
            q.join();
        })
        .unwrap();
    }
    assert_eq!(q.task_done(), Err(TooManyDone));
}

fn one_task_done_too_many_is_an_error<Q: AnyQueue>() {
    let q = Q::new();
    assert_eq!(q.task_done(), Err(TooManyDone));
    q.put(1).unwrap();
    q.get().unwrap();
    assert_eq!(q.task_done(), Ok(()));
    assert_eq!(q.task_done(), Err(TooManyDone));
    // The error has changed nothing.
    q.put(1).unwrap();
    assert_eq!(q.unfinished_tasks(), 1);
    assert!(!q.join_timeout(Duration::ZERO));
}

fn join_waits_for_what_has_been_got_and_not_done<Q: AnyQueue>() {
    let q = Q::new();
    q.put(1).unwrap();
    q.put(2).unwrap();
    scope(|s| {
        let joined = s.spawn(|| q.join());
        until_blocked(&joined.handle());
        q.get().unwrap();
        q.get().unwrap();
        assert!(q.is_empty());
        q.task_done().unwrap();
        until_blocked(&joined.handle());
        assert_eq!(q.unfinished_tasks(), 1);
        q.task_done().unwrap();
        joined.join().unwrap();
    })
    .unwrap();
}

fn join_has_a_timeout<Q: AnyQueue>() {
    let q = Q::new();
    for timeout in [Duration::ZERO, SHORT, CENTURIES] {
        assert!(q.join_timeout(timeout), "there is nothing to do");
    }
    q.put(1).unwrap();
    assert!(!q.join_timeout(Duration::ZERO));
    assert!(!q.join_timeout(SHORT));
    scope(|s| {
        let done = || q.task_done().unwrap();
        assert!(blocks_until(s, || q.join_timeout(LONG), done));
    })
    .unwrap();
}

fn all_who_join_go_on<Q: AnyQueue>() {
    let q = Q::new();
    q.put(1).unwrap();
    scope(|s| {
        let joins: Vec<_> = (0..4).map(|_| s.spawn(|| q.join())).collect();
        joins.iter().for_each(|join| until_blocked(&join.handle()));
        q.task_done().unwrap();
        joins.iter().for_each(|join| join.join().unwrap());
    })
    .unwrap();
}

/// What is put after the last task was done, and before those who join have run, is waited for as well.
fn who_joins_looks_again<Q: AnyQueue>() {
    let q = Q::new();
    q.put(0).unwrap();
    scope(|s| {
        let worker = s.spawn(|| {
            for item in 0..3_000 {
                q.task_done().unwrap();
                q.put(item).unwrap();
            }
            q.task_done().unwrap();
        });
        while worker.is_alive() {
            assert!(q.join_timeout(LONG), "it gave up early");
        }
    })
    .unwrap();
}

/// As in Python, where nobody checks that either.
fn tasks_may_be_done_before_they_are_got<Q: AnyQueue>() {
    let q = Q::new();
    q.put(1).unwrap();
    q.put(2).unwrap();
    q.task_done().unwrap();
    q.task_done().unwrap();
    q.join();
    assert_eq!(q.qsize(), 2);
    q.put(3).unwrap();
    // Three items, one unfinished.
    q.shutdown(true);
    assert_eq!(q.unfinished_tasks(), 0);
    assert_eq!(q.task_done(), Err(TooManyDone));
}
