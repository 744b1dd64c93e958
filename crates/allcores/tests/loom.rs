//! Every word of the primitives under loom: all interleavings with at most two preemptions (`LOOM_MAX_PREEMPTIONS`).
//!
//! `RUSTFLAGS="--cfg allcores_loom" CARGO_TARGET_DIR=target-loom cargo test -p allcores --test loom --release`
#![cfg(allcores_loom)]

use allcores::sync::barrier::{Arrived, BarrierWaited};
use allcores::sync::model::{self, Timer, be, killed_at, mortal};
use allcores::sync::owned::SLOTS;
use allcores::sync::{
    Acquired, Barrier, Condition, Deadline, Event, Lock, OwnedSemaphore, RLock, Scope, Semaphore,
    Waited,
};
use loom::cell::UnsafeCell;
use loom::thread::{JoinHandle, spawn, yield_now};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32};

const S: Scope = Scope::PRIVATE;
const NEVER: Deadline = Deadline::NEVER;

fn check(model: impl Fn() + Send + Sync + 'static) {
    check_fewer(0, model);
}

/// With fewer preemptions than elsewhere, where there is too much to see.
fn check_fewer(fewer: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(builder.preemption_bound.unwrap_or(2) - fewer);
    builder.max_branches = 20_000;
    builder.check(model);
}

fn run<T: 'static>(
    owner: u32,
    thread: u32,
    life: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    spawn(move || {
        be(owner, thread);
        life()
    })
}

/// What a lock protects: loom reports two who touch it at once, or one who does not see what the last one wrote.
struct Data(UnsafeCell<u32>);

// SAFETY: loom checks the accesses.
unsafe impl Sync for Data {}
// SAFETY: as above.
unsafe impl Send for Data {}

impl Data {
    fn new() -> Data {
        Data(UnsafeCell::new(0))
    }
    fn add(&self) {
        // SAFETY: loom checks that nobody else has it.
        self.0.with_mut(|data| unsafe { *data += 1 });
    }
    fn get(&self) -> u32 {
        // SAFETY: as above.
        self.0.with(|data| unsafe { *data })
    }
}

fn release(lock: &Lock) {
    // SAFETY: borrowed, hence live.
    unsafe { Lock::release(lock, S) }.unwrap();
}

#[test]
fn lock_excludes() {
    check(|| {
        let shared = Arc::new((Lock::new(), Data::new()));
        let turn = |(lock, data): &(Lock, Data)| {
            assert_eq!(lock.acquire(S, NEVER), Acquired::Yes);
            data.add();
            release(lock);
        };
        let others = [2, 3].map(|owner| {
            let shared = shared.clone();
            run(owner, owner, move || turn(&shared))
        });
        be(1, 1);
        turn(&shared);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(shared.1.get(), 3);
        assert!(!shared.0.is_held());
    });
}

#[test]
fn lock_with_a_waiter_that_times_out() {
    check(|| {
        let shared = Arc::new((Lock::new(), Data::new()));
        let timer = Timer::new();
        be(1, 1);
        assert_eq!(shared.0.acquire(S, NEVER), Acquired::Yes);
        let others = [(2, timer.deadline()), (3, NEVER)].map(|(owner, deadline)| {
            let shared = shared.clone();
            run(owner, owner, move || {
                let (lock, data) = &*shared;
                let taken = lock.acquire(S, deadline);
                if taken.is_held() {
                    data.add();
                    release(lock);
                }
                taken
            })
        });
        release(&shared.0);
        // In between the one that was woken, who sleeps again, and whose time is up.
        assert_eq!(shared.0.acquire(S, NEVER), Acquired::Yes);
        timer.fire();
        shared.1.add();
        release(&shared.0);
        let [timed, patient] = others.map(|other| other.join().unwrap());
        assert!(matches!(timed, Acquired::Yes | Acquired::TimedOut));
        assert_eq!(patient, Acquired::Yes);
        assert_eq!(shared.1.get(), 2 + u32::from(timed == Acquired::Yes));
    });
}

