//! While others sleep, and after a sleep.

use super::*;

/// Two sleep, the victim puts two messages, one after the other. Seen red: no `notify`.
pub(super) fn put_while_others_sleep() {
    let queue = Queue::<u32>::new().unwrap();
    Scenario {
        name: "put, while others sleep",
        before: &|| drop(Lock::new(()).unwrap()),
        operation: &|| {
            queue.put(&1).unwrap();
            queue.put(&2).unwrap();
        },
        wait: &|| {
            drop(Lock::new(()).unwrap());
            queue.get().unwrap();
        },
        waiters_first: true,
        unblock: None,
        // Only what the victim has not put: whoever sleeps while there is something to get has missed it.
        make_up: &|asleep| {
            if asleep && queue.is_empty() {
                queue.put(&3).unwrap();
            }
        },
        check: &|| while queue.try_get().is_ok() {},
    }
    .play(200);
}

pub(super) fn get_while_others_wait_for_room() {
    let queue = Queue::<u32>::bounded(2).unwrap();
    queue.put_many(&[1, 2]).unwrap();
    Scenario {
        name: "get, while others wait for room",
        before: &|| drop(Lock::new(()).unwrap()),
        operation: &|| {
            queue.get().unwrap();
            queue.get().unwrap();
        },
        wait: &|| {
            drop(Lock::new(()).unwrap());
            queue.put(&3).unwrap();
        },
        waiters_first: true,
        unblock: None,
        make_up: &|asleep| {
            if asleep && queue.is_full() {
                queue.get().unwrap();
            }
        },
        check: &|| {
            while queue.try_get().is_ok() {}
            queue.put_many(&[1, 2]).unwrap();
        },
    }
    .play(200);
}

/// The victim is woken, and killed before or after it takes the message: what it leaves is another's.
pub(super) fn get_after_a_sleep() {
    let queue = Queue::<u32>::new().unwrap();
    Scenario {
        name: "get, after a sleep",
        before: &|| drop(Lock::new(()).unwrap()),
        operation: &|| {
            queue.get().unwrap();
        },
        wait: &|| {
            drop(Lock::new(()).unwrap());
            queue.get().unwrap();
        },
        waiters_first: true,
        unblock: Some(&|| queue.put(&1).unwrap()),
        make_up: &|asleep| {
            if asleep && queue.is_empty() {
                queue.put(&3).unwrap();
            }
        },
        check: &|| while queue.try_get().is_ok() {},
    }
    .play(60);
}

pub(super) fn close_while_others_sleep() {
    // Each round has a queue of its own, known to all beforehand.
    let queues: Vec<Queue<u32>> = (0..400).map(|_| Queue::new().unwrap()).collect();
    // SAFETY: an atomic.
    let round = unsafe { page::<AtomicU32>() };
    let queue = || &queues[round.load(SeqCst) as usize];
    Scenario {
        name: "close, while others sleep",
        before: &|| drop(Lock::new(()).unwrap()),
        operation: &|| queue().close(),
        wait: &|| {
            drop(Lock::new(()).unwrap());
            assert!(queue().get().is_err());
        },
        waiters_first: true,
        unblock: None,
        make_up: &|asleep| {
            if asleep && !queue().is_closed() {
                queue().close();
            }
        },
        check: &|| {
            round.fetch_add(1, SeqCst);
        },
    }
    .play(100);
}
