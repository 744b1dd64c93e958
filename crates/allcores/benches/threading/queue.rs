//! Queues between threads, which have one lock, against the channels of std and crossbeam, which have none.

use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use allcores::threading::{LifoQueue, PriorityQueue, Queue, SimpleQueue};

use super::FAST;
use super::common::machine::{Pinned, Pins};
use super::common::pair::{self, Signal, Workers::Threads};
use super::common::{Bench, Bound, repeated, side};

pub(super) fn figures(bench: &mut Bench) {
    {
        let _pinned = Pinned::to(0);
        alone(bench);
    }
    for pins in Pins::ALL {
        one_way(bench, pins);
    }
    for pins in Pins::ALL {
        hand_off(bench, pins);
    }
}

fn alone(bench: &mut Bench) {
    let ours = Queue::new();
    let (sender, receiver) = mpsc::channel();
    let (put, get) = crossbeam_channel::unbounded();
    bench.compare(
        "Queue put+get, one thread",
        Bound::Ratio(1.1),
        repeated("threading::Queue", FAST, || {
            black_box(&ours).put(black_box(1u64)).expect("open");
            black_box(ours.get()).expect("open");
        }),
        vec![
            repeated("std mpsc", FAST, || {
                sender.send(black_box(1u64)).expect("open");
                black_box(receiver.recv()).expect("open");
            }),
            repeated("crossbeam", FAST, || {
                put.send(black_box(1u64)).expect("open");
                black_box(get.recv()).expect("open");
            }),
        ],
    );
    let (lifo, heap, simple) = (LifoQueue::new(), PriorityQueue::new(), SimpleQueue::new());
    // Some depth for the heap, and for the others to be fair.
    for n in 0..100 {
        lifo.put(n).expect("open");
        heap.put(n).expect("open");
        simple.put(n);
    }
    bench.compare(
        "LifoQueue put+get, one thread",
        Bound::None,
        repeated("threading::LifoQueue", FAST, || {
            black_box(&lifo).put(black_box(50u64)).expect("open");
            black_box(lifo.get()).expect("open");
        }),
        vec![
            repeated("threading::PriorityQueue of 100", FAST, || {
                black_box(&heap).put(black_box(50u64)).expect("open");
                black_box(heap.get()).expect("open");
            }),
            repeated("threading::SimpleQueue", FAST, || {
                black_box(&simple).put(black_box(50u64));
                black_box(simple.get());
            }),
        ],
    );
}

const ROOM: usize = 1024;
const LAST: u64 = u64::MAX;

fn one_way(bench: &mut Bench, pins: Pins) {
    bench.compare(
        &format!("Queue one way, room for {ROOM}, {}", pins.name()),
        // Across CPUs one lock is no match for none.
        match pins {
            Pins::SameCpu => Bound::Ratio(1.1),
            Pins::TwoCpus | Pins::Free => Bound::None,
        },
        side("threading::Queue", |round| {
            stream(pins, round, || {
                let queue = Arc::new(Queue::bounded(ROOM));
                let other = queue.clone();
                (
                    move |item| queue.put(item).expect("open"),
                    move || other.get().expect("open"),
                )
            })
        }),
        vec![
            side("std mpsc", |round| {
                stream(pins, round, || {
                    let (sender, receiver) = mpsc::sync_channel(ROOM);
                    (
                        move |item| sender.send(item).expect("open"),
                        move || receiver.recv().expect("open"),
                    )
                })
            }),
            side("crossbeam", |round| {
                stream(pins, round, || {
                    let (sender, receiver) = crossbeam_channel::bounded(ROOM);
                    (
                        move |item| sender.send(item).expect("open"),
                        move || receiver.recv().expect("open"),
                    )
                })
            }),
        ],
    );
}

/// One thread puts, the other gets: nanoseconds an item.
fn stream<P, G>(pins: Pins, round: std::time::Duration, make: impl FnOnce() -> (P, G)) -> f64
where
    P: Fn(u64) + Send,
    G: Fn() -> u64 + Send,
{
    let (put, get) = make();
    // Each goes to its worker, as a Receiver belongs to one thread.
    let (put, get) = (Mutex::new(Some(put)), Mutex::new(Some(get)));
    pair::run(Threads, pins, round, &|index, stage| {
        if index == 0 {
            let put = take(&put);
            while !stage.stopped() {
                (0..64).for_each(&put);
            }
            put(LAST);
            return 0;
        }
        let get = take(&get);
        let mut items = 0;
        while get() != LAST {
            items += 1;
        }
        items.max(1)
    })
}

fn take<T>(place: &Mutex<Option<T>>) -> T {
    let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
    place.take().expect("one worker each")
}

fn hand_off(bench: &mut Bench, pins: Pins) {
    bench.compare(
        &format!("hand-off between threads by Queue, {}", pins.name()),
        match pins {
            Pins::SameCpu | Pins::TwoCpus => Bound::Ratio(1.1),
            Pins::Free => Bound::None,
        },
        side("threading::Queue", |round| {
            pair::ping_pong(Threads, pins, round, Queue::new)
        }),
        vec![side("crossbeam", |round| {
            pair::ping_pong(Threads, pins, round, crossbeam_channel::unbounded)
        })],
    );
}

impl Signal for Queue<()> {
    fn send(&self) {
        self.put(()).expect("open");
    }
    fn receive(&self) {
        self.get().expect("open");
    }
}

impl Signal
    for (
        crossbeam_channel::Sender<()>,
        crossbeam_channel::Receiver<()>,
    )
{
    fn send(&self) {
        self.0.send(()).expect("open");
    }
    fn receive(&self) {
        self.1.recv().expect("open");
    }
}
