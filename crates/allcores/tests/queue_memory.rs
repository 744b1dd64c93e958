//! What a queue takes it gives back: memory, and what keeps the handles in its messages.
//!
//! Each test has an arena of its own, since it counts what is in it.

mod death;

use std::panic::AssertUnwindSafe;

use allcores::multiprocessing::queue::{GetError, PutError};
use allcores::multiprocessing::{JoinableQueue, Lock, Queue};
use allcores::shm;
use death::{Gate, Process, Test, page, run, until};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

const TESTS: &[Test] = &[
    ("drained_and_dropped", drained_and_dropped),
    ("large_messages", large_messages),
    ("segments_are_used_again", segments_are_used_again),
    ("never_used", never_used),
    ("unread_messages_with_handles", unread_messages_with_handles),
    ("handles_that_nobody_opens", handles_that_nobody_opens),
    ("handles_that_were_not_put", handles_that_were_not_put),
    (
        "queues_in_queues_to_any_depth",
        queues_in_queues_to_any_depth,
    ),
    ("held_by_a_crowd", held_by_a_crowd),
    ("left_by_a_process", left_by_a_process),
];

fn main() {
    run(TESTS);
}

type Usage = (usize, u64, usize);

/// Pins have room, which stays.
fn usage_before() -> Usage {
    let carrier = Queue::new().unwrap();
    carrier.put(&Lock::new(()).unwrap()).unwrap();
    drop(carrier);
    usage()
}

fn usage() -> Usage {
    shm::settle_the_dead().unwrap();
    shm::usage().unwrap()
}

const SEGMENT: u64 = 64 << 10;

/// What memory the arena has from the system, to what it had before.
fn resident() -> u64 {
    shm::resident().unwrap()
}

fn drained_and_dropped() {
    let before = usage_before();
    let had = resident();
    let queue = Queue::<()>::new().unwrap();
    for round in 0..3 {
        for _ in 0..20_000 {
            queue.put_bytes(&[7; 200]).unwrap();
        }
        assert!(usage().1 > before.1 + (3 << 20), "it grows");
        assert!(resident() > had + (3 << 20));
        for _ in 0..20_000 {
            queue.get_bytes_with(|_| ()).unwrap();
        }
        // The one in use, and two for the next messages; the queue's own cell.
        let left = usage().1 - before.1;
        assert!(left <= 3 * SEGMENT + 4096, "{left} bytes in round {round}");
        assert!(resident() <= had + (1 << 20), "the system has the rest");
    }
    drop(queue);
    assert_eq!(usage(), before);
}

fn large_messages() {
    let before = usage_before();
    let had = resident();
    let queue = Queue::<()>::new().unwrap();
    let message = vec![5; 50 << 20];
    for _ in 0..3 {
        queue.put_bytes(&message).unwrap();
    }
    assert!(resident() > had + (149 << 20));
    for _ in 0..3 {
        assert!(queue.get_bytes().unwrap() == message);
    }
    // Too large to be kept.
    assert!(usage().1 - before.1 <= 3 * SEGMENT + 4096);
    assert!(resident() <= had + (1 << 20));
    for _ in 0..10 {
        queue.put_bytes(&message[..1 << 20]).unwrap();
    }
    for _ in 0..10 {
        queue.get_bytes_with(|_| ()).unwrap();
    }
    assert!(resident() <= had + (5 << 20), "four are kept");
    queue.put_bytes(&message).unwrap();
    drop(queue);
    assert_eq!(usage(), before);
    assert!(resident() <= had + (1 << 20));
}

/// A queue that is kept short takes no more than it took at first.
fn segments_are_used_again() {
    let queue = Queue::<()>::new().unwrap();
    let turn = |count: usize| {
        for number in 0..count {
            let length = if number % 4 == 3 { 100_000 } else { 5_000 };
            queue.put_bytes(&vec![1; length]).unwrap();
            queue.put_bytes(&[]).unwrap();
            queue.get_bytes_with(|_| ()).unwrap();
            queue.get_bytes_with(|_| ()).unwrap();
        }
    };
    turn(200);
    let before = usage();
    turn(3000);
    assert_eq!(usage(), before);
}

