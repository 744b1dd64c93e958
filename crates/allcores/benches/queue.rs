//! Queue against what the kernel has for the same: a pipe for small messages, a socket pair for large ones.
//!
//! `cargo bench -p allcores --bench queue -- [--json | --markdown] [--quick] [FILTER…]`; against other crates:
//! `cargo xtask bench peers`.

mod common;

use std::io::{PipeReader, PipeWriter, Read, Write};

use allcores::multiprocessing::Queue;
use common::machine::Pins;
use common::messages::{self, Ends, Job, Look, Receiver, Sender};
use common::peers::{self, LARGE_BUFFER, socket_pair};
use common::{Bench, Bound, Side, side};

const SMALL: usize = 64;
const LARGE: usize = 1 << 20;
/// Messages that may be under way in the queue; a pipe holds 64 KiB.
const SMALL_CAPACITY: usize = 1024;
const LARGE_CAPACITY: usize = 4;

fn main() {
    let mut bench = Bench::from_args();
    for pins in Pins::ALL {
        round_trip(&mut bench, pins);
    }
    for pins in Pins::ALL {
        for workers in [1, 2] {
            small_one_way(&mut bench, pins, workers);
        }
    }
    for pins in Pins::ALL {
        large_one_way(&mut bench, pins);
    }
    bench.end();
}

fn round_trip(bench: &mut Bench, pins: Pins) {
    let job = Job::round_trip(SMALL, pins);
    let bound = match pins {
        Pins::SameCpu | Pins::TwoCpus => Bound::Ratio(1.2),
        Pins::Free => Bound::None,
    };
    let pipe: Side = side("two pipes", |round| {
        messages::round_trip(job, round, || {
            let ((to, far_from), (far_to, from)) = (pipe(SMALL), pipe(SMALL));
            (Ends(to, from), Ends(far_to, far_from))
        })
    });
    bench.compare(
        &format!("Queue 64 B round trip, {}", pins.name()),
        bound,
        side("two Queues", |round| {
            messages::round_trip(job, round, || {
                let ((to, far_from), (far_to, from)) =
                    (queue(SMALL_CAPACITY), queue(SMALL_CAPACITY));
                (Ends(to, from), Ends(far_to, far_from))
            })
        }),
        vec![pipe],
    );
}

fn small_one_way(bench: &mut Bench, pins: Pins, workers: usize) {
    let job = Job::one_way(SMALL, workers, workers, pins);
    let who = match workers {
        1 => "1 producer and consumer",
        _ => "2 producers and consumers",
    };
    bench.compare(
        &format!("Queue 64 B one-way, {who}, {}", pins.name()),
        Bound::None,
        side("Queue", |round| {
            messages::one_way(job, round, || queue(SMALL_CAPACITY))
        }),
        // Writes and reads of so few bytes are whole or not at all: two of each do not mix.
        vec![side("pipe", |round| {
            messages::one_way(job, round, || pipe(SMALL))
        })],
    );
}

fn large_one_way(bench: &mut Bench, pins: Pins) {
    let job = Job::one_way(LARGE, 1, 1, pins).look(Look::All);
    bench.compare(
        &format!("Queue 1 MiB one-way, {}", pins.name()),
        Bound::None,
        side("Queue", |round| {
            messages::one_way(job, round, || queue(LARGE_CAPACITY))
        }),
        vec![
            side("pipe of 1 MiB", |round| {
                messages::one_way(job, round, || pipe(LARGE))
            }),
            side("socket pair, large buffer", |round| {
                messages::one_way(job, round, || {
                    let (to, from) = socket_pair(LARGE_BUFFER);
                    (Bare(to, Vec::new()), Bare(from, vec![0; LARGE]))
                })
            }),
        ],
    );
}

/// One end of ours, and where it receives to.
struct Ours(Queue<()>, Vec<u8>);

fn queue(capacity: usize) -> (Ours, Ours) {
    let queue = Queue::bounded(capacity).unwrap();
    (Ours(queue.clone(), Vec::new()), Ours(queue, Vec::new()))
}

impl Sender for Ours {
    fn send(&mut self, message: &[u8]) {
        self.0.put_bytes(message).unwrap();
    }
}

impl Receiver for Ours {
    fn receive<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> T {
        self.0.get_bytes_into(&mut self.1).unwrap();
        look(&self.1)
    }
}

/// A descriptor without frames, and where messages are read to.
struct Bare<D>(D, Vec<u8>);

fn pipe(size: usize) -> (Bare<PipeWriter>, Bare<PipeReader>) {
    // As large as it usually is, or as it may be.
    let (reader, writer) = peers::pipe(if size == SMALL { 64 << 10 } else { LARGE });
    (Bare(writer, Vec::new()), Bare(reader, vec![0; size]))
}

impl<D: Write> Sender for Bare<D> {
    fn send(&mut self, message: &[u8]) {
        self.0.write_all(message).unwrap();
    }
}

impl<D: Read> Receiver for Bare<D> {
    fn receive<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> T {
        self.0.read_exact(&mut self.1).unwrap();
        look(&self.1)
    }
}
