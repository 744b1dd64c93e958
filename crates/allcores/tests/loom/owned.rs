//! OwnedSemaphore.

use super::{Data, NEVER, S, check, check_deaths, explore, run};
use allcores::sync::model::{self, be, killed_at};
use allcores::sync::owned::SLOTS;
use allcores::sync::{OwnedSemaphore, Waited};
use loom::thread::yield_now;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

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
fn owned_semaphore_permits_come_one_by_one() {
    check(|| {
        let owned = Owned::new(2);
        be(1, 1);
        for _ in 0..2 {
            let _ = owned.semaphore.acquire(S, &owned.accounts, NEVER);
        }
        let sleepers = [2, 3].map(|owner| {
            let owned = owned.clone();
            run(owner, owner, move || {
                owned.semaphore.acquire(S, &owned.accounts, NEVER)
            })
        });
        while model::sleepers() < 2 {
            yield_now();
        }
        for _ in 0..2 {
            owned.semaphore.release(S, &owned.accounts).unwrap();
        }
        for sleeper in sleepers {
            assert_eq!(sleeper.join().unwrap(), Waited::Yes);
        }
        let held = [1, 2, 3].map(|slot| owned.semaphore.held_by_slot(&owned.accounts, slot));
        assert_eq!(held, [0, 1, 1]);
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
        check_deaths(move || {
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
fn owned_semaphore_holder_killed_while_it_releases() {
    for point in 0..8 {
        check_deaths(move || {
            let owned = Owned::new(1);
            be(2, 2);
            let _ = owned.semaphore.acquire(S, &owned.accounts, NEVER);
            let victim = {
                let owned = owned.clone();
                run(2, 2, move || {
                    killed_at(point, || {
                        owned.semaphore.release(S, &owned.accounts).unwrap();
                    })
                })
            };
            be(1, 1);
            owned.turn();
            victim.join().unwrap();
            owned.is_whole(1);
        });
    }
}

#[test]
fn owned_semaphore_holder_killed_while_two_wait() {
    for point in 0..14 {
        explore(-1, move || {
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
    check_deaths(|| {
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
