//! Thread: start, join, results, panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use allcores::threading::{
    Event, JoinError, Lock, ResultError, StartError, Thread, current_thread, get_ident,
    get_native_id, scope,
};

use crate::util::{CENTURIES, SHORT, until, until_asleep};

fn started<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Thread<T> {
    let t = Thread::new(f);
    t.start().unwrap();
    t
}

#[test]
fn the_function_runs_once_started_and_its_result_is_taken_once() {
    let ran = Arc::new(AtomicUsize::new(0));
    let t = Thread::new({
        let ran = ran.clone();
        move || {
            ran.fetch_add(1, SeqCst);
            String::from("done")
        }
    });
    assert!(!t.is_alive());
    assert_eq!(t.ident(), None);
    assert_eq!(ran.load(SeqCst), 0);
    t.start().unwrap();
    t.join().unwrap();
    assert_eq!(ran.load(SeqCst), 1);
    assert_eq!(t.result().unwrap(), "done");
    let error = t.result().expect_err("taken");
    assert!(matches!(&error, ResultError::Taken { .. }), "{error}");
    t.join().unwrap();
    assert!(!t.is_alive());
}

#[test]
fn join_may_be_repeated_and_shared() {
    let go = Arc::new(Event::new());
    let t = started({
        let go = go.clone();
        move || go.wait()
    });
    scope(|s| {
        let joiners: Vec<_> = (0..4).map(|_| s.spawn(|| t.join().unwrap())).collect();
        let timed: Vec<_> = [CENTURIES, Duration::MAX / 2]
            .map(|timeout| {
                let t = &t;
                s.spawn(move || assert_eq!(t.join_timeout(timeout), Ok(true)))
            })
            .into();
        let by_handle = t.handle();
        s.spawn(move || by_handle.join().unwrap());
        for joiner in joiners.iter().chain(&timed) {
            until_asleep(&joiner.handle());
        }
        // While others are joining, a short wait is a short wait.
        assert_eq!(t.join_timeout(Duration::ZERO), Ok(false));
        assert!(t.is_alive());
        go.set();
    })
    .unwrap();
    assert_eq!(t.join(), Ok(()));
    assert_eq!(t.join_timeout(Duration::ZERO), Ok(true));
}

#[test]
fn a_timed_join_waits_no_less_and_leaves_the_thread_alone() {
    let go = Arc::new(Event::new());
    let t = started({
        let go = go.clone();
        move || go.wait_timeout(CENTURIES)
    });
    let begun = Instant::now();
    assert_eq!(t.join_timeout(SHORT), Ok(false));
    assert!(begun.elapsed() >= SHORT);
    assert!(t.is_alive());
    go.set();
    assert_eq!(t.join_timeout(CENTURIES), Ok(true));
    assert!(t.result().unwrap());
}

#[test]
fn a_thread_is_started_once() {
    let go = Arc::new(Event::new());
    let t = Thread::new({
        let go = go.clone();
        move || go.wait()
    })
    .name("once");
    // Of many that try at the same time one succeeds.
    let successes = AtomicUsize::new(0);
    scope(|s| {
        for _ in 0..4 {
            s.spawn(|| match t.start() {
                Ok(()) => {
                    successes.fetch_add(1, SeqCst);
                }
                Err(StartError::AlreadyStarted { thread }) => assert_eq!(thread, "once"),
                Err(other) => panic!("{other}"),
            });
        }
    })
    .unwrap();
    assert_eq!(successes.load(SeqCst), 1);
    go.set();
    t.join().unwrap();
    let error = t.start().expect_err("it has run");
    assert_eq!(
        error.to_string(),
        "thread `once` has been started before: a thread runs once, make a new one"
    );
}

#[test]
fn what_the_system_refuses_is_an_error_and_can_be_tried_again() {
    // No address space holds such a stack.
    let t = Thread::new(|| 5).name("giant").stack_size(usize::MAX);
    for _ in 0..2 {
        match t.start() {
            Err(StartError::System { thread, source }) => {
                assert_eq!(thread, "giant");
                assert!(source.raw_os_error().is_some(), "{source:?}");
            }
            other => panic!("{other:?}"),
        }
        assert!(!t.is_alive());
        assert!(matches!(t.join(), Err(JoinError::NotStarted { .. })));
        assert_eq!(t.ident(), None);
    }
    let t = t.stack_size(64 * 1024);
    t.start().unwrap();
    assert_eq!(t.result().unwrap(), 5);
}

