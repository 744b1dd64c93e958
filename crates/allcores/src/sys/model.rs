//! loom's stand-in for the machine: atomics, a futex, identities, deadlines that may pass at any point, and deaths.
//!
//! A futex is a table from address to sleepers under one mutex: waiting locks the table, compares, and sleeps on a
//! condition variable of its own; waking one wakes exactly one, in order, or lost wake-ups would hide. A wake-up that falls
//! to a sleeper whose timer has fired, or who has heard of a death, is used up, as it is in the kernel. A deadline is a
//! [`Timer`] that another thread of the model fires whenever the scheduler lets it. A death is the same: [`kill`] marks an
//! identity as gone and rouses every sleeper, as the bells do; its threads end at their next step in a primitive, and
//! [`killed_at`] has one end at a given step.
//!
//! Not seen: FUTEX_WAITV itself, two mappings of one page, real signals. loom treats SeqCst accesses as AcqRel.

use loom::sync::{Condvar, Mutex, MutexGuard};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

loom::lazy_static! {
    static ref MACHINE: Mutex<Machine> = Mutex::new(Machine::default());
    // Not loom's: whether a step may still be made must not count as a step, nor must the answer that all are well.
    static ref DOOMED: std::sync::Mutex<Vec<u32>> = std::sync::Mutex::new(Vec::new());
    static ref IMMORTAL: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
}

loom::thread_local! {
    static ME: Cell<(u32, u32)> = Cell::new((0, 0));
    static STEPS_LEFT: Cell<u32> = Cell::new(u32::MAX);
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

impl Bed {
    fn rouse(&self, how: Slept) {
        let mut roused = self.roused.lock().unwrap();
        // What the kernel says when a wake-up and a time-out meet: woken.
        if how == Slept::Woken || roused.is_none() {
            *roused = Some(how);
        }
        self.condvar.notify_one();
    }
}

fn machine() -> MutexGuard<'static, Machine> {
    MACHINE.lock().unwrap()
}

/// What unwinds a thread that was killed.
struct Killed;

/// A step of the calling thread: it does not happen if its owner is dead.
fn step() {
    if std::thread::panicking() {
        return;
    }
    let me = ME.with(Cell::get).0;
    let left = STEPS_LEFT.with(Cell::get);
    if left == 0 {
        kill(me);
    }
    STEPS_LEFT.with(|steps| steps.set(left.saturating_sub(1)));
    if is_doomed() {
        std::panic::resume_unwind(Box::new(Killed));
    }
}

/// Whether the calling thread's owner is dead.
fn is_doomed() -> bool {
    let me = ME.with(Cell::get).0;
    DOOMED.lock().unwrap().contains(&me)
}

/// Runs `life`, and kills its owner at step number `point` of it (a step is an access to an atomic or a wake-up); says
/// whether it came to its end before. No destructor of `life` may touch a primitive.
pub fn killed_at(point: u32, life: impl FnOnce()) -> bool {
    STEPS_LEFT.with(|steps| steps.set(point));
    let survived = mortal(life);
    STEPS_LEFT.with(|steps| steps.set(u32::MAX));
    survived
}

/// Runs `life`, in which another thread may [`kill`] its owner; says whether it came to its end.
pub fn mortal(life: impl FnOnce()) -> bool {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(life)) {
        Ok(()) => true,
        Err(payload) if payload.is::<Killed>() => false,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

macro_rules! atomic {
    ($name:ident, $inner:ty, $value:ty) => {
        /// loom's, except that the dead do not get at it.
        #[derive(Debug)]
        pub struct $name($inner);

        impl $name {
            /// A new word.
            pub fn new(value: $value) -> $name {
                $name(<$inner>::new(value))
            }
            /// As std's.
            pub fn load(&self, order: Ordering) -> $value {
                step();
                self.0.load(order)
            }
            /// As std's.
            pub fn store(&self, value: $value, order: Ordering) {
                step();
                self.0.store(value, order)
            }
            /// As std's.
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                step();
                self.0.swap(value, order)
            }
            /// As std's.
            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                step();
                self.0.fetch_add(value, order)
            }
            /// As std's.
            pub fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                step();
                self.0.fetch_and(value, order)
            }
            /// As std's.
            pub fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                step();
                self.0.fetch_or(value, order)
            }
            /// As std's.
            pub fn compare_exchange(
                &self,
                from: $value,
                to: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                step();
                self.0.compare_exchange(from, to, success, failure)
            }
            /// As std's, but never fails without a reason.
            pub fn compare_exchange_weak(
                &self,
                from: $value,
                to: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(from, to, success, failure)
            }
            /// As std's.
            pub fn fetch_update(
                &self,
                success: Ordering,
                failure: Ordering,
                mut update: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut seen = self.load(failure);
                while let Some(next) = update(seen) {
                    match self.compare_exchange(seen, next, success, failure) {
                        Ok(before) => return Ok(before),
                        Err(now) => seen = now,
                    }
                }
                Err(seen)
            }
        }
    };
}
atomic!(AtomicU32, loom::sync::atomic::AtomicU32, u32);
atomic!(AtomicU64, loom::sync::atomic::AtomicU64, u64);

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
#[derive(Default)]
pub struct Timer(std::sync::atomic::AtomicBool);

impl Timer {
    /// A timer that has not fired; it is never freed, so that a [`Deadline`] can name it.
    pub fn new() -> &'static Timer {
        Box::leak(Box::default())
    }

    /// The deadline that passes when this fires.
    pub fn deadline(&'static self) -> Deadline {
        Deadline::At(self)
    }

    /// The moment has come.
    pub fn fire(&'static self) {
        let machine = machine();
        self.0.store(true, Ordering::SeqCst);
        for bed in &machine.sleepers {
            if bed.timer == Some(self.address()) {
                bed.rouse(Slept::TimedOut);
            }
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }
}

