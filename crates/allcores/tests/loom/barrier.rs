//! Barrier.

use super::{Data, NEVER, S, check, check_deaths, explore, run};
use allcores::sync::barrier::{Arrived, BarrierWaited};
use allcores::sync::model::{self, Timer, be, killed_at};
use allcores::sync::{Barrier, Deadline};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

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
    explore(-1, || {
        model::nobody_dies();
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
fn barrier_action_is_over_when_the_others_pass() {
    check(|| {
        let shared = Arc::new((barrier(2), Data::new()));
        let timer = Timer::new();
        be(2, 2);
        let Arrived::Yes(early) = shared.0.0.arrive(S, &shared.0.1, NEVER) else {
            panic!("not broken")
        };
        let other = {
            let shared = shared.clone();
            run(2, 2, move || {
                let (barrier, who) = &*shared.0;
                // All have arrived when the timer fires: too late for a time-out.
                let end = barrier.sleep(S, who, &early, timer.deadline());
                assert_eq!(end, BarrierWaited::Passed);
                assert_eq!(shared.1.get(), 1);
            })
        };
        be(1, 1);
        let Arrived::Yes(last) = shared.0.0.arrive(S, &shared.0.1, NEVER) else {
            panic!("not broken")
        };
        timer.fire();
        shared.1.add();
        shared.0.0.complete(S, last).unwrap();
        other.join().unwrap();
    });
}

#[test]
fn barrier_aborted_by_one_that_is_killed_at_any_step() {
    for point in 0..6 {
        check_deaths(move || {
            let shared = barrier(2);
            let waiter = {
                let shared = shared.clone();
                run(2, 2, move || pass(&shared, NEVER))
            };
            let aborter = {
                let shared = shared.clone();
                run(4, 4, move || killed_at(point, || shared.0.abort(S)))
            };
            be(1, 1);
            aborter.join().unwrap();
            if !shared.0.broken() {
                shared.0.abort(S);
            }
            assert_eq!(waiter.join().unwrap(), Err(BarrierWaited::Broken));
        });
    }
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
        check_deaths(move || {
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
    check_deaths(|| {
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
    explore(-1, || {
        model::nobody_dies();
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
