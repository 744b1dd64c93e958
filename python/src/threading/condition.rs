//! What Condition stands on: a queue of waiters around any lock.
//!
//! With a Lock or RLock of ours everything happens here. Any other lock is used by the methods that Python's Condition
//! expects of it; what has to call them is in `allcores/threading.py`, over the methods `_enlist`, `_sleep` and `_finish`.

use std::ffi::CStr;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering::Relaxed};

use allcores::sync::{self, Deadline, Scope, Waited, condition::Ticket};
use pyo3::exceptions::{PyMemoryError, PyRuntimeError};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::lock::{LOCK, Lock};
use super::rlock::{RLOCK, RLock};
use super::{Inherited, lock, owner_died, persist, rlock, timeout_of};
use crate::block::{Slept, block};
use crate::forks::Brief;
use crate::raw::{
    self, Args, Object, Raw, TypeCell, boolean, calls, int, method, none, property, raise, slowly,
    special, special_method,
};

/// The value of a `ConditionBase`.
struct Condition {
    words: sync::Condition,
    /// A reference, or null before `_use`.
    lock: AtomicPtr<PyObject>,
    /// Which of the [`Around`] it is.
    kind: AtomicU8,
}

static CONDITION: TypeCell = TypeCell::new();

const FOREIGN: u8 = 0;
const A_LOCK: u8 = 1;
const AN_RLOCK: u8 = 2;

/// The lock around it.
#[derive(Clone, Copy)]
enum Around<'a> {
    Lock(&'a Lock),
    RLock(&'a RLock),
    /// Somebody else's, or a subclass of ours, which may have overridden anything.
    Foreign,
}

impl Condition {
    #[inline]
    fn around(&self) -> Around<'_> {
        let lock = self.lock.load(Relaxed);
        match self.kind.load(Relaxed) {
            // SAFETY: `_use` has looked at its type, and holds it.
            A_LOCK => Around::Lock(&unsafe { Object::<Lock>::of(lock) }.value),
            // SAFETY: as above.
            AN_RLOCK => Around::RLock(&unsafe { Object::<RLock>::of(lock) }.value),
            _ => Around::Foreign,
        }
    }
}

impl Drop for Condition {
    fn drop(&mut self) {
        // SAFETY: nobody else has it any more.
        unsafe { self.words.dispose(Scope::PRIVATE) };
    }
}

impl Around<'_> {
    #[inline]
    fn is_held(self) -> bool {
        match self {
            // Python's Condition takes a plain lock that anybody holds for the caller's.
            Around::Lock(lock) => lock.is_held(),
            Around::RLock(lock) => lock.is_mine(),
            Around::Foreign => false,
        }
    }

    fn wait(self, py: Python<'_>) -> PyResult<Inherited> {
        match self {
            Around::Lock(lock) => lock.wait(py, Deadline::NEVER),
            Around::RLock(lock) => lock.wait(py, Deadline::NEVER),
            Around::Foreign => Ok(Inherited::No),
        }
    }

    fn died(self, py: Python<'_>) -> PyErr {
        owner_died(
            py,
            match self {
                Around::RLock(_) => rlock::DIED,
                _ => lock::DIED,
            },
        )
    }
}

#[inline]
fn enter(this: &Object<Condition>, _: Args) -> *mut PyObject {
    let taken = match this.value.around() {
        Around::Lock(lock) => lock.take(),
        Around::RLock(lock) => lock.take(),
        Around::Foreign => return enter_foreign(this),
    };
    if taken {
        boolean(true)
    } else {
        enter_slow(this)
    }
}

#[cold]
fn enter_slow(this: &Object<Condition>) -> *mut PyObject {
    slowly(|py| {
        let around = this.value.around();
        if let Inherited::FromTheDead = around.wait(py)? {
            match around {
                Around::Lock(lock) => lock.release(),
                Around::RLock(lock) => lock.release(),
                Around::Foreign => false,
            };
            return Err(around.died(py));
        }
        Ok(boolean(true))
    })
}

fn enter_foreign(this: &Object<Condition>) -> *mut PyObject {
    match this.value.lock.load(Relaxed) {
        lock if lock.is_null() => unused(),
        lock => calls::method(lock, c"__enter__", []),
    }
}

