//! What a face is told of that has asked for it: a wait of the main thread comes back where a signal may have gone by unseen.
//! It may be told without any signal, and so these tests need none; that one is heard is shown by the Python package's.
//!
//! Each test runs in the main thread of a process of its own.

mod death;

use std::time::Duration;

use allcores::face;
use allcores::multiprocessing;
use allcores::sync::{Acquired, Deadline, Lock, Scope};
use death::{Test, run};

const TESTS: &[Test] = &[
    ("a_wait_comes_back_once", a_wait_comes_back_once),
    (
        "a_wake_up_for_nothing_is_told",
        a_wake_up_for_nothing_is_told,
    ),
    ("other_threads_are_not_told", other_threads_are_not_told),
    (
        "whoever_did_not_ask_is_not_told",
        whoever_did_not_ask_is_not_told,
    ),
];

fn main() {
    run(TESTS);
}

/// Many times what a first sleep lasts.
fn long() -> Deadline {
    Deadline::after(Duration::from_millis(200))
}

fn held() -> multiprocessing::Lock {
    let lock = multiprocessing::Lock::new(()).unwrap();
    lock.hold().unwrap();
    lock
}

/// Seen red: told at no time; told, and the wait that is taken up again begins anew.
fn a_wait_comes_back_once() {
    face::tell_of_signals();
    let lock = held();
    let (words, scope) = lock.words();
    let told = words.acquire(scope, Deadline::after(Duration::from_secs(60)));
    assert_eq!(told, Acquired::Interrupted);
    let deadline = long();
    // Where it cannot listen for deaths it looks round every few milliseconds, and is told as often.
    let polls = std::env::var_os("ALLCORES_NO_WAITV").is_some();
    let mut outcome = words.acquire(scope, deadline);
    while polls && outcome == Acquired::Interrupted {
        outcome = words.acquire(scope, deadline);
    }
    assert_eq!(outcome, Acquired::TimedOut);
}

/// Seen red: the sleep after that one without an end.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing in allcores wakes anybody for nothing"
)]
fn a_wake_up_for_nothing_is_told() {
    face::tell_of_signals();
    let lock = Lock::new();
    assert!(lock.acquire(Scope::PRIVATE, Deadline::NOW).is_held());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let wake = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
            // SAFETY: the word of a live lock, which the call does not write to.
            while unsafe { libc::syscall(libc::SYS_futex, &raw const lock, wake, 1) } == 0 {
                std::thread::yield_now();
            }
        });
        let told = lock.acquire(Scope::PRIVATE, Deadline::after(Duration::from_secs(60)));
        assert_eq!(told, Acquired::Interrupted);
    });
    assert_eq!(lock.acquire(Scope::PRIVATE, long()), Acquired::TimedOut);
}

/// Seen red: every thread told.
fn other_threads_are_not_told() {
    face::tell_of_signals();
    let lock = held();
    let (words, scope) = lock.words();
    let outcome = std::thread::scope(|threads| {
        let waits = threads.spawn(|| words.acquire(scope, long()));
        waits.join().unwrap()
    });
    assert_eq!(outcome, Acquired::TimedOut);
}

/// Seen red: told without having been asked to.
fn whoever_did_not_ask_is_not_told() {
    let lock = held();
    let (words, scope) = lock.words();
    assert_eq!(words.acquire(scope, long()), Acquired::TimedOut);
}
