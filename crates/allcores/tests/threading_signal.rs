//! `allcores::threading` and signal handlers: what may be used in one, and that waits go on after one; and of an Event in shared
//! memory what goes for the private one.

#[expect(
    dead_code,
    reason = "shared with other test programs, which use the rest"
)]
#[path = "threading/util.rs"]
mod util;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use allcores::multiprocessing;
use allcores::threading::{
    Barrier, Condition, Event, Lock, Queue, RLock, Semaphore, ThreadHandle, current_thread, scope,
};

use util::{LONG, is_asleep, until, until_asleep};

/// A process has one handler for a signal: one test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static HANDLED: AtomicU32 = AtomicU32::new(0);

/// Has `handler` run for SIGUSR1, and system calls end with EINTR after it.
fn handle_with(handler: extern "C" fn(libc::c_int)) {
    // SAFETY: zeroes are a sigaction without flags (no SA_RESTART) and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    // SAFETY: a valid action; the handlers below do what handlers may.
    let done = unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) };
    assert_eq!(done, 0);
}

#[allow(
    clippy::disallowed_methods,
    reason = "libc has no tgkill for a thread that is known by number"
)]
/// Sends SIGUSR1 to a thread and waits until it has been handled.
fn interrupt(thread: &ThreadHandle) {
    let before = HANDLED.load(SeqCst);
    let (process, thread) = (std::process::id(), thread.native_id().expect("it runs"));
    // SAFETY: tgkill takes plain numbers; a thread that has ended is an error.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1) };
    assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
    until(|| HANDLED.load(SeqCst) != before);
}

extern "C" fn count(_: libc::c_int) {
    HANDLED.fetch_add(1, SeqCst);
}

#[test]
fn event_and_semaphore_may_be_used_in_a_handler_that_interrupts_them() {
    static EVENT: Event = Event::new();
    static SEMAPHORE: Semaphore = Semaphore::new(3);
    static WENT_WRONG: AtomicBool = AtomicBool::new(false);
    extern "C" fn uses_them(_: libc::c_int) {
        let mut right = true;
        EVENT.set();
        right &= EVENT.is_set();
        EVENT.clear();
        right &= !EVENT.is_set() && !EVENT.wait_timeout(Duration::ZERO);
        right &= SEMAPHORE.release().is_ok();
        right &= SEMAPHORE.try_acquire();
        right &= !EVENT.is_set();
        if !right {
            WENT_WRONG.store(true, SeqCst);
        }
        HANDLED.fetch_add(1, SeqCst);
    }

    let _one = ONE_AT_A_TIME.lock();
    handle_with(uses_them);
    let done = AtomicBool::new(false);
    let running = Event::new();
    scope(|s| {
        let worker = s.spawn(|| {
            // Not of what it interrupts, so that this is set up.
            running.set();
            let mut rounds = 0u32;
            while !done.load(SeqCst) {
                EVENT.set();
                EVENT.clear();
                EVENT.wait_timeout(Duration::from_micros(20));
                assert!(SEMAPHORE.acquire_timeout(LONG));
                SEMAPHORE.release().unwrap();
                rounds += 1;
            }
            rounds
        });
        running.wait();
        for _ in 0..3_000 {
            interrupt(&worker.handle());
        }
        done.store(true, SeqCst);
        assert!(worker.result().unwrap() > 0);
    })
    .unwrap();
    assert!(!WENT_WRONG.load(SeqCst));
    assert!(!EVENT.is_set());
    assert_eq!(SEMAPHORE.value(), 3);
}

#[test]
fn a_handler_may_end_the_wait_that_it_interrupts() {
    static EVENT: Event = Event::new();
    static SEMAPHORE: Semaphore = Semaphore::new(0);
    extern "C" fn ends_it(_: libc::c_int) {
        EVENT.set();
        let _ = SEMAPHORE.release();
        HANDLED.fetch_add(1, SeqCst);
    }

    let _one = ONE_AT_A_TIME.lock();
    handle_with(ends_it);
    for _ in 0..50 {
        EVENT.clear();
        scope(|s| {
            let waiter = s.spawn(|| {
                EVENT.wait();
                SEMAPHORE.acquire();
            });
            until_asleep(&waiter.handle());
            interrupt(&waiter.handle());
            waiter.join().unwrap();
        })
        .unwrap();
    }
    assert_eq!(SEMAPHORE.value(), 0);
}

#[test]
fn an_event_that_a_handler_sets_and_clears_ends_the_wait_that_it_interrupts() {
    static EVENT: Event = Event::new();
    static SHARED: OnceLock<multiprocessing::Event> = OnceLock::new();
    extern "C" fn sets_and_clears(_: libc::c_int) {
        EVENT.set();
        EVENT.clear();
        if let Some(event) = SHARED.get() {
            event.set();
            event.clear();
        }
        HANDLED.fetch_add(1, SeqCst);
    }

    let _one = ONE_AT_A_TIME.lock();
    let shared = SHARED.get_or_init(|| multiprocessing::Event::new().unwrap());
    handle_with(sets_and_clears);
    let waits: [fn(&multiprocessing::Event) -> bool; 4] = [
        |_| {
            EVENT.wait();
            true
        },
        |_| EVENT.wait_timeout(LONG),
        |shared| {
            shared.wait();
            true
        },
        |shared| shared.wait_timeout(LONG),
    ];
    for wait in waits {
        scope(|s| {
            let waiter = s.spawn(|| wait(shared));
            until_asleep(&waiter.handle());
            interrupt(&waiter.handle());
            assert!(waiter.result().unwrap());
        })
        .unwrap();
    }
}

