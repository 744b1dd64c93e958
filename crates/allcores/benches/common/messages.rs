//! Messages from process to process: what senders and receivers do in a round, whoever carries the messages.
//!
//! The clock is the receiver's. It runs from a message to a message, so that neither the start of the processes nor a
//! message under way when the round ends counts. Every message is counted on both sides, and none may get lost.

use std::hint::black_box;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

use super::machine::{self, Pins};
use super::pair::Child;

/// Sends messages of one size. What is full is waited for.
pub(crate) trait Sender {
    fn send(&mut self, message: &[u8]);
}

/// Receives messages of one size.
pub(crate) trait Receiver {
    /// Waits for the next message, and shows it.
    fn receive<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> T;
}

/// A sender and a receiver: what one side of a round trip needs, where they are two things.
pub(crate) struct Ends<S, R>(pub(crate) S, pub(crate) R);

impl<S: Sender, R> Sender for Ends<S, R> {
    fn send(&mut self, message: &[u8]) {
        self.0.send(message);
    }
}

impl<S, R: Receiver> Receiver for Ends<S, R> {
    fn receive<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> T {
        self.1.receive(look)
    }
}

/// What a receiver does with a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Looks at its first bytes. Enough where the whole message has been brought to the receiver by then.
    First,
    /// Reads all of it, as every user of a message does: where it is shown in place, that is when it gets here.
    All,
}

/// A place in a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seat {
    Producer(usize),
    Consumer(usize),
    Ping,
    Pong,
}

/// What is to be done in a round.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    pub(crate) size: usize,
    pub(crate) look: Look,
    pub(crate) pins: Pins,
    /// Messages of each receiver before its clock starts.
    warm_up: u64,
    /// `None`: a round trip.
    one_way: Option<(usize, usize)>,
}

impl Job {
    /// From this many producers to this many consumers.
    pub(crate) fn one_way(size: usize, producers: usize, consumers: usize, pins: Pins) -> Job {
        let warm_up = match size {
            ..=65_536 => 256,
            65_537..=16_777_216 => 24,
            _ => 1,
        };
        Job {
            size,
            look: Look::First,
            pins,
            warm_up,
            one_way: Some((producers, consumers)),
        }
    }

    /// There and back.
    pub(crate) fn round_trip(size: usize, pins: Pins) -> Job {
        let job = Job::one_way(size, 1, 1, pins);
        Job {
            warm_up: 16,
            one_way: None,
            ..job
        }
    }

    pub(crate) fn look(self, look: Look) -> Job {
        Job { look, ..self }
    }

    pub(crate) fn producers(&self) -> usize {
        self.one_way.map_or(1, |(producers, _)| producers)
    }

    pub(crate) fn consumers(&self) -> usize {
        self.one_way.map_or(1, |(_, consumers)| consumers)
    }

    pub(crate) fn seats(&self) -> Vec<Seat> {
        match self.one_way {
            None => vec![Seat::Ping, Seat::Pong],
            Some((producers, consumers)) => (0..producers)
                .map(Seat::Producer)
                .chain((0..consumers).map(Seat::Consumer))
                .collect(),
        }
    }
}

/// The first word of the last message; those before are numbered from 0.
const END: u64 = u64::MAX;
const MOST_CLOCKS: usize = 4;
const MOST_WORKERS: usize = 2 * MOST_CLOCKS;
/// Nothing here takes a hundredth of it.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Default)]
#[repr(align(128))]
struct Line<T>(T);

/// What one receiver measured.
#[derive(Default)]
struct Clock {
    messages: AtomicU64,
    nanoseconds: AtomicU64,
}

/// What the workers of a round and its coordinator see of each other.
pub(crate) struct Words {
    pub(crate) job: Job,
    ready: Line<AtomicU32>,
    /// Their processes, in the order in which they came.
    workers: Line<[AtomicU32; MOST_WORKERS]>,
    go: Line<AtomicU32>,
    stop: Line<AtomicU32>,
    /// Receivers that have measured.
    measured: Line<AtomicU32>,
    /// Producers that have sent their numbered messages.
    produced: Line<AtomicU32>,
    gone: Line<AtomicU32>,
    sent: Line<AtomicU64>,
    received: Line<AtomicU64>,
    clocks: [Line<Clock>; MOST_CLOCKS],
}

/// The words of a round, in memory that any process of this program can open.
pub(crate) struct Board {
    words: NonNull<Words>,
    memory: OwnedFd,
}

impl Deref for Board {
    type Target = Words;

    fn deref(&self) -> &Words {
        // SAFETY: mapped and initialised until we are dropped.
        unsafe { self.words.as_ref() }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody borrows any more.
        unsafe { libc::munmap(self.words.as_ptr().cast(), size_of::<Words>()) };
    }
}

