//! A message that is said to hold handles, with descriptors of all sorts.
//!
//! Bytes: which descriptors come along (1 for how many, 1 for each), the message. Or, where that begins with [`LIVING`], a
//! message as it should be: what it names (1), and what is written over it (1 for each place, 1 for each byte).

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use allcores::multiprocessing::connection::frame::Header;
use allcores::multiprocessing::connection::{Compact, Pickle};
use allcores::multiprocessing::{
    Array, Barrier, BoundedSemaphore, Condition, Connection, Event, JoinableQueue, Lock, Never,
    OwnedSemaphore, Queue, RLock, RawArray, RawValue, Semaphore, SharedMemory, SimpleQueue,
    SimplexPipe, Value,
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::{Deserialize, Serialize};

use super::Bytes;

/// The first byte of a message that is made here, of things that there are.
const LIVING: u8 = 0xFE;

#[derive(Serialize, Deserialize)]
enum Handle {
    Connection(Connection<u8, u8>),
    Connections(Vec<Connection<u8, u8>>),
    Lock(Lock<u64>),
    RLock(RLock<u64>),
    Semaphore(Semaphore),
    BoundedSemaphore(BoundedSemaphore),
    OwnedSemaphore(OwnedSemaphore),
    Event(Event),
    Condition(Condition),
    Barrier(Barrier),
    Two(Box<Handle>, Box<Handle>),
    Queue(Queue<u64>),
    SimpleQueue(SimpleQueue<u64>),
    JoinableQueue(JoinableQueue<u64>),
    Value(Value<u64>),
    RawValue(RawValue<u64>),
    Array(Array<u32>),
    RawArray(RawArray<u32>),
    SharedMemory(SharedMemory),
}

impl Handle {
    /// Uses what has been opened as the type of it allows: it is what it says, or it is refused. Nobody else uses it now.
    fn use_it(&self) {
        match self {
            Handle::Lock(lock) => drop(lock.try_acquire()),
            Handle::RLock(lock) => drop(lock.try_acquire()),
            Handle::Queue(queue) => use_queue(queue),
            Handle::SimpleQueue(queue) => drop(queue.put(&1).map(|()| queue.get())),
            Handle::JoinableQueue(queue) => {
                use_queue(queue);
                let _ = queue.task_done();
                let _ = queue.join_timeout(Duration::ZERO);
            }
            Handle::Value(value) => drop(value.set(7).and_then(|()| value.get())),
            Handle::RawValue(value) => value.set(value.get() ^ 1),
            Handle::Array(array) => {
                let elements = array.to_vec().unwrap_or_default();
                assert!(array.set(array.len(), 0).is_err() && elements.len() <= array.len());
            }
            Handle::RawArray(array) => {
                assert_eq!(array.to_vec().len(), array.len());
                assert!(array.set(array.len(), 0).is_err());
            }
            Handle::SharedMemory(memory) => {
                memory.read_at(memory.size() - 1, &mut [0]).unwrap();
                memory.read_at(memory.size(), &mut [0]).unwrap_err();
            }
            Handle::Two(one, other) => {
                one.use_it();
                other.use_it();
            }
            _ => {}
        }
    }
}

fn use_queue(queue: &Queue<u64>) {
    let _ = queue.try_put(&1);
    let _ = queue.try_put(&2);
    let _ = queue.try_get();
    if !queue.is_empty() {
        queue.get_many(1000).unwrap().for_each(drop);
    }
}

/// Things that there are, and a way on which messages are made that name them; but none that is a descriptor.
struct Living {
    things: Vec<Handle>,
    writer: Connection<Handle, Never>,
    reader: Connection<Never, Handle>,
}

impl Living {
    fn new() -> Living {
        let (reader, writer) = SimplexPipe().unwrap();
        let queue = Queue::new().unwrap();
        queue.put(&1).unwrap();
        let things = vec![
            Handle::Lock(Lock::new(1).unwrap()),
            Handle::RLock(RLock::new(1).unwrap()),
            Handle::Semaphore(Semaphore::new(1).unwrap()),
            Handle::BoundedSemaphore(BoundedSemaphore::new(1).unwrap()),
            Handle::OwnedSemaphore(OwnedSemaphore::new(1).unwrap()),
            Handle::Event(Event::new().unwrap()),
            Handle::Condition(Condition::new().unwrap()),
            Handle::Barrier(Barrier::new(2).unwrap()),
            Handle::Queue(queue),
            Handle::SimpleQueue(SimpleQueue::new().unwrap()),
            Handle::JoinableQueue(JoinableQueue::bounded(3).unwrap()),
            Handle::Value(Value::new(1).unwrap()),
            Handle::RawValue(RawValue::new(1).unwrap()),
            Handle::Array(Array::from_slice(&[1, 2, 3]).unwrap()),
            Handle::RawArray(RawArray::from_slice(&[1, 2, 3]).unwrap()),
        ];
        Living {
            things,
            writer,
            reader,
        }
    }

    /// A message that names the thing of that number.
    fn message(&self, number: u8) -> Vec<u8> {
        let thing = &self.things[usize::from(number) % self.things.len()];
        self.writer.send(thing).unwrap();
        self.reader.recv_bytes().unwrap()
    }

    /// Opens what a message names, if nobody else has: it is kept until then.
    fn receive(&self, message: &[u8]) {
        self.writer.send_bytes(message).unwrap();
        let _ = self.reader.recv();
    }
}

/// Never dropped: another target may be at work on the arena when the thread that made them ends.
static LIVE: Mutex<Option<Living>> = Mutex::new(None);

/// Things that are open in this process.
fn descriptors() -> &'static [OwnedFd] {
    static OPEN: OnceLock<Vec<OwnedFd>> = OnceLock::new();
    OPEN.get_or_init(|| {
        let (one, other) = UnixStream::pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
        let memory = rustix::fs::memfd_create(c"no arena", flags).unwrap();
        rustix::fs::ftruncate(&memory, 4 << 20).unwrap();
        let sealed = rustix::fs::memfd_create(c"sealed", flags).unwrap();
        rustix::fs::ftruncate(&sealed, 4 << 20).unwrap();
        rustix::fs::fcntl_add_seals(&sealed, rustix::fs::SealFlags::SHRINK).unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        // As SharedMemory sends them; and one that has less memory than it says.
        let whole = SharedMemory::new(1 << 16).unwrap();
        let whole = whole.as_fd().try_clone_to_owned().unwrap();
        let immense = rustix::fs::memfd_create(c"immense", flags).unwrap();
        rustix::fs::ftruncate(&immense, 1 << 50).unwrap();
        rustix::fs::fcntl_add_seals(&immense, rustix::fs::SealFlags::SHRINK).unwrap();
        vec![
            one.into(),
            other.into(),
            reader,
            writer,
            memory,
            sealed,
            null.into(),
            whole,
            immense,
        ]
    })
}

