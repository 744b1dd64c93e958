//! Barrier.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use allcores::threading::{Barrier, JoinError, scope};

use crate::util::{CENTURIES, LONG, SHORT, until};

const N: u32 = 5;

#[test]
fn all_pass_together_and_it_can_be_used_again() {
    let barrier = Barrier::new(N).unwrap();
    let (before, after) = (AtomicU32::new(0), AtomicU32::new(0));
    scope(|s| {
        for _ in 0..N {
            s.spawn(|| {
                for round in 0..20 {
                    before.fetch_add(1, SeqCst);
                    assert_eq!(after.load(SeqCst), round * N);
                    barrier.wait().unwrap();
                    after.fetch_add(1, SeqCst);
                    assert_eq!(before.load(SeqCst), (round + 1) * N);
                    barrier.wait_timeout(CENTURIES).unwrap();
                }
            });
        }
    })
    .unwrap();
    assert_eq!((barrier.n_waiting(), barrier.broken()), (0, false));
}

#[test]
fn each_party_has_an_index_and_one_leads() {
    let barrier = Barrier::new(N).unwrap();
    scope(|s| {
        let threads: Vec<_> = (0..N)
            .map(|_| s.spawn(|| barrier.wait().unwrap()))
            .collect();
        let passed: Vec<_> = threads.iter().map(|t| t.result().unwrap()).collect();
        let mut indices: Vec<_> = passed.iter().map(|passed| passed.index()).collect();
        indices.sort();
        assert_eq!(indices, (0..N).collect::<Vec<_>>());
        assert_eq!(passed.iter().filter(|passed| passed.is_leader()).count(), 1);
    })
    .unwrap();
}

#[test]
fn one_party_alone_passes_at_once() {
    let barrier = Barrier::new(1).unwrap();
    assert!(barrier.wait().unwrap().is_leader());
    assert_eq!(barrier.wait_timeout(Duration::ZERO).unwrap().index(), 0);
}

#[test]
fn the_number_of_parties_must_make_sense() {
    for parties in [0, Barrier::MAX + 1, u32::MAX] {
        let error = Barrier::new(parties).expect_err("no such barrier");
        assert_eq!(error.parties, parties);
        assert!(error.to_string().contains(&parties.to_string()), "{error}");
        assert!(Barrier::with_action(parties, || ()).is_err());
    }
    assert_eq!(Barrier::new(Barrier::MAX).unwrap().parties(), 65_535);
}

#[test]
fn the_action_runs_once_before_anybody_goes_on() {
    let runs = Arc::new(AtomicU32::new(0));
    let barrier = Barrier::with_action(N, {
        let runs = runs.clone();
        move || {
            runs.fetch_add(1, SeqCst);
        }
    })
    .unwrap();
    scope(|s| {
        for _ in 0..N {
            s.spawn(|| {
                barrier.wait().unwrap();
                assert_eq!(runs.load(SeqCst), 1);
            });
        }
    })
    .unwrap();
}

#[test]
fn an_action_that_panics_breaks_it_for_the_others() {
    let barrier =
        Barrier::with_action(N, || std::panic::resume_unwind(Box::new("no action"))).unwrap();
    scope(|s| {
        let threads: Vec<_> = (0..N).map(|_| s.spawn(|| barrier.wait())).collect();
        let results: Vec<_> = threads.iter().map(|t| t.result()).collect();
        let panicked = |r: &&Result<_, _>| r.is_err();
        let broken = |r: &&Result<Result<_, allcores::threading::BrokenBarrier>, _>| {
            matches!(r, Ok(Err(broken)) if !broken.timed_out())
        };
        assert_eq!(results.iter().filter(panicked).count(), 1);
        assert_eq!(results.iter().filter(broken).count(), N as usize - 1);
    })
    .unwrap();
    assert!(barrier.broken());
}

#[test]
fn abort_breaks_it_for_those_who_wait_and_those_who_come() {
    let barrier = Barrier::new(N).unwrap();
    scope(|s| {
        let waiters: Vec<_> = (1..N).map(|_| s.spawn(|| barrier.wait())).collect();
        until(|| barrier.n_waiting() == N - 1);
        barrier.abort();
        for waiter in &waiters {
            let broken = waiter.result().unwrap().expect_err("broken");
            assert!(!broken.timed_out());
        }
    })
    .unwrap();
    assert!(barrier.broken());
    assert_eq!(barrier.n_waiting(), 0);
    assert!(barrier.wait().is_err());
    barrier.reset();
    assert!(!barrier.broken());
}

#[test]
fn reset_breaks_it_for_those_who_wait_only() {
    let barrier = Barrier::new(N).unwrap();
    scope(|s| {
        let waiters: Vec<_> = (1..N)
            .map(|_| {
                s.spawn(|| {
                    assert!(barrier.wait().is_err());
                    barrier.wait().unwrap();
                })
            })
            .collect();
        until(|| barrier.n_waiting() == N - 1);
        barrier.reset();
        barrier.wait().unwrap();
        for waiter in &waiters {
            waiter.join().unwrap();
        }
    })
    .unwrap();
    assert!(!barrier.broken());
}

#[test]
fn it_can_be_reset_after_an_abort() {
    let barrier = Barrier::new(2).unwrap();
    barrier.abort();
    assert!(barrier.wait().is_err());
    barrier.reset();
    scope(|s| {
        s.spawn(|| barrier.wait().unwrap());
        barrier.wait().unwrap();
    })
    .unwrap();
}

#[test]
fn a_party_that_gives_up_breaks_it() {
    let barrier = Barrier::new(3).unwrap();
    scope(|s| {
        let patient = s.spawn(|| barrier.wait_timeout(LONG));
        until(|| barrier.n_waiting() == 1);
        let begun = Instant::now();
        let gave_up = barrier.wait_timeout(SHORT).expect_err("one is missing");
        assert!(begun.elapsed() >= SHORT);
        assert!(gave_up.timed_out());
        let broken = patient.result().unwrap().expect_err("somebody gave up");
        assert!(!broken.timed_out());
    })
    .unwrap();
    assert!(barrier.broken());
    barrier.reset();
    assert!(
        barrier
            .wait_timeout(Duration::ZERO)
            .expect_err("alone")
            .timed_out()
    );
}

#[test]
fn a_panicking_action_is_its_threads_panic() {
    let barrier = Barrier::with_action(1, || panic!("the action of the last")).unwrap();
    scope(|s| {
        let panicked = s.spawn(|| barrier.wait()).join().expect_err("a panic");
        assert!(matches!(panicked, JoinError::Panicked { message, .. } if message == "the action of the last"));
    })
    .unwrap();
}

#[test]
fn it_shows_itself() {
    let barrier = Barrier::new(3).unwrap();
    assert_eq!(
        format!("{barrier:?}"),
        "Barrier { parties: 3, waiting: 0, broken: false }"
    );
}