#[test]
fn lock_whose_owner_is_killed_at_any_step() {
    for point in 0..7 {
        check(move || {
            let shared = Arc::new((Lock::new(), Data::new()));
            let inside = Arc::new(AtomicBool::new(false));
            let victim = {
                let (shared, inside) = (shared.clone(), inside.clone());
                run(2, 2, move || {
                    killed_at(point, || {
                        let (lock, data) = &*shared;
                        let _ = lock.acquire(S, NEVER);
                        if lock.is_marked() {
                            lock.recover();
                        }
                        inside.store(true, SeqCst);
                        data.add();
                        lock.is_marked();
                        inside.store(false, SeqCst);
                        release(lock);
                    })
                })
            };
            let heir = |(lock, data): &(Lock, Data)| {
                let taken = lock.acquire(S, NEVER);
                assert!(matches!(taken, Acquired::Yes | Acquired::OwnerDied(2)));
                lock.recover();
                data.add();
                release(lock);
                u32::from(taken != Acquired::Yes)
            };
            let other = {
                let shared = shared.clone();
                run(3, 3, move || heir(&shared))
            };
            be(1, 1);
            let told = heir(&shared) + other.join().unwrap();
            let survived = victim.join().unwrap();
            // It may have died after the others were through.
            let last = shared.0.acquire(S, NEVER);
            let told = told + u32::from(last != Acquired::Yes);
            assert!(told <= 1);
            assert!(!survived || told == 0);
            assert!(!inside.load(SeqCst) || told == 1);
        });
    }
}

#[test]
fn lock_is_marked_while_others_wait() {
    check(|| {
        let lock = Arc::new(Lock::new());
        be(1, 1);
        assert_eq!(lock.acquire(S, NEVER), Acquired::Yes);
        let other = {
            let lock = lock.clone();
            run(2, 2, move || {
                assert_eq!(lock.acquire(S, NEVER), Acquired::OwnerDied(0));
                lock.recover();
                release(&lock);
            })
        };
        lock.mark();
        release(&lock);
        other.join().unwrap();
        assert_eq!(lock.acquire(S, NEVER), Acquired::Yes);
    });
}

#[test]
fn rlock_is_held_many_times_by_one() {
    check(|| {
        let shared = Arc::new((RLock::new(), Data::new()));
        let turn = |(lock, data): &(RLock, Data)| {
            for _ in 0..2 {
                assert_eq!(lock.acquire(S, NEVER), Acquired::Yes);
                data.add();
            }
            for _ in 0..2 {
                // SAFETY: borrowed, hence live.
                unsafe { RLock::release(lock, S) }.unwrap();
            }
        };
        // Two threads of one owner, as in one process.
        let other = {
            let shared = shared.clone();
            run(1, 2, move || turn(&shared))
        };
        be(1, 1);
        turn(&shared);
        other.join().unwrap();
        assert_eq!(shared.1.get(), 4);
        assert!(!shared.0.lock().is_held());
    });
}

/// The heirs are of the dead thread's own process, of others, or both.
fn rlock_outlives_its_thread(heirs: [u32; 2]) {
    check(move || {
        let shared = Arc::new((RLock::new(), Data::new()));
        be(1, 1);
        let _ = shared.0.acquire(S, NEVER);
        shared.1.add();
        let heir = |(lock, data): &(RLock, Data)| {
            let taken = lock.acquire(S, NEVER);
            assert!(taken.is_held());
            lock.lock().recover();
            data.add();
            // SAFETY: borrowed, hence live.
            unsafe { RLock::release(lock, S) }.unwrap();
            u32::from(taken == Acquired::OwnerDied(1))
        };
        let mut thread = 1;
        let others = heirs.map(|owner| {
            let shared = shared.clone();
            thread += 1;
            run(owner, thread, move || heir(&shared))
        });
        model::end_thread(1, 1);
        let told: u32 = others.map(|other| other.join().unwrap()).iter().sum();
        assert_eq!(told, 1);
        assert_eq!(shared.1.get(), 3);
        assert!(!shared.0.lock().is_held());
    });
}

#[test]
fn rlock_outlives_its_thread_for_the_same_process() {
    rlock_outlives_its_thread([1, 1]);
}