fn never_used() {
    let before = usage_before();
    for _ in 0..100 {
        drop(Queue::<u8>::new().unwrap());
        drop(JoinableQueue::<u8>::bounded(3).unwrap());
        let queue = Queue::<u8>::new().unwrap();
        queue.put(&1).unwrap();
        drop(queue);
        let queue = Queue::<u8>::new().unwrap();
        queue.put_bytes(&[1; 20_000]).unwrap();
    }
    assert_eq!(usage(), before);
}

fn unread_messages_with_handles() {
    let before = usage_before();
    let queue = Queue::<(Lock<u64>, Queue<u8>, Vec<u8>)>::new().unwrap();
    for length in [0, 15_000, 16_384, 40_000] {
        let inner = Queue::new().unwrap();
        inner.put(&1).unwrap();
        let value = (Lock::new(0).unwrap(), inner, vec![1; length]);
        queue.put(&value).unwrap();
        queue.put_many(&[value]).unwrap();
    }
    let (cells, _, pins) = usage();
    assert_eq!((cells, pins), (before.0 + 1 + 8, before.2 + 16));
    drop(queue.get().unwrap());
    drop(queue);
    assert_eq!(usage(), before);
}

/// A number with a lock, which is hard to serialise where it is 13 and to decode where it is 31 or, worse, 66.
struct Fussy(u32, Lock<u64>);

impl Serialize for Fussy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Last(u32);
        impl Serialize for Last {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self.0 {
                    13 => Err(ser::Error::custom("thirteen")),
                    14 => panic!("fourteen"),
                    _ => serializer.serialize_u32(self.0),
                }
            }
        }
        (&self.1, Last(self.0)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fussy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fussy, D::Error> {
        /// Comes before the lock is opened.
        struct Early;
        impl<'de> Deserialize<'de> for Early {
            fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Early, D::Error> {
                match EARLY.get() {
                    31 => Err(de::Error::custom("thirty-one")),
                    66 => panic!("sixty-six"),
                    _ => Ok(Early),
                }
            }
        }
        let (Early, lock, number) = Deserialize::deserialize(deserializer)?;
        Ok(Fussy(number, lock))
    }
}

thread_local! {
    static EARLY: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

fn fussy(number: u32) -> Fussy {
    Fussy(number, Lock::new(0).unwrap())
}

fn quietly<T>(work: impl FnOnce() -> T) -> Option<T> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = std::panic::catch_unwind(AssertUnwindSafe(work)).ok();
    std::panic::set_hook(hook);
    result
}

fn handles_that_nobody_opens() {
    let before = usage_before();
    let queue = Queue::new().unwrap();
    for number in 0..7 {
        queue.put(&fussy(number)).unwrap();
    }
    assert_eq!(usage().2, before.2 + 7);
    // As bytes, in a batch that is given up, by one that fails, and by one that panics.
    queue.get_bytes().unwrap();
    queue.get_bytes_with(|_| ()).unwrap();
    drop(queue.get_many(2).unwrap());
    EARLY.set(31);
    assert!(matches!(queue.get(), Err(GetError::Decode { .. })));
    EARLY.set(66);
    assert!(quietly(|| queue.get().is_ok()).is_none());
    EARLY.set(0);
    assert_eq!(usage().2, before.2 + 1);
    assert_eq!(queue.get().unwrap().0, 6);
    queue.put_many(&[fussy(1), fussy(2)]).unwrap();
    let mut batch = queue.get_many(9).unwrap();
    EARLY.set(66);
    assert!(quietly(|| batch.next().is_some()).is_none());
    EARLY.set(0);
    assert_eq!(batch.next().unwrap().unwrap().0, 2);
    drop(batch);
    drop(queue);
    assert_eq!(usage(), before);
}

