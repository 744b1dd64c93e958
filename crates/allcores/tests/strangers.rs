//! Programs that are no relatives share what lies in a separate arena, over connections that a Listener and a Client made;
//! and nothing else.

use std::process::{Child, Command};
use std::time::Duration;

use allcores::multiprocessing::connection::{
    Address, Client, Connection, Listener, RecvError, SendError,
};
use allcores::multiprocessing::transfer::TransferError;
use allcores::multiprocessing::{
    Array, Barrier, Event, Lock, OwnedSemaphore, Pipe, Queue, RawArray, RawValue, SharedMemory,
    Value,
};
use allcores::shm::{Arena, ShmError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The name at which a stranger finds us.
const NAME: &str = "ALLCORES_TEST_STRANGER";

/// Longer than anything that gets on.
const LONG: Duration = Duration::from_secs(600);

/// A program that is being started has copies of all our descriptors for a moment, and holds what they stand for; and pins in
/// the common arena, which all tests share, are counted.
fn turn() -> std::sync::MutexGuard<'static, ()> {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn listener() -> (Listener, String) {
    let listener = Listener::at(Address::unnamed())
        .authkey(b"key")
        .handshake_timeout(LONG)
        .bind()
        .unwrap();
    // Nobody else has the name that the kernel chooses, in whatever namespace of process numbers.
    let name = listener.address().as_abstract_name().unwrap();
    let name = String::from_utf8(name.to_vec()).unwrap();
    (listener, name)
}

/// Two ends in one program, of a connection as strangers have it.
fn ends<A, B>() -> (Connection<A, B>, Connection<B, A>)
where
    A: Serialize + DeserializeOwned + 'static,
    B: Serialize + DeserializeOwned + 'static,
{
    let (listener, name) = listener();
    let client = std::thread::spawn(move || {
        Client::to(Address::abstract_name(name))
            .authkey(b"key")
            .connect()
            .unwrap()
    });
    (listener.accept().unwrap(), client.join().unwrap())
}

/// Another program: this one's file, started as anybody might, with another test as its work.
fn program<S, R>(inside: &str) -> (Child, Connection<S, R>)
where
    S: Serialize + DeserializeOwned + 'static,
    R: Serialize + DeserializeOwned + 'static,
{
    let (listener, name) = listener();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", inside, "--ignored", "--nocapture"])
        .env(NAME, name)
        .spawn()
        .unwrap();
    (child, listener.accept().unwrap())
}

/// That program's way to us; `None` in somebody's `--ignored`.
fn to_us<S, R>() -> Option<Connection<S, R>>
where
    S: Serialize + DeserializeOwned + 'static,
    R: Serialize + DeserializeOwned + 'static,
{
    let name = std::env::var(NAME).ok()?;
    let us = Client::to(Address::abstract_name(name))
        .authkey(b"key")
        .connect();
    Some(us.unwrap())
}

#[track_caller]
fn is_refused<T>(value: T)
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    let (a, _b) = ends::<T, ()>();
    let refused = a.send(&value).unwrap_err();
    assert!(
        matches!(refused, SendError::Transfer(TransferError::CommonArena)),
        "{refused}"
    );
    assert!(refused.to_string().contains("new_in"), "{refused}");
}

#[test]
fn the_common_arena_stays_among_relatives() {
    let _turn = turn();
    is_refused(Lock::new(1u64).unwrap());
    is_refused(Event::new().unwrap());
    is_refused(Barrier::new(2).unwrap());
    is_refused(OwnedSemaphore::new(2).unwrap());
    is_refused(Value::new(1u64).unwrap());
    is_refused(RawValue::new(1u64).unwrap());
    is_refused(Array::<u8>::new(2).unwrap());
    is_refused(RawArray::<u8>::new(2).unwrap());
    is_refused(Queue::<u8>::new().unwrap());
    // Also where it lies deep in a message.
    is_refused(vec![Some((1, Event::new().unwrap()))]);
}

#[test]
fn a_refusal_leaves_nothing_behind() {
    let _turn = turn();
    let (a, b) = ends::<Result<u8, Event>, ()>();
    let event = Event::new().unwrap();
    let before = allcores::shm::usage().unwrap().2;
    assert!(a.send(&Err(event)).is_err());
    assert_eq!(allcores::shm::usage().unwrap().2, before, "pins");
    // The connection is as good as before.
    a.send(&Ok(5)).unwrap();
    assert_eq!(b.recv().unwrap().unwrap(), 5);
}