/// When a wait gives up.
#[derive(Clone, Copy)]
pub enum Deadline {
    /// At once.
    Now,
    /// When a [`Timer`] fires.
    At(&'static Timer),
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
        matches!(self, Deadline::Now)
    }
}

/// Whose memory: in the model, always one that may lose owners and threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope(());

/// No owner of a model has this number.
pub(crate) const NOBODY: u32 = (1 << 30) - 1;

impl Scope {
    /// The only scope of the model.
    pub const PRIVATE: Scope = Scope(());

    /// Owners die, as in an arena.
    pub(crate) fn is_shared(self) -> bool {
        true
    }

    pub(crate) fn me(self) -> u32 {
        ME.with(Cell::get).0
    }

    pub(crate) fn known(self) -> u32 {
        self.me()
    }

    /// Everybody is, here.
    pub(crate) fn be_heard(self) {}

    pub(crate) fn me_and_thread(self) -> u64 {
        let (me, thread) = ME.with(Cell::get);
        u64::from(me) << 32 | u64::from(thread)
    }

    pub(crate) fn known_and_thread(self) -> u64 {
        self.me_and_thread()
    }

    pub(crate) fn is_gone(self, owner: u32) -> bool {
        DOOMED.lock().unwrap().contains(&owner) && machine().gone.contains(&owner)
    }

    pub(crate) fn thread_has_ended(self, owner: u32, thread: u32) -> bool {
        machine().ended.contains(&(owner, thread))
    }

    /// Owners of the model are their own slots.
    pub(crate) fn owner_at_slot(self, slot: usize) -> u32 {
        slot as u32
    }

    pub(crate) fn alloc_block(self, _: *const (), _: usize) -> Option<u64> {
        None
    }

    pub(crate) fn resolve_block(self, _: u64, _: usize) -> Option<*const u8> {
        None
    }

    pub(crate) unsafe fn free_block(self, _: u64, _: usize) {}

    pub(crate) fn wake(self, word: *const AtomicU32, count: u32) -> u32 {
        wake(word as usize, count)
    }

    pub(crate) fn wake_low(self, word: *const AtomicU64, count: u32) {
        wake(word as usize, count);
    }
}

fn wake(address: usize, count: u32) -> u32 {
    step();
    let mut machine = machine();
    let mut left = count;
    machine.sleepers.retain(|bed| {
        let mine = left > 0 && bed.address == address;
        if mine {
            left -= 1;
            bed.rouse(Slept::Woken);
        }
        !mine
    });
    count - left
}

/// Says who the calling thread of the model is: `owner` as lock words name it, and its thread.
pub fn be(owner: u32, thread: u32) {
    ME.with(|me| me.set((owner, thread)));
}

/// The owner is dead: its threads make no further step, and everybody who sleeps hears of it.
pub fn kill(owner: u32) {
    DOOMED.lock().unwrap().push(owner);
    let mut machine = machine();
    machine.gone.push(owner);
    rouse(&mut machine);
}

/// Begins a model, before it has threads. loom makes these tables when somebody first looks at them, and all that he wrote
/// before is seen by everybody who looks later: a primitive that hands it to nobody would stay unseen.
pub fn begin() {
    drop(machine());
    drop(DOOMED.lock().unwrap());
    IMMORTAL.store(false, Ordering::SeqCst);
}

/// Nobody dies in this model. Sleepers listen to their word alone then, as they do for the first 2 ms, and look round no
/// more: that would hide lost wake-ups.
pub fn nobody_dies() {
    IMMORTAL.store(true, Ordering::SeqCst);
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
        bed.rouse(Slept::Woken);
    }
}

/// How many sleep now.
pub fn sleepers() -> usize {
    machine().sleepers.len()
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
        let address = std::ptr::from_ref(word) as usize;
        let same = || word.0.load(Ordering::SeqCst) == expected;
        self.sleep_while(address, &same, &worthwhile)
    }

    pub(crate) fn sleep_low(
        &mut self,
        word: &AtomicU64,
        expected: u32,
        worthwhile: impl Fn() -> bool,
    ) -> Slept {
        let address = std::ptr::from_ref(word) as usize;
        let same = || word.0.load(Ordering::SeqCst) as u32 == expected;
        self.sleep_while(address, &same, &worthwhile)
    }

    fn sleep_while(
        &self,
        address: usize,
        same: &dyn Fn() -> bool,
        worthwhile: &dyn Fn() -> bool,
    ) -> Slept {
        step();
        // As the bells: a death that comes after they were noted is heard, however early.
        let noted = machine().deaths;
        if !IMMORTAL.load(Ordering::SeqCst) && !worthwhile() {
            return Slept::Woken;
        }
        let mut machine = machine();
        // One that was killed since its last step does not fall asleep: nobody would wake it to find that out.
        if is_doomed() {
            drop(machine);
            std::panic::resume_unwind(Box::new(Killed));
        }
        if machine.deaths != noted || !same() {
            return Slept::Woken;
        }
        let timer = match self.deadline {
            Deadline::At(timer) if timer.0.load(Ordering::SeqCst) => return Slept::TimedOut,
            Deadline::At(timer) => Some(timer.address()),
            _ => None,
        };
        let bed = Arc::new(Bed {
            address,
            timer,
            condvar: Condvar::new(),
            roused: std::sync::Mutex::new(None),
        });
        machine.sleepers.push_back(bed.clone());
        loop {
            let roused = *bed.roused.lock().unwrap();
            if let Some(slept) = roused {
                machine.sleepers.retain(|other| !Arc::ptr_eq(other, &bed));
                return slept;
            }
            machine = bed.condvar.wait(machine).unwrap();
        }
    }
}
