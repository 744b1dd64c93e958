//! Who "I" am in a lock word, and which of this process's threads still run.
//!
//! A word in private memory holds a *thread number*: 1, 2, 3 … in the order in which threads first need one. A word in an
//! arena holds the *incarnation* of a process in that arena. Both are cached in one thread-local array, indexed by scope,
//! so that the fast path of a lock is one load; a forked child finds its array empty but for its own thread number.

use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering::*};

use super::{fork, futex};

/// Scope 0 is private memory; 1.. are mapped arenas.
pub(crate) const SCOPES: usize = 16;
/// Bits of a lock word that name its owner.
pub(crate) const OWNER_BITS: u32 = (1 << 30) - 1;

thread_local! {
    /// `id << 32 | thread number`, or 0: whoever wants one half or both needs one load.
    static IDS: [Cell<u64>; SCOPES] = const { [const { Cell::new(0) }; SCOPES] };
}

/// This thread's cached identity in `scope`; 0 if it has none yet.
#[inline]
pub(crate) fn cached(scope: usize) -> u32 {
    (cached_with_thread(scope) >> 32) as u32
}

/// The same above this thread's number; 0 if it has no identity in `scope` yet.
#[inline]
pub(crate) fn cached_with_thread(scope: usize) -> u64 {
    IDS.with(|ids| ids[scope % SCOPES].get())
}

/// Remembers this thread's identity in `scope`; 0 forgets it.
pub(crate) fn remember(scope: usize, id: u32) {
    let thread = match (scope, id) {
        (0, number) => number,
        (_, 0) => 0,
        _ => thread_number(),
    };
    IDS.with(|ids| ids[scope % SCOPES].set(u64::from(id) << 32 | u64::from(thread)));
}

/// This thread's number, unique among all threads that ever ran in this process (it wraps after 2^30, past living ones).
#[inline]
pub(crate) fn thread_number() -> u32 {
    match cached(0) {
        0 => number_this_thread(),
        number => number,
    }
}

/// What became of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It runs.
    Alive,
    /// It came to its end; its process lives.
    Ended,
    /// It ran in the parent of this forked process, and does not exist here.
    Vanished,
}

/// Numbers of living threads, in chunks that are never freed: a forked child reads them without a lock.
struct Chunk {
    numbers: [AtomicU32; 64],
    next: AtomicPtr<Chunk>,
}

impl Chunk {
    const fn new() -> Chunk {
        Chunk {
            numbers: [const { AtomicU32::new(0) }; 64],
            next: AtomicPtr::new(null_mut()),
        }
    }

    /// The first chunk: the main thread lives from the beginning, whether it has asked for its number or not.
    const fn with_main() -> Chunk {
        let mut chunk = Chunk::new();
        chunk.numbers[0] = AtomicU32::new(FIRST_MAIN);
        chunk
    }
}

/// The main thread's number in the process that started the program.
const FIRST_MAIN: u32 = 1;

/// Set on a number whose thread vanished in a fork.
const VANISHED: u32 = 1 << 31;

static LIVING: Chunk = Chunk::with_main();
static NEXT: AtomicU32 = AtomicU32::new(FIRST_MAIN + 1);
/// The main thread's number: in a forked child the forking thread's, or 0 if that has none yet.
static MAIN: AtomicU32 = AtomicU32::new(FIRST_MAIN);
/// Moves whenever a thread ends: sleepers that care for that listen to it.
static ENDINGS: AtomicU32 = AtomicU32::new(0);
static LISTENERS: AtomicU32 = AtomicU32::new(0);

fn places() -> impl Iterator<Item = &'static AtomicU32> {
    let mut chunk = Some(&LIVING);
    std::iter::from_fn(move || {
        let this = chunk?;
        // SAFETY: chunks are leaked boxes, or null.
        chunk = unsafe { this.next.load(Acquire).as_ref() };
        Some(this.numbers.iter())
    })
    .flatten()
}

/// What became of the thread with this number.
pub(crate) fn fate(number: u32) -> Fate {
    for place in places() {
        let found = place.load(Acquire);
        if found == number {
            return Fate::Alive;
        }
        if found == number | VANISHED {
            return Fate::Vanished;
        }
    }
    Fate::Ended
}

#[cold]
fn number_this_thread() -> u32 {
    fork::watch();
    // SAFETY: getpid takes nothing and cannot fail.
    let is_main = native_id() == unsafe { libc::getpid() } as u32;
    adopt(if is_main { main_number() } else { reserve() })
}

/// A number for a thread that is about to start: it counts as alive from now on. To be [`adopt`]ed there, or given back.
pub(crate) fn reserve() -> u32 {
    fork::watch();
    let number = loop {
        let number = NEXT.fetch_add(1, Relaxed) & OWNER_BITS;
        if number != 0 && (NEXT.load(Relaxed) < OWNER_BITS || fate(number) == Fate::Ended) {
            break number;
        }
    };
    claim_place(number);
    number
}

