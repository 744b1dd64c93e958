//! Items whose own code panics, or uses the queue.

use std::cell::Cell;
use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use allcores::threading::{LifoQueue, PriorityQueue, Queue, SimpleQueue, scope};

use super::until_blocked;

thread_local! {
    /// How many comparisons this thread may make before one panics.
    static COMPARISONS: Cell<u32> = const { Cell::new(u32::MAX) };
}

#[derive(Debug, PartialEq, Eq)]
struct Item(u32);

impl Ord for Item {
    fn cmp(&self, other: &Item) -> Ordering {
        match COMPARISONS.get() {
            0 => resume_unwind(Box::new("cannot be compared")),
            left => COMPARISONS.set(left - 1),
        }
        self.0.cmp(&other.0)
    }
}
impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Item) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Whether it panics if it may compare so often.
fn panics_after<R>(comparisons: u32, f: impl FnOnce() -> R) -> bool {
    COMPARISONS.set(comparisons);
    let panicked = panics(f);
    COMPARISONS.set(u32::MAX);
    panicked
}

fn panics<R>(f: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(f)).is_err()
}

#[test]
fn a_panic_while_comparing_leaves_the_queue_as_it_was() {
    let q = PriorityQueue::new();
    (1..=64).rev().for_each(|rank| q.put(Item(rank)).unwrap());
    let as_it_was = || (q.qsize(), q.unfinished_tasks()) == (64, 64);
    // After no comparison, after one, and so on until it works.
    let puts = (0..).take_while(|n| panics_after(*n, || q.put(Item(0))) && as_it_was());
    assert_eq!(
        puts.count(),
        6,
        "as often as it is compared on its way to the top"
    );
    assert_eq!(q.get(), Ok(Item(0)));
    q.task_done().unwrap();
    let gets = (0..).take_while(|n| panics_after(*n, || q.get()) && as_it_was());
    assert!(gets.count() > 6);
    // The last one worked, and took the smallest; the others are all there, in order.
    q.shutdown(false);
    assert!(q.iter().map(|item| item.0).eq(2..=64));
    (0..64).for_each(|_| q.task_done().unwrap());
    assert!(q.task_done().is_err());
}

#[test]
fn a_put_that_panics_leaves_the_room_to_the_next_that_waits() {
    let q = PriorityQueue::bounded(2);
    q.put(Item(1)).unwrap();
    q.put(Item(2)).unwrap();
    scope(|s| {
        let bad = s.spawn(|| panics_after(0, || q.put(Item(3))));
        until_blocked(&bad.handle());
        let good = s.spawn(|| q.put(Item(4)));
        until_blocked(&good.handle());
        // For the one that has waited longest, which panics.
        assert_eq!(q.get(), Ok(Item(1)));
        assert!(bad.result().unwrap());
        assert_eq!(good.result().unwrap(), Ok(()));
    })
    .unwrap();
}

#[test]
fn a_get_that_panics_leaves_the_item_to_the_next_that_waits() {
    let q = PriorityQueue::new();
    for _ in 0..50 {
        scope(|s| {
            // They are woken in this order, unless there are three items by then they need not compare any, and succeed.
            let bad = [(); 3].map(|()| {
                let bad = s.spawn(|| panics_after(0, || q.get().unwrap()));
                until_blocked(&bad.handle());
                bad
            });
            let good = s.spawn(|| q.get().unwrap());
            until_blocked(&good.handle());
            (0..3).for_each(|rank| q.put(Item(rank)).unwrap());
            let panicked = bad.map(|bad| bad.result().unwrap());
            if panicked == [false; 3] {
                q.put(Item(3)).unwrap();
            }
            // Otherwise something is left, and nobody will put anything more.
            good.join().unwrap();
            while q.try_get().is_ok() {}
        })
        .unwrap();
    }
}

/// What it does when dropped is up to the test.
struct Drops<F: FnMut()>(F);
impl<F: FnMut()> Drop for Drops<F> {
    fn drop(&mut self) {
        self.0();
    }
}

#[test]
fn a_panic_while_dropping_concerns_nobody_else() {
    let dropped = AtomicU32::new(0);
    let item = |n| {
        let dropped = &dropped;
        Drops(move || {
            dropped.fetch_add(1, SeqCst);
            if n == 1 {
                resume_unwind(Box::new("cannot be dropped"));
            }
        })
    };
    let q = Queue::new();
    scope(|s| {
        (0..4).for_each(|n| assert!(q.put(item(n)).is_ok()));
        let join = s.spawn(|| q.join());
        until_blocked(&join.handle());
        assert!(panics(|| q.shutdown(true)));
        join.join().unwrap();
    })
    .unwrap();
    assert_eq!(dropped.load(SeqCst), 4);
    assert!(q.is_shutdown());
    assert_eq!((q.qsize(), q.unfinished_tasks()), (0, 0));
    assert!(q.get().is_err());
}

