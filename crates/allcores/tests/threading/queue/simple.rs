//! SimpleQueue.

use std::time::Duration;

use allcores::threading::{Lock, SimpleQueue, scope};

use super::blocks_until;
use crate::util::{CENTURIES, SHORT};

#[test]
fn it_gives_what_it_was_given() {
    let q = SimpleQueue::new();
    assert!(q.is_empty());
    for n in 1..=4 {
        q.put(n);
        assert_eq!(q.qsize(), n);
    }
    assert_eq!(q.get(), 1);
    assert_eq!(q.try_get(), Some(2));
    assert_eq!(q.get_timeout(SHORT), Some(3));
    assert_eq!(q.get_timeout(Duration::ZERO), Some(4));
    assert_eq!(q.try_get(), None);
    assert_eq!(q.get_timeout(SHORT), None);
    assert_eq!(q.get_timeout(Duration::ZERO), None);
    assert!(q.is_empty());
}

#[test]
fn get_waits() {
    let q = SimpleQueue::default();
    scope(|s| {
        assert_eq!(blocks_until(s, || q.get(), || q.put(1)), 1);
        let timed = || q.get_timeout(CENTURIES);
        assert_eq!(blocks_until(s, timed, || q.put(2)), Some(2));
    })
    .unwrap();
}

#[test]
fn it_can_be_extended_by_several_at_once() {
    let q = SimpleQueue::new();
    scope(|s| {
        for _ in 0..3 {
            s.spawn(|| (&q).extend(0..100));
        }
    })
    .unwrap();
    let mut q = q;
    q.extend([7]);
    assert_eq!(q.qsize(), 301);
}

type Number = Option<u32>;
type Numbers = SimpleQueue<Number>;
type Get = dyn Fn(&Numbers) -> Number + Sync;

/// Feeders share the input, and each ends with a `None`; each consumer takes until it gets one.
fn feed_and_consume(threads: usize, inputs: u32, get: &Get) -> Vec<u32> {
    let (q, input, results) = (SimpleQueue::new(), Lock::new(0..inputs), Lock::new(vec![]));
    scope(|s| {
        for _ in 0..threads {
            s.spawn(|| {
                loop {
                    // Put under the lock: with one consumer it comes in order.
                    let mut input = input.acquire();
                    let item = input.next();
                    q.put(item);
                    if item.is_none() {
                        return;
                    }
                }
            });
            s.spawn(|| {
                while let Some(item) = get(&q) {
                    results.acquire().push(item);
                }
            });
        }
    })
    .unwrap();
    assert!(q.is_empty());
    results.into_inner()
}

#[test]
fn one_to_one_is_in_order() {
    let results = feed_and_consume(1, 1_000, &|q| q.get());
    assert!(results.into_iter().eq(0..1_000));
}

#[test]
fn many_to_many_loses_nothing() {
    let blocking = |q: &Numbers| q.get();
    let polling = |q: &Numbers| loop {
        match q.try_get() {
            Some(item) => return item,
            None => std::thread::yield_now(),
        }
    };
    let timed = |q: &Numbers| loop {
        if let Some(item) = q.get_timeout(Duration::from_micros(10)) {
            return item;
        }
    };
    for get in [&blocking as &Get, &polling, &timed] {
        let mut results = feed_and_consume(25, 5_000, get);
        results.sort_unstable();
        assert!(results.into_iter().eq(0..5_000));
    }
}
