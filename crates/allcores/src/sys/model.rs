//! loom's stand-in for the machine: atomics, a futex, identities, deadlines that may pass at any point, and deaths.
//!
//! A futex is a table from address to sleepers under one mutex: waiting locks the table, compares, and sleeps on a
//! condition variable of its own; waking one wakes exactly one, in order, or lost wake-ups would hide. A deadline is a
//! [`Timer`] that another thread of the model fires whenever the scheduler lets it. A death is the same: [`kill`] marks an
//! identity as gone and rouses every sleeper, as the bells do.
//!
//! Not seen: FUTEX_WAITV itself, two mappings of one page, real signals. loom treats SeqCst accesses as AcqRel.

use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;

pub use loom::sync::atomic::{AtomicU32, AtomicU64};
pub use loom::thread::yield_now as spin_loop;

loom::lazy_static! {
    static ref MACHINE: Mutex<Machine> = Mutex::new(Machine::default());
}

loom::thread_local! {
    static ME: std::cell::Cell<(u32, u32)> = std::cell::Cell::new((0, 0));
}

#[derive(Default)]
struct Machine {
    sleepers: VecDeque<Arc<Bed>>,
    gone: Vec<u32>,
    ended: Vec<(u32, u32)>,
    deaths: u32,
}

struct Bed {
    address: usize,
    timer: Option<usize>,
    condvar: Condvar,
    roused: std::sync::Mutex<Option<Slept>>,
}

fn machine() -> MutexGuard<'static, Machine> {
    // The table lives as long as the execution of the model.
    let machine: &'static Mutex<Machine> = unsafe_static(&MACHINE);
    machine.lock().unwrap()
}

fn unsafe_static(machine: &MACHINE) -> &'static Mutex<Machine> {
    let machine: &Mutex<Machine> = machine;
    // SAFETY: loom keeps its lazy statics until the execution ends, and every thread of the model ends before that.
    unsafe { &*std::ptr::from_ref(machine) }
}

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slept {
    /// Woken.
    Woken,
    /// The timer fired.
    TimedOut,
    /// Never, in the model.
    Interrupted,
}

/// Fires once, whenever the thread that holds it does so.
pub struct Timer(Arc<std::sync::atomic::AtomicBool>);

impl Timer {
    /// A timer that has not fired.
    pub fn new() -> Timer {
        Timer(Arc::new(std::sync::atomic::AtomicBool::new(false)))
    }

    /// The deadline that passes when this fires.
    pub fn deadline(&self) -> Deadline {
        // The address lives as long as the model's execution: the timer is held by its thread, joined at the end.
        Deadline::At(Arc::as_ptr(&self.0) as usize)
    }

    /// The moment has come.
    pub fn fire(&self) {
        let machine = machine();
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        let me = Arc::as_ptr(&self.0) as usize;
        for bed in machine.sleepers.iter().filter(|bed| bed.timer == Some(me)) {
            bed.roused.lock().unwrap().get_or_insert(Slept::TimedOut);
            bed.condvar.notify_one();
        }
    }
}

/// When a wait gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// At once.
    Now,
    /// When a [`Timer`] fires.
    At(usize),
    /// Never.
    Never,
}

impl Deadline {
    /// Do not wait at all.
    pub const NOW: Deadline = Deadline::Now;
    /// Wait for ever.
    pub const NEVER: Deadline = Deadline::Never;

    /// Whether this deadline forbids any waiting.
    pub fn is_now(self) -> bool {
        self == Deadline::Now
    }
}

/// Whose memory: in the model, always one that may lose owners and threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope(());

impl Scope {
    /// The only scope of the model.
    pub const PRIVATE: Scope = Scope(());

    pub(crate) fn me(self) -> u32 {
        ME.with(|me| me.get().0)
    }

    pub(crate) fn known(self) -> u32 {
        self.me()
    }

    pub(crate) fn me_and_thread(self) -> u64 {
        let (me, thread) = ME.with(|me| me.get());
        u64::from(me) << 32 | u64::from(thread)
    }

    pub(crate) fn known_and_thread(self) -> u64 {
        self.me_and_thread()
    }

    pub(crate) fn is_gone(self, owner: u32) -> bool {
        machine().gone.contains(&owner)
    }

    pub(crate) fn thread_has_ended(self, owner: u32, thread: u32) -> bool {
        machine().ended.contains(&(owner, thread))
    }

    pub(crate) fn wake(self, word: *const AtomicU32, count: u32) {
        let mut machine = machine();
        let mut left = count;
        machine.sleepers.retain(|bed| {
            let mine = left > 0 && bed.address == word as usize;
            if mine && bed.roused.lock().unwrap().replace(Slept::Woken).is_none() {
                left -= 1;
                bed.condvar.notify_one();
                return false;
            }
            true
        });
    }
}

/// Says who the calling thread of the model is: `owner` as lock words name it, and its thread.
pub fn be(owner: u32, thread: u32) {
    ME.with(|me| me.set((owner, thread)));
}

/// The owner is dead: everybody who sleeps hears of it.
pub fn kill(owner: u32) {
    let mut machine = machine();
    machine.gone.push(owner);
    rouse(&mut machine);
}

/// The thread has ended, its owner lives: everybody who sleeps hears of it.
pub fn end_thread(owner: u32, thread: u32) {
    let mut machine = machine();
    machine.ended.push((owner, thread));
    rouse(&mut machine);
}

fn rouse(machine: &mut Machine) {
    machine.deaths += 1;
    for bed in &machine.sleepers {
        bed.roused.lock().unwrap().get_or_insert(Slept::Woken);
        bed.condvar.notify_one();
    }
}

/// A wait in progress.
pub(crate) struct Sleeper {
    deadline: Deadline,
}

impl Sleeper {
    pub(crate) fn new(_: Scope, deadline: Deadline) -> Sleeper {
        Sleeper { deadline }
    }

    pub(crate) fn heeding_threads(scope: Scope, deadline: Deadline) -> Sleeper {
        Sleeper::new(scope, deadline)
    }

    pub(crate) fn sleep(
        &mut self,
        word: &AtomicU32,
        expected: u32,
        worthwhile: impl Fn() -> bool,
    ) -> Slept {
        // As the bells: a death that comes after they were noted is heard, however early.
        let noted = machine().deaths;
        if !worthwhile() {
            return Slept::Woken;
        }
        let timer = match self.deadline {
            Deadline::At(timer) => Some(timer),
            _ => None,
        };
        let mut machine = machine();
        if machine.deaths != noted || word.load(loom::sync::atomic::Ordering::SeqCst) != expected {
            return Slept::Woken;
        }
        if let Some(timer) = timer {
            // SAFETY: the timer outlives the wait; see `Timer::deadline`.
            let fired = unsafe { &*(timer as *const std::sync::atomic::AtomicBool) };
            if fired.load(std::sync::atomic::Ordering::SeqCst) {
                return Slept::TimedOut;
            }
        }
        let bed = Arc::new(Bed {
            address: std::ptr::from_ref(word) as usize,
            timer,
            condvar: Condvar::new(),
            roused: std::sync::Mutex::new(None),
        });
        machine.sleepers.push_back(bed.clone());
        let slept = loop {
            if let Some(slept) = *bed.roused.lock().unwrap() {
                break slept;
            }
            machine = bed.condvar.wait(machine).unwrap();
        };
        machine.sleepers.retain(|other| !Arc::ptr_eq(other, &bed));
        slept
    }
}
