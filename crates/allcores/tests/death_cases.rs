//! Deaths, and what is none: exec, stopped processes, ended threads, forks with locks held, signal handlers.
//!
//! Seen red: with `ALLCORES_TEST_DEAF=1`, as the control checks; and as each says.

mod death;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::time::Duration;

use allcores::multiprocessing::{Event, Lock, RLock, Semaphore};
use death::{
    Gate, Process, Random, Status, Test, control, is_asleep, number_from_env, page, run, until,
};

const TESTS: &[Test] = &[
    ("exec_is_death", exec_is_death),
    ("a_stopped_holder_lives", a_stopped_holder_lives),
    (
        "a_stopped_waiter_is_in_nobodys_way",
        a_stopped_waiter_is_in_nobodys_way,
    ),
    ("the_registering_thread_ends", the_registering_thread_ends),
    (
        "the_last_registered_thread_ends",
        the_last_registered_thread_ends,
    ),
    (
        "a_thread_at_work_keeps_its_process_alive",
        a_thread_at_work_keeps_its_process_alive,
    ),
    (
        "a_killed_waiter_hands_its_wake_up_on",
        a_killed_waiter_hands_its_wake_up_on,
    ),
    ("a_forked_child_owns_nothing", a_forked_child_owns_nothing),
    ("a_grandchild_dies", a_grandchild_dies),
    (
        "a_guard_ends_in_a_thread_that_never_took_a_lock",
        a_guard_ends_in_a_thread_that_never_took_a_lock,
    ),
    (
        "rlocks_of_ended_threads_have_one_heir",
        rlocks_of_ended_threads_have_one_heir,
    ),
    (
        "signal_handlers_use_events_and_semaphores",
        signal_handlers_use_events_and_semaphores,
    ),
    ("exec_sees_a_hang", || control("exec_is_death")),
];

fn main() {
    run(TESTS);
}

/// Long enough that the waiter listens for deaths meanwhile; nothing depends on how long it takes.
const A_WHILE: Duration = Duration::from_millis(60);

fn gate() -> &'static Gate {
    // SAFETY: an atomic.
    unsafe { page::<Gate>() }
}

fn asleep(process: &Process) {
    until("a waiter sleeps", || {
        is_asleep(process.pid(), process.pid()).is_some()
    });
}

/// A process that holds the lock until it is killed, and has said so.
fn holder(lock: &Lock) -> Process {
    let ready = gate();
    let holder = Process::start(|| {
        lock.hold().unwrap();
        ready.set(1);
        pause();
    });
    ready.wait(1);
    holder
}

fn pause() -> ! {
    loop {
        // SAFETY: waits for signals.
        unsafe { libc::pause() };
    }
}

/// A process that waits for the lock, which must come from a dead owner.
fn heir(lock: &Lock) -> Process {
    Process::start(|| {
        assert!(lock.hold().is_err(), "the owner died");
        lock.recover();
        lock.release().unwrap();
    })
}

fn is_held(lock: &Lock) {
    let held = lock.hold_timeout(A_WHILE);
    assert!(!held.expect("the owner lives"), "the lock is held");
}

fn exec_is_death() {
    let lock = Lock::new(()).unwrap();
    let (ready, go) = (gate(), gate());
    let holder = Process::start(|| {
        lock.hold().unwrap();
        ready.set(1);
        go.wait(1);
        let arguments = [c"sleep".as_ptr(), c"100000".as_ptr(), std::ptr::null()];
        // SAFETY: a list of strings that ends with null.
        unsafe { libc::execvp(c"sleep".as_ptr(), arguments.as_ptr()) };
        panic!("exec: {}", std::io::Error::last_os_error());
    });
    ready.wait(1);
    let mut heir = heir(&lock);
    asleep(&heir);
    is_held(&lock);
    go.set(1);
    let mut status = None;
    until("the heir gets the lock", || {
        status = status.or_else(|| heir.try_wait());
        status.is_some()
    });
    assert_eq!(status, Some(Status::Exited(0)));
    // It was the exec: the process itself goes on.
    holder.kill();
}