#[inline]
fn exit(this: &Object<Condition>, args: Args) -> *mut PyObject {
    let released = match this.value.around() {
        Around::Lock(lock) => lock.release(),
        Around::RLock(lock) => lock.release(),
        Around::Foreign => return exit_foreign(this, args),
    };
    if released { none() } else { not_held(this) }
}

#[cold]
fn not_held(this: &Object<Condition>) -> *mut PyObject {
    raise(PyRuntimeError::new_err(match this.value.around() {
        Around::RLock(_) => "cannot release un-acquired lock",
        _ => "release unlocked lock",
    }))
}

fn exit_foreign(this: &Object<Condition>, args: Args) -> *mut PyObject {
    let lock = this.value.lock.load(Relaxed);
    if lock.is_null() {
        return unused();
    }
    match args.three() {
        Some([kind, value, traceback]) => {
            calls::method(lock, c"__exit__", [kind, value, traceback])
        }
        None => calls::method(lock, c"__exit__", []),
    }
}

#[cold]
fn unused() -> *mut PyObject {
    raise(PyRuntimeError::new_err("Condition.__init__() not called"))
}

/// Whether the caller may notify; what is to be returned if not.
#[inline]
fn may_notify(this: &Object<Condition>) -> Result<(), *mut PyObject> {
    match this.value.around() {
        Around::Foreign => foreign_is_owned(this),
        around if around.is_held() => Ok(()),
        _ => Err(may_not()),
    }
}

#[cold]
fn may_not() -> *mut PyObject {
    raise(PyRuntimeError::new_err("cannot notify on un-acquired lock"))
}

fn foreign_is_owned(this: &Object<Condition>) -> Result<(), *mut PyObject> {
    let owned = calls::method(this.as_ptr(), c"_is_owned", []);
    if owned.is_null() {
        return Err(null_mut());
    }
    // SAFETY: a reference of ours, live until it is given back.
    let truth = unsafe {
        let truth = calls::PyObject_IsTrue(owned);
        ffi::Py_DECREF(owned);
        truth
    };
    match truth {
        1 => Ok(()),
        0 => Err(may_not()),
        _ => Err(null_mut()),
    }
}

#[inline]
fn notify(this: &Object<Condition>, args: Args) -> *mut PyObject {
    if let Err(raised) = may_notify(this) {
        return raised;
    }
    if args.is_empty() {
        this.value.words.notify(Scope::PRIVATE, 1);
        return none();
    }
    notify_some(this, args)
}

fn notify_some(this: &Object<Condition>, args: Args) -> *mut PyObject {
    slowly(|py| {
        let [n] = args.bind(py, "notify", ["n"])?;
        let n = n.map_or(Ok(1), |n| n.extract::<i64>())?;
        // Less than one is nobody, as in Python.
        if let Ok(n) = u32::try_from(n.min(u32::MAX.into())) {
            this.value.words.notify(Scope::PRIVATE, n);
        }
        Ok(none())
    })
}

#[inline]
fn notify_all(this: &Object<Condition>) -> *mut PyObject {
    if let Err(raised) = may_notify(this) {
        return raised;
    }
    this.value.words.notify_all(Scope::PRIVATE);
    none()
}

fn wait(this: &Object<Condition>, args: Args) -> *mut PyObject {
    if !matches!(this.value.around(), Around::Foreign) {
        return wait_here(this, args);
    }
    match args.one_of(c"timeout") {
        Some(timeout) => calls::method(this.as_ptr(), c"_wait_foreign", [timeout]),
        None => slowly(|py| args.bind(py, "wait", ["timeout"]).map(|_| none())),
    }
}

