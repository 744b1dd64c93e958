//! A process is killed at every instruction of an operation on a queue. Then the others put and get as before; of the messages
//! none is there twice and none is missing but what the dead was about to put or had just taken.
//!
//! As in `death_steps`, some instructions are chosen by default, and `ALLCORES_STEP_ALL=1` takes them all. Seen red: with
//! `ALLCORES_TEST_DEAF=1`, as the control checks; and as each says.

#[path = "../death/mod.rs"]
mod death;
mod first;
mod sleepers;

use std::cell::{Cell, RefCell};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::*};

use allcores::multiprocessing::{JoinableQueue, Lock, Queue};
use allcores::shm;
use allcores::sync::Deadline;
use death::{NOBODY_OWES, NOTHING, Scenario, Test, control, page, run};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const TESTS: &[Test] = &[
    ("put_short", put_short),
    ("put_into_a_new_segment", put_into_a_new_segment),
    ("put_large", put_large),
    ("put_first", first::put_first),
    ("put_first_large", first::put_first_large),
    ("put_batch", put_batch),
    ("get_short", get_short),
    ("get_from_the_next_segment", get_from_the_next_segment),
    ("get_large", get_large),
    ("get_batch", get_batch),
    ("get_what_is_reserved", get_what_is_reserved),
    ("put_while_others_sleep", sleepers::put_while_others_sleep),
    (
        "get_while_others_wait_for_room",
        sleepers::get_while_others_wait_for_room,
    ),
    ("get_after_a_sleep", sleepers::get_after_a_sleep),
    (
        "close_while_others_sleep",
        sleepers::close_while_others_sleep,
    ),
    ("a_task_taken_and_done", a_task_taken_and_done),
    ("put_sees_a_hang", || control("put_while_others_sleep")),
];

fn main() {
    copy_in_big_steps();
    run(TESTS);
}

/// libc copies long ranges by one instruction, which is led byte by byte. It can be told to copy by many large ones, from the
/// start of a program only.
fn copy_in_big_steps() {
    const TUNABLES: &str = "GLIBC_TUNABLES";
    const NO_REP: &str = "glibc.cpu.x86_rep_movsb_threshold=0x40000000";
    if std::env::var_os(TUNABLES).is_none() {
        let program = std::env::current_exe().expect("this program has a path");
        let error = Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(TUNABLES, NO_REP)
            .exec();
        panic!("this program cannot be started again: {error}");
    }
}

const WAITERS: usize = 2;

/// What the messages of a round are called: those before, those of the victim, those of the others.
const FILLING: u32 = 1;

const VICTIMS: u32 = 100;

const WAITERS_OWN: u32 = 1000;

fn message(number: u32, length: usize) -> Vec<u8> {
    let mut message = number.to_le_bytes().to_vec();
    message.resize(length.max(4), number as u8);
    message
}

/// A message that is nothing but its number.
struct Number(u32);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.to_le_bytes().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        <[u8; 4]>::deserialize(deserializer).map(|bytes| Number(u32::from_le_bytes(bytes)))
    }
}

/// Which message it is; it must be whole.
fn number_of(bytes: &[u8]) -> u32 {
    let (number, filling) = bytes.split_first_chunk().expect("a message has a number");
    let number = u32::from_le_bytes(*number);
    assert!(
        filling.iter().all(|byte| *byte == number as u8),
        "message {number}"
    );
    number
}

/// A queue on which one is killed; others put a message and get one meanwhile.
struct Stage {
    queue: Queue<Number>,
    /// Whether it matters where in a segment that is.
    aligned: bool,
    /// What is put before: the length of each.
    filling: &'static [usize],
    /// How many are got again before.
    got_before: usize,
    /// How many the victim is to put, or to get.
    puts: usize,
    gets: usize,
    /// Memory that is taken when all is drained, at most.
    most: Cell<u64>,
}

impl Stage {
    fn new(filling: &'static [usize], got_before: usize, puts: usize, gets: usize) -> Stage {
        Stage {
            queue: Queue::new().unwrap(),
            aligned: filling.contains(&BRIM),
            filling,
            got_before,
            puts,
            gets,
            most: Cell::new(u64::MAX),
        }
    }

    /// From where every round begins.
    fn prepare(&self) {
        if self.aligned {
            self.align();
        }
        for (number, length) in self.filling.iter().enumerate() {
            let message = message(FILLING + number as u32, *length);
            self.queue.put_bytes(&message).unwrap();
        }
        for _ in 0..self.got_before {
            self.queue.get_bytes().unwrap();
        }
    }

    /// Empty, and 16,392 bytes behind the beginning of its segment: nothing else tells where that is but a new one's
    /// memory.
    fn align(&self) {
        shm::settle_the_dead().unwrap();
        let mut before = u64::MAX;
        let mut now = shm::usage().unwrap().1;
        while now <= before {
            before = now;
            self.queue.put_bytes(&[0; 16_384]).unwrap();
            now = shm::usage().unwrap().1;
        }
        while self.queue.qsize() > 0 {
            self.queue.get_bytes_with(|_| ()).unwrap();
        }
    }

    /// What a survivor does: it puts, so that there is something to get for it, and puts back what it got.
    fn use_it(&self) {
        self.queue.put_bytes(&message(WAITERS_OWN, 900)).unwrap();
        let got = self.queue.get_bytes().unwrap();
        number_of(&got);
        self.queue.put_bytes(&got).unwrap();
    }

