//! Event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use allcores::threading::{Event, Thread, scope};

use crate::util::{CENTURIES, LONG, SHORT, until_asleep};

#[test]
fn it_is_set_and_cleared() {
    let event = Event::default();
    for set in [false, true, true, false, false] {
        match set {
            true => event.set(),
            false => event.clear(),
        }
        assert_eq!(event.is_set(), set);
    }
}

#[test]
fn all_who_wait_go_on() {
    for attempt in 0..2 {
        let event = Event::new();
        if attempt == 1 {
            event.set();
            event.clear();
        }
        scope(|s| {
            let waiters: Vec<_> = (0..5)
                .map(|_| {
                    s.spawn(|| {
                        event.wait();
                        event.wait();
                        event.wait_timeout(LONG)
                    })
                })
                .collect();
            for waiter in &waiters {
                until_asleep(&waiter.handle());
            }
            event.set();
            assert!(waiters.iter().all(|waiter| waiter.result().unwrap()));
        })
        .unwrap();
    }
}

#[test]
fn a_timeout_ends_the_wait_and_not_too_early() {
    let event = Event::new();
    assert!(!event.wait_timeout(Duration::ZERO));
    let begun = Instant::now();
    assert!(!event.wait_timeout(SHORT));
    assert!(begun.elapsed() >= SHORT);
    event.set();
    assert!(event.wait_timeout(Duration::ZERO));
    assert!(event.wait_timeout(CENTURIES));
}

#[test]
fn set_and_clear_at_once_releases_those_who_wait() {
    let event = Arc::new(Event::new());
    let waiters: Vec<_> = [CENTURIES, LONG, CENTURIES]
        .map(|timeout| {
            let event = event.clone();
            let waiter = Thread::new(move || event.wait_timeout(timeout));
            waiter.start().unwrap();
            waiter
        })
        .into();
    for waiter in &waiters {
        until_asleep(&waiter.handle());
    }
    event.set();
    event.clear();
    for waiter in &waiters {
        assert!(waiter.result().unwrap());
    }
    assert!(!event.is_set());
}

#[test]
fn what_was_written_before_set_is_seen_after_wait() {
    for _ in 0..100 {
        let event = Event::new();
        let mut cell = 0;
        let place = std::sync::atomic::AtomicU32::new(0);
        scope(|s| {
            let reader = s.spawn(|| {
                event.wait();
                place.load(std::sync::atomic::Ordering::Relaxed)
            });
            place.store(7, std::sync::atomic::Ordering::Relaxed);
            event.set();
            cell = reader.result().unwrap();
        })
        .unwrap();
        assert_eq!(cell, 7);
    }
}

#[test]
fn it_shows_itself() {
    static EVENT: Event = Event::new();
    assert_eq!(format!("{EVENT:?}"), "Event { set: false }");
    EVENT.set();
    assert_eq!(format!("{EVENT:?}"), "Event { set: true }");
}
