//! Condition.

use super::{NEVER, S, check, check_deaths, release, run};
use allcores::sync::model::{Timer, be, killed_at};
use allcores::sync::{Condition, Lock, Waited};
use std::sync::Arc;

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
        check_deaths(move || {
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
