//! The primitives in shared memory, against the best that private memory has, and against what libc and the kernel offer
//! between processes. A handle that can be cloned is compared with an `Arc`.
//!
//! `cargo bench -p allcores --bench multiprocessing -- [--json | --markdown] [--quick] [FILTER…]`

mod common;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, Condvar};

use allcores::multiprocessing::{Condition, Event, Lock, OwnedSemaphore, RLock, Semaphore};
use common::machine::{Pinned, Pins};
use common::pair::{
    self, Signal,
    Workers::{Processes, Threads},
    compute,
};
use common::peers::{FutexSignal, PthreadMutex, Sem};
use common::{Bench, Bound, repeated, side};

fn main() {
    let mut bench = Bench::from_args();
    {
        let _pinned = Pinned::to(0);
        uncontended_lock(&mut bench);
        uncontended_rlock(&mut bench);
        uncontended_semaphore(&mut bench);
        event(&mut bench);
        condition(&mut bench);
    }
    contended_by_threads(&mut bench);
    contended_by_processes(&mut bench);
    hand_off(&mut bench);
    bench.end();
}

/// So many operations of a few nanoseconds that reading the clock does not count.
const FAST: u32 = 10_000;

fn uncontended_lock(bench: &mut Bench) {
    let (ours, peer) = (
        Lock::new(0u64).unwrap(),
        Arc::new(parking_lot::Mutex::new(0u64)),
    );
    bench.compare(
        "shared Lock acquire+release",
        Bound::Ratio(1.1),
        repeated("multiprocessing::Lock", FAST, || {
            let mut value = black_box(&ours).acquire().unwrap();
            *black_box(&mut *value) += 1;
        }),
        vec![repeated("Arc<parking_lot::Mutex>", FAST, || {
            let mut value = black_box(&peer).lock();
            *black_box(&mut *value) += 1;
        })],
    );
}

fn uncontended_rlock(bench: &mut Bench) {
    let ours = RLock::new(1u64).unwrap();
    let peer = Arc::new(parking_lot::ReentrantMutex::new(1u64));
    // Opaque to the compiler, which would otherwise see that an inner acquisition changes nothing in the end.
    let mut figure = |name: &str, bound| {
        bench.compare(
            name,
            bound,
            repeated("multiprocessing::RLock", FAST, || {
                black_box(&*black_box(&ours).acquire().unwrap());
            }),
            vec![repeated("Arc<parking_lot::ReentrantMutex>", FAST, || {
                black_box(&*black_box(&peer).lock());
            })],
        );
    };
    figure("shared RLock acquire+release", Bound::Ratio(1.1));
    let (_ours_held, _peer_held) = (ours.acquire().unwrap(), peer.lock());
    figure("shared RLock acquire+release once more", Bound::None);
}

fn uncontended_semaphore(bench: &mut Bench) {
    let (ours, libc) = (Semaphore::new(1).unwrap(), Sem::shared(1));
    let tokio = Arc::new(tokio::sync::Semaphore::new(1));
    bench.compare(
        "shared Semaphore try_permit+drop",
        Bound::Faster(1.8),
        repeated("multiprocessing::Semaphore", FAST, || {
            drop(black_box(black_box(&ours).try_permit().unwrap()));
        }),
        vec![repeated("Arc<tokio::sync::Semaphore>", FAST, || {
            drop(black_box(black_box(&tokio).try_acquire().unwrap()));
        })],
    );
    bench.compare(
        "shared Semaphore acquire+release",
        Bound::Ratio(1.2),
        repeated("multiprocessing::Semaphore", FAST, || {
            black_box(&ours).acquire();
            black_box(&ours).release().unwrap();
        }),
        vec![repeated("process-shared sem_t of libc", FAST, || {
            black_box(&libc).wait();
            black_box(&libc).post();
        })],
    );
    let owned = OwnedSemaphore::new(1).unwrap();
    bench.compare(
        "shared OwnedSemaphore acquire+release",
        Bound::Ratio(2.5),
        repeated("multiprocessing::OwnedSemaphore", FAST, || {
            black_box(&owned).acquire();
            black_box(&owned).release().unwrap();
        }),
        vec![repeated("process-shared sem_t of libc", FAST, || {
            black_box(&libc).wait();
            black_box(&libc).post();
        })],
    );
}

fn event(bench: &mut Bench) {
    let (ours, flag) = (Event::new().unwrap(), Arc::new(AtomicBool::new(false)));
    bench.compare(
        "shared Event is_set",
        Bound::Ratio(1.1),
        repeated("multiprocessing::Event", FAST, || {
            black_box(black_box(&ours).is_set());
        }),
        vec![repeated("Arc<AtomicBool> load", FAST, || {
            black_box(black_box(&flag).load(Acquire));
        })],
    );
    bench.compare(
        "shared Event set+clear",
        Bound::None,
        repeated("multiprocessing::Event", FAST, || {
            black_box(&ours).set();
            black_box(&ours).clear();
        }),
        vec![repeated("two swaps of a Arc<AtomicBool>", FAST, || {
            black_box(black_box(&flag).swap(true, AcqRel));
            black_box(black_box(&flag).swap(false, AcqRel));
        })],
    );
}

