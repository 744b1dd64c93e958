//! What became of every message: put, got, or gone with somebody who was killed.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::*};
use std::time::Duration;

use allcores::multiprocessing::Queue;
use allcores::multiprocessing::queue::{GetError, PutError};

use super::{Random, Seat, page};

/// How many messages can be told apart before numbers are used again.
const KNOWN: usize = 1 << 20;

const PUTTING: u8 = 1;
const PUT: u8 = 2;
const GOT: u8 = 3;

/// A seat's note while it may have a message that nobody else has.
pub(crate) const BUSY: u32 = 1;

#[repr(C)]
struct Table {
    next: AtomicU64,
    lost: AtomicU64,
    got: AtomicU64,
    fates: [AtomicU8; KNOWN],
}

/// Which message has had which fate, in memory that all workers share.
#[derive(Clone, Copy)]
struct Ledger(&'static Table);

impl Ledger {
    fn fate(self, number: u64) -> &'static AtomicU8 {
        &self.0.fates[number as usize % KNOWN]
    }

    /// A new message is about to be put.
    fn putting(self) -> u64 {
        let number = self.0.next.fetch_add(1, SeqCst);
        if self.fate(number).swap(PUTTING, SeqCst) == PUT {
            self.0.lost.fetch_add(1, SeqCst);
        }
        number
    }

    /// It was put, and may have been got before we come to say so.
    fn put(self, number: u64) {
        let _ = self
            .fate(number)
            .compare_exchange(PUTTING, PUT, SeqCst, SeqCst);
    }

    /// It was got; what is wrong with that, if anything is.
    fn got(self, number: u64) -> Option<&'static str> {
        self.0.got.fetch_add(1, SeqCst);
        match self.fate(number).swap(GOT, SeqCst) {
            PUTTING | PUT => None,
            GOT => Some("got twice"),
            _ => Some("got, and never put"),
        }
    }

    /// How many were put and never got.
    fn lost(self) -> u64 {
        let here = self.0.fates.iter().filter(|fate| fate.load(SeqCst) == PUT);
        self.0.lost.load(SeqCst) + here.count() as u64
    }
}

/// A queue, what is put into it, and what became of that.
pub(crate) struct Flow {
    pub(crate) queue: Queue<String>,
    ledger: Ledger,
    lengths: &'static [usize],
}

/// How full a queue may get that has no bound of its own.
const ENOUGH: usize = 60;

impl Flow {
    pub(crate) fn new(queue: Queue<String>, lengths: &'static [usize]) -> Flow {
        Flow {
            queue,
            // SAFETY: atomics, for which zeroes are valid.
            ledger: Ledger(unsafe { page::<Table>() }),
            lengths,
        }
    }

    /// Puts a message that tells who it is, at each of its ends and by its length.
    pub(crate) fn put(&self, seat: &Seat) {
        self.put_by(seat, |message| self.queue.put(message));
    }

    /// The same, or gives up after so long.
    pub(crate) fn put_within(&self, seat: &Seat, timeout: Duration) {
        self.put_by(seat, |message| self.queue.put_timeout(message, timeout));
    }

    fn put_by(&self, seat: &Seat, put: impl Fn(&String) -> Result<(), PutError>) {
        while self.queue.maxsize().is_none() && self.queue.qsize() > ENOUGH && !seat.stopping() {
            std::thread::yield_now();
        }
        let number = self.ledger.putting();
        match put(&self.message(number)) {
            Ok(()) => self.ledger.put(number),
            Err(PutError::Closed | PutError::Full) => {}
            Err(error) => seat.complain(&error.to_string()),
        }
    }

    /// Gets one and looks whether it is whole.
    pub(crate) fn get(&self, seat: &Seat) {
        self.get_by(seat, || self.queue.get());
    }

    /// The same, or gives up after so long.
    pub(crate) fn get_within(&self, seat: &Seat, timeout: Duration) {
        self.get_by(seat, || self.queue.get_timeout(timeout));
    }

    fn get_by(&self, seat: &Seat, get: impl Fn() -> Result<String, GetError>) {
        seat.note(BUSY);
        match get() {
            Ok(message) => {
                if let Some(wrong) = self.judge(&message) {
                    seat.complain(wrong);
                }
            }
            Err(GetError::Closed | GetError::Empty) => {}
            Err(error) => seat.complain(&error.to_string()),
        }
        seat.note(0);
    }

    /// What is wrong with a message that was got, if anything is.
    pub(crate) fn judge(&self, message: &str) -> Option<&'static str> {
        let number = message.get(..16).map(|text| u64::from_str_radix(text, 16));
        match number {
            Some(Ok(number)) if message == self.message(number) => self.ledger.got(number),
            _ => Some("a message that nobody put"),
        }
    }

    fn message(&self, number: u64) -> String {
        // Not in turn: each producer should meet all lengths.
        let one = Random::from(number).below(self.lengths.len() as u64) as usize;
        let name = format!("{number:016x}");
        let filling = name[15..].repeat(self.lengths[one].saturating_sub(32));
        name.clone() + &filling + &name
    }

    /// Nobody else uses it any more: gets all that is left. At most `doubtful` messages are missing then.
    #[track_caller]
    pub(crate) fn drain(&self, doubtful: u64) {
        let left = self.queue.qsize();
        for _ in 0..left {
            let message = self.queue.get().expect("there are more");
            assert_eq!(self.judge(&message), None);
        }
        assert!(self.queue.is_empty());
        let (lost, got) = (self.ledger.lost(), self.ledger.0.got.load(SeqCst));
        println!(
            "{got} got, {left} of them at the end; {lost} lost with {doubtful} who may have had one"
        );
        assert!(
            lost <= doubtful,
            "{lost} messages are lost, {doubtful} can be"
        );
    }
}
