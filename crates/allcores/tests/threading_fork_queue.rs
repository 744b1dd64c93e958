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
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use allcores::threading::queue::{GetError, PutError};
use allcores::threading::{Event, LifoQueue, PriorityQueue, Queue, SimpleQueue, scope};

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

/// Sets the event when a test is over, well or not, so that nobody waits for it.
struct SetAtEnd<'a>(&'a Event);
impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
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
        let _done = SetAtEnd(&events[1]);
        in_child(|| {
            let whole = (q.qsize(), q.unfinished_tasks()) == (2, 2);
            let put = q.put(Slow(0, None)).is_ok();
            q.shutdown(false);
            whole && put && q.iter().map(|item| item.0).eq([0, 2, 3])
        });
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

/// Counts how many are dropped.
struct Counted(#[expect(dead_code, reason = "it takes space")] u64);
static DROPPED: AtomicU32 = AtomicU32::new(0);
impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_half_moved_queue_says_so_and_is_not_waited_for() {
    let q = Queue::new();
    let stack = LifoQueue::new();
    stack.put(1).unwrap();
    scope(|s| {
        s.spawn(|| {
            q.put(Counted(0)).unwrap();
            STOPS.set(true);
            // Until there is no room for another item where the first ones lie.
            while STOPS.get() {
                q.put(Counted(0)).unwrap();
            }
        });
        INSIDE.wait();
        let _done = SetAtEnd(&DONE);
        in_child(|| {
            let all = [
                message(|| drop(q.put(Counted(0)))),
                message(|| drop(q.try_get())),
                message(|| assert!(q.task_done().is_ok())),
                message(|| q.join()),
                message(|| q.shutdown(true)),
            ];
            let told = all.map(|text| text.contains("moving an item of this queue"));
            let shown = format!("{q:?}").starts_with("Queue {");
            // What is half-moved may be anywhere: it is left alone. (The item that could not be put is dropped.)
            // SAFETY: a copy in the child, used no more; the parent's is its own.
            drop(unsafe { std::ptr::read(&q) });
            let left_alone = DROPPED.load(SeqCst) == 1;
            // One that nobody was inside is as good as ever.
            let other = stack.get() == Ok(1) && stack.task_done().is_ok();
            told == [true; 5] && shown && left_alone && other
        });
    })
    .unwrap();
    assert_eq!(DROPPED.load(SeqCst), 0);
    assert_eq!(stack.qsize(), 1);
}