#[test]
fn a_stranger_that_names_our_common_arena_is_refused() {
    let _turn = turn();
    // What a relative may receive ...
    let event = Event::new().unwrap();
    let (a, b) = Pipe::<Event, ()>().unwrap();
    a.send(&event).unwrap();
    let bytes = b.recv_bytes().unwrap();
    let (a, b) = Pipe::<Event, ()>().unwrap();
    a.send_bytes(&bytes).unwrap();
    assert!(b.recv().unwrap().same(&event));
    // ... is no message from a stranger.
    let (a, b) = Pipe::<Event, ()>().unwrap();
    a.send(&event).unwrap();
    let bytes = b.recv_bytes().unwrap();
    let (a, b) = ends::<Event, ()>();
    a.send_bytes(&bytes).unwrap();
    let refused = b.recv().unwrap_err();
    assert!(matches!(refused, RecvError::Transfer(_)), "{refused}");
    assert!(
        refused.to_string().contains("unrelated program"),
        "{refused}"
    );
}

type Shared = (
    (Lock<u64>, Value<[u64; 2]>, Array<u32>, OwnedSemaphore),
    (Event, Barrier, Queue<String>),
);

fn shared(arena: &Arena) -> Shared {
    (
        (
            Lock::new_in(arena, 0).unwrap(),
            Value::new_in(arena, [0; 2]).unwrap(),
            Array::new_in(arena, 100_000).unwrap(),
            OwnedSemaphore::new_in(arena, 1).unwrap(),
        ),
        (
            Event::new_in(arena).unwrap(),
            Barrier::new_in(arena, 2).unwrap(),
            Queue::new_in(arena).unwrap(),
        ),
    )
}

#[test]
fn two_programs_work_together() {
    let _turn = turn();
    let arena = Arena::new().unwrap();
    let ((lock, value, array, permits), (event, barrier, queue)) = shared(&arena);
    let (mut child, stranger) = program::<(Shared, Arena), Lock<u8>>("works_with_us");
    let all = (
        (lock.clone(), value.clone(), array.clone(), permits.clone()),
        (event.clone(), barrier.clone(), queue.clone()),
    );
    stranger.send(&(all, arena.clone())).unwrap();
    barrier.wait().unwrap();
    for _ in 0..1_000 {
        *lock.acquire().unwrap() += 1;
    }
    event.wait();
    assert_eq!(*lock.acquire().unwrap(), 2_000);
    assert_eq!(value.get().unwrap(), [1, 2]);
    assert_eq!(array.get(99_999).unwrap(), 7);
    assert_eq!(queue.get().unwrap(), "from a stranger");
    // Who has the arena can make more in it.
    assert_eq!(*stranger.recv().unwrap().acquire().unwrap(), 9);
    assert!(child.wait().unwrap().success());
    assert!(permits.try_acquire(), "its permit has come back");
}

#[test]
#[ignore = "runs in another program"]
fn works_with_us() {
    let Some(us) = to_us::<Lock<u8>, (Shared, Arena)>() else {
        return;
    };
    let (shared, arena) = us.recv().unwrap();
    let ((lock, value, array, permits), (event, barrier, queue)) = shared;
    permits.acquire();
    barrier.wait().unwrap();
    for _ in 0..1_000 {
        *lock.acquire().unwrap() += 1;
    }
    value.set([1, 2]).unwrap();
    array.set(99_999, 7).unwrap();
    queue.put(&"from a stranger".to_owned()).unwrap();
    event.set();
    us.send(&Lock::new_in(&arena, 9).unwrap()).unwrap();
}

#[test]
fn a_stranger_that_is_killed_is_heard_of() {
    let _turn = turn();
    let arena = Arena::new().unwrap();
    let ((lock, value, ..), (event, ..)) = shared(&arena);
    let (mut child, stranger) = program::<(Lock<u64>, Value<[u64; 2]>, Event), ()>("holds_on");
    stranger
        .send(&(lock.clone(), value.clone(), event.clone()))
        .unwrap();
    event.wait();
    assert!(lock.try_acquire().unwrap().is_none(), "the stranger has it");
    let waiting = std::thread::spawn(move || {
        let died = lock.acquire().unwrap_err();
        died.pid()
    });
    child.kill().unwrap();
    assert_eq!(waiting.join().unwrap(), Some(child.id()));
    child.wait().unwrap();
    assert!(value.get().is_err());
    assert_eq!(*value.acquire().unwrap_err().recover(), [1, 0]);
}

