//! Lock and RLock.

use super::{Data, NEVER, S, check, check_deaths, explore, release, run};
use allcores::sync::model::{self, Timer, be, killed_at};
use allcores::sync::{Acquired, Lock, RLock};
use loom::thread::yield_now;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

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
        check_deaths(move || {
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

/// Its holder leaves it taken and goes on; others wait, and somebody who knows nothing of the holder releases it.
#[test]
fn lock_left_taken_and_released_by_another() {
    check(|| {
        let shared = Arc::new((Lock::new(), Data::new()));
        let holder = {
            let shared = shared.clone();
            run(2, 2, move || {
                let (lock, data) = &*shared;
                assert!(lock.acquire(S, NEVER).is_held());
                data.add();
                lock.leave(S);
            })
        };
        let other = {
            let shared = shared.clone();
            run(3, 3, move || {
                assert_eq!(shared.0.acquire(S, NEVER), Acquired::Yes);
                shared.1.add();
                release(&shared.0);
            })
        };
        be(1, 1);
        // No join here: nothing but the lock may hand over what the holder wrote.
        while !shared.0.is_left() {
            yield_now();
        }
        release(&shared.0);
        other.join().unwrap();
        holder.join().unwrap();
        assert_eq!(shared.1.get(), 2);
        assert!(!shared.0.is_held());
    });
}

/// A mark outlasts its holder's going.
#[test]
fn lock_left_taken_and_marked() {
    check(|| {
        let lock = Arc::new(Lock::new());
        be(2, 2);
        assert_eq!(lock.acquire(S, NEVER), Acquired::Yes);
        let other = {
            let lock = lock.clone();
            run(3, 3, move || {
                assert_eq!(lock.acquire(S, NEVER), Acquired::OwnerDied(0));
                lock.recover();
                release(&lock);
            })
        };
        lock.mark();
        lock.leave(S);
        be(1, 1);
        release(&lock);
        other.join().unwrap();
        assert!(!lock.is_held());
    });
}

/// One thread leaves what it holds while another one of its process releases it, and somebody else takes it.
#[test]
fn lock_left_by_one_who_holds_it_no_more() {
    check(|| {
        let shared = Arc::new((Lock::new(), Data::new()));
        be(2, 2);
        assert_eq!(shared.0.acquire(S, NEVER), Acquired::Yes);
        let leaver = {
            let shared = shared.clone();
            run(2, 3, move || shared.0.leave(S))
        };
        let other = {
            let shared = shared.clone();
            run(3, 4, move || {
                let (lock, data) = &*shared;
                assert_eq!(lock.acquire(S, NEVER), Acquired::Yes);
                data.add();
                assert!(lock.is_mine(S));
                data.add();
                release(lock);
            })
        };
        release(&shared.0);
        leaver.join().unwrap();
        other.join().unwrap();
        assert!(!shared.0.is_held());
    });
}

/// Killed before it has left the lock, it is a holder that died; after that, nobody is told.
#[test]
fn lock_left_taken_by_one_who_is_killed_at_any_step() {
    for point in 0..7 {
        check_deaths(move || {
            let shared = Arc::new((Lock::new(), Data::new()));
            let holder = {
                let shared = shared.clone();
                run(2, 2, move || {
                    let has_left = killed_at(point, || {
                        let (lock, data) = &*shared;
                        let taken = lock.acquire(S, NEVER);
                        assert!(taken.is_held());
                        data.add();
                        lock.leave(S);
                    });
                    // Its end follows.
                    model::kill(2);
                    has_left
                })
            };
            let turn = |(lock, data): &(Lock, Data)| {
                let taken = lock.acquire(S, NEVER);
                assert!(matches!(taken, Acquired::Yes | Acquired::OwnerDied(2)));
                lock.recover();
                data.add();
                release(lock);
                u32::from(taken != Acquired::Yes)
            };
            let other = {
                let shared = shared.clone();
                run(3, 3, move || turn(&shared))
            };
            be(1, 1);
            let has_left = holder.join().unwrap();
            if has_left {
                // Held by nobody, until somebody releases it: only then does the third come to it, unless it came first.
                assert!(shared.0.is_left());
                assert_eq!(shared.0.try_acquire(S), Acquired::TimedOut);
                release(&shared.0);
            }
            let told = turn(&shared) + other.join().unwrap();
            assert!(told <= u32::from(!has_left));
            assert!(!shared.0.is_held());
        });
    }
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
    check_deaths(move || {
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

#[test]
fn rlock_whose_owner_is_killed_at_any_step() {
    for point in 0..10 {
        explore(-1, move || {
            let shared = Arc::new((RLock::new(), Data::new()));
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
                run(2, 2, move || killed_at(point, || turn(&shared)))
            };
            let other = {
                let shared = shared.clone();
                run(3, 3, move || turn(&shared))
            };
            be(1, 1);
            turn(&shared);
            other.join().unwrap();
            victim.join().unwrap();
            let _ = shared.0.acquire(S, NEVER);
        });
    }
}

/// Threads end, and whoever takes over is killed while doing so.
#[test]
fn rlock_whose_heir_is_killed_at_any_step() {
    for heir in [1, 2] {
        for point in 0..14 {
            check_deaths(move || {
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
