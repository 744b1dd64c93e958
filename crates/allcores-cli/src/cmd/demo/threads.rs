//! With Threads: every primitive in the role it has in a real program.
//!
//! | primitive | role |
//! |---|---|
//! | Event | the start signal, so that no thread counts before all are there |
//! | Lock | the work list: who takes which piece next |
//! | Semaphore | back-pressure: how many pieces are in memory at once |
//! | Condition | progress, and the end, for the thread that shows it |
//! | Barrier | between counting and merging: no table is merged before all are full |
//! | RLock | the result, whose methods lock it and call each other |

use super::corpus::Work;
use super::count::Counter;
use super::error::DemoError;
use super::totals::{Part, Totals, WordMap, merge, split};
use crate::view::progress::Progress;
use allcores::threading::{Barrier, Condition, Event, Lock, LockGuard, RLock, Semaphore, Thread};
use std::cell::RefCell;
use std::mem;
use std::sync::Arc;

/// Counts with `workers` threads.
pub(crate) fn count(
    work: &Arc<Work>,
    passes: u64,
    workers: u32,
    progress: &Progress,
) -> Result<Totals, DemoError> {
    let team = Arc::new(Team::new(Arc::clone(work), passes, workers));
    let mut threads = Vec::new();
    let mut outcome = Ok(());
    for number in 0..workers as usize {
        let member = Arc::clone(&team);
        let thread = Thread::new(move || member.member(number)).name(format!("counter-{number}"));
        if let Err(error) = thread.start() {
            outcome = Err(DemoError::NotStarted("thread", error.to_string()));
            team.give_up();
            break;
        }
        threads.push(thread);
    }
    team.start.set();
    team.show_until_ended(threads.len(), progress);
    for thread in threads {
        let result = match thread.result() {
            Ok(result) => result,
            Err(error) => Err(DemoError::Worker(error.to_string())),
        };
        outcome = outcome.and(result);
    }
    outcome?;
    Ok(team.result.take(passes))
}

const ONE_LOCK: &str = "the condition is used with the board's lock alone";

/// What the threads share.
struct Team {
    work: Arc<Work>,
    passes: u64,
    start: Event,
    /// How much of the work has been given out, in pieces over all passes.
    given_out: Lock<u64>,
    memory: Semaphore,
    board: Lock<Board>,
    board_changed: Condition,
    counted: Barrier,
    /// For each thread, the words it is to merge, from every thread.
    inboxes: Vec<Lock<Vec<Part>>>,
    result: Shared,
}

#[derive(Default)]
struct Board {
    bytes: u64,
    /// Threads that are done, well or not.
    ended: usize,
}

impl Team {
    fn new(work: Arc<Work>, passes: u64, workers: u32) -> Team {
        Team {
            work,
            passes,
            start: Event::new(),
            given_out: Lock::new(0),
            // Threads beyond that would use memory and no processor.
            memory: Semaphore::new(2 * super::usable_cpus()),
            board: Lock::new(Board::default()),
            board_changed: Condition::new(),
            counted: Barrier::new(workers).expect("as many as the command line allows"),
            inboxes: (0..workers).map(|_| Lock::new(Vec::new())).collect(),
            result: Shared::default(),
        }
    }

    /// The life of one thread.
    fn member(&self, number: usize) -> Result<(), DemoError> {
        let mut last_word = LastWord {
            team: self,
            counted: false,
        };
        self.start.wait();
        let mut counter = Counter::default();
        self.count_pieces(&mut counter)?;

        let mut counted = counter.finish(self.passes);
        let tables = mem::take(&mut counted.tables);
        for (inbox, part) in self.inboxes.iter().zip(split(tables, self.inboxes.len())) {
            inbox.acquire().push(part);
        }
        if self.counted.wait().is_err() {
            return Ok(()); // whoever broke it tells why
        }
        last_word.counted = true;
        let table = merge(mem::take(&mut *self.inboxes[number].acquire()));
        self.result.add(counted, table);
        Ok(())
    }

    /// Counts pieces until none is left.
    fn count_pieces(&self, counter: &mut Counter) -> Result<(), DemoError> {
        let mut unreported = 0;
        loop {
            // Waited for before the work is taken: nobody sits on work that others could do.
            let _room = self.memory.permit();
            let batch = {
                let mut given_out = self.given_out.acquire();
                let batch = self.work.batch(*given_out, self.passes);
                *given_out = batch.end;
                batch
            };
            if batch.is_empty() {
                self.report(unreported);
                return Ok(());
            }
            for number in batch {
                unreported += counter.count(&self.work, number)?;
            }
            // Seldom enough for the one who shows it to sleep in between.
            if unreported >= super::REPORT_EVERY {
                self.report(mem::take(&mut unreported));
            }
        }
    }

    fn report(&self, bytes: u64) {
        let mut board = self.board.acquire();
        board.bytes += bytes;
        self.tell(&board);
    }

    fn tell(&self, board: &LockGuard<'_, Board>) {
        self.board_changed.notify_all(board).expect(ONE_LOCK);
    }

    /// One is missing: there is no work left, and nobody is to wait for all.
    fn give_up(&self) {
        *self.given_out.acquire() = u64::MAX;
        self.counted.abort();
    }

    /// Shows how far the threads have come until so many have ended.
    fn show_until_ended(&self, threads: usize, progress: &Progress) {
        let mut board = self.board.acquire();
        while board.ended < threads {
            self.board_changed.wait(&mut board).expect(ONE_LOCK);
            progress.set(board.bytes);
        }
    }
}

/// Says that a thread has ended, however it ends, so that nobody waits for it.
struct LastWord<'a> {
    team: &'a Team,
    counted: bool,
}

impl Drop for LastWord<'_> {
    fn drop(&mut self) {
        if !self.counted {
            self.team.give_up();
        }
        let mut board = self.team.board.acquire();
        board.ended += 1;
        self.team.tell(&board);
    }
}

/// The result while it is put together. Each method locks; that they call each other takes a reentrant lock.
#[derive(Default)]
struct Shared(RLock<RefCell<Totals>>);

impl Shared {
    /// Adds all that one thread has: seen from outside, at once.
    fn add(&self, counted: Totals, table: WordMap) {
        let _whole = self.0.acquire();
        self.add_numbers(&counted);
        self.add_table(table);
    }

    fn add_numbers(&self, counted: &Totals) {
        let held = self.0.acquire();
        let mut totals = held.borrow_mut();
        totals.files += counted.files;
        totals.bytes += counted.bytes;
        totals.words += counted.words;
    }

    fn add_table(&self, table: WordMap) {
        self.0.acquire().borrow_mut().tables.push(table);
    }

    fn take(&self, passes: u64) -> Totals {
        let totals = self.0.acquire().take();
        Totals { passes, ..totals }
    }
}
