//! What comes out, in which order, and how many there are.

use std::collections::BinaryHeap;

use allcores::threading::queue::{GetError, PutError};
use allcores::threading::{LifoQueue, PriorityQueue, Queue, SimpleQueue, scope};

use super::{AnyQueue, blocks_until, for_each_kind};
use crate::util::{LONG, SHORT};

const SIZE: u32 = 5;

for_each_kind!(
    items_come_in_order_and_a_full_queue_blocks
    without_waiting_it_is_full_or_empty_at_once
    items_come_back_with_the_error
    it_counts_its_items
);

fn items_come_in_order_and_a_full_queue_blocks<Q: AnyQueue>() {
    let q = Q::bounded(SIZE as usize);
    // Twice, to see that it is as good as new.
    for _ in 0..2 {
        assert!(q.is_empty() && !q.is_full());
        for item in [111, 333, 222] {
            q.put(item).unwrap();
        }
        assert_eq!([(); 3].map(|()| q.get().unwrap()), Q::ORDER);
        for item in 0..SIZE - 1 {
            q.put(item).unwrap();
            assert!(!q.is_empty() && !q.is_full());
        }
        q.put(10).unwrap();
        assert!(q.is_full() && !q.is_empty());
        assert_eq!(q.try_put(30), Err(PutError::Full(30)));
        assert_eq!(q.put_timeout(30, SHORT), Err(PutError::Full(30)));
        scope(|s| {
            let get = || assert!(q.get().is_ok());
            assert_eq!(blocks_until(s, || q.put(30), get), Ok(()));
            assert_eq!(blocks_until(s, || q.put_timeout(30, LONG), get), Ok(()));
        })
        .unwrap();
        for _ in 0..SIZE {
            assert!(q.get().is_ok());
        }
        assert!(q.is_empty());
        assert_eq!(q.try_get(), Err(GetError::Empty));
        assert_eq!(q.get_timeout(SHORT), Err(GetError::Empty));
        scope(|s| {
            let put = || q.put(7).unwrap();
            assert_eq!(blocks_until(s, || q.get(), put), Ok(7));
            assert_eq!(blocks_until(s, || q.get_timeout(LONG), put), Ok(7));
        })
        .unwrap();
    }
}

fn without_waiting_it_is_full_or_empty_at_once<Q: AnyQueue>() {
    let q = Q::bounded(SIZE as usize);
    for _ in 0..SIZE {
        assert_eq!(q.try_put(1), Ok(()));
    }
    assert_eq!(q.try_put(1), Err(PutError::Full(1)));
    for _ in 0..SIZE {
        assert_eq!(q.try_get(), Ok(1));
    }
    assert_eq!(q.try_get(), Err(GetError::Empty));
    // Neither does a timeout of zero.
    assert_eq!(
        q.get_timeout(std::time::Duration::ZERO),
        Err(GetError::Empty)
    );
}

fn items_come_back_with_the_error<Q: AnyQueue>() {
    let q = Q::bounded(1);
    q.put(1).unwrap();
    let full = q.try_put(2).unwrap_err();
    assert!(full.is_full() && !full.is_shutdown());
    assert_eq!(full.into_inner(), 2);
    q.shutdown(false);
    for shut in [q.put(3), q.try_put(3), q.put_timeout(3, LONG)] {
        let shut = shut.unwrap_err();
        assert!(shut.is_shutdown() && !shut.is_full());
        assert_eq!(shut.into_inner(), 3);
    }
}

fn it_counts_its_items<Q: AnyQueue>() {
    let q = Q::new();
    for n in 0..1_000 {
        assert_eq!(q.qsize(), n);
        q.put(n as u32 % 7).unwrap();
        assert!(!q.is_full());
    }
    for n in (0..1_000).rev() {
        q.get().unwrap();
        assert_eq!(q.qsize(), n);
    }
    assert!(q.is_empty());
}

#[test]
fn the_smallest_come_first_in_any_sequence() {
    let (q, mut model) = (PriorityQueue::new(), BinaryHeap::new());
    let mut random = 1u64;
    for _ in 0..20_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        // Now growing, now shrinking, with many equal items.
        if random >> 60 < 8 {
            let item = random >> 33 & 0xff;
            q.put(item).unwrap();
            model.push(std::cmp::Reverse(item));
        } else {
            assert_eq!(q.try_get().ok(), model.pop().map(|item| item.0));
        }
        assert_eq!(q.qsize(), model.len());
    }
}

#[test]
fn maxsize_is_what_it_was_made_with() {
    static BOUNDED: Queue<String> = Queue::bounded(3);
    static UNBOUNDED: LifoQueue<String> = LifoQueue::new();
    assert_eq!(BOUNDED.maxsize(), Some(3));
    assert_eq!(UNBOUNDED.maxsize(), None);
    assert_eq!(PriorityQueue::<u32>::default().maxsize(), None);
}

#[test]
#[should_panic(expected = "new() makes one without limit")]
fn room_for_nothing_is_refused() {
    Queue::<u32>::bounded(0);
}

#[test]
fn they_are_made_from_iterators() {
    let q: Queue<u32> = (1..4).collect();
    assert_eq!((q.qsize(), q.unfinished_tasks()), (3, 3));
    q.shutdown(false);
    assert_eq!(q.iter().collect::<Vec<_>>(), [1, 2, 3]);
    let q: LifoQueue<u32> = (1..4).collect();
    q.shutdown(false);
    assert_eq!(q.iter().collect::<Vec<_>>(), [3, 2, 1]);
    let q: PriorityQueue<u32> = [3, 1, 2].into_iter().collect();
    q.shutdown(false);
    assert_eq!((&q).into_iter().collect::<Vec<_>>(), [1, 2, 3]);
    let q: SimpleQueue<u32> = (1..4).collect();
    assert_eq!([(); 3].map(|()| q.get()), [1, 2, 3]);
}

#[test]
fn items_that_take_no_space_are_counted_all_the_same() {
    let q = Queue::new();
    for _ in 0..3 {
        q.put(()).unwrap();
    }
    assert_eq!(q.qsize(), 3);
    q.shutdown(false);
    assert_eq!(q.iter().count(), 3);
}

#[test]
fn threads_share_a_queue_of_items_that_may_be_sent() {
    fn shared<T: Send + Sync>() {}
    // Not Sync themselves: only one thread at a time has an item.
    shared::<Queue<std::cell::Cell<u32>>>();
    shared::<LifoQueue<std::cell::Cell<u32>>>();
    shared::<PriorityQueue<std::cell::Cell<u32>>>();
    shared::<SimpleQueue<std::cell::Cell<u32>>>();
}

#[test]
fn they_show_themselves() {
    let q = Queue::bounded(2);
    q.put(std::thread::current()).unwrap();
    assert_eq!(
        format!("{q:?}"),
        "Queue { qsize: 1, maxsize: Some(2), shutdown: false }"
    );
    let q = PriorityQueue::<u32>::new();
    q.shutdown(false);
    assert_eq!(
        format!("{q:?}"),
        "PriorityQueue { qsize: 0, maxsize: None, shutdown: true }"
    );
    assert_eq!(
        format!("{:?}", SimpleQueue::<u32>::new()),
        "SimpleQueue { qsize: 0 }"
    );
    // Whatever the item, an error can be shown and returned with `?`.
    struct Opaque;
    let error = PutError::Full(Opaque);
    assert_eq!(format!("{error:?}"), "Full(..)");
    assert!(
        Box::<dyn std::error::Error>::from(error)
            .to_string()
            .contains("full")
    );
}