fn wait_here(this: &Object<Condition>, args: Args) -> *mut PyObject {
    slowly(|py| {
        let [timeout] = args.bind(py, "wait", ["timeout"])?;
        let deadline = timeout_of(timeout)?;
        let Condition { words, .. } = &this.value;
        let around = this.value.around();
        if !around.is_held() {
            return Err(PyRuntimeError::new_err("cannot wait on un-acquired lock"));
        }
        let ticket = enlist(this)?;
        let depth = match around {
            Around::RLock(lock) => lock.release_all(),
            Around::Lock(lock) => lock.release().then_some(1),
            Around::Foreign => None,
        };
        let slept = sleep(py, words, &ticket, deadline);
        // Held again in the end, whatever happened; the first exception is raised after that.
        let (inherited, raised) = persist(py, || around.wait(py));
        if let (Around::RLock(lock), Some(depth)) = (around, depth) {
            lock.restore(depth);
        }
        let notified = match slept {
            Ok(()) => Ok(words.finish(Scope::PRIVATE, ticket)),
            // A notification that came all the same is handed on.
            Err(error) => {
                words.abandon(Scope::PRIVATE, ticket);
                Err(error)
            }
        };
        match (notified, raised, inherited) {
            (Err(error), _, _) | (Ok(_), Some(error), _) => Err(error),
            (Ok(_), None, Inherited::FromTheDead) => Err(around.died(py)),
            (Ok(notified), None, _) => Ok(boolean(notified)),
        }
    })
}

fn enlist(this: &Object<Condition>) -> PyResult<Ticket> {
    let enlisted = this.value.words.enlist(Scope::PRIVATE);
    enlisted.map_err(|error| PyMemoryError::new_err(error.to_string()))
}

fn sleep(
    py: Python<'_>,
    words: &sync::Condition,
    ticket: &Ticket,
    deadline: Deadline,
) -> PyResult<()> {
    block(py, || match words.sleep(Scope::PRIVATE, ticket, deadline) {
        Waited::Interrupted => Slept::Interrupted,
        Waited::Yes | Waited::TimedOut => Slept::Over(()),
    })
}

/// A place in the queue, in the hands of Python code.
#[pyclass(frozen, module = "allcores._allcores")]
struct ConditionTicket(Brief<Option<Ticket>>);

impl ConditionTicket {
    /// The ticket, once.
    fn take(held: &Borrowed<'_, '_, PyAny>) -> PyResult<Option<Ticket>> {
        let ticket = held.cast::<ConditionTicket>()?;
        Ok(ticket.get().0.lock().take())
    }
}

fn enlist_foreign(this: &Object<Condition>) -> *mut PyObject {
    slowly(|py| {
        let ticket = ConditionTicket(Brief::new(Some(enlist(this)?)));
        Ok(Bound::new(py, ticket)?.into_ptr())
    })
}

fn sleep_foreign(this: &Object<Condition>, args: Args) -> *mut PyObject {
    slowly(|py| {
        let [ticket, timeout] = args.bind(py, "_sleep", ["ticket", "timeout"])?;
        let deadline = timeout_of(timeout)?;
        let Some(held) = ticket else {
            return Ok(none());
        };
        let Some(ticket) = ConditionTicket::take(&held)? else {
            return Ok(none());
        };
        let slept = sleep(py, &this.value.words, &ticket, deadline);
        *held.cast::<ConditionTicket>()?.get().0.lock() = Some(ticket);
        slept.map(|()| none())
    })
}

fn finish_foreign(this: &Object<Condition>, args: Args) -> *mut PyObject {
    slowly(|py| {
        let [ticket, made_use] = args.bind(py, "_finish", ["ticket", "made_use"])?;
        let made_use = made_use.map_or(Ok(true), |made_use| made_use.is_truthy())?;
        let words = &this.value.words;
        let ticket = ticket.map_or(Ok(None), |held| ConditionTicket::take(&held))?;
        Ok(boolean(match ticket {
            None => false,
            Some(ticket) if made_use => words.finish(Scope::PRIVATE, ticket),
            Some(ticket) => {
                words.abandon(Scope::PRIVATE, ticket);
                false
            }
        }))
    })
}

fn use_lock(this: &Object<Condition>, lock: *mut PyObject) -> *mut PyObject {
    let kind = match () {
        () if LOCK.is_type_of(lock) => A_LOCK,
        () if RLOCK.is_type_of(lock) => AN_RLOCK,
        () => FOREIGN,
    };
    // SAFETY: an argument of this call; the old reference is ours.
    unsafe {
        this.value.kind.store(FOREIGN, Relaxed);
        let old = this.value.lock.swap(ffi::Py_NewRef(lock), Relaxed);
        this.value.kind.store(kind, Relaxed);
        ffi::Py_XDECREF(old);
    }
    none()
}