#[test]
fn waits_that_would_never_end_are_errors() {
    let t = Thread::new(|| ()).name("idle");
    let not_started = Err(JoinError::NotStarted {
        thread: "idle".into(),
    });
    assert_eq!(t.join(), not_started);
    assert_eq!(t.handle().join(), not_started);
    assert!(t.join_timeout(Duration::ZERO).is_err());
    assert!(t.result().is_err());

    let itself = Err(JoinError::Itself {
        thread: "narcissus".into(),
    });
    let place: Arc<Lock<Option<Thread<_>>>> = Arc::default();
    let seen = Arc::new(Lock::new(None));
    let t = Thread::new({
        let (place, seen) = (place.clone(), seen.clone());
        move || {
            let me = place.acquire().take().expect("left here");
            let outcomes = [
                me.join(),
                me.join_timeout(CENTURIES).map(drop),
                me.handle().join(),
            ];
            *seen.acquire() = Some(outcomes);
            // `me` is dropped by the thread itself.
        }
    })
    .name("narcissus");
    let handle = t.handle();
    let mut guard = place.acquire();
    t.start().unwrap();
    *guard = Some(t);
    drop(guard);
    handle.join().unwrap();
    assert_eq!(
        seen.acquire().take().unwrap(),
        [itself.clone(), itself.clone(), itself]
    );
}

