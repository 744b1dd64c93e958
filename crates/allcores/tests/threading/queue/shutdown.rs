//! The end of a queue.

use allcores::threading::queue::{GetError, PutError, TooManyDone};
use allcores::threading::{Barrier, Event, Lock, scope};

use super::{AnyQueue, blocks_until, for_each_kind, until_blocked};
use crate::util::LONG;

for_each_kind!(
    an_empty_queue_neither_takes_nor_gives
    what_is_there_can_still_be_got
    an_immediate_shutdown_drops_what_is_there
    it_goes_one_way
    every_method_after_a_shutdown
    every_method_after_an_immediate_shutdown
    blocked_gets_end
    blocked_puts_end_with_their_items
    joins_end_when_the_rest_is_done
    an_immediate_shutdown_ends_joins
    an_immediate_shutdown_leaves_what_has_been_got_to_be_done
    iteration_ends
    in_the_middle_of_many_threads
    at_once_in_the_middle_of_many_threads
);

fn an_empty_queue_neither_takes_nor_gives<Q: AnyQueue>() {
    let q = Q::new();
    q.shutdown(false);
    assert_eq!(q.put(5), Err(PutError::ShutDown(5)));
    assert_eq!(q.get(), Err(GetError::ShutDown));
}

fn what_is_there_can_still_be_got<Q: AnyQueue>() {
    let q = Q::new();
    q.put(5).unwrap();
    q.shutdown(false);
    assert_eq!(q.put(6), Err(PutError::ShutDown(6)));
    assert_eq!(q.get(), Ok(5));
    assert_eq!(q.get(), Err(GetError::ShutDown));
}

fn an_immediate_shutdown_drops_what_is_there<Q: AnyQueue>() {
    let q = Q::new();
    q.put(5).unwrap();
    q.shutdown(true);
    assert_eq!((q.qsize(), q.unfinished_tasks()), (0, 0));
    assert_eq!(q.get(), Err(GetError::ShutDown));
}

fn it_goes_one_way<Q: AnyQueue>() {
    let q = Q::new();
    q.put(5).unwrap();
    assert!(!q.is_shutdown());
    for immediate in [false, true, false] {
        q.shutdown(immediate);
        assert!(q.is_shutdown());
    }
    assert_eq!(q.get(), Err(GetError::ShutDown));
}

fn every_method_after_a_shutdown<Q: AnyQueue>() {
    let q = Q::bounded(2);
    q.put(1).unwrap();
    q.put(2).unwrap();
    q.shutdown(false);
    assert!(q.is_full());
    // Shut down comes before full.
    assert_eq!(q.put(3), Err(PutError::ShutDown(3)));
    assert_eq!(q.try_put(3), Err(PutError::ShutDown(3)));
    assert_eq!(q.put_timeout(3, LONG), Err(PutError::ShutDown(3)));
    for _ in 0..2 {
        assert!(q.get().is_ok());
        q.task_done().unwrap();
    }
    q.join();
    assert_eq!(q.get(), Err(GetError::ShutDown));
    assert_eq!(q.try_get(), Err(GetError::ShutDown));
    assert_eq!(q.get_timeout(LONG), Err(GetError::ShutDown));
    assert_eq!(q.task_done(), Err(TooManyDone));
}

fn every_method_after_an_immediate_shutdown<Q: AnyQueue>() {
    let q = Q::bounded(2);
    q.put(1).unwrap();
    q.put(2).unwrap();
    q.shutdown(true);
    assert!(q.is_empty() && !q.is_full());
    assert_eq!(q.put(3), Err(PutError::ShutDown(3)));
    assert_eq!(q.try_put(3), Err(PutError::ShutDown(3)));
    assert_eq!(q.put_timeout(3, LONG), Err(PutError::ShutDown(3)));
    assert_eq!(q.get(), Err(GetError::ShutDown));
    assert_eq!(q.try_get(), Err(GetError::ShutDown));
    assert_eq!(q.get_timeout(LONG), Err(GetError::ShutDown));
    assert_eq!(q.task_done(), Err(TooManyDone));
    q.join();
}

fn blocked_gets_end<Q: AnyQueue>() {
    for immediate in [false, true] {
        let q = Q::bounded(2);
        scope(|s| {
            let gets = [s.spawn(|| q.get()), s.spawn(|| q.get_timeout(LONG))];
            gets.iter().for_each(|get| until_blocked(&get.handle()));
            q.shutdown(immediate);
            for get in gets {
                assert_eq!(get.result().unwrap(), Err(GetError::ShutDown));
            }
        })
        .unwrap();
    }
}

