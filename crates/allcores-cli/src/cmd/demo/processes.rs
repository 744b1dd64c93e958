//! With Processes: the same roles, played by the primitives in shared memory, and Pipes for the words.
//!
//! Each worker counts into a table of its own. After the Barrier each word has one worker that adds it up: the others send
//! that worker what they have of it. So the merging is shared out like the counting, and this process receives each word
//! once. Whatever becomes of a worker, its Pipe ends with it, and that is how it is heard of here.

use super::corpus::Work;
use super::count::Counter;
use super::error::{DemoError, chain};
use super::totals::{Part, Totals, WordMap, merge, split};
use super::{REPORT_EVERY, wire};
use crate::interrupt;
use crate::view::progress::Progress;
use allcores::multiprocessing::process::ProcessError;
use allcores::multiprocessing::{
    Barrier, Condition, Connection, Event, Lock, LockGuard, Never, OwnerDied, Process, RLock,
    Semaphore, SimplexPipe, StartMethod, WaitError,
};
use allcores::shm::Shareable;
use allcores::threading;
use serde::{Deserialize, Serialize};
use signal_hook::consts::SIGINT;
use std::error::Error;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use zerocopy::{FromBytes, Immutable, IntoBytes};

type Reader = Connection<Never, Vec<u8>>;
type Writer = Connection<Vec<u8>, Never>;

/// What the processes share: handles, and a copy of the work list.
#[derive(Clone, Deserialize, Serialize)]
struct Team {
    #[serde(with = "by_value")]
    work: Arc<Work>,
    passes: u64,
    workers: usize,
    start: Event,
    /// How much of the work has been given out, in pieces over all passes.
    given_out: Lock<u64>,
    memory: Semaphore,
    board: Lock<Board>,
    board_changed: Condition,
    counted: Barrier,
    tally: Tally,
    /// One sender at a time to each inbox, or messages would mix.
    sending: Vec<Lock>,
}

#[derive(FromBytes, Immutable, IntoBytes)]
#[repr(C)]
struct Board {
    bytes: u64,
    /// Workers that are done, well or not.
    ended: u64,
}

/// All that one process gets.
#[derive(Deserialize, Serialize)]
struct Member {
    number: usize,
    team: Team,
    inbox: Reader,
    /// To the inboxes of all, its own too.
    outboxes: Vec<Writer>,
    result: Writer,
}

/// Counts with `workers` processes.
pub(crate) fn count(
    work: &Arc<Work>,
    passes: u64,
    workers: u32,
    progress: &Progress,
) -> Result<Totals, DemoError> {
    let team = Team::new(Arc::clone(work), passes, workers).map_err(not_started)?;
    let workers = start(&team)?;
    team.start.set();

    let (tables, failure) = (threading::Lock::new(Vec::new()), threading::Lock::new(None));
    let watched = threading::scope(|scope| {
        for worker in &workers {
            scope.spawn(|| {
                match worker.outcome() {
                    Ok(table) => tables.acquire().push(table),
                    Err(error) => {
                        // The first one tells why. The others would wait for this one's words for ever.
                        failure.acquire().get_or_insert(error);
                        workers.iter().for_each(Worker::kill);
                    }
                }
                team.change_board(|board| board.ended += 1);
            });
        }
        team.show_until_ended(progress);
    });
    watched.map_err(|error| DemoError::Worker(chain(&error)))?;
    if let Some(error) = failure.into_inner() {
        return Err(error);
    }
    let [files, bytes, words] = team.tally.read();
    Ok(Totals {
        tables: tables.into_inner(),
        passes,
        files,
        bytes,
        words,
    })
}

/// A worker process, seen from here.
struct Worker {
    process: Process<Result<(), String>>,
    /// The words that it adds up, in one message.
    result: Reader,
}

