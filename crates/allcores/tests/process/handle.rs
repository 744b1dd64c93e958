//! What a handle says while its process runs.

use std::time::Duration;

use allcores::multiprocessing::process::{ProcessError, StillRunning};
use allcores::multiprocessing::{Connection, Pipe, Process, active_children, join_all, wait};

use crate::util::{add, standing_by};

#[test]
fn it_is_alive_until_it_ends() {
    let (p, here) = standing_by();
    assert!(p.is_alive());
    assert_eq!((p.exit(), p.exitcode()), (None, None));
    assert_eq!(p.result_timeout(Duration::from_millis(1)).unwrap(), None);
    assert!(active_children().iter().any(|child| child.pid() == p.pid()));
    here.send(&9).unwrap();
    assert_eq!(p.result_timeout(Duration::MAX).unwrap(), Some(Some(9)));
    assert!(!p.is_alive());
    assert!(active_children().iter().all(|child| child.pid() != p.pid()));
}

#[test]
fn a_running_process_gives_its_handle_back() {
    let (p, here) = standing_by();
    let StillRunning(p) = p.close().unwrap_err();
    here.send(&1).unwrap();
    p.result().unwrap();
    p.close().unwrap();
}

#[test]
fn a_sentinel_can_be_waited_for_together_with_connections() {
    let (p, here) = standing_by();
    let (quiet, _far) = Pipe::<u8, u8>().unwrap();
    assert!(
        wait(&[&p, &quiet], Duration::from_millis(1))
            .unwrap()
            .is_empty()
    );
    here.send(&1).unwrap();
    assert_eq!(wait(&[&quiet, &p], None).unwrap(), [1]);
    assert_eq!(wait(&[&p.sentinel()], None).unwrap(), [0]);
    assert_eq!(p.exitcode(), Some(0));
}

#[test]
fn threads_may_join_one_process_together() {
    let (p, here) = standing_by();
    std::thread::scope(|scope| {
        let joiners: Vec<_> = (0..4).map(|_| scope.spawn(|| p.result())).collect();
        here.send(&5).unwrap();
        let results: Vec<_> = joiners
            .into_iter()
            .map(|joiner| joiner.join().unwrap())
            .collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        let taken =
            |result: &&Result<_, _>| matches!(result, Err(ProcessError::ResultTaken { .. }));
        assert_eq!(results.iter().filter(taken).count(), 3);
    });
}

#[test]
fn processes_may_start_in_many_threads_at_once() {
    std::thread::scope(|scope| {
        for n in 0..8 {
            scope.spawn(move || {
                let p = Process::new(add, (n, 1)).start().unwrap();
                assert_eq!(p.result().unwrap(), n + 1);
            });
        }
    });
}

#[test]
fn all_children_can_be_joined_at_once() {
    fn starts_three(_: ()) -> (usize, usize) {
        let kept: Vec<_> = (0..3).map(|_| standing_by()).collect();
        let before = active_children().len();
        let (kept, ends): (Vec<_>, Vec<_>) = kept.into_iter().unzip();
        // One is still held, two are on their own.
        let held = kept.into_iter().next();
        ends.iter().for_each(|end| end.send(&1).unwrap());
        join_all().unwrap();
        let after = active_children().len();
        assert_eq!(held.unwrap().result().unwrap(), Some(1));
        (before, after)
    }
    let p = Process::new(starts_three, ()).start().unwrap();
    assert_eq!(p.result().unwrap(), (3, 0));
}

#[test]
fn handles_may_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Process<std::cell::Cell<u8>>>();
    shared::<Connection<std::cell::Cell<u8>, std::rc::Rc<u8>>>();
}
