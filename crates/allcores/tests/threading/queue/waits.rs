//! Who waits for how long, and who is woken.

use std::time::{Duration, Instant};

use allcores::threading::queue::{GetError, PutError};
use allcores::threading::scope;

use super::{AnyQueue, blocks_until, for_each_kind, until_blocked};
use crate::util::{CENTURIES, LONG, SHORT};

for_each_kind!(
    timeouts_are_not_short
    each_put_wakes_one_that_waits
    each_get_wakes_one_that_waits
    those_that_gave_up_are_not_counted_on
    centuries_are_fine
);

fn timeouts_are_not_short<Q: AnyQueue>() {
    let q = Q::bounded(1);
    let begun = Instant::now();
    assert_eq!(q.get_timeout(SHORT), Err(GetError::Empty));
    assert!(begun.elapsed() >= SHORT);
    q.put(1).unwrap();
    let begun = Instant::now();
    assert_eq!(q.put_timeout(2, SHORT), Err(PutError::Full(2)));
    assert!(begun.elapsed() >= SHORT);
    let begun = Instant::now();
    assert!(!q.join_timeout(SHORT));
    assert!(begun.elapsed() >= SHORT);
}

fn each_put_wakes_one_that_waits<Q: AnyQueue>() {
    let q = Q::new();
    scope(|s| {
        let gets: Vec<_> = (0..40).map(|_| s.spawn(|| q.get().unwrap())).collect();
        gets.iter().for_each(|get| until_blocked(&get.handle()));
        (0..40).for_each(|item| q.put(item).unwrap());
        let mut got: Vec<u32> = gets.iter().map(|get| get.result().unwrap()).collect();
        got.sort_unstable();
        assert!(got.into_iter().eq(0..40));
    })
    .unwrap();
}

fn each_get_wakes_one_that_waits<Q: AnyQueue>() {
    let q = Q::bounded(3);
    (0..3).for_each(|item| q.put(item).unwrap());
    scope(|s| {
        let puts: Vec<_> = (3..20)
            .map(|n| {
                s.spawn({
                    let q = &q;
                    move || q.put(n)
                })
            })
            .collect();
        puts.iter().for_each(|put| until_blocked(&put.handle()));
        let mut got: Vec<u32> = (0..20).map(|_| q.get().unwrap()).collect();
        got.sort_unstable();
        assert!(got.into_iter().eq(0..20));
        puts.iter().for_each(|put| put.result().unwrap().unwrap());
    })
    .unwrap();
}

/// A wait that ends by its deadline leaves nothing behind that a later notification could be wasted on, or missed by.
fn those_that_gave_up_are_not_counted_on<Q: AnyQueue>() {
    let q = Q::bounded(1);
    for _ in 0..3 {
        assert_eq!(
            q.get_timeout(Duration::from_micros(50)),
            Err(GetError::Empty)
        );
    }
    scope(|s| {
        for give_up in [false, true] {
            let waits = s.spawn(|| q.get());
            until_blocked(&waits.handle());
            if give_up {
                let gives_up = q.get_timeout(Duration::from_micros(50));
                assert_eq!(gives_up, Err(GetError::Empty));
            }
            q.put(1).unwrap();
            assert_eq!(waits.result().unwrap(), Ok(1));
        }
        q.put(1).unwrap();
        for _ in 0..3 {
            let full = q.put_timeout(2, Duration::from_micros(50));
            assert_eq!(full, Err(PutError::Full(2)));
        }
        assert_eq!(
            blocks_until(s, || q.put(2), || assert_eq!(q.get(), Ok(1))),
            Ok(())
        );
        // One that waits beside one that gives up, which was the first to come or the last.
        for gives_up_first in [true, false] {
            let wait = || s.spawn(|| q.put(3));
            let give_up = || s.spawn(|| q.put_timeout(4, SHORT));
            let (waits, gives_up) = if gives_up_first {
                let gives_up = give_up();
                (wait(), gives_up)
            } else {
                let waits = wait();
                until_blocked(&waits.handle());
                (waits, give_up())
            };
            assert_eq!(gives_up.result().unwrap(), Err(PutError::Full(4)));
            until_blocked(&waits.handle());
            assert!(q.get().is_ok());
            assert_eq!(waits.result().unwrap(), Ok(()));
        }
    })
    .unwrap();
}

fn centuries_are_fine<Q: AnyQueue>() {
    let q = Q::bounded(1);
    scope(|s| {
        let put = || q.put(1).unwrap();
        assert_eq!(blocks_until(s, || q.get_timeout(CENTURIES), put), Ok(1));
        put();
        let get = || assert_eq!(q.get_timeout(LONG), Ok(1));
        assert_eq!(blocks_until(s, || q.put_timeout(2, CENTURIES), get), Ok(()));
    })
    .unwrap();
}