fn condition(bench: &mut Bench) {
    let (lock, ours) = (Lock::new(()).unwrap(), Condition::new().unwrap());
    let (guard, peer) = (lock.acquire().unwrap(), Condvar::new());
    bench.compare(
        "shared Condition notify_one, nobody waits",
        Bound::Nanoseconds(5.0),
        repeated("multiprocessing::Condition", FAST, || {
            black_box(black_box(&ours).notify_one(black_box(&guard))).unwrap();
        }),
        vec![repeated("std::sync::Condvar", FAST, || {
            black_box(&peer).notify_one()
        })],
    );
}

fn contended_by_threads(bench: &mut Bench) {
    let ours = Lock::new(0u64).unwrap();
    let peer = Arc::new(parking_lot::Mutex::new(0u64));
    for (between, steps) in [("back to back", 0), ("work between", 30)] {
        for pins in Pins::ALL {
            bench.compare(
                &format!("shared Lock by two threads, {between}, {}", pins.name()),
                Bound::Ratio(1.1),
                side("multiprocessing::Lock", |round| {
                    pair::contend(Threads, pins, round, || {
                        *ours.acquire().unwrap() += 1;
                        compute(steps);
                    })
                }),
                vec![side("Arc<parking_lot::Mutex>", |round| {
                    pair::contend(Threads, pins, round, || {
                        *peer.lock() += 1;
                        compute(steps);
                    })
                })],
            );
        }
    }
}

fn contended_by_processes(bench: &mut Bench) {
    let ours = Lock::new(0u64).unwrap();
    let peer = PthreadMutex::shared();
    for (between, steps) in [("back to back", 0), ("work between", 30)] {
        for pins in Pins::ALL {
            bench.compare(
                &format!("shared Lock by two processes, {between}, {}", pins.name()),
                Bound::Ratio(0.9),
                side("multiprocessing::Lock", |round| {
                    pair::contend(Processes, pins, round, || {
                        *ours.acquire().unwrap() += 1;
                        compute(steps);
                    })
                }),
                vec![side("process-shared pthread_mutex_t", |round| {
                    pair::contend(Processes, pins, round, || {
                        peer.add_one();
                        compute(steps);
                    })
                })],
            );
        }
    }
}

/// Taken = nothing was sent; whoever sends releases it.
impl Signal for Lock {
    fn send(&self) {
        self.release().expect("the receiver has taken it");
    }
    fn receive(&self) {
        self.hold().expect("nobody dies");
    }
}

fn taken() -> Lock {
    let lock = Lock::new(()).unwrap();
    lock.hold().unwrap();
    lock
}

impl Signal for Semaphore {
    fn send(&self) {
        self.release().expect("one permit at most");
    }
    fn receive(&self) {
        self.acquire();
    }
}

impl Signal for Event {
    fn send(&self) {
        self.set();
    }
    fn receive(&self) {
        self.wait();
        self.clear();
    }
}

impl Signal for (Lock<u8>, Condition) {
    fn send(&self) {
        let mut sent = self.0.acquire().expect("nobody dies");
        *sent = 1;
        self.1.notify_one(&sent).expect("its own lock");
    }
    fn receive(&self) {
        let mut sent = self.0.acquire().expect("nobody dies");
        while *sent == 0 {
            self.1.wait(&mut sent).expect("its own lock");
        }
        *sent = 0;
    }
}

fn hand_off(bench: &mut Bench) {
    for pins in Pins::ALL {
        let bound = match pins {
            Pins::SameCpu | Pins::TwoCpus => Bound::Ratio(1.1),
            Pins::Free => Bound::None,
        };
        hand_off_by(bench, "Lock", bound, pins, taken);
        hand_off_by(bench, "Semaphore", bound, pins, || {
            Semaphore::new(0).unwrap()
        });
        hand_off_by(bench, "Event", bound, pins, || Event::new().unwrap());
        // A condition takes a lock as well, twice a hand-off: no match for one bare word.
        hand_off_by(bench, "Condition", Bound::None, pins, || {
            (Lock::new(0).unwrap(), Condition::new().unwrap())
        });
    }
}

fn hand_off_by<S: Signal>(
    bench: &mut Bench,
    primitive: &str,
    bound: Bound,
    pins: Pins,
    make: impl Fn() -> S,
) {
    bench.compare(
        &format!("hand-off between processes by {primitive}, {}", pins.name()),
        bound,
        side("multiprocessing", |round| {
            pair::ping_pong(Processes, pins, round, &make)
        }),
        vec![side("bare futex words", |round| {
            pair::ping_pong(Processes, pins, round, FutexSignal::new)
        })],
    );
}
