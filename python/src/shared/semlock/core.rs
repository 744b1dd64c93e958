//! What a SemLock is: one of the core's four, and how each of them is taken, released and looked at.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed};

use allcores::face::{self, Piece};
use allcores::multiprocessing::{Lock, OwnedSemaphore, RLock, Semaphore};
use allcores::sync::{self, Acquired, Deadline, Scope, Waited};
use pyo3::exceptions::{PyAssertionError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use super::super::died::owner_died;
use super::super::{arena, raise};
use super::soon::Soon;
use crate::block::{Slept, block};

/// The numbers of the kinds. The first two are the stdlib's.
pub(super) const RECURSIVE_MUTEX: u32 = 0;
pub(super) const SEMAPHORE: u32 = 1;
const LOCK: u32 = 2;
const OWNED_SEMAPHORE: u32 = 3;
const PART: u32 = 4;

pub(in crate::shared) enum Core {
    Lock(Lock),
    RLock(RLock),
    Semaphore(Semaphore),
    /// Permits that come back; and how many there are.
    Owned(OwnedSemaphore, u32),
    /// The lock of an array or a value as Rust has them: here, its thread may take it again. Its word knows the process, and
    /// the notes of this object the thread.
    Part(Piece),
}

/// What this process remembers of its own dealings with it, for `_is_mine` and `_count`.
#[derive(Default)]
pub(in crate::shared) struct Notes {
    /// The thread that took it last.
    thread: AtomicU32,
    /// How often a semaphore was taken here more than it was released: as the stdlib counts.
    count: AtomicI32,
    soon: Soon,
}

impl Notes {
    #[inline]
    fn taken(&self, thread: u32) {
        self.thread.store(thread, Relaxed);
    }

    /// Of the lock of an array: the calling thread has it, so often.
    fn held(&self, thread: u32, depth: u32) {
        self.count.store(depth as i32, Relaxed);
        self.taken(thread);
    }

    /// Not one operation: threads without a common interpreter lock may lose a step, and nothing rests on it.
    #[inline]
    fn counted(&self, by: i32) {
        self.count.store(self.count.load(Relaxed) + by, Relaxed);
    }
}

/// How a try ended that may neither wait nor call Python.
pub(super) enum Quick {
    Done,
    /// It takes more than that.
    Slow,
}

fn me() -> u32 {
    Scope::PRIVATE.known_and_thread() as u32
}

impl Core {
    pub(super) fn new(kind: u32, value: u32, max: u32) -> PyResult<Core> {
        let made = match kind {
            LOCK => Lock::new(()).map(Core::Lock),
            RECURSIVE_MUTEX => RLock::new(()).map(Core::RLock),
            SEMAPHORE if value > max || max > sync::Semaphore::MAX => return Err(raise::invalid()),
            SEMAPHORE => Semaphore::with_most(value, max).map(Core::Semaphore),
            OWNED_SEMAPHORE if value > u32::from(u16::MAX) => return Err(raise::invalid()),
            OWNED_SEMAPHORE => OwnedSemaphore::new(value).map(|made| Core::Owned(made, value)),
            _ => return Err(PyValueError::new_err("unrecognized kind")),
        };
        made.map_err(raise::shm)
    }

    pub(super) fn open(kind: u32, max: u32, bytes: &[u8]) -> PyResult<Core> {
        Ok(match kind {
            LOCK => Core::Lock(arena::unpack(bytes)?),
            RECURSIVE_MUTEX => Core::RLock(arena::unpack(bytes)?),
            SEMAPHORE => Core::Semaphore(arena::unpack(bytes)?),
            OWNED_SEMAPHORE => Core::Owned(arena::unpack(bytes)?, max),
            PART => Core::of(Piece::open(bytes, None, None).map_err(raise::travel)?)?,
            _ => return Err(PyValueError::new_err("unrecognized kind")),
        })
    }

    /// The lock of an array or a value.
    pub(super) fn of(piece: Piece) -> PyResult<Core> {
        match piece.words() {
            Some(_) => Ok(Core::Part(piece)),
            None => Err(PyValueError::new_err("raw memory has no lock")),
        }
    }

    pub(super) fn kind(&self) -> u32 {
        match self {
            Core::Lock(_) => LOCK,
            Core::RLock(_) => RECURSIVE_MUTEX,
            Core::Semaphore(_) => SEMAPHORE,
            Core::Owned(..) => OWNED_SEMAPHORE,
            Core::Part(_) => PART,
        }
    }

    /// Takes it if it is free, or is soon, and this thread is known already. For who would wait for it without end.
    #[inline]
    pub(super) fn take_quickly(&self, notes: &Notes) -> Quick {
        match self {
            Core::Lock(lock) => {
                let (lock, scope) = lock.words();
                let me = scope.known_and_thread();
                let take = || lock.take_free((me >> 32) as u32);
                if me == 0 || !take() && !notes.soon.look(|| !lock.is_held() && take()) {
                    return Quick::Slow;
                }
                notes.taken(me as u32);
            }
            Core::RLock(lock) => {
                let (lock, scope) = lock.words();
                let me = scope.known_and_thread();
                let take = || lock.take_free(me);
                let is_free = || !lock.lock().is_held();
                if me == 0 || !take() && !notes.soon.look(|| is_free() && take()) {
                    return Quick::Slow;
                }
            }
            Core::Semaphore(semaphore) => {
                if !semaphore.try_acquire() && !notes.soon.look(|| semaphore.try_acquire()) {
                    return Quick::Slow;
                }
                notes.counted(1);
            }
            Core::Part(_) if self.is_mine(notes) => notes.counted(1),
            Core::Part(piece) => {
                let (lock, scope) = words(piece);
                let me = scope.known_and_thread();
                let take = || lock.take_free((me >> 32) as u32);
                if me == 0 || !take() && !notes.soon.look(|| !lock.is_held() && take()) {
                    return Quick::Slow;
                }
                notes.held(me as u32, 1);
            }
            Core::Owned(..) => return Quick::Slow,
        }
        Quick::Done
    }

    /// Takes it, or what a dead owner left of it; whether that was done before the deadline.
    pub(super) fn acquire(
        &self,
        py: Python<'_>,
        notes: &Notes,
        deadline: Deadline,
    ) -> PyResult<bool> {
        match self {
            Core::Lock(mutex) => {
                let (lock, scope) = mutex.words();
                // Known from here on, which may need the arena's guard.
                let thread = scope.me_and_thread() as u32;
                let held = wait(py, deadline, |until| lock.acquire(scope, until))?;
                if let Acquired::OwnerDied(owner) = held {
                    lock.recover();
                    let _ = mutex.release();
                    return Err(owner_died(py, face::process_of(scope, owner), "lock"));
                }
                if held.is_held() {
                    notes.taken(thread);
                }
                Ok(held.is_held())
            }
            Core::RLock(mutex) => {
                let (lock, scope) = mutex.words();
                let held = wait(py, deadline, |until| lock.acquire(scope, until))?;
                if let Acquired::OwnerDied(owner) = held {
                    lock.lock().recover();
                    let _ = mutex.release();
                    return Err(owner_died(py, face::process_of(scope, owner), "lock"));
                }
                Ok(held.is_held())
            }
            Core::Semaphore(semaphore) => {
                let (words, scope) = semaphore.words();
                let taken = wait_plain(py, deadline, |until| words.acquire(scope, until))?;
                Ok(Core::permit(notes, taken))
            }
            Core::Part(_) if self.is_mine(notes) => {
                notes.counted(1);
                Ok(true)
            }
            Core::Part(piece) => {
                let (lock, scope) = words(piece);
                let thread = scope.me_and_thread() as u32;
                let held = wait(py, deadline, |until| lock.acquire(scope, until))?;
                if let Acquired::OwnerDied(owner) = held {
                    lock.recover();
                    // SAFETY: the cell is held by our handle for the whole call.
                    unsafe { sync::Lock::release_mine(lock, scope) };
                    return Err(owner_died(py, face::process_of(scope, owner), "lock"));
                }
                if held.is_held() {
                    notes.held(thread, 1);
                }
                Ok(held.is_held())
            }
            Core::Owned(semaphore, _) => {
                let taken = wait_plain(py, deadline, |until| semaphore.acquire_once(until))?;
                Ok(Core::permit(notes, taken))
            }
        }
    }

    fn permit(notes: &Notes, taken: bool) -> bool {
        if taken {
            Scope::PRIVATE.me_and_thread();
            notes.taken(me());
            notes.counted(1);
        }
        taken
    }

    /// Takes a lock as often as `depth` says: always. What went wrong meanwhile, a dead owner or a signal handler that
    /// raised, is told with the lock in hand.
    pub(in crate::shared) fn restore(
        &self,
        py: Python<'_>,
        notes: &Notes,
        depth: u32,
    ) -> PyResult<()> {
        let mut trouble = None;
        loop {
            match self.take_again(py, notes, depth) {
                Ok(None) => break,
                Ok(Some(died)) => {
                    trouble.get_or_insert(died);
                    break;
                }
                // A handler raised: not before the lock is ours.
                Err(error) => drop(trouble.get_or_insert(error)),
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    fn take_again(&self, py: Python<'_>, notes: &Notes, depth: u32) -> PyResult<Option<PyErr>> {
        let (held, scope) = match self {
            Core::Lock(lock) => {
                let (lock, scope) = lock.words();
                let thread = scope.me_and_thread() as u32;
                let held = wait(py, Deadline::NEVER, |until| lock.acquire(scope, until))?;
                if matches!(held, Acquired::OwnerDied(_)) {
                    lock.recover();
                }
                notes.taken(thread);
                (held, scope)
            }
            Core::RLock(lock) => {
                let (lock, scope) = lock.words();
                let held = wait(py, Deadline::NEVER, |until| lock.acquire(scope, until))?;
                if matches!(held, Acquired::OwnerDied(_)) {
                    lock.lock().recover();
                }
                lock.restore_depth(scope, depth);
                (held, scope)
            }
            Core::Part(piece) => {
                let (lock, scope) = words(piece);
                let thread = scope.me_and_thread() as u32;
                let held = wait(py, Deadline::NEVER, |until| lock.acquire(scope, until))?;
                if matches!(held, Acquired::OwnerDied(_)) {
                    lock.recover();
                }
                notes.held(thread, depth);
                (held, scope)
            }
            Core::Semaphore(_) | Core::Owned(..) => {
                self.acquire(py, notes, Deadline::NEVER)?;
                return Ok(None);
            }
        };
        Ok(match held {
            Acquired::OwnerDied(owner) => {
                Some(owner_died(py, face::process_of(scope, owner), "lock"))
            }
            _ => None,
        })
    }

    /// Releases it once. Calls no Python and waits for nobody.
    #[inline]
    pub(super) fn release(&self, notes: &Notes) -> Result<(), Refusal> {
        match self {
            Core::Lock(lock) => lock.release().map_err(|_| Refusal::TooOften),
            Core::RLock(lock) => lock.release().map_err(|_| Refusal::NotMine),
            Core::Part(piece) if self.is_mine(notes) => {
                match notes.count.load(Relaxed) {
                    ..=1 => give_back(piece, notes),
                    _ => notes.counted(-1),
                }
                Ok(())
            }
            Core::Part(_) => Err(Refusal::NotMine),
            Core::Semaphore(semaphore) => {
                semaphore.release().map_err(|_| Refusal::TooOften)?;
                notes.counted(-1);
                Ok(())
            }
            Core::Owned(semaphore, _) => {
                semaphore.release().map_err(|_| Refusal::TooOften)?;
                notes.counted(-1);
                Ok(())
            }
        }
    }

    /// Releases it altogether; how often it was held.
    pub(in crate::shared) fn release_all(&self, notes: &Notes) -> Result<u32, Refusal> {
        if let Core::RLock(lock) = self {
            let (words, scope) = lock.words();
            // SAFETY: the cell is held by our handle for the whole call.
            return unsafe { sync::RLock::release_all(words, scope) }.map_err(|_| Refusal::NotMine);
        }
        if let Core::Part(piece) = self
            && self.is_mine(notes)
        {
            let depth = notes.count.load(Relaxed) as u32;
            give_back(piece, notes);
            return Ok(depth);
        }
        self.release(notes).map(|()| 1)
    }

    /// Whether the calling thread holds it, as far as that is known.
    pub(in crate::shared) fn is_mine(&self, notes: &Notes) -> bool {
        match self {
            Core::Lock(lock) => {
                let (lock, scope) = lock.words();
                lock.is_mine(scope) && notes.thread.load(Relaxed) == me()
            }
            Core::RLock(lock) => lock.is_mine(),
            Core::Part(piece) => {
                let (lock, scope) = words(piece);
                notes.thread.load(Relaxed) == me() && lock.is_mine(scope)
            }
            Core::Semaphore(_) | Core::Owned(..) => {
                notes.count.load(Relaxed) > 0 && notes.thread.load(Relaxed) == me()
            }
        }
    }

    /// How often this process holds it.
    pub(super) fn count(&self, notes: &Notes) -> i64 {
        match self {
            Core::Lock(lock) => {
                let (lock, scope) = lock.words();
                i64::from(lock.is_mine(scope))
            }
            Core::RLock(lock) => {
                let (words, scope) = lock.words();
                match words.depth(scope) {
                    0 => i64::from(words.lock().is_mine(scope)),
                    depth => i64::from(depth),
                }
            }
            Core::Part(piece) if !words(piece).0.is_mine(words(piece).1) => 0,
            Core::Semaphore(_) | Core::Owned(..) | Core::Part(_) => {
                i64::from(notes.count.load(Relaxed))
            }
        }
    }

    pub(super) fn value(&self) -> u32 {
        match self {
            Core::Lock(lock) => u32::from(!lock.locked()),
            Core::RLock(lock) => u32::from(!lock.locked()),
            Core::Semaphore(semaphore) => semaphore.value(),
            Core::Owned(semaphore, _) => semaphore.value(),
            Core::Part(piece) => u32::from(!words(piece).0.is_held()),
        }
    }

    pub(super) fn most(&self) -> u32 {
        match self {
            Core::Lock(_) | Core::RLock(_) | Core::Part(_) => 1,
            Core::Semaphore(semaphore) => semaphore.words().0.max(),
            Core::Owned(_, most) => *most,
        }
    }

    /// A number for it in this process.
    pub(super) fn address(&self) -> usize {
        match self {
            Core::Lock(lock) => std::ptr::from_ref(lock.words().0).addr(),
            Core::RLock(lock) => std::ptr::from_ref(lock.words().0).addr(),
            Core::Semaphore(semaphore) => std::ptr::from_ref(semaphore.words().0).addr(),
            Core::Owned(semaphore, _) => std::ptr::from_ref(semaphore).addr(),
            Core::Part(piece) => std::ptr::from_ref(words(piece).0).addr(),
        }
    }
}

/// The lock of an array or a value, which `Core::of` has seen.
#[inline]
fn words(piece: &Piece) -> (&sync::Lock, Scope) {
    piece.words().expect("it has a lock")
}

/// Frees it. The notes first: whoever takes it next in this process must not find our name there.
fn give_back(piece: &Piece, notes: &Notes) {
    notes.held(0, 0);
    let (lock, scope) = words(piece);
    // SAFETY: the cell is held by our handle for the whole call.
    unsafe { sync::Lock::release_mine(lock, scope) };
}

/// Why something was not released.
pub(in crate::shared) enum Refusal {
    TooOften,
    NotMine,
    NotMade,
}

impl From<Refusal> for PyErr {
    fn from(refusal: Refusal) -> PyErr {
        match refusal {
            Refusal::TooOften => PyValueError::new_err("semaphore or lock released too many times"),
            Refusal::NotMine => {
                PyAssertionError::new_err("attempt to release recursive lock not owned by thread")
            }
            Refusal::NotMade => not_made(),
        }
    }
}

pub(super) fn not_made() -> PyErr {
    PyRuntimeError::new_err("SemLock.__init__() was not called")
}

/// Tries at once, and then sleeps without the interpreter.
fn wait(
    py: Python<'_>,
    deadline: Deadline,
    acquire: impl Fn(Deadline) -> Acquired + Sync,
) -> PyResult<Acquired> {
    match acquire(Deadline::NOW) {
        Acquired::TimedOut | Acquired::Interrupted if !deadline.is_now() => {}
        outcome => return Ok(outcome),
    }
    block(py, || match acquire(deadline) {
        Acquired::Interrupted => Slept::Interrupted,
        outcome => Slept::Over(outcome),
    })
}

/// The same for what nobody owns.
fn wait_plain(
    py: Python<'_>,
    deadline: Deadline,
    acquire: impl Fn(Deadline) -> Waited + Sync,
) -> PyResult<bool> {
    match acquire(Deadline::NOW) {
        Waited::Yes => return Ok(true),
        _ if deadline.is_now() => return Ok(false),
        _ => {}
    }
    block(py, || match acquire(deadline) {
        Waited::Yes => Slept::Over(true),
        Waited::TimedOut => Slept::Over(false),
        Waited::Interrupted => Slept::Interrupted,
    })
}
