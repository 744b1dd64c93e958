//! The core of Condition, Barrier and OwnedSemaphore with real threads in private memory. Deaths and races are in `loom/`.
#![cfg(not(allcores_loom))]

use allcores::sync::barrier::{Arrived, BarrierWaited};
use allcores::sync::condition::Ticket;
use allcores::sync::owned::SLOTS;
use allcores::sync::{Barrier, Condition, Deadline, Lock, OwnedSemaphore, Scope, Waited};
use std::sync::Barrier as StdBarrier;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

const S: Scope = Scope::PRIVATE;
const SOON: Duration = Duration::from_millis(10);

/// A condition with its lock, as the faces put them together.
struct Monitor {
    lock: Lock,
    condition: Condition,
}

impl Monitor {
    fn new() -> Monitor {
        Monitor {
            lock: Lock::new(),
            condition: Condition::new(),
        }
    }
    fn lock(&self) {
        assert!(self.lock.acquire(S, Deadline::NEVER).is_held());
    }
    fn unlock(&self) {
        // SAFETY: borrowed, hence live.
        unsafe { Lock::release(&self.lock, S) }.unwrap();
    }
    fn wait(&self, deadline: Deadline) -> bool {
        let ticket = self.condition.enlist(S).unwrap();
        self.unlock();
        while self.condition.sleep(S, &ticket, deadline) == Waited::Interrupted {}
        self.lock();
        self.condition.finish(S, ticket)
    }
    fn enlist(&self) -> Ticket {
        self.condition.enlist(S).unwrap()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // SAFETY: nobody else can have it now.
        unsafe { self.condition.dispose(S) };
    }
}

#[test]
fn notify_without_waiters_grants_nothing() {
    let condition = Condition::new();
    assert_eq!(condition.notify(S, 1), 0);
    assert_eq!(condition.notify_all(S), 0);
}

#[test]
fn notification_is_in_the_order_of_arrival() {
    let m = Monitor::new();
    let tickets: Vec<Ticket> = (0..5).map(|_| m.enlist()).collect();
    assert_eq!(m.condition.notify(S, 2), 2);
    let granted: Vec<bool> = tickets
        .into_iter()
        .map(|ticket| m.condition.finish(S, ticket))
        .collect();
    assert_eq!(granted, [true, true, false, false, false]);
    assert_eq!(m.condition.waiting(), 0);
}

#[test]
fn a_freed_place_does_not_jump_the_queue() {
    let m = Monitor::new();
    let first = m.enlist();
    let second = m.enlist();
    assert!(!m.condition.finish(S, first));
    // Takes the first place of the table, but comes last.
    let third = m.enlist();
    assert_eq!(m.condition.notify(S, 1), 1);
    assert!(!m.condition.finish(S, third));
    assert!(m.condition.finish(S, second));
}

#[test]
fn a_time_out_is_told_and_leaves_nothing() {
    let m = Monitor::new();
    m.lock();
    assert!(!m.wait(Deadline::after(SOON)));
    assert!(!m.wait(Deadline::NOW));
    assert_eq!(m.condition.waiting(), 0);
    assert_eq!(m.condition.notify(S, 1), 0);
    m.unlock();
}

#[test]
fn a_notification_after_the_deadline_counts() {
    let m = Monitor::new();
    let ticket = m.enlist();
    assert_eq!(
        m.condition.sleep(S, &ticket, Deadline::NOW),
        Waited::TimedOut
    );
    assert_eq!(m.condition.notify(S, 1), 1);
    assert!(m.condition.finish(S, ticket));
}

#[test]
fn an_abandoned_grant_goes_to_the_next() {
    let m = Monitor::new();
    let first = m.enlist();
    let second = m.enlist();
    assert_eq!(m.condition.notify(S, 1), 1);
    m.condition.abandon(S, first);
    assert_eq!(
        m.condition.sleep(S, &second, Deadline::NEVER),
        Waited::Yes,
        "handed on"
    );
    assert!(m.condition.finish(S, second));
    let third = m.enlist();
    m.condition.abandon(S, third);
    assert_eq!(m.condition.waiting(), 0);
}

#[test]
fn more_waiters_than_places_in_the_condition() {
    let m = Monitor::new();
    let tickets: Vec<Ticket> = (0..500).map(|_| m.enlist()).collect();
    assert_eq!(m.condition.waiting(), 500);
    assert_eq!(m.condition.notify(S, 300), 300);
    assert_eq!(m.condition.notify_all(S), 200);
    for ticket in tickets {
        assert_eq!(m.condition.sleep(S, &ticket, Deadline::NEVER), Waited::Yes);
        assert!(m.condition.finish(S, ticket));
    }
    assert_eq!(m.condition.waiting(), 0);
}

#[test]
fn sleepers_are_woken_by_notify() {
    let m = Monitor::new();
    let woken = AtomicU32::new(0);
    thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                m.lock();
                assert!(m.wait(Deadline::NEVER));
                woken.fetch_add(1, SeqCst);
                m.unlock();
            });
        }
        let mut granted = 0;
        while granted < 4 {
            m.lock();
            granted += m.condition.notify(S, 1);
            m.unlock();
            thread::yield_now();
        }
    });
    assert_eq!(woken.load(SeqCst), 4);
}

