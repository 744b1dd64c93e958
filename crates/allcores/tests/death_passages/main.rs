//! What passes from one process to another at a fork, at an end, or in a packed handle: whoever has a hand in it is killed at
//! every instruction. What was on its way arrives or comes back, and nobody waits for the dead.
//!
//! As in `death_steps`, some instructions are chosen by default; `ALLCORES_STEP_ALL=1` takes them all.

#[path = "../death/mod.rs"]
mod death;
mod forks;
mod messages;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::time::Duration;

use allcores::face;
use allcores::multiprocessing::{Event, Lock, Semaphore};
use allcores::shm;
use death::{
    Process, Scenario, Seat, Status, Stepped, Storm, Test, children, control, is_asleep, page,
    points, run, until,
};

const TESTS: &[Test] = &[
    ("lock_left_at_a_normal_end", lock_left_at_a_normal_end),
    (
        "lock_left_by_one_who_lives_on",
        lock_left_by_one_who_lives_on,
    ),
    (
        "semaphore_released_before_anybody_waits",
        semaphore_released_before_anybody_waits,
    ),
    (
        "handle_dropped_while_the_child_joins",
        forks::handle_dropped_while_the_child_joins,
    ),
    (
        "fork_that_nobody_tells_of",
        forks::fork_that_nobody_tells_of,
    ),
    (
        "child_killed_while_it_joins",
        forks::child_killed_while_it_joins,
    ),
    (
        "parent_killed_while_it_forks",
        forks::parent_killed_while_it_forks,
    ),
    (
        "sender_killed_while_it_packs",
        messages::sender_killed_while_it_packs,
    ),
    (
        "receiver_killed_while_it_unpacks",
        messages::receiver_killed_while_it_unpacks,
    ),
    (
        "row_of_bells_taken_in_a_signal_handler",
        row_of_bells_taken_in_a_signal_handler,
    ),
    ("leave_storm", leave_storm),
    ("fork_storm", forks::fork_storm),
    ("left_lock_sees_a_hang", || {
        control("lock_left_at_a_normal_end")
    }),
    ("leave_storm_sees_a_hang", || control("leave_storm")),
];

fn main() {
    run(TESTS);
}

const INHERITED: u8 = 5;

const LATER: u8 = 9;

fn a_lock() -> Lock<u8> {
    Lock::new(INHERITED).unwrap()
}

/// What lies in the memory of a lock that was let go, if anybody could get at that.
fn others() -> Vec<Lock<u8>> {
    (0..8).map(|_| Lock::new(LATER).unwrap()).collect()
}

fn number() -> &'static AtomicU32 {
    // SAFETY: an atomic.
    unsafe { page::<AtomicU32>() }
}

fn pause() -> ! {
    loop {
        // SAFETY: waits to be killed.
        unsafe { libc::pause() };
    }
}

fn take(lock: &Lock) -> bool {
    let died = lock.hold().is_err();
    if died {
        lock.recover();
    }
    died
}

/// Leads a new process through `operation`, and stops it after `limit` instructions or at its end; says how many it made.
fn led(before: impl FnOnce(), operation: impl FnOnce(), limit: u64) -> (Process, u64) {
    let finished = number();
    let process = Process::start(|| {
        before();
        Stepped::begin();
        operation();
        finished.store(1, SeqCst);
        pause();
    });
    let mut led = Stepped::meet(process.pid());
    while led.steps < limit && finished.load(SeqCst) == 0 {
        assert!(led.step(), "it ended by itself");
    }
    let steps = led.steps;
    (process, steps)
}

/// Killed before it has left the lock, it was its holder; after that, nobody is told of a death, and whoever comes to the lock
/// waits for somebody who releases it.
///
/// Seen red: `leave` that frees the lock.
fn lock_left_at_a_normal_end() {
    let lock = Lock::new(()).unwrap();
    let (told, left) = (number(), number());
    Scenario {
        name: "lock, left at a normal end",
        before: &|| {
            take(&lock);
        },
        operation: &face::leave_locks,
        wait: &|| {
            told.fetch_add(u32::from(take(&lock)), SeqCst);
            lock.release().unwrap();
        },
        waiters_first: true,
        unblock: None,
        make_up: &|_| {
            if lock.words().0.is_left() {
                left.fetch_add(1, SeqCst);
                lock.release().unwrap();
            }
        },
        check: &|| {
            let (told, left) = (told.swap(0, SeqCst), left.swap(0, SeqCst));
            assert_eq!(
                told + left,
                1,
                "{told} were told of a death, {left} times left"
            );
            assert!(!lock.locked());
        },
    }
    .play(200);
}

/// It has left its locks and does not die: those who wait are woken by the release alone, and by no bell.
///
/// Seen red: `leave` that drops the bit of those who wait.
fn lock_left_by_one_who_lives_on() {
    for _ in 0..10 {
        let lock = Lock::new(()).unwrap();
        lock.hold().unwrap();
        let waiters = [0; 2].map(|_| {
            Process::start(|| {
                assert!(!take(&lock), "nobody died");
                lock.release().unwrap();
            })
        });
        for waiter in &waiters {
            until("a waiter listens for deaths", || {
                is_asleep(waiter.pid(), waiter.pid()).is_some_and(|many| many || polls())
            });
        }
        face::leave_locks();
        assert!(lock.words().0.is_left());
        lock.release().unwrap();
        waiters.into_iter().for_each(Process::succeeds);
    }
}

