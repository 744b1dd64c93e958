//! Separate arenas: everything works in them as in the common one, and they travel with the handles into them.

mod turn;

use allcores::multiprocessing::process::Process;
use allcores::multiprocessing::{
    Barrier, BoundedSemaphore, Condition, Event, ForeignLock, Lock, OwnedSemaphore, Pipe, RLock,
    Semaphore, SimplexPipe, WaitError,
};
use allcores::shm::{Arena, ShmError, resident, usage};
use serde::{Deserialize, Serialize};
use turn::turn;

#[derive(Clone, Serialize, Deserialize)]
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
    fn new_in(arena: &Arena) -> Everything {
        Everything {
            lock: Lock::new_in(arena, 1).unwrap(),
            rlock: RLock::new_in(arena, 2).unwrap(),
            semaphore: Semaphore::new_in(arena, 3).unwrap(),
            bounded: BoundedSemaphore::new_in(arena, 4).unwrap(),
            owned: OwnedSemaphore::new_in(arena, 5).unwrap(),
            event: Event::new_in(arena).unwrap(),
            condition: Condition::new_in(arena).unwrap(),
            barrier: Barrier::new_in(arena, 2).unwrap(),
        }
    }
}

/// Uses each of them, as the other party of `the_other_half`.
fn half(all: Everything) -> u64 {
    all.barrier.wait().unwrap();
    assert_eq!(*all.rlock.acquire().unwrap(), 2);
    all.semaphore.acquire();
    assert_eq!(all.semaphore.value(), 2);
    assert!(all.bounded.release().is_err());
    assert!(all.owned.try_acquire());
    assert!(!all.event.is_set());
    let mut guard = all.lock.acquire().unwrap();
    *guard += 1;
    all.condition.notify_one(&guard).unwrap();
    let seen = *guard;
    drop(guard);
    all.event.wait();
    seen
}

#[test]
fn all_primitives_work_between_processes_in_a_separate_arena() {
    let _turn = turn();
    let before = usage().unwrap();
    let arena = Arena::new().unwrap();
    let all = Everything::new_in(&arena);
    assert_eq!(usage().unwrap(), before, "the common arena is as it was");
    let mut guard = all.lock.acquire().unwrap();
    let child = Process::new(half, all.clone()).start().unwrap();
    all.barrier.wait().unwrap();
    all.condition.wait_for(&mut guard, |n| **n == 2).unwrap();
    drop(guard);
    all.event.set();
    assert_eq!(child.result().unwrap(), 2);
    // The child has ended without returning its permit: it comes back to whoever needs it.
    for _ in 0..5 {
        assert!(all.owned.try_acquire());
    }
    assert_eq!(usage().unwrap(), before, "the common arena is as it was");
}

#[test]
fn an_arena_travels_and_stays_itself() {
    let _turn = turn();
    let arena = Arena::new().unwrap();
    let (a, b) = Pipe::<Arena, Arena>().unwrap();
    a.send(&arena).unwrap();
    assert!(b.recv().unwrap().same(&arena));
    // What is made in it by another process is there for this one.
    let child = Process::new(make_one, arena.clone()).start().unwrap();
    let lock = child.result().unwrap();
    assert_eq!(*lock.acquire().unwrap(), 7);
    let other = Arena::new().unwrap();
    assert!(!other.same(&arena));
}

fn make_one(arena: Arena) -> Lock<u64> {
    Lock::new_in(&arena, 7).unwrap()
}

#[test]
fn a_pipe_that_carries_no_descriptor_carries_no_arena() {
    let _turn = turn();
    let arena = Arena::new().unwrap();
    let (_reader, writer) = SimplexPipe::<Event>().unwrap();
    let refused = writer.send(&Event::new_in(&arena).unwrap()).unwrap_err();
    assert!(refused.to_string().contains("duplex Pipe()"), "{refused}");
}

#[test]
fn a_condition_and_its_lock_lie_in_one_arena() {
    let _turn = turn();
    let arena = Arena::new().unwrap();
    let lock = Lock::new(0u8).unwrap();
    let condition = Condition::new_in(&arena).unwrap();
    let mut guard = lock.acquire().unwrap();
    assert_eq!(
        condition.wait(&mut guard),
        Err(WaitError::ForeignLock(ForeignLock))
    );
}

