//! The primitives as messages: they arrive as the same thing, are kept while they are on their way, and arrive once.

mod turn;

use allcores::multiprocessing::{
    Barrier, BoundedSemaphore, Condition, Event, Lock, OwnedSemaphore, Pipe, RLock, Semaphore,
    SimplexPipe,
};
use allcores::shm::usage;
use serde::{Deserialize, Serialize};
use turn::turn;

#[derive(Serialize, Deserialize)]
struct Everything {
    lock: Lock<u64>,
    rlock: RLock<u64>,
    semaphore: Semaphore,
    bounded: BoundedSemaphore,
    owned: OwnedSemaphore,
    event: Event,
    condition: Condition,
    barrier: Barrier,
}

impl Everything {
    fn new() -> Everything {
        Everything {
            lock: Lock::new(1).unwrap(),
            rlock: RLock::new(2).unwrap(),
            semaphore: Semaphore::new(3).unwrap(),
            bounded: BoundedSemaphore::new(4).unwrap(),
            owned: OwnedSemaphore::new(5).unwrap(),
            event: Event::new().unwrap(),
            condition: Condition::new().unwrap(),
            barrier: Barrier::new(6).unwrap(),
        }
    }

    fn is(&self, other: &Everything) -> bool {
        self.lock.same(&other.lock)
            && self.rlock.same(&other.rlock)
            && self.semaphore.same(&other.semaphore)
            && self.bounded.same(&other.bounded)
            && self.owned.same(&other.owned)
            && self.event.same(&other.event)
            && self.condition.same(&other.condition)
            && self.barrier.same(&other.barrier)
    }
}

#[test]
fn everything_arrives_as_itself() {
    let _turn = turn();
    let (a, b) = Pipe::<Everything, Everything>().unwrap();
    // The first message makes room for pins, which stays.
    a.send(&Everything::new()).unwrap();
    drop(b.recv().unwrap());
    let before = usage().unwrap();
    let sent = Everything::new();
    a.send(&sent).unwrap();
    let received = b.recv().unwrap();
    assert!(received.is(&sent));
    *received.lock.acquire().unwrap() += 10;
    assert_eq!(*sent.lock.acquire().unwrap(), 11);
    assert_eq!(
        usage().unwrap().2,
        before.2,
        "no pin is left when all has been opened"
    );
    drop((sent, received));
    assert_eq!(
        usage().unwrap(),
        before,
        "nothing is left when all handles are dropped"
    );
}

#[test]
fn a_message_on_its_way_keeps_what_it_names() {
    let _turn = turn();
    let (a, b) = Pipe::<Lock<u64>, ()>().unwrap();
    let lock = Lock::new(42).unwrap();
    a.send(&lock).unwrap();
    drop(lock);
    // What is made now must not take its place.
    let others: Vec<_> = (0..100).map(|n| Lock::new(n).unwrap()).collect();
    assert_eq!(*b.recv().unwrap().acquire().unwrap(), 42);
    drop(others);
}

#[test]
fn a_handle_arrives_once() {
    let _turn = turn();
    let (a, b) = SimplexPipe::<Event>()
        .map(|(reader, writer)| (writer, reader))
        .unwrap();
    let event = Event::new().unwrap();
    a.send(&event).unwrap();
    let bytes = b.recv_bytes().unwrap();
    a.send_bytes(&bytes).unwrap();
    a.send_bytes(&bytes).unwrap();
    assert!(b.recv().unwrap().same(&event));
    let stale = b.recv().unwrap_err().to_string();
    assert!(stale.contains("stale"), "{stale}");
}

#[test]
fn handles_travel_over_one_way_pipes_between_relatives() {
    let _turn = turn();
    let (reader, writer) = SimplexPipe::<Everything>().unwrap();
    let sent = Everything::new();
    writer.send(&sent).unwrap();
    assert!(reader.recv().unwrap().is(&sent));
}

#[test]
fn the_wrong_type_is_refused() {
    let _turn = turn();
    let (a, b) = Pipe::<Lock<u64>, ()>().unwrap();
    let (c, d) = Pipe::<(), Lock<[u64; 9]>>().unwrap();
    let lock = Lock::new(1).unwrap();
    a.send(&lock).unwrap();
    // The bytes of a Lock<u64>, presented to one who expects something larger, with the descriptor that they name.
    let bytes = b.recv_bytes().unwrap();
    d.send_bytes(&bytes).unwrap();
    assert!(c.recv().is_err());
    let _ = c;
    let (reader, writer) = SimplexPipe::<Lock<u64>>().unwrap();
    writer.send(&lock).unwrap();
    let bytes = reader.recv_bytes().unwrap();
    let (reader, writer) = SimplexPipe::<Lock<[u64; 9]>>().unwrap();
    writer.send_bytes(&bytes).unwrap();
    let refused = reader.recv().unwrap_err().to_string();
    assert!(
        refused.contains("names a Lock of 16 bytes, not a Lock of"),
        "{refused}"
    );
}

#[test]
fn garbage_is_an_error() {
    let _turn = turn();
    let (reader, writer) = SimplexPipe::<Everything>().unwrap();
    for length in 0..200u8 {
        writer.send_bytes(&vec![length; length as usize]).unwrap();
        assert!(reader.recv().is_err());
    }
}

#[test]
fn outside_a_message_a_handle_is_no_value() {
    let _turn = turn();
    let refused = serde_json::to_string(&Event::new().unwrap())
        .unwrap_err()
        .to_string();
    assert!(refused.contains("outside a message"), "{refused}");
}
