//! Workers are killed at random instants while they use one primitive; the others must go on, with nothing broken.
//!
//! Seen red: with `ALLCORES_TEST_DEAF=1`, which the controls at the end check; and as each test says.

mod death;

use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::Duration;

use allcores::multiprocessing::{
    Barrier, Condition, Event, Lock, LockGuard, OwnedSemaphore, RLock, Semaphore,
};
use allcores::shm;
use death::{Process, Seat, Storm, Test, children, control, descriptors, page, run};

const TESTS: &[Test] = &[
    ("lock_storm", lock_storm),
    ("lock_storm_of_threads", lock_storm_of_threads),
    ("rlock_storm", rlock_storm),
    ("semaphore_storm", semaphore_storm),
    ("owned_permit_storm", owned_permit_storm),
    ("condition_storm", condition_storm),
    ("barrier_storm", barrier_storm),
    ("event_storm", event_storm),
    ("cell_storm", cell_storm),
    ("lock_storm_sees_a_hang", || control("lock_storm")),
    ("rlock_storm_sees_a_hang", || control("rlock_storm")),
];

fn main() {
    run(TESTS);
}

/// What must be the same after a storm as before.
struct Tidy {
    cells: usize,
    bytes: u64,
    pins: usize,
    descriptors: usize,
}

impl Tidy {
    fn now() -> Tidy {
        shm::settle_the_dead().unwrap();
        let (cells, bytes, pins) = shm::usage().unwrap();
        Tidy {
            cells,
            bytes,
            pins,
            descriptors: descriptors(),
        }
    }

    /// `lost` messages may have been on their way when their sender died.
    #[track_caller]
    fn check(&self, lost: usize) {
        let now = Tidy::now();
        assert_eq!(children(), "", "children that were not waited for");
        assert_eq!(now.descriptors, self.descriptors, "descriptors");
        assert!(
            now.pins - self.pins <= lost,
            "{} pins are left",
            now.pins - self.pins
        );
        let pins = now.pins - self.pins;
        assert!(
            now.cells <= self.cells + pins && now.cells >= self.cells,
            "{} cells, {} before, {pins} pinned",
            now.cells,
            self.cells
        );
        if pins == 0 {
            assert_eq!(now.bytes, self.bytes, "bytes");
        }
    }
}

/// Two numbers that are equal whenever nobody is inside; the rest makes the window long.
type Account = [u64; 16];

fn with_lock(lock: &Lock<Account>, seat: &Seat) {
    let (mut guard, died) = match lock.acquire() {
        Ok(guard) => (guard, false),
        Err(died) => (died.into_guard(), true),
    };
    seat.enter(died);
    if died {
        seat.floor.told.fetch_add(1, SeqCst);
        let most = *guard.iter().max().unwrap();
        guard.fill(most);
        guard.recover();
    }
    let first = guard[0];
    if guard.iter().any(|one| *one != first) {
        seat.complain("half a change, and nobody told me");
    }
    for place in 0..guard.len() {
        guard[place] += 1;
        seat.dwell();
    }
    seat.leave();
}

/// Seen red: `acquire_slow` takes over from the dead without MARKED.
fn lock_storm() {
    let lock = Lock::new([0; 16]).unwrap();
    let tidy = Tidy::now();
    let storm = Storm::new(4, 1, 1200);
    storm.rage(
        &|seat| with_lock(&lock, seat),
        |_| {},
        || eprintln!("{lock:?}"),
    );
    assert!(storm.floor.told.load(SeqCst) > 0, "nobody died inside");
    tidy.check(0);
}

/// Seen red: as `lock_storm`.
fn lock_storm_of_threads() {
    let lock = Lock::new([0; 16]).unwrap();
    let tidy = Tidy::now();
    let storm = Storm::new(3, 3, 600);
    storm.rage(
        &|seat| with_lock(&lock, seat),
        |_| {},
        || eprintln!("{lock:?}"),
    );
    tidy.check(0);
}