fn blocked_puts_end_with_their_items<Q: AnyQueue>() {
    for immediate in [false, true] {
        let q = Q::bounded(2);
        q.put(1).unwrap();
        q.put(2).unwrap();
        scope(|s| {
            let puts = [s.spawn(|| q.put(3)), s.spawn(|| q.put_timeout(4, LONG))];
            puts.iter().for_each(|put| until_blocked(&put.handle()));
            q.shutdown(immediate);
            for (put, item) in puts.iter().zip([3, 4]) {
                assert_eq!(put.result().unwrap(), Err(PutError::ShutDown(item)));
            }
        })
        .unwrap();
        assert_eq!(q.qsize(), if immediate { 0 } else { 2 });
    }
}

fn joins_end_when_the_rest_is_done<Q: AnyQueue>() {
    let q = Q::bounded(2);
    q.put(1).unwrap();
    q.put(2).unwrap();
    scope(|s| {
        let joins = [s.spawn(|| q.join()), s.spawn(|| q.join())];
        joins.iter().for_each(|join| until_blocked(&join.handle()));
        q.shutdown(false);
        joins.iter().for_each(|join| until_blocked(&join.handle()));
        for _ in 0..2 {
            s.spawn(|| q.get().map(|_| q.task_done().unwrap()).unwrap());
        }
        joins.iter().for_each(|join| join.join().unwrap());
    })
    .unwrap();
}

fn an_immediate_shutdown_ends_joins<Q: AnyQueue>() {
    let q = Q::new();
    (0..3).for_each(|item| q.put(item).unwrap());
    scope(|s| {
        let joins = [s.spawn(|| q.join()), s.spawn(|| q.join())];
        joins.iter().for_each(|join| until_blocked(&join.handle()));
        q.shutdown(true);
        joins.iter().for_each(|join| join.join().unwrap());
    })
    .unwrap();
}

fn an_immediate_shutdown_leaves_what_has_been_got_to_be_done<Q: AnyQueue>() {
    let q = Q::new();
    (0..3).for_each(|item| q.put(item).unwrap());
    q.get().unwrap();
    q.shutdown(true);
    assert_eq!(q.unfinished_tasks(), 1);
    scope(|s| blocks_until(s, || q.join(), || q.task_done().unwrap())).unwrap();
}

fn iteration_ends<Q: AnyQueue>() {
    let q = Q::new();
    (0..3).for_each(|item| q.put(item).unwrap());
    scope(|s| {
        let sum = blocks_until(s, || q.items().sum::<u32>(), || q.shutdown(false));
        assert_eq!(sum, 3);
    })
    .unwrap();
    assert_eq!(q.items().next(), None, "and stays ended");
}

fn in_the_middle_of_many_threads<Q: AnyQueue>() {
    amid_many_threads::<Q>(false);
}

fn at_once_in_the_middle_of_many_threads<Q: AnyQueue>() {
    amid_many_threads::<Q>(true);
}

fn amid_many_threads<Q: AnyQueue>(immediate: bool) {
    const WRITERS: u32 = 4;
    const READERS: u32 = 6;
    const JOINERS: u32 = 2;
    const EACH: u32 = 4096;
    let q = Q::new();
    let half_way = Event::new();
    let start = Barrier::new(WRITERS + READERS + JOINERS).unwrap();
    let counts = Lock::new((0u32, 0u32));
    let (put, got) = (
        |n: u32| counts.acquire().0 += n,
        |n: u32| counts.acquire().1 += n,
    );
    scope(|s| {
        for _ in 0..WRITERS {
            s.spawn(|| {
                (0..EACH / 4).for_each(|item| q.put(item).unwrap());
                put(EACH / 4);
                start.wait().unwrap();
                for item in EACH / 4..EACH {
                    if item == EACH / 2 {
                        half_way.set();
                    }
                    match q.put(item) {
                        Ok(()) => put(1),
                        Err(error) => return assert_eq!(error, PutError::ShutDown(item)),
                    }
                }
            });
        }
        for _ in 0..READERS {
            s.spawn(|| {
                let first = q.get();
                got(1);
                q.task_done().unwrap();
                start.wait().unwrap();
                assert!(first.is_ok());
                loop {
                    match q.try_get() {
                        Ok(_) => {
                            got(1);
                            q.task_done().unwrap();
                        }
                        Err(GetError::Empty) => std::thread::yield_now(),
                        Err(GetError::ShutDown) => return,
                    }
                }
            });
        }
        for _ in 0..JOINERS {
            s.spawn(|| {
                start.wait().unwrap();
                q.join();
            });
        }
        half_way.wait();
        q.shutdown(immediate);
        if immediate {
            assert!(q.is_empty());
        }
    })
    .unwrap();
    let (put, got) = counts.into_inner();
    assert!(put >= (WRITERS + 1) * EACH / 4, "{put}");
    if immediate {
        assert!(got <= put);
    } else {
        assert_eq!(got, put, "what had been put was got");
    }
    assert_eq!((q.qsize(), q.unfinished_tasks()), (0, 0));
}
