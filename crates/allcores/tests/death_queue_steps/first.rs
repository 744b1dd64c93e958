//! The first message that a queue ever has.

use super::*;

/// The first message that a queue ever had. The victim alone holds it: with it, all of the queue must go.
///
/// Seen red: segments looked for only where `first` was written.
pub(super) fn put_first() {
    play_first("put, the first", 50, 40);
}

pub(super) fn put_first_large() {
    play_first("put, the first, large", 16_385, 40);
}

fn play_first(name: &str, length: usize, points: u64) {
    drop(Lock::new(()).unwrap());
    shm::settle_the_dead().unwrap();
    let before = shm::usage().unwrap();
    let message = message(VICTIMS, length);
    Scenario {
        name,
        before: &|| drop(Lock::new(()).unwrap()),
        operation: &|| {
            let queue = Queue::<()>::new().unwrap();
            queue.put_bytes(&message).unwrap();
            std::mem::forget(queue);
        },
        wait: NOTHING,
        waiters_first: false,
        unblock: None,
        make_up: NOBODY_OWES,
        check: &|| {
            shm::settle_the_dead().unwrap();
            assert_eq!(shm::usage().unwrap(), before, "something is left behind");
        },
    }
    .play(points);
    // The same for a queue that others hold as well: what the dead had is found there.
    let queue = RefCell::new(Queue::<()>::new().unwrap());
    let first = Cell::new(u64::MAX);
    Scenario {
        name,
        before: &|| drop(Lock::new(()).unwrap()),
        operation: &|| queue.borrow().put_bytes(&message).unwrap(),
        wait: NOTHING,
        waiters_first: false,
        unblock: None,
        make_up: NOBODY_OWES,
        check: &|| {
            {
                let queue = queue.borrow();
                shm::settle_the_dead().unwrap();
                queue.put_bytes(&[0; 4]).unwrap();
                let mut got = 0;
                while queue.qsize() > 0 {
                    got = queue.get_bytes_with(number_of).unwrap();
                }
                assert_eq!(got, 0, "the last one is the last");
                // Killed or not: one segment of the ring, and that of the large message if that was put.
                let now = shm::usage().unwrap().1;
                first.set(first.get().min(now));
                assert!(
                    now <= first.get().saturating_add(length as u64 * 3),
                    "{now} bytes"
                );
            }
            queue.replace(Queue::new().unwrap());
            shm::settle_the_dead().unwrap();
        },
    }
    .play(points);
    drop(queue);
    assert_eq!(shm::usage().unwrap(), before, "something is left behind");
}
