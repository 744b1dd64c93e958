//! Workers are killed at random instants while they put into a queue and get from it; the others must go on, nothing comes
//! twice, nothing is damaged, and nothing is lost but what a killed consumer had just taken.
//!
//! Seen red: with `ALLCORES_TEST_DEAF=1`, which the controls at the end check; and as each test says.

mod death;

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::Duration;

use allcores::multiprocessing::queue::{GetError, ItemsLost, PutError};
use allcores::multiprocessing::{JoinableQueue, Lock, Queue};
use allcores::shm;
use death::{
    BUSY, Flow, Process, Seat, Storm, Test, children, control, descriptors, page, run, until,
};

const TESTS: &[Test] = &[
    ("short_messages", short_messages),
    ("room_for_two", room_for_two),
    ("many_segments", many_segments),
    ("large_messages", large_messages),
    ("several_threads", several_threads),
    ("producers_alone", producers_alone),
    ("batches", batches),
    ("short_patience", short_patience),
    ("tasks", tasks),
    ("queues_made_and_dropped", queues_made_and_dropped),
    ("short_messages_sees_a_hang", || control("short_messages")),
];

fn main() {
    run(TESTS);
}

/// What must be the same when all is over.
struct Tidy {
    usage: (usize, u64, usize),
    descriptors: usize,
}

impl Tidy {
    fn now() -> Tidy {
        // Makes room for pins, which stays.
        let carrier = Queue::new().unwrap();
        carrier.put(&Lock::new(()).unwrap()).unwrap();
        drop(carrier);
        shm::settle_the_dead().unwrap();
        Tidy {
            usage: shm::usage().unwrap(),
            descriptors: descriptors(),
        }
    }

    #[track_caller]
    fn check(&self) {
        let now = Tidy::now();
        assert_eq!(children(), "", "children that were not waited for");
        assert_eq!(now.descriptors, self.descriptors, "descriptors");
        assert_eq!(now.usage, self.usage, "cells, bytes and pins");
    }
}

const SHORT: &[usize] = &[16, 40, 64, 200, 1000];
const LONG: &[usize] = &[16, 9_000, 16_000, 16_384];
const LARGE: &[usize] = &[16, 64, 20_000, 16_385, 100_000];

/// Every other seat puts, every other one gets.
fn gives(seat: usize) -> bool {
    seat.is_multiple_of(2)
}

/// All of it: the storm, the drain, and what is left behind.
fn storm(queue: impl FnOnce() -> Queue<String>, lengths: &'static [usize], storm: Storm) {
    let tidy = Tidy::now();
    let flow = Flow::new(queue(), lengths);
    let work = |seat: &Seat| {
        if gives(seat.number) {
            flow.put(seat);
        } else {
            flow.get(seat);
        }
    };
    play(&flow, &storm, &work);
    drop(flow);
    tidy.check();
}

fn play(flow: &Flow, storm: &Storm, work: &(dyn Fn(&Seat) + Sync)) {
    let mut doubtful = 0;
    let buried = |seats: Range<usize>| {
        for seat in seats {
            let note = storm.floor.notes[seat].swap(0, SeqCst);
            doubtful += u64::from(note == BUSY);
        }
    };
    let tell = || eprintln!("{:?}", flow.queue);
    storm.rage_to_the_end(work, buried, tell, || flow.queue.close());
    flow.drain(doubtful);
}

fn short_messages() {
    storm(|| Queue::new().unwrap(), SHORT, Storm::new(6, 1, 500));
}

fn room_for_two() {
    storm(|| Queue::bounded(2).unwrap(), SHORT, Storm::new(6, 1, 500));
}

/// Two or three messages fill a segment.
fn many_segments() {
    storm(|| Queue::new().unwrap(), LONG, Storm::new(6, 1, 400));
}

fn large_messages() {
    storm(|| Queue::bounded(20).unwrap(), LARGE, Storm::new(6, 1, 300));
}

fn several_threads() {
    storm(|| Queue::new().unwrap(), SHORT, Storm::new(3, 4, 300));
}