fn a_stopped_holder_lives() {
    let lock = Lock::new(()).unwrap();
    let holder = holder(&lock);
    holder.signal(libc::SIGSTOP);
    until("the holder has stopped", || holder.state() == Some('T'));
    is_held(&lock);
    let heir = heir(&lock);
    asleep(&heir);
    holder.signal(libc::SIGCONT);
    is_held(&lock);
    holder.kill();
    heir.succeeds();
}

fn a_stopped_waiter_is_in_nobodys_way() {
    let lock = Lock::new(()).unwrap();
    for _ in 0..20 {
        lock.hold().unwrap();
        let waiter = || {
            Process::start(|| {
                lock.hold().unwrap();
                lock.release().unwrap();
            })
        };
        let stopped = waiter();
        asleep(&stopped);
        let other = waiter();
        asleep(&other);
        stopped.signal(libc::SIGSTOP);
        until("the waiter has stopped", || stopped.state() == Some('T'));
        lock.release().unwrap();
        other.succeeds();
        stopped.signal(libc::SIGCONT);
        stopped.succeeds();
    }
}

/// The thread that rings for its process ends, another goes on: that is no death, and the death that follows is heard.
///
/// Seen red: `watch` does not look round where a row waits for its next holder.
fn the_registering_thread_ends() {
    thread_ends(true);
}

/// Seen red: no warden is hired.
fn the_last_registered_thread_ends() {
    thread_ends(false);
}

fn thread_ends(with_another: bool) {
    for round in 0..30 {
        let lock = Lock::new(()).unwrap();
        let (ready, go) = (gate(), gate());
        let holder = Process::start(|| {
            let first = std::thread::spawn({
                let lock = lock.clone();
                move || {
                    lock.hold().unwrap();
                    ready.set(1);
                    go.wait(1);
                }
            });
            ready.wait(1);
            if with_another {
                let other = lock.clone();
                std::thread::spawn(move || {
                    assert!(!other.try_hold().unwrap());
                    ready.set(2);
                    pause();
                });
                ready.wait(2);
            }
            ready.set(3);
            go.wait(1);
            first.join().unwrap();
            ready.set(4);
            pause();
        });
        ready.wait(3);
        let heir = heir(&lock);
        asleep(&heir);
        if round % 2 == 0 {
            until("the heir listens for deaths", || {
                is_asleep(heir.pid(), heir.pid()) == Some(true) || polls()
            });
        }
        go.set(1);
        ready.wait(4);
        if round % 3 == 0 {
            is_held(&lock);
        }
        holder.kill();
        heir.succeeds();
    }
}

/// How many bytes are copied by one call, which no signal ends before it is through.
const COPIED: usize = 64 << 20;

/// The process is killed: one thread, which holds the word for its life, is over at once; another holds the lock and is in a
/// long call that changes what the lock protects. The heir must not come before that is over.
///
/// Seen red: `is_over` that asks for the life word alone.
fn a_thread_at_work_keeps_its_process_alive() {
    // SAFETY: bytes that are looked at through atomics; zeroes are valid.
    let protected = unsafe { page::<[AtomicU32; COPIED / 4]>() };
    // SAFETY: a new file, made as long as what is read from it; plain calls.
    let file = unsafe {
        let file = libc::memfd_create(c"source".as_ptr(), libc::MFD_CLOEXEC);
        assert!(file >= 0 && libc::ftruncate(file, COPIED as i64) == 0);
        file
    };
    for round in 1..=5u32 {
        // In reach before the call, and another number each time.
        let number = [round; 1024];
        for place in (0..COPIED).step_by(4096) {
            // SAFETY: a page of our own, and a file as long as that.
            let written = unsafe { libc::pwrite(file, number.as_ptr().cast(), 4096, place as i64) };
            assert_eq!(written, 4096);
            protected[place / 4].store(0, SeqCst);
        }
        let lock = Lock::new(()).unwrap();
        let ready = gate();
        let victim = Process::start(|| {
            lock.try_hold().unwrap();
            lock.release().unwrap();
            std::thread::spawn({
                let lock = lock.clone();
                move || {
                    lock.hold().unwrap();
                    ready.set(1);
                    // SAFETY: into the page of all, which is never unmapped.
                    unsafe { libc::pread(file, protected.as_ptr() as *mut _, COPIED, 0) };
                    pause();
                }
            });
            pause();
        });
        ready.wait(1);
        until("the copy begins", || protected[0].load(SeqCst) == round);
        victim.strike();
        // Without a sleep: it would be woken too late.
        let mut heir = None;
        until("the heir gets the lock", || {
            heir = heir.take().or_else(|| lock.try_acquire().err());
            heir.is_some()
        });
        let reached = || {
            let copied = |page: &usize| protected[page * 1024].load(SeqCst) == round;
            (0..COPIED / 4096).take_while(copied).count()
        };
        let first = reached();
        victim.kill();
        assert_eq!(first, reached(), "the dead still write");
        drop(heir);
    }
}