#[test]
fn ping_pong() {
    let m = Monitor::new();
    let turn = AtomicU32::new(0);
    let play = |mine: u32| {
        for _ in 0..2_000 {
            m.lock();
            while turn.load(SeqCst) != mine {
                m.wait(Deadline::NEVER);
            }
            turn.store(1 - mine, SeqCst);
            m.condition.notify(S, 1);
            m.unlock();
        }
    };
    thread::scope(|threads| {
        threads.spawn(|| play(0));
        threads.spawn(|| play(1));
    });
    assert_eq!(turn.load(SeqCst), 0);
}

/// What [`Barrier`] is to its users: arrive, then the action or the wait.
fn pass(barrier: &Barrier, who: &[AtomicU64], deadline: Deadline) -> Result<u32, BarrierWaited> {
    match barrier.arrive(S, who, deadline) {
        Arrived::Yes(arrival) if arrival.last => {
            barrier
                .complete(S, arrival)
                .map_err(|_| BarrierWaited::Broken)?;
            Ok(arrival.index)
        }
        Arrived::Yes(arrival) => match barrier.sleep(S, who, &arrival, deadline) {
            BarrierWaited::Passed => Ok(arrival.index),
            other => Err(other),
        },
        Arrived::Broken => Err(BarrierWaited::Broken),
        Arrived::TimedOut => Err(BarrierWaited::TimedOut),
        Arrived::Interrupted => Err(BarrierWaited::Interrupted),
    }
}

fn who(parties: usize) -> Vec<AtomicU64> {
    (0..parties).map(|_| AtomicU64::new(0)).collect()
}

#[test]
fn every_generation_has_every_index_once() {
    for who in [who(3), who(0)] {
        let barrier = Barrier::new(3);
        let sums = (0..200).map(|_| AtomicU32::new(0)).collect::<Vec<_>>();
        thread::scope(|threads| {
            for _ in 0..3 {
                threads.spawn(|| {
                    for sum in &sums {
                        let index = pass(&barrier, &who, Deadline::NEVER).unwrap();
                        sum.fetch_add(1 << (8 * index), SeqCst);
                    }
                });
            }
        });
        assert!(sums.iter().all(|sum| sum.load(SeqCst) == 0x01_01_01));
        assert_eq!(barrier.n_waiting(), 0);
    }
}

#[test]
fn more_threads_than_parties() {
    for who in [who(2), who(0)] {
        let barrier = Barrier::new(2);
        let begun = AtomicU32::new(0);
        let passed = AtomicU32::new(0);
        thread::scope(|threads| {
            for _ in 0..6 {
                threads.spawn(|| {
                    // An even number in all, hence nobody is left over.
                    while begun.fetch_add(1, SeqCst) < 600 {
                        pass(&barrier, &who, Deadline::NEVER).unwrap();
                        passed.fetch_add(1, SeqCst);
                    }
                });
            }
        });
        assert_eq!(passed.load(SeqCst), 600);
        assert_eq!(barrier.n_waiting(), 0);
    }
}

#[test]
fn a_time_out_breaks_the_barrier_for_all() {
    let barrier = Barrier::new(3);
    let who = who(3);
    thread::scope(|threads| {
        let other = threads.spawn(|| pass(&barrier, &who, Deadline::NEVER));
        while barrier.n_waiting() != 1 {
            thread::yield_now();
        }
        assert_eq!(
            pass(&barrier, &who, Deadline::after(SOON)),
            Err(BarrierWaited::TimedOut)
        );
        assert_eq!(other.join().unwrap(), Err(BarrierWaited::Broken));
    });
    assert!(barrier.broken());
    assert_eq!(barrier.n_waiting(), 0);
    assert_eq!(
        pass(&barrier, &who, Deadline::NEVER),
        Err(BarrierWaited::Broken)
    );
}

#[test]
fn a_deadline_does_not_break_what_all_have_reached() {
    let barrier = Barrier::new(2);
    let who = who(2);
    let in_action = StdBarrier::new(2);
    thread::scope(|threads| {
        let waiter = threads.spawn(|| {
            let Arrived::Yes(arrival) = barrier.arrive(S, &who, Deadline::NEVER) else {
                panic!("not broken")
            };
            in_action.wait();
            in_action.wait();
            // The last one has arrived and is in its action: no time-out any more.
            barrier.sleep(S, &who, &arrival, Deadline::NOW)
        });
        in_action.wait();
        let Arrived::Yes(last) = barrier.arrive(S, &who, Deadline::NEVER) else {
            panic!("not broken")
        };
        assert!(last.last);
        assert_eq!(
            barrier.arrive(S, &who, Deadline::NOW),
            Arrived::TimedOut,
            "a third one waits for the next generation, and breaks nothing"
        );
        in_action.wait();
        thread::sleep(SOON);
        barrier.complete(S, last).unwrap();
        assert_eq!(waiter.join().unwrap(), BarrierWaited::Passed);
    });
}