/// Interrupts the thread that runs `wait` several times in its sleep, and then calls `end`: it must not return before.
fn goes_on<R: Send>(wait: impl FnOnce() -> R + Send, end: impl FnOnce()) -> R {
    scope(|s| {
        let waiter = s.spawn(wait);
        for _ in 0..5 {
            until_asleep(&waiter.handle());
            interrupt(&waiter.handle());
        }
        until_asleep(&waiter.handle());
        assert!(waiter.is_alive());
        end();
        waiter.result().unwrap()
    })
    .unwrap()
}

#[test]
fn waits_go_on_after_a_handler() {
    let _one = ONE_AT_A_TIME.lock();
    handle_with(count);

    let event = Event::new();
    goes_on(|| event.wait(), || event.set());
    event.clear();
    assert!(goes_on(|| event.wait_timeout(LONG), || event.set()));

    let semaphore = Semaphore::new(0);
    goes_on(|| semaphore.acquire(), || semaphore.release().unwrap());
    assert!(goes_on(
        || semaphore.acquire_timeout(LONG),
        || semaphore.release().unwrap()
    ));

    let lock = Lock::new(1);
    let guard = lock.acquire();
    assert_eq!(goes_on(|| *lock.acquire(), || drop(guard)), 1);
    let guard = lock.acquire();
    assert!(goes_on(
        || lock.acquire_timeout(LONG).is_some(),
        || drop(guard)
    ));
    let guard = lock.acquire();
    assert!(goes_on(|| lock.acquire_or_died().is_ok(), || drop(guard)));

    let recursive = RLock::new(1);
    let guard = recursive.acquire();
    assert_eq!(goes_on(|| *recursive.acquire(), || drop(guard)), 1);
    let guard = recursive.acquire();
    assert!(goes_on(
        || recursive.acquire_timeout(LONG).is_some(),
        || drop(guard)
    ));

    let condition = Condition::new();
    let notify = || assert_eq!(condition.notify_one(&lock.acquire()), Ok(1));
    assert_eq!(
        goes_on(|| condition.wait(&mut lock.acquire()), notify),
        Ok(())
    );
    let timed = || condition.wait_timeout(&mut lock.acquire(), LONG);
    assert_eq!(goes_on(timed, notify), Ok(true));

    let barrier = Barrier::new(2).unwrap();
    let pass = || assert!(barrier.wait().is_ok());
    assert!(goes_on(|| barrier.wait().is_ok(), pass));
    assert!(goes_on(|| barrier.wait_timeout(LONG).is_ok(), pass));

    let queue = Queue::bounded(1);
    let put = || queue.put(1).unwrap();
    assert_eq!(goes_on(|| queue.get(), put), Ok(1));
    assert_eq!(goes_on(|| queue.get_timeout(LONG), put), Ok(1));
    put();
    let get = || assert_eq!(queue.get(), Ok(1));
    assert_eq!(goes_on(|| queue.put(1), get), Ok(()));
    assert_eq!(goes_on(|| queue.put_timeout(1, LONG), get), Ok(()));
    (0..4).for_each(|_| queue.task_done().unwrap());
    goes_on(|| queue.join(), || queue.task_done().unwrap());

    let sleeper = allcores::threading::Timer::new(LONG, || ());
    sleeper.start().unwrap();
    assert_eq!(
        goes_on(|| sleeper.join_timeout(LONG), || assert!(sleeper.cancel())),
        Ok(true)
    );
}

#[test]
fn a_deadline_stays_where_it_is_however_often_a_handler_runs() {
    let _one = ONE_AT_A_TIME.lock();
    handle_with(count);
    let timeout = Duration::from_millis(60);
    let (event, semaphore, lock) = (Event::new(), Semaphore::new(0), Lock::new(()));
    let guard = lock.acquire();
    let waits: [&(dyn Fn() -> bool + Sync); 3] = [
        &|| event.wait_timeout(timeout),
        &|| semaphore.acquire_timeout(timeout),
        &|| lock.acquire_timeout(timeout).is_some(),
    ];
    for wait in waits {
        let over = AtomicBool::new(false);
        let go = Event::new();
        scope(|s| {
            let waiter = s.spawn(|| {
                let begun = Instant::now();
                let came = wait();
                over.store(true, SeqCst);
                go.wait();
                (came, begun.elapsed())
            });
            // A wait that began anew each time would never end under this: it is interrupted ten times in its length.
            let mut interrupted = 0;
            while !over.load(SeqCst) && interrupted < 1_000 {
                let native_id = waiter.handle().native_id();
                if native_id.is_some_and(is_asleep) && !over.load(SeqCst) {
                    interrupt(&waiter.handle());
                    interrupted += 1;
                    std::thread::sleep(timeout / 10);
                }
            }
            go.set();
            let (came, took) = waiter.result().unwrap();
            assert!(
                interrupted < 1_000,
                "it went on for a hundred times its length"
            );
            assert!(!came);
            assert!(took >= timeout, "a handler ended the wait: {took:?}");
        })
        .unwrap();
    }
    drop(guard);
    assert!(current_thread().is_alive());
}