#[test]
#[ignore = "runs in another program"]
fn holds_on() {
    let Some(us) = to_us::<(), (Lock<u64>, Value<[u64; 2]>, Event)>() else {
        return;
    };
    let (lock, value, event) = us.recv().unwrap();
    let _held = lock.acquire().unwrap();
    let mut pair = value.acquire().unwrap();
    pair[0] = 1;
    event.set();
    loop {
        std::thread::park();
    }
}

#[test]
fn memory_travels_to_strangers() {
    let _turn = turn();
    let (mut child, stranger) = program::<SharedMemory, u8>("writes_into_memory");
    let plain = SharedMemory::new(100).unwrap();
    let named = SharedMemory::create_unique(100).unwrap();
    for memory in [&plain, &named] {
        memory.write_at(0, &[1]).unwrap();
        stranger.send(memory).unwrap();
        assert_eq!(stranger.recv().unwrap(), 1);
        let mut byte = [0];
        memory.read_at(99, &mut byte).unwrap();
        assert_eq!(byte, [2]);
    }
    assert!(child.wait().unwrap().success());
    let name = named.name().unwrap().to_owned();
    assert!(
        SharedMemory::attach(&name).is_ok(),
        "the stranger took it along"
    );
    drop(named);
    assert!(SharedMemory::attach(&name).is_err());
}

#[test]
#[ignore = "runs in another program"]
fn writes_into_memory() {
    let Some(us) = to_us::<u8, SharedMemory>() else {
        return;
    };
    for _ in 0..2 {
        let memory = us.recv().unwrap();
        let mut byte = [0];
        memory.read_at(0, &mut byte).unwrap();
        memory.write_at(99, &[2]).unwrap();
        us.send(&byte[0]).unwrap();
    }
}

#[test]
fn no_network_carries_an_arena() {
    let _turn = turn();
    let listener = Listener::at(Address::tcp("127.0.0.1:0")).bind().unwrap();
    let address = listener.address().clone();
    let client = std::thread::spawn(move || {
        let client: Connection<(), (Event, SharedMemory)> = Client::to(address).connect().unwrap();
        client
    });
    let server: Connection<(Event, SharedMemory), ()> = listener.accept().unwrap();
    let _client = client.join().unwrap();
    let event = Event::new_in(&Arena::new().unwrap()).unwrap();
    let memory = SharedMemory::new(1).unwrap();
    let refused = server.send(&(event, memory)).unwrap_err();
    assert!(
        matches!(refused, SendError::Transfer(TransferError::Network)),
        "{refused}"
    );
}

#[test]
fn strangers_cannot_bring_more_arenas_than_there_is_room_for() {
    let _turn = turn();
    // In a program of its own: arenas are for ever, and other tests need some.
    let (mut child, _stranger) = program::<(), ()>("has_no_room");
    assert!(child.wait().unwrap().success());
}

#[test]
#[ignore = "runs in another program"]
fn has_no_room() {
    let Some(_us) = to_us::<(), ()>() else {
        return;
    };
    let (mut child, stranger) = program::<(), Event>("brings_arenas");
    let mut have = Vec::new();
    let refused = loop {
        match stranger.recv() {
            Ok(event) => have.push(event),
            Err(refused) => break refused,
        }
    };
    assert_eq!(have.len(), 15);
    let full = ShmError::TooManyArenas { limit: 15 }.to_string();
    assert!(refused.to_string().contains(&full), "{refused}");
    // What there is works on, and so does the connection.
    have.iter().for_each(Event::set);
    assert!(have.iter().all(Event::is_set));
    stranger.send(&()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
#[ignore = "runs in another program"]
fn brings_arenas() {
    let Some(us) = to_us::<Event, ()>() else {
        return;
    };
    // Nobody has room for all of them: some come from one who has ended, whom this one plays by forking.
    for _ in 0..2 {
        // SAFETY: the child uses this thread only, and leaves by _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            for _ in 0..8 {
                let arena = Arena::new().unwrap();
                us.send(&Event::new_in(&arena).unwrap()).unwrap();
            }
            // SAFETY: leaves without running the parent's exit handlers.
            unsafe { libc::_exit(0) };
        }
        // SAFETY: our own child; its status is not asked for.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    }
    us.recv().unwrap();
}
