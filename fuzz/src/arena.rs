//! An arena whose words somebody has written over: handles into it are opened and dropped, things are made in it, and queues
//! are used.
//!
//! Bytes: what is done (1); if queues are used, how often (1) and each time how (2); then the damage: for each the word (2) and
//! what it becomes (1 for how, 4 if it is a number).

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use allcores::multiprocessing::{
    Barrier, BoundedSemaphore, Condition, Connection, Event, JoinableQueue, Lock, Never,
    OwnedSemaphore, Queue, RLock, Semaphore, SimplexPipe,
};
use allcores::shm::{self, Image};
use allcores::sync::Deadline;
use serde::{Deserialize, Serialize};

use super::Bytes;

#[derive(Serialize, Deserialize)]
struct Things {
    lock: Lock<u64>,
    rlock: RLock<u64>,
    semaphore: Semaphore,
    bounded: BoundedSemaphore,
    owned: OwnedSemaphore,
    event: Event,
    condition: Condition,
    barrier: Barrier,
    queue: Queue<u64>,
    joinable: JoinableQueue<u64>,
}

impl Things {
    fn new() -> Result<Things, shm::ShmError> {
        Ok(Things {
            lock: Lock::new(1)?,
            rlock: RLock::new(2)?,
            semaphore: Semaphore::new(3)?,
            bounded: BoundedSemaphore::new(4)?,
            owned: OwnedSemaphore::new(5)?,
            event: Event::new()?,
            condition: Condition::new()?,
            barrier: Barrier::new(6).map_err(|_| shm::ShmError::Stale)?,
            queue: Queue::new()?,
            joinable: JoinableQueue::new()?,
        })
    }

    /// With messages in the queues: one beside the others, some of them in one segment, and a chain of segments.
    fn filled() -> Things {
        let things = Things::new().unwrap();
        for queue in [&things.queue, &*things.joinable] {
            queue.put(&7).unwrap();
            queue.put_bytes(&NOTHING).unwrap();
            queue.put(&8).unwrap();
            queue.put(&9).unwrap();
            queue.get().unwrap();
        }
        for _ in 0..8 {
            things.queue.put_bytes(&NOTHING[..AMONG_OTHERS]).unwrap();
        }
        things
    }
}

/// A message that has a segment of its own.
static NOTHING: [u8; 255 * 80] = [0; 255 * 80];
/// The longest that has not.
const AMONG_OTHERS: usize = 16 << 10;

/// Uses a queue, without ever waiting for long.
fn use_queue(queue: &Queue<u64>, how: u8, more: u8) {
    if !queue.is_at_rest() {
        let _ = queue.try_get();
        return;
    }
    match how % 8 {
        0 => drop(queue.try_put(&u64::from(more))),
        1 => drop(queue.try_put_bytes(&NOTHING[..usize::from(more) * 80])),
        2 => drop(queue.try_get()),
        3 => drop(queue.try_get_bytes()),
        // Some are looked at, and the rest is lost. Empty, it would be waited for.
        4 if !queue.is_empty() => {
            let most = if more == u8::MAX {
                usize::MAX
            } else {
                usize::from(more)
            };
            if let Ok(got) = queue.get_many(most) {
                got.take(usize::from(more / 2)).for_each(drop);
            }
        }
        5 if more & 7 == 0 => queue.close(),
        6 => {
            let reserved = queue.reserve_or_stop(Deadline::NOW);
            let _ = queue.try_get();
            if let Ok(true) = reserved {
                queue.unreserve();
            }
        }
        _ => {
            let _ = queue.wait_or_stop(Deadline::NOW, more & 1 != 0);
            let same = queue.clone();
            assert!(same.same(queue));
            let _ = format!("{same:?} {} {}", same.is_empty(), same.is_full());
        }
    }
}

fn use_joinable(queue: &JoinableQueue<u64>, how: u8, more: u8) {
    match how % 16 {
        0 => drop(queue.task_done()),
        1 => drop(queue.join_timeout(Duration::ZERO)),
        2 => drop(queue.forget_lost()),
        3 => drop(queue.unfinished_tasks()),
        _ => use_queue(queue, how, more),
    }
}

struct Setting {
    reader: Connection<Never, Things>,
    writer: Connection<Things, Never>,
    /// A message with handles on their way.
    message: Vec<u8>,
    words: Vec<&'static AtomicU32>,
    pristine: Vec<u32>,
    /// Those that are damaged: the payload of long messages matters nowhere.
    places: Vec<usize>,
    /// So that the message names things that live.
    _things: Things,
}