fn handles_that_were_not_put() {
    let before = usage_before();
    let queue = Queue::bounded(2).unwrap();
    assert!(matches!(
        queue.put(&fussy(13)),
        Err(PutError::Encode { .. })
    ));
    assert!(quietly(|| queue.put(&fussy(14)).is_ok()).is_none());
    let error = queue.put_many(&[fussy(1), fussy(13), fussy(2)]);
    assert_eq!(error.unwrap_err().put, 1);
    assert!(quietly(|| queue.put_many(&[fussy(1), fussy(14)]).is_ok()).is_none());
    while queue.try_get().is_ok() {}
    queue.put_many(&[fussy(1), fussy(2)]).unwrap();
    assert!(matches!(queue.try_put(&fussy(3)), Err(PutError::Full)));
    queue.close();
    assert!(matches!(queue.put(&fussy(3)), Err(PutError::Closed)));
    assert_eq!(queue.put_many(&[fussy(1)]).unwrap_err().put, 0);
    assert_eq!(usage().2, before.2 + 2);
    drop(queue);
    assert_eq!(usage(), before);
}

#[derive(Serialize, Deserialize)]
struct Nest(Queue<Nest>);

/// Seen red: freeing what a message carried by recursion.
fn queues_in_queues_to_any_depth() {
    const DEPTH: usize = 1000;
    let before = usage_before();
    let mut outermost = Queue::<Nest>::new().unwrap();
    for _ in 0..DEPTH {
        let carrier = Queue::new().unwrap();
        carrier.put(&Nest(outermost)).unwrap();
        outermost = carrier;
    }
    let grown = usage();
    assert_eq!((grown.0, grown.2), (before.0 + DEPTH + 1, before.2 + DEPTH));
    let dropper = std::thread::Builder::new().stack_size(64 << 10);
    let dropper = dropper.spawn(move || drop(outermost)).unwrap();
    dropper.join().unwrap();
    let now = usage();
    assert_eq!((now.0, now.2), (before.0, before.2));
}

/// More holders than the queue's own header has bits for. When one dies that had the queue's lock or a message, the queue is
/// put in order: the bits of the others are a part of the queue without a keeper, and stay.
///
/// Seen red: a sweep that takes parts without a keeper for segments of the dead.
fn held_by_a_crowd() {
    const CROWD: usize = 140;
    let queue = Queue::<()>::new().unwrap();
    queue.put_bytes(b"first").unwrap();
    // SAFETY: atomics, for which zeroes are valid.
    let (joined, go) = unsafe { (page::<Gate>(), page::<Gate>()) };
    let mut crowd: Vec<Process> = (0..CROWD)
        .map(|_| {
            Process::start(|| {
                drop(Lock::new(()).unwrap());
                joined.advance();
                go.wait(1);
                // A handle that has been held all the time.
                queue.put_bytes(b"late").unwrap();
            })
        })
        .collect();
    until("all take part", || joined.now() == CROWD as u32);
    let full = usage();
    drop(crowd.remove(0));
    let last = crowd.pop().unwrap();
    last.kill();
    let now = usage();
    assert_eq!(now.1, full.1, "nothing that is in use was freed");
    // Whoever gets freed memory writes zeroes over it.
    let others: Vec<_> = (0..100).map(|_| Lock::new([0u64; 24]).unwrap()).collect();
    // Now the crowd alone holds it.
    drop(queue.clone());
    go.set(1);
    for member in crowd {
        member.succeeds();
    }
    assert_eq!(queue.qsize(), 1 + CROWD - 2);
    drop(others);
}

/// What a process had that ends, well or badly, with queues of its own.
fn left_by_a_process() {
    let before = usage_before();
    for ending in 0..3 {
        Process::start(|| {
            let queue = Queue::<Queue<()>>::new().unwrap();
            queue.put_bytes(&[1; 30_000]).unwrap();
            let inner = Queue::new().unwrap();
            inner.put_bytes(&[1; 10]).unwrap();
            queue.put(&inner).unwrap();
            match ending {
                0 => drop((queue, inner)),
                1 => std::mem::forget((queue, inner)),
                // SAFETY: a signal to this process.
                _ => unsafe {
                    libc::kill(libc::getpid(), libc::SIGKILL);
                },
            }
        })
        .wait();
        assert_eq!(usage(), before, "ending {ending}");
    }
}