#[test]
fn rlock_outlives_its_thread_for_another_process() {
    rlock_outlives_its_thread([2, 3]);
}

#[test]
fn rlock_outlives_its_thread_for_both() {
    rlock_outlives_its_thread([1, 2]);
}

/// Threads end, and whoever takes over is killed while doing so.
#[test]
fn rlock_whose_heir_is_killed_at_any_step() {
    for heir in [1, 2] {
        for point in 0..14 {
            check(move || {
                let shared = Arc::new((RLock::new(), Data::new()));
                be(4, 1);
                let _ = shared.0.acquire(S, NEVER);
                model::end_thread(4, 1);
                let turn = |(lock, data): &(RLock, Data)| {
                    let taken = lock.acquire(S, NEVER);
                    assert!(taken.is_held());
                    lock.lock().recover();
                    data.add();
                    // SAFETY: borrowed, hence live.
                    unsafe { RLock::release(lock, S) }.unwrap();
                };
                let victim = {
                    let shared = shared.clone();
                    run(heir, 2, move || killed_at(point, || turn(&shared)))
                };
                be(3, 3);
                turn(&shared);
                victim.join().unwrap();
                let _ = shared.0.acquire(S, NEVER);
            });
        }
    }
}

#[test]
fn semaphore_permits_come_one_by_one() {
    check(|| {
        let semaphore = Arc::new(Semaphore::new(0, 2));
        let sleepers = [2, 3].map(|owner| {
            let semaphore = semaphore.clone();
            run(owner, owner, move || semaphore.acquire(S, NEVER))
        });
        be(1, 1);
        for _ in 0..2 {
            // SAFETY: borrowed, hence live.
            unsafe { Semaphore::release(&*semaphore, S, 1) }.unwrap();
        }
        assert_eq!(
            sleepers.map(|sleeper| sleeper.join().unwrap()),
            [Waited::Yes; 2]
        );
        assert_eq!(semaphore.value(), 0);
    });
}

#[test]
fn semaphore_with_a_waiter_that_times_out() {
    check(|| {
        let semaphore = Arc::new(Semaphore::new(0, 1));
        let timer = Timer::new();
        let sleepers = [(2, timer.deadline()), (3, NEVER)].map(|(owner, deadline)| {
            let semaphore = semaphore.clone();
            run(owner, owner, move || {
                let waited = semaphore.acquire(S, deadline);
                if waited == Waited::Yes {
                    // SAFETY: borrowed, hence live.
                    unsafe { Semaphore::release(&*semaphore, S, 1) }.unwrap();
                }
                waited
            })
        });
        be(1, 1);
        timer.fire();
        // SAFETY: borrowed, hence live.
        unsafe { Semaphore::release(&*semaphore, S, 1) }.unwrap();
        let [_, patient] = sleepers.map(|sleeper| sleeper.join().unwrap());
        assert_eq!(patient, Waited::Yes);
        assert_eq!(semaphore.value(), 1);
    });
}

#[test]
fn semaphore_is_bounded() {
    check(|| {
        let semaphore = Arc::new(Semaphore::new(0, 1));
        // SAFETY: borrowed, hence live.
        let give = |semaphore: &Semaphore| unsafe { Semaphore::release(semaphore, S, 1) }.is_ok();
        let other = {
            let semaphore = semaphore.clone();
            run(2, 2, move || give(&semaphore))
        };
        be(1, 1);
        let mine = give(&semaphore);
        assert!(mine != other.join().unwrap());
        assert_eq!(semaphore.value(), 1);
    });
}

#[test]
fn event_wakes_all() {
    check(|| {
        let event = Arc::new(Event::new());
        let sleepers = [2, 3].map(|owner| {
            let event = event.clone();
            run(owner, owner, move || event.wait(S, NEVER))
        });
        be(1, 1);
        // SAFETY: borrowed, hence live.
        unsafe { Event::set(&*event, S) };
        assert_eq!(
            sleepers.map(|sleeper| sleeper.join().unwrap()),
            [Waited::Yes; 2]
        );
    });
}