    /// Everything is there, once.
    fn count(&self) {
        let mut seen = Vec::new();
        while self.queue.qsize() > 0 {
            seen.push(self.queue.get_bytes_with(number_of).unwrap());
        }
        let count = |range: std::ops::Range<u32>| {
            let mut here: Vec<u32> = seen
                .iter()
                .copied()
                .filter(|it| range.contains(it))
                .collect();
            let all = here.len();
            here.sort_unstable();
            here.dedup();
            assert_eq!(here.len(), all, "twice: {seen:?}");
            all
        };
        let waiters = seen.iter().filter(|it| **it == WAITERS_OWN).count();
        assert_eq!(waiters, WAITERS, "{seen:?}");
        assert!(count(VICTIMS..WAITERS_OWN) <= self.puts, "{seen:?}");
        let filling = count(FILLING..VICTIMS) + self.got_before;
        let put = self.filling.len();
        assert!(filling <= put && filling + self.gets >= put, "{seen:?}");
    }

    /// And nothing is left behind.
    fn check(&self) {
        self.count();
        shm::settle_the_dead().unwrap();
        let now = shm::usage().unwrap().1;
        // The first victim was killed when it had done all, and had time to.
        if self.most.get() == u64::MAX {
            self.most.set(now + 3 * SEGMENT);
        }
        assert!(
            now <= self.most.get(),
            "{now} bytes, {} at most",
            self.most.get()
        );
    }

    fn play(&self, name: &str, points: u64, operation: &dyn Fn(&Queue<Number>)) {
        drop(Lock::new(()).unwrap());
        self.prepare();
        Scenario {
            name,
            before: &|| drop(Lock::new(()).unwrap()),
            operation: &|| operation(&self.queue),
            wait: &|| {
                drop(Lock::new(()).unwrap());
                self.use_it();
            },
            waiters_first: false,
            unblock: None,
            make_up: NOBODY_OWES,
            check: &|| {
                self.check();
                self.prepare();
            },
        }
        .play(points);
    }
}

const SEGMENT: u64 = 64 << 10;

fn put_short() {
    let stage = Stage::new(&[10, 20], 0, 1, 0);
    let message = message(VICTIMS, 24);
    stage.play("put, short", 60, &|queue| {
        queue.put_bytes(&message).unwrap()
    });
}

/// After this one and two long ones before it, an aligned segment has no room for 200 bytes.
const BRIM: usize = 16_240;

fn put_into_a_new_segment() {
    let stage = Stage::new(&[16_384, 16_384, BRIM], 0, 1, 0);
    let message = message(VICTIMS, 200);
    stage.play("put, into a new segment", 40, &|queue| {
        queue.put_bytes(&message).unwrap()
    });
}

fn put_large() {
    let stage = Stage::new(&[10], 0, 1, 0);
    let message = message(VICTIMS, 16_385);
    stage.play("put, large", 40, &|queue| {
        queue.put_bytes(&message).unwrap()
    });
}

fn put_batch() {
    let stage = Stage::new(&[10], 0, 3, 0);
    let batch = [VICTIMS, VICTIMS + 1, VICTIMS + 2].map(Number);
    stage.play("put, a batch", 40, &|queue| {
        queue.put_many(&batch).unwrap();
    });
}

fn get_short() {
    let stage = Stage::new(&[10, 20, 30], 0, 0, 1);
    stage.play("get, short", 60, &|queue| {
        queue.get_bytes_with(|_| ()).unwrap()
    });
}

/// Seen red: the segment given back before the word is stored.
fn get_from_the_next_segment() {
    let stage = Stage::new(&[16_384, 16_384, BRIM, 207, 208], 3, 0, 1);
    stage.play("get, from the next segment", 60, &|queue| {
        queue.get_bytes_with(|_| ()).unwrap();
    });
}

/// Seen red: `keep` after the word is stored.
fn get_large() {
    let stage = Stage::new(&[70_000, 80_000], 0, 0, 1);
    stage.play("get, large", 60, &|queue| {
        queue.get_bytes_with(|_| ()).unwrap()
    });
}

fn get_batch() {
    let stage = Stage::new(&[10, 20_000, 11, 20_001, 12], 0, 0, 4);
    stage.play("get, a batch", 60, &|queue| {
        drop(queue.get_many(4).unwrap());
    });
}

fn get_what_is_reserved() {
    let stage = Stage::new(&[10, 20, 30], 0, 0, 1);
    stage.play("get, reserved", 60, &|queue| {
        assert!(matches!(queue.reserve_or_stop(Deadline::NEVER), Ok(true)));
        queue.get_bytes_with(|_| ()).unwrap();
        assert!(queue.unreserve());
    });
}

/// Whoever joins is told of the loss, or that there is none.
fn a_task_taken_and_done() {
    let queue = JoinableQueue::<u32>::new().unwrap();
    queue.put_many(&[1, 2]).unwrap();
    Scenario {
        name: "a task, taken and done",
        before: &|| drop(Lock::new(()).unwrap()),
        operation: &|| {
            queue.get().unwrap();
            queue.task_done().unwrap();
            queue.get().unwrap();
            queue.task_done().unwrap();
        },
        wait: &|| {
            drop(Lock::new(()).unwrap());
            let _ = queue.join();
        },
        waiters_first: true,
        unblock: None,
        // What the victim has not taken, somebody else takes.
        make_up: &|asleep| {
            if asleep && queue.try_get().is_ok() {
                queue.task_done().unwrap();
            }
        },
        check: &|| {
            while queue.try_get().is_ok() {
                queue.task_done().unwrap();
            }
            let unfinished = queue.unfinished_tasks();
            assert!(unfinished <= 1, "it had one at a time");
            assert_eq!(queue.forget_lost(), unfinished);
            queue.join().unwrap();
            queue.put_many(&[1, 2]).unwrap();
        },
    }
    .play(150);
}