fn polls() -> bool {
    std::env::var_os("ALLCORES_NO_WAITV").is_some_and(|value| value != "0")
}

/// Two sleep; the release wakes one, which is killed at about that moment.
fn a_killed_waiter_hands_its_wake_up_on() {
    let lock = Lock::new(()).unwrap();
    let mut random = Random::new();
    for _ in 0..number_from_env("ALLCORES_STORM_ROUNDS").unwrap_or(300) {
        // The first one of the last round died with it, if the second had woken by itself and was through before.
        if lock.hold().is_err() {
            lock.recover();
        }
        let waiter = || {
            Process::start(|| {
                if lock.hold().is_err() {
                    lock.recover();
                }
                lock.release().unwrap();
            })
        };
        let first = waiter();
        asleep(&first);
        let second = waiter();
        asleep(&second);
        lock.release().unwrap();
        random.dawdle(40);
        first.kill();
        second.succeeds();
        lock.recover();
    }
}

/// Seen red: `release_mine` frees whatever it finds.
fn a_forked_child_owns_nothing() {
    let lock = Lock::new(7u64).unwrap();
    let nested = RLock::new(()).unwrap();
    let mut guard = lock.acquire().unwrap();
    let outer = nested.acquire().unwrap();
    let child = Process::start(|| {
        // SAFETY: copies, as fork makes them; the originals are forgotten in this process.
        let (copy, rcopy) = unsafe { (std::ptr::read(&guard), std::ptr::read(&outer)) };
        drop(copy);
        drop(rcopy);
        assert!(lock.locked() && nested.locked(), "the parent's, still");
        assert!(lock.try_acquire().unwrap().is_none());
        assert!(!nested.try_hold().unwrap());
        assert!(nested.release().is_err());
        // Now it is somebody of its own, and still owns nothing.
        drop(Lock::new(()).unwrap());
        // SAFETY: as above.
        drop(unsafe { std::ptr::read(&guard) });
        assert!(lock.locked(), "the parent's, still");
    });
    child.succeeds();
    *guard += 1;
    drop(guard);
    drop(outer);
    assert_eq!(*lock.acquire().unwrap(), 8);
    assert!(!nested.locked());
}

fn a_grandchild_dies() {
    let lock = Lock::new(()).unwrap();
    // SAFETY: an atomic.
    let pid = unsafe { page::<AtomicU32>() };
    let (ready, go) = (gate(), gate());
    let middle = Process::start(|| {
        let inner = Process::start(|| {
            lock.hold().unwrap();
            ready.set(1);
            pause();
        });
        pid.store(inner.pid() as u32, SeqCst);
        go.wait(1);
        inner.kill();
        go.wait(2);
    });
    ready.wait(1);
    let heir = heir(&lock);
    asleep(&heir);
    go.set(1);
    heir.succeeds();
    go.set(2);
    middle.succeeds();
}

/// Seen red: `Scope::known` asks what the thread knows of itself, and not what its process is called.
fn a_guard_ends_in_a_thread_that_never_took_a_lock() {
    let lock = Lock::new(1u64).unwrap();
    let mut guard = lock.acquire().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            *guard += 1;
            drop(guard);
        });
    });
    let again = lock.try_acquire().unwrap();
    assert_eq!(*again.expect("the guard was dropped"), 2);
}

