//! The primitives in private memory, and threads, against std, parking_lot, tokio and libc.
//!
//! `cargo bench -p allcores --bench threading -- [--json | --markdown] [--quick] [FILTER…]`

mod common;
#[path = "threading/queue.rs"]
mod queue;

use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::thread;

use allcores::threading::{Condition, Event, Lock, RLock, Semaphore, Thread};
use common::machine::{Pinned, Pins};
use common::pair::{self, Signal, Workers::Threads, compute};
use common::peers::Sem;
use common::{Bench, Bound, repeated, side};

/// On a cache line of its own, so that no side is helped or harmed by its neighbours.
#[repr(align(128))]
struct Line<T>(T);

fn line<T>(value: T) -> Box<Line<T>> {
    Box::new(Line(value))
}

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
    contended_lock(&mut bench);
    hand_off(&mut bench);
    queue::figures(&mut bench);
    start_join(&mut bench);
    bench.end();
}

/// So many operations of a few nanoseconds that reading the clock does not count.
const FAST: u32 = 10_000;

fn uncontended_lock(bench: &mut Bench) {
    let (ours, peer) = (line(Lock::new(0u64)), line(parking_lot::Mutex::new(0u64)));
    bench.compare(
        "Lock acquire+release",
        Bound::Ratio(1.1),
        repeated("threading::Lock", FAST, || {
            let mut value = black_box(&ours.0).acquire();
            *black_box(&mut *value) += 1;
        }),
        vec![repeated("parking_lot::Mutex", FAST, || {
            let mut value = black_box(&peer.0).lock();
            *black_box(&mut *value) += 1;
        })],
    );
}

fn uncontended_rlock(bench: &mut Bench) {
    let ours = line(RLock::new(Cell::new(0u64)));
    let peer = line(parking_lot::ReentrantMutex::new(Cell::new(0u64)));
    // Opaque to the compiler, which would otherwise see that an inner acquisition changes nothing in the end.
    let add = |cell: &Cell<u64>| black_box(cell).set(cell.get() + 1);
    let mut figure = |name: &str, bound| {
        bench.compare(
            name,
            bound,
            repeated("threading::RLock", FAST, || {
                add(&black_box(&ours.0).acquire())
            }),
            vec![repeated("parking_lot::ReentrantMutex", FAST, || {
                add(&black_box(&peer.0).lock());
            })],
        );
    };
    figure("RLock acquire+release", Bound::Ratio(1.1));
    let (_ours_held, _peer_held) = (ours.0.acquire(), peer.0.lock());
    figure("RLock acquire+release once more", Bound::None);
}

fn uncontended_semaphore(bench: &mut Bench) {
    let ours = line(Semaphore::new(1));
    let tokio = line(tokio::sync::Semaphore::new(1));
    let libc = Sem::private(1);
    bench.compare(
        "Semaphore try_permit+drop",
        Bound::Faster(1.8),
        repeated("threading::Semaphore", FAST, || {
            drop(black_box(black_box(&ours.0).try_permit().unwrap()));
        }),
        vec![repeated("tokio::sync::Semaphore", FAST, || {
            drop(black_box(black_box(&tokio.0).try_acquire().unwrap()));
        })],
    );
    bench.compare(
        "Semaphore acquire+release",
        Bound::Ratio(1.2),
        repeated("threading::Semaphore", FAST, || {
            black_box(&ours.0).acquire();
            black_box(&ours.0).release().unwrap();
        }),
        vec![repeated("sem_t of libc", FAST, || {
            black_box(&libc).wait();
            black_box(&libc).post();
        })],
    );
}

fn event(bench: &mut Bench) {
    let (ours, flag) = (line(Event::new()), line(AtomicBool::new(false)));
    bench.compare(
        "Event is_set",
        Bound::Ratio(1.1),
        repeated("threading::Event", FAST, || {
            black_box(black_box(&ours.0).is_set());
        }),
        vec![repeated("AtomicBool load", FAST, || {
            black_box(black_box(&flag.0).load(Acquire));
        })],
    );
    let peer = line((parking_lot::Mutex::new(false), parking_lot::Condvar::new()));
    bench.compare(
        "Event set+clear",
        Bound::None,
        repeated("threading::Event", FAST, || {
            black_box(&ours.0).set();
            black_box(&ours.0).clear();
        }),
        vec![repeated("parking_lot Mutex<bool> + Condvar", FAST, || {
            let (set, changed) = black_box(&peer.0);
            *set.lock() = true;
            changed.notify_all();
            *set.lock() = false;
        })],
    );
}

fn condition(bench: &mut Bench) {
    let (lock, ours, peer) = (Lock::new(()), line(Condition::new()), line(Condvar::new()));
    let guard = lock.acquire();
    bench.compare(
        "Condition notify_one, nobody waits",
        Bound::Nanoseconds(5.0),
        repeated("threading::Condition", FAST, || {
            black_box(black_box(&ours.0).notify_one(black_box(&guard))).unwrap();
        }),
        vec![repeated("std::sync::Condvar", FAST, || {
            black_box(&peer.0).notify_one()
        })],
    );
}

