//! What passes from one process to another at a fork, at an end, or in a packed handle: whoever has a hand in it is killed at
//! every instruction. What was on its way arrives or comes back, and nobody waits for the dead.
//!
//! As in `death_steps`, some instructions are chosen by default; `ALLCORES_STEP_ALL=1` takes them all.

mod death;

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
        handle_dropped_while_the_child_joins,
    ),
    ("fork_that_nobody_tells_of", fork_that_nobody_tells_of),
    ("child_killed_while_it_joins", child_killed_while_it_joins),
    ("parent_killed_while_it_forks", parent_killed_while_it_forks),
    ("sender_killed_while_it_packs", sender_killed_while_it_packs),
    (
        "receiver_killed_while_it_unpacks",
        receiver_killed_while_it_unpacks,
    ),
    (
        "row_of_bells_taken_in_a_signal_handler",
        row_of_bells_taken_in_a_signal_handler,
    ),
    ("leave_storm", leave_storm),
    ("fork_storm", fork_storm),
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

/// The parent drops its handle, and its place is used by others, when the child has made so many steps of joining. `told`:
/// whether it knows of the fork. What the child finds.
fn found_by_a_child_that_joins(told: bool, point: u64) -> (u32, u64) {
    let lock = a_lock();
    let found = number();
    if told {
        face::before_fork();
    }
    let finished = number();
    let child = Process::start(|| {
        Stepped::begin();
        face::after_fork_in_child();
        finished.store(1, SeqCst);
        found.store(u32::from(*lock.acquire().unwrap()), SeqCst);
    });
    if told {
        face::after_fork_in_parent();
    }
    let mut led = Stepped::meet(child.pid());
    while led.steps < point && finished.load(SeqCst) == 0 {
        assert!(led.step(), "it ended by itself");
    }
    let steps = led.steps;
    let others = std::thread::scope(|scope| {
        let thread = number();
        let dropping = scope.spawn(move || {
            // SAFETY: asks for a number.
            thread.store(unsafe { libc::gettid() } as u32, SeqCst);
            drop(lock);
            others()
        });
        // The child may have stopped with the arena's guard.
        until("the parent has dropped it, or waits for the child", || {
            let (pid, tid) = (std::process::id() as i32, thread.load(SeqCst) as i32);
            dropping.is_finished() || is_asleep(pid, tid) == Some(true)
        });
        led.let_go();
        dropping.join().unwrap()
    });
    child.succeeds();
    drop(others);
    (found.load(SeqCst), steps)
}

/// Seen red: `in_child` that closes its pipe before it joins.
fn handle_dropped_while_the_child_joins() {
    let cells = settled();
    let (_, length) = found_by_a_child_that_joins(true, u64::MAX);
    for point in points(length, 100) {
        let (found, _) = found_by_a_child_that_joins(true, point);
        assert_eq!(
            found,
            u32::from(INHERITED),
            "dropped at instruction {point}"
        );
    }
    assert_eq!(settled(), cells, "what was kept has come back");
}

/// The control of the one before: it can see what nobody keeps.
fn fork_that_nobody_tells_of() {
    let (found, _) = found_by_a_child_that_joins(false, 1);
    assert_eq!(found, u32::from(LATER));
}

/// Cells and pins in use when all the dead are settled, and what was kept in vain has been let go.
fn settled() -> (usize, usize) {
    drop(a_lock());
    shm::settle_the_dead().unwrap();
    let (cells, _, pins) = shm::usage().unwrap();
    (cells, pins)
}

/// Seen red: `settle` that finds no child at its end.
fn child_killed_while_it_joins() {
    let before = settled();
    let once = |limit: u64| {
        let lock = a_lock();
        face::before_fork();
        let (child, steps) = led(|| {}, face::after_fork_in_child, limit);
        face::after_fork_in_parent();
        drop(lock);
        child.kill();
        assert_eq!(settled(), before, "killed at instruction {steps}");
        steps
    };
    let length = once(u64::MAX);
    for point in points(length, 100) {
        once(point);
    }
}

/// Its child is told nothing more, and is killed with it: all that both had comes back.
///
/// Seen red: `guarded.settle` that lets go of nothing.
fn parent_killed_while_it_forks() {
    let before = settled();
    let once = |limit: u64| {
        let fork = || {
            let lock = a_lock();
            face::before_fork();
            let child = Process::start(|| {
                face::after_fork_in_child();
                pause();
            });
            face::after_fork_in_parent();
            drop(lock);
            child.kill();
            drop(a_lock());
        };
        let (parent, steps) = led(|| drop(a_lock()), fork, limit);
        parent.kill();
        // The grandchild is killed by that, not at once.
        until("all that both had comes back", || settled() == before);
        steps
    };
    let length = once(u64::MAX);
    for point in points(length, 40) {
        once(point);
    }
}

