//! The queues of `allcores::threading` in the child of a fork(2): they go on with what is in them, and without those who
//! waited. Only while another thread is in the middle of moving an item is there nothing to go on with. Nothing but the
//! allocator is called then, so the allocator is where this program makes that thread wait.

#[path = "threading/fork.rs"]
mod fork;
#[expect(
    dead_code,
    reason = "shared with other test programs, which use the rest"
)]
#[path = "threading/util.rs"]
mod util;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};

use allcores::threading::{
    Event, GetError, LifoQueue, PriorityQueue, PutError, Queue, SimpleQueue, scope,
};

use fork::in_child;
use util::{LONG, until, until_asleep};

#[test]
fn a_queue_goes_on_in_the_child_without_those_who_waited() {
    let q = Queue::bounded(2);
    let hungry = SimpleQueue::new();
    scope(|s| {
        q.put(1).unwrap();
        q.put(2).unwrap();
        let putters = [(); 2].map(|()| s.spawn(|| q.put(3)));
        let joiner = s.spawn(|| q.join());
        let getter = s.spawn(|| hungry.get());
        putters.iter().for_each(|t| until_asleep(&t.handle()));
        [joiner.handle(), getter.handle()]
            .iter()
            .for_each(until_asleep);
        in_child(|| {
            // Nobody else is here: what was in the queue, and no more.
            let copied = (q.get(), q.get(), q.try_get()) == (Ok(1), Ok(2), Err(GetError::Empty));
            let tasks = q.unfinished_tasks() == 2 && q.task_done().is_ok() && q.task_done().is_ok();
            hungry.put(5);
            let mine = hungry.try_get() == Some(5) && q.join_timeout(LONG);
            // A waiter of the child's own is woken, however many stayed behind.
            let woken = scope(|s| {
                let getter = s.spawn(|| (hungry.get(), q.get()));
                until_asleep(&getter.handle());
                hungry.put(6);
                until_asleep(&getter.handle());
                q.put(7).unwrap();
                getter.result().unwrap()
            });
            q.put(8).unwrap();
            q.put(9).unwrap();
            let room = scope(|s| {
                let putter = s.spawn(|| q.put(10));
                until_asleep(&putter.handle());
                q.get().unwrap();
                putter.result().unwrap()
            });
            copied && tasks && mine && woken == Ok((6, Ok(7))) && room == Ok(Ok(()))
        });
        // Untouched here.
        assert_eq!((q.qsize(), q.unfinished_tasks()), (2, 2));
        assert_eq!(q.get(), Ok(1));
        until(|| q.is_full());
        hungry.put(4);
        assert_eq!(getter.result().unwrap(), 4);
        q.shutdown(true);
        let put = putters.map(|t| t.result().unwrap());
        assert!(put.contains(&Ok(())) && put.contains(&Err(PutError::ShutDown(3))));
        q.task_done().unwrap();
    })
    .unwrap();
}

/// Compares slowly, if it is told to: its thread is inside the queue meanwhile, and has changed nothing.
struct Slow<'a>(u32, Option<&'a [Event; 2]>);

impl Ord for Slow<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        for [inside, done] in [self.1, other.1].into_iter().flatten() {
            inside.set();
            done.wait();
        }
        self.0.cmp(&other.0)
    }
}
impl PartialOrd for Slow<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Slow<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Slow<'_> {}

#[test]
fn a_queue_goes_on_in_the_child_if_another_thread_was_about_to_change_it() {
    let events = [const { Event::new() }; 2];
    let q = PriorityQueue::new();
    q.put(Slow(2, None)).unwrap();
    q.put(Slow(3, None)).unwrap();
    scope(|s| {
        s.spawn(|| q.put(Slow(1, Some(&events))));
        events[0].wait();
        in_child(|| {
            let whole = (q.qsize(), q.unfinished_tasks()) == (2, 2);
            let put = q.put(Slow(0, None)).is_ok();
            q.shutdown(false);
            whole && put && q.iter().map(|item| item.0).eq([0, 2, 3])
        });
        events[1].set();
    })
    .unwrap();
    assert_eq!((q.qsize(), q.unfinished_tasks()), (3, 3));
}

static INSIDE: Event = Event::new();
static DONE: Event = Event::new();

thread_local! {
    static STOPS: Cell<bool> = const { Cell::new(false) };
}

/// Stops a thread that has asked for it.
fn stop() {
    if STOPS.replace(false) {
        INSIDE.set();
        DONE.wait();
    }
}

struct Stopping;

// SAFETY: it is the system's allocator; the event that it may wait for allocates nothing.
unsafe impl GlobalAlloc for Stopping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        stop();
        // SAFETY: the caller's word.
        unsafe { System.alloc(layout) }
    }
    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        stop();
        // SAFETY: the caller's word.
        unsafe { System.realloc(old, layout, size) }
    }
    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller's word.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Stopping = Stopping;

fn message(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it did not panic");
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

#[test]
fn a_half_moved_queue_says_so_and_is_not_waited_for() {
    let q = Queue::new();
    let stack = LifoQueue::new();
    stack.put(1).unwrap();
    scope(|s| {
        s.spawn(|| {
            STOPS.set(true);
            // The first item, for which there is no memory yet.
            q.put(String::new()).unwrap();
        });
        INSIDE.wait();
        in_child(|| {
            let all = [
                message(|| drop(q.put(String::new()))),
                message(|| drop(q.try_get())),
                message(|| assert!(q.task_done().is_ok())),
                message(|| q.join()),
                message(|| q.shutdown(true)),
            ];
            let told = all.map(|text| text.contains("moving an item of this queue"));
            let shown = format!("{q:?}").contains("qsize: 0");
            // Dropped without touching what is half-moved.
            // SAFETY: a copy in the child, used no more; the parent's is its own.
            drop(unsafe { std::ptr::read(&q) });
            // One that nobody was inside is as good as ever.
            let other = stack.get() == Ok(1) && stack.task_done().is_ok();
            told == [true; 5] && shown && other
        });
        DONE.set();
    })
    .unwrap();
    assert_eq!((q.qsize(), stack.qsize()), (1, 1));
}