#[test]
fn there_are_fifteen_places_for_arenas() {
    let _turn = turn();
    // In a process of its own: arenas are for ever.
    let child = Process::new(as_many_as_there_are, ()).start().unwrap();
    assert_eq!(child.result().unwrap(), 15);
}

fn as_many_as_there_are(_: ()) -> usize {
    let event = Event::new().unwrap(); // the common one
    let before = address_space();
    let mut arenas = Vec::new();
    let refused = loop {
        match Arena::new() {
            Ok(arena) => arenas.push(Lock::new_in(&arena, arenas.len()).unwrap()),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(refused, ShmError::TooManyArenas { limit: 15 }),
        "{refused}"
    );
    assert!(address_space() > before);
    // What cannot be had costs nothing.
    let full = address_space();
    for _ in 0..100 {
        assert!(Arena::new().is_err());
    }
    assert_eq!(address_space(), full);
    // Those that there are work on.
    for (number, lock) in arenas.iter().enumerate() {
        assert_eq!(*lock.acquire().unwrap(), number);
    }
    event.set();
    arenas.len() + 1
}

/// In pages.
fn address_space() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// A little more than half of a power of two.
const LARGE: usize = 140_000;

#[test]
fn what_is_large_takes_what_it_needs_and_gives_it_back() {
    let _turn = turn();
    // The first of its size may lie where the arena has had memory already.
    drop(Lock::new([0u8; LARGE]).unwrap());
    let before = resident().unwrap();
    let large = Lock::new([1u8; LARGE]).unwrap();
    let taken = resident().unwrap() - before;
    // Cells are powers of two; their memory is not.
    assert!(
        (LARGE - 2 * 4096..LARGE + 2 * 4096).contains(&(taken as usize)),
        "{taken}"
    );
    drop(large);
    let left = resident().unwrap() - before;
    assert!(left <= 4 * 4096, "{left}");
    // Again, at the same place, and nothing of what was there shines through.
    let others: Vec<_> = (0..3u8)
        .map(|n| Barrier::new(60_000 + u32::from(n)).unwrap())
        .collect();
    // Nobody has touched these yet, but they have their memory.
    let taken = resident().unwrap() - before;
    assert!(taken > 3 * 60_000 * 8, "{taken}");
    let large = Lock::new([2u8; LARGE]).unwrap();
    assert!(large.acquire().unwrap().iter().all(|byte| *byte == 2));
    drop((large, others));
    let left = resident().unwrap() - before;
    assert!(left <= 16 * 4096, "{left}");
}

#[test]
fn no_room_is_an_error_and_nothing_is_lost() {
    let _turn = turn();
    let child = Process::new(without_room, ()).start().unwrap();
    child.result().unwrap();
}

fn without_room(_: ()) {
    // A limit on the size of files holds for memory files too, and its default is a signal that kills.
    let arena = Arena::new().unwrap();
    let kept = Lock::new_in(&arena, 5u64).unwrap();
    limit_files(4 << 20);
    let mut filled = Vec::new();
    let refused = loop {
        match Lock::new_in(&arena, [3u8; LARGE]) {
            Ok(lock) => filled.push(lock),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, ShmError::NoSpace { .. }), "{refused:?}");
    assert!(refused.to_string().contains("ulimit -f"), "{refused}");
    let many = loop {
        match Lock::new_in(&arena, [3u8; 1000]) {
            Ok(lock) => std::mem::forget(lock),
            Err(error) => break error,
        }
    };
    assert!(matches!(many, ShmError::NoSpace { .. }), "{many:?}");
    assert!(!filled.is_empty());
    for lock in &filled {
        assert!(lock.acquire().unwrap().iter().all(|byte| *byte == 3));
    }
    *kept.acquire().unwrap() += 1;
    limit_files(libc::RLIM_INFINITY);
    let more = Lock::new_in(&arena, [4u8; LARGE]).unwrap();
    assert!(more.acquire().unwrap().iter().all(|byte| *byte == 4));
    assert_eq!(*kept.acquire().unwrap(), 6);
}

fn limit_files(bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a valid limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
}
