//! Timer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use allcores::threading::{Event, JoinError, ResultError, StartError, Timer};

use crate::util::{CENTURIES, LONG, SHORT, until_asleep};

#[test]
fn the_call_comes_after_the_delay() {
    let begun = Instant::now();
    let timer = Timer::new(SHORT, Instant::now);
    assert!(!timer.is_alive());
    timer.start().unwrap();
    let called = timer.result().unwrap().expect("not cancelled");
    assert!(called - begun >= SHORT);
    assert!(matches!(
        timer.start(),
        Err(StartError::AlreadyStarted { .. })
    ));
    assert!(matches!(timer.result(), Err(ResultError::Taken { .. })));
}

#[test]
fn no_delay_is_at_once() {
    let timer = Timer::new(Duration::ZERO, || 1);
    timer.start().unwrap();
    assert_eq!(timer.result().unwrap(), Some(1));
    assert!(!timer.cancel(), "too late");
}

#[test]
fn cancel_prevents_the_call_and_ends_the_thread() {
    for delay in [LONG, CENTURIES] {
        let calls = Arc::new(AtomicUsize::new(0));
        let timer = Timer::new(delay, {
            let calls = calls.clone();
            move || calls.fetch_add(1, SeqCst)
        })
        .name("alarm");
        timer.start().unwrap();
        until_asleep(&timer.thread().handle());
        assert!(timer.is_alive());
        assert_eq!(timer.join_timeout(Duration::ZERO), Ok(false));
        assert!(timer.cancel());
        assert!(timer.cancel(), "no call will ever come");
        timer.join().unwrap();
        assert_eq!(timer.result().unwrap(), None);
        assert_eq!(calls.load(SeqCst), 0);
        assert_eq!(timer.thread().handle().name(), "alarm");
    }
}

#[test]
fn cancel_works_before_the_start() {
    let timer = Timer::new(Duration::ZERO, || panic!("cancelled"));
    assert!(timer.cancel());
    timer.start().unwrap();
    assert_eq!(timer.result().unwrap(), None::<()>);
}

#[test]
fn cancel_does_not_stop_a_call_that_has_begun() {
    let (begun, go) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let timer = Timer::new(Duration::ZERO, {
        let (begun, go) = (begun.clone(), go.clone());
        move || {
            begun.set();
            go.wait();
            "finished"
        }
    });
    timer.start().unwrap();
    begun.wait();
    assert!(!timer.cancel());
    go.set();
    assert_eq!(timer.result().unwrap(), Some("finished"));
}

#[test]
fn a_call_that_panics_is_an_error() {
    let timer = Timer::new(Duration::ZERO, || {
        std::panic::resume_unwind(Box::new("late"))
    });
    timer.start().unwrap();
    assert!(matches!(timer.join(), Err(JoinError::Panicked { message, .. }) if message == "late"));
    let idle = Timer::new(Duration::ZERO, || ());
    assert!(matches!(idle.join(), Err(JoinError::NotStarted { .. })));
}