fn rlock_storm() {
    let lock = RLock::new(()).unwrap();
    let tidy = Tidy::now();
    let storm = Storm::new(4, 2, 800);
    let work = |seat: &Seat| {
        let died = lock.hold().is_err();
        seat.enter(died);
        if died {
            seat.floor.told.fetch_add(1, SeqCst);
            lock.recover();
        }
        assert!(lock.try_hold().unwrap(), "the same thread");
        lock.hold().unwrap();
        lock.release().unwrap();
        seat.dwell();
        lock.release().unwrap();
        seat.leave();
        lock.release().unwrap();
        assert!(lock.release().is_err() || lock.is_mine());
    };
    storm.rage(&work, |_| {}, || eprintln!("{lock:?}"));
    assert!(storm.floor.told.load(SeqCst) > 0, "nobody died inside");
    tidy.check(0);
}

/// Two permits go round. A killed worker takes the one it had along; where nobody can know whether it had one, one is
/// returned in its place, and counted as doubtful.
///
/// Seen red: `release` that returns one permit too many.
fn semaphore_storm() {
    const IDLE: u32 = 0;
    const TAKING: u32 = 1;
    const HOLDING: u32 = 2;
    const RETURNING: u32 = 3;
    let permits = Semaphore::new(2).unwrap();
    let tidy = Tidy::now();
    let storm = Storm::new(4, 2, 1000);
    let work = |seat: &Seat| {
        seat.note(TAKING);
        permits.acquire();
        seat.note(HOLDING);
        seat.dwell();
        seat.note(RETURNING);
        permits.release().unwrap();
        seat.note(IDLE);
    };
    let mut doubtful = 0;
    let buried = |seats: std::ops::Range<usize>| {
        for note in &storm.floor.notes[seats] {
            let note = note.swap(IDLE, SeqCst);
            doubtful += u32::from(note == TAKING || note == RETURNING);
            if note != IDLE {
                permits.release().unwrap();
            }
        }
    };
    storm.rage(&work, buried, || eprintln!("{permits:?}"));
    let value = permits.value();
    assert!(
        (2..=2 + doubtful).contains(&value),
        "{value} permits, {doubtful} doubtful"
    );
    tidy.check(0);
}

/// One permit for eight threads; whoever is killed with it gives it back by that, so nobody ever waits for the dead.
///
/// Seen red: `reclaim_the_dead` that finds nobody.
fn owned_permit_storm() {
    let permits = OwnedSemaphore::new(1).unwrap();
    let tidy = Tidy::now();
    let storm = Storm::new(4, 2, 600);
    let work = |seat: &Seat| {
        let permit = permits.permit();
        // The last one may have been killed inside: two who live are never.
        seat.enter(true);
        if permits.value() > 0 {
            seat.complain("a permit too many");
        }
        seat.dwell();
        seat.leave();
        drop(permit);
    };
    storm.rage(&work, |_| {}, || eprintln!("{permits:?}"));
    assert!(permits.try_acquire(), "the permit is lost");
    assert!(!permits.try_acquire(), "a permit out of nothing");
    permits.release().unwrap();
    tidy.check(0);
}

fn acquire(lock: &Lock<Account>) -> LockGuard<'_, Account> {
    lock.acquire().unwrap_or_else(|died| {
        let guard = died.into_guard();
        guard.recover();
        guard
    })
}

/// Tokens are handed from those who make them to those who wait for them; a bounded store on both ends, one condition.
///
/// Seen red: `finish` that leaves its slot in use.
fn condition_storm() {
    let store = Lock::new([0; 16]).unwrap();
    let changed = Condition::new().unwrap();
    let tidy = Tidy::now();
    let storm = Storm::new(6, 1, 600);
    let work = |seat: &Seat| {
        let giver = seat.number.is_multiple_of(2);
        let mut guard = acquire(&store);
        let may = |store: &Account| if giver { store[0] < 3 } else { store[0] > 0 };
        while !may(&guard) && !seat.stopping() {
            // One that died holding the lock may have changed the store and told nobody: whoever is told of the death looks,
            // and so do those who wait this long in vain.
            match changed.wait_timeout(&mut guard, Duration::from_millis(50)) {
                Ok(_) => {}
                Err(_) => guard.recover(),
            }
        }
        if may(&guard) {
            guard[0] = if giver { guard[0] + 1 } else { guard[0] - 1 };
            if guard[0] > 3 {
                seat.complain("more tokens than there is room for");
            }
        }
        changed.notify_one(&guard).unwrap();
    };
    storm.rage(&work, |_| {}, || eprintln!("{changed:?}"));
    // Whatever the dead have left in the queue is found and let go.
    let guard = acquire(&store);
    changed.notify_all(&guard).unwrap();
    assert_eq!(changed.notify_all(&guard).unwrap(), 0, "nobody waits");
    drop(guard);
    tidy.check(0);
}