/// A thread takes an RLock and ends; threads of its own process and another process wait for it. One of them inherits.
///
/// Two heirs, by a `seize` that says yes to everybody, have not been seen here; the models see them.
fn rlocks_of_ended_threads_have_one_heir() {
    let lock = RLock::new(()).unwrap();
    // SAFETY: atomics.
    let inside = unsafe { page::<AtomicU64>() };
    let (start, done) = (gate(), gate());
    let rounds = number_from_env("ALLCORES_STORM_ROUNDS").unwrap_or(300) as u32;
    let visit = |me: u64| {
        if lock.hold().is_err() {
            lock.recover();
        }
        assert_eq!(inside.swap(me, SeqCst), 0, "two are inside");
        // Long enough for another one who was woken by the same bell.
        for _ in 0..20 {
            std::thread::yield_now();
        }
        assert_eq!(inside.swap(0, SeqCst), me, "two were inside");
        lock.release().unwrap();
        done.advance();
    };
    let other = Process::start(|| {
        for round in 1..=rounds {
            start.wait(round);
            visit(1);
        }
    });
    for round in 1..=rounds {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                lock.hold().unwrap();
                start.set(round);
            });
            for me in 2..4 {
                scope.spawn(move || {
                    start.wait(round);
                    visit(me);
                });
            }
        });
        until("all three have been inside", || done.now() == 3 * round);
    }
    other.succeeds();
}

static EVENT: std::sync::OnceLock<Event> = std::sync::OnceLock::new();
static PERMITS: std::sync::OnceLock<Semaphore> = std::sync::OnceLock::new();
static HANDLED: AtomicU32 = AtomicU32::new(0);
/// Whether the handler has a permit from the time before.
static KEPT: AtomicU32 = AtomicU32::new(0);

extern "C" fn handler(_: i32) {
    let (event, permits) = (EVENT.get().unwrap(), PERMITS.get().unwrap());
    event.set();
    event.clear();
    let _ = event.is_set();
    // It leaves another number behind than it found, or what it interrupts could be undone unseen.
    if HANDLED.load(SeqCst).is_multiple_of(2) {
        KEPT.store(u32::from(permits.try_acquire()), SeqCst);
    } else if KEPT.swap(0, SeqCst) == 1 {
        permits.release().unwrap();
    }
    event.set();
    event.wait();
    HANDLED.fetch_add(1, SeqCst);
}

/// The handler interrupts its own thread anywhere inside of set, clear, wait, acquire and release, and uses the same two.
fn signal_handlers_use_events_and_semaphores() {
    let event = EVENT.get_or_init(|| Event::new().unwrap());
    let permits = PERMITS.get_or_init(|| Semaphore::new(3).unwrap());
    // SAFETY: the handler is a function of this program that is made for this.
    unsafe {
        libc::signal(
            libc::SIGUSR1,
            handler as extern "C" fn(i32) as libc::sighandler_t,
        );
    }
    let parent = std::process::id() as i32;
    let rounds = number_from_env("ALLCORES_STORM_ROUNDS").unwrap_or(3000) as u32;
    // SAFETY: an atomic.
    let seen = unsafe { page::<AtomicU32>() };
    let sender = Process::start(|| {
        let mut random = Random::from(7);
        for round in 1..=rounds {
            // SAFETY: the parent waits for us.
            unsafe { libc::kill(parent, libc::SIGUSR1) };
            until("the signal is handled", || seen.load(SeqCst) >= round);
            random.dawdle(20);
        }
    });
    let mut turns = 0u32;
    while HANDLED.load(SeqCst) < rounds {
        event.clear();
        // Seldom: a signal that finds it asleep interrupts nothing that has to be whole.
        turns += 1;
        if turns.is_multiple_of(64) {
            event.wait_timeout(Duration::from_micros(50));
        }
        permits.acquire();
        event.set();
        event.wait();
        permits.release().unwrap();
        seen.store(HANDLED.load(SeqCst), SeqCst);
    }
    sender.succeeds();
    assert_eq!(permits.value() + KEPT.load(SeqCst), 3);
}