impl Worker {
    /// Waits for the worker's words and its end.
    fn outcome(&self) -> Result<WordMap, DemoError> {
        // Ends with the worker at the latest, since nobody else has the other end.
        let bytes = self.result.recv_bytes();
        match self.process.result() {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return Err(DemoError::Worker(why)),
            // It was reached by Ctrl-C before it could ignore it.
            Err(ProcessError::Signaled { signal: SIGINT, .. }) => interrupt::end(SIGINT),
            Err(error) => return Err(DemoError::Worker(chain(&error))),
        }
        let mut table = WordMap::new();
        let bytes = bytes.map_err(|error| DemoError::Worker(chain(&error)))?;
        wire::add_to(&mut table, &bytes).map_err(|error| DemoError::Worker(chain(&error)))?;
        Ok(table)
    }

    fn kill(&self) {
        // It may have ended by itself.
        let _ = self.process.kill();
    }
}

/// Starts all workers; they wait for the start signal.
fn start(team: &Team) -> Result<Vec<Worker>, DemoError> {
    let pipes = (0..team.workers).map(|_| SimplexPipe());
    let (inboxes, outboxes): (Vec<Reader>, Vec<Writer>) =
        pipes.collect::<Result<_, _>>().map_err(not_started)?;
    let mut workers = Vec::new();
    for (number, inbox) in inboxes.into_iter().enumerate() {
        match start_one(team, number, inbox, &outboxes) {
            Ok(worker) => workers.push(worker),
            Err(error) => {
                workers.iter().for_each(Worker::kill);
                return Err(error);
            }
        }
    }
    Ok(workers)
}

fn start_one(
    team: &Team,
    number: usize,
    inbox: Reader,
    outboxes: &[Writer],
) -> Result<Worker, DemoError> {
    let copy = |writer: &Writer| Connection::from_fd(writer.as_fd().try_clone_to_owned()?);
    let outboxes = outboxes.iter().map(copy).collect::<Result<_, _>>();
    let (result, theirs) = SimplexPipe().map_err(not_started)?;
    let member = Member {
        number,
        team: team.clone(),
        inbox,
        outboxes: outboxes.map_err(not_started)?,
        result: theirs,
    };
    let process = Process::new(run, member)
        .name(format!("counter-{number}"))
        .daemon(true)
        // Children of this very process: the table shows the CPU time that the kernel counts for them.
        .start_method(StartMethod::Spawn)
        .start()
        .map_err(not_started)?;
    Ok(Worker { process, result })
}

/// What a worker process runs.
fn run(member: Member) -> Result<(), String> {
    // Ctrl-C reaches all processes of a terminal. The parent has the last word, and our end is its end.
    interrupt::ignore().map_err(|error| chain(&error))?;
    member.work().map_err(|error| chain(&*error))
}

impl Member {
    fn work(&self) -> Result<(), Box<dyn Error>> {
        let team = &self.team;
        team.start.wait();
        let mut counter = Counter::default();
        team.count_pieces(&mut counter)?;
        let counted = counter.finish(team.passes);
        team.tally.add(&counted);

        let mut parts = split(counted.tables, team.workers);
        team.counted.wait()?;
        let own = std::mem::take(&mut parts[self.number]);
        // Receiving while sending: two that send to each other could both wait for room otherwise.
        let table = threading::scope(|scope| {
            let receiver = scope.spawn(|| self.receive(merge([own])));
            let sent = self.send(&parts);
            let received = receiver.result();
            sent?;
            Ok::<_, Box<dyn Error>>(received??)
        })??;
        let counts = table.iter().map(|(word, count)| (&**word, *count));
        self.result.send_bytes(&wire::encode(counts))?;
        Ok(())
    }

    /// Adds what all others send to this worker.
    fn receive(&self, mut table: WordMap) -> Result<WordMap, String> {
        for _ in 1..self.team.workers {
            let bytes = self.inbox.recv_bytes().map_err(|error| chain(&error))?;
            wire::add_to(&mut table, &bytes).map_err(|error| chain(&error))?;
        }
        Ok(table)
    }

    /// Sends each of the others its part, the next one first, so that not all send to the same one.
    fn send(&self, parts: &[Part]) -> Result<(), Box<dyn Error>> {
        for step in 1..parts.len() {
            let other = (self.number + step) % parts.len();
            let bytes = wire::encode_part(&parts[other]);
            let _turn = held(self.team.sending[other].acquire());
            self.outboxes[other].send_bytes(&bytes)?;
        }
        Ok(())
    }
}

