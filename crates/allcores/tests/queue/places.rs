//! Where a queue can lie, and from where it can be seen.

use std::time::Duration;

use allcores::multiprocessing::queue::GetError;
use allcores::multiprocessing::{JoinableQueue, Process, Queue, SimpleQueue};
use allcores::shm::{self, Arena};

use super::util::{Parcel, sleeping_in};

fn echo((there, back): (Queue<Parcel>, Queue<Parcel>)) {
    while let Ok(parcel) = there.get() {
        parcel.check();
        back.put(&parcel).unwrap();
    }
}

fn to_and_fro(there: Queue<Parcel>, back: Queue<Parcel>) {
    let child = Process::new(echo, (there.clone(), back.clone()))
        .start()
        .unwrap();
    for number in 0..300 {
        let parcel = Parcel::new(1, number, number as usize * number as usize);
        there.put(&parcel).unwrap();
        assert_eq!(back.get().unwrap(), parcel);
    }
    there.close();
    child.join().unwrap();
    assert!(matches!(back.get(), Err(GetError::Disconnected)));
}

#[test]
fn in_the_common_arena() {
    to_and_fro(Queue::new().unwrap(), Queue::bounded(2).unwrap());
}

#[test]
fn in_a_separate_arena() {
    let arena = Arena::new().unwrap();
    let there = Queue::new_in(&arena).unwrap();
    let back = Queue::bounded_in(&arena, 2).unwrap();
    assert_eq!(back.maxsize(), Some(2));
    to_and_fro(there, back);
    let simple = SimpleQueue::new_in(&arena).unwrap();
    simple.put(&1).unwrap();
    assert_eq!(simple.get().unwrap(), 1);
    let joinable = JoinableQueue::new_in(&arena).unwrap();
    joinable.put(&1).unwrap();
    joinable.get().unwrap();
    joinable.task_done().unwrap();
    joinable.join().unwrap();
}

#[test]
fn through_two_mappings() {
    let near = Queue::<Parcel>::bounded(40).unwrap();
    let far = near.through(shm::map_common_again().unwrap()).unwrap();
    let getter = sleeping_in({
        let far = far.clone();
        move || {
            (0..2000u32)
                .map(|_| far.get().unwrap())
                .enumerate()
                .for_each(|(number, parcel)| {
                    parcel.check();
                    assert_eq!(parcel.number, number as u32);
                });
        }
    });
    for number in 0..2000 {
        let length = if number % 50 == 49 { 30_000 } else { 90 };
        near.put(&Parcel::new(0, number, length)).unwrap();
    }
    getter.join().unwrap();
    far.put(&Parcel::new(0, 1, 5)).unwrap();
    assert_eq!(near.qsize(), 1);
    assert_eq!(near.get().unwrap(), Parcel::new(0, 1, 5));
    near.close();
    assert!(matches!(far.get(), Err(GetError::Closed)));
}

/// Waits for the child, which must have done well.
#[track_caller]
fn succeeds(pid: i32) {
    let mut status = 0;
    // SAFETY: our own child, and a valid place.
    while unsafe { libc::waitpid(pid, &mut status, 0) } != pid {}
    assert!(
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
        "{status:#x}"
    );
}

fn forked(work: impl FnOnce()) -> i32 {
    // SAFETY: the child uses this thread only, and ends by _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        // SAFETY: ends the child; nothing of the parent's is torn down.
        unsafe { libc::_exit(i32::from(done.is_err())) };
    }
    pid
}

#[test]
fn a_forked_child_has_its_parents_queues() {
    let (there, back) = (
        Queue::<Parcel>::new().unwrap(),
        Queue::<Parcel>::new().unwrap(),
    );
    there.put(&Parcel::new(0, 0, 100)).unwrap();
    let child = forked(|| {
        for number in 0..100 {
            let parcel = there.get().unwrap();
            assert_eq!(parcel.number, number);
            back.put(&parcel).unwrap();
        }
        assert!(matches!(there.get(), Err(GetError::Closed)));
    });
    for number in 1..100 {
        there
            .put(&Parcel::new(0, number, number as usize * 300))
            .unwrap();
    }
    for number in 0..100 {
        let parcel = back.get().unwrap();
        parcel.check();
        assert_eq!(parcel.number, number);
    }
    there.close();
    succeeds(child);
    assert!(matches!(
        back.get_timeout(Duration::from_secs(60)),
        Err(GetError::Disconnected)
    ));
}

/// What the parent has taken in a batch is the parent's: the child's copy neither gives it back nor uses it.
#[test]
fn a_fork_in_the_middle_of_a_batch() {
    let queue = Queue::<Parcel>::new().unwrap();
    let put: Vec<_> = (0..4)
        .map(|number| Parcel::new(0, number, 40_000))
        .collect();
    queue.put_many(&put).unwrap();
    let batch = queue.get_many(4).unwrap();
    let mut batch = Some(batch);
    let child = forked(|| drop(batch.take()));
    succeeds(child);
    // If the child had given them back, these would take their place.
    let more: Vec<_> = (10..14)
        .map(|number| Parcel::new(0, number, 40_000))
        .collect();
    queue.put_many(&more).unwrap();
    for (parcel, put) in batch.take().unwrap().zip(&put) {
        assert_eq!(parcel.unwrap(), *put);
    }
    for (parcel, put) in queue.get_many(4).unwrap().zip(&more) {
        assert_eq!(parcel.unwrap(), *put);
    }
}
