//! What the queues of `allcores::threading` keep of memory: the program counts its large allocations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use allcores::threading::{LifoQueue, PriorityQueue, Queue, SimpleQueue};

const LARGE: usize = 128 * 1024;
static BYTES: AtomicUsize = AtomicUsize::new(0);

fn large(size: usize) -> usize {
    if size > LARGE { size } else { 0 }
}

struct Counting;

// SAFETY: it is the system's allocator, with sums beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(large(layout.size()), SeqCst);
        // SAFETY: the caller's word.
        unsafe { System.alloc(layout) }
    }
    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        BYTES.fetch_add(large(size), SeqCst);
        BYTES.fetch_sub(large(layout.size()), SeqCst);
        // SAFETY: the caller's word.
        unsafe { System.realloc(old, layout, size) }
    }
    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        BYTES.fetch_sub(large(layout.size()), SeqCst);
        // SAFETY: the caller's word.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test, so that nothing else allocates meanwhile.
#[test]
fn a_queue_that_was_long_once_gives_its_memory_back_when_it_is_empty() {
    const ITEMS: usize = 100_000;

    fn check(put: impl Fn(usize), get: impl Fn()) {
        assert_eq!(BYTES.load(SeqCst), 0);
        for _ in 0..2 {
            (0..ITEMS).for_each(&put);
            assert!(BYTES.load(SeqCst) >= ITEMS * size_of::<usize>());
            (0..ITEMS).for_each(|_| get());
            assert_eq!(BYTES.load(SeqCst), 0);
        }
    }
    let q = Queue::new();
    check(|n| q.put(n).unwrap(), || assert!(q.get().is_ok()));
    let q = LifoQueue::new();
    check(|n| q.put(n).unwrap(), || assert!(q.get().is_ok()));
    let q = PriorityQueue::new();
    check(|n| q.put(n).unwrap(), || assert!(q.get().is_ok()));
    let q = SimpleQueue::new();
    check(|n| q.put(n), || assert!(q.get() < ITEMS));
    // So does a shutdown.
    let q: Queue<usize> = (0..ITEMS).collect();
    assert!(BYTES.load(SeqCst) > 0);
    q.shutdown(true);
    assert_eq!(BYTES.load(SeqCst), 0);
}