/// Consumers that nobody kills: then nothing at all is lost.
fn producers_alone() {
    let tidy = Tidy::now();
    let flow = Flow::new(Queue::bounded(30).unwrap(), LONG);
    let storm = Storm::new(4, 1, 400);
    // SAFETY: atomics, for which zeroes are valid.
    let beats = unsafe { page::<AtomicU64>() };
    let consumers: Vec<Process> = (0..2)
        .map(|_| {
            Process::start(|| {
                loop {
                    match flow.queue.get() {
                        Ok(message) => assert_eq!(flow.judge(&message), None),
                        Err(GetError::Closed) => return,
                        Err(error) => panic!("{error}"),
                    }
                    beats.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    let buried = |_| {
        let before = beats.load(SeqCst);
        until("the consumers go on", || beats.load(SeqCst) > before);
    };
    let work = |seat: &Seat| flow.put(seat);
    let tell = || eprintln!("{:?}", flow.queue);
    storm.rage_to_the_end(&work, buried, tell, || flow.queue.close());
    consumers.into_iter().for_each(Process::succeeds);
    flow.drain(0);
    drop(flow);
    tidy.check();
}

/// Whole batches are in or out: a killed worker leaves none in halves.
fn batches() {
    const BATCH: u64 = 5;
    let tidy = Tidy::now();
    let queue = Queue::<u64>::bounded(12).unwrap();
    let storm = Storm::new(6, 1, 400);
    // SAFETY: atomics, for which zeroes are valid.
    let next = unsafe { page::<AtomicU64>() };
    let work = |seat: &Seat| {
        if gives(seat.number) {
            let first = next.fetch_add(BATCH, SeqCst);
            let all: Vec<u64> = (first..first + BATCH).collect();
            match queue.put_many(&all).map_err(|error| error.reason) {
                Ok(_) | Err(PutError::Closed) => {}
                Err(error) => seat.complain(&error.to_string()),
            }
            return;
        }
        match queue.get_many(4) {
            Ok(batch) => {
                let mut last = None;
                for number in batch.map(Result::unwrap) {
                    if number >= next.load(SeqCst) {
                        seat.complain("a number that nobody put");
                    }
                    // Of one producer's batch each number follows the other.
                    if last.is_some_and(|last| last / BATCH == number / BATCH && last + 1 != number)
                    {
                        seat.complain("a gap in a batch");
                    }
                    last = Some(number);
                }
            }
            Err(GetError::Closed) => {}
            Err(error) => seat.complain(&error.to_string()),
        }
    };
    let tell = || eprintln!("{queue:?}");
    storm.rage_to_the_end(&work, |_| {}, tell, || queue.close());
    drop(queue);
    tidy.check();
}

/// Most give up soon, some never do: those must not starve because one that gave up had been woken in their place.
fn short_patience() {
    let tidy = Tidy::now();
    let flow = Flow::new(Queue::bounded(1).unwrap(), SHORT);
    let storm = Storm::new(6, 1, 300);
    let work = |seat: &Seat| match seat.number {
        0 => flow.put(seat),
        1 => flow.get(seat),
        number => {
            let soon = Duration::from_micros(50 * number as u64);
            if gives(number) {
                flow.put_within(seat, soon);
            } else {
                flow.get_within(seat, soon);
            }
        }
    };
    play(&flow, &storm, &work);
    drop(flow);
    tidy.check();
}

/// What killed consumers have taken along is known to the last item.
fn tasks() {
    let tidy = Tidy::now();
    let queue = JoinableQueue::<u64>::bounded(10).unwrap();
    let storm = Storm::new(7, 1, 500);
    // SAFETY: atomics, for which zeroes are valid.
    let (put, done) = unsafe { (page::<AtomicU64>(), page::<AtomicU64>()) };
    let forgotten = &storm.floor.told;
    let work = |seat: &Seat| match seat.number {
        0 | 2 | 4 => {
            seat.note(BUSY);
            if queue.put(&1).is_ok() {
                put.fetch_add(1, SeqCst);
            }
            seat.note(0);
        }
        6 => match queue.join_timeout(Duration::from_millis(2)) {
            Ok(_) => {}
            Err(ItemsLost { count }) => {
                seat.note(BUSY);
                let more = queue.forget_lost() as u64;
                forgotten.fetch_add(more, SeqCst);
                seat.note(0);
                if more > count {
                    seat.complain("more is lost than was said");
                }
            }
        },
        _ => {
            if queue.get().is_ok() {
                seat.note(BUSY);
                queue.task_done().unwrap();
                done.fetch_add(1, SeqCst);
                seat.note(0);
            }
        }
    };
    let mut doubtful = 0;
    let buried = |seats: Range<usize>| {
        for seat in seats {
            let note = storm.floor.notes[seat].swap(0, SeqCst);
            // One that forgets may have forgotten as many as there are consumers, or more.
            doubtful += match (note, seat) {
                (0, _) => 0,
                (_, 6) => 20,
                _ => 1,
            };
        }
    };
    let tell = || eprintln!("{queue:?}");
    storm.rage_to_the_end(&work, buried, tell, || queue.close());
    while queue.try_get().is_ok() {
        queue.task_done().unwrap();
        done.fetch_add(1, SeqCst);
    }
    let [put, done, forgotten] = [put, done, forgotten].map(|count| count.load(SeqCst));
    let lost = match queue.join_timeout(death::patience()) {
        Ok(true) => 0,
        Err(ItemsLost { count }) => count,
        Ok(false) => panic!("nobody is left, and join waits for somebody"),
    };
    println!(
        "{put} put, {done} done, {forgotten} lost before, {lost} at the end, {doubtful} doubtful"
    );
    let missing = put.abs_diff(done + forgotten + lost);
    assert!(
        missing <= doubtful,
        "{missing} are not accounted for, {doubtful} may be"
    );
    assert_eq!(queue.forget_lost() as u64, lost);
    queue.join().unwrap();
    drop(queue);
    tidy.check();
}

/// Everybody has queues of its own, with handles in them, and takes them along when it is killed.
fn queues_made_and_dropped() {
    let tidy = Tidy::now();
    let storm = Storm::new(4, 2, 400);
    let work = |_: &Seat| {
        let queue = Queue::<Queue<()>>::new().unwrap();
        // The first thing it has may be a large message.
        queue.put_bytes(&[1; 30_000]).unwrap();
        queue.put_bytes(&[2; 100]).unwrap();
        let inner = Queue::<()>::new().unwrap();
        inner.put_bytes(&[3; 50]).unwrap();
        queue.put(&inner).unwrap();
        drop(inner);
        queue.get_bytes().unwrap();
    };
    let kills = Cell::new(0);
    let buried = |seats: Range<usize>| kills.set(kills.get() + seats.len());
    storm.rage(&work, buried, || {});
    let now = Tidy::now();
    // A handle that was pinned when its sender died, and was in no message yet, keeps its queue.
    let pins = now.usage.2 - tidy.usage.2;
    println!("{pins} pins are left by {} threads killed", kills.get());
    assert!(pins <= kills.get());
    assert!(
        now.usage.0 <= tidy.usage.0 + pins,
        "{:?} {:?}",
        now.usage,
        tidy.usage
    );
    if pins == 0 {
        assert_eq!(now.usage, tidy.usage);
    }
    assert_eq!(children(), "");
    Process::start(|| drop(Lock::new(0u64).unwrap())).succeeds();
}