#[test]
fn event_set_and_cleared_at_once_releases_a_sleeper() {
    check(|| {
        let event = Arc::new(Event::new());
        let sleeper = {
            let event = event.clone();
            run(2, 2, move || event.wait(S, NEVER))
        };
        be(1, 1);
        while model::sleepers() == 0 {
            yield_now();
        }
        // SAFETY: borrowed, hence live.
        unsafe { Event::set(&*event, S) };
        event.clear();
        assert_eq!(sleeper.join().unwrap(), Waited::Yes);
    });
}

#[test]
fn event_cleared_then_looked_loses_nothing() {
    check(|| {
        let shared = Arc::new((Event::new(), loom::sync::atomic::AtomicU32::new(0)));
        // SAFETY: borrowed, hence live.
        unsafe { Event::set(&shared.0, S) };
        let producer = {
            let shared = shared.clone();
            run(2, 2, move || {
                shared.1.store(1, Relaxed);
                // SAFETY: borrowed, hence live.
                unsafe { Event::set(&shared.0, S) };
            })
        };
        be(1, 1);
        shared.0.clear();
        let seen = shared.1.load(Relaxed);
        producer.join().unwrap();
        assert!(seen == 1 || shared.0.is_set());
    });
}

#[test]
fn condition_grants_are_neither_lost_nor_multiplied() {
    check(|| {
        let shared = Arc::new((Lock::new(), Condition::new()));
        let timer = Timer::new();
        let sleepers = [2, 3].map(|owner| {
            let shared = shared.clone();
            run(owner, owner, move || {
                let (lock, condition) = &*shared;
                let _ = lock.acquire(S, NEVER);
                let ticket = condition.enlist(S).unwrap();
                release(lock);
                let _ = condition.sleep(S, &ticket, timer.deadline());
                let _ = lock.acquire(S, NEVER);
                let notified = condition.finish(S, ticket);
                release(lock);
                u32::from(notified)
            })
        });
        be(1, 1);
        let (lock, condition) = &*shared;
        let _ = lock.acquire(S, NEVER);
        let granted = condition.notify(S, 1);
        release(lock);
        timer.fire();
        let notified: u32 = sleepers.map(|sleeper| sleeper.join().unwrap()).iter().sum();
        assert_eq!(notified, granted);
        assert_eq!(condition.waiting(), 0);
    });
}

#[test]
fn condition_wakes_those_it_notifies() {
    check(|| {
        let condition = Arc::new(Condition::new());
        let sleepers = [2, 3].map(|owner| {
            be(owner, owner);
            let ticket = condition.enlist(S).unwrap();
            let condition = condition.clone();
            run(owner, owner, move || {
                assert_eq!(condition.sleep(S, &ticket, NEVER), Waited::Yes);
                condition.finish(S, ticket)
            })
        });
        be(1, 1);
        assert_eq!(condition.notify(S, 1), 1);
        assert_eq!(condition.notify_all(S), 1);
        assert_eq!(sleepers.map(|sleeper| sleeper.join().unwrap()), [true; 2]);
    });
}

#[test]
fn condition_waiter_killed_at_any_step_hands_its_grant_on() {
    for point in 0..12 {
        check(move || {
            let condition = Arc::new(Condition::new());
            let [victim, next] = [2, 3].map(|owner| {
                be(owner, owner);
                (owner, condition.enlist(S).unwrap(), condition.clone())
            });
            let victim = {
                let (owner, ticket, condition) = victim;
                run(owner, owner, move || {
                    killed_at(point, move || {
                        let _ = condition.sleep(S, &ticket, NEVER);
                        assert!(condition.finish(S, ticket));
                    })
                })
            };
            let next = {
                let (owner, ticket, condition) = next;
                run(owner, owner, move || {
                    assert_eq!(condition.sleep(S, &ticket, NEVER), Waited::Yes);
                    condition.finish(S, ticket)
                })
            };
            be(1, 1);
            assert_eq!(condition.notify(S, 1), 1);
            if victim.join().unwrap() {
                assert_eq!(condition.notify(S, 1), 1);
            }
            assert!(next.join().unwrap());
            // The dead leave nothing that would cost a notification for ever.
            let _ = condition.notify(S, 1);
            let _ = condition.notify(S, 1);
            assert_eq!(condition.waiting(), 0);
        });
    }
}