fn contended_lock(bench: &mut Bench) {
    let (ours, peer) = (line(Lock::new(0u64)), line(parking_lot::Mutex::new(0u64)));
    for (between, steps) in [("back to back", 0), ("work between", 30)] {
        for pins in Pins::ALL {
            let (ours, peer) = (&ours.0, &peer.0);
            bench.compare(
                &format!("Lock by two threads, {between}, {}", pins.name()),
                Bound::Ratio(1.1),
                side("threading::Lock", |round| {
                    pair::contend(Threads, pins, round, || {
                        *ours.acquire() += 1;
                        compute(steps);
                    })
                }),
                vec![side("parking_lot::Mutex", |round| {
                    pair::contend(Threads, pins, round, || {
                        *peer.lock() += 1;
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
        self.hold();
    }
}

fn taken() -> Lock {
    let lock = Lock::new(());
    lock.hold();
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

impl Signal for (Lock<bool>, Condition) {
    fn send(&self) {
        let mut sent = self.0.acquire();
        *sent = true;
        self.1.notify_one(&sent).expect("its own lock");
    }
    fn receive(&self) {
        let mut sent = self.0.acquire();
        while !*sent {
            self.1.wait(&mut sent).expect("its own lock");
        }
        *sent = false;
    }
}

impl Signal for (Mutex<bool>, Condvar) {
    fn send(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.1.notify_one();
    }
    fn receive(&self) {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*sent {
            sent = self.1.wait(sent).unwrap_or_else(PoisonError::into_inner);
        }
        *sent = false;
    }
}

impl Signal for (parking_lot::Mutex<bool>, parking_lot::Condvar) {
    fn send(&self) {
        *self.0.lock() = true;
        self.1.notify_one();
    }
    fn receive(&self) {
        let mut sent = self.0.lock();
        while !*sent {
            self.1.wait(&mut sent);
        }
        *sent = false;
    }
}

/// `thread::park`, with the flag that its spurious returns ask for.
#[derive(Default)]
struct Park(AtomicBool, OnceLock<thread::Thread>);

impl Signal for Park {
    fn receiver_is_here(&self) {
        self.1.set(thread::current()).expect("one receiver");
    }
    fn send(&self) {
        self.0.store(true, Release);
        self.1
            .get()
            .expect("the receiver has said who it is")
            .unpark();
    }
    fn receive(&self) {
        while !self.0.swap(false, Acquire) {
            thread::park();
        }
    }
}

fn hand_off(bench: &mut Bench) {
    for pins in Pins::ALL {
        hand_off_by(bench, "Lock", pins, taken);
        hand_off_by(bench, "Semaphore", pins, || Semaphore::new(0));
        hand_off_by(bench, "Event", pins, Event::new);
        hand_off_by(bench, "Condition", pins, || {
            (Lock::new(false), Condition::new())
        });
    }
}

fn hand_off_by<S: Signal>(bench: &mut Bench, primitive: &str, pins: Pins, make: impl Fn() -> S) {
    let bound = match pins {
        Pins::SameCpu | Pins::TwoCpus => Bound::Ratio(1.1),
        Pins::Free => Bound::None,
    };
    let std = || (Mutex::new(false), Condvar::new());
    let parking_lot = || (parking_lot::Mutex::new(false), parking_lot::Condvar::new());
    bench.compare(
        &format!("hand-off between threads by {primitive}, {}", pins.name()),
        bound,
        side("threading", |round| {
            pair::ping_pong(Threads, pins, round, || line(make()))
        }),
        vec![
            side("std Mutex + Condvar", |round| {
                pair::ping_pong(Threads, pins, round, || line(std()))
            }),
            side("std thread::park", |round| {
                pair::ping_pong(Threads, pins, round, || line(Park::default()))
            }),
            side("parking_lot Mutex + Condvar", |round| {
                pair::ping_pong(Threads, pins, round, || line(parking_lot()))
            }),
        ],
    );
}

impl<S: Signal> Signal for Box<Line<S>> {
    fn receiver_is_here(&self) {
        self.0.receiver_is_here();
    }
    fn send(&self) {
        self.0.send();
    }
    fn receive(&self) {
        self.0.receive();
    }
}

fn start_join(bench: &mut Bench) {
    let mut figure = |name: &str| {
        bench.compare(
            name,
            Bound::Ratio(1.1),
            repeated("threading::Thread", 1, || {
                let thread = Thread::new(|| black_box(1));
                thread.start().unwrap();
                black_box(thread.result().unwrap());
            }),
            vec![repeated("std::thread", 1, || {
                black_box(thread::spawn(|| black_box(1)).join().unwrap());
            })],
        );
    };
    figure("Thread start+result, unpinned");
    let _pinned = Pinned::to(0);
    figure("Thread start+result, one CPU");
}