/// Makes a reserved number this thread's. A thread that has a number already keeps that: the answer is the one that holds.
pub(crate) fn adopt(number: u32) -> u32 {
    match cached(0) {
        0 => {
            remember(0, number);
            at_thread_end();
            number
        }
        mine => {
            give_back(number);
            mine
        }
    }
}

/// Frees the place of a number whose thread is at its end, or was never started.
pub(crate) fn give_back(number: u32) {
    if let Some(place) = places().find(|place| place.load(Relaxed) == number) {
        place.store(0, Release);
    }
}

/// The number of the main thread, whether it has asked for it or not; in a forked child that is the thread that forked.
pub(crate) fn main_number() -> u32 {
    match MAIN.load(Relaxed) {
        0 => {
            let fresh = reserve();
            match MAIN.compare_exchange(0, fresh, Relaxed, Relaxed) {
                Ok(_) => fresh,
                Err(theirs) => {
                    give_back(fresh);
                    theirs
                }
            }
        }
        main => main,
    }
}

fn claim_place(number: u32) {
    let mut chunk = &LIVING;
    loop {
        for place in &chunk.numbers {
            if place.load(Relaxed) == 0
                && place.compare_exchange(0, number, Release, Relaxed).is_ok()
            {
                return;
            }
        }
        let mut next = chunk.next.load(Acquire);
        if next.is_null() {
            let fresh = Box::into_raw(Box::new(Chunk::new()));
            next = match chunk
                .next
                .compare_exchange(null_mut(), fresh, AcqRel, Acquire)
            {
                Ok(_) => fresh,
                Err(theirs) => {
                    // SAFETY: `fresh` came from Box::into_raw just now and nobody else has seen it.
                    drop(unsafe { Box::from_raw(fresh) });
                    theirs
                }
            };
        }
        // SAFETY: `next` is not null, and chunks are never freed once linked.
        chunk = unsafe { &*next };
    }
}

/// Has libc call [`this_thread_ends`] when this thread ends. A pthread key and not a thread-local destructor, because
/// keys come after all destructors of thread locals, which may still use locks. May be asked again during those calls.
pub(crate) fn at_thread_end() {
    // SAFETY: the key exists; any value but null, which nobody looks at, makes libc call the destructor.
    unsafe { libc::pthread_setspecific(key_of_endings(), std::ptr::dangling()) };
}

/// The key whose destructor is called when a thread ends. Two threads that need it at the same time make two, and one is given
/// back: if one waited for the other, a child that is forked meanwhile would wait for ever.
fn key_of_endings() -> libc::pthread_key_t {
    /// One more than the key.
    static KEY: AtomicU32 = AtomicU32::new(0);
    match KEY.load(Relaxed) {
        0 => {
            let mut key = 0;
            // SAFETY: `key` is a valid place, and the destructor is a plain function.
            let made = unsafe { libc::pthread_key_create(&mut key, Some(this_thread_ends)) };
            assert_eq!(
                made, 0,
                "this process has used up its pthread keys (1,024): allcores needs one"
            );
            match KEY.compare_exchange(0, key + 1, Relaxed, Relaxed) {
                Ok(_) => key,
                Err(theirs) => {
                    // SAFETY: made just now, and no thread has a value for it.
                    unsafe { libc::pthread_key_delete(key) };
                    theirs - 1
                }
            }
        }
        known => known - 1,
    }
}

extern "C" fn this_thread_ends(_: *mut libc::c_void) {
    crate::threading::this_thread_ends();
    crate::registry::this_thread_ends();
    give_back(cached(0));
    // A sleeper raises LISTENERS, then reads ENDINGS, then judges; we clear the place, move ENDINGS, then read LISTENERS.
    ENDINGS.fetch_add(1, SeqCst);
    if LISTENERS.load(SeqCst) != 0 {
        futex::wake(ENDINGS.as_ptr(), false, u32::MAX);
    }
}

/// Listens for the end of any thread while it exists.
pub(crate) struct EndingsHeard(());

impl EndingsHeard {
    pub(crate) fn new() -> EndingsHeard {
        LISTENERS.fetch_add(1, SeqCst);
        EndingsHeard(())
    }

    /// The word that moves, and what it holds now.
    pub(crate) fn word(&self) -> (&'static AtomicU32, u32) {
        (&ENDINGS, ENDINGS.load(SeqCst))
    }
}

impl Drop for EndingsHeard {
    fn drop(&mut self) {
        LISTENERS.fetch_sub(1, SeqCst);
    }
}

/// In a forked child: only the forking thread is here, and it is nobody in any arena.
pub(super) fn after_fork() {
    let me = cached(0);
    MAIN.store(me, Relaxed);
    for scope in 1..SCOPES {
        remember(scope, 0);
    }
    for place in places() {
        let number = place.load(Relaxed);
        if number != 0 && number != me && number & VANISHED == 0 {
            place.store(number | VANISHED, Relaxed);
        }
    }
    LISTENERS.store(0, Relaxed);
}

/// The kernel's number for this thread.
pub(crate) fn native_id() -> u32 {
    // SAFETY: gettid takes nothing and cannot fail.
    (unsafe { libc::gettid() }) as u32
}