#[test]
fn what_a_shutdown_drops_may_use_the_queue() {
    static Q: Queue<Drops<fn()>> = Queue::new();
    static STACK: LifoQueue<Drops<fn()>> = LifoQueue::new();
    static SEEN: AtomicU32 = AtomicU32::new(0);
    Q.put(Drops(|| {
        // From inside shutdown: neither locked nor half-way.
        let refused = Q.try_put(Drops(|| ())).is_err();
        let empty = Q.qsize() == 0 && Q.unfinished_tasks() == 0 && Q.get().is_err();
        SEEN.fetch_add(u32::from(refused && empty), SeqCst);
    }))
    .unwrap();
    Q.put(Drops(|| ())).unwrap();
    Q.shutdown(true);
    assert_eq!(SEEN.load(SeqCst), 1);
    STACK
        .put(Drops(|| {
            SEEN.fetch_add(u32::from(STACK.task_done().is_err()), SeqCst);
        }))
        .unwrap();
    STACK.shutdown(true);
    assert_eq!(SEEN.load(SeqCst), 2);
}

#[test]
fn an_order_that_asks_the_queue_itself_panics_and_does_not_hang() {
    static Q: PriorityQueue<Nosy> = PriorityQueue::new();
    #[derive(PartialEq, Eq)]
    struct Nosy;
    impl Ord for Nosy {
        fn cmp(&self, _: &Nosy) -> Ordering {
            if Q.unfinished_tasks() > 0 {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
    }
    impl PartialOrd for Nosy {
        fn partial_cmp(&self, other: &Nosy) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }
    Q.put(Nosy).unwrap();
    let payload = catch_unwind(|| Q.put(Nosy)).unwrap_err();
    let text = payload.downcast_ref::<&str>().unwrap();
    assert!(text.contains("would wait for itself"), "{text}");
    assert_eq!(Q.qsize(), 1);
    assert!(Q.try_get().is_ok());
}

#[test]
fn a_simple_queue_may_be_put_to_while_an_item_is_dropped() {
    // CPython's test of reentrancy: whatever is dropped puts the next number.
    static NUMBERS: SimpleQueue<u32> = SimpleQueue::new();
    struct Circular(u32);
    impl Drop for Circular {
        fn drop(&mut self) {
            NUMBERS.put(self.0 + 1);
        }
    }
    static CIRCULARS: SimpleQueue<Circular> = SimpleQueue::new();
    for n in (0..1_000).step_by(2) {
        NUMBERS.put(n);
        CIRCULARS.put(Circular(n));
        drop(CIRCULARS.get());
        assert_eq!((NUMBERS.get(), NUMBERS.get()), (n, n + 1));
    }
    assert!(NUMBERS.is_empty());
}

#[test]
fn a_thread_that_ends_may_put() {
    static ENDED: SimpleQueue<u32> = SimpleQueue::new();
    struct AtTheEnd(u32);
    impl Drop for AtTheEnd {
        fn drop(&mut self) {
            ENDED.put(self.0);
        }
    }
    thread_local! {
        static BEFORE: Cell<Option<AtTheEnd>> = const { Cell::new(None) };
        static AFTER: Cell<Option<AtTheEnd>> = const { Cell::new(None) };
    }
    // Whichever is destroyed first, what the library knows of the thread or what puts.
    for used_before in [false, true] {
        let thread = std::thread::spawn(move || {
            BEFORE.set(Some(AtTheEnd(1)));
            if used_before {
                assert_eq!(ENDED.try_get(), None);
            }
            AFTER.set(Some(AtTheEnd(2)));
        });
        thread.join().unwrap();
        let mut put = [ENDED.get(), ENDED.get()];
        put.sort_unstable();
        assert_eq!(put, [1, 2]);
    }
    scope(|s| s.spawn(|| BEFORE.set(Some(AtTheEnd(3)))).join())
        .unwrap()
        .unwrap();
    assert_eq!(ENDED.get(), 3);
    assert!(ENDED.is_empty());
}

#[test]
fn an_item_is_dropped_once_wherever_it_is() {
    let dropped = AtomicU32::new(0);
    let item = || {
        Drops(|| {
            dropped.fetch_add(1, SeqCst);
        })
    };
    let q = Queue::bounded(3);
    (0..3).for_each(|_| assert!(q.put(item()).is_ok()));
    drop(q.try_put(item()));
    assert_eq!(dropped.load(SeqCst), 1, "it came back with the error");
    drop(q.get());
    assert_eq!(
        dropped.load(SeqCst),
        2,
        "the queue does not keep what it gives"
    );
    drop(q);
    assert_eq!(dropped.load(SeqCst), 4);
}
