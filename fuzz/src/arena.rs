//! An arena whose words somebody has written over: handles into it are opened and dropped, things are made in it.
//!
//! Bytes: what is opened (1), then the damage: for each the word (2) and what it becomes (1 for how, 4 if it is a number).

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use allcores::multiprocessing::{
    Barrier, BoundedSemaphore, Condition, Connection, Event, JoinableQueue, Lock, Never,
    OwnedSemaphore, Queue, RLock, Semaphore, SimplexPipe,
};
use allcores::shm::{self, Image};
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
}

struct Setting {
    reader: Connection<Never, Things>,
    writer: Connection<Things, Never>,
    /// A message with handles on their way.
    message: Vec<u8>,
    words: Vec<&'static AtomicU32>,
    pristine: Vec<u32>,
    /// So that the message names things that live.
    _things: Things,
}

impl Setting {
    fn new() -> Setting {
        let (reader, writer) = SimplexPipe().unwrap();
        let things = Things::new().unwrap();
        // One that was freed, so that there are lists of free cells.
        drop(Things::new().unwrap());
        writer.send(&things).unwrap();
        let message = reader.recv_bytes().unwrap();
        let words = Image::of_common().unwrap().words();
        let pristine = words.iter().map(|word| word.load(Relaxed)).collect();
        Setting {
            reader,
            writer,
            message,
            words,
            pristine,
            _things: things,
        }
    }

    fn restore(&self) {
        for (word, pristine) in self.words.iter().zip(&self.pristine) {
            word.store(*pristine, Relaxed);
        }
    }

    fn damage(&self, mut bytes: Bytes<'_>) -> bool {
        let mut damaged = false;
        while !bytes.is_empty() {
            let place = usize::from(bytes.u16()) % self.pristine.len();
            let word = self.words[place];
            let before = word.load(Relaxed);
            let after = match bytes.u8() % 8 {
                0 => bytes.u32(),
                1 => 0,
                2 => u32::MAX,
                3 => before.wrapping_add(1),
                4 => before.wrapping_sub(1),
                5 => before ^ 1 << (bytes.u8() % 32),
                // What another word says: such is what lists lead astray.
                6 => {
                    let other = usize::from(bytes.u16()) % self.pristine.len();
                    self.words[other].load(Relaxed)
                }
                // A line somewhere among the cells.
                _ => (2 << 20) / 64 + u32::from(bytes.u16()),
            };
            word.store(after, Relaxed);
            damaged |= after != before;
        }
        damaged
    }
}

/// The arena belongs to the process: one at a time.
static SETTING: Mutex<Option<Setting>> = Mutex::new(None);

/// Damages it, uses it, and mends it again.
pub fn run(data: &[u8]) {
    let mut setting = SETTING.lock().unwrap_or_else(PoisonError::into_inner);
    let setting = setting.get_or_insert_with(Setting::new);
    let mut bytes = Bytes(data);
    let what = bytes.u8();
    setting.restore();
    let damaged = setting.damage(bytes);
    setting.writer.send_bytes(&setting.message).unwrap();
    let opened = setting.reader.recv();
    assert!(
        damaged || opened.is_ok(),
        "nothing is wrong: {:?}",
        opened.err()
    );
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
