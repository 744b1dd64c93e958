//! The behaviours that do not depend on where a primitive lies, each written once and run in every memory.
//!
//! Seen red: `Lock::release` that does not wake, `Semaphore` without its bound, `Event` whose waiters look at SET alone,
//! `Condition` that grants to the youngest, `Barrier::reset` that does not ring, `Lock::leave` that
//! does nothing, one at a time. (One that loses WAITERS is not seen here.)

mod memory;

use std::io::{Read, Write};
use std::time::Duration;

use memory::{Memory, in_every_memory};

/// Something that takes no time.
const SHORT: Duration = Duration::from_millis(20);
/// Long enough for anything that comes at all.
const LONG: Duration = Duration::from_secs(300);

/// A sign between processes.
#[derive(Clone)]
struct Sign(std::sync::Arc<(std::io::PipeReader, std::io::PipeWriter)>);

impl Sign {
    fn new() -> Sign {
        Sign(std::sync::Arc::new(std::io::pipe().unwrap()))
    }

    fn give(&self) {
        (&self.0.1).write_all(&[1]).unwrap();
    }

    fn wait(&self) {
        (&self.0.0).read_exact(&mut [0]).unwrap();
    }
}

in_every_memory! {
    fn a_second_locker_waits(memory) {
        let lock = memory.lock();
        lock.hold();
        let other = lock.elsewhere(memory);
        let second = memory.go(move || {
            other.hold();
            let held = other.locked();
            assert!(other.release());
            held.into()
        });
        second.asleep();
        assert!(lock.locked());
        assert!(lock.release());
        assert_eq!(second.answer(), 1);
        assert!(!lock.locked());
    }

    fn a_second_locker_times_out(memory) {
        for lock in [memory.lock(), memory.rlock()] {
            lock.hold();
            let other = lock.elsewhere(memory);
            let got = memory.there(move || {
                u8::from(other.try_hold())
                    + u8::from(other.hold_timeout(Duration::ZERO))
                    + u8::from(other.hold_timeout(Duration::from_nanos(1)))
                    + u8::from(other.hold_timeout(SHORT))
            });
            assert_eq!(got, 0);
            assert!(lock.release());
            let other = lock.elsewhere(memory);
            let got = memory.there(move || u8::from(other.try_hold() && other.release()));
            assert_eq!(got, 1);
        }
    }

    fn a_timeout_may_be_longer_than_the_world_lasts(memory) {
        for lock in [memory.lock(), memory.rlock()] {
            lock.hold();
            let other = lock.elsewhere(memory);
            let second = memory.go(move || u8::from(other.hold_timeout(Duration::MAX) && other.release()));
            second.asleep();
            assert!(lock.release());
            assert_eq!(second.answer(), 1);
        }
        let event = memory.event();
        let other = event.elsewhere(memory);
        let second = memory.go(move || other.wait_timeout(Duration::MAX).into());
        second.asleep();
        event.set();
        assert_eq!(second.answer(), 1);
    }

    fn anybody_releases_a_lock(memory) {
        let lock = memory.lock();
        assert!(!lock.release(), "nobody holds it");
        lock.hold();
        let other = lock.elsewhere(memory);
        assert_eq!(memory.there(move || other.release().into()), 1);
        assert!(!lock.locked());
        assert!(!lock.release(), "it was released already");
    }

    fn a_lock_that_a_process_leaves_at_its_end_is_anybodys(memory) {
        let lock = memory.lock();
        let left = |lock: &dyn memory::AnyLock| {
            let other = lock.elsewhere(memory);
            let leave = move || {
                other.hold();
                allcores::face::leave_locks();
                other.locked().into()
            };
            // A process whatever the memory: only a process leaves.
            assert_eq!(memory::Going::process(leave).answer(), 1);
        };
        left(&*lock);
        if memory == Memory::Private {
            assert!(!lock.locked(), "a copy was left, and is nobody's business");
            return;
        }
        // Nobody hears of a death, and it is never free but by a release.
        assert!(lock.locked() && !lock.try_hold() && !lock.hold_timeout(SHORT));
        let other = lock.elsewhere(memory);
        let second = memory.go(move || {
            other.hold();
            other.release().into()
        });
        second.asleep();
        assert!(lock.release(), "anybody releases it");
        assert_eq!(second.answer(), 1);
        assert!(!lock.release() && lock.try_hold() && lock.release());
        // Somebody waits already when it is left.
        let (held, go) = (Sign::new(), Sign::new());
        let other = lock.elsewhere(memory);
        let leaver = memory::Going::process({
            let (held, go) = (held.clone(), go.clone());
            move || {
                other.hold();
                held.give();
                go.wait();
                allcores::face::leave_locks();
                1
            }
        });
        held.wait();
        let other = lock.elsewhere(memory);
        let second = memory.go(move || {
            other.hold();
            other.release().into()
        });
        second.asleep();
        go.give();
        assert_eq!(leaver.answer(), 1);
        assert!(lock.locked());
        assert!(lock.release());
        assert_eq!(second.answer(), 1);
    }

    fn its_thread_alone_releases_an_rlock(memory) {
        let lock = memory.rlock();
        assert!(!lock.release(), "nobody holds it");
        lock.hold();
        lock.hold();
        assert!(lock.try_hold());
        for _ in 0..3 {
            let other = lock.elsewhere(memory);
            assert_eq!(memory.there(move || u8::from(other.release()) + u8::from(other.try_hold())), 0);
            assert!(lock.release());
        }
        assert!(!lock.release(), "it was released as often as it was taken");
        let other = lock.elsewhere(memory);
        assert_eq!(memory.there(move || u8::from(other.try_hold() && other.release())), 1);
    }

    fn an_rlock_is_handed_to_a_waiter(memory) {
        let lock = memory.rlock();
        lock.hold();
        lock.hold();
        let other = lock.elsewhere(memory);
        let second = memory.go(move || {
            other.hold();
            u8::from(other.try_hold() && other.release() && other.release())
        });
        second.asleep();
        assert!(lock.release());
        second.asleep();
        assert!(lock.release());
        assert_eq!(second.answer(), 1);
    }

    fn a_permit_goes_to_one_who_waits(memory) {
        let permits = memory.semaphore(1);
        permits.acquire();
        assert!(!permits.try_acquire());
        let other = permits.elsewhere(memory);
        assert_eq!(memory.there(move || u8::from(other.acquire_timeout(SHORT)) + u8::from(other.acquire_timeout(Duration::ZERO))), 0);
        let other = permits.elsewhere(memory);
        let second = memory.go(move || {
            other.acquire();
            1
        });
        second.asleep();
        assert!(permits.release());
        assert_eq!(second.answer(), 1);
        assert_eq!(permits.value(), 0);
    }

    fn many_permits_wake_many(memory) {
        let permits = memory.semaphore(0);
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let other = permits.elsewhere(memory);
                memory.go(move || {
                    other.acquire();
                    1
                })
            })
            .collect();
        waiters.iter().for_each(memory::Going::asleep);
        assert!(permits.release_many(4));
        assert_eq!(waiters.into_iter().map(memory::Going::answer).sum::<u8>(), 3);
        assert_eq!(permits.value(), 1);
    }

    fn a_bounded_semaphore_refuses_one_too_many(memory) {
        let permits = memory.bounded_semaphore(2);
        assert!(!permits.release());
        permits.acquire();
        let other = permits.elsewhere(memory);
        assert_eq!(memory.there(move || u8::from(other.release_many(2)) + 2 * u8::from(other.release()) + 4 * u8::from(other.release())), 2);
        assert_eq!(permits.value(), 2);
    }

    fn an_event_is_seen_by_all(memory) {
        let event = memory.event();
        assert!(!event.is_set() && !event.wait_timeout(SHORT) && !event.wait_timeout(Duration::ZERO));
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let other = event.elsewhere(memory);
                memory.go(move || {
                    other.wait();
                    other.is_set().into()
                })
            })
            .collect();
        waiters.iter().for_each(memory::Going::asleep);
        event.set();
        assert!(waiters.into_iter().all(|waiter| waiter.answer() == 1));
        assert!(event.wait_timeout(Duration::ZERO), "it stays set");
        let other = event.elsewhere(memory);
        assert_eq!(memory.there(move || { other.clear(); 1 }), 1);
        assert!(!event.is_set());
    }

    fn set_and_clear_at_once_releases_sleepers(memory) {
        let event = memory.event();
        // As often as makes it sure that one sleeper looks too late to find it set.
        for _ in 0..20 {
            let other = event.elsewhere(memory);
            let sleeper = memory.go(move || other.wait_timeout(LONG).into());
            sleeper.asleep();
            event.set();
            event.clear();
            assert_eq!(sleeper.answer(), 1);
        }
    }

    fn a_condition_notifies_as_many_as_it_is_told(memory) {
        let monitor = memory.monitor();
        assert_eq!(monitor.change(0, Some(1)), 0, "nobody waits");
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let other = monitor.elsewhere(memory);
                let waiter = memory.go(move || other.wait_timeout(LONG).into());
                waiter.asleep();
                waiter
            })
            .collect();
        let mut waiters = waiters.into_iter();
        // In the order in which they came.
        assert_eq!(monitor.change(0, Some(1)), 1);
        assert_eq!(waiters.next().unwrap().answer(), 1);
        assert_eq!(monitor.change(0, None), 2);
        assert!(waiters.all(|waiter| waiter.answer() == 1));
        assert_eq!(monitor.change(0, None), 0);
    }

    fn a_condition_times_out_with_the_lock_held(memory) {
        let monitor = memory.monitor();
        let other = monitor.elsewhere(memory);
        let answer = memory.there(move || {
            u8::from(other.wait_timeout(SHORT)) + u8::from(other.wait_timeout(Duration::ZERO))
        });
        assert_eq!(answer, 0);
        // It has been released, and those who timed out are not notified.
        assert_eq!(monitor.change(1, Some(1)), 0);
        assert_eq!(monitor.number(), 1);
    }

    fn a_condition_waits_for_what_is_asked(memory) {
        let monitor = memory.monitor();
        let other = monitor.elsewhere(memory);
        let waiter = memory.go(move || other.wait_for(3, LONG).into());
        for _ in 0..3 {
            waiter.asleep();
            monitor.change(1, None);
        }
        assert_eq!(waiter.answer(), 1);
        assert!(monitor.wait_for(3, Duration::ZERO), "asked before any wait");
        assert!(!monitor.wait_for(4, SHORT));
    }

    fn a_barrier_lets_all_pass_at_once(memory) {
        let barrier = memory.barrier(3);
        for _ in 0..3 {
            let parties: Vec<_> = (0..2)
                .map(|_| {
                    let other = barrier.elsewhere(memory);
                    memory.go(move || other.wait().map_or(100, |index| index as u8))
                })
                .collect();
            parties.iter().for_each(memory::Going::asleep);
            // They may have slept for the lock inside as well.
            while barrier.n_waiting() < 2 {
                std::thread::yield_now();
            }
            let mut indices: Vec<u8> = vec![barrier.wait().unwrap() as u8];
            indices.extend(parties.into_iter().map(memory::Going::answer));
            indices.sort_unstable();
            assert_eq!(indices, [0, 1, 2]);
            assert_eq!(barrier.n_waiting(), 0);
        }
    }

    fn a_party_that_times_out_breaks_the_barrier(memory) {
        let barrier = memory.barrier(3);
        let other = barrier.elsewhere(memory);
        let party = memory.go(move || other.wait().map_or(100, |index| index as u8));
        party.asleep();
        assert!(barrier.wait_timeout(SHORT).is_none());
        assert_eq!(party.answer(), 100);
        assert!(barrier.broken() && barrier.wait().is_none());
        barrier.reset();
        assert!(!barrier.broken());
    }

    fn abort_breaks_and_reset_mends(memory) {
        let barrier = memory.barrier(2);
        for by_reset in [false, true] {
            let other = barrier.elsewhere(memory);
            let party = memory.go(move || other.wait().map_or(100, |index| index as u8));
            party.asleep();
            if by_reset {
                barrier.reset();
            } else {
                barrier.abort();
                assert!(barrier.broken());
            }
            assert_eq!(party.answer(), 100);
            barrier.reset();
        }
        let other = barrier.elsewhere(memory);
        let party = memory.go(move || other.wait().map_or(100, |index| index as u8));
        let mine = barrier.wait().unwrap() as u8;
        assert_eq!(party.answer() + mine, 1);
    }
}