#[test]
fn condition_abandoned_while_it_is_notified() {
    check(|| {
        let condition = Arc::new(Condition::new());
        let [leaver, stayer] = [2, 3].map(|owner| {
            be(owner, owner);
            (condition.enlist(S).unwrap(), condition.clone())
        });
        let leaver = run(2, 2, move || {
            let (ticket, condition) = leaver;
            condition.abandon(S, ticket);
        });
        let stayer = run(3, 3, move || {
            let (ticket, condition) = stayer;
            assert_eq!(condition.sleep(S, &ticket, NEVER), Waited::Yes);
            assert!(condition.finish(S, ticket));
        });
        be(1, 1);
        assert_eq!(condition.notify(S, 1), 1);
        leaver.join().unwrap();
        stayer.join().unwrap();
        assert_eq!(condition.waiting(), 0);
    });
}

type Who = Vec<model::AtomicU64>;

fn barrier(parties: u32) -> Arc<(Barrier, Who)> {
    let who = (0..parties).map(|_| model::AtomicU64::new(0)).collect();
    Arc::new((Barrier::new(parties), who))
}

/// What a party does; whether it passed, and with what index.
fn pass((barrier, who): &(Barrier, Who), deadline: Deadline) -> Result<u32, BarrierWaited> {
    match barrier.arrive(S, who, deadline) {
        Arrived::Yes(arrival) if arrival.last => barrier
            .complete(S, arrival)
            .map(|()| arrival.index)
            .map_err(|_| BarrierWaited::Broken),
        Arrived::Yes(arrival) => match barrier.sleep(S, who, &arrival, deadline) {
            BarrierWaited::Passed => Ok(arrival.index),
            other => Err(other),
        },
        Arrived::Broken => Err(BarrierWaited::Broken),
        other => panic!("{other:?}: there are no more threads than parties"),
    }
}

#[test]
fn barrier_lets_all_pass_again_and_again() {
    check(|| {
        let shared = barrier(2);
        let data = Arc::new([Data::new(), Data::new()]);
        let party = |shared: &(Barrier, Who), data: &[Data; 2], mine: usize| {
            [0, 1].map(|round| {
                if round == mine {
                    data[round].add();
                }
                let index = pass(shared, NEVER).unwrap();
                assert_eq!(data[round].get(), 1);
                index
            })
        };
        let other = {
            let (shared, data) = (shared.clone(), data.clone());
            run(2, 2, move || party(&shared, &data, 1))
        };
        be(1, 1);
        let mine = party(&shared, &data, 0);
        let theirs = other.join().unwrap();
        assert!(mine[0] + theirs[0] == 1 && mine[1] + theirs[1] == 1);
    });
}

#[test]
fn barrier_of_three() {
    check_fewer(1, || {
        let shared = barrier(3);
        let others = [2, 3].map(|owner| {
            let shared = shared.clone();
            run(owner, owner, move || pass(&shared, NEVER).unwrap())
        });
        be(1, 1);
        let mine = 1 << pass(&shared, NEVER).unwrap();
        let theirs = others.map(|other| 1 << other.join().unwrap());
        assert_eq!(mine | theirs[0] | theirs[1], 0b111);
    });
}

#[test]
fn barrier_time_out_against_the_last_arrival() {
    check(|| {
        let shared = barrier(2);
        let timer = Timer::new();
        let timed = {
            let shared = shared.clone();
            run(2, 2, move || pass(&shared, timer.deadline()))
        };
        let other = {
            let shared = shared.clone();
            run(3, 3, move || pass(&shared, NEVER))
        };
        be(1, 1);
        timer.fire();
        let (timed, other) = (timed.join().unwrap(), other.join().unwrap());
        assert_eq!(timed.is_ok(), other.is_ok());
        assert_eq!(timed.is_err(), shared.0.broken());
    });
}