/// All must come for one to go on, and one of them acts before they do. Killed before it came, its successor comes in its
/// place; killed after that, it breaks the barrier, and the others mend it. No time-out ends a wait but that of a hang.
///
/// Seen red: the others are let go before the action. That somebody looks for dead parties is not seen here, where successors
/// come: see `barrier_reached` in death_steps, and the models.
fn barrier_storm() {
    const PARTIES: usize = 4;
    let barrier = Barrier::new(PARTIES as u32).unwrap();
    let tidy = Tidy::now();
    let storm = Storm {
        survivors_go_on: false,
        ..Storm::new(PARTIES, 1, 500)
    };
    let work = |seat: &Seat| {
        let action = || {
            // The last one to act may have been killed at it.
            seat.enter(true);
            seat.dwell();
            seat.leave();
        };
        match barrier.wait_with(action) {
            Ok(passed) => {
                if passed.index() as usize >= PARTIES {
                    seat.complain("an index out of range");
                }
                if !seat.is_nobody_inside() {
                    seat.complain("passed before the action was over");
                }
                seat.floor.told.fetch_add(1, SeqCst);
            }
            Err(_) if barrier.broken() && !seat.stopping() => barrier.reset(),
            Err(_) => {}
        }
    };
    let tell = || eprintln!("{barrier:?}");
    storm.rage_to_the_end(&work, |_| {}, tell, || barrier.abort());
    assert!(storm.floor.told.load(SeqCst) > 0, "nobody ever passed");
    barrier.reset();
    assert!(!barrier.broken() && barrier.n_waiting() == 0);
    tidy.check(0);
}

/// Two wait, each for its own event; three set the event of whoever asks, once for each asking. A wake-up that is lost, or
/// dies with the one who owed it, leaves somebody asleep whose event is set.
///
/// Seen red: `set` that wakes nobody.
fn event_storm() {
    const WAITERS: usize = 2;
    let events = [0; WAITERS].map(|_| Event::new().unwrap());
    // SAFETY: atomics.
    let asked = unsafe { page::<[AtomicU32; WAITERS]>() };
    let tidy = Tidy::now();
    // Two are killed at once, at most: one who sets is left.
    let storm = Storm::new(WAITERS + 3, 1, 800);
    let work = |seat: &Seat| {
        if let (Some(mine), Some(asked)) = (events.get(seat.number), asked.get(seat.number)) {
            asked.store(1, SeqCst);
            mine.wait();
            // In this order: who sees the event cleared must not see the last asking any more.
            asked.store(0, SeqCst);
            mine.clear();
            seat.floor.told.fetch_add(1, SeqCst);
        } else {
            for (event, asked) in events.iter().zip(asked) {
                if asked.load(SeqCst) == 1 && !event.is_set() {
                    event.set();
                }
            }
        }
    };
    let tell = || eprintln!("{events:?} {asked:?}");
    storm.rage_to_the_end(&work, |_| {}, tell, || events.iter().for_each(Event::set));
    assert!(
        storm.floor.told.load(SeqCst) > 0,
        "no wait was ended by set"
    );
    tidy.check(0);
}

/// Cells are made, opened through another mapping, cloned and dropped; what the killed had comes back.
///
/// Seen red: `guarded.settle` that lets go of nothing.
fn cell_storm() {
    let lock = Lock::new([0; 16]).unwrap();
    let again = shm::map_common_again().unwrap();
    drop(lock.through(again).unwrap());
    let tidy = Tidy::now();
    let storm = Storm::new(4, 2, 800);
    let work = |seat: &Seat| {
        let mut own = Vec::new();
        for _ in 0..3 {
            own.push(Lock::new([0; 16]).unwrap());
        }
        let event = Event::new().unwrap();
        let copy = own[1].clone();
        own.remove(0);
        with_lock(&lock, seat);
        let through = lock.through(again).unwrap();
        with_lock(&through, seat);
        drop((own, event, copy));
    };
    let kills = std::cell::Cell::new(0);
    storm.rage(
        &work,
        |seats| kills.set(kills.get() + seats.len()),
        || eprintln!("{lock:?}"),
    );
    tidy.check(kills.get());
    let newcomer = Process::start(|| drop(Lock::new(0u64).unwrap()));
    newcomer.succeeds();
}