impl Board {
    pub(crate) fn new(job: Job) -> Board {
        assert!(job.consumers() <= MOST_CLOCKS);
        assert!(job.seats().len() <= MOST_WORKERS);
        // SAFETY: the name ends in a NUL.
        let fd = unsafe { libc::memfd_create(c"board".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(fd >= 0, "memfd: {}", io::Error::last_os_error());
        // SAFETY: a new descriptor, which nobody else knows.
        let memory = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: takes numbers.
        let failed = unsafe { libc::ftruncate(fd, size_of::<Words>() as libc::off_t) };
        assert_eq!(failed, 0, "no memory to share");
        let board = Board::map(memory);
        let words = Words {
            job,
            ready: Line(AtomicU32::new(0)),
            workers: Line::default(),
            go: Line(AtomicU32::new(0)),
            stop: Line(AtomicU32::new(0)),
            measured: Line(AtomicU32::new(0)),
            produced: Line(AtomicU32::new(0)),
            gone: Line(AtomicU32::new(0)),
            sent: Line(AtomicU64::new(0)),
            received: Line(AtomicU64::new(0)),
            clocks: Default::default(),
        };
        // SAFETY: fresh memory, page-aligned, large enough, and nobody else knows it yet.
        unsafe { board.words.write(words) };
        board
    }

    /// Where a process of the same program, started while this lives, finds it: for [`Board::open`].
    pub(crate) fn path(&self) -> String {
        format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.memory.as_raw_fd()
        )
    }

    pub(crate) fn open(path: &str) -> Board {
        let file = std::fs::File::options().read(true).write(true).open(path);
        Board::map(file.expect("the coordinator lives").into())
    }

    fn map(memory: OwnedFd) -> Board {
        let (access, fd) = (libc::PROT_READ | libc::PROT_WRITE, memory.as_raw_fd());
        // SAFETY: a new mapping where the kernel likes.
        let place = unsafe {
            libc::mmap(
                null_mut(),
                size_of::<Words>(),
                access,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        assert_ne!(place, libc::MAP_FAILED, "no memory to share");
        let words = NonNull::new(place.cast()).expect("a mapping is never at 0");
        Board { words, memory }
    }

    /// Lets the workers, which have been started, work for a round, and says how many nanoseconds a message (a round trip)
    /// took, all receivers together. They have nothing left to do then.
    pub(crate) fn conduct(&self, round: Duration) -> f64 {
        self.patiently("here", &self.ready);
        self.go.0.store(1, Release);
        std::thread::sleep(round);
        self.stop.0.store(1, Release);
        self.patiently("done", &self.gone);
        let (sent, received) = (self.sent.0.load(Acquire), self.received.0.load(Acquire));
        assert_eq!(sent, received, "messages sent and received");
        let a_nanosecond: f64 = self.clocks[..self.job.consumers()]
            .iter()
            .map(|Line(clock)| {
                let messages = clock.messages.load(Acquire);
                assert!(messages > 0, "a receiver measured nothing");
                messages as f64 / clock.nanoseconds.load(Acquire) as f64
            })
            .sum();
        1.0 / a_nanosecond
    }
}

impl Words {
    /// Waits until every worker is `what`, as `count` counts them.
    fn patiently(&self, what: &str, count: &Line<AtomicU32>) {
        let workers = self.job.seats().len() as u32;
        let start = Instant::now();
        while count.0.load(Acquire) != workers {
            if start.elapsed() >= PATIENCE {
                self.give_up(what);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Says how far everybody has come, and where they are now.
    fn give_up(&self, what: &str) -> ! {
        eprintln!(
            "ready {}, measured {}, produced {}, gone {} of {} workers; sent {}, received {} by those that are gone",
            self.ready.0.load(Acquire),
            self.measured.0.load(Acquire),
            self.produced.0.load(Acquire),
            self.gone.0.load(Acquire),
            self.job.seats().len(),
            self.sent.0.load(Acquire),
            self.received.0.load(Acquire),
        );
        for pid in self.workers.0.iter().map(|pid| pid.load(Acquire)) {
            if pid != 0 {
                machine::show_process(pid);
            }
        }
        panic!("not within {PATIENCE:?}: every worker is {what}");
    }

    /// Pins this worker, says that it is here and waits for the others.
    fn enter(&self, cpu: usize) {
        self.job.pins.apply(cpu);
        let pid = std::process::id();
        let mut places = self.workers.0.iter();
        places.find(|place| place.compare_exchange(0, pid, AcqRel, Relaxed).is_ok());
        self.ready.0.fetch_add(1, AcqRel);
        while self.go.0.load(Acquire) == 0 {
            std::thread::yield_now();
        }
    }

    fn leave(&self) {
        self.gone.0.fetch_add(1, AcqRel);
    }

    fn stopped(&self) -> bool {
        self.stop.0.load(Relaxed) != 0
    }

    /// Waits until every worker has done what belongs to its seat.
    pub(crate) fn wait_for_all(&self) {
        self.patiently("done", &self.gone);
    }

    /// Whether every receiver has measured.
    fn is_measured(&self) -> bool {
        self.measured.0.load(Relaxed) as usize == self.job.consumers()
    }

    fn message(&self) -> Vec<u8> {
        (0..self.job.size).map(|at| at as u8).collect()
    }

    /// The work of a producer.
    pub(crate) fn produce(&self, sender: &mut impl Sender) {
        let mut message = self.message();
        self.enter(0);
        let mut number = 0;
        while !self.is_measured() {
            label(&mut message, number);
            sender.send(black_box(&message));
            number += 1;
        }
        self.sent.0.fetch_add(number, AcqRel);
        let others_before = self.produced.0.fetch_add(1, AcqRel) as usize;
        if others_before + 1 == self.job.producers() {
            label(&mut message, END);
            for _ in 0..self.job.consumers() {
                sender.send(&message);
            }
        }
        self.leave();
    }

    /// The work of consumer `index`.
    pub(crate) fn consume(&self, index: usize, receiver: &mut impl Receiver) {
        let alone = self.job.producers() == 1 && self.job.consumers() == 1;
        self.enter(1);
        let mut received = 0;
        let mut take = || {
            let number = receiver.receive(|message| self.see(message));
            if alone && number != END {
                assert_eq!(number, received, "a message out of order");
            }
            received += u64::from(number != END);
            number
        };
        for _ in 0..self.job.warm_up {
            take();
        }
        let (start, mut messages) = (Instant::now(), 0);
        while messages == 0 || !self.stopped() {
            take();
            messages += 1;
        }
        self.note(index, messages, start);
        while take() != END {}
        self.received.0.fetch_add(received, AcqRel);
        self.leave();
    }

    /// The work of the side of a round trip that begins.
    pub(crate) fn ping(&self, end: &mut (impl Sender + Receiver)) {
        let mut message = self.message();
        self.enter(0);
        let mut number = 0;
        let mut go_round = || {
            label(&mut message, number);
            end.send(black_box(&message));
            let answer = end.receive(|message| self.see(message));
            assert_eq!(answer, number, "the wrong answer");
            number += 1;
        };
        for _ in 0..self.job.warm_up {
            go_round();
        }
        let (start, mut trips) = (Instant::now(), 0);
        while trips == 0 || !self.stopped() {
            go_round();
            trips += 1;
        }
        self.note(0, trips, start);
        self.sent.0.fetch_add(number, AcqRel);
        label(&mut message, END);
        end.send(&message);
        self.leave();
    }

    /// The work of the side that answers.
    pub(crate) fn pong(&self, end: &mut (impl Sender + Receiver)) {
        let mut message = self.message();
        self.enter(1);
        let mut received = 0;
        loop {
            match end.receive(|message| self.see(message)) {
                END => break,
                number => label(&mut message, number),
            }
            received += 1;
            end.send(black_box(&message));
        }
        self.received.0.fetch_add(received, AcqRel);
        self.leave();
    }

    fn note(&self, index: usize, messages: u64, start: Instant) {
        let elapsed = start.elapsed().as_nanos() as u64;
        let Line(clock) = &self.clocks[index];
        clock.messages.store(messages, Release);
        clock.nanoseconds.store(elapsed.max(1), Release);
        self.measured.0.fetch_add(1, AcqRel);
    }

    /// The number of a message, which the receiver has used as its job is.
    fn see(&self, message: &[u8]) -> u64 {
        assert_eq!(message.len(), self.job.size, "a message of another size");
        let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
        if self.job.look == Look::All {
            let words = message.chunks_exact(8).map(word);
            black_box(words.fold(0, u64::wrapping_add));
        }
        word(&message[..8])
    }
}

fn label(message: &mut [u8], number: u64) {
    message[..8].copy_from_slice(&number.to_ne_bytes());
}

/// One round of messages one way, by forked processes: nanoseconds a message.
pub(crate) fn one_way<S: Sender, R: Receiver>(
    job: Job,
    round: Duration,
    make: impl FnOnce() -> (S, R),
) -> f64 {
    let board = Board::new(job);
    let (mut sender, mut receiver) = make();
    let children: Vec<Child> = job
        .seats()
        .into_iter()
        .map(|seat| {
            Child::fork(|| match seat {
                Seat::Consumer(index) => board.consume(index, &mut receiver),
                _ => board.produce(&mut sender),
            })
        })
        .collect();
    finish(&board, round, children)
}

/// One round of round trips between two forked processes: nanoseconds a trip.
pub(crate) fn round_trip<E: Sender + Receiver>(
    job: Job,
    round: Duration,
    make: impl FnOnce() -> (E, E),
) -> f64 {
    let board = Board::new(job);
    let (mut near, mut far) = make();
    let children = vec![
        Child::fork(|| board.ping(&mut near)),
        Child::fork(|| board.pong(&mut far)),
    ];
    finish(&board, round, children)
}

fn finish(board: &Board, round: Duration, children: Vec<Child>) -> f64 {
    let time = board.conduct(round);
    children.into_iter().for_each(Child::join);
    time
}