#[test]
fn abort_and_reset() {
    let barrier = Barrier::new(2);
    let who = who(2);
    for end in [Barrier::abort, Barrier::reset] {
        thread::scope(|threads| {
            let other = threads.spawn(|| pass(&barrier, &who, Deadline::NEVER));
            while barrier.n_waiting() != 1 {
                thread::yield_now();
            }
            end(&barrier, S);
            assert_eq!(other.join().unwrap(), Err(BarrierWaited::Broken));
        });
        barrier.reset(S);
        assert!(!barrier.broken());
        thread::scope(|threads| {
            threads.spawn(|| pass(&barrier, &who, Deadline::NEVER).unwrap());
            pass(&barrier, &who, Deadline::NEVER).unwrap();
        });
    }
}

#[test]
fn a_generation_knows_how_it_ended_long_after() {
    let barrier = Barrier::new(1);
    let arrive = || match barrier.arrive(S, &[], Deadline::NEVER) {
        Arrived::Yes(arrival) => arrival,
        other => panic!("{other:?}"),
    };
    let reset = arrive();
    barrier.reset(S);
    let passed = arrive();
    barrier.complete(S, passed).unwrap();
    for _ in 0..14 {
        barrier.complete(S, arrive()).unwrap();
    }
    assert_eq!(
        barrier.sleep(S, &[], &reset, Deadline::NEVER),
        BarrierWaited::Broken
    );
    assert_eq!(
        barrier.sleep(S, &[], &passed, Deadline::NEVER),
        BarrierWaited::Passed
    );
    assert!(barrier.complete(S, reset).is_err());
}

#[test]
fn an_arrival_can_be_taken_back() {
    let barrier = Barrier::new(2);
    for who in [who(2), who(0)] {
        let Arrived::Yes(arrival) = barrier.arrive(S, &who, Deadline::NEVER) else {
            panic!("not broken")
        };
        assert!(barrier.retract(S, &who, arrival));
        assert_eq!(barrier.n_waiting(), 0);
        thread::scope(|threads| {
            threads.spawn(|| pass(&barrier, &who, Deadline::NEVER).unwrap());
            pass(&barrier, &who, Deadline::NEVER).unwrap();
        });
        assert!(!barrier.retract(S, &who, arrival), "its generation is over");
    }
}

fn accounts() -> Vec<AtomicU64> {
    (0..SLOTS).map(|_| AtomicU64::new(0)).collect()
}

#[test]
fn an_owned_permit_is_returned_by_its_holder_only() {
    let accounts = accounts();
    let semaphore = OwnedSemaphore::new(2);
    assert!(semaphore.release(S, &accounts).is_err());
    assert!(semaphore.try_acquire(S, &accounts));
    assert_eq!(semaphore.value(), 1);
    thread::scope(|threads| {
        // In private memory each thread is a participant.
        threads.spawn(|| assert!(semaphore.release(S, &accounts).is_err()));
    });
    semaphore.release(S, &accounts).unwrap();
    assert!(semaphore.release(S, &accounts).is_err());
    assert_eq!(semaphore.value(), 2);
}

#[test]
fn no_owned_permit_is_made_or_lost() {
    let accounts = accounts();
    let semaphore = OwnedSemaphore::new(2);
    let inside = AtomicU32::new(0);
    thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..2_000 {
                    assert_eq!(
                        semaphore.acquire(S, &accounts, Deadline::NEVER),
                        Waited::Yes
                    );
                    assert!(inside.fetch_add(1, SeqCst) < 2);
                    inside.fetch_sub(1, SeqCst);
                    semaphore.release(S, &accounts).unwrap();
                }
            });
        }
    });
    assert_eq!(semaphore.value(), 2);
    assert!((0..SLOTS).all(|slot| semaphore.held_by_slot(&accounts, slot) == 0));
}

#[test]
fn permits_of_a_slot_come_back_once() {
    let accounts = accounts();
    let semaphore = OwnedSemaphore::new(3);
    let slot = thread::scope(|threads| {
        let holder = threads.spawn(|| {
            assert!(semaphore.try_acquire(S, &accounts));
            assert!(semaphore.try_acquire(S, &accounts));
            (0..SLOTS)
                .find(|&slot| semaphore.held_by_slot(&accounts, slot) == 2)
                .unwrap()
        });
        holder.join().unwrap()
    });
    assert_eq!(semaphore.value(), 1);
    assert_eq!(semaphore.reclaim_slot(S, &accounts, slot), 2);
    assert_eq!(semaphore.reclaim_slot(S, &accounts, slot), 0);
    assert_eq!(semaphore.value(), 3);
}

#[test]
fn a_wait_for_an_owned_permit_times_out() {
    let accounts = accounts();
    let semaphore = OwnedSemaphore::new(0);
    assert!(!semaphore.try_acquire(S, &accounts));
    assert_eq!(
        semaphore.acquire(S, &accounts, Deadline::after(SOON)),
        Waited::TimedOut
    );
}