fn forget_waiters(this: &Object<Condition>) -> *mut PyObject {
    this.value.words.reset(Scope::PRIVATE);
    none()
}

fn waiting(this: &Object<Condition>) -> *mut PyObject {
    int(this.value.words.waiting().into())
}

impl Raw for Condition {
    const NAME: &'static CStr = c"allcores._allcores.ConditionBase";
    const DOC: &'static CStr = c"What Condition stands on.";
    const SUBCLASS: bool = true;
    const CYCLES: bool = true;

    fn cell() -> &'static TypeCell {
        &CONDITION
    }

    // Any arguments: they are for __init__, which may be a subclass's.
    fn new(_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>) -> PyResult<Condition> {
        Ok(Condition {
            words: sync::Condition::new(),
            lock: AtomicPtr::new(null_mut()),
            kind: AtomicU8::new(FOREIGN),
        })
    }

    fn specials() -> Vec<special::Definition> {
        vec![
            special_method!(
                Condition,
                "__enter__",
                enter,
                "($self, /)",
                "Acquire the lock."
            ),
            special_method!(
                Condition,
                "__exit__",
                exit,
                "($self, /, *exc_info)",
                "Release the lock."
            ),
        ]
    }

    fn methods() -> Vec<ffi::PyMethodDef> {
        const WAIT: &str = "wait($self, /, timeout=None)\n--\n\n\
            Release the lock, wait for a notification, for timeout seconds at most, and acquire the lock again.\n\n\
            Returns whether there was a notification. RuntimeError if the lock is not held. The lock is held afterwards\n\
            whatever happens, also if this raises what a signal handler raised.";
        const NOTIFY: &str = "notify($self, /, n=1)\n--\n\n\
            Wake the n threads that have waited longest.\n\nRuntimeError if the lock is not held.";
        const NOTIFY_ALL: &str = "notify_all($self, /)\n--\n\n\
            Wake all threads that wait.\n\nRuntimeError if the lock is not held.";
        vec![
            method!(Condition, "wait", many, wait, WAIT),
            method!(Condition, "notify", many, notify, NOTIFY),
            method!(Condition, "notify_all", noargs, notify_all, NOTIFY_ALL),
            method!(
                Condition,
                "_use",
                one,
                use_lock,
                "_use($self, lock, /)\n--\n\nHave this lock around it."
            ),
            method!(
                Condition,
                "_forget_waiters",
                noargs,
                forget_waiters,
                "_forget_waiters($self, /)\n--\n\nFor a forked child, where none of them is."
            ),
            method!(
                Condition,
                "_enlist",
                noargs,
                enlist_foreign,
                "_enlist($self, /)\n--\n\nJoin the queue: a ticket."
            ),
            method!(
                Condition,
                "_sleep",
                many,
                sleep_foreign,
                "_sleep($self, /, ticket, timeout=None)\n--\n\nWait to be notified, without the lock."
            ),
            method!(
                Condition,
                "_finish",
                many,
                finish_foreign,
                "_finish($self, /, ticket, made_use=True)\n--\n\n\
                 Leave the queue: whether there was a notification. One that is of no use is handed on."
            ),
        ]
    }

    fn properties() -> Vec<ffi::PyGetSetDef> {
        vec![property!(
            Condition,
            "_waiting",
            waiting,
            "How many threads wait."
        )]
    }

    fn visit(&self, visit: &mut dyn FnMut(*mut PyObject) -> std::ffi::c_int) -> std::ffi::c_int {
        visit(self.lock.load(Relaxed))
    }

    fn clear(&self) {
        self.kind.store(FOREIGN, Relaxed);
        // SAFETY: the reference that `_use` took.
        unsafe { calls::Py_DecRef(self.lock.swap(null_mut(), Relaxed)) };
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ConditionTicket>()?;
    raw::create::<Condition>(module)
}
