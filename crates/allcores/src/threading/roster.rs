//! Who runs: every thread that we started, the main thread, and foreign threads that have asked for themselves.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ptr::null;
use std::sync::Arc;

use super::record::{Record, ThreadHandle};
use crate::sys::fork;
use crate::sys::identity::{self, Fate};
use crate::sys::local::{Local, LocalGuard};

#[derive(Default)]
struct Roster {
    /// Of the process that it is the roster of.
    generation: u32,
    /// By number, hence in the order of their starts.
    threads: BTreeMap<u32, Arc<Record>>,
}

static ROSTER: Local<Roster> = Local::new(Roster {
    generation: 0,
    threads: BTreeMap::new(),
});

thread_local! {
    /// This thread's record, from [`Arc::into_raw`]; null before it has one. Without a destructor, since it is given up by
    /// [`this_thread_ends`], which comes after all destructors.
    static CURRENT: Cell<*const Record> = const { Cell::new(null()) };
}

/// This thread's record, if it has one.
fn current() -> Option<Arc<Record>> {
    let record = CURRENT.get();
    (!record.is_null()).then(|| {
        // SAFETY: CURRENT came from Arc::into_raw, and its count is given up by this very thread only.
        unsafe {
            Arc::increment_strong_count(record);
            Arc::from_raw(record)
        }
    })
}

fn set_current(record: Arc<Record>) {
    drop(take_current());
    CURRENT.set(Arc::into_raw(record));
}

fn take_current() -> Option<Arc<Record>> {
    let record = CURRENT.replace(null());
    // SAFETY: as above; nobody else gives this count up, and it is given up once, since CURRENT is null now.
    (!record.is_null()).then(|| unsafe { Arc::from_raw(record) })
}

fn roster() -> LocalGuard<'static, Roster> {
    let mut roster = ROSTER.lock();
    if roster.generation != fork::generation() {
        // We are in a forked child.
        roster.generation = fork::generation();
        roster
            .threads
            .retain(|number, _| identity::fate(*number) != Fate::Vanished);
        // If a thread that did not come along was changing the list, that is empty now.
        roster.threads.extend(current().map(|me| (me.number(), me)));
    }
    roster
}

/// A thread is about to be started.
pub(super) fn enter(record: Arc<Record>) {
    roster().threads.insert(record.number(), record);
}

/// A thread could not be started.
pub(super) fn leave(number: u32) {
    roster().threads.remove(&number);
}

/// A thread that we started runs.
pub(super) fn begin(record: Arc<Record>) {
    let reserved = record.number();
    let number = identity::adopt(reserved);
    if number != reserved {
        // The global allocator used our locks before we were called.
        leave(reserved);
        record.set_number(number);
        enter(record.clone());
    }
    record.runs();
    set_current(record);
}

/// The calling thread is at its end: its thread locals are gone.
pub(crate) fn this_thread_ends() {
    if let Some(record) = take_current() {
        // First gone from the list, then joined.
        leave(record.number());
        record.ends();
    }
}

/// The calling thread.
///
/// Works in any thread. One that was not started by this module gets a record when it first asks, which bears the name
/// that it was given in [`std::thread`], or `Dummy-N`; from then on until its end it is part of [`enumerate`].
pub fn current_thread() -> ThreadHandle {
    ThreadHandle::new(current().unwrap_or_else(introduce))
}

#[cold]
fn introduce() -> Arc<Record> {
    let number = identity::thread_number();
    let record = if number == identity::main_number() {
        main_record(&mut roster())
    } else {
        let record = Arc::new(Record::foreign(std::thread::current().name(), number));
        enter(record.clone());
        record
    };
    record.runs();
    set_current(record.clone());
    record
}

fn main_record(roster: &mut Roster) -> Arc<Record> {
    let number = identity::main_number();
    let make = || Arc::new(Record::foreign(Some("MainThread"), number));
    roster.threads.entry(number).or_insert_with(make).clone()
}

/// The main thread: the one that `main` runs in; in a forked child, the thread that forked.
pub fn main_thread() -> ThreadHandle {
    ThreadHandle::new(main_record(&mut roster()))
}

/// All threads that are alive: the main thread, those started by this module (from [`start`](super::Thread::start) on, until
/// the destructors of their thread locals have run), and foreign ones that have called [`current_thread`].
///
/// In the child of a `fork(2)` that is the forking thread alone.
pub fn enumerate() -> Vec<ThreadHandle> {
    let mut roster = roster();
    if identity::fate(identity::main_number()) == Fate::Alive {
        main_record(&mut roster);
    }
    let threads = roster.threads.values().cloned();
    threads.map(ThreadHandle::new).collect()
}

/// How many threads [`enumerate`] lists.
pub fn active_count() -> usize {
    enumerate().len()
}

/// The calling thread's number: never 0, and never that of another thread that lives.
#[inline]
pub fn get_ident() -> u64 {
    u64::from(identity::thread_number())
}

/// The kernel's number for the calling thread (its TID), as debuggers and `/proc` show it.
pub fn get_native_id() -> u32 {
    identity::native_id()
}