impl Team {
    fn new(work: Arc<Work>, passes: u64, workers: u32) -> Result<Team, Box<dyn Error>> {
        let board = Board { bytes: 0, ended: 0 };
        Ok(Team {
            work,
            passes,
            workers: workers as usize,
            start: Event::new()?,
            given_out: Lock::new(0)?,
            memory: Semaphore::new(2 * super::usable_cpus())?,
            board: Lock::new(board)?,
            board_changed: Condition::new()?,
            counted: Barrier::new(workers)?,
            tally: Tally(RLock::new(Default::default())?),
            sending: (0..workers)
                .map(|_| Lock::new(()))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Counts pieces until none is left.
    fn count_pieces(&self, counter: &mut Counter) -> Result<(), DemoError> {
        let mut unreported = 0;
        loop {
            let _room = self.memory.permit();
            let batch = {
                let mut given_out = held(self.given_out.acquire());
                let batch = self.work.batch(*given_out, self.passes);
                *given_out = batch.end;
                batch
            };
            if batch.is_empty() {
                self.change_board(|board| board.bytes += unreported);
                return Ok(());
            }
            for number in batch {
                unreported += counter.count(&self.work, number)?;
            }
            if unreported >= REPORT_EVERY {
                self.change_board(|board| board.bytes += unreported);
                unreported = 0;
            }
        }
    }

    fn change_board(&self, change: impl FnOnce(&mut Board)) {
        let mut board = held(self.board.acquire());
        change(&mut board);
        self.board_changed.notify_all(&board).expect(ONE_LOCK);
    }

    /// Shows how far the workers have come until all have ended.
    fn show_until_ended(&self, progress: &Progress) {
        let mut board = held(self.board.acquire());
        while board.ended < self.workers as u64 {
            match self.board_changed.wait(&mut board) {
                Ok(()) => {}
                // A number too few on the bar; the worker's watcher has more to say.
                Err(WaitError::OwnerDied { .. }) => board.recover(),
                Err(error) => panic!("{ONE_LOCK}: {error}"),
            }
            progress.set(board.bytes);
        }
    }
}

const ONE_LOCK: &str = "one thread waits for the condition, with the board's lock";

/// The guard, also if a worker was killed while it held the lock: then all ends in an error, and its numbers matter no more.
fn held<'a, T: Shareable>(
    outcome: Result<LockGuard<'a, T>, OwnerDied<LockGuard<'a, T>>>,
) -> LockGuard<'a, T> {
    outcome.unwrap_or_else(|died| {
        let guard = died.into_guard();
        guard.recover();
        guard
    })
}

/// Files, bytes and words so far. Each method locks; that they call each other takes a reentrant lock.
#[derive(Clone, Deserialize, Serialize)]
struct Tally(RLock<[AtomicU64; 3]>);

impl Tally {
    /// Adds what one worker has: seen from outside, at once.
    fn add(&self, counted: &Totals) {
        let _whole = self.0.acquire();
        for (place, number) in [counted.files, counted.bytes, counted.words]
            .into_iter()
            .enumerate()
        {
            self.add_one(place, number);
        }
    }

    fn add_one(&self, place: usize, number: u64) {
        if let Ok(numbers) = self.0.acquire() {
            numbers[place].fetch_add(number, Relaxed);
        }
    }

    fn read(&self) -> [u64; 3] {
        match self.0.acquire() {
            Ok(numbers) => std::array::from_fn(|place| numbers[place].load(Relaxed)),
            Err(_) => [0; 3],
        }
    }
}

fn not_started(error: impl Into<Box<dyn Error>>) -> DemoError {
    DemoError::NotStarted("process", chain(&*error.into()))
}

/// The work list travels as what it is, not as a pointer.
mod by_value {
    use super::{Arc, Work};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(work: &Arc<Work>, to: S) -> Result<S::Ok, S::Error> {
        Work::serialize(work, to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Work>, D::Error> {
        Work::deserialize(from).map(Arc::new)
    }
}