#[test]
fn barrier_abort_against_the_last_arrival() {
    check(|| {
        let shared = barrier(2);
        let others = [2, 3].map(|owner| {
            let shared = shared.clone();
            run(owner, owner, move || pass(&shared, NEVER))
        });
        be(1, 1);
        shared.0.abort(S);
        let passed = others.map(|other| other.join().unwrap().is_ok());
        assert_eq!(passed[0], passed[1]);
        assert!(shared.0.broken());
    });
}

#[test]
fn barrier_party_killed_at_any_step() {
    for point in 0..16 {
        check(move || {
            let shared = barrier(2);
            let victim = {
                let shared = shared.clone();
                run(2, 2, move || {
                    killed_at(point, || {
                        let _ = pass(&shared, NEVER);
                    })
                })
            };
            let other = {
                let shared = shared.clone();
                run(3, 3, move || pass(&shared, NEVER).is_ok())
            };
            let survived = victim.join().unwrap();
            be(1, 1);
            let said = shared.1.iter().any(|who| who.load(SeqCst) as u32 == 2);
            assert!(said || !survived);
            if !said {
                // Killed before it could say that it was coming: to the barrier, somebody who never called.
                pass(&shared, NEVER).unwrap();
            }
            let passed = other.join().unwrap();
            assert!(passed || !survived);
        });
    }
}

#[test]
fn barrier_of_one_dead_and_two_that_live() {
    check(|| {
        let shared = barrier(3);
        be(2, 2);
        let _ = shared.0.arrive(S, &shared.1, NEVER);
        let other = {
            let shared = shared.clone();
            run(3, 3, move || pass(&shared, NEVER).is_ok())
        };
        let killer = run(4, 4, || model::kill(2));
        be(1, 1);
        let mine = pass(&shared, NEVER).is_ok();
        killer.join().unwrap();
        assert_eq!(mine, other.join().unwrap());
        assert_eq!(mine, !shared.0.broken());
    });
}

#[test]
fn barrier_reset_breaks_those_who_wait_however_late_they_wake() {
    check(|| {
        let shared = barrier(2);
        be(1, 1);
        let (barrier, who) = &*shared;
        let Arrived::Yes(early) = barrier.arrive(S, who, NEVER) else {
            panic!("not broken")
        };
        let early = {
            let shared = shared.clone();
            run(1, 2, move || shared.0.sleep(S, &shared.1, &early, NEVER))
        };
        barrier.reset(S);
        let other = {
            let shared = shared.clone();
            run(3, 3, move || pass(&shared, NEVER).unwrap())
        };
        pass(&shared, NEVER).unwrap();
        other.join().unwrap();
        assert_eq!(early.join().unwrap(), BarrierWaited::Broken);
    });
}

#[test]
fn barrier_arrival_taken_back() {
    check_fewer(1, || {
        let shared = barrier(2);
        be(1, 1);
        let (barrier, who) = &*shared;
        let Arrived::Yes(arrival) = barrier.arrive(S, who, NEVER) else {
            panic!("not broken")
        };
        let others = [2, 3].map(|owner| {
            let shared = shared.clone();
            // The third one finds no place while the action runs.
            run(owner, owner, move || pass(&shared, NEVER).unwrap())
        });
        if !barrier.retract(S, who, arrival) {
            // One of them came first. The other one must not be left alone.
            assert_eq!(
                barrier.sleep(S, who, &arrival, NEVER),
                BarrierWaited::Passed
            );
            pass(&shared, NEVER).unwrap();
        }
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(barrier.n_waiting(), 0);
    });
}

struct Owned {
    semaphore: OwnedSemaphore,
    accounts: Vec<model::AtomicU64>,
    holders: AtomicU32,
}

impl Owned {
    fn new(permits: u32) -> Arc<Owned> {
        Arc::new(Owned {
            semaphore: OwnedSemaphore::new(permits),
            accounts: (0..SLOTS).map(|_| model::AtomicU64::new(0)).collect(),
            holders: AtomicU32::new(0),
        })
    }
    fn turn(&self) {
        assert_eq!(
            self.semaphore.acquire(S, &self.accounts, NEVER),
            Waited::Yes
        );
        self.semaphore.release(S, &self.accounts).unwrap();
    }
    /// All permits are there, whatever happened; none is there twice.
    fn is_whole(&self, permits: u32) {
        for slot in 0..SLOTS {
            assert_eq!(self.semaphore.held_by_slot(&self.accounts, slot), 0);
        }
        assert_eq!(self.semaphore.value(), permits);
    }
}