fn send(to: &UnixStream, payload: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let header = Header::new(payload.len() as u64);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let parts = [IoSlice::new(header.as_bytes()), IoSlice::new(payload)];
    let sent = sendmsg(to, &parts, &mut control, SendFlags::empty()).unwrap();
    assert_eq!(sent, header.as_bytes().len() + payload.len());
}

/// The number that the next descriptor gets.
fn next_descriptor() -> i32 {
    rustix::io::dup(&descriptors()[0]).unwrap().as_raw_fd()
}

/// Receives it, and has no descriptor more than before.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let open = descriptors();
    let count = usize::from(bytes.u8() % 9);
    let sent: Vec<_> = (0..count)
        .map(|_| open[usize::from(bytes.u8()) % open.len()].as_fd())
        .collect();
    // More would not fit into the socket's buffer, and nobody reads meanwhile.
    let payload = bytes.take(4096);
    match payload.split_first() {
        Some((&LIVING, rest)) => {
            let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
            let live = live.get_or_insert_with(Living::new);
            let mut rest = Bytes(rest);
            let message = live.message(rest.u8());
            let mut payload = message.clone();
            while !rest.is_empty() {
                let place = usize::from(rest.u8()) % payload.len();
                payload[place] = rest.u8();
            }
            let opened = receive(&payload, &sent);
            assert!(opened || payload != message, "nothing is wrong");
            live.receive(&message);
        }
        _ => {
            receive(payload, &sent);
        }
    }
}

/// Whether it could be opened.
fn receive(payload: &[u8], sent: &[BorrowedFd<'_>]) -> bool {
    // The first look at any handle makes the common arena.
    let before = {
        Event::new().unwrap();
        next_descriptor()
    };
    let opened = {
        let (peer, ours) = UnixStream::pair().unwrap();
        send(&peer, payload, sent);
        send(&peer, payload, sent);
        let compact = Connection::<u8, Handle, Compact>::from_fd(ours.into()).unwrap();
        let first = compact.recv();
        let pickle = compact.with_codec::<Pickle>();
        assert!(pickle.recv().is_err(), "a pickle holds no handles");
        if let Ok(handle) = &first {
            handle.use_it();
        }
        first.is_ok()
    };
    assert_eq!(next_descriptor(), before, "a descriptor was left open");
    opened
}
