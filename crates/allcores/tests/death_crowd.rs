//! More participants than there are bells, and more than there are places.
//!
//! Seen red: with `ALLCORES_TEST_DEAF=1`, as the control checks; and as each says.

mod death;

use std::sync::atomic::{AtomicU32, Ordering::*};

use allcores::multiprocessing::Lock;
use allcores::shm::ShmError;
use death::{Gate, Process, Status, Test, control, is_asleep, page, run, until};

const TESTS: &[Test] = &[
    ("a_hundred_and_forty_live", a_hundred_and_forty_live),
    (
        "the_row_of_one_without_bells_is_handed_over",
        the_row_of_one_without_bells_is_handed_over,
    ),
    (
        "a_thousand_live_and_two_thousand_are_the_limit",
        a_thousand_live_and_two_thousand_are_the_limit,
    ),
    ("crowd_sees_a_hang", || control("a_hundred_and_forty_live")),
];

fn main() {
    run(TESTS);
}

fn gate() -> &'static Gate {
    // SAFETY: an atomic.
    unsafe { page::<Gate>() }
}

fn pause() -> ! {
    loop {
        // SAFETY: waits for signals.
        unsafe { libc::pause() };
    }
}

/// Processes that take part and do nothing.
struct Crowd {
    joined: &'static Gate,
    members: Vec<Process>,
}

impl Crowd {
    fn new() -> Crowd {
        Crowd {
            joined: gate(),
            members: Vec::new(),
        }
    }

    fn grow_to(&mut self, size: usize) {
        while self.members.len() < size {
            let joined = self.joined;
            self.members.push(Process::start(|| {
                drop(Lock::new(()).unwrap());
                joined.advance();
                pause();
            }));
        }
        let all = self.members.len() as u32;
        until("all take part", || self.joined.now() == all);
    }

    fn end(self) {
        // All at once, then one after the other.
        self.members.iter().for_each(Process::strike);
        for mut member in self.members {
            assert_eq!(member.wait(), Status::Killed(libc::SIGKILL));
        }
    }
}

/// One more process takes the lock, others sleep for it; it is killed, and they get it.
fn a_death_is_heard(lock: &Lock, early: &dyn Fn() -> Process) {
    let ready = gate();
    let holder = Process::start(|| {
        lock.hold().unwrap();
        ready.set(1);
        pause();
    });
    ready.wait(1);
    let waiter = early();
    until("the waiter listens for deaths", || {
        is_asleep(waiter.pid(), waiter.pid()).is_some_and(|many| many || polls())
    });
    holder.kill();
    waiter.succeeds();
}

fn heir(lock: &Lock) -> Process {
    Process::start(|| {
        assert!(lock.hold().is_err(), "the owner died");
        lock.recover();
        lock.release().unwrap();
    })
}

/// A participant with bells, made before the crowd, that takes the lock when it is told.
struct Early {
    process: Process,
    go: &'static Gate,
}

impl Early {
    fn new(lock: &Lock) -> Early {
        let (ready, go) = (gate(), gate());
        let process = Process::start(|| {
            drop(Lock::new(()).unwrap());
            ready.set(1);
            go.wait(1);
            assert!(lock.hold().is_err(), "the owner died");
            lock.recover();
            lock.release().unwrap();
        });
        ready.wait(1);
        Early { process, go }
    }

    fn wait(self) -> Process {
        self.go.set(1);
        self.process
    }
}

/// Seen red: `watch` does not look round for those without bells.
fn a_hundred_and_forty_live() {
    let lock = Lock::new(()).unwrap();
    let early = std::cell::Cell::new(Some(Early::new(&lock)));
    let mut crowd = Crowd::new();
    crowd.grow_to(140);
    // Holder and waiter without bells.
    for _ in 0..10 {
        a_death_is_heard(&lock, &|| heir(&lock));
    }
    // A waiter with bells, a holder without.
    a_death_is_heard(&lock, &|| early.take().unwrap().wait());
    // Low places are used again, by one that others listen to again.
    for member in crowd.members.drain(..30) {
        member.kill();
    }
    for _ in 0..10 {
        a_death_is_heard(&lock, &|| heir(&lock));
    }
    crowd.end();
    for _ in 0..10 {
        a_death_is_heard(&lock, &|| heir(&lock));
    }
}

/// The thread that joined first has ended, and no other has taken its row yet: nobody holds the life word. Its process is
/// killed, with a lock, while one sleeps who has bells, and whom this process never rang for.
///
/// Seen red: `watch` takes the free life word of a high place for a death, and does not look round.
fn the_row_of_one_without_bells_is_handed_over() {
    for _ in 0..3 {
        let lock = Lock::new(()).unwrap();
        let early = Early::new(&lock);
        let mut crowd = Crowd::new();
        crowd.grow_to(130);
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
            let other = lock.clone();
            std::thread::spawn(move || {
                assert!(!other.try_hold().unwrap());
                ready.set(2);
                pause();
            });
            ready.wait(2);
            go.wait(1);
            first.join().unwrap();
            ready.set(3);
            pause();
        });
        ready.wait(2);
        // All other high places are dead: nobody else makes the waiter look round.
        for member in crowd.members.drain(120..) {
            member.kill();
        }
        go.set(1);
        ready.wait(3);
        let waiter = early.wait();
        until("the waiter listens for deaths", || {
            is_asleep(waiter.pid(), waiter.pid()).is_some_and(|many| many || polls())
        });
        holder.kill();
        waiter.succeeds();
        crowd.end();
    }
}

fn polls() -> bool {
    std::env::var_os("ALLCORES_NO_WAITV").is_some_and(|value| value != "0")
}

fn a_thousand_live_and_two_thousand_are_the_limit() {
    let lock = Lock::new(()).unwrap();
    let mut crowd = Crowd::new();
    crowd.grow_to(1024);
    for _ in 0..3 {
        a_death_is_heard(&lock, &|| heir(&lock));
    }
    crowd.grow_to(2047);
    // SAFETY: an atomic.
    let refused = unsafe { page::<AtomicU32>() };
    let late = || {
        Process::start(|| match Lock::new(()) {
            Err(ShmError::TooManyProcesses { limit: 2048 }) => drop(refused.fetch_add(1, SeqCst)),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("there was no place left"),
        })
    };
    late().succeeds();
    late().succeeds();
    assert_eq!(refused.load(SeqCst), 2);
    // One leaves, one comes.
    crowd.members.swap_remove(700).kill();
    Process::start(|| drop(Lock::new(()).unwrap())).succeeds();
    crowd.end();
    a_death_is_heard(&lock, &|| heir(&lock));
}
