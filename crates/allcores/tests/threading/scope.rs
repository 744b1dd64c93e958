//! scope: threads that borrow.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use allcores::threading::{Event, JoinError, Lock, ResultError, StartError, current_thread, scope};

use crate::util::SHORT;

#[test]
fn all_have_ended_when_it_returns() {
    let ended = AtomicUsize::new(0);
    let body = scope(|s| {
        for _ in 0..5 {
            s.spawn(|| {
                std::thread::yield_now();
                ended.fetch_add(1, SeqCst);
            });
        }
        "body"
    });
    assert_eq!(body, Ok("body"));
    assert_eq!(ended.into_inner(), 5);
}

#[test]
fn threads_borrow_and_change_what_is_outside() {
    let mut numbers = vec![1, 2, 3];
    let mut sum = 0;
    scope(|s| {
        let (left, right) = numbers.split_at_mut(1);
        s.spawn(move || left[0] = 10);
        s.spawn(move || right[0] = 20);
        s.spawn(|| sum += 1);
    })
    .unwrap();
    assert_eq!((numbers, sum), (vec![10, 20, 3], 1));
}

#[test]
fn threads_start_threads() {
    let count = AtomicUsize::new(0);
    scope(|s| {
        s.spawn(|| {
            for _ in 0..3 {
                s.spawn(|| {
                    s.spawn(|| count.fetch_add(1, SeqCst));
                });
            }
        });
    })
    .unwrap();
    assert_eq!(count.into_inner(), 3);
}

#[test]
fn results_are_taken_once_and_joins_repeated() {
    let text = String::from("borrowed");
    scope(|s| {
        let t = s.spawn(|| text.as_str());
        t.join().unwrap();
        assert_eq!(t.join_timeout(Duration::ZERO), Ok(true));
        assert_eq!(t.result().unwrap(), "borrowed");
        assert!(matches!(t.result(), Err(ResultError::Taken { .. })));
        assert!(!t.is_alive());
    })
    .unwrap();
}

#[test]
fn a_panic_that_nobody_joined_is_an_error_of_the_scope() {
    let error = scope(|s| {
        for n in 0..3 {
            let quiet = move || std::panic::resume_unwind(Box::new(format!("panic {n}")));
            let t = s.thread(quiet).name(format!("t{n}")).start().unwrap();
            if n == 1 {
                assert!(t.join().is_err());
            }
        }
        s.spawn(|| "unharmed");
    })
    .expect_err("two panics");
    let panicked = |n: u32| JoinError::Panicked {
        thread: format!("t{n}"),
        message: format!("panic {n}"),
    };
    assert_eq!(error.panics(), [panicked(0), panicked(2)]);
    let text = error.to_string();
    assert!(
        text.contains("2 of") && text.contains("`t0` panicked: panic 0"),
        "{text}"
    );
}

#[test]
fn a_panic_that_was_joined_is_no_error_of_the_scope() {
    let result = scope(|s| {
        let t = s.spawn(|| std::panic::resume_unwind(Box::new("known")));
        let message = t.join().unwrap_err().to_string();
        assert!(t.take_panic().is_some());
        message
    });
    assert!(result.unwrap().ends_with("panicked: known"));
}

#[test]
fn a_body_that_panics_waits_for_its_threads() {
    let ended = Lock::new(false);
    let go = Event::new();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        scope(|s| {
            s.spawn(|| {
                go.wait();
                *ended.acquire() = true;
            });
            go.set();
            std::panic::resume_unwind(Box::new("body"));
        })
    }));
    assert_eq!(*result.unwrap_err().downcast::<&str>().unwrap(), "body");
    assert!(*ended.acquire());
}

#[test]
fn what_a_thread_returns_is_dropped_before_the_scope_ends() {
    struct Borrows<'a>(&'a AtomicUsize);
    impl Drop for Borrows<'_> {
        fn drop(&mut self) {
            std::thread::yield_now();
            self.0.fetch_add(1, SeqCst);
        }
    }
    for _ in 0..100 {
        let drops = AtomicUsize::new(0);
        scope(|s| {
            s.spawn(|| Borrows(&drops));
            s.spawn(|| Borrows(&drops));
        })
        .unwrap();
        assert_eq!(drops.into_inner(), 2);
    }
}

#[test]
fn a_joiner_with_a_timeout_goes_on() {
    let go = Event::new();
    scope(|s| {
        let t = s.thread(|| go.wait()).name("patient").start().unwrap();
        assert_eq!(t.join_timeout(SHORT), Ok(false));
        assert!(t.is_alive());
        assert_eq!(t.handle().name(), "patient");
        go.set();
    })
    .unwrap();
}

#[test]
fn what_the_system_refuses_is_an_error() {
    let result = scope(|s| {
        s.thread(current_thread)
            .stack_size(usize::MAX)
            .start()
            .map(drop)
    });
    assert!(matches!(result, Ok(Err(StartError::System { .. }))));
}