/// Bytes on their way between two processes, apart from what is tested.
struct Bytes {
    length: AtomicU32,
    bytes: [AtomicU32; 512],
}

impl Bytes {
    fn put(&self, bytes: &[u8]) {
        for (place, byte) in self.bytes.iter().zip(bytes) {
            place.store(u32::from(*byte), SeqCst);
        }
        self.length.store(bytes.len() as u32, SeqCst);
    }

    fn take(&self) -> Option<Vec<u8>> {
        let length = self.length.swap(0, SeqCst) as usize;
        let bytes = &self.bytes[..length];
        let bytes = bytes.iter().map(|byte| byte.load(SeqCst) as u8).collect();
        (length > 0).then_some(bytes)
    }
}

/// What its receiver can get at is there for it. What was packed and could not be handed on stays: nobody can know that it is
/// lost. So at most one pin is left by each that was killed, and no cell without a pin.
///
/// Seen red: `guarded.settle` that lets go of nothing.
fn sender_killed_while_it_packs() {
    let before = settled();
    // SAFETY: atomics.
    let bytes = unsafe { page::<Bytes>() };
    let mut lost = 0;
    let mut once = |limit: u64| {
        let send = || bytes.put(&face::pack(&a_lock()).unwrap().sent());
        let (sender, steps) = led(|| drop(a_lock()), send, limit);
        sender.kill();
        if let Some(bytes) = bytes.take() {
            let lock: Lock<u8> = face::unpack(&bytes).unwrap();
            assert_eq!(*lock.acquire().unwrap(), INHERITED);
        }
        let (cells, pins) = settled();
        assert!(
            pins <= before.1 + lost + 1,
            "killed at instruction {steps}: {pins} pins"
        );
        lost = pins - before.1;
        assert_eq!(cells, before.0 + lost, "killed at instruction {steps}");
        steps
    };
    let length = once(u64::MAX);
    for point in points(length, 100) {
        once(point);
    }
    println!("{lost} were lost on their way");
}

/// Killed before it has it, it leaves it to be unpacked by another; after that, it is gone with it.
///
/// Seen red: `unpack` that leaves the pin.
fn receiver_killed_while_it_unpacks() {
    let before = settled();
    let once = |limit: u64| {
        let sent = face::pack(&a_lock()).unwrap().sent();
        let receive = || {
            let lock: Lock<u8> = face::unpack(&sent).unwrap();
            std::mem::forget(lock);
        };
        let (receiver, steps) = led(|| drop(a_lock()), receive, limit);
        receiver.kill();
        let (cells, pins) = settled();
        let is_there = pins > before.1;
        assert_eq!(
            cells - before.0,
            pins - before.1,
            "killed at instruction {steps}"
        );
        match face::unpack::<Lock<u8>>(&sent) {
            Ok(lock) => {
                assert!(is_there, "killed at instruction {steps}");
                assert_eq!(*lock.acquire().unwrap(), INHERITED);
            }
            Err(_) => assert!(!is_there, "killed at instruction {steps}"),
        }
        assert_eq!(settled(), before, "killed at instruction {steps}");
        steps
    };
    let length = once(u64::MAX);
    for point in points(length, 100) {
        once(point);
    }
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

/// Workers fork, and let go at once of what their children have yet to come to.
///
/// Seen red: `before` that notes nothing.
fn fork_storm() {
    let before = settled();
    let storm = Storm::new(3, 1, 200);
    let work = |seat: &Seat| {
        let lock = a_lock();
        face::before_fork();
        let mut child = Process::start(|| {
            face::after_fork_in_child();
            if *lock.acquire().unwrap() != INHERITED {
                // Not a word here: to the child of one that was killed this may happen, see docs/limits.md.
                // SAFETY: ends the child.
                unsafe { libc::_exit(1) };
            }
        });
        face::after_fork_in_parent();
        drop(lock);
        let others = others();
        if child.wait() != Status::Exited(0) {
            seat.complain("a child found what is not its lock");
        }
        seat.floor.told.fetch_add(1, SeqCst);
        drop(others);
    };
    storm.rage(&work, |_| {}, || {});
    assert!(
        storm.floor.told.load(SeqCst) > 0,
        "no child came to its lock"
    );
    // Children of the killed are killed by that, not at once.
    until("all comes back", || settled() == before);
}