impl Setting {
    fn new() -> Setting {
        let (reader, writer) = SimplexPipe().unwrap();
        let things = Things::filled();
        // One that was freed, so that there are lists of free cells.
        drop(Things::filled());
        writer.send(&things).unwrap();
        let message = reader.recv_bytes().unwrap();
        let words = Image::of_common().unwrap().words();
        let pristine: Vec<u32> = words.iter().map(|word| word.load(Relaxed)).collect();
        let places = places(&pristine);
        Setting {
            reader,
            writer,
            message,
            words,
            pristine,
            places,
            _things: things,
        }
    }

    fn restore(&self) {
        const AT_ONCE: usize = 1024;
        let pieces = self.words.chunks(AT_ONCE);
        for (words, pristine) in pieces.zip(self.pristine.chunks(AT_ONCE)) {
            if !is_as_before(words, pristine) {
                for (word, pristine) in words.iter().zip(pristine) {
                    word.store(*pristine, Relaxed);
                }
            }
        }
    }

    fn word(&self, number: u16) -> &'static AtomicU32 {
        self.words[self.places[usize::from(number) % self.places.len()]]
    }

    fn damage(&self, mut bytes: Bytes<'_>) -> bool {
        let mut damaged = false;
        while !bytes.is_empty() {
            let word = self.word(bytes.u16());
            let before = word.load(Relaxed);
            let after = match bytes.u8() % 8 {
                0 => bytes.u32(),
                1 => 0,
                2 => u32::MAX,
                3 => before.wrapping_add(1),
                4 => before.wrapping_sub(1),
                5 => before ^ 1 << (bytes.u8() % 32),
                // What another word says: such is what lists lead astray.
                6 => self.word(bytes.u16()).load(Relaxed),
                // A line somewhere among the cells.
                _ => (2 << 20) / 64 + u32::from(bytes.u16()),
            };
            word.store(after, Relaxed);
            damaged |= after != before;
        }
        damaged
    }
}

/// Most words are, and most of them lie in one piece: that is quicker than one by one.
fn is_as_before(words: &[&AtomicU32], pristine: &[u32]) -> bool {
    let (Some(first), Some(last)) = (words.first(), words.last()) else {
        return true;
    };
    let in_one_piece = first.as_ptr().wrapping_add(words.len() - 1) == last.as_ptr();
    // SAFETY: so many words, one after the other, of memory that stays mapped; nobody else uses the arena now.
    in_one_piece && unsafe { std::slice::from_raw_parts(first.as_ptr(), words.len()) } == pristine
}

/// All words, but of long stretches of zeros the beginning alone.
fn places(words: &[u32]) -> Vec<usize> {
    const BEGINNING: usize = 64;
    let mut zeros = 0;
    let places = words.iter().enumerate().filter(|(_, word)| {
        zeros = if **word == 0 { zeros + 1 } else { 0 };
        zeros <= BEGINNING
    });
    places.map(|(place, _)| place).collect()
}

/// The arena belongs to the process: one at a time.
static SETTING: Mutex<Option<Setting>> = Mutex::new(None);

/// Damages it, uses it, and mends it again.
pub fn run(data: &[u8]) {
    let mut setting = SETTING.lock().unwrap_or_else(PoisonError::into_inner);
    let setting = setting.get_or_insert_with(Setting::new);
    let mut bytes = Bytes(data);
    let what = bytes.u8();
    let uses = match what & 16 {
        0 => &[],
        _ => {
            let count = usize::from(bytes.u8() % 16);
            bytes.take(2 * count)
        }
    };
    let damaged = setting.damage(bytes);
    setting.writer.send_bytes(&setting.message).unwrap();
    let opened = setting.reader.recv();
    assert!(
        damaged || opened.is_ok(),
        "nothing is wrong: {:?}",
        opened.err()
    );
    if let Ok(things) = &opened {
        for way in uses.chunks_exact(2) {
            match way[0] & 0x80 {
                0 => use_queue(&things.queue, way[0], way[1]),
                _ => use_joinable(&things.joinable, way[0], way[1]),
            }
        }
    }
    if what & 1 != 0 {
        let made = Things::new();
        if what & 2 != 0 {
            drop(opened);
            drop(made);
        } else {
            drop(made);
            drop(opened);
        }
    } else {
        drop(opened);
    }
    if what & 4 != 0 {
        let _ = shm::settle_the_dead();
    }
    if what & 8 != 0 {
        let _ = shm::usage();
    }
    // This thread may be the last to run here, and has to leave the arena in order.
    setting.restore();
}