fn polls() -> bool {
    std::env::var_os("ALLCORES_NO_WAITV").is_some_and(|value| value != "0")
}

/// Two permits are released, each by one exchange, while nobody waits; two come when the victim has got as far as it ever
/// will. No control: nobody owes a wake-up here. That those who wait get one is `death_steps`' `semaphore_released_to_sleepers`.
///
/// Seen red: that exchange adding one more.
fn semaphore_released_before_anybody_waits() {
    let permits = Semaphore::new(0).unwrap();
    let made_up = number();
    Scenario {
        name: "semaphore, released before anybody waits",
        before: &|| drop(Lock::new(()).unwrap()),
        operation: &|| {
            permits.release().unwrap();
            permits.release().unwrap();
        },
        wait: &|| {
            drop(Lock::new(()).unwrap());
            permits.acquire();
        },
        waiters_first: false,
        unblock: None,
        make_up: &|asleep| {
            if asleep && permits.value() == 0 {
                made_up.fetch_add(1, SeqCst);
                permits.release().unwrap();
            }
        },
        check: &|| {
            let mut left = 0;
            while permits.try_acquire() {
                left += 1;
            }
            assert!(left <= made_up.swap(0, SeqCst), "a permit out of nothing");
        },
    }
    .play(150);
}

/// Cells and pins in use when all the dead are settled, and what was kept in vain has been let go.
fn settled() -> (usize, usize) {
    drop(a_lock());
    shm::settle_the_dead().unwrap();
    let (cells, _, pins) = shm::usage().unwrap();
    (cells, pins)
}

static EVENT: std::sync::OnceLock<Event> = std::sync::OnceLock::new();

extern "C" fn wait_for_long(_: i32) {
    // Long enough to listen for deaths, for which the free row is taken.
    EVENT.get().unwrap().wait_timeout(Duration::from_millis(8));
}

/// A thread that is at work in the arena is interrupted at any instruction, by a handler that waits and would take the row of
/// bells that an ended thread has left: the kernel must still find all that this thread holds when it dies.
///
fn row_of_bells_taken_in_a_signal_handler() {
    let event = EVENT.get_or_init(|| Event::new().unwrap());
    let lock = Lock::new(()).unwrap();
    let once = |limit: u64| {
        let (working, holds) = (number(), number());
        let victim = Process::start(|| {
            // SAFETY: the handler is a function of this program that is made for this.
            unsafe {
                libc::signal(
                    libc::SIGUSR1,
                    wait_for_long as extern "C" fn(i32) as libc::sighandler_t,
                );
            }
            let (joined, has_joined) = std::sync::mpsc::channel();
            let (end, may_end) = std::sync::mpsc::channel::<()>();
            let first = std::thread::spawn(move || {
                drop(a_lock().acquire().unwrap());
                joined.send(()).unwrap();
                let _ = may_end.recv();
            });
            has_joined.recv().unwrap();
            drop(a_lock().acquire().unwrap());
            drop(end);
            first.join().unwrap();
            Stepped::begin();
            shm::usage().unwrap();
            working.store(1, SeqCst);
            take(&lock);
            holds.store(1, SeqCst);
            pause();
        });
        let mut led = Stepped::meet(victim.pid());
        while led.steps < limit && working.load(SeqCst) == 0 {
            assert!(led.step(), "it ended by itself");
        }
        let steps = led.steps;
        led.let_go_with(libc::SIGUSR1);
        until("the victim holds the lock", || holds.load(SeqCst) == 1);
        let mut heir = Process::start(|| {
            assert!(take(&lock), "its holder died");
            lock.release().unwrap();
        });
        until("the heir sleeps", || {
            is_asleep(heir.pid(), heir.pid()).is_some()
        });
        victim.kill();
        until("the heir gets the lock", || heir.try_wait().is_some());
        assert_eq!(heir.wait(), Status::Exited(0), "at instruction {steps}");
        steps
    };
    let length = once(u64::MAX);
    for point in points(length, 60) {
        once(point);
    }
    assert!(!event.is_set());
}

/// Workers leave the lock as at a normal end and go on; each releases what it left, or is killed before it does.
fn leave_storm() {
    let lock = Lock::new(()).unwrap();
    shm::settle_the_dead().unwrap();
    let storm = Storm::new(4, 1, 800);
    // SAFETY: an atomic.
    let leaver = unsafe { page::<AtomicU64>() };
    let work = |seat: &Seat| {
        let died = take(&lock);
        seat.floor.told.fetch_add(u64::from(died), SeqCst);
        seat.enter(died);
        // Others get the CPU, or it would be without the lock whenever it does not run.
        (0..3).for_each(|_| std::thread::yield_now());
        seat.leave();
        // By the holder alone. Nobody else can get in before the lock is released.
        leaver.store(seat.number as u64 + 1, SeqCst);
        face::leave_locks();
        lock.release().unwrap();
    };
    let buried = |seats: std::ops::Range<usize>| {
        // In this order: who has left it wrote its name before.
        if lock.words().0.is_left() && seats.contains(&(leaver.load(SeqCst) as usize - 1)) {
            lock.release().unwrap();
        }
    };
    storm.rage(&work, buried, || eprintln!("{lock:?}"));
    assert!(storm.floor.told.load(SeqCst) > 0, "nobody died inside");
    assert_eq!(children(), "");
    assert!(!take(&lock));
}