#[test]
fn a_panic_is_an_error_with_its_message_every_time() {
    let of_text = started(|| panic!("number {}", std::hint::black_box(7))).name("ignored");
    for _ in 0..2 {
        match of_text.join() {
            Err(JoinError::Panicked { thread, message }) => {
                assert!(
                    thread.starts_with("Thread-"),
                    "named before it started: {thread}"
                );
                assert_eq!(message, "number 7");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(of_text.join_timeout(Duration::ZERO).is_err());
    assert!(of_text.handle().join().is_err());
    assert!(matches!(
        of_text.result(),
        Err(ResultError::Join(JoinError::Panicked { .. }))
    ));
    let payload = of_text.take_panic().expect("once");
    assert_eq!(payload.downcast_ref::<String>().unwrap(), "number 7");
    assert!(of_text.take_panic().is_none());
    assert!(of_text.join().is_err(), "still");

    let of_value = started(|| std::panic::panic_any(42u8));
    assert!(
        of_value
            .join()
            .unwrap_err()
            .to_string()
            .ends_with("a value that is no text")
    );
    assert_eq!(
        *of_value.take_panic().unwrap().downcast::<u8>().unwrap(),
        42
    );
}

#[test]
fn a_result_is_no_panic() {
    let t = started(|| 1);
    t.join().unwrap();
    assert!(t.take_panic().is_none());
    assert_eq!(t.result().unwrap(), 1);
}

#[test]
fn joined_is_after_the_destructors_of_thread_locals() {
    struct Slow(Arc<Event>, Arc<AtomicUsize>);
    impl Drop for Slow {
        fn drop(&mut self) {
            // The thread can still use everything there is.
            assert_eq!(current_thread().name(), "tidy");
            self.0.wait();
            self.1.fetch_add(1, SeqCst);
        }
    }
    thread_local!(static LOCAL: std::cell::RefCell<Option<Slow>> = const { std::cell::RefCell::new(None) });

    let (go, dropped) = (Arc::new(Event::new()), Arc::new(AtomicUsize::new(0)));
    let t = Thread::new({
        let (go, dropped) = (go.clone(), dropped.clone());
        move || LOCAL.with(|local| *local.borrow_mut() = Some(Slow(go, dropped)))
    })
    .name("tidy");
    t.start().unwrap();
    until_asleep(&t.handle());
    // The function has returned, the destructor waits: a timed join is not held up by it.
    assert_eq!(t.join_timeout(SHORT), Ok(false));
    assert!(t.is_alive());
    go.set();
    t.join().unwrap();
    assert_eq!(dropped.load(SeqCst), 1);
}

#[test]
fn dropping_a_thread_leaves_it_running() {
    let (go, gone) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let t = started({
        let (go, gone) = (go.clone(), gone.clone());
        move || {
            go.wait();
            gone.set();
        }
    });
    let handle = t.handle();
    drop(t);
    assert!(handle.is_alive());
    go.set();
    gone.wait();
    handle.join().unwrap();
    assert!(!handle.is_alive());
}

#[test]
fn what_nobody_asks_for_is_dropped() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    // Never started: the function goes.
    let captured = Counted(drops.clone());
    drop(Thread::new(move || drop(captured)));
    assert_eq!(drops.load(SeqCst), 1);
    // Never asked for: the result goes with the Thread.
    let result = Counted(drops.clone());
    let t = started(move || result);
    t.join().unwrap();
    assert_eq!(drops.load(SeqCst), 1);
    drop(t);
    assert_eq!(drops.load(SeqCst), 2);
    // Detached: the thread drops it.
    let result = Counted(drops.clone());
    drop(started(move || result));
    until(|| drops.load(SeqCst) == 3);
}

#[test]
fn a_thread_knows_itself_as_others_do() {
    let t = Thread::new(|| {
        let me = current_thread();
        (
            me.name().to_owned(),
            me.ident(),
            get_ident(),
            me.native_id(),
            get_native_id(),
        )
    })
    .name("known");
    t.start().unwrap();
    let ident = t.ident().expect("from its start on");
    let (name, its_ident, by_function, native, by_kernel) = t.result().unwrap();
    assert_eq!(name, "known");
    assert_eq!((its_ident, by_function), (Some(ident), ident));
    assert_eq!((native, t.native_id()), (Some(by_kernel), Some(by_kernel)));
    assert_ne!(ident, get_ident());
    assert_ne!(by_kernel, get_native_id());
    assert_eq!(t.handle().name(), "known");
}

#[test]
fn threads_have_names_of_their_own() {
    fn worker() {}
    let named = Thread::new(worker).handle();
    let (number, function) = named
        .name()
        .strip_prefix("Thread-")
        .unwrap()
        .split_once(' ')
        .unwrap();
    assert!(number.parse::<u32>().is_ok());
    assert_eq!(function, "(worker)");
    let closure = Thread::new(|| ()).handle();
    assert!(
        closure
            .name()
            .strip_prefix("Thread-")
            .unwrap()
            .parse::<u32>()
            .is_ok()
    );
    assert_ne!(named.name(), closure.name());
    // The system hears of it as well.
    let t = Thread::new(|| std::thread::current().name().map(str::to_owned)).name("a\0b");
    t.start().unwrap();
    assert_eq!(t.handle().name(), "a\0b");
    assert_eq!(t.result().unwrap().as_deref(), Some("a b"));
}

#[test]
fn the_stack_is_as_big_as_asked_for() {
    fn deep(n: u32) -> u32 {
        let filling = std::hint::black_box([n as u8; 4096]);
        if n == 0 {
            u32::from(filling[0])
        } else {
            deep(n - 1) + 1
        }
    }
    let t = Thread::new(|| deep(4_000)).stack_size(64 << 20);
    t.start().unwrap();
    assert_eq!(t.result().unwrap(), 4_000);
}

#[test]
fn it_may_be_shared_and_it_shows_itself() {
    fn shared<T: Send + Sync>(_: &T) {}
    let t = Thread::new(|| std::cell::Cell::new(1)).name("w");
    shared(&t);
    assert_eq!(
        format!("{t:?}"),
        "Thread { name: \"w\", started: false, alive: false }"
    );
    t.start().unwrap();
    assert_eq!(t.result().unwrap().get(), 1);
}

#[test]
fn many_threads_come_and_go() {
    let sum = Arc::new(AtomicUsize::new(0));
    for round in 0..20 {
        let threads: Vec<_> = (0..20)
            .map(|n| {
                let sum = sum.clone();
                started(move || sum.fetch_add(round * 20 + n, SeqCst))
            })
            .collect();
        for t in &threads {
            t.join().unwrap();
        }
    }
    assert_eq!(sum.load(SeqCst), 400 * 399 / 2);
}