#[test]
fn owned_semaphore_excludes() {
    check(|| {
        let shared = Arc::new((Owned::new(1), Data::new()));
        let turn = |(owned, data): &(Arc<Owned>, Data)| {
            let _ = owned.semaphore.acquire(S, &owned.accounts, NEVER);
            data.add();
            owned.semaphore.release(S, &owned.accounts).unwrap();
            assert!(owned.semaphore.release(S, &owned.accounts).is_err());
        };
        let other = {
            let shared = shared.clone();
            run(2, 2, move || turn(&shared))
        };
        be(1, 1);
        turn(&shared);
        other.join().unwrap();
        assert_eq!(shared.1.get(), 2);
        shared.0.is_whole(1);
    });
}

#[test]
fn owned_semaphore_of_two_for_three() {
    check(|| {
        let owned = Owned::new(2);
        let turn = |owned: &Owned| {
            let _ = owned.semaphore.acquire(S, &owned.accounts, NEVER);
            assert!(owned.holders.fetch_add(1, SeqCst) < 2);
            owned.holders.fetch_sub(1, SeqCst);
            owned.semaphore.release(S, &owned.accounts).unwrap();
        };
        // Two threads of one process share an account.
        let others = [1, 2].map(|owner| {
            let owned = owned.clone();
            run(owner, owner + 1, move || turn(&owned))
        });
        be(1, 1);
        turn(&owned);
        for other in others {
            other.join().unwrap();
        }
        owned.is_whole(2);
    });
}

#[test]
fn owned_semaphore_holder_killed_at_any_step() {
    for point in 0..14 {
        check(move || {
            let owned = Owned::new(1);
            let victim = {
                let owned = owned.clone();
                run(2, 2, move || killed_at(point, || owned.turn()))
            };
            be(1, 1);
            owned.turn();
            if !victim.join().unwrap() {
                owned.semaphore.reclaim_slot(S, &owned.accounts, 2);
            }
            owned.is_whole(1);
        });
    }
}

#[test]
fn owned_semaphore_holder_killed_while_two_wait() {
    for point in 0..14 {
        check_fewer(1, move || {
            let owned = Owned::new(1);
            let victim = {
                let owned = owned.clone();
                run(2, 2, move || killed_at(point, || owned.turn()))
            };
            let other = {
                let owned = owned.clone();
                run(3, 3, move || owned.turn())
            };
            be(1, 1);
            owned.turn();
            other.join().unwrap();
            if !victim.join().unwrap() {
                owned.semaphore.reclaim_slot(S, &owned.accounts, 2);
            }
            owned.is_whole(1);
        });
    }
}

#[test]
fn owned_semaphore_two_heirs_take_back_once() {
    check(|| {
        let owned = Owned::new(2);
        be(2, 2);
        for _ in 0..2 {
            let _ = owned.semaphore.acquire(S, &owned.accounts, NEVER);
        }
        model::kill(2);
        let other = {
            let owned = owned.clone();
            run(3, 3, move || owned.turn())
        };
        be(1, 1);
        owned.turn();
        other.join().unwrap();
        owned.is_whole(2);
    });
}

/// The model itself: a thread that is killed from outside makes no further step.
#[test]
fn model_the_dead_make_no_step() {
    check(|| {
        let lock = Arc::new(Lock::new());
        let victim = {
            let lock = lock.clone();
            run(2, 2, move || {
                mortal(|| {
                    let _ = lock.acquire(S, NEVER);
                    release(&lock);
                })
            })
        };
        be(1, 1);
        model::kill(2);
        let taken = lock.acquire(S, NEVER);
        let survived = victim.join().unwrap();
        assert!(lock.is_mine(S));
        assert!(!survived || taken == Acquired::Yes);
    });
}
