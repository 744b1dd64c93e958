//! allcores: Queue and Connection.

use std::marker::PhantomData;

use allcores::multiprocessing::{Connection, Pipe, Process, Queue, StartMethod};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::common::messages::{Board, Receiver, Seat, Sender};
use crate::queue::{LARGE_CAPACITY, SMALL, SMALL_CAPACITY};
use crate::workers::{Contestant, Worker, serve};

/// A value of 64 bytes, as programs have them.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Tick {
    values: [f64; 8],
}

impl Tick {
    /// The same bits.
    pub(crate) fn of(message: &[u8]) -> Tick {
        let bytes: &[u8; 64] = message.try_into().expect("64 bytes");
        let (words, _) = bytes.as_chunks::<8>();
        Tick {
            values: std::array::from_fn(|at| f64::from_ne_bytes(words[at])),
        }
    }

    pub(crate) fn bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let (words, _) = bytes.as_chunks_mut::<8>();
        for (word, value) in words.iter_mut().zip(self.values) {
            *word = value.to_ne_bytes();
        }
        bytes
    }
}

/// What a process of ours is told.
#[derive(Serialize, Deserialize)]
struct Work<E> {
    board: String,
    seat: usize,
    end: E,
}

/// The far side of a start: a process that has its end in its arguments.
fn work<E: Sender + Receiver>(work: Work<E>) {
    let (board, mut end) = (Board::open(&work.board), work.end);
    serve(&board, board.job.seats()[work.seat], &mut end);
}

/// Starts a process for each seat.
fn start<E>(board: &Board, mut end: impl FnMut(Seat) -> E) -> Vec<Worker>
where
    E: Sender + Receiver + Serialize + DeserializeOwned + 'static,
{
    let seats = board.job.seats().into_iter().enumerate();
    seats
        .map(|(seat, what)| {
            let arguments = Work {
                board: board.path(),
                seat,
                end: end(what),
            };
            // As the peers' workers are made; and a child of ours alone has its CPU time counted as ours.
            let process = Process::new(work::<E>, arguments)
                .start_method(StartMethod::Spawn)
                .daemon(true)
                .start();
            Worker::Ours(process.unwrap())
        })
        .collect()
}

/// A queue, and a second one for the way back of a round trip.
struct Queues {
    there: Queue<Tick>,
    back: Option<Queue<Tick>>,
}

impl Queues {
    fn new(board: &Board) -> Queues {
        let capacity = match board.job.size {
            SMALL => SMALL_CAPACITY,
            _ => LARGE_CAPACITY,
        };
        let queue = || Queue::bounded(capacity).unwrap();
        let is_round_trip = board.job.seats()[0] == Seat::Ping;
        Queues {
            there: queue(),
            back: is_round_trip.then(queue),
        }
    }

    /// What a worker sends to, and what it receives from. Without a way back they are the same.
    fn of(&self, seat: Seat) -> (Queue<Tick>, Queue<Tick>) {
        let (there, back) = (&self.there, self.back.as_ref().unwrap_or(&self.there));
        match seat {
            Seat::Pong => (back.clone(), there.clone()),
            _ => (there.clone(), back.clone()),
        }
    }
}

/// What is made of a message in a queue.
pub(crate) trait How {
    fn put(queue: &Queue<Tick>, message: &[u8]);
    fn get<T>(queue: &Queue<Tick>, buffer: &mut Vec<u8>, look: impl FnOnce(&[u8]) -> T) -> T;
}

/// Bytes, copied into a new `Vec` each time.
pub(crate) enum GetBytes {}

impl How for GetBytes {
    fn put(queue: &Queue<Tick>, message: &[u8]) {
        queue.put_bytes(message).unwrap();
    }

    fn get<T>(queue: &Queue<Tick>, _: &mut Vec<u8>, look: impl FnOnce(&[u8]) -> T) -> T {
        look(&queue.get_bytes().unwrap())
    }
}

/// Bytes, copied into the same `Vec`.
pub(crate) enum GetBytesInto {}

impl How for GetBytesInto {
    fn put(queue: &Queue<Tick>, message: &[u8]) {
        queue.put_bytes(message).unwrap();
    }

    fn get<T>(queue: &Queue<Tick>, buffer: &mut Vec<u8>, look: impl FnOnce(&[u8]) -> T) -> T {
        queue.get_bytes_into(buffer).unwrap();
        look(buffer)
    }
}

/// Bytes, looked at where they are if they are many.
pub(crate) enum GetBytesWith {}

impl How for GetBytesWith {
    fn put(queue: &Queue<Tick>, message: &[u8]) {
        queue.put_bytes(message).unwrap();
    }

    fn get<T>(queue: &Queue<Tick>, _: &mut Vec<u8>, look: impl FnOnce(&[u8]) -> T) -> T {
        queue.get_bytes_with(look).unwrap()
    }
}

/// Values, by serde.
pub(crate) enum Values {}

impl How for Values {
    fn put(queue: &Queue<Tick>, message: &[u8]) {
        queue.put(&Tick::of(message)).unwrap();
    }

    fn get<T>(queue: &Queue<Tick>, _: &mut Vec<u8>, look: impl FnOnce(&[u8]) -> T) -> T {
        look(&queue.get().unwrap().bytes())
    }
}

/// A Queue, used in this way.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Queued<H> {
    to: Queue<Tick>,
    from: Queue<Tick>,
    #[serde(skip)]
    buffer: Vec<u8>,
    how: PhantomData<H>,
}

impl<H: How + 'static> Contestant for Queued<H> {
    fn start(board: &Board) -> Vec<Worker> {
        let queues = Queues::new(board);
        start(board, |seat| {
            let (to, from) = queues.of(seat);
            Queued::<H> {
                to,
                from,
                buffer: Vec::new(),
                how: PhantomData,
            }
        })
    }
}

impl<H: How> Sender for Queued<H> {
    fn send(&mut self, message: &[u8]) {
        H::put(&self.to, message);
    }
}

impl<H: How> Receiver for Queued<H> {
    fn receive<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> T {
        H::get(&self.from, &mut self.buffer, look)
    }
}

/// Values over a Connection.
pub(crate) enum ConnectionValues {}

impl Contestant for ConnectionValues {
    fn start(board: &Board) -> Vec<Worker> {
        let (near, far) = Pipe().unwrap();
        let mut ends = [near, far].into_iter();
        start(board, |_| Ticks {
            connection: ends.next().expect("two seats"),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Ticks {
    connection: Connection<Tick, Tick>,
}

impl Sender for Ticks {
    fn send(&mut self, message: &[u8]) {
        self.connection.send(&Tick::of(message)).unwrap();
    }
}

impl Receiver for Ticks {
    fn receive<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> T {
        look(&self.connection.recv().unwrap().bytes())
    }
}
